"""SnAp: the dense recursion cut after each step to what few recurrent weights reach, and RTRL where that is all."""

from itertools import pairwise

import numpy as np
import pytest
from beside import beside
from naive import Influence, near, reach
from oracle import (
    PAIRS,
    READOUTS,
    SINGLE,
    SURROGATES,
    TOLERANCE,
    TRIPLES,
    all_trained,
    hidden,
    network,
    pick,
    sequence,
    targets_for,
    worst,
)

import evsim

STACKS = SINGLE + PAIRS[::3] + TRIPLES[::4]
SPARSE = {"units": (14, 11, 9), "density": 0.17, "density_in": 0.3}


def sparse(stack, readout="linear", steps=12, **options):
    """A network of few weights, on which approximations lose something."""
    return all_trained(stack, steps, readout, **{**SPARSE, **options})


def found_by(learner, steps=40):
    """Gradients of the hidden layers after a sequence."""
    learner.run(sequence(learner.net, steps), targets_for(learner.net, learner.loss_kind, (steps,)))
    return hidden(learner.gradients())


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_influence_is_that_of_the_dense_recursion_cut_to_the_pattern(stack, n):
    net = sparse(stack, READOUTS[(n + pick(range(2), *stack)) % 2])
    learner, pattern = evsim.SnAp(net, loss="mse", n=n), near(net, n)
    np.testing.assert_array_equal(learner.structure().toarray(), pattern)
    assert learner.exact == np.array_equal(pattern, reach(net))
    beside(learner, Influence(net, pattern=pattern))
    assert (learner.influence() != 0).any()


@pytest.mark.parametrize("stack", SINGLE, ids="-".join)
def test_each_order_is_another_gradient(stack):
    """So the comparisons above can tell them apart."""
    net = sparse(stack, steps=40, **SURROGATES["superspike"])  # every unit moves at every step
    learners = [evsim.SnAp(net, loss="mse", n=n) for n in (1, 2, 3)] + [evsim.RTRL(net, loss="mse")]
    found = [found_by(learner) for learner in learners]
    for k in range(3):
        assert worst(found[k], found[k + 1]) > 1e-6, k
    assert not learners[0].exact and evsim.SnAp.exact is False
    sizes = [learner.structure().nnz for learner in learners]
    assert sizes == sorted(set(sizes))
    assert learners[0].structure().nnz == net.layout.units


@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_saturated_it_is_exact(stack):
    for seed, readout in enumerate(READOUTS):
        net = network(stack, readout=readout, seed=seed, **SPARSE)
        learner = evsim.SnAp(net, loss="mse", n=net.layout.units)
        assert learner.exact
        assert worst(found_by(learner), found_by(evsim.RTRL(net, loss="mse"))) <= 1e-12


@pytest.mark.parametrize("n", [2, 3])
def test_a_pair_that_is_missing_is_noticed(n):
    net = sparse(("lif",), **SURROGATES["superspike"])
    pattern = near(net, n)
    pattern[tuple(np.argwhere(pattern & ~near(net, 1))[0])] = False
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        beside(evsim.SnAp(net, loss="mse", n=n), Influence(net, pattern=pattern))


@pytest.mark.nojit
@pytest.mark.parametrize("stack", PAIRS + TRIPLES, ids="-".join)
def test_structure_is_that_of_short_paths(stack):
    for seed in range(3):
        net = network(stack, density=0.12, density_in=0.2, seed=seed, readout=READOUTS[seed % 2], units=(12, 9, 7))
        for n in range(1, 7):
            learner = evsim.SnAp(net, n=n)
            np.testing.assert_array_equal(learner.structure().toarray(), near(net, n))
            assert learner.exact == np.array_equal(near(net, n), reach(net))


@pytest.mark.nojit
def test_without_recurrence_it_is_exact():
    net = network(("lif", "egru"), units=(5, 5), mask_rec=np.zeros((5, 5), bool), density_in=0.5)
    assert evsim.SnAp(net).exact
    loops = network(("lif",), units=(5,), mask_rec=np.eye(5, dtype=bool))
    assert evsim.SnAp(loops).exact
    assert not evsim.SnAp(network(("lif",), units=(5,), mask_rec=np.roll(np.eye(5, dtype=bool), 1, 0)), n=4).exact


def test_it_holds_less_and_does_less():
    net = network(("egru",), units=(100,), density=0.05)
    learners = [evsim.SnAp(net, n=1), evsim.SnAp(net, n=2), evsim.RTRL(net)]
    for learner in learners:
        learner.run(sequence(net, 50), np.zeros(50, int))
    for few, many in pairwise(learners):
        assert 2 * few.memory["influence"] < many.memory["influence"]
        assert few.ops["propagate"] < many.ops["propagate"] / 2


def test_streams_are_separate_learners_summed():
    net = sparse(("lif", "egru"))
    x, targets = sequence(net, 40, lead=(2,)), targets_for(net, "cross_entropy", (2, 40))
    both = evsim.SnAp(net, n=2, streams=2, threads=2)
    out, total = both.run(x, targets), 0.0
    for b in range(2):
        alone = evsim.SnAp(net, n=2)
        np.testing.assert_array_equal(alone.run(x[b], targets[b]), out[b])
        np.testing.assert_array_equal(alone.influence(), both.influence(b))
        total = total + alone.gradient()
    np.testing.assert_allclose(both.gradient(), total, rtol=1e-13, atol=1e-15)


def test_it_learns_on_and_continues_from_a_file(tmp_path):
    net = sparse(("alif",))
    learner, optimizer = evsim.SnAp(net, loss="mse", n=2), evsim.Adam(0.01)
    x, targets = sequence(net, 30), targets_for(net, "mse", (30,))
    learner.run(x[:10], targets[:10])
    learner.update(optimizer)
    learner.run(x[10:20], targets[10:20])
    evsim.save(tmp_path / "file", net, learner)
    other = evsim.load(tmp_path / "file").learner
    assert other.config() == {"loss": "mse", "streams": 1, "threads": 1, "n": 2} and isinstance(other, evsim.SnAp)
    for each in (learner, other):
        each.run(x[20:], targets[20:])
    np.testing.assert_array_equal(learner.gradient(), other.gradient())
    assert worst(learner.gradients(), other.gradients()) <= TOLERANCE and learner.gradient().any()


@pytest.mark.nojit
@pytest.mark.parametrize("n", [0, -1, 1.0, True, "2", None])
def test_bad_orders(n):
    with pytest.raises(ValueError, match=r"^n=.* is not usable: give a whole number of at least 1$"):
        evsim.SnAp(network(("egru",), units=(4,)), n=n)
    with pytest.raises(TypeError, match="net is 'x': pass an evsim.Network"):
        evsim.SnAp("x")
