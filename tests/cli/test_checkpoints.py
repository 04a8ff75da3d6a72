"""A run that was broken off and goes on ends with the same files as one that was not, whenever it was broken off."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import npkd
from npkd.cli import prepare, recorder, run
from npkd.cli.main import main
from npkd.cli.settings import Settings, absolute
from npkd.core.files import read_npz, write_npz
from npkd.core.progress import NoProgress
from npkd.core.validation import InputError
from npkd.nn.model import Model, load
from npkd.nn.model import save as save_model
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.nn.training import TrainingSettings
from npkd.pipeline import checkpoints, stages
from npkd.pipeline.recipe import complete
from tests.tiny import Stop, stored, undrawn, words

STAGES = [("teacher", 1), ("round 1 of 5: layers", 2), ("round 2 of 5: distillation", 1), ("final distillation", 2),
          ("figures and report", 0)]


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch):
    undrawn(monkeypatch)


def settings(folder, **more):
    given = {"data": stored(folder / "data.npz"), "out": str(folder / "out"), "epochs": 4, "hidden": (8, 6),
             "target": None if more.get("command") == "train" else "macs=40%", "seed": 2} | more
    return Settings(**given)


def files(folder):
    """Networks as bytes, summary and history as tables without their seconds and latencies."""
    networks = {p.name: p.read_bytes() for p in sorted(folder.glob("*.npz"))}
    summary = json.loads((folder / "summary.json").read_text())
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return networks, [{key: value for key, value in one.items() if key not in ("seconds", "latency")}
                      for one in (summary, *lines)]


def broken_off(asked, stage, step):
    with pytest.raises(KeyboardInterrupt, match=r"to go on: npkd .* --resume --out"):
        run.run(asked, Stop(stage, step))


def resume(asked):
    run.run(replace(asked, resume=True, overwrite=False), NoProgress())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The files of a run that was not broken off."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        undrawn(patch)
        run.run(settings(folder), NoProgress())
    return files(folder / "out")


@pytest.mark.parametrize(("stage", "step"), STAGES)
def test_a_run_that_goes_on_ends_as_one_that_was_not_broken_off(tmp_path, whole, stage, step):
    broken_off(settings(tmp_path), stage, step)
    resume(settings(tmp_path))
    assert files(tmp_path / "out") == whole
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "config.toml", "figures", "history.jsonl", "report.html", "student.npz", "summary.json", "teacher.npz"]


def test_a_run_that_is_broken_off_again_and_again(tmp_path, whole):
    broken_off(settings(tmp_path), "teacher", 2)
    for stage, step in (("teacher", 3), ("round 1 of 5: layers", 1), ("round 4 of 5: distillation", 1),
                        ("final distillation", 3)):
        broken_off(settings(tmp_path, resume=True), stage, step)
    resume(settings(tmp_path))
    assert files(tmp_path / "out") == whole


@pytest.mark.parametrize("changed", [{"clip": 0.1, "refresh": 3},
                                     {"max_shift": 1, "noise_std": 0.0, "adversarial_eps": 0.1}], ids=str)
def test_with_other_recipes(tmp_path, monkeypatch, changed):
    """Clipping keeps the velocity elsewhere; what is shown several epochs long cannot be taken up in the middle. Logits
    of moved pictures are computed when they are first drawn, in a run that goes on in other batches: with the BLAS
    kernels for Haswell a row's product depends on its place among the others, so that only rounding is asked for."""
    monkeypatch.setattr(prepare, "complete", lambda *a, **b: replace(complete(*a, **b), **changed))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    run.run(settings(tmp_path / "one"), NoProgress())
    broken_off(settings(tmp_path / "two"), "final distillation", 2)
    resume(settings(tmp_path / "two"))
    one, two = (files(tmp_path / name / "out") for name in ("one", "two"))
    if "max_shift" not in changed:
        assert one == two
    a, b = (load(tmp_path / name / "out/student.npz").network for name in ("one", "two"))
    assert a.widths == b.widths
    for p, q in zip(a.layers, b.layers, strict=True):
        assert all(np.allclose(v, w, rtol=0, atol=1e-4) for v, w in zip(p.params, q.params, strict=True))


