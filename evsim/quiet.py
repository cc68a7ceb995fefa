"""Quiet: what it costs units to speak, or to be near it, beside the task's loss."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from evsim.check import check_choice, check_count, named, per_unit

OVER = ("unit", "layer", "step")


@dataclass(frozen=True, eq=False)
class Quiet:
    """A price on activity at every step, for `quiet=` of any learner; its gradient is as exact as that of the loss.

    With o = 1 where a unit speaks, y its event and g by how much it is above its threshold (the argument of the
    Heaviside step), summed over units, steps and streams like the loss:

        target       strength / 2 * (r - target)^2    r: how often the unit speaks, a running mean over `horizon` steps;
                                                      with over="layer" the mean of that over the unit's layer;
                                                      with over="step" the part of its layer that speaks at the step
        pull         pull * max(0, g + margin)        units this near their thresholds are pulled down
        event_cost   event_cost * |y|                 L1 on events

    An event is charged once with strength * (r - target), for it stays in a running mean for about `horizon` steps, by
    1 / horizon at each; r itself counts as given. With over="layer" each event of a layer has the same price, and units
    that are worth it may speak more than others; with "unit" none may. Over "step" the fraction has its ordinary
    derivative. Where r is below the target, it raises activity. Units with |g| beyond the pseudo-derivative's
    half-width feel the target no more, but the pull does not depend on it; with margin = half_width it is what moves
    units out of the range in which they have to be learned (phi-rate). A Trainer charges
    the steps of a sequence, none behind its end.

    target: a fraction, or None. strength, pull, event_cost: at least 0. margin: at least 0, in the unit of the state;
    None: each layer's half_width. target and margin may be lists of one entry per layer, each a number or one number
    per unit; a layer's target None leaves it alone. horizon: steps. Targets were used so by Bellec et al. (2018), the
    pull below the threshold by Subramoney et al. (2022).

    ValueError for a target outside [0, 1], negative numbers, and where nothing is asked for.
    """

    target: Any = None
    strength: float = 0.02
    over: str = "unit"
    horizon: int = 256
    pull: float = 0.0
    margin: Any = None
    event_cost: float = 0.0

    def __post_init__(self):
        with named("Quiet"):
            check_choice("over", self.over, OVER)
            check_count("horizon", self.horizon)
            for name in ("strength", "pull", "event_cost"):
                value = getattr(self, name)
                if not isinstance(value, int | float | np.number) or isinstance(value, bool) or not 0 <= value < np.inf:
                    raise ValueError(f"{name}={value!r} is not usable: give a finite number of at least 0")
                object.__setattr__(self, name, float(value))
            if self.target is None and not self.pull and not self.event_cost:
                raise ValueError("nothing is asked for: give target, pull or event_cost")
            self._units("target", 1)
            self._units("margin", 1)

    def targets(self, cells):
        """Target of every unit of `cells`, bottom layer first; NaN where there is none."""
        return self._each("target", cells, lambda cell: np.nan)

    def margins(self, cells):
        """Margin of every unit of `cells`, bottom layer first."""
        return self._each("margin", cells, lambda cell: cell.half_width)

    def config(self):
        """The fields as plain numbers, strings and lists."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: _plain(value) for name, value in found.items() if value is not None}

    def _each(self, name, cells, default):
        given = getattr(self, name)
        if isinstance(given, list | tuple):
            if len(given) != len(cells):
                told = f"{name} has {len(given)} entries, but the network has {len(cells)} layers"
                raise ValueError(f"Quiet: {told}: give one for each layer, or a single number")
        else:
            given = [given] * len(cells)
        found = []
        for value, cell in zip(given, cells, strict=True):
            with named("Quiet"):
                units = cell.units
                found.append(np.full(units, default(cell)) if value is None else self._checked(name, value, units))
        return np.concatenate(found)

    def _units(self, name, units):
        """Check what can be checked without knowing the network."""
        given = getattr(self, name)
        if isinstance(given, list | tuple) and not given:
            raise ValueError(f"{name}={given!r} is empty: give an entry for each layer, or a single number")
        for value in given if isinstance(given, list | tuple) else [given]:
            if value is not None:
                self._checked(name, value, np.size(value) or units)

    def _checked(self, name, value, units):
        array = per_unit(name, value, units)
        if name == "target" and not (array.min() >= 0 and array.max() <= 1):
            raise ValueError(f"target={value!r} is not usable: give how often a unit should speak, from 0 to 1")
        if name == "target" and self.over != "unit" and array.min() != array.max():
            told = f'target differs from unit to unit, but over="{self.over}" takes one for a layer'
            raise ValueError(f"{told}: give one")
        if array.min() < 0:
            raise ValueError(f"{name}={value!r} is not usable: give a number of at least 0")
        return array


def as_quiet(given):
    """A Quiet from one, from what its `config` gave, or None."""
    if given is None or isinstance(given, Quiet):
        return given
    if isinstance(given, dict):
        return Quiet(**given)
    raise TypeError(f"quiet is {given!r}: pass evsim.Quiet(target=0.1) or the like")


def _plain(value):
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
