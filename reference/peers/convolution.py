"""conv2d, pooling and batch_norm, held against PyTorch in float64, forward and all gradients; and the two layouts of
maps, timed.

    python -m reference.peers.convolution [--check] [--settings 200]
    python -m reference.peers.convolution --layout

A setting is drawn at random: sizes, kernel, stride, padding, dilation, groups, values; in every other one max_pool gets
small whole numbers, so that its windows are full of ties. Needs the extra ``peers`` (``--layout`` does not).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from npkd.core.derivatives import relative_error
from npkd.core.linalg import product
from npkd.core.types import Array
from npkd.nn.convolution import Grid, conv2d, gathered, scattered
from npkd.nn.normalisation import batch_norm
from npkd.nn.pooling import average_pool, global_average_pool, max_pool

BAR = 1e-10
"""Largest relative error, of an output and of every gradient."""

CONV2 = (64, 12, 12, 20), (50, 5, 5, 20)
"""The second convolution of LeNet-5 at batch 64: x (N, H, W, C) and w (F, kh, kw, C)."""


def ours(op: Callable[..., Any], arguments: Sequence[Array], dy: Array | None,
         options: Mapping[str, Any]) -> list[Array]:
    """Output and gradients of one of npkd's ops. Without ``dy`` the output alone."""
    y, backward = op(*arguments, **options)
    return [y] if dy is None else [y, *backward(dy)]


def turned(a: Array, source: int, to: int) -> Array:
    """Maps and weights with their channels at another axis; everything else as it is."""
    return np.ascontiguousarray(np.moveaxis(a, source, to)) if a.ndim == 4 else a


def theirs(op: Callable[..., Any], arguments: Sequence[Array], dy: Array, options: Mapping[str, Any]) -> list[Array]:
    """Output and gradients of one of PyTorch's, in npkd's layout."""
    import torch

    given = [torch.tensor(turned(a, 3, 1), requires_grad=True) for a in arguments]
    y = op(*given, **options)
    y.backward(torch.tensor(turned(dy, 3, 1)))
    return [turned(a.detach().numpy(), 1, 3) for a in (y, *(g.grad for g in given))]


Comparison = tuple[str, Callable[..., Any], Callable[..., Any], list[Array], dict[str, Any], dict[str, Any]]
"""Name, npkd's op, PyTorch's, arguments, the options of either."""


def drawn(rng: np.random.Generator, whole: bool) -> list[Comparison]:
    """The comparisons of one setting; with ``whole`` numbers for max_pool."""
    import torch
    from torch.nn import functional

    def two(low: int, high: int) -> tuple[int, int]:
        return int(rng.integers(low, high + 1)), int(rng.integers(low, high + 1))

    kernel, stride, padding, dilation, groups = two(1, 5), two(1, 4), two(0, 3), two(1, 3), int(rng.integers(1, 4))
    half = min(padding[0], kernel[0] // 2), min(padding[1], kernel[1] // 2)         # all that pooling may have
    reach = [max(d * (k - 1) + 1 - 2 * p, k - 2 * h, 1)
             for d, k, p, h in zip(dilation, kernel, padding, half, strict=True)]
    each, made = two(1, 4)
    size, C, F = [r + int(rng.integers(0, 9)) for r in reach], groups * each, groups * made
    x = rng.standard_normal((int(rng.integers(2, 5)), *size, C))
    few = rng.integers(-2, 3, x.shape).astype(float) if whole else x                # with ties
    w, b = rng.standard_normal((F, *kernel, each)), rng.standard_normal(F)
    gamma, beta, mean, variance = (
        rng.standard_normal(C), rng.standard_normal(C), rng.standard_normal(C), rng.uniform(0.1, 2, C)
    )
    conv = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    pool = {"stride": stride, "padding": half}

    def norm(x: Any, gamma: Any, beta: Any, given: bool) -> Any:
        running = (torch.tensor(mean), torch.tensor(variance))
        return functional.batch_norm(x, *running, gamma, beta, training=not given)

    return [
        ("conv2d", conv2d, functional.conv2d, [x, w, b], conv, conv),
        ("max_pool", max_pool, functional.max_pool2d, [few], {"size": kernel, **pool}, {"kernel_size": kernel, **pool}),
        ("average_pool", average_pool, functional.avg_pool2d, [x], {"size": kernel, **pool},
         {"kernel_size": kernel, **pool}),
        ("global_average_pool", global_average_pool, lambda x: functional.adaptive_avg_pool2d(x, 1).flatten(1), [x], {},
         {}),
        ("batch_norm, training", batch_norm, norm, [x, gamma, beta], {}, {"given": False}),
        ("batch_norm, running", batch_norm, norm, [x, gamma, beta], {"running": (mean, variance)}, {"given": True}),
    ]


def compare(settings: int) -> dict[str, float]:
    """The largest relative error of every op over random settings, outputs and gradients alike; infinite where shapes
    differ."""
    import torch

    torch.set_num_threads(1)
    rng, worst = np.random.default_rng(0), dict[str, float]()
    for k in range(settings):
        for name, op, other, arguments, options, other_options in drawn(rng, k % 2 == 1):
            dy = rng.standard_normal(ours(op, arguments, None, options)[0].shape)
            pairs = zip(ours(op, arguments, dy, options), theirs(other, arguments, dy, other_options), strict=True)
            errors = [relative_error(got, expected) if got.shape == expected.shape else np.inf
                      for got, expected in pairs]
            worst[name] = float(np.max([worst.get(name, 0.0), *errors]))           # unlike max() it does not lose a NaN
    return worst


def last(backward: bool) -> Callable[[], object]:
    """im2col and its product, channels last: one product for the whole batch. With ``backward`` both gradients too."""
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in CONV2)
    grid = Grid("layout", x.shape[1:3], w.shape[1:3], 1, 0)
    matrix, size = w.reshape(len(w), -1), (len(x), *grid.positions)

    def step() -> tuple[Array, ...]:
        columns = gathered(grid, x).reshape(-1, matrix.shape[1])
        y = product(columns, matrix.T)
        if not backward:
            return (y,)
        return y, product(y.T, columns), scattered(grid, product(y, matrix).reshape(*size, *w.shape[1:]))

    return step


