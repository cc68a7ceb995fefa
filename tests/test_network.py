"""Networks: names and shapes, masks, initial values, loading and refusing parameters, bounds, bad specifications."""

import numpy as np
import pytest
from oracle import KINDS, PAIRS, SINGLE, cell_of, learnable, network, options_of, sequence

from evsim import ALIF, EGRU, LIF, CubaLIF, EvRNN, LeakyReadout, Network, Readout
from evsim.layout import build_layout

STACKS = SINGLE + PAIRS
pytestmark = pytest.mark.nojit


def simple(**options):
    """Three inputs, four EGRU units, two outputs."""
    return Network(3, EGRU(4, **options), Readout(2), dtype="float64")


# Names, shapes, masks

def test_names_and_shapes():
    net = Network(3, [EGRU(5), EvRNN(4)], Readout(2))
    assert {name: value.shape for name, value in net.parameters().items()} == {
        "layers.0.weight_in": (3, 5, 3), "layers.0.weight_rec": (3, 5, 5),
        "layers.0.bias": (4, 5), "layers.0.threshold": (5,),
        "layers.1.weight_in": (1, 4, 5), "layers.1.weight_rec": (1, 4, 4),
        "layers.1.bias": (1, 4), "layers.1.threshold": (4,),
        "readout.weight": (2, 4), "readout.bias": (2,),
    }  # fmt: skip
    assert all(value.dtype == np.float32 for value in net.parameters().values())
    assert {name: mask.shape for name, mask in net.masks().items()} == {
        "layers.0.weight_in": (3, 5, 3), "layers.0.weight_rec": (3, 5, 5),
        "layers.1.weight_in": (1, 4, 5), "layers.1.weight_rec": (1, 4, 4),
    }  # fmt: skip


@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_absent_weights_are_neither_stored_nor_shown(stack):
    net = network(stack, density=0.3, density_in=0.5)
    parameters, masks = net.parameters(), net.masks()
    for name, mask in masks.items():
        assert mask.dtype == bool
        assert (mask == mask[0]).all()  # shared by the channels
        np.testing.assert_array_equal(parameters[name] != 0, mask)
    existing = sum(int(masks[name].sum()) if name in masks else value.size for name, value in parameters.items())
    assert net.theta.size == existing
    untrained = sum(cell.units * (len(cell.local) - len(cell.trained())) for cell in net.layers)
    assert net.trained.size == existing - untrained
    assert np.shares_memory(net.trained, net.theta)


@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_every_number_has_one_place(stack):
    for learn in (False, True):
        net = network(stack, density=0.3, **dict.fromkeys(learnable(stack), learn))
        layout = net.layout
        places = np.concatenate([places for _, _, places in layout.names.values()])
        np.testing.assert_array_equal(np.sort(places), np.arange(layout.size))
        np.testing.assert_array_equal(np.sort(layout.order), np.arange(layout.units))
        ends = (layout.start + layout.width)[layout.order]
        np.testing.assert_array_equal(ends, np.cumsum(layout.width[layout.order]))
        assert layout.unit_columns == ends[-1]
        for name in layout.untrained:
            assert layout.names[name][2].min() >= layout.trained


def test_layout_of_a_network_by_hand():
    """Two EvRNN units: the first hears input 0 and itself, the second both inputs and the first."""
    masks = [(np.array([[1, 0], [1, 1]], bool), np.array([[1, 0], [1, 0]], bool))]
    layout = build_layout([EvRNN(2)], masks, 1)
    assert layout.width.tolist() == [3, 4]
    assert (layout.unit_columns, layout.trained, layout.size) == (7, 10, 12)
    assert sorted(s.tolist() for s in layout.sets) == [[0, 1], [1]]
    start = layout.start.tolist()
    assert layout.names["layers.0.weight_in"][1].tolist() == [0, 2, 3]
    assert layout.names["layers.0.weight_in"][2].tolist() == [start[0], start[1], start[1] + 1]
    assert layout.names["layers.0.weight_rec"][2].tolist() == [start[0] + 1, start[1] + 2]
    assert layout.names["layers.0.bias"][2].tolist() == [start[0] + 2, start[1] + 3]
    assert layout.names["readout.bias"][2].tolist() == [9]
    assert layout.names["layers.0.threshold"][2].tolist() == [10, 11]


