"""The main job on tiny data: targets that are never exceeded, one seed one student, a test part that is not looked
at."""

import warnings
from dataclasses import fields, replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from npkd.core.progress import NoProgress
from npkd.core.validation import Diverged, InputError
from npkd.data import batches
from npkd.data.batches import batches_of
from npkd.data.datasets import Data, from_arrays
from npkd.nn import cost
from npkd.nn.dead import DeadNeuronsWarning, dead_shares, died
from npkd.nn.model import Model, save
from npkd.nn.network import perceptron
from npkd.nn.training import train
from npkd.pipeline import stages
from npkd.pipeline.epochs import line_of, note_of
from npkd.pipeline.result import certified, largest, layers_of
from npkd.pipeline.stages import Run, State, compress, error_rate, train_teacher
from npkd.pipeline.target import Target
from npkd.sparsity.layerwise import distil, exactly
from tests.tiny import counted, fixed

RECIPE = fixed(hidden=(10, 8), teacher_epochs=12, rounds=2, round_epochs=1, epochs=3, batch_size=32,
                learning_rate=0.05, noise_std=0.05)


def tiny(seed=0):
    """Three clouds in six dimensions, one of which never changes."""
    rng = np.random.default_rng(seed)
    centres, y = 2 * rng.standard_normal((3, 6)), rng.integers(0, 3, 300)
    x = (centres[y] + rng.standard_normal((300, 6))).astype(np.float32)
    x[:, 5] = 1
    return from_arrays("tiny", [x[:200], y[:200], x[200:], y[200:]], seed=seed)


@pytest.fixture(scope="module")
def data():
    """All that a run may see. The test part is not there: whoever asks for it fails."""
    whole = tiny()
    return SimpleNamespace(**{f.name: getattr(whole, f.name) for f in fields(Data)
                              if f.name not in ("x_test", "y_test")})


@pytest.fixture(scope="module")
def teacher(data):
    return train_teacher(Run(data, RECIPE, np.random.default_rng(1)))


class Recorder:
    """A progress that keeps what it is told."""

    def __init__(self, stop_at=None):
        self.begun, self.steps, self.stop_at = [], [], stop_at

    def begin(self, stage, steps):
        self.begun.append((stage, steps))
        self.steps.append([])

    def step(self, note, record=None):
        self.steps[-1].append((note, record))
        if self.begun[-1][0] == self.stop_at:
            raise KeyboardInterrupt


def run(data, teacher, target, recipe=RECIPE, *, keep_inputs=False, progress=None, state=None):
    """The state after a compression."""
    recipe, state = replace(recipe, keep_inputs=keep_inputs), state or State()
    compress(Run(data, recipe, np.random.default_rng(2), progress or NoProgress(), state), teacher, target)
    return state


SIZES = [("macs", 0.5), ("macs", 0.15), ("macs", 0.1), ("neurons", 0.8), ("neurons", 0.4), ("neurons", 0.125),
         ("parameters", 0.5), ("parameters", 0.2), ("bytes", 0.6), ("bytes", 0.3)]


@pytest.mark.parametrize(("kind", "fraction"), SIZES)
@pytest.mark.parametrize("keep_inputs", [False, True])
def test_a_target_of_size_is_never_exceeded(data, teacher, kind, fraction, keep_inputs):
    whole = counted(teacher.widths, kind)
    target = Target(kind, fraction * whole)
    smallest = target.size([6 if keep_inputs else 1, 1, 1, 3])
    if smallest > target.bound:
        with pytest.raises(InputError, match=f"the smallest that this network can be is {smallest:g}"):
            run(data, teacher, target, keep_inputs=keep_inputs)
        return
    state = run(data, teacher, target, keep_inputs=keep_inputs)
    assert counted(state.student.widths, kind) <= target.bound
    assert len(state.rounds) == RECIPE.rounds
    assert all(r.duality_gap <= 1e-6 for out in state.rounds for r in out.layers)
    assert all(out.difference64 <= 1e-12 and out.difference <= 1e-5 for out in state.rounds)
    assert np.isfinite(state.student.predict(data.x_validation)).all()
    assert state.teacher is teacher
    if keep_inputs:
        assert state.student.widths[0] == 6
        assert state.student.layers[0].op == "dense"


