"""A file as small as the values in it allow: a header of JSON, and arrays as whole numbers on grids or in a list.

    magic, version, CRC-32 and length of the rest | header, deflated | raw bytes | decisions of the arithmetic coder

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

from npkd.core.coding import LEAST, Decoder, Encoder, integers, number
from npkd.core.files import NewPath, reason
from npkd.core.filetypes import described
from npkd.core.grids import grid
from npkd.core.npy import BoundedFile
from npkd.core.types import Array
from npkd.core.validation import InputError

MAGIC = b"\x93npkz\r\n\1"
"""The first bytes; the last is the version. The line end is damaged where a file was taken for text."""
HEAD = struct.Struct("<IIII")
"""CRC-32 of what follows it; bytes of the header, of it when it is inflated, of the raw bytes."""
LARGEST, LEVELS, LONG, MOST = 1 << 15, 4096, 8, 1 << 24
"""Whole numbers on a grid; values in a list; numbers in an option from which on it is coded; bytes of a header."""


def coded_bytes(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """The content of a coded file. ``header``: JSON values; arrays of numbers, in any order of their names.

    Of each array the first that suits: equal steps for all of it, or for each row, of at most LARGEST; a list of at
    most LEVELS values; its bytes as they are."""
    coder, raw, lists, told = Encoder(), bytearray(), list[Sequence[int]](), list[list[Any]]()
    small_header = lifted(dict(header), lists)
    for k, values in enumerate(lists):
        listed(coder, values, len(values), k)
    for name in sorted(arrays):
        told.append([name, list(arrays[name].shape), arrays[name].dtype.str, *written(coder, raw, arrays[name], name)])
    text = json.dumps([small_header, told], separators=(",", ":"), allow_nan=False)
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    small = squeezer.compress(text.encode()) + squeezer.flush()
    rest = small + bytes(raw) + coder.bytes()
    return MAGIC + HEAD.pack(zlib.crc32(rest), len(small), len(text.encode()), len(raw)) + rest


def lifted(value: Any, lists: list[Sequence[int]]) -> Any:
    """JSON with every long list of whole numbers replaced by {"listed": its length}; the lists go to ``lists``."""
    if isinstance(value, Mapping):
        return {key: lifted(entry, lists) for key, entry in value.items()}
    if not isinstance(value, (list, tuple)):
        return value
    if len(value) > LONG and all(type(v) is int for v in value):
        lists.append(value)
        return {"listed": len(value)}
    return [lifted(entry, lists) for entry in value]


def put_back(value: Any, decoder: Decoder, count: list[int]) -> Any:
    """The inverse of ``lifted``, in the same order."""
    if isinstance(value, dict):
        if value.keys() == {"listed"}:
            count[0] += 1
            return listed(decoder, [0] * value["listed"], value["listed"], count[0] - 1)
        return {key: put_back(entry, decoder, count) for key, entry in value.items()}
    return [put_back(entry, decoder, count) for entry in value] if isinstance(value, list) else value


def listed(coder: Encoder | Decoder, values: Sequence[int], length: int, k: int) -> list[int]:
    """Whole numbers by the difference of each to the one before: short where they ascend."""
    out, before = list[int](), 0
    for value in values[:length]:
        step = value - before - 1
        zigzag = number(coder, 2 * step if step >= 0 else -2 * step - 1, ("list", k))
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
    except OSError:
        return False


def read_coded(path: NewPath) -> tuple[dict[str, Any], dict[str, Array]]:
    """Header and arrays of a coded file. Raises InputError for a file that is missing, cut, damaged (a sum is checked),
    another kind, or newer; it takes no more memory than LEAST decisions a byte can fill."""
    who, need = f"read: {path}", "it must be an undamaged .npkz file that this npkd can read"
    try:
        with BoundedFile(path) as file:
            data = file.readall() or b""
    except OSError as error:
        raise InputError(f"{who}: {reason(error)}; {need}") from error
    if not data.startswith(MAGIC):
        newer = is_coded(path) and len(data) > len(MAGIC)
        what = "written by a newer npkd" if newer else described(Path(path)) or "damaged, or no coded file"
        raise InputError(f"{who} is {what}; {need}")
    try:
        crc, small, length, raw = HEAD.unpack_from(data, len(MAGIC))
        rest = data[len(MAGIC) + HEAD.size:]
        if zlib.crc32(rest) != crc or length > MOST or small + raw > len(rest):
            raise ValueError("its sum or its lengths are wrong")
        text = zlib.decompressobj(-15).decompress(rest[:small], length + 1)
        if len(text) != length:
            raise ValueError("the length of its header is wrong")
        header, told = json.loads(text)
        return restored(header, told, rest[small:small + raw], rest[small + raw:])
    except (ValueError, TypeError, KeyError, LookupError, AttributeError, OverflowError, MemoryError, struct.error,
            zlib.error, RecursionError) as error:
        raise InputError(f"{who} is damaged or was cut ({error!s:.100}); {need}") from error


def restored(header: Any, told: Any, raw: bytes, coded: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """What was written. Raises ValueError and its like where the parts do not fit together."""
    room = LEAST * (len(coded) + 8)
    entries = sum(math.prod(shape) for _, shape, _, kind, *_ in told if kind != "raw")
    if not isinstance(header, dict) or entries > room or any(min(shape, default=1) < 0 for _, shape, *_ in told):
        raise ValueError("it declares more than it can hold")
    decoder, arrays, at = Decoder(coded), dict[str, Array](), 0

    def take(dtype: np.dtype[Any], count: int) -> Array:
        nonlocal at
        at += dtype.itemsize * count
        return np.frombuffer(raw, dtype, count, at - dtype.itemsize * count)

    header = put_back(header, decoder, [0])
    for name, shape, kind, form, *more in told:
        dtype, size = np.dtype(str(kind)), math.prod(shape)
        if dtype.kind not in "fiub" or not isinstance(name, str):
            raise ValueError("an array holds no numbers")
        rows = (shape[0], size // shape[0]) if len(shape) > 1 and shape[0] else (1, size)
        if form == "raw":
            arrays[name] = take(dtype, size).reshape(shape).copy()
        elif form == "list":
            values, index = take(dtype, more[0]), integers(decoder, np.zeros(rows, np.int8), name)
            arrays[name] = values[index].reshape(shape)
        else:
            steps = take(dtype, rows[0] if form == "rows" else 1).astype(np.float64)
            arrays[name] = (steps[:, None] * integers(decoder, np.zeros(rows, np.int8), name)).astype(
                dtype).reshape(shape)
    if at != len(raw):
        raise ValueError("bytes are left over")
    return header, arrays
