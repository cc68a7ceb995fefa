"""Open blocks in use: streams and pieces, resets, losses of one's own, saving, what is kept, refusals."""

import numpy as np
import pytest
from oracle import ENGINES, KEEPING, all_trained, at_once, by_steps, network, sequence, targets_for

import evsim

# Streams, pieces, losses of one's own, saving

def make(engine, net, **options):
    return evsim.TBPTT(net, window=7, **options) if engine == "tbptt" else ENGINES[engine](net, 40, **options)


@pytest.mark.parametrize("engine", [*KEEPING, "tbptt"])
def test_streams_threads_and_pieces_change_nothing(engine):
    net = all_trained(("egru", "alif"))
    x, targets = sequence(net, 40, lead=(3,)), targets_for(net, "mse", (3, 40))
    found = []
    for threads, cuts in ((1, (40,)), (2, (40,)), (1, (1, 9, 10, 33, 40))):
        learner = make(engine, net, loss="mse", streams=3, threads=threads)
        for lo, hi in zip((0, *cuts), cuts):
            learner.run(x[:, lo:hi], targets[:, lo:hi])
        found.append((learner.gradient().tobytes(), learner.loss))
    assert len(set(found)) == 1
    total = 0
    for b in range(3):
        learner = make(engine, net, loss="mse")
        by_steps(learner, x[b], targets[b], np.ones(40, bool))
        total = total + learner.gradient()
        assert learner.reset() is None  # gradients stay
        np.testing.assert_array_equal(learner.gradient(), learner.gradient())
    np.testing.assert_allclose(np.frombuffer(found[0][0]), total, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("engine", [*KEEPING, "tbptt"])
def test_a_reset_keeps_what_was_owed(engine):
    net = all_trained(("egru",))
    x, targets = sequence(net, 12), targets_for(net, "mse", (12,))
    learner, other = make(engine, net, loss="mse"), make(engine, net, loss="mse")
    learner.run(x, targets)
    wanted = learner.gradient()
    other.run(x, targets)
    other.reset(streams=3)
    np.testing.assert_array_equal(other.gradient(), wanted)
    other.zero_gradients()
    other.run(np.stack([x] * 3), np.stack([targets] * 3))
    np.testing.assert_allclose(other.gradient(), 3 * wanted, rtol=1e-12)


@pytest.mark.parametrize("engine", [*KEEPING, "tbptt"])
def test_a_loss_of_ones_own(engine):
    net = all_trained(("egru", "lif"))
    x, targets = sequence(net, 20), targets_for(net, "mse", (20,))
    ours, theirs = make(engine, net, loss="mse"), make(engine, net, loss="mse")
    for t in range(20):
        out = theirs.step(x[t], targets[t] if t % 3 == 0 else None)
        ours.step(x[t], targets[t] if t % 6 == 0 else None)
        if t % 3 == 0 and t % 6:
            half = (out - targets[t]) / net.n_out
            ours.accumulate(half)
            ours.accumulate(half)
    np.testing.assert_allclose(ours.gradient(), theirs.gradient(), rtol=1e-10, atol=1e-13)
    assert ours.gradient().any()


@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize("engine", [*KEEPING, "tbptt"])
def test_a_saved_learner_goes_on_bit_for_bit(engine, changed, tmp_path):
    net = all_trained(("egru", "lif"))
    x, targets = sequence(net, 40), targets_for(net, "cross_entropy", (40,))
    learner, optimizer = make(engine, net), evsim.SGD(0.01)
    learner.run(x[:19], targets[:19])
    if changed:
        learner.update(optimizer)
        learner.run(x[19:20], targets[19:20])
        learner.update(optimizer)
    evsim.save(tmp_path / "all.npz", net, learner)
    found = evsim.load(tmp_path / "all.npz")
    for one in (learner, found.learner):
        one.run(x[20:], targets[20:])
    assert found.learner.gradient().tobytes() == learner.gradient().tobytes()
    assert found.learner.loss == learner.loss
    for one in (learner, found.learner):
        one.update(optimizer)
    assert found.net.theta.tobytes() == net.theta.tobytes()


def test_a_learner_that_has_seen_much_can_be_saved_too(tmp_path):
    net = all_trained(("egru",))
    x, targets = sequence(net, 200), targets_for(net, "cross_entropy", (200,))
    learner = evsim.BPTT(net)
    learner.run(x[:150], targets[:150])
    evsim.save(tmp_path / "all.npz", net, learner)
    found = evsim.load(tmp_path / "all.npz").learner
    for one in (learner, found):
        one.run(x[150:], targets[150:])
    assert found.gradient().tobytes() == learner.gradient().tobytes()


@pytest.mark.parametrize("engine", ["bptt", "tbptt"])
def test_weights_of_the_past_are_kept_only_while_they_are_needed(engine, tmp_path):
    net = network(("egru",))
    learner, optimizer = make(engine, net), evsim.SGD(1e-3)
    x = sequence(net, 1)[0]
    for length in (50, 400, 50):
        for t in range(length):
            learner.step(x, 0)
            if engine == "bptt" or t % 7 == 0:
                learner.update(optimizer)
        kept = learner.memory["total"]
        if engine == "bptt":
            assert learner._segments.count >= length - 1
            learner.reset()
            assert learner._segments.count == 1 and learner.memory["total"] < kept
        else:
            assert learner._segments.count <= 8
        evsim.save(tmp_path / "all.npz", net, learner)
        assert evsim.load(tmp_path / "all.npz").learner.memory["parameters"] == learner.memory["parameters"]


def test_a_state_that_does_not_fit_changes_nothing():
    net = all_trained(("egru",))
    x, targets = sequence(net, 30), targets_for(net, "cross_entropy", (30,))
    others = [evsim.RTRL(net, block=16), evsim.BPTT(net), evsim.TBPTT(net, window=16), evsim.SnAp(net), evsim.RTRL(net)]
    makers = (lambda: evsim.RTRL(net, block=8), lambda: evsim.TBPTT(net, window=8), lambda: evsim.SnAp(net, n=3))
    for make_one in makers:
        undisturbed, learner = make_one(), make_one()
        for one in (undisturbed, learner):
            one.run(x[:12], targets[:12])
        for other in others:
            other.reset()
            other.run(x[:12], targets[:12])
            with pytest.raises(ValueError, match="the learner's state"):
                learner.load_state(other.state())
        for one in (undisturbed, learner):
            one.run(x[12:], targets[12:])
        assert learner.gradient().tobytes() == undisturbed.gradient().tobytes()


def test_growing_beyond_memory_changes_nothing(monkeypatch):
    net = all_trained(("egru",))
    x, targets = sequence(net, 50), targets_for(net, "cross_entropy", (50,))
    undisturbed, learner = evsim.BPTT(net), evsim.BPTT(net)
    for one in (undisturbed, learner):
        one.run(x[:20], targets[:20])
    long = np.zeros((500, net.n_in)), np.zeros(500, int)
    for module in ("evsim.learners.bptt", "evsim.forward"):
        with monkeypatch.context() as patch:
            patch.setattr(f"{module}.zeros", lambda *_: (_ for _ in ()).throw(MemoryError("no room")))
            with pytest.raises(MemoryError):
                learner.run(*long)
    for one in (undisturbed, learner):
        one.run(x[20:], targets[20:])
    assert learner.gradient().tobytes() == undisturbed.gradient().tobytes()


def test_influence_can_be_seen_in_an_open_block():
    net = all_trained(("egru", "lif"))
    x = sequence(net, 20)
    stepping, learner = evsim.RTRL(net), evsim.RTRL(net, block=16)
    for t in range(20):
        stepping.step(x[t])
        learner.step(x[t])
        np.testing.assert_allclose(learner.influence(), stepping.influence(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("engine", [*ENGINES, "tbptt"])
def test_a_loss_of_ones_own_needs_the_weights_of_the_step(engine):
    net = all_trained(("egru",))
    learner, other = make(engine, net), evsim.RTRL(net)
    for change in (lambda: net.load_parameters(net.parameters()), lambda: other.update(evsim.SGD(0.1))):
        learner.step(sequence(net, 1)[0])
        other.step(sequence(net, 1)[0], 0)
        learner.accumulate(np.ones(net.n_out))
        change()
        with pytest.raises(ValueError, match="accumulate needs a step taken with the present weights"):
            learner.accumulate(np.ones(net.n_out))


# Memory and refusals

@pytest.mark.parametrize("engine", [*KEEPING, "tbptt"])
def test_memory_grows_with_time_only_where_it_says_so(engine):
    net = network(("egru", "lif"), units=(20, 10), dtype="float32")
    learner = make(engine, net)
    known = learner.memory["total"]
    x, targets = sequence(net, 3000), targets_for(net, "cross_entropy", (3000,))
    at_once(learner, x, targets, np.ones(3000, bool))
    learner.gradients()
    if engine == "bptt":
        assert learner.memory["total"] > 20 * known
    else:
        assert learner.memory["total"] == known


def test_refusals():
    net = network(("egru",))
    for block in (0, -1, 1.5, True):
        with pytest.raises((TypeError, ValueError), match="block"):
            evsim.RTRL(net, block=block)
    for made in (evsim.RTRL, evsim.BPTT, evsim.TBPTT, evsim.SnAp, evsim.EProp, evsim.RFLO, evsim.UORO):
        with pytest.raises(TypeError, match="net is 5: pass an evsim.Network"):
            made(5)
        with pytest.raises(TypeError, match="optimizer is None: pass one such as"):
            made(net).update(None)
    for window in (0, 2.5):
        with pytest.raises((TypeError, ValueError), match="window"):
            evsim.TBPTT(net, window=window)
