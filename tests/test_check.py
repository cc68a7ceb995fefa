"""Checks: what passes, what is refused, and the sentence."""

import numpy as np
import pytest

from evsim.check import (
    as_floats,
    as_labels,
    check_choice,
    check_count,
    check_density,
    check_dtype,
    check_labels,
    check_mask,
    check_positive,
    per_unit,
)

pytestmark = pytest.mark.nojit


def test_choice():
    assert check_choice("loss", "mse", {"mse": 0, "cross_entropy": 1}) == "mse"
    with pytest.raises(ValueError, match="loss='mes' is unknown: choose one of mse, cross_entropy; did you mean 'mse'"):
        check_choice("loss", "mes", {"mse": 0, "cross_entropy": 1})
    with pytest.raises(ValueError, match="loss=3 is unknown: choose one of mse$"):
        check_choice("loss", 3, ["mse"])


@pytest.mark.parametrize("value", [1, np.int64(7), np.uint8(3)])
def test_count(value):
    found = check_count("units", value)
    assert (found, type(found)) == (value, int)


@pytest.mark.parametrize("value", [0, -3, 1.0, True, "4", None, np.float64(2), float("nan"), [1]])
def test_no_count(value):
    with pytest.raises(ValueError, match="is not usable: give a whole number of at least 1"):
        check_count("units", value)


def test_least_count():
    assert check_count("epochs", 0, 0) == 0
    with pytest.raises(ValueError, match="epochs=1 is not usable: give a whole number of at least 2"):
        check_count("epochs", 1, 2)


@pytest.mark.parametrize("check", [check_positive, check_density])
@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.25), np.int8(1)])
def test_positive(check, value):
    found = check("density", value)
    assert (found, type(found)) == (value, float)


@pytest.mark.parametrize("check", [check_positive, check_density])
@pytest.mark.parametrize("value", [0, -0.1, float("nan"), float("inf"), True, "0.1", None, 1j, np.ones(2)])
def test_not_positive(check, value):
    with pytest.raises(ValueError, match="^density=.* is not usable: give "):
        check("density", value)


def test_density_ends_at_one():
    with pytest.raises(ValueError, match=r"density=1.01 is not usable: .* above 0, at most 1"):
        check_density("density", 1.01)
    assert check_positive("dt", 1.01) == 1.01


def test_mask():
    given = np.eye(2, dtype=bool)
    found = check_mask("mask", given, (2, 2))
    given[:] = True
    np.testing.assert_array_equal(found, np.eye(2))
    assert check_mask("mask", None, (2, 2)) is None
    np.testing.assert_array_equal(check_mask("mask", [[True, False]], (1, 2)), [[True, False]])
    np.testing.assert_array_equal(check_mask("mask", np.stack([found] * 3), (2, 2)), np.eye(2))
    with pytest.raises(TypeError, match="mask has dtype int64: give a boolean array"):
        check_mask("mask", np.eye(2, dtype=int), (2, 2))
    with pytest.raises(ValueError, match=r"mask has shape \(2, 2\), but these sizes need \(2, 3\)"):
        check_mask("mask", found, (2, 3))
    with pytest.raises(ValueError, match=r"mask has shape \(2, 2, 2\)"):
        check_mask("mask", np.stack([found, ~found]), (2, 2))


def test_dtype():
    assert check_dtype("float32") == np.float32
    assert check_dtype(np.float64) == np.float64
    assert check_dtype(float) == np.float64


@pytest.mark.parametrize("value", ["float16", "flaot32", "int32", np.int64, object, "", 3])
def test_no_dtype(value):
    with pytest.raises(ValueError, match='is not supported: give "float32" or "float64"'):
        check_dtype(value)


def test_per_unit():
    np.testing.assert_array_equal(per_unit("threshold", 2, 3), [2.0, 2.0, 2.0])
    np.testing.assert_array_equal(per_unit("threshold", [1, 2.5, 3], 3), [1.0, 2.5, 3.0])
    found = per_unit("threshold", np.ones(3), 3)
    found[0] = 2  # a copy, and writable
    for value in ([1.0, 2.0], [[1.0, 2.0, 3.0]], float("nan"), [1, 2, np.inf], "1", True, None, 1j):
        with pytest.raises(ValueError, match="^threshold=.*: give one finite number, or 3 of them, one per unit"):
            per_unit("threshold", value, 3)


