"""Data as people have it: a table in text, one of whose columns is to be told, arrays in .npy, EMNIST's names."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from npkd.core.files import reason
from npkd.core.npy import BoundedFile, read_data, read_header
from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.data.idx import below, read_folder

EMNIST = re.compile(r"emnist-(\w+)-train-images-idx3-ubyte(\.gz)?")
"""The name of a file of each of EMNIST's sets."""
REPEATED = 5
"""Examples that a class has on average at least: with fewer whole numbers are taken for numbers to predict."""


def frame_of(path: Path) -> Any:
    """A table in text as a DataFrame: a header line, then rows, commas, semicolons or tabs between the columns.
    Raises InputError where it cannot be read or lacks a value, with line and column, and without pandas."""
    try:
        pandas: Any = importlib.import_module("pandas")
    except ImportError as error:
        raise InputError(f"load: {path} needs pandas, which cannot be imported ({error}); to install it: pip install "
                         "'npkd[pandas]'") from error
    try:
        with open(path, encoding="utf-8-sig") as file:
            first = file.readline()
        frame = pandas.read_csv(path, sep=max(",;\t", key=first.count), skipinitialspace=True, encoding="utf-8-sig")
    except (OSError, ValueError) as error:                        # pandas' own are ValueErrors, and of Unicode
        words = reason(error) if isinstance(error, OSError) else str(error).strip().replace("\n", " ")
        raise InputError(f"load: {path}: {words:.150}; it must be a table in UTF-8 with a header line") from error
    rows, columns = np.nonzero(frame.isna().to_numpy())
    if len(rows):
        raise InputError(f"load: {path} has no value in line {rows[0] + 2}, column {frame.columns[columns[0]]!r}; all "
                         "columns need one in every row: leave rows out, or fill them, as pandas' dropna and fillna do")
    return frame


def read_table(path: Path, label: str | None) -> tuple[Array, Array, tuple[str, ...]]:
    """What the columns of a table hold, x (N, I) float64; what ``label`` holds, y (N,); and the words of the classes.

    Words, and whole numbers, are classes, numbered in sorted order; with decimals they are numbers to predict, and
    there are no words. Raises InputError as ``frame_of``, for an unknown label, and for other columns of words."""
    frame = frame_of(path)
    if label not in frame.columns:
        raise InputError(f"load: --label is {label!r}; it must be the column of {path} that is to be told, one of "
                         f"{', '.join(map(str, frame.columns)):.300}")
    y, features = frame[label].to_numpy(), frame.drop(columns=[label])
    if features.empty:
        what = f"the column {label!r} alone" if len(frame) else "a header and no rows"
        raise InputError(f"load: {path} has {what}; there must be rows, and columns to tell it by")
    wrong = [name for name, column in features.items() if column.dtype.kind not in "biuf"]
    if wrong:
        columns = ", ".join(f'"{name}"' for name in wrong)
        raise InputError(f"load: {path} holds words in {columns}; this makes numbers of them: import pandas; "
                         f'pandas.get_dummies(pandas.read_csv("{path}"), columns=[{columns}]).to_csv("{path.stem}'
                         '-numbers.csv", index=False)')
    if y.dtype.kind == "f":
        return features.to_numpy(np.float64), y, ()
    words, y = np.unique(y if y.dtype.kind in "iu" else y.astype(str), return_inverse=True)
    if len(words) * REPEATED > len(y) and len(words) > 2:
        raise InputError(f"load: {label!r} of {path} has {len(words)} different values in {len(y)} rows, too many for "
                         "classes; numbers to predict are written with decimals, as 12.0")
    return features.to_numpy(np.float64), y, tuple(map(str, words))


def read_npy(path: Path) -> Array:
    """The array in an .npy file. Raises InputError where it is not one whole array of numbers."""
    try:
        with BoundedFile(path) as file:
            return read_data(file, read_header(file))
    except (OSError, ValueError) as error:
        words = reason(error) if isinstance(error, OSError) else str(error)
        raise InputError(f"load: {path}: {words:.150}; it must be an .npy file of numbers") from error


def npy_folder(folder: Path, names: tuple[str, ...]) -> list[Array] | None:
    """The arrays ``names``.npy of a folder, None where it holds no .npy. Raises InputError where some are missing."""
    if not any(folder.glob("*.npy")):
        return None
    missing = [f"{name}.npy" for name in names if not (folder / f"{name}.npy").is_file()]
    if missing:
        raise InputError(f"load: {folder} has no {' and no '.join(missing)}; it must hold "
                         f"{', '.join(f'{name}.npy' for name in names)}")
    return [read_npy(folder / f"{name}.npy") for name in names]


def emnist(path: Path) -> tuple[list[Array], tuple[str, ...]] | None:
    """The four arrays of a set of EMNIST, and the words of its classes, where they are not numbered from 0 (letters,
    from 1 on). ``path``: one of its files, or a folder with one set, at most two deep; None where it is neither.

    Pictures stay as the files hold them, rows and columns exchanged. Raises InputError for a folder of several sets."""
    places = [path, *below(path), *(deep for one in below(path) for deep in below(one))] if os.path.isdir(path) else []
    found = {match[1]: place for place in places for name in os.listdir(place) if (match := EMNIST.fullmatch(name))}
    if one := EMNIST.fullmatch(re.sub("-(train|test)-(images-idx3|labels-idx1)-", "-train-images-idx3-", path.name)):
        found = {one[1]: path.parent}
    if not found:
        return None
    if len(found) > 1:
        raise InputError(f"load: {path} holds {', '.join(sorted(found))} of EMNIST; name one of the files of the one "
                         f"that is meant, such as emnist-{min(found)}-train-images-idx3-ubyte")
    (name, folder), = found.items()
    arrays = read_folder(folder, [f"emnist-{name}-{part}" for part in (
        "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "test-images-idx3-ubyte", "test-labels-idx1-ubyte")])
    least, most = int(arrays[1].min(initial=1)), int(arrays[1].max(initial=0))
    if least:
        arrays[1::2] = (y - y.dtype.type(least) for y in arrays[1::2])
    return arrays, tuple(map(str, range(least, most + 1))) if least else ()
