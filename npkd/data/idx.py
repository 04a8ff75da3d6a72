"""IDX files, the format of MNIST and its look-alikes: read, found on this machine, or downloaded.

The format is that of the MNIST page (LeCun, Cortes & Burges): two zero bytes, a code for the dtype, the number of axes,
every axis as a big-endian 32-bit number, then the values in C order, big-endian."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import math
import os
import urllib.error
import urllib.request
import zlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from npkd.core.files import NewPath, make_folder, reason, write_bytes
from npkd.core.npy import DEFLATE_RATIO, BoundedFile, read_bytes
from npkd.core.progress import NoProgress, Progress
from npkd.core.types import Array
from npkd.core.validation import InputError

DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""The dtype that each code of the format stands for."""
PARTS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
"""The four files of a data set, in the order of ``read_folder``'s arrays; each may end in .gz."""
SYSTEM = Path("/usr/share/datasets")
"""Where Debian's package dataset-fashion-mnist puts its files, in a folder fashion-mnist."""
WAIT = 30.0
"""Seconds after which a mirror that says nothing is given up."""
PIECE = 1 << 16
"""Bytes that are read at a time; a file that is larger is a stage of a progress, each hundredth a step."""


@dataclass(frozen=True)
class Source:
    """A public data set of four IDX files.

    mirrors     folders on the network, tried in this order; the file names there are PARTS with .gz
    shapes      of the four arrays;   sums  sha256 of the four files, uncompressed, where they are known"""

    mirrors: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...] = ((60000, 28, 28), (60000,), (10000, 28, 28), (10000,))
    sums: Mapping[str, str] = field(default_factory=dict)


SOURCES: Mapping[str, Source] = {
    "mnist": Source(
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        sums=dict(zip(PARTS, (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ), strict=True))),
    "fashion-mnist": Source(("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",))}
"""The data sets that ``find`` knows by name."""


def decode(file: IO[bytes], size: int, where: str) -> tuple[Array, str]:
    """The array in an IDX file of ``size`` bytes, plain or gzip, native and writable, and the sha256 of it unpacked.
    Memory: what the header declares. Raises InputError where that is not what follows."""
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    try:
        stream: IO[bytes] | gzip.GzipFile = gzip.GzipFile(fileobj=file) if packed else file
        return read_stream(stream, DEFLATE_RATIO * size if packed else size, where)
    except (OSError, EOFError, zlib.error) as error:
        words = "a damaged or truncated gzip file" if packed else "not readable"
        raise InputError(f"{where} is {words} ({error}); it must be a whole IDX file") from error
    except MemoryError as error:
        raise InputError(f"{where} does not fit into memory ({error}); give fewer examples") from error


def read_stream(stream: IO[bytes] | gzip.GzipFile, most: int, where: str) -> tuple[Array, str]:
    """The array in a plain IDX stream that can have ``most`` bytes, and the sha256 of all of it."""
    head = stream.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in DTYPES or not 1 <= head[3] <= 32:
        raise InputError(f"{where} begins with {head.hex() or 'nothing'}; an IDX file begins with 0000, dtype and axes")
    dtype, sides = np.dtype(DTYPES[head[2]]), stream.read(4 * head[3])
    if len(sides) < 4 * head[3]:
        raise InputError(f"{where} has {4 + len(sides)} bytes; its header alone needs {4 + 4 * head[3]}")
    shape = tuple(int(n) for n in np.frombuffer(sides, ">u4"))
    needed = 4 + len(sides) + dtype.itemsize * math.prod(shape)
    if needed > most or math.prod(n for n in shape if n) >= 2 ** 60:
        raise InputError(f"{where} has at most {most} bytes; an IDX file of shape {shape} has {needed}")
    try:
        raw = read_bytes(stream, needed - 4 - len(sides))
        if stream.read(1):
            raise ValueError("goes on behind its end")
    except ValueError as error:
        raise InputError(f"{where} {error}; an IDX file of shape {shape} has {needed} bytes") from error
    digest = hashlib.sha256(head + sides)
    digest.update(raw.data)
    array = raw.view(dtype).reshape(shape)
    if not array.dtype.isnative:
        array = array.byteswap(inplace=True).view(dtype.newbyteorder("="))
    return array, digest.hexdigest()


def read_idx(path: NewPath) -> Array:
    """The array in an IDX file, plain or gzip. Raises InputError where it is not one whole file that can be read."""
    return read_summed(path, f"read: {path}")[0]


def read_summed(path: NewPath, where: str) -> tuple[Array, str]:
    """The array in an IDX file, and the sha256 of its unpacked content."""
    try:
        with BoundedFile(path) as file:
            return decode(file, os.path.getsize(path), where)
    except OSError as error:
        raise InputError(f"read: {path}: {reason(error)}; it must be a file that can be read") from error


def check(content: tuple[Array, str], part: str, name: str, where: str) -> Array:
    """The array of one file of a public data set, with the sum of the file and its shape checked."""
    (array, digest), needed, shape = content, SOURCES[name].sums.get(part), SOURCES[name].shapes[PARTS.index(part)]
    if needed and digest != needed:
        raise InputError(f"{where} is corrupt: the sha256 of its content is {digest}; it must be {needed}")
    if array.shape != shape or array.dtype != np.uint8:
        raise InputError(f"{where} has shape {array.shape} of {array.dtype}; it must be {shape} of uint8")
    return array


