"""What a file of another kind is, by its first bytes and its name, so that a refusal can say so and say what to do."""

from __future__ import annotations

import os
import re
from pathlib import Path

from npkd.core.npy import BoundedFile, arrays_in

ARRAYS = "read it with the library that wrote it, or numpy.loadtxt, and write the arrays with numpy.savez"
WEIGHTS = "take its weights out with its own library and give them as arrays, see docs/book/12-own-networks.md"
MODULE = "load it into its module with torch, and give that: npkd.compress(module, x)"

SIGNATURES: tuple[tuple[tuple[bytes, ...], str, str], ...] = (
    ((b"\x93NUMPY",), "a single array (.npy)", "write it under a name with numpy.savez"),
    ((b"\x89HDF",), "an HDF5 file (Keras, h5py)", WEIGHTS),
    ((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), "a pickle (PyTorch before 1.6, scikit-learn, joblib)",
     f"pickles can execute anything and are never opened here: {WEIGHTS}"),
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
        return "an ONNX model, which can be a teacher: npkd.compress(name, x), or --teacher"
    if start[4:8] == b"TFL3" or start[6:10] == b'\0\0{"':
        return f"a TensorFlow Lite model; {WEIGHTS}" if start[4:8] == b"TFL3" else f"a file of safetensors; {MODULE}"
    return next((f"{what}; {todo}" for first, what, todo in SIGNATURES if start.startswith(first)), text(start))


def archive(path: Path) -> str:
    """What a zip archive is, by the names in it."""
    names = arrays_in(path)
    if any(name.endswith(("data.pkl", ".h5")) for name in names):
        keras = any(name.endswith(".h5") for name in names)
        return f"a Keras model; {WEIGHTS}" if keras else f"a PyTorch file; {MODULE}"
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


SAVE = 'numpy.savez("{stem}.npz", **{{k: numpy.squeeze(d[k]) for k in ("x_train", "y_train", "x_test", "y_test")}})'
TABLE = 'import pandas; pandas.{reader}("{path}").to_csv("{stem}.csv", index=False)  # for --label COLUMN'
PICTURES = ('import pathlib, numpy; from PIL import Image; f = sorted(pathlib.Path("{path}").glob("*/*.*")); '
            't = numpy.arange(len(f)) % 5 == 0; y = numpy.unique([p.parent.name for p in f], return_inverse=True)[1]; '
            'x = numpy.array([numpy.asarray(Image.open(p).convert("L").resize((28, 28))) for p in f]); '
            'numpy.savez("{stem}.npz", x_train=x[~t], y_train=y[~t], x_test=x[t], y_test=y[t])')
RECORDS = ('import numpy, tensorflow as tf; d = [tf.train.Example.FromString(r.numpy()).features.feature for r in '
           'tf.data.TFRecordDataset("{path}")]; x, y = (numpy.array([r[k].float_list.value or r[k].int64_list.value '
           'for r in d]) for k in ("x", "y")); t = numpy.arange(len(d)) % 5 == 0; numpy.savez("{stem}.npz", '
           'x_train=x[~t], y_train=y[~t].ravel(), x_test=x[t], y_test=y[t].ravel())')
LINES: tuple[tuple[str, str, str], ...] = (
    (r"PyTorch file|\.ptl?$|\.pth$", "a PyTorch file",
     'import torch, numpy; d = torch.load("{path}", weights_only=True); ' + SAVE),
    (r"pickle|\.pkl$|\.joblib$", "a pickle, which can execute anything: open none that others made",
     'import pathlib, pickle, numpy; d = pickle.loads(pathlib.Path("{path}").read_bytes()); ' + SAVE),
    (r"HDF5|Keras|\.h5$|\.hdf5$", "an HDF5 file", 'import h5py, numpy; d = h5py.File("{path}"); ' + SAVE),
    (r"MATLAB|\.mat$", "a MATLAB file", 'import scipy.io, numpy; d = scipy.io.loadmat("{path}"); ' + SAVE),
    (r"Parquet|\.parquet$", "a Parquet table", TABLE.replace("{reader}", "read_parquet")),
    (r"Arrow|\.feather$", "an Arrow table", TABLE.replace("{reader}", "read_feather")),
    (r"office|\.xlsx?$|\.ods$", "a spreadsheet", TABLE.replace("{reader}", "read_excel")),
    (r"\.tfrecords?$", "a file of TFRecords", RECORDS), (r"^pictures$", "a folder of pictures", PICTURES))
"""What tells a kind of data, said by ``described`` or in its name; what it is; the line that makes what npkd reads."""


def reading_line(path: Path) -> str:
    """What a file or folder of data is that npkd does not read, and the line of Python that writes what it does read;
    an empty string for others."""
    ends = [f"{deep}*.{end}" for deep in ("", "*/", "*/*/") for end in ("jpg", "jpeg", "JPEG", "png")]
    pictures = os.path.isdir(path) and any(next(path.glob(end), None) for end in ends)
    if path.suffix.lower() == ".npz":
        return ""
    what = "pictures" * pictures if os.path.isdir(path) else f"{described(path)}\n{path.suffix.lower()}"
    if what.startswith("a single array"):
        return "a single array (.npy); give a folder with x_train.npy, y_train.npy, x_test.npy and y_test.npy"
    return next((f"{kind}; this writes what npkd reads: {line.format(path=path, stem=path.stem)}"
                 for pattern, kind, line in LINES if re.search(pattern, what, re.MULTILINE)), "")
