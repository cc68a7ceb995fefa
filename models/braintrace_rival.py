"""braintrace's one exact rule: saturated SnAp on a tanh RNN, as one compiled scan and as a call for each step.

Both add up the gradients of the cross entropy at every step. The readout stands outside the learner, which would give
it none. Needs braintrace, which none of evsim's extras brings.
"""

import os
import warnings
from contextlib import contextmanager

from evsim.registry import load_optional


class Tanh:
    """The network, drawn alike each time, and its learner. x: a sequence (T, n_in), for its shape."""

    def __init__(self, units, n_out, x):
        with _one_core(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of packages that it draws in
            brain, self.state = load_optional("braintrace", "braintrace"), load_optional("brainstate", "braintrace")
            self.jax = load_optional("jax", "braintrace")
            self.jax.numpy.zeros(1).block_until_ready()  # its threads are made now
        self.state.random.seed(0)
        self.cell = brain.nn.ValinaRNNCell(x.shape[1], units, activation="tanh")
        self.readout = self.state.nn.Linear(units, n_out)
        room = 4 * units**3  # its limit on the size of a Jacobian is below what exactness takes
        with warnings.catch_warnings():  # that it falls back to all pairs of units, which is what is wanted
            warnings.simplefilter("ignore")
            self.learner = brain.compile(self.cell, brain.SnAp, x[0], n=2, snap_max_jacobian_elements=room)
        self.weights = {**self.learner.param_states, **self.readout.states(self.state.ParamState)}

    def loss(self, x_t, y_t):
        """Cross entropy after one step of the learner."""
        return -self.jax.nn.log_softmax(self.readout(self.learner(x_t)))[y_t]

    def total(self, xs, ys):
        """The same summed over a sequence of the bare network."""
        out = self.readout(self.state.transform.for_loop(self.cell, xs))
        return -self.jax.nn.log_softmax(out)[self.jax.numpy.arange(len(ys)), ys].sum()


def scan(units, n_out, x, y):
    """A callable that learns through x (T, n_in) with classes y (T,) in one compiled call; returns the gradients."""
    net = Tanh(units, n_out, x)
    told = {"step_fn": net.loss, "weights": net.weights, "reduction": "sum"}
    whole = net.state.transform.jit(lambda xs, ys: net.learner.etrace_grad(xs, ys, **told))
    return lambda: net.jax.block_until_ready(whole(x, y))


def stream(units, n_out, x, y):
    """The same with a compiled call at each step."""
    net = Tanh(units, n_out, x)
    tree, slope = net.jax.tree, net.state.transform.grad(net.loss, net.weights)
    step = net.state.transform.jit(lambda total, *now: tree.map(net.jax.numpy.add, total, slope(*now)))

    def turn():
        total = tree.map(net.jax.numpy.zeros_like, {name: weight.value for name, weight in net.weights.items()})
        for now in zip(x, y, strict=True):
            total = step(total, *now)
        return net.jax.block_until_ready(total)

    return turn


def by_autodiff(units, n_out, x, y):
    """The gradients of the same network by JAX's reverse mode through the sequence."""
    net = Tanh(units, n_out, x)
    return net.state.transform.grad(net.total, net.weights)(x, y)


@contextmanager
def _one_core():
    """Keep to one core, so that JAX makes a pool of one thread."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
