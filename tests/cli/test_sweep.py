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
    assert "interrupted; 1 of 3 runs are done; to go on: npkd train --resume --out" in capsys.readouterr().err
    before = tree(tmp_path / "out/seed-0")
    begun, train = [], stages.train
    monkeypatch.setattr(stages, "train", lambda *given, **more: (begun.append(more["settings"].done),
                                                                 train(*given, **more))[1])
    assert main(["train", "--resume", "--out", str(tmp_path / "out"), "--workers", "1"]) == 0
    assert begun == [1, 0]                                                  # the second epoch was not kept
    assert tree(tmp_path / "out/seed-0") == before
    assert results(tmp_path / "out") == whole
    assert main(["train", "--resume", "--out", str(tmp_path / "out")]) == 2
    assert "holds no run of npkd that was broken off" in capsys.readouterr().err


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
    assert main(["train", "--resume", "--out", str(out), "--quiet", "--workers", "2"]) == 0
    assert {seed: os.stat(out / f"seed-{seed}/summary.json").st_mtime_ns for seed in before} == before
    assert results(out) == whole


def test_what_cannot_be_worked_with_leaves_nothing(tmp_path, capsys):
    np.savez(tmp_path / "bad.npz", x_train=np.zeros((4, 2)))
    for more in ((), ("--overwrite",)):
        assert quick(tmp_path, "--seeds", "0-1", "--workers", "1", *more, command="train",
                     data=str(tmp_path / "bad.npz")) == 2
        assert "seed 0: " in capsys.readouterr().err
        assert [*(tmp_path / "out").iterdir()] == []


# ---- the folder


def test_an_earlier_sweep_stays_whole_until_the_new_one_is_done(tmp_path, monkeypatch, capsys):
    old = swept(tmp_path, "out", "--epochs", "2", seeds="1-4")
    assert quick(tmp_path, "--seeds", "0-2", command="train") == 2
    assert "give --overwrite" in capsys.readouterr().err
    interrupted(monkeypatch, tmp_path, 1, "--overwrite")
    now = results(tmp_path / "out")
    assert {name: one for name, one in now.items() if not name.startswith("unfinished")} == old
    assert main(["train", "--resume", "--out", str(tmp_path / "out"), "--workers", "1", "--quiet"]) == 0
    assert results(tmp_path / "out") == swept(tmp_path, "fresh", "--epochs", "3")
    assert not (tmp_path / "out/unfinished").exists()
    assert not (tmp_path / "out/seed-4").exists()


@pytest.mark.parametrize("after", range(1, 5))
def test_broken_off_while_it_takes_the_old_ones_place_it_can_be_done_again(tmp_path, monkeypatch, after):
    fresh = swept(tmp_path, "fresh")
    swept(tmp_path, "out", "--epochs", "2", seeds="1-3")
    left = [after]

    def stopping(made):
        def replaced(*given, **more):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return made(*given, **more)
        return replaced

    with monkeypatch.context() as patch:
        patch.setattr(sweep.shutil, "rmtree", stopping(sweep.shutil.rmtree))
        patch.setattr(sweep, "write_bytes", stopping(sweep.write_bytes))
        assert quick(tmp_path, "--seeds", "0-2", "--workers", "1", "--overwrite", command="train") == 130
    monkeypatch.setattr(sweep, "runs", lambda *given: pytest.fail("it was run again"))
    assert main(["train", "--resume", "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert results(tmp_path / "out") == fresh


def test_what_others_put_there_is_not_replaced(tmp_path, capsys):
    swept(tmp_path, "out", seeds="0-1")
    note = tmp_path / "out/seed-1/note.txt"
    note.write_text("mine")
    before = tree(tmp_path / "out")
    assert quick(tmp_path, "--seeds", "0-1", "--overwrite", command="train") == 2
    assert "note.txt was not written by npkd" in capsys.readouterr().err
    assert quick(tmp_path, "--overwrite", command="train") == 2
    assert "holds a sweep over seeds" in capsys.readouterr().err
    assert tree(tmp_path / "out") == before


def test_a_single_run_is_replaced_by_a_sweep(tmp_path):
    assert quick(tmp_path, command="compress") == 0
    assert swept(tmp_path, "out", "--overwrite") == swept(tmp_path, "fresh")


@pytest.mark.parametrize(("more", "said"), [
    (["--seeds", "0-1", "--seed", "0"], "got --seed and --seeds"), (["--workers", "2"], "got --workers and no --seeds"),
    (["--seeds", "5"], "such as 0-4 for 5 seeds, 5-5 for seed 5 alone"), (["--seeds", "3-1"], "such as 0-9 or 0,3,7"),
    (["--seeds", "1-2-3"], "must be seeds"), (["--seeds", "0-1", "--backend", "threads"], "invalid choice")])
def test_wrong_words_are_refused(tmp_path, more, said, capsys):
    assert quick(tmp_path, *more, command="train") == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_other_options_than_it_was_begun_with_are_refused(tmp_path, monkeypatch, capsys):
    interrupted(monkeypatch, tmp_path, 1)
    for more, said in ((["--epochs", "4"], "got epochs 4"), (["--seeds", "0-3"], "got seeds (0, 1, 2, 3)")):
        assert main(["train", "--resume", "--out", str(tmp_path / "out"), *more]) == 2
        assert said in capsys.readouterr().err
    assert quick(tmp_path, "--seeds", "0-2", command="train") == 2
    assert "--resume to go on" in capsys.readouterr().err
    assert main(["train", "--resume", "--seeds", "0-2", "--out", str(tmp_path / "none")]) == 2
    assert "holds no sweep of npkd that was broken off" in capsys.readouterr().err
    assert main(["train", "--resume", "--seeds", "0-2", "--epochs", "3", "--out", str(tmp_path / "out"), "--workers",
                 "1"]) == 0
