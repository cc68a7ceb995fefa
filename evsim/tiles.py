"""How the influence matrix is cut and stored: column tiles that fit the cache, each with its own list of rows.

M is compressed by column: a tile is a run of columns (parameters of one or more source units) that can reach the same
set of units, and holds one contiguous row per state variable of each unit in that set, nothing else. Columns do not
depend on one another, so a tile can be carried through several time steps while it stays in the cache.
"""

from dataclasses import dataclass

import numpy as np


@dataclass
class Tiles:
    """Index arrays that the kernels read.

    Per tile: set, first column, width, place of its entries in M, place of its rows in `live`; pieces ptr. Per piece (the
    columns of one unit inside a tile): unit, first column, ranges of its input and recurrent edges, 1 if the biases and
    local parameters are in it. Per set: ptr into `unit` (ascending units) and `row` (first row of each unit: one row per
    state); `position[set, unit]` is the unit's place in the set or -1.
    """

    tile: np.ndarray  # (tiles, 5) int64: set, column, width, entries, rows
    piece_ptr: np.ndarray
    piece: np.ndarray  # (pieces, 7) int64: unit, column, in_lo, in_hi, rec_lo, rec_hi, tail
    set_ptr: np.ndarray
    unit: np.ndarray
    row: np.ndarray
    position: np.ndarray
    entries: int  # of M
    rows: int  # live flags
    largest: int  # entries of the largest tile


def build_tiles(net, width):
    """Cut the columns of `net` into tiles of about `width` columns; no tile is wider."""
    layout = net.layout
    layer_of = np.repeat(np.arange(len(net.layers)), [c.units for c in net.layers])
    states = np.array([len(c.states) for c in net.layers])[layer_of]
    set_ptr = np.concatenate([[0], np.cumsum([len(s) for s in layout.sets])])
    row = np.concatenate([np.cumsum(states[s]) - states[s] for s in layout.sets])
    set_rows = np.array([states[s].sum() for s in layout.sets])
    position = np.full((len(layout.sets), layout.units), -1, np.int32)
    for s, members in enumerate(layout.sets):
        position[s, members] = np.arange(len(members))

    tiles, pieces, piece_ptr = [], [], [0]
    for u in layout.order:
        for piece in _pieces(net, int(u), int(layer_of[u]), width):
            at, cols = piece[1], piece.pop()
            key = (layout.set_of_unit[u], layer_of[u])
            if tiles and tiles[-1][0] == key and tiles[-1][2] + cols <= width:
                tiles[-1][2] += cols
                piece_ptr[-1] += 1
            else:
                tiles.append([key, at, cols])
                piece_ptr.append(piece_ptr[-1] + 1)
            pieces.append(piece)
    which = np.array([key[0] for key, _, _ in tiles])
    cols = np.array([c for _, _, c in tiles])
    sizes = set_rows[which] * cols
    members = np.diff(set_ptr)[which]
    table = np.stack([which, [a for _, a, _ in tiles], cols, np.cumsum(sizes) - sizes, np.cumsum(members) - members], 1)
    return Tiles(
        table.astype(np.int64), np.array(piece_ptr, np.int64), np.array(pieces, np.int64), set_ptr.astype(np.int64),
        np.concatenate(layout.sets), row.astype(np.int64), position, int(sizes.sum()), int(members.sum()), int(sizes.max()),
    )  # fmt: skip


def _pieces(net, u, level, width):
    """Pieces [unit, column, in_lo, in_hi, rec_lo, rec_hi, tail, columns] of one unit's segment, none above `width`.

    Edges are numbered through all layers, bottom up.
    """
    cell, place = net.layers[level], net.layout.layers[level]
    i = u - place.first
    in_lo = int(place.inp.ptr[i]) + sum(len(p.inp.source) for p in net.layout.layers[:level])
    rec_lo = int(place.rec.ptr[i]) + sum(len(p.rec.source) for p in net.layout.layers[:level])
    column = int(net.layout.start[u])
    fed_in, fed_rec = len(cell.in_channels), len(cell.rec_channels)
    edges = [(in_lo + e, 0) for e in range(place.inp.ptr[i + 1] - place.inp.ptr[i])]
    edges += [(rec_lo + e, 1) for e in range(place.rec.ptr[i + 1] - place.rec.ptr[i])]
    tail = len(cell.channels) + len(cell.trained())
    room = 0
    out = []

    def fresh():
        out.append([u, column, in_lo, in_lo, rec_lo, rec_lo, 0, 0])

    for e, side in edges:
        fed = fed_rec if side else fed_in
        if room < fed:
            fresh()
            room = width
        slot = 4 if side else 2
        piece = out[-1]
        if piece[slot] == piece[slot + 1]:
            piece[slot] = int(e)
        piece[slot + 1] = int(e) + 1
        piece[7] += fed
        column += fed
        room -= fed
    if room < tail:
        fresh()
    out[-1][6] = 1
    out[-1][7] += tail
    return out
