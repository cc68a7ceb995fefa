"""Trace: what a network hears, shows and says on a few sequences, on record for whoever runs it elsewhere."""

import numpy as np

from evsim.sample import sample

SEQUENCES, STEPS = 4, 256  # at most so many sequences, and so many of the first steps of each
DRAWN, RATE = 64, 0.3  # steps of a random sequence, and how often an input is not 0 in it
GAINS = tuple(2.0**k for k in range(11))  # by which random inputs are multiplied until every layer speaks


def record(net, task=None):
    """(arrays, where the inputs come from): sequences of the task's test split, or drawn ones without a task.

    arrays: lengths (S,); x (steps, n_in), events.0, events.1, ... (steps, n of that layer) and out (steps, n_out), in
    which one sequence stands behind the other.
    """
    inputs, told = choose_inputs(net, task)
    ran = [net.run(x, record_events=True) for x in inputs]
    found = {
        "lengths": np.array([len(x) for x in inputs], np.int32),
        "x": np.concatenate(inputs),
        "out": np.concatenate([out for out, _ in ran]),
    }
    for k in range(len(net.layers)):
        found[f"events.{k}"] = np.concatenate([events[k] for _, events in ran])
    return found, told


def choose_inputs(net, task=None, sequences=SEQUENCES):
    """(list of sequences (steps, n_in), where they come from), as `record` takes them; of a task at most so many."""
    return _drawn(net) if task is None else _of_task(net, task, sequences)


def _of_task(net, task, sequences):
    """Sequences that lie evenly in the test split, each up to its end or to STEPS."""
    inputs, places = sample(net, task, "test", sequences, STEPS)
    if len(places) > 2 * SEQUENCES:
        return inputs, f"{task.name}, {len(places)} test sequences"
    return inputs, f"{task.name}, test sequences {', '.join(map(str, places))}"


def _drawn(net):
    """Two sequences of inputs that are 0 or a gain: the least gain at which the quietest layer speaks often enough.

    That is once in four steps; where no gain comes to it, the one at which the quietest layer speaks most.
    """
    rng = np.random.default_rng(0)
    inputs = (rng.random((2, DRAWN, net.n_in)) < RATE).astype(net.dtype)
    best, most = GAINS[0], -1
    for gain in GAINS:
        _, events = net.run(inputs * net.dtype.type(gain), record_events=True)
        least = min(int(np.count_nonzero(shown)) for shown in events)
        if least > most:
            best, most = gain, least
        if least >= inputs.shape[0] * DRAWN / 4:
            break
    return list(inputs * net.dtype.type(best)), f"random: inputs are {best:g} at {RATE:g} of all steps, seed 0"
