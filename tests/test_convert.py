"""Networks taken over from norse and snntorch: the same events at every step, and what cannot be so is refused.

Weights and biases are multiples of 2**-10, so that their sums are exact in any order, in both precisions: what remains
to rounding is elementwise, the same on every machine. With weights of any value, in float32, an event fell on the other
side of its threshold within 1,000 steps in 5 of 1,200 networks like these from norse, in 2 of 1,200 from snntorch.
"""

import runpy
import sys
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import evsim
from evsim.models import from_norse, from_snntorch

UNITS, INPUTS, STEPS = 128, 32, 1000
SEEDS = pytest.mark.parametrize("seed", [0, 1, 2])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


@pytest.fixture
def norse():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # importing it calls torch.jit.script
        return pytest.importorskip("norse.torch")


@pytest.fixture
def snn():
    return pytest.importorskip("snntorch")


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


def draw(rng, shape, scale, dtype=torch.float32):
    """Multiples of 2**-10."""
    return torch.from_numpy(np.round(rng.standard_normal(shape) * scale * 1024) / 1024).to(dtype)


def uniform(rng, low, high, n, dtype=torch.float32):
    return torch.from_numpy(rng.uniform(low, high, n)).to(dtype)


def linear(rng, n_in, n_out, scale, dtype=torch.float32, bias=0.0):
    made = nn.Linear(n_in, n_out, bias=bool(bias), dtype=dtype)
    made.weight.copy_(draw(rng, (n_out, n_in), scale))
    if bias:
        made.bias.copy_(draw(rng, n_out, bias))
    return made


def noise(rng, dtype=torch.float32, steps=STEPS):
    return torch.from_numpy(rng.random((steps, INPUTS)) < 0.1).to(dtype)


def norse_cell(norse, rng, n_in=INPUTS, n=UNITS, dtype=torch.float32, scale=3.0, autapses=True, dt=1e-3, **p):
    """A LIFRecurrentCell; p: fields of its LIFParameters, numbers or tensors."""
    p = norse.LIFParameters(**{name: torch.as_tensor(value) for name, value in p.items()})
    weights = {"input_weights": draw(rng, (n, n_in), scale, dtype), "recurrent_weights": draw(rng, (n, n), 0.2, dtype)}
    return norse.LIFRecurrentCell(n_in, n, p, autapses=autapses, dt=dt, **weights)


def rleaky(snn, rng, n_in=INPUTS, n=UNITS, scale=0.5, beta=0.9, diagonal=None, **options):
    """A pair (nn.Linear, RLeaky) with both biases; diagonal: the weights V of all_to_all=False."""
    known = {"linear_features": n} if diagonal is None else {"all_to_all": False, "V": diagonal}
    layer = snn.RLeaky(beta=beta, **{"reset_mechanism": "zero", "reset_delay": False, **known, **options})
    if diagonal is None:
        layer.recurrent.weight.copy_(draw(rng, (n, n), 0.05))
        layer.recurrent.bias.copy_(draw(rng, n, 0.05))
    return linear(rng, n_in, n, scale, bias=0.05), layer


def leaky(snn, rng, n_in=INPUTS, n=UNITS, scale=0.5, beta=0.9, dtype=torch.float32, **options):
    layer = snn.Leaky(beta=beta, **{"reset_mechanism": "zero", **options})
    return linear(rng, n_in, n, scale, dtype, bias=0.05), layer


def events(row, x):
    """Events (T, n) of each cell of norse or snntorch in a row of modules, from rest, step by step."""
    states, out = [()] * len(row), []
    for x_t in x:
        heard, spoken = x_t[None], []
        for k, module in enumerate(row):
            if isinstance(module, nn.Linear):
                heard = module(heard)
                continue
            heard, *states[k] = module(heard, *states[k])
            if hasattr(module, "recurrent"):  # snntorch's hears its own events as part of its state
                states[k] = [heard, *states[k]]
            spoken.append(heard[0].numpy().copy())
        out.append(spoken)
    return [np.stack(one) for one in zip(*out)]


