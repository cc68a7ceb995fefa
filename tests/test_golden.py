"""The golden model: mantissa for mantissa what exact fractions give, and near what the network gives in floats."""

from dataclasses import replace
from fractions import Fraction

import naive
import numpy as np
import odd
import pytest
from quantised import inputs, network
from rational import Rational, nearest, unit

import evsim
from evsim import registry
from evsim.fixed import golden
from evsim.fixed.format import BIT
from evsim.fixed.golden import Golden
from evsim.fixed.lower import GREATER
from evsim.fixed.parts import divide
from evsim.fixed.quantise import quantise, vanished
from evsim.registry import names

VARIANTS = [((kind,), {}) for kind in names("cell")] + [
    *(((kind,), {"reset": "zero"}) for kind in ("lif", "cubalif", "alif", "adlif")),
    (("egru",), {"always": True}), (("evrnn",), {"graded": False}), (("egru", "lif"), {}), (("alif", "egru"), {}),
    (("evrnn", "adlif"), {}), (("cubalif", "evrnn"), {}),
]  # fmt: skip
WIDTHS = [(4, 16), (8, 16), (16, 16), (4, 32), (8, 32), (16, 32)]
CASES = [
    pytest.param(kinds, options, *WIDTHS[(2 * k + j) % 6], "leaky" if (k + j) % 2 else "linear",
                 id=f"{kinds} {options} {j}")
    for k, (kinds, options) in enumerate(VARIANTS)
    for j in range(3)
]


def both(fixed, m):
    """(out, *events) of the golden model and of fractions, and how often a value saturated."""
    out, events = Golden(fixed).run(m[None])
    slow = Rational(fixed)
    slow_out, slow_events = slow.run(m)
    return [out[0], *(shown[0] for shown in events)], [slow_out, *slow_events], slow.saturated


def differing(one, other):
    return sum(int(np.count_nonzero(a != b)) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("kinds", "options", "bits", "state_bits", "readout"), CASES)
def test_golden_is_what_fractions_give(kinds, options, bits, state_bits, readout):
    net, x = network(kinds, readout=readout, **options), inputs()
    fixed = quantise(net, [x], bits, state_bits)
    fast, slow, _ = both(fixed, fixed.given.quantise(x))
    assert differing(fast, slow) == 0
    assert all(shown.any() for shown in fast)


@pytest.mark.parametrize("state_bits", [16, 32])
@pytest.mark.parametrize(("kinds", "options"), [one for one in VARIANTS if "always" not in one[1]], ids=str)
def test_golden_is_what_fractions_give_where_values_saturate(kinds, options, state_bits):
    """Scales are chosen on one loud input in silence; then all inputs are loud, and only ever above 0."""
    net, x = network(kinds, readout="leaky", **options), np.zeros((20, 5))
    x[0, 0] = 2
    fixed = quantise(net, [x], 8, state_bits)
    fast, slow, saturated = both(fixed, fixed.given.quantise(np.abs(inputs(25)) * 2))
    assert differing(fast, slow) == 0 and saturated > 10


@pytest.mark.parametrize(("bits", "state_bits"), WIDTHS)
@pytest.mark.parametrize("readout", [evsim.Readout(3), evsim.LeakyReadout(3)], ids=["linear", "leaky"])
def test_equations_of_any_kind(readout, bits, state_bits):
    fixed = quantise(odd.network(readout), [inputs() / 2], bits, state_bits)
    fast, slow, saturated = both(fixed, fixed.given.quantise(inputs()))
    assert differing(fast, slow) == 0 and all(shown.any() for shown in fast) and saturated > 0


def test_a_wrong_rounding_or_weight_is_noticed(monkeypatch):
    fixed = quantise(network(["egru", "lif"]), [inputs()], 8, 16)
    m = fixed.given.quantise(inputs())
    slow = both(fixed, m)[1]
    weight = fixed.parts[0].inp.weight
    weight[3, 0] += 1
    assert differing(both(fixed, m)[0], slow) > 0
    weight[3, 0] -= 1
    assert differing(both(fixed, m)[0], slow) == 0
    right = golden.requantise
    monkeypatch.setattr(golden, "requantise", lambda m, shift, bits: -right(-m, shift, bits))  # halves down
    assert differing(both(fixed, m)[0], slow) > 0


@pytest.mark.parametrize(("kinds", "bits", "state_bits"), [(("egru", "adlif"), 8, 16), (("alif", "evrnn"), 4, 32)])
def test_parameters_are_rounded_once(kinds, bits, state_bits):
    net = network(kinds, "float64", "leaky")
    fixed = quantise(net, [inputs()], bits, state_bits)
    for part, given in zip(fixed.parts, divide(net), strict=True):
        for side, before, form in zip(part.sides, given.sides, part.sum.weights, strict=True):
            top = 2 ** (bits - 1) - 1
            wanted = [max(-top, min(top, nearest(Fraction(w) / unit(form)))) for w in before.weight.ravel().tolist()]
            assert side.weight.ravel().tolist() == wanted
            assert np.abs(side.weight).max() > top // 2
        assert part.bias.ravel().tolist() == [nearest(Fraction(b) * 2**part.sum.frac) for b in given.bias.ravel()]
        for place, op in enumerate(part.program.ops):
            if op.head == "constant":
                step, top = unit(part.formats[place]), part.formats[place].top
                wanted = [min(top, nearest(Fraction(c) / step)) for c in given.constants[op.index].tolist()]
                assert part.constants[op.index].tolist() == wanted