def test_initial_values():
    net = Network(400, [EGRU(300, density=0.1), EvRNN(200, density=0.5, density_in=0.2)], Readout(50), dtype="float64")
    p, masks = net.parameters(), net.masks()
    for name, mask in masks.items():
        scaled = p[name] * np.sqrt(np.maximum(mask.sum(2, keepdims=True), 1))
        assert scaled[mask].std() == pytest.approx(1, abs=0.02)
        assert scaled[mask].mean() == pytest.approx(0, abs=0.02)
    assert masks["layers.0.weight_rec"].mean() == pytest.approx(0.1, abs=0.01)
    assert masks["layers.1.weight_in"].mean() == pytest.approx(0.2, abs=0.01)
    assert masks["layers.0.weight_in"].all()
    np.testing.assert_array_equal(p["layers.0.bias"], np.repeat([[1.0], [0], [0], [0]], 300, 1))
    assert set(p["layers.0.threshold"]) == {0.3}
    assert set(p["layers.1.threshold"]) == {0.5}
    assert not p["layers.1.bias"].any() and not p["readout.bias"].any()
    assert p["readout.weight"].std() * np.sqrt(200) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_the_same_seed_gives_the_same_network_in_both_precisions(stack):
    build = [cell_of(kind, 20, density=0.4) for kind in stack]
    one, two, other = (
        Network(3, build, Readout(2), seed=seed, dtype=dtype)
        for seed, dtype in ((5, "float32"), (5, "float64"), (6, "float64"))
    )
    for name, mask in one.masks().items():
        np.testing.assert_array_equal(mask, two.masks()[name])
    np.testing.assert_array_equal(one.theta, two.theta.astype(np.float32))
    assert two.theta.size != other.theta.size or (two.theta != other.theta).any()
    generator = Network(3, build, Readout(2), seed=np.random.default_rng(5), dtype="float64")
    np.testing.assert_array_equal(generator.theta, two.theta)


def test_defaults_of_the_cells():
    assert (EGRU(1).height, EGRU(1).half_width, EGRU(1).learn_threshold) == (0.7, 0.2, True)
    assert (EvRNN(1).height, EvRNN(1).half_width, EvRNN(1).learn_threshold, EvRNN(1).graded) == (0.7, 0.5, False, True)
    lif, cuba, alif = LIF(1), CubaLIF(1), ALIF(1)
    assert (lif.threshold, lif.tau, lif.reset) == (1.0, 0.02, "subtract")
    assert not lif.learn_threshold and not lif.learn_beta
    assert (cuba.tau_syn, cuba.learn_alpha) == (0.01, False)
    assert (alif.tau_adapt, alif.adaptation, alif.learn_rho, alif.learn_adaptation) == (0.2, 0.2, False, False)
    assert (LeakyReadout(1).kappa, LeakyReadout(1).learn_kappa) == (0.9, False)
    for kind in KINDS:
        cell = cell_of(kind, 2)
        assert (cell.surrogate, cell.density, cell.density_in, cell.detach_reset) == ("triangle", 1.0, 1.0, False)
        assert cell.source and type(cell).__doc__
        assert cell.config()["kind"] == cell.kind
        assert len(cell.settings()) >= 5


# Loading

@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_parameters_go_round(stack):
    net, other = (network(stack, density=0.4, seed=3, spread=spread) for spread in (False, True))
    assert (net.theta != other.theta).any()
    other.load_parameters(net.parameters())
    np.testing.assert_array_equal(net.theta, other.theta)
    x = sequence(net, 10)
    np.testing.assert_array_equal(net.run(x), other.run(x))
    shown = net.parameters()
    shown["readout.bias"][:] = 99.0  # a copy
    assert net.parameters()["readout.bias"].max() < 99


