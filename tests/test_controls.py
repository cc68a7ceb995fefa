"""Negative controls: a term left out must make the comparison with autograd fail, and by about as much as it matters.

Where the engine allows it, its own Steps are tampered with between the forward pass and the influence; the rest is done
in the plain dense recursion, which agrees with autograd when nothing is left out.
"""

from dataclasses import replace

import numpy as np
import pytest
from naive import FAULTS, Influence, forward, loss_and_error
from oracle import (
    KINDS,
    PAIRS,
    SINGLE,
    TOLERANCE,
    Unrolled,
    by_steps,
    hidden,
    jacobians,
    learnable,
    network,
    record,
    sequence,
    targets_for,
    worst,
)

import evsim
from evsim.models.words import TorchWords

STEPS = 17
STACKS = SINGLE + PAIRS
CASES = [(stack, density, seed) for stack in STACKS for density in (1.0, 0.3) for seed in (0, 1)]


def always(stack, net, x):
    """Every network feels it."""
    return True


def with_memory(stack, net, x):
    """Whether a unit of the stack keeps anything."""
    return any(KINDS[kind][0].kept for kind in stack)


def stacked(stack, net, x):
    """Whether there is a layer below another."""
    return len(stack) > 1


def alive_before(stack, net, x):
    """Whether what a unit kept at rest, within reach of its threshold, would say something about the threshold."""
    steps = record(net, x[:1])[1][0]
    return any(not np.allclose(C, step.C, atol=1e-9) for C, step in zip(first_C(net, x[:1]), steps))


def heard_before(stack, net, x):
    """The same, or a unit at rest would have told others about its threshold."""
    return alive_before(stack, net, x) or any(D.any() for D in first_D(net))


def case(stack, density, seed, half_width=0.6):
    """Network (supports wide, everything trained), inputs, targets, autograd's gradients."""
    options = dict(dict.fromkeys(learnable(stack), True), half_width=half_width)
    net = network(stack, density=density, seed=seed, spread=True, **options)
    x, targets = sequence(net, STEPS, seed), targets_for(net, "cross_entropy", (STEPS,), seed)
    truth = Unrolled(net, x).gradients("cross_entropy", targets, np.ones(STEPS, bool))
    assert all(g.any() for g in truth.values())
    return net, x, targets, truth


def off(ours, truth):
    """Relative error of the hidden gradients, all in one."""
    a, b = (np.concatenate([g.ravel() for g in hidden(gradients).values()]) for gradients in (ours, truth))
    return np.linalg.norm(a - b) / np.linalg.norm(b)


# In the engine

class Tampered(evsim.RTRL):
    """Reads Steps that `fault(learner, forward)` has changed; the forward pass goes on with the right ones."""

    def __init__(self, net, fault):
        self.fault, self.first = fault, True
        super().__init__(net)

    def _learn(self, lo, hi, start, steps, worker):
        assert (start, steps) == (0, 1)
        arrays = [self._forward.arrays[name] for name in ("A", "C", "phi", "D")]
        saved = [array.copy() for array in arrays]
        self.fault(self, self._forward)
        super()._learn(lo, hi, start, steps, worker)
        for array, old in zip(arrays, saved):
            array[:] = old
        self.first = False


def nothing(learner, forward):
    """Leave the Steps as they are."""


def no_reset(learner, forward):
    """A and C of a network that detaches the event in the reset."""
    if learner.first:
        net, masks = learner.net, learner.net.masks()
        cells = [
            replace(
                cell, detach_reset=True,
                mask_in=masks[f"layers.{k}.weight_in"][0], mask_rec=masks[f"layers.{k}.weight_rec"][0],
            )
            for k, cell in enumerate(net.layers)
        ]  # fmt: skip
        twin = evsim.Network(net.n_in, cells, net.readout, dtype="float64")
        twin.load_parameters(net.parameters())
        learner.twin = evsim.RTRL(twin)
    learner.twin.step(forward.x[0, 1])
    for name in ("A", "C"):
        forward.arrays[name][:, 1] = learner.twin._forward.arrays[name][:, 1]


def no_C(learner, forward):
    forward.C[:] = 0


def no_D(learner, forward):
    forward.D[:] = 0


def no_D_in_the_recurrence(learner, forward):
    forward.D[:, 0] = 0


def below_cut(learner, forward):
    top = learner.net.layout.layers[-1].first
    forward.phi[:, :, :top] = 0
    forward.D[:, :, :top] = 0


def live_before(learner, forward):
    """At the first step, what the units keep depends on thresholds already."""
    if learner.first:
        for k, C in enumerate(first_C(learner.net, forward.x[0, 1:2])):
            here = learner.net.layout.layers[k].first
            forward.C[0, 1, here : here + C.shape[0], : C.shape[1], : C.shape[2]] = C


