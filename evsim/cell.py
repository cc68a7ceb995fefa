"""Cell: what every kind of unit declares; Step: what a unit leaves behind at each time step.

A cell is three element-wise functions, written in the words of `evsim.words`:

    s_t = advance(w_{t-1}, a_t, q)     state before the event, from what was kept and the pre-activations a
    y_t = emit(s_t, q)                 the event
    w_t = keep(s_t, q)                 what the unit keeps for its own next step

with q the unit's local parameters (threshold, ...). Its kernel writes, for each unit and step, with K states, G
channels and L local parameters,

    A (K, K) = d s_t / d s_{t-1}       B (K, G) = d s_t / d a       C (K, L) = d s_t / d q with s_{t-1} fixed
    phi (K)  = d y_t / d s_t           D (L) = d y_t / d q with s_t fixed; D is 0 where phi is 0

and learners read nothing else of it. At the first step w_0 = 0 and its derivatives are 0.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from evsim.check import check_count, check_density, check_mask, per_unit
from evsim.surrogate import Surrogate


@dataclass(frozen=True, eq=False)
class Cell:
    """A layer's specification: immutable; the network owns the parameters, the learner the state.

    units: number of units n. density, density_in: fraction of recurrent and input weights that exist (Bernoulli draws);
    mask_rec (n, n) and mask_in (n, inputs): boolean arrays used instead. surrogate, height, half_width, slope: the
    pseudo-derivative (`evsim.surrogate.Surrogate`). detach_reset: no gradient through the event inside the reset.
    """

    units: int
    density: float = 1.0
    density_in: float = 1.0
    mask_rec: np.ndarray | None = None
    mask_in: np.ndarray | None = None
    surrogate: str = "triangle"
    height: float = 0.7
    half_width: float = 0.5
    slope: float = 10.0
    detach_reset: bool = False

    kind: ClassVar[str]
    channels: ClassVar[tuple[str, ...]]  # one name per pre-activation
    in_channels: ClassVar[tuple[int, ...]]  # which channels the inputs feed
    rec_channels: ClassVar[tuple[int, ...]]  # which channels the recurrence feeds
    states: ClassVar[tuple[str, ...]]  # K names
    local: ClassVar[tuple[str, ...]]  # L names of parameters that a unit has for itself
    kept: ClassVar[int]  # length of the tuple that `keep` returns
    stored: ClassVar[int]  # numbers per unit that the kernel stores between steps: what is kept, and its derivatives
    memory: ClassVar[bool] = True  # False: s_t depends on a_t alone, so rows of M with phi = 0 are never read
    bias: ClassVar[dict[str, float]] = {}  # initial bias of a channel, where it is not 0
    kernel: ClassVar[Any]  # see evsim.forward for the arguments
    source: ClassVar[str]  # where the equations come from

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.generic):  # numpy's numbers become Python's, so that they can be written down
                value = value.item()
            elif isinstance(value, np.ndarray):
                value = value.copy()
                value.setflags(write=False)
            if isinstance(field.default, bool) and not isinstance(value, bool):
                raise ValueError(f"{field.name}={value!r} is not usable: give True or False")
            object.__setattr__(self, field.name, value)
        check_count("units", self.units)
        check_density("density", self.density)
        check_density("density_in", self.density_in)
        object.__setattr__(self, "mask_rec", check_mask("mask_rec", self.mask_rec, (self.units, self.units)))
        if self.mask_in is not None:
            sources = np.shape(self.mask_in)[-1:] or (1,)
            object.__setattr__(self, "mask_in", check_mask("mask_in", self.mask_in, (self.units, *sources)))
        _ = self.pseudo  # what is wrong shows now
        for name in self.local:
            self.initial_local(name)

    @property
    def pseudo(self):
        """The layer's Surrogate."""
        return Surrogate(self.surrogate, self.height, self.half_width, self.slope)

    def trained(self):
        """Names of the local parameters that are trained (columns of M)."""
        return tuple(name for name in self.local if getattr(self, f"learn_{name}"))

    def initial_local(self, name):
        """Initial values (n,) of one local parameter, float64."""
        values = per_unit(name, getattr(self, name), self.units)
        self.check_local(name, values)
        return values

    def check_local(self, name, values):
        """Raise ValueError if `values` (n,) lies outside the local parameter's range."""
        if name == "threshold" and values.min() <= 0:
            raise ValueError(f"threshold={values.min():g} is not usable: a threshold must be above 0")

    def bounds(self, name) -> tuple[float, float] | None:
        """(low, high) to which `Network.project` clips a trained local parameter, or None."""
        return None

    def settings(self):
        """Numbers that the kernel reads, in its own order: by default the surrogate's four and detach_reset."""
        return (*self.pseudo.settings(), float(self.detach_reset))

    def config(self):
        """The specification as plain numbers and strings: arrays are left to the parameters and masks."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {"kind": self.kind, **{k: v for k, v in values.items() if isinstance(v, bool | int | float | str)}}

    def advance(self, m, w, a, q):
        """State before the event: a tuple of K arrays, from the kept tuple w, channels a and local parameters q."""
        raise NotImplementedError

    def emit(self, m, s, q):
        """The event y, from the states s."""
        raise NotImplementedError

    def keep(self, m, s, q):
        """What the unit keeps: a tuple of arrays, zero before the first step."""
        raise NotImplementedError

    def nothing_kept(self, like):
        """The kept tuple before the first step: zeros shaped as the array `like`."""
        return tuple(like * 0 for _ in range(self.kept))
