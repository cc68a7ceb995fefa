"""Sample: some sequences of a task's split, where all of them would be too many, and how well they are answered."""

import numpy as np

from evsim.evaluate import Marks
from evsim.sequences import as_sequences


def sample(net, task, split, sequences, steps):
    """(list of (steps, n_in), their places in the split): so many sequences that lie evenly, and their first steps."""
    data, places = _chosen(net, task, split, sequences)
    return [data.inputs([k], 0, min(int(data.lengths[k]), steps))[0] for k in places], places


def score(net, task, split, sequences, outputs):
    """dict of loss and accuracy (None for mse) of outputs, a list of (steps, n_out), on the same sequences."""
    data, places = _chosen(net, task, split, sequences)
    marks = Marks(task.loss)
    for k, out in zip(places, outputs, strict=True):
        marks.add(out, data.targets[k, : len(out)], data.answers[k, : len(out)])
    return marks.told()


def _chosen(net, task, split, sequences):
    data = as_sequences(task.split(split), net.n_in, net.n_out, task.loss, net.dtype)
    return data, np.unique(np.linspace(0, len(data) - 1, min(sequences, len(data))).astype(np.int64)).tolist()
