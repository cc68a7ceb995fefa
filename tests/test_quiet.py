"""Prices on activity: their gradient, in every learner, against autograd; and what is refused."""

import numpy as np
import pytest
from oracle import (
    ENGINES,
    FEEDS,
    KINDS,
    LOSSES,
    PAIRS,
    SINGLE,
    SURROGATES,
    TOLERANCE,
    TRIPLES,
    all_trained,
    keeps,
    network,
    pick,
    sequence,
    targets_for,
    worst,
)
from pressing import gradients

import evsim
from evsim import Quiet
from evsim.cell import Cell

PRICES = {
    "target": {"target": 0.05, "strength": 0.7, "horizon": 9},
    "layer": {"target": 0.02, "strength": 3.0, "over": "layer", "horizon": 12},
    "step": {"target": 0.3, "strength": 3.0, "over": "step"},
    "pull": {"pull": 0.02},
    "wide pull": {"pull": 0.02, "margin": 2.0},
    "no margin": {"pull": 0.03, "margin": 0.0},
    "events": {"event_cost": 0.05},
    "all": {"target": 0.1, "pull": 0.01, "event_cost": 0.02, "horizon": 30},
}
STACKS = SINGLE + PAIRS + TRIPLES


def case(stack, prices, steps=19, **options):
    """A network, its Quiet, a sequence, and a loss at some of its steps."""
    net = all_trained(stack, **options)
    keep = keeps(steps)["some"]
    return net, Quiet(**PRICES[prices]), sequence(net, steps), pick(LOSSES, *stack, prices), keep


@pytest.mark.parametrize("prices", PRICES)
@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_gradients_are_those_of_autograd(stack, prices):
    surrogate = SURROGATES[pick(tuple(SURROGATES), *stack, prices)]
    net, quiet, x, loss, keep = case(stack, prices, **surrogate)
    targets = targets_for(net, loss, (len(x),))
    truth, penalty = gradients(net, quiet, x, loss, targets, keep)
    plain = evsim.RTRL(net, loss=loss)
    plain.run(x, targets, keep)
    for k, engine in enumerate(ENGINES):
        learner = ENGINES[engine](net, len(x), loss=loss, quiet=quiet)
        FEEDS[k % 3](learner, x, targets, keep)
        assert worst(learner.gradients(), truth) < TOLERANCE, engine
        assert learner.penalty == pytest.approx(penalty, rel=1e-12)
        assert learner.loss == pytest.approx(plain.loss, rel=1e-12)
    assert penalty > 0 and worst(plain.gradients(), truth) > 1e-4  # a learner that forgets the prices is noticed


@pytest.mark.parametrize("prices", PRICES)
@pytest.mark.parametrize("stack", PAIRS, ids="-".join)
def test_gradients_of_a_single_step_and_of_two(stack, prices):
    """Streaming, in a stack, at T = 1: what prices ask of a step's own states, before anything has been carried."""
    net, quiet, x, loss, _ = case(stack, prices)
    told = False
    for steps in (1, 2):
        targets, keep = targets_for(net, loss, (steps,)), np.ones(steps, bool)
        truth, _ = gradients(net, quiet, x[:steps], loss, targets, keep)
        without = evsim.RTRL(net, loss=loss)
        without.run(x[:steps], targets)
        for engine in ENGINES:
            learner = ENGINES[engine](net, steps, loss=loss, quiet=quiet)
            FEEDS[0](learner, x[:steps], targets, keep)
            assert worst(learner.gradients(), truth) < TOLERANCE, engine
        told = told or worst(without.gradients(), truth) > 1e-6
    assert told or prices == "no margin"  # nobody need be above a threshold within two steps


@pytest.mark.nojit
@pytest.mark.parametrize("kind", KINDS)
def test_small(kind):
    net = network((kind, kind), units=(4, 3), density=0.6)
    quiet, x, keep = Quiet(**PRICES["all"]), sequence(net, 6), keeps(6)["last"]
    targets = targets_for(net, "mse", (6,))
    truth, _ = gradients(net, quiet, x, "mse", targets, keep)
    for engine in ("stepping", "swept 2", "bptt"):
        learner = ENGINES[engine](net, 6, loss="mse", quiet=quiet)
        learner.run(x, targets, keep)
        assert worst(learner.gradients(), truth) < TOLERANCE


