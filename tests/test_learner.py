"""Learners in use: updates in mid-stream, streams and threads, pieces, losses of one's own, memory, refusals."""

import numpy as np
import pytest
import torch
from oracle import (
    ENGINES,
    FEEDS,
    KINDS,
    LOSSES,
    PAIRS,
    READOUTS,
    SINGLE,
    TOLERANCE,
    Shared,
    Unrolled,
    at_once,
    by_steps,
    keeps,
    learnable,
    network,
    sequence,
    targets_for,
    worst,
)

import evsim
from evsim.layout import Layout
from evsim.models.network import summed_loss

STACKS = SINGLE + PAIRS


def bits(learner):
    """Everything a learner has found, to compare bit for bit."""
    return learner.gradient().tobytes(), learner.loss, learner.influence(learner.streams - 1).tobytes()


# Updates in mid-stream

@pytest.mark.parametrize("every", [1, 4, 7])
@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_updates_in_mid_stream_stay_exact(stack, every):
    """The gradient with respect to one delta added to the parameters in force at every step, old and new."""
    steps = 21
    readout = READOUTS[every % 2]
    options = dict.fromkeys(learnable(stack, readout), True)
    nets = [network(stack, density=0.5, spread=True, seed=1, readout=readout, **options) for _ in ENGINES]
    net, optimizer = nets[0], evsim.SGD(0.05)
    x, targets = sequence(net, steps), targets_for(net, "cross_entropy", (steps,))
    learners = {name: make(one, steps) for (name, make), one in zip(ENGINES.items(), nets)}
    truth, before, total = Shared(net, x), net.parameters(), 0.0
    for t in range(steps):
        out = truth.step(t)
        total = total + summed_loss("cross_entropy", out, torch.tensor(targets[t]))
        for learner in learners.values():
            np.testing.assert_allclose(learner.step(x[t], int(targets[t])), out.detach(), rtol=1e-10, atol=1e-12)
        if (t + 1) % every == 0:
            wanted = truth.gradients(total)
            for name, learner in learners.items():
                assert worst(learner.gradients(), wanted) <= TOLERANCE, name
                learner.update(optimizer)
            total = 0.0
    after = net.parameters()
    moved = {name: np.abs(after[name] - before[name]).max() for name in truth.delta if name.startswith("layers.0")}
    assert min(moved.values()) > 0
    assert max(moved.values()) > 1e-3


@pytest.mark.nojit
def test_an_update_divides_by_streams_projects_and_zeroes():
    net = network(("egru",), spread=True)
    x, targets = sequence(net, 9, lead=(2,)), targets_for(net, "mse", (2, 9))
    learner = evsim.RTRL(net, loss="mse", streams=2)
    learner.run(x, targets)
    before, gradient, M = net.parameters(), learner.gradients(), learner.influence(1)
    norm = learner.update(evsim.SGD(0.5), clip=1e9)
    assert norm == pytest.approx(np.sqrt(sum((g**2).sum() for g in gradient.values())) / 2)
    for name, value in net.parameters().items():
        wanted = before[name] - 0.5 * gradient[name] / 2
        if name.endswith("threshold"):
            wanted = np.clip(wanted, 1e-3, 1.0)
        np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-15)
    assert learner.loss == 0
    assert not learner.gradient().any()
    np.testing.assert_array_equal(learner.influence(1), M)
    learner.reset()
    learner.run(x, targets)
    learner.update(evsim.SGD(1e4))
    threshold = net.parameters()["layers.0.threshold"]
    assert set(threshold) & {1e-3, 1.0}
    assert threshold.min() >= 1e-3 and threshold.max() <= 1


@pytest.mark.nojit
def test_clipping_cuts_the_norm():
    net = network(("evrnn",))
    learner = evsim.RTRL(net)
    learner.step(np.ones(net.n_in), 0)
    before, gradient = net.trained.copy(), learner.gradient()
    norm = learner.update(evsim.SGD(1.0), clip=0.1)
    assert norm == pytest.approx(np.linalg.norm(gradient))
    assert norm > 0.1
    assert np.linalg.norm(net.trained - before) == pytest.approx(0.1)


# Streams, threads, pieces

