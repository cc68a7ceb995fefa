"""UORO: unbiased, against RTRL; equal to a dense recursion with the same signs; the same however it is run."""

import time

import numpy as np
import pytest
from naive import Influence
from oracle import at_once, by_steps, in_pieces, keeps, learnable, network, one_step, sequence, speaking, targets_for

import evsim
from evsim.build import build_learner

STEPS, STREAMS, BATCHES = 5, 2000, 50
STACKS = [
    (("egru",), "linear"), (("lif",), "linear"), (("lif-zero",), "leaky"), (("alif",), "linear"),
    (("cubalif",), "linear"), (("evrnn",), "linear"), (("egru", "alif"), "linear"), (("alif", "evrnn"), "leaky"),
    (("lif", "egru"), "leaky"),
]  # fmt: skip
each_stack = pytest.mark.parametrize(("stack", "readout"), STACKS, ids=lambda v: v if type(v) is str else "-".join(v))


def everything_learns(stack, readout, **options):
    learned = dict.fromkeys(learnable(stack, readout), True)
    return {"density": 0.7, "spread": True, "readout": readout, **learned, **options}


def small(stack, readout):
    return speaking(stack, STEPS, units=(4, 3), n_in=3, n_out=2, **everything_learns(stack, readout))


# Unbiased

def scores(net, keep, tamper=None, batches=BATCHES):
    """How far means over signs are from the exact gradient, in their own standard errors: that of all draws, for each
    parameter that varies, and those of the batches, one row each. What does not vary must be exact. tamper: called on
    the learner first.
    """
    steps = len(keep)
    x, targets = sequence(net, steps), targets_for(net, "mse", (steps,))
    exact, learner = evsim.RTRL(net, loss="mse"), evsim.UORO(net, loss="mse", streams=STREAMS)
    exact.run(x, targets, keep)
    if tamper:
        tamper(learner)
    means, squares, wanted = [], 0, exact.gradient()
    for _ in range(batches):
        learner.reset()
        learner.zero_gradients()
        learner.run(*(np.repeat(given[None], STREAMS, 0) for given in (x, targets, keep)))
        means.append(learner._gradient.mean(0) - wanted)
        squares = squares + ((learner._gradient - wanted) ** 2).mean(0) / batches
    error, top = np.mean(means, 0), np.abs(wanted).max()
    noise = np.sqrt(np.maximum(squares - error**2, 0))
    varies = noise > 1e-10 * top
    assert varies.sum() > 10
    assert np.abs(error[~varies]).max(initial=0) <= 1e-10 * top
    unit = noise[varies] / np.sqrt(STREAMS)
    return error[varies] / unit * np.sqrt(batches), np.array(means)[:, varies] / unit


def assert_unbiased(z, batches):
    """Parameters share their noise, so that only the many batches tell whether z is as large as it should be."""
    assert np.abs(z).max() <= 4.5
    assert 0.7 <= (batches**2).mean() <= 1.3


@each_stack
def test_the_mean_over_signs_is_the_gradient(stack, readout):
    assert_unbiased(*scores(small(stack, readout), keeps(STEPS)["all"]))


@pytest.mark.parametrize("kind", ["lif", "egru"])
def test_twenty_thousand_draws(kind):
    """With more units parameters share less of their noise, and one look at all of them tells."""
    net = speaking((kind,), 6, units=(24 if kind == "lif" else 8,), density=0.5)
    z, _ = scores(net, np.ones(6, bool), batches=10)
    assert len(z) > 100
    assert np.abs(z).max() <= 4.5
    assert 0.7 <= (z**2).mean() <= 1.3


def test_the_mean_over_signs_of_a_single_step_is_the_gradient():
    assert_unbiased(*scores(small(("lif", "egru"), "leaky"), np.ones(1, bool)))


def without_D(learner):
    """The sweep does not see how past events moved with their own parameters; the loss does, at the last step."""
    learn = learner._learn

    def tampered(lo, hi, start, steps, worker):
        learner._forward.D[lo:hi, : start + steps] = 0
        learn(lo, hi, start, steps, worker)

    learner._learn = tampered


def without_layers_below(learner):
    """No influence passes from layer to layer: weights between them are zero for all but the forward pass."""
    learn, net = learner._learn, learner.net
    at = net.layout.names["layers.1.weight_in"][2]

    def tampered(*given):
        held = net.theta[at]
        net.theta[at] = 0
        learn(*given)
        net.theta[at] = held

    learner._learn = tampered


class OneSign:
    """Random, but all states of a step have the same sign."""

    def __init__(self, source):
        self.source = source

    def random_raw(self, shape):
        return np.where(self.source.random_raw(shape) & np.uint64(1), np.uint64(2**64 - 1), np.uint64(0))


def with_equal_signs(learner):
    learner._random = [OneSign(source) for source in learner._random]


@pytest.mark.parametrize("tamper", [without_D, without_layers_below, with_equal_signs])
def test_a_fault_shows_in_the_mean(tamper):
    net, last = small(("lif", "egru"), "leaky"), keeps(STEPS)["last"]
    assert_unbiased(*scores(net, last))
    assert np.abs(scores(net, last, tamper)[0]).max() > 20


