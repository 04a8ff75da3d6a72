"""Do the C header and predict.py give npkd's class on all 10,000 test pictures of MNIST?

    python -m reference.benchmarks.exports [--lenet5] [--sanitise]         a minute; with LeNet-5 some minutes

LeNet-300-100 and LeNet-5, trained for an epoch or two (how good they are does not matter here), as they are, in int8,
and in dyadic numbers by shifts and additions alone. Each is written, compiled with -Wall -Wextra -Werror -std=c99, and
run, as its predict.py is, on the raw bytes. A line for each: classes that agree with npkd's, of floats the least
distance of the two largest logits, bytes of the object code. Exit code 1 where a class differs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from npkd.compression.quantization import quantized
from npkd.data.datasets import load
from npkd.data.idx import read_set
from npkd.interop import c, python_code
from npkd.interop.plain import Plain, answers
from npkd.nn.model import Model
from npkd.pipeline.steps import GRIDS
from reference.benchmarks.integer_pass import SHIFTS, powers, trained

SANITISERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def object_bytes(header: Path) -> str:
    """text, data and bss of the object code of a header, compiled for size here."""
    code = header.with_suffix(".c")
    code.write_text(f'#include "{header}"\n', encoding="utf-8")
    subprocess.run(["cc", "-std=c99", "-Os", "-c", str(code), "-o", str(code.with_suffix(".o"))], check=True)
    sizes = subprocess.run(["size", str(code.with_suffix(".o"))], check=True, capture_output=True, text=True).stdout
    return "text {}, data {}, bss {} bytes".format(*sizes.splitlines()[1].split()[:3])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each network and form; 1 where a class differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lenet5", action="store_true", help="LeNet-5 too")
    parser.add_argument("--sanitise", action="store_true", help="under the address and undefined-behaviour sanitisers")
    chosen, data, differing = parser.parse_args(arguments), load("mnist", seed=0), 0
    raw, flags = read_set("mnist")[2].reshape(-1, 784), SANITISERS if chosen.sanitise else ()
    for name, network in trained(data, convolutions=chosen.lenet5):
        for word in ("float", "int8", SHIFTS):
            fit = powers if word == SHIFTS else GRIDS.get(word)
            student = network if fit is None else quantized(
                network, data.x_train[:2000], fit, input_bits=1 if word == SHIFTS else 10).astype(np.float32)
            model = Model(student, data.scaling)
            plain, two = Plain.of(model), np.sort(model.logits(raw), axis=1)[:, -2:]
            expected = plain.answers(raw)
            with tempfile.TemporaryDirectory() as folder:
                header, file = Path(folder, "student.h"), Path(folder, "predict.py")
                c.write(header, model)
                python_code.write(file, model)
                found = {"C": answers(header, raw, flags=flags), "predict.py": answers(file, raw)}
                size = object_bytes(header)
            said = ", ".join(f"{where} {(got == expected).sum():,}" for where, got in found.items())
            differing += sum(int((got != expected).sum()) for got in found.values())
            print(f"{name}, {word} ({plain.numbers}): of {len(raw):,} classes agree: {said}; least margin "
                  f"{(two[:, 1] - two[:, 0]).min():.1e}, right {(expected == data.y_test).mean():.2%}; {size}",
                  flush=True)
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
