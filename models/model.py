"""Model: a memory and a predictor as one torch module; weights that move between it and an `evsim.Network`."""

import copy

import torch
from torch import nn

from evsim.network import check_network

from .convert import from_norse
from .core import NorseCore
from .network import EventCore
from .predictor import AsItIs, LinearPredictor


class Model(nn.Module):
    """What is said of step k: out = q(m_t, c_k), with m_t the memory of step t and c_k the context of step k.

    core: a `Core`. predictor: q. memory_columns, context_columns: columns of x that the core and q read; None: all. c_k
    are q's last `predictor.steps` inputs up to k, zeros before the first.
    """

    def __init__(self, core, predictor, memory_columns=None, context_columns=None):
        super().__init__()
        self.core, self.predictor = core, predictor
        self.memory_columns = None if memory_columns is None else list(memory_columns)
        self.context_columns = None if context_columns is None else list(context_columns)
        self.graph = {  # what was computed so far with a graph, over all sequences
            "memory_steps": 0, "predictions": 0,
        }

    @property
    def n_out(self):
        return self.predictor.n_out

    def begin(self, batch):
        """The core's state before the first step of `batch` sequences."""
        return self.core.begin(batch)

    def remember(self, x, state):
        """Steps x (batch, T, n_in) from `state` -> (m (batch, T, width), the state after them)."""
        if torch.is_grad_enabled():
            self.graph["memory_steps"] += x.shape[0] * x.shape[1]
        return self.core.unroll(x if self.memory_columns is None else x[..., self.memory_columns], state)

    def predict(self, m, context):
        """m (batch, k, width), context (batch, k, ...) -> out (batch, k, n_out)."""
        if torch.is_grad_enabled():
            self.graph["predictions"] += m.shape[0] * m.shape[1]
        return self.predictor(m, context)

    def padded(self, x):
        """x (batch, T, n_in) -> its context columns, behind as many steps of zeros as `contexts` looks back."""
        seen = x if self.context_columns is None else x[..., self.context_columns]
        return nn.functional.pad(seen, (0, 0, self.predictor.steps - 1, 0))

    def contexts(self, padded, k):
        """Contexts of steps k (batch, n), counted from 0, of what `padded` gave -> (batch, n, ...)."""
        rows = torch.arange(len(k), device=k.device)[:, None]
        if self.predictor.steps == 1:
            return padded[rows, k]
        window = torch.arange(self.predictor.steps, device=k.device)
        return padded[rows[..., None], k[..., None] + window].flatten(2)

    def forward(self, x, state=None):
        """Whole sequences x (batch, T, n_in), or from `state` on -> (q(m_t, c_t) (batch, T, n_out), state).

        Where q's context is longer than a step, contexts begin anew with x.
        """
        m, state = self.remember(x, self.begin(len(x)) if state is None else state)
        every = torch.arange(x.shape[1], device=x.device).expand(len(x), -1)
        return self.predict(m, self.contexts(self.padded(x), every)), state

    def project(self):
        """Bring parameters that have a range back into it, where the core has any: after each update."""
        if isinstance(self.core, EventCore):
            self.core.project()


def from_evsim(net):
    """A Model with the cells, parameters and masks of an `evsim.Network`, and equal outputs.

    Its parameters are copies. TypeError for anything else than a Network.
    """
    core = EventCore(check_network(net))
    if len(net.stack) > len(net.layers):
        return Model(core, AsItIs(net.n_out)).to(core._like().dtype)
    readout = LinearPredictor(core.width, net.n_out)
    given = net.parameters()
    readout.weight = nn.Parameter(torch.from_numpy(given["readout.weight"].copy()))
    readout.bias = nn.Parameter(torch.from_numpy(given["readout.bias"].copy()))
    return Model(core, readout)


def to_evsim(model):
    """An `evsim.Network` with the weights of a Model or a TorchNetwork, and equal outputs.

    Cells of evsim under a linear or a leaky readout, and norse's LIF cells (their masks and conventions as in
    `from_norse`). TypeError for cores that evsim has no cell for and for predictors that read a context.
    """
    core = getattr(model, "core", model)
    predictor = getattr(model, "predictor", None)
    if isinstance(predictor, nn.Module) and not isinstance(predictor, LinearPredictor | AsItIs):
        raise TypeError(f"{type(predictor).__name__} reads a context, which no readout of evsim does: use a model with "
                        "a LinearPredictor")  # fmt: skip
    if isinstance(core, NorseCore) and core.kind == "norse-lif" and predictor is not None:
        return _from_norse_core(core, predictor)
    if not isinstance(core, EventCore):
        told = getattr(core, "kind", type(core).__name__)
        raise TypeError(f"evsim has no cell for {told!r}: give a Model of evsim's own cells or of norse-lif")
    if predictor is None and not core.reads_out and len(core.stack) == len(core.cells):
        raise TypeError("an EventCore alone has no readout: give the Model it is part of")
    found = {name: value.detach().cpu().numpy() for name, value in core.values().items()}
    if isinstance(predictor, LinearPredictor):
        found["readout.weight"] = predictor.weight.detach().cpu().numpy()
        found["readout.bias"] = predictor.bias.detach().cpu().numpy()
    net = copy.deepcopy(core.net)
    net.load_parameters({name: found[name] for name in net.parameters()})
    return net


def _from_norse_core(core, predictor):
    readout = nn.Linear(core.width, predictor.n_out)
    with torch.no_grad():
        if isinstance(predictor, AsItIs):
            return from_norse(list(core.cells))
        readout.weight.copy_(predictor.weight)
        readout.bias.copy_(predictor.bias)
    return from_norse(list(core.cells), readout)
