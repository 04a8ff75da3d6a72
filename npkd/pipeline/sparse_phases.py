"""The phases of sparse training that have a penalty: λ rises, settles, or goes along its path, and the last λ."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from npkd.compression.low_rank import epoch_step
from npkd.core.types import Array, Batch, Objective
from npkd.core.validation import InputError
from npkd.nn.fast.workspace import predict
from npkd.nn.network import Network
from npkd.nn.optimisers import SGD
from npkd.nn.schedules import Schedule, cosine, steps
from npkd.nn.training import Penalty, Record, TrainingSettings, train
from npkd.pipeline.epochs import epochs_of
from npkd.pipeline.progress import Checkpoint
from npkd.pipeline.sparse_recipe import SparseRecipe
from npkd.pipeline.stages import Run
from npkd.pipeline.target import Target
from npkd.pipeline.task import spread_of
from npkd.sparsity.nuclear import Nuclear
from npkd.sparsity.outgoing import alive, outgoing_penalties, read, stationarity
from npkd.surgery.dependency import dependency_groups
from npkd.surgery.survivors import ranges

START, END = 2e-4, 20.0
"""λ at the start of a rise, costs having mean 1; it ends there at the latest."""
SLACK = 1.25
"""At the full learning rate a network is held at so many times its target: neurons die when that rate falls."""
TRIES = 5
"""Most values of the last λ that are tried for a target."""
FALL = 0.5
"""Factor of the first of them to the λ that held the network at the full learning rate."""
SAMPLE = 1000
"""Leading examples of the training part on which every epoch's objective and stationarity are computed."""

constant = steps(())


@dataclass(frozen=True, eq=False)
class Problem:
    """What all phases with a penalty share. ``numbers``: of the neurons of each dependency group, in the dense network.
    """

    run: Run
    recipe: SparseRecipe
    costs: list[float]
    target: Target
    objective: Objective
    batch: Batch
    numbers: Sequence[Array] = ()
    clip: float | None = None

    @property
    def longest(self) -> int:
        """Most epochs of a rise from START to END."""
        return math.ceil(math.log(END / START) / math.log(self.recipe.growth))

    def penalties(self, network: Network, lam: float) -> dict[int, Penalty]:
        """(P18) with λ for every strength that is to be found."""
        strengths = {name: lam if given is None else given for name, given in self.recipe.strengths.items()}
        return outgoing_penalties(network, dependency_groups(network), strengths, self.costs)

    def size(self, network: Network) -> float:
        """What the target counts, of the neurons that are read."""
        return self.target.size([*alive(network, dependency_groups(network)), network.widths[-1]])

    def measured(self, network: Network, lam: float, rows: int | None = None) -> tuple[float, float]:
        """Stationarity and objective at λ on the first ``rows`` training examples, or on all."""
        batch = {name: a[:rows] for name, a in self.batch.items()}
        step = self.recipe.learning_rate
        return stationarity(network, batch, self.objective, self.penalties(network, lam), step=step,
                            weight_decay=self.recipe.weight_decay)

    def line(self, record: Record) -> dict[str, Any]:
        """What the history says of an epoch beside what it says of every training."""
        lam = float(record.carried[0])
        rho, objective = self.measured(record.network, lam, SAMPLE)
        weights = [layer.params[0] for layer in record.network.layers if layer.row.weights]
        reads = read(record.network, dependency_groups(record.network))
        return {"lambda": lam, "size": self.size(record.network), "objective": objective, "penalty": record.penalty,
                "alive": [int(r.sum()) for r in reads], "stationarity": rho,
                "kept": [ranges(n[r].tolist()) for n, r in zip(self.numbers, reads, strict=True)],
                "zeros": int(sum((w == 0).sum() for w in weights))}


@dataclass(frozen=True)
class Phase:
    """Epochs with a penalty.

    control     (λ of the epoch before, network) -> λ, from the first epoch on
    until       network after an epoch -> whether the phase ends early
    allowed     validation error up to which an epoch's network counts as the best so far
    """

    name: str
    epochs: int
    schedule: Schedule
    control: Callable[[float, Network], float] = lambda lam, network: lam
    until: Callable[[Network], bool] = lambda network: False
    allowed: float = math.inf


def trained(problem: Problem, network: Network, lam: float, phase: Phase) -> Checkpoint:
    """What there is after a phase that begins with λ: the lines of all its epochs, also of those before an interrupt,
    the network, and the last one that is allowed as the best."""
    recipe, run = problem.recipe, problem.run

    def training(start: Network, settings: TrainingSettings) -> Iterator[Record]:
        last = float(settings.carried[0]) if settings.carried else lam
        carried, seconds = settings.carried[1:], 0.0
        for epoch in range(settings.done + 1, settings.epochs + 1):
            if epoch > 1 and phase.until(start):
                return
            last = phase.control(last, start)
            moment = partial(lambda p, e: phase.schedule((e - 1 + p) / phase.epochs), e=epoch)
            one = replace(settings, epochs=1, done=0, carried=carried, best=None, schedule=moment)
            every, sgd = problem.penalties(start, last), SGD(recipe.learning_rate, weight_decay=recipe.weight_decay)
            once = {i: penalty for i, penalty in every.items() if isinstance(penalty, Nuclear)}      # costs an SVD
            updates = math.ceil(len(problem.batch["x"]) / settings.batch_size)
            for record in train(start, problem.batch, problem.objective, rng=run.rng, settings=one, optimiser=sgd,
                                penalties={} if once else every):
                if once:
                    step = updates * sgd.learning_rate * moment(0.5) / (1 - sgd.momentum)              # (N12)
                    stepped = epoch_step(record.network, [once], step)
                    record = replace(record, network=stepped, validation=run.validation_error(stepped))
                best = record.network if (record.validation or 0.0) <= phase.allowed else start      # start: it is not
                start, carried, seconds = record.network, record.carried, seconds + record.seconds
                yield replace(record, epoch=epoch, carried=(np.array(last), *carried), best=best, seconds=seconds)

    settings = TrainingSettings(phase.epochs, min(recipe.batch_size, len(problem.batch["x"])), clip=problem.clip,
                                validate=run.validation_error)
    for now in epochs_of(phase.name, network, training, settings, run.rng, run.progress, problem.line):
        run.state.student = run.outside(now.network)
    return now


