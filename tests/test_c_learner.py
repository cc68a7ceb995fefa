"""The learner in C against evsim's own: gradients, and weights after 500 online updates, in float32."""

import numpy as np
import pytest
from device import Device, apart, needs_gcc
from oracle import KINDS, READOUTS, SURROGATES, all_trained, learnable, network, sequence, targets_for

import evsim
from evsim.checkpoint import rebuild

pytestmark = needs_gcc

STEPS, UPDATES, RESET = 60, 500, 40
RATE, CLIP = 2e-3, 1.0
ENGINES = {
    "exact": lambda net, loss: evsim.RTRL(net, loss=loss), "snap1": lambda net, loss: evsim.SnAp(net, loss=loss, n=1),
    "eprop": lambda net, loss: evsim.EProp(net, loss=loss),
}  # fmt: skip
LOSSES = ("cross_entropy", "mse", "binary_cross_entropy")

# stack, method, readout, loss, options
SINGLE = [((kind,), "exact", "linear" if k % 2 else "leaky", LOSSES[k % 3], {}) for k, kind in enumerate(KINDS)]
STACKS = [
    (("egru", "lif"), "exact", "linear", "cross_entropy", {}),
    (("cubalif-zero", "alif"), "exact", "leaky", "mse", {}),
    (("evrnn", "adlif"), "exact", "linear", "binary_cross_entropy", {}),
    (("lif", "evrnn-binary"), "exact", "leaky", "cross_entropy", {}),
    (("alif-zero", "egru", "cubalif"), "exact", "linear", "mse", {"density": 0.3}),
]
OPTIONS = [
    (("lif",), "exact", "linear", "mse", {"detach_reset": True}),
    (("egru",), "exact", "leaky", "mse", {"detach_reset": True}),
    (("alif",), "exact", "linear", "mse", {"detach_reset": True}),
    (("egru",), "exact", "linear", "mse", SURROGATES["superspike"]),
    (("cubalif",), "exact", "linear", "mse", SURROGATES["superspike"]),
    (("evrnn",), "exact", "linear", "mse", SURROGATES["boxcar"]),
    (("lif-zero", "egru"), "exact", "linear", "mse", SURROGATES["boxcar"]),
    (("egru",), "exact", "leaky", "mse", {"always": True}),
    (("adlif-zero",), "exact", "leaky", "mse", {"density": 1.0, "density_in": 0.6}),
    (("egru",), "exact", "linear", "cross_entropy", {"learn_threshold": False, "density": 1.0}),
    (("lif",), "exact", "linear", "cross_entropy", {"mask_rec": np.zeros((9, 9), bool)}),
]
CUT = [
    (("egru", "lif"), "snap1", "linear", "mse", {}),
    (("cubalif", "alif"), "snap1", "leaky", "cross_entropy", {}),
    (("alif-zero",), "snap1", "linear", "mse", {"density": 1.0}),
    (("egru", "cubalif"), "eprop", "leaky", "mse", {}),
    (("adlif", "evrnn-binary"), "eprop", "linear", "cross_entropy", {}),
    (("lif",), "eprop", "linear", "binary_cross_entropy", {"density": 1.0}),
]
CASES = SINGLE + STACKS + OPTIONS + CUT


def name(case):
    kinds, method, readout, loss, options = case
    return "-".join([*kinds, method, readout, loss, *(k if np.ndim(v) else f"{k}={v}" for k, v in options.items())])


def shown(net, learner):
    """Which units of each layer had an event at evsim's last step: list of sets."""
    y, places = learner._forward.y[0, learner._open], net.layout.layers[: len(net.layers)]
    return [set(np.flatnonzero(y[p.first : p.first + p.units])) for p in places]


