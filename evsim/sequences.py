"""Sequences: a data set brought into the one form that training and evaluation read, checked once."""

from dataclasses import dataclass

import numpy as np

from evsim.check import as_floats, as_labels, check_labels
from evsim.task import Data


@dataclass
class Sequences:
    """N sequences: x (N, T, n_in), targets (N, T) classes or (N, T, n_out) numbers, lengths (N,).

    keep (N, T): whose loss is learnt from; answers (N, T): whose loss and accuracy evaluation reports.
    """

    x: np.ndarray
    targets: np.ndarray
    keep: np.ndarray
    lengths: np.ndarray
    answers: np.ndarray

    def __len__(self):
        return len(self.x)

    def batch(self, where):
        """(x, targets, keep, answers) of the sequences at `where`, cut at the longest of them."""
        steps = int(self.lengths[where].max())
        return tuple(array[where, :steps] for array in (self.x, self.targets, self.keep, self.answers))


def as_sequences(data: Data, n_in, n_out, loss, dtype) -> Sequences:
    """Check and align arrays as a user has them.

    x (N, T, n_in). y: one target a sequence, compared with the output of its last step, or one a step. lengths (N,):
    the steps that count; what stands behind them in x, y and mask is not read. mask (N, T): steps whose target counts.
    answers (N, T): steps that evaluation reports, by default those of the mask.
    Raises TypeError or ValueError for what does not fit.
    """
    x = np.asarray(data.x)
    if x.ndim != 3 or x.shape[2] != n_in:
        raise ValueError(f"x has shape {x.shape}, but (sequences, steps, {n_in}) is needed: reshape it")
    n, steps = x.shape[:2]
    if n == 0 or steps == 0:
        raise ValueError(f"x has shape {x.shape}: give at least one sequence of at least one step")
    lengths = _lengths(data.lengths, n, steps)
    inside = np.arange(steps) < lengths[:, None]
    if x.dtype.kind == "f" and not inside.all():
        x = np.where(inside[:, :, None], x, 0)
    x = as_floats("x", x, (n, steps, n_in), dtype)
    y = np.asarray(data.y)
    if len(y) != n if y.ndim else True:
        raise ValueError(f"y has shape {y.shape}, but x holds {n} sequences: give one entry of y for each")
    classes = loss == "cross_entropy"
    per_step = y.ndim == (2 if classes else 3)
    keep = inside.copy() if per_step else np.arange(steps) == lengths[:, None] - 1
    if data.mask is not None:
        keep = inside & _flags("mask", data.mask, (n, steps))
    answers = keep if data.answers is None else inside & _flags("answers", data.answers, (n, steps))
    if not per_step:  # the sequence's target stands at each of its steps
        y = np.broadcast_to(y[:, None], (n, steps, *y.shape[1:]))
    if not keep.any():
        raise ValueError("the mask keeps no target at all: let it be true where a target counts")
    if not answers.any():
        raise ValueError("answers keeps no step at all: let it be true where accuracy and loss are to be reported")
    known = keep | answers
    if classes:
        targets = as_labels("y", y, (n, steps))
        check_labels("y", targets, n_out, known)
        return Sequences(x, np.where(known, targets, 0), keep, lengths, answers)
    if y.dtype.kind in "biuf" and y.shape == (n, steps, n_out):
        y = np.where(known[:, :, None], y, 0)
    targets = as_floats("y", y, (n, steps, n_out), dtype)
    if loss == "binary_cross_entropy" and (targets.min() < 0 or targets.max() > 1):
        raise ValueError(f"y runs from {targets.min():g} to {targets.max():g}: binary cross entropy needs 0 to 1")
    return Sequences(x, targets, keep, lengths, answers)


def correct(out, targets, answers, loss):
    """(right, judged): how many outputs at `answers` (..., n_out) are right; for mse nothing is judged."""
    if loss == "mse":
        return 0, 0
    if loss == "cross_entropy":
        right = out.argmax(-1) == targets
    else:
        right = ((out > 0) == (targets > 0.5)).all(-1)
    return int((right & answers).sum()), int(answers.sum())


def _flags(name, given, shape):
    given = np.asarray(given)
    if given.shape != shape or given.dtype.kind not in "biu":
        raise ValueError(f"{name} has shape {given.shape} and dtype {given.dtype}: give a boolean array {shape}")
    return given.astype(bool)


def _lengths(lengths, n, steps):
    if lengths is None:
        return np.full(n, steps)
    lengths = np.asarray(lengths)
    if lengths.shape != (n,) or lengths.dtype.kind not in "iu" or lengths.min() < 1 or lengths.max() > steps:
        raise ValueError(f"lengths must be {n} whole numbers between 1 and {steps}, one per sequence: correct them")
    return lengths.astype(np.int64)
