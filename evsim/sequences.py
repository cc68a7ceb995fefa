"""Sequences: a data set brought into the one form that training and evaluation read, checked once."""

from dataclasses import dataclass

import numpy as np

from evsim.check import as_floats, as_labels, check_labels
from evsim.generated import one_hot
from evsim.task import Data


@dataclass
class Sequences:
    """N sequences: x (N, T, n_in) or tokens (N, T), targets (N, T) classes or (N, T, n_out) numbers, lengths (N,).

    keep (N, T): whose loss is learnt from; answers (N, T): whose loss and accuracy evaluation reports. n_in: inputs,
    of which each token stands for one. dtype: of the floats that a network hears.
    """

    x: np.ndarray
    targets: np.ndarray
    keep: np.ndarray
    lengths: np.ndarray
    answers: np.ndarray
    n_in: int
    dtype: np.dtype

    def __len__(self):
        return len(self.x)

    @property
    def tokens(self):
        """Is x whole numbers, one a step."""
        return self.x.ndim == 2

    def inputs(self, where, start, stop):
        """Inputs (n, stop - start, n_in) of those steps of the sequences at `where`: tokens as a 1 among zeros."""
        found = self.x[where, start:stop]
        return one_hot(found, self.n_in, self.dtype) if self.tokens else found

    def piece(self, where, start, stop):
        """(inputs, targets, keep, answers) of those steps of the sequences at `where`."""
        told = (array[where, start:stop] for array in (self.targets, self.keep, self.answers))
        return (self.inputs(where, start, stop), *told)


def as_sequences(data: Data, n_in, n_out, loss, dtype) -> Sequences:
    """Check and align arrays as a user has them.

    x (N, T, n_in), or tokens (N, T): whole numbers below n_in, each standing for n_in inputs, all 0 but a 1 at its
    place. y: one target a sequence, compared with the output of its last step, or one a step. lengths (N,):
    the steps that count; what stands behind them in x, y and mask is not read. mask (N, T): steps whose target counts.
    answers (N, T): steps that evaluation reports, by default those of the mask.
    Raises TypeError or ValueError for what does not fit.
    """
    x = np.asarray(data.x)
    tokens = x.ndim == 2 and x.dtype.kind in "iu" and n_in > 1
    if not tokens and (x.ndim != 3 or x.shape[2] != n_in):
        raise ValueError(f"x has shape {x.shape}, but (sequences, steps, {n_in}) is needed: reshape it")
    n, steps = x.shape[:2]
    if n == 0 or steps == 0:
        raise ValueError(f"x has shape {x.shape}: give at least one sequence of at least one step")
    lengths = _lengths(data.lengths, n, steps)
    inside = np.arange(steps) < lengths[:, None]
    if tokens:
        x = _tokens(x, inside, n_in)
    else:
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
        targets = as_labels("y", y, (n, steps), None if tokens else np.int64)  # a long text stays as small as it is
        check_labels("y", targets, n_out, known)
        if not known.all():
            targets = np.where(known, targets, targets.dtype.type(0))
        return Sequences(x, targets, keep, lengths, answers, n_in, np.dtype(dtype))
    if y.dtype.kind in "biuf" and y.shape == (n, steps, n_out):
        y = np.where(known[:, :, None], y, 0)
    targets = as_floats("y", y, (n, steps, n_out), dtype)
    if loss == "binary_cross_entropy" and (targets.min() < 0 or targets.max() > 1):
        raise ValueError(f"y runs from {targets.min():g} to {targets.max():g}: binary cross entropy needs 0 to 1")
    return Sequences(x, targets, keep, lengths, answers, n_in, np.dtype(dtype))


def correct(out, targets, answers, loss):
    """(right, judged): how many outputs at `answers` (..., n_out) are right; for mse nothing is judged."""
    if loss == "mse":
        return 0, 0
    if loss == "cross_entropy":
        right = out.argmax(-1) == targets
    else:
        right = ((out > 0) == (targets > 0.5)).all(-1)
    return int((right & answers).sum()), int(answers.sum())


def _tokens(x, inside, n_in):
    """Tokens (N, T), 0 where a sequence is over; ValueError for those that stand for no input."""
    if not inside.all():
        x = np.where(inside, x, x.dtype.type(0))
    least, most = int(x.min()), int(x.max())
    if least < 0 or most >= n_in:
        wrong = least if least < 0 else most
        raise ValueError(f"x holds token {wrong}: whole numbers (sequences, steps) run from 0 to {n_in - 1} here")
    return x


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
