"""Folders of .npz shards: read in slices, equal to what NumPy reads, and refused in one sentence where they are
none."""

import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npkd.core.validation import InputError
from npkd.data.shards import Shards

RNG = np.random.default_rng(0)


def write(path, x, y=None, save=np.savez):
    save(path, **({"x": x} if y is None else {"x": x, "y": y}))
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["plain", "compressed"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", ">f4", "<f4", "f8", "f2"])
@pytest.mark.parametrize("shape", [(23, 4), (23, 3, 2)], ids=["rows", "pictures"])
@pytest.mark.parametrize("rows", [1, 7, 23, 100])
def test_equal_to_what_numpy_reads(tmp_path, save, dtype, shape, rows):
    x, y = (100 * RNG.random(shape)).astype(dtype), RNG.integers(0, 5, 23)
    write(tmp_path / "b.npz", x[:10], y[:10], save)
    write(tmp_path / "a.npz", x[10:], y[10:], save)
    shards = Shards(tmp_path)
    assert (shards.examples, shards.shape, shards.labelled) == (23, shape[1:], True)
    assert [f.name for f in shards.files] == ["a.npz", "b.npz"]
    for _ in range(2):
        parts = list(shards.batches(rows))
        assert max(len(p) for p, _ in parts) <= rows
        assert all(p.dtype == x.dtype for p, _ in parts)
        assert np.array_equal(np.concatenate([p for p, _ in parts]), np.concatenate([x[10:], x[:10]]))
        assert np.array_equal(np.concatenate([q for _, q in parts]), np.concatenate([y[10:], y[:10]]))


@settings(deadline=None, max_examples=40)
@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=5), rows=st.integers(1, 12))
def test_any_sizes_of_shards_and_slices(tmp_path_factory, sizes, rows):
    folder = tmp_path_factory.mktemp("shards")
    x = np.arange(2.0 * sum(sizes)).reshape(-1, 2)
    for k, (n, end) in enumerate(zip(sizes, np.cumsum(sizes), strict=True)):
        write(folder / f"{k}.npz", x[end - n:end])
    shards = Shards(folder)
    got = [p for p, y in shards.batches(rows) if y is None]
    assert shards.examples == len(x)
    assert np.array_equal(np.concatenate([np.zeros((0, 2)), *got]), x)


def test_an_array_that_is_stored_by_columns(tmp_path):
    x = np.asfortranarray(RNG.random((11, 3)))
    shards = Shards(write(tmp_path / "a.npz", x))        # one file is a set of one shard
    parts = [p for p, _ in shards.batches(4)]
    assert [len(p) for p in parts] == [4, 4, 3]
    assert np.array_equal(np.concatenate(parts), x)


def peak(folder, rows):
    tracemalloc.start()
    for _ in Shards(folder).batches(rows):
        pass
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["plain", "compressed"])
def test_a_slice_is_all_that_is_in_memory(tmp_path, save):
    x = RNG.random((20_000, 50))                              # 8 MB
    write(tmp_path / "a.npz", x, save=save)
    assert peak(tmp_path, 100) < 1e6
    assert peak(tmp_path, 20_000) > x.nbytes, "the measurement sees what is held"


@pytest.mark.parametrize(("content", "words"), [
    ({"z": np.ones((3, 2))}, "has no array x"),
    ({"x": np.ones(3)}, r"x has shape \(3,\)"),
    ({"x": np.array([[1, None]], object)}, "array x holds objects"),
    ({"x": np.ones((3, 2)), "y": np.array([None] * 3, object)}, "array y holds objects"),
    ({"x": np.ones((3, 2)), "y": np.ones(2, int)}, r"y has shape \(2,\) and x \(3, 2\)"),
    ({"x": np.ones((3, 4))}, r"\(4,\), of .* \(2,\)"),
    ({"x": np.ones((3, 2)), "y": np.ones(3, int)}, "has labels y and .* has none"),
])
def test_what_does_not_fit_is_refused_before_anything_is_read(tmp_path, content, words):
    write(tmp_path / "a.npz", np.ones((5, 2)))
    np.savez(tmp_path / "b.npz", **content)
    with pytest.raises(InputError, match=f"shards: .*{words}"):
        Shards(tmp_path)


def test_places_without_shards_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(InputError, match=r"has no \.npz file"):
        Shards(tmp_path)
    for name in ("missing.npz", "no/folder"):
        with pytest.raises(InputError, match="No such file"):
            Shards(tmp_path / name)
    for content, words in ((b"", "is empty"), (b"plain text", "is text"),
                           (b"PK\x03\x04 and no more", r"damaged, truncated or no \.npz")):
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(InputError, match=words):
            Shards(tmp_path)


def damaged(path, how):
    """A shard whose headers are good and whose numbers are not what was stored."""
    x = RNG.random((500, 20))
    write(path, x, save=np.savez_compressed if how == "compressed byte" else np.savez)
    data = bytearray(path.read_bytes())
    if how in ("byte", "compressed byte"):
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        with zipfile.ZipFile(path) as archive:
            member = archive.read("x.npy")
        member = member[:-8] if how == "short" else member + b"more"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", member)


@pytest.mark.parametrize("how", ["byte", "compressed byte", "short", "long"])
def test_damage_is_seen_while_it_is_read(tmp_path, how):
    damaged(tmp_path / "a.npz", how)
    with pytest.raises(InputError, match="is damaged, truncated"):
        list(Shards(tmp_path).batches(64))
    if how in ("short", "long"):                              # the sizes tell before anything is read
        with pytest.raises(InputError, match=r"array x declares 80000 bytes and has 8\d{4}|79992"):
            Shards(tmp_path)


def test_a_shard_that_is_gone_is_named(tmp_path):
    shards = Shards(write(tmp_path / "a.npz", np.ones((5, 2))).parent)
    (tmp_path / "a.npz").unlink()
    with pytest.raises(InputError, match=r"a\.npz: No such file"):
        list(shards.batches(2))