def assert_alike(net, x, theirs):
    """Every layer of net emits exactly `theirs`, between 2 % and 60 % of its units at a time; returns net's output."""
    out, ours = net.run(x.numpy(), record_events=True)
    assert len(ours) == len(theirs)
    for mine, wanted in zip(ours, theirs):
        assert 0.02 < wanted.mean() < 0.6
        np.testing.assert_array_equal(mine, wanted)
    return out


def differing(net, x, theirs):
    """Fraction of the top layer's unit-steps that are not `theirs`."""
    return np.mean(net.run(x.numpy(), record_events=True)[1][-1] != theirs[-1])


def remade(net, reset, **changed):
    """net with its one layer made anew; changed: parameters replaced."""
    old, masks = net.layers[0], net.masks()
    layer = type(old)(old.units, reset=reset, mask_rec=masks["layers.0.weight_rec"])
    other = evsim.Network(net.n_in, layer, net.readout, dtype=net.dtype, dt=net.dt)
    other.load_parameters({**net.parameters(), **{f"layers.0.{name}": value for name, value in changed.items()}})
    return other


@SEEDS
@DTYPES
def test_norse_recurrent_cell(norse, dtype, seed):
    rng = np.random.default_rng(seed)
    cell, x = norse_cell(norse, rng, dtype=dtype), noise(rng, dtype)
    theirs, net = events([cell], x), from_norse(cell)
    np.testing.assert_array_equal(assert_alike(net, x, theirs), theirs[0])  # without a readout, events are put out
    assert (str(net.dtype), net.dt, net.n_out) == (str(dtype).removeprefix("torch."), 1e-3, UNITS)
    assert net.masks()["layers.0.weight_rec"].all()
    values, k = net.parameters(), float(1e-3 * cell.p.tau_mem_inv)  # a float32, as norse has it
    for name, wanted in (("beta", 1 - k), ("alpha", 1 - float(1e-3 * cell.p.tau_syn_inv)), ("threshold", 1 / k)):
        np.testing.assert_array_equal(values[f"layers.0.{name}"], np.full(UNITS, wanted, net.dtype))

    # The comparison can fail.
    assert differing(remade(net, "zero"), x, theirs) == 0
    assert differing(remade(net, "subtract"), x, theirs) > 0.01
    decay = np.exp(-1 / values["layers.0.threshold"])
    assert differing(remade(net, "zero", beta=decay), x, theirs) > 0.01


@SEEDS
def test_norse_without_autapses(norse, seed):
    rng = np.random.default_rng(seed)
    cell = norse_cell(norse, rng, autapses=False)
    x = noise(rng)
    theirs, net = events([cell], x), from_norse(cell)
    assert_alike(net, x, theirs)
    np.testing.assert_array_equal(net.masks()["layers.0.weight_rec"][0], ~np.eye(UNITS, dtype=bool))
    cell.autapses = True
    cell.recurrent_weights.diagonal().copy_(draw(rng, UNITS, 0.2))
    assert differing(from_norse(cell), x, theirs) > 0.01
    cell.autapses = False
    with pytest.raises(ValueError, match=r"layer 0 \(LIFRecurrentCell\): autapses=False, but .* diagonal"):
        from_norse(cell)