def to_target(problem: Problem, network: Network, bound: float) -> tuple[Network, float, int]:
    """λ rises until the network is within ``SLACK`` of the bound, and is held there until it has settled.

        λ ← λ · min(g, max(1/g⁴, √(size/bound))),   g = growth of the recipe           (T12)
    """
    g, longest = problem.recipe.growth, problem.longest

    def control(lam: float, network: Network) -> float:
        return lam * min(g, max(g ** -4, math.sqrt(problem.size(network) / (SLACK * bound))))                   # (T12)

    def until(network: Network) -> bool:
        return problem.size(network) <= SLACK * bound or 0 in alive(network, dependency_groups(network))

    rise = trained(problem, network, START, Phase("λ rises", longest, constant, control, until))
    if (size := problem.size(rise.network)) > SLACK * bound:
        raise InputError(f"penalty: after {len(rise.epochs)} epochs the network is {size:.0f} {problem.target.kind}, "
                         f"the target {bound:.0f}; penalise more kinds of neurons")
    held = trained(problem, rise.network, float(rise.epochs[-1][1]["lambda"]),
                   Phase("λ settles", problem.recipe.settling, constant, control))
    return held.network, float(held.epochs[-1][1]["lambda"]), len(rise.epochs) + len(held.epochs)


def at_last(problem: Problem, network: Network, lam: float) -> tuple[Network, float, int, float]:
    """Epochs at the last λ, whose learning rate falls to 0: network, λ, epochs in all, and (P19) where they began.

    With a target they are done again from the same network with another λ, at most TRIES times, until the size is at
    most a tenth below the bound, or below what it began with: where two of them have another size, by the power of λ
    that both agree with. The largest network within the bound counts. Raises InputError where none is.
    """
    recipe, epochs, best = problem.recipe, 0, None
    bound = math.inf if recipe.target is None else recipe.target.bound
    near = min(bound, problem.size(network))                # what is gone does not come back
    lam, power = lam if recipe.target is None else FALL * lam, -0.3
    tried = list[tuple[float, float]]()
    for nth in range(1, 2 if recipe.target is None else TRIES + 1):
        before, _ = problem.measured(network, lam)
        name = "last λ" if nth == 1 else f"last λ, try {nth}"
        last = trained(problem, network, lam, Phase(name, recipe.epochs, cosine()))
        size, epochs = problem.size(last.network), epochs + len(last.epochs)
        if size <= bound and 0 not in last.epochs[-1][1]["alive"] and (best is None or size > best[0]):
            best = size, last.network, lam, before
        if 0.9 * near <= size <= bound:
            break
        tried.append((math.log(lam), math.log(max(size, 1.0))))
        if nth > 1 and tried[-1][0] != tried[-2][0]:
            power = min(-0.1, max(-2.0, (tried[-1][1] - tried[-2][1]) / (tried[-1][0] - tried[-2][0])))
        lam *= min(3.0, max(1 / 3, (0.95 * bound / max(size, 1.0)) ** (1 / power)))
    if best is None:
        raise InputError("penalty: at no λ that was tried does every layer read something"
                         + (f" within {bound:.0f} {problem.target.kind}; take a larger target, or penalise more kinds "
                            "of neurons" if recipe.target else "; take a smaller λ"))
    return best[1], best[2], epochs, best[3]


def along_path(problem: Problem, network: Network) -> tuple[Network, float, int, list[dict[str, Any]]]:
    """λ rises by the recipe's growth an epoch until some layer reads nothing any more. Returns the smallest network
    whose validation error is within one standard error of the dense one's, its λ, the epochs, and the history of each.
    """
    outputs, y = predict(network, problem.run.data.x_validation), problem.run.data.y_validation
    allowed = problem.run.validation_error(network) + spread_of(outputs, y)
    last = trained(problem, network, START, Phase(
        "path", problem.longest, constant, lambda lam, network: lam * problem.recipe.growth,
        lambda network: 0 in alive(network, dependency_groups(network)), allowed))
    lines = [line for _, line in last.epochs]
    points = [{name: line[name] for name in ("lambda", "size", "alive", "validation_error")} for line in lines]
    if last.best is None:
        return network, START, len(lines), points
    return last.best[2], float(lines[last.best[0] - 1]["lambda"]), len(lines), points
