"""Files made to do harm: 3,000 of them, each refused in one sentence or read as the file that it was made from.

Nothing else is raised, no file takes longer than 5 s, and none takes more memory than twice what the headers of the
original declare, beside a little for reading in pieces. Case ``n`` of a kind is ``crafted(kind, n)``; a failure names
it.
"""

import gzip
import io
import json
import pickle
import struct
import time
import tracemalloc
import warnings
import zipfile
import zlib
from dataclasses import astuple

import numpy as np
import pytest

from npkd.core.files import read_arrays
from npkd.core.validation import InputError
from npkd.data import datasets
from npkd.data.datasets import NAMES
from npkd.data.idx import read_idx
from npkd.data.shards import Shards
from npkd.nn.model import MOST_LAYERS, Model
from npkd.nn.model import load as load_model
from npkd.nn.model import save as save_model
from npkd.nn.network import Layer, Network
from npkd.nn.scaling import Scaling
from npkd.sparsity import statistics_files
from npkd.sparsity.statistics import Statistics

SEED, CASES = 2026, 500
"""CASES of each of six kinds."""

SLACK = 10_000_000
"""Bytes beside what is declared: pieces of a megabyte that are read and unpacked at a time, JSON and Python's own."""

BOMB = zlib.compress(bytes(30_000_000), 9)[2:-4]
"""What unpacks to 30 MB, raw deflate."""


PACKED_BOMB = gzip.compress(bytes(30_000_000), 9)
"""The same as gzip."""


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def perceptron():
    layers = [Layer("select", options={"kept": [4, 0, 2]}), Layer("dense", (normal(6, 3), normal(6))),
              Layer("batch_norm", (normal(6), normal(6)), {"eps": 0.01}, (normal(6), normal(6) ** 2)), Layer("relu"),
              Layer("maxout", options={"pieces": 2}), Layer("dropout", options={"rate": 0.5}),
              Layer("dense", (normal(4, 3), normal(4)))]
    return Model(Network(layers), Scaling(normal(5), normal(5) ** 2 + np.float32(0.1)), {"seed": 3})


def convolutional():
    return Model(Network([
        Layer("conv2d", (normal(3, 3, 3, 2), normal(3)), {"padding": 1, "stride": [1, 1]}),
        Layer("relu"), Layer("max_pool", options={"size": 2}), Layer("conv2d", (normal(3, 1, 1, 3), normal(3))),
        Layer("add", options={"back": 1}), Layer("global_average_pool"), Layer("dense", (normal(4, 3), normal(4)))]))


def model_of(path):
    model = load_model(path)
    arrays = [a for layer in model.network.layers for a in (*layer.params, *layer.running)]
    arrays += [model.scaling.offset, model.scaling.factor] if model.scaling else []
    return (
        [(layer.op, dict(layer.options), len(layer.running)) for layer in model.network.layers], dict(model.about),
        *map(facts, arrays)
    )


def facts(a):
    return a.shape, a.dtype, a.tobytes()


def write_network(path):
    save_model(path, perceptron())


def write_maps(path):
    save_model(path, convolutional())


def write_statistics(path):
    rng = np.random.default_rng(1)
    statistics_files.save(path, [Statistics.of(rng.standard_normal((9, 4)), rng.standard_normal((9, 3)))])


def write_data(path):
    x, y = np.random.default_rng(2).random((40, 2, 3)), np.arange(40) % 3
    np.savez_compressed(path, x_train=x, y_train=y, x_test=x[:12], y_test=y[:12])


def write_shard(path):
    x = np.random.default_rng(3).random((120, 16)).astype(np.float32)
    np.savez(path, x=x, y=np.arange(120))


def write_idx(path):
    array = np.random.default_rng(4).integers(0, 256, (30, 4, 5), np.uint8)
    path.write_bytes(gzip.compress(struct.pack(">BBBBIII", 0, 0, 8, 3, *array.shape) + array.tobytes()))


def data_of(path):
    scaled, arrays = datasets.load(str(path), seed=0), read_arrays(path, NAMES)
    return facts(scaled.x_train), [facts(arrays[name]) for name in NAMES]


def shard_of(path):
    shards = Shards(path)
    if not shards.labelled:
        raise InputError("the labels are gone")
    x, y = zip(*shards.batches(50), strict=True)
    return facts(np.concatenate(x)), facts(np.concatenate(y))