def present(folder: Path, parts: Sequence[str] = PARTS) -> dict[str, Path]:
    """Those of the four files in a folder or up to two folders below, by part; a plain file before a compressed one.
    Their names may have a dot for the second dash. Raises InputError where a part lies in several folders as deep."""
    paths: dict[str, Path] = {}
    children = below(folder)
    for level in ([folder], children, [deeper for one in children for deeper in below(one)]):
        for part in (part for part in parts if part not in paths):
            names = [part, part.replace("-idx", ".idx")]
            names += [f"{name}.gz" for name in names]
            files = {place: place / name for place in level for name in reversed(names) if os.path.isfile(place / name)}
            if len(files) > 1:
                raise InputError(f"load: {folder} holds {part} in {' and '.join(map(str, list(files)[:2]))}; name the "
                                 "folder of one data set")
            paths.update((part, path) for path in files.values())
    return paths


def below(folder: Path) -> list[Path]:
    """The folders in a folder, in the order of their names; [] where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir())
    except OSError:
        return []


def cache_folder(name: str) -> Path:
    """Where downloads of a data set are kept: $XDG_CACHE_HOME/npkd/name, or ~/.cache/npkd/name."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return Path(cache if os.path.isabs(cache) else os.path.expanduser("~/.cache"), "npkd", name)


def fetch(url: str, most: int, progress: Progress) -> bytes:
    """The body of an answer. Raises OSError or HTTPException, also where it is above ``most`` bytes or incomplete."""
    try:
        with urllib.request.urlopen(url, timeout=WAIT) as answer:
            total, chunks, so_far, percent = int(answer.headers.get("Content-Length") or 0), [], 0, 0
            if total > PIECE:
                progress.begin("download", 100)
            while chunk := answer.read(PIECE):
                chunks.append(chunk)
                so_far += len(chunk)
                if so_far > most:
                    raise OSError(f"it gives more than {most} bytes")
                before, percent = percent, 100 * so_far // total if total > PIECE else 0
                for _ in range(before, percent):
                    progress.step(f"{so_far / 1e6:.1f} MB")
    except urllib.error.HTTPError as error:
        with closing(error):                     # it holds the connection
            raise OSError(f"{error.code} {error.reason}") from error
    if so_far < total:
        raise OSError(f"it broke off after {so_far} of {total} bytes")
    if percent:
        progress.begin("reading the data", 1)
    return b"".join(chunks)


def download(name: str, part: str, mirrors: Sequence[str], progress: Progress | None) -> Path:
    """Fetch one file of a public data set into the cache folder, from the first mirror that gives it unchanged. It is
    checked before it is written. Raises InputError that says what each mirror answered."""
    answers = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{part}.gz"
        try:
            data = fetch(url, 2 * math.prod(SOURCES[name].shapes[PARTS.index(part)]) + 4096, progress or NoProgress())
            check(decode(io.BytesIO(data), len(data), url), part, name, url)
        except (OSError, http.client.HTTPException, ValueError) as error:     # ValueError: no URL, no number
            answers.append(str(error) if isinstance(error, InputError) else f"{url}: {error}")
        else:
            path = make_folder(cache_folder(name)) / f"{part}.gz"
            write_bytes(path, data)
            return path
    tried = f" ({'; '.join(answers)})" if answers else ""
    raise InputError(f"{name}: {part} is neither on this machine nor on a mirror{tried}; put the four IDX files, plain "
                     f"or .gz, into {cache_folder(name)}, or into a folder {name} below the one that the environment "
                     "variable NPKD_DATA names")


def find(name: str, *, mirrors: Sequence[str] | None = None,
         progress: Progress | None = None) -> dict[str, Path]:
    """Paths of the four files of "mnist" or "fashion-mnist" by part (PARTS). They are not read yet.

    Searched for whole sets: $NPKD_DATA/name, the user's cache folder, /usr/share/datasets/name (Debian). What is then
    missing in the cache folder is downloaded; ``mirrors`` replaces the public ones, () keeps off the network. Raises
    InputError that says what is missing and where to put it."""
    if name not in SOURCES:
        raise InputError(f"find: name is {name!r}; it must be one of {', '.join(SOURCES)}")
    folder = os.environ.get("NPKD_DATA")
    for place in ([Path(folder, name)] if folder else []) + [cache_folder(name), SYSTEM / name]:
        paths = present(place)
        if len(paths) == len(PARTS):
            return paths
    mirrors, paths = SOURCES[name].mirrors if mirrors is None else mirrors, present(cache_folder(name))
    return {part: paths[part] if part in paths else download(name, part, mirrors, progress) for part in PARTS}


def read_set(name: str, *, mirrors: Sequence[str] | None = None,
             progress: Progress | None = None) -> list[Array]:
    """The four arrays of a public data set, in the order of PARTS, found by ``find`` and checked. Raises InputError as
    ``find``, and for a file whose sum or shape is not that of the data set."""
    arrays, paths = [], find(name, mirrors=mirrors, progress=progress)
    for part in PARTS:
        where = f"{name}: {paths[part]}"
        arrays.append(check(read_summed(paths[part], where), part, name, where))
    return arrays


def read_folder(folder: NewPath, parts: Sequence[str] = PARTS) -> list[Array]:
    """The four arrays of a look-alike of MNIST, in the order of ``parts``: any shape, any dtype of the format. Raises
    InputError for a file that is missing or not one whole IDX file."""
    paths = present(Path(folder), parts)
    for part in parts:
        if part not in paths:
            raise InputError(f"load: {folder} has no file {part}, plain or .gz; it must hold {', '.join(parts)}, at "
                             "most two folders deep")
    return [read_idx(paths[part]) for part in parts]
