"""Statistics of a stream: any split and any order of merging give the same numbers, also through files and other
processes."""

import subprocess
import sys
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npkd.core.files import VERSION, write_npz
from npkd.core.validation import InputError
from npkd.nn.network import perceptron
from npkd.sparsity import statistics_files
from npkd.sparsity.collect import collect_statistics
from npkd.sparsity.group_lasso import Problem
from npkd.sparsity.statistics import Statistics, merge
from reference.definitions.sparsity import statistics as definitions
from tests.sparsity.test_statistics import close, data

QUICK = settings(deadline=None, max_examples=60)
ROOT = Path(__file__).resolve().parents[2]


def definition(h, z):
    return Statistics(len(h), definitions.means(h), definitions.means(z), *definitions.statistics(h, z))


def tree(parts, order):
    """The parts added two at a time, in an order at random, until one is left."""
    parts = list(parts)
    while len(parts) > 1:
        one = parts.pop(order.randrange(len(parts)))
        parts.append(one + parts.pop(order.randrange(len(parts))))
    return parts[0]


def same_bits(one, other):
    return all(np.array_equal(a, b) for a, b in zip(astuple(one), astuple(other), strict=True))


@QUICK
@given(seed=st.integers(0, 10 ** 6), mean=st.sampled_from([0.0, 1.0, 30.0]), single=st.booleans(),
       cuts=st.lists(st.integers(1, 39), max_size=8), order=st.randoms(use_true_random=False))
def test_any_split_and_any_order_of_merging(seed, mean, single, cuts, order):
    h, z = data(np.random.default_rng(seed), 40, 4, 3, mean)
    if single:
        h, z = h.astype(np.float32), z.astype(np.float32)
    ends = sorted({0, 40, *cuts})
    parts = [Statistics.of(h[a:b], z[a:b]) for a, b in zip(ends[:-1], ends[1:], strict=True)]
    order.shuffle(parts)
    whole = definition(h.astype(np.float64), z.astype(np.float64))
    close(merge(parts), whole)
    close(tree(parts, order), whole)


