"""npkd.core.files: whole or not at all, the same bytes for the same content, nothing foreign or damaged read, nothing
unpickled."""

import errno
import io
import json
import os
import resource
import tracemalloc
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from npkd.core.files import make_folder, read_arrays, read_npz, write_bytes, write_json, write_npz, write_text
from npkd.core.validation import InputError

HEADER = {"format": "npkd-thing", "version": 1}
ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([True, False]), "c": np.array(7.0)}
WRITERS = {
    "bytes": partial(write_bytes, data=b"new" * 1000),
    "text": partial(write_text, text="new" * 1000),
    "json": partial(write_json, value=["new"] * 1000),
    "npz": partial(write_npz, header=HEADER, arrays=ARRAYS),
}


def fails_with(error):
    def fail(*arguments, **options):
        raise error
    return fail


def sentence(caught, *words):
    """The message is one line and holds the words."""
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 500
    for word in words:
        assert str(word) in text


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("old", [None, b"old"], ids=["no file before", "a file before"])
@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("error", [
    OSError(errno.ENOSPC, "No space left on device"), PermissionError(errno.EACCES, "Permission denied"),
    KeyboardInterrupt(),
], ids=["full disk", "no permission", "interrupt"])
def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch, writer, old, call, error):
    path = tmp_path / "file"
    if old:
        path.write_bytes(old)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fails_with(error))
        if isinstance(error, OSError):
            with pytest.raises(InputError) as caught:
                writer(path)
            sentence(caught, path, error.strerror)
        else:
            with pytest.raises(KeyboardInterrupt):
                writer(path)
    assert [p.name for p in tmp_path.iterdir()] == (["file"] if old else [])
    assert not old or path.read_bytes() == old
    writer(path)                                       # and afterwards it works
    assert b"old" not in path.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_write_that_the_system_breaks_off_half_way_leaves_nothing(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))       # a file may not grow beyond this: as on a full disk
    try:
        with pytest.raises(InputError) as caught:
            write_bytes(tmp_path / "file", bytes(50_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    sentence(caught, tmp_path / "file", os.strerror(errno.EFBIG))
    assert not list(tmp_path.iterdir())


def test_a_write_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda n: (order.append("fsync"), fsync(n)))
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append(Path(a).parent == Path(b).parent), replace(a, b)))
    write_bytes(tmp_path / "file", b"x")
    assert order == ["fsync", True]


def test_what_is_written_stands_there(tmp_path):
    write_bytes(tmp_path / "b", b"\0\xff")
    write_text(tmp_path / "t", "λ ≥ 0\n")
    write_json(tmp_path / "j", {"z": 1, "a": [0.1, "λ"]})
    assert (tmp_path / "b").read_bytes() == b"\0\xff"
    assert (tmp_path / "t").read_bytes() == "λ ≥ 0\n".encode()
    text = (tmp_path / "j").read_text(encoding="utf-8")
    assert json.loads(text) == {"z": 1, "a": [0.1, "λ"]}
    assert text.index('"z"') < text.index('"a"')
    assert text.endswith("}\n")
    write_text(tmp_path / "s", "name \udc80")          # what a file name that is no Unicode looks like in Python
    assert (tmp_path / "s").read_bytes() == b"name \\udc80"


def test_a_new_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_bytes(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_places_that_cannot_be_written(tmp_path, writer):
    (tmp_path / "file").write_bytes(b"old")
    for path, words in (
        (tmp_path / "missing" / "x", os.strerror(errno.ENOENT)),
        (tmp_path / "file" / "x", os.strerror(errno.ENOTDIR)),
        (tmp_path, "is a folder"),
        (Path("/"), "is a folder"),
        (Path(os.devnull), "not an ordinary file"),
        (tmp_path / ("n" * 300), os.strerror(errno.ENAMETOOLONG)),
    ):
        with pytest.raises(InputError) as caught:
            writer(path)
        sentence(caught, path, words)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_make_folder(tmp_path):
    assert make_folder(tmp_path / "a" / "b").is_dir()
    assert make_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "x"):
        with pytest.raises(InputError) as caught:
            make_folder(path)
        sentence(caught, path)


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": np.zeros(2)}, {"a": {1, 2}}])
def test_what_json_cannot_say(tmp_path, value):
    with pytest.raises(InputError) as caught:
        write_json(tmp_path / "j", value)
    sentence(caught, tmp_path / "j")
    with pytest.raises(InputError):
        write_npz(tmp_path / "n", {**HEADER, "value": value}, {})
    assert not list(tmp_path.iterdir())