# The recursion

class Naive:
    """The same recursion with dense arrays, over every entry of every parameter."""

    def __init__(self, net):
        self.net, self.influence = net, Influence(net)
        self.s = [np.zeros((c.units, len(c.states))) for c in net.stack]
        self.phi = [np.zeros_like(s) for s in self.s]
        self.D = [np.zeros((c.units, len(c.local))) for c in net.stack]
        self.share = np.zeros(self.influence.M[0].shape[-1])

    def advance(self, steps, nu):
        """One step, with its Steps and the signs of its states, one array per layer."""
        s = self._push(steps)
        own = sum(np.einsum("ik,ikp->p", signs, I) for signs, I in zip(nu, self._immediate(steps)))
        flat, signs = (np.concatenate([v.ravel() for v in values]) for values in (s, nu))
        a = np.sqrt(np.linalg.norm(self.share) / np.linalg.norm(flat)) if self.share.any() and flat.any() else 0
        b = np.sqrt(np.linalg.norm(own) / np.linalg.norm(signs)) if own.any() else 0
        self.s = [a * one + b * other for one, other in zip(s, nu)]
        self.share = (self.share / a if a else 0) + (own / b if b else 0)
        self.phi, self.D = [step.phi for step in steps], [step.D for step in steps]

    def gradient(self, steps, delta):
        """Add-on of a loss whose derivative to the top layer's events is delta."""
        found = (delta @ (steps[-1].phi * self.s[-1]).sum(1)) * self.share
        for q, at in self._locals(len(steps) - 1):
            found[at] += delta * steps[-1].D[:, q]
        return found

    def _locals(self, k):
        """(number, columns) of each trained local parameter of layer k."""
        cell, names, place = self.net.stack[k], self.net.layout.layers[k].names, self.influence.place
        return [(q, place[names[name]]) for q, name in enumerate(cell.local) if names[name] in place]

    def _push(self, steps):
        values, found, below = self.net.parameters(), [], None
        for k, (cell, step) in enumerate(zip(self.net.stack, steps)):
            names, pre = self.net.layout.layers[k].names, np.zeros((cell.units, len(cell.channels)))
            sides = (
                ("weight_in", cell.in_channels, below),
                ("weight_rec", cell.rec_channels, (self.phi[k] * self.s[k]).sum(1)),
            )
            for name, fed, moved in sides:
                for row, g in enumerate(fed if moved is not None else ()):
                    pre[:, g] += values[names[name]].reshape(len(fed), cell.units, -1)[row] @ moved
            found.append(np.einsum("ikc,ic->ik", step.A, self.s[k]) + np.einsum("ikg,ig->ik", step.B, pre))
            below = (step.phi * found[-1]).sum(1)
        return found

    def _immediate(self, steps):
        """I: what the influence matrix is after one step from zero, but for what the events before it owe to D."""
        held = self.influence
        for k in range(len(steps)):
            held.M[k][:], held.echo[k][:] = 0, 0
            for q, at in self._locals(k):
                held.echo[k][np.arange(len(at)), at] = self.D[k][:, q]
        held.advance(steps, self.net.parameters())
        return held.M


def signs_of(learner, b=0):
    """The signs that the step just taken has used: one array (units, states) per layer."""
    bits = np.unpackbits(learner._words[b, 1].view(np.uint8), bitorder="little").astype(float) * 2 - 1
    found = []
    for cell in learner.net.stack:
        n = cell.units * len(cell.states)
        found.append(bits[:n].reshape(cell.units, -1))
        bits = bits[n:]
    return found


@each_stack
def test_it_equals_the_dense_recursion(stack, readout):
    steps = 12
    net = speaking(stack, steps, **everything_learns(stack, readout, units=(40, 30)))
    x, weights = sequence(net, steps), np.random.default_rng(0).standard_normal((steps, net.n_out))
    learner, truth = evsim.UORO(net, seed=3), Naive(net)
    total = np.zeros_like(truth.share)
    for t in range(steps):
        learner.step(x[t])
        learner.accumulate(weights[t])
        seen = one_step(net, learner._forward)
        truth.advance(seen, signs_of(learner))
        top = weights[t] if readout == "leaky" else weights[t] @ net.parameters()["readout.weight"]
        total += truth.gradient(seen, top)
        s = [learner._s[0, p.first : p.first + p.units, : len(c.states)] for c, p in zip(net.stack, net.layout.layers)]
        for ours, wanted in zip(s, truth.s):
            np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-10 * np.abs(wanted).max())
        share = np.zeros(net.layout.size)
        share[: net.layout.unit_columns] = learner._share[0]
        for found, flat in ((net.to_dense(share, trained_only=True), truth.share), (learner.gradients(), total)):
            for name, place in truth.influence.place.items():
                np.testing.assert_allclose(found[name], flat[place], rtol=0, atol=1e-10 * max(1, np.abs(flat).max()))
    assert truth.share.any()


