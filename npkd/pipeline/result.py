"""What a compression gives: the student, and what is known of it. What is measured is what is delivered."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from npkd import __version__
from npkd.core.files import NewPath
from npkd.core.types import Array
from npkd.data.batches import plain
from npkd.data.datasets import undecided
from npkd.interop.entry import Entry
from npkd.interop.onnx_out import write as write_onnx
from npkd.interop.torch_out import to_torch
from npkd.nn import cost
from npkd.nn.fast.workspace import predict
from npkd.nn.model import Model
from npkd.nn.model import load as load_model
from npkd.nn.model import save as save_model
from npkd.nn.network import Network
from npkd.nn.ops import Op
from npkd.nn.scaling import Scaling
from npkd.pipeline.chain import StepReport
from npkd.pipeline.target import Target
from npkd.sparsity.layerwise import Distilled, LayerReport
from npkd.surgery.widths import widths_of

ABOUT = {"npkd": __version__, "made_by": "npkd.compress"}
"""What the file of a student says of itself."""


@dataclass(frozen=True, eq=False)
class CompressionResult:
    """A smaller network, and what is known of it.

    student, teacher    networks: x (N, I) float32 -> logits (N, C), I the features of an example, flattened
    scaling             of a teacher that came with one; it goes in front of both
    rounds, budgets     the rounds of removal, in order, as sparsity.layerwise.distil reports them; the size allowed
    examples, seen      how many examples the statistics were gathered from, and how many of them the last distillation
                        was shown, 0 without one
    held_out            examples that neither was given: what follows is of them, the student saved and loaded again;
                        with ``all_at_last`` the last distillation was
    agreement           fraction to which student and teacher give the same class
    labelled            are there labels? Without, the teacher's classes are the labels of teacher_error (0) and
                        student_error (1 − agreement)
    steps               of a chain, a report of each
    regression          the outputs are numbers: an error is 1 − R², agreement R² of the student for the teacher's
    target, target_words    how small it was to be
    entry               how examples came: so are ``to_torch`` and ``to_onnx``
    about               what the file says of itself, see ``compress.delivered``
    checked             of a teacher of another library in words how its outputs and those of ``teacher`` differ
    difference          largest difference of the outputs that cutting neurons out made in any round, or the change back
                        to the units of the examples, float32
    """

    student: Network
    teacher: Network
    scaling: Scaling | None
    rounds: Sequence[Distilled]
    budgets: Sequence[float]
    examples: int
    seen: int
    held_out: int
    agreement: float
    labelled: bool
    teacher_error: float
    student_error: float
    difference: float
    steps: Sequence[StepReport] = ()
    regression: bool = False
    target: Target | None = None
    target_words: str = ""
    entry: Entry | None = None
    about: Mapping[str, Any] = field(default_factory=ABOUT.copy)
    checked: str = ""
    all_at_last: bool = False

    @property
    def layers(self) -> list[LayerReport]:
        """A report a dependency group, inputs first: the last round's, with the largest duality gap of all rounds."""
        last, widths = self.rounds[-1].layers if self.rounds else [], widths_of(self.teacher)
        return [replace(layer, of=of, duality_gap=largest([r.layers[k].duality_gap for r in self.rounds]))
                for k, (layer, of) in enumerate(zip(last, widths, strict=False))]

    @property
    def removals(self) -> int:
        """Neurons and inputs that were cut out."""
        return sum(len(r.removals) for r in self.rounds)

    @property
    def macs(self) -> tuple[int, int]:
        """Multiply-accumulates an example of the teacher and of the student."""
        return cost.of(self.teacher).macs, cost.of(self.student).macs

    def logits(self, x: Array) -> Array:
        """The student's logits (N, C) of examples x (N, ...) as they were given."""
        given = plain(x)
        entry = self.entry if self.checked else None                         # of another library's teacher
        return self.model().logits(entry(given) if entry and given.shape[1:] == entry.shape else given)

    def model(self) -> Model:
        """The student as it is saved, in a name that ends with .npkz coded."""
        return Model(self.student, self.scaling, self.about)

    @property
    def head(self) -> str:
        """What followed the teacher's outputs, "" nothing."""
        return str(self.about.get("head", ""))

    def to_torch(self) -> Any:
        """The student as a torch.nn.Module, with the scaling and the softmax or sigmoid that the teacher had, see
        interop.torch: it takes what a teacher of torch took; of other teachers (N, C, H, W) or (N, I)."""
        assert self.entry is not None
        return to_torch(self.model(), self.entry.channels_first, self.head)

    def save(self, path: NewPath) -> None:
        """Write the student, for npkd.load. Raises InputError where the system refuses."""
        save_model(path, self.model())

    def to_onnx(self, path: NewPath) -> None:
        """Write the student as an ONNX model that takes examples as they were given, and ends as an ONNX teacher did:
        in int8 where its steps made it so. Raises InputError without the library, or where the system refuses."""
        assert self.entry is not None
        write_onnx(path, self.model(), self.entry, self.head)

    def __str__(self) -> str:
        before, after = self.macs
        widths = ["-".join(map(str, widths_of(network))) for network in (self.teacher, self.student)]
        wide = max(len(widths[0]), 12)
        rows = [("", "teacher", "student"), ("widths", *widths), ("multiply-accumulates", f"{before:,}", f"{after:,}")]
        of, whose = ("seen at last", "that the last distillation saw") if self.all_at_last else ("held out", "held out")
        if self.labelled:
            rows.append((f"R², {of}", f"{1 - self.teacher_error:.4f}", f"{1 - self.student_error:.4f}")
                        if self.regression else
                        (f"error, {of}", f"{self.teacher_error:.2%}", f"{self.student_error:.2%}"))
        same = (f"R² of the student's outputs for the teacher's is {self.agreement:.4f} on {self.held_out:,}"
                if self.regression else f"the same class as the teacher for {self.agreement:.2%} of {self.held_out:,}")
        lines = [f"{name:22}{a:>{wide}}  {b:>{wide}}".rstrip() for name, a, b in rows]
        more = " and those of the errors" if self.all_at_last else ""
        shown = f"{self.seen:,} of them{more} in the distillation end to end" if self.seen else "no training"
        return "\n".join([
            *lines, "",
            f"{after / before:.1%} of the multiply-accumulates; {same} examples {whose}.",
            f"Statistics of {self.examples:,} examples, {shown}{'' if self.labelled else '; no labels'}.",
            *([undecided(self.held_out)] if undecided(self.held_out) and not self.regression else []),
            *([certified([layer.duality_gap for layer in self.layers])] if self.rounds else []),
            f"Cutting neurons out changed no output by more than {self.difference:.1e}.",
            *([f"The teacher was read: {self.checked}."] if self.checked else [])])


