"""e-prop and RFLO: the dense recursion without its recurrent term, with the weights that bring the errors down."""

from dataclasses import replace

import numpy as np
import pytest
from beside import beside
from naive import Influence, near
from oracle import (
    KINDS,
    PAIRS,
    READOUTS,
    SINGLE,
    SURROGATES,
    TOLERANCE,
    TRIPLES,
    Unrolled,
    all_trained,
    hidden,
    network,
    options_of,
    pick,
    sequence,
    targets_for,
    worst,
)

import evsim

STACKS = SINGLE + PAIRS[::3] + TRIPLES[::4]
UNITS = {"units": (9, 9, 9), "density_in": 0.5}
BROADCASTS = ("symmetric", "random", "adaptive")


def lively(stack, readout="linear", steps=12, **options):
    """A network that speaks, with as many units in each layer."""
    return all_trained(stack, steps, readout, **{**UNITS, **options})


def run(learner, steps=40):
    """The learner, after a sequence with a target at each step."""
    learner.run(sequence(learner.net, steps), targets_for(learner.net, learner.loss_kind, (steps,)))
    return learner


def drawn(net, seed):
    """What random feedback should be."""
    top = net.layers[-1].units
    return np.random.default_rng(seed).standard_normal((net.n_out, top)) / np.sqrt(top)


class Following:
    """Adaptive feedback, from the readout's weights of each step."""

    def __init__(self, net, seed, decay):
        self.net, self.decay, self.version = net, decay, net.version
        self.B, self.W = drawn(net, seed), net.parameters()["readout.weight"]

    def __call__(self, W):
        if self.version != self.net.version:  # W itself may be the same after an update
            self.B, self.W, self.version = (1 - self.decay) * self.B + W - self.W, W, self.net.version
        return self.B


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_eprop_is_the_dense_recursion_without_recurrence(stack, readout):
    net = lively(stack, readout)
    learner = beside(evsim.EProp(net, loss="mse"), Influence(net, recurrent=False), every=5)
    np.testing.assert_array_equal(learner.structure().toarray(), near(net, 1))
    assert not learner.exact


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_random_and_adaptive_feedback(stack, readout):
    net = lively(stack, readout)
    random = evsim.EProp(net, loss="mse", broadcast="random", seed=4)
    beside(random, Influence(net, recurrent=False), feedback=lambda W: drawn(net, 4), every=5)
    net = lively(stack, readout)
    adaptive = evsim.EProp(net, loss="mse", broadcast="adaptive", seed=5, decay=0.1)
    beside(adaptive, Influence(net, recurrent=False), 24, Following(net, 5, 0.1), every=5)
    assert not random.exact and not adaptive.exact


@pytest.mark.parametrize("stack", SINGLE, ids="-".join)
def test_feedback_changes_what_lies_below_the_readout_alone(stack):
    net = lively(stack, **SURROGATES["superspike"])
    options = ({}, *({"broadcast": b, "seed": s} for b, s in (("random", 0), ("random", 1), ("adaptive", 0))))
    symmetric, first, second, adaptive = (run(evsim.EProp(net, **each)).gradients() for each in options)
    for name, g in symmetric.items():
        for other in (first, second):
            assert np.array_equal(g, other[name]) == name.startswith("readout"), name
        np.testing.assert_array_equal(adaptive[name], first[name])  # until the weights change
    assert worst(hidden(first), hidden(second)) > 1e-3


@pytest.mark.parametrize("stack", [*SINGLE, *PAIRS, *TRIPLES], ids="-".join)
def test_without_recurrence_eprop_is_backpropagation(stack):
    for seed, readout in enumerate(READOUTS):
        net = lively(stack, readout, 40, mask_rec=np.zeros((9, 9), bool))
        learner = run(evsim.EProp(net, loss="mse"))
        assert learner.exact and evsim.EProp.exact is False
        targets = targets_for(net, "mse", (40,))
        truth = Unrolled(net, sequence(net, 40)).gradients("mse", targets, np.ones(40, bool))
        assert worst(learner.gradients(), truth) <= TOLERANCE
        assert not evsim.EProp(net, broadcast=BROADCASTS[1 + seed]).exact


@pytest.mark.parametrize("stack", SINGLE, ids="-".join)
def test_with_recurrence_eprop_is_not_exact(stack):
    net = lively(stack, **SURROGATES["superspike"])
    exact, local, short = (run(made(net, loss="mse")).gradients() for made in (evsim.RTRL, evsim.EProp, evsim.SnAp))
    assert worst(hidden(local), hidden(exact)) > 1e-3
    assert worst(hidden(local), hidden(short)) > 1e-6  # a unit's weight to itself counts in SnAp-1
    for name in ("readout.weight", "readout.bias"):
        np.testing.assert_array_equal(local[name], exact[name])


def test_it_holds_a_row_for_each_state_in_one_layer():
    net = network(("alif",), units=(50,), density=0.5)
    learner = run(evsim.EProp(net))
    assert learner.structure().nnz == 50 and learner.ops["propagate"] == 0
    assert learner.memory["influence"] < evsim.RTRL(net).memory["influence"] / 20


# RFLO

@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_rflo_is_eprop_with_random_feedback_and_detached_resets(stack):
    net = lively(stack, READOUTS[pick(range(2), *stack)])
    detached = [replace(cell, detach_reset=True) for cell in net.layers]
    masks = net.masks()
    for k, cell in enumerate(detached):
        given = {f"mask_{side}": masks[f"layers.{k}.weight_{side}"] for side in ("in", "rec")}
        detached[k] = replace(cell, **given)
    twin = evsim.Network(net.n_in, detached, net.readout, dtype="float64")
    twin.load_parameters(net.parameters())
    rflo, same = run(evsim.RFLO(net, loss="mse", seed=3)), run(evsim.EProp(twin, "mse", "random", seed=3))
    assert not rflo.exact and rflo.gradient().any()
    assert worst(rflo.gradients(), same.gradients()) == 0
    other = run(evsim.EProp(net, loss="mse", broadcast="random", seed=3))
    apart = any(KINDS[kind][0].kept for kind in stack) and "detach_reset" in options_of(stack[0])
    assert (worst(rflo.gradients(), other.gradients()) > 0) == apart
    assert not any(cell.detach_reset for cell in net.layers)


