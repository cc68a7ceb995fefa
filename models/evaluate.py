"""Evaluation of torch models: what is said of each step from the memory of the same step, q(m_k, c_k)."""

import copy
from dataclasses import replace

import torch

from evsim.evaluate import activity

from .network import EventCore, each_loss
from .rollout import right
from .streams import as_tensors

BATCH = 64


@torch.no_grad()
def outputs(model, data):
    """Yield (places, x, out (batch, T, n_out), targets, answers) of `evsim.sequences.Sequences` in batches."""
    like = next(model.parameters())
    training = model.training
    model.eval()
    for first in range(0, len(data), BATCH):
        where = slice(first, min(first + BATCH, len(data)))
        x, targets, _, answers, _ = (part.to(like.device) for part in as_tensors(data, where))
        yield where, model(x)[0], targets, answers
    model.train(training)


def evaluate(model, data, loss):
    """dict: loss and accuracy (None for mse), means over the answers of `data`, an `evsim.sequences.Sequences`.

    For cells of evsim also activity, phi_rate and activity_per_layer, as `evsim.evaluate` has them.
    """
    total, hits, count = 0.0, 0, 0
    for _, out, targets, answers in outputs(model, data):
        said, wanted = out[answers], targets[answers]
        total += float(each_loss(loss, said, wanted).double().sum())
        count += len(said)
        hits += 0 if loss == "mse" else int(right(loss, said, wanted).sum())
    found = {"loss": total / max(count, 1), "accuracy": None if loss == "mse" else hits / count}
    return {**found, **_rates(model, data)}


def _rates(model, data):
    """How often the units of evsim's cells spoke."""
    if not isinstance(model.core, EventCore):
        return {}
    core = model.core
    net = copy.deepcopy(core.net)
    mine = {name: value.detach().cpu().numpy() for name, value in core.values().items()}
    net.load_parameters({**net.parameters(), **mine})
    x = data.x if model.memory_columns is None else data.x[..., model.memory_columns]
    return activity(net, replace(data, x=x))
