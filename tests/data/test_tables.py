"""Folders of .npy, IDX files as torchvision and EMNIST name them, and files that npkd names and does not read."""

import gzip
import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from npkd.core.filetypes import reading_line
from npkd.core.validation import InputError
from npkd.data.datasets import NAMES, load, stored
from npkd.data.idx import PARTS
from tests.data.test_idx import idx_bytes
from tests.tiny import arrays

EMNIST = ("train-images-idx3", "train-labels-idx1", "test-images-idx3", "test-labels-idx1")


def written(folder, names, shift=0, end=""):
    """The arrays of tests.tiny as IDX files; labels from ``shift`` on."""
    folder.mkdir(parents=True, exist_ok=True)
    for (key, a), name in zip(sorted(arrays().items(), key=lambda item: NAMES.index(item[0])), names, strict=True):
        content = idx_bytes(a if key.startswith("x") else (a + shift).astype(np.uint8))
        (folder / f"{name}{end}").write_bytes(gzip.compress(content) if end else content)


def test_a_folder_of_npy(tmp_path):
    for key, a in arrays().items():
        np.save(tmp_path / f"{key}.npy", a)
    _, found, limits, words = stored(str(tmp_path), seed=0)
    assert all(np.array_equal(a, arrays()[key]) for key, a in zip(NAMES, found, strict=True))
    assert (limits, words) == ((0, 255), ())
    np.save(tmp_path / "y_test.npy", np.array([None]), allow_pickle=True)
    with pytest.raises(InputError, match=r"y_test\.npy: holds objects; it must be an \.npy file of numbers"):
        load(str(tmp_path), seed=0)
    (tmp_path / "y_test.npy").unlink()
    (tmp_path / "x_test.npy").unlink()
    with pytest.raises(InputError, match=r"no x_test\.npy and no y_test\.npy; it must hold x_train\.npy"):
        load(str(tmp_path), seed=0)
    with pytest.raises(InputError, match=r"a single array \(\.npy\); give a folder with x_train\.npy"):
        load(str(tmp_path / "x_train.npy"), seed=0)


@pytest.mark.parametrize("end", ["", ".gz"])
def test_torchvisions_folder(end, tmp_path):
    written(tmp_path / "MNIST" / "raw", PARTS, end=end)
    for folder in (tmp_path, tmp_path / "MNIST", tmp_path / "MNIST" / "raw"):
        assert np.array_equal(stored(str(folder), seed=0)[1][1], arrays()["y_train"])


@pytest.mark.parametrize("end", ["", ".gz"])
def test_emnists_names_and_letters_from_1_on(end, tmp_path):
    raw = tmp_path / "EMNIST" / "raw"
    written(raw, [f"emnist-letters-{part}-ubyte" for part in EMNIST], shift=1, end=end)
    name, found, limits, words = stored(str(tmp_path), seed=0)
    assert words == ("1", "2", "3")                               # what the files hold of classes 0, 1, 2
    assert limits == (0, 255)
    assert all(np.array_equal(a, arrays()[key]) for key, a in zip(NAMES, found, strict=True))   # pictures as they are
    written(raw, [f"emnist-digits-{part}-ubyte" for part in EMNIST], end=end)
    with pytest.raises(InputError, match="holds digits, letters of EMNIST; name one of the files"):
        stored(str(tmp_path), seed=0)
    for part in EMNIST:
        name, found, _, words = stored(str(raw / f"emnist-digits-{part}-ubyte{end}"), seed=0)
        assert (name, words) == ("emnist-digits", ())
        assert np.array_equal(found[3], arrays()["y_test"])
    (raw / f"emnist-digits-{EMNIST[3]}-ubyte{end}").unlink()
    with pytest.raises(InputError, match="has no file emnist-digits-test-labels-idx1-ubyte"):
        stored(str(raw / f"emnist-digits-{EMNIST[0]}-ubyte{end}"), seed=0)


def pytorch(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"")


def office(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", b"")


@pytest.mark.parametrize(("name", "content", "what", "line"), [
    ("a.pkl", pickle.dumps({}), "a pickle, which can execute anything", "pickle.loads("),
    ("a", pickle.dumps({}), "a pickle", "pickle.loads("), ("a.pt", pytorch, "a PyTorch file", "weights_only=True"),
    ("a.mat", b"MATLAB 5.0 MAT", "a MATLAB file", "scipy.io.loadmat("),
    ("a.h5", b"\x89HDF\r\n", "an HDF5 file", "h5py"),
    ("a.bin", b"PAR1", "a Parquet table", "read_parquet("), ("a.xlsx", office, "a spreadsheet", "read_excel("),
    ("a.feather", b"ARROW1", "an Arrow table", "read_feather("),
    ("a.tfrecord", b"\x10\0\0\1", "a file of TFRecords", "TFRecordDataset(")])
def test_what_npkd_does_not_read_is_named_with_the_line_that_reads_it(name, content, what, line, tmp_path):
    if callable(content):
        content(tmp_path / name)
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} is {what}") as raised:
        load(str(tmp_path / name), seed=0)
    code = str(raised.value).partition("this writes what npkd reads: ")[2]
    assert line in code
    assert str(tmp_path / name) in code
    compile(code, name, "exec")                                    # a line of Python


def test_files_of_other_kinds_have_no_line(tmp_path):
    for name, content in (("a.txt", b"words"), ("a.npz", b"PK"), ("a.csv", b"a,b\n1,2\n"), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
        assert reading_line(tmp_path / name) == ""
    assert reading_line(tmp_path) == reading_line(tmp_path / "nothing") == ""


def test_a_folder_of_pictures_is_named(tmp_path):
    (tmp_path / "pets" / "cat").mkdir(parents=True)
    (tmp_path / "pets" / "cat" / "1.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError, match=r"pets is a folder of pictures; .*numpy\.savez\(\"pets\.npz\""):
        load(str(tmp_path / "pets"), seed=0)
    for key, a in arrays().items():
        np.save(tmp_path / "pets" / f"{key}.npy", a)
    assert load(str(tmp_path / "pets"), seed=0).classes == 3      # pictures beside the data are no matter


def test_the_line_for_a_pickle_writes_what_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.pkl").write_bytes(pickle.dumps(arrays()))
    with pytest.raises(InputError) as raised:
        load("a.pkl", seed=0)
    exec(str(raised.value).partition("this writes what npkd reads: ")[2], {})
    assert load("a.npz", seed=0).classes == 3


def test_a_label_is_of_a_table_alone_and_a_table_needs_pandas(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="label is 'a', and data is 'digits'"):
        load("digits", seed=0, label="a")
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"a\.csv needs pandas.*pip install 'npkd\[pandas\]'"):
        load(str(tmp_path / "a.csv"), seed=0, label="a")