@QUICK
@given(seed=st.integers(0, 10 ** 6), copies=st.integers(2, 10))
def test_copies_change_nothing_but_the_count(seed, copies):
    h, z = data(np.random.default_rng(seed), 20, 4, 3)
    one = Statistics.of(h, z)
    many = merge([one] * copies)
    assert many.count == 20 * copies
    for a, b in zip(one.normalised(), many.normalised(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12 * np.abs(b).max())
    assert Problem(many).lambda_max == pytest.approx(Problem(one).lambda_max, rel=1e-12)


def test_the_comparison_can_fail():
    """A merge without the means' own part, as is easily written, is far off; so is one example too few."""
    h, z = data(np.random.default_rng(0), 40, 4, 3)
    parts = [Statistics.of(h[:13], z[:13]), Statistics.of(h[13:], z[13:])]
    good = merge(parts)
    naive = Statistics(good.count, good.mean_h, good.mean_z, parts[0].A + parts[1].A, good.C, good.t)
    for wrong in (naive, Statistics.of(h[:39], z[:39])):
        with pytest.raises(AssertionError):
            close(wrong, definition(h, z))


@QUICK
@given(rows=st.integers(1, 50), cuts=st.lists(st.integers(1, 49), max_size=5))
def test_a_pass_over_batches_of_any_sizes(rows, cuts):
    """``collect_statistics`` holds one batch and the sums: it gives what the plain network gives at once."""
    rng = np.random.default_rng(rows)
    network = perceptron([4, 6, 3], rng, dtype=np.float64)
    x = rng.standard_normal((50, 4))
    ends = sorted({0, 50, *cuts})
    held = collect_statistics(network, network, lambda: (x[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)),
                              [0, 2])
    a = network(x)[0]
    close(held[0], definition(a[0], a[1]))
    close(held[1], definition(a[2], a[3]))


# ---- files
# ----------------------------------------------------------------------------------------------------------------------
# -
# -
# -
# -
# -
# -
# -
# -


def two_layers(rng, n):
    return [Statistics.of(*data(rng, n, 4, 3)), Statistics.of(*data(rng, n, 2, 5))]


def test_saved_and_read_bit_for_bit(tmp_path):
    kept = two_layers(np.random.default_rng(0), 9)
    statistics_files.save(tmp_path / "a.npz", kept)
    statistics_files.save(tmp_path / "b.npz", kept)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    again = statistics_files.load(tmp_path / "a.npz")
    assert len(again) == 2
    assert all(same_bits(one, other) for one, other in zip(kept, again, strict=True))


@pytest.mark.parametrize("change", [{"C": 1e6}, {"t": -1.0}, {"A": -1.0}, {"C": 1.5}])
def test_files_with_impossible_numbers_are_refused(tmp_path, change):
    """Written like any other, with a valid checksum: but no data have such moments."""
    kept = two_layers(np.random.default_rng(0), 9)
    (name, factor), = change.items()
    bad = replace(kept[1], **{name: factor * getattr(kept[1], name)})
    if factor == 1.5:                           # possible entry by entry: weights that explain more than there is
        bad = Statistics.of(*data(np.random.default_rng(1), 40, 4, 3))
        explained = np.einsum("ji,ji->i", bad.C, np.linalg.solve(bad.A, bad.C))
        bad = replace(bad, t=0.9 * explained)
    statistics_files.save(tmp_path / "bad.npz", [kept[0], bad])
    with pytest.raises(InputError, match="no data have the numbers of layer 1"):
        statistics_files.load(tmp_path / "bad.npz")


@QUICK
@given(order=st.permutations([0, 1, 2]))
def test_merged_across_files_in_any_order(tmp_path_factory, order):
    folder = tmp_path_factory.mktemp("parts")
    h, z = data(np.random.default_rng(1), 30, 4, 3)
    for k, part in enumerate((slice(0, 4), slice(4, 21), slice(21, 30))):
        statistics_files.save(folder / f"{k}.npz", [Statistics.of(h[part], z[part])])
    merged, = statistics_files.merge_files([folder / f"{k}.npz" for k in order])
    close(merged, definition(h, z))


def test_merged_across_processes(tmp_path):
    """Two processes see half of the examples each, this one all of them."""
    rng = np.random.default_rng(2)
    network = perceptron([5, 7, 3], rng, dtype=np.float64)
    x = rng.standard_normal((60, 5))
    np.savez(tmp_path / "network.npz", *[p for i in (0, 2) for p in network.layers[i].params])
    program = """
import sys, numpy as np
from npkd.nn.network import Layer, Network
from npkd.sparsity import statistics_files
from npkd.sparsity.collect import collect_statistics
stored, x, out = np.load(sys.argv[1]), np.load(sys.argv[2]), sys.argv[3]
w, b, v, c = (stored[name] for name in stored.files)
network = Network([Layer("dense", (w, b)), Layer("relu"), Layer("dense", (v, c))])
statistics_files.save(out, collect_statistics(network, network, lambda: iter([x[:7], x[7:]]), [0, 2]))
"""
    for k, part in enumerate((x[:20], x[20:])):
        np.save(tmp_path / f"x{k}.npy", part)
        subprocess.run([sys.executable, "-c", program, str(tmp_path / "network.npz"), str(tmp_path / f"x{k}.npy"),
                        str(tmp_path / f"s{k}.npz")],
                       check=True, cwd=ROOT)
    merged = statistics_files.merge_files([tmp_path / "s0.npz", tmp_path / "s1.npz"])
    for one, other in zip(merged, collect_statistics(network, network, lambda: iter([x]), [0, 2]), strict=True):
        close(one, other)


def written(path, changed=None, **header):
    """A file as ``save`` writes it, but for what is changed."""
    s = Statistics.of(*data(np.random.default_rng(3), 6, 2, 2))
    arrays = {f"0.{name}": getattr(s, name) for name in statistics_files.ARRAYS} | (changed or {})
    write_npz(path, {"format": "npkd-statistics", "version": VERSION, "counts": [6], **header}, arrays)
    return path


@pytest.mark.parametrize(("changed", "header"), [
    ({"0.A": np.ones((2, 3))}, {}), ({"0.t": np.ones((2, 1))}, {}), ({"0.A": np.full((2, 2), np.nan)}, {}),
    ({"0.C": np.ones((2, 2), np.float32)}, {}), ({"0.mean_h": np.array(1.0)}, {}),
    ({}, {"counts": [0]}), ({}, {"counts": [2.5]}), ({}, {"counts": [6, 6]}), ({}, {"counts": 6}),
    ({}, {"counts": None}),
])
def test_what_is_no_statistics_is_refused(tmp_path, changed, header):
    with pytest.raises(InputError, match="does not hold statistics"):
        statistics_files.load(written(tmp_path / "a.npz", changed, **header))


def test_other_files_are_refused(tmp_path):
    np.savez(tmp_path / "plain.npz", A=np.eye(2))
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(InputError, match="no npkd header"):
        statistics_files.load(tmp_path / "plain.npz")
    with pytest.raises(InputError, match="it is text"):
        statistics_files.load(tmp_path / "text.npz")
    with pytest.raises(InputError, match="format 'npkd-network'"):
        statistics_files.load(written(tmp_path / "a.npz", format="npkd-network"))
    assert len(statistics_files.load(written(tmp_path / "good.npz"))) == 1


def test_files_that_do_not_fit_are_refused(tmp_path):
    rng = np.random.default_rng(4)
    statistics_files.save(tmp_path / "two.npz", two_layers(rng, 5))
    statistics_files.save(tmp_path / "one.npz", two_layers(rng, 5)[:1])
    statistics_files.save(tmp_path / "wide.npz", [Statistics.of(*data(rng, 5, 7, 3))])
    with pytest.raises(InputError, match=r"\[2, 1\] layers"):
        statistics_files.merge_files([tmp_path / "two.npz", tmp_path / "one.npz"])
    with pytest.raises(InputError, match=r"\[\] layers"):
        statistics_files.merge_files([])
    with pytest.raises(InputError, match=r"\(4, 3\) and \(7, 3\)"):
        statistics_files.merge_files([tmp_path / "one.npz", tmp_path / "wide.npz"])
