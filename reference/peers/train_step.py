"""One train step, side by side with PyTorch (fused SGD) and JAX (jit): momentum SGD, float32, 2 threads.

    python -m reference.peers.train_step [--network lenet5] [--check] [--rounds 3] [--threads 2] [--json FILE]

Each library runs in a process of its own, so that no thread pool disturbs another; the processes take turns, round by
round, and a ratio is the median over rounds of (npkd / other) within a round. npkd's step is the update that
``npkd.nn.training.train`` makes for every batch. Perceptrons stand here; with ``--network lenet5`` it is the network of
lenet5.py, and its inference and its memory are measured too. Needs the extra ``peers``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import npkd
from reference.peers.lenet5 import MAKERS, memory, npkd_update

BARS: list[tuple[list[int], int, dict[str, float]]] = [
    ([784, 300, 100, 10], 32, {"torch": 0.6, "jax": 0.6}),
    ([784, 300, 100, 10], 128, {"torch": 0.75, "jax": 0.75}),
    ([784, 300, 100, 10], 512, {"torch": 1.0, "jax": 1.0}),
    ([784, 1200, 1200, 10], 32, {"torch": 1.0, "jax": 1.0}),
    ([784, 1200, 1200, 10], 128, {"torch": 1.0, "jax": 1.0}),
    ([784, 1200, 1200, 10], 512, {"torch": 1.0, "jax": 1.0}),
    ([64, 32, 10], 32, {"torch": 0.25}),
]


def data(widths: list[int], batch: int) -> Any:
    """One batch of noise and labels, the same for everybody."""
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.standard_normal((batch, widths[0])).astype("float32"), rng.integers(0, widths[-1], batch)


def npkd_step(widths: list[int], batch: int) -> Callable[[], float]:
    """The update that ``npkd.nn.training.train`` makes."""
    import numpy as np

    from npkd.nn.network import perceptron
    from npkd.nn.optimisers import SGD

    x, y = data(widths, batch)
    return npkd_update(perceptron(widths, np.random.default_rng(0)), {"x": x, "y": y}, SGD(0.01, 0.9))[0]


def torch_step(widths: list[int], batch: int, threads: int) -> Callable[[], float]:
    """PyTorch, eager, with its fused SGD."""
    import torch

    torch.set_num_threads(threads)
    layers: list[torch.nn.Module] = []
    for i, o in zip(widths[:-1], widths[1:], strict=True):
        layers += [torch.nn.Linear(i, o), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1])
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, fused=True)
    x, y = map(torch.from_numpy, data(widths, batch))

    def step() -> float:
        optimiser.zero_grad(set_to_none=True)
        loss: Any = torch.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return step


def jax_step(widths: list[int], batch: int) -> Callable[[], float]:
    """JAX, jit, with its buffers donated."""
    import jax
    import jax.numpy as jnp

    x, y = (jnp.asarray(a) for a in data(widths, batch))
    keys = jax.random.split(jax.random.key(0), len(widths) - 1)
    params = [(jax.random.normal(k, (i, o)) * (2 / i) ** 0.5, jnp.zeros(o))
              for k, i, o in zip(keys, widths[:-1], widths[1:], strict=True)]
    velocity = jax.tree.map(jnp.zeros_like, params)

    def loss(params: Any, x: Any, y: Any) -> Any:
        for w, b in params[:-1]:
            x = jax.nn.relu(x @ w + b)
        w, b = params[-1]
        return -jnp.take_along_axis(jax.nn.log_softmax(x @ w + b), y[:, None], 1).mean()

    def update(params: Any, velocity: Any, x: Any, y: Any) -> Any:
        value, g = jax.value_and_grad(loss)(params, x, y)
        velocity = jax.tree.map(lambda v, d: 0.9 * v + d, velocity, g)
        return jax.tree.map(lambda p, v: p - 0.01 * v, params, velocity), velocity, value

    jitted = jax.jit(update, donate_argnums=(0, 1))
    held = [params, velocity]

    def step() -> float:
        held[0], held[1], value = jitted(held[0], held[1], x, y)
        return float(value)

    return step


def median_seconds(step: Callable[[], object], budget: float = 1.2) -> float:
    """Median over single calls, after a warm-up, for about ``budget`` seconds."""
    until = time.perf_counter() + budget / 4
    while time.perf_counter() < until:
        step()
    times, until = [], time.perf_counter() + budget
    while time.perf_counter() < until:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def seconds_of_step(step: Callable[[], float], budget: float = 1.2) -> float:
    """Median seconds of a step. Raises ValueError where the loss does not fall: what was timed was no training."""
    before = step()
    seconds = median_seconds(step, budget)
    after = step()
    if not after < before:
        raise ValueError(f"train_step: the loss went from {before:.3g} to {after:.3g}; steps are timed where it falls")
    return seconds


def perceptrons(library: str, threads: int) -> list[float]:
    """Seconds of a step in each setting of BARS."""
    make: Any = {"npkd": npkd_step, "torch": torch_step, "jax": jax_step}[library]
    return [seconds_of_step(make(widths, batch, threads) if library == "torch" else make(widths, batch))
            for widths, batch, _ in BARS]


def lenet5(library: str, threads: int) -> list[float]:
    """Seconds of a step and of an inference at either size of a batch."""
    made = [MAKERS[library](batch, threads) for batch in (64, 256)]
    return [seconds for step, inference in made for seconds in (seconds_of_step(step), median_seconds(inference))]


@dataclass(frozen=True)
class Row:
    """One line of the table: what is measured, its unit (of how many of what ``child`` prints), and the bars."""

    name: str
    unit: str
    scale: float
    bars: dict[str, float]


def rows_of(network: str) -> tuple[list[str], list[Row]]:
    """The libraries, npkd first, and the lines of a network's table."""
    if network == "mlp":
        return (
            ["npkd", "torch", "jax"],
            [Row(f"{'-'.join(map(str, w))}, batch {n}", "µs", 1e6, bars) for w, n, bars in BARS]
        )
    timed = {"step": {"torch": 1.0, "torch-last": 1.5, "jax": 0.75}, "inference": {"torch": 1.0}}
    return list(MAKERS), [
        *(Row(f"{what}, batch {n}", "ms", 1e3, bars) for n in (64, 256) for what, bars in timed.items()),
        *(Row(f"peak memory of a step, batch {n}", "MB", 1, {"torch": 2.0}) for n in (64, 256)),
    ]


