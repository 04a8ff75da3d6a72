"""What a file of another kind is, by its first bytes and its name, so that a refusal can say so and say what to do."""

from __future__ import annotations

from pathlib import Path

from npkd.core.npy import BoundedFile, arrays_in

ARRAYS = "read it with the library that wrote it, or numpy.loadtxt, and write the arrays with numpy.savez"
WEIGHTS = "take its weights out with its own library and give them as arrays, see docs/12-own-networks.md"
UNPACK = "unpack it first"

SIGNATURES = (
    (b"\x93NUMPY", "a single array (.npy)", "write it under a name with numpy.savez"),
    (b"\x89HDF", "an HDF5 file (Keras, h5py)", WEIGHTS),
    (b"GGUF", "a GGUF model", WEIGHTS),
    (b"\x80\x02", "a pickle (PyTorch before 1.6, joblib)",
     f"pickles can execute anything and are never opened: {WEIGHTS}"),
    (b"\x80\x03", "a pickle", f"pickles can execute anything and are never opened: {WEIGHTS}"),
    (b"\x80\x04", "a pickle (scikit-learn, joblib)", f"pickles can execute anything and are never opened: {WEIGHTS}"),
    (b"\x80\x05", "a pickle", f"pickles can execute anything and are never opened: {WEIGHTS}"),
    (b"PAR1", "a Parquet table", ARRAYS), (b"ARROW1", "an Arrow table", ARRAYS),
    (b"MATLAB 5.0", "a MATLAB file", ARRAYS),
    (b"SQLite", "a database", ARRAYS), (b"\x89PNG", "a picture (PNG)", ARRAYS),
    (b"\xff\xd8\xff", "a picture (JPEG)", ARRAYS),
    (b"%PDF", "a PDF document", ARRAYS), (b"\x1f\x8b", "a gzip file", UNPACK), (b"BZh", "a bzip2 file", UNPACK),
    (b"\xfd7zXZ", "an xz file", UNPACK), (b"7z\xbc\xaf", "a 7z archive", UNPACK),
    (b"\0\0\x08", "an IDX file", "give the folder in which the four files of the data set lie"),
)
"""First bytes, what they begin, what to do with it."""


def described(path: Path) -> str:
    """What a file is and what to do with it, "an ONNX model; take …"; an empty string where that is not known."""
    try:
        with BoundedFile(path) as file:
            start = file.read(4096)
    except OSError:
        return ""
    return "; ".join(kind(start, path))


def kind(start: bytes, path: Path) -> tuple[str, ...]:
    """What begins with these bytes, and what to do with it; () where that is not known."""
    if not start:
        return ("empty", "write it again")
    if start.startswith(b"PK"):
        return archive(path)
    if start[:1] == b"\x08" and (path.suffix == ".onnx" or b"onnx" in start):
        return ("an ONNX model", WEIGHTS)
    if start[4:8] == b"TFL3":
        return ("a TensorFlow Lite model", WEIGHTS)
    if start[8:10] == b'{"' and start[6:8] == b"\0\0":
        return ("a file of safetensors", WEIGHTS)
    return next(((what, todo) for bytes_, what, todo in SIGNATURES if start.startswith(bytes_)), text(start))


def archive(path: Path) -> tuple[str, ...]:
    """What a zip archive is, by the names in it."""
    names = arrays_in(path)
    if any(name.endswith("data.pkl") for name in names):
        return ("a PyTorch file", WEIGHTS)
    if any(name.endswith(".h5") for name in names):
        return ("a Keras model", WEIGHTS)
    if "[Content_Types].xml" in names:
        return ("a table or document of an office program", ARRAYS)
    shown = ", ".join(repr(name)[1:-1] for name in names[:6]) + ", …" * (len(names) > 6)
    return (f"an archive with {shown:.120}",) if names else ()


def text(start: bytes) -> tuple[str, ...]:
    """What kind of text begins so; () where it is none."""
    words = start.decode("utf-8", "ignore").lstrip()
    if len(words.encode()) < len(start.lstrip()) - 3 or not words or any(c < " " and c not in "\t\r\n" for c in words):
        return ()
    if words[0] in "<{[":
        return ("a web page or XML" if words[0] == "<" else "JSON", ARRAYS)
    return ("a table in text (CSV)" if any(c in words for c in ",;\t") else "text", ARRAYS)