def test_a_target_that_is_out_of_reach_is_refused_before_anything_is_done(data, teacher):
    progress, state = Recorder(), State()
    for target in (Target("neurons", 2), Target("macs", 4), Target("parameters", 9)):
        with pytest.raises(InputError, match=f"smallest that this network can be is {target.size([1, 1, 1, 3]):g}"):
            run(data, teacher, target, progress=progress, state=state)
    assert not any(record for steps in progress.steps for _, record in steps), "no epoch of training is lost"
    assert not state.rounds


@pytest.mark.parametrize("points", [0.5, 5.0, 60.0])
def test_a_target_of_error(data, teacher, points):
    state = run(data, teacher, Target("error", points))
    bound = error_rate(teacher, data.x_validation, data.y_validation) + points / 100
    assert error_rate(state.student, data.x_validation, data.y_validation) <= bound
    assert len(state.budgets) == len(state.rounds)
    assert state.student.widths == (state.rounds[-1].student if state.rounds else teacher).widths
    if points == 60.0:
        assert cost.of(state.student).macs <= cost.of(teacher).macs / 8, "with so much to lose it goes far"


def test_the_budgets_of_the_rounds(data, teacher, monkeypatch):
    """(W11): each the same factor below the one before, the last the target itself."""
    budgets = []

    def watched(run, network, target, budget, *rest, remove_round=stages.remove_round):
        budgets.append(budget)
        student = remove_round(run, network, target, budget, *rest)
        assert target.size(student.widths) <= budget
        return student

    monkeypatch.setattr(stages, "remove_round", watched)
    recipe = fixed(hidden=(10, 8), rounds=4, round_epochs=1, epochs=1, batch_size=32)
    run(data, teacher, Target("macs", 20), recipe)
    whole = cost.of(teacher).macs
    np.testing.assert_allclose(budgets, [whole * (20 / whole) ** (r / 4) for r in (1, 2, 3, 4)], rtol=1e-12)
    assert budgets[-1] == 20


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    """Teacher and student, from data to file; another seed gives others."""
    files = {}
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        own = tiny()
        state = State()
        rng = np.random.default_rng(seed)
        shared = Run(own, RECIPE, rng, state=state)
        compress(shared, train_teacher(shared), Target("macs", 40))
        for which in ("teacher", "student"):
            save(tmp_path / f"{name}-{which}.npz", Model(getattr(state, which), own.scaling))
            files[name, which] = (tmp_path / f"{name}-{which}.npz").read_bytes()
    for which in ("teacher", "student"):
        assert files["a", which] == files["b", which]
        assert files["a", which] != files["c", which]


def test_a_run_learns_something(data, teacher):
    """The teacher beats chance by far, and a student of a third of its size stays near it."""
    assert error_rate(teacher, data.x_validation, data.y_validation) <= 0.2
    recipe = fixed(hidden=(10, 8), rounds=2, round_epochs=5, epochs=20, batch_size=32)
    state = run(data, teacher, Target("macs", cost.of(teacher).macs / 3), recipe)
    assert error_rate(state.student, data.x_train, data.y_train) <= error_rate(teacher, data.x_train,
                                                                               data.y_train) + 0.1


def test_labels_are_not_used_for_the_student(data, teacher):
    """Other labels, the same student: they serve validation alone, which decides nothing here."""
    other = SimpleNamespace(**{**vars(data), "y_train": 2 - data.y_train, "y_validation": 2 - data.y_validation})
    one, two = run(data, teacher, Target("macs", 40)), run(other, teacher, Target("macs", 40))
    for a, b in zip(one.student.layers, two.student.layers, strict=True):
        assert all(np.array_equal(p, q) for p, q in zip(a.params, b.params, strict=True))


def test_labels_are_learnt_from_where_they_weigh(data, teacher):
    """Other labels, another student."""
    other = SimpleNamespace(**{**vars(data), "y_train": 2 - data.y_train})
    one, two = (run(given, teacher, Target("macs", 40), replace(RECIPE, label_weight=1.0)) for given in (data, other))
    assert not np.array_equal(one.student.layers[-1].params[0], two.student.layers[-1].params[0])


def test_an_adversary_is_the_students_in_every_stage(data, teacher, monkeypatch):
    """Its radius reaches the loop in every distillation, and none does in the training of a teacher."""
    radii, loop = [], stages.train
    monkeypatch.setattr(stages, "train", lambda *a,
                        **options: radii.append(options["settings"].adversarial_eps) or loop(*a, **options))
    recipe = replace(RECIPE, adversarial_eps=0.2)
    run(data, teacher, Target("macs", 40), recipe)
    assert radii == [0.2] * recipe.rounds
    stages.train_teacher(Run(data, replace(recipe, teacher_epochs=1), np.random.default_rng(0)))
    assert radii[-1] == 0