def side_by_side(device, learner, net, seed, steps, rate=None):
    """Run both; with a rate, update at every step. Returns at how many steps their events differed."""
    x, targets = sequence(net, steps, seed), targets_for(net, learner.loss_kind, (steps,), seed)
    flips, optimizer = 0, evsim.SGD(rate or 1.0)
    for t in range(steps):
        if rate and t % RESET == 0:
            learner.reset()
            device.reset()
        target = targets[t] if rate or t % 3 or steps < 3 else None
        learner.step(x[t], target)
        device.step(x[t], target)
        flips += device.spoken() != shown(net, learner)
        if rate:
            learner.update(optimizer, clip=CLIP)
            assert device.update(rate, CLIP) == 0
    return flips


def assert_gradients(device, learner, net):
    """Parameter by parameter; and the loss."""
    found = net.to_dense(np.append(device.gradient, np.zeros(net.theta.size - net.layout.trained)), trained_only=True)
    for key, value in learner.gradients().items():
        scale = max(np.abs(value).max(), 1e-3 * np.abs(learner.gradient()).max())
        assert np.abs(found[key] - value).max() <= 1e-4 * scale, key
    assert device.state.loss == pytest.approx(learner.loss, rel=1e-5)


def is_on_edge(net, method, loss, seed):
    """Do evsim's own events in float32 and float64 part on that sequence: is rounding what decides about them?"""
    x, targets = sequence(net, UPDATES, seed), targets_for(net, loss, (UPDATES,), seed)
    twin = rebuild({**net.config(), "dtype": "float64"}, net.parameters(), {k: m[0] for k, m in net.masks().items()})
    learners, optimizer = [ENGINES[method](one, loss) for one in (net, twin)], evsim.SGD(RATE)
    for t in range(UPDATES):
        for learner in learners:
            if t % RESET == 0:
                learner.reset()
            learner.step(x[t], targets[t])
            learner.update(optimizer, clip=CLIP)
        if shown(net, learners[0]) != shown(twin, learners[1]):
            return True
    return False


@pytest.mark.parametrize("case", CASES, ids=map(name, CASES))
def test_gradients_and_weights_are_those_of_evsim(case, tmp_path):
    kinds, method, readout, loss, options = case
    net = all_trained(kinds, dtype="float32", readout=readout, **options)
    device, start = Device(net, tmp_path, method, loss), net.theta.copy()
    np.testing.assert_array_equal(device.weights, net.trained)
    for steps in (1, 2, STEPS):
        device.init()
        learner = ENGINES[method](net, loss)
        assert side_by_side(device, learner, net, 0, steps) == 0
        assert_gradients(device, learner, net)
    assert any(value.any() for key, value in learner.gradients().items() if key.startswith("layers"))

    for seed in range(1, 5):
        net.theta[:] = start
        net.project()
        device.init()
        if not side_by_side(device, ENGINES[method](net, loss), net, seed, UPDATES, RATE):
            break
        net.theta[:] = start
        net.project()
        assert is_on_edge(net, method, loss, seed), "events differ where float64 has the same as float32"
    else:
        raise AssertionError("events differed in each of four sequences")
    trained = start[: net.layout.trained]
    assert apart(device.weights, net.trained) < 1e-4
    assert apart(device.weights - trained, net.trained - trained) < 1e-3  # what was learnt, by itself
    assert device.state.loss == 0 and not device.gradient.any()


@pytest.mark.parametrize("seed", range(12))
def test_networks_of_any_shape(seed, tmp_path):
    """Cells, depth, sizes from 1 unit on, masks, method, loss and what is trained are drawn; gcc has no warnings."""
    rng = np.random.default_rng([seed, 9])
    kinds = tuple(str(kind) for kind in rng.choice(list(KINDS), rng.integers(1, 4)))
    method, loss, readout = (str(rng.choice(some)) for some in (list(ENGINES), LOSSES, READOUTS))
    options = {
        "density": rng.choice([0.05, 0.3, 1.0]), "density_in": rng.choice([0.3, 1.0]),
        "detach_reset": bool(rng.random() < 0.3), **SURROGATES[str(rng.choice(list(SURROGATES)))],
        **{name: bool(rng.random() < 0.6) for name in learnable(kinds, readout)},
    }  # fmt: skip
    units = [int(n) for n in rng.choice([1, 2, 5, 17, 40], 3)]
    net = network(
        kinds, units, *map(int, rng.integers(1, 6, 2)), seed, dtype="float32", spread=True, readout=readout, **options
    )
    device, learner = Device(net, tmp_path, method, loss), ENGINES[method](net, loss)
    assert side_by_side(device, learner, net, 0, 25) == 0
    assert apart(device.gradient, learner.gradient()) < 1e-4