@pytest.mark.parametrize("epoch", [1, 3, 4])
def test_early_stopping_goes_on(tmp_path, monkeypatch, epoch):
    """Epoch 2 is best and the teacher's training ends after epoch 4, wherever it was broken off."""
    numbers = [0.5, 0.4, 0.4, 0.45, 0.3]

    def early(*arguments, **options):
        def validate(network):
            return error_of[network.layers[0].params[0].tobytes()]
        return TrainingSettings(*arguments, **options | {"patience": 2, "validate": validate})

    class Known(dict):
        def __missing__(self, network):
            self[network] = numbers[len(self)]
            return self[network]

    error_of = Known()                                         # by network: the run that goes on meets the same ones
    monkeypatch.setattr(stages, "TrainingSettings", early)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    asked = [settings(tmp_path / name, command="train", epochs=20) for name in ("one", "two")]
    run.run(asked[0], NoProgress())
    assert len(files(tmp_path / "one/out")[1]) == 1 + 4
    broken_off(asked[1], "training", epoch)
    resume(asked[1])
    assert files(tmp_path / "two/out") == files(tmp_path / "one/out")


@pytest.mark.parametrize("more", [{"dropout": 0.2, "activation": "tanh"}, {"network": "lenet5", "hidden": None}],
                         ids=["dropout", "lenet5"])
def test_plain_training_goes_on(tmp_path, more):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    data = stored(tmp_path / "data.npz", shape=(16, 16)) if "network" in more else stored(tmp_path / "data.npz")
    asked = [settings(tmp_path / name, command="train", data=data, epochs=3, **more) for name in ("one", "two")]
    run.run(asked[0], NoProgress())
    broken_off(asked[1], "training", 2)
    resume(asked[1])
    assert files(tmp_path / "two/out") == files(tmp_path / "one/out")


def test_a_given_teacher_and_a_target_of_error(tmp_path):
    save_model(tmp_path / "mine.npz", Model(perceptron([16, 8, 6, 3], np.random.default_rng(0))))
    given = {"hidden": None, "teacher": str(tmp_path / "mine.npz"), "distil_from": str(tmp_path / "mine.npz"),
             "target": "error=+100"}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    run.run(settings(tmp_path / "one", **given), NoProgress())
    broken_off(settings(tmp_path / "two", **given), "round 2: distillation", 1)
    resume(settings(tmp_path / "two", **given))
    assert files(tmp_path / "two/out") == files(tmp_path / "one/out")


def test_a_killed_run_goes_on(tmp_path, whole):
    """SIGKILL: nothing can be saved then; what was kept before is whole."""
    arguments = words(tmp_path, "--epochs", "4", "--seed", "2")
    code = ("import sys\nfrom npkd.pipeline import checkpoints\nfrom npkd.cli.main import main\n"
            "checkpoints.LEAST_SECONDS, checkpoints.SHARE = 0, 1e9\nsys.exit(main(sys.argv[1:]))")
    environment = {**os.environ, "PYTHONPATH": str(Path(npkd.__file__).parent.parent), "OPENBLAS_NUM_THREADS": "1"}
    running = subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment)
    patience = time.monotonic() + 60
    while time.monotonic() < patience and running.poll() is None:
        if (tmp_path / "out/history.jsonl").exists() and "round 1" in (tmp_path / "out/history.jsonl").read_text():
            break
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert main(["compress", "--resume", "--out", str(tmp_path / "out"), "--quiet"]) == 0
    networks, tables = files(tmp_path / "out")
    assert networks == whole[0]
    assert tables[1:] == whole[1][1:]
    assert [p for p in (tmp_path / "out").rglob(".*") if p.is_file()] == []


