"""Copies of learners, and checkpoints that do not fit."""

import copy
import pickle

import numpy as np
import pytest
from oracle import Swept, network, sequence, targets_for

import evsim
from evsim.files import replacing


def made(**options):
    net = evsim.Network(3, [evsim.EGRU(6, density=0.5, threshold=0.1)], evsim.Readout(2), seed=1)
    return evsim.RTRL(net, **options)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda learner: pickle.loads(pickle.dumps(learner))])
@pytest.mark.parametrize("streams", [1, 2])
def test_a_copied_learner_goes_on_as_the_original(copied, streams, rng):
    first = made(streams=streams, threads=2)
    lead = () if streams == 1 else (streams,)
    x, y = rng.standard_normal((*lead, 12, 3)), rng.integers(0, 2, (*lead, 12))
    first.run(x[..., :5, :], y[..., :5])
    second = copied(first)
    for t in range(5, 12):
        ours, theirs = (learner.step(x[..., t, :], y[..., t]) for learner in (first, second))
        np.testing.assert_array_equal(ours, theirs)
    for name, gradient in first.gradients().items():
        np.testing.assert_array_equal(gradient, second.gradients()[name], err_msg=name)
    second.update(evsim.SGD(0.1))
    assert first.loss > 0 and second.loss == 0
    assert not np.array_equal(first.net.theta, second.net.theta)


@pytest.mark.parametrize(
    "cell",
    [
        evsim.EGRU(4, half_width=np.float32(1.5)),
        evsim.EGRU(np.int64(4), detach_reset=np.bool_(True)),
        evsim.EvRNN(4, graded=np.bool_(False), height=np.float64(0.3)),
        evsim.EvRNN(4, learn_threshold=np.bool_(True), threshold=np.float32(0.25)),
        evsim.EGRU(4, height=4.0, threshold=np.full(4, 0.2)),
    ],
    ids=str,
)
def test_settings_given_as_numpy_numbers_are_saved(cell, tmp_path, rng):
    net = evsim.Network(3, [cell], evsim.Readout(np.int64(2)))
    learner = evsim.RTRL(net)
    x, y = rng.standard_normal((9, 3)), rng.integers(0, 2, 9)
    evsim.save(tmp_path / "file", net, learner)
    found = evsim.load(tmp_path / "file")
    np.testing.assert_array_equal(learner.run(x, y), found.learner.run(x, y))
    for name, gradient in learner.gradients().items():
        np.testing.assert_array_equal(gradient, found.learner.gradients()[name], err_msg=name)


TAMPERED = {
    "streams": np.array(9),
    "gradient": np.zeros((1, 3), np.float32),
    "stored": np.zeros((2, 6, 3), "U3"),
    "y": np.full((2, 6), np.nan, np.float32),
    "M": np.zeros((2, 0, 256), np.float32),
    "scale": np.zeros(3, np.float32),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_state_that_does_not_fit_is_refused(name, tmp_path, rng):
    learner = made(streams=2)
    learner.run(rng.standard_normal((2, 9, 3)), rng.integers(0, 2, (2, 9)))
    evsim.save(tmp_path / "file", learner.net, learner)
    with np.load(tmp_path / "file") as file:
        arrays = {key: file[key] for key in file.files}
    assert f"learner/{name}" in arrays
    arrays[f"learner/{name}"] = TAMPERED[name]
    with replacing(tmp_path / "file") as handle:
        np.savez(handle, **arrays)
    with pytest.raises(ValueError, match="does not fit together.*learner's state"):
        evsim.load(tmp_path / "file")


def test_layers_do_not_change_with_the_arrays_they_were_made_from():
    threshold, mask = np.full(3, 0.2), np.ones((3, 3), bool)
    cell = evsim.EGRU(3, threshold=threshold, mask_rec=mask)
    threshold[:], mask[:] = 0.9, False
    assert (cell.initial_local("threshold") == 0.2).all()
    assert cell.mask_rec is not None and cell.mask_rec.all()
    with pytest.raises(ValueError, match="read-only"):
        cell.mask_rec[0, 0] = False


def test_flags_are_flags():
    with pytest.raises(ValueError, match=r"learn_threshold='no' is not usable: give True or False"):
        evsim.EGRU(3, learn_threshold="no")


def test_training_that_cannot_be_is_refused_before_it_begins(rng):
    trainer = evsim.Trainer(made(streams=4), evsim.SGD(0.1), update=np.int64(2))
    x, y = rng.standard_normal((6, 5, 3)), rng.integers(0, 2, 6)
    before = trainer.net.theta.copy()
    with pytest.raises(ValueError, match=r"validation: x has shape \(2, 5, 4\)"):
        trainer.fit(x, y, validation=(np.ones((2, 5, 4)), y[:2]))
    with pytest.raises(ValueError, match=r"validation is none of \(x, y\)"):
        trainer.fit(x, y, validation=(x,))
    with pytest.raises(ValueError, match="keeps no target"):
        trainer.fit(x, y, mask=np.zeros((6, 5), bool))
    np.testing.assert_array_equal(trainer.net.theta, before)
    trainer.fit(x, y, epochs=1)
    assert trainer.learner.streams == 4
    with pytest.raises(ValueError, match="1 are done: give more"):
        trainer.fit(x, y, epochs=1)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_a_layer_that_could_not_be_found_again_is_not_saved(tmp_path):
    class Mine(evsim.LIF):
        pass

    class Unknown(evsim.LIF):
        kind = "mine"

    for cell, sentence in (
        (Mine(4), "layers.0 is of kind 'lif', which does not stand for test_copies:Mine: give the class"),
        (Unknown(4), "layers.0 is of kind 'mine', which does not stand for test_copies:Unknown"),
    ):
        net = evsim.Network(3, [cell], evsim.Readout(2))
        with pytest.raises(ValueError, match=sentence):
            evsim.save(tmp_path / "file", net)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make", [evsim.RTRL, Swept, evsim.TBPTT, evsim.SnAp], ids=lambda make: make.__name__)
def test_what_diverged_before_a_reset_does_not_keep_a_learner_from_being_saved(make):
    """M, errors and idle streams may still hold NaN, where nobody is going to read it."""
    net = network(("evrnn",), units=(8,), dtype="float32")
    good, x, targets = net.parameters(), sequence(net, 12), targets_for(net, "mse", (12,))
    options = {"block": 8} if make is Swept else {}
    learner, fresh, found = (make(net, "mse", streams=2, **options) for _ in range(3))
    net.load_parameters({name: 1e15 * v if "weight" in name else v for name, v in good.items()})
    with np.errstate(all="ignore"):
        learner.run(np.stack([x, x]), np.stack([targets, targets]))
        assert not np.isfinite(learner.gradient()).all()
    net.load_parameters(good)
    for one in (learner, fresh):
        one.reset(streams=1)
        one.zero_gradients()
        for row in x[:3]:
            one.step(row)
    found.load_state(learner.state())
    for one in (learner, fresh, found):
        one.run(x[3:], targets[3:])
    assert fresh.gradient().any()
    for one in (learner, found):
        np.testing.assert_array_equal(one.gradient(), fresh.gradient())
