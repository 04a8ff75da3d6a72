"""One term of an objective: activations of the student, by way of a connector or not, compared with something."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from npkd.core.types import Array, Batch
from npkd.core.validation import InputError, positive, whole
from npkd.nn.network import Network

Index = int | tuple[int, ...]
Taught = int | str | tuple[int | str, ...]


@dataclass(frozen=True, eq=False)
class Term:
    """One term of an objective.

    loss        ``value, d_student, *d_parts = loss(student, teacher, *parts, **options)``; with ``memory``, the new
                memory is the last thing that it returns
    student     which activation of the student: 0 its input, −1 its logits; or several
    teacher     which activation of the teacher: the batch holds it as "teacher" for −1, as "teacher<i>" for i; or
                the name of another array of the batch, such as "y"; or several of these
    weight      c ≥ 0, a number or a function of the part of the training that is done, 0 … 1
    start       the epoch, from 1 on, with which the term begins
    connector   a network between the student's activation and the loss, or one for each of several (None: none); it is
                trained by the same optimiser, and not part of the student
    parts       trained arrays of the loss
    options     options of the loss;   arrays  those that are arrays of the batch: {"labels": "y"}
    memory      what the loss remembers from batch to batch
    name        in records; that of the loss unless told
    """

    loss: Callable[..., Any]
    student: Index = -1
    teacher: Taught = -1
    weight: float | Callable[[float], float] = 1.0
    start: int = 1
    connector: Network | tuple[Network | None, ...] | None = None
    parts: tuple[Array, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, str] = field(default_factory=dict)
    memory: Any = None
    name: str = ""

    def __post_init__(self) -> None:
        loss = self.loss.func if isinstance(self.loss, partial) else self.loss
        object.__setattr__(self, "name", self.name or getattr(loss, "__name__", type(loss).__name__))
        if not callable(self.loss):
            raise InputError(f"Term: loss is {self.loss!r}; it must be a function of student and teacher")
        whole(f"Term {self.name}", 1, start=self.start)
        if not callable(self.weight):
            positive(f"Term {self.name}", "weight", self.weight, zero=True)

    @property
    def connectors(self) -> tuple[Network | None, ...]:
        """One for each activation of the student that is read, or None."""
        if isinstance(self.connector, tuple):
            return self.connector
        return (self.connector,) if self.connector else (None,) * len(tupled(self.student))

    @property
    def trained(self) -> list[Array]:
        """The arrays that are trained with the student."""
        return [p for c in self.connectors if c for layer in c.layers for p in layer.params] + list(self.parts)

    def mapped(self, change: Callable[[Array], Array]) -> Term:
        """The term with every trained array changed."""
        connectors = tuple(c and c.mapped(change) for c in self.connectors)
        return replace(self, connector=connectors, parts=tuple(map(change, self.parts)))

    def __call__(self, activations: Sequence[Array], batch: Batch,
                 memory: Any = None) -> tuple[float, list[Array], list[Array], Any]:
        """Value, sensitivities of the student's activations, gradients of ``trained``, and the new memory."""
        paths = [apply_connector(c, activations[i]) for i, c in zip(tupled(self.student), self.connectors, strict=True)]
        students = tuple(y for y, _ in paths)
        teachers = tuple(array_of(batch, teacher_name(t)) for t in tupled(self.teacher))
        options = {**self.options, **{option: array_of(batch, name) for option, name in self.arrays.items()}}
        if memory is not None:
            options["memory"] = memory
        several = isinstance(self.student, tuple)
        value, d, *rest = self.loss(students if several else students[0],
                                    teachers if isinstance(self.teacher, tuple) else teachers[0], *self.parts,
                                    **options)
        sensitivities, gradients = list[Array](), list[Array]()
        for (_, backward), part in zip(paths, d if several else (d,), strict=True):
            dx, dparams = backward(part)
            sensitivities.append(dx)
            gradients += dparams
        return (float(value), sensitivities, [*gradients, *rest[:len(self.parts)]],
                rest[-1] if memory is not None else None)


def apply_connector(connector: Network | None, x: Array) -> tuple[Array, Callable[[Array], tuple[Array, list[Array]]]]:
    """A connector at x: what it gives, and d -> (sensitivity of x, gradients of its parameters)."""
    if connector is None:
        return x, lambda d: (d, [])
    activations, backward = connector(x)

    def back(d: Array) -> tuple[Array, list[Array]]:
        dx, gradients = backward({len(activations) - 1: d})
        return dx, [g for layer in gradients for g in layer]

    return activations[-1], back


def tupled(index: Any) -> tuple[Any, ...]:
    """One index, or several, as a tuple."""
    return index if isinstance(index, tuple) else (index,)


def teacher_name(index: int | str) -> str:
    """Under which name a batch holds an activation of the teacher: "teacher" the logits, "teacher3" the third."""
    return index if isinstance(index, str) else "teacher" if index == -1 else f"teacher{index}"


def array_of(batch: Batch, name: str) -> Array:
    """An array of the batch by its name. Raises InputError where the batch has none of that name."""
    if name not in batch:
        raise InputError(f"Terms: the batch holds {', '.join(sorted(batch))}; the objective needs {name!r} too")
    return batch[name]
