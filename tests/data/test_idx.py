"""npkd.data.idx: the format, the search order, and downloads from a small server on loopback that leave nothing broken
behind."""

import gzip
import hashlib
import http.server
import io
import os
import struct
import threading
import tracemalloc
import urllib.error
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from npkd.core.validation import InputError
from npkd.data import idx
from npkd.data.idx import PARTS, SOURCES, Source, cache_folder, decode, find, read_folder, read_idx, read_set

CODES = {"u1": (0x08, "B"), "i1": (0x09, "b"), "i2": (0x0B, "h"), "i4": (0x0C, "i"), "f4": (0x0D, "f"),
         "f8": (0x0E, "d")}


def parse_idx(content, where):
    return decode(io.BytesIO(content), len(content), where)[0]


def idx_bytes(array):
    """The format as its description has it, one value after the other."""
    code, letter = CODES[array.dtype.str[1:]]
    head = struct.pack(">BBBB", 0, 0, code, array.ndim) + b"".join(struct.pack(">I", n) for n in array.shape)
    return head + b"".join(struct.pack(">" + letter, value) for value in array.ravel().tolist())


ARRAYS = st.sampled_from(sorted(CODES)).flatmap(
    lambda kind: hnp.arrays(np.dtype(kind), hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(array=ARRAYS, compress=st.booleans())
def test_round_trip(tmp_path_factory, array, compress):
    path = tmp_path_factory.getbasetemp() / "some-idx"     # the content says whether it is compressed, not the name
    path.write_bytes(gzip.compress(idx_bytes(array)) if compress else idx_bytes(array))
    found = read_idx(path)
    assert found.dtype == array.dtype
    assert found.dtype.isnative
    assert found.flags.writeable
    np.testing.assert_array_equal(found, array, strict=True)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_file_cut_anywhere_or_too_long_is_refused(tmp_path, pack):
    whole = pack(idx_bytes(np.arange(12, dtype=np.int16).reshape(3, 4)))
    for content in [whole[:n] for n in range(len(whole))] + [whole + b"x"]:
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(InputError) as caught:
            read_idx(tmp_path / "x")
        assert str(tmp_path / "x") in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [
    b"", b"\x93NUMPY\1\0", b"PK\3\4" + bytes(50), b"hello, this is text", bytes(4), bytes([0, 0, 8, 0, 1]),
    bytes([0, 0, 10, 1, 0, 0, 0, 0]), bytes([0, 1, 8, 1, 0, 0, 0, 0]), bytes([0, 0, 8, 255]) + bytes(4 * 255),
    bytes([0, 0, 8, 4]) + b"\xff" * 16, b"\x1f\x8b" + b"no gzip", gzip.compress(b"hello, this is text", mtime=0),
    gzip.compress(gzip.compress(idx_bytes(np.zeros(3, np.uint8)), mtime=0), mtime=0),
])
def test_foreign_bytes_are_refused(content):
    with pytest.raises(InputError, match=r"^here "):
        parse_idx(content, "here")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=40).map(lambda b: b"\0\0" + b))
def test_any_bytes_are_an_array_or_refused(content):
    try:
        array = parse_idx(content, "here")
    except InputError:
        return
    np.testing.assert_array_equal(parse_idx(idx_bytes(array), "there"), array, strict=True)


