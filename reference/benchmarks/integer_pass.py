"""Do passes in whole numbers give what their simulation gives, bit for bit, on all 10,000 test pictures of MNIST?

    python -m reference.benchmarks.integer_pass [--lenet5] [--onnx]             a minute; with LeNet-5 some minutes

LeNet-300-100 and LeNet-5, trained for an epoch or two (how good they are does not matter here), with activations in
bytes and weights of int8, int4, ternary and dyadic numbers; dyadic ones also by shifts and additions alone. A line for
each: outputs and classes that differ from the simulation, an ordinary network in float64. Exit code 1 where one does.
--onnx: of int8 also the classes that onnxruntime gives otherwise, of the ONNX model in bytes.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from npkd.compression.dyadic import QUARTERS, frobenius_scale, nearest
from npkd.compression.integer import IntegerNetwork
from npkd.compression.quantization import quantized
from npkd.core.types import Array
from npkd.data.datasets import Data, load
from npkd.interop.onnx_out import proto_of
from npkd.nn.architectures import lenet5
from npkd.nn.model import Model
from npkd.nn.network import Network, perceptron
from npkd.nn.optimisers import SGD
from npkd.nn.training import TrainingSettings, train
from npkd.pipeline.steps import GRIDS

SHIFTS = "dyadic, shifts and additions alone"


def powers(w: Array) -> Callable[[Array], Array]:
    """The rounding to {0, ±1/4, ±1/2, ±1} times a power of two near the best scale of a matrix (N22)."""
    return partial(nearest, levels=QUARTERS, scale=2.0 ** round(math.log2(frobenius_scale(w, QUARTERS))))


def trained(data: Data, *, convolutions: bool) -> Iterator[tuple[str, Network]]:
    """LeNet-300-100 after two epochs on 20,000 examples, and LeNet-5 after one, with their names."""
    rng, batch = np.random.default_rng(0), {"x": data.x_train[:20_000], "y": data.y_train[:20_000]}
    drawn = {"LeNet-300-100": perceptron([784, 300, 100, 10], rng)} | ({"LeNet-5": lenet5(rng)} if convolutions else {})
    for name, network in drawn.items():
        settings = TrainingSettings(1 if name == "LeNet-5" else 2)
        *_, last = train(network, batch, optimiser=SGD(0.02), settings=settings, rng=rng)
        yield name, last.network


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each network and grid; 1 where an output differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lenet5", action="store_true", help="LeNet-5 too")
    parser.add_argument("--onnx", action="store_true", help="int8 in onnxruntime too")
    chosen, data, differing = parser.parse_args(arguments), load("mnist", seed=0), 0
    for name, network in trained(data, convolutions=chosen.lenet5):
        for word, fit in {**GRIDS, SHIFTS: powers}.items():
            student = quantized(network, data.x_train[:2000], fit, input_bits=1 if word == SHIFTS else 10)
            whole = IntegerNetwork.of(student, shifts=word == SHIFTS)
            ours, simulated = whole.logits(data.x_test), np.concatenate([
                whole.simulation(data.x_test[i:i + 500].astype(np.float64))[0][-1]
                for i in range(0, len(data.x_test), 500)])
            outputs = int((ours != simulated).sum())
            classes = int((ours.argmax(axis=1) != simulated.argmax(axis=1)).sum())
            differing += outputs
            print(f"{name}, {word}: {outputs} of {ours.size} outputs differ, {classes} of {len(ours)} classes")
            if chosen.onnx and word == "int8":
                import onnxruntime

                session = onnxruntime.InferenceSession(proto_of(Model(student), (1, 28, 28)).SerializeToString())
                theirs = session.run(["y"], {"x": data.x_test.reshape(-1, 1, 28, 28)})[0]
                classes = int((theirs.argmax(axis=1) != simulated.argmax(axis=1)).sum())
                print(f"{name}, {word} in onnxruntime: {classes} of {len(ours)} classes differ")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
