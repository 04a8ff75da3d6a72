"""What a sparse training is to do: strengths of the penalty, target, and the numbers of its phases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from npkd.core.validation import InputError, one_of, positive
from npkd.pipeline.recipe import Recipe
from npkd.pipeline.target import Target
from npkd.sparsity.outgoing import COSTS, KINDS


@dataclass(frozen=True)
class SparseRecipe:
    """What a sparse training is to do.

    strengths       λ by kind, one of KINDS; None: found, the same for all that are None, of l1l2 and nuclear never
    target          of size, to be met while training; needed where λ is to be found, unless ``path``
    costs           c of (P18): "macs", "size" or "equal"
    path            λ rises until nothing is left
    debias          a last phase without penalty on neurons
    growth          factor by which λ that is found rises, at most, from one epoch to the next
    settling        epochs in which it settles;   epochs  at the last λ
    debias_epochs, debias_weight_decay   of the last phase
    batch_size, learning_rate, weight_decay   of momentum SGD while λ > 0; the last phase learns at half the rate
    Raises InputError for what contradicts itself.
    """

    strengths: Mapping[str, float | None]
    target: Target | None = None
    costs: str = "macs"
    path: bool = False
    debias: bool = True
    growth: float = 1.08
    settling: int = 12
    epochs: int = 120
    debias_epochs: int = 20
    debias_weight_decay: float = 5e-4
    batch_size: int = 256
    learning_rate: float = 0.1
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        if not isinstance(self.target, Target | None):
            raise InputError(f"penalty: got the target {self.target!r:.40}; it must be a Target, of target.parse")
        one_of("penalty", "costs", self.costs, COSTS)
        for name, lam in self.strengths.items():
            one_of("penalty", "kind", name, KINDS)
            positive("penalty", name, 1.0 if lam is None else lam)
        if "nuclear" in self.strengths and (len(self.strengths) > 1 or None in self.strengths.values()):
            raise InputError("penalty: nuclear needs its λ, as in nuclear=0.001, and stands alone")
        sought = [name for name, lam in self.strengths.items() if lam is None]
        if "l1l2" in sought:
            raise InputError("penalty: got l1l2 without λ, which is found for inputs, neurons, channels and weights "
                             "alone; give one, as in l1l2=0.01")
        if not self.strengths or (sought == ["weights"] and self.target):
            raise InputError("penalty: a target needs inputs, neurons or channels whose λ is found")
        if bool(sought) != bool(self.target or self.path):
            raise InputError("penalty: " + (f"{', '.join(sought)} without λ need a target, or the path" if sought else
                                            "got λ, and a target or the path, which look for λ; give one"))
        if self.target is not None and (self.path or self.target.kind in ("error", "widths")):
            raise InputError("penalty: the target must be a size (macs=, parameters=, bytes=, neurons=), without path")


def strengths_of(words: str) -> dict[str, float | None]:
    """λ by kind, from "inputs=1e-3,neurons=2e-3" or "inputs,neurons". Raises InputError for anything else."""
    strengths: dict[str, float | None] = {}
    for word in words.split(","):
        kind, equals, number = word.partition("=")
        try:
            strengths[kind] = float(number) if equals else None
        except ValueError:
            raise InputError(f"penalty: got {words!r:.60}; write kinds with their λ, as in inputs=0.001,neurons=0.002, "
                             f"or without, as in inputs,neurons; kinds are {', '.join(KINDS)}") from None
    if len(strengths) <= words.count(","):
        raise InputError(f"penalty: got {words!r:.60}; each kind may stand there once")
    return strengths


def sparse_recipe(recipe: Recipe, examples: int) -> SparseRecipe:
    """Batches and learning rate that fit the network and the number of examples; λ of neurons is found on a path.

    A proximal step shortens a column by learning rate · λ c: neurons die some epochs after λ has risen. Where an epoch
    has fewer steps λ rises as much slower: the network would be far smaller than wanted before one sees it.
    """
    sparse = SparseRecipe({"neurons": None}, path=True)
    if recipe.network == "lenet5":
        return replace(sparse, batch_size=128, learning_rate=0.03, epochs=25)
    if examples >= 20_000:
        return sparse
    sparse = replace(sparse, batch_size=64, learning_rate=0.05)
    pace = min(1.0, max(0.2, sparse.learning_rate * examples / sparse.batch_size / 20))
    return replace(sparse, growth=sparse.growth ** pace, settling=round(sparse.settling / pace))