# What all of them share

MADE = {
    "symmetric": (evsim.EProp, {}),
    "random": (evsim.EProp, {"broadcast": "random", "seed": 2}),
    "adaptive": (evsim.EProp, {"broadcast": "adaptive", "seed": 2, "decay": 0.2}),
    "rflo": (evsim.RFLO, {"seed": 2}),
}


@pytest.mark.parametrize("name", MADE)
def test_streams_are_separate_learners_summed(name):
    made, options = MADE[name]
    net = lively(("lif", "egru"))
    x, targets = sequence(net, 40, lead=(2,)), targets_for(net, "cross_entropy", (2, 40))
    both = made(net, streams=2, threads=2, **options)
    out, total = both.run(x, targets), 0.0
    for b in range(2):
        alone = made(net, **options)
        np.testing.assert_array_equal(alone.run(x[b], targets[b]), out[b])
        total = total + alone.gradient()
    np.testing.assert_allclose(both.gradient(), total, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("pending", [False, True])
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("name", MADE)
def test_a_saved_learner_goes_on_as_the_original(name, readout, pending, tmp_path):
    """pending: saved between an update and the next step, when feedback has yet to follow."""
    made, options = MADE[name]
    net = lively(("alif",), readout, dtype="float32")
    learner, optimizer = made(net, loss="mse", **options), evsim.SGD(0.1)
    x, targets = sequence(net, 60), targets_for(net, "mse", (60,))

    def go_on(learner, optimizer, start, stop):
        for t in range(start, stop, 10):
            learner.run(x[t : t + 10], targets[t : t + 10])
            learner.update(optimizer)

    go_on(learner, optimizer, 0, 20)
    if not pending:
        learner.run(x[20:25], targets[20:25])
    evsim.save(tmp_path / "file", net, learner, optimizer)
    found = evsim.load(tmp_path / "file")
    default = {"broadcast": "symmetric", "seed": 0, "decay": 1e-3} if made is evsim.EProp else {}
    assert learner.config() == {"loss": "mse", "streams": 1, "threads": 1} | default | options
    assert found.learner.config() == learner.config()
    for each, tuner in ((learner, optimizer), (found.learner, found.optimizer)):
        go_on(each, tuner, 30, 60)
    np.testing.assert_array_equal(found.net.theta, net.theta)
    state = found.learner.state()
    for part, value in learner.state().items():
        np.testing.assert_array_equal(state[part], value, err_msg=part)


@pytest.mark.nojit
@pytest.mark.parametrize("name", MADE)
def test_memory_counts_the_feedback(name):
    made, options = MADE[name]
    net = network(("egru",), units=(8,))
    learner = made(net, **options)
    assert learner.memory["parameters"] == net.theta.nbytes * (1 if name == "symmetric" else 2) + learner._seen.nbytes
    assert run(learner).memory == learner.memory


@pytest.mark.nojit
def test_adaptive_feedback_comes_to_the_readouts_weights():
    """Where they change no more, all that is left of the drawn weights decays."""
    net = network(("egru",), units=(8,))
    learner = evsim.EProp(net, broadcast="adaptive", decay=0.5)
    apart = []
    for _ in range(40):
        learner.step(np.ones(4), 1)
        apart.append(np.abs(learner.state()["feedback"]).max())
        net.project()  # as an update does, with nothing to change
    assert apart[0] > 0.1 and apart[-1] < 1e-9


REFUSED = {
    "broadcast": ({"broadcast": "symetric"}, "broadcast='symetric' is unknown: choose .* mean 'symmetric'"),
    "seed": ({"seed": -1}, "seed=-1 is not usable: give a whole number of at least 0"),
    "a generator": ({"seed": np.random.default_rng(0)}, "seed=Generator.* is not usable: give a whole number"),
    "decay 1": ({"decay": 1}, "decay=1 is not usable: give a number from 0 up to, but not including, 1"),
    "decay below": ({"decay": -0.1}, "decay=-0.1 is not usable: give a number from 0"),
    "decay nan": ({"decay": float("nan")}, "decay=nan is not usable"),
    "decay flag": ({"decay": True}, "decay=True is not usable"),
    "loss": ({"loss": "msee"}, "loss='msee' is unknown: .* did you mean 'mse'"),
}


@pytest.mark.nojit
@pytest.mark.parametrize("reason", REFUSED)
def test_bad_options(reason):
    options, sentence = REFUSED[reason]
    net = network(("egru",), units=(4,))
    for made in (evsim.EProp, evsim.RFLO) if set(options) <= {"seed", "loss"} else (evsim.EProp,):
        with pytest.raises(ValueError, match=f"^{sentence}") as told:
            made(net, **options)
        assert "\n" not in str(told.value)
        with pytest.raises(TypeError, match="net is 'x': pass an evsim.Network"):
            made("x")


@pytest.mark.nojit
def test_a_state_of_other_feedback_is_refused():
    net = network(("egru",), units=(4,))
    learners = [made(net, **options) for made, options in MADE.values()][:3]
    for learner in learners:
        for other in learners:
            if other is not learner:
                with pytest.raises(ValueError, match="the learner's state holds"):
                    learner.load_state(other.state())