# What must show: (what is changed in the C, by what)
CONTROLS = {
    "recurrent influence": ("if (place != 0)", "if (0 && place != 0)"),
    "own events before": ("k < s->layer0_spoken_before; ++k) {\n        const", "k < 0u; ++k) {\n        const"),
    "leak": ("row[j] = a00 * m0;", "row[j] = m0;"),
    "threshold of the event before": ("to[layer0_bias_at[u] + 4u - first] += -s->layer0_d0_was[u]", "to[0] += 0.0f"),
    "biases": ("to[0] += s->layer0_b00[i];", "to[0] += 0.0f;"),
    "influence of M on the loss": ("learn_read(state);", "(void)learn_read;"),
}


@pytest.mark.parametrize("control", CONTROLS)
def test_what_is_left_out_shows(control, tmp_path):
    net = all_trained(("egru",), dtype="float32", readout="linear")

    def change(code):
        return code.replace(*CONTROLS[control])

    device, learner = Device(net, tmp_path, loss="mse", change=change), evsim.RTRL(net, loss="mse")
    assert side_by_side(device, learner, net, 0, STEPS) == 0
    layers = slice(net.layout.unit_columns)
    assert apart(device.gradient[layers], learner.gradient()[layers]) > 1e-3


def test_influence_of_the_layer_below_shows(tmp_path):
    net = all_trained(("egru", "lif"), dtype="float32", readout="linear")

    def change(code):
        return code.replace("r = span_member[span - 1u]; r < lo", "r = lo; r < lo")

    device, learner = Device(net, tmp_path, loss="mse", change=change), evsim.RTRL(net, loss="mse")
    assert side_by_side(device, learner, net, 0, STEPS) == 0
    assert apart(device.gradient, learner.gradient()) > 1e-3


def test_methods_differ_from_one_another(tmp_path):
    """Each is held against evsim's own above; here, that this says something."""
    net = all_trained(("cubalif",), dtype="float32", readout="linear", density=1.0)
    x, targets, found = sequence(net, STEPS), targets_for(net, "mse", (STEPS,)), {}
    for method in ENGINES:
        folder = tmp_path / method
        folder.mkdir()
        device = Device(net, folder, method, "mse")
        for t in range(STEPS):
            device.step(x[t], targets[t])
        found[method] = device.gradient
    assert apart(found["snap1"], found["exact"]) > 1e-3
    assert apart(found["eprop"], found["snap1"]) > 1e-3


@pytest.mark.parametrize("readout", ["linear", "leaky"])
def test_the_readout_alone(readout, tmp_path):
    net = all_trained(("egru", "alif"), dtype="float32", readout=readout)
    device, learner = Device(net, tmp_path, "readout", "mse"), evsim.RTRL(net, loss="mse")
    base = device.model.plan.base
    assert len(device.weights) == net.layout.trained - base
    x, targets, optimizer = sequence(net, UPDATES), targets_for(net, "mse", (UPDATES,)), evsim.SGD(RATE)
    for t in range(UPDATES):
        np.testing.assert_allclose(device.step(x[t], targets[t]), learner.step(x[t], targets[t]), rtol=1e-4, atol=1e-5)
        gradient = learner.gradient()
        assert apart(device.gradient, gradient[base:]) < 1e-4
        gradient[:base] = 0
        optimizer.apply(net.trained, gradient)
        net.project()
        learner.zero_gradients()
        device.check(device.update(RATE))
    assert apart(device.weights, net.trained[base:]) < 1e-5
