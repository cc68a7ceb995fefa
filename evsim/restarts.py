"""Restarts: periods after which a learning rate begins anew, and the kind of gradient that each epoch then has."""

import math
from dataclasses import dataclass
from numbers import Real

from evsim.check import check_choice, check_count

GROWTHS = ("boundary", "multiply")
KINDS = ("real", "synthetic")


@dataclass(frozen=True)
class Restarts:
    """Where periods begin, in whatever `base` counts.

    base: the first period, at least 1. growth: "boundary": the end of a period is twice that of the one before, so
    that periods are base, base, 2 base, 4 base, ... (as in the code of arXiv 1902.10630); "multiply": each is
    `multiple` times the one before (SGDR, arXiv 1608.03983). multiple: at least 1.

    ValueError for other values.
    """

    base: float
    growth: str = "boundary"
    multiple: int = 2

    def __post_init__(self):
        if isinstance(self.base, bool) or not isinstance(self.base, Real) or not 1 <= self.base < math.inf:
            raise ValueError(f"restart_base={self.base!r} is no period: give a number of epochs of at least 1")
        check_choice("restart_growth", self.growth, GROWTHS)
        check_count("restart_multiple", self.multiple)

    def place(self, at):
        """(number of restarts up to `at`, begin of its period, length of that period); `at` is 0 at the start."""
        if self.growth == "multiply" and self.multiple == 1:
            k = int(at // self.base)
            return k, k * self.base, self.base
        k, begin, length = 0, 0, self.base
        while at >= begin + length:
            begin += length
            k += 1
            if self.growth == "boundary":
                length = begin
            else:
                length *= self.multiple
        return k, begin, length


@dataclass(frozen=True)
class Phases:
    """The kind of gradient of each epoch: "real" or "synthetic". Epochs count from 1.

    first: of epoch 1. restarts: those of the learning rate, in epochs, at each of which the kind changes; None: it does
    not. switch: epochs at whose start it changes too.

    ValueError for other values.
    """

    first: str = "real"
    restarts: Restarts | None = None
    switch: tuple[int, ...] = ()

    def __post_init__(self):
        check_choice("first", self.first, KINDS)
        for epoch in self.switch:
            check_count("switch", epoch)
        if len(set(self.switch)) < len(self.switch):
            raise ValueError(f"switch={list(self.switch)} names an epoch twice: leave one of them out")

    def of(self, epoch):
        """The kind of that epoch."""
        flips = sum(at <= epoch for at in self.switch)
        if self.restarts is not None:
            flips += self.restarts.place(epoch - 1)[0]
        return KINDS[(KINDS.index(self.first) + flips) % 2]

    def table(self, epochs):
        """List of (kind, first epoch, last epoch) up to `epochs`."""
        found = []
        for epoch in range(1, epochs + 1):
            kind = self.of(epoch)
            if found and found[-1][0] == kind:
                found[-1] = (kind, found[-1][1], epoch)
            else:
                found.append((kind, epoch, epoch))
        return found
