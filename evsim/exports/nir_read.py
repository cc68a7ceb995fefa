"""NIR graphs of anybody as networks of evsim, where these can express them exactly; the rest is refused by name.

Nodes are read as NIR defines them, in steps of forward Euler as norse takes them: x += dt / tau * (inputs - x), the
membrane with the synapse's new value, an event where it is strictly above v_threshold, then v = v_reset. A layer hears
its own events of the step before. r, w_in, v_leak move into the threshold: evsim's v is (v - v_leak) / gain.
"""

import numpy as np

from evsim.check import check_positive, named
from evsim.exports.nir_file import read_graph
from evsim.exports.nir_units import UNITS, read_unit
from evsim.exports.nir_wires import PASSES, Wires, add, number
from evsim.network import Network
from evsim.readout import LeakyReadout, Readout
from evsim.registry import lookup

_WHY = {
    "IF": "it does not leak, and evsim's decays lie below 1",
    "I": "it does not leak, and evsim's decays lie below 1",
    "CubaLI": "it has no events, and evsim's readouts have one leak: use LI",
    "Threshold": "evsim has no unit without a membrane",
    "Delay": "evsim's layers hear the same step, and themselves one step before",
}


def read_nir(source, dt=None):
    """An `evsim.Network` with the events of the NIR graph `source`, a path or a nir.NIRGraph.

    dt: seconds per step; a file that evsim wrote says it, others do not, and events depend on it. LIF nodes, and
    CubaLIF ones with tau_syn = dt, become LIF layers, other CubaLIF nodes CubaLIF layers, with reset="zero"; an LI node
    before the output a LeakyReadout. What lies between is multiplied out; weights of 0 do not exist. dtype: as the file
    says, otherwise float64 if its weights are, else float32.

    FileNotFoundError if there is no such file. ValueError, with the name of the node, for types of nodes that evsim
    does not have, connections other than from layer to layer and from a layer to itself, shapes that do not fit, resets
    that do not go to rest, decays outside [0, 1); and for a file that is damaged, or no NIR.
    """
    with named(str(source) if isinstance(source, str) or hasattr(source, "__fspath__") else "the graph"):
        nodes, edges, ends, metadata = read_graph(source)
        for name, node in nodes.items():
            if node["type"] not in (*PASSES, *UNITS):
                told = _WHY.get(node["type"], "evsim has nothing like it")
                raise ValueError(f"node {name!r} is of type {node['type']}: {told}; rebuild it without that node")
        return _network(Wires(nodes, edges, ends, UNITS), _step(dt, metadata), metadata)


def _step(dt, metadata):
    """Seconds per step: given, or said by the file."""
    said = metadata.get("dt")
    if said is not None:
        said = said.item() if isinstance(said, np.generic | np.ndarray) and said.size == 1 else said
        said = check_positive("dt in the metadata", said)
    if dt is None and said is None:
        raise ValueError(
            "it does not say how long a step is, on which the events depend: give dt in seconds (--dt), such as "
            "norse's 0.001 or snntorch's 0.0001"
        )
    if dt is not None and check_positive("dt", dt) != said and said is not None:
        raise ValueError(f"it was written for steps of {said:g} s, but dt={dt:g} was given: leave dt out")
    return said if dt is None else float(dt)


def _network(wires, dt, metadata):
    """The network of these nodes, from its stack of units."""
    heard = {name: wires.heard(name) for name in (*wires.units, wires.output)}
    units = {}
    for name in wires.units:
        with named(f"node {name!r}"):
            rows = [len(m) for source, m in heard[name][0].items() if m is not None]
            units[name] = read_unit(name, wires.nodes[name], dt, rows[0] if rows else None)
    chain, readout = _stack(wires, heard, units)
    below, layers, values = _inputs(wires), [], {}
    for k, name in enumerate(chain):
        unit, source = units[name], chain[k - 1] if k else wires.input
        n = len(unit.gain)
        with named(f"node {name!r}"):
            made, own = (_custom if unit.custom else _layer)(unit, heard[name], source, below)
        layers.append(made)
        values |= {f"layers.{k}.{key}": value for key, value in own.items()}
        below = n
    maps, bias = heard[readout or wires.output]
    with named(f"node {readout or wires.output!r}"):
        leaky = units[readout] if readout else None
        matrix = maps[chain[-1]]
        n_out = len(leaky.gain) if leaky else below if matrix is None else len(matrix)
        matrix = _matrix(matrix, n_out, below)
        gain = leaky.gain if leaky else np.ones(n_out)
        values["readout.weight"] = matrix if np.all(gain == 1) else matrix * gain[:, None]
        values["readout.bias"] = add(bias, np.zeros(n_out)) * gain
        if leaky:
            values["readout.kappa"] = leaky.local["kappa"]
    shape = np.asarray(wires.nodes[wires.output].get("shape", n_out))
    if shape.dtype.kind in "iu" and shape.prod() != n_out:
        told = f"has the shape {tuple(shape.ravel().tolist())}, but {n_out} values arrive: make these two equal"
        raise ValueError(f"node {wires.output!r} {told}")
    top = LeakyReadout(n_out, **leaky.local) if leaky else Readout(n_out)
    dtype = metadata.get("dtype", "float64" if wires.wide else "float32")
    net = Network(_inputs(wires), layers, top, dtype=dtype, dt=dt)
    net.load_parameters(values)
    return net


