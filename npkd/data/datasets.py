"""The data of a run: embedded digits, MNIST and its look-alikes, own arrays; scaled, with a validation part split off.

Nothing is learnt from the validation and test parts: the scaling is that of the training part left after the split."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from npkd.core.files import read_arrays, read_npz
from npkd.core.filetypes import described, reading_line
from npkd.core.progress import Progress, shown
from npkd.core.types import Array
from npkd.core.validation import InputError, as_array, finite
from npkd.core.validation import described as in_words
from npkd.data.idx import SOURCES, present, read_folder, read_set
from npkd.data.tables import emnist, npy_folder, read_table
from npkd.nn.scaling import Scaling, flat

if TYPE_CHECKING:
    from npkd.data.stream import Stream

DIGITS = Path(__file__).with_name("digits.npz")
"""The embedded data: 5,620 handwritten digits, 8×8, values 0 … 16. Its header names source and licence."""
NAMES = ("x_train", "y_train", "x_test", "y_test")
"""The arrays that an .npz of one's own has to hold."""
FEWEST = 10
"""Fewest training examples to split and to learn from; fewest test examples whose scale is judged."""
PIXELS = 64
"""Features, 8×8, from which flat fractions, 0 … 1, are taken for pictures."""
OTHER_SCALE = 10
"""How many times wider or narrower than the training part the test part may spread before it is refused."""
TEST = 0.2
"""Fraction of a table that becomes its test part."""
SPREAD = 4000
"""Examples of a part from which its spread is taken, about."""
DECIDING = 100
"""Validation examples below which their error, in steps of more than one point, decides little."""


@dataclass(frozen=True, eq=False)
class Data:
    """A data set, split in three and scaled.

    name            what it was asked for by, a file or folder by its own name
    x_…             (N, I) float32, scaled
    y_…             (N,) int64, classes 0 … C − 1; or (N, O) float32, numbers to predict, scaled by ``targets``
    classes         C, at least 2: 0 … C − 1 all occur in the training and validation parts together; or O
    shape           of one example before it was flattened: (28, 28) for pictures
    scaling         what the inputs went through, learnt on x_train alone
    stream          passes over all to learn from in batches (n, I), x_train a sample of it; None: x_train is all
    targets         what numbers to predict went through, learnt on y_train alone; None: y are classes
    words           of the classes, where the files have words, or numbers that do not begin with 0

    Raises InputError for x of another dtype."""

    name: str
    x_train: Array
    y_train: Array
    x_validation: Array
    y_validation: Array
    x_test: Array
    y_test: Array
    classes: int
    shape: tuple[int, ...]
    scaling: Scaling
    stream: Stream | None = None
    targets: Scaling | None = None
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part in ("x_train", "x_validation", "x_test"):
            if (dtype := getattr(self, part).dtype) != np.float32:
                raise InputError(f"Data: {part} is {dtype}; it must be float32, as from_arrays makes it")


