"""Layer: what the engine runs: units that are three element-wise functions; Step: what a unit leaves behind.

A layer's equations are written once, in the words of `evsim.words`:

    s_t = advance(w_{t-1}, a_t, q)     state before the event, from what was kept and the pre-activations a
    y_t = emit(s_t, q)                 the event
    w_t = keep(s_t, q)                 what the unit keeps for its own next step

with q the unit's local parameters (threshold, ...). Its kernel writes, for each unit and step, with K states, G
channels and L local parameters,

    A (K, K) = d s_t / d s_{t-1}       B (K, G) = d s_t / d a       C (K, L) = d s_t / d q with s_{t-1} fixed
    phi (K)  = d y_t / d s_t           D (L) = d y_t / d q with s_t fixed; D is 0 where phi is 0

and learners read nothing else of it. At the first step w_0 = 0 and its derivatives are 0; A then multiplies an
influence of 0, and may hold anything finite.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from evsim.check import as_array, check_count, named, per_unit

# The largest decay below 1 that both precisions hold.
TOP_DECAY = 1.0 - 2.0**-24


@dataclass(frozen=True, eq=False)
class Layer:
    """A specification: immutable; the network owns the parameters, the learner the state. units: number of units n."""

    units: int

    kind: ClassVar[str]
    channels: ClassVar[tuple[str, ...]]  # one name per pre-activation
    in_channels: ClassVar[tuple[int, ...]]  # which channels the inputs feed
    rec_channels: ClassVar[tuple[int, ...]]  # which channels the recurrence feeds
    states: ClassVar[tuple[str, ...]]  # K names
    kept: ClassVar[tuple[str, ...]]  # names of what `keep` returns
    local: ClassVar[tuple[str, ...]]  # L names of parameters that a unit has for itself
    about: ClassVar[dict[str, str]]  # local parameter -> its unit and meaning, in a few words
    decays: ClassVar[dict[str, str]] = {}  # local parameters that are decays -> the time constant (s) behind it, or ""
    stored: ClassVar[int]  # numbers per unit that the kernel stores between steps: what is kept, and its derivatives
    memory: ClassVar[bool] = True  # False: s_t depends on a_t alone, so rows of M with phi = 0 are never read
    bias: ClassVar[dict[str, float]] = {}  # initial bias of a channel, where it is not 0
    kernel: ClassVar[Any]  # see evsim.forward for the arguments
    source: ClassVar[str]  # where the equations come from

    def __post_init__(self):
        with named(f"{type(self).__name__} layer"):
            for field in fields(self):
                value = getattr(self, field.name)
                if isinstance(value, np.generic):  # numpy's numbers become Python's, so that they can be written down
                    value = value.item()
                elif isinstance(value, np.ndarray | list | tuple):
                    value = as_array(field.name, value).copy()
                    value.setflags(write=False)
                if isinstance(field.default, bool) and not isinstance(value, bool):
                    raise ValueError(f"{field.name}={value!r} is not usable: give True or False")
                object.__setattr__(self, field.name, value)
            object.__setattr__(self, "units", check_count("units", self.units))
            self.check()
            for name in self.local:
                self.initial_local(name)

    def check(self):
        """Raise ValueError or TypeError for fields of a subclass that are not usable."""

    def trained(self):
        """Names of the local parameters that are trained (columns of M)."""
        return tuple(name for name in self.local if getattr(self, f"learn_{name}"))

    def initial_local(self, name, dt=None):
        """Initial values (n,) of one local parameter, float64. dt: seconds per step; None: where it does not matter."""
        given, constant = getattr(self, name), self.decays.get(name)
        timed = given is None and constant
        values = self._from_time(name, constant, dt) if timed else per_unit(name, given, self.units)
        if constant and not timed:
            default = next(f.default for f in fields(self) if f.name == constant)
            if np.any(getattr(self, constant) != default):
                raise ValueError(f"{constant} and {name} were both given: leave one of them out")
        self.check_local(name, values)
        return values

    def _from_time(self, name, constant, dt):
        tau = per_unit(constant, getattr(self, constant), self.units)
        if tau.min() <= 0:
            raise ValueError(f"{constant}={tau.min():g} is not usable: a time constant is above 0 seconds")
        if dt is None:
            return np.zeros(self.units)
        if dt > tau.min():
            raise ValueError(
                f"{constant}={tau.min():g} s is shorter than a step of dt={dt:g} s: raise {constant}, lower the "
                f"network's dt, or give {name}"
            )
        return np.exp(-dt / tau)

    def check_local(self, name, values):
        """Raise ValueError if `values` (n,) lies outside the local parameter's range."""
        if name == "threshold" and values.min() <= 0:
            raise ValueError(f"threshold={values.min():g} is not usable: a threshold must be above 0")
        if name in self.decays and not (values.min() >= 0 and values.max() < 1):
            worst = values.max() if values.max() >= 1 else values.min()
            raise ValueError(f"{name}={worst:g} is not usable: a decay is a factor of at least 0 and below 1")

    def bounds(self, name) -> tuple[float, float] | None:
        """(low, high) to which `Network.project` clips a trained local parameter, or None."""
        if name in self.decays:
            return (0.0, TOP_DECAY)
        return (1e-3, np.inf) if name == "threshold" else None

    def settings(self):
        """Numbers that the kernel reads, in its own order."""
        return ()

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
        return tuple(like * 0 for _ in self.kept)


def respecify(kind, config, parameters, prefix):
    """The layer of class `kind` that `config` (as `Layer.config` gives it) describes.

    Its local parameters, `parameters[prefix + name]`, stand in place of the time constants that made them.
    """
    spent = {"kind", *getattr(kind, "decays", {}).values()}
    given = {name: value for name, value in config.items() if name not in spent}
    return kind(**given | {name: parameters[prefix + name] for name in getattr(kind, "local", ())})
