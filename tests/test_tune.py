"""Tuning to few bits: latent parameters by hand, exact gradients at the rounded ones, and what it wins back."""

import numpy as np
import pytest
from oracle import sequence, targets_for

import evsim
from evsim.fixed.format import Format
from evsim.fixed.latent import Quantised
from evsim.fixed.quantise import quantise
from evsim.registry import lookup

CELLS = ("lif", "cubalif", "alif", "adlif", "egru", "evrnn")
LEARNS = {"egru": {"threshold": 0.1}, "evrnn": {"threshold": 0.1}}


def network(kinds, dtype="float64", readout=None, **options):
    layers = []
    for k, kind in enumerate(kinds):
        own = LEARNS.get(kind, {"threshold": 0.4, "learn_beta": True})
        layers.append(lookup("cell", kind)(6 - k, density=0.6, **{**own, **options}))
    return evsim.Network(3, layers, readout or evsim.Readout(2), seed=1, dtype=dtype)


def twin(net):
    """Another network with the same parameters."""
    found = network([cell.kind for cell in net.layers], net.dtype, net.readout)
    found.load_parameters(net.parameters())
    return found


def formats(net, bits):
    """The format of each weight that quantising the network would choose."""
    values, masks = net.parameters(), net.masks()
    kept = {name: values[name][masks.get(name, ...)] for name in values if "weight" in name}
    return {name: Format.best(value, bits) for name, value in kept.items()}


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("kind", CELLS)
def test_the_network_is_on_the_grid_from_the_start(kind, bits):
    net = network((kind, "lif"), readout=evsim.LeakyReadout(2))
    before = net.parameters()
    version, wanted = net.version, formats(net, bits)
    tuned = Quantised(evsim.SGD(0.1), net, bits)
    assert net.version > version
    for name, after in net.parameters().items():
        form = wanted.get(name) or Format.fit(float(np.abs(before[name]).max()), 16)
        step = 2.0**-form.frac
        assert (after / step == np.round(after / step)).all() and np.abs(after).max() <= form.top * step
        held = np.abs(before[name]) <= form.top * step
        assert np.abs(after - before[name])[held].max() <= step / 2
    assert tuned.latent.shape == net.trained.shape and (tuned.latent != net.trained).any()
    fixed = quantise(net, [sequence(net, 20)], bits)
    for part in fixed.parts:
        values = net.parameters()[f"{part.name}.weight_in" if part.name != "readout" else "readout.weight"]
        found = part.sum.weights[0].value(part.inp.dense(part.units)).transpose(0, 2, 1)
        np.testing.assert_array_equal(found.reshape(values.shape), values)  # quantising rounds no weight again


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", CELLS)
def test_the_gradient_is_that_of_the_rounded_network_bit_for_bit(kind, bits):
    net = network((kind, "lif"))
    x, y = sequence(net, 40), targets_for(net, "mse", (40,))
    tuned, learner = Quantised(evsim.SGD(0.1), net, bits), evsim.RTRL(net, loss="mse")
    latent = tuned.latent.copy()
    for part in (slice(0, 15), slice(15, 40)):  # the second on from the state and influence of the first
        learner.run(x[part], y[part])
        gradient = learner.gradient()
        if part.start == 0:
            other = evsim.RTRL(twin(net), loss="mse")
            other.run(x[part], y[part])
            assert other.gradient().tobytes() == gradient.tobytes()
        assert gradient.any()
        learner.update(tuned)
        expected = latent.copy()
        evsim.SGD(0.1).apply(expected, gradient)
        expected = np.clip(expected, *bounds(net))
        assert expected.tobytes() == tuned.latent.tobytes()
        assert (np.abs(expected - latent).max() > 0) and (tuned.latent != net.trained).any()
        latent = expected


def bounds(net):
    """(low, high) of each trained parameter."""
    found = np.full((2, net.layout.size), np.inf) * [[-1], [1]]
    for cell, place in zip(net.stack, net.layout.layers):
        for q, name in enumerate(cell.local):
            found[:, place.local_at[:, q]] = np.array(cell.bounds(name) or (-np.inf, np.inf))[:, None]
    return found[:, : net.layout.trained]


def test_control_the_gradient_at_the_latent_parameters_is_another():
    net = network(("lif",))
    x, y = sequence(net, 40), targets_for(net, "mse", (40,))
    before = twin(net)
    Quantised(evsim.SGD(0.1), net, 4)
    found = []
    for one in (net, before):
        learner = evsim.RTRL(one, loss="mse")
        learner.run(x, y)
        found.append(learner.gradient())
    assert not np.allclose(*found, rtol=1e-3)


