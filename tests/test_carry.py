"""Carrying M: leaks that wait in a factor, parts of M on several threads, and what a step may cost at most."""

import numpy as np
import pytest
from oracle import KINDS, TOLERANCE, Unrolled, network, sequence, targets_for, worst

import evsim
import evsim.carrier
import evsim.tiles
from evsim.opcount import NAMES, PARTS

LEAKY = ["egru", "lif", "lif-zero"]  # one state, with memory


def quiet(kind, steps=300, dtype="float64"):
    """A network that speaks for a while, hears nothing for long, and wakes; its inputs."""
    net = network((kind,), units=(12,), density=0.3, dtype=dtype)
    x = sequence(net, steps)
    x[20:-20] = 0
    return net, x


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_after_a_long_silence(kind):
    net, x = quiet(kind)
    targets, keep = targets_for(net, "mse", (len(x),)), np.arange(len(x)) > len(x) - 30
    learner = evsim.RTRL(net, loss="mse")
    learner.run(x, targets, keep)
    assert worst(learner.gradients(), Unrolled(net, x).gradients("mse", targets, keep)) <= TOLERANCE


@pytest.mark.parametrize("kind", LEAKY)
def test_a_row_at_which_nothing_arrives_is_not_touched(kind):
    """Its factor falls instead; M is the product of both, and no work is done but for a unit's own columns."""
    net, x = quiet(kind)
    values = net.parameters()
    values["layers.0.bias"][:] = 0  # without inputs they fall silent
    net.load_parameters(values)
    learner = evsim.RTRL(net, loss="mse")
    learner.run(x[:20])
    for t in range(20, 60):
        learner.step(x[t])
    assert not net.run(x, record_events=True)[1][0][40:60].any()
    before, held, scale = learner.ops, learner.influence(), learner._scale.copy()
    learner.step(x[60])
    done = {part: learner.ops[part] - before[part] for part in ("propagate", "leak", "rows")}
    tiles = learner._tiles
    owners = sum(len(set(tiles.piece[a:b, 0])) for a, b in zip(tiles.piece_ptr, tiles.piece_ptr[1:]))
    assert done["propagate"] == 0 and done["rows"] == owners and done["leak"] <= owners * tiles.width
    assert held.any() and (learner._scale < scale).any()
    others = np.ones(net.layout.unit_columns, bool)
    others[net.layout.start[0] :][: net.layout.width[0]] = False
    leak = learner._forward.A[0, learner._open, 0, 0, 0]
    np.testing.assert_allclose(learner.influence()[0, others], leak * held[0, others], rtol=1e-12)


def test_a_factor_that_has_become_nothing():
    """Thousands of silent steps: rows are empty, not subnormal, and the network learns on when it wakes."""
    net = evsim.Network(3, evsim.LIF(8, density=0.5, beta=0.5), evsim.Readout(2), seed=1)
    x = np.zeros((4000, 3), np.float32)
    x[:20] = x[-20:] = sequence(net, 20) + 1
    learner, fresh = evsim.RTRL(net), evsim.RTRL(net)
    learner.run(x[:-20])
    assert not (learner._scale * (learner._scale < np.finfo(np.float32).tiny)).any()
    learner.run(x[-20:], np.ones(20, int))
    fresh.run(np.zeros((2000, 3), np.float32))  # to the same state, but for what faded
    fresh.run(x[-20:], np.ones(20, int))
    for name, found in learner.gradients().items():
        np.testing.assert_allclose(found, fresh.gradients()[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert learner.gradient().any()


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_diverged_run_left_is_not_read_after_reset(kind):
    net = network((kind,), units=(9,), density=0.5, dtype="float32")
    x, targets = sequence(net, 30), targets_for(net, "mse", (30,))
    learner, fresh = evsim.RTRL(net, loss="mse"), evsim.RTRL(net, loss="mse")
    learner.run(x, targets)
    learner._M[:] = np.nan
    for space in learner._spaces[0][2]:
        if space.dtype.kind == "f":
            space[:] = np.nan
    learner.reset()
    learner.zero_gradients()
    for one in (learner, fresh):
        one.run(x, targets)
    np.testing.assert_array_equal(learner.gradient(), fresh.gradient())


@pytest.mark.parametrize("stack", [("egru",), ("evrnn",), ("alif", "egru"), ("lif", "evrnn")], ids="-".join)
def test_threads_that_share_one_stream_change_no_bit(stack, monkeypatch):
    monkeypatch.setattr(evsim.carrier, "WORTH", 0)
    monkeypatch.setattr(evsim.tiles, "ROW_BYTES", (256,))
    net = network(stack, units=(24, 20), density=0.4)
    x, targets = sequence(net, 80), targets_for(net, "mse", (80,))
    found = []
    for threads in (1, 2, 3):
        learner = evsim.RTRL(net, loss="mse", threads=threads)
        assert len(learner._tiles.tile) >= 6
        learner.run(x[:50], targets[:50])
        for t in range(50, 80):
            learner.step(x[t], targets[t])
        found.append((learner.gradient(), learner.influence(), learner.counts))
        assert threads == 1 or learner._pool is not None
    for gradient, influence, counts in found[1:]:
        np.testing.assert_array_equal(gradient, found[0][0])
        np.testing.assert_array_equal(influence, found[0][1])
        np.testing.assert_array_equal(counts, found[0][2])



@pytest.mark.parametrize("kind", KINDS)
def test_a_step_stays_within_its_budget(kind):
    """Multiply-adds, words read and written of a step, from who was near the threshold: never a dense step's."""
    net = network((kind,), units=(64,), density=0.2, dtype="float32")
    x, learner = sequence(net, 150), evsim.RTRL(net, loss="mse")
    learner.run(x[:50])
    before = learner.ops
    learner.run(x[50:])
    done = {name: (learner.ops[name] - before[name]) / 100 for name in (*NAMES, "multiply_adds")}
    cell, P = net.layers[0], net.layout.unit_columns
    w, phi, K = net.masks()["layers.0.weight_rec"][0].mean(), done["phi"] / 64, len(cell.states)
    most = K * w * phi * 64 * 64 * P + cell.memory * K * K * 64 * P
    assert 0 < done["propagate"] + done["leak"] <= 1.25 * most
    kept = 64 * phi * P * cell.memory  # rows of Y
    assert done["words_written"] - done["immediate"] - kept <= K * 64 * P * (1 if cell.memory else 1.25 * phi)
    touched = ("propagate", "leak", "show", "immediate")
    assert done["words_read"] == pytest.approx(sum(done[part] for part in touched))
    assert sum(done[part] for part in PARTS) == pytest.approx(done["multiply_adds"])
