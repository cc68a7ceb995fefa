"""Combine: machine code laid down by hand against plain loops."""

import numpy as np
import pytest

from evsim.jit import jit
from evsim.vector import _plain, combine, combine_2, combine_3, combine_4, plain_combine

WIDTHS = (0, 1, 7, 16, 31, 64, 100, 128, 129, 200, 513)


@jit
def one(out, to, a, rows, base, source, coef, first, last, width):
    """combine, with numbers from a column."""
    combine(out, to, a, rows, base, source, coef[:, 1], first, last, width)


@jit
def two(out, to, a, rows, base, source, coef, first, last, width):
    """combine_2, of a part of the numbers."""
    combine_2(out, to, a, rows, base, source, coef[1:], first, last, width)


@jit
def three(out, to, a, rows, base, source, coef, first, last, width):
    """combine_3, likewise."""
    combine_3(out, to, a, rows, base, source, coef[1:], first, last, width)


@jit
def four(out, to, a, rows, base, source, coef, first, last, width):
    """combine_4, likewise."""
    combine_4(out, to, a, rows, base, source, coef[1:], first, last, width)


SEVERAL = {2: two, 3: three, 4: four}


def example(width, dtype, index=np.int32):
    rng = np.random.default_rng(width)
    out, rows = rng.standard_normal((8, width + 3)).astype(dtype), rng.standard_normal((9, 2, width + 5)).astype(dtype)
    return out, rows[:, 1], rng.integers(0, 7, 12).astype(index), rng.standard_normal((12, 12)).astype(dtype)


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", WIDTHS)
def test_rows_are_what_plain_loops_make_of_them(width, dtype):
    """Of rows with gaps between them; what stands beyond the width, and in other rows, is left."""
    for index in (np.int32, np.int64):
        out, rows, source, coef = example(width, dtype, index)
        eps = 20 * np.finfo(dtype).eps
        for first, last in ((0, 12), (3, 4), (5, 5)):
            for a in (out.dtype.type(v) for v in (0, 1, -0.7)):
                ours, truth = out.copy(), out.copy()
                one(ours, 2, a, rows, 1, source, coef, first, last, width)
                plain_combine(truth, 2, a, rows, 1, source, coef[:, 1], first, last, width)
                np.testing.assert_allclose(ours, truth, rtol=eps, atol=10 * eps)
                np.testing.assert_array_equal(np.delete(ours, 2, 0), np.delete(out, 2, 0))
                np.testing.assert_array_equal(ours[2, width:], out[2, width:])
                for count, kernel in SEVERAL.items():
                    ours, truth = out.copy(), out.copy()
                    kernel(ours, 2, a, rows, 1, source, coef, first, last, width)
                    _plain(count)(truth, 2, a, rows, 1, source, coef[1:], first, last, width)
                    np.testing.assert_allclose(ours, truth, rtol=eps, atol=10 * eps)
                    np.testing.assert_array_equal(ours[:, width:], out[:, width:])


@pytest.mark.nojit
def test_what_is_not_kept_is_not_read():
    """With a factor of 0 a row may hold anything; with another it counts."""
    out, rows, source, coef = example(40, "float32")
    out[2] = np.nan
    for kernel in (one, two, three, four):
        ours = out.copy()
        kernel(ours, 2, np.float32(0), rows, 1, source, coef, 0, 12, 40)
        assert np.isfinite(ours[2, :40]).all()
        kernel(ours, 2, np.float32(np.nan), rows, 1, source, coef, 0, 12, 40)
        assert np.isnan(ours[2, :40]).all()


def test_a_columns_sum_does_not_depend_on_where_it_stands():
    """Rounding is that of the column alone: in a strip of many registers, of one, or by itself."""
    rng = np.random.default_rng(0)
    rows, coef = rng.standard_normal((30, 1)).astype(np.float32), rng.standard_normal((30, 12)).astype(np.float32)
    source, out = np.arange(30, dtype=np.int32), np.zeros((1, 300), np.float32)
    one(out, 0, np.float32(0), np.repeat(rows, 300, 1), 0, source, coef, 0, 30, 300)
    assert len(np.unique(out)) == 1
