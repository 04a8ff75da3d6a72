"""Output that cannot be written, or not in its encoding, does not end a run with a traceback, and what was done is
kept."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

import npkd
from npkd.cli.main import main
from npkd.cli.output import Output
from tests.tiny import stored, undrawn, words

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(npkd.__file__).parent.parent), "OPENBLAS_NUM_THREADS": "1"}
RUN = ("import sys\nfrom npkd.report import figures\nfigures.require = figures.curve = lambda *given: ''\n"
       "figures.draw = lambda *given: {}\n"
       "from npkd.cli.main import main\nsys.exit(main())")
"""npkd without drawing, which is most of the time of a quick run."""

NAMES = ["config.toml", "figures", "history.jsonl", "model.npz", "report.html", "summary.json"]


def training(folder, out="out"):
    return ["train", "--data", stored(folder / "data.npz"), "--hidden", "4", "--epochs", "1", "--out",
            str(folder / out)]


def shell(arguments, redirect, **environment):
    """npkd in a process whose streams a shell has redirected: the exit code, stdout and stderr."""
    done = subprocess.run(["sh", "-c", f'exec "$@" {redirect}', "sh", sys.executable, "-W", "error", "-c", RUN,
                           *arguments], capture_output=True, env=ENVIRONMENT | environment, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("redirect", [">/dev/full 2>/dev/full", ">&-", "2>/dev/full", "2>&-"])
def test_streams_that_are_full_or_closed(tmp_path, redirect):
    code, out, err = shell(training(tmp_path), redirect)
    assert code == 1
    assert b"Traceback" not in err + out
    assert b"Exception ignored" not in err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == NAMES
    if not redirect.startswith(">"):
        assert b"test error" in out


def test_a_refusal_that_nobody_reads_keeps_its_exit_code(tmp_path):
    assert shell(["train", "--data", "nothing", "--out", str(tmp_path / "out")], ">&- 2>/dev/full")[0] == 2


def test_nobody_reads_the_output(tmp_path):
    running = subprocess.Popen([sys.executable, "-W", "error", "-m", "npkd", "--help"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=ENVIRONMENT)
    running.stdout.close()
    assert running.stderr.read() == b""
    running.stderr.close()
    assert running.wait(timeout=60) == 1


def test_any_encoding(tmp_path):
    """Nothing is lost either: --quiet writes nothing to the stderr that is closed here."""
    code, out, err = shell([*training(tmp_path, "结果"), "--quiet"], "2>&-", PYTHONIOENCODING="cp1252")
    assert (code, err) == (0, b"")
    assert b"\\u7ed3\\u679c/report.html" in out


def test_help_in_any_encoding(monkeypatch):
    file = io.TextIOWrapper(io.BytesIO(), encoding="cp1252", write_through=True)
    monkeypatch.setattr(sys, "stdout", file)
    assert main(["train", "--help"]) == 0
    assert b"weights that become zero, each with its \\u03bb" in b" ".join(file.buffer.getvalue().split())


def test_messages_in_any_encoding():
    code, _, err = shell(["train", "--data", "结果"], "", PYTHONIOENCODING="ascii:strict")
    assert code == 2
    assert b"npkd: load: data is '\\u7ed3\\u679c'" in err


def test_bars_where_a_terminal_knows_ascii_alone(tmp_path, monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    undrawn(monkeypatch)
    assert main([word for word in words(tmp_path) if word != "--quiet"]) == 0
    assert b"final distillation" in terminal.buffer.getvalue()


def test_a_stream_that_breaks_in_the_middle_is_written_to_no_more():
    class Broken(io.StringIO):
        written = 0

        def write(self, text):
            self.written += 1
            raise OSError(28, "No space left on device")

    output = Output(Broken())
    assert output.write("a") == 1
    output.write("b")
    output.flush()
    assert output.lost
    assert output.stream.written == 1
    with pytest.raises(OSError, match="no file"):
        Output(None).fileno()


def test_a_name_that_is_no_unicode(capsys):
    """A surrogate, as Python makes of a byte of a file's name that is no UTF-8."""
    assert main(["file\udcff"]) == 2
    assert "\\udcff" in capsys.readouterr().err
