"""NIR: LIF and CubaLIF networks as a graph that norse's importer runs event for event, and test vectors beside it.

NIR's nodes are differential equations; importers take steps of forward Euler. So each layer is written as a CubaLIF
node whose Euler step is evsim's own: tau = dt / (1 - decay), r = tau_mem / dt, w_in = tau_syn / dt, both voltages 0. A
LIF is one with tau_syn = dt. Everything else is a matrix: Affine nodes for what a layer hears from below, with its
bias, Linear ones for its recurrence, absent weights 0.
"""

import io
import json
import warnings
from dataclasses import make_dataclass
from pathlib import Path

import numpy as np

from evsim import __version__
from evsim.check import as_floats
from evsim.exports.trace import choose_inputs
from evsim.files import refuse_existing, replacing
from evsim.network import check_network
from evsim.readout import LeakyReadout
from evsim.registry import load_optional, lookup

CUSTOM = "EvsimCell"  # type of the node that holds what NIR has no words for
LEAK_DROPPED = (
    "norse 1.1.0 drops LI nodes silently: spikes are right there, but outputs are those of a readout without memory"
)
CUSTOM_DROPPED = (
    "norse 1.1.0 drops custom nodes silently and goes on without them, other importers stop: this file is for evsim"
)


def export(trained, out, force=False, allow_custom=False, **none):
    """NIR (HDF5) that norse runs event for event: LIF and CubaLIF with reset "zero"; test vectors beside it.

    trained: has net, and task, from whose test sequences the test vectors come, or None. Returns what `write_nir` does.
    ValueError for a network that NIR cannot hold, a file that exists without force, and options of other exports.
    """
    if none:
        raise ValueError(f"{', '.join(sorted(none))}: no option of the export to nir; it takes force and allow_custom")
    net = getattr(trained, "net", None)
    if net is None:
        raise ValueError("this is a torch model: nir takes networks of evsim; train with --backend numba")
    return write_nir(out, net, allow_custom=allow_custom, force=force, task=trained.task)


def write_nir(path, net, nested=False, allow_custom=False, force=False, x=None, task=None):
    """Write net to the file `path` in NIR (HDF5), and test vectors to NAME.vectors.nir beside it.

    nested: each recurrent layer as a graph of its own within the graph, as snntorch and rockpool have it. allow_custom:
    layers that NIR does not know become nodes of evsim's own, with a warning. x (samples, T, n_in): inputs of the test
    vectors; otherwise test sequences of task, or random ones. Their events and outputs are what net.run makes of them.

    Returns a dict: path, vectors (paths), bytes (of both), nodes ("name (type)"), events_per_layer (in the vectors),
    and notes, if there are any, on what importers do with it. ValueError, and nothing written, for layers that NIR
    cannot hold, by name; for a file that exists, unless force.
    """
    path = Path(path)
    beside = path.with_name(f"{path.stem}.vectors.nir")
    for one in (path, beside):
        refuse_existing(one, force)
    graph = to_graph(net, nested, allow_custom)
    data, events = _vectors(net, x, task)
    nir = load_optional("nir", "the export to nir")
    for one, put, what in ((path, nir.write, graph), (beside, nir.write_data, data)):
        whole = io.BytesIO()
        put(whole, what)
        with replacing(one) as file:
            file.write(whole.getvalue())
    types = [type(node).__name__ for node in graph.nodes.values()]
    notes = [CUSTOM_DROPPED] * (CUSTOM in types) + [LEAK_DROPPED] * ("LI" in types)
    for note in notes:
        warnings.warn(f"{path}: {note}", stacklevel=2)
    return {
        "path": str(path), "vectors": str(beside), "bytes": sum(one.stat().st_size for one in (path, beside)),
        "nodes": [f"{name} ({kind})" for name, kind in zip(graph.nodes, types)], "events_per_layer": events,
        **({"notes": notes} if notes else {}),
    }  # fmt: skip


def to_graph(net, nested=False, allow_custom=False):
    """The nir.NIRGraph of net; arguments and errors as in `write_nir`."""
    check_network(net)
    refused = {k: told for k, cell in enumerate(net.layers) if (told := _refusal(cell))}
    if refused and not allow_custom:
        told = "; ".join(f"layers.{k} ({type(net.layers[k]).__name__}) {why}" for k, why in refused.items())
        raise ValueError(f"NIR cannot hold this network: {told}; or --allow-custom writes a node only evsim reads")
    nir = load_optional("nir", "the export to nir")
    parameters = {name: value + 0.0 for name, value in net.parameters().items()}  # + 0.0: no negative zeros
    nodes, edges, below = {"input": nir.Input(input_type={"input": np.array([net.n_in])})}, [], "input"
    for k, cell in enumerate(net.layers):
        own = {name.split(".")[2]: value for name, value in parameters.items() if name.startswith(f"layers.{k}.")}
        heard, rec, units = (layer_name(net, k, part) for part in ("in", "rec", "units"))
        if k in refused:
            nodes[units] = _custom(nir, cell, own)
            edges.append((below, units))
        else:
            nodes[heard] = nir.Affine(weight=own["weight_in"][0], bias=own["bias"][0])
            edges += [(below, heard), (heard, units)]
            neuron, recurrent = _neuron(nir, own, net.dt), own["weight_rec"][0]
            if not recurrent.any():
                nodes[units] = neuron
            elif nested:
                nodes[units] = _nest(nir, neuron, recurrent)
            else:
                nodes |= {units: neuron, rec: nir.Linear(weight=recurrent)}
                edges += [(units, rec), (rec, units)]
        below = units
    nodes["readout"] = nir.Affine(weight=parameters["readout.weight"], bias=parameters["readout.bias"])
    edges.append((below, "readout"))
    below = "readout"
    if isinstance(net.readout, LeakyReadout):
        nodes["leak"] = _leak(nir, parameters["readout.kappa"], net.dt)
        edges.append(("readout", "leak"))
        below = "leak"
    nodes["output"] = nir.Output(output_type={"output": np.array([net.n_out])})
    edges.append((below, "output"))
    return nir.NIRGraph(nodes, edges, metadata=_metadata(net))


