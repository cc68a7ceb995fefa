"""Sample: some sequences of a task's split, where all of them would be too many."""

import numpy as np

from evsim.sequences import as_sequences


def sample(net, task, split, sequences, steps):
    """(list of (steps, n_in), their places in the split): so many sequences that lie evenly, and their first steps."""
    data = as_sequences(task.split(split), net.n_in, net.n_out, task.loss, net.dtype)
    places = np.unique(np.linspace(0, len(data) - 1, min(sequences, len(data))).astype(np.int64)).tolist()
    return [data.inputs([k], 0, min(int(data.lengths[k]), steps))[0] for k in places], places
