"""What a checkpoint says of a learner's state: copied for it, and held against what the learner needs."""

import numpy as np

from evsim.opcount import widened


def check_state(state, wanted, shapes):
    """ValueError unless `state` has the arrays of `wanted`: kinds, one of shapes(name, array), finite."""
    for name, array in wanted.items():
        given = state[name]
        if given.dtype != array.dtype or given.shape not in shapes(name, array):
            found, needed = f"{given.dtype} {given.shape}", f"{array.dtype} {array.shape}"
            raise ValueError(f"{name} of the learner's state is {found}, but {needed} is needed")
        if given.dtype.kind == "f" and not np.isfinite(given).all():
            raise ValueError(f"{name} of the learner's state holds NaN or infinity")


def copy_slots(slots, count, streams, told):
    """Copies of the first `count` slots of arrays (streams, slots, ...).

    What nobody is going to read, left by untold steps and idle streams, is 0: if something has diverged there, it is
    NaN or infinite.
    """
    found = {name: array[:, :count].copy() for name, array in slots.items()}
    for array in found.values():
        if array.dtype.kind == "f":
            array[streams:] = 0
    if "delta" in found:
        found["delta"][~told[:, :count]] = 0
    return found


def restore(learner, state):
    """Let a learner take up `state`; ValueError, and the state it had, if that is not for it."""
    before = learner.state()
    if "fresh" not in state and "counts" in state:  # of before sequences and words were counted
        state = {**state, "fresh": np.array(False), "counts": widened(np.asarray(state["counts"]))}
    if set(state) != set(before):
        raise ValueError(f"the learner's state holds {sorted(state)}, but {sorted(before)} are needed")
    try:
        learner._load(state)
    except (ValueError, TypeError, IndexError):
        learner._load(before)
        raise
