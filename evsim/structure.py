"""Who can influence whom: the structure of the influence matrix, from the graph of masks."""

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components


def reachable(units, source, target):
    """For each unit, the set of units that a path of edges leads to, itself included.

    source, target: arrays of edge ends. Returns (set_of_unit, sets): sets[set_of_unit[k]] is the ascending array of
    units whose state the parameters of unit k can influence. Units with equal sets share one.
    """
    graph = coo_array((np.ones(len(source), bool), (source, target)), (units, units)).tocsr()
    parts, part = connected_components(graph, directed=True, connection="strong")
    set_of_part = np.full(parts, -1)
    known, sets = {}, []
    for k in range(units):
        if set_of_part[part[k]] < 0:
            found = np.sort(breadth_first_order(graph, k, return_predecessors=False)).astype(np.int64)
            set_of_part[part[k]] = _number(found, known, sets)
    return set_of_part[part], sets


def within(layout, hops):
    """As `reachable`, by paths with at most `hops` recurrent edges; edges from layer to layer are free.

    Where that already is all that can be reached, the layout's own sets are returned.
    """
    every = sum(len(layout.sets[s]) for s in layout.set_of_unit)
    upward = _edges(layout, "inp")
    free = upward
    for _ in layout.layers[2:]:
        free = csr_array(free @ upward)
    found, hop = free, _edges(layout, "rec") @ free
    while hops > 0 and found.nnz < every:
        found, hops = csr_array(found @ hop), hops - 1
    if found.nnz == every:
        return layout.set_of_unit, layout.sets
    found.sort_indices()
    known, sets = {}, []
    each = np.split(found.indices.astype(np.int64), found.indptr[1:-1])
    return np.array([_number(reached, known, sets) for reached in each]), sets


def _number(found, known, sets):
    """Place of the set `found` among `sets`, added if it is new; known: bytes of a set -> place."""
    key = found.tobytes()
    if key not in known:
        known[key] = len(sets)
        sets.append(found)
    return known[key]


def _edges(layout, side):
    """Boolean CSR (source, target) of the edges inside layers ("rec") or between them ("inp"), and the identity."""
    sources, targets = [np.arange(layout.units)], [np.arange(layout.units)]
    for k, place in enumerate(layout.layers):
        edges, heard = getattr(place, side), place if side == "rec" else layout.layers[k - 1]
        if side == "rec" or k > 0:  # the network's inputs are no units
            sources.append(heard.first + edges.source)
            targets.append(place.first + np.repeat(np.arange(place.units), np.diff(edges.ptr)))
    ends = np.concatenate(sources), np.concatenate(targets)
    return csr_array((np.ones(len(ends[0]), bool), ends), (layout.units, layout.units))


def pairs(set_of_unit, sets):
    """The structure as a boolean CSR array (units, units): (i, k) where M may hold d(state of i)/d(parameters of k)."""
    units = len(set_of_unit)
    ptr = np.concatenate([[0], np.cumsum([len(sets[s]) for s in set_of_unit])])
    index = np.concatenate([sets[s] for s in set_of_unit]) if units else np.zeros(0, int)
    by_source = csr_array((np.ones(len(index), bool), index, ptr), (units, units))
    return csr_array(by_source.T)