def first(backward: bool) -> Callable[[], object]:
    """The same with channels first: patches stand in columns, and every example has a product of its own."""
    rng = np.random.default_rng(0)
    x, w = (np.ascontiguousarray(np.moveaxis(rng.standard_normal(shape).astype(np.float32), 3, 1)) for shape in CONV2)
    grid = Grid("layout", x.shape[2:], w.shape[2:], 1, 0)
    matrix, size = w.reshape(len(w), -1), (len(x), *w.shape[1:], *grid.positions)

    def step() -> tuple[Array, ...]:
        columns = np.empty(size, x.dtype)
        for i, j, row, column in grid.offsets():
            columns[:, :, i, j] = x[:, :, row, column]
        patches = columns.reshape(len(x), matrix.shape[1], -1)
        y = np.empty((len(x), len(w), patches.shape[2]), x.dtype)
        for n in range(len(x)):
            y[n] = product(matrix, patches[n])
        if not backward:
            return (y,)
        dw, dpatches, dx = np.zeros_like(matrix), np.empty_like(patches), np.zeros_like(x)
        for n in range(len(x)):
            dw += product(y[n], patches[n].T)
            dpatches[n] = product(matrix.T, y[n])
        dcolumns = dpatches.reshape(size)
        for i, j, row, column in grid.offsets():
            dx[:, :, row, column] += dcolumns[:, :, i, j]
        return y, dw, dx

    return step


def layout(calls: int = 60) -> str:
    """One line: the least time of a call, the ways in turns, so that what else runs on the machine counts as little as
    possible."""
    steps = {name: make(backward) for backward in (False, True)
             for name, make in ((f"last {backward}", last), (f"first {backward}", first))}
    least = dict.fromkeys(steps, np.inf)
    for _ in range(calls):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            least[name] = min(least[name], (time.perf_counter() - start) * 1e3)
    return "LeNet-5's conv2, batch 64: " + ", ".join(
        f"{what}: channels last {least[f'last {key}']:.1f} ms, channels first {least[f'first {key}']:.1f} ms"
        for what, key in (("im2col and product", False), ("with both gradients", True)))


def main() -> int:
    """One line of numbers; exit code 1 with --check where PyTorch and npkd differ by more than the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 where an error is above the bar")
    parser.add_argument("--settings", type=int, default=200, help="how many are drawn")
    parser.add_argument("--layout", action="store_true", help="time channels last and channels first instead")
    options = parser.parse_args()
    if options.layout:
        print(layout())
        return 0
    worst = compare(options.settings)
    print(f"{options.settings} settings, largest relative error: "
          + ", ".join(f"{name} {error:.1e}" for name, error in worst.items())
          + f" (bar {BAR:.0e})")
    return int(options.check and not np.max(list(worst.values())) <= BAR)


if __name__ == "__main__":
    sys.exit(main())