HEADERS = st.dictionaries(st.text("abλ", min_size=1), st.recursive(st.integers() | st.text(), st.lists, max_leaves=4),
                          max_size=2)
DTYPES = st.sampled_from([np.float32, np.float64, np.uint8, np.int64, np.bool_, np.dtype(">i4"), np.dtype("<U3")])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    array=hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)),
    header=HEADERS,
    compress=st.booleans(),
)
def test_npz_round_trip(tmp_path_factory, array, header, compress):
    path = tmp_path_factory.getbasetemp() / "round-trip.npz"
    write_npz(path, {**header, **HEADER}, {"x": array, "f": np.asarray(array, order="F")}, compress=compress)
    found_header, found = read_npz(path, "thing")
    assert found_header == {**header, **HEADER}
    with np.load(path, allow_pickle=False) as independent:
        assert json.loads(bytes(independent["header"])) == {**found_header, "arrays": ["f", "x"]}
        for name in ("x", "f"):
            for got in (found[name], independent[name]):
                assert got.dtype == array.dtype
                assert got.shape == array.shape
                assert got.tobytes() == array.tobytes()


def test_the_same_content_gives_the_same_bytes(tmp_path):
    a = np.random.default_rng(0).standard_normal((5, 3))
    write_npz(tmp_path / "1", {"format": "npkd-thing", "version": 1, "k": 1}, {"x": a, "y": a[0]})
    write_npz(tmp_path / "2", {"k": 1, "version": 1, "format": "npkd-thing"},
              {"y": a[0].copy(), "x": np.asfortranarray(a)})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    with zipfile.ZipFile(tmp_path / "1") as archive:                  # nothing in it knows when or where it was written
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {(info.create_system, info.external_attr) for info in archive.infolist()} == {(3, 0o600 << 16)}
    write_npz(tmp_path / "2", {**HEADER, "k": 2}, {"x": a, "y": a[0]})
    assert (tmp_path / "1").read_bytes() != (tmp_path / "2").read_bytes()


@pytest.mark.parametrize(("header", "arrays", "words"), [
    ({}, {}, "format"),
    ({"format": "other", "version": 1}, {}, "format"),
    ({"format": "npkd-thing"}, {}, "version"),
    ({"format": "npkd-thing", "version": 2}, {}, "version"),
    (HEADER, {"header": np.zeros(2)}, "taken"),
    ({**HEADER, "arrays": []}, {}, "taken"),
    (HEADER, {"x": np.array([None])}, "objects"),
    (HEADER, {"x": np.zeros(2, [("a", "O")])}, "objects"),
])
def test_what_is_not_written_as_npz(tmp_path, header, arrays, words):
    with pytest.raises(InputError) as caught:
        write_npz(tmp_path / "x.npz", header, arrays)
    sentence(caught, words)
    assert not list(tmp_path.iterdir())


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def member(name, content):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def text(words):
    return np.frombuffer(words.encode(), np.uint8)


FOREIGN = {
    "empty": (b"", "is empty"),
    "no zip": (b"not a zip at all", "is text"),
    "zeros": (bytes(100), "damaged"),
    "npy": (np.lib.format.magic(1, 0) + b"rest", "a single array (.npy)"),
    "zip of text": (member("readme.txt", "hello"), "no npkd header"),
    "member is no npy": (member("header.npy", "hello"), "damaged"),
    "member is cut": (member("header.npy", np.lib.format.magic(1, 0)), "damaged"),
    "newer npy": (member("header.npy", np.lib.format.magic(9, 0) + b"rest" * 9), "damaged"),
    "no header": (npz(x=np.zeros(3)), "no npkd header"),
    "header of floats": (npz(header=np.zeros(3)), "no npkd header"),
    "header no utf-8": (npz(header=np.full(3, 255, np.uint8)), "no JSON"),
    "header no json": (npz(header=text("{")), "no JSON"),
    "header nested too deeply": (npz(header=text("[" * 100_000)), "no JSON"),
    "header no table": (npz(header=text("[1]")), "format"),
    "no format": (npz(header=text("{}")), "format None"),
    "another kind": (npz(header=text('{"format": "npkd-other", "version": 1}')), "npkd-other"),
    "newer": (npz(header=text('{"format": "npkd-thing", "version": 2}')), "version 2"),
    "no version": (npz(header=text('{"format": "npkd-thing"}')), "version None"),
    "array lost": (npz(header=text('{"format": "npkd-thing", "version": 1, "arrays": ["x", "y"]}'), x=np.zeros(2)),
                   "damaged"),
    "array too many": (npz(header=text('{"format": "npkd-thing", "version": 1, "arrays": []}'), x=np.zeros(2)),
                       "damaged"),
    "arrays not named": (npz(header=text('{"format": "npkd-thing", "version": 1}'), x=np.zeros(2)), "damaged"),
    "version no number": (npz(header=text('{"format": "npkd-thing", "version": true}')), "version True"),
}


