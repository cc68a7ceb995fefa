"""What a learner refuses: one clear sentence, and nothing has changed."""

import numpy as np
import pytest
from oracle import network, sequence, targets_for

import evsim

pytestmark = pytest.mark.nojit
NAN = float("nan")


def small(loss="cross_entropy", streams=1):
    """A learner of four inputs and three outputs."""
    return evsim.RTRL(network(("egru",), units=(4,)), loss=loss, streams=streams)


OPTIONS = {
    "loss": ({"loss": "crossentropy"}, "loss='crossentropy' is unknown: choose one of .*did you mean 'cross_entropy'"),
    "block": ({"block": "often"}, "block='often' is not usable"),
    "no block": ({"block": 0}, "block=0 is not usable"),
    "streams": ({"streams": 0}, "streams=0 is not usable: give a whole number of at least 1"),
    "threads": ({"threads": -1}, "threads=-1 is not usable"),
}


@pytest.mark.parametrize("reason", OPTIONS)
def test_options(reason):
    options, sentence = OPTIONS[reason]
    with pytest.raises(ValueError, match=sentence):
        evsim.RTRL(network(("egru",), units=(4,)), **options)


X = np.zeros(4)
CALLS = {  # reason -> (loss, streams, call, sentence)
    "x shape": ("mse", 1, lambda lr: lr.step(np.zeros(3)), r"x_t has shape \(3,\), but \(4,\) is needed"),
    "x rank": ("mse", 1, lambda lr: lr.step(np.zeros((1, 4))), r"x_t has shape \(1, 4\), but \(4,\)"),
    "x streams": ("mse", 2, lambda lr: lr.step(np.zeros((3, 4))), r"x_t has shape \(3, 4\), but \(2, 4\)"),
    "x nan": ("mse", 1, lambda lr: lr.step([0, NAN, 0, 0]), r"x_t holds nan at index \(1,\): replace NaN, inf"),
    "x inf": ("mse", 1, lambda lr: lr.step(np.array([0, 0, -np.inf, 0])), r"x_t holds -inf at index \(2,\)"),
    "x complex": ("mse", 1, lambda lr: lr.step(np.zeros(4, complex)), "x_t has dtype complex128: give real numbers"),
    "x object": ("mse", 1, lambda lr: lr.step(np.zeros(4, object)), "x_t has dtype object: give real numbers"),
    "x text": ("mse", 1, lambda lr: lr.step(list("abcd")), "x_t has dtype <U1"),
    "class high": ("cross_entropy", 1, lambda lr: lr.step(X, 3), "class 3: classes run from 0 to 2"),
    "class low": ("cross_entropy", 1, lambda lr: lr.step(X, -1), "target holds class -1"),
    "class float": ("cross_entropy", 1, lambda lr: lr.step(X, 1.0), "target has dtype float64: cross"),
    "class list": ("cross_entropy", 1, lambda lr: lr.step(X, [1, 2]), r"target has shape \(2,\), but \(\) is needed"),
    "class streams": ("cross_entropy", 2, lambda lr: lr.step(np.zeros((2, 4)), 1), r"target has shape \(\), but \(2"),
    "value shape": ("mse", 1, lambda lr: lr.step(X, [1.0]), r"target has shape \(1,\), but \(3,\) is needed"),
    "value nan": ("mse", 1, lambda lr: lr.step(X, [1.0, NAN, 0.0]), r"target holds nan at index \(1,\)"),
    "value above": ("binary_cross_entropy", 1, lambda lr: lr.step(X, [0, 0.5, 1.5]), "target holds 1.5: .* 0 and 1"),
    "value below": ("binary_cross_entropy", 1, lambda lr: lr.step(X, [0, -0.5, 1]), "target holds -0.5: binary"),
    "run rank": ("mse", 1, lambda lr: lr.run(X), r"x has shape \(4,\), but \(any, 4\) is needed"),
    "run streams": ("mse", 2, lambda lr: lr.run(np.zeros((5, 4))), r"x has shape \(5, 4\), but \(2, any, 4\)"),
    "run nan": ("mse", 1, lambda lr: lr.run(np.full((5, 4), NAN)), r"x holds nan at index \(0, 0\)"),
    "targets short": ("cross_entropy", 1, lambda lr: lr.run(np.zeros((5, 4)), [0, 1]), r"has shape \(2,\), but \(5,\)"),
    "targets high": ("cross_entropy", 1, lambda lr: lr.run(np.zeros((2, 4)), [0, 9]), "targets holds class 9"),
    "targets nan": ("mse", 1, lambda lr: lr.run(np.zeros((2, 4)), np.full((2, 3), NAN)), "targets holds nan at index"),
    "mask alone": ("mse", 1, lambda lr: lr.run(np.zeros((2, 4)), mask=[1, 0]), "a mask was given without targets"),
    "mask shape": ("mse", 1, lambda lr: lr.run(np.zeros((2, 4)), np.zeros((2, 3)), [1]), r"mask has shape \(1,\)"),
    "mask dtype": ("mse", 1, lambda lr: lr.run(np.zeros((2, 4)), np.zeros((2, 3)), [0.0, 1.0]), "mask has .* float64"),
    "d_out shape": ("mse", 1, lambda lr: lr.accumulate([1.0]), r"d_out has shape \(1,\), but \(3,\) is needed"),
    "d_out nan": ("mse", 1, lambda lr: lr.accumulate([1.0, NAN, 0.0]), r"d_out holds nan at index \(1,\)"),
    "no streams": ("mse", 1, lambda lr: lr.reset(streams=0), "streams=0 is not usable"),
}


