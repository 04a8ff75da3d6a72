"""``--seeds``: runs that are those of ``--seed``, a summary over them, and sweeps that go on wherever they were broken
off."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from npkd.cli import sweep
from npkd.cli.main import main
from npkd.pipeline import stages
from tests.tiny import quick, stored, tree, undrawn, words

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    undrawn(monkeypatch)


def timeless(value):
    """JSON without seconds."""
    if isinstance(value, dict):
        return {name: timeless(one) for name, one in value.items() if name != "seconds"}
    return [timeless(one) for one in value] if isinstance(value, list) else value


def results(folder):
    """The files of a sweep or of a run without seconds, reports and pictures, which have seconds or are left out."""
    found = {}
    for name, content in tree(folder).items():
        if name.endswith(".json"):
            content = timeless(json.loads(content))
        elif name.endswith(".jsonl"):
            content = [timeless(json.loads(line)) for line in content.splitlines()]
        elif name.endswith(".toml"):                          # all but which options were typed, and if it went on
            content = [line for line in content.splitlines() if not line.startswith((b"given", b"resumed"))]
        if content is not None and not name.endswith((".html", ".png")):
            found[name] = content
    return found


def swept(folder, out, *more, command="train", seeds="0-2", workers="1"):
    """A sweep of quick runs; what is in its folder."""
    assert quick(folder, "--seeds", seeds, "--workers", workers, "--out", str(folder / out), *more,
                 command=command) == 0
    return results(folder / out)


def interrupted(monkeypatch, folder, seed, *more, epoch=2):
    """A sweep of quick trainings that is interrupted in an epoch of the run of a seed."""
    made = stages.train

    def train(*given, **options):
        for record in made(*given, **options):
            if current == [seed] and record.epoch == epoch:
                raise KeyboardInterrupt
            yield record

    current, one = [], sweep.one
    with monkeypatch.context() as patch:
        patch.setattr(stages, "train", train)
        patch.setattr(sweep, "one", lambda settings: (current.clear(), current.append(settings.seed), one(settings))[2])
        assert quick(folder, "--epochs", "3", "--seeds", "0-2", "--workers", "1", *more, command="train") == 130


# ---- what a sweep writes


@pytest.mark.parametrize("command", ["compress", "train"])
def test_each_run_is_that_of_its_seed_and_the_summary_is_over_them(tmp_path, command, capsys):
    found = swept(tmp_path, "out", command=command, seeds="0,3")
    said = capsys.readouterr().out
    for seed in (0, 3):
        assert quick(tmp_path, "--seed", str(seed), "--out", str(tmp_path / f"alone-{seed}"), command=command) == 0
        alone = results(tmp_path / f"alone-{seed}")
        assert {name.removeprefix(f"seed-{seed}/"): one for name, one in found.items()
                if name.startswith(f"seed-{seed}/")} == alone
    assert {name for name in found if "/" not in name} == {"summary.json"}
    network = "model" if command == "train" else "student"
    errors = [found[f"seed-{seed}/summary.json"][network]["test_error"] for seed in (0, 3)]
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["command"] == found["seed-0/summary.json"]["command"].replace("--seed 0", "--seeds 0,3")
    assert summary[network]["test_error"] == {"mean": pytest.approx(np.mean(errors)),
                                              "deviation": pytest.approx(np.std(errors, ddof=1))}
    assert [(one["seed"], one[network]["test_error"]) for one in summary["runs"]] == [*zip((0, 3), errors, strict=True)]
    page = (tmp_path / "out/report.html").read_text()
    assert all(f'href="seed-{seed}/report.html"' in page for seed in (0, 3))
    told = f"{100 * np.mean(errors):.2f} ± {100 * np.std(errors, ddof=1):.2f}"
    assert told in page
    assert told in said
    assert main(["verify", str(tmp_path / "out")]) == 2
    assert "holds a sweep of 2 runs; name one of them" in capsys.readouterr().err
    again = ["--config", str(tmp_path / "out/seed-3/config.toml"), "--seeds", "0,3", "--workers", "1", "--quiet"]
    assert main([command, *again, "--out", str(tmp_path / "again")]) == 0          # what is typed counts, not its seed
    assert results(tmp_path / "again") == found
    (tmp_path / "out/report.html").unlink()
    assert main(["report", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/report.html").read_text() == page


def test_two_workers_do_what_one_does(tmp_path):
    assert swept(tmp_path, "one", seeds="0-1") == swept(tmp_path, "two", seeds="0-1", workers="2")


def test_a_sweep_finds_its_own_folder(tmp_path, monkeypatch, capsys):
    data = stored(tmp_path / "data.npz")
    monkeypatch.chdir(tmp_path)
    options = ["train", "--data", data, "--hidden", "6", "--epochs", "1", "--seeds", "0-1", "--workers", "1"]
    assert main(options) == 0
    assert main(options) == 0
    assert "this run is written to npkd-out-2" in capsys.readouterr().err
    assert {path.name for path in Path("npkd-out-2").iterdir()} == {"seed-0", "seed-1", "summary.json", "report.html"}


# ---- broken off


def test_interrupted_it_goes_on_with_the_half_run_and_repeats_no_finished_one(tmp_path, monkeypatch, capsys):
    whole = swept(tmp_path, "whole", "--epochs", "3")
    interrupted(monkeypatch, tmp_path, 1)
    assert "interrupted; 1 of 3 runs are done and in" in capsys.readouterr().err
    before = tree(tmp_path / "out/seed-0")
    begun, train = [], stages.train
    monkeypatch.setattr(stages, "train", lambda *given, **more: (begun.append(more["settings"].done),
                                                                 train(*given, **more))[1])
    assert swept(tmp_path, "out", "--epochs", "3", "--resume") == whole
    assert begun == [1, 0]                                                  # the second epoch was not kept
    assert tree(tmp_path / "out/seed-0") == before


def test_killed_it_repeats_no_finished_run(tmp_path):
    """By SIGKILL, with two processes, which end with it."""
    whole, out = swept(tmp_path, "whole", "--epochs", "40", seeds="0-3"), tmp_path / "out"
    command = [sys.executable, "-m", "npkd", *words(tmp_path, "--epochs", "40", "--seeds", "0-3", command="train")]
    with subprocess.Popen(command, cwd=ROOT) as process:
        until = time.monotonic() + 100
        while sum(sweep.done(out / f"seed-{seed}") for seed in range(4)) < 1 and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert not (out / "summary.json").exists()
    time.sleep(1)                                                           # until its workers have seen it
    before = {seed: os.stat(out / f"seed-{seed}/summary.json").st_mtime_ns for seed in range(4)
              if sweep.done(out / f"seed-{seed}")}
    assert 1 <= len(before) < 4
    assert swept(tmp_path, "out", "--epochs", "40", "--resume", seeds="0-3", workers="2") == whole
    assert {seed: os.stat(out / f"seed-{seed}/summary.json").st_mtime_ns for seed in before} == before


def test_what_cannot_be_worked_with_leaves_nothing(tmp_path, capsys):
    np.savez(tmp_path / "bad.npz", x_train=np.zeros((4, 2)))
    assert quick(tmp_path, "--seeds", "0-1", "--workers", "1", command="train", data=str(tmp_path / "bad.npz")) == 2
    assert "seed 0: " in capsys.readouterr().err
    assert [*(tmp_path / "out").iterdir()] == []


# ---- the folder


def test_what_is_there_is_not_replaced(tmp_path, capsys):
    swept(tmp_path, "out", seeds="0-1")
    before = tree(tmp_path / "out")
    assert quick(tmp_path, "--seeds", "0-1", command="train") == 2
    assert "name a new or empty folder" in capsys.readouterr().err
    assert quick(tmp_path, "--seeds", "0-1", "--overwrite", command="train") == 2
    assert "a sweep replaces nothing" in capsys.readouterr().err
    assert quick(tmp_path, "--overwrite", command="train") == 2
    assert "holds runs with several seeds" in capsys.readouterr().err
    assert tree(tmp_path / "out") == before


def test_going_on_replaces_nothing_of_others(tmp_path, capsys):
    (tmp_path / "out/seed-0").mkdir(parents=True)
    (tmp_path / "out/seed-0/note.txt").write_text("mine")
    for name in ("out/summary.json", "out/seed-0/model.npz"):
        (tmp_path / name).write_text("mine")
        before = tree(tmp_path / "out")
        assert quick(tmp_path, "--seeds", "0-1", "--workers", "1", "--resume", command="train") == 2
        assert "was not written by npkd and is not replaced" in capsys.readouterr().err
        assert tree(tmp_path / "out") == before
        (tmp_path / name).unlink()
    assert quick(tmp_path, "--seeds", "0-1", "--workers", "1", "--resume", command="train") == 0
    assert (tmp_path / "out/seed-0/note.txt").read_text() == "mine"


def test_seeds_can_be_added(tmp_path, monkeypatch):
    swept(tmp_path, "out", seeds="0-1")
    asked, one = [], sweep.one
    monkeypatch.setattr(sweep, "one", lambda settings: (asked.append(settings.seed), one(settings))[1])
    assert swept(tmp_path, "out", "--resume") == swept(tmp_path, "fresh")
    assert asked == [2, 0, 1, 2]


@pytest.mark.parametrize(("more", "said"), [
    (["--seeds", "0-1", "--seed", "0"], "got --seed and --seeds"), (["--workers", "2"], "got --workers and no --seeds"),
    (["--seeds", "5"], "such as 0-4 for 5 seeds, 5-5 for seed 5 alone"), (["--seeds", "3-1"], "such as 0-9 or 0,3,7"),
    (["--seeds", "1-2-3"], "must be seeds"), (["--seeds", "0-1", "--backend", "threads"], "invalid choice")])
def test_wrong_words_are_refused(tmp_path, more, said, capsys):
    assert quick(tmp_path, *more, command="train") == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_other_options_than_it_was_begun_with_are_refused(tmp_path, monkeypatch, capsys):
    """Of the run that is done, and where that is not there, of the half one."""
    interrupted(monkeypatch, tmp_path, 1)
    other = ["--seeds", "0-2", "--workers", "1", "--epochs", "4", "--resume"]
    assert quick(tmp_path, *other, command="train") == 2
    assert "seed-0 was made by npkd train" in capsys.readouterr().err
    (tmp_path / "out/seed-0").rename(tmp_path / "done")
    assert quick(tmp_path, *other, "--seeds", "1-2", command="train") == 2
    assert "seed 1: --resume: got epochs 4" in capsys.readouterr().err
    assert quick(tmp_path, "--seeds", "0-2", command="train") == 2
    assert "--resume to go on" in capsys.readouterr().err
    assert main(["train", "--resume", "--seeds", "0-2", "--out", str(tmp_path / "none")]) == 2
    assert "holds no sweep of npkd" in capsys.readouterr().err
