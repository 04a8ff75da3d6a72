"""config.toml: a run writes its settings, --config repeats it, what is typed beside it counts, and what does not fit is
refused."""

import json
import shutil
import tomllib

import pytest

from npkd import __version__
from npkd.cli import config, parser
from npkd.cli.main import main
from npkd.cli.settings import COMMANDS
from tests.cli.test_checkpoints import files
from tests.tiny import quick, stored, undrawn, words


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch):
    undrawn(monkeypatch)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder with data.npz and a run, out."""
    folder = tmp_path_factory.mktemp("config")
    with pytest.MonkeyPatch.context() as patch:
        undrawn(patch)
        assert quick(folder, "--network", "perceptron", "--seed", "4", "--keep-inputs") == 0
    return folder


def again(done, out, *more, file="out/config.toml"):
    return main(["compress", "--config", str(done / file), "--out", str(out), "--quiet", *more])


def table(folder):
    return tomllib.loads((folder / "config.toml").read_text())


def test_a_run_writes_every_setting_that_it_was_run_with(done):
    found, text = table(done / "out"), (done / "out" / "config.toml").read_text()
    made = found.pop("made_with")
    assert found == {
        "command": "compress", "data": str(done / "data.npz"), "seed": 4, "epochs": 1, "network": "perceptron",
        "hidden": [8, 6], "target": "macs=40%", "keep_inputs": True,
        "given": ["data", "network", "hidden", "seed", "epochs", "target", "keep_inputs"]}
    assert made["npkd"] == __version__
    assert set(made) == {"npkd", "numpy", "scipy", "blas", "machine", "threads", "data_crc32", "resumed"}
    assert text.startswith(f"# Written by npkd {__version__}: every setting of a run of npkd compress.\n")
    for said in ("npkd compress --config config.toml ", "npkd verify FOLDER",
                 "# Not given: label, scheduler, distil_from, teacher, steps\n"):
        assert said in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_is_a_setting_or_says_where_and_how(command):
    """So that config.toml lacks nothing that changes a number."""
    options = set(vars(parser.read([command]))) - set(config.options_of(command))
    spread = {"seeds", "workers", "backend", "scheduler"}
    assert options - {"list", *spread} == {"command", "out", "overwrite", "resume", "config", "quiet", "json"}


def test_config_repeats_a_run_byte_for_byte(done, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)                             # data is found from anywhere
    assert again(done, tmp_path / "out") == 0
    assert files(tmp_path / "out") == files(done / "out")
    assert table(tmp_path / "out") == table(done / "out")


def test_what_is_typed_beside_it_counts(done, tmp_path):
    assert again(done, tmp_path / "out", "--seed", "5", "--target=macs=50%") == 0
    first, second = table(done / "out"), table(tmp_path / "out")
    assert {key for key in first if first[key] != second[key]} == {"seed", "target", "made_with"}   # the split is drawn
    command = json.loads((tmp_path / "out" / "summary.json").read_text())["command"]
    assert command.endswith("--target macs=50% --keep-inputs --seed 5")


def test_a_file_by_hand_needs_the_command_alone(done, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(f'command = "train"\ndata = "{done}/data.npz"\nhidden = [5]\nepochs = 1\ndropout = 0\n'
                    f'penalty = "neurons=0.001"\ndebias = false\npenalty_path = false\n')
    assert main(["train", "--config", str(file), "--quiet", "--out", str(tmp_path / "out")]) == 0
    command = json.loads((tmp_path / "out" / "summary.json").read_text())["command"]
    assert command == "npkd train --data data.npz --epochs 1 --hidden 5 --penalty neurons=0.001 --no-debias --seed 0"
    found = table(tmp_path / "out")
    assert (found["debias"], found["costs"], found["dropout"]) == (False, "macs", 0.0)


def test_words_of_every_kind_come_back(tmp_path):
    """Quotes, backslashes, line ends, control characters and letters of all alphabets, through TOML and argparse."""
    odd = 'a "b" \\ c\'d\n\te\x01\x7f = # 结果 é'
    shutil.copy(stored(tmp_path / "data.npz"), tmp_path / f"{odd}.npz")
    assert main(["train", "--data", str(tmp_path / f"{odd}.npz"), "--hidden", "4", "--epochs", "1", "--quiet", "--out",
                 str(tmp_path / "out")]) == 0
    assert table(tmp_path / "out")["data"] == str(tmp_path / f"{odd}.npz")
    found = parser.read(["train", *config.words(tmp_path / "out" / "config.toml", "train")])
    assert found.data == str(tmp_path / f"{odd}.npz")


def test_a_run_that_goes_on_takes_no_other_settings_from_it(done, tmp_path, capsys):
    assert main(["compress", "--config", str(done / "out/config.toml"), "--resume", "--out", str(tmp_path)]) == 2
    assert "holds no run of npkd that was broken off" in capsys.readouterr().err


@pytest.mark.parametrize(("line", "said"), [
    ("lambda = 3", ("has the key 'lambda'", "npkd compress does not know", "data, label")),
    ("penalty = 'neurons=0.1'", ("has the key 'penalty'", "npkd compress does not know")),
    ("out = 'elsewhere'", ("has the key 'out'",)),
    ("epochs = '3'", ("epochs is '3', of another type than 3, as --epochs has it",)),
    ("epochs = 3.0", ("--epochs", "'3.0'", "a whole number")),
    ("epochs = true", ("--epochs", "expected one argument")),
    ("epochs = -1", ("--epochs", "at least 0")),
    ("hidden = 300", ("hidden is 300, of another type than (300,)",)),
    ("hidden = [3.5]", ("--hidden", "300,100")),
    ("hidden = []", ("--hidden", "300,100")),
    ("hidden = '300,100'", ("hidden is '300,100', of another type",)),
    ("steps = ['neurons', 3]", ("steps is ['neurons', 3], of another type",)),
    ("keep_inputs = 'yes'", ("--keep-inputs", "'yes'")),
    ("label = 1979-05-27", ("label is datetime.date(1979, 5, 27), of another type",)),
    ("network = 'vgg'", ("--network", "lenet5")),
    ("target = {macs = 3}", ("target is {'macs': 3}, of another type",)),
    ("given = 'data'", ("given a list",)),
    ("made_with = 3", ("made_with must be a table",)),
    ("data = ", ("is no TOML", "line 2")),
    ("data = 'a'\ndata = 'b'", ("is no TOML",)),
    ("\udc80", ("is no TOML",)),
])
def test_what_does_not_fit_is_refused_in_a_sentence(tmp_path, capsys, line, said):
    (tmp_path / "bad.toml").write_bytes(f'command = "compress"\n{line}\n'.encode("utf-8", "surrogateescape"))
    assert again(tmp_path, tmp_path / "out", file="bad.toml") == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert len(err) < 600
    for word in said:
        assert word in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("content", "said"), [
    ('command = "train"\n', "is of npkd train; give it to that command, not to compress"),
    ('command = "cost"\n', "compress, train, distil"), ("seed = 3\n", "command is None"), ("", "command is None")])
def test_a_file_of_another_command_is_refused(tmp_path, capsys, content, said):
    (tmp_path / "bad.toml").write_text(content)
    assert again(tmp_path, tmp_path / "out", file="bad.toml") == 2
    assert said in capsys.readouterr().err


def test_a_file_that_is_not_there_is_refused(tmp_path, capsys):
    assert again(tmp_path, tmp_path / "out", file="none.toml") == 2
    assert "none.toml: No such file or directory" in capsys.readouterr().err
    assert again(tmp_path, tmp_path / "out", file="") == 2
    assert "Is a directory" in capsys.readouterr().err


def test_contradictions_with_what_is_typed_are_refused(done, tmp_path, capsys):
    assert again(done, tmp_path / "out", "--teacher", str(done / "out/teacher.npz")) == 2
    assert "got a teacher and hidden widths" in capsys.readouterr().err
    assert main(words(tmp_path, "--config", str(done / "out/config.toml"), command="train")) == 2
    assert "is of npkd compress; give it to that command, not to train" in capsys.readouterr().err
