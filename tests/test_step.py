"""What a step leaves behind: equations against kernels, the Step against autograd, autograd against differences."""

import numpy as np
import pytest
import torch
from naive import forward
from oracle import (
    KINDS,
    PAIRS,
    SINGLE,
    SURROGATES,
    TorchNetwork,
    jacobians,
    learnable,
    network,
    options_of,
    record,
    sequence,
)

from evsim.models.words import TorchWords
from evsim.words import SmoothWords

INPUTS = {
    "dense": lambda x: x + 0.1,
    "sparse": lambda x: x * (np.arange(x.size).reshape(x.shape) % 5 == 0),
    "silent": lambda x: x * 0,
    "negative": lambda x: -abs(x),
}
DETACH = [(kind, detach) for kind in KINDS for detach in (False, True) if KINDS[kind][0].kept or not detach]


class SmoothTorch(TorchWords):
    """The smooth twin under torch: the integral of the pseudo-derivative, with the same derivative."""

    def event(self, x):
        hard = super().event(x)
        return torch.from_numpy(self.surrogate.integral(x.detach().numpy())) + (hard - hard.detach())


# The equations, run as they stand, against the kernels

@pytest.mark.parametrize("given", INPUTS)
@pytest.mark.parametrize("stack", SINGLE + PAIRS, ids="-".join)
def test_outputs_are_those_of_the_equations(stack, given):
    for density, detach, readout in ((1.0, False, "linear"), (0.3, True, "leaky")):
        options = dict(density=density, density_in=density, detach_reset=detach, readout=readout)
        net = network(stack, spread=True, **options)
        x = INPUTS[given](sequence(net, 40))
        wanted, seen = forward(net, x)
        out, events = net.run(x, record_events=True)
        np.testing.assert_allclose(out, wanted, rtol=1e-12, atol=1e-13)
        recorded, steps = record(net, x, chunk=7)
        np.testing.assert_array_equal(recorded, out)
        assert len(seen) == len(stack) + (readout == "leaky")
        for k in range(len(stack)):
            ys = np.array([y for y, _, _ in seen[k]])
            np.testing.assert_allclose(events[k], ys, rtol=1e-12, atol=1e-13)
            np.testing.assert_array_equal([step[k].y for step in steps], events[k])
            np.testing.assert_array_equal(events[k] != 0, ys != 0)
        assert any(e.any() for e in events) or given != "dense"


@pytest.mark.nojit
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_without_drive_is_silent(kind):
    net = network((kind,), units=(5,))
    values = net.parameters()
    values["layers.0.bias"][:] = 0
    net.load_parameters(values)
    out, (events,) = net.run(np.zeros((6, net.n_in)), record_events=True)
    assert not events.any()
    np.testing.assert_array_equal(out, np.broadcast_to(values["readout.bias"], out.shape))


@pytest.mark.parametrize("stack", SINGLE + PAIRS, ids="-".join)
def test_single_precision_outputs_on_the_same_events(stack):
    same, tried = 0, 0
    for seed in range(8):
        net = network(stack, density=0.3, seed=seed, dtype="float32")
        x = sequence(net, 40, seed)
        wanted, seen = forward(net, x)
        assert wanted.dtype == np.float32
        out, events = net.run(x, record_events=True)
        tried += 1
        if all(np.array_equal(e != 0, np.array([y for y, _, _ in ys]) != 0) for e, ys in zip(events, seen)):
            same += 1
            np.testing.assert_allclose(out, wanted, rtol=1e-4, atol=1e-5)
    assert (tried, same >= 7) == (8, True)


# The Step

@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize(("kind", "detach"), DETACH)
def test_step_is_what_autograd_finds(kind, detach, surrogate):
    options = dict.fromkeys(learnable((kind,), "leaky"), True)
    options |= dict(spread=True, detach_reset=detach, readout="leaky", **SURROGATES[surrogate])
    net = network((kind,), units=(12,), **options)
    x = 3.0 * sequence(net, 30)
    regimes, readout = (compare_steps(net, k, x) for k in (0, 1))
    inside = {(False, True), (True, True)}
    assert regimes == (inside if surrogate == "superspike" else inside | {(False, False), (True, False)})
    assert {slope for _, slope in readout} == {False}  # no events


