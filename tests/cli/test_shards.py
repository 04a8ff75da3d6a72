"""A folder of shards as the data of a run, with and without a scheduler."""

import importlib.util
import json

import numpy as np
import pytest

from npkd.cli import run
from npkd.cli.prepare import prepare
from npkd.cli.settings import Settings
from npkd.cli.shards import connected, loaded, of_shards
from npkd.core.progress import NoProgress
from npkd.core.validation import InputError
from npkd.interop.adapt import rescaled
from npkd.interop.entry import Entry
from npkd.nn.scaling import Scaling
from npkd.sparsity import collect

RNG = np.random.default_rng(0)


def folder_of(tmp_path, labelled=True, numbers=False):
    """Three shards of 4 × 2 values, one feature far from the others."""
    (tmp_path / "shards").mkdir()
    for k, n in enumerate((200, 150, 250)):
        x = RNG.standard_normal((n, 8)) + np.array([100.0] + 7 * [0.0])
        y = x[:, 1:3].sum(axis=1) if numbers else (x[:, 1] + x[:, 2] > 0).astype(int)
        np.savez(tmp_path / "shards" / f"{k}.npz", **{"x": x} | ({"y": y} if labelled else {}))
    return str(tmp_path / "shards")


@pytest.mark.parametrize("numbers", [False, True])
def test_parts_are_disjoint_and_the_stream_has_all_that_is_learnt_from(tmp_path, numbers):
    """Every example is in the stream, or in the validation or the test part, scaled alike; the training part is of the
    stream."""
    data = loaded(Settings(data=folder_of(tmp_path, numbers=numbers)), 0)
    streamed = np.concatenate(list(data.stream()))
    parts = [set(map(tuple, x)) for x in (streamed, data.x_validation, data.x_test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 600
    assert set(map(tuple, data.x_train)) <= parts[0]
    assert len(streamed) == data.stream.examples
    assert len(parts[1]) == pytest.approx(60, abs=25)
    assert abs(len(parts[1]) - len(parts[2])) <= 1
    assert (data.targets is not None) == numbers
    assert len(data.y_validation) == len(data.x_validation)


def test_the_stream_goes_through_all_that_the_parts_go_through(tmp_path):
    data = of_shards(Settings(data=folder_of(tmp_path)), 0)
    new = Scaling(np.full(8, 3, np.float32), np.full(8, 0.5, np.float32))
    for changed in (rescaled(data, new), Entry.of((2, 2, 2)).of_data(data)):
        streamed = set(map(tuple, np.concatenate(list(changed.stream()))))
        assert {tuple(row) for row in changed.x_train} <= streamed


def test_a_run_takes_statistics_of_the_stream(tmp_path, monkeypatch):
    counts, real = [], collect.collected

    def counted(*arguments):
        found = real(*arguments)
        counts.append(found[0].count)
        return found

    monkeypatch.setattr(collect, "collected", counted)
    settings = Settings(data=folder_of(tmp_path), out=str(tmp_path / "out"), hidden=(6, 5), epochs=1)
    stream = prepare(settings, NoProgress()).data.stream
    run.run(settings, NoProgress())
    assert set(counts) == {stream.examples}
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["student"]["macs"] <= 10


def test_what_is_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"data: the shards of .* have no labels y"):
        loaded(Settings(data=folder_of(tmp_path, labelled=False)), 0)
    with pytest.raises(InputError, match="got --scheduler, and data is 'digits'"):
        loaded(Settings(scheduler="tcp://127.0.0.1:1"), 0)
    if importlib.util.find_spec("distributed"):
        with pytest.raises(InputError, match="--scheduler: 'nowhere://x' does not answer"):
            connected("nowhere://x")
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(InputError, match=r"needs distributed, .*pip install 'npkd\[dask\]'"):
        connected("tcp://127.0.0.1:1")
