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
            key = found.tobytes()
            if key not in known:
                known[key] = len(sets)
                sets.append(found)
            set_of_part[part[k]] = known[key]
    return set_of_part[part], sets


def pairs(set_of_unit, sets):
    """The structure as a boolean CSR array (units, units): (i, k) where M may hold d(state of i)/d(parameters of k)."""
    units = len(set_of_unit)
    ptr = np.concatenate([[0], np.cumsum([len(sets[s]) for s in set_of_unit])])
    index = np.concatenate([sets[s] for s in set_of_unit]) if units else np.zeros(0, int)
    by_source = csr_array((np.ones(len(index), bool), index, ptr), (units, units))
    return csr_array(by_source.T)