def test_a_teacher_to_begin_with(data, teacher):
    state, before = State(), [p.copy() for layer in teacher.layers for p in layer.params]
    again = train_teacher(Run(data, RECIPE, np.random.default_rng(0), state=state), teacher)
    assert again is state.teacher is not teacher
    assert again.widths == teacher.widths
    assert all(np.array_equal(p, q)
               for p, q in zip(before, [p for layer in teacher.layers for p in layer.params], strict=True))


# ---- a student that dies
# -------------------------------------------------------------------------------------------------------------------

SURE = replace(RECIPE, hidden=(30, 20), student_learning_rate=0.8, epochs=6)
STAGES = ["last", "last, half the rate", "last, half the rate, half the rate"]


class Keeper(Recorder):
    """A progress that keeps checkpoints, and those of a run that was broken off."""

    def __init__(self, stages=None, stop_at=None, after=0):
        super().__init__(stop_at)
        self.stages, self.left = dict(stages or {}), after

    def step(self, note, record=None):
        super().step(note, record)
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt

    def keep(self, stage, checkpoint):
        self.stages[stage] = checkpoint

    def kept(self, stage, network):
        return self.stages.get(stage)


def distilled(data, rate, progress=None):
    """A drawn student after the last distillation, at a rate."""
    recipe = replace(SURE, student_learning_rate=rate)
    teacher, student = (stages.fresh(recipe, data, np.random.default_rng(seed)) for seed in (1, 3))
    teacher = train_teacher(Run(data, recipe, np.random.default_rng(1)), teacher)
    shared = Run(data, recipe, np.random.default_rng(2), progress or NoProgress())
    transfer = stages.transfer_set(teacher, data, recipe)
    return stages.distil_end_to_end(shared, student, transfer, "last", recipe.epochs)


def dead_share(network, x):
    """The largest share of a layer of ten neurons or more."""
    return max(share for share, width in dead_shares(network, x) if width >= 10)


@pytest.mark.filterwarnings("ignore::npkd.nn.dead.DeadNeuronsWarning")
def test_a_student_that_dies_begins_again_at_half_the_rate(data):
    progress = Recorder()
    student = distilled(data, 0.8, progress)
    assert [stage for stage, _ in progress.begun] == STAGES
    *died, lived = [[record for _, record in steps] for steps in progress.steps]
    for k, lines in enumerate(died):
        assert len(lines) < SURE.epochs
        assert 0.7 * 0.8 / 2**k < lines[0]["rate"] <= 0.8 / 2**k
    assert len(lived) == SURE.epochs
    assert dead_share(student, data.x_train) <= 0.5
    assert error_rate(student, data.x_validation, data.y_validation) <= 0.02


def test_without_a_second_try_it_stays_dead_and_a_warning_says_so(data, monkeypatch):
    monkeypatch.setattr(stages, "HALVINGS", 0)
    with pytest.warns(DeadNeuronsWarning, match="lower learning rate"):
        student = distilled(data, 0.8)
    assert dead_share(student, data.x_train) > 0.5


def test_a_student_that_diverges_begins_again_and_at_last_says_so(data):
    progress = Recorder()
    with pytest.warns(RuntimeWarning), pytest.raises(Diverged, match="lower the learning rate"):
        distilled(data, 1e30, progress)
    assert len(progress.begun) == 1 + stages.HALVINGS


@pytest.mark.parametrize("stage", STAGES)
def test_a_student_that_died_is_resumed_as_if_not_broken_off(data, stage):
    whole = Keeper()
    expected = distilled(data, 0.8, whole)
    part = Keeper(stop_at=stage)
    with pytest.raises(KeyboardInterrupt):
        distilled(data, 0.8, part)
    again = Keeper(part.stages)
    student = distilled(data, 0.8, again)
    for a, b in zip(student.layers, expected.layers, strict=True):
        assert all(np.array_equal(p, q) for p, q in zip(a.params, b.params, strict=True))
    told = [[(b, [{**r, "seconds": 0} for _, r in steps]) for b, steps in zip(x.begun, x.steps, strict=True)]
            for x in (again, whole)]
    assert told[0] == told[1]