def split(y: Array, fraction: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Indices of the training and of the validation part, both ascending, the classes of y (N,) in their proportions. A
    class with n ≥ 2 examples gives round(fraction · n) of them, at least one, drawn without replacement, to the
    validation part; a class with one keeps it. Raises InputError unless 0 < fraction ≤ 0.5."""
    if not 0 < fraction <= 0.5:
        raise InputError(f"split: validation is {fraction}; it must be above 0 and at most 0.5")
    drawn = []
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        if len(members) > 1:
            drawn.append(rng.permutation(members)[:max(1, round(fraction * len(members)))])
    validation = np.sort(np.concatenate(drawn)) if drawn else np.zeros(0, np.int64)
    return np.setdiff1d(np.arange(len(y)), validation, assume_unique=True), validation


def labels(who: str, name: str, y: Array, examples: int, classes: int | None) -> Array:
    """y as int64, or of floats ``numbers``. Raises InputError unless it is one of these: integers (examples,) from 0
    on, below ``classes`` if that is known, or truth values; with ``classes`` 1, of one logit, 0 and 1 in floats too."""
    if classes == 1 and y.dtype.kind == "f" and y.shape in ((examples,), (examples, 1)):
        if not np.isin(y, (0, 1)).all():
            raise InputError(f"{who}: {name} holds {y[~np.isin(y, (0, 1))][0]:g}, and a sigmoid follows the output; "
                             "they must be the classes 0 and 1: without labels the teacher's probabilities are learnt")
        y = y.reshape(examples).astype(np.int64)
    if y.dtype.kind == "f" and y.ndim in (1, 2) and len(y) == examples and y.size:
        return numbers(who, name, y)
    if y.shape != (examples,):
        hint = ""
        if y.ndim == 2:
            hint = f"; of one-hot rows give {name}.argmax(axis=1)" if y.shape[1] > 1 else f"; give {name}.ravel()"
        raise InputError(f"{who}: {name} has shape {y.shape}; it must be ({examples},), a label for each example{hint}")
    if y.dtype.kind not in "iub":
        raise InputError(f"{who}: {name} is of {y.dtype}; labels must be integers, the classes numbered from 0, or "
                         f"floats, numbers to predict: of words give np.unique({name}, return_inverse=True)[1]")
    if not examples:
        raise InputError(f"{who}: {name} is empty; there must be at least one label")
    below = examples if classes is None else max(classes, 2)
    if y.min() < 0 or y.max() >= below:
        raise InputError(f"{who}: {name} holds labels {y.min()} … {y.max()}; classes are from 0 to below {below}")
    return y.astype(np.int64)


def numbers(who: str, name: str, y: Array) -> Array:
    """Numbers to predict, (N,) or (N, O) floats, as (N, O) float64. Raises InputError unless they are finite."""
    if not np.isfinite(y).all():
        raise InputError(f"{who}: {name} holds {y[~np.isfinite(y)][0]}; every number to predict must be finite")
    return y.reshape(len(y), -1).astype(np.float64)


def from_arrays(name: str, arrays: Sequence[Array], *, seed: int, validation: float = 0.1,
                limits: tuple[float, float] | None = None) -> Data:
    """Data from one's own arrays.

    arrays      x_train (N, ...), y_train (N,), x_test (M, ...), y_test (M,): x real numbers, y classes from 0 on;
                or y floats (N,) or (N, O), numbers to predict, which are centred and divided by their deviation
    seed        draws the validation part, in the proportions of the classes;   validation  its fraction, at most 0.5
    limits      of all values, mapped to 0 … 1. Without them: smallest and largest value of the training part for
                pictures (``pictures``), mean and deviation of each feature there for everything else (tables)

    Raises InputError for arrays that do not fit one another, NaN or infinity, labels out of range, classes without a
    training example, one class only, too few examples, and a test part on another scale than the training part."""
    x, y, x_test, y_test = (as_array(name, a) for a in arrays)
    for key, part in (("x_train", x), ("x_test", x_test)):
        flat(f"{name}: {key}", part)
        if np.issubdtype(part.dtype, np.floating):
            with np.errstate(over="ignore", invalid="ignore"):
                finite(name, **{key: part})
    if x.shape[1:] != x_test.shape[1:]:
        raise InputError(f"{name}: examples of x_train are {x.shape[1:]}, of x_test {x_test.shape[1:]}; all must agree")
    if len(x) < FEWEST:
        raise InputError(f"{name}: x_train has {len(x)} examples; it must have at least {FEWEST}")
    y = labels(name, "y_train", y, len(x), None)
    regression = y.dtype.kind == "f"
    if y.min() == y.max():
        what = "number" if regression else "class"
        raise InputError(f"{name}: y_train holds the {what} {y.flat[0]} alone; there must be at least two")
    classes = y.shape[1] if regression else every_class(name, y)
    y_test = labels(name, "y_test", y_test, len(x_test), None if regression else classes)
    if y_test.shape[1:] != y.shape[1:] or y_test.dtype != y.dtype:
        raise InputError(f"{name}: y_train is {in_words(y)}, y_test {in_words(y_test)}; they must be of one kind")
    if seed < 0:
        raise InputError(f"{name}: seed is {seed}; it must not be negative")
    training, held_out = split(np.zeros(len(y)) if regression else y, validation, np.random.default_rng(seed))
    x_train = x[training]
    if not len(held_out):
        raise InputError(f"{name}: y_train has no class with two examples; no validation part can be split off")
    if limits is None and pictures(x_train):
        limits = x_train.min().item(), x_train.max().item()
    scaling = Scaling.range(*limits, math.prod(x.shape[1:])) if limits else Scaling.standard(x_train)
    scaled, scaled_test = scaling.apply(x_train), scaling.apply(x_test)
    one_scale(name, scaled, scaled_test)
    targets = Scaling.standard(y[training]) if regression else None
    labels_of = targets.apply if targets else np.asarray
    return Data(name, scaled, labels_of(y[training]), scaling.apply(x[held_out]), labels_of(y[held_out]), scaled_test,
                labels_of(y_test), classes, x.shape[1:], scaling, targets=targets)


def pictures(x: Array) -> bool:
    """Do all values of x (N, ...) share one scale? So do bytes, several axes, and at least PIXELS flat fractions."""
    flat_floats = x.ndim == 2 and x.shape[1] >= PIXELS and np.issubdtype(x.dtype, np.floating)
    return bool(x.dtype == np.uint8 or x.ndim > 2 or (flat_floats and x.min() >= 0 and x.max() <= 1))


def every_class(who: str, y: Array) -> int:
    """How many classes y (N,) holds, one more than the largest. Raises InputError unless each of 0 … C − 1 occurs."""
    stored, counts = np.unique(y, return_counts=True)
    if len(stored) <= stored[-1]:
        missing = int(np.flatnonzero(stored != np.arange(len(stored)))[0])
        raise InputError(f"{who}: y_train holds {len(stored)} different labels, {stored[0]} … {stored[-1]} "
                         f"({stored[-1]} in {counts[-1]} of {len(y)} examples), and none is {missing}; classes are "
                         "numbered from 0: give np.unique(y, return_inverse=True)[1], or mend the label")
    return len(stored)


def one_scale(who: str, x: Array, x_test: Array) -> None:
    """Raise InputError where the test part (M, I) spreads OTHER_SCALE times wider or narrower than the training part.
    Spread: mean distance of a value from its feature's mean, in about SPREAD examples, evenly spaced. Fewer than FEWEST
    test examples are not judged."""
    parts = (a[::max(1, len(a) // SPREAD)] for a in (x, x_test))
    spread, spread_test = (float(abs(a - a.mean(axis=0, dtype=np.float64)).mean()) for a in parts)
    if len(x_test) >= FEWEST and spread_test and not spread / OTHER_SCALE <= spread_test <= spread * OTHER_SCALE:
        raise InputError(f"{who}: x_test is on another scale than x_train: once scaled alike its values lie "
                         f"{spread_test:.3g} from their mean, those of x_train {spread:.3g}; prepare both alike")


def undecided(examples: int) -> str:
    """A sentence that warns of a validation part of so few examples; an empty string from DECIDING on."""
    words = (f"The validation part has {examples} example{'s' * (examples != 1)}, each worth "
             f"{100 / max(examples, 1):.3g} points of error: it decides little; give more examples.")
    return "" if examples >= DECIDING else words


def load(name_or_path: str, *, seed: int, validation: float = 0.1, mirrors: Sequence[str] | None = None,
         progress: Progress | bool | None = None, label: str | None = None) -> Data:
    """Data by name, or from a path.

    name_or_path    "digits" (embedded), "mnist" or "fashion-mnist" (npkd.data.idx.find says where they are looked for);
                    an .npz with x_train, y_train, x_test and y_test, or a folder with these as .npy; a folder with four
                    IDX files named as MNIST's or EMNIST's, or one of the latter (npkd.data.tables.emnist); or a table
                    in text, .csv (npkd.data.tables.read_table). Names go before paths
    seed            draws the validation part, and the test part of a table, a fifth of it
    validation      fraction of the training part, at most 0.5
    mirrors         places to download from instead of the public ones; () keeps off the network
    progress        told of downloads; True shows bars, in a pipe lines
    label           column of a table that is to be told by the others

    Pictures of bytes, and the digits, are mapped from their full range to 0 … 1; other inputs as ``from_arrays`` says.
    Raises InputError for an unknown name, files that are missing or damaged, and data that cannot be learnt from."""
    name, arrays, limits, words = stored(name_or_path, seed=seed, mirrors=mirrors, progress=progress, label=label)
    return replace(from_arrays(name, arrays, seed=seed, validation=validation, limits=limits), words=words)


def stored(name_or_path: str, *, seed: int, mirrors: Sequence[str] | None = None, label: str | None = None,
           progress: Progress | bool | None = None
           ) -> tuple[str, list[Array], tuple[float, float] | None, tuple[str, ...]]:
    """What ``load`` reads: a name, the four arrays as they are, limits of all values, and words of the classes."""
    path, limits, name, words = Path(name_or_path), None, name_or_path, tuple[str, ...]()
    table = path.suffix.lower() in (".csv", ".tsv") and name not in SOURCES and os.path.isfile(path)
    if label is not None and not table:
        missing = path.suffix.lower() in (".csv", ".tsv") and not os.path.isfile(path)
        raise InputError(f"load: label is {label!r}, and data is {name!r}; " + (
            "there is no such file" if missing else "only a table, .csv or .tsv, has columns"))
    if name == "digits":
        header, arrays_by_name = read_npz(DIGITS, "digits")
        arrays, limits = [arrays_by_name[key] for key in NAMES], (0, header["largest"])
    elif name in SOURCES:
        with shown(progress) as told:
            arrays, limits = read_set(name, mirrors=mirrors, progress=told), (0, 255)
    elif table:
        x, y, words = read_table(path, label)
        if len(y) < FEWEST:
            raise InputError(f"load: {path} has {len(y)} rows; it must have at least {FEWEST}")
        rest, test = split(np.zeros(len(y)) if y.dtype.kind == "f" else y, TEST, np.random.default_rng([seed, 1]))
        arrays, name = [x[rest], y[rest], x[test], y[test]], path.stem
    elif (found := emnist(path)) is not None:
        (arrays, words), limits, name = found, (0, 255), path.name.partition("-train-")[0].partition("-test-")[0]
    elif os.path.exists(name) and (line := reading_line(path)) and not (path.is_dir() and (
            present(path) or any(path.glob("*.npy")))):
        raise InputError(f"load: {path} is {line}")
    elif os.path.isdir(name):
        arrays, name = npy_folder(path, NAMES) or read_folder(path), path.resolve().name.removesuffix(".npz")
        limits = (0, 255) if arrays[0].dtype == np.uint8 else None
    elif path.suffix == ".npz" or os.path.isfile(path):
        by_name = read_arrays(path, NAMES)
        for key in NAMES:
            if key not in by_name:
                what = described(path) or "an empty archive"
                raise InputError(f"load: {path} has no array {key}; it must hold {', '.join(NAMES)}, and is {what}")
        arrays, name = [by_name[key] for key in NAMES], path.resolve().name.removesuffix(".npz")
    else:
        raise InputError(f"load: data is {name!r}; it must be digits, {', '.join(SOURCES)}, the path of an .npz file "
                         f"with {', '.join(NAMES)}, of a table (.csv), or a folder with four IDX or .npy files")
    return name, arrays, limits, words


def sizes(data: Data) -> dict[str, int]:
    """Numbers of examples."""
    return {"train": len(data.x_train), "validation": len(data.x_validation), "test": len(data.x_test)}
