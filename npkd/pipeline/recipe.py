"""The recipe of a run: every number that is not measured, in one place, with a default by the size of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from npkd.core.validation import InputError, one_of, positive

NETWORKS = ("perceptron", "lenet5")
"""What may be trained here."""


@dataclass(frozen=True)
class Recipe:
    """Settings of ``npkd compress`` and ``npkd train``.

    network         what a teacher is that is trained here: "perceptron" or "lenet5";   hidden  the perceptron's hidden
                    widths
    teacher_epochs  passes over the training part for it
    rounds          how often neurons are removed; the budget falls by the same factor each time
    round_epochs    distillation after each round but the last;   final_epochs  after the last; 0 in both: layers are
                    refitted alone
    batch_size      examples in an update
    learning_rate, weight_decay     of momentum SGD, cosine schedule, for the teacher
    student_learning_rate, student_weight_decay, clip   for the student; clip is the largest norm of a gradient
    temperature     of the soft targets
    label_weight    weight of the labels' cross-entropy beside the soft targets, which weigh 1
    noise_std, mixup_alpha, max_shift   augmentation, see distillation.transfer; mixup is for the student alone
    adversarial_eps ε of (T11), for the student alone: half of the examples are moved so far to where their loss rises
                    fastest
    refresh         epochs after which the student is shown newly augmented examples
    balance_exponent    q of (W10): how much a layer that has lost much is spared when a budget is allocated
    statistics      the first examples of the training part that the statistics of a round are taken from; 0: all
    all_at_last     the last distillation is shown the validation part too, when nothing is left to be chosen; what is
                    then said of the validation part is said of examples that the student knows
    """

    network: str = "perceptron"
    hidden: tuple[int, ...] = (300, 100)
    teacher_epochs: int = 60
    rounds: int = 5
    round_epochs: int = 10
    final_epochs: int = 60
    batch_size: int = 128
    learning_rate: float = 0.1
    weight_decay: float = 1e-4
    temperature: float = 4.0
    label_weight: float = 0.0
    student_learning_rate: float = 0.1
    student_weight_decay: float = 0.0
    clip: float = 10.0
    noise_std: float = 0.0
    mixup_alpha: float = 0.0
    max_shift: int = 0
    adversarial_eps: float = 0.0
    refresh: int = 1
    balance_exponent: float = 0.0
    statistics: int = 0
    all_at_last: bool = False

    def __post_init__(self) -> None:
        for name, least in (("teacher_epochs", 1), ("rounds", 1), ("round_epochs", 0), ("final_epochs", 0),
                            ("batch_size", 1)):
            if getattr(self, name) < least:
                raise InputError(f"recipe: {name} is {getattr(self, name)}; it must be at least {least}")
        if self.round_epochs and not self.final_epochs:
            raise InputError(f"recipe: round_epochs is {self.round_epochs} and final_epochs 0; without a last "
                             f"distillation there must be none "
                             "between rounds either")
        if not self.hidden or min(self.hidden) < 1:
            raise InputError(f"recipe: hidden widths are {self.hidden}; at least one is needed, all positive")
        positive("recipe", "learning_rate", self.learning_rate)
        positive("recipe", "adversarial_eps", self.adversarial_eps, zero=True)
        one_of("recipe", "network", self.network, NETWORKS)


    @property
    def trained(self) -> bool:
        """Is the student trained end to end? Else its layers are refitted alone."""
        return self.final_epochs > 0


OF_TRAINED = ("round_epochs", "temperature", "label_weight", "student_learning_rate", "student_weight_decay", "clip",
              "mixup_alpha", "adversarial_eps", "refresh", "all_at_last")
"""What matters only where a student is trained."""

OF_STUDENT = (*OF_TRAINED, "rounds", "final_epochs", "balance_exponent", "statistics")
"""What matters only where there is a student."""


def for_examples(examples: int, epochs: int | None = None, shape: Sequence[int] = (),
                 network: str = "perceptron") -> Recipe:
    """The default recipe for a training part of so many examples of a shape: small sets get more epochs, smaller
    batches, and noise; large sets of pictures (H, W) are moved by a pixel, other large sets are mixed in pairs.

    ``epochs`` sets the final distillation, and the other stages in proportion; with 0 the student is not trained, and
    for a target of size all that goes goes in one round (a teacher is trained as ever). LeNet-5 gets fewer passes,
    since each costs ten times as much; labels count beside its teacher's answers, and gradients are clipped sooner:
    with labels the rate is near the one that is too large (docs/14).
    """
    small = Recipe(teacher_epochs=80, round_epochs=12, final_epochs=80, batch_size=64, learning_rate=0.025,
                   weight_decay=1e-4, student_learning_rate=0.05, noise_std=0.15)
    large = Recipe(teacher_epochs=20, rounds=40, round_epochs=1, final_epochs=200, learning_rate=0.1, weight_decay=2e-4,
                   student_learning_rate=0.1, temperature=2.0, balance_exponent=1.0)
    pictures = len(shape) == 2 and min(shape) >= 16
    base = (
        small if examples < 20_000 else replace(large, max_shift=1, teacher_epochs=30) if pictures
        else replace(large, mixup_alpha=1.0)
    )
    if network == "lenet5":
        base = replace(base, network=network, teacher_epochs=10, batch_size=64, learning_rate=0.02, weight_decay=5e-4,
                       rounds=12, round_epochs=1, final_epochs=40,
                       student_learning_rate=0.02, clip=3.0, temperature=2.0, label_weight=1.0, noise_std=0.0,
                       mixup_alpha=0.0, balance_exponent=1.0, statistics=5000)
    if epochs is None:
        return base
    if epochs < 0:
        raise InputError(f"recipe: epochs is {epochs}; it must be at least 0")
    if not epochs:
        return untrained(base)
    scale = epochs / base.final_epochs
    return replace(base, teacher_epochs=max(1, round(base.teacher_epochs * scale)), final_epochs=epochs,
                   round_epochs=max(1, round(base.round_epochs * scale)))


def untrained(recipe: Recipe) -> Recipe:
    """The recipe for a student that is cut once and not trained."""
    return replace(recipe, rounds=1, round_epochs=0, final_epochs=0)


def plain(recipe: Recipe) -> Recipe:
    """The recipe for a plain network: pictures stay where they are; small batches then work against overfitting of a
    perceptron."""
    if recipe.network != "perceptron":
        return replace(recipe, max_shift=0)
    return (
        replace(recipe, max_shift=0, teacher_epochs=20, batch_size=32, learning_rate=0.05, weight_decay=1e-4)
        if recipe.max_shift else recipe
    )
