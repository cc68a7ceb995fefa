"""EGRU(always=True): units that speak at every step, the control without activity sparsity."""

import numpy as np
import pytest
from oracle import ENGINES, TOLERANCE, Unrolled, keeps, network, sequence, targets_for, worst

import evsim
from evsim.opcount import EVENTS, PHI, STEPS


def always(depth, **options):
    """A network of such units, some of them far below their thresholds."""
    return network(("egru",) * depth, units=(6, 5), always=True, spread=True, **options)


@pytest.mark.nojit
@pytest.mark.parametrize("depth", (1, 2))
@pytest.mark.parametrize("engine", ENGINES)
def test_gradients_are_those_of_autograd(engine, depth):
    for detach in (False, True):
        net = always(depth, density=0.5, detach_reset=detach)
        x, targets, keep = sequence(net, 17), targets_for(net, "mse", (17,)), keeps(17)["some"]
        learner = ENGINES[engine](net, 17, loss="mse")
        out, truth = learner.run(x, targets, keep), Unrolled(net, x)
        np.testing.assert_allclose(out, truth.out.detach().numpy(), rtol=1e-12, atol=1e-12)
        found = truth.gradients("mse", targets, keep)
        assert found["layers.0.threshold"].any()  # by way of the reset alone
        assert worst(learner.gradients(), found) < TOLERANCE


def test_every_unit_speaks_at_every_step_and_silent_ones_would_not():
    net = always(1)
    learner, x = evsim.RTRL(net), sequence(net, 20)
    learner.run(x)
    counted = learner.counts[0]
    assert counted[EVENTS] == counted[PHI] == 6 * counted[STEPS]
    other = network(("egru",), units=(6,), spread=True)
    other.load_parameters(net.parameters())
    assert not np.allclose(other.run(x), net.run(x))


def test_it_is_kept_in_checkpoints(tmp_path):
    net = always(1)
    evsim.save(tmp_path / "net.npz", net)
    loaded, x = evsim.load(tmp_path / "net.npz").net, sequence(net, 5)
    assert loaded.layers[0].always
    np.testing.assert_array_equal(loaded.run(x), net.run(x))
