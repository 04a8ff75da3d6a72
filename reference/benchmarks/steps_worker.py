"""What steps.py times, in a process that imports one tree or the other: this file uses nothing but npkd, old or new."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Callable
from typing import Any

CASES: dict[str, tuple[str, list[int], int, int]] = {
    "step of 784-300-100-10, batch 32": ("step", [784, 300, 100, 10], 32, 40),
    "step of 784-300-100-10, batch 128": ("step", [784, 300, 100, 10], 128, 20),
    "step of 784-300-100-10, batch 512": ("step", [784, 300, 100, 10], 512, 8),
    "step of 784-1200-1200-10, batch 128": ("step", [784, 1200, 1200, 10], 128, 8),
    "step of 64-32-10, batch 32": ("step", [64, 32, 10], 32, 100),
    "step of LeNet-5, batch 64": ("step", [], 64, 5),
    "inference of 784-300-100-10, 4096 examples": ("predict", [784, 300, 100, 10], 4096, 1),
    "inference of 64-32-10, 4096 examples": ("predict", [64, 32, 10], 4096, 1),
    "inference of LeNet-5, 256 examples": ("predict", [], 256, 1),
}
"""Name -> what is timed, the widths of the perceptron (none: LeNet-5), examples in a batch, and batches in an epoch."""


def work(name: str) -> tuple[Callable[[], object], int]:
    """What is called, and how many steps that are, in whichever tree is imported: names have moved since 7ac698c."""
    import numpy as np

    from npkd.nn.architectures import lenet5
    from npkd.nn.network import perceptron
    from npkd.nn.optimisers import SGD

    kind, widths, batch, batches = CASES[name]
    rng = np.random.default_rng(0)
    network = perceptron(widths, rng) if widths else lenet5(rng)
    x = rng.standard_normal((batch * batches, widths[0] if widths else 784)).astype(np.float32)
    training: Any = importlib.import_module("npkd.nn.training")
    if kind == "predict":
        fast = importlib.util.find_spec("npkd.nn.fast") is not None
        predict = importlib.import_module("npkd.nn.fast.workspace" if fast else "npkd.nn.workspace").predict
        return lambda: predict(network, x), 1
    endless = 10 ** 6
    options = ({"settings": training.TrainingSettings(endless, batch)} if hasattr(training, "TrainingSettings")
               else {"epochs": endless, "batch": batch})
    records = training.train(network, {"x": x, "y": rng.integers(0, 10, len(x))}, optimiser=SGD(1e-3, 0.9), rng=rng,
                             **options)
    return lambda: next(records), batches


def worker() -> None:
    """For every name on stdin that it has been told, the seconds of a step, over at least 0.15 seconds."""
    known: dict[str, tuple[Callable[[], object], int]] = {}
    for line in sys.stdin:
        name = json.loads(line)
        if name not in known:
            known = {name: work(name)}
            known[name][0]()
        call, steps = known[name]
        count, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < 0.15:
            call()
            count += steps
        print((time.perf_counter() - begin) / count, flush=True)


if __name__ == "__main__":
    worker()