def test_what_is_dead_from_the_beginning_is_no_sign(data):
    """Of 30 neurons 18 are dead in the student as it comes: a low rate is no cure."""
    student = stages.fresh(SURE, data, np.random.default_rng(3))
    w, b = (p.copy() for p in student.layers[0].params)
    w[:18], b[:18] = 0, -1
    student = student.replace({0: replace(student.layers[0], params=(w, b))})
    assert dead_share(student, data.x_train) == pytest.approx(0.6)
    progress = Recorder()
    recipe = replace(SURE, student_learning_rate=0.05)
    teacher = train_teacher(Run(data, recipe, np.random.default_rng(1)))
    transfer = stages.transfer_set(teacher, data, recipe)
    with warnings.catch_warnings(action="ignore", category=DeadNeuronsWarning):
        stages.distil_end_to_end(Run(data, recipe, np.random.default_rng(2), progress), student, transfer, "last", 3)
    assert [stage for stage, _ in progress.begun] == ["last"]


def test_examples_in_the_order_of_their_classes_do_not_look_dead():
    """Neurons that come to answer to one class each are zero for all of a part that holds another one."""
    rng, y = np.random.default_rng(0), np.repeat(np.arange(4), 800)
    x = (np.eye(4)[y] + 0.05 * rng.standard_normal((len(y), 4))).astype(np.float32)
    data = replace(from_arrays("sorted", [x, y, x[:9], y[:9]], seed=0), x_train=x, y_train=y)
    begin, own = perceptron([4, 24, 4], rng), np.tile(10 * np.eye(4, dtype=np.float32), (6, 1))
    broad, sharp = (begin.replace({0: replace(begin.layers[0], params=(own, np.full(24, b, np.float32)))})
                    for b in (9, -3))
    assert dead_share(broad, x[:512]) == 0
    assert dead_share(sharp, x[:512]) == 0.75
    progress, transfer = Recorder(), stages.transfer_set(sharp, data, SURE)
    stages.distil_end_to_end(Run(data, SURE, rng, progress), broad, transfer, "last", 1, 1e-9,
                             lambda body: lambda _, **how: train(sharp, **how))
    assert [stage for stage, _ in progress.begun] == ["last"]


def test_shares_that_are_dead_are_counted_by_layer():
    """By the definition, in a loop over neurons and examples."""
    network, x = perceptron([4, 16, 12, 5, 3], np.random.default_rng(0)), np.random.default_rng(1).normal(size=(50, 4))
    layers = {}
    for i, dead in ((0, 4), (2, 9), (4, 5)):
        w, b = (p.copy() for p in network.layers[i].params)
        w[:dead], b[:dead] = 0, -1
        layers[i] = replace(network.layers[i], params=(w, b))
    network, x = network.replace(layers), x.astype(np.float32)
    shares = [(np.mean([not any(a[m, j] for m in range(50)) for j in range(a.shape[1])]), a.shape[1])
              for a in (network(x)[0][i + 1] for i in (1, 3, 5))]
    assert dead_shares(network, x) == shares
    assert [share for share, _ in shares][2] == 1


@pytest.mark.parametrize(("before", "now", "expected"), [
    ([(0.0, 20)], [(0.5, 20)], False), ([(0.0, 20)], [(0.55, 20)], True),
    ([(0.6, 20)], [(0.8, 20)], False), ([(0.6, 20)], [(0.85, 20)], True),               # of what lived
    ([(0.6, 20), (0.0, 20)], [(0.6, 20), (0.7, 20)], True),                             # layer by layer
    ([(0.0, 9)], [(8 / 9, 9)], False), ([(0.0, 9)], [(1.0, 9)], True),                  # few neurons: all of them
    ([(1.0, 9)], [(1.0, 9)], False), ([(1.0, 20)], [(1.0, 20)], False), ([], [], False)])
def test_what_has_died(before, now, expected):
    assert died(before, now) is expected


