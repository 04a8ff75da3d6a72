"""The alignment of all layers of two networks. The loss: test_features.py."""

import numpy as np
import pytest

from npkd.core.validation import InputError
from npkd.distillation.cka import centred_kernel_alignment, cka_matrix
from npkd.nn.network import perceptron
from reference.definitions.distillation.cka import alignment

RNG = np.random.default_rng(0)
X = RNG.standard_normal((30, 8))
STUDENT, TEACHER = (perceptron(widths, RNG, dtype=np.float64) for widths in ([8, 5, 3], [8, 12, 7, 3]))


def layers(network, x):
    return network(x)[0][1:]


def cut(*ends):
    """Pairs of the layers' activations of X, cut into batches at ``ends``."""
    return [(layers(STUDENT, x), layers(TEACHER, x)) for x in np.split(X, ends)]


def test_each_entry_is_the_alignment_of_two_layers():
    found = cka_matrix(cut())
    assert found.shape == (3, 5)
    for i, a in enumerate(layers(STUDENT, X)):
        for j, b in enumerate(layers(TEACHER, X)):
            assert found[i, j] == pytest.approx(alignment(a, b), rel=1e-10)
            assert found[i, j] == pytest.approx(1 - centred_kernel_alignment(a, b)[0], rel=1e-10)


@pytest.mark.parametrize("ends", [(15,), (1, 2, 29), (7, 8, 20)])
def test_batches_add_up(ends):
    np.testing.assert_allclose(cka_matrix(iter(cut(*ends))), cka_matrix(cut()), rtol=1e-10)
    halves = [cka_matrix([batch]) for batch in cut(15)]
    assert np.abs(sum(halves) / 2 - cka_matrix(cut())).max() > 0.01, "the mean over batches is another number"


def test_a_network_beside_itself():
    same = cka_matrix([(layers(TEACHER, X), layers(TEACHER, X))])
    np.testing.assert_allclose(np.diag(same), 1, rtol=1e-12)
    np.testing.assert_allclose(same, same.T, rtol=1e-12)
    assert (same >= 0).all()
    assert (same <= 1 + 1e-12).all()


def test_maps_are_flattened_and_what_does_not_vary_is_aligned_with_nothing():
    maps, constant = RNG.standard_normal((6, 2, 3, 2)), np.ones((6, 4))
    found = cka_matrix([([maps, constant], [maps.reshape(6, 12), constant])])
    np.testing.assert_allclose(found, [[1, 0], [0, 0]], rtol=1e-12, atol=1e-15)


def test_single_precision_is_computed_in_double():
    single = [([a.astype(np.float32) for a in s], [a.astype(np.float32) for a in t]) for s, t in cut(10)]
    found = cka_matrix(single)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, cka_matrix(cut()), rtol=1e-5)


ROWS = np.ones((3, 2))


@pytest.mark.parametrize(("batches", "words"), [
    ([], "there must be a batch"),
    ([([ROWS], [])], "layers of both"),
    ([([], [ROWS])], "layers of both"),
    ([([ROWS], [np.ones((4, 2))])], "(4, 2)"),
    ([([ROWS], [np.ones(3)])], "(3,)"),
    ([([ROWS], [np.ones((3, 0))])], "(3, 0)"),
    ([([ROWS[:0]], [ROWS[:0]])], "N ≥ 1"),
    ([([ROWS], [np.ones((3, 2), int)])], "layer 1 is int64"),
    ([([ROWS], [ROWS[:, :1], ROWS]), ([ROWS], [ROWS, ROWS[:, :1]])], "the same ones"),
    ([([ROWS, ROWS], [ROWS]), ([ROWS], [ROWS, ROWS])], "the same ones"),
])
def test_what_has_no_alignment_is_refused(batches, words):
    with pytest.raises(InputError) as error:
        cka_matrix(batches)
    assert words in str(error.value)
    assert str(error.value).startswith("cka_matrix: ")


def test_batches_of_another_width_are_refused():
    with pytest.raises(InputError, match="must agree"):
        cka_matrix([([ROWS], [ROWS]), ([ROWS], [np.ones((3, 5))])])
