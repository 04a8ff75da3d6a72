"""A chain of compressions: steps in order, each from an ordinary network to one, each with its own error.

    neurons     whole neurons and inputs go, layer by layer                          pipeline.stages
    low-rank    layers become two, by the best map of a rank in output space         compression.low_rank
    weights     single weights become zero, while the student learns                 compression.unstructured
    int8, int4, ternary, dyadic   weights lie on a grid, activations are bytes          compression.quantization
    code        the file is coded                                                    core.coded_files

Steps that make a network smaller by as much as one wants share what the target asks by marginal price: the part is
given away in equal factors, each to the step with which the validation error of the chain without training is least.
What a step has fixed, zeros and grids, the distillations of later steps keep. Derivation: docs/book/27-chains.md.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace

import numpy as np

from npkd.compression.unstructured import magnitude, train_masked
from npkd.core.progress import NoProgress
from npkd.core.validation import InputError
from npkd.data.transfer import Transfer
from npkd.nn.model import Model, content
from npkd.nn.network import Network
from npkd.pipeline import stages
from npkd.pipeline.stages import Run
from npkd.pipeline.steps import GRIDS, SIZED, count_of, fewer, held, nonzero, on_grid, short_biases, smaller
from npkd.pipeline.target import ABOUT, TARGET, Target
from npkd.surgery.widths import geometry, widths_of

COUNTED = ("macs", "parameters", "bytes")
"""Targets that every sized step can meet."""

STEPS = (*SIZED, *GRIDS, "code")

SHARES, SAMPLE = 6, 5_000
"""Equal factors that sized steps share; examples on which the chain without training is tried."""


@dataclass(frozen=True)
class StepReport:
    """What a step did: errors of the validation part, and what the network is behind it.

    cut, error          validation error when the step is done, before and after its distillation
    parameters, macs    that are not zero;   bytes  of the file, coded or not, were it written now
    """

    step: str
    cut: float
    error: float
    parameters: int
    macs: int
    bytes: int


def require(steps: Sequence[str], target: str) -> str:
    """The words of a target, if the steps can meet it; of the default target where none of them makes anything smaller,
    those of one that is always met. Raises InputError for other targets, and unless the steps are known, each once, in
    an order that keeps what earlier ones did."""
    kind = target.partition("=")[0]
    unknown = [word for word in steps if word not in STEPS]
    if unknown or not steps or len(set(steps)) < len(steps):
        raise InputError(f"steps: got {','.join(steps) or 'none'}; write some of {', '.join(STEPS)}, each once")
    grids, sized = [word for word in steps if word in GRIDS], [word for word in steps if word in SIZED]
    order = [(word in GRIDS) + 2 * (word == "code") for word in steps]
    if len(grids) > 1 or order != sorted(order) or "weights" in sized[:-1]:
        raise InputError(f"steps: got {','.join(steps)}; neurons and low-rank come first, then weights, then one of "
                         f"{', '.join(GRIDS)}, then code: a later step would undo the earlier one")
    if not sized and target == TARGET:
        return "bytes=100%"
    if kind not in COUNTED and sized != ["neurons"]:
        raise InputError(f"steps: a target of {kind} is for neurons alone, got {','.join(steps)}; give macs=, "
                         "parameters= or bytes=")
    if kind == "bytes" and "weights" in sized and "code" not in steps:
        raise InputError("steps: in a file that is not coded a weight that is zero takes its bytes; add code behind "
                         f"{','.join(steps)}, or give macs= or parameters=")
    if not sized and kind != "bytes":
        raise InputError(f"steps: none of {','.join(steps)} makes fewer {kind}; add one of {', '.join(SIZED)}")
    return target


@dataclass(frozen=True, eq=False)
class Chain:
    """What all steps share: the run, the words, the target, what students are shown, and the model that is written."""

    run: Run
    steps: Sequence[str]
    target: Target
    transfer: Transfer
    written: Callable[[Network], Model]

    def size(self, network: Network) -> float:
        """What the target counts: weights that are zero count nothing, in a file that is not coded they do, which has
        room for what it says of itself, as ``file_of``."""
        if self.target.kind != "bytes":
            return float(nonzero(network)[self.target.kind == "macs"])
        if "code" in self.steps:
            return float(self.bytes(network, coded=True))
        return float(len(content(replace(self.written(network), about={}))) + ABOUT)

    def report(self, step: str, before: Network, network: Network) -> StepReport:
        """What is told of a step that gave ``before``, and after its distillation ``network``."""
        return StepReport(step, self.run.validation_error(before), self.run.validation_error(network),
                          *nonzero(network), self.bytes(network, coded=step == "code"))

    def bytes(self, network: Network, *, coded: bool) -> int:
        """Of the file, were it written now."""
        return len(content(self.written(network), coded=coded))

    def untrained(self, network: Network, sizes: Mapping[str, float]) -> Network:
        """The network after the sized steps, each down to its size, and the grid, without training, on a sample."""
        data = self.run.data
        small = replace(data, x_train=data.x_train[:SAMPLE], y_train=data.y_train[:SAMPLE], stream=None)
        run = replace(self.run, data=small, progress=NoProgress(), state=stages.State(),
                      recipe=replace(self.run.recipe, epochs=0, rounds=1, round_epochs=0, all_at_last=False,
                                     distil_from=None))
        for step in self.steps:
            if step in SIZED:
                network = smaller(step, run, network, sizes[step], self.counted)
            elif step in GRIDS:
                network = on_grid(run, network, step)
        return network

    @property
    def counted(self) -> str:
        """What sized steps count on the way to the target."""
        return "macs" if self.target.kind == "macs" else "parameters"


def shared(chain: Chain, network: Network, goal: float) -> dict[str, float]:
    """The size behind each sized step, on the way from the network's to the ``goal``.

        size_k = size · (goal/size)^(n_1 + … + n_k)/n,   Σ n_k = n = SHARES                 (N103)

    One of the n factors after the other goes to the step with which the validation error of the untrained chain is
    least: that is its marginal price.
    """
    sized = [step for step in chain.steps if step in SIZED]
    parts, whole = dict.fromkeys(sized, 0), nonzero(network)[chain.counted == "macs"]

    def sizes(parts: Mapping[str, int]) -> dict[str, float]:
        ends = np.cumsum([parts[step] for step in sized]) / SHARES
        return {step: whole * (goal / whole) ** float(end) for step, end in zip(sized, ends, strict=True)}  # (N103)

    if len(sized) == 1:
        return {sized[0]: goal}
    for n in range(SHARES):
        chain.run.progress.begin(f"shares of {', '.join(sized)}: {n + 1} of {SHARES}", len(sized))
        prices = list[tuple[float, int, str]]()
        for k, step in enumerate(sized):
            price = math.inf                                          # of a step that cannot go so far
            with contextlib.suppress(InputError):
                tried = chain.untrained(network, sizes({**parts, step: parts[step] + 1}))
                price = chain.run.validation_error(tried)
            prices.append((price, k, step))
            chain.run.progress.step(f"{step}: {prices[-1][0]:.2%}")
        parts[min(prices)[2]] += 1
    return sizes(parts)


def goal_of(chain: Chain, network: Network) -> float:
    """The target in what sized steps count; of bytes, found by writing what the chain without training makes."""
    if chain.target.kind != "bytes":
        return chain.target.bound
    sized, whole = [step for step in chain.steps if step in SIZED], float(nonzero(network)[0])
    goal, size = whole, chain.size(network)
    for _ in range(5):
        sizes = dict.fromkeys(sized[:-1], math.sqrt(goal * whole)) | {sized[-1]: goal}
        try:
            size = chain.size(chain.untrained(network, sizes))
        except InputError as error:
            raise InputError(f"steps: {','.join(chain.steps)} make no file of {chain.target.bound:.0f} bytes, the "
                             f"smallest that was tried has {size:.0f}; allow more") from error
        goal = min(whole, goal * 0.97 * chain.target.bound / size)
    return goal


def compress(chain: Chain, teacher: Network) -> tuple[Network, list[StepReport]]:
    """The student after all steps, within the target, and a report of each.

    Every step is followed by a distillation, the last but one step that trains by half of the recipe's epochs (one at
    least), the last by all. A file that is still too large is made smaller by the last sized step again, at most three
    times.
    Raises InputError where the target is not reached.
    """
    run, student, reports = chain.run, teacher, list[StepReport]()
    run.state.teacher = run.state.student = run.outside(teacher)
    sized = [step for step in chain.steps if step in SIZED]
    counts = chain.target.kind in COUNTED                        # else the target is that of neurons, which meet it
    sizes = shared(chain, teacher, goal_of(chain, teacher)) if sized and counts else {}
    whole = chain.target.size(widths_of(teacher)) if not sized else 0.0        # a grid alone may be all of a file
    before: list[tuple[int, Network, int]] = []
    k = tries = 0
    while k < len(chain.steps):
        step = chain.steps[k]
        if step in sized[-1:]:
            before = [(k, student, len(run.state.rounds))]
        cut, student = distilled(chain, k, student, sizes.get(step, math.inf))
        reports.append(chain.report(step, cut, student))
        k += 1
        size = chain.size(student)
        if k == len(chain.steps) and counts and size > chain.target.bound and (sized or chain.target.bound < whole):
            if not before or tries == 3:
                raise InputError(f"steps: {','.join(chain.steps)} make {size:.0f} {chain.target.kind}, the target is "
                                 f"{chain.target.bound:.0f}; add a step that makes it smaller, or allow more")
            sizes[sized[-1]] *= 0.98 * chain.target.bound / size
            (k, student, rounds), tries = before[0], tries + 1
            # its stages have the names of those of the first try, whose checkpoints they must not take
            told = SimpleNamespace(begin=run.progress.begin, step=run.progress.step)
            chain = replace(chain, run=replace(run, progress=told))
            del reports[k:], run.state.rounds[rounds:], run.state.budgets[rounds:]
    run.state.student = run.outside(student)
    return student, reports


def distilled(chain: Chain, k: int, network: Network, size: float) -> tuple[Network, Network]:
    """The network that step k makes, and the same after its distillation, which keeps its zeros and its grid."""
    run, step, recipe = chain.run, chain.steps[k], chain.run.recipe
    last = not any(later in (*SIZED, *GRIDS) for later in chain.steps[k + 1:])
    epochs = recipe.epochs if last else max(recipe.epochs // 2, min(recipe.epochs, 1))
    if step == "code":
        return network, network
    if step == "neurons" and (recipe.trained or math.isinf(size)):
        target = Target(chain.counted, size, geometry=geometry(network)) if math.isfinite(size) else chain.target
        part = replace(run, recipe=replace(recipe, epochs=epochs, all_at_last=recipe.all_at_last and last))
        student = stages.compress(part, network, target, chain.transfer if recipe.trained else None)
        return (network if recipe.trained else student), student
    cut = on_grid(run, network, step) if step in GRIDS else smaller(step, run, network, size, chain.counted)
    if not recipe.trained:
        return cut, cut
    transfer, seen = chain.transfer, run
    if last and recipe.all_at_last:
        seen = replace(run, data=stages.everything(run.data))
        transfer = stages.transfer_set(transfer.answer, seen.data, recipe)
    if step == "weights":
        count = count_of(network, size, chain.counted)
        fallen = stages.distil_end_to_end(seen, network, transfer, f"{step}: fewer and fewer", epochs, 1.0,
                                          lambda body: partial(train_masked, rule=fewer(run, network, count)))
        left = sum(fallen.layers[i].params[0].size for i in fallen.weight_layers)      # what was not read is cut out
        return cut, magnitude(fallen, min(count, left))
    if step in GRIDS:
        begin = on_grid(run, network, step, weights=False)
        return cut, short_biases(stages.distil_end_to_end(
            seen, begin, transfer, f"{step}: distillation", epochs, 0.5, lambda body: held(body, step)))
    return cut, stages.distil_end_to_end(seen, cut, transfer, f"{step}: distillation", epochs, 0.5)