@pytest.mark.filterwarnings("ignore::npkd.nn.dead.DeadNeuronsWarning")
@pytest.mark.parametrize(("refresh", "held"), [(1, False), (2, False), (3, False), (1, True)])
def test_behind_selected_inputs_and_in_stages_without_checkpoints(data, refresh, held):
    """Noise, an adversary, examples shown twice; broken off after each of its epochs a run ends as if it was not."""
    recipe = replace(SURE, refresh=refresh, noise_std=0.05, adversarial_eps=0.05)
    teacher = train_teacher(Run(data, recipe, np.random.default_rng(1)))
    body = perceptron([5, 30, 20, 3], np.random.default_rng(3))
    student = stages.selecting(np.array([0, 2, 3, 4, 5]), body)

    def last(progress):
        more = (1.0, lambda body: partial(train, penalties={})) if held else ()
        return stages.distil_end_to_end(Run(data, recipe, np.random.default_rng(2), progress), student,
                                        stages.transfer_set(teacher, data, recipe), "last", recipe.epochs, *more)

    whole = Keeper()
    expected = last(whole)
    assert len(whole.begun) > 1
    assert bool(whole.stages) is not held
    for stop in range(1, 1 + sum(map(len, whole.steps))):
        part = Keeper(after=stop)
        with pytest.raises(KeyboardInterrupt):
            last(part)
        again = Keeper(part.stages)
        for a, b in zip(last(again).layers, expected.layers, strict=True):
            assert all(np.array_equal(p, q) for p, q in zip(a.params, b.params, strict=True))
        assert [b for b, _ in again.begun] == [b for b, _ in whole.begun]
        assert [[r["loss"] for _, r in steps] for steps in again.steps] == \
               [[r["loss"] for _, r in steps] for steps in whole.steps]


# ---- what a run tells
# -------------------------------------------------------------------------------------------------------------------


def test_a_watch_is_told_of_every_step(data):
    progress, state = Recorder(), State()
    rng = np.random.default_rng(5)
    shared = Run(data, RECIPE, rng, progress, state)
    compress(shared, train_teacher(shared), Target("macs", 40))
    assert [stage for stage, _ in progress.begun] == [
        "teacher", "round 1 of 2: layers", "round 1 of 2: distillation", "round 2 of 2: layers", "final distillation"]
    assert [len(steps) for steps in progress.steps] == [steps for _, steps in progress.begun]
    assert [steps for _, steps in progress.begun] == [12, 7, 1, 7, 3]
    lines = [record for steps in progress.steps for _, record in steps if record]
    assert [(r["stage"], r["epoch"]) for r in lines] == [
        *(("teacher", e) for e in range(1, 13)), ("round 1 of 2: distillation", 1),
        *(("final distillation", e) for e in range(1, 4))]
    for r in lines:
        assert set(r) == {"stage", "epoch", "loss", "validation_error", "rate", "widths", "seconds", "dead"}
        assert {*r["dead"]} <= {"1", "3"}                       # by layer
        assert np.isfinite(r["loss"])
        assert 0 <= r["validation_error"] <= 1
    assert lines[0]["widths"] == [6, 10, 8, 3]
    assert lines[-1]["widths"] == state.student.widths
    assert lines[-1]["validation_error"] == error_rate(state.student, data.x_validation, data.y_validation)


@pytest.mark.parametrize("stage", ["round 1 of 2: layers", "round 1 of 2: distillation", "round 2 of 2: layers",
                                   "final distillation"])
def test_an_interrupt_leaves_a_usable_state(data, teacher, stage):
    state = State()
    with pytest.raises(KeyboardInterrupt):
        run(data, teacher, Target("macs", 40), progress=Recorder(stage), state=state)
    assert state.teacher is teacher
    assert np.isfinite(state.student.predict(data.x_validation)).all()
    assert len(state.rounds) == {"round 1 of 2: layers": 0, "round 1 of 2: distillation": 1,
                                 "round 2 of 2: layers": 1}.get(stage, 2)


def test_an_interrupt_of_the_teacher(data):
    state = State()
    with pytest.raises(KeyboardInterrupt):
        train_teacher(Run(data, RECIPE, np.random.default_rng(0), Recorder("teacher"), state))
    assert state.student is None
    assert np.isfinite(state.teacher.predict(data.x_validation)).all()


def test_the_words_beside_a_bar():
    network = perceptron([2, 3], np.random.default_rng(0))
    record = SimpleNamespace(loss=0.12346, validation=0.0625, epoch=3, learning_rate=0.1, seconds=1.23456,
                             network=network, dead={1: 0.5}, terms={})
    assert note_of(record) == "loss 0.1235, validation error 6.25%"
    record.validation = None
    assert "validation" not in note_of(record)
    assert line_of("x", record, 2.0) == {"stage": "x", "epoch": 3, "loss": 0.12346, "validation_error": None,
                                         "rate": 0.1, "widths": [2, 3], "seconds": 3.235, "dead": {"1": 0.5}}
    record.terms = {"soft": {"value": 1.5, "cosine": float("nan")}}
    assert line_of("x", record, 2.0)["terms"] == {"soft": {"value": 1.5, "cosine": None}}     # JSON has no NaN