def child(library: str, network: str, threads: int, batch: int | None) -> None:
    """Measure every setting with one library, or its memory with ``batch``, and print the numbers as JSON."""
    if batch is not None:
        print(json.dumps([memory(library, batch, threads)]))
    else:
        print(json.dumps(lenet5(library, threads) if network == "lenet5" else perceptrons(library, threads)))


def measured(library: str, network: str, threads: int) -> list[float]:
    """What the children of one library print, in the order of the table."""
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    command = [sys.executable, "-m", "reference.peers.train_step", "--child", library, "--network", network,
               "--threads", str(threads)]
    numbers: list[float] = []
    for more in ([], ["--memory", "64"], ["--memory", "256"]) if network == "lenet5" else ([],):
        environment = {**os.environ, **limits, "JAX_PLATFORMS": "cpu"}
        done = subprocess.run([*command, *more], env=environment, check=True, stdout=subprocess.PIPE, text=True)
        numbers += json.loads(done.stdout)
    return numbers


def positive(text: str) -> int:
    """A whole number, at least 1, of the command line."""
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"got {text!r}; it must be a whole number, at least 1")
    return int(text)


def main() -> int:
    """Rounds of processes, a table of medians and ratios; exit code 1 with --check where a ratio is above its bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=["mlp", "lenet5"], default="mlp")
    parser.add_argument("--check", action="store_true", help="exit 1 where a ratio is above its bar")
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--json", type=Path, help="write the numbers there")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.network, options.threads, options.memory)
        return 0
    if options.json and not options.json.parent.is_dir():
        parser.error(f"argument --json: got {str(options.json)!r}; there must be a folder to write into")
    libraries, table = rows_of(options.network)
    missing = [name for name in ("torch", "jax") if importlib.util.find_spec(name) is None]
    if missing:
        parser.error(f"{' and '.join(missing)} not installed; the comparison needs the extra peers: pip install "
                     f"'npkd[peers]'")
    rounds = [{name: measured(name, options.network, options.threads) for name in libraries}
              for _ in range(options.rounds)]
    missed, rows = 0, []
    print(f"{'':>34} " + " ".join(f"{name:>10}" for name in libraries) + "   ratio of npkd to each other (bar)")
    for k, row in enumerate(table):
        values = {name: statistics.median(r[name][k] for r in rounds) * row.scale for name in libraries}
        ratios = {name: statistics.median(r["npkd"][k] / r[name][k] for r in rounds) for name in libraries[1:]}
        words = [f"{name} {ratio:.2f}"
                 + (f" ({row.bars[name]})" + " MISSED" * (ratio > row.bars[name]) if name in row.bars else "")
                 for name, ratio in ratios.items()]
        missed += sum(ratios[name] > bar for name, bar in row.bars.items())
        print(f"{row.name:>34} " + " ".join(f"{value:>10.4g}" for value in values.values()) + f" {row.unit}  "
              + ", ".join(words))
        rows.append({"what": row.name, "unit": row.unit, "values": values, "ratios": ratios, "bars": row.bars})
    if options.json:
        command = (
            f"python -m reference.peers.train_step --network {options.network} --rounds {options.rounds} --threads "
            f"{options.threads}"
        )
        options.json.write_text(json.dumps(
            {"command": command, "npkd": npkd.__version__, "threads": options.threads, "rows": rows}, indent=1) + "\n")
    return int(options.check and missed > 0)


if __name__ == "__main__":
    sys.exit(main())
