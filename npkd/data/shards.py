"""A folder of .npz shards: examples that do not fit into memory, read a slice at a time and without pickle.

A shard holds an array ``x`` (n, ...) and, if there are labels, ``y`` (n,); other arrays are not read. Every .npz of the
folder is a shard; they are read in the order of their names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from npkd.core.files import NewPath, reading
from npkd.core.filetypes import described
from npkd.core.npy import Header, names_of, open_array, slices
from npkd.core.types import Array
from npkd.core.validation import InputError

Pair = tuple[Array, Array | None]
"""Some examples (n, ...) and, where there are any, their labels (n,)."""


@dataclass(frozen=True)
class Shards:
    """Shards that fit together: examples of one shape, labels in all of them or in none.

    files       in the order in which they are read;   labelled  whether they hold y
    examples    in all of them;   shape  of one example"""

    files: tuple[Path, ...]
    labelled: bool
    examples: int
    shape: tuple[int, ...]

    def batches(self, rows: int) -> Iterator[Pair]:
        """One pass: x (n, ...) and y (n,) as they are stored, n ≤ rows, in the order of the files. Memory: one slice,
        of a shard stored by columns all of it. Raises InputError for damaged shards (sums are checked)."""
        for path in self.files:
            with reading("shards", path, "it must be an undamaged .npz file that can be read") as archive:
                parts = [slices(archive, name, rows) for name in ("x", "y")[:1 + self.labelled]]
                for part in zip(*parts, strict=True):
                    yield part[0], part[1] if self.labelled else None


def members(path: Path) -> dict[str, Header]:
    """The headers of x and y in a shard. Raises InputError where it is no shard."""
    need = "a shard is an .npz with an array x (n, ...) and, for labels, y (n,)"
    with reading("shards", path, need) as archive:
        headers = {name: open_array(archive, name)[0] for name in names_of(archive) if name in ("x", "y")}
    if "x" not in headers:
        raise InputError(f"shards: {path} has no array x; {need}; it is {described(path) or 'an empty archive'}")
    x, y = headers["x"], headers.get("y")
    if len(x.shape) < 2 or 0 in x.shape[1:]:
        raise InputError(f"shards: {path}: x has shape {x.shape}; {need}")
    if y is not None and y.shape[:1] != x.shape[:1]:
        raise InputError(f"shards: {path}: y has shape {y.shape} and x {x.shape}; {need}")
    return headers


def open_shards(path: NewPath) -> Shards:
    """The shards of a folder, or the one that a path names: headers are read, no data. Raises InputError where there is
    none, where a file is no shard, and where shards do not fit together."""
    path = Path(path)
    files = sorted(path.glob("*.npz")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"shards: {path} has no .npz file in it; each shard is an .npz with an array x")
    headers = [members(file) for file in files]
    shape, labelled = headers[0]["x"].shape[1:], "y" in headers[0]
    for file, header in zip(files, headers, strict=True):
        if header["x"].shape[1:] != shape:
            raise InputError(f"shards: examples of {file} have shape {header['x'].shape[1:]}, of {files[0]} {shape}; "
                             "they must agree")
        if ("y" in header) != labelled:
            with_y, without = (files[0], file) if labelled else (file, files[0])
            raise InputError(f"shards: {with_y} has labels y and {without} has none; all shards must have them or none")
    return Shards(tuple(files), labelled, sum(header["x"].shape[0] for header in headers), shape)