KINDS = {
    "network": (write_network, model_of), "maps": (write_maps, model_of), "data": (write_data, data_of),
    "shard": (write_shard, shard_of),
    "statistics": (write_statistics,
                   lambda path: [tuple(map(facts, map(np.asarray, astuple(s)))) for s in statistics_files.load(path)]),
    "idx": (write_idx, lambda path: facts(read_idx(path))),
}
"""How a sound file of each kind is written, and all that is read of it."""


# ---- what is done to them: (rng, bytes of a sound file) -> bytes
# ----------------------------------------------------------------------------


def flipped(rng, content):
    out = bytearray(content)
    for _ in range(rng.integers(1, 9)):
        out[rng.integers(len(out))] ^= 1 << rng.integers(8)
    return bytes(out)


def cut(rng, content):
    return content[:rng.integers(len(content))]


def spliced(rng, content):
    """Some of it again, or left out, or replaced by noise, somewhere."""
    a, b = sorted(rng.integers(0, len(content), 2))
    return content[:a] + (b"", content[a:b] * 2, rng.bytes(b - a))[rng.integers(3)] + content[b:]


def members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(content, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")                              # of names that stand twice
        for name, member in content.items() if isinstance(content, dict) else content:
            archive.writestr(name, member)
    return stream.getvalue()


HEADERS = [
    "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775808,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 1920), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999999, 0), }",
    "{'descr': (), 'fortran_order': False, 'shape': (4,), }",
    "{'descr': ('<f4',), 'fortran_order': False, 'shape': (4,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (120, -16), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (4,)",
    "  {'descr': '<f4',\n 'fortran_order': False,\n\t'shape': (4,), }}",
    "{1: 2, 'descr': '<f4', 'fortran_order': False, 'shape': (4,)}", "{1: 2, (): 3, None: 4}", "{[]: 1, 'shape': {}}",
    "(" * 9000, "[" * 200 + "]" * 200,
    "{'descr': '|O', 'fortran_order': False, 'shape': (4,), }",
    "{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (4,), }",
    "{'descr': '<f4', 'fortran_order': 3, 'shape': (4,), }", "{'descr': '<f4', 'fortran_order': False, 'shape': 4, }",
    "{'descr': '<f4'}", "",
    "{'descr': '<f3', 'fortran_order': False, 'shape': (4,), }",
    "{'descr': 'U0', 'fortran_order': False, 'shape': (99999999999999, ), }",
    "{'descr': '|V1000000000', 'fortran_order': False, 'shape': (4,), }",
    "{'descr': '\\d', 'fortran_order': False, 'shape': (4,), }",
    "{'descr': 'a5', 'fortran_order': False, 'shape': (4,), }", "{'descr': '<f4', 'descr': '<f8', 'descr': '<i4'}",
    "{'descr': '<f4,<f4', 'x': 1}",
    "{'descr': '<M8[eons]', 'fortran_order': False, 'shape': (4,), }",
    "{'descr': '<f8', 'fortran_order': True, 'shape': (4294967296, 4294967296), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (0, 4611686018427387904, 4611686018427387904), }", "\0" * 50,
    "__import__('os').getpid()",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "1, " * 40 + "), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "1" * 5000 + "), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (4,), }" + " " * 20_000,
    "{'descr': '<f8' 'fortran_order': False 'shape': (4,)" + "," * 9000,
]
"""Headers of .npy arrays as nobody writes them, or of other sizes than the data behind them."""


def headed(rng, content):
    """One array with another header; the sums of the archive are right."""
    inside = members(content)
    name = sorted(inside)[rng.integers(len(inside))]
    old = inside[name]
    body = old[10 + int.from_bytes(old[8:10], "little"):]
    text = HEADERS[rng.integers(len(HEADERS))].encode("latin1")
    version = ((1, 0), (2, 0), (3, 0), (9, 1))[rng.integers(4)]
    length = struct.pack("<H" if version[0] == 1 else "<I",
                         len(text) if rng.random() < 0.9 else int(rng.integers(65536)))
    return packed({**inside, name: b"\x93NUMPY" + bytes(version) + length + text + body})