@SEEDS
@DTYPES
def test_norse_stack(norse, dtype, seed):
    """Recurrent, recurrent, feed-forward; thresholds and time constants per unit; another dt; a readout."""
    rng = np.random.default_rng(seed)
    spread = partial(uniform, rng, dtype=dtype)
    own = {"v_th": spread(0.5, 1.5, UNITS), "tau_mem_inv": spread(40, 120, UNITS), "dt": 2e-3}
    low = norse_cell(norse, rng, dtype=dtype, autapses=False, **own)
    mid = norse_cell(norse, rng, UNITS, 96, dtype, 0.8, tau_syn_inv=spread(100, 250, 96), dt=2e-3)
    feed, readout = linear(rng, 96, 64, 1.0, dtype, bias=0.5), linear(rng, 64, 10, 1.0, dtype, bias=1.0)
    top = norse.LIFCell(norse.LIFParameters(v_th=spread(0.5, 1.5, 64)), dt=2e-3)
    row, x = [low, mid, feed, top], noise(rng, dtype, 400)
    theirs, net = events(row, x), from_norse(row, readout)
    out = assert_alike(net, x, theirs)
    np.testing.assert_array_equal(out, readout(torch.from_numpy(theirs[-1])))  # sums of dyadic numbers
    assert net.dt == 2e-3
    assert not net.masks()["layers.2.weight_rec"].any()
    for same in ([low, mid, (feed, top)], (low, mid, [feed, top]), nn.Sequential(*row), norse.SequentialState(*row)):
        np.testing.assert_array_equal(from_norse(same, readout).theta, net.theta)


def test_norse_cells_over_time_and_offsets(norse):
    """LIFRecurrent and LIF are the same cells; a rest other than 0 that is also the reset is a shift of v."""
    rng = np.random.default_rng(0)
    x = noise(rng, torch.float64)
    bio = {"v_leak": -65.0, "v_reset": -65.0, "v_th": -64.0}
    cell = norse_cell(norse, rng, dtype=torch.float64, **bio)
    net = from_norse(cell)
    assert_alike(net, x, events([cell], x))
    np.testing.assert_allclose(net.parameters()["layers.0.threshold"], 1 / float(1e-3 * cell.p.tau_mem_inv), rtol=1e-14)

    weights = {"input_weights": cell.input_weights, "recurrent_weights": cell.recurrent_weights}
    over_time = norse.LIFRecurrent(INPUTS, UNITS, cell.p, autapses=True, **weights)
    np.testing.assert_array_equal(from_norse(over_time).theta, net.theta)
    assert_alike(net, x, [over_time(x[:, None])[0][:, 0].numpy()])
    feed, layer = linear(rng, INPUTS, 50, 3.0, torch.float64, bias=0.5), norse.LIF()
    assert_alike(from_norse((feed, layer)), x, [layer(feed(x[:, None]))[0][:, 0].numpy()])


@pytest.mark.parametrize(("diagonal", "seed"), [(None, 0), (None, 1), (None, 2), (0.25, 0), ("per unit", 0)])
def test_snntorch_rleaky(snn, diagonal, seed):
    rng = np.random.default_rng(seed)
    diagonal = draw(rng, UNITS, 0.5) if diagonal == "per unit" else diagonal
    (feed, layer), x = rleaky(snn, rng, diagonal=diagonal), noise(rng)
    theirs, net = events((feed, layer), x), from_snntorch((feed, layer))
    np.testing.assert_array_equal(assert_alike(net, x, theirs), theirs[0])
    bias = feed.bias if diagonal is not None else feed.bias + layer.recurrent.bias
    np.testing.assert_array_equal(net.parameters()["layers.0.bias"][0], bias)
    mask = np.ones((UNITS, UNITS), bool) if diagonal is None else np.eye(UNITS, dtype=bool)
    np.testing.assert_array_equal(net.masks()["layers.0.weight_rec"][0], mask)

    # The comparison can fail.
    assert differing(remade(net, "zero"), x, theirs) == 0
    assert differing(remade(net, "subtract"), x, theirs) > 0.01
    assert differing(remade(net, "zero", beta=np.full(UNITS, 0.89)), x, theirs) > 1e-3
    assert differing(remade(net, "zero", bias=feed.bias.numpy()[None] * 0), x, theirs) > 1e-3


