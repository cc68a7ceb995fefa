"""Cell: what every kind of event-based unit declares beside its equations: masks and the pseudo-derivative."""

from dataclasses import dataclass

import numpy as np

from evsim.check import check_density, check_mask
from evsim.layer import Layer
from evsim.surrogate import Surrogate


@dataclass(frozen=True, eq=False)
class Cell(Layer):
    """A layer of event-based units.

    units: number of units n. density, density_in: fraction of recurrent and input weights that exist (Bernoulli draws);
    mask_rec (n, n) and mask_in (n, inputs): boolean arrays used instead. surrogate, height, half_width, slope: the
    pseudo-derivative (`evsim.surrogate.Surrogate`). detach_reset: no gradient through the event inside the reset.
    """

    density: float = 1.0
    density_in: float = 1.0
    mask_rec: np.ndarray | None = None
    mask_in: np.ndarray | None = None
    surrogate: str = "triangle"
    height: float = 0.7
    half_width: float = 0.5
    slope: float = 10.0
    detach_reset: bool = False

    def check(self):
        check_density("density", self.density)
        check_density("density_in", self.density_in)
        object.__setattr__(self, "mask_rec", check_mask("mask_rec", self.mask_rec, (self.units, self.units)))
        if self.mask_in is not None:
            sources = np.shape(self.mask_in)[-1:]
            if np.ndim(self.mask_in) < 2:
                given = np.shape(self.mask_in)
                raise ValueError(f"mask_in has shape {given}: pass one row for each of the {self.units} units, one "
                                 "column for each source")
            object.__setattr__(self, "mask_in", check_mask("mask_in", self.mask_in, (self.units, *sources)))
        _ = self.pseudo  # what is wrong shows now

    @property
    def pseudo(self):
        """The layer's Surrogate."""
        return Surrogate(self.surrogate, self.height, self.half_width, self.slope)

    def above(self, s, q):
        """By how much a unit is above its threshold: what the event's Heaviside step is taken of."""
        raise NotImplementedError

    def spoken(self, m, s, q):
        """1 where there is an event, with its pseudo-derivative."""
        return m.event(self.above(s, q))

    def settings(self):
        """Numbers that the kernel reads, in its own order: by default the surrogate's four and detach_reset."""
        return (*self.pseudo.settings(), float(self.detach_reset))
