"""Readout: the linear layer that turns the top layer's events into outputs."""

from dataclasses import dataclass

from evsim.check import check_count


@dataclass(frozen=True)
class Readout:
    """out_t = weight @ y_t + bias, at every step. units: number of outputs."""

    units: int

    def __post_init__(self):
        check_count("units", self.units)

    def config(self):
        """The specification as plain numbers and strings."""
        return {"kind": "linear", "units": self.units}
