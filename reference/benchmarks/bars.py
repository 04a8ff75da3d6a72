"""The bars that the main job is held to, each a command: it runs ``npkd`` as a user does and judges the summaries it
writes.

    python -m reference.benchmarks.bars digits            npkd compress, seeds 0..4: errors, size, certificates, time
    python -m reference.benchmarks.bars mnist-train       npkd train --data mnist, seeds 0..4
    python -m reference.benchmarks.bars mnist-compress    npkd compress --data mnist --target macs=26620, seeds 0..2
    python -m reference.benchmarks.bars mnist-smaller     the same with macs=9560, seeds 5..9, never looked at before
    python -m reference.benchmarks.bars lenet5-train      npkd train --data mnist --network lenet5, seeds 0..4
    python -m reference.benchmarks.bars lenet5-compress   npkd compress --network lenet5 --target macs=93000: 10..14
    python -m reference.benchmarks.bars lenet5-latency    time of LeNet-5 and of a student, batches of 1 and 256
    python -m reference.benchmarks.bars repeat            the same seed twice: the same bytes
    python -m reference.benchmarks.bars memory            the layer-wise step on 10 times the data: memory, same student
    python -m reference.benchmarks.bars labelfree         npkd.compress on digits without labels; shuffled ones
    python -m reference.benchmarks.bars kills             workers of a cluster killed in the middle of passes
    python -m reference.benchmarks.bars scale             statistics of many examples, classes and inputs

Exit code 1 where a bar is missed. ``--json FILE`` keeps the numbers with the command. Means and deviations are over
seeds; the test part is looked at once in each run, by the run itself. Given the runs of a file, a function judges those
and runs nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import npkd

MEASURED = Path(__file__).parents[1] / "measured"

Runs = Sequence[dict[str, Any]]


def run(folder: Path, *arguments: str) -> dict[str, Any]:
    """One run of the command line in a process of its own: its summary, with the seconds of the whole process."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "npkd", *arguments, "--out", str(folder), "--quiet"], check=True,
                   stdout=subprocess.DEVNULL)
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary | {"process_seconds": time.perf_counter() - begin}


def over_seeds(seeds: int, *arguments: str, first: int = 0) -> list[dict[str, Any]]:
    """The summaries for as many seeds from the first one on."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + seeds):
            found.append(run(Path(folder) / str(seed), *arguments, "--seed", str(seed)))
            one = found[-1]
            words = [f"{who} {one[who]['test_error']:.2%}" for who in ("teacher", "student", "model") if who in one]
            print(f"seed {seed}: {', '.join(words)}, {one['process_seconds']:.0f} s", flush=True)
    return found


def spread(values: list[float]) -> str:
    """Mean ± standard deviation in percent."""
    return f"{statistics.mean(values):.3%} ± {statistics.stdev(values):.3%}"


class ProgressBars:
    """Collects what is claimed and whether it holds."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.missed, self.lines, self.quiet = 0, list[str](), quiet

    def __call__(self, what: str, value: float, bar: float, shown: str = "") -> None:
        """Claim that ``value`` ≤ ``bar``."""
        holds = value <= bar
        self.missed += not holds
        self.lines.append(f"{'holds ' if holds else 'MISSED'}  {what}: {shown or f'{value:.3g}'} (bar {bar:.3g})")
        if not self.quiet:
            print(self.lines[-1], flush=True)


def digits(bars: ProgressBars, stored: Runs = ()) -> list[dict[str, Any]]:
    """The main job on the embedded digits."""
    found = list(stored) or over_seeds(5, "compress")
    teacher, student = ([s[who]["test_error"] for s in found] for who in ("teacher", "student"))
    bars("teacher's test error, mean", statistics.mean(teacher), 0.03, spread(teacher))
    bars("student's test error above it, mean", statistics.mean(student) - statistics.mean(teacher), 0.005,
         spread(student))
    bars("multiply-accumulates, part of the teacher's", max(s["student"]["macs"] / s["teacher"]["macs"] for s in found),
         0.10)
    bars("largest relative duality gap", max(layer["duality_gap"] for s in found for layer in s["layers"]), 1e-6)
    bars("removal difference, float32", max(s["removal_difference"] for s in found), 1e-5)
    bars("removal difference, float64", max(s["removal_difference_float64"] for s in found), 1e-12)
    bars("longest run in seconds", max(s["process_seconds"] for s in found), 90)
    return found


def mnist_train(bars: ProgressBars, stored: Runs = ()) -> list[dict[str, Any]]:
    """Plain training on MNIST."""
    found = list(stored) or over_seeds(5, "train", "--data", "mnist")
    errors = [s["model"]["test_error"] for s in found]
    bars("test error of 784-300-100-10, mean", statistics.mean(errors), 0.016, spread(errors))
    bars("longest run in seconds", max(s["process_seconds"] for s in found), 60)
    return found


