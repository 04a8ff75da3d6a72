"""Matrix products through one BLAS, rows first.

NumPy and SciPy carry an OpenBLAS each, with a pool of threads each. While one pool works, the idle threads of the other
still spin: a loop that alternates between the two runs several times slower than either alone. So products are SciPy's
but for stacks of small ones (nn/fast/products.py); those too small to share run on one thread (blas_threads.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import blas

from npkd.core.blas_threads import threads_for
from npkd.core.types import Array


def product(a: Array, b: Array) -> Array:
    """a @ b for matrices (n, k) and (k, m), in rows or in columns: (n, m), contiguous, in the wider dtype of the two.
    float32 and float64 are SciPy's; NumPy computes the other dtypes, without BLAS."""
    dtype = np.result_type(a, b)
    if dtype not in (np.float32, np.float64):
        return np.asarray(a @ b)
    if not (a.size and b.size):
        return np.zeros((len(a), b.shape[1]), dtype)
    gemm = blas.sgemm if dtype == np.float32 else blas.dgemm
    rows_a, rows_b = not a.flags.f_contiguous, not b.flags.f_contiguous
    # BLAS counts columns first: (a b)ᵀ = bᵀ aᵀ, and what lies in rows for us is transposed for it
    with threads_for(a.size * b.shape[1]):
        out: Array = gemm(1.0, b.T if rows_b else b, a.T if rows_a else a, trans_a=not rows_b, trans_b=not rows_a).T
    return out


def subtract(c: Array, a: Array, b: Array) -> None:
    """c ← c − a b in place, for matrices (n, k) and (k, m) and c (n, m) of float64, without another (n, m)."""
    if a.size and b.size:
        with threads_for(a.size * b.shape[1]):
            out = blas.dgemm(-1.0, b.T, a.T, beta=1.0, c=c.T, overwrite_c=True)
        if out.ctypes.data != c.ctypes.data:                         # where c does not lie in rows BLAS works on a copy
            c.T[:] = out


def gram(a: Array) -> Array:
    """aᵀ a for a (n, d) float64, contiguous: (d, d), symmetric, at half the work of a product."""
    with threads_for(a.size * a.shape[1] / 2):
        upper = np.triu(blas.dsyrk(1.0, a.T))
    return np.asarray(upper + np.triu(upper, 1).T)


def inner_product(a: Array, b: Array) -> float:
    """⟨a, b⟩ of matrices of one shape. Not ``np.vdot``, which for long vectors is NumPy's BLAS on all its threads."""
    return float(np.einsum("ij,ij->", a, b))


def wide(a: Array) -> np.dtype[Any]:
    """The dtype in which many entries of ``a`` are added up: at least float64."""
    return a.dtype if a.dtype.itemsize > 8 else np.dtype(np.float64)


def total(a: Array, axes: int | tuple[int, ...]) -> Array:
    """Sum in the dtype of ``a``, accumulated in float64: along leading axes NumPy adds one row after another."""
    return np.asarray(a.sum(axis=axes, dtype=wide(a)).astype(a.dtype))
