"""Checks of what a user passes in: each refusal says what was given, what is needed and what to do."""

import difflib
import numbers
from contextlib import contextmanager
from math import isfinite

import numpy as np


@contextmanager
def named(where):
    """What is refused inside says where: "where: message"."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise type(error)(f"{where}: {error}") from None


def check_choice(name, value, choices):
    """Return `value` if it is one of `choices`; ValueError names the nearest otherwise."""
    if getattr(value, "__hash__", None) and value in list(choices):  # arrays have no single truth
        return value
    near = difflib.get_close_matches(str(value), [str(c) for c in choices], 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{name}={value!r} is unknown: choose one of {', '.join(map(str, choices))}{hint}")


def check_positive(name, value):
    """Return a finite float > 0."""
    if not _real(value) or not np.isfinite(value) or value <= 0:
        raise ValueError(f"{name}={value!r} is not usable: give a finite number above 0")
    return float(value)


def check_count(name, value, least=1):
    """Return an int >= least."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{name}={value!r} is not usable: give a whole number of at least {least}")
    return int(value)


def check_seed(seed):
    """Return a numpy Generator from a whole number >= 0 or a Generator."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError):
        raise ValueError(f"seed={seed!r} is not usable: give a whole number of at least 0, or a Generator") from None


def check_density(name, value):
    """Return a float in (0, 1]."""
    if not _real(value) or not 0 < value <= 1:
        raise ValueError(f"{name}={value!r} is not usable: give the fraction of weights that exist, above 0, at most 1")
    return float(value)


def check_fraction(name, value):
    """Return a float in [0, 1]."""
    if not _real(value) or not 0 <= value <= 1:
        raise ValueError(f"{name}={value!r} is not usable: give a fraction, from 0 to 1")
    return float(value)


def check_below_one(name, value):
    """Return a float in [0, 1)."""
    if not _real(value) or not 0 <= value < 1:
        raise ValueError(f"{name}={value!r} is not usable: give a number from 0 up to, but not including, 1")
    return float(value)


def check_mask(name, mask, shape):
    """Return a boolean copy of `mask` of the given shape, or None for None.

    A leading axis of channels, as in `Network.masks()`, is accepted where all channels agree.
    """
    if mask is None:
        return None
    mask = np.asarray(mask)
    if mask.dtype != np.bool_:
        raise TypeError(f"{name} has dtype {mask.dtype}: give a boolean array (for 0/1 numbers, mask.astype(bool))")
    if mask.ndim == 3 and len(mask) and (mask == mask[0]).all():
        mask = mask[0]
    if mask.shape != shape:
        raise ValueError(f"{name} has shape {mask.shape}, but these sizes need {shape}: pass a mask of that shape")
    mask = mask.copy()
    mask.setflags(write=False)
    return mask


def check_dtype(dtype):
    """Return np.float32 or np.float64 as a numpy dtype."""
    try:
        found = np.dtype(dtype)
        if found in (np.dtype("float32"), np.dtype("float64")):
            return found
    except TypeError:
        pass
    raise ValueError(f'dtype={dtype!r} is not supported: give "float32" or "float64"')


def as_array(name, value):
    """Return `value` as a numpy array; ValueError for lists of lists of several lengths."""
    try:
        return np.asarray(value)
    except ValueError:
        raise ValueError(f"{name}={value!r} is not usable: its parts differ in length") from None


def per_unit(name, value, units):
    """Return a float64 array (units,) of finite values from a number or an array of that shape."""
    array = as_array(name, value)
    if array.dtype.kind not in "iuf" or array.shape not in ((), (units,)) or not np.isfinite(array).all():
        raise ValueError(f"{name}={value!r} is not usable: give one finite number, or {units} of them, one per unit")
    return np.broadcast_to(array.astype(np.float64), (units,)).copy()


def as_floats(name, value, shape, dtype):
    """Return `value` as a C-contiguous array of `dtype`, shaped `shape` (None stands for any length).

    bool, int and float are cast; TypeError for other kinds, ValueError for a wrong shape, NaN or infinity.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {array.dtype}: give real numbers (bool, int or float)")
    _check_shape(name, array, shape, "reshape it or change the sizes")
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused
        array = np.ascontiguousarray(array, dtype=dtype)
    check_finite(name, array)
    return array


def own_floats(name, value, shape, dtype):
    """as_floats, with a short path for what needs no change; the array may then be the caller's."""
    if type(value) is np.ndarray and value.dtype == dtype and value.shape == shape:
        if len(shape) > 1 or not isfinite(value.dot(value)):
            check_finite(name, value)
        return value
    return as_floats(name, value, shape, dtype)


def check_finite(name, array):
    """Raise ValueError, with the first place, if `array` holds NaN or infinity."""
    if isfinite(np.vdot(array, array)) or np.isfinite(array).all():  # the product is quick, but may overflow
        return
    place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    where = f" at index {place}" if place else ""
    raise ValueError(
        f"{name} holds {array[place]}{where}: replace NaN, infinity and what is too large for {array.dtype}"
    )


def as_labels(name, value, shape, dtype: type | None = np.int64):
    """Return `value` as labels, shaped `shape` (None stands for any length); `check_labels` looks at them.

    dtype: None keeps what they have.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {array.dtype}: cross entropy needs whole numbers, the class of each step")
    _check_shape(name, array, shape, "give one class per step")
    return np.ascontiguousarray(array, dtype=dtype)


def check_labels(name, labels, classes, keep: bool | np.ndarray = True):
    """Raise ValueError if a kept label lies outside [0, classes)."""
    wrong = ((labels < 0) | (labels >= classes)) & keep
    if np.any(wrong):
        found = labels[wrong].flat[0] if labels.ndim else labels
        raise ValueError(f"{name} holds class {int(found)}: classes run from 0 to {classes - 1}, one per output")


def _real(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _check_shape(name, array, shape, advice):
    if array.ndim != len(shape) or any(s is not None and s != a for s, a in zip(shape, array.shape, strict=True)):
        wanted = ", ".join("any" if s is None else str(s) for s in shape)
        wanted = f"({wanted},)" if len(shape) == 1 else f"({wanted})"
        raise ValueError(f"{name} has shape {array.shape}, but {wanted} is needed: {advice}")
