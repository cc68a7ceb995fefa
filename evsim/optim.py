"""Optimisers: they update one flat vector of parameters in place, by a gradient of the same shape.

State has the parameters' precision, and so has the arithmetic of each element; what depends on the step count
alone is worked out in float64 and rounded.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

from evsim.check import check_below_one, check_choice, check_positive
from evsim.jit import jit
from evsim.schedule import Schedule, as_schedule, to_config
from evsim.schedule import from_config as schedule_from_config


@jit
def _apply_sgd(gradient, rate, theta):
    """theta -= rate * gradient; all of length P."""
    for k in range(theta.shape[0]):
        theta[k] -= rate * gradient[k]


@jit
def _apply_momentum(gradient, rate, momentum, velocity, theta):
    """velocity = momentum * velocity + gradient; theta -= rate * velocity."""
    for k in range(theta.shape[0]):
        velocity[k] = momentum * velocity[k] + gradient[k]
        theta[k] -= rate * velocity[k]


@jit
def _apply_adam(gradient, rate, beta1, rest1, beta2, rest2, root, epsilon, keep, mean, square, theta):
    """One update of Adam: rest = 1 - beta; bias corrections in rate, root; keep = 1 - lr * weight_decay."""
    for k in range(theta.shape[0]):
        g = gradient[k]
        mean[k] = beta1 * mean[k] + rest1 * g
        square[k] = beta2 * square[k] + rest2 * g * g
        theta[k] = keep * theta[k] - rate * mean[k] / (np.sqrt(square[k]) / root + epsilon)


@jit
def _shrink(keep, weights, theta):
    """theta *= keep where `weights` is True."""
    for k in range(theta.shape[0]):
        if weights[k]:
            theta[k] *= keep


@jit
def _lean(gradient, decay, weights, theta, leant):
    """leant = gradient + decay * theta where `weights` is True, and gradient elsewhere."""
    for k in range(theta.shape[0]):
        leant[k] = gradient[k] + decay * theta[k] if weights[k] else gradient[k]


class Optimizer:
    """Base: the step count, the learning rate, and the state's coming and going.

    A subclass names its `kind`, its state arrays in `slots`, its numbers in `numbers` (attributes of the same
    name), and writes `_update(theta, gradient, rate)`.
    """

    kind = ""
    slots: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    weight_decay = 0.0
    decay = "all"
    arithmetic = 0  # for each parameter, beyond one multiply-add; a root or a division counts as one

    def __init__(self, lr: float | Schedule):
        self.schedule = as_schedule(lr)
        self.steps = 0
        self._arrays: dict[str, np.ndarray] = {}

    @property
    def learning_rate(self) -> float:
        """The rate that the next update uses; ValueError if the schedule gives no finite number >= 0."""
        rate = self.schedule(self.steps)
        try:
            good = np.isfinite(rate) and rate >= 0
        except (TypeError, ValueError):
            good = False
        if not good:
            told = f"the schedule gave {rate!r} at step {self.steps}"
            raise ValueError(f"{told}: let it give a finite number >= 0")
        return float(rate)

    def apply(self, theta: np.ndarray, gradient: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Update theta (P,), float32 or float64, in place, by a gradient like it, which is only read.

        weights (P,): which of them are weights, neither biases nor thresholds and the like, for decay="weights".
        FloatingPointError, and nothing changed, if the gradient holds NaN or infinity.
        """
        _check_vectors(theta, gradient)
        self.check_state(theta)
        rate = self.learning_rate
        check_gradient(gradient)
        if not self._arrays:
            self._arrays = {slot: np.zeros_like(theta) for slot in self.slots}
        self._update(theta, gradient, rate, self._decayed(theta, weights))
        self.steps += 1

    def _decayed(self, theta, weights):
        """Which entries decay: True where all do, None where none does."""
        if not self.weight_decay:
            return None
        if self.decay == "all":
            return np.ones(theta.shape, np.bool_)
        if weights is None or weights.shape != theta.shape or weights.dtype != np.bool_:
            told = 'decay="weights" has to know which parameters are weights'
            raise ValueError(f"{told}: pass a boolean array like theta")
        return weights

    def _set_decay(self, weight_decay, decay):
        self.weight_decay = 0.0 if weight_decay == 0 else check_positive("weight_decay", weight_decay)
        self.decay = check_choice("decay", decay, DECAYS)

    def config(self) -> dict[str, Any]:
        """Return kind, rate or schedule, and numbers: what `from_config` needs, and JSON can hold."""
        numbers = {name: getattr(self, name) for name in self.numbers}
        return {"kind": self.kind, "lr": to_config(self.schedule), **numbers}

    def state(self) -> dict[str, np.ndarray]:
        """Return copies: "steps" (), int64, and, once an update is made, the state arrays (P,)."""
        copies = {name: array.copy() for name, array in self._arrays.items()}
        return {"steps": np.array(self.steps, dtype=np.int64), **copies}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from what `state` returned; ValueError, and no change, if it is another optimiser's."""
        given = {name: np.asarray(value) for name, value in state.items()}
        if set(given) not in ({"steps"}, {"steps", *self.slots}):
            found, needed = ", ".join(given) or "nothing", ", ".join(["steps", *self.slots])
            raise ValueError(f"this state holds {found}, but {self.kind} needs {needed}: load another")
        steps = given.pop("steps")
        if steps.shape != () or steps.dtype.kind not in "iu" or steps < 0:
            raise ValueError(f"steps={steps!r} is not a count of updates: give one whole number >= 0")
        if self.slots and bool(given) != (steps > 0):
            raise ValueError(f"this state holds {len(given)} vectors after {steps} updates: load another")
        shapes = {(array.shape, array.dtype) for array in given.values()}
        if len(shapes) > 1 or any(array.ndim != 1 or array.dtype not in _DTYPES for array in given.values()):
            found = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in given.items())
            raise ValueError(f"this state holds {found}: give vectors of one length and one precision")
        for name, array in given.items():
            if not np.isfinite(array).all() or (name == "square" and (array < 0).any()):
                raise ValueError(f"this state's {name} holds values that no update leaves: load another")
        self.steps = int(steps)
        self._arrays = {name: np.array(array, order="C") for name, array in given.items()}

    def rewire(self, origin: np.ndarray) -> None:
        """Follow parameters to new places: origin (P,), where each stood before and -1 for new ones (`Network.rewire`).

        The state of those that stay is kept bit for bit, that of new ones is 0, and the step count goes on. ValueError,
        and no change, for places that this state does not have.
        """
        origin = np.asarray(origin)
        if origin.ndim != 1 or origin.dtype.kind != "i" or origin.min(initial=-1) < -1:
            told = f"origin has shape {origin.shape} and dtype {origin.dtype}"
            raise ValueError(f"{told}: give a vector of places, or -1 for parameters that are new")
        new, moved = origin < 0, {}
        for name, array in self._arrays.items():
            if origin.max(initial=-1) >= len(array):
                told = f"origin names place {origin.max()}, but this optimiser's {name} has {len(array)}"
                raise ValueError(f"{told}: give what the network that it trains returned")
            moved[name] = np.where(new, array.dtype.type(0), array[origin])
        self._arrays = moved

    def check_state(self, theta: np.ndarray) -> None:
        """ValueError if the state is not that of parameters such as theta (P,)."""
        for name, array in self._arrays.items():
            if array.shape != theta.shape or array.dtype != theta.dtype:
                held, given = f"{array.dtype} {array.shape}", f"{theta.dtype} {theta.shape}"
                told = f"this optimiser's {name} is {held}, but theta is {given}"
                raise ValueError(f"{told}: use a new optimiser for another network")

    def _update(self, theta, gradient, rate, decayed):
        raise NotImplementedError