@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_streams_are_separate_learners_summed(stack, loss):
    net = network(stack, density=0.5)
    x, targets = sequence(net, 40, lead=(3,)), targets_for(net, loss, (3, 40))
    keep = np.random.default_rng(0).random((3, 40)) < 0.5
    learner = evsim.RTRL(net, loss=loss, streams=3)
    out = learner.run(x, targets, keep)
    assert out.shape == (3, 40, net.n_out)
    total, losses = 0.0, 0.0
    for b in range(3):
        alone = evsim.RTRL(net, loss=loss)
        np.testing.assert_array_equal(alone.run(x[b], targets[b], keep[b]), out[b])
        np.testing.assert_array_equal(alone.influence(), learner.influence(b))
        total, losses = total + alone.gradient(), losses + alone.loss
    np.testing.assert_allclose(learner.gradient(), total, rtol=1e-13, atol=1e-15)
    assert learner.loss == pytest.approx(losses, rel=1e-13)
    assert worst(learner.gradients(), Unrolled(net, x).gradients(loss, targets, keep)) <= TOLERANCE
    for threads in (2, 3, 5):
        other = evsim.RTRL(net, loss=loss, streams=3, threads=threads)
        np.testing.assert_array_equal(other.run(x, targets, keep), out)
        assert bits(other) == bits(learner)


@pytest.mark.nojit
def test_streams_step_together():
    net = network(("egru",), units=(4,))
    x, targets = sequence(net, 5, lead=(2,)), targets_for(net, "cross_entropy", (2, 5))
    stepped, ran = (evsim.RTRL(net, streams=2) for _ in range(2))
    out = ran.run(x, targets)
    for t in range(5):
        np.testing.assert_array_equal(stepped.step(x[:, t], targets[:, t]), out[:, t])
    assert bits(stepped) == bits(ran)


@pytest.mark.nojit
@pytest.mark.parametrize("streams", [1, 2, 5])
def test_reset_to_fewer_and_more_streams(streams):
    net = network(("evrnn", "egru"), density=0.5)
    learner = evsim.RTRL(net, loss="mse", streams=3)
    learner.run(sequence(net, 9, lead=(3,)), targets_for(net, "mse", (3, 9)))
    kept, loss = learner.gradient(), learner.loss
    learner.reset(streams=streams)
    assert learner.streams == streams
    lead = () if streams == 1 else (streams,)
    np.testing.assert_allclose(learner.gradient(), kept, rtol=1e-13)
    assert learner.loss == pytest.approx(loss, rel=1e-13)
    learner.zero_gradients()
    x, targets = sequence(net, 9, 1, lead), targets_for(net, "mse", (*lead, 9), 1)
    fresh = evsim.RTRL(net, loss="mse", streams=streams)
    np.testing.assert_array_equal(learner.run(x, targets), fresh.run(x, targets))
    assert bits(learner) == bits(fresh)
    learner.reset(streams=3)
    assert learner.run(sequence(net, 2, lead=(3,))).shape == (3, 2, net.n_out)


