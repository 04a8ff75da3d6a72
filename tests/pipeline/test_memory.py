"""The estimate of the memory that a compression needs, against what it takes; and the warning where there is less."""

import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest

import npkd
from npkd.cli.main import main
from npkd.core import validation
from npkd.nn.architectures import lenet5
from npkd.nn.network import perceptron
from npkd.pipeline.examples import memory_needed
from tests.tiny import undrawn, words

GB = 10 ** 9


@pytest.mark.parametrize(("examples", "widths"), [(12_000, (300, 40, 5)), (1000, (900, 60, 5)), (1000, (20, 800, 5))],
                         ids=["many examples", "many features", "a wide layer"])
def test_the_estimate_is_within_a_factor_of_two_of_the_peak(examples, widths):
    rng = np.random.default_rng(0)
    x, network = rng.standard_normal((examples, widths[0]), dtype=np.float32), perceptron(widths, rng)
    tracemalloc.start()
    try:
        npkd.compress(network, x, "macs=50%", recipe=npkd.Recipe(epochs=1, rounds=1))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak / 2 <= memory_needed(network, examples, x) <= 2 * peak


def test_the_estimate_counts_the_maps_of_a_convolution():
    """LeNet-5, whose maps are most of it."""
    rng = np.random.default_rng(0)
    x, network = rng.random((600, 28, 28, 1), dtype=np.float32), lenet5(rng)
    tracemalloc.start()
    try:
        npkd.compress(network, x, "macs=50%", recipe=npkd.Recipe(epochs=0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak / 2 <= memory_needed(network, 600, x.reshape(600, -1)) <= 2 * peak


def available(monkeypatch, gigabytes):
    """/proc/meminfo of a machine with so much memory left; None: of one without such a file."""
    read = Path.read_text

    def text(path, **options):
        if path != Path("/proc/meminfo"):
            return read(path, **options)
        if gigabytes is None:
            raise FileNotFoundError(path)
        return f"MemTotal: 99 kB\nMemAvailable:   {gigabytes * GB // 1024} kB\nBuffers: 1 kB\n"

    monkeypatch.setattr(validation.Path, "read_text", text)


def test_a_warning_says_what_is_needed_what_there_is_and_what_to_do(monkeypatch):
    available(monkeypatch, 8)
    with pytest.warns(UserWarning, match=r"^about 12\.0 GB of memory are needed, 8\.0 GB are available; t"):
        validation.require_memory(12 * GB)
    validation.require_memory(7 * GB)              # a warning is an error here
    available(monkeypatch, None)
    validation.require_memory(12 * GB)


@pytest.mark.parametrize("form", [lambda x: x, lambda x: lambda: iter([x[:50], x[50:]])], ids=["array", "stream"])
def test_compress_warns_and_goes_on(monkeypatch, form):
    rng = np.random.default_rng(0)
    x, network = rng.standard_normal((200, 6)).astype(np.float32), perceptron([6, 8, 3], rng)
    available(monkeypatch, 0)
    with pytest.warns(UserWarning, match="of memory are needed, 0.0 GB are available"):
        assert npkd.compress(network, form(x), "macs=50%", recipe=npkd.Recipe(epochs=1, rounds=1)).student


def test_the_command_line_says_it_in_a_sentence(tmp_path, monkeypatch, capsys):
    available(monkeypatch, 0)
    undrawn(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(words(tmp_path)) == 0
    err = capsys.readouterr().err
    assert err.startswith("npkd: about ")
    assert err.count("\n") == 1