REFUSED = {
    "missing": (lambda p: p.pop("readout.bias"), r"missing \['readout.bias'\]"),
    "unknown": (lambda p: p.update(gain=1.0), r"do not fit this network: missing \[\], unknown \['gain'\]"),
    "shape": (lambda p: p.update({"readout.bias": np.zeros(3)}), r"readout.bias has shape \(3,\), but \(2,\)"),
    "nan": (lambda p: p["readout.bias"].fill(np.nan), "readout.bias holds nan at index"),
    "kind": (lambda p: p.update({"readout.bias": np.zeros(2, complex)}), "readout.bias has dtype complex128"),
    "absent": (lambda p: p["layers.0.weight_rec"].fill(1.0), "weight_rec has values where no weight"),
    "threshold": (lambda p: p["layers.0.threshold"].fill(0.0), "threshold=0 is not usable: a threshold must be"),
    "too high": (lambda p: p["layers.0.threshold"].fill(1.5), r"height \* threshold = 1.05 for an EGRU"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_parameters_that_do_not_fit_change_nothing(reason):
    spoil, sentence = REFUSED[reason]
    net = simple(density=0.5)
    before, given = net.theta.copy(), net.parameters()
    given["readout.weight"][:] = 7.0  # fits, but comes with something that does not
    spoil(given)
    with pytest.raises((ValueError, TypeError), match=sentence):
        net.load_parameters(given)
    np.testing.assert_array_equal(net.theta, before)


def test_project_brings_thresholds_back():
    net = Network(2, [EGRU(3), EGRU(3, surrogate="superspike"), EvRNN(3, learn_threshold=True), EvRNN(3)], Readout(1))
    for k in range(4):
        net.theta[net.layout.names[f"layers.{k}.threshold"][2]] = [-1.0, 0.4, 5.0]
    others = np.delete(net.theta, np.concatenate([net.layout.names[f"layers.{k}.threshold"][2] for k in range(4)]))
    net.project()
    p = net.parameters()
    np.testing.assert_allclose(p["layers.0.threshold"], [0.001, 0.4, 1.0], rtol=1e-6)
    np.testing.assert_allclose(p["layers.1.threshold"], [0.001, 0.4, 0.999], rtol=1e-6)
    np.testing.assert_allclose(p["layers.2.threshold"], [0.001, 0.4, 5.0], rtol=1e-6)
    np.testing.assert_allclose(p["layers.3.threshold"], [-1.0, 0.4, 5.0], rtol=1e-6)  # not trained: not touched
    rest = np.delete(net.theta, np.concatenate([net.layout.names[f"layers.{k}.threshold"][2] for k in range(4)]))
    np.testing.assert_array_equal(rest, others)


# Running

def test_run_shapes_and_events():
    net = network(("egru", "evrnn"), density=0.5)
    x = sequence(net, 40, lead=(3,))
    out, events = net.run(x, record_events=True)
    assert out.shape == (3, 40, net.n_out)
    assert [e.shape for e in events] == [(3, 40, 9), (3, 40, 7)]
    for b in range(3):
        alone, seen = net.run(x[b], record_events=True)
        np.testing.assert_array_equal(alone, out[b])
        for k in range(2):
            np.testing.assert_array_equal(seen[k], events[k][b])
    assert net.run(x[0, :0]).shape == (0, net.n_out)
    np.testing.assert_array_equal(net.run(x[0] != 0), net.run((x[0] != 0).astype(np.int8)))
    np.testing.assert_array_equal(net.run(x[0].tolist()), out[0])


def test_run_refuses():
    net = simple()
    for x, sentence in (
        (np.zeros((4, 2)), r"x has shape \(4, 2\), but \(any, 3\) is needed"),
        (np.zeros(3), r"x has shape \(3,\), but \(any, any, 3\) is needed"),
        (np.full((2, 3), np.inf), r"x holds inf at index \(0, 0\)"),
        (np.zeros((2, 3), complex), "x has dtype complex128: give real numbers"),
        (np.zeros((2, 3), object), "x has dtype object: give real numbers"),
        ([["a", "b", "c"]], "x has dtype <U1: give real numbers"),
    ):
        with pytest.raises((ValueError, TypeError), match=sentence):
            net.run(x)


# Specifications that make no sense

BAD = {
    "units": (lambda: EGRU(0), "units=0 is not usable: give a whole number of at least 1"),
    "part units": (lambda: EGRU(2.5), "units=2.5 is not usable"),
    "true units": (lambda: EGRU(True), "units=True is not usable"),
    "density 0": (lambda: EvRNN(3, density=0), "density=0 is not usable: give the fraction of weights that exist"),
    "density 2": (lambda: EvRNN(3, density_in=1.5), "density_in=1.5 is not usable"),
    "density nan": (lambda: EvRNN(3, density=float("nan")), "density=nan is not usable"),
    "density text": (lambda: EvRNN(3, density="all"), "density='all' is not usable"),
    "surrogate": (lambda: EGRU(3, surrogate="triangel"), "'triangel' is unknown: .*did you mean 'triangle'"),
    "height": (lambda: EGRU(3, height=0), "height=0 is not usable: give a finite number above 0"),
    "half width": (lambda: EvRNN(3, half_width=-1), "half_width=-1 is not usable"),
    "slope": (lambda: EvRNN(3, slope=float("inf")), "slope=inf is not usable"),
    "mask shape": (lambda: EGRU(3, mask_rec=np.ones((2, 3), bool)), r"mask_rec has shape \(2, 3\), .* need \(3, 3\)"),
    "mask dtype": (lambda: EGRU(3, mask_in=np.ones((3, 2))), "mask_in has dtype float64: give a boolean array"),
    "mask below": (lambda: simple(mask_in=np.ones((4, 2), bool)), r"mask_in of layer 0 .* of shape \(4, 3\)"),
    "threshold": (lambda: Network(3, EvRNN(4, threshold=-0.5), Readout(1)), "threshold=-0.5 is not usable"),
    "thresholds": (lambda: simple(threshold=[1.0, 2.0]), "give one finite number, or 4 of them, one per unit"),
    "egru height": (lambda: simple(height=4.0), r"height \* threshold = 1.2 for an EGRU: it must stay below 1"),
    "inputs": (lambda: Network(0, EGRU(4), Readout(1)), "n_in=0 is not usable"),
    "no layers": (lambda: Network(3, [], Readout(1)), "the network has no layers: pass at least one"),
    "no cell": (lambda: Network(3, [EGRU(2), 4], Readout(1)), r"layers\[1\] is 4: pass layers such as"),
    "no readout": (lambda: Network(3, EGRU(2), 10), "readout is 10: pass evsim.Readout"),
    "outputs": (lambda: Readout(0), "units=0 is not usable"),
    "dtype": (lambda: Network(3, EGRU(2), Readout(1), dtype="float16"), "dtype='float16' is not supported: give"),
    "no dtype": (lambda: Network(3, EGRU(2), Readout(1), dtype="real"), "dtype='real' is not supported"),
    "dt": (lambda: Network(3, EGRU(2), Readout(1), dt=0), "dt=0 is not usable"),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_specification_is_refused(reason):
    make, sentence = BAD[reason]
    with pytest.raises((ValueError, TypeError), match=sentence) as told:
        make()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_specification_cannot_be_changed(kind):
    mask = np.ones((3, 3), bool)
    cell = cell_of(kind, 3, mask_rec=mask)
    with pytest.raises(AttributeError, match="cannot assign to field 'units'"):
        cell.units = 4
    mask[:] = False
    assert cell.mask_rec.all()
    assert "density" in options_of(kind)


def test_masks_with_channels_are_accepted_where_they_agree():
    net = simple(density=0.5)
    masks = net.masks()
    again = simple(mask_rec=masks["layers.0.weight_rec"], mask_in=masks["layers.0.weight_in"])
    for name, mask in masks.items():
        np.testing.assert_array_equal(again.masks()[name], mask)
    masks["layers.0.weight_rec"][0] = ~masks["layers.0.weight_rec"][0]
    with pytest.raises(ValueError, match="mask_rec has shape"):
        simple(mask_rec=masks["layers.0.weight_rec"])


def test_description():
    net = Network(3, [EGRU(4), EvRNN(2)], Readout(2))
    assert "EGRU(4), EvRNN(2)" in repr(net)
    assert f"{net.trained.size:,} trained" in repr(net)
    assert net.config()["readout"] == {"kind": "linear", "units": 2}
    assert [layer["kind"] for layer in net.config()["layers"]] == ["egru", "evrnn"]