@pytest.mark.parametrize("given", [
    np.ones((2, 3), bool), np.ones((2, 3), np.uint8), [[1, 1, 1], [1, 1, 1]],
    np.asfortranarray(np.ones((2, 3), ">f8")), np.ones((2, 6), np.float16)[:, ::2],
])  # fmt: skip
def test_floats(given):
    found = as_floats("x", given, (None, 3), np.dtype("float32"))
    assert (found.dtype, found.shape, found.flags.c_contiguous) == (np.float32, (2, 3), True)
    assert (found == 1).all()


@pytest.mark.parametrize("given", [np.zeros(2, complex), np.array([1, None]), np.array(["1", "2"]),
                                   np.zeros(2, "M8[s]"), np.zeros(2, "m8[s]"), np.zeros(2, "f4,f4")])  # fmt: skip
def test_floats_of_no_kind(given):
    with pytest.raises(TypeError, match=r"x has dtype .*: give real numbers \(bool, int or float\)"):
        as_floats("x", given, (2,), np.dtype("float64"))


def test_floats_of_no_shape():
    for given, shape, told in (
        (np.ones(2), (3,), r"\(2,\), but \(3,\)"),
        (np.ones((2, 2)), (None, 3), r"\(2, 2\), but \(any, 3\)"),
        (np.ones(2), (None, 2), r"\(2,\), but \(any, 2\)"),
        (1.0, (1,), r"\(\), but \(1,\)"),
    ):
        with pytest.raises(ValueError, match=f"x has shape {told} is needed: reshape it"):
            as_floats("x", given, shape, np.dtype("float64"))


def test_floats_that_are_not_finite():
    for value, told in ((np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")):
        given = np.zeros((2, 3))
        given[1, 2] = value
        with pytest.raises(ValueError, match=rf"x holds {told} at index \(1, 2\): replace NaN, infinity"):
            as_floats("x", given, (2, 3), np.dtype("float64"))
    with pytest.raises(ValueError, match=r"x holds inf at index \(0,\): .* too large for float32"):
        as_floats("x", [1e300], (1,), np.dtype("float32"))


@pytest.mark.parametrize(("value", "dtype"), [(1e200, "float64"), (1e30, "float32"), (-1.7e308, "float64")])
def test_large_finite_numbers_pass_quietly(value, dtype):
    found = as_floats("x", np.full(3, value, dtype), (3,), np.dtype(dtype))
    np.testing.assert_array_equal(found, np.full(3, value, dtype))


def test_labels():
    found = as_labels("target", np.array([[0, 2]], np.uint8), (1, None))
    assert (found.dtype, found.shape) == (np.int64, (1, 2))
    assert check_labels("target", found, 3) is None
    for given in (np.array([1.0]), np.array([True]), np.array(["a"])):
        with pytest.raises(TypeError, match="target has dtype .*: cross entropy needs whole numbers"):
            as_labels("target", given, (1,))
    with pytest.raises(ValueError, match=r"target has shape \(2,\), but \(3,\) is needed: give one class per step"):
        as_labels("target", np.array([1, 2]), (3,))


def test_labels_out_of_range():
    for value in (-1, 3, 10**12):
        with pytest.raises(ValueError, match=f"target holds class {value}: classes run from 0 to 2"):
            check_labels("target", np.array([0, value, 1]), 3)
        with pytest.raises(ValueError, match=f"target holds class {value}: classes run"):
            check_labels("target", np.array(value), 3)
    assert check_labels("target", np.array([0, -5, 1]), 3, np.array([True, False, True])) is None


def test_labels_beyond_int64_are_out_of_range():
    with pytest.raises(ValueError, match="target holds class"):
        check_labels("target", as_labels("target", np.array([2**63 + 1], np.uint64), (1,)), 3)
