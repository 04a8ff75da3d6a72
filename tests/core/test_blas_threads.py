"""BLAS uses one thread where it is told to, and has its threads back afterwards."""

import sys
import threading

import numpy as np
import pytest
import scipy

from npkd.core import blas_threads, linalg
from npkd.core.blas_threads import SingleThread, libraries, openblas, single_thread, threads_for
from npkd.nn.fast.threads import threads
from npkd.sparsity import group_lasso_steps
from npkd.sparsity.group_lasso import Problem
from npkd.sparsity.statistics import Statistics


@pytest.fixture
def counts():
    """The numbers of threads as they are; two each at the beginning."""
    had = [get() for get, _ in libraries()]
    for _, put in libraries():
        put(2)
    yield lambda: [get() for get, _ in libraries()]
    for (_, put), count in zip(libraries(), had, strict=True):
        put(count)


ONE, TWO = ([count] * len(libraries()) for count in (1, 2))


def test_several_users_at_a_time(counts):
    """The first to come is not the last to go, and one who comes in between saw one thread."""
    single = SingleThread()
    single.__enter__()
    other = threading.Thread(target=single.__enter__)
    other.start()
    other.join()
    single.__exit__()
    assert counts() == ONE
    single.__exit__()
    assert counts() == TWO


def test_one_inside_another_and_where_what_is_computed_fails(counts):
    def fails():
        with single_thread, single_thread:
            assert counts() == ONE
            raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        fails()
    assert counts() == TWO


def test_work_that_is_worth_it_is_shared(counts, monkeypatch):
    monkeypatch.setattr(blas_threads, "user_threads", lambda: None)
    for macs, order, expected in ((3_999_999, 0, ONE), (4_000_000, 0, TWO), (0, 999, ONE), (0, 1000, TWO),
                                  (3_999_999, 1000, TWO)):
        with threads_for(macs, order=order):
            assert counts() == expected
        assert counts() == TWO


def test_whoever_chooses_a_number_is_obeyed(counts, monkeypatch):
    monkeypatch.setattr(blas_threads, "user_threads", lambda: 2)
    with threads_for(1):
        assert counts() == TWO


@pytest.mark.parametrize(("text", "number"),
                         [("1", 1), ("64", 64), ("", None), ("0", None), ("many", None), (None, None)])
def test_the_number_that_the_user_chose(text, number, monkeypatch):
    if text is None:
        monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", text)
    blas_threads.environment_threads.cache_clear()
    try:
        assert blas_threads.user_threads() == number
    finally:
        blas_threads.environment_threads.cache_clear()


@pytest.mark.parametrize(("side", "expected"), [(150, ONE), (170, TWO)])
def test_products_by_their_size(counts, side, expected, monkeypatch):
    """150³ = 3.4 million multiply-accumulates, 170³ = 4.9 million; of aᵀa half as many."""
    monkeypatch.setattr(blas_threads, "user_threads", lambda: None)
    seen, a = [], np.ones((side, side))
    for name in ("dgemm", "dsyrk"):
        real = getattr(linalg.blas, name)
        monkeypatch.setattr(linalg.blas, name, lambda *b, real=real, **c: seen.append(counts()) or real(*b, **c))
    linalg.product(a, a)
    linalg.subtract(a.copy(), a, a)
    linalg.gram(np.ones((2 * side, side)))
    assert seen == [expected] * 3
    assert counts() == TWO


@pytest.mark.parametrize("user", [None, 2])
def test_a_small_layer_is_solved_on_one_thread(counts, user, monkeypatch):
    """Its Cholesky factors too, which meet at every few columns; a number that the user chose stays."""
    monkeypatch.setattr(blas_threads, "user_threads", lambda: user)
    seen, factor, rng = [], group_lasso_steps.lapack.dpotrf, np.random.default_rng(0)
    monkeypatch.setattr(group_lasso_steps.lapack, "dpotrf", lambda *a, **b: seen.append(counts()) or factor(*a, **b))
    problem = Problem(Statistics.of(rng.standard_normal((50, 8)), rng.standard_normal((50, 3))))
    problem.solve(0.3 * problem.lambda_max)
    assert seen
    assert seen == [TWO if user else ONE] * len(seen)
    assert counts() == TWO


def test_both_libraries_can_be_told(monkeypatch):
    """As they come from the package index on most systems: with an OpenBLAS each. With threadpoolctl and without."""
    names = [package.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"] for package in (np, scipy)]
    expected = sum("openblas" in name for name in names)
    assert len(openblas()) == expected
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    libraries.cache_clear()
    try:
        assert len(libraries()) == expected
    finally:
        libraries.cache_clear()
    assert len(libraries()) >= expected


@pytest.mark.parametrize("library", [lambda _: object(), lambda _: (_ for _ in ()).throw(OSError("no such library"))],
                         ids=["other", "none"])
def test_a_blas_that_nobody_knows_is_left_alone(library, monkeypatch):
    monkeypatch.setattr(blas_threads.ctypes, "CDLL", library)
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    libraries.cache_clear()
    try:
        assert libraries() == []
        with single_thread:
            pass
    finally:
        libraries.cache_clear()


def test_within_one_core_it_is_as_if_the_user_had_chosen_one_thread(monkeypatch):
    """For large products and for training on two cores, too; then it is as before."""
    monkeypatch.setattr(blas_threads, "environment_threads", lambda: None)
    counts = [get() for get, _ in blas_threads.libraries()]
    with blas_threads.one_core:
        assert blas_threads.user_threads() == threads() == 1
        with blas_threads.threads_for(10 * blas_threads.SHARED):
            assert {get() for get, _ in blas_threads.libraries()} == {1}
    assert blas_threads.user_threads() is None
    assert [get() for get, _ in blas_threads.libraries()] == counts