def layer_name(net, k, part):
    """Name of a node of layer k. Files have nodes by the alphabet, and nirtorch 2.6 wants nested graphs in order."""
    return f"layer{k:0{len(str(len(net.layers) - 1))}d}_{part}"


def _refusal(cell):
    """Why NIR has no node for that layer, and what to do; None if it has one."""
    known = {lookup("cell", "lif"), lookup("cell", "cubalif")}
    if type(cell) not in known:
        told = "train LIF or CubaLIF layers with reset='zero', or export to c or bundle"
        return f"has equations NIR has no node for: {told}"
    if cell.reset != "zero":
        return f"has reset={cell.reset!r}, and NIR's neurons are set to a value: train it with reset='zero'"
    return None


def time_constant(decay, dt):
    """tau (s) of which a step of forward Euler decays by that factor, float64."""
    return dt / (1.0 - decay.astype(np.float64))


def _neuron(nir, own, dt):
    beta = own["beta"]
    tau_mem, tau_syn = time_constant(beta, dt), time_constant(own.get("alpha", np.zeros_like(beta)), dt)
    rest = np.zeros_like(beta)
    return nir.CubaLIF(
        tau_syn=tau_syn, tau_mem=tau_mem, r=tau_mem / dt, v_leak=rest, v_reset=rest.copy(),
        v_threshold=own["threshold"], w_in=tau_syn / dt,
        metadata={name: own[name] for name in ("beta", "alpha") if name in own},
    )  # fmt: skip


def _leak(nir, kappa, dt):
    tau = time_constant(kappa, dt)
    return nir.LI(tau=tau, r=tau / dt, v_leak=np.zeros_like(kappa), metadata={"kappa": kappa})


def _nest(nir, neuron, recurrent):
    n = np.array([len(recurrent)])
    nodes = {
        "input": nir.Input(input_type={"input": n}), "neuron": neuron, "rec": nir.Linear(weight=recurrent),
        "output": nir.Output(output_type={"output": n}),
    }  # fmt: skip
    return nir.NIRGraph(nodes, [("input", "neuron"), ("neuron", "rec"), ("rec", "neuron"), ("neuron", "output")])


def _custom(nir, cell, own):
    """A whole layer, weights included, in one node: its configuration as JSON, its parameters as arrays."""
    kind = make_dataclass(
        CUSTOM, [("config", str), ("parameters", dict)], bases=(nir.NIRNode,), eq=False,
        namespace={"__post_init__": _shape_custom, "__module__": __name__},
    )  # fmt: skip
    in_arrays = {"density", "density_in", *cell.local, *cell.decays.values()}  # told by the parameters
    config = {name: value for name, value in cell.config().items() if name not in in_arrays}
    return kind(json.dumps(config, sort_keys=True), own)


def _shape_custom(node):
    _, units, heard = node.parameters["weight_in"].shape
    node.input_type, node.output_type = {"input": np.array([heard])}, {"output": np.array([units])}


def _metadata(net):
    """What NIR leaves open, in words and numbers; `evsim.exports.nir_read` takes dt and dtype from here.

    Nodes have decays in their metadata too: in float64 a time constant does not always lead back to the same one.
    """
    return {
        "source": f"evsim {__version__}",
        "dt": net.dt,
        "dtype": net.dtype.name,
        "integration": "forward Euler: x += dt / tau * (inputs - x), the synapse first, then the membrane with it",
        "event": "1 where the membrane is above v_threshold, strictly, after integration",
        "reset": "to v_reset, after the event and within its step",
        "recurrence": "a layer hears its own events of the step before, and those of other layers of the same step",
        "start": "all states and events are 0",
    }


def _vectors(net, x, task):
    """(nir.NIRGraphData, events per layer): inputs, and what comes of them."""
    nir = load_optional("nir", "the export to nir")
    if x is None:
        found, _ = choose_inputs(net, task)
        x = np.zeros((len(found), max(map(len, found)), net.n_in), net.dtype)  # 0 behind the ends of sequences
        for k, one in enumerate(found):
            x[k, : len(one)] = one
    x = as_floats("x", x, (None, None, net.n_in), net.dtype)
    out, events = net.run(x, record_events=True)
    seen = {"input": ("input", _bits(x))}
    for k, shown in enumerate(events):
        seen[layer_name(net, k, "units")] = ("spikes", _bits(shown))
    seen["output"] = ("output", out)
    nodes = {
        name: nir.NIRNodeData({what: nir.TimeGriddedData(values, net.dt)}) for name, (what, values) in seen.items()
    }
    return nir.NIRGraphData(nodes), [int(np.count_nonzero(e)) for e in events]


def _bits(values):
    """As bool where all are 0 or 1, as NIR's data has events; others as they are."""
    return values.astype(bool) if np.isin(values, (0, 1)).all() else values
