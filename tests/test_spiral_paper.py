"""The spiral experiment: the dense rival's gradient, what is counted as zero, and how runs are summed up."""

import numpy as np
import pytest
from oracle import worst

import evsim
from evsim.bench.dense_egru import DenseEGRU
from evsim.bench.spiral import AUTHOR, LEVELS, mean_curves, paper_network, probe, train_ours, train_paper, when_learned
from evsim.opcount import dense_rtrl_macs


@pytest.mark.parametrize("always", (False, True))
def test_the_dense_rival_s_gradient_is_exact(always):
    net = evsim.Network(2, [evsim.EGRU(6, always=always, half_width=0.6)], evsim.Readout(2), seed=2, dtype="float64")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4, 9, 2)), rng.integers(2, size=(4, 2)).astype(float)
    learner = evsim.RTRL(net, loss="binary_cross_entropy", streams=4)
    learner.run(x, np.broadcast_to(y[:, None], (4, 9, 2)), np.broadcast_to(np.arange(9) == 8, (4, 9)))
    rival = DenseEGRU(net, 4)
    assert worst(rival.run(x, y), learner.gradients()) < 1e-12
    assert rival.macs < dense_rtrl_macs(net) < 1.2 * rival.macs  # the closed form has the forward pass too
    rival.w_rec[0, 1, 2] += 1e-3
    assert worst(rival.run(x, y), learner.gradients()) > 1e-6


def test_what_is_held_at_zero_stays_there_and_gates_have_masks_of_their_own():
    net, held = paper_network(0.5, seed=1)
    weights = net.parameters()["layers.0.weight_rec"]
    absent = weights == 0
    assert (absent[0] != absent[1]).any() and 0.35 < absent.mean() < 0.65
    assert not net.trained[held].any() and not net.parameters()["layers.0.bias"][3].any()
    again, _ = paper_network(0.5, seed=1)
    np.testing.assert_array_equal(net.theta, again.theta)
    run = train_paper(0.5, 1, units=5, iterations=20)
    assert run["rows"][-1]["iteration"] == 20 and run["test_accuracy"] > 0


def test_the_author_s_measure_by_a_plain_loop():
    """Of dy/dW_rec of all gates, absent weights and the first step among them."""
    import torch

    from evsim.models.network import TorchNetwork

    net, held = paper_network(0.6, seed=3, units=4)
    x = np.random.default_rng(1).standard_normal((2, 5, 2)).astype(np.float32)
    found = probe(net, held, x, streams=2)
    model = TorchNetwork(net)
    weight = dict(model.named_parameters())["layers/0/weight_rec"]
    live = torch.from_numpy(net.parameters()["layers.0.weight_rec"] != 0)
    zeros = silent = total = 0
    for one in x:
        events = []
        model(torch.from_numpy(one[None]), events)
        for (y,) in events:
            silent += int((y == 0).sum())
            for unit in y[0]:
                (grad,) = torch.autograd.grad(unit, weight, retain_graph=True, allow_unused=True)
                shown = torch.zeros_like(weight) if grad is None else grad * live
                zeros += int((shown.abs() <= 1e-8).sum())
                total += weight.numel()
    assert found["sparsity"] == pytest.approx(zeros / total, abs=1e-12)
    assert found["silent"] == pytest.approx(silent / (2 * 5 * 4))
    assert 0 < found["carried"] < 1


def test_runs_are_summed_up_as_in_the_figures():
    def run(losses):
        first = {"iteration": 0, "loss": None, "sparsity": 0.9, "macs": 0}
        rows = [{"iteration": 20 * (k + 1), "loss": loss, "sparsity": 0.5, "macs": 100 * (k + 1)}
                for k, loss in enumerate(losses)]  # fmt: skip
        return {"rows": [first, *rows]}

    found = mean_curves([run([0.7, 0.3, 0.05]), run([0.7, 0.1, 0.05])])
    np.testing.assert_allclose(found["loss"], [0.7, 0.2, 0.05])
    np.testing.assert_allclose(found["adjusted"], [20 * 0.3, 20 * 0.3 + 10, 20 * 0.3 + 20])
    at = when_learned(found)
    assert at["iteration"] == pytest.approx(40 + 20 * 2 / 3) and at["macs"] == pytest.approx(200 + 200 / 3)
    assert when_learned(mean_curves([run([0.7, 0.3, 0.2])])) is None
    assert all(len(values) == len(LEVELS) for values in AUTHOR.values())


def test_a_run_of_ours_says_what_it_cost():
    run = train_ours("x", 0, {"density": 0.5}, iterations=20, units=6, quiet={"target": 0.1})
    ops = run["rows"][-1]
    assert ops["macs"] > 0 and ops["steps"] == 20 * 32 * 17 and run["dense"] > 0 and run["learned"] is None
    back = train_ours("x", 0, {"density": 0.5}, iterations=20, units=6, learner="bptt")
    same = train_ours("x", 0, {"density": 0.5}, iterations=20, units=6)
    assert back["rows"][-1]["loss"] == pytest.approx(same["rows"][-1]["loss"], rel=1e-4)
    assert back["rows"][-1]["macs"] < same["rows"][-1]["macs"]