def _inputs(wires):
    """Number of inputs: the one axis of the input's shape, apart from axes of length 1 before it."""
    shape = number(wires.input, wires.nodes[wires.input], "shape").ravel()
    if not len(shape) or np.any(shape[:-1] != 1) or shape[-1] < 1:
        raise ValueError(f"node {wires.input!r} has the shape {tuple(shape.tolist())}: evsim's input is a vector")
    return int(shape[-1])


def _stack(wires, heard, units):
    """(names of the layers, bottom to top, name of the LI node before the output or None)."""
    sources = {name: set(maps) - {name} for name, (maps, _) in heard.items()}
    for name, found in sources.items():
        if len(found) != 1:
            told = f"node {name!r} hears {' and '.join(sorted(found)) or 'nothing'}"
            raise ValueError(f"{told}: evsim's layers hear the one below, and themselves; make it a stack")
    chain, readout, name = [], None, wires.output
    while (name := next(iter(sources[name]))) != wires.input:
        if name in chain:
            raise ValueError(f"nodes {', '.join(sorted(chain))} feed one another in a ring, which evsim has not")
        if units[name].type == "LI":
            (matrix,), bias = heard[wires.output][0].values(), heard[wires.output][1]
            plain = matrix is None and not np.any(bias)
            if chain or readout or not plain or name in heard[name][0]:
                raise ValueError(f"node {name!r} is of type LI: evsim has one right before the output, and there alone")
            readout = name
        else:
            chain.insert(0, name)
    if not chain:
        raise ValueError("the output hears no LIF or CubaLIF node: evsim needs at least one layer of events")
    idle = sorted(set(wires.units) - {*chain, readout})
    if idle:
        raise ValueError(f"node {idle[0]!r} does not lie between input and output: evsim has one stack; take it out")
    return chain, readout


def _matrix(matrix, rows, columns):
    """That matrix, the identity for None; ValueError for another shape."""
    matrix = np.eye(rows, dtype=np.float32) if matrix is None else matrix
    if matrix.shape != (rows, columns):
        raise ValueError(f"its weights have shape {matrix.shape}, but {rows} units hear {columns}: make them equal")
    return matrix


def _layer(unit, heard, source, below):
    """(layer, its parameters by short name); below: how many values its source has."""
    (maps, bias), n = heard, len(unit.gain)
    weights = {"in": _matrix(maps[source], n, below), "rec": _matrix(maps.get(unit.name, np.zeros((n, n))), n, n)}
    masks = {f"mask_{side}": matrix != 0 for side, matrix in weights.items()}
    if not masks["mask_in"].any():
        masks["mask_in"] = np.ones_like(masks["mask_in"])
    made = lookup("cell", unit.type)(n, reset="zero", **unit.local, **masks)
    own = {f"weight_{side}": matrix[None] for side, matrix in weights.items()}
    return made, {**own, "bias": add(bias, np.zeros(n))[None], **unit.local}


def _custom(unit, heard, source, below):
    """As _layer, of a node of evsim's own, which has its weights in itself."""
    (maps, bias), (config, own) = heard, unit.custom
    if set(maps) != {source} or maps[source] is not None or np.any(bias):
        raise ValueError("there is a matrix between it and what it hears, but it has its own: leave it out")
    make, sides = lookup("cell", unit.type), ("weight_in", "weight_rec")
    missing = {*sides, "bias", *make.local} - set(own)
    if missing:
        raise ValueError(f"it lacks {', '.join(sorted(missing))}: it is damaged or was edited")
    n = len(unit.gain)
    if [own[side].shape[1:] for side in sides] != [(n, below), (n, n)]:
        given = " and ".join(str(own[side].shape) for side in sides)
        raise ValueError(f"its weights have shapes {given}, but {n} units hear {below} values: make these two equal")
    given = {key: value for key, value in config.items() if key != "kind"}
    masks = {side.replace("weight", "mask"): (own[side] != 0).any(0) for side in sides}
    return make(**given | masks | {key: own[key] for key in make.local}), own
