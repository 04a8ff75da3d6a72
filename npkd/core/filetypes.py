"""What a file of another kind is, by its first bytes and its name, so that a refusal can say so and say what to do."""

from __future__ import annotations

import re
from pathlib import Path

from npkd.core.npy import BoundedFile, arrays_in

ARRAYS = "read it with the library that wrote it, or numpy.loadtxt, and write the arrays with numpy.savez"
WEIGHTS = "take its weights out with its own library and give them as arrays, see docs/book/12-own-networks.md"

SIGNATURES: tuple[tuple[tuple[bytes, ...], str, str], ...] = (
    ((b"\x93NUMPY",), "a single array (.npy)", "write it under a name with numpy.savez"),
    ((b"\x89HDF",), "an HDF5 file (Keras, h5py)", WEIGHTS),
    ((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), "a pickle (PyTorch before 1.6, scikit-learn, joblib)",
     f"pickles can execute anything and are never opened: {WEIGHTS}"),
    ((b"PAR1",), "a Parquet table", ARRAYS), ((b"ARROW1",), "an Arrow table", ARRAYS),
    ((b"MATLAB 5.0",), "a MATLAB file", ARRAYS), ((b"\x89PNG", b"\xff\xd8\xff"), "a picture", ARRAYS),
    ((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf"), "a compressed file", "unpack it first"),
    ((b"\0\0\x08",), "an IDX file", "give the folder in which the four files of the data set lie"))
"""First bytes, what they begin, what to do with it."""


def described(path: Path) -> str:
    """What a file is and what to do with it, "an ONNX model; take …"; an empty string where that is not known."""
    try:
        with BoundedFile(path) as file:
            start = file.read(4096)
    except OSError:
        return ""
    if not start:
        return "empty; write it again"
    if start.startswith(b"PK"):
        return archive(path)
    if start[:1] == b"\x08" and (path.suffix == ".onnx" or b"onnx" in start):
        return f"an ONNX model; {WEIGHTS}"
    if start[4:8] == b"TFL3" or start[6:10] == b'\0\0{"':
        return f"{'a TensorFlow Lite model' if start[4:8] == b'TFL3' else 'a file of safetensors'}; {WEIGHTS}"
    return next((f"{what}; {todo}" for first, what, todo in SIGNATURES if start.startswith(first)), text(start))


def archive(path: Path) -> str:
    """What a zip archive is, by the names in it."""
    names = arrays_in(path)
    if any(name.endswith(("data.pkl", ".h5")) for name in names):
        return f"a {'Keras model' if any(name.endswith('.h5') for name in names) else 'PyTorch file'}; {WEIGHTS}"
    if "[Content_Types].xml" in names:
        return f"a table or document of an office program; {ARRAYS}"
    return f"an archive with {repr(', '.join(names))[1:-1]:.120}" if names else ""


def text(start: bytes) -> str:
    """What kind of text begins so; an empty string where it is none."""
    words = start.decode("utf-8", "replace")[:-1].lstrip()               # the last character may be cut
    if not words or "\ufffd" in words or not "".join(words.split()).isprintable():
        return ""
    kinds = {"<": "a web page or XML", "{": "JSON", "[": "JSON"}
    return f"{kinds.get(words[0]) or ('a table in text (CSV)' if any(c in words for c in ',;') else 'text')}; {ARRAYS}"


PARTS = "x_train", "y_train", "x_test", "y_test"
SAVE = 'numpy.savez("{stem}.npz", **{{k: numpy.squeeze(d[k]) for k in {parts}}})'
TABLE = 'import pandas; pandas.{reader}("{path}").to_csv("{stem}.csv", index=False), and give that with --label COLUMN'
PICTURES = 'import pathlib, numpy; from PIL import Image; f = sorted(pathlib.Path("{path}").glob("*/*.*")); t = numpy' \
    '.arange(len(f)) % 5 == 0; x = numpy.array([numpy.asarray(Image.open(p).convert("L").resize((28, 28))) for p in f])' \
    '; y = numpy.unique([p.parent.name for p in f], return_inverse=True)[1]; numpy.savez("{stem}.npz", x_train=x[~t], ' \
    'y_train=y[~t], x_test=x[t], y_test=y[t])'
LINES: tuple[tuple[str, str, str], ...] = (
    (r"a single array", "", "give a folder with x_train.npy, y_train.npy, x_test.npy and y_test.npy"),
    (r"PyTorch file|\.ptl?$|\.pth$", "a PyTorch file", 'import torch, numpy; d = torch.load("{path}", weights_only=True); ' + SAVE),
    (r"pickle|\.pkl$|\.joblib$", "a pickle, which can execute anything: open none that others made",
     'import pickle, numpy; d = pickle.load(open("{path}", "rb")); ' + SAVE),
    (r"HDF5|Keras|\.h5$|\.hdf5$", "an HDF5 file", 'import h5py, numpy; d = h5py.File("{path}"); ' + SAVE),
    (r"MATLAB|\.mat$", "a MATLAB file", 'import scipy.io, numpy; d = scipy.io.loadmat("{path}"); ' + SAVE),
    (r"Parquet|\.parquet$", "a Parquet table", TABLE.replace("{reader}", "read_parquet")),
    (r"Arrow|\.feather$", "an Arrow table", TABLE.replace("{reader}", "read_feather")),
    (r"office|\.xlsx?$|\.ods$", "a spreadsheet", TABLE.replace("{reader}", "read_excel")),
    (r"\.tfrecords?$", "TFRecords", 'import numpy, tensorflow as tf; r = [tf.train.Example.FromString(t.numpy()).features'
     '.feature for t in tf.data.TFRecordDataset("{path}")]; numpy.savez("{stem}.npz", **{{k: [f[k].float_list.value for '
     'f in r] for k in r[0]}}), with {parts} in it'),
    (r"folder of pictures", "a folder of pictures", PICTURES))
"""What tells a kind of data file, by what ``described`` says or by its name; its name; the line that makes an .npz."""


def reading_line(path: Path) -> str:
    """Of a file or a folder of data that npkd does not read: what it is, and the line of Python that writes what npkd
    reads; an empty string for others."""
    pictures = path.is_dir() and any(next(path.glob(f"{deep}*.{end}"), None) for deep in ("", "*/", "*/*/")
                                     for end in ("jpg", "jpeg", "png", "JPEG", "JPG"))
    what = "folder of pictures" if pictures else "" if path.is_dir() else f"{described(path)}\n{path.name.lower()}"
    for pattern, kind, line in LINES:
        if re.search(pattern, what, re.MULTILINE):
            words = line.format(path=path, stem=path.stem, parts=PARTS)
            return f"{kind or 'a single array (.npy)'}; {'' if not kind else 'this writes what npkd reads: '}{words}"
    return ""