@SEEDS
def test_snntorch_stack(snn, seed):
    """Thresholds and decays per unit, decays below 0 that snntorch clips, Leaky with and without delay, a readout."""
    rng = np.random.default_rng(seed)
    spread = partial(uniform, rng)
    low = rleaky(snn, rng, beta=spread(-0.2, 0.95, UNITS), threshold=spread(0.5, 1.5, UNITS))
    mid = rleaky(snn, rng, UNITS, 96, 0.3, beta=0.8, learn_beta=True, threshold=torch.tensor([0.75]))
    top = leaky(snn, rng, 96, 64, 0.3, beta=spread(0.5, 0.95, 64), learn_threshold=True, threshold=spread(0.5, 1, 64))
    last = leaky(snn, rng, 64, 48, 0.4, beta=spread(0.5, 0.95, 48), reset_delay=False)
    readout, pairs, x = linear(rng, 48, 10, 1.0, bias=1.0), [low, mid, top, last], noise(rng, steps=400)
    row = [module for pair in pairs for module in pair]
    theirs, net = events(row, x), from_snntorch(pairs, readout, dt=2e-3)
    out = assert_alike(net, x, theirs)
    np.testing.assert_array_equal(out, readout(torch.from_numpy(theirs[-1])))
    assert net.dt == 2e-3
    assert not net.masks()["layers.2.weight_rec"].any()
    np.testing.assert_array_equal(from_snntorch(nn.Sequential(*row), readout).theta, net.theta)


def test_snntorch_in_double_precision(snn):
    """Leaky runs in float64; its events are float32 always, so nothing that hears them does."""
    rng = np.random.default_rng(0)
    x, pair = noise(rng, torch.float64), leaky(snn, rng, dtype=torch.float64)
    net = from_snntorch(pair)
    assert net.dtype == np.float64
    assert_alike(net, x, events(pair, x))
    with pytest.raises(RuntimeError, match="same dtype"):
        events([module.double() for module in rleaky(snn, rng)], x)


@SEEDS
@pytest.mark.parametrize("delay", [True, False])
def test_snntorch_reset_by_subtraction_is_another_model(snn, delay, seed):
    rng = np.random.default_rng(seed)
    options = {"reset_mechanism": "subtract", "reset_delay": delay, "beta": 0.95, "scale": 1.0}
    (feed, layer), x = rleaky(snn, rng, **options), noise(rng)
    why = "after the leak, evsim before it" if delay else "again from a membrane still above it"
    needed = 'build and train it with reset_mechanism="zero", reset_delay=False'
    with pytest.raises(ValueError, match=rf"layer 0 \(RLeaky\): reset_mechanism='subtract' .*{why}: {needed}"):
        from_snntorch((feed, layer))
    theirs = events((feed, layer), x)
    zero = rleaky(snn, rng, beta=0.95)[1]
    zero.recurrent = layer.recurrent
    net = from_snntorch((feed, zero))
    assert 0.02 < theirs[0].mean() < 0.6
    for reset in ("subtract", "zero"):
        assert differing(remade(net, reset), x, theirs) > 0.01


@pytest.mark.parametrize(
    ("delay", "x", "theirs", "ours"),
    [
        # Off behind the leak: 0.9 * 1.5 - 1 + 0.6 = 0.95; before it: 0.9 * (1.5 - 1) + 0.6 = 1.05.
        (True, [1.5, 0.6], [1, 0], [1, 1]),
        # Off twice: 2.5 - 1 is above 1 still, and 0.9 * 1.5 - 1 = 0.35; off once: 0.9 * 1.5 = 1.35.
        (False, [2.5, 0.0], [1, 0], [1, 1]),
        # Alike as long as no membrane is above its threshold after the reset.
        (False, [1.5, 0.6], [1, 1], [1, 1]),
    ],
)
def test_what_snntorch_subtracts(snn, delay, x, theirs, ours):
    layer = snn.Leaky(beta=0.9, reset_mechanism="subtract", reset_delay=delay)
    (seen,) = events([layer], torch.tensor(x)[:, None])
    net = evsim.Network(1, evsim.LIF(1, beta=0.9, reset="subtract", mask_rec=np.zeros((1, 1), bool)), evsim.Readout(1))
    net.load_parameters({**net.parameters(), "layers.0.weight_in": np.ones((1, 1, 1))})
    (mine,) = net.run(np.array(x)[:, None], record_events=True)[1]
    assert (seen[:, 0].tolist(), mine[:, 0].tolist()) == (theirs, ours)