def test_a_toy_by_hand():
    """One unit, weight 1, threshold 1, beta 0.5: v is 0.75, 1.125 (an event, 1 is taken off), 0.8125, ..."""
    net = evsim.Network(1, [evsim.LIF(1, beta=0.5, density_in=1.0)], evsim.Readout(1), seed=0)
    values = {name: np.zeros_like(value) for name, value in net.parameters().items()}
    values |= {"layers.0.weight_in": np.array([[[0.75]]]), "readout.weight": np.array([[2.0]])}
    values |= {"layers.0.threshold": np.array([1.0]), "layers.0.beta": np.array([0.5])}
    values["readout.bias"] = np.array([0.25])
    net.load_parameters({name: value.astype(np.float32) for name, value in values.items()})
    fixed = quantise(net, [np.ones((6, 1))], 8, 16)
    assert fixed.given == BIT
    out, (events,) = golden.run(fixed, np.ones((6, 1)), record_events=True)
    # v: 0.75, 1.125!, 0.5 * 0.125 + 0.75 = 0.8125, 1.15625!, 0.828125, 1.1640625!
    assert events[:, 0].tolist() == [0, 1, 0, 1, 0, 1]
    assert out[:, 0].tolist() == [0.25, 2.25, 0.25, 2.25, 0.25, 2.25]
    out, (events,) = golden.run(fixed, np.array([[1], [0], [-1], [1]]), record_events=True)
    assert not events.any() and out.tolist() == [[0.25]] * 4


def agreement(net, x, bits):
    """(steps until an event differs from the floats' own, largest relative error of outputs until then)."""
    wanted, events = net.run(x, record_events=True)
    out, shown = golden.run(quantise(net, [x], bits, 32), x, record_events=True)
    differ = np.any([((a != 0) != (b != 0)).any(1) for a, b in zip(shown, events, strict=True)], axis=0)
    steps = int(np.argmax(differ)) if differ.any() else len(x)
    return steps, float(np.abs(out - wanted)[:steps].max(initial=0) / (1 + np.abs(wanted).max()))


@pytest.mark.parametrize("readout", ["linear", "leaky"])
@pytest.mark.parametrize(("kinds", "options"), VARIANTS, ids=str)
def test_wide_mantissas_are_near_floats(kinds, options, readout):
    net, x = network(kinds, "float64", readout, **options), inputs(100)
    steps, error = agreement(net, x, 16)
    assert steps >= 40 and error < 3e-4
    steps, error = agreement(net, x, 4)
    assert steps < 40 or error > 0.01


@pytest.mark.parametrize("kinds", [("egru", "lif"), ("adlif",), ("evrnn", "alif")], ids=str)
def test_a_batch_is_one_by_one(kinds):
    fixed = quantise(network(kinds, readout="leaky"), [inputs()], 8, 16)
    x = np.stack([inputs(30, seed) for seed in range(4)])
    out, events = golden.run(fixed, x, record_events=True)
    for b, one in enumerate(x):
        alone, said = golden.run(fixed, one, record_events=True)
        assert alone.tobytes() == out[b].tobytes()
        assert all(a.tobytes() == c[b].tobytes() for a, c in zip(said, events, strict=True))
    assert np.any(out[0] != out[1])


def test_states_have_the_finest_format_that_holds_them():
    """A quarter more than the largest on the data, which the plain equations give; and not four times as much."""
    net, x = network(["lif", "evrnn"], "float64"), inputs()
    fixed, (_, seen) = quantise(net, [x], 16, 32), naive.forward(net, x)
    for part, steps in zip(fixed.parts[:-1], seen, strict=False):
        most = max(np.abs(states[0]).max() for _, _, states in steps) * 1.25
        (state,) = {op.parts[0] for op in part.program.ops if op.head == GREATER}
        form = part.formats[state]
        assert form.top / 2 * 2.0**-form.frac < most <= form.top * 2.0**-form.frac


def test_a_cell_of_somebody_else(monkeypatch):
    monkeypatch.setitem(registry.CELLS, "own-lif", "bundled:OwnLIF")
    x = inputs()
    own, ours = (quantise(network([kind]), [x], 8, 16) for kind in ("own-lif", "lif"))
    assert own.parts[0].kind == "own-lif"
    fast, slow, _ = both(own, own.given.quantise(x))
    assert differing(fast, slow) == 0 and differing(fast, both(ours, ours.given.quantise(x))[0]) == 0


