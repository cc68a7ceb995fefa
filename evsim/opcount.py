"""What the kernels count, and what the same work costs a dense learner.

Kernels add to an integer array `count`, one row per layer and one for the readout; these are its columns. Multiply-adds
are those with weights and influence entries; the element-wise equations of a cell, O(n) a step, are not counted.
"""

import numpy as np

FORWARD = 0  # multiply-adds of the pre-activations and of the readout
PROPAGATE = 1  # multiply-adds of B W Y: influence of active sources on their targets
LEAK = 2  # multiply-adds of A M: rows scaled by their own leak and reset, where something arrives
IMMEDIATE = 3  # additions of a unit's own inputs, biases and local parameters into its own row
GRADIENT = 4  # multiply-adds of the loss gradient: readout weights and rows of active units
UPDATE = 5  # parameters changed by the optimiser
ROWS = 6  # influence rows computed (one per state variable and column tile)
WORDS_READ = 7  # influence entries read
WORDS_WRITTEN = 8  # influence entries written
EVENTS = 9  # units that emitted an event
PHI = 10  # units with d(event)/d(state) != 0
STEPS = 11  # time steps, summed over streams

NAMES = (
    "forward", "propagate", "leak", "immediate", "gradient", "update", "rows", "words_read", "words_written", "events",
    "phi", "steps",
)  # fmt: skip
PARTS = ("forward", "propagate", "leak", "immediate", "gradient", "update")


def new_count(layers):
    """A zeroed count for that many layers and the readout: (layers + 1, len(NAMES)) int64."""
    return np.zeros((layers + 1, len(NAMES)), np.int64)


def totals(count):
    """dict of the totals over layers; `steps` counts each time step once, `multiply_adds` sums all parts."""
    ops = {name: int(count[:, k].sum()) for k, name in enumerate(NAMES)}
    ops["steps"] = int(count[0, STEPS])
    ops["multiply_adds"] = sum(ops[part] for part in PARTS)
    return ops


def dense_rtrl_macs(net):
    """Multiply-adds of one step of dense RTRL on this network without masks: J M for every layer, and the forward pass.

    A layer of N state variables over P parameters (its own and those below) costs N * N * P, and N * N_below * P_below
    for what reaches it from the layer below in the same step. A leaky readout is a layer without recurrence: N * P.
    """
    total = 0
    columns = 0
    below, below_states, below_columns = net.n_in, 0, 0
    for cell in net.stack:
        n = cell.units
        states = n * len(cell.states)
        weights = n * (len(cell.in_channels) * below + len(cell.rec_channels) * n)
        columns += weights + n * (len(cell.channels) + len(cell.trained()))
        total += weights + states * (states if cell.rec_channels else 1) * columns
        total += states * below_states * below_columns
        below, below_states, below_columns = n, states, columns
    return total if net.layout.top[2] < 0 else total + net.n_out * below
