"""Runs over processes: the same results however many there are, one thread each, and no process that stays behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress

import numpy as np
import pytest

from npkd.core import blas_threads
from npkd.core.validation import InputError
from npkd.core.workers import Workers, pool
from npkd.nn.fast.threads import threads


def told(number):
    """What a run sees of its process."""
    counts = [get() for get, _ in blas_threads.libraries()]
    return number, os.getpid(), [threads(), blas_threads.user_threads(), *counts]


def product(seed):
    a = np.random.default_rng(seed).standard_normal((300, 300)).astype(np.float32)
    return seed, (a @ a).tobytes()


def wrong(number):
    if number == 1:
        raise InputError("one is wrong")
    time.sleep(60)


@pytest.mark.parametrize("count", [1, 2])
def test_every_run_is_done_once_on_one_core(count, monkeypatch):
    """Whatever OPENBLAS_NUM_THREADS says here."""
    monkeypatch.setattr(blas_threads, "environment_threads", lambda: None)
    before = [get() for get, _ in blas_threads.libraries()]
    with pool(Workers(count)) as spread:
        found = sorted([*spread(told, range(6)), *spread(told, range(6, 8))])
    assert [number for number, _, _ in found] == [*range(8)]
    assert all(len(seen) > 2 and {*seen} == {1} for _, _, seen in found)
    assert ({process for _, process, _ in found} == {os.getpid()}) == (count == 1)
    assert [get() for get, _ in blas_threads.libraries()] == before


def test_the_number_of_processes_changes_no_bit():
    found = []
    for count in (1, 2, 3):
        with pool(Workers(count)) as spread:
            found.append(sorted(spread(product, range(8))))
    assert found[0] == found[1] == found[2]


def test_an_error_of_a_run_stops_the_others():
    began = time.perf_counter()
    with pytest.raises(InputError, match="one is wrong"), pool(Workers(2)) as spread:
        list(spread(wrong, range(4)))
    assert time.perf_counter() - began < 50


def test_an_interrupt_stops_what_runs():
    began = time.perf_counter()
    with suppress(KeyboardInterrupt), pool(Workers(2)) as spread:
        for _ in spread(time.sleep, [0, 60, 60]):
            raise KeyboardInterrupt
    assert time.perf_counter() - began < 50


def test_no_process_outlives_one_that_was_killed(tmp_path):
    script = tmp_path / "sleeper.py"
    script.write_text(textwrap.dedent("""
        import os, time
        from npkd.core.workers import Workers, pool

        def run(n):
            print(os.getpid(), flush=True)
            time.sleep(60)

        if __name__ == "__main__":
            with pool(Workers(2)) as spread:
                list(spread(run, [0, 1]))
        """))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        workers = [int(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGKILL)
        until = time.monotonic() + 50
        while [one for one in workers if os.path.exists(f"/proc/{one}")] and time.monotonic() < until:
            time.sleep(0.05)
        assert [one for one in workers if os.path.exists(f"/proc/{one}")] == []


def test_a_backend_that_is_not_known_is_refused():
    with pytest.raises(InputError, match="loky"):
        Workers(2, "threads")


def test_without_dask_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install 'npkd\[dask\]'"), pool(Workers(2, "dask")):
        pass


def test_importing_npkd_imports_no_joblib():
    code = "import sys, npkd, npkd.core.workers; sys.exit('joblib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