def mnist_compress(bars: ProgressBars, stored: Runs = ()) -> list[dict[str, Any]]:
    """A tenth of the multiply-accumulates on MNIST."""
    found = list(stored) or over_seeds(3, "compress", "--data", "mnist", "--target", "macs=26620")
    teacher, student = ([s[who]["test_error"] for s in found] for who in ("teacher", "student"))
    bars("student's test error above the teacher's, mean", statistics.mean(student) - statistics.mean(teacher), 0.002,
         f"{spread(student)} against {spread(teacher)}")
    bars("multiply-accumulates", max(s["student"]["macs"] for s in found), 26620)
    bars("longest run in seconds", max(s["process_seconds"] for s in found), 600)
    return found


def mnist_smaller(bars: ProgressBars, stored: Runs = ()) -> list[dict[str, Any]]:
    """A twenty-eighth of the multiply-accumulates on MNIST, with nothing else said, teacher included."""
    found = list(stored) or over_seeds(5, "compress", "--data", "mnist", "--target", "macs=9560", first=5)
    teacher, student = ([s[who]["test_error"] for s in found] for who in ("teacher", "student"))
    bars("student's test error, mean", statistics.mean(student), 0.016, f"{spread(student)}, teacher {spread(teacher)}")
    bars("multiply-accumulates", max(s["student"]["macs"] for s in found), 9560)
    bars("longest run in seconds", max(s["process_seconds"] for s in found), 480)
    return found


def lenet5_train(bars: ProgressBars, stored: Runs = ()) -> list[dict[str, Any]]:
    """Plain training of LeNet-5 on MNIST."""
    found = list(stored) or over_seeds(5, "train", "--data", "mnist", "--network", "lenet5")
    errors = [s["model"]["test_error"] for s in found]
    bars("test error of LeNet-5, mean", statistics.mean(errors), 0.009, spread(errors))
    bars("longest run in seconds", max(s["process_seconds"] for s in found), 300)
    return found


def lenet5_compress(bars: ProgressBars, stored: Runs = ()) -> list[dict[str, Any]]:
    """A twenty-fifth of LeNet-5's multiply-accumulates on MNIST, with nothing else said, teacher included; seeds not
    looked at before."""
    words = ("compress", "--data", "mnist", "--network", "lenet5", "--target", "macs=93000")
    found = list(stored) or over_seeds(5, *words, first=10)
    teacher, student = ([s[who]["test_error"] for s in found] for who in ("teacher", "student"))
    bars("student's test error, mean", statistics.mean(student), 0.0085,
         f"{spread(student)}, teacher {spread(teacher)}")
    bars("multiply-accumulates", max(s["student"]["macs"] for s in found), 93000)
    bars("longest run in seconds", max(s["process_seconds"] for s in found), 900)
    return found


def latencies() -> list[dict[str, Any]]:
    """Median seconds of LeNet-5 and of the first student of lenet5-compress, in turns. Weights are random: time does
    not depend on them."""
    import numpy as np

    from npkd.nn import cost
    from npkd.nn.architectures import lenet5
    from npkd.nn.fast.workspace import Workspace

    rng, found = np.random.default_rng(0), list[dict[str, Any]]()
    _, one, two, hidden, _ = json.loads((MEASURED / "lenet5_compress.json").read_text())["runs"][0]["student"]["widths"]
    networks = lenet5(rng), lenet5(rng, channels=(one, two), hidden=hidden)
    macs = [cost.of(network).macs for network in networks]
    for batch, repeats in ((1, 2000), (256, 60)):
        x = rng.random((batch, 784), np.float32)
        spaces = [Workspace(network, batch) for network in networks]
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(repeats):
            for space, held in zip(spaces, times, strict=True):
                begin = time.perf_counter()
                with space.blas:
                    space.forward(x)
                held.append(time.perf_counter() - begin)
        found.append({"batch": batch, "macs": macs, "seconds": list(map(statistics.median, times))})
    return found


def lenet5_latency(bars: ProgressBars, stored: Runs = ()) -> list[dict[str, Any]]:
    """How much sooner a compressed LeNet-5 answers."""
    found = list(stored) or latencies()
    bars("multiply-accumulates of the small one", found[0]["macs"][1], 93000)
    for one in found:
        (large, small), macs = one["seconds"], one["macs"]
        shown = (f"1/{large / small:.1f}: {small * 1e6:.0f} µs against {large * 1e6:.0f} µs; multiply-accumulates "
                 f"1/{macs[0] / macs[1]:.1f}")
        bars(f"time of the small one at batch {one['batch']}, of the large one's", small / large, 1 / 3, shown)
    return found


def repeat(bars: ProgressBars, _: Runs = ()) -> list[dict[str, Any]]:
    """The same seed twice, on digits, a shorter run."""
    with tempfile.TemporaryDirectory() as folder:
        one, two = (Path(folder) / name for name in "ab")
        found = [run(where, "compress", "--epochs", "10") for where in (one, two)]
        bars("files student.npz that differ",
             float((one / "student.npz").read_bytes() != (two / "student.npz").read_bytes()), 0)
    for summary in found:
        for times in ("seconds", "process_seconds", "latency"):
            summary.pop(times)
    bars("summaries that differ, times left out", float(found[0] != found[1]), 0)
    return found