def compare_steps(net, k, x):
    """Layer k's Steps against autograd: which combinations (event or not, slope or not) were there."""
    cell, values = net.stack[k], net.parameters()
    q = [values[net.layout.layers[k].names[name]] for name in cell.local]
    seen, (_, steps) = forward(net, x)[1][k], record(net, x)
    regimes = set()
    before = [np.zeros(cell.units) for _ in cell.states]
    for t, ((y, a, s), layers) in enumerate(zip(seen, steps)):
        step = layers[k]
        wanted = jacobians(cell, TorchWords, before, a, q, t == 0)
        for name, truth in zip(("A", "B", "C", "phi", "D"), wanted):
            if name == "A" and t == 0:
                continue  # M is 0 then: A multiplies nothing
            np.testing.assert_allclose(getattr(step, name), truth, rtol=1e-11, atol=1e-14, err_msg=f"{name} at {t}")
        assert not step.D[~step.phi.any(1)].any()
        slope = np.any([(truth != 0) for truth in wanted[4].T], axis=0)
        regimes |= set(zip((y != 0).tolist(), slope.tolist()))
        before = list(s)
    return regimes


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("kind", KINDS)
def test_autograd_of_the_smooth_twin_is_what_differences_find(kind, surrogate):
    """One step: the arbiter of the arbiter."""
    (cell,) = network((kind,), units=(40,), spread=True, **SURROGATES[surrogate]).layers
    rng, m, eps = np.random.default_rng(7), SmoothWords(cell.pseudo), 1e-6
    groups = [rng.standard_normal((size, cell.units)) for size in (len(cell.states), len(cell.channels))]
    groups.append(np.array([cell.initial_local(name) for name in cell.local]))

    def moved(group, row, sign):
        return [g + sign * eps * (np.arange(len(g)) == row)[:, None] * (k == group) for k, g in enumerate(groups)]

    def step(group, row, sign):
        before, a, q = moved(group, row, sign)
        return np.array(cell.advance(m, cell.keep(m, tuple(before), q), a, q))

    def event(group, row, sign):
        s, _, q = moved(group, row, sign)
        return np.array(cell.emit(m, tuple(s), q))

    A, B, C, _, _ = jacobians(cell, SmoothTorch, *groups, False)
    for group, truth in enumerate((A, B, C)):
        for row in range(len(groups[group])):
            slope = (step(group, row, 1) - step(group, row, -1)) / (2 * eps)
            np.testing.assert_allclose(slope.T, truth[:, :, row], rtol=1e-6, atol=3e-7)
    s, q = ([torch.tensor(v, requires_grad=True) for v in groups[k]] for k in (0, 2))
    found = torch.autograd.grad(cell.emit(SmoothTorch(cell.pseudo), s, q).sum(), [*s, *q], allow_unused=True)
    places = [(group, row) for group in (0, 2) for row in range(len(groups[group]))]
    for (group, row), truth in zip(places, found):
        slope = (event(group, row, 1) - event(group, row, -1)) / (2 * eps)
        np.testing.assert_allclose(slope, 0 if truth is None else truth, rtol=1e-6, atol=3e-7)
        assert truth is None or truth.any()


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("stack", SINGLE + PAIRS, ids="-".join)
def test_differences_of_the_smooth_twin_through_time(stack, surrogate, monkeypatch):
    """A whole sequence: autograd through the oracle's own unrolling, against differences of the numpy equations."""
    net = network(stack, units=(5, 4), density=0.6, spread=True, **SURROGATES[surrogate])
    x, weights = sequence(net, 12), np.random.default_rng(3).standard_normal((12, net.n_out))
    monkeypatch.setattr("evsim.models.network.TorchWords", SmoothTorch)
    model = TorchNetwork(net)
    for p in model.parameters():
        p.requires_grad_()
    out = model(torch.from_numpy(x[None]))[0]
    plain, values, masks = net.parameters(), net.parameters(), net.masks()
    np.testing.assert_allclose(out.detach(), forward(net, x, SmoothWords)[0], rtol=1e-12, atol=1e-13)
    (out * torch.from_numpy(weights)).sum().backward()
    rng, eps, alive = np.random.default_rng(4), 1e-6, 0
    for name, p in model.named_parameters():
        name = name.replace("/", ".")
        direction = rng.standard_normal(p.shape) * masks.get(name, True)
        slope = 0.0
        for sign in (1, -1):
            values[name] = plain[name] + sign * eps * direction
            slope += sign * (weights * forward(net, x, SmoothWords, values)[0]).sum() / (2 * eps)
        values[name] = plain[name]
        assert slope == pytest.approx((direction * p.grad.numpy()).sum(), rel=2e-5, abs=1e-7), name
        alive += abs(slope) > 1e-4
    assert alive >= 4


def test_every_kind_takes_part():
    """A cell that is registered is tested here, with what it can learn and detach."""
    assert {KINDS[kind][0].kind for kind in KINDS} >= {"egru", "evrnn"}
    assert "learn_threshold" in options_of("egru")
    assert learnable(("egru", "evrnn")) == ["learn_threshold"]
