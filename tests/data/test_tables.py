"""Files people have: tables in text, .npy, EMNIST's names; what cannot be read is named, with a line that reads it."""

import gzip
import struct
import sys

import numpy as np
import pytest

from npkd.core.filetypes import LINES, reading_line
from npkd.core.validation import InputError
from npkd.data.datasets import NAMES, load
from npkd.data.tables import emnist
from tests.tiny import arrays

TABLE = "size;height;kind\n" + "".join(f"{n % 7};{n * 0.5};{'abc'[n % 3]}\n" for n in range(90))


def idx(path, a):
    """An IDX file of bytes."""
    content = struct.pack(f">HBB{a.ndim}I", 0, 8, a.ndim, *a.shape) + a.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def test_npy_files_in_a_folder(tmp_path):
    stored = arrays()
    for name in NAMES:
        np.save(tmp_path / f"{name}.npy", stored[name])
    data = load(str(tmp_path), seed=0)
    assert data.classes == 3
    assert sum(map(len, (data.x_train, data.x_validation))) == len(stored["x_train"])
    (tmp_path / "y_test.npy").unlink()
    with pytest.raises(InputError, match=r"has no y_test\.npy"):
        load(str(tmp_path), seed=0)


@pytest.mark.parametrize("end", ["", ".gz"])
def test_emnist_by_its_names_and_its_letters_from_one(tmp_path, end):
    stored = arrays(shape=(8, 8))
    for part, key in (("train-images-idx3", "x_train"), ("train-labels-idx1", "y_train"),
                      ("test-images-idx3", "x_test"), ("test-labels-idx1", "y_test")):
        idx(tmp_path / f"emnist-letters-{part}-ubyte{end}", stored[key] + (key[0] == "y"))
    for place in (tmp_path, tmp_path / f"emnist-letters-train-images-idx3-ubyte{end}"):
        data = load(str(place), seed=0)
        assert data.words == ("1", "2", "3")
        assert sorted(set(data.y_train.tolist())) == [0, 1, 2]
    idx(tmp_path / "emnist-digits-train-images-idx3-ubyte", stored["x_train"])
    with pytest.raises(InputError, match="holds digits, letters of EMNIST; name one"):
        emnist(tmp_path)


KINDS = {"a.pkl": b"\x80\x04\x95", "a.pt": b"PK\x03\x04", "a.h5": b"\x89HDF\r\n\x1a\n", "a.parquet": b"PAR1",
         "a.mat": b"MATLAB 5.0 MAT-file", "a.xlsx": b"PK\x03\x04", "a.tfrecord": b"\x01" * 20, "a.feather": b"ARROW1"}


@pytest.mark.parametrize("name", KINDS)
def test_what_is_not_read_is_named_with_a_line_that_is_python(name, tmp_path):
    (tmp_path / name).write_bytes(KINDS[name])
    with pytest.raises(InputError, match="this writes what npkd reads") as caught:
        load(str(tmp_path / name), seed=0)
    compile(str(caught.value).split("reads: ")[1], name, "exec")


def test_every_line_is_reached_and_others_have_none(tmp_path):
    assert len(LINES) == len(KINDS) + 1                           # and pictures
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.jpg").write_bytes(b"\xff\xd8")
    assert reading_line(tmp_path).startswith("a folder of pictures")
    (tmp_path / "a.txt").write_text("words")
    assert reading_line(tmp_path / "a.txt") == ""
    np.save(tmp_path / "x.npy", np.zeros(3))
    assert "give a folder with x_train.npy" in reading_line(tmp_path / "x.npy")


def test_a_table_without_pandas_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text(TABLE)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"pip install 'npkd\[pandas\]'"):
        load(str(tmp_path / "t.csv"), seed=0, label="kind")


def test_a_label_is_for_tables(tmp_path):
    with pytest.raises(InputError, match="only a table"):
        load("digits", seed=0, label="kind")
