"""Layers: time constants and decays, what their numbers may be, and messages that name the layer."""

import numpy as np
import pytest
from oracle import KINDS, cell_of, network, sequence

import evsim
from evsim import ALIF, LIF, CubaLIF, EvRNN, LeakyReadout, Network, Readout
from evsim.layer import TOP_DECAY

pytestmark = pytest.mark.nojit


def test_decays_follow_from_time_constants_and_the_step():
    cells = [CubaLIF(3, tau=0.02, tau_syn=[0.01, 0.005, 0.002]), ALIF(2, tau=np.array([0.01, 0.03]), tau_adapt=0.5)]
    for dt in (1e-3, 2e-3):
        found = Network(4, cells, Readout(2), dtype="float64", dt=dt).parameters()
        np.testing.assert_allclose(found["layers.0.beta"], np.exp(-dt / 0.02), rtol=1e-15)
        np.testing.assert_allclose(found["layers.0.alpha"], np.exp(-dt / np.array([0.01, 0.005, 0.002])), rtol=1e-15)
        np.testing.assert_allclose(found["layers.1.beta"], np.exp(-dt / np.array([0.01, 0.03])), rtol=1e-15)
        np.testing.assert_allclose(found["layers.1.rho"], np.exp(-dt / 0.5), rtol=1e-15)


def test_a_decay_may_be_given_instead():
    net = Network(4, [LIF(3, beta=[0.0, 0.5, 0.9])], LeakyReadout(2, kappa=[0.3, 0.7]), dtype="float64")
    np.testing.assert_array_equal(net.parameters()["layers.0.beta"], [0.0, 0.5, 0.9])
    np.testing.assert_array_equal(net.parameters()["readout.kappa"], [0.3, 0.7])


def test_a_network_of_units_that_differ_is_each_unit_by_itself():
    """Without recurrence, a layer with several time constants is as many layers of one unit."""
    tau, threshold = np.array([0.005, 0.02, 0.1]), np.array([0.3, 0.5, 0.9])
    silent = np.zeros((3, 3), bool)
    net = Network(4, [LIF(3, tau=tau, threshold=threshold, mask_rec=silent)], Readout(2), dtype="float64", seed=2)
    x, values = sequence(net, 60), net.parameters()
    _, (events,) = net.run(x, record_events=True)
    for i in range(3):
        cell = LIF(1, tau=tau[i], threshold=threshold[i], mask_rec=np.zeros((1, 1), bool))
        alone = Network(4, [cell], Readout(2), dtype="float64")
        own = alone.parameters() | {"layers.0.weight_in": values["layers.0.weight_in"][:, i : i + 1]}
        alone.load_parameters(own)
        _, (spoken,) = alone.run(x, record_events=True)
        np.testing.assert_array_equal(spoken[:, 0], events[:, i])
        assert 0 < spoken.mean() < 1


def test_updates_bring_decays_and_thresholds_back_into_range():
    cell = CubaLIF(3, learn_threshold=True, learn_beta=True, learn_alpha=True)
    net = Network(4, [cell], LeakyReadout(2, learn_kappa=True), dtype="float32")
    for push, (low, high) in ((9.0, (TOP_DECAY, None)), (-99.0, (0.0, 1e-3))):
        net.trained[:] += np.float32(push)
        net.project()
        found = net.parameters()
        for name in ("layers.0.beta", "layers.0.alpha", "readout.kappa"):
            assert (found[name] == np.float32(low)).all() and found[name].max() < 1
        if high:
            assert (found["layers.0.threshold"] == np.float32(high)).all()
        net.load_parameters(found)
    fixed = Network(4, [CubaLIF(3)], LeakyReadout(2))
    before = fixed.parameters()
    fixed.trained[:] += 9
    fixed.project()
    for name in ("layers.0.beta", "layers.0.alpha", "layers.0.threshold", "readout.kappa"):
        np.testing.assert_array_equal(fixed.parameters()[name], before[name])


