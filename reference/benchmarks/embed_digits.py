"""Make npkd/digits.npz, the data that travels inside the package, from the two original text files.

    python -m reference.benchmarks.embed_digits FOLDER [FILE.npz]

FOLDER holds optdigits.tra and optdigits.tes of the UCI Machine Learning Repository, unchanged: their sha256 is
verified. Every line is 64 integers 0 … 16 (an 8×8 picture, row by row: pixels that are on in blocks of 4×4) and the
digit.
"""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from npkd.core.files import reason, write_npz
from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.data.datasets import DIGITS

SUMS = {
    "optdigits.tra": "e1b683cc211604fe8fd8c4417e6a69f31380e0c61d4af22e93cc21e9257ffedd",
    "optdigits.tes": "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8",
}
"""sha256 of the original files."""

HEADER = {
    "format": "npkd-digits",
    "version": 1,
    "title": "Optical Recognition of Handwritten Digits",
    "creators": "E. Alpaydin and C. Kaynak",
    "year": 1998,
    "publisher": "UCI Machine Learning Repository",
    "doi": "10.24432/C50P49",
    "licence": "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/",
    "changes": "the two text files stored as arrays of bytes; no value changed",
    "largest": 16,
    "sha256": SUMS,
}


def read_part(path: Path) -> tuple[Array, Array]:
    """Pictures (N, 8, 8) and digits (N,), uint8. Raises InputError where the file is missing or not the original."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"embed_digits: {path}: {reason(error)}; it must be a file that can be read") from error
    found, needed = hashlib.sha256(data).hexdigest(), SUMS[path.name]
    if found != needed:
        raise InputError(f"embed_digits: {path} has the sha256 {found}; it must be the original file with {needed}")
    rows = np.loadtxt(io.BytesIO(data), np.uint8, delimiter=",")
    return rows[:, :64].reshape(-1, 8, 8), rows[:, 64]


def main(arguments: Sequence[str]) -> int:
    if not 1 <= len(arguments) <= 2:
        print("usage: python -m reference.benchmarks.embed_digits FOLDER [FILE.npz]", file=sys.stderr)
        return 2
    folder, target = Path(arguments[0]), Path(arguments[1]) if arguments[1:] else DIGITS
    try:
        x_train, y_train = read_part(folder / "optdigits.tra")
        x_test, y_test = read_part(folder / "optdigits.tes")
        arrays = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
        write_npz(target, HEADER, arrays, compress=True)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{target.name}: {len(x_train)} + {len(x_test)} digits, {target.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
