"""Statistics with A in a file, block by block: those of Statistics, in less memory than A takes."""

import json
import subprocess
import sys

import numpy as np
import pytest

from npkd.core.validation import InputError
from npkd.sparsity.blocks import BlockStatistics
from npkd.sparsity.statistics import Statistics, merge, refit

RNG = np.random.default_rng(0)


def parts(d, m, sizes, offset=0.0):
    return [(RNG.standard_normal((n, d)) @ RNG.standard_normal((d, d)) + offset, RNG.standard_normal((n, m)) - offset)
            for n in sizes]


@pytest.mark.parametrize(("d", "block"), [(7, 3), (6, 3), (5, 1), (4, 9)])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_equal_to_statistics_in_memory(tmp_path, d, block, offset):
    data = parts(d, 3, (11, 1, 30), offset)
    whole = merge([Statistics.of(h, z) for h, z in data])
    with BlockStatistics(tmp_path / "A", d, 3, block) as found:
        for h, z in data:
            found.add(h, z)
        got, kept = found.inputs(np.arange(d)), np.array([0, d - 2, d - 1])
        few, expected = found.inputs(kept), whole.inputs(kept)
        assert np.array_equal(found.diagonal, np.diag(got.A))
    for name in ("count", "mean_h", "mean_z", "A", "C", "t"):
        np.testing.assert_allclose(getattr(got, name), getattr(whole, name), rtol=1e-9, atol=1e-9 * max(1, offset),
                                   err_msg=name)
        assert np.array_equal(getattr(few, name), getattr(got.inputs(kept), name)), name
    assert got.flaw() == ""
    assert (tmp_path / "A").stat().st_size >= 4 * d * d
    if not offset:
        np.testing.assert_allclose(refit(few, np.arange(3))[0], refit(expected, np.arange(3))[0], rtol=1e-8)


def test_what_is_refused(tmp_path):
    (tmp_path / "A").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"blocks: .*exists"):
        BlockStatistics(tmp_path / "A", 3, 1)
    assert (tmp_path / "A").read_bytes() == b"mine"
    with BlockStatistics(tmp_path / "B", 3, 1) as found:
        with pytest.raises(InputError, match="no examples"):
            found.inputs(np.arange(3))
        for h, z in (((4, 2), (4, 1)), ((4, 3), (5, 1)), ((4, 3), (4, 2)), ((0, 3), (0, 1)), ((3,), (3,))):
            with pytest.raises(InputError, match="blocks: h has shape"):
                found.add(np.ones(h), np.ones(z))
        with pytest.raises(InputError, match="blocks"):
            found.add(np.full((2, 3), np.nan), np.ones((2, 1)))
        assert found.count == 0


def test_a_full_disk_is_said(tmp_path):
    class Full:
        def __init__(self, file):
            self.seek, self.read, self.close = file.seek, file.read, file.close

        def write(self, data):
            raise OSError(28, "No space left on device")

    with BlockStatistics(tmp_path / "A", 3, 1) as found:
        found.file = Full(found.file)
        with pytest.raises(InputError, match="No space left on device; make room"):
            found.add(np.ones((2, 3)), np.ones((2, 1)))


def test_memory_stays_below_one_matrix():
    """In a process of its own: d = 1,500, of which A takes 18 MB; block by block it takes less beside the batch."""
    out = subprocess.run([sys.executable, "-m", "reference.benchmarks.scale", "one-blocks", "1500", "150", "300", "4"],
                         check=True, capture_output=True, text=True).stdout
    found = json.loads(out)
    assert found["count"] == 1200
    assert found["peak"] - found["before"] < 8 * 1500 ** 2
