"""Networks in bundles, and bundles that were edited."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import evsim
from evsim.cells.lif import LIF
from evsim.exports import bundle
from evsim.registry import lookup


class OwnLIF(LIF):
    """A cell of somebody else's, with a name of its own."""

    kind = "own-lif"


READOUTS = {"linear": evsim.Readout(3), "leaky": evsim.LeakyReadout(3, kappa=np.array([0.0, 0.5, 0.9]))}
N_IN = 5


def network(kinds, dtype="float32", readout="linear", **options):
    """A sparse stack whose units differ in threshold and, where they leak, in time constant."""
    layers = []
    for k, kind in enumerate(kinds):
        n, make = 7 - k, lookup("cell", kind)
        own = {"threshold": np.linspace(0.1, 0.3, n), "density": 0.5, "density_in": 0.7, **options}
        own |= {tau: np.linspace(0.004, 0.03, n) for tau in make.decays.values()}
        layers.append(make(n, **own))
    net = evsim.Network(N_IN, layers, READOUTS[readout], seed=3, dtype=dtype, dt=2e-3)
    values = net.parameters()
    rng = np.random.default_rng(1)
    for name, value in values.items():
        if name.endswith("bias"):
            values[name] = rng.normal(0, 0.1, value.shape)
        elif name.startswith("layers") and "weight" in name:
            values[name] = 3 * value
    net.load_parameters(values)
    return net


def written(net, path, task=None):
    """`path`, with the network in it."""
    bundle.export(SimpleNamespace(net=net, settings={}, task=task), path, force=True)
    return path


def arrays_of(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def edited(path, header=None, drop=(), **changes):
    """The file beside `path` in which those arrays and those entries of the header stand; names with __ for dots."""
    arrays = arrays_of(path)
    arrays |= {name.replace("__", "."): value for name, value in changes.items()}
    arrays["header"] = np.array(json.dumps(json.loads(str(arrays["header"])) | (header or {})))
    other = Path(path).with_name("edited.bundle")
    with other.open("wb") as file:  # numpy would change the name
        np.savez(file, **{name: value for name, value in arrays.items() if name not in drop})
    return other