def test_sides_without_synapses_leave_sums_narrow():
    for sides in ({"density": 1e-9}, {"density_in": 1e-9}, {"density": 1e-9, "density_in": 1e-9}):
        layer = evsim.LIF(4, threshold=0.1, **sides)
        net = evsim.Network(3, [layer], evsim.Readout(2), seed=0)
        bias = np.array([[0.05, 0.15, -0.1, 0.01]], np.float32)
        net.load_parameters({**net.parameters(), "layers.0.bias": bias})
        fixed = quantise(net, [np.ones((5, 3))], 8, 16)
        fast, slow, _ = both(fixed, np.ones((20, 3), np.int64))
        assert differing(fast, slow) == 0 and fast[1].any()
        assert {part.sum.bits for part in fixed.parts} == {32}


BAD = {
    "bits": (dict(bits=3), "bits=3"),
    "bits 32": (dict(bits=32), "bits=32"),
    "state bits": (dict(state_bits=8), "state_bits=8"),
    "no inputs": (dict(inputs=[]), "give one sequence at least"),
    "shape": (dict(inputs=[np.ones((3, 4))]), "of shape (3, 4)"),
    "nan": (dict(inputs=[np.full((3, 5), np.nan)]), "inputs holds nan"),
    "too large": (dict(inputs=[np.full((3, 5), 1e30)]), "1e+30 is beyond"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case):
    options, told = BAD[case]
    with pytest.raises(ValueError) as error:
        quantise(network(["lif"]), **{"inputs": [inputs()], **options})
    assert told in str(error.value)


@pytest.mark.parametrize(("name", "value"), [("layers.0.weight_in", 1e12), ("readout.weight", -1e12)])
def test_parameters_that_no_scale_holds(name, value):
    net = network(["evrnn"])
    values = net.parameters()
    values[name] = np.where(values[name] != 0, value, 0).astype(np.float32)
    net.load_parameters(values)
    with pytest.raises(ValueError, match=r"^(layers\.0|readout): .* is beyond .* bring the parameters into range"):
        quantise(net, [inputs()], 8, 16)


@pytest.mark.parametrize("x", [np.ones(5), np.ones((3, 4)), np.full((2, 5), np.inf), np.ones((1, 1, 3, 5))], ids=str)
def test_the_golden_model_refuses(x):
    fixed = quantise(network(["lif"]), [inputs()], 8, 16)
    with pytest.raises(ValueError, match="x h"):
        golden.run(fixed, x)


def test_inputs_beyond_the_format_saturate():
    fixed = quantise(network(["lif"]), [inputs()], 8, 16)
    top = fixed.given.value(fixed.given.top)
    x = np.sign(inputs())
    assert golden.run(fixed, x * 1e6).tobytes() == golden.run(fixed, x * top).tobytes()
    assert replace(fixed.given, frac=0).quantise(1e9) == fixed.given.top


@pytest.mark.parametrize("kind", ["lif", "egru"])
def test_biases_are_fine_where_weights_and_events_are_not(kind):
    """Weights of 4 bits and events of one leave sums a bit or two behind the point: biases need more."""
    net = network([kind])
    fixed = quantise(net, [(inputs() > 0) * 1.0], 4, 16)
    assert fixed.given == BIT
    for part, given in zip(fixed.parts, divide(net), strict=True):
        assert part.sum.bits == 32 and part.sum.frac >= max(form.frac for form in part.channel_formats.values())
        assert np.abs(part.bias * 2.0**-part.sum.frac - given.bias).max() <= 2.0 ** -(part.sum.frac + 1) < 1e-3


def test_a_layer_that_was_silent_on_the_data_can_speak_later():
    net = evsim.Network(3, [evsim.LIF(4)], evsim.Readout(2), seed=0)
    fixed = quantise(net, [np.zeros((5, 3))], 8, 16)
    for part in fixed.parts:
        for op, form in zip(part.program.ops, part.formats, strict=True):
            if op.head != "constant" and form.bits > 2:
                assert form.value(form.top) >= 0.9


def test_weights_that_rounding_takes_away_are_told():
    net = network(("lif",))
    x = [inputs()]
    few = vanished(net, quantise(net, x, 8, 16))
    assert set(few) == {"layers.0.weight_in", "layers.0.weight_rec", "readout.weight"}
    assert max(few.values()) < 0.1
    values = net.parameters()
    values["layers.0.weight_in"][0, 0, np.flatnonzero(net.masks()["layers.0.weight_in"][0, 0])[0]] = 1e4
    net.load_parameters(values)
    many = vanished(net, quantise(net, x, 8, 16))
    there = int((values["layers.0.weight_in"] != 0).sum())
    assert many["layers.0.weight_in"] == pytest.approx((there - 1) / there)
    assert many["readout.weight"] == few["readout.weight"]
