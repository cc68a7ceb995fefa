"""The words that a cell's equations may use, and what numpy makes of them.

A cell's equations are written once, with these words and + - * only. `NumpyWords` runs them as they stand,
`SmoothWords` runs the smooth twin (the Heaviside step replaced by the integral of its pseudo-derivative, so that finite
differences of it are the gradients meant), `evsim.models.TorchWords` runs them under autograd, and `evsim.symbols`
writes them out.
"""

from typing import Any, Protocol

import numpy as np


class Words(Protocol):
    """sigmoid, tanh, event (Heaviside step with a pseudo-derivative), detach (value without derivative)."""

    def sigmoid(self, x: Any) -> Any: ...
    def tanh(self, x: Any) -> Any: ...
    def event(self, x: Any) -> Any: ...
    def detach(self, x: Any) -> Any: ...


class NumpyWords:
    """Numpy arrays, hard events."""

    def __init__(self, surrogate):
        self.surrogate = surrogate

    def sigmoid(self, x):
        return 1.0 / (1.0 + np.exp(-x))

    def tanh(self, x):
        return np.tanh(x)

    def event(self, x):
        return (x > 0).astype(x.dtype)

    def detach(self, x):
        return x


class SmoothWords(NumpyWords):
    """Numpy arrays, events replaced by the integral of their pseudo-derivative."""

    def event(self, x):
        return self.surrogate.integral(x)
