"""Prices: what `evsim.quiet.Quiet` charges evsim's cells under torch, by the same rule and with autograd's gradient."""

import torch

from evsim.pressure import check_thresholds

from .network import EventCore
from .tokens import EmbeddedCore


def event_core(core):
    """The EventCore in a core; ValueError if there is none."""
    body = core.body if isinstance(core, EmbeddedCore) else core
    if not isinstance(body, EventCore):
        kind = getattr(body, "kind", type(body).__name__)
        raise ValueError(f"quiet and half_width are of evsim's cells, but the core {kind!r} has none: leave them out")
    return body


class Prices:
    """The prices of a core's layers, for `streams` sequences side by side.

    core: EventCore, or an EmbeddedCore around one. rate[k] (streams, n): how often each unit of
    layer k has spoken of late; it begins at the target and outlives sequences.
    """

    def __init__(self, quiet, core, streams):
        body = event_core(core)
        check_thresholds(body.cells)
        self.quiet, self.core = quiet, body
        like, sizes = next(body.parameters()), [cell.units for cell in body.cells]
        self.target = torch.as_tensor(self.quiet.targets(body.cells)).to(like).split(sizes)
        self.rate = [target.nan_to_num().expand(streams, -1).clone() for target in self.target]

    def remember(self, model, x, state, inside):
        """`model.remember`, and what its steps are charged: summed over them, mean over streams.

        inside (streams, T): which steps are there.
        """
        margin = torch.as_tensor(self.quiet.margins(self.core.cells)).to(self.target[0])
        self._margin, self._inside = margin.split([len(target) for target in self.target]), inside
        self._charges, self._steps = [], [0] * len(self.target)
        self.core.prices = self
        try:
            m, state = model.remember(x, state)
        finally:
            self.core.prices = None
        return m, state, torch.stack(self._charges).sum() / len(inside)

    def charge(self, k, cell, words, s, q, y):
        """Note what layer k is charged at its next step, for states s and events y, both (streams, n)."""
        quiet, inside = self.quiet, self._inside[:, self._steps[k]].to(y)
        self._steps[k] += 1
        each = quiet.pull * torch.relu(cell.above(s, q) + self._margin[k]) + quiet.event_cost * y.abs()
        self._charges.append((each.sum(1) * inside).sum())
        target = self.target[k]
        if not quiet.strength or bool(target.isnan().all()):
            return
        spoken, aimed = cell.spoken(words, s, q), ~target.isnan()
        if quiet.over == "step":
            off = (spoken.mean(1, keepdim=True) - target)[:, aimed]
            self._charges.append(quiet.strength / 2 * ((off**2).sum(1) * inside).sum())
            return
        with torch.no_grad():
            keep, now = 1.0 - 1.0 / quiet.horizon, inside[:, None] > 0
            rate = torch.where(now, keep * self.rate[k] + (1.0 - keep) * (y != 0), self.rate[k])
            self.rate[k] = rate
        if quiet.over == "layer":
            rate = rate.mean(1, keepdim=True)
        off = (rate - target)[:, aimed]
        felt = off * (spoken - spoken.detach())[:, aimed]  # 0, with the derivative of off * spoken
        self._charges.append(quiet.strength * ((felt + off**2 / 2).sum(1) * inside).sum())

    def arrays(self):
        """dict of what outlives a window."""
        return {str(k): rate for k, rate in enumerate(self.rate)}

    def load(self, arrays):
        """Go on from what `arrays` gave."""
        self.rate = [torch.as_tensor(arrays[str(k)]).to(rate) for k, rate in enumerate(self.rate)]