class SGD(Optimizer):
    """Gradient descent with momentum: velocity = momentum * velocity + gradient; theta -= lr * velocity.

    lr: a number > 0 or a schedule. momentum: in [0, 1). weight_decay: >= 0; weight_decay * theta is added to the
    gradient (an L2 penalty), of all parameters, or with decay="weights" of weights alone.
    """

    kind = "sgd"
    numbers = ("momentum", "weight_decay", "decay")

    def __init__(self, lr: float | Schedule, momentum: float = 0.0, weight_decay: float = 0.0, decay: str = "all"):
        super().__init__(lr)
        self._set_decay(weight_decay, decay)
        self.momentum = check_below_one("momentum", momentum)
        self.slots = ("velocity",) if self.momentum else ()
        self.arithmetic = len(self.slots)

    def _update(self, theta, gradient, rate, decayed):
        real = theta.dtype.type
        if decayed is not None:
            given, gradient = gradient, np.empty_like(gradient)
            _lean(given, real(self.weight_decay), decayed, theta, gradient)
        if self.momentum:
            _apply_momentum(gradient, real(rate), real(self.momentum), self._arrays["velocity"], theta)
        else:
            _apply_sgd(gradient, real(rate), theta)


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1), with the weight decay kept apart (Loshchilov and Hutter 2019).

    mean = beta1 * mean + (1 - beta1) * gradient
    square = beta2 * square + (1 - beta2) * gradient ** 2
    size = sqrt(square / (1 - beta2 ** t)) + epsilon, at the update number t, from 1
    theta = (1 - lr * weight_decay) * theta - lr * mean / (1 - beta1 ** t) / size

    lr: a number > 0 or a schedule. beta1, beta2: in [0, 1). epsilon: > 0.
    weight_decay: >= 0, on all parameters, or with decay="weights" on weights alone: thresholds that decay make units
    speak more.
    """

    kind = "adam"
    slots = ("mean", "square")
    numbers = ("beta1", "beta2", "epsilon", "weight_decay", "decay")
    arithmetic = 10  # 2 for the mean, 3 for the square, and 6 in all for theta

    def __init__(
        self,
        lr: float | Schedule = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        decay: str = "all",
    ):
        super().__init__(lr)
        self.beta1 = check_below_one("beta1", beta1)
        self.beta2 = check_below_one("beta2", beta2)
        self.epsilon = check_positive("epsilon", epsilon)
        self._set_decay(weight_decay, decay)

    def _update(self, theta, gradient, rate, decayed):
        real = theta.dtype.type
        keep = real(1 - rate * self.weight_decay)
        if self.weight_decay and self.decay == "weights":
            _shrink(keep, decayed, theta)
            keep = real(1)
        t = self.steps + 1
        scaled = rate / (1 - self.beta1**t)
        root = np.sqrt(1 - self.beta2**t)
        _apply_adam(
            gradient,
            real(scaled),
            real(self.beta1),
            real(1 - self.beta1),
            real(self.beta2),
            real(1 - self.beta2),
            real(root),
            real(self.epsilon),
            keep,
            self._arrays["mean"],
            self._arrays["square"],
            theta,
        )


DECAYS = ("all", "weights")
_KINDS = {"sgd": SGD, "adam": Adam}
_AROUND = {"quantised": "evsim.fixed.latent:Quantised"}  # what has one of these inside
_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def from_config(config: Mapping[str, Any]) -> Any:
    """Return a new optimiser as `config()` described it; ValueError if it did not come from there."""
    given = dict(config)
    if given.get("kind") in _AROUND:
        module, attribute = _AROUND[given["kind"]].split(":")
        return getattr(import_module(module), attribute).from_config(given)
    made = _KINDS[check_choice("kind", given.pop("kind", None), _KINDS)]
    if not {"lr"} <= set(given) <= {"lr", *made.numbers}:
        found, needed = ", ".join(given) or "nothing", ", ".join(["lr", *made.numbers])
        raise ValueError(f"{made.kind} got {found}: it takes {needed}")
    return made(lr=schedule_from_config(given.pop("lr")), **given)


def clip_scale(gradient: np.ndarray, clip: float) -> float:
    """Return min(1, clip / |gradient|), which shortens a gradient (P,) to the Euclidean length `clip` > 0.

    Summed in float64 and without overflow; FloatingPointError if the gradient holds NaN or infinity.
    """
    clip = check_positive("clip", clip)
    check_gradient(gradient)
    largest = float(np.abs(gradient).max(initial=0.0))
    if largest == 0.0:
        return 1.0
    length = largest * float(np.sqrt(np.square(gradient / np.float64(largest), dtype=np.float64).sum()))
    return min(1.0, clip / length)


def check_gradient(gradient: np.ndarray) -> None:
    """Raise FloatingPointError, with the first place, if `gradient` (P,) holds NaN or infinity."""
    good = np.isfinite(gradient)
    if not good.all():
        place = int(np.argmin(good))
        told = f"the gradient holds {gradient[place]} at index {place}: training has diverged"
        raise FloatingPointError(f"{told}; lower the learning rate or clip the gradient")


def _check_vectors(theta, gradient):
    for name, array in (("theta", theta), ("gradient", gradient)):
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{name} is a {type(array).__name__}: give a numpy array")
        if array.dtype not in _DTYPES:
            raise TypeError(f"{name} has dtype {array.dtype}: give float32 or float64")
        if array.ndim != 1 or not array.flags.c_contiguous:
            raise ValueError(f"{name} has shape {array.shape}, strides {array.strides}: give a plain vector")
    if theta.shape != gradient.shape or theta.dtype != gradient.dtype:
        given, needed = f"{gradient.dtype} {gradient.shape}", f"{theta.dtype} {theta.shape}"
        raise ValueError(f"gradient is {given}, but theta is {needed}: give one like theta")
    if not theta.flags.writeable:
        raise ValueError("theta is read-only, but it is updated in place: give a writeable array")
    if np.may_share_memory(theta, gradient):
        raise ValueError("gradient and theta share memory, but the gradient is only read: give a copy")
