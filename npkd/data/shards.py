"""A folder of .npz shards: examples that do not fit into memory, read a slice at a time and without pickle.

A shard holds an array ``x`` (n, ...) and, if there are labels, ``y`` (n,); other arrays are not read. Every .npz of the
folder is a shard; they are read in the order of their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any

from npkd.core.files import NewPath, reading
from npkd.core.filetypes import described
from npkd.core.npy import Header, names_of, open_array, slices
from npkd.core.types import Array
from npkd.core.validation import InputError

Pair = tuple[Array, Array | None]
"""Some examples (n, ...) and, where there are any, their labels (n,)."""
PARTS = 256
"""Parts of neighbouring shards at most, each the work of one task of a cluster: more shards are not more traffic."""


class Shards:
    """Shards that fit together, of a folder or the one that a path names: examples of one shape, labels in all of them
    or in none. Headers are read, no data.

    client      of dask.distributed, whose workers, which see the folder by the same path, add up the statistics
                (chapter 28); None: this process reads all
    files       in the order in which they are read;   counts  their numbers of examples;   examples  in all
    labelled    whether they hold y;   shape  of one example

    Raises InputError where there is none, where a file is no shard, and where shards do not fit together."""

    def __init__(self, folder: NewPath, *, client: Any = None) -> None:
        if client is not None and not hasattr(client, "submit"):
            raise InputError(f"shards: client is {client!r:.60}; it must be a dask.distributed.Client")
        path = Path(folder).absolute() if client is not None else Path(folder)
        self.client, self.files = client, tuple(sorted(path.glob("*.npz")) if path.is_dir() else [path])
        if not self.files:
            raise InputError(f"shards: {path} has no .npz file in it; each shard is an .npz with an array x")
        headers = [members(file) for file in self.files]
        self.shape, self.labelled = headers[0]["x"].shape[1:], "y" in headers[0]
        for file, header in zip(self.files, headers, strict=True):
            if header["x"].shape[1:] != self.shape:
                raise InputError(f"shards: examples of {file} have shape {header['x'].shape[1:]}, of {self.files[0]} "
                                 f"{self.shape}; they must agree")
            if ("y" in header) != self.labelled:
                with_y, without = (self.files[0], file) if self.labelled else (file, self.files[0])
                raise InputError(f"shards: {with_y} has labels y and {without} has none; all shards must have them or "
                                 "none")
        self.change: Callable[[Array], Array] | None = None
        self.counts = [header["x"].shape[0] for header in headers]
        self.examples = sum(self.counts)

    def __getstate__(self) -> dict[str, Any]:
        """What workers are sent: the client stays where it is."""
        return self.__dict__ | {"client": None}

    def changed(self, change: Callable[[Array], Array]) -> Shards:
        """These shards, of which every batch of x goes through ``change`` first."""
        one = copy(self)
        one.client, one.change = self.client, change
        return one

    def parts(self) -> list[list[int]]:
        """Indices of the files that each task reads, as many tasks as there are files with examples, or PARTS. They
        depend on nothing else."""
        files = [k for k, n in enumerate(self.counts) if n] or [0]
        n, count = len(files), min(len(files), PARTS)
        return [files[n * k // count:n * (k + 1) // count] for k in range(count)]

    def batches(self, rows: int, which: Sequence[int] | None = None) -> Iterator[Pair]:
        """One pass over all files or those ``which``: x (n, ...) and y (n,) as they are stored, n ≤ rows, in the order
        of the files. Memory: one slice, of a shard stored by columns all of it. Raises InputError for damaged shards
        (sums are checked)."""
        for path in self.files if which is None else [self.files[k] for k in which]:
            with reading("shards", path, "it must be an undamaged .npz file that can be read") as archive:
                parts = [slices(archive, name, rows) for name in ("x", "y")[:1 + self.labelled]]
                for part in zip(*parts, strict=True):
                    x = part[0] if self.change is None else self.change(part[0])
                    yield x, part[1] if self.labelled else None


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
