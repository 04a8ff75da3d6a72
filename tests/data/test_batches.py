"""Examples in whatever form: what is no example is named as what it is, and labels never go with other examples."""

import numpy as np
import pytest
import scipy.sparse

import npkd
from npkd.core.validation import InputError
from tests.data.test_sampling import Shuffled

RNG = np.random.default_rng(0)
TEACHER = [(RNG.standard_normal((24, 12)), np.zeros(24)), (RNG.standard_normal((3, 24)), np.zeros(3))]
REFIT = npkd.Recipe(epochs=0)
X = RNG.standard_normal((600, 12)).astype(np.float32)
Y = (np.maximum(X @ TEACHER[0][0].T, 0) @ TEACHER[1][0].T).argmax(axis=1)          # the teacher's own classes


class Pairs(Shuffled):
    """The same loader, with the labels of each example."""

    def __call__(self):
        order = self.rng.permutation(len(self.x))
        return ((self.x[order[i:i + 30]], Y[order[i:i + 30]]) for i in range(0, len(self.x), 30))


@pytest.mark.parametrize("x", [
    scipy.sparse.csr_matrix(X), scipy.sparse.coo_matrix(X), scipy.sparse.csr_array(X), [scipy.sparse.csr_matrix(X)],
    lambda: iter([scipy.sparse.coo_matrix(X[:300]), X[300:]]),
], ids=["csr", "coo", "array", "in a list", "in batches"])
def test_sparse_matrices_are_named(x):
    with pytest.raises(InputError, match=r"sparse matrix \(\d+, 12\) .*give its toarray\(\)"):
        npkd.compress(TEACHER, x)


def test_one_hot_labels_are_named():
    with pytest.raises(InputError, match=r"shape \(600, 3\); it must be \(600,\), .*labels\.argmax\(axis=1\)"):
        npkd.compress(TEACHER, X, labels=np.eye(3, dtype=int)[Y])


def test_labels_go_with_their_examples():
    """A loader that shuffles: labels of its own in order are refused, labels in the batches and none are right."""
    loader = Shuffled(X)
    with pytest.raises(InputError, match="give each batch with its labels, as a pair"):
        npkd.compress(TEACHER, lambda: (x for x, _ in loader()), "macs=50%", labels=Y)
    assert npkd.compress(TEACHER, X, "widths=12-24", labels=Y, recipe=REFIT).teacher_error == 0
    assert npkd.compress(TEACHER, Pairs(X), "widths=12-24", recipe=REFIT).teacher_error == 0
    assert npkd.compress(TEACHER, lambda: (x for x, _ in loader()), "widths=12-24", recipe=REFIT).agreement == 1


def test_other_examples_in_another_pass_are_seen():
    rng = np.random.default_rng(1)
    with pytest.raises(InputError, match="as many, but others, in the second"):
        npkd.compress(TEACHER, lambda: iter([X + 0.5 * rng.standard_normal(X.shape).astype(np.float32)]), recipe=REFIT)


def test_what_does_not_fit_into_memory_is_said():
    """A layer of a million inputs has 8 TB of second moments."""
    wide = [(np.ones((1, 10 ** 6), np.float32), np.zeros(1)), (np.ones((2, 1)), np.zeros(2))]
    x = np.zeros((3, 10 ** 6), np.float32)
    x[:, 0] = 1, 2, 3
    with (pytest.warns(UserWarning, match="GB of memory are needed"),
          pytest.raises(InputError, match=r"compress: .*take 8 d² bytes")):
        npkd.compress(wide, x, recipe=REFIT)
