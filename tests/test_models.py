"""The torch twin of a network: the same outputs, masks that hold, losses that agree, batches."""

import numpy as np
import pytest
import torch
from naive import forward, loss_and_error
from oracle import LOSSES, PAIRS, READOUTS, SINGLE, learnable, network, sequence, targets_for

import evsim
from evsim.models import FastEGRU, autograd_gradients
from evsim.models.network import TorchNetwork, summed_loss

STACKS = SINGLE + PAIRS
pytestmark = pytest.mark.nojit


@pytest.mark.parametrize("stack", STACKS, ids="-".join)
@pytest.mark.parametrize("readout", READOUTS)
def test_outputs_and_events(stack, readout):
    net = network(stack, units=(5, 4), density=0.5, spread=True, readout=readout)
    x, events = sequence(net, 8, lead=(2,)), []
    out = TorchNetwork(net)(torch.from_numpy(x), events)
    assert out.shape == (2, 8, net.n_out)
    assert len(events) == 8
    for b in range(2):
        wanted, seen = forward(net, x[b])
        np.testing.assert_allclose(out[b].detach(), wanted, rtol=1e-12, atol=1e-13)
        for k in range(len(stack)):
            np.testing.assert_allclose([step[k][b].tolist() for step in events], [y for y, _, _ in seen[k]], atol=1e-13)


@pytest.mark.parametrize("detach", [False, True])
def test_the_fast_egru_is_the_same(detach):
    net = network(("egru",), density=0.5, spread=True, detach_reset=detach, half_width=0.5)
    x, targets, events = sequence(net, 30), np.arange(30) % net.n_out, ([], [])
    for kind, seen in zip((TorchNetwork, FastEGRU), events):
        kind(net)(torch.from_numpy(x[None]), seen)
    assert all(torch.allclose(a[0], b[0]) for a, b in zip(*events))
    slow, fast = (autograd_gradients(net, x, targets, "cross_entropy", kind=k) for k in (TorchNetwork, FastEGRU))
    assert fast[0] == pytest.approx(slow[0])
    for name, wanted in slow[1].items():
        np.testing.assert_allclose(fast[1][name], wanted, rtol=1e-9, atol=1e-12)
        assert wanted.any()
    with pytest.raises(ValueError, match="not one EGRU layer under a linear readout: use TorchNetwork"):
        FastEGRU(network(("egru", "lif")))


@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_parameters_are_the_networks(stack):
    for learn in (False, True):
        net = network(stack, density=0.4, **dict.fromkeys(learnable(stack), learn))
        model = TorchNetwork(net)
        plain = net.parameters()
        assert [name.replace("/", ".") for name, _ in model.named_parameters()] == list(plain)
        for name, value in model.values().items():
            np.testing.assert_array_equal(value.detach(), plain[name])
        trained = {name.replace("/", ".") for name, p in model.named_parameters() if p.requires_grad}
        assert trained == set(plain) - net.layout.untrained == set(evsim.RTRL(net).gradients())
        with torch.no_grad():
            for p in model.parameters():
                p += 1.0
        assert net.parameters()["readout.bias"].max() < 1  # copies, both ways


def test_absent_weights_stay_absent_under_torch():
    net = network(("egru", "evrnn"), density=0.4)
    model, masks = TorchNetwork(net), net.masks()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        out = model(torch.from_numpy(sequence(net, 6)[None]))
        summed_loss("cross_entropy", out, torch.zeros(1, 6, dtype=int)).backward()
        optimizer.step()
    values = {name: value.detach().numpy() for name, value in model.values().items()}
    for name, mask in masks.items():
        assert not values[name][~mask].any()
    assert (values["readout.bias"] != net.parameters()["readout.bias"]).all()
    net.load_parameters(values)  # and back
    np.testing.assert_array_equal(net.parameters()["readout.weight"], values["readout.weight"])


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_are_the_naive_ones(loss):
    net = network(("egru",))
    out = torch.tensor(np.random.default_rng(0).standard_normal((2, 5, 3)), requires_grad=True)
    targets = targets_for(net, loss, (2, 5))
    total = summed_loss(loss, out, torch.from_numpy(targets))
    total.backward()
    pairs = [loss_and_error(loss, out.detach().numpy()[b, t], targets[b, t]) for b in range(2) for t in range(5)]
    assert float(total.detach()) == pytest.approx(sum(value for value, _ in pairs), rel=1e-12)
    np.testing.assert_allclose(out.grad.reshape(10, 3), [error for _, error in pairs], rtol=1e-11, atol=1e-13)


def test_single_precision_stays_single():
    net = network(("egru", "evrnn"), dtype="float32")
    out = TorchNetwork(net)(torch.from_numpy(sequence(net, 4)[None]))
    assert out.dtype == torch.float32