def resized(rng, content):
    """One array with more, fewer or no bytes behind its header, or the bytes of another one."""
    inside = members(content)
    name, other = (sorted(inside)[k] for k in rng.integers(0, len(inside), 2))
    new = (inside[name] + bytes(8), inside[name][:-1], inside[name][:80], b"", rng.bytes(200),
           inside[name] * 2)[rng.integers(6)]
    return packed({**inside, name: new} if rng.random() < 0.7
                  else {**{k: v for k, v in inside.items() if k != name}, f"{other}.npy": inside[name]})


def bombed(rng, content):
    """30 MB of zeros in 30 kB: behind an array, as a member that nobody asked for, in the place of the header, or
    promised and not there."""
    inside = members(content)
    name = sorted(inside)[rng.integers(len(inside))]
    how = rng.integers(4)
    stored = packed([*inside.items(), ("surplus.npy", b"")] if how == 1 else inside)
    head = inside[name] if how == 0 else b"" if how == 1 else npy_head(30_000_000 - 128 if how == 2 else 2 ** 50)
    if how == 3:
        return packed({**inside, name: head + bytes(1000)})
    return with_deflated(stored, "surplus.npy" if how == 1 else name, head)


def npy_head(count):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": (count,)})
    return stream.getvalue()


def with_deflated(content, name, head):
    """The archive whose member is ``head`` and zeros, 30 MB in all (its sum is not made right: nobody has to come so
    far)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH) + BOMB
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        for info in old.infolist():
            if info.filename != name:
                new.writestr(info.filename, old.read(info))
        new.writestr(name, data)
        last = new.filelist[-1]
        last.compress_type, last.file_size = zipfile.ZIP_DEFLATED, len(head) + 30_000_000
        start = last.header_offset
    out = bytearray(stream.getvalue())
    out[start + 8:start + 10] = struct.pack("<H", zipfile.ZIP_DEFLATED)
    out[start + 22:start + 26] = struct.pack("<I", len(head) + 30_000_000)
    return bytes(out)


def rezipped(rng, content):
    """Names that stand twice, other compressions, many members, no arrays, another archive's contents."""
    inside = members(content)
    name = sorted(inside)[rng.integers(len(inside))]
    return (
        lambda: packed([*inside.items(), (name, inside[name][:-4] + b"evil")]),
        lambda: packed([*inside.items(), (name.removesuffix(".npy"), b"x")]),
        lambda: packed(inside, zipfile.ZIP_LZMA)[:-1],
        lambda: packed({**inside, name: inside[name]}, zipfile.ZIP_DEFLATED),
        lambda: packed({"archive/data.pkl": pickle.dumps({"w": 1}), "archive/version": b"3"}), lambda: packed({}),
        lambda: packed({f"../{name}": inside[name]}), lambda: content[:40] + content,
        lambda: packed({"x" * 60_000 + ".npy": b""}),
        lambda: content + bytes(70_000), lambda: packed({f"{'d' * 100}{k}": b"" for k in range(40)}) * 2,
    )[rng.integers(11)]()


WORSE = [
    ("padding", 10 ** 9), ("padding", [5 * 10 ** 8, 1]), ("size", 10 ** 9), ("size", [10 ** 6, 10 ** 6]),
    ("size", "two"), ("kernel", 2), ("eps", "x"),
    ("eps", -1), ("eps", None), ("rate", 1.5), ("rate", []), ("pieces", 0), ("pieces", 2.5), ("pieces", "2"),
    ("back", -1), ("back", 10 ** 9),
    ("kept", [10 ** 400]), ("kept", [0, 1, 1]), ("kept", [[[[]]]]), ("kept", {}), ("kept", [10 ** 12, 0, 2]),
    ("stride", 0), ("stride", [1, 2, 3]), ("groups", 7), ("groups", True), ("dilation", 10 ** 12),
]
"""Options that no layer can have."""


