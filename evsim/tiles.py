"""How the influence matrix is cut and stored: column tiles that fit the cache, each with its own list of rows.

M is compressed by column: a tile is a run of at most `width` columns (parameters of one or more source units) that can
reach the same set of units, and holds one row per state variable of each unit in that set, nothing else. Columns do not
depend on one another, so a tile can be carried through several time steps while it stays in the cache.
"""

from dataclasses import dataclass

import numpy as np

ROW_BYTES = (4096, 2048, 1024, 512, 256, 128)  # of a tile's row: long rows vectorise well and are few
TILE_BYTES = 2**19  # of a tile and what it shows, so that both stay in the second cache
FEW = 1 / 16  # of the rows of units without memory, as many as may be near their thresholds
ENOUGH = 512  # bytes of a row that are worth while, however many rows there are
SMALL = 2**20  # bytes of M below which empty columns do not matter
LINE = 64  # bytes: rows of M begin with a cache line
SPARE = 1.25  # how much larger than its entries M may be


@dataclass
class Tiles:
    """Index arrays that the kernels read.

    Per tile: set, first column, columns, first row in M, first entry in `scale`; pieces ptr. Per piece (the columns of
    one unit inside a tile): unit, first column, ranges of its input and recurrent edges, 1 if the biases and local
    parameters are in it. The units of a set, ascending, stand in `unit`, those of layer l from span[set, l] to
    span[set, l + 1]; `row` is the first row of each in a tile (one row per state); position[set, unit] is a unit's
    place in the set or -1; whole[set]: the set is a layer and all above it. Edges are numbered through all layers.
    """

    width: int
    tile: np.ndarray  # (tiles, 6) int64: set, column, columns, row, flag, layer
    piece_ptr: np.ndarray
    piece: np.ndarray  # (pieces, 7) int64: unit, column, in_lo, in_hi, rec_lo, rec_hi, tail
    span: np.ndarray
    whole: np.ndarray
    unit: np.ndarray
    row: np.ndarray
    position: np.ndarray
    rows: int  # of M, each `width` long
    flags: int  # one per unit and tile: does its row hold anything
    entries: int  # rows times columns, without what pads the last columns of a tile


def fit_tiles(net, set_of_unit, sets):
    """Tiles as wide as speed wants them, narrower where masks of many small parts would leave most of a tile empty."""
    found = []
    states = np.repeat([len(c.states) for c in net.stack], [c.units for c in net.stack])
    # of units without memory few rows are held at once
    rows = states * np.repeat([1.0 if c.memory else FEW for c in net.stack], [c.units for c in net.stack])
    rows = max(rows[s].sum() for s in sets)
    for size in ROW_BYTES:
        if size > ENOUGH and size * rows > TILE_BYTES:
            continue
        found.append(build_tiles(net, set_of_unit, sets, size // net.dtype.itemsize))
        held = found[-1].rows * found[-1].width
        if held * net.dtype.itemsize <= SMALL or held <= SPARE * found[-1].entries:
            return found[-1]
    return min(found, key=lambda tiles: tiles.rows * tiles.width)


def build_tiles(net, set_of_unit, sets, width):
    """Cut the columns of `net` into tiles of at most `width` columns, or what one unit's biases and locals need."""
    layout = net.layout
    layer_of = np.repeat(np.arange(len(net.stack)), [c.units for c in net.stack])
    states = np.array([len(c.states) for c in net.stack])[layer_of]
    width = max(width, *(len(c.channels) + len(c.local) for c in net.stack))
    set_ptr = np.concatenate([[0], np.cumsum([len(s) for s in sets])])
    edges = [*(p.first for p in layout.layers), layout.units]
    span = np.array([p + np.searchsorted(s, edges) for p, s in zip(set_ptr, sets, strict=False)])
    whole = np.array([s[0] in edges and len(s) == layout.units - s[0] for s in sets])
    row = np.concatenate([np.cumsum(states[s]) - states[s] for s in sets])
    set_rows = np.array([states[s].sum() for s in sets])
    position = np.full((len(sets), layout.units), -1, np.int32)
    for s, members in enumerate(sets):
        position[s, members] = np.arange(len(members))

    tiles, pieces, piece_ptr = [], [], [0]
    first_in = np.cumsum([0, *(len(p.inp.source) for p in layout.layers)])
    first_rec = np.cumsum([0, *(len(p.rec.source) for p in layout.layers)])
    for u in map(int, layout.order):
        level = int(layer_of[u])
        cell, place = net.stack[level], layout.layers[level]
        key = (set_of_unit[u], level)
        column = int(layout.start[u])
        i = u - place.first
        e_in, e_rec = int(first_in[level] + place.inp.ptr[i]), int(first_rec[level] + place.rec.ptr[i])
        left = [int(np.diff(place.inp.ptr[i : i + 2])[0]), int(np.diff(place.rec.ptr[i : i + 2])[0]), 1]
        sizes = (len(cell.in_channels), len(cell.rec_channels), len(cell.channels) + len(cell.trained()))
        while any(left):
            needed = next(size for size, count in zip(sizes, left, strict=True) if count)
            if not tiles or tiles[-1][0] != key or tiles[-1][2] + needed > width:
                tiles.append([key, column, 0])
                piece_ptr.append(piece_ptr[-1])
            room, took = width - tiles[-1][2], [0, 0, 0]
            for part in range(3):
                took[part] = min(left[part], room // max(sizes[part], 1))
                room -= took[part] * sizes[part]
                left[part] -= took[part]
                if left[part]:
                    break
            pieces.append((u, column, e_in, e_in + took[0], e_rec, e_rec + took[1], took[2]))
            piece_ptr[-1] += 1
            e_in, e_rec = e_in + took[0], e_rec + took[1]
            done = sum(t * size for t, size in zip(took, sizes, strict=True))
            column += done
            tiles[-1][2] += done
    which = np.array([key[0] for key, _, _ in tiles])
    home = np.array([key[1] for key, _, _ in tiles])
    columns = np.array([c for _, _, c in tiles])
    line = LINE // net.dtype.itemsize
    width = int(-(-columns.max() // line) * line)
    rows, members = set_rows[which], np.diff(set_ptr)[which]
    at = np.array([a for _, a, _ in tiles])
    table = np.stack([which, at, columns, np.cumsum(rows) - rows, np.cumsum(members) - members, home], 1)
    return Tiles(
        width, table.astype(np.int64), np.array(piece_ptr, np.int64), np.array(pieces, np.int64), span.astype(np.int64),
        whole, np.concatenate(sets), row.astype(np.int64), position,
        int(rows.sum()), int(members.sum()), int((rows * columns).sum()),
    )  # fmt: skip