@pytest.mark.parametrize("place", ["save_model", "write_text", "flush"])
@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_a_second_interrupt_says_what_the_files_hold(tmp_path, monkeypatch, place, seconds, whole):
    """While the files of the first are written: the network, the history or the checkpoint."""
    asked = settings(tmp_path)
    monkeypatch.setattr(checkpoints, "LEAST_SECONDS", seconds)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)

    def interrupted(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.CheckpointFile if place == "flush" else recorder, place, interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        run.run(asked, Stop("teacher", 3))
    words, network = str(caught.value), f"; teacher.npz is in {asked.out}" if place != "save_model" else ""
    if not seconds:
        assert words == (f"interrupted twice; the last checkpoint is of teacher, epoch 3{network}; to go on: npkd "
                         f"compress --resume --out {asked.out}")
    else:
        assert words == f"interrupted twice, before there was a checkpoint{network or '; nothing was saved'}"
    monkeypatch.undo()
    undrawn(monkeypatch)
    if not seconds:
        resume(asked)
        assert files(tmp_path / "out") == whole


def test_a_second_interrupt_when_all_is_written_changes_no_words(tmp_path, monkeypatch, capsys):
    opened = run.folders.opened

    @contextmanager
    def interrupted(asked):
        with opened(asked) as folder:
            try:
                yield folder
            finally:
                raise KeyboardInterrupt

    monkeypatch.setattr(run.folders, "opened", interrupted)
    monkeypatch.setattr("npkd.core.progress.NoProgress", lambda: Stop("round 2 of 5: layers", 1))
    assert main(words(tmp_path)) == 130
    err = capsys.readouterr().err
    assert err.startswith("npkd: interrupted; teacher.npz, student.npz and history.jsonl are in")
    assert err.count("\n") == 1


# the command line

def test_resume_takes_the_settings_of_the_run(tmp_path, monkeypatch, capsys, whole):
    broken_off(settings(tmp_path), "teacher", 3)
    monkeypatch.chdir(tmp_path)
    assert main(["compress", "--resume", "--out", "out", "--seed", "3", "--quiet"]) == 2
    assert "got seed 3, the run in out was begun with 2; leave it out" in capsys.readouterr().err
    assert main(["compress", "--resume", "--out", "out", "--overwrite"]) == 2
    assert "give one of them" in capsys.readouterr().err
    assert main(["train", "--resume", "--out", "out"]) == 2
    assert "got command 'train', the run in out was begun with 'compress'" in capsys.readouterr().err
    assert main(["compress", "--resume", "--out", "out", "--seed", "2", "--data", "data.npz", "--quiet"]) == 0
    assert files(tmp_path / "out") == whole
    assert main(["compress", "--resume", "--out", "out"]) == 2
    assert "out holds no run of npkd that was broken off" in capsys.readouterr().err


def test_resume_without_a_folder_takes_the_latest(tmp_path, monkeypatch, capsys, whole):
    monkeypatch.chdir(tmp_path)
    assert main(["compress", "--resume"]) == 2
    assert "no folder npkd-out… with checkpoint.npz" in capsys.readouterr().err
    asked = replace(settings(tmp_path), out="npkd-out")
    run.run(asked, NoProgress())
    broken_off(replace(asked, out="npkd-out-2"), "teacher", 2)
    assert main(["compress", "--resume", "--quiet"]) == 0
    assert files(tmp_path / "npkd-out-2") == whole


def test_what_is_no_longer_what_the_run_began_with_is_refused(tmp_path):
    save_model(tmp_path / "mine.npz", Model(perceptron([16, 8, 6, 3], np.random.default_rng(0))))
    asked = settings(tmp_path, hidden=None, teacher=str(tmp_path / "mine.npz"))
    broken_off(asked, "round 2 of 5: distillation", 1)
    save_model(tmp_path / "mine.npz", Model(perceptron([16, 8, 6, 3], np.random.default_rng(1))))
    with pytest.raises(InputError, match=r"mine.npz is not the file any more .* kept as .*teacher.npz"):
        resume(asked)
    save_model(tmp_path / "mine.npz", Model(perceptron([16, 8, 6, 3], np.random.default_rng(0))))
    stored(tmp_path / "data.npz", seed=1)
    with pytest.raises(InputError, match="holds other examples than when the run"):
        resume(replace(asked, data=str(tmp_path / "data.npz")))
    stored(tmp_path / "data.npz")
    resume(asked)


@pytest.mark.parametrize("spoil", [
    lambda header, arrays: header.update(npkd="0.0.1"), lambda header, arrays: header.update(settings={}),
    lambda header, arrays: header["stages"][0].update(best=[1]), lambda header, arrays: header["stages"][0].pop("best"),
    lambda header, arrays: header["stages"][0].update(best=[9, 0.5]), lambda header, arrays: arrays.pop("0.0.0"),
    lambda header, arrays: header["stages"][0].pop("rng"),
    lambda header, arrays: header.update(stages=[3]),
    lambda header, arrays: arrays.update({"0.0.0": np.zeros((2, 2), np.float32)}),
    lambda header, arrays: header.update(seconds="long"),
])
def test_a_checkpoint_that_is_none_is_refused_in_one_sentence(tmp_path, capsys, spoil):
    broken_off(settings(tmp_path), "teacher", 3)
    path = tmp_path / "out/checkpoint.npz"
    header, arrays = read_npz(path, "checkpoint")
    spoil(header, arrays)
    write_npz(path, header, arrays)
    assert main(["compress", "--resume", "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_running_moments_come_back(tmp_path):
    """Batch norm has none before its training, and after it they belong to the network."""
    data, rng = run.prepare(settings(tmp_path), NoProgress()).data, np.random.default_rng(0)
    start = Network([dense_layer(16, 3, rng), Layer("batch_norm", (np.ones(3, np.float32), np.zeros(3, np.float32)))])
    moments = np.arange(3, dtype=np.float32), np.ones(3, np.float32) / 3
    trained = start.replace({1: replace(start.layers[1], running=moments)})
    rng.random(7)
    file = checkpoints.CheckpointFile(tmp_path / "c.npz", absolute(settings(tmp_path)), data, resume=False)
    epochs = (("a note", {"stage": "teacher", "loss": 1 / 3}),) * 2
    better = trained.replace({0: dense_layer(16, 3, rng)})
    file.keep("teacher", checkpoints.Checkpoint(epochs, trained, moments, rng.bit_generator.state, (1, 1 / 3, better)))
    file.flush()
    again = checkpoints.CheckpointFile(tmp_path / "c.npz", absolute(settings(tmp_path)), data, resume=True)
    assert again.kept("final distillation", start) is None
    kept = again.kept("teacher", start)
    assert kept.epochs == epochs
    assert kept.best[:2] == (1, 1 / 3)
    for a, b in zip(kept.best[2].layers, better.layers, strict=True):
        assert all(np.array_equal(p, q) for p, q in zip((*a.params, *a.running), (*b.params, *b.running), strict=True))
    assert kept.rng == rng.bit_generator.state
    for a, b in zip((*kept.network.layers[1].running, *kept.optimiser), moments * 2, strict=True):
        assert np.array_equal(a, b)


def test_the_file_is_not_written_more_often_than_it_is_worth(tmp_path, monkeypatch):
    clock, written = [0.0], []
    monkeypatch.setattr(checkpoints.time, "perf_counter", lambda: clock[0])

    def write(*arguments):
        written.append(clock[0])
        clock[0] += 0.6

    monkeypatch.setattr(checkpoints, "write_npz", write)
    data = run.prepare(settings(tmp_path), NoProgress()).data
    file = checkpoints.CheckpointFile(tmp_path / "c.npz", absolute(settings(tmp_path)), data, resume=False)
    checkpoint = checkpoints.Checkpoint((), perceptron([16, 3], np.random.default_rng(0)), (), {})
    for _ in range(100):                                    # an epoch takes a second, a file 0.6
        clock[0] += 1
        file.keep("teacher", checkpoint)
    assert 0.02 * clock[0] <= 0.6 * len(written) <= 0.03 * clock[0]
    before = len(written)
    file.flush()
    file.flush()
    assert len(written) == before + 1