def first_C(net, x):
    """C at the first step had there been a step before it, with all states 0."""
    values, (_, seen) = net.parameters(), forward(net, x)
    found = []
    for k, cell in enumerate(net.layers):
        q = [values[f"layers.{k}.{name}"] for name in cell.local]
        before = [np.zeros(cell.units) for _ in cell.states]
        found.append(jacobians(cell, TorchWords, before, seen[k][0][1], q, False)[2])
    return found


def first_D(net):
    """D of events before the first step, had there been any, with all states 0."""
    values, found = net.parameters(), []
    for k, cell in enumerate(net.layers):
        q = [values[f"layers.{k}.{name}"] for name in cell.local]
        zero = [np.zeros(cell.units) for _ in cell.states]
        found.append(jacobians(cell, TorchWords, zero, [np.zeros(cell.units) for _ in cell.channels], q, True)[4])
    return found


# fault -> (which networks feel it, by how much: median over cases within a factor of 6, half width of the supports:
# so wide that a unit at rest is within reach of its threshold, where that matters)
ENGINE = {
    no_reset: (with_memory, 1e-1, 0.6),
    no_C: (with_memory, 3e-1, 0.6),
    no_D: (always, 2.5e-1, 0.6),
    no_D_in_the_recurrence: (always, 5e-2, 0.6),
    below_cut: (stacked, 4e-1, 0.6),
    live_before: (alive_before, 1e-2, 1.6),
}


@pytest.mark.parametrize("fault", ENGINE, ids=lambda fault: fault.__name__)
def test_a_fault_in_the_engine_is_seen(fault):
    feels, scale, half_width = ENGINE[fault]
    errors = []
    for stack, density, seed in CASES:
        net, x, targets, truth = case(stack, density, seed, half_width)
        for tampering in (nothing, fault):
            learner = Tampered(net, tampering)
            by_steps(learner, x, targets, np.ones(STEPS, bool))
            failed = worst(learner.gradients(), truth) > TOLERANCE
            assert failed == (tampering is fault and feels(stack, net, x)), (stack, density, seed)
        if feels(stack, net, x):
            errors.append(off(learner.gradients(), truth))
    assert len(errors) >= 4
    assert scale / 6 <= np.median(errors) <= scale * 6
    assert min(errors) > 1e-6


# In the dense recursion

def dense_gradient(net, x, targets, fault=None, live=False):
    """Gradients by the naive recursion; live: events depend on thresholds before the first step too."""
    out, steps = record(net, x)
    naive, values = Influence(net, fault), net.parameters()
    if live:
        steps[0] = [step._replace(C=C) for step, C in zip(steps[0], first_C(net, x[:1]))]
        for k, (cell, D) in enumerate(zip(net.layers, first_D(net))):
            for j, name in enumerate(cell.local):
                if f"layers.{k}.{name}" in naive.place:
                    naive.echo[k][np.arange(cell.units), naive.place[f"layers.{k}.{name}"]] += D[:, j]
    total = {}
    for t in range(len(x)):
        naive.advance(steps[t], values)
        d_out = loss_and_error("cross_entropy", out[t], targets[t])[1]
        for name, g in naive.gradient(values, d_out, steps[t][-1].y).items():
            total[name] = total.get(name, 0) + g
    return total


DENSE = {
    "C": (with_memory, 3e-1, 0.6),
    "D": (always, 2.5e-1, 0.6),
    "D in the recurrence": (always, 5e-2, 0.6),
    "layer below cut": (stacked, 4e-1, 0.6),
    "layer below late": (stacked, 5e-1, 0.6),
    "live before": (heard_before, 1e-2, 1.6),
}


def test_every_fault_has_its_control():
    assert set(DENSE) == {*FAULTS, "live before"}


@pytest.mark.parametrize("fault", DENSE)
def test_a_fault_in_the_dense_recursion_is_seen(fault):
    feels, scale, half_width = DENSE[fault]
    errors = []
    for stack, density, seed in CASES:
        net, x, targets, truth = case(stack, density, seed, half_width)
        assert worst(dense_gradient(net, x, targets), truth) <= TOLERANCE
        if fault == "live before":
            found = dense_gradient(net, x, targets, live=True)
        else:
            found = dense_gradient(net, x, targets, fault)
        assert (worst(found, truth) > TOLERANCE) == feels(stack, net, x), (stack, density, seed)
        if feels(stack, net, x):
            errors.append(off(found, truth))
    assert len(errors) >= 4
    assert scale / 6 <= np.median(errors) <= scale * 6
    assert min(errors) > 1e-6