def test_options_reach_every_layer(norse, snn, tmp_path):
    rng = np.random.default_rng(0)
    options = {"surrogate": "boxcar", "height": 0.5, "half_width": 5.0, "detach_reset": True, "learn_beta": True}
    cells = [norse_cell(norse, rng, n=9), norse_cell(norse, rng, 9, 7)]
    pairs, x = [rleaky(snn, rng, n=9), leaky(snn, rng, 9, 7)], noise(rng, steps=50).numpy()
    made = from_norse(cells, learn_alpha=True, **options), from_snntorch(pairs, **options)
    for net, own in zip(made, (("beta", "alpha"), ("beta",))):
        for layer in net.layers:
            assert {name: getattr(layer, name) for name in options} == options
            assert layer.trained() == own
        evsim.save(tmp_path / "net.npz", net)
        np.testing.assert_array_equal(evsim.load(tmp_path / "net.npz").net.run(x), net.run(x))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"v_reset": -0.5}, "v_reset=-0.5 but v_leak=0: .*make them equal"),
        ({"v_th": 0.0}, "v_th=0 but v_leak=0: .*raise v_th"),
        ({"tau_mem_inv": 1500.0}, r"dt \* tau_mem_inv is 1.5: .*above 0 and at most 1"),
        ({"tau_syn_inv": 0.0}, r"dt \* tau_syn_inv is 0: "),
        ({"tau_mem_inv": float("nan")}, "dt . tau_mem_inv is nan: "),
        ({"v_th": torch.ones(4)}, r"v_th has shape \(4,\): give one number, or 9 of them"),
        ({"v_th": torch.ones(9, dtype=torch.float64)}, "v_th is torch.float64 but .* weights are torch.float32"),
    ],
)
def test_norse_refusals(norse, changed, told):
    cell = norse_cell(norse, np.random.default_rng(0), n=9, **changed)
    with pytest.raises(ValueError, match=rf"^layer 0 \(LIFRecurrentCell\): {told}"):
        from_norse(cell)


@pytest.mark.filterwarnings("ignore:Inhibition is an unstable feature")
@pytest.mark.parametrize(
    ("make", "changed", "told"),
    [
        (rleaky, {"reset_mechanism": "none"}, "reset_mechanism='none' leaves the membrane as it is"),
        (rleaky, {"reset_delay": True}, 'reset_delay=True drops the input .*"zero", reset_delay=False'),
        (rleaky, {"beta": 1.0}, "beta=1 does not decay: .*lower it"),
        (rleaky, {"beta": torch.full((4,), 0.5)}, r"beta has shape \(4,\): give one number, or 9 of them"),
        (rleaky, {"threshold": torch.ones(9).double()}, "threshold is torch.float64 but the layer's weights are"),
        (rleaky, {"spike_grad": torch.sigmoid}, "spike_grad is not a step, .*snntorch.surrogate"),
        (rleaky, {"state_quant": torch.round}, "state_quant is on, "),
        (leaky, {"inhibition": True}, "inhibition is on, "),
        (leaky, {"reset_mechanism": "subtract"}, 'reset_mech.* build and train it with reset_mechanism="zero"$'),
        (leaky, {"threshold": -1.0}, "LIF layer: threshold=-1 is not usable"),
        (leaky, {"graded_spikes_factor": 2.0}, "graded_spikes_factor=2.0, where events are 0 or 1: multiply it into"),
    ],
)
def test_snntorch_refusals(snn, make, changed, told):
    with pytest.raises(ValueError, match=rf"^layer 0 \(R?Leaky\): {told}"):
        from_snntorch(make(snn, np.random.default_rng(0), n=9, **changed))


