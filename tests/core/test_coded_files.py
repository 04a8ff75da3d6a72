"""Coded files: bit for bit what was written; a thousand damaged and foreign ones are refused or read as they were."""

import json
import pickle
import zlib

import numpy as np
import pytest

import npkd
from npkd.core.coded_files import ENTRIES, HEAD, MAGIC, WORDS, coded_bytes, is_coded, read_coded
from npkd.core.validation import InputError
from npkd.nn.model import Model, content, save
from npkd.nn.network import Layer, Network, perceptron
from npkd.nn.scaling import Scaling

RNG = np.random.default_rng(7)
F32 = np.float32
ARRAYS = {
    "normal": RNG.standard_normal((7, 5)).astype(F32), "one step": (RNG.integers(-7, 8, (9, 11)) * 0.013).astype(F32),
    "steps of rows": (RNG.integers(-127, 128, (6, 20)) * RNG.integers(900, 1024, (6, 1)) / 2 ** 18).astype(F32),
    "few values": RNG.choice(RNG.standard_normal(5).astype(F32), (12, 12)), "constant": np.full(784, 1 / 255, F32),
    "zeros": np.zeros((4, 6), F32), "negative zeros": np.array([0.0, -0.0, 1.0, -0.0] * 9, F32),
    "one number": np.array([0.1], F32), "kernels": (RNG.integers(-3, 4, (4, 3, 3, 2)) / 4).astype(F32),
    "double": RNG.standard_normal(6), "double steps": RNG.integers(-9, 9, (5, 5)) / 8, "nothing": np.zeros((0, 3), F32),
    "tiny": np.array([1e-45, 2e-45, 0, 1e-44], F32), "huge": np.array([3e38, 1e-38], F32), "scalar": np.array(2.5, F32),
    "integers": np.arange(5), "bytes": np.arange(9, dtype=np.uint8), "half": np.array([0.5, 1.5], np.float16)}
HEADER = {"format": "npkd-network", "version": 1, "kept": list(range(3, 90, 2)),
          "unsorted": [9, 3, 3, -5, 800, 0, 1, 2, 3, 4, 5],
          "short": [1, 2], "nested": {"a": [True, None, 1.5, "word"], "b": [[1], [2, 3]]}, "bools": [True] * 12,
          "listed": {"listed": 5}, "again": {"listed": [{"listed": []}]}, "large": [1 << 70] * 9,
          "deep": [list(range(20))] * 2}


PLAIN = {"format": "npkd-network", "version": 1}


