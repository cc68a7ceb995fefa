"""Pseudo-derivatives: the kernel, the array, torch's and the integral say the same."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evsim.models.words import TorchWords, pseudo_derivative
from evsim.surrogate import KINDS, Surrogate, psi
from evsim.words import NumpyWords, SmoothWords

pytestmark = pytest.mark.nojit
NUMBERS = ((0.7, 0.5, 10), (0.3, 1.2, 2))  # height, half width, slope
SHAPES = [Surrogate(kind, *numbers) for kind in KINDS for numbers in NUMBERS]
X = np.concatenate([np.linspace(-2, 2, 81), [0.0, 0.5, -0.5, 1.2, -1.2, 1e-12, -1e-12]])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_one_pseudo_derivative(shape):
    found = shape.derivative(X)
    kind, *numbers = shape.settings()
    np.testing.assert_allclose([psi(int(kind), x, *numbers) for x in X], found, rtol=1e-14, atol=1e-16)
    np.testing.assert_allclose(pseudo_derivative(shape, torch.from_numpy(X)), found, rtol=1e-14, atol=1e-16)
    x = torch.from_numpy(X).requires_grad_()
    (slope,) = torch.autograd.grad(TorchWords(shape).event(x).sum(), x)
    np.testing.assert_allclose(slope, found, rtol=1e-14, atol=1e-16)
    assert found.max() == shape.peak
    np.testing.assert_array_equal(shape.derivative(-X), found)
    assert (found == 0).any() == (shape.kind != "superspike")


def test_by_hand():
    triangle, boxcar, superspike = (Surrogate(kind) for kind in ("triangle", "boxcar", "superspike"))
    np.testing.assert_allclose(triangle.derivative([0, 0.25, -0.4, 0.5, 3]), [0.7, 0.35, 0.14, 0, 0], atol=1e-15)
    np.testing.assert_allclose(boxcar.derivative([0, 0.25, -0.4, 0.5, 3]), [0.7, 0.7, 0.7, 0, 0])
    np.testing.assert_allclose(superspike.derivative([0, 0.1, -0.4]), [1, 0.25, 0.04])


@given(st.sampled_from(SHAPES), st.floats(-3, 3))
def test_the_integral_has_it_as_its_slope(shape, x):
    eps = 1e-6
    if shape.kind != "superspike" and abs(abs(x) - shape.half_width) < 2 * eps:
        return  # a corner
    slope = (shape.integral(x + eps) - shape.integral(x - eps)) / (2 * eps)
    assert slope == pytest.approx(float(shape.derivative(x)), abs=2e-5 * shape.slope)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_integral_rises_from_zero(shape):
    found = shape.integral(np.sort(X))
    assert (np.diff(found) >= 0).all()
    assert shape.integral(-1e9) == pytest.approx(0, abs=1e-8)
    middle = np.linspace(-50, 50, 200001)[:-1] + 2.5e-4
    area = shape.derivative(middle).sum() * 5e-4
    assert shape.integral(50.0) - shape.integral(-50.0) == pytest.approx(area, abs=1e-6)


def test_words():
    """Numpy and torch make the same of every word, but for derivatives."""
    shape, x = SHAPES[0], np.linspace(-3, 3, 25)
    words, theirs, smooth = NumpyWords(shape), TorchWords(shape), SmoothWords(shape)
    for name in ("sigmoid", "tanh", "event", "detach"):
        np.testing.assert_allclose(getattr(words, name)(x), getattr(theirs, name)(torch.from_numpy(x)), rtol=1e-14)
        if name != "event":
            np.testing.assert_array_equal(getattr(words, name)(x), getattr(smooth, name)(x))
    np.testing.assert_array_equal(words.event(x), x > 0)
    assert words.event(np.zeros(1)) == 0
    np.testing.assert_array_equal(smooth.event(x), shape.integral(x))
    assert words.event(x.astype(np.float32)).dtype == np.float32


def test_detach_stops_the_gradient():
    x = torch.ones(3, requires_grad=True)
    assert not TorchWords(SHAPES[0]).detach(x).requires_grad


@pytest.mark.parametrize("number", ["height", "half_width", "slope"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), True, "1", None])
def test_numbers_must_be_positive(number, value):
    with pytest.raises(ValueError, match=f"{number}={value!r} is not usable: give a finite number above 0"):
        Surrogate(**{number: value})


def test_unknown_kind():
    with pytest.raises(ValueError, match="surrogate='box' is unknown: choose one of triangle, boxcar, superspike"):
        Surrogate("box")
