"""Sweeps on a Dask cluster, a scheduler and two worker processes: the same bytes as here."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from npkd.core.validation import InputError
from npkd.core.workers import Workers, pool
from npkd.experiments import hinton2015
from npkd.experiments.study import Unit, reproduce
from tests.cli.test_sweep import swept
from tests.experiments.test_study import TINY, timeless
from tests.tiny import arrays

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """The address of a cluster that was started as chapter 14 says."""
    folder = tmp_path_factory.mktemp("dask")
    where = ["--scheduler-file", str(folder / "scheduler.json")]
    options = {"env": {**os.environ, "PYTHONPATH": str(ROOT)}, "cwd": folder, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen([sys.executable, "-m", "dask", *words, *where], **options) for words in (
        ["scheduler", "--port", "0", "--no-dashboard"], *[["worker", "--nthreads", "1", "--no-dashboard"]] * 2)]
    until = time.monotonic() + 60
    while not (folder / "scheduler.json").is_file() and time.monotonic() < until:
        time.sleep(0.05)
    yield json.loads((folder / "scheduler.json").read_text())["address"]
    for process in reversed(processes):
        process.terminate()
    for process in processes:
        process.wait(30)


def test_forty_runs_give_the_same_bytes_with_one_two_and_dask_workers(tmp_path, scheduler):
    """Results, networks, and what is kept of all, seconds left out."""
    np.savez(tmp_path / "data.npz", **arrays())
    numbers = {**TINY, "data": str(tmp_path / "data.npz")}
    teacher = {**hinton2015.TEACHER, **numbers, "max_shift": 1, "seeds": 40}
    found = []
    for name, workers in (("one", Workers(1)), ("two", Workers(2)), ("dask", Workers(2, "dask", scheduler))):
        folder = tmp_path / name
        units = [Unit("teacher", teacher, seed, folder) for seed in range(40)]
        kept = reproduce(hinton2015, "", [units], workers, None)
        networks = {path.name: path.read_bytes() for path in folder.glob("*.model.npz")}
        runs = {path.name: timeless(json.loads(path.read_text())) for path in folder.glob("*.json")}
        assert len(networks) == len(runs) == 40
        found.append((timeless(kept), networks, runs))
    assert found[0] == found[1] == found[2]
    assert len({*found[0][1].values()}) == 40


def test_the_command_line_sweeps_on_a_cluster(tmp_path, scheduler):
    cluster = ["--backend", "dask", "--scheduler", scheduler]
    assert swept(tmp_path, "here", seeds="0-1") == swept(tmp_path, "there", *cluster, seeds="0-1")


def test_a_cluster_of_its_own_is_started_and_an_error_is_named():
    with pool(Workers(1, "dask")) as spread:
        assert list(spread(os.getpid, [])) == []
        with pytest.raises(InputError, match="wrong"):
            list(spread(wrong, [1]))


def wrong(number):
    raise InputError(f"{number} is wrong")


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}), pytest.raises(
            InputError, match=r"tcp://127.0.0.1:1 cannot be reached .*start one with: dask scheduler"), pool(
            Workers(2, "dask", "tcp://127.0.0.1:1")):
        pass