def equal(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_header_and_arrays_come_back_bit_for_bit(tmp_path):
    path = tmp_path / "a.npkz"
    path.write_bytes(coded_bytes(HEADER, ARRAYS))
    header, arrays = read_coded(path, "network")
    assert header == HEADER
    assert [type(v) for v in header["bools"]] == [bool] * 12
    assert arrays.keys() == ARRAYS.keys()
    assert [name for name in ARRAYS if not equal(arrays[name], ARRAYS[name])] == []
    assert coded_bytes(header, dict(reversed(arrays.items()))) == path.read_bytes()


def test_values_on_grids_and_of_few_kinds_take_less(tmp_path):
    for name in ("one step", "few values", "zeros", "steps of rows", "constant"):
        array = np.tile(ARRAYS[name], (4,) * ARRAYS[name].ndim)
        assert len(coded_bytes(PLAIN, {"a": array})) < 0.5 * array.nbytes, name


def network():
    rng = np.random.default_rng(1)
    drawn, kept = perceptron([30, 12, 5], rng), sorted(rng.choice(64, 30, replace=False).tolist())
    return Network([Layer("select", options={"kept": kept}), *drawn.layers])


def same_model(a, b):
    return content(a) == content(b)


def test_a_model_is_read_back_by_load_whatever_its_name(tmp_path):
    model = Model(network(), Scaling(np.zeros(64, F32), np.full(64, 0.1, F32)), {"made_by": "a test"})
    for name in ("m.npkz", "m.npz"):
        save(tmp_path / name, model)
        assert is_coded(tmp_path / name) == (name == "m.npkz")
        (tmp_path / name).rename(tmp_path / "other.name")
        assert same_model(npkd.load(tmp_path / "other.name"), model)


def rest_of(data):
    _, small, raw = HEAD.unpack_from(data, len(MAGIC))
    rest = data[len(MAGIC) + HEAD.size:]
    text = zlib.decompressobj(-15, WORDS).decompress(rest[:small])
    return json.loads(text), rest[small:small + raw], rest[small + raw:]


def built(header, raw, decisions):
    """A file with right sums around any content."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=WORDS)
    small = squeezer.compress(json.dumps(header).encode()) + squeezer.flush()
    rest = HEAD.pack(0, len(small), len(raw))[4:] + small + raw + decisions
    return MAGIC + zlib.crc32(rest).to_bytes(4, "little") + rest


def test_the_test_builds_files_as_they_are():
    data = coded_bytes(PLAIN, ARRAYS)
    read = rest_of(data)
    assert rest_of(built(*read)) == read


def hostile(data, rng):
    """A coded file that was cut, changed in some bytes, put together with others, or replaced by something else."""
    kind = rng.integers(6)
    if kind == 0:
        return data[:rng.integers(len(data))]
    if kind == 1:
        out = bytearray(data)
        for at in rng.integers(0, len(data), rng.integers(1, 6)):
            out[at] ^= 1 << rng.integers(8)
        return bytes(out)
    if kind == 2:
        return data + rng.bytes(rng.integers(1, 50))
    if kind == 3:                                                # right sums around other content
        header, raw, decisions = rest_of(data)
        entry = header["arrays"][rng.integers(len(header["arrays"]))]
        if entry and rng.random() < 0.8:
            entry[rng.integers(len(entry))] = [[-1], [10 ** 9, 10 ** 9], "grid", "O", "<f4", None, 3, "raw", {}, "list",
                                               [2 ** 62, 4]][rng.integers(11)]
        else:
            header = [None, [], {"layers": 3}, {**header, "layers": {"listed": 10 ** 12}}][rng.integers(4)]
        return built(header, raw[:rng.integers(len(raw) + 1)], decisions)
    if kind == 4:
        return [b"", b"PK\3\4", b"\x80\x04" + pickle.dumps(3), rng.bytes(300), b"\x93NUMPY\1\0", b"a,b\n1,2\n",
                MAGIC, MAGIC[:-1] + b"\2" + data[len(MAGIC):], MAGIC[:-1]][rng.integers(9)]
    at, other = rng.integers(len(data)), rng.bytes(rng.integers(1, 9))
    return data[:at] + other + data[at:]


def test_a_thousand_hostile_files_are_refused_or_read_as_they_were(tmp_path):
    model, path = Model(network(), Scaling(np.zeros(64, F32), np.full(64, 0.1, F32))), tmp_path / "m.npkz"
    data, rng, refused = content(model, coded=True), np.random.default_rng(5), []
    for _ in range(1000):
        path.write_bytes(hostile(data, rng))
        try:
            read = npkd.load(path)
        except InputError as error:
            refused.append(str(error))
        else:
            assert same_model(read, model)
    assert len(refused) > 900
    assert [words for words in refused if str(path) not in words or "\n" in words] == []


def test_the_words_of_headers_take_off_half():
    header, _, _ = rest_of(content(on_a_grid(), coded=True))
    text = json.dumps(header, separators=(",", ":")).encode()
    sizes = []
    for words in ((WORDS,), ()):
        squeezer = zlib.compressobj(9, zlib.DEFLATED, -15, 8, 0, *words)
        sizes.append(len(squeezer.compress(text) + squeezer.flush()))
    assert sizes[0] < sizes[1] / 2


def on_a_grid():
    """No list, no scaling: every byte of the file but its header and its steps belongs to one stream of decisions."""
    rng = np.random.default_rng(2)
    arrays = [(rng.integers(-7, 8, shape) / 8).astype(F32) for shape in ((8, 20), (8,), (4, 8), (4,))]
    return Model(Network([Layer("dense", tuple(arrays[:2])), Layer("relu"), Layer("dense", tuple(arrays[2:]))]))


def test_every_flipped_bit_and_every_other_length_is_noticed(tmp_path):
    """Also where the bit is one of a length and all lengths still fit into the file."""
    path, data = tmp_path / "m.npkz", content(on_a_grid(), coded=True)
    _, small, raw = HEAD.unpack_from(data, len(MAGIC))
    spoilt = [data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1:]
              for at in range(len(data)) for bit in range(8 if at < 40 else 1)]
    spoilt += [data[:len(MAGIC) + 4] + HEAD.pack(0, small + more, raw)[4:] + data[len(MAGIC) + HEAD.size:]
               for more in range(1, len(data) - small)]
    for changed in spoilt:
        path.write_bytes(changed)
        with pytest.raises(InputError):
            npkd.load(path)


HUGE = 1 << 40


@pytest.mark.parametrize(("arrays", "more", "words"), [
    ([["a", [30_000, 30_000], "<f4", "grid"]], {}, "declares more than it can hold"),
    ([["a", [HUGE, 9], "<f4", "grid"], ["b", [-HUGE, 9], "<f4", "grid"]], {}, "declares more than it can hold"),
    ([["a", [HUGE, 0], "<f4", "grid"]], {}, "holds no numbers"),
    ([["a", [HUGE, 0], "<f4", "list", 1]], {}, "holds no numbers"),
    ([["a", [-1, 0], "<f4", "grid"]], {}, "holds no numbers"), ([["a", [3], "O", "raw"]], {}, "holds no numbers"),
    ([["a", [3], f"({HUGE},)f4", "raw"]], {}, "was cut"), ([["a", [3], "<f4", "list", -1]], {}, "was cut"),
    ([["a", [HUGE], "<f4", "raw"]], {}, "was cut"), ([["a"]], {}, "was cut"), (None, {}, "was cut"),
    ([], {}, "left over"),
    ([], {"kept": {"listed": HUGE}}, "decisions are missing"), ([], {"kept": {"listed": "word"}}, "was cut"),
    ([], {"kept": {"listed": []}}, "was cut"), ([], {"format": "npkd-data"}, "has the format 'npkd-data'"),
    ([], {"version": 99}, "has version 99"), ([], {"step": float("nan")}, "no JSON")])
def test_a_forged_file_is_refused_before_it_takes_memory_or_time(tmp_path, arrays, more, words):
    path = tmp_path / "forged.npkz"
    path.write_bytes(built({**PLAIN, **more, "arrays": arrays}, b"\0\0\x80\x3f", b""))
    with pytest.raises(InputError, match=words):
        read_coded(path, "network")


def test_arrays_of_zeros_are_read_back_and_bound_the_memory(tmp_path):
    """A file has at least a byte for ENTRIES numbers, so that who reads it need not trust it."""
    path = tmp_path / "zeros.npkz"
    path.write_bytes(coded_bytes(PLAIN, {"a": np.zeros((500, 3000), F32)}))
    assert 1_500_000 / ENTRIES < path.stat().st_size < 1_500_000 / ENTRIES + 200
    assert read_coded(path, "network")[1]["a"].shape == (500, 3000)


@pytest.mark.parametrize(("header", "arrays", "words"), [
    ({}, {}, "npkd-…"), ({**PLAIN, "x": float("nan")}, {}, "finite numbers"), ({**PLAIN, "arrays": 1}, {}, "taken"),
    (PLAIN, {"a": np.array([None])}, "must hold numbers"), (PLAIN, {"a": np.zeros(3, complex)}, "must hold numbers")])
def test_what_could_not_be_read_back_is_not_written(header, arrays, words):
    with pytest.raises(InputError, match=words):
        coded_bytes(header, arrays)


def test_a_path_that_is_none_and_a_folder_are_refused(tmp_path):
    (tmp_path / "folder.npkz").mkdir()
    for path in ("a\0b.npkz", tmp_path / "folder.npkz", tmp_path / "missing.npkz"):
        with pytest.raises(InputError):
            npkd.load(path)
