"""Rollout: one window of all streams, from its steps to its loss: what MemUP, TBPTT and BPTT minimise."""

import torch

from evsim.sequences import correct

from .loss import each_loss
from .streams import as_indices


def rollout_loss(model, streams, method, loss, generator, prices=None):
    """(loss or None where no target was met, the state after the window, a dict of what was counted).

    model: Model. streams: Streams, whose next window it is. method: MemUP. loss: as in `evsim.loss`. generator:
    torch.Generator that draws targets where the detector is "random". prices: `evsim.models.prices.Prices` or None.
    """
    index, inside = streams.here()
    m, state, price = remember(model, streams.read(streams.x, index), streams.state, inside, prices)
    own, counted = None, _counts(inside)
    if method.current:
        own, counted = told_loss(model, streams, m, index, inside, loss, method.reduction)
    parts = [one for one in (own, price) if one is not None]
    if method.targets:
        at, step, chosen = choose_targets(streams, method, inside, generator)
        counted["targets"] = int(chosen.sum())
        if counted["targets"]:
            rows = torch.arange(len(m), device=m.device)[:, None, None].expand_as(chosen)[chosen]
            m_t = m[rows, at[..., None].expand_as(chosen)[chosen]]
            context = streams.model.contexts(streams.padded, step.flatten(1))[chosen.flatten(1)]
            wanted = as_indices(streams.targets[rows, step[chosen]])
            parts.append(each_loss(loss, model.predict(m_t[None], context[None])[0], wanted).mean())
    return (torch.stack(parts).sum() if parts else None), state, counted


def remember(model, x, state, inside, prices):
    """(m, the state after x, what its steps are charged or None)."""
    if prices is None:
        return *model.remember(x, state), None
    return prices.remember(model, x, state, inside)


def choose_targets(streams, method, inside, generator):
    """The steps that memory is asked about at each prediction point of the window.

    Returns at (batch, P): the points' places in the window; step (batch, P, K): steps of the sequence, at or behind
    the point's own; chosen (batch, P, K): which of them are there, since fewer than K may remain.
    """
    last = inside.sum(1, keepdim=True) - 1
    points = torch.tensor(method.points(inside.shape[1]), device=inside.device)
    there = points <= last
    there[:, -1] = True  # the last point stands at the sequence's end, where that comes first
    at = torch.minimum(points, last)
    there[:, :-1] &= at[:, :-1] < last
    scores = streams.uncertainty
    if method.detector == "random":
        drawn = torch.rand(scores.shape, generator=generator).to(scores.device, scores.dtype)
        scores = torch.where(torch.isfinite(scores), drawn, scores)
    steps = torch.arange(scores.shape[1], device=scores.device)
    ahead = steps >= (streams.at[:, None] + at)[..., None]
    within = steps < streams.lengths[:, None, None]
    open_to = torch.where(ahead & within, scores[:, None], -torch.inf)
    value, step = open_to.topk(min(method.targets, scores.shape[1]), -1)
    return at, step, torch.isfinite(value) & there[..., None]


def told_loss(model, streams, m, index, inside, loss, reduction):
    """(loss of the window's own told steps or None where there are none, a dict of what was counted).

    index, inside (count, window): as `streams.here()` gives them. m: the memory at these steps. reduction: "mean" over
    all told steps, or "sum" over those of a stream and mean over streams.
    """
    counted, told = _counts(inside), streams.read(streams.keep, index) & inside
    if not told.any():
        return None, counted
    context = model.contexts(streams.padded, index)[told]
    out, wanted = model.predict(m[told][None], context[None])[0], streams.read(streams.targets, index)[told]
    each = each_loss(loss, out, wanted)
    answers = streams.read(streams.answers, index)[told]
    counted["right"], counted["judged"] = correct(out, wanted, answers, loss)
    counted["told"], counted["told_loss"] = len(each), float(each.detach().sum())
    return (each.mean() if reduction == "mean" else each.sum() / len(m)), counted


def _counts(inside):
    """Steps read, right of judged answers, distant targets asked about, told steps and the sum of their losses."""
    return {"steps": int(inside.sum()), "right": 0, "judged": 0, "targets": 0, "told": 0, "told_loss": 0.0}
