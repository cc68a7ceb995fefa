"""Kernel: the update of a tile of M and nothing else, against the ceiling of a buffer of the same size.

A tile's rows become weighted sums of the rows of the step before, as `evsim.carry.carry_rows` has it for units that all
live: no lists to make, no losses, no own inputs. What remains is `evsim.vector.combine`.
"""

from functools import partial

import numpy as np

import evsim
from evsim.bench.ceilings import squares, touched
from evsim.bench.nets import fan_in_mask
from evsim.bench.timing import Way
from evsim.jit import jit_fused
from evsim.memory import aligned_zeros
from evsim.vector import combine

ALIVE = {"threshold": 1e-3, "half_width": 100.0, "graded": False}  # every unit near its threshold at every step
PLACES = (("L1", 16, 128, 8), ("L2", 128, 512, 8))  # level, rows, columns, edges of a row
WORK, MORE = 2**26, 5  # multiply-adds of a turn; turns are so short that there may be more of them


@jit_fused
def carry_tile(steps, Y, ptr, source, coef):
    """So many steps (an even number) of a tile: Y[:n] and Y[n:] in turns are what is read and what is written."""
    n = ptr.shape[0] - 1
    prev, now, zero = 0, n, Y.dtype.type(0)
    for _ in range(steps):
        for r in range(n):
            combine(Y, now + r, zero, Y, prev, source, coef, ptr[r], ptr[r + 1], Y.shape[1])
        prev, now = now, prev


def measure_kernel(record):
    """Both levels, and once the whole step of a learner whose tile is as large."""
    for level, rows, columns, edges in PLACES:
        steps = 4 if record.quick else 2 * max(1, WORK // (2 * rows * columns * edges))
        turn, size = tile_update(rows, columns, edges, steps)
        x, out = touched(size // 4), np.zeros(1, np.float32)
        times = 4 if record.quick else WORK // len(x)
        ways = [
            Way(f"combine, all rows of a tile of {rows} x {columns}", turn, steps, macs=rows * columns * edges),
            Way("ceiling: read and add squares", partial(squares, x, times, out), times, ours=False, macs=len(x)),
        ]
        if level == "L2":
            ways.append(whole_step(rows, columns, edges, 16 if record.quick else 500))
        settings = {"rows": rows, "columns": columns, "edges": edges, "bytes": size}
        title = f"inner kernel in {level}: {size // 1024} KiB read and written, {edges} sources a row"
        turns = record.repeats * (1 if record.quick else MORE)
        found = record.group("influence", title, ways, None, settings, turns)
        kernel, ceiling = (rate(found[way.name]) for way in ways[:2])
        found[ways[0].name] |= {"of_ceiling": kernel / ceiling, "level": level}
        note = f"{kernel:.1f} of {ceiling:.1f} G/s, each at its best"
        what = f"inner influence kernel in {level} ({size // 1024} KiB): fraction of the multiply-add ceiling there"
        record.claim("influence", what, kernel / ceiling, ">=", 0.5, note=note)


def rate(row):
    """10^9 multiply-adds a second, in turns that nothing disturbed: a ceiling is what was reached once."""
    return row["multiply_adds"] / row["us_10"] / 1e3


def tile_update(rows, columns, edges, steps):
    """(turn, bytes read and written): a turn takes a tile of such a size through `steps` steps."""
    source = np.nonzero(fan_in_mask(rows, rows, edges, 0))[1].astype(np.int32)
    ptr = np.arange(0, len(source) + 1, edges)
    coef = np.full(len(source), 1 / edges, np.float32)  # means: what is summed neither grows nor fades
    Y = aligned_zeros((2 * rows, columns), np.float32)
    Y[:] = np.random.default_rng(0).random(Y.shape)
    return partial(carry_tile, steps, Y, ptr, source, coef), Y.nbytes


def whole_step(rows, columns, edges, steps):
    """Way of exact RTRL where M is one tile of about that size: lists, the forward pass and own inputs included."""
    heard = max(1, columns // rows - edges - 1)
    masks = {"mask_in": np.ones((rows, heard), bool), "mask_rec": fan_in_mask(rows, rows, edges, 0)}
    net = evsim.Network(heard, evsim.EvRNN(rows, **masks, **ALIVE), evsim.Readout(2))
    x = np.random.default_rng(0).standard_normal((steps, heard)).astype(np.float32)
    learner = evsim.RTRL(net)
    return Way(f"RTRL, the whole step, M {rows} x {net.layout.unit_columns}", lambda: learner.run(x), steps, learner)
