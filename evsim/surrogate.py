"""Pseudo-derivatives of the Heaviside step: the kernel, the array form and the integral used by smooth twins."""

from dataclasses import dataclass

import numpy as np

from evsim.check import check_choice, check_positive
from evsim.jit import jit

KINDS = {"triangle": 0, "boxcar": 1, "superspike": 2}


@jit
def psi(kind, x, height, half_width, slope):
    """Pseudo-derivative at x; `kind` is a value of KINDS. Scalars in, scalar out."""
    distance = abs(x)
    if kind == 2:
        return 1.0 / ((1.0 + slope * distance) * (1.0 + slope * distance))
    if distance >= half_width:
        return 0.0
    if kind == 1:
        return height
    return height * (1.0 - distance / half_width)


@dataclass(frozen=True)
class Surrogate:
    """What replaces dH/dx in every derivative.

    triangle: height * max(0, 1 - |x| / half_width); boxcar: height * (|x| < half_width);
    superspike: 1 / (1 + slope * |x|)**2, which is never zero, so that no unit is ever skipped (Zenke and Ganguli 2018).
    """

    kind: str = "triangle"
    height: float = 0.7
    half_width: float = 0.5
    slope: float = 10.0

    def __post_init__(self):
        check_choice("surrogate", self.kind, KINDS)
        check_positive("height", self.height)
        check_positive("half_width", self.half_width)
        check_positive("slope", self.slope)

    @property
    def peak(self):
        """Largest value that the pseudo-derivative takes."""
        return 1.0 if self.kind == "superspike" else self.height

    def settings(self):
        """(kind, height, half_width, slope) as floats: the order in which kernels read them."""
        return float(KINDS[self.kind]), float(self.height), float(self.half_width), float(self.slope)

    def derivative(self, x):
        """psi(x) for an array x."""
        x = np.asarray(x)
        distance = np.abs(x)
        if self.kind == "superspike":
            return 1.0 / (1.0 + self.slope * distance) ** 2
        inside = distance < self.half_width
        if self.kind == "boxcar":
            return self.height * inside
        return self.height * inside * (1.0 - distance / self.half_width)

    def integral(self, x):
        """A function whose derivative is psi: the event of the smooth twin, zero where x is far below 0."""
        x = np.asarray(x)
        if self.kind == "superspike":
            return x / (1.0 + self.slope * np.abs(x)) + 1.0 / self.slope
        u = np.clip(x, -self.half_width, self.half_width)
        if self.kind == "boxcar":
            return self.height * (u + self.half_width)
        return self.height * (u - np.sign(u) * u * u / (2.0 * self.half_width) + self.half_width / 2.0)
