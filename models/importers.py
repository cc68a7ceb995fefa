"""Networks in NIR run by other libraries' importers, norse's and nirtorch's on snntorch: to see what arrives there."""

import warnings
from pathlib import Path

import numpy as np
import torch

from evsim.registry import load_optional

from .nodes import snntorch_nodes


def run_norse(graph, x, dt=1e-3):
    """What norse makes of a NIR graph: x (steps, n_in) or (batch, steps, n_in) -> outputs, likewise, float32.

    graph: a `nir.NIRGraph`, or the path of a file. dt: seconds per step. State is zero at first.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # norse 1.1.0 calls what nirtorch 2.6 and torch deprecate
        return drive(load_optional("norse.torch", "run_norse").from_nir(_graph(graph), dt=dt), x)


def run_snntorch(graph, x, dt=1e-3):
    """As `run_norse`, by nirtorch on snntorch's neurons (`snntorch_nodes`)."""
    nirtorch = load_optional("nirtorch", "run_snntorch")
    return drive(nirtorch.nir_to_torch(_graph(graph), snntorch_nodes(dt)), x)


def drive(module, x, keeps_state=True):
    """Outputs of a torch module that is called step by step with (batch, n_in), and with its state if it keeps one."""
    given = np.asarray(x, np.float32)
    steps = torch.from_numpy(given if given.ndim == 3 else given[None]).transpose(0, 1)
    state, said = None, []
    with torch.no_grad():
        for x_t in steps:
            y = module(x_t, state) if keeps_state else module(x_t)
            y, state = y[:2] if isinstance(y, tuple) else (y, None)
            said.append(y.numpy())
    out = np.stack(said, 1)
    return out if given.ndim == 3 else out[0]


def _graph(graph):
    return load_optional("nir", "importing NIR").read(graph) if isinstance(graph, str | Path) else graph
