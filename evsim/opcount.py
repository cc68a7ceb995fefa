"""What the kernels count, and what the same work costs a dense learner.

Kernels add to an integer array `count`, one row per layer and one for the readout; these are its columns. Multiply-adds
are those with weights, influence entries and gradients. The element-wise equations of a cell, O(n) a step and as much
in silence, are not among them: they are unit updates (`evsim.work`). So are lam B and lam A on the way back. Words are
numbers of the network's precision; each multiply-add reads its operands where they are stored, once.
"""

import numpy as np

FORWARD = 0  # multiply-adds of the pre-activations and of the readout
PROPAGATE = 1  # multiply-adds of B W Y: influence of active sources on their targets; of W^T slope on the way back
LEAK = 2  # multiply-adds of A M: rows scaled by their own leak and reset, where something arrives; lam A
IMMEDIATE = 3  # additions of a unit's own inputs, biases and local parameters into its own row, or into the gradient
GRADIENT = 4  # multiply-adds of the loss gradient: readout weights, errors sent down, rows of active units
UPDATE = 5  # parameters changed by the optimiser
ROWS = 6  # influence rows computed (one per state variable and column tile)
WORDS_READ = 7  # influence entries read while it is carried
WORDS_WRITTEN = 8  # influence entries written
EVENTS = 9  # units that emitted an event
PHI = 10  # units with d(event)/d(state) != 0
STEPS = 11  # time steps, summed over streams
SHOW = 12  # multiply-adds of Y = phi M: rows kept for those who hear the unit, once a step
COEFFICIENTS = 13  # multiply-adds of B W, once for each edge along which influence flows
OPTIMIZER = 14  # arithmetic of an update beyond one multiply-add for each parameter
ONES_FORWARD = 15  # multiply-adds of FORWARD whose factor is an event or input of exactly 1, or that only add
ONES_INFLUENCE = 16  # the same of PROPAGATE to IMMEDIATE
ONES_GRADIENT = 17  # the same of GRADIENT
WEIGHTS = 18  # weights read while influence is carried, or errors on their way back
STEP_READ = 19  # entries of Steps, slopes and lam read meanwhile
STEP_WRITTEN = 20  # slopes and lam written on the way back
SUMS = 21  # gradient entries that the way back reads and writes
BACK = 22  # states whose Step was worked through on the way back
SENT = 23  # weights read to send errors down from the outputs
READ = 24  # influence entries read into the gradient
GRADIENTS = 25  # gradient entries read and written for it
SUMMED = 26  # gradient entries read by updates, one for each stream
KEPT = 27  # entries of the optimiser's own state, read and written
SEQUENCES = 28  # sequences begun

NAMES = (
    "forward", "propagate", "leak", "immediate", "gradient", "update", "rows", "words_read", "words_written", "events",
    "phi", "steps", "show", "coefficients", "optimizer", "ones_forward", "ones_influence", "ones_gradient", "weights",
    "step_read", "step_written", "sums", "back", "sent", "read", "gradients", "summed", "kept", "sequences",
)  # fmt: skip
PARTS = ("forward", "propagate", "leak", "immediate", "show", "coefficients", "gradient", "update", "optimizer")


def new_count(layers):
    """A zeroed count for that many layers and the readout: (layers + 1, len(NAMES)) int64."""
    return np.zeros((layers + 1, len(NAMES)), np.int64)


def widened(count):
    """A count from before some of the columns were there: these are 0. Others are returned as they are."""
    if count.ndim != 2 or count.shape[1] != 12 or count.dtype.kind != "i":
        return count
    return np.pad(count, ((0, 0), (0, len(NAMES) - count.shape[1])))


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


def dense_bptt_macs(net):
    """Multiply-adds of one step of dense BPTT on this network without masks, forward and back.

    Each weight is used going forward, has its gradient added to, and passes an error on, but for those from the
    network's inputs, to which nothing is passed. lam A and the own parameters of each unit come on top.
    """
    total, below = 0, net.n_in
    for k, cell in enumerate(net.stack):
        n, states = cell.units, len(cell.states)
        inputs, recurrent = len(cell.in_channels) * n * below, len(cell.rec_channels) * n * n
        total += 3 * (inputs + recurrent) - (inputs if k == 0 else 0)
        total += n * (states * states + len(cell.channels) + states * len(cell.trained()))
        below = n
    return total if net.layout.top[2] < 0 else total + 3 * net.n_out * below
