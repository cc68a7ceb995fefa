"""Latent: an optimiser whose network stands on the grid of few bits, while what it learns stays in full precision.

The straight-through estimator (Bengio, Leonard and Courville 2013; Hubara et al. 2018): events, losses and gradients
are those of the rounded parameters, exactly, and the gradient moves the parameters that were rounded (the latent ones)
as if rounding were the identity.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from evsim import optim
from evsim.fixed.format import Format
from evsim.fixed.quantise import check_bits
from evsim.network import check_network

PARAMETER_BITS = 16  # of biases and of what a unit has for itself
_OWN = ("latent", "tensor", "low", "high")


class Quantised:
    """Updates the latent parameters of `net` by `optimizer`, and gives the network those rounded to the grid.

    optimizer: an `evsim.SGD` or `evsim.Adam`, new. bits: of weights, 4, 8 or 16; biases and local parameters have 16.
    Each tensor has a scale of its own, a power of two, chosen anew at each update as `evsim.fixed.quantise.quantise`
    chooses it; quantising the network as it then stands rounds no weight again. The network is put on the grid at once,
    parameters that are not trained with the others. Latent parameters stay within the bounds that `net.project` has,
    and so does what they are rounded to. Somebody else's changes of the network's parameters are taken over.
    """

    kind = "quantised"

    def __init__(self, optimizer, net=None, bits=8):
        if not isinstance(optimizer, optim.Optimizer):
            raise TypeError(f"optimizer is {optimizer!r}: pass one such as evsim.Adam(1e-3)")
        self.bits, _ = check_bits(bits)
        self.optimizer = optimizer
        self.weights: list[bool] = []
        self._arrays: dict[str, np.ndarray] = {}
        self._places: list[np.ndarray] = []
        self._written: np.ndarray | None = None
        if net is not None:
            self._take(check_network(net))

    @property
    def latent(self):
        """The trained parameters (P,) before they are rounded."""
        return self._arrays["latent"]

    @property
    def steps(self):
        return self.optimizer.steps

    @property
    def schedule(self):
        return self.optimizer.schedule

    @property
    def learning_rate(self):
        return self.optimizer.learning_rate

    @property
    def decay(self):
        return self.optimizer.decay

    @property
    def slots(self):
        """Names of what is kept for each parameter."""
        return (*self.optimizer.slots, "latent")

    @property
    def arithmetic(self):
        """For each parameter, beyond one multiply-add: what the optimiser does, scaling to the grid and back."""
        return self.optimizer.arithmetic + 2

    def apply(self, theta: np.ndarray, gradient: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Move the latent parameters by a gradient (P,), taken at theta (P,), and write them, rounded, to theta.

        weights and errors as in `evsim.optim.Optimizer.apply`; ValueError for parameters of another network.
        """
        latent = self._arrays.get("latent")
        if latent is None or (theta.shape, theta.dtype) != (latent.shape, latent.dtype):
            held = "none" if latent is None else f"{latent.dtype} {latent.shape}"
            told = f"the latent parameters are {held}, but theta is {theta.dtype} {theta.shape}"
            raise ValueError(f"{told}: make a Quantised for this network")
        moved = theta != self._written
        latent[moved] = theta[moved]
        self.optimizer.apply(latent, gradient, weights)
        np.clip(latent, self._arrays["low"], self._arrays["high"], out=latent)
        self._written = self._rounded()
        theta[:] = self._written

    def config(self) -> dict[str, Any]:
        """kind, bits, which tensors are weights, and the optimiser's own: what `from_config` needs."""
        own = {"bits": self.bits, "weights": self.weights, "optimizer": self.optimizer.config()}
        return {"kind": self.kind, **own}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]):
        """A new one as `config()` described it, of no network until `load_state`; ValueError for anything else."""
        if set(config) != {"kind", "bits", "weights", "optimizer"}:
            raise ValueError(f"{cls.kind} got {', '.join(config)}: it takes kind, bits, weights and optimizer")
        made = cls(optim.from_config(config["optimizer"]), bits=config["bits"])
        made.weights = [bool(one) for one in config["weights"]]
        return made

    def state(self) -> dict[str, np.ndarray]:
        """Copies: the optimiser's state, the latent parameters, each one's tensor and bounds (P,)."""
        return self.optimizer.state() | {name: array.copy() for name, array in self._arrays.items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from what `state` returned; ValueError, and no change, if it is another optimiser's."""
        given = {name: np.asarray(value) for name, value in state.items()}
        own = {name: given.pop(name) for name in _OWN if name in given}
        if set(own) != set(_OWN):
            raise ValueError(f"this state holds {', '.join(own) or 'none'} of {', '.join(_OWN)}: load another")
        latent, tensor = own["latent"], own["tensor"]
        if latent.ndim != 1 or any(array.shape != latent.shape for array in own.values()):
            raise ValueError("this state's vectors differ in length: load another")
        known = tensor.dtype.kind == "i" and not np.any((tensor < 0) | (tensor >= len(self.weights)))
        if not known or not np.isfinite(latent).all():
            raise ValueError("this state holds values that no update leaves: load another")
        self.optimizer.load_state(given)
        self._hold({name: np.array(array, order="C") for name, array in own.items()})
        self._written = self._rounded()

    def rewire(self, origin):
        """ValueError: which scale a new weight would have is not known."""
        raise ValueError("masks cannot change while a network is tuned to few bits: rewire it before")

    def _hold(self, arrays):
        self._arrays = arrays
        self._places = [np.flatnonzero(arrays["tensor"] == k) for k in range(len(self.weights))]

    def _take(self, net):
        """Learn which parameter is of which tensor, within which bounds, and put the network on the grid."""
        trained = net.layout.trained
        tensor, low, high = np.zeros(net.layout.size, np.int64), *np.full((2, net.layout.size), np.inf)
        low = -low
        for k, (name, (_, _, places)) in enumerate(net.layout.names.items()):
            tensor[places] = k
            self.weights.append(name.rpartition(".")[2].startswith("weight"))
        for cell, place in zip(net.stack, net.layout.layers, strict=True):
            for q, name in enumerate(cell.local):
                at = place.local_at[:, q]
                low[at], high[at] = cell.bounds(name) or (-np.inf, np.inf)
        whole = {"latent": net.theta.copy(), "tensor": tensor, "low": low, "high": high}
        self._hold({name: array if name == "tensor" else array.astype(net.dtype) for name, array in whole.items()})
        net.theta[:] = self._rounded()
        net.project()
        self._hold({name: array[:trained].copy() for name, array in self._arrays.items()})
        self._written = net.trained.copy()

    def _rounded(self):
        """The latent parameters on the grid, each tensor on its own, within their bounds."""
        latent, low, high = (self._arrays[name] for name in ("latent", "low", "high"))
        out = latent.copy()
        for at, weight in zip(self._places, self.weights, strict=True):
            if len(at):
                out[at] = on_grid(latent[at], self.bits if weight else PARAMETER_BITS, weight, low[at], high[at])
        return out


def on_grid(values, bits, clipped, low, high):
    """values (n,) rounded to the grid of so many bits; clipped: the scale with the least squared error.

    Where that would lie beyond low or high, the next point within; without one, the bound.
    """
    most = float(np.abs(values).max())
    form = Format.best(values, bits) if clipped else Format.fit(most, bits)
    step, found = 2.0**-form.frac, form.value(form.quantise(values))
    found = np.where(found > high, np.minimum(np.floor(high / step) * step, high), found)
    return np.where(found < low, np.maximum(np.ceil(low / step) * step, low), found)
