"""Files that are written whole or not at all, and npkd's format: an .npz of arrays with a JSON header, no pickle.

A write goes to a temporary file beside the target and takes its name only when everything is on the disk. A full disk,
an interrupt or a crash leaves the old file, or none, never half of one."""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from npkd.core.filetypes import described
from npkd.core.npy import BoundedFile, NotNumbers, arrays_in, names_of, open_array, read_data
from npkd.core.types import Array
from npkd.core.validation import InputError

VERSION = 1
"""The newest version of the header that this npkd reads, and the one it writes."""
NewPath = str | os.PathLike[str]
"""What every function here takes for a path."""
BROKEN = (ValueError, KeyError, EOFError, struct.error, zipfile.BadZipFile, zlib.error, RuntimeError, OverflowError)
"""What reading a damaged or foreign zip archive may raise, apart from OSError."""
HEADER_LIMIT = 4_000_000
"""Bytes that the JSON header of a file may have: enough to select half a million inputs."""


@contextlib.contextmanager
def reading(who: str, path: NewPath, need: str) -> Iterator[zipfile.ZipFile]:
    """The .npz in an ordinary file, open for reading in bounded pieces. What goes wrong until it is closed becomes an
    InputError that says what the file is and what it must be, ``need``."""
    try:
        with BoundedFile(path) as file, zipfile.ZipFile(file) as archive:
            yield archive
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{who}: {path}: {reason(error)}; {need}") from error
    except MemoryError as error:
        raise InputError(f"{who}: {path} does not fit into memory ({error}); give it in parts") from error
    except NotNumbers as error:
        raise InputError(f"{who}: {path}: {error}; it must hold numbers") from error
    except BROKEN as error:
        what = "" if "\0" in str(path) or arrays_in(Path(path)) else described(Path(path))
        what = what or f"damaged, truncated or no .npz file ({error!s:.200})"
        raise InputError(f"{who}: {path}: {need}; it is {what}") from error


def reason(error: OSError) -> str:
    """What the system says: "No space left on device"."""
    return error.strerror or str(error) or type(error).__name__


def make_folder(path: NewPath) -> Path:
    """The folder, made with its parents where it is missing. Raises InputError where it cannot be made."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"make_folder: {path}: {reason(error)}; name a folder that can be written to") from error
    return Path(path)


def write_bytes(path: NewPath, data: bytes) -> None:
    """Write a file whole or not at all. An existing file is replaced in one step; its folder must be there. Raises
    InputError where the system refuses, with its reason: no such folder, no permission, a full disk."""
    path = Path(path)
    if os.path.exists(path) and not os.path.isfile(path):     # never put a file in the place of a device
        what = "a folder" if os.path.isdir(path) else "not an ordinary file"
        raise InputError(f"write: {path} is {what}; name a file")
    temporary = path.parent / f".{uuid4().hex}.tmp"
    try:
        # a number, no file object: an interrupt inside open would leave one half made
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(file, left):]
            os.fsync(file)                       # a disk that is full may say so only here
        finally:
            os.close(file)
        os.replace(temporary, path)
    except BaseException as error:               # also an interrupt
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise InputError(f"write: {path}: {reason(error)}; name a file in a folder with room") from error
        raise


def write_text(path: NewPath, text: str) -> None:
    """Write text in UTF-8 whole or not at all; line ends stay as they are. Raises InputError as ``write_bytes``."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))     # a name that is no Unicode must not stop a report


def write_json(path: NewPath, value: Any) -> None:
    """Write JSON whole or not at all, indented, keys in the order of ``value``, one line end at the end. Raises
    InputError as ``write_bytes``, and where ``value`` holds what JSON has no word for: NaN, infinity, arrays."""
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"write: {path}: {error}; JSON holds finite numbers, words, lists and tables") from error
    write_text(path, text + "\n")


def write_npz(path: NewPath, header: Mapping[str, Any], arrays: Mapping[str, Array], *, compress: bool = False) -> None:
    """Write arrays with a header as an .npz: whole or not at all, without pickle, the same bytes for the same content.

    header      JSON values, "format": "npkd-…" and "version": VERSION among them; stored as the array "header", uint8,
                with the names of the arrays under "arrays", so that one that was lost is missed
    arrays      by name, any shape, no objects; the order of the names does not matter
    compress    smaller and slower; the bytes then also depend on the zlib at hand

    Raises InputError as ``write_bytes``, and for a header or an array that could not be read back."""
    write_bytes(path, npz_bytes(header, arrays, compress=compress, who=f"write: {path}"))


