"""A kind of unit with two states, known to these tests alone: what the engine promises of every cell holds for it.

Its kernel is plain Python, for the engine asks for no more than a function of the documented arguments.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from oracle import (
    FEEDS,
    KINDS,
    SURROGATES,
    TOLERANCE,
    Unrolled,
    keeps,
    learnable,
    network,
    sequence,
    targets_for,
    worst,
)
from test_counts import assert_same_counts
from test_dense import compare

import evsim
from evsim.cell import Cell
from evsim.drive import carry_over, listen
from evsim.opcount import EVENTS, FORWARD, PHI, STEPS
from evsim.surrogate import psi

STACKS = [("two",), ("two", "two"), ("two", "egru"), ("egru", "two"), ("two", "evrnn"), ("evrnn-binary", "two")]


def _run(
    lo, hi, steps, last, first, x, x_first, in_ptr, in_target, in_at, rec_ptr, rec_target, rec_at, bias_at, local_at,
    in_channels, rec_channels, settings, theta, y, A, B, C, phi, D, stored, a, count,
):  # fmt: skip
    """Arguments as in evsim.forward. stored: i, v, event, its pseudo-derivative."""
    kind, *numbers, detach = settings
    for b in range(lo, hi):
        carry_over(b, last, first, len(bias_at), y, phi, D)
        for t in range(1, steps + 1):
            count[FORWARD] += listen(
                b, t, first, x, x_first, in_ptr, in_target, in_at, rec_ptr, rec_target, rec_at, bias_at, in_channels,
                rec_channels, theta, y, a,
            )  # fmt: skip
            count[STEPS] += 1
            for n in range(len(bias_at)):
                u = first + n
                threshold, alpha, beta = theta[local_at[n, :3]]
                i, v, o, h = stored[b, u, :4]
                through = 0.0 if detach else h
                now_i = alpha * i + a[n, 0]
                now_v = beta * (v - threshold * o) + now_i
                A[b, t, u, :2, :2] = [[alpha, 0], [alpha, beta * (1 - threshold * through)]]
                B[b, t, u, :2, 0] = 1
                C[b, t, u, :2, :3] = [[0, i, 0], [-beta * (o - threshold * through), i, v - threshold * o]]
                o, h = float(now_v > threshold), psi(int(kind), now_v - threshold, *numbers)
                y[b, t, u], phi[b, t, u, :2], D[b, t, u, :3] = o, [0, h], [-h, 0, 0]
                stored[b, u, :4] = now_i, now_v, o, h
                count[EVENTS] += int(o)
                count[PHI] += h != 0


@dataclass(frozen=True, eq=False)
class TwoStates(Cell):
    """i_t = alpha * i_{t-1} + a; v_t = beta * (v_{t-1} - threshold * o_{t-1}) + i_t; y = o = H(v - threshold)."""

    threshold: float | np.ndarray = 0.8
    alpha: float = 0.5
    beta: float = 0.9
    learn_threshold: bool = False
    learn_alpha: bool = False
    learn_beta: bool = False

    kind: ClassVar[str] = "two"
    channels = ("i",)
    in_channels = (0,)
    rec_channels = (0,)
    states = ("i", "v")
    local = ("threshold", "alpha", "beta")
    kept = 3
    stored = 4
    kernel = staticmethod(_run)
    source = "these tests"

    def advance(self, m, w, a, q):
        current = q[1] * w[0] + a[0]
        return current, q[2] * (w[1] - q[0] * (m.detach(w[2]) if self.detach_reset else w[2])) + current

    def emit(self, m, s, q):
        return m.event(s[1] - q[0])

    def keep(self, m, s, q):
        return s[0], s[1], m.event(s[1] - q[0])


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """The kind is known while these tests run."""
    monkeypatch.setitem(KINDS, "two", (TwoStates, {}))


def net_of(stack, learn=True, **options):
    """A network in which everything is trained, or nothing but weights and biases."""
    return network(stack, spread=True, **dict.fromkeys(learnable(stack), learn), **options)


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_gradients_equal_backpropagation(stack, surrogate):
    for steps, density, detach, learn in ((1, 1.0, False, True), (2, 0.3, True, True), (17, 1.0, True, False),
                                          (17, 0.3, False, True), (60, 0.1, False, True)):  # fmt: skip
        net = net_of(stack, learn, density=density, detach_reset=detach, seed=steps, **SURROGATES[surrogate])
        x, targets, keep = sequence(net, steps), targets_for(net, "mse", (steps,)), keeps(steps)["some"]
        truth = Unrolled(net, x).gradients("mse", targets, keep)
        for feed in FEEDS:
            learner = evsim.RTRL(net, loss="mse")
            feed(learner, x, targets, keep)
            assert worst(learner.gradients(), truth) <= TOLERANCE
        assert truth["layers.0.bias"].any() or steps < 60


@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_influence_is_that_of_the_dense_recursion(stack):
    for density in (1.0, 0.3):
        compare(net_of(stack, units=(8, 6), density=density, density_in=0.7))


@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_counters_are_those_of_plain_loops(stack):
    for seed, density in ((0, 1.0), (1, 0.3)):
        learner, _ = assert_same_counts(net_of(stack, density=density, seed=seed), sequence(net_of(stack), 25, seed))
        assert learner.ops["propagate"] > 0


@pytest.mark.nojit
def test_small():
    compare(net_of(("two", "egru"), units=(4, 3)), steps=5)
    compare(net_of(("egru", "two"), units=(4, 3), seed=2), steps=5)
    net = net_of(("two",), units=(4,), seed=1)
    learner, x = evsim.RTRL(net), sequence(net, 6)
    for t in range(6):
        learner.step(x[t])
    learner.accumulate(np.ones(3))
    other = evsim.RTRL(net, loss="mse")
    for t in range(6):
        out = other.step(x[t], None if t < 5 else net.run(x)[5] - 1.5)  # the error is (2 / 3) * 1.5 = 1
    np.testing.assert_allclose(other.gradient(), learner.gradient(), rtol=1e-12)
    assert learner.gradients()["layers.0.alpha"].any()
    assert out.shape == (3,)