@pytest.mark.nojit
@pytest.mark.parametrize("kind", ["egru", "evrnn", "lif", "cubalif"])
def test_a_silent_network_gives_no_nan(kind):
    net = network((kind, kind))
    values = net.parameters()
    net.load_parameters({name: 0 * v if "weight" in name or "bias" in name else v for name, v in values.items()})
    learner = evsim.UORO(net)
    learner.run(np.zeros((40, net.n_in)), np.zeros(40, int))
    assert np.isfinite(learner.gradient()).all()
    assert np.isfinite(learner._share).all() and np.isfinite(learner._s).all()


# In use

def bits(learner):
    """Everything a learner has found, to compare bit for bit."""
    return learner._gradient.tobytes(), learner.loss, learner._s.tobytes(), learner._share.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pieces_threads_and_streams_change_nothing(dtype):
    net = network(("alif", "egru"), density=0.5, dtype=dtype)
    x, targets, keep = sequence(net, 75), targets_for(net, "mse", (75,)), keeps(75)["some"]
    found = []
    for feed in (by_steps, at_once, in_pieces):
        learner = evsim.UORO(net, loss="mse", seed=1)
        np.testing.assert_array_equal(feed(learner, x, targets, keep), net.run(x))
        found.append(bits(learner))
    assert found[0] == found[1] == found[2]
    x, targets, keep = (np.repeat(given[None], 3, 0) for given in (x, targets, keep))
    one, two = (evsim.UORO(net, loss="mse", seed=1, streams=3, threads=threads) for threads in (1, 2))
    for learner in (one, two):
        learner.run(x, targets, keep)
    assert bits(one) == bits(two)
    np.testing.assert_array_equal(one._gradient[0], np.frombuffer(found[0][0], dtype))
    assert len({g.tobytes() for g in one._gradient}) == 3
    other = evsim.UORO(net, loss="mse", seed=2)
    other.run(x[0], targets[0], keep[0])
    assert bits(other) != found[0]


@pytest.mark.nojit
def test_a_saved_learner_goes_on(tmp_path):
    net = network(("lif", "egru"))
    x, targets = sequence(net, 50, lead=(3,)), targets_for(net, "mse", (3, 50))
    one = evsim.UORO(net, loss="mse", seed=7, streams=3)
    one.run(x[:, :37], targets[:, :37])
    evsim.save(tmp_path / "saved.npz", net, one)
    other = evsim.load(tmp_path / "saved.npz").learner
    fresh = evsim.UORO(net, loss="mse", seed=8, streams=2)
    fresh.run(x[:2], targets[:2])
    fresh.load_state(one.state())
    assert other.config() == one.config()
    for learner in (one, other, fresh):
        learner.run(x[:, 37:], targets[:, 37:])
        learner.reset()
        learner.run(x, targets)
    assert bits(one) == bits(other) == bits(fresh)


@pytest.mark.nojit
def test_reset_does_not_repeat_the_signs():
    net = network(("egru",))
    x, targets = sequence(net, 9), targets_for(net, "mse", (9,))
    learner, found = evsim.UORO(net, loss="mse"), []
    for streams in (1, 3, 1):
        learner.reset(streams=streams)
        learner.zero_gradients()
        given = (x, targets) if streams == 1 else (np.repeat(v[None], streams, 0) for v in (x, targets))
        learner.run(*given)
        found += [g.tobytes() for g in learner._gradient[:streams]]
    assert len(set(found)) == 5


@pytest.mark.nojit
def test_it_trains_in_memory_that_is_known_before():
    net = network(("alif", "egru"), units=(20, 10), dtype="float32")
    learner, optimizer = evsim.UORO(net, streams=2), evsim.SGD(1e-3)
    memory = learner.memory
    assert memory["total"] == sum(size for part, size in memory.items() if part != "total")
    states, columns = net.layout.units * 2, net.layout.unit_columns  # two for each unit, in use or not
    assert memory["influence"] == 2 * 4 * (2 * states + 2 * columns)
    x, targets = sequence(net, 100, lead=(2,)), targets_for(net, "cross_entropy", (2, 100))
    before = net.trained.copy()
    for part in (slice(3), slice(3, 100)):
        learner.run(x[:, part], targets[:, part])
        learner.update(optimizer, clip=1.0)
        assert learner.memory == memory
    assert np.isfinite(net.trained).all() and (net.trained != before).any()
    assert learner.ops["gradient"] > 0 and learner.ops["steps"] == 200


@pytest.mark.nojit
def test_the_seed_is_a_whole_number_and_that_of_the_settings():
    net = network(("egru",))
    for seed in (-1, 0.5, None):
        with pytest.raises(ValueError, match="seed="):
            evsim.UORO(net, seed=seed)
    assert build_learner({"learner": "uoro", "seed": 3}, net, "mse").config()["seed"] == 3


@pytest.mark.nojit
def test_many_streams_are_made_quickly():
    net, began = network(("egru",)), time.perf_counter()
    learner = evsim.UORO(net, streams=20000)
    assert time.perf_counter() - began < 5
    assert len({word for source in learner._random[:1000] for word in source.random_raw(1).tolist()}) == 1000
