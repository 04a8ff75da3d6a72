"""A file as small as the values in it allow: a header of JSON, and arrays as whole numbers on grids or in a list.

    magic and version | CRC-32 of what follows, two lengths | header, deflated | raw numbers | decisions of the coder

What is read back is bit for bit what was written. Nothing is executed. docs/book/26-coding-and-cost.md.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from npkd.core.coding import Decoder, Encoder, integers, number
from npkd.core.files import HEADER_LIMIT, NewPath, header_text, parsed, reason
from npkd.core.filetypes import described
from npkd.core.grids import grid
from npkd.core.npy import BoundedFile
from npkd.core.types import Array
from npkd.core.validation import InputError

MAGIC = b"\x93npkz\r\n\1"
"""The first bytes; the last is the version. The line end is damaged where a file was taken for text."""
HEAD = struct.Struct("<III")
"""CRC-32 of all that follows it; bytes of the deflated header, and of the raw numbers."""
LARGEST, LEVELS, LONG, LISTED = 1 << 15, 4096, 8, "listed"
"""Whole numbers on a grid; values in a list; numbers in an option from which on it is coded, and the word for it."""
ENTRIES = 1024
"""Entries of arrays that a byte of decisions stands for at most: who declares more is refused before any is made."""
WORDS = (b'"max_pool","size":2}"conv2d","stride":1,"padding":0,"groups":1,"dilation":1}"gate","batch_norm"rows","raw"'
         b',"list","offset",[784],"<f4"["factor",[784],"<f4","list",1]],"format":"npkd-network","layers":[{"op":"sele'
         b'ct","options":{"kept":{"listed":300}},"running":0},{"op":"flatten","options":{"shape":[28,28,1]},"running"'
         b':0},{"op":"quantize","options":{"bits":8,"step":0.0,"zero":0},"running":0},{"op":"dense","options":{},"run'
         b'ning":0},{"op":"relu","options":{},"running":0}],"version":1}{"about":{},"arrays":[["0.b",[10],"<f4","grid'
         b'"],["0.w",[10,100],"<f4","grid"]')
"""What headers often hold: they are deflated as if this stood before them."""


def coded_bytes(header: Mapping[str, Any], arrays: Mapping[str, Array], who: str = "write") -> bytes:
    """The content of a coded file. ``header`` as of ``files.npz_bytes``; arrays of numbers, their order is no matter.

    Of each array the first that suits: equal steps for all of it, or for each row, of at most LARGEST; a list of at
    most LEVELS values; its bytes as they are. Raises InputError for a header or an array that could not be read back.
    """
    coder, raw, lists, told = Encoder(), bytearray(), list[Sequence[int]](), list[list[Any]]()
    plain = {**json.loads(header_text(header, [], who)), "arrays": []}
    small_header = lifted(plain, lists)
    for values in lists:
        listed(coder, values, len(values))
    for name in sorted(arrays):
        if arrays[name].dtype.kind not in "fiub":
            raise InputError(f"{who}: array {name} is of {arrays[name].dtype}; it must hold numbers")
        told.append([name, list(arrays[name].shape), arrays[name].dtype.str, *written(coder, raw, arrays[name], name)])
    text = json.dumps({**small_header, "arrays": told}, separators=(",", ":"))
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=WORDS)
    small, decisions = squeezer.compress(text.encode()) + squeezer.flush(), coder.bytes()
    entries = sum(arrays[name].size for name, _, _, form, *_ in told if form != "raw")
    rest = small + bytes(raw) + decisions.ljust(-(-entries // ENTRIES), b"\0")
    lengths = HEAD.pack(0, len(small), len(raw))[4:]
    return MAGIC + zlib.crc32(lengths + rest).to_bytes(4, "little") + lengths + rest


def lifted(value: Any, lists: list[Sequence[int]]) -> Any:
    """JSON with every long list of whole numbers replaced by {LISTED: its length}; the lists go to ``lists``. A table
    that looks like that itself has its value in a list."""
    if isinstance(value, dict):
        inner = {key: lifted(entry, lists) for key, entry in value.items()}
        return {LISTED: [inner[LISTED]]} if inner.keys() == {LISTED} else inner
    if not isinstance(value, list):
        return value
    if len(value) > LONG and all(type(v) is int and abs(v) < 1 << 60 for v in value):
        lists.append(value)
        return {LISTED: len(value)}
    return [lifted(entry, lists) for entry in value]


def put_back(value: Any, decoder: Decoder) -> Any:
    """The inverse of ``lifted``, in the same order."""
    if isinstance(value, dict):
        if value.keys() == {LISTED} and not isinstance(value[LISTED], list):
            return listed(decoder, (), value[LISTED])
        inner = value[LISTED] if value.keys() == {LISTED} else None
        return {key: put_back(entry if inner is None else inner[0], decoder) for key, entry in value.items()}
    return [put_back(entry, decoder) for entry in value] if isinstance(value, list) else value


def listed(coder: Encoder | Decoder, values: Sequence[int], length: int) -> list[int]:
    """Whole numbers by the difference of each to the one before: short where they ascend."""
    out, before = list[int](), -1
    for k in range(length):
        step = values[k] - before - 1 if values else 0
        zigzag = number(coder, 2 * step if step >= 0 else -2 * step - 1, LISTED)
        before += 1 + (zigzag >> 1 if zigzag & 1 == 0 else -(zigzag + 1 >> 1))
        out.append(before)
    return out


def written(coder: Encoder, raw: bytearray, a: Array, name: str) -> list[Any]:
    """Write an array in its shortest form; what the header tells of it."""
    rows = a.reshape(len(a), -1) if a.ndim > 1 and a.size else a.reshape(1, -1)
    for per_row in (False, True)[:1 + (a.ndim > 1)] if a.dtype in (np.float32, np.float64) and a.size else ():
        try:
            steps, q = grid(rows, per_channel=per_row, most=LARGEST)
        except InputError:
            continue
        if same((steps[:, None] * q).astype(a.dtype), rows):
            raw += steps.astype(a.dtype).tobytes()
            integers(coder, q, name)
            return ["rows" if per_row else "grid"]
    bits = np.ascontiguousarray(a).reshape(-1).view(f"V{a.dtype.itemsize}")
    values, index, counts = np.unique(bits, return_inverse=True, return_counts=True)
    if len(values) <= LEVELS and 2 * len(values) < a.size:
        order = np.argsort(-counts, kind="stable")                           # the value that is met most is 0
        raw += values[order].tobytes()
        integers(coder, np.argsort(order)[index].reshape(rows.shape), name)
        return ["list", len(values)]
    raw += a.tobytes()
    return ["raw"]


def same(a: Array, b: Array) -> bool:
    """Whether two arrays are equal bit for bit."""
    return np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()


def is_coded(path: NewPath) -> bool:
    """Whether a file begins as a coded one does; False where it cannot be read."""
    try:
        with BoundedFile(path) as file:
            return file.read(len(MAGIC) - 1) == MAGIC[:-1]
    except (OSError, ValueError):                                            # a path with a zero in it is no path
        return False


def read_coded(path: NewPath, kind: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """Header and arrays of a coded file with "format": "npkd-<kind>". Raises InputError for a file that is missing,
    cut, damaged (a sum of all of it is checked), another kind, or newer. A file of n bytes gives at most ENTRIES n
    numbers, and a header of at most 2 HEADER_LIMIT characters."""
    who, need = f"read: {path}", "it must be an undamaged .npkz file that this npkd can read"
    try:
        with BoundedFile(path) as file:
            data = file.readall() or b""
    except OSError as error:
        raise InputError(f"{who}: {reason(error)}; {need}") from error
    if not data.startswith(MAGIC):
        newer = is_coded(path) and len(data) > len(MAGIC)
        what = "written by a newer npkd" if newer else described(Path(path)) or "damaged, or no coded file"
        raise InputError(f"{who}: {need}; it is {what}")
    try:
        crc, small, raw = HEAD.unpack_from(data, len(MAGIC))
        rest = data[len(MAGIC) + HEAD.size:]
        if zlib.crc32(data[len(MAGIC) + 4:]) != crc or small + raw > len(rest):
            raise ValueError("its sum or its lengths are wrong")
        text = zlib.decompressobj(-15, WORDS).decompress(rest[:small], 2 * HEADER_LIMIT)
        header = parsed(text, kind, who, need)
        return restored(header, rest[small:small + raw], rest[small + raw:])
    except InputError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, MemoryError, struct.error, zlib.error,
            RecursionError) as error:
        raise InputError(f"{who} is damaged or was cut ({error!s:.100}); {need}") from error


def restored(header: dict[str, Any], raw: bytes, coded: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """What was written. Raises ValueError and its like where the parts do not fit together."""
    told, decoder, arrays, at = header.pop("arrays"), Decoder(coded), dict[str, Array](), 0
    if sum(abs(math.prod(shape)) for _, shape, _, form, *_ in told if form != "raw") > ENTRIES * len(coded):
        raise ValueError("it declares more than it can hold")

    def take(dtype: np.dtype[Any], count: int) -> Array:
        nonlocal at
        at += dtype.itemsize * count
        return np.frombuffer(raw, dtype, count, at - dtype.itemsize * count)

    header = put_back(header, decoder)
    for name, shape, kind, form, *more in told:
        dtype, size = np.dtype(str(kind)), math.prod(shape)
        if dtype.kind not in "fiub" or not isinstance(name, str) or min(shape, default=1) < (form != "raw"):
            raise ValueError("an array holds no numbers")
        rows = (shape[0], size // shape[0]) if len(shape) > 1 and form != "raw" else (1, size)
        if form == "raw":
            arrays[name] = take(dtype, size).reshape(shape).copy()
        elif form == "list":
            values, index = take(dtype, *more), integers(decoder, np.zeros(rows, np.int8), name)
            arrays[name] = values[index].reshape(shape)
        else:
            steps = take(dtype, rows[0] if form == "rows" else 1).astype(np.float64)
            q = integers(decoder, np.zeros(rows, np.int8), name)
            arrays[name] = (steps[:, None] * q).astype(dtype).reshape(shape)
    if at != len(raw):
        raise ValueError("bytes are left over")
    return header, arrays