@pytest.mark.parametrize(("content", "words"), FOREIGN.values(), ids=FOREIGN)
def test_foreign_files_are_refused(tmp_path, content, words):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_npz(tmp_path / "x.npz", "thing")
    sentence(caught, tmp_path / "x.npz", words)


def test_missing_files_and_folders_are_refused(tmp_path):
    for path, words in ((tmp_path / "x.npz", os.strerror(errno.ENOENT)), (tmp_path, os.strerror(errno.EISDIR))):
        with pytest.raises(InputError) as caught:
            read_npz(path, "thing")
        sentence(caught, path, words)


def test_encrypted_and_unknown_members_are_refused(tmp_path):
    for place, value in ((6, 1), (8, 99)):          # in a local header: the flag for encryption; an unknown compression
        content = bytearray(npz(header=text(json.dumps(HEADER))))
        for start in (content.index(b"PK\3\4") + place, content.index(b"PK\1\2") + place + 2):
            content[start] = value
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(InputError) as caught:
            read_npz(tmp_path / "x.npz", "thing")
        sentence(caught, "damaged")


class Bomb:
    exploded = False

    def __reduce__(self):
        return setattr, (Bomb, "exploded", True)


def test_nothing_is_ever_unpickled(tmp_path):
    for version in ((1, 0), (2, 0), (3, 0)):
        data = io.BytesIO()
        np.lib.format.write_array(data, np.array([Bomb()]), version=version, allow_pickle=True)
        (tmp_path / "x.npz").write_bytes(member("x.npy", data.getvalue()))
        with pytest.raises(InputError) as caught:
            read_arrays(tmp_path / "x.npz")
        sentence(caught, tmp_path / "x.npz", "array x holds objects")
        assert not Bomb.exploded
        assert read_arrays(tmp_path / "x.npz", ("y",)) == {}           # what is not asked for does no harm
    with np.load(tmp_path / "x.npz", allow_pickle=True) as archive:
        archive["x"]
    assert Bomb.exploded                               # the bomb would have gone off


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "good.npz"
    write_npz(path, HEADER, ARRAYS, compress=True)
    return path.read_bytes()


def same(found):
    header, arrays = found
    return header == HEADER and arrays.keys() == ARRAYS.keys() and all(
        arrays[k].tobytes() == ARRAYS[k].tobytes() and arrays[k].dtype == ARRAYS[k].dtype for k in ARRAYS)


def test_a_file_cut_anywhere_is_refused(tmp_path, good):
    path = tmp_path / "x.npz"
    path.write_bytes(good)
    assert same(read_npz(path, "thing"))
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(InputError) as caught:
            read_npz(path, "thing")
        sentence(caught, path)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_file_changed_anywhere_is_refused_or_means_the_same(tmp_path_factory, good, data):
    place = data.draw(st.integers(0, len(good) - 1))
    value = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "changed.npz"
    path.write_bytes(good[:place] + bytes([value]) + good[place + 1:])
    try:
        found = read_npz(path, "thing")
    except InputError:
        return
    assert same(found)


def test_what_is_promised_and_cannot_be_there_takes_no_memory(tmp_path):
    """3 GB that a kilobyte of a deflated stream would have to stand for, and 5 MB of JSON; both archives agree with
    themselves."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (3_000_000_000,)})
    content = bytearray(member("x.npy", head.getvalue() + bytes(1000)))
    for start in (content.index(b"PK\3\4") + 22, content.index(b"PK\1\2") + 24):               # its size unpacked
        content[start:start + 4] = (len(head.getvalue()) + 3_000_000_000).to_bytes(4, "little")
    (tmp_path / "x.npz").write_bytes(content)
    (tmp_path / "h.npz").write_bytes(npz(header=np.full(5_000_000, ord(" "), np.uint8)))
    for name, words in (("x", "array x declares 3000000000 bytes"), ("h", "5000000 bytes")):
        tracemalloc.start()
        try:
            with pytest.raises(InputError) as caught:
                read_npz(tmp_path / "h.npz", "thing") if name == "h" else read_arrays(tmp_path / "x.npz")
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        sentence(caught, words)
        assert peak < 2e6