def test_snntorch_layers_altered_or_of_another_shape(snn):
    rng = np.random.default_rng(0)
    feed, layer = leaky(snn, rng, n=9, reset_mechanism="subtract")
    layer.reset_mechanism = "zero"
    with pytest.raises(ValueError, match="set on a finished layer, which heeds it in part"):
        from_snntorch((feed, layer))
    layer = rleaky(snn, rng, n=9)[1]
    with pytest.raises(ValueError, match=r"recurrent weights \(9, 9\), but 8 units: make them \(8, 8\)"):
        from_snntorch((linear(rng, INPUTS, 8, 1.0), layer))
    layer.recurrent = nn.Conv2d(1, 1, 3)
    with pytest.raises(ValueError, match="its recurrence is a Conv2d: build it with linear_features"):
        from_snntorch((feed, layer))


def test_stacks_that_do_not_fit_and_other_modules(norse, snn):
    class Mine(snn.Leaky):
        """May compute anything."""

    rng = np.random.default_rng(0)
    low, high = norse_cell(norse, rng, n=9), norse_cell(norse, rng, 9, 7)
    feed, layer = leaky(snn, rng, n=9)
    for error, call, told in (
        (ValueError, lambda: from_norse([high, low]), "layer 1 .LIFRecurrentCell. hears 32 sources, but 7 units lie"),
        (ValueError, lambda: from_norse(low, linear(rng, 8, 3, 1.0)), "readout hears 8 sources, but 9 units"),
        (ValueError, lambda: from_norse(low, linear(rng, 9, 3, 1.0).double()), "readout .*float32 and torch.float64"),
        (ValueError, lambda: from_norse(norse_cell(norse, rng, dtype=torch.float16)), "weights of torch.float16: give"),
        (ValueError, lambda: from_norse([low, norse_cell(norse, rng, 9, 7, dt=2e-3)]), r"dt=\[0.001, 0.002\]: "),
        (ValueError, lambda: from_norse([]), "cells hold no cell: give norse's LIFRecurrentCell"),
        (ValueError, lambda: from_norse([feed, low]), "a LIFRecurrentCell at place 1, right behind an nn.Linear"),
        (ValueError, lambda: from_norse(norse.LIFCell()), "a LIFCell at place 0, without input weights: put the"),
        (ValueError, lambda: from_snntorch([feed, layer, feed]), "layers end in an nn.Linear: pass it as readout="),
        (ValueError, lambda: from_snntorch([feed, feed, layer]), "a Linear at place 1, right behind an nn.Linear"),
        (ValueError, lambda: from_snntorch([layer, feed]), "a Leaky at place 0, without input weights"),
        (TypeError, lambda: from_norse("LIF"), "a str at place 0: give norse's LIFRecurrentCell or pairs"),
        (TypeError, lambda: from_norse([low, norse.LSNNRecurrentCell(9, 9)]), "a LSNNRecurrentCell at place 1"),
        (TypeError, lambda: from_norse((feed, layer)), "a Leaky at place 1"),
        (TypeError, lambda: from_snntorch(low), "a LIFRecurrentCell at place 0: give pairs"),
        (TypeError, lambda: from_snntorch((feed, Mine(0.9))), "a Mine at place 1"),
        (TypeError, lambda: from_norse(low, evsim.Readout(3)), "readout is a Readout: give an nn.Linear, or None"),
        (TypeError, lambda: from_norse(low, tau=0.02), "tau is not an option here: choose from .*, learn_alpha$"),
        (TypeError, lambda: from_snntorch((feed, layer), learn_alpha=True), "choose from surrogate, .*, learn_beta$"),
    ):
        with pytest.raises(error, match=told):
            call()


@pytest.mark.parametrize("name", ["norse", "snntorch"])
def test_a_missing_library_comes_with_the_line_that_installs_it(monkeypatch, name):
    """And is missed when it is used, not before: the module itself runs without it."""
    for module in [name, *[module for module in sys.modules if module.startswith(name + ".")]]:
        monkeypatch.setitem(sys.modules, module, None)
    convert = runpy.run_path(sys.modules[from_norse.__module__].__file__)[f"from_{name}"]
    with pytest.raises(ImportError, match=rf'from_{name} needs {name}, .*pip install -e "\.\[torch\]"'):
        convert(None)
