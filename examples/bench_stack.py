"""What a stack of two layers costs, against the blocks of its influence matrix.

    python examples/bench_stack.py [--quick]

M of a stack is block-triangular: (1,1) the lower layer over its own parameters, (2,2) the upper over its own, (2,1) the
upper over the lower's. Blocks (1,1) and (2,2) are those of each layer trained alone, the upper one on the lower's
events. The multiply-adds that (2,1) needs follow from which units were near their thresholds: (active sources + entries
of A) x columns, less where nothing arrives at a row; its time is that work at the rate of the other two. Overhead: the
stack over the three blocks together.
"""

import argparse
import statistics
import time

import numpy as np

import evsim
from evsim.registry import lookup

INPUTS, OUTPUTS, STEPS = 16, 10, 64


def alone(cell, n_in, prefix, values, masks):
    """A learner of one layer with the stack's weights and masks."""
    own = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
    shape = {"mask_in": masks[f"{prefix}weight_in"], "mask_rec": masks[f"{prefix}weight_rec"]}
    net = evsim.Network(n_in, type(cell)(cell.units, **shape), evsim.Readout(OUTPUTS))
    net.load_parameters(net.parameters() | {f"layers.0.{name}": value for name, value in own.items()})
    return evsim.RTRL(net)


def needed(learner, x, columns):
    """Multiply-adds of block (2,1) over the steps of x, from the derivatives that the cells leave behind."""
    (low, high), masks, total = learner.net.layout.layers, learner.net.masks(), 0
    below, rec = masks["layers.1.weight_in"][0], masks["layers.1.weight_rec"][0]
    cell, f = learner.net.layers[1], learner._forward
    for x_t in x:
        before = f.phi[0, learner._open, high.first :].any(1)
        learner.step(x_t)
        near = f.phi[0, 1].any(1)
        rows = np.full(high.units, True) if cell.memory else near[high.first :]
        edges = below[rows][:, near[: low.units]].sum() + rec[rows][:, before].sum()
        entries = np.count_nonzero(f.A[0, 1, high.first :]) if len(cell.states) > 1 else cell.memory * high.units
        total += int(len(cell.states) * edges + entries) * columns
    return total


def compare(make, units, repeats):
    """(counted, clock) overhead of a stack of two layers of one kind, as fractions."""
    cells = [make(units, density=0.1), make(units, density=0.1)]
    net = evsim.Network(INPUTS, cells, evsim.Readout(OUTPUTS), seed=1)
    values, masks, rng = net.parameters(), net.masks(), np.random.default_rng(0)
    x = rng.standard_normal((3 * STEPS, INPUTS)).astype(np.float32)
    y = rng.integers(OUTPUTS, size=STEPS)
    _, events = net.run(x, record_events=True)
    stack = evsim.RTRL(net)
    low, high = alone(cells[0], INPUTS, "layers.0.", values, masks), alone(cells[1], units, "layers.1.", values, masks)
    runs = [(stack, x), (low, x), (high, events[0])]
    for learner, heard in runs:
        learner.run(heard[: 2 * STEPS])  # M fills
    times, work = [[], [], []], [0, 0, 0]
    for repeat in range(repeats):
        for k, (learner, heard) in enumerate(runs):
            before, start = learner.ops, time.perf_counter()
            learner.run(heard[2 * STEPS :], y)
            times[k].append(time.perf_counter() - start)
            if not repeat:
                work[k] = sum(learner.ops[part] - before[part] for part in ("propagate", "leak"))
    again = evsim.RTRL(net)
    again.run(x[: 2 * STEPS])
    block = needed(again, x[2 * STEPS :], low.net.layout.unit_columns)
    seconds = [statistics.median(t) for t in times]
    spent = (seconds[1] + seconds[2]) * (1 + block / (work[1] + work[2]))
    return work[0] / (work[1] + work[2] + block) - 1, seconds[0] / spent - 1


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="small layers, once")
    quick = options.parse_args().quick
    print(f"{'two layers of':14} {'multiply-adds':>14} {'time':>8}   over those of the blocks (1,1), (2,1), (2,2)")
    for name in evsim.names("cell"):
        counted, clock = compare(lookup("cell", name), 16 if quick else 128, 1 if quick else 7)
        print(f"{name:14} {counted:14.1%} {clock:8.1%}")


if __name__ == "__main__":
    main()
