"""Targets: what a learner is told, checked, and brought into the kernels' form."""

from typing import NamedTuple

import numpy as np

from evsim.check import as_floats, as_labels, check_labels


class Targets(NamedTuple):
    """Of a whole run: classes or numbers, by the loss (None: there are none), and which steps count."""

    wanted: np.ndarray | None
    keep: np.ndarray

    def of_one_stream(self):
        """The same with a stream axis in front."""
        return Targets(None if self.wanted is None else self.wanted[None], self.keep[None])


def one_target(target, loss, lead, n_out, dtype):
    """Classes (*lead) for cross entropy, else numbers (*lead, n_out), of a single step."""
    if not lead and type(target) is int and loss == "cross_entropy" and 0 <= target < n_out:
        return target
    if loss == "cross_entropy":
        labels = np.reshape(as_labels("target", target, lead), lead)
        check_labels("target", labels, n_out)
        return labels
    values = as_floats("target", target, (*lead, n_out), dtype)
    _check_values("target", values, loss)
    return values


def run_targets(targets, mask, loss, lead, n_out, dtype):
    """Targets of a run over axes `lead`; at dropped steps they are not read. Without any, no step counts."""
    if targets is None:
        if mask is not None:
            raise ValueError("a mask was given without targets: pass targets too, or leave the mask out")
        return Targets(None, np.zeros(lead, bool))
    keep = run_mask("mask", mask, lead)
    if loss == "cross_entropy":
        labels = as_labels("targets", targets, lead)
        check_labels("targets", labels, n_out, keep)
        return Targets(np.where(keep, labels, 0), keep)
    values = np.asarray(targets)
    if values.dtype.kind in "biuf" and values.shape == (*lead, n_out):
        values = np.where(keep[..., None], values, 0)
    values = as_floats("targets", values, (*lead, n_out), dtype)
    _check_values("targets", values, loss)
    return Targets(values, keep)


def run_mask(name, given, lead):
    """A boolean array over axes `lead`; all True if None is given."""
    if given is None:
        return np.ones(lead, bool)
    given = np.asarray(given)
    if given.shape != lead or given.dtype.kind not in "biu":
        raise ValueError(f"{name} has shape {given.shape} and dtype {given.dtype}: give a boolean array {lead}")
    return given.astype(bool)


def _check_values(name, values, loss):
    if loss == "binary_cross_entropy" and values.size and not (values.min() >= 0 and values.max() <= 1):
        worst = values.flat[np.argmax(np.abs(values - 0.5))]
        raise ValueError(f"{name} holds {worst:g}: binary cross entropy needs targets between 0 and 1")