def test_the_layers_of_a_summary(data, teacher):
    state = run(data, teacher, Target("macs", 40))
    layers = layers_of(state.rounds)
    assert [entry["of"] for entry in layers] == teacher.widths[:-1]
    assert [entry["kept"] for entry in layers] == [r.kept for r in state.rounds[-1].layers]
    for k, entry in enumerate(layers):
        assert set(entry) >= {"kept", "of", "lambda", "duality_gap", "relative_error"}
        assert entry["duality_gap"] == max(out.layers[k].duality_gap for out in state.rounds) <= 1e-6
        assert entry["lambda"] <= entry["lambda_max"]
    assert layers_of([]) == []


def test_error_rate_counts(data, teacher):
    predicted = teacher.predict(data.x_train).argmax(axis=1)
    wrong = sum(int(p != y) for p, y in zip(predicted, data.y_train, strict=True))
    assert error_rate(teacher, data.x_train, data.y_train) == pytest.approx(wrong / len(data.y_train))


def test_passes_over_the_data(monkeypatch):
    monkeypatch.setattr(batches, "ROWS", 40)
    x = np.arange(200.0).reshape(100, 2)
    for _ in range(2):                                        # as often as one likes
        parts = list(batches_of(x)())
        assert [len(p) for p in parts] == [40, 40, 20]
        assert np.array_equal(np.concatenate(parts), x)


def test_a_silent_watch_says_nothing(data, teacher, capsys):
    run(data, teacher, Target("macs", 40), progress=NoProgress())
    run(data, teacher, Target("macs", 40))
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_the_last_distillation_may_see_everything_and_no_other_one(teacher, monkeypatch):
    """Rounds see the training part; with ``all_at_last`` the last stage sees the validation part too, and never the
    test part."""
    seen, data = [], tiny()

    def watched(run, student, transfer, stage, *rest, distil=stages.distil_end_to_end):
        seen.append((stage, len(run.data.x_train), run.data.x_train))
        return distil(run, student, transfer, stage, *rest)

    monkeypatch.setattr(stages, "distil_end_to_end", watched)
    recipe = fixed(hidden=(10, 8), rounds=3, round_epochs=1, epochs=1, batch_size=32, all_at_last=True)
    run(data, teacher, Target("macs", 20), recipe)
    *rounds, (stage, count, x) = seen
    assert stage == "final distillation"
    assert count == len(data.x_train) + len(data.x_validation)
    np.testing.assert_array_equal(x, np.concatenate([data.x_train, data.x_validation]))
    assert rounds
    assert {n for _, n, _ in rounds} == {len(data.x_train)}


def test_only_what_reached_a_millionth_is_called_certified():
    """By the largest gap of all; the limit itself is still certified; what was eliminated has no gap."""
    most = "relative duality gap at most"
    assert certified([1e-8, 1e-6, 1e-7]) == f"Every choice of neurons is certified: {most} 1.0e-06."
    assert certified([1.1e-6, 1e-9]) == f"Not every choice of neurons is certified to 1e-6: {most} 1.1e-06."
    assert certified([1e-9, 2e-6]).startswith("Not every choice")
    assert certified([None, 1e-7]).startswith("Every choice by the group lasso (what is read through several weights")
    assert certified([None, None]).startswith("Channels were eliminated")
    assert largest([1e-9, None, 3e-7, 2e-8]) == 3e-7
    assert largest([None]) is None


@pytest.mark.parametrize("gaps", [(5e-7, 1e-9, 1e-8), (1e-9, 5e-7, 1e-8), (1e-9, 1e-8, 5e-7), (None, 5e-7, 1e-9)])
def test_the_gap_that_is_reported_is_the_largest_of_all_rounds(gaps):
    """Wherever it was; an early choice that is not certified is not forgotten."""
    network, x = perceptron([4, 5, 3], np.random.default_rng(0), dtype=np.float64), np.eye(4)
    once = distil(network, lambda: [x], exactly([3, 4]))
    rounds = [replace(once, layers=[replace(layer, duality_gap=gap) for layer in once.layers]) for gap in gaps]
    assert [layer["duality_gap"] for layer in layers_of(rounds)] == [5e-7, 5e-7]