def test_small_steps_add_up_in_the_latent_parameters_alone():
    net = network(("lif",))
    tuned = Quantised(evsim.SGD(1.0), net, 4)
    name, at = "readout.weight", net.layout.names["readout.weight"][2]
    step = 2.0 ** -formats(net, 4)[name].frac
    start, gradient = net.trained.copy(), np.zeros(net.layout.trained)
    inner = at[np.abs(start[at]).argmin()]  # not the one that sets the scale
    tuned.latent[inner] = start[inner]
    gradient[inner] = -step / 8
    for _ in range(3):
        tuned.apply(net.trained, gradient)
    assert (net.trained == start).all() and tuned.latent[inner] == start[inner] + 3 * step / 8
    tuned.apply(net.trained, gradient)
    assert net.trained[inner] == start[inner] + step and (np.delete(net.trained - start, inner) == 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_leaves_its_bounds_is_brought_back_onto_the_grid(dtype):
    net = network(("egru", "lif"), dtype)
    tuned = Quantised(evsim.SGD(1.0), net, 8)
    for sign in (1, -1):
        tuned.apply(net.trained, np.full(net.layout.trained, sign * 10.0, net.dtype))
        before = net.theta.copy()
        net.project()
        assert before.tobytes() == net.theta.tobytes()  # it had nothing to do
    low, high = bounds(net)
    assert (tuned.latent >= low.astype(dtype)).all() and (tuned.latent <= high.astype(dtype)).all()
    beta = net.parameters()["layers.1.beta"].astype(np.float64)
    assert (beta * 2**15 == np.round(beta * 2**15)).all() and beta.max() < 1


@pytest.mark.parametrize("inner", [evsim.SGD(0.05, momentum=0.9), evsim.Adam(0.01, weight_decay=0.1, decay="weights")])
def test_a_checkpoint_goes_on_bit_for_bit(inner, tmp_path):
    net = network(("egru", "lif"), "float32")
    x, y = sequence(net, 40), targets_for(net, "mse", (40,))
    learner, tuned = evsim.RTRL(net, loss="mse"), Quantised(inner, net, 4)
    learner.run(x[:20], y[:20])
    learner.update(tuned, clip=1.0)
    evsim.save(tmp_path / "c.npz", net, learner, tuned)
    found = evsim.load(tmp_path / "c.npz")
    assert isinstance(found.optimizer, Quantised) and found.optimizer.config() == tuned.config()
    for one, by in ((learner, tuned), (found.learner, found.optimizer)):
        one.run(x[20:], y[20:])
        one.update(by, clip=1.0)
    assert net.theta.tobytes() == found.net.theta.tobytes()
    assert tuned.latent.tobytes() == found.optimizer.latent.tobytes() and tuned.steps == found.optimizer.steps == 2


def test_changes_of_somebody_else_are_taken_over():
    net = network(("lif",))
    tuned = Quantised(evsim.SGD(0.1), net, 8)
    net.load_parameters({**net.parameters(), "readout.bias": np.array([3.0, -3.0])})
    tuned.apply(net.trained, np.zeros(net.layout.trained))
    assert net.to_dense(tuned.latent, trained_only=True)["readout.bias"].tolist() == [3.0, -3.0]


def test_refusals():
    net = network(("lif",))
    with pytest.raises(ValueError, match="bits=5 is unknown: choose one of 4, 8, 16"):
        Quantised(evsim.SGD(0.1), net, 5)
    with pytest.raises(TypeError, match="optimizer is 0.1: pass one such as"):
        Quantised(0.1, net)
    tuned = Quantised(evsim.SGD(0.1), net, 8)
    with pytest.raises(ValueError, match="make a Quantised for this network"):
        tuned.apply(np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="latent parameters are none"):
        Quantised(evsim.SGD(0.1)).apply(net.trained, np.zeros(net.layout.trained))
    with pytest.raises(ValueError, match="masks cannot change"):
        tuned.rewire(np.arange(net.layout.trained))
    with pytest.raises(FloatingPointError, match="diverged"):
        tuned.apply(net.trained, np.full(net.layout.trained, np.nan))
    state = tuned.state()
    for change, told in (({"latent": state["latent"][:3]}, "differ in length"),
                         ({"latent": state["latent"] * np.nan}, "no update leaves"),
                         ({"tensor": state["tensor"] + 100}, "no update leaves")):  # fmt: skip
        with pytest.raises(ValueError, match=told):
            tuned.load_state(state | change)
    with pytest.raises(ValueError, match="this state holds none of latent"):
        tuned.load_state(evsim.SGD(0.1).state())
    with pytest.raises(ValueError, match="it takes kind, bits, weights and optimizer"):
        Quantised.from_config({"kind": "quantised"})