def npz_bytes(header: Mapping[str, Any], arrays: Mapping[str, Array], *, compress: bool = False, who: str = "write"
              ) -> bytes:
    """The content of the file that ``write_npz`` writes. Raises InputError as it, where nothing is written."""
    if "header" in arrays:
        raise InputError(f"{who}: an array is called header; this name is taken")
    text = header_text(header, sorted(arrays), who)
    content = {"header": np.frombuffer(text.encode(), np.uint8), **{name: arrays[name] for name in sorted(arrays)}}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in content.items():
            if array.dtype.hasobject or array.dtype.names:
                raise InputError(f"{who}: array {name} holds objects or records; it must hold numbers")
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array, order="C"), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))     # the same content gives the same bytes
            info.create_system, info.external_attr = 3, 0o600 << 16     # the same on every system
            info.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
            archive.writestr(info, member.getvalue(), compresslevel=9 if compress else None)
    return stream.getvalue()


def header_text(header: Mapping[str, Any], names: list[str], who: str) -> str:
    """A header and the names of its arrays in JSON. Raises InputError for what ``parsed`` would not read."""
    if not str(header.get("format", "")).startswith("npkd-") or header.get("version") != VERSION:
        raise InputError(f"{who}: header is {dict(header)}; it needs \"format\": \"npkd-…\" and \"version\": {VERSION}")
    if "arrays" in header:
        raise InputError(f"{who}: a key of the header is called arrays; this name is taken")
    try:
        text = json.dumps({**header, "arrays": names}, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{who}: header: {error}; it must hold finite numbers, words, lists and tables") from error
    if len(text) > HEADER_LIMIT:
        raise InputError(f"{who}: the header has {len(text)} characters; it may have {HEADER_LIMIT}, use arrays")
    return text


def read_arrays(path: NewPath, names: tuple[str, ...] | None = None) -> dict[str, Array]:
    """The arrays of any .npz by name, or those of ``names`` that are in it; others are not read. Memory: what the
    headers of these arrays declare. Raises InputError where the file is missing, truncated, damaged (sums are checked)
    or no .npz, where an array is not as large as its header declares, or holds objects."""
    with reading("read", path, "it must be an undamaged .npz file that can be read") as archive:
        stored = [name for name in names_of(archive) if f"{name}.npy" in archive.NameToInfo]
        return {name: read_array(archive, name) for name in stored if names is None or name in names}


def read_array(archive: zipfile.ZipFile, name: str) -> Array:
    """One array of an archive. Raises ValueError, which names it, where it is damaged."""
    header, stream = open_array(archive, name)
    try:
        return read_data(stream, header)
    except ValueError as error:
        raise type(error)(f"array {name} {error}") from error


def read_npz(path: NewPath, kind: str, make: str = "") -> tuple[dict[str, Any], dict[str, Array]]:
    """Header and arrays of a file that ``write_npz`` wrote with "format": "npkd-<kind>"; ``make`` says how one is made.
    Raises InputError as ``read_arrays``, and where the file has no header (it is not npkd's), a header that is no JSON,
    another kind, a version newer than VERSION, or other members than the arrays written: none of them is then read."""
    who, need = f"read: {path}", f"it must be an npkd-{kind} file{make}"
    with reading("read", path, need) as archive:
        stored = names_of(archive)
        if "header.npy" not in archive.NameToInfo:
            raise InputError(f"{who} has no npkd header; {need}; it is {described(Path(path)) or 'an empty archive'}")
        text, stream = open_array(archive, "header")
        if text.dtype != np.uint8 or text.nbytes > HEADER_LIMIT:
            raise InputError(f"{who} has no npkd header, but one of {text.nbytes} bytes, {text.dtype}; {need}")
        header = parsed(read_data(stream, text).tobytes(), kind, who, need)
        names = sorted(set(stored) - {"header"})
        if names != header.pop("arrays", None) or not all(name.endswith(".npy") for name in archive.NameToInfo):
            raise InputError(f"{who} is damaged: it does not hold the arrays that its header names; {need}")
        return header, {name: read_array(archive, name) for name in names}


def parsed(text: bytes, kind: str, who: str, need: str) -> dict[str, Any]:
    """The JSON header of a file. Raises InputError for other text, another kind, and a version that is not known."""
    try:
        header = json.loads(text.decode(), parse_constant=int)      # int refuses NaN and Infinity, which are no JSON
    except (ValueError, RecursionError) as error:
        raise InputError(f"{who} has a header that is no JSON ({error}); {need}") from error
    if not isinstance(header, dict) or header.get("format") != f"npkd-{kind}":
        form = header.get("format") if isinstance(header, dict) else header
        raise InputError(f"{who} has the format {form!r:.60}; {need}")
    version = header.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise InputError(f"{who} has version {version!r:.60}; this npkd reads versions up to {VERSION}")
    return header
