"""What a run is, in full, and where its result is kept: in a file named by the hash of everything it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from npkd.core.files import reason, write_json
from npkd.core.validation import InputError
from npkd.pipeline.recipe import Recipe

VERSION = 4
"""Part of every hash: raised whenever the same setting would give another result."""

LATER: Mapping[str, object] = {"network": "perceptron", "statistics": 0, "spare": 1.0, "kind": "macs", "tutor": None,
                               "adversary": 0.0}
"""Fields that came later than the first runs, with what those did: such values are not in the hash."""

OLD_NAMES: Mapping[str, str] = {
    "distil_from": "tutor", "learning_rate": "rate", "weight_decay": "decay", "batch_size": "batch",
    "label_weight": "labels", "student_learning_rate": "student_rate", "student_weight_decay": "student_decay",
    "noise_std": "noise", "mixup_alpha": "mix", "max_shift": "jitter", "adversarial_eps": "adversary",
    "balance_exponent": "spare", "epochs": "final_epochs"}
"""Names of fields when the first runs were stored: hashes and files go on using them."""

NEW_FIELDS = ("keep_inputs", "distil_from", "validation", "sample", "steps", "task")
"""Fields of a recipe that came with version 0.2; with their defaults they are not in the hash."""


@dataclass(frozen=True)
class TeacherSetting:
    """A teacher: it is trained once for each seed and shared by all methods.

    data        a name or path for npkd.data.datasets.load;   seed  of the split and of the training
    examples    of the training part that are used, the first ones after the split; None: all
    kind        a word for tables: "plain", "moved";   recipe  hidden widths and how it is trained
    """

    data: str
    examples: int | None
    kind: str
    recipe: Recipe
    seed: int

    def __str__(self) -> str:
        return f"teacher {self.kind}, seed {self.seed}"


@dataclass(frozen=True)
class Setting:
    """A run: a method makes a student of at most ``macs`` multiply-accumulates, or so many of another ``kind``.

    method          one of npkd.experiments.methods.NAMES;   keep_inputs  no input is removed
    recipe          rounds, their epochs, the last distillation, and how it is done
    widths_of       None: the method shares the budget itself. Else the run of our method whose widths, round by round,
                    it gets; networks from scratch get its inputs too
    kind            what is counted: "macs", "parameters" (weights and biases), or another of target.SIZES
    distil_from     None, or a network trained on the same part whose answers replace the teacher's
    """

    teacher: TeacherSetting
    method: str
    macs: int
    recipe: Recipe
    keep_inputs: bool = False
    widths_of: Setting | None = None
    kind: str = "macs"
    distil_from: TeacherSetting | None = None

    def __post_init__(self) -> None:
        teacher, source = self.teacher, self.distil_from or self.teacher
        if (teacher.data, teacher.examples, teacher.seed) != (source.data, source.examples, source.seed):
            raise InputError(f"setting: distil_from learns {source.data} with seed {source.seed}, the teacher "
                             f"{teacher.data} with seed {teacher.seed}; data, examples and seed must agree, or one of "
                             f"them knows the other's validation part")

    @property
    def epochs(self) -> int:
        """Passes over the data in all: rounds and the last distillation."""
        return (self.recipe.rounds - 1) * self.recipe.round_epochs + self.recipe.epochs

    def __str__(self) -> str:
        how = (" at our widths" if self.widths_of else "") + (", from a better network" if self.distil_from else "")
        counted = "MACs" if self.kind == "macs" else self.kind
        return f"{self.method}{how}, {self.macs} {counted}, seed {self.teacher.seed}"


Unit = TeacherSetting | Setting


def named(unit: Unit | Recipe) -> dict[str, Any]:
    """Fields by their names in hashes and files, also of parts, without those that LATER and NEW_FIELDS leave out."""
    new = NEW_FIELDS if isinstance(unit, Recipe) else ()
    values = {OLD_NAMES.get(field.name, field.name): getattr(unit, field.name) for field in fields(unit)
              if field.name not in new or getattr(unit, field.name) != field.default}
    return {name: named(value) if isinstance(value, Setting | TeacherSetting | Recipe) else value
            for name, value in values.items() if name not in LATER or value != LATER[name]}


def key(unit: Unit) -> str:
    """SHA-256 of the setting as JSON with sorted keys, the kind of unit and VERSION beside it, in hexadecimal."""
    content = {"what": type(unit).__name__, "version": VERSION, "setting": named(unit)}
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def digest(units: Sequence[Unit]) -> str:
    """SHA-256 of many settings in their order, VERSION left out: with other settings it is another one."""
    return hashlib.sha256(json.dumps([named(unit) for unit in units], sort_keys=True).encode()).hexdigest()


def path_of(unit: Unit, folder: Path) -> Path:
    """The file that says how a unit ended; a teacher's network lies beside it as an .npz of the same name."""
    return folder / f"{'teacher-' if isinstance(unit, TeacherSetting) else ''}{key(unit)}.json"


def write(unit: Unit, result: dict[str, Any], folder: Path) -> None:
    """Keep the result of a unit with its setting. Raises InputError where the system refuses to write."""
    content = {"format": "npkd-run", "version": VERSION, "setting": named(unit), "result": result}
    write_json(path_of(unit, folder), content)


def stored_json(path: Path) -> Any:
    """What a file of JSON holds, None where there is none. Raises InputError where it cannot be read."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"runs: {path}: {reason(error)}; it must be a file that can be read") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"runs: {path} is no JSON ({error}); remove it, and the run is done again") from error


def read(unit: Unit, folder: Path) -> dict[str, Any] | None:
    """The result of a unit, None where it has not been run. Raises InputError for a damaged or foreign file."""
    path = path_of(unit, folder)
    if (stored := stored_json(path)) is None:
        return None
    same = isinstance(stored, dict) and stored.get("setting") == json.loads(json.dumps(named(unit)))
    if not same or not isinstance(stored.get("result"), dict):
        raise InputError(f"runs: {path} is not the run of its name; remove it, and the run is done again")
    return dict(stored["result"])
