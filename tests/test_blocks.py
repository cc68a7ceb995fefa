"""Blocks and windows: M after a block, what crosses its boundaries, weights that change, truncation, saving, memory."""

from itertools import product

import numpy as np
import pytest
import torch
from oracle import (
    ENGINES,
    FEEDS,
    KEEPING,
    LOSSES,
    PAIRS,
    SINGLE,
    TOLERANCE,
    TRIPLES,
    Shared,
    Stepped,
    Swept,
    Unrolled,
    all_trained,
    network,
    pick,
    sequence,
    targets_for,
    worst,
)

import evsim
from evsim.models.network import summed_loss

STACKS = SINGLE + PAIRS + TRIPLES
STEPS = 61  # a multiple of no block


def closed(learner):
    """The learner with its open block closed."""
    learner._finish(0, learner.streams, learner._open, 0)
    learner._open = 0
    return learner


@pytest.mark.nojit
@pytest.mark.parametrize("stack", [("egru",), ("alif", "lif"), ("evrnn",)], ids="-".join)
def test_small_networks_by_every_way(stack):
    net = all_trained(stack, 8, units=(4, 3), n_in=2, n_out=2)
    x, targets, keep = sequence(net, 8), targets_for(net, "mse", (8,)), np.ones(8, bool)
    truth = Unrolled(net, x).gradients("mse", targets, keep)
    for name, make in ENGINES.items():
        learner = make(net, 8, loss="mse")
        learner.run(x[:5], targets[:5])
        assert np.isfinite(learner.gradient()).all()
        learner.run(x[5:], targets[5:])
        assert worst(learner.gradients(), truth) <= TOLERANCE, name


# M after blocks

@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_blocks_carry_the_same_influence(stack):
    net = all_trained(stack)
    x, targets = sequence(net, STEPS), targets_for(net, "mse", (STEPS,))
    truth = evsim.RTRL(net, loss="mse")
    truth.run(x, targets)
    M = truth.influence()
    assert M.any()
    for kind, block in product((Swept, Stepped, evsim.RTRL), (2, 7, 16, STEPS - 1, STEPS)):
        learner = kind(net, loss="mse", block=block)
        learner.run(x, targets)
        np.testing.assert_allclose(closed(learner).influence(), M, rtol=1e-12, atol=1e-13 * abs(M).max())


@pytest.mark.parametrize("units, steps", [((20,), 16), ((150,), 16), ((150, 30), 15)])
def test_more_rows_than_stand_side_by_side(units, steps):
    """Several groups of rows, some of the lower layer alone; histories held, and made again."""
    stack = ("egru", "alif")[: len(units)]
    net = network(stack, units=units, density=0.1, spread=True, learn_threshold=True)
    x = sequence(net, 50)
    truth, learner, frugal = evsim.RTRL(net), Swept(net, block=steps), Swept(net, block=steps)
    block = frugal._spaces[0][-1]
    assert (block.groups > 1) == (units != (20,)) and len(block.hist) == block.groups
    assert block.width == {(20,): 32, (150,): 32, (150, 30): 128}[units]
    del block.hist[1:]
    for one in (truth, learner, frugal):
        one.run(x)
    M = truth.influence()
    for one in (learner, frugal):
        np.testing.assert_allclose(closed(one).influence(), M, rtol=1e-11, atol=1e-13 * abs(M).max())


def test_numbers_too_small_to_be_normal_are_zero():
    """The processor is slow with them. A unit that forgets by half in a step is left with one after 1,050."""
    cell = evsim.LIF(3, beta=0.5, mask_rec=np.zeros((3, 3), bool))
    net = evsim.Network(2, cell, evsim.Readout(2), dtype="float64")
    x = np.zeros((1051, 2))
    x[0] = 1
    stepping, learner = evsim.RTRL(net), Swept(net, block=1051)
    for one in (stepping, learner):
        one.run(x)
    sizes = [np.abs(one.influence()) for one in (stepping, closed(learner))]
    assert 0 < sizes[0][sizes[0] > 0].min() < np.finfo(float).tiny < sizes[1][sizes[1] > 0].min()


# What crosses a boundary

class Torn(Swept):
    """Forgets something of the step before each block."""

    lost = ""

    def _finish(self, lo, hi, at, worker):
        arrays = [getattr(self._forward, name) for name in self.lost.split()]
        saved = [array[:, 0].copy() for array in arrays]
        for array in arrays:
            array[:, 0] = 0
        super()._finish(lo, hi, at, worker)
        for array, old in zip(arrays, saved):
            keep = array[:, 0].copy()  # what was carried over
            array[:, 0] = keep if at else old


@pytest.mark.parametrize("lost", ["", "D", "phi D"])
def test_what_is_lost_between_blocks_is_seen(lost):
    errors = []
    for stack in [("egru",), ("lif",), ("cubalif",), ("egru", "lif")]:
        net = all_trained(stack)
        x, targets = sequence(net, STEPS), targets_for(net, "mse", (STEPS,))
        learner = Torn(net, loss="mse", block=7)
        learner.lost = lost
        learner.run(x, targets)
        errors.append(worst(learner.gradients(), Unrolled(net, x).gradients("mse", targets, np.ones(STEPS, bool))))
    if lost:
        assert min(errors) > 1e-6
    else:
        assert max(errors) <= TOLERANCE


# Weights that change

def changed(net, rng):
    """Parameters with other weights and biases."""
    values = net.parameters()
    return values | {n: v * rng.uniform(0.9, 1.1, v.shape) for n, v in values.items() if "weight" in n or "bias" in n}


