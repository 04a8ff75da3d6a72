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
COMMAS = ((", thousands=','", r"[+-]?\d{1,3}(,\d{3})*(\.\d+)?"),
          (", thousands='.', decimal=','", r"[+-]?[\d.]+(,\d+)?"))
DATE = r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T]\d.*)?"
"""How pandas reads numbers with commas in them, and what these look like; what dates look like."""
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
        frame = pandas.read_csv(path, sep=separator(path), skipinitialspace=True, encoding="utf-8-sig")
    except (OSError, ValueError) as error:                        # pandas' own are ValueErrors, and of Unicode
        words = reason(error) if isinstance(error, OSError) else str(error).strip().replace("\n", " ")
        raise InputError(f"load: {path}: {words:.150}; it must be a table in UTF-8 with a header line") from error
    unnamed = [name for name in frame.columns if str(name).startswith("Unnamed: ")]
    frame = frame.drop(columns=[name for name in unnamed if frame[name].isna().all()])       # a comma ends each line
    if not isinstance(frame.index, pandas.RangeIndex):
        raise InputError(f"load: {path} has a value more in its rows than names in its header; name every column, and "
                         "end no line with a comma")
    if left := [name for name in unnamed if name in frame]:
        raise InputError(f"load: {path} has a column without a name, number {[*frame.columns].index(left[0]) + 1}, as "
                         f"pandas writes numbers of rows; this leaves the first one out: "
                         f"{rewritten(path, ', index_col=0')}")
    rows, columns = np.nonzero(frame.isna().to_numpy())
    if len(rows):
        raise InputError(f"load: {path} has no value in line {rows[0] + 2}, column {frame.columns[columns[0]]!r}; all "
                         "columns need one in every row: leave rows out, or fill them, as pandas' dropna and fillna do")
    return frame


def separator(path: Path) -> str:
    """What stands between the columns of a table: of commas, semicolons and tabs what its first line has most of."""
    with open(path, encoding="utf-8-sig") as file:
        return max(",;\t", key=file.readline().count)


def line_for(path: Path, words: Any) -> str:
    """The line of Python that makes numbers of columns of words: of numbers with commas, of dates, of categories."""
    kinds, more = {name: column.astype(str) for name, column in words.items()}, ""
    for option, pattern in COMMAS[::-1] if separator(path) == ";" else COMMAS:
        numbers = [name for name, column in kinds.items() if column.str.fullmatch(pattern).all()]
        more = more or option * bool(numbers)
        kinds = {name: column for name, column in kinds.items() if name not in numbers}
    dates = [name for name, column in kinds.items() if column.str.fullmatch(DATE).all()]
    change = "".join(f't["{name}"] = pandas.to_datetime(t["{name}"]).astype("int64") / 1e9; ' for name in dates)
    rest = ", ".join(f'"{name}"' for name in kinds if name not in dates)
    return rewritten(path, more, change + f"t = pandas.get_dummies(t, columns=[{rest}]); " * bool(rest))


def rewritten(path: Path, more: str, change: str = "") -> str:
    """A line of Python that reads a table, changes it, and writes it beside."""
    more = f', sep="{separator(path)}"'.replace("\t", "\\t") * (separator(path) != ",") + more
    return (f'import pandas; t = pandas.read_csv("{path}"{more}); {change}t.to_csv("{path.stem}-numbers.csv", '
            'index=False)')


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
    commas = all(frame[label].astype(str).str.fullmatch(COMMAS[1][1])) and frame[label].dtype.kind not in "biuf"
    wrong = [name for name, column in features.items() if column.dtype.kind not in "biuf"] + [label] * commas
    if wrong:
        columns = ", ".join(f'"{name}"' for name in wrong)
        raise InputError(f"load: {path} holds words in {columns}; this makes numbers of them: "
                         f"{line_for(path, frame[wrong])}")
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