@pytest.mark.nojit
def test_fewer_streams_leave_nothing_behind():
    """Gradients of streams that are gone still count once, and only once."""
    net = network(("egru",))
    learner = evsim.RTRL(net, loss="mse", streams=3)
    x, targets = sequence(net, 9, lead=(3,)), targets_for(net, "mse", (3, 9))
    learner.run(x, targets)
    learner.zero_gradients()
    learner.reset(streams=1)
    learner.run(x[0], targets[0])
    learner.reset(streams=2)
    learner.run(x[:2], targets[:2])
    total = 0.0
    for b in (0, 0, 1):
        alone = evsim.RTRL(net, loss="mse")
        alone.run(x[b], targets[b])
        total = total + alone.gradient()
    np.testing.assert_allclose(learner.gradient(), total, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_a_run_continues_and_inference_agrees(stack):
    net = network(stack, density=0.5)
    x, targets, keep = sequence(net, 75), targets_for(net, "mse", (75,)), keeps(75)["some"]
    found = []
    for feed in FEEDS:
        learner = evsim.RTRL(net, loss="mse")
        np.testing.assert_array_equal(feed(learner, x, targets, keep), net.run(x))
        found.append(bits(learner))
    assert found[0] == found[1] == found[2]
    learner.reset()
    np.testing.assert_array_equal(learner.run(x), net.run(x))
    assert learner.gradient().tobytes() == found[0][0]


@pytest.mark.nojit
def test_states_can_be_carried_over():
    net = network(("egru", "evrnn"), density=0.5)
    x, targets, keep = sequence(net, 50), targets_for(net, "mse", (50,)), keeps(50)["some"]
    one, other = (evsim.RTRL(net, loss="mse") for _ in range(2))
    one.run(x[:37], targets[:37], keep[:37])
    other.run(x[:5])
    other.load_state(one.state())
    for learner in (one, other):
        learner.run(x[37:], targets[37:], keep[37:])
    assert bits(one) == bits(other)
    np.testing.assert_array_equal(one.counts, other.counts)


@pytest.mark.nojit
def test_a_changed_parameter_is_seen_at_the_next_step():
    net = network(("egru",))
    learner, x = evsim.RTRL(net), sequence(net, 4)
    learner.run(x[:2])
    values = net.parameters()
    values["readout.bias"] += 1.0
    net.load_parameters(values)
    expected = net.run(x)[2]
    np.testing.assert_allclose(learner.step(x[2]), expected, rtol=1e-12)


# Losses

@pytest.mark.nojit
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_are_summed_and_their_gradient_can_be_given(loss):
    """accumulate(d loss / d out) after a step equals giving the target; the loss is torch's."""
    net = network(("egru", "evrnn"), units=(4, 3))
    x, targets = sequence(net, 5), targets_for(net, loss, (5,))
    told, own = (evsim.RTRL(net, loss=loss) for _ in range(2))
    out = by_steps(told, x, targets, np.ones(5, bool))
    for t in range(5):
        tensor = torch.tensor(own.step(x[t]), requires_grad=True)
        summed_loss(loss, tensor, torch.tensor(targets[t])).backward()
        own.accumulate(tensor.grad.numpy())
    assert told.loss == pytest.approx(float(summed_loss(loss, torch.tensor(out), torch.tensor(targets))), rel=1e-12)
    np.testing.assert_allclose(own.gradient(), told.gradient(), rtol=1e-11, atol=1e-14)
    assert told.gradient().any()
    assert own.loss == 0


def test_losses_of_large_outputs_are_finite():
    net = network(("egru",))
    for loss in LOSSES:
        values = net.parameters()
        values["readout.bias"] = np.array([800.0, -800.0, 0.0])
        net.load_parameters(values)
        learner, x = evsim.RTRL(net, loss=loss), sequence(net, 6)
        targets = targets_for(net, loss, (6,))
        learner.run(x, targets)
        truth = Unrolled(net, x).gradients(loss, targets, np.ones(6, bool))
        assert np.isfinite(learner.loss)
        assert worst(learner.gradients(), truth) <= TOLERANCE


@pytest.mark.nojit
@pytest.mark.parametrize("kind", KINDS)
def test_accumulate_in_mid_sequence_and_with_streams(kind):
    net = network((kind, kind), density=0.5)
    x = sequence(net, 40, lead=(2,))
    weights = np.random.default_rng(0).standard_normal((2, 40, net.n_out))
    learner = evsim.RTRL(net, streams=2)
    learner.run(x[:, :33])
    learner.accumulate(weights[:, 32])
    for t in range(33, 40):
        learner.step(x[:, t])
        learner.accumulate(weights[:, t])
    unrolled = Unrolled(net, x)
    wanted = {name.replace("/", "."): p for name, p in unrolled.model.named_parameters() if p.requires_grad}
    total = (unrolled.out[:, 32:] * torch.from_numpy(weights[:, 32:])).sum()
    found = torch.autograd.grad(total, list(wanted.values()))
    assert worst(learner.gradients(), {name: g.numpy() for name, g in zip(wanted, found)}) <= TOLERANCE


# Memory and work

@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_memory_is_known_before_and_does_not_grow(stack):
    net = network(stack, units=(20, 10), dtype="float32")
    learner = evsim.RTRL(net, streams=2)
    memory = learner.memory
    assert memory["total"] == sum(size for part, size in memory.items() if part != "total")
    assert memory["parameters"] == net.theta.nbytes
    assert memory["gradients"] == 2 * 4 * net.layout.trained
    assert memory["influence"] == learner._M.nbytes
    assert memory["influence"] >= 4 * 2 * learner.structure().nnz
    held = {id(a): a.nbytes for a in arrays_in(vars(learner))}
    assert held[id(net.theta)] == net.theta.nbytes  # the kernels' arguments hold it
    uncounted = sum(held.values()) - memory["total"]
    assert 0 <= uncounted < 1024  # no more than a few counters
    x = sequence(net, 300, lead=(2,))
    for steps in (3, 300):
        at_once(learner, x[:, :steps], None, None)
        assert learner.memory == memory
        assert {id(a): a.nbytes for a in arrays_in(vars(learner))} == held


def arrays_in(value, seen=None):
    """Every array's own memory, inside an object's attributes, lists and tuples; not those of the network."""
    seen = set() if seen is None else seen
    if id(value) in seen or isinstance(value, evsim.Network | Layout):
        return
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        while isinstance(value.base, np.ndarray):  # a view: what counts is the array that it looks into
            value = value.base
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from arrays_in(part, seen)
    elif type(value).__module__.startswith("evsim.") and hasattr(value, "__dict__"):
        yield from arrays_in(vars(value), seen)


@pytest.mark.nojit
def test_a_learner_says_what_it_is():
    for name in evsim.names("learner"):
        from evsim.registry import lookup

        learner = lookup("learner", name)
        assert isinstance(learner.exact, bool)
        assert learner.memory_claim and learner.cost_claim
    learner = evsim.RTRL(network(("egru",)), loss="mse", streams=2)
    assert learner.config() == {"loss": "mse", "streams": 2, "threads": 1, "block": 1}