def test_a_given_decay_and_its_time_constant_exclude_each_other():
    with pytest.raises(ValueError, match="LIF layer: tau and beta were both given: leave one of them out"):
        LIF(3, tau=0.05, beta=0.9)
    with pytest.raises(ValueError, match="ALIF layer: tau_adapt and rho were both given"):
        ALIF(3, tau_adapt=[0.05, 0.1, 0.2], rho=0.9)


def stacked(*cells, dt=1e-3, readout=None):
    return lambda: Network(4, [EvRNN(5), *(cell() for cell in cells)], readout or Readout(2), dt=dt)


BAD = {
    "tau 0": (lambda: LIF(3, tau=0), "LIF layer: tau=0 is not usable: a time constant is above 0 seconds"),
    "tau negative": (lambda: LIF(3, tau=[0.01, -0.01, 0.01]), "LIF layer: tau=-0.01 is not usable"),
    "tau nan": (lambda: CubaLIF(3, tau_syn=float("nan")), "CubaLIF layer: tau_syn=nan is not usable: give one finite"),
    "tau of another size": (lambda: LIF(3, tau=[0.01, 0.02]), "LIF layer: tau=.* is not usable: .* or 3 of them"),
    "tau_adapt": (lambda: ALIF(3, tau_adapt=-1.0), "ALIF layer: tau_adapt=-1 is not usable"),
    "dt 0": (stacked(dt=0), "dt=0 is not usable: give a finite number above 0"),
    "dt negative": (stacked(dt=-1e-3), "dt=-0.001 is not usable"),
    "dt long": (stacked(lambda: LIF(3, tau=5e-3), dt=1e-2), r"layers.1 \(LIF\): tau=0.005 s is shorter than a step of "
                "dt=0.01 s: raise tau, lower the network's dt, or give beta"),
    "dt long for one": (stacked(lambda: CubaLIF(2, tau_syn=[0.01, 0.0005])), r"layers.1 \(CubaLIF\): tau_syn=0.0005 s"),
    "beta 1": (lambda: LIF(3, beta=1.0), "LIF layer: beta=1 is not usable: a decay is a factor of at least 0 and"),
    "beta negative": (lambda: LIF(3, beta=[0.5, -0.1, 0.5]), "LIF layer: beta=-0.1 is not usable"),
    "alpha": (lambda: CubaLIF(3, alpha=2), "CubaLIF layer: alpha=2 is not usable"),
    "kappa": (lambda: LeakyReadout(3, kappa=1.0), "LeakyReadout layer: kappa=1 is not usable"),
    "kappa of another size": (lambda: LeakyReadout(3, kappa=[0.5]), "LeakyReadout layer: kappa=.* or 3 of them"),
    "threshold 0": (lambda: LIF(3, threshold=0), "LIF layer: threshold=0 is not usable: a threshold must be above 0"),
    "threshold negative": (lambda: ALIF(2, threshold=[1.0, -2.0]), "ALIF layer: threshold=-2 is not usable"),
    "nothing": (lambda: ALIF(3, adaptation=None), "ALIF layer: adaptation=None is not usable: give one finite number"),
    "nothing leaks": (lambda: LeakyReadout(3, kappa=None), "LeakyReadout layer: kappa=None is not usable"),
    "no threshold": (lambda: LIF(3, threshold=None), "LIF layer: threshold=None is not usable"),
    "ragged": (lambda: LIF(3, tau=[[1], [1, 2], 3]), "LIF layer: tau=.* is not usable: its parts differ in length"),
    "many resets": (lambda: LIF(2, reset=np.array(["zero", "zero"])), "LIF layer: reset=array.* is unknown: choose"),
    "mask of a row": (lambda: LIF(4, mask_in=np.ones(4, bool)), r"LIF layer: mask_in has shape \(4,\): pass one row"),
    "rounded": (stacked(lambda: LIF(3, tau=1e5)), r"layers.1 \(LIF\): beta=1 is not usable: .*it is 0.99999999 "
                "rounded to float32: change it, or pass \"float64\""),
    "too small": (stacked(lambda: LIF(3, threshold=1e-50)), "threshold=0 is not usable: .*it is 1e-50 rounded to"),
    "reset": (lambda: LIF(3, reset="subtrakt"), "LIF layer: reset='subtrakt' is unknown: .*did you mean 'subtract'"),
    "learn": (lambda: LIF(3, learn_beta=1), "LIF layer: learn_beta=1 is not usable: give True or False"),
    "mask type": (lambda: LIF(3, mask_rec=np.ones((3, 3), int)), "LIF layer: mask_rec has dtype int64: give a boolean"),
    "mask shape": (lambda: LIF(3, mask_rec=np.ones((3, 2), bool)), r"LIF layer: mask_rec has shape \(3, 2\)"),
    "sizes": (stacked(lambda: LIF(3, mask_in=np.ones((3, 4), bool))), r"mask_in of layer 1 has shape \(3, 4\), but the "
              r"layer hears 5 sources: .* of shape \(3, 5\)"),
}  # fmt: skip