FAULTS = {
    "states": lambda forward: forward.force.fill(0),
    "a little": lambda forward: np.multiply(forward.force, 1.0001, out=forward.force),
    "local parameters": lambda forward: forward.force_q.fill(0),
    "one step": lambda forward: forward.pressed[:, 4].fill(False),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("prices", ("all", "layer", "step"))
def test_a_broken_price_is_noticed(fault, prices):
    net, quiet, x, loss, keep = case(("alif", "egru"), prices)
    targets = targets_for(net, loss, (len(x),))
    truth, _ = gradients(net, quiet, x, loss, targets, keep)
    for broken in (False, True):
        learner = evsim.BPTT(net, loss=loss, quiet=quiet)
        learner.run(x, targets, keep)
        if broken:
            FAULTS[fault](learner._forward)
        assert (worst(learner.gradients(), truth) > 1e-6) == broken


def test_the_target_is_that_of_the_squared_rate():
    """Where a unit's rate stands still, it sums up to T times the gradient of strength / 2 (rate - target)^2."""
    import torch

    net = network(("lif",), units=(8,), density=0.5)
    x = sequence(net, 30)
    quiet = Quiet(target=0.2, strength=0.7, horizon=10**9)
    _, events = net.run(x, record_events=True)
    rate = (events[0] != 0).mean(0)
    assert 0 < rate.mean() < 1
    learner = evsim.RTRL(net, loss="mse", quiet=quiet)
    learner._pressure.rate[0] = rate
    learner.run(x)
    model, seen = evsim.models.network.TorchNetwork(net), []
    model(torch.from_numpy(x[None]), seen)
    mean = torch.stack([y[0][0] for y in seen]).mean(0)
    (len(x) * 0.7 / 2 * ((mean - 0.2) ** 2).sum()).backward()
    truth = {n.replace("/", "."): p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None}
    ours = {name: found for name, found in learner.gradients().items() if name in truth}
    assert worst(ours, {name: truth[name] for name in ours}) < 1e-6  # the rate moves by 1e-9 a step


@pytest.mark.parametrize("kind", ("snap", "eprop", "rflo", "uoro", "tbptt"))
def test_approximations_have_prices_too(kind):
    """Where nothing recurs, what these drop is nothing but at most noise: their gradients are exact."""
    net = evsim.Network(4, [evsim.EvRNN(6, mask_rec=np.zeros((6, 6), bool), half_width=2.0)], evsim.Readout(3),
                        dtype="float64")  # fmt: skip
    quiet, x = Quiet(**PRICES["all"]), sequence(net, 12)
    truth, _ = gradients(net, quiet, x, "mse", targets_for(net, "mse", (12,)), np.zeros(12, bool))
    learner = evsim.registry.lookup("learner", kind)(net, loss="mse", quiet=quiet)
    learner.run(x)
    found = learner.gradients()
    if kind == "uoro":
        samples = [found]
        for seed in range(1, 400):
            learner = evsim.UORO(net, loss="mse", quiet=quiet, seed=seed)
            learner.run(x)
            samples.append(learner.gradients())
        name = "layers.0.weight_in"
        values = np.array([sample[name] for sample in samples])
        error = np.abs(values.mean(0) - truth[name]) / (values.std(0) / 20 + 1e-12)
        assert np.abs(truth[name]).max() > 0 and np.median(error) < 1.5 and error.max() < 5
    else:
        assert worst({n: g for n, g in found.items() if "weight_rec" not in n},
                     {n: g for n, g in truth.items() if "weight_rec" not in n}) < TOLERANCE  # fmt: skip


@pytest.mark.parametrize("engine", ("stepping", "block 7", "bptt"))
def test_streams_threads_and_checkpoints(engine, tmp_path):
    """Each stream has rates of its own; threads and a break in mid-block change no bit."""
    net = all_trained(("egru", "lif"))
    quiet, x = Quiet(**PRICES["all"]), sequence(net, 20, lead=(3,))
    targets, keep = targets_for(net, "mse", (3, 20)), np.ones((3, 20), bool)
    alone = [gradients(net, quiet, one, "mse", wanted, keep[0]) for one, wanted in zip(x, targets)]
    truth = {name: sum(found[name] for found, _ in alone) for name in alone[0][0]}
    both = []
    for threads in (1, 2):
        learner = ENGINES[engine](net, 20, loss="mse", quiet=quiet, streams=3, threads=threads)
        learner.run(x[:, :9], targets[:, :9], keep[:, :9])
        evsim.save(tmp_path / "half.npz", net, learner)
        again = evsim.load(tmp_path / "half.npz").learner
        for one in (learner, again):
            one.run(x[:, 9:], targets[:, 9:], keep[:, 9:])
            both.append(one.gradients())
            assert one.penalty == pytest.approx(sum(price for _, price in alone), rel=1e-12)
    assert worst(both[0], truth) < TOLERANCE
    for other in both[1:]:
        assert worst(other, both[0]) == 0


def test_rates_outlive_sequences_and_updates_take_prices_in():
    net = network(("lif",), units=(8,), density=0.5)
    x = sequence(net, 40)
    quiet = Quiet(target=0.0, strength=0.5, horizon=20)
    learner = evsim.RTRL(net, loss="mse", quiet=quiet)
    before = net.run(x, record_events=True)[1][0].mean()
    for _ in range(40):
        learner.reset()
        learner.run(x)
        rate = learner._pressure.rate.copy()
        learner.update(evsim.Adam(0.02))
        assert learner.penalty == 0
    learner.reset()
    np.testing.assert_array_equal(learner._pressure.rate, rate)
    assert net.run(x, record_events=True)[1][0].mean() < 0.3 * before


def test_a_half_width_that_changes_in_mid_sequence(tmp_path):
    """Each step keeps the half-width that was in force, in every engine; checkpoints hold the last."""
    import torch

    net = all_trained(("egru", "lif"), steps=20)
    x, targets, keep = sequence(net, 20), targets_for(net, "mse", (20,)), np.ones(20, bool)
    widths, found = {0: 0.5, 7: 0.35, 15: 0.2}, []
    from oracle import Shared

    for engine in ENGINES:
        learner = ENGINES[engine](net, 20, loss="mse")
        for t in range(20):
            if t in widths:
                net.set_half_width([widths[t], 2 * widths[t]])
            learner.step(x[t], targets[t])
        found.append(learner.gradients())
    shared = Shared(net, x)
    total = 0.0
    for t in range(20):
        if t in widths:
            net.set_half_width([widths[t], 2 * widths[t]])
        total = total + ((shared.step(t) - torch.from_numpy(targets[t])) ** 2).mean()
    truth = shared.gradients(total)
    for gradients_of in found:
        assert worst(gradients_of, {name: truth[name] for name in gradients_of}) < TOLERANCE
    narrow = evsim.RTRL(net, loss="mse")
    narrow.run(x, targets, keep)
    assert worst(narrow.gradients(), found[0]) > 1e-3
    evsim.save(tmp_path / "net.npz", net)
    assert [cell.half_width for cell in evsim.load(tmp_path / "net.npz").net.layers] == [0.2, 0.4]
    for bad in ([0.1], 0.0, [0.1, -1.0]):
        with pytest.raises(ValueError, match="half_width"):
            net.set_half_width(bad)


@pytest.mark.parametrize(
    "given, told",
    [
        ({}, "nothing is asked for"),
        ({"target": 1.2}, "target=1.2 is not usable: give how often a unit should speak, from 0 to 1"),
        ({"target": -0.1}, "from 0 to 1"),
        ({"target": float("inf")}, "target=inf"),
        ({"target": float("nan")}, "target=nan"),
        ({"target": []}, "target=[] is empty"),
        ({"target": "low"}, "target='low'"),
        ({"target": [0.1, 1.5]}, "target=1.5"),
        ({"target": 0.1, "strength": -1.0}, "strength=-1.0 is not usable: give a finite number of at least 0"),
        ({"pull": float("nan")}, "pull=nan"),
        ({"pull": 0.1, "margin": -0.5}, "margin=-0.5 is not usable"),
        ({"event_cost": True}, "event_cost=True"),
        ({"target": 0.1, "horizon": 0}, "horizon=0"),
        ({"target": 0.1, "over": "neuron"}, "choose one of unit, layer, step"),
        ({"target": [np.array([0.1, 0.2])], "over": "layer"}, 'over="layer" takes one for a layer'),
        ({"target": [np.array([0.1, 0.2])], "over": "step"}, 'over="step" takes one for a layer'),
    ],
)
def test_refusals(given, told):
    with pytest.raises(ValueError, match="Quiet: ") as found:
        Quiet(**given)
    assert told in str(found.value)


def test_refusals_that_need_the_network():
    net = network(("lif", "lif"), units=(4, 3))
    with pytest.raises(ValueError, match="target has 3 entries, but the network has 2 layers: give one for each layer"):
        evsim.RTRL(net, quiet=Quiet(target=[0.1, 0.1, 0.1]))
    with pytest.raises(ValueError, match="give one finite number, or 4 of them"):
        evsim.RTRL(net, quiet=Quiet(target=[np.full(3, 0.1), 0.1]))
    with pytest.raises(TypeError, match="quiet is 0.1: pass evsim.Quiet"):
        evsim.RTRL(net, quiet=0.1)
    bare = type("Bare", (evsim.LIF,), {"above": Cell.above})
    with pytest.raises(ValueError, match="layers.0 is of kind 'lif', which does not say how far units are above"):
        evsim.RTRL(evsim.Network(2, [bare(3)], evsim.Readout(2)), quiet=Quiet(pull=0.1))


def test_targets_of_layers_and_of_units():
    net = network(("lif", "egru"), units=(4, 3))
    quiet = Quiet(target=[None, np.array([0.1, 0.2, 0.3])], margin=[0.4, None])
    np.testing.assert_array_equal(quiet.targets(net.layers), [np.nan] * 4 + [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(quiet.margins(net.layers), [0.4] * 4 + [0.2] * 3)
    x, keep = sequence(net, 9), np.ones(9, bool)
    targets = targets_for(net, "mse", (9,))
    truth, _ = gradients(net, quiet, x, "mse", targets, keep)
    learner = evsim.RTRL(net, loss="mse", quiet=evsim.RTRL(net, quiet=quiet).config()["quiet"])
    learner.run(x, targets, keep)
    assert worst(learner.gradients(), truth) < TOLERANCE
