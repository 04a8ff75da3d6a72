"""One train step, side by side with PyTorch (fused SGD) and JAX (jit): momentum SGD, float32, 2 threads.

    python -m reference.peers.train_step [--check] [--rounds 3] [--json FILE]

Each library runs in a process of its own, so that no thread pool disturbs another; the processes take turns, round by round, and a
ratio is the median over rounds of (npkd / other) within a round. npkd's step is ``npkd.nn.training.Step``, which ``train`` calls for
every batch. Needs the extra ``peers``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

THREADS = 2
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


def npkd_step(widths: list[int], batch: int) -> Callable[[], object]:
    """The step that ``npkd.nn.training.train`` takes."""
    import numpy as np

    from npkd.nn.network import perceptron
    from npkd.nn.optimisers import SGD
    from npkd.nn.training import Step, classification

    x, y = data(widths, batch)
    step = Step(perceptron(widths, np.random.default_rng(0)), batch, SGD(0.01, 0.9), {}, None)
    rows = {"x": x, "y": y}
    return lambda: step(rows, classification, 0.01)


def torch_step(widths: list[int], batch: int) -> Callable[[], object]:
    """PyTorch, eager, with its fused SGD."""
    import torch

    torch.set_num_threads(THREADS)
    layers: list[torch.nn.Module] = []
    for i, o in zip(widths[:-1], widths[1:], strict=True):
        layers += [torch.nn.Linear(i, o), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1])
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, fused=True)
    x, y = map(torch.from_numpy, data(widths, batch))

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss: Any = torch.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()

    return step


def jax_step(widths: list[int], batch: int) -> Callable[[], object]:
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

    def step() -> None:
        held[0], held[1], value = jitted(held[0], held[1], x, y)
        value.block_until_ready()

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


def child(library: str) -> None:
    """Time every setting with one library and print the medians as JSON."""
    make = {"npkd": npkd_step, "torch": torch_step, "jax": jax_step}[library]
    print(json.dumps([median_seconds(make(widths, batch)) for widths, batch, _ in BARS]))


def main() -> int:
    """Rounds of processes, a table of medians and ratios; exit code 1 with --check where a ratio is above its bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 where a ratio is above its bar")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the numbers there")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return 0
    threads = {name: str(THREADS) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    environment = {**os.environ, **threads, "JAX_PLATFORMS": "cpu"}
    rounds: list[dict[str, list[float]]] = []
    for _ in range(options.rounds):
        rounds.append({
            library: json.loads(subprocess.run([sys.executable, "-m", "reference.peers.train_step", "--child", library],
                                               env=environment, check=True, capture_output=True, text=True).stdout)
            for library in ("npkd", "torch", "jax")
        })
    missed, rows = 0, []
    print(f"{'network':>20} {'batch':>5} {'npkd µs':>9} {'torch µs':>9} {'jax µs':>9}   ratio to torch, to jax (bar)")
    for k, (widths, batch, bars) in enumerate(BARS):
        micro = {name: statistics.median(r[name][k] for r in rounds) * 1e6 for name in ("npkd", "torch", "jax")}
        ratios = {name: statistics.median(r["npkd"][k] / r[name][k] for r in rounds) for name in ("torch", "jax")}
        words = [f"{ratios[name]:.2f} ({bars[name]})" + ("" if ratios[name] <= bars[name] else " MISSED") if name in bars
                 else f"{ratios[name]:.2f}" for name in ratios]
        missed += sum(ratios[name] > bar for name, bar in bars.items())
        print(f"{'-'.join(map(str, widths)):>20} {batch:>5} {micro['npkd']:9.0f} {micro['torch']:9.0f} {micro['jax']:9.0f}   "
              + ", ".join(words))
        rows.append({"widths": widths, "batch": batch, "microseconds": micro, "ratios": ratios, "bars": bars})
    if options.json:
        command = f"python -m reference.peers.train_step --rounds {options.rounds}"
        options.json.write_text(json.dumps({"command": command, "threads": THREADS, "rows": rows}, indent=1) + "\n")
    return int(options.check and missed > 0)


if __name__ == "__main__":
    sys.exit(main())
