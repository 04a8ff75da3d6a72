"""The state of a run that is not done, in one file: its settings, and the last checkpoint of each stage of training.

What lies between the stages (removal, layer by layer) depends on their networks alone: a run that goes on computes it
again, and ends with the same weights as a run that was not broken off; where pictures are moved, up to the rounding of
their logits, which are computed in other batches.
"""

from __future__ import annotations

import dataclasses
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from npkd import __version__
from npkd.core.files import VERSION, read_npz, write_npz
from npkd.core.types import Array
from npkd.core.validation import InputError
from npkd.data.datasets import Data
from npkd.nn.network import Network
from npkd.pipeline.progress import Checkpoint

LEAST_SECONDS, SHARE = 1.0, 0.03                            # between two writes; most of the run's time for them


def fingerprint(data: Data) -> int:
    """A checksum of the examples and labels that a run trains on."""
    checksum = 0
    for a in (data.x_train, data.y_train, data.x_validation, data.y_validation):
        checksum = zlib.crc32(a.data if a.flags.c_contiguous else a.tobytes(), checksum)
    return checksum


def named(prefix: str, network: Network) -> dict[str, Array]:
    """The arrays of a network by name: "<prefix><layer>.<parameter>" and "<prefix><layer>.running<moment>"."""
    return {f"{prefix}{i}.{name}{j}": a for i, layer in enumerate(network.layers)
            for name, arrays in (("", layer.params), ("running", layer.running)) for j, a in enumerate(arrays)}


def restored(network: Network, arrays: Mapping[str, Array], prefix: str, running: Sequence[int]) -> Network:
    """The network with arrays that ``named`` gave, ``running`` moments in each layer. Raises KeyError, IndexError or
    ValueError where they do not fit."""
    layers = {}
    for i, layer in enumerate(network.layers):
        params = tuple(arrays[f"{prefix}{i}.{j}"] for j in range(len(layer.params)))
        if any(p.shape != q.shape or p.dtype != q.dtype for p, q in zip(params, layer.params, strict=True)):
            raise ValueError(f"layer {i} is of another shape")
        moments = tuple(arrays[f"{prefix}{i}.running{j}"] for j in range(running[i]))
        layers[i] = dataclasses.replace(layer, params=params, running=moments)
    return network.replace(layers)


class CheckpointFile:
    """Checkpoints by stage, in memory and in a file; ``seconds`` that a run which goes on took before.

    settings    what the run was begun with, as JSON, its "data" by name;   resume  the run goes on with the file
    Raises InputError where the file of a run that goes on is damaged, or of a run on other data.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], data: Data, *, resume: bool) -> None:
        self.path, self.settings, self.data = path, settings, fingerprint(data)
        self.stages: dict[str, Checkpoint] = {}
        self.stored: dict[str, tuple[Mapping[str, Any], dict[str, Array]]] = {}
        self.seconds, self.began = 0.0, time.perf_counter()
        self.next_write, self.unwritten = 0.0, False
        if resume:
            self.read()
        else:
            self.write()

    def read(self) -> None:
        """Read what a run that was broken off has left."""
        header, arrays = read_npz(self.path, "checkpoint")
        if header.get("data") != self.data:
            raise InputError(f"resume: {self.settings['data']} holds other examples than when the run in "
                             f"{self.path.parent} was begun; give it those, or begin the run again")
        try:
            self.seconds = float(header["seconds"])
            for k, stage in enumerate(header["stages"]):
                inner = {name.partition(".")[2]: a for name, a in arrays.items() if name.startswith(f"{k}.")}
                self.stored[stage["stage"]] = stage, inner
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"resume: {self.path} is damaged ({error!r:.80}); begin the run again") from error

    def kept(self, stage: str, network: Network) -> Checkpoint | None:
        """The checkpoint of a stage that begins with ``network``, whose layers say where the arrays belong."""
        if stage not in self.stored:
            return None
        about, arrays = self.stored.pop(stage)
        try:
            latest = restored(network, arrays, "", about["running"])
            optimiser = tuple(arrays[f"optimiser{j}"] for j in range(about["optimiser"]))
            epochs, best = tuple((note, record) for note, record in about["epochs"]), None
            if about["best"] is not None:
                epoch, validation = about["best"]
                same = epoch == len(epochs)
                best = epoch, validation, latest if same else restored(network, arrays, "best", about["running"])
            self.stages[stage] = Checkpoint(epochs, latest, optimiser, about["rng"], best)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"resume: {self.path} does not fit this run ({error!r:.80}); begin it again") from error
        return self.stages[stage]

    def keep(self, stage: str, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint in the place of the last one of its stage, and write the file if it is time."""
        self.stages[stage], self.unwritten = checkpoint, True
        if time.perf_counter() >= self.next_write:
            self.write()

    def write(self) -> None:
        """Write all checkpoints."""
        started = time.perf_counter()
        stages, arrays = [], dict[str, Array]()
        for k, (stage, checkpoint) in enumerate(self.stages.items()):
            layers = checkpoint.network.layers
            running, optimiser = [len(layer.running) for layer in layers], len(checkpoint.optimiser)
            stages.append({"stage": stage, "epochs": checkpoint.epochs, "rng": checkpoint.rng, "running": running,
                           "optimiser": optimiser, "best": checkpoint.best and checkpoint.best[:2]})
            arrays |= named(f"{k}.", checkpoint.network)
            if checkpoint.best and checkpoint.best[2] is not checkpoint.network:
                arrays |= named(f"{k}.best", checkpoint.best[2])
            arrays |= {f"{k}.optimiser{j}": a for j, a in enumerate(checkpoint.optimiser)}
        write_npz(self.path, {"format": "npkd-checkpoint", "version": VERSION, "npkd": __version__,
                              "settings": self.settings, "data": self.data, "stages": stages,
                              "seconds": self.seconds + started - self.began}, arrays)
        ended = time.perf_counter()
        self.next_write, self.unwritten = ended + max(LEAST_SECONDS, (ended - started) / SHARE), False

    def flush(self) -> None:
        """Write what is not written yet."""
        if self.unwritten:
            self.write()

    def last_written(self) -> str:
        """The last stage that the file holds and its epochs, as words; "" where it holds none."""
        try:
            stages = read_npz(self.path, "checkpoint")[0]["stages"]
        except InputError:
            return ""
        return f"{stages[-1]['stage']}, epoch {len(stages[-1]['epochs'])}" if stages else ""

    def discard(self) -> None:
        """Remove the file where it holds no training: there is nothing to go on with."""
        if not self.stages and not self.stored:
            self.path.unlink(missing_ok=True)