def saved_and_loaded(model: Model) -> Model:
    """A model as it comes back from the file that it is written to."""
    with tempfile.TemporaryDirectory(prefix="npkd-") as folder:
        path = Path(folder) / "model.npz"
        save_model(path, model)
        return load_model(path, [layer.op for layer in model.network.layers if isinstance(layer.op, Op)])


def logits_of_rows(network: Network, rows: Array) -> Array:
    """Logits (N, C) of rows (N, I) that have gone through the network's scaling, in the dtype of its weights."""
    dtype = next(p.dtype for layer in network.layers for p in layer.params)
    return predict(network, np.ascontiguousarray(rows, dtype))


def largest(gaps: Sequence[float | None]) -> float | None:
    """The largest duality gap, None where there is none."""
    return max((gap for gap in gaps if gap is not None), default=None)


def certified(gaps: Sequence[float | None]) -> str:
    """What the duality gaps of the dependency groups prove, None where channels were eliminated: one sentence."""
    gap = largest(gaps)
    if gap is None:
        return "Channels were eliminated one by one: exact in each step, but without a certificate for all."
    which = "by the group lasso (what is read through several weights is eliminated one by one)"
    which = f"Every choice {which if None in gaps else 'of neurons'}"
    sentence = f"{which} is certified" if gap <= 1e-6 else "Not every choice of neurons is certified to 1e-6"
    return f"{sentence}: relative duality gap at most {gap:.1e}."


def layers_of(rounds: Sequence[Distilled]) -> list[dict[str, Any]]:
    """The layers of the summary: the last round's, of the teacher's widths, with the largest gap of all rounds."""
    pairs = enumerate(zip(rounds[0].layers, rounds[-1].layers, strict=True)) if rounds else ()
    return [{"kept": last.kept, "of": first.of, "lambda": last.lam, "lambda_max": last.lambda_max,
             "duality_gap": largest([r.layers[k].duality_gap for r in rounds]), "relative_error": last.relative_error,
             "penalised_error": last.penalised_error, "proved": last.proved} for k, (first, last) in pairs]
