"""Arrays in the .npy format, members of a zip archive: read within the size that their headers declare.

Source of the format: NumPy Enhancement Proposal 1. A header is matched against a pattern, never evaluated as Python."""

from __future__ import annotations

import gzip
import io
import math
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from npkd.core.types import Array

CHUNK_BYTES = 1 << 20
"""Bytes that are read at a time; also the most that the directory of an archive may have, some 17,000 members."""
DEFLATE_RATIO = 1032
"""Bytes that one byte of a deflated stream can stand for at most: what promises more is truncated or forged."""

_VALUE = r"""('[^'\\]*'|"[^"\\]*"|True|False|\([\d\s,]*\))"""
_ENTRY = rf"""\s*['"](descr|fortran_order|shape)['"]\s*:\s*{_VALUE}\s*"""
_HEADER = re.compile(rf"\s*\{{{_ENTRY},{_ENTRY},{_ENTRY}(?:,\s*)?\}}\s*", re.ASCII)
_NUMBERS = re.compile(r"[<>|=]?([?]|b1|[iu][1248]|f(2|4|8|12|16)|c(8|16|24|32)|[SU][1-9]\d{0,8}|[mM]8(\[\w+\])?)",
                      re.ASCII)


class NotNumbers(ValueError):
    """An array that holds something else than numbers, text or times."""


@dataclass(frozen=True)
class Header:
    """What the header of an array declares.

    shape, dtype    of the array;   by_columns  whether it is stored in Fortran's order, first axis fastest
    start           bytes that the header takes itself"""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    by_columns: bool
    start: int

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * self.dtype.itemsize


class BoundedFile(io.FileIO):
    """An ordinary file, read CHUNK_BYTES at a time at most. Raises OSError for folders, pipes and devices."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
            raise OSError(0, "it is a device or a pipe, not an ordinary file")
        super().__init__(path)

    def read(self, size: int | None = -1, /) -> bytes:
        """At most ``size`` bytes. Raises BadZipFile for more than CHUNK_BYTES."""
        if size is not None and size > CHUNK_BYTES:
            raise zipfile.BadZipFile(f"a directory of {size} bytes")
        return super().read(size) or b""


def read_header(stream: IO[bytes]) -> Header:
    """The header of an .npy stream, read up to its data. Raises ValueError unless it is of numbers, text or times."""
    start = stream.read(8)
    if len(start) < 8 or start[:6] != b"\x93NUMPY" or start[6:] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise ValueError(f"begins with {start!r}")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(stream.read(width), "little")
    text = stream.read(length) if length <= 10_000 else b""                           # NumPy's own limit
    entries = _HEADER.fullmatch(text.decode("latin1"))
    values = dict(zip(entries.groups()[::2], entries.groups()[1::2], strict=True)) if entries else {}
    if len(text) != length or len(values) != 3 or values["fortran_order"] not in ("True", "False"):
        raise ValueError(f"has the header {text[:60]!r}")
    descr, shape = values["descr"][1:-1], [word for word in re.split(r"[\s,]+", values["shape"].strip("()")) if word]
    if not _NUMBERS.fullmatch(descr):
        raise NotNumbers("holds objects" if descr.lstrip("<>|=") == "O" else f"is of {descr:.20}")
    if "(" not in values["shape"] or len(shape) > 32 or max(map(len, shape), default=0) > 18:
        raise ValueError(f"has the shape {values['shape']:.60}")
    try:
        dtype = np.dtype(descr)
    except TypeError as error:                     # a unit of time that there is not, a float that this machine has not
        raise NotNumbers(f"is of {descr:.20}") from error
    header = Header(tuple(map(int, shape)), dtype, values["fortran_order"] == "True" and len(shape) > 1,
                    8 + width + length)
    if math.prod(n for n in header.shape if n) * header.dtype.itemsize >= 2 ** 63:
        raise ValueError(f"has the shape {values['shape']:.60}")
    return header


def open_array(archive: zipfile.ZipFile, name: str) -> tuple[Header, IO[bytes]]:
    """Header and data, not read yet, of the member ``name``.npy of an archive. Raises ValueError where the member is
    not as large as its header declares, or larger than deflate can make it."""
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"array {name} is compressed in a way that no .npz is")
    stream = archive.open(info)
    try:
        header = read_header(stream)
    except ValueError as error:
        raise type(error)(f"array {name} {error}") from error
    if header.start + header.nbytes != info.file_size or info.file_size > DEFLATE_RATIO * (info.compress_size + 1):
        size = info.file_size - header.start
        raise ValueError(f"array {name} declares {header.nbytes} bytes and has {size}, in {info.compress_size}")
    return header, stream


def read_data(stream: IO[bytes], header: Header) -> Array:
    """The array behind a header. Raises ValueError where the stream ends early or goes on behind it."""
    raw = read_bytes(stream, header.nbytes)
    if stream.read(1):                                 # reading on to the end is also what checks the sum of an archive
        raise ValueError("goes on behind its end")
    flat = raw.view(header.dtype)
    return flat.reshape(header.shape[::-1]).T if header.by_columns else flat.reshape(header.shape)


def read_bytes(stream: IO[bytes] | gzip.GzipFile, count: int) -> Array:
    """The next ``count`` bytes, (count,) uint8. Raises ValueError where there are fewer."""
    raw = np.empty(count, np.uint8)
    for i in range(0, count, CHUNK_BYTES):
        piece = stream.read(min(CHUNK_BYTES, count - i))
        if len(piece) != min(CHUNK_BYTES, count - i):
            raise ValueError(f"ends after {i + len(piece)} of {count} bytes")
        raw[i:i + len(piece)] = np.frombuffer(piece, np.uint8)
    return raw


def slices(archive: zipfile.ZipFile, name: str, rows: int) -> Iterator[Array]:
    """The array ``name``, ``rows`` of its first axis at a time; read whole where it is stored by columns. Raises
    ValueError where it ends early."""
    header, stream = open_array(archive, name)
    with stream:
        if header.by_columns:
            whole = read_data(stream, header)
            yield from (np.ascontiguousarray(whole[i:i + rows]) for i in range(0, len(whole), rows))
            return
        n, one = header.shape[0], math.prod(header.shape[1:]) * header.dtype.itemsize
        for i in range(0, n, rows):
            count = min(rows, n - i)
            yield read_bytes(stream, count * one).view(header.dtype).reshape(count, *header.shape[1:])


def names_of(archive: zipfile.ZipFile) -> list[str]:
    """Names of all members, the arrays without their .npy. Raises ValueError where a name stands twice."""
    names = [name.removesuffix(".npy") for name in archive.namelist()]
    if len(set(names)) < len(names):
        raise ValueError("it holds a name twice")
    return names


def arrays_in(path: Path) -> list[str]:
    """Names of the members of an archive, [] where it is none. Nothing of them is read."""
    try:
        with BoundedFile(path) as file, zipfile.ZipFile(file) as archive:
            return names_of(archive)
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, OverflowError):
        return []