def test_a_specification_keeps_its_own_values():
    taus = [0.01, 0.02]
    cell = LIF(2, tau=taus)
    taus[0] = 0.5
    np.testing.assert_array_equal(cell.tau, [0.01, 0.02])


@pytest.mark.parametrize("reason", BAD)
def test_bad_numbers_are_refused_and_the_layer_is_named(reason):
    make, sentence = BAD[reason]
    with pytest.raises((ValueError, TypeError), match=sentence) as told:
        make()
    assert "\n" not in str(told.value)


def test_loaded_values_out_of_range_are_refused_and_nothing_changes():
    net = Network(4, [EvRNN(5), CubaLIF(3)], LeakyReadout(2))
    before = net.theta.copy()
    for name, value, sentence in (
        ("layers.1.beta", 1.0, r"layers.1 \(CubaLIF\): beta=1 is not usable"),
        ("layers.1.alpha", -0.5, r"layers.1 \(CubaLIF\): alpha=-0.5 is not usable"),
        ("layers.0.threshold", 0.0, r"layers.0 \(EvRNN\): threshold=0 is not usable"),
        ("readout.kappa", 1.5, r"readout \(LeakyReadout\): kappa=1.5 is not usable"),
    ):
        values = net.parameters()
        values[name][:] = value
        with pytest.raises(ValueError, match=sentence):
            net.load_parameters(values)
        np.testing.assert_array_equal(net.theta, before)


@pytest.mark.parametrize("readout", ["linear", "leaky"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_network_is_the_same_network(kind, readout, tmp_path):
    options = {"learn_beta": True, "learn_kappa": True}
    net = network((kind, "lif"), density=0.5, spread=True, readout=readout, **options)
    learner = evsim.RTRL(net)
    x, targets = sequence(net, 20), np.arange(20) % 3
    learner.run(x[:9], targets[:9])
    learner.update(evsim.SGD(0.05))
    evsim.save(tmp_path / "file", net, learner)
    found = evsim.load(tmp_path / "file")
    assert repr(found.net) == repr(net)
    np.testing.assert_array_equal(found.net.theta, net.theta)
    np.testing.assert_array_equal(learner.run(x[9:], targets[9:]), found.learner.run(x[9:], targets[9:]))
    np.testing.assert_array_equal(learner.gradient(), found.learner.gradient())
    assert type(found.net.readout) is type(net.readout)
    assert [cell.config()["kind"] for cell in found.net.layers] == [cell.kind for cell in net.layers]
    evsim.save(tmp_path / "again", found.net)
    np.testing.assert_array_equal(evsim.load(tmp_path / "again").net.theta, net.theta)


def test_a_cell_of_the_registry_is_an_attribute_of_the_package():
    assert evsim.AdLIF is type(cell_of("adlif", 2))
