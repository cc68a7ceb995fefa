"""Properties that hold whatever the network: permutation, scaling, silence of what is not read, sameness of bits."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import (
    LOSSES,
    PAIRS,
    SINGLE,
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

import evsim

STACKS = st.sampled_from(SINGLE + PAIRS)
SEEDS = st.integers(0, 10**6)


@st.composite
def nets(draw, **fixed):
    """A small network of any kind, size, density and pseudo-derivative."""
    stack = draw(STACKS)
    options = dict.fromkeys(learnable(stack), draw(st.booleans())) | draw(st.sampled_from(list(SURROGATES.values())))
    units = (draw(st.integers(1, 9)), draw(st.integers(1, 6)))
    sizes = dict(units=units, n_in=draw(st.integers(1, 5)), n_out=draw(st.integers(1, 4)))
    flags = dict(spread=draw(st.booleans()), detach_reset=draw(st.booleans()), seed=draw(SEEDS))
    densities = dict(density=draw(st.sampled_from([0.05, 0.3, 0.7, 1.0])), density_in=draw(st.sampled_from([0.2, 1.0])))
    return network(stack, **{**sizes, **flags, **densities, **options, **fixed})


@given(nets(), st.integers(1, 40), st.sampled_from(LOSSES), SEEDS)
@settings(max_examples=40)
def test_any_network_is_exact(net, steps, loss, seed):
    x, targets, keep = sequence(net, steps, seed), targets_for(net, loss, (steps,), seed), keeps(steps, seed)["some"]
    learner = evsim.RTRL(net, loss=loss)
    learner.run(x, targets, keep)
    assert worst(learner.gradients(), Unrolled(net, x).gradients(loss, targets, keep)) <= TOLERANCE
    assert learner.gradients()["readout.bias"].any() or net.n_out == 1


@given(nets(), SEEDS)
def test_permuting_units_permutes_gradients(net, seed):
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(cell.units) for cell in net.layers]
    values, masks = net.parameters(), net.masks()

    def permuted(name, value):
        if name.startswith("readout"):
            return value[:, orders[-1]] if name.endswith("weight") else value
        k = int(name.split(".")[1])
        value = value[..., orders[k], :] if name.endswith(("weight_in", "weight_rec")) else value[..., orders[k]]
        if name.endswith("weight_rec"):
            return value[..., orders[k]]
        return value[..., orders[k - 1]] if name.endswith("weight_in") and k else value

    cells = []
    for k, cell in enumerate(net.layers):
        names = {side: f"layers.{k}.weight_{side}" for side in ("in", "rec")}
        moved = {f"mask_{side}": permuted(name, masks[name]) for side, name in names.items()}
        cells.append(replace(cell, **moved))
    other = evsim.Network(net.n_in, cells, net.readout, dtype="float64")
    other.load_parameters({name: permuted(name, value) for name, value in values.items()})
    x, targets = sequence(net, 12, seed), targets_for(net, "mse", (12,), seed)
    found = []
    for each in (net, other):
        learner = evsim.RTRL(each, loss="mse")
        learner.run(x, targets)
        found.append(learner.gradients())
    assert worst(found[1], {name: permuted(name, g) for name, g in found[0].items()}) <= 1e-9


@given(nets(), SEEDS)
def test_no_error_no_gradient(net, seed):
    x = sequence(net, 12, seed)
    learner = evsim.RTRL(net, loss="mse")
    learner.run(x, net.run(x))
    assert learner.loss == 0
    assert not learner.gradient().any()
    learner.accumulate(np.zeros(net.n_out))
    assert not learner.gradient().any()


@given(nets(density=0.3), SEEDS)
def test_absent_weights_stay_absent(net, seed):
    x, targets = sequence(net, 12, seed), targets_for(net, "cross_entropy", (12,), seed)
    learner, optimizer = evsim.RTRL(net), evsim.Adam(0.05)
    before, masks = net.theta.copy(), net.masks()
    for _ in range(3):
        learner.run(x, targets)
        for name, mask in masks.items():
            assert not learner.gradients()[name][~mask].any()
        learner.update(optimizer)
    assert (net.theta != before).any() or net.n_out == 1
    for name, mask in masks.items():
        assert not net.parameters()[name][~mask].any()
        np.testing.assert_array_equal(net.masks()[name], mask)


@given(nets(), SEEDS, st.sampled_from(LOSSES))
def test_targets_at_masked_steps_are_not_read(net, seed, loss):
    x, keep = sequence(net, 12, seed), keeps(12, seed)["some"]
    targets = targets_for(net, loss, (12,), seed)
    spoilt = targets.copy()
    spoilt[~keep] = 10**6 if loss == "cross_entropy" else np.nan
    plain, other = (evsim.RTRL(net, loss=loss) for _ in range(2))
    plain.run(x, targets, keep)
    other.run(x, spoilt, keep.astype(int))
    assert plain.loss == other.loss
    np.testing.assert_array_equal(plain.gradient(), other.gradient())
    spoilt = targets.copy()
    spoilt[np.flatnonzero(keep)[0]] = 10**6 if loss == "cross_entropy" else np.nan
    with pytest.raises(ValueError, match="targets holds"):
        other.run(x, spoilt, keep)


@given(nets(), SEEDS)
def test_a_loss_told_twice_counts_twice(net, seed):
    x, weights = sequence(net, 12, seed), np.random.default_rng(seed).standard_normal((12, net.n_out))
    once, twice, scaled = (evsim.RTRL(net) for _ in range(3))
    for t in range(12):
        for learner, factor in ((once, 1), (twice, 1), (scaled, 2)):
            learner.step(x[t])
            learner.accumulate(factor * weights[t])
        twice.accumulate(weights[t])
    np.testing.assert_array_equal(scaled.gradient(), 2 * once.gradient())
    size = abs(once.gradient()).max()
    np.testing.assert_allclose(twice.gradient(), 2 * once.gradient(), rtol=1e-9, atol=1e-12 * size)


@given(STACKS, SEEDS)
def test_the_same_seed_gives_the_same_bits(stack, seed):
    found = []
    for _ in range(2):
        net = network(stack, density=0.5, seed=seed, dtype="float32")
        learner, optimizer = evsim.RTRL(net), evsim.Adam(0.01)
        for k in range(3):
            learner.run(sequence(net, 12, seed + k), targets_for(net, "cross_entropy", (12,), seed))
            learner.update(optimizer)
        found.append((net.theta.tobytes(), learner.influence().tobytes(), tuple(learner.ops.items())))
    assert found[0] == found[1]


@given(nets(), SEEDS, st.lists(st.integers(0, 39), max_size=4))
def test_pieces_do_not_matter(net, seed, cuts):
    x, targets, keep = sequence(net, 40, seed), targets_for(net, "mse", (40,), seed), keeps(40, seed)["some"]
    whole, pieces = (evsim.RTRL(net, loss="mse") for _ in range(2))
    out = whole.run(x, targets, keep)
    parts = [pieces.run(x[i], targets[i], keep[i]) for i in np.split(np.arange(40), sorted(cuts))]
    np.testing.assert_array_equal(np.concatenate(parts), out)
    np.testing.assert_array_equal(pieces.gradient(), whole.gradient())
    np.testing.assert_array_equal(pieces.influence(), whole.influence())
    np.testing.assert_array_equal(pieces.counts, whole.counts)
    assert pieces.loss == pytest.approx(whole.loss, rel=1e-13)


@pytest.mark.nojit
@given(seed=SEEDS)
@settings(max_examples=3)
def test_small_networks_are_exact(seed):
    for stack in SINGLE:
        net = network(stack, units=(3,), n_in=2, n_out=2, seed=seed)
        x, targets = sequence(net, 5, seed), targets_for(net, "cross_entropy", (5,), seed)
        learner = evsim.RTRL(net)
        learner.run(x, targets)
        truth = Unrolled(net, x).gradients("cross_entropy", targets, np.ones(5, bool))
        assert worst(learner.gradients(), truth) <= TOLERANCE
        assert truth["readout.bias"].any()