@pytest.mark.parametrize("reason", CALLS)
def test_a_refused_call_changes_nothing(reason):
    loss, streams, call, sentence = CALLS[reason]
    disturbed, calm = small(loss, streams), small(loss, streams)
    lead = () if streams == 1 else (streams,)
    x, targets = sequence(calm.net, 6, lead=lead), targets_for(calm.net, loss, (*lead, 6))
    for learner in (disturbed, calm):
        learner.run(x[..., :3, :], targets[..., :3] if loss == "cross_entropy" else targets[..., :3, :])
    with pytest.raises((ValueError, TypeError), match=sentence) as told:
        call(disturbed)
    assert "\n" not in str(told.value)
    outs = [learner.run(x[..., 3:, :], targets[..., 3:] if loss == "cross_entropy" else targets[..., 3:, :])
            for learner in (disturbed, calm)]  # fmt: skip
    np.testing.assert_array_equal(*outs)
    np.testing.assert_array_equal(disturbed.gradient(), calm.gradient())
    np.testing.assert_array_equal(disturbed.counts, calm.counts)
    assert disturbed.loss == calm.loss > 0


def test_a_refused_target_is_not_used_later():
    """A step refused for its input leaves no target behind for the next."""
    disturbed, calm = small(), small()
    with pytest.raises(ValueError, match="x_t holds nan"):
        disturbed.step([NAN] * 4, 1)
    with pytest.raises(ValueError, match="class 7"):
        disturbed.step(np.ones(4), 7)
    for learner in (disturbed, calm):
        learner.step(np.ones(4))
    assert disturbed.loss == calm.loss == 0
    np.testing.assert_array_equal(disturbed.gradient(), calm.gradient())


def test_accumulate_needs_a_step():
    learner = small()
    with pytest.raises(ValueError, match="accumulate needs a step taken with the present weights: call step"):
        learner.accumulate(np.ones(3))
    learner.step(np.ones(4))
    learner.accumulate(np.ones(3))
    assert learner.gradient().any()
    for forget in (learner.reset, lambda: learner.update(evsim.SGD(0.1))):
        learner.step(np.ones(4))
        forget()
        with pytest.raises(ValueError, match="accumulate needs a step taken with the present weights"):
            learner.accumulate(np.ones(3))


def test_inputs_of_other_kinds_are_cast():
    x = np.array([[1, 0, 1, 1], [0, 1, 1, 0]])
    wanted = small().run(x.astype(np.float64))
    for given in (x, x.astype(bool), x.astype(np.uint8), x.astype(np.float32), x.tolist(), np.asfortranarray(x)):
        np.testing.assert_array_equal(small().run(given), wanted)
        learner = small()
        np.testing.assert_array_equal([learner.step(row) for row in given], wanted)


def test_targets_may_be_of_any_whole_kind():
    found = set()
    for target in (1, np.int8(1), np.uint64(1), np.array(1)):
        learner = small()
        learner.step(np.ones(4), target)
        found.add(learner.gradient().tobytes())
    assert len(found) == 1


def test_an_empty_run_does_nothing():
    learner, calm = small(), small()
    for other in (learner, calm):
        other.step(np.ones(4), 1)
    assert learner.run(np.zeros((0, 4)), np.zeros(0, int)).shape == (0, 3)
    np.testing.assert_array_equal(learner.step(np.ones(4), 2), calm.step(np.ones(4), 2))
    np.testing.assert_array_equal(learner.gradient(), calm.gradient())


def test_an_update_refuses_a_gradient_that_is_not_finite():
    learner = small("mse")
    learner.step(np.ones(4), np.ones(3))
    learner._gradient[0, 5] = np.inf
    before = learner.net.theta.copy()
    with pytest.raises(FloatingPointError, match="gradient"):
        learner.update(evsim.SGD(0.1))
    np.testing.assert_array_equal(learner.net.theta, before)


def test_whole_numbers_as_targets_are_not_read_where_masked():
    """-1 for "no target here" is common; it is as good as NaN at a step that the mask drops."""
    targets, keep = np.array([[0, 1, 1], [-1, -1, -1]]), np.array([True, False])
    plain, marked = small("binary_cross_entropy"), small("binary_cross_entropy")
    plain.run(np.ones((2, 4)), abs(targets), keep)
    marked.run(np.ones((2, 4)), targets, keep)
    np.testing.assert_array_equal(plain.gradient(), marked.gradient())


@pytest.mark.parametrize(
    "call, kind, sentence",
    [
        (lambda: evsim.RTRL("x"), TypeError, "net is 'x': pass an evsim.Network"),
        (lambda: evsim.Network(3, None, evsim.Readout(2)), TypeError, "layers is None: pass a list of layers"),
        (lambda: small().net.load_parameters(None), TypeError, "parameters is None: pass a dict"),
        (lambda: evsim.Network(3, [evsim.EGRU(2)], evsim.Readout(2), "abc"), ValueError, "seed='abc' is not usable"),
        (lambda: evsim.Trainer(small(), evsim.SGD(0.1), seed=-1), ValueError, "seed=-1 is not usable"),
    ],
)
def test_what_is_not_what_it_should_be(call, kind, sentence):
    with pytest.raises(kind, match=sentence):
        call()
