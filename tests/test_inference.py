"""Inference without learning: the same events and outputs bit for bit, the same counts, and no room for Steps."""

import numpy as np
import pytest
from oracle import KINDS, PAIRS, READOUTS, SINGLE, TRIPLES, learnable, network, sequence

import evsim
from evsim.evaluate import evaluate, predict
from evsim.forward import STEP, Forward
from evsim.opcount import EVENTS, FORWARD, PHI, STEPS, new_count
from evsim.packed import pack

STACKS = SINGLE + PAIRS + TRIPLES


def run(net, x, learn, slots=7):
    """Events (N, T, units), outputs and counts of sequences x (N, T, n_in) at that level of `learn`."""
    forward, count = Forward(net, len(x), slots, learn=learn), new_count(len(net.layers))
    found = [(out.copy(), y.copy()) for out, y in forward.infer(x, forward.workspace(), count)]
    outs, events = (np.concatenate(parts, 1) for parts in zip(*found))
    return events, outs, count, forward


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_events_and_outputs_are_those_of_learning(stack, readout, dtype):
    learn = dict.fromkeys(learnable(stack, readout), True)
    for density in (1.0, 0.3):
        net = network(stack, density=density, density_in=density, spread=True, readout=readout, dtype=dtype, **learn)
        x = sequence(net, 30, lead=(2,))
        events, out, count, _ = run(net, x, learn=2)
        learner = evsim.RTRL(net)
        np.testing.assert_array_equal(learner.run(x[0]), out[0])
        assert events.any()
        for level in (0, 1):
            seen, said, counted, _ = run(net, x, level)
            assert seen.tobytes() == events.tobytes()
            assert said.tobytes() == out.tobytes()
            same = [FORWARD, EVENTS, STEPS, PHI][: 3 + level]
            np.testing.assert_array_equal(counted[:, same], count[:, same])
            assert counted[:, PHI].any() == (level == 1)
        np.testing.assert_array_equal(net.run(x), out)


@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_inference_has_no_room_for_steps(stack):
    net = network(stack)
    light, full = (Forward(net, 2, 5, learn=learn) for learn in (0, 2))
    assert [light.arrays[name].nbytes for name in STEP[1:]] == [0] * 5
    for name in ("x", "y", "out"):
        assert light.arrays[name].nbytes == full.arrays[name].nbytes
    numbers = sum(array.nbytes for array in light.arrays.values()) // net.theta.itemsize
    assert numbers == 2 * 6 * (net.n_in + net.layout.units + net.n_out)
    assert sum(array.nbytes for array in full.arrays.values()) > 2 * numbers * net.theta.itemsize


@pytest.mark.nojit
@pytest.mark.parametrize("kind", KINDS)
def test_small_inference(kind):
    """Also in plain Python; a network of a single unit, edge and output among them."""
    for units, n_in, n_out in ((4, 3, 2), (1, 1, 1)):
        net = network((kind, kind), units=(units, units), n_in=n_in, n_out=n_out, spread=True)
        x = sequence(net, 9, lead=(1,))
        (events, out, _, _), (seen, said, _, _) = (run(net, x, learn, slots=4) for learn in (2, 0))
        np.testing.assert_array_equal(seen, events)
        np.testing.assert_array_equal(said, out)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("stack", PAIRS, ids="-".join)
def test_packed_parameters_are_all_that_there_are(stack, readout):
    """Each place of theta once, and the same map however often it is asked for."""
    net = network(stack, density=0.4, density_in=0.6, readout=readout)
    np.testing.assert_array_equal(np.sort(pack(net).places), np.arange(net.theta.size))
    assert pack(net) is pack(net)


def test_inference_sees_the_parameters_of_the_moment():
    net = network(("egru", "lif"))
    x = sequence(net, 20)
    before = net.run(x)
    net.load_parameters({name: 0.9 * value for name, value in net.parameters().items()})
    after = net.run(x)
    assert np.any(before != after)
    np.testing.assert_array_equal(after, evsim.RTRL(net).run(x))


def test_evaluation_counts_what_learning_does():
    net = network(("egru", "alif"))
    x, y = sequence(net, 40, lead=(5,)), np.arange(5) % net.n_out
    found = evaluate(net, (x, y, None, None), "cross_entropy")
    learner = evsim.RTRL(net)
    outs = []
    for b in range(5):
        learner.reset()
        outs.append(learner.run(x[b])[-1])
    steps = 5 * 40 * net.layout.units
    assert found["phi_rate"] == learner.ops["phi"] / steps
    assert found["activity"] == learner.ops["events"] / steps
    np.testing.assert_array_equal(predict(net, x, None, "cross_entropy"), np.argmax(outs, -1))