def memory(bars: ProgressBars, stored: Runs = ()) -> list[dict[str, Any]]:
    """Ten times the data in the same memory, to the same student."""
    from reference.benchmarks.memory import ten_times

    found = list(stored) or ten_times()
    peaks, apart = {(run["how"], run["copies"]): run["peak"] for run in found}, found[0]["difference"]
    bars("peak memory of the layer-wise step, 10 times the data to 1", peaks["streamed", 10] / peaks["streamed", 1],
         1.1)
    bars("the same for all of npkd.compress with one size of sample", peaks["compressed", 10] / peaks["compressed", 1],
         1.1)
    bars("largest relative difference of the students' weights, streamed to in memory", apart["whole 1"], 1e-9)
    bars("the same, 1 to 10 copies, streamed", apart["streamed 10"], 1e-9)
    return found


def kills(bars: ProgressBars, stored: Runs = ()) -> list[dict[str, Any]]:
    """A worker killed in the middle of a pass for statistics, 20 times."""
    from reference.benchmarks.kills import judged, twenty_times

    judged(bars, found := list(stored) or twenty_times())
    return found


def scale(bars: ProgressBars, stored: Runs = ()) -> list[dict[str, Any]]:
    """Statistics of many examples, classes and inputs."""
    from reference.benchmarks.scale import PARTS, judged, measured

    judged(bars, found := list(stored) or measured(list(PARTS), small=False))
    return found


def unlabelled() -> list[dict[str, Any]]:
    """npkd.compress on digits, seeds 0 … 2: without labels, and with labels that were shuffled."""
    import numpy as np

    from npkd.data.datasets import load as load_data
    from npkd.pipeline.recipe import Recipe, complete
    from npkd.pipeline.result import largest
    from npkd.pipeline.stages import Run, error_rate, train_teacher

    found: list[dict[str, Any]] = []
    for seed in range(3):
        data, rng = load_data("digits", seed=seed), np.random.default_rng(seed)
        teacher = train_teacher(Run(data, complete(Recipe(), len(data.x_train)), rng))
        out = npkd.compress(teacher, data.x_train, seed=seed)
        shuffled = npkd.compress(teacher, data.x_train, labels=rng.permutation(data.y_train), seed=seed)
        said = [network.predict(data.x_test).argmax(axis=1) for network in (teacher, out.student)]
        pairs = zip(out.student.layers, shuffled.student.layers, strict=True)
        found.append({
            "seed": seed, "agreement": out.agreement, "held_out": out.held_out,
            "agreement_test": float((said[0] == said[1]).mean()),
            "macs": out.macs, "teacher_test_error": error_rate(teacher, data.x_test, data.y_test),
            "test_error": error_rate(out.student, data.x_test, data.y_test),
            "differs_with_shuffled_labels": not all(
                np.array_equal(p, q) for a, b in pairs for p, q in zip(a.params, b.params, strict=True)),
            "gap": largest([layer.duality_gap for layer in out.layers])})
        print(out, flush=True)
    return found


def labelfree(bars: ProgressBars, stored: Runs = ()) -> list[dict[str, Any]]:
    """A student without labels agrees with its teacher, and shuffled labels do not matter."""
    found = list(stored) or unlabelled()
    apart = [1 - run["agreement_test"] for run in found]
    above = [run["test_error"] - run["teacher_test_error"] for run in found]
    bars("disagreement with the teacher, test part, mean", statistics.mean(apart), 0.02, spread(apart))
    bars("student's test error above the teacher's, mean", statistics.mean(above), 0.005, spread(above))
    bars("students that differ where shuffled labels are given",
         sum(run["differs_with_shuffled_labels"] for run in found), 0)
    bars("multiply-accumulates, part of the teacher's", max(run["macs"][1] / run["macs"][0] for run in found), 0.10)
    bars("largest relative duality gap", max(run["gap"] for run in found), 1e-6)
    return found


COMMANDS: Mapping[str, Callable[[ProgressBars, Runs], list[dict[str, Any]]]] = {
    "digits": digits, "mnist-train": mnist_train, "mnist-compress": mnist_compress, "mnist-smaller": mnist_smaller,
    "lenet5-train": lenet5_train, "lenet5-compress": lenet5_compress, "lenet5-latency": lenet5_latency,
    "repeat": repeat, "memory": memory, "labelfree": labelfree, "kills": kills, "scale": scale}


def main() -> int:
    """Run one of the commands above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=COMMANDS)
    parser.add_argument("--json", type=Path, help="keep the numbers there")
    options = parser.parse_args()
    bars = ProgressBars()
    found = COMMANDS[options.what](bars, ())
    if options.json:
        kept = {"command": f"python -m reference.benchmarks.bars {options.what}", "npkd": npkd.__version__,
                "bars": bars.lines, "runs": found}
        options.json.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    return int(bars.missed > 0)


if __name__ == "__main__":
    sys.exit(main())