def optioned(rng, content):
    """The JSON header of a network, or of statistics, with something in it that cannot be."""
    inside = members(content)
    if "header.npy" not in inside:
        return headed(rng, content)
    text = inside["header.npy"]
    header = json.loads(text[10 + int.from_bytes(text[8:10], "little"):])
    how = rng.integers(6)
    entries = header.get("layers", [{"options": {}}])
    entry = entries[rng.integers(len(entries))]
    name, value = WORSE[rng.integers(len(WORSE))]
    if "layers" not in header or how == 0:
        key = sorted(header)[rng.integers(len(header))]
        header[key] = (None, 10 ** 400, [], "x", -1, [None], [[[]]], [0])[rng.integers(8)]
    elif how == 1:
        header["layers"] = entries[:1] + [{"op": "dense", "options": {}, "running": 0}] * MOST_LAYERS
    elif how == 2:
        entry[("op", "options", "running")[rng.integers(3)]] = (None, 10 ** 9, [], "x", {"w": 1}, True,
                                                                [10 ** 9])[rng.integers(7)]
    else:
        holders = [e for e in entries if name in e["options"]] or [entry]
        holders[rng.integers(len(holders))]["options"][name] = value
    words = (
        json.dumps(header).encode() if rng.random() < 0.9
        else b"[" * int(rng.integers(1, 60_000)) + json.dumps(header).encode()
    )
    return packed({**inside, "header.npy": npy_head(len(words)) + words})


def unpacked_idx(rng, content):
    """An IDX file whose first bytes or axes lie, plain or gzip; or one with zeros behind it."""
    plain = bytearray(gzip.decompress(content))
    how = rng.integers(5)
    if how == 0:
        plain[(0, 1, 3)[rng.integers(3)]] ^= 1 << rng.integers(8)
    elif how == 1:
        plain[4 + 4 * rng.integers(3):][:4] = b""
        plain[4:8] = rng.bytes(4)
    elif how == 2:
        plain[4:16] = struct.pack(">III", *([2 ** 32 - 1] * 3 if rng.random() < 0.5 else [0, 2 ** 32 - 1, 2 ** 32 - 1]))
    elif how == 3:
        return bytes(plain[:rng.integers(len(plain))])
    else:
        return gzip.compress(bytes(plain)) + PACKED_BOMB
    return bytes(plain) if rng.random() < 0.5 else gzip.compress(bytes(plain), 1)


FOREIGN = [
    b"", b"x_train,y_train\n1,2\n", b"\x93NUMPY\1\0v\0{'descr'", pickle.dumps({"w": 1}),
    b"\x89HDF\r\n\x1a\n" + bytes(90), b"<html>", b'{"a": 1}',
    b"\x08\x08\x12\x07pytorch\x1a\x052.1.0onnx", b"PK\5\6" + bytes(18), b"PK\5\6" + b"\xff" * 18,
    gzip.compress(bytes(1000)), bytes(5000),
    b"\x18\0\0\0\0\0\0\0{\"w\":{}}", b"\x1c\0\0\0TFL3" + bytes(40), b"\0\0\x08\x03" + b"\xff" * 12,
]


def foreign(rng, content):
    return FOREIGN[rng.integers(len(FOREIGN))]


ARCHIVES = [flipped, cut, spliced, headed, resized, bombed, rezipped, optioned, optioned, headed, foreign]
PLAIN = [flipped, cut, spliced, unpacked_idx, unpacked_idx, foreign]


def crafted(kind, n, content):
    """Case ``n`` made from the bytes of a sound file: what was done, and the bytes."""
    rng = np.random.default_rng([SEED, sorted(KINDS).index(kind), n])
    ways = PLAIN if kind == "idx" else ARCHIVES
    how = ways[n % len(ways)]
    return how.__name__, how(rng, content)


def outcome_of(read, path):
    """What is read of a file, or what is raised."""
    try:
        return read(path)
    except Exception as error:
        return error


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_files_are_refused_or_read_as_they_were(tmp_path, kind):
    write, read = KINDS[kind]
    path = tmp_path / "x.npz"
    write(path)
    content, original = path.read_bytes(), read(path)
    refusals = 0
    for n in range(CASES):
        how, bytes_ = crafted(kind, n, content)
        path.unlink()                                                    # writing over a file waits for the disk
        path.write_bytes(bytes_)
        case = f"crafted({kind!r}, {n}), {how}"
        began = time.perf_counter()
        tracemalloc.start()
        outcome = outcome_of(read, path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        if isinstance(outcome, InputError):
            refusals += 1
            assert "\n" not in str(outcome), f"{case}: {outcome}"
            assert len(str(outcome)) < 700, f"{case}: {outcome}"
        else:
            assert outcome == original, f"{case}: {outcome!r:.300}"
        assert peak < SLACK, f"{case}: {peak} bytes of memory"
        assert time.perf_counter() - began < 5, f"{case}: {time.perf_counter() - began:.1f} s"
    assert CASES / 2 < refusals < CASES                               # most do harm; some only touch what means nothing
