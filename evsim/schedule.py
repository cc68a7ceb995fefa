"""Learning rates that change in training: callables from the number of updates done, 0 at first, to a rate.

Anything that takes a whole number and returns a finite number >= 0 will do, a plain number being a constant;
only those defined here can be written to a checkpoint.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from evsim.check import check_count, check_positive
from evsim.restarts import Restarts


@dataclass(frozen=True)
class Constant:
    """The same rate `lr` at every step; a plain number given as a learning rate becomes this."""

    lr: float

    def __post_init__(self):
        _keep(self, lr=check_positive("lr", self.lr))

    def __call__(self, step: int) -> float:
        return self.lr


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from `lr` to `final` over `steps` updates, after a linear rise over the first `warmup`.

    rate = lr * (step + 1) / warmup                         for step < warmup
    rate = final + (lr - final) * (1 + cos(pi * part)) / 2  from there on, with
    part = min(1, (step - warmup) / (steps - warmup))
    """

    lr: float
    steps: int
    warmup: int = 0
    final: float = 0.0

    def __post_init__(self):
        lr, steps = check_positive("lr", self.lr), check_count("steps", self.steps)
        warmup = check_count("warmup", self.warmup, 0)
        if warmup >= steps:
            raise ValueError(f"warmup={warmup} leaves nothing of steps={steps}: give a warmup below steps")
        final = 0.0 if self.final == 0 else check_positive("final", self.final)
        if final > lr:
            raise ValueError(f"final={final} is above lr={lr}: give a final rate from 0 to lr")
        _keep(self, lr=lr, steps=steps, warmup=warmup, final=final)

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        part = min(1.0, (step - self.warmup) / (self.steps - self.warmup))
        return self.final + (self.lr - self.final) * (1 + math.cos(math.pi * part)) / 2


@dataclass(frozen=True)
class WarmRestarts:
    """Half a cosine from `lr` to `final`, which begins anew again and again (Loshchilov and Hutter, arXiv 1608.03983).

    rate = final + (lr - final) * (1 + cos(pi * at / length)) / 2, with `at` the updates since the restart and `length`
    those of the period. base, growth, multiple: the periods, as in `evsim.restarts.Restarts`, in updates. hold: the
    rate changes after so many updates, such as those of an epoch.
    """

    lr: float
    base: int
    growth: str = "boundary"
    multiple: int = 2
    hold: int = 1
    final: float = 0.0

    def __post_init__(self):
        Restarts(self.base, self.growth, self.multiple)
        final = 0.0 if self.final == 0 else check_positive("final", self.final)
        if final > self.lr:
            raise ValueError(f"final={final} is above lr={self.lr}: give a final rate from 0 to lr")
        _keep(self, lr=check_positive("lr", self.lr), hold=check_count("hold", self.hold), final=final)

    def __call__(self, step: int) -> float:
        at = step // self.hold * self.hold
        _, begin, length = Restarts(self.base, self.growth, self.multiple).place(at)
        return self.final + (self.lr - self.final) * (1 + math.cos(math.pi * (at - begin) / length)) / 2


@dataclass(frozen=True)
class StepDecay:
    """`lr` multiplied by `factor` after every `every` updates: rate = lr * factor ** (step // every)."""

    lr: float
    every: int
    factor: float

    def __post_init__(self):
        factor = _fraction("factor", self.factor)
        _keep(self, lr=check_positive("lr", self.lr), every=check_count("every", self.every), factor=factor)

    def __call__(self, step: int) -> float:
        return self.lr * self.factor ** (step // self.every)


@dataclass(frozen=True)
class Exponential:
    """`lr` multiplied by `decay` after every update: rate = lr * decay ** step."""

    lr: float
    decay: float

    def __post_init__(self):
        _keep(self, lr=check_positive("lr", self.lr), decay=_fraction("decay", self.decay))

    def __call__(self, step: int) -> float:
        return self.lr * self.decay**step


Schedule = Callable[[int], float]
_KINDS = {
    "constant": Constant, "cosine": Cosine, "restarts": WarmRestarts, "step-decay": StepDecay,
    "exponential": Exponential,
}  # fmt: skip


def as_schedule(lr: float | Schedule) -> Schedule:
    """Return a schedule: one as it is, a number > 0 as a `Constant`."""
    if callable(lr):
        return lr
    return Constant(lr)


def to_config(schedule: Schedule) -> float | dict[str, Any]:
    """Return what JSON can hold: a number for a constant, else a dict; ValueError if not defined here."""
    if isinstance(schedule, Constant):
        return schedule.lr
    for kind, made in _KINDS.items():
        if type(schedule) is made:
            return {"kind": kind, **vars(schedule)}
    choice = "use Cosine, WarmRestarts, StepDecay, Exponential or a plain number"
    raise ValueError(f"the schedule {schedule!r} cannot be saved: {choice}")


def from_config(config: float | Mapping[str, Any]) -> Schedule:
    """Return the schedule that `to_config` described; ValueError if it did not come from there."""
    if not isinstance(config, Mapping):
        return Constant(config)
    given = dict(config)
    kind = given.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"the schedule kind {kind!r} is unknown: choose one of {', '.join(_KINDS)}")
    try:
        return _KINDS[kind](**given)
    except TypeError:
        found, needed = ", ".join(given) or "nothing", ", ".join(_KINDS[kind].__dataclass_fields__)
        raise ValueError(f"the schedule {kind!r} got {found}: it takes {needed}") from None


def _keep(schedule, **checked):
    for name, value in checked.items():
        object.__setattr__(schedule, name, value)


def _fraction(name, value):
    value = check_positive(name, value)
    if value > 1:
        raise ValueError(f"{name}={value} would make the rate grow: give a number above 0 and at most 1")
    return value