@pytest.mark.parametrize("engine", KEEPING)
def test_weights_loaded_in_an_open_block(engine):
    """Steps are read with the weights that were in force, whoever has changed them."""
    net = all_trained(("egru", "lif"))
    x, targets = sequence(net, 20), targets_for(net, "mse", (20,))
    learner, truth, total = ENGINES[engine](net, 20, loss="mse"), Shared(net, x), 0.0
    rng = np.random.default_rng(0)
    for t in range(20):
        if t in (5, 11, 12):
            net.load_parameters(changed(net, rng))
            if t == 11:
                assert worst(learner.gradients(), truth.gradients(total)) <= TOLERANCE
        total = total + summed_loss("mse", truth.step(t), torch.tensor(targets[t]))
        learner.step(x[t], targets[t])
    assert worst(learner.gradients(), truth.gradients(total)) <= TOLERANCE


def test_reading_a_block_with_later_weights_is_seen():
    net = all_trained(("egru", "lif"))
    x, targets = sequence(net, 20), targets_for(net, "mse", (20,))
    found = []
    for stale in (False, True):
        learner = evsim.RTRL(net, loss="mse", block=7)
        learner.run(x[:5], targets[:5])
        before = net.parameters()
        net.load_parameters(changed(net, np.random.default_rng(0)))
        if stale:
            learner._weights[:] = net.theta
        learner.run(x[5:], targets[5:])
        found.append(learner.gradients())
        net.load_parameters(before)
    assert worst(found[1], found[0]) > 1e-3


# Windows

@pytest.mark.parametrize("window", [1, 4, 13])
@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_truncated_gradients_are_those_of_detached_states(stack, window):
    """With weights that change at steps of their own."""
    steps, nets = 26, [all_trained(stack) for _ in range(2)]
    net = nets[0]
    loss = pick(LOSSES, *stack)
    x, targets = sequence(net, steps), targets_for(net, loss, (steps,))
    truth, learner, whole = Shared(net, x, window), evsim.TBPTT(net, loss=loss, window=window), Shared(nets[1], x)
    optimizer, total, uncut = evsim.SGD(0.02), 0.0, 0.0
    for t in range(steps):
        total = total + summed_loss(loss, truth.step(t), torch.tensor(targets[t]))
        uncut = uncut + summed_loss(loss, whole.step(t), torch.tensor(targets[t]))
        learner.step(x[t], targets[t])
        if t in (2, 9, 10, 12, 25):
            found, wanted = learner.gradients(), truth.gradients(total)
            assert worst(found, wanted) <= TOLERANCE
            if t == 25 and window < 4:
                assert worst(found, whole.gradients(uncut)) > 1e-6 or not any(c.memory for c in net.layers)
            learner.update(optimizer)
            nets[1].load_parameters(net.parameters())
            total = uncut = 0.0


def test_a_window_as_long_as_the_sequence_truncates_nothing():
    net = all_trained(("alif",))
    x, targets = sequence(net, 30), targets_for(net, "mse", (30,))
    truth = Unrolled(net, x).gradients("mse", targets, np.ones(30, bool))
    for window, exact in ((30, True), (29, False)):
        for feed in FEEDS:
            learner = evsim.TBPTT(net, loss="mse", window=window)
            feed(learner, x, targets, np.ones(30, bool))
            assert (worst(learner.gradients(), truth) <= TOLERANCE) == exact


# Groups of rows, and what fades

@pytest.mark.parametrize("kinds, h", [(("evrnn", "egru"), 5), (("egru", "lif", "evrnn"), 33)])
def test_groups_of_rows_that_change_from_block_to_block(kinds, h):
    """Layers of many units are swept in groups: what an earlier block left above a group's own layers is not read."""
    cells = [pick_cell(kind)(150, density=0.1, half_width=0.4) for kind in kinds]
    net = evsim.Network(8, cells, evsim.Readout(4), dtype="float64", seed=1)
    rng = np.random.default_rng(0)
    x, targets = 2 * rng.standard_normal((100, 8)), rng.integers(4, size=100)
    steps, swept = evsim.RTRL(net), Swept(net, block=h)
    for lo, hi in ((0, 43), (43, 44), (44, 75), (75, 100)):
        for learner in (steps, swept):
            learner.run(x[lo:hi], targets[lo:hi])
        if lo == 44:
            net.load_parameters(net.parameters())  # closes the open block, with so many steps as there are
    assert worst(swept.gradients(), steps.gradients()) <= TOLERANCE


def pick_cell(kind):
    return {"evrnn": evsim.EvRNN, "egru": evsim.EGRU, "lif": evsim.LIF}[kind]


@pytest.mark.parametrize("bias", [-3.0, 6.0])
def test_a_block_that_outlasts_the_networks_memory_needs_no_product(bias):
    """In float32, what is left of a derivative after a block: nothing, or enough for a product; exact both times."""
    net = evsim.Network(6, evsim.EGRU(40, density=0.2), evsim.Readout(3), seed=2)
    values = net.parameters()
    values["layers.0.bias"][0] = bias  # of z: how much of its state a unit keeps
    values["layers.0.weight_rec"] *= 0.3
    net.load_parameters(values)
    rng = np.random.default_rng(0)
    x, targets = 2 * rng.standard_normal((700, 6)).astype(np.float32), rng.integers(3, size=700)
    steps, swept = evsim.RTRL(net), Swept(net, block=200)
    for learner in (steps, swept):
        learner.run(x, targets)
    truth = steps.gradients()
    for name, found in swept.gradients().items():
        np.testing.assert_allclose(found, truth[name], rtol=2e-3, atol=2e-4 * np.abs(truth[name]).max(), err_msg=name)
    jacobian = swept._spaces[0][4].jacobian
    assert (np.abs(jacobian).max() == 0) == (bias < 0)
