"""Exchange: weights that move between a torch model and an `evsim.Network`, with equal outputs."""

import copy
from typing import Any

import torch
from torch import nn

from evsim.network import check_network

from .convert import from_norse
from .core import NorseCore
from .model import Model
from .network import EventCore
from .predictor import AsItIs, LinearPredictor
from .tokens import EmbeddedCore


def from_evsim(net):
    """A Model with the cells, parameters and masks of an `evsim.Network`, and equal outputs.

    Its parameters are copies. TypeError for anything else than a Network.
    """
    core = EventCore(check_network(net))
    if len(net.stack) > len(net.layers):
        return Model(core, AsItIs(net.n_out))
    return Model(core, readout_of(net))


def readout_of(net):
    """The linear readout of an `evsim.Network` as a LinearPredictor; its parameters are copies."""
    given = net.parameters()
    with torch.random.fork_rng(devices=[]):  # what is drawn is overwritten
        readout = LinearPredictor(net.layers[-1].units, net.n_out)
    readout.weight = nn.Parameter(torch.from_numpy(given["readout.weight"].copy()))
    readout.bias = nn.Parameter(torch.from_numpy(given["readout.bias"].copy()))
    return readout


def to_evsim(model):
    """An `evsim.Network` with the weights of a Model or a TorchNetwork, and equal outputs.

    Cells of evsim under a linear or a leaky readout, and norse's LIF cells (their masks and conventions as in
    `from_norse`). The network hears what the core hears, so only the memory's columns of a task that has such.
    TypeError for cores that evsim has no cell for, for embeddings and for predictors that read a context; ValueError
    for a readout that is not that of the core's network, and for values out of range.
    """
    core = getattr(model, "core", model)
    predictor = getattr(model, "predictor", None)
    if isinstance(core, EmbeddedCore):
        told = f"evsim's networks have no embedding of tokens, and this model has one of {core.body.n_in} numbers"
        raise TypeError(f"{told}: build one of evsim's cells without embed")
    if isinstance(predictor, nn.Module) and not isinstance(predictor, LinearPredictor | AsItIs):
        told = f"{type(predictor).__name__} reads a context, which no readout of evsim does"
        raise TypeError(f"{told}: use a model with a LinearPredictor")
    if isinstance(core, NorseCore) and core.kind == "norse-lif" and predictor is not None:
        return _of_norse(core, predictor)
    if not isinstance(core, EventCore):
        told = getattr(core, "kind", type(core).__name__)
        raise TypeError(f"evsim has no cell for {told!r}: give a Model of evsim's own cells or of norse-lif")
    leaky = len(core.stack) > len(core.cells)
    if predictor is None and not core.reads_out and not leaky:
        raise TypeError("an EventCore alone has no readout: give the Model it is part of")
    if predictor is not None and (leaky != isinstance(predictor, AsItIs) or predictor.n_out != core.n_out):
        has = f"the core's network has {'a leaky' if leaky else 'a linear'} readout of {core.n_out} outputs"
        raise ValueError(f"{has}, the model {type(predictor).__name__} of {predictor.n_out}: build the core from a "
                         "network with the same readout")  # fmt: skip
    found = {name: value.detach().cpu().numpy() for name, value in core.values().items()}
    if isinstance(predictor, LinearPredictor):
        found["readout.weight"] = predictor.weight.detach().cpu().numpy()
        found["readout.bias"] = predictor.bias.detach().cpu().numpy()
    net = copy.deepcopy(core.net)
    net.load_parameters({name: found[name] for name in net.parameters()})
    return net


def _of_norse(core, predictor):
    if isinstance(predictor, AsItIs):
        return from_norse(list(core.cells))
    readout: Any = nn.utils.skip_init(nn.Linear, core.width, predictor.n_out, dtype=predictor.weight.dtype)
    readout.weight, readout.bias = predictor.weight, predictor.bias
    return from_norse(list(core.cells), readout)
