"""A readout that learns in fixed point: it stays near gradient descent in double precision."""

import numpy as np
import pytest
from bundled import network

from evsim.exports.trace import choose_inputs
from evsim.fixed import learn
from evsim.fixed.format import Format
from evsim.fixed.golden import Golden
from evsim.fixed.learn import GoldenReadout
from evsim.fixed.quantise import quantise

LOSSES = ("cross_entropy", "binary_cross_entropy", "mse")
RATE = 0.05


def taught(kinds, loss, state_bits=16, updates=500):
    """(the readout after so many updates, the same in float64: weight, bias) on one stream of events."""
    net = network(kinds)
    inputs, _ = choose_inputs(net)
    fixed = quantise(net, inputs, 8, state_bits)
    y = Golden(fixed).run(fixed.given.quantise(inputs[0])[None])[1][-1][0]
    found, rng = GoldenReadout(fixed, loss), np.random.default_rng(2)
    weight, bias = (found.plan.latent.value(one) for one in (found.weight, found.bias))
    first = weight.copy()
    rate = learn.RATE.quantise(RATE)
    goals = rng.integers(0, 3, 64) if loss == "cross_entropy" else rng.random((64, 3))
    for k in range(updates):
        said, target = y[k % len(y)], goals[k % 64]
        found.learn(said, found.read_out(said), mantissas(found, target))
        found.update(rate)
        value = found.plan.y.value(said)
        d = error(loss, weight @ value + bias, target)
        weight, bias = weight - RATE * np.outer(d, value), bias - RATE * d
    return found, weight, bias, first


def mantissas(found, target):
    if found.plan.loss == "cross_entropy":
        return target
    form = found.plan.out if found.plan.loss == "mse" else Format(32, learn.ERROR)
    return form.quantise(target)


def error(loss, out, target):
    if loss == "cross_entropy":
        p = np.exp(out - out.max())
        return p / p.sum() - np.eye(len(out))[target]
    return (2 * (out - target) if loss == "mse" else 1 / (1 + np.exp(-out)) - target) / len(out)


@pytest.mark.parametrize("state_bits", [16, 32])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kinds", [["egru"], ["lif", "alif"]])
def test_it_follows_gradient_descent_in_double_precision(kinds, loss, state_bits):
    found, weight, bias, first = taught(kinds, loss, state_bits)
    moved = np.abs(weight - first).max()
    assert moved > 0.05
    latent = found.plan.latent
    assert np.abs(latent.value(found.weight) - weight).max() < 0.01 * moved
    assert np.abs(latent.value(found.bias) - bias).max() < 0.01 * max(moved, np.abs(bias).max())
    assert np.abs(latent.value(found.weight) - first).max() > 0.9 * moved  # one that stood still would fail


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shift", [-1, 3, 9, 14])
def test_errors_are_those_of_the_loss(loss, shift):
    net = network(["lif"])
    found = GoldenReadout(quantise(net, choose_inputs(net)[0]), loss)
    form = Format(16, shift)
    found.plan = learn.Learned(found.plan.weight, found.plan.y, form, loss)
    rng = np.random.default_rng(shift + 5)
    out = form.quantise(rng.uniform(-1, 1, 3) * min(form.value(form.top), 20))
    target = 2 if loss == "cross_entropy" else form.value(form.quantise(rng.random(3)))
    d = found.error(out, mantissas(found, target)) / 2.0**learn.ERROR
    wanted = error(loss, form.value(out), target)
    np.testing.assert_allclose(d, wanted, atol=1.5e-3, rtol=1e-3)
    other = 0 if loss == "cross_entropy" else target[::-1] + 0.1
    assert np.abs(d - error(loss, form.value(out), other)).max() > 0.03


def test_small_updates_add_up_below_what_outputs_see():
    net = network(["lif"])
    found = GoldenReadout(quantise(net, choose_inputs(net)[0]), "mse")
    y = np.zeros(7, np.int64)
    y[2] = 1
    before, out = found.weight.copy(), found.read_out(y)
    tiny = learn.RATE.quantise(2e-6)
    for _ in range(400):
        found.learn(y, out, out - found.plan.out.quantise(0.25))
        found.update(tiny)
    rise = found.plan.latent.value(before - found.weight)[:, 2]
    np.testing.assert_allclose(rise, 400 * 2.0**-19 * 2 / 3 * 0.25, rtol=0.005)  # an update is rounded to 2**-29
    assert (np.delete(before - found.weight, 2, axis=1) == 0).all()


def test_a_leaky_readout_is_refused():
    net = network(["lif"], readout="leaky")
    with pytest.raises(ValueError, match="a leaky readout learns in float32 only"):
        GoldenReadout(quantise(net, choose_inputs(net)[0]), "mse")
