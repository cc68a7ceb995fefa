"""Evaluation of torch models: what is said of each step from the memory of the same step, q(m_k, c_k)."""

import copy
from dataclasses import replace

import torch

from evsim.evaluate import activity
from evsim.sequences import correct

from .loss import each_loss
from .network import EventCore
from .streams import as_indices, as_tensors

BATCH = 64
ROOM = 2**22  # outputs that are held at once, where a sequence can be read in pieces


@torch.no_grad()
def outputs(model, data):
    """Yield (places, first step, out (batch, steps, n_out), targets, answers) of `evsim.sequences.Sequences`.

    Sequences come in batches; long ones in pieces, one after another, between which the state is carried. Where the
    predictor's context is longer than a step, they come whole.
    """
    like = next(model.parameters())
    training = model.training
    model.eval()
    longest = data.x.shape[1]
    for first in range(0, len(data), BATCH):
        where = slice(first, min(first + BATCH, len(data)))
        steps, state = longest, None
        if model.predictor.steps == 1:
            steps = max(1, min(longest, ROOM // ((where.stop - first) * model.n_out)))
        for start in range(0, longest, steps):
            parts = as_tensors(data, where, start, start + steps)
            x, targets, _, answers, _ = (as_indices(part).to(like.device) for part in parts)
            out, state = model(x, state)
            yield where, start, out, targets, answers
    model.train(training)


def evaluate(model, data, loss):
    """dict: loss and accuracy (None for mse), means over the answers of `data`, an `evsim.sequences.Sequences`.

    For cells of evsim also activity, phi_rate and activity_per_layer, as `evsim.evaluate` has them.
    """
    total, count, right, judged = 0.0, 0, 0, 0
    for _, _, out, targets, answers in outputs(model, data):
        total += float(each_loss(loss, out[answers], targets[answers]).double().sum())
        count += int(answers.sum())
        hits, seen = correct(out, targets, answers, loss)
        right, judged = right + hits, judged + seen
    found = {"loss": total / max(count, 1), "accuracy": right / judged if judged else None}
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
