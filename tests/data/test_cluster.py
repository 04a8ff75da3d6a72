"""Shards read by the workers of dask.distributed: the same survey, sample and statistics, also where workers die."""

import os
import signal

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster

import npkd
from npkd.core.validation import InputError
from npkd.data import shards as shards_module
from npkd.data.batches import passes_over
from npkd.data.cluster import results, summed
from npkd.data.sampling import samples, survey
from npkd.data.shards import Shards
from npkd.data.stream import Stream
from npkd.nn.architectures import conv_layer
from npkd.nn.network import Layer, Network, dense_layer, perceptron
from npkd.sparsity.collect import collect_statistics
from reference.benchmarks import kills

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def cluster():
    """A client of a scheduler, and its two worker processes."""
    with kills.cluster() as both:
        yield both


@pytest.fixture(scope="module")
def client(cluster):
    return cluster[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Shards with labels, one of them empty, one of a single example."""
    folder = tmp_path_factory.mktemp("shards")
    for k, n in enumerate((30, 0, 1, 45, 17, 8, 60)):
        np.savez(folder / f"{k}.npz", x=RNG.standard_normal((n, 6)).astype(np.float32), y=np.arange(n) % 3)
    return folder


def passes_of(folder, client, labels=None):
    return passes_over(Shards(folder, client=client), labels, 3, None, None)


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in one.__dataclass_fields__)


@pytest.mark.parametrize("fraction", [0.3, 1e-6])
@pytest.mark.parametrize("seed", [0, 1])
def test_survey_and_sample_are_those_of_one_process(client, folder, fraction, seed):
    """To the bit, though each part is read by itself: whom a place belongs to goes by how many stand before it."""
    ours, theirs = (survey(passes_of(folder, c), fraction, seed) for c in (None, client))
    assert (ours.sums, ours.below, ours.labelled) == (theirs.sums, theirs.below, theirs.labelled)
    assert np.array_equal(ours.key, theirs.key)
    assert ours.level == pytest.approx(theirs.level, rel=1e-12)
    for size in (1000, 20, 1):
        one, other = (samples(passes_of(folder, c), found, size, 5, seed)
                      for c, found in ((None, ours), (client, theirs)))
        assert same(one, other)
    assert [s.examples for s in (Stream(passes_of(folder, client), theirs, 1.0, 9),)] == [one.learnt_from]


@pytest.mark.parametrize("network", [
    lambda rng: perceptron([6, 9, 4, 3], rng, dtype=np.float64),
    lambda rng: Network([Layer("unflatten", options={"shape": [8, 8, 1]}), conv_layer(1, 4, 3, rng, np.float64),
                         Layer("relu"), conv_layer(4, 5, 3, rng, np.float64), Layer("flatten"),
                         dense_layer(80, 3, rng, np.float64)])],
    ids=["dense", "maps"])
def test_statistics_are_those_of_one_process(client, tmp_path, network):
    """Also of maps, of which positions are drawn: a part begins where the numbers of the parts before it end."""
    network, wide = network(np.random.default_rng(1)), 6
    if network.layers[0].op == "unflatten":
        wide = 64
    for k, n in enumerate((20, 1, 31, 8)):
        np.savez(tmp_path / f"{k}.npz", x=RNG.standard_normal((n, wide)))
    found = []
    for c in (None, client):
        passes = passes_of(tmp_path, c)
        stream = Stream(passes, survey(passes, 0.2, 0), 0.5, 7, (kills.to_double,))
        found.append(collect_statistics(network, network, stream, network.weight_layers, 3))
        assert sum(map(len, stream())) == found[-1][0].count / (3 if wide == 64 else 1) == stream.examples
    assert kills.differences(*found)[1] < 1e-10


def test_a_pass_whose_workers_are_killed_gives_the_same_bits(cluster, tmp_path):
    kills.write(tmp_path)
    found = kills.disturbed(*cluster, tmp_path, 1)
    for run in found[:1]:
        assert run["in_time"]
        assert run["same"]
        assert run["count"] == found[-1]["count"]
    assert found[-1]["apart"] < 1e-10


def test_the_sum_goes_neither_by_workers_nor_by_who_is_first(client):
    """Addition of floats that is not associative: always in the same tree."""
    values = [(v,) for v in [1e16, 1.0, -1e16, 1.0] * 4 + [3.0]]
    expected = [v for v, in values]
    while len(expected) > 1:
        expected = [sum(expected[i:i + 2]) for i in range(0, len(expected), 2)]
    assert {summed(client, float, values, lambda a, b: a + b) for _ in range(3)} == set(expected)
    assert sum(v for v, in values) != expected[0]
    assert list(results(client, float, values)) == list(results(None, float, values)) == [v for v, in values]


def test_many_shards_are_few_parts(folder, client, monkeypatch):
    monkeypatch.setattr(shards_module, "PARTS", 3)
    assert Shards(folder, client=client).parts() == [[0, 2], [3, 4], [5, 6]]             # 1 is empty


def test_compress_gives_the_student_of_one_process(client, folder):
    """All of it; what is drawn and how many examples are learnt from are the same."""
    network, recipe = perceptron([6, 12, 8, 3], np.random.default_rng(1)), npkd.Recipe(epochs=1, sample=50, rounds=1)
    one, other = (npkd.compress(network, Shards(folder, client=c), "macs=40%", recipe=recipe) for c in (None, client))
    assert str(one) == str(other)
    for a, b in zip(one.student.layers, other.student.layers, strict=True):
        for p, q in zip(a.params, b.params, strict=True):
            np.testing.assert_allclose(p, q, rtol=1e-3, atol=1e-4)


def fails(k):
    raise InputError(f"shards: part {k} is damaged")


def dies(k):
    os.kill(os.getpid(), signal.SIGKILL)


def misses(k):
    raise ModuleNotFoundError("No module named 'mine'")


def test_what_goes_wrong_is_one_sentence(client, folder, tmp_path):
    with pytest.raises(InputError, match="shards: part 3 is damaged"):
        list(results(client, fails, [(3,)]))
    with pytest.raises(InputError, match=r"cluster: No module named 'mine'; .*every worker needs npkd"):
        summed(client, misses, [(1,)], max)
    with pytest.raises(InputError, match="client is 'tcp"):
        Shards(folder, client="tcp://127.0.0.1:8786")
    np.savez(tmp_path / "0.npz", x=np.array([[1.0, 2.0], [3.0, np.nan]]))
    with pytest.raises(InputError, match="compress: x holds nan in example 1"):
        survey(passes_of(tmp_path, client), 0.1, 0)


def test_work_that_kills_every_worker_is_given_up():
    with (dask.config.set({"distributed.scheduler.allowed-failures": 0}), pytest.raises(InputError) as error,
          LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as cluster,
          Client(cluster) as client):
        list(results(client, dies, [(1,)]))
    assert "cluster: all workers that got the same shards died, 1 in all" in str(error.value)


def test_a_later_pass_over_other_examples_is_refused(client, tmp_path):
    for k in range(3):
        np.savez(tmp_path / f"{k}.npz", x=RNG.standard_normal((20, 6)))
    passes = passes_of(tmp_path, client)
    stream = Stream(passes, survey(passes, 0.1, 0), 1.0, 9)
    np.savez(tmp_path / "1.npz", x=RNG.standard_normal((20, 6)))
    network = perceptron([6, 4, 3], np.random.default_rng(0))
    with pytest.raises(InputError, match="as many, but others, in a later one"):
        collect_statistics(network, network, stream, network.weight_layers)
