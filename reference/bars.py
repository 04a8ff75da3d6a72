"""The bars that the main job is held to, each a command: it runs ``npkd`` as a user does and judges the summaries it writes.

    python -m reference.bars digits            npkd compress, seeds 0..4: errors, size, certificates, removal, time
    python -m reference.bars mnist-train       npkd train --data mnist, seeds 0..4: error, time
    python -m reference.bars mnist-compress    npkd compress --data mnist --target macs=26620, seeds 0..2: error, time
    python -m reference.bars repeat            the same seed twice: the same bytes

Exit code 1 where a bar is missed. ``--json FILE`` keeps the numbers with the command. Means and deviations are over seeds; the test part
is looked at once in each run, by the run itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def run(folder: Path, *arguments: str) -> dict[str, Any]:
    """One run of the command line in a process of its own: its summary, with the seconds of the whole process."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "npkd", *arguments, "--out", str(folder), "--quiet"], check=True, stdout=subprocess.DEVNULL)
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary | {"process_seconds": time.perf_counter() - begin}


def over_seeds(seeds: int, *arguments: str) -> list[dict[str, Any]]:
    """The summaries for seeds 0, 1, …"""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            found.append(run(Path(folder) / str(seed), *arguments, "--seed", str(seed)))
            one = found[-1]
            words = [f"{who} {one[who]['test_error']:.2%}" for who in ("teacher", "student", "model") if who in one]
            print(f"seed {seed}: {', '.join(words)}, {one['process_seconds']:.0f} s", flush=True)
    return found


def spread(values: list[float]) -> str:
    """Mean ± standard deviation in percent."""
    return f"{statistics.mean(values):.3%} ± {statistics.stdev(values):.3%}"


class Bars:
    """Collects what is claimed and whether it holds."""

    def __init__(self) -> None:
        self.missed, self.lines = 0, list[str]()

    def __call__(self, what: str, value: float, bar: float, shown: str = "") -> None:
        """Claim that ``value`` ≤ ``bar``."""
        holds = value <= bar
        self.missed += not holds
        self.lines.append(f"{'holds ' if holds else 'MISSED'}  {what}: {shown or f'{value:.3g}'} (bar {bar:.3g})")
        print(self.lines[-1], flush=True)


def digits(bars: Bars) -> list[dict[str, Any]]:
    """The main job on the embedded digits."""
    found = over_seeds(5, "compress")
    teacher, student = ([s[who]["test_error"] for s in found] for who in ("teacher", "student"))
    bars("teacher's test error, mean", statistics.mean(teacher), 0.03, spread(teacher))
    bars("student's test error above it, mean", statistics.mean(student) - statistics.mean(teacher), 0.005, spread(student))
    bars("multiply-accumulates, part of the teacher's", max(s["student"]["macs"] / s["teacher"]["macs"] for s in found), 0.10)
    bars("largest relative duality gap", max(layer["duality_gap"] for s in found for layer in s["layers"]), 1e-6)
    bars("removal difference, float32", max(s["removal_difference"] for s in found), 1e-5)
    bars("removal difference, float64", max(s["removal_difference_float64"] for s in found), 1e-12)
    bars("longest run in seconds", max(s["process_seconds"] for s in found), 90)
    return found


def mnist_train(bars: Bars) -> list[dict[str, Any]]:
    """Plain training on MNIST."""
    found = over_seeds(5, "train", "--data", "mnist")
    errors = [s["model"]["test_error"] for s in found]
    bars("test error of 784-300-100-10, mean", statistics.mean(errors), 0.016, spread(errors))
    bars("longest run in seconds", max(s["process_seconds"] for s in found), 60)
    return found


def mnist_compress(bars: Bars) -> list[dict[str, Any]]:
    """A tenth of the multiply-accumulates on MNIST."""
    found = over_seeds(3, "compress", "--data", "mnist", "--target", "macs=26620")
    teacher, student = ([s[who]["test_error"] for s in found] for who in ("teacher", "student"))
    bars("student's test error above the teacher's, mean", statistics.mean(student) - statistics.mean(teacher), 0.002,
         f"{spread(student)} against {spread(teacher)}")
    bars("multiply-accumulates", max(s["student"]["macs"] for s in found), 26620)
    bars("longest run in seconds", max(s["process_seconds"] for s in found), 600)
    return found


def repeat(bars: Bars) -> list[dict[str, Any]]:
    """The same seed twice, on digits, a shorter run."""
    with tempfile.TemporaryDirectory() as folder:
        one, two = (Path(folder) / name for name in "ab")
        found = [run(where, "compress", "--epochs", "10") for where in (one, two)]
        bars("files student.npz that differ", float((one / "student.npz").read_bytes() != (two / "student.npz").read_bytes()), 0)
    for summary in found:
        for times in ("seconds", "process_seconds"):
            summary.pop(times)
    bars("summaries that differ, times left out", float(found[0] != found[1]), 0)
    return found


def main() -> int:
    """Run one of the commands above."""
    commands = {"digits": digits, "mnist-train": mnist_train, "mnist-compress": mnist_compress, "repeat": repeat}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=commands)
    parser.add_argument("--json", type=Path, help="keep the numbers there")
    options = parser.parse_args()
    bars = Bars()
    found = commands[options.what](bars)
    if options.json:
        kept = {"command": f"python -m reference.bars {options.what}", "bars": bars.lines, "runs": found}
        options.json.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    return int(bars.missed > 0)


if __name__ == "__main__":
    sys.exit(main())