def test_missing_files_and_folders_are_refused(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(InputError) as caught:
            read_idx(path)
        assert str(path) in str(caught.value)


RNG = np.random.default_rng(0)
SMALL = [RNG.integers(0, 256, (30, 4, 5), np.uint8), np.arange(30, dtype=np.uint8) % 3,
         RNG.integers(0, 256, (12, 4, 5), np.uint8), np.arange(12, dtype=np.uint8) % 3]
FILES = {part: idx_bytes(array) for part, array in zip(PARTS, SMALL, strict=True)}
PACKED = {f"/{part}.gz": gzip.compress(content, mtime=0) for part, content in FILES.items()}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty machine: no data anywhere, no proxy; and two small public data sets, the first with sums, the second
    without."""
    for name in ("NPKD_DATA", "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(idx, "SYSTEM", tmp_path / "share")
    shapes = tuple(a.shape for a in SMALL)
    sums = {part: hashlib.sha256(content).hexdigest() for part, content in FILES.items()}
    monkeypatch.setitem(SOURCES, "mnist", Source((), shapes, sums))
    monkeypatch.setitem(SOURCES, "fashion-mnist", Source((), shapes))
    return tmp_path


@pytest.fixture
def serve():
    """``serve(files)`` starts a server on loopback and gives its address and the list of what it was asked for.

    files: by path the body, or (status, announced length, body).
    """
    running = []

    def start(files):
        asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                answer = files.get(self.path, (404, 0, b""))
                status, length, body = answer if isinstance(answer, tuple) else (200, len(answer), answer)
                self.send_response(status)
                if length is not None:
                    self.send_header("Content-Length", length)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/", asked

    yield start
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join()


def fill(folder, files=FILES, pack=False):
    folder.mkdir(parents=True)
    for part, content in files.items():
        (folder / (part + ".gz" * pack)).write_bytes(gzip.compress(content, mtime=0) if pack else content)


def everything(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def equal(arrays):
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(arrays, SMALL, strict=True))


@pytest.mark.parametrize("pack", [False, True], ids=["plain", "gzip"])
def test_the_search_order(home, monkeypatch, pack):
    monkeypatch.setenv("NPKD_DATA", str(home / "own"))
    places = [home / "own" / "mnist", home / "cache" / "npkd" / "mnist", home / "share" / "mnist"]
    for place in reversed(places):                     # each one found goes before those after it
        fill(place, pack=pack)
        assert {p.parent for p in find("mnist", mirrors=()).values()} == {place}
        assert equal(read_set("mnist", mirrors=()))
    monkeypatch.setenv("NPKD_DATA", "")
    assert {p.parent for p in find("mnist", mirrors=()).values()} == {places[1]}
    (places[1] / (PARTS[2] + ".gz" * pack)).unlink()   # a set that is not whole is passed over
    assert {p.parent for p in find("mnist", mirrors=()).values()} == {places[2]}
    with pytest.raises(InputError):
        find("fashion-mnist", mirrors=())              # each data set has its own folders


def test_a_plain_file_goes_before_a_compressed_one(home):
    fill(home / "cache" / "npkd" / "mnist")
    (home / "cache" / "npkd" / "mnist" / (PARTS[0] + ".gz")).write_bytes(b"not looked at")
    assert equal(read_set("mnist", mirrors=()))


def test_the_cache_folder(home, monkeypatch):
    assert cache_folder("mnist") == home / "cache" / "npkd" / "mnist"
    for value in ("", "relative/paths/do/not/count"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_folder("mnist") == home / ".cache" / "npkd" / "mnist"


def test_what_is_missing_is_said(home, monkeypatch):
    monkeypatch.setenv("NPKD_DATA", str(home / "own"))
    with pytest.raises(InputError) as caught:
        find("mnist", mirrors=())
    for words in ("mnist", PARTS[0], "NPKD_DATA", str(home / "cache" / "npkd" / "mnist")):
        assert words in str(caught.value)
    assert everything(home) == []
    with pytest.raises(InputError, match="mnist, fashion-mnist"):
        find("emnist")


@pytest.mark.parametrize("part", PARTS)
def test_a_local_file_with_another_sum_is_corrupt(home, monkeypatch, part):
    monkeypatch.setenv("NPKD_DATA", str(home / "own"))
    changed = bytearray(FILES[part])
    changed[-1] ^= 1
    fill(home / "own" / "mnist", {**FILES, part: bytes(changed)})
    fill(home / "own" / "fashion-mnist", {**FILES, part: bytes(changed)})
    with pytest.raises(InputError, match="corrupt") as caught:
        read_set("mnist", mirrors=())
    assert str(home / "own" / "mnist" / part) in str(caught.value)
    assert not equal(read_set("fashion-mnist", mirrors=()))            # no sums are known of it


def test_a_set_without_sums_is_checked_by_its_shapes(home, monkeypatch):
    monkeypatch.setenv("NPKD_DATA", str(home / "own"))
    fill(home / "own" / "fashion-mnist")
    assert equal(read_set("fashion-mnist", mirrors=()))
    for wrong in (SMALL[3][:-1], SMALL[3].astype(np.int32)):
        (home / "own" / "fashion-mnist" / PARTS[3]).write_bytes(idx_bytes(wrong))
        with pytest.raises(InputError, match="must be") as caught:
            read_set("fashion-mnist", mirrors=())
        assert PARTS[3] in str(caught.value)


def test_the_shapes_and_sums_of_the_public_sets_are_complete():
    for source in SOURCES.values():
        assert source.shapes == ((60000, 28, 28), (60000,), (10000, 28, 28), (10000,))
        assert source.mirrors
        assert not source.sums or set(source.sums) == set(PARTS)


def test_a_folder_of_any_shape(tmp_path):
    fill(tmp_path / "mine", pack=True)
    assert equal(read_folder(tmp_path / "mine"))
    (tmp_path / "mine" / f"{PARTS[1]}.gz").unlink()
    with pytest.raises(InputError, match=PARTS[1]):
        read_folder(tmp_path / "mine")


KAGGLE = {f"{part.replace('-idx', '.idx')}/{part.replace('-idx', '.idx')}": content for part, content in FILES.items()}


@pytest.mark.parametrize("files", [
    {part.replace("-idx", ".idx"): content for part, content in FILES.items()}, KAGGLE,
    {f"MNIST/raw/{part}.gz": gzip.compress(content, mtime=0) for part, content in FILES.items()},
], ids=["a dot for a dash", "a folder each", "two folders deep"])
def test_names_and_folders_as_others_have_them(tmp_path, files):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert equal(read_folder(tmp_path))
    name = next(iter(files))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / PARTS[0]).write_bytes(FILES[PARTS[0]])
    if "/" in name and name.count("/") == 1:                # two folders as deep as one another: which is meant?
        with pytest.raises(InputError, match="name the folder of one data set"):
            read_folder(tmp_path)


def test_debian_s_folder_of_fashion_mnist():
    """As the list of files of the package dataset-fashion-mnist (bookworm) has it."""
    assert Path("/usr/share/datasets") == idx.SYSTEM


def peak(call):
    tracemalloc.start()
    try:
        call()
    finally:
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return found


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_memory_is_what_the_header_declares(tmp_path, pack):
    array = np.zeros((50, 400, 400), np.uint8)              # 8 MB
    head = struct.pack(">BBBBIII", 0, 0, 8, 3, *array.shape)
    (tmp_path / "good").write_bytes(pack(head + array.tobytes()))
    assert array.nbytes < peak(lambda: read_idx(tmp_path / "good")) < 2 * array.nbytes
    (tmp_path / "bomb").write_bytes(pack(idx_bytes(np.zeros(3, np.uint8)) + array.tobytes()))
    assert peak(lambda: refused(tmp_path / "bomb")) < 2e6
    (tmp_path / "short").write_bytes(pack(struct.pack(">BBBBII", 0, 0, 8, 2, 3, 10 ** 9) + bytes(1000)))
    assert peak(lambda: refused(tmp_path / "short")) < 2e6


def refused(path):
    with pytest.raises(InputError):
        read_idx(path)


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not an ordinary file"):
        read_idx(tmp_path / "pipe")


class Noting:
    """A progress that keeps its stages with their steps and how many were done."""

    def __init__(self):
        self.told = []

    def begin(self, stage, steps):
        self.told.append([stage, steps, 0])

    def step(self, note, record=None):
        self.told[-1][2] += 1


def test_a_download_is_a_stage_for_each_file(home, serve, monkeypatch):
    """But for those that come in one piece."""
    address, _ = serve(PACKED)
    sizes = sorted(len(body) for body in PACKED.values())
    monkeypatch.setattr(idx, "PIECE", sizes[1])
    progress = Noting()
    assert equal(read_set("mnist", mirrors=[address], progress=progress))
    assert progress.told == 2 * [["download", 100, 100], ["reading the data", 1, 0]]


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_a_good_download(home, serve, name):
    address, asked = serve(PACKED)
    assert equal(read_set(name, mirrors=[address]))
    assert asked == list(PACKED)
    folder = home / "cache" / "npkd" / name
    assert {f"/{p.name}": p.read_bytes() for p in folder.iterdir()} == PACKED
    assert equal(read_set(name, mirrors=()))           # and from now on it is there
    (folder / f"{PARTS[3]}.gz").unlink()
    read_set(name, mirrors=[address])                  # only what is missing is fetched again
    assert asked[4:] == [f"/{PARTS[3]}.gz"]


def test_the_public_mirrors_are_asked_when_no_others_are_given(home, serve, monkeypatch):
    address, asked = serve(PACKED)
    monkeypatch.setitem(SOURCES, "fashion-mnist", Source((address,), SOURCES["fashion-mnist"].shapes))
    assert equal(read_set("fashion-mnist"))
    assert len(asked) == 4


def test_a_body_of_unknown_length(home, serve):
    address, _ = serve({path: (200, None, body) for path, body in PACKED.items()})
    progress = Noting()
    assert equal(read_set("mnist", mirrors=[address], progress=progress))
    assert progress.told == []


FIRST = f"/{PARTS[0]}.gz"
BODY = PACKED[FIRST]
BROKEN = {
    "not found": ((404, 0, b""), "404"),
    "server error": ((500, 3, b"sad"), "500"),
    "breaks off": ((200, len(BODY), BODY[:100]), f"100 of {len(BODY)}"),
    "breaks off, length unknown": ((200, None, BODY[:100]), "truncated"),
    "an error page": (b"<html>go away</html>", "begins with 3c68746d"),
    "another file": (PACKED[f"/{PARTS[2]}.gz"], "sha256"),
    "nothing": (b"", "begins with nothing"),
    "length no number": ((200, "many", BODY), "many"),
}


@pytest.mark.parametrize(("answer", "words"), BROKEN.values(), ids=BROKEN)
def test_a_broken_download_leaves_nothing_and_the_next_mirror_is_asked(home, serve, answer, words):
    bad, asked = serve({**PACKED, FIRST: answer})
    with pytest.raises(InputError) as caught:
        read_set("mnist", mirrors=[bad])
    for part in (words, bad, PARTS[0], "NPKD_DATA", str(home / "cache" / "npkd" / "mnist")):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert asked == [FIRST]
    assert everything(home) == []
    good, asked_good = serve(PACKED)
    assert equal(read_set("mnist", mirrors=[bad, good.rstrip("/")]))
    assert asked_good == [FIRST]
    assert len(list((home / "cache" / "npkd" / "mnist").iterdir())) == 4


def test_the_connection_to_a_mirror_that_refuses_is_closed(home, serve, monkeypatch):
    closed, close = [], urllib.error.HTTPError.close
    monkeypatch.setattr(urllib.error.HTTPError, "close", lambda error: (closed.append(error.code), close(error)))
    address, _ = serve({})
    with pytest.raises(InputError):
        read_set("mnist", mirrors=[address, address])
    assert closed == [404, 404]


def test_what_came_whole_before_a_failure_is_kept_whole(home, serve):
    last = f"/{PARTS[3]}.gz"
    bad, _ = serve({**PACKED, last: PACKED[last][:-5]})
    with pytest.raises(InputError):
        read_set("mnist", mirrors=[bad])
    left = {f"/{p.name}": p.read_bytes() for p in (home / "cache" / "npkd" / "mnist").iterdir()}
    assert left == {path: body for path, body in PACKED.items() if path != last}
    good, asked = serve(PACKED)
    assert equal(read_set("mnist", mirrors=[good]))
    assert asked == [last]


@pytest.mark.parametrize("mirror", ["no-url", "gopher://localhost/", "http://127.0.0.1:1/", "http://127.0.0.1:none/"])
def test_mirrors_that_do_not_answer(home, mirror):
    with pytest.raises(InputError) as caught:
        read_set("mnist", mirrors=[mirror])
    assert mirror in str(caught.value)
    assert everything(home) == []


def test_a_mirror_that_says_nothing_is_given_up(home, monkeypatch):
    monkeypatch.setattr(idx, "WAIT", 0.05)
    silent = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)     # listens, never answers
    with silent, pytest.raises(InputError, match="timed out"):
        read_set("mnist", mirrors=[f"http://127.0.0.1:{silent.server_port}/"])
    assert everything(home) == []


def test_an_interrupted_download_leaves_nothing(home, serve, monkeypatch):
    address, _ = serve(PACKED)

    class Interrupt(Noting):
        def step(self, note, record=None):
            raise KeyboardInterrupt

    monkeypatch.setattr(idx, "PIECE", 100)
    with pytest.raises(KeyboardInterrupt):
        read_set("mnist", mirrors=[address], progress=Interrupt())
    assert everything(home) == []


def test_a_cache_that_cannot_be_written(home, serve):
    address, _ = serve(PACKED)
    (home / "cache").write_bytes(b"a file, not a folder")
    with pytest.raises(InputError) as caught:
        read_set("mnist", mirrors=[address])
    assert str(home / "cache") in str(caught.value)
    assert everything(home) == [str(Path("cache"))]
