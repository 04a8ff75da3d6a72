"""A lock is held by one at a time, and by nobody once its process has ended, however that was."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import npkd
from npkd.core import lock
from npkd.core.lock import locked
from npkd.core.validation import InputError


def test_one_at_a_time(tmp_path):
    with locked(tmp_path / "lock"):
        with pytest.raises(InputError, match="another run of npkd is writing to"), locked(tmp_path / "lock"):
            pass
        assert (tmp_path / "lock").exists()                 # who is refused does not take it away
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "lock"):
        pass


def test_a_process_that_is_killed_holds_it_no_longer(tmp_path):
    code = (f"from npkd.core.lock import locked\nwith locked({str(tmp_path / 'lock')!r}):\n"
            f"    print(1, flush=True)\n    input()")
    running = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               env={**os.environ, "PYTHONPATH": str(Path(npkd.__file__).parent.parent)})
    assert running.stdout.readline() == b"1\n"
    with pytest.raises(InputError, match="another run"), locked(tmp_path / "lock"):
        pass
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert (tmp_path / "lock").exists()
    with locked(tmp_path / "lock"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_removed_while_we_waited_for_it_is_no_lock(tmp_path, monkeypatch):
    real, calls = lock.lock, []

    def removed_before(file):
        calls.append(file)
        if len(calls) == 1:
            os.unlink(tmp_path / "lock")                    # its holder ends just now
        real(file)

    monkeypatch.setattr(lock, "lock", removed_before)
    with locked(tmp_path / "lock"):
        assert len(calls) == 2
        assert (tmp_path / "lock").exists()


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def unknown(file):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "lock", unknown)
    with locked(tmp_path / "lock"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="No such file"), locked(tmp_path / "nowhere" / "lock"):
        pass
