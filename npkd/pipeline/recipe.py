"""The recipe of a run: every number that is not measured, in one place; what is left open is chosen from the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any

from npkd.core.validation import InputError, one_of, positive, whole

NETWORKS = ("perceptron", "lenet5")
"""What may be trained here."""

TASKS = ("classification", "regression")
"""What outputs may be for."""

OPEN: Any = None
"""A setting that ``complete`` chooses."""

VALIDATION, SAMPLE = 0.1, 60_000
"""Part of the examples that is held out, and most examples that the distillation sees, where nobody says otherwise."""

WHOLE = {"teacher_epochs": 1, "rounds": 1, "round_epochs": 0, "epochs": 0, "batch_size": 1, "max_shift": 0,
         "refresh": 1, "statistics": 0, "sample": 1}
"""Settings that are whole numbers, and the least that each may be."""

NOT_NEGATIVE = ("weight_decay", "label_weight", "student_weight_decay", "noise_std", "mixup_alpha", "adversarial_eps",
                "balance_exponent")
"""Settings that are finite and not negative."""


@dataclass(frozen=True)
class Recipe:
    """Settings of a compression and of the training of a teacher. What is left open (None), ``complete`` chooses.

    epochs          passes over the data of the last distillation, the other stages in proportion where they are open;
                    0: nothing is trained, layers are refitted alone
    network         of a teacher that is trained here: "perceptron" or "lenet5";   hidden  the perceptron's widths
    teacher_epochs  passes over the training part for it
    rounds          how often neurons are removed; the budget falls by the same factor each time
    round_epochs    of the distillation after each round but the last
    batch_size      examples in an update
    learning_rate, weight_decay     of momentum SGD, cosine schedule, for the teacher
    student_learning_rate, student_weight_decay, clip   for the student; clip is the largest norm of a gradient
    temperature     of the soft targets
    label_weight    weight of the labels' cross-entropy beside the soft targets, which weigh 1; without labels it is 0
    noise_std, mixup_alpha, max_shift   augmentation, see data.augmentation; mixup is for the student alone
    adversarial_eps  ε of (T11), for the student alone: half of the examples are moved so far to a higher loss
    refresh         epochs after which the student is shown newly augmented examples
    balance_exponent    q of (W10): how much a layer that has lost much is spared when a budget is allocated
    statistics      of a data set in memory, the first examples that the statistics of a round are taken from; 0: all
    all_at_last     the last distillation is shown the validation part too: its errors are of examples that it knows;
                    not of rounds until an error is reached, which that part judges
    keep_inputs     no input is removed
    steps           of a chain, in order, see pipeline.steps: ("neurons", "int8", "code"); none: neurons, in rounds
    task            "classification" or "regression", where labels and outputs do not tell
    distil_from     a better network whose answers the student learns instead of the teacher's: a Network, a Model, or
                    a function: x (n, ...) float32, in the shape in which examples are given, -> logits (n, C)
    validation      the part of the examples held out, above 0 and at most 0.5, or a pair (x, y) of others (y or None)
    sample          the distillation sees a uniform sample of at most so many examples, the statistics are of all

    Raises InputError for numbers that make no sense.
    """

    epochs: int = OPEN
    network: str = "perceptron"
    hidden: tuple[int, ...] = (300, 100)
    teacher_epochs: int = OPEN
    rounds: int = OPEN
    round_epochs: int = OPEN
    batch_size: int = OPEN
    learning_rate: float = OPEN
    weight_decay: float = OPEN
    temperature: float = OPEN
    label_weight: float = OPEN
    student_learning_rate: float = OPEN
    student_weight_decay: float = 0.0
    clip: float = OPEN
    noise_std: float = OPEN
    mixup_alpha: float = OPEN
    max_shift: int = OPEN
    adversarial_eps: float = 0.0
    refresh: int = 1
    balance_exponent: float = OPEN
    statistics: int = OPEN
    all_at_last: bool = False
    keep_inputs: bool = False
    steps: tuple[str, ...] = ()
    task: str | None = None
    distil_from: Any = None
    validation: Any = None
    sample: int = SAMPLE

    def __post_init__(self) -> None:
        if not isinstance(self.steps, tuple | list) or not all(isinstance(word, str) for word in self.steps):
            raise InputError(f"recipe: steps is {self.steps!r:.60}; it must be a list of words, as in "
                             '["neurons", "int8", "code"]')
        object.__setattr__(self, "steps", tuple(self.steps))
        for name, least in WHOLE.items():
            value = getattr(self, name)
            if value is not None:
                whole("recipe", least, **{name: value})
        for name in (*NOT_NEGATIVE, "learning_rate", "student_learning_rate", "temperature", "clip"):
            if (value := getattr(self, name)) is not None:
                if not isinstance(value, Real):
                    raise InputError(f"recipe: {name} is {value!r}; it must be a number")
                positive("recipe", name, float(value), zero=name in NOT_NEGATIVE)
        if self.round_epochs and self.epochs == 0:
            raise InputError(f"recipe: round_epochs is {self.round_epochs} and epochs 0; without a last distillation "
                             f"there must be none between rounds either")
        if not self.hidden or min(self.hidden) < 1:
            raise InputError(f"recipe: hidden widths are {self.hidden}; at least one is needed, all positive")
        if self.distil_from is not None and self.epochs == 0:
            raise InputError("recipe: distil_from is given, and epochs is 0, without training; leave out one of them")
        pair = isinstance(self.validation, tuple) and len(self.validation) == 2
        fraction = isinstance(self.validation, Real) and 0 < float(self.validation) <= 0.5
        if not (self.validation is None or pair or fraction):
            raise InputError(f"recipe: validation is {self.validation!r:.60}; it must be above 0 and at most 0.5, or a "
                             "pair (x, y)")
        one_of("recipe", "network", self.network, NETWORKS)
        if self.task is not None:
            one_of("recipe", "task", self.task, TASKS)

    @property
    def trained(self) -> bool:
        """Is the student trained end to end? Else its layers are refitted alone."""
        return self.epochs > 0


OF_TRAINED = ("round_epochs", "temperature", "label_weight", "student_learning_rate", "student_weight_decay", "clip",
              "mixup_alpha", "adversarial_eps", "refresh", "all_at_last")
"""What matters only where a student is trained."""

OF_STUDENT = (*OF_TRAINED, "rounds", "epochs", "balance_exponent", "statistics", "keep_inputs")
"""What matters only where there is a student."""

OF_EXAMPLES = ("distil_from", "validation", "sample", "steps", "task")
"""What a summary tells of in other words."""


def complete(recipe: Recipe, examples: int, shape: Sequence[int] = (), *, labelled: bool = True,
             scaled: bool = True) -> Recipe:
    """The recipe with everything that is open chosen for a training part of so many examples of a shape.

    Small sets get more epochs, smaller batches, and noise; large sets of pictures (H, W) are moved by a pixel, other
    large sets are mixed in pairs. LeNet-5 gets fewer passes; labels count beside its teacher's answers, and gradients
    are clipped sooner, see docs/results/lenet5.md. ``recipe.epochs`` sets the last distillation, and the other stages
    in proportion; with 0 there is one round of removal (a teacher is trained as ever).

    labelled    there are labels; without, they weigh nothing
    scaled      the scale of the inputs is known; noise needs one, mixing in pairs does not
    """
    base = of_size(recipe.network, examples, shape)
    if not labelled:
        base = replace(base, label_weight=0.0)
    if not scaled and base.noise_std:
        base = replace(base, noise_std=0.0, mixup_alpha=1.0)
    if recipe.epochs == 0:
        base = replace(base, rounds=1, round_epochs=0, epochs=0)
    elif recipe.epochs is not None:
        scale = recipe.epochs / base.epochs
        base = replace(base, teacher_epochs=max(1, round(base.teacher_epochs * scale)), epochs=recipe.epochs,
                       round_epochs=max(1, round(base.round_epochs * scale)))
    left = [field.name for field in fields(Recipe) if getattr(recipe, field.name) is OPEN]
    return replace(recipe, **{name: getattr(base, name) for name in left})


def of_size(network: str, examples: int, shape: Sequence[int]) -> Recipe:
    """The defaults by the kind of network and the size of the data, see ``complete``."""
    small = Recipe(teacher_epochs=80, rounds=5, round_epochs=12, epochs=80, batch_size=64, learning_rate=0.025,
                   weight_decay=1e-4, temperature=4.0, label_weight=0.0, student_learning_rate=0.05, clip=10.0,
                   noise_std=0.15, mixup_alpha=0.0, max_shift=0, balance_exponent=0.0, statistics=0)
    large = replace(small, teacher_epochs=20, rounds=40, round_epochs=1, epochs=200, batch_size=128, learning_rate=0.1,
                    weight_decay=2e-4, student_learning_rate=0.1, temperature=2.0, noise_std=0.0, balance_exponent=1.0)
    pictures = len(shape) == 2 and min(shape) >= 16
    large = replace(large, max_shift=1, teacher_epochs=30) if pictures else replace(large, mixup_alpha=1.0)
    base = small if examples < 20_000 else large
    if network == "lenet5":
        return replace(base, teacher_epochs=10, rounds=12, round_epochs=1, epochs=40, batch_size=64, learning_rate=0.02,
                       weight_decay=5e-4, student_learning_rate=0.02, clip=3.0, temperature=2.0, label_weight=1.0,
                       noise_std=0.0, mixup_alpha=0.0, balance_exponent=1.0, statistics=5000)
    return base


def plain(recipe: Recipe) -> Recipe:
    """The complete recipe for a plain network: no shifts; a perceptron then gets small batches against overfitting."""
    if recipe.network != "perceptron" or not recipe.max_shift:
        return replace(recipe, max_shift=0)
    return replace(recipe, max_shift=0, teacher_epochs=20, batch_size=32, learning_rate=0.05, weight_decay=1e-4)
