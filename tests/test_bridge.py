"""The bridge to torch: gradients of parameters and inputs equal autograd's, for losses and layers of torch's own."""

import numpy as np
import pytest
import torch
from bridged import LEARNERS, Head, at_once, autograd, by_steps, in_pieces, module_of, near
from oracle import PAIRS, READOUTS, SINGLE, TOLERANCE, all_trained, network, sequence, worst

import evsim
from evsim.models import TorchNetwork

STACKS = SINGLE + PAIRS
HELD = {"block 20": lambda net: evsim.RTRL(net, block=20), "bptt": evsim.BPTT, "tbptt": lambda net: evsim.TBPTT(net)}


# Gradients of parameters

@pytest.mark.parametrize("steps", [1, 20])
@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_gradients_equal_autograd(stack, steps):
    net = all_trained(stack, 20)
    x = sequence(net, steps)
    head = Head(net.n_out)
    truth, _, wanted = autograd(net, x, head)
    assert steps == 1 or all(g.any() for g in truth.values())
    for name, make in LEARNERS.items():
        for feed in (by_steps, at_once, in_pieces):
            module, head = module_of(make(net))
            feed(module, head, torch.from_numpy(x))
            assert worst(module.gradients(), truth) <= TOLERANCE, (name, feed.__name__)
            for p, g in zip(head.parameters(), wanted):
                assert near(p.grad, g)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_wrong_gradient_would_be_seen(name):
    """One loss more, one step less, a past that is cut off."""
    net = all_trained(("egru", "lif"))
    x = torch.from_numpy(sequence(net, 20))
    truth = autograd(net, x.numpy(), Head(net.n_out))[0]
    for wrong in ("less", "more", "cut"):
        module, head = module_of(LEARNERS[name](net))
        for t in range(20):
            if wrong == "cut" and t == 10:
                module.reset()
            loss = head(module(x[t]))
            if not (wrong == "less" and t == 10):
                loss.backward(retain_graph=True)
            if wrong == "more" and t == 10:
                loss.backward()
        assert worst(module.gradients(), truth) > 1e-6


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("name", LEARNERS)
def test_streams_and_threads(name, readout):
    net = all_trained(("evrnn", "egru"), readout=readout)
    x = sequence(net, 20, lead=(3,))
    truth = autograd(net, x, Head(net.n_out))[0]
    for feed in (by_steps, at_once, in_pieces):
        module, head = module_of(LEARNERS[name](net, streams=3, threads=2))
        assert module(torch.from_numpy(x[:, 0])).shape == (3, net.n_out)
        module.reset()
        feed(module, head, torch.from_numpy(x))
        assert worst(module.gradients(), truth) <= TOLERANCE
        module.reset(streams=1)
        module.zero_grad()
        feed(module, head, torch.from_numpy(x[0]))
        assert worst(module.gradients(), autograd(net, x[0], Head(net.n_out))[0]) <= TOLERANCE


@pytest.mark.nojit
@pytest.mark.parametrize("name", HELD)
def test_losses_of_steps_that_are_held_may_come_late_and_in_any_order(name):
    net = all_trained(("egru",))
    x = torch.from_numpy(sequence(net, 15))
    truth = autograd(net, x.numpy(), Head(net.n_out))[0]
    module, head = module_of(HELD[name](net))
    sum(head(module(x[t])) for t in range(15)).backward()
    assert worst(module.gradients(), truth) <= TOLERANCE
    module.zero_grad()
    module.reset()
    losses = [head(module(x[t])) for t in range(15)]
    for t in (3, 14, 0, 7):
        losses[t].backward(retain_graph=True)
    some = torch.tensor([0, 3, 7, 14])
    wanted = autograd(net, x.numpy(), lambda out: head(out[:, some]))
    assert worst(module.gradients(), wanted[0]) <= TOLERANCE
    assert worst(module.gradients(), truth) > 1e-6


@pytest.mark.parametrize("make", [evsim.SnAp, evsim.EProp, evsim.RFLO, evsim.UORO, evsim.TBPTT], ids=lambda m: m.kind)
def test_other_learners_give_their_own(make):
    """What `learner.accumulate` makes of the same errors, whether step by step or at once."""
    net = network(("egru", "lif"), density=0.5, spread=True)
    x, options = sequence(net, 12), {"window": 5} if make is evsim.TBPTT else {}
    plain, head = make(net, **options), Head(net.n_out)
    for t in range(12):
        out = torch.tensor(plain.step(x[t]), requires_grad=True)
        head(out).backward()
        plain.accumulate(out.grad.numpy())
    for feed in (by_steps, at_once, in_pieces):
        module, head = module_of(make(net, **options))
        feed(module, head, torch.from_numpy(x))
        assert worst(module.gradients(), plain.gradients()) <= TOLERANCE
        assert plain.gradients()["layers.0.bias"].any()
    exact = autograd(net, x, Head(net.n_out))[0]
    assert worst(module.gradients(), exact) > 1e-6


@pytest.mark.nojit
def test_single_precision():
    net = network(("egru",), dtype="float32", density=0.5)
    x = torch.from_numpy(sequence(net, 9))
    found = []
    for name, make in LEARNERS.items():
        module, head = module_of(make(net))
        out = module(x)
        assert out.dtype == torch.float32
        head(out).backward()
        assert module.parameter.grad.dtype == torch.float32
        found.append(module.parameter.grad)
        np.testing.assert_allclose(found[-1], found[0], rtol=1e-3, atol=1e-5, err_msg=name)
    assert module(x[0].double()).dtype == torch.float32
    assert module(np.ones(net.n_in, bool)).dtype == torch.float32


# Gradients of inputs

@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_inputs_under_bptt(stack):
    """Through a layer below, too, however the sequence is passed."""
    net = all_trained(stack, 20)
    x = sequence(net, 20)
    torch.manual_seed(1)
    encoder = torch.nn.Linear(net.n_in, net.n_in, dtype=torch.float64)
    for below in (None, encoder):
        truth, d_x, _, *wanted = autograd(net, x, Head(net.n_out), below)
        assert d_x.any()
        for pieces in ([], [1, 4, 15], range(1, 20)):
            module, head = module_of(evsim.BPTT(net))
            given = torch.tensor(x, requires_grad=True)
            heard = below(given) if below else given
            loss = 0.0
            for part in torch.tensor_split(torch.arange(20), list(pieces)):
                part = part[0] if pieces == range(1, 20) else part
                loss = loss + head(module(heard[part]))
            loss.backward()
            assert near(given.grad, d_x)
            assert worst(module.gradients(), truth) <= TOLERANCE
            if below:
                for p, g in zip(below.parameters(), *wanted):
                    assert near(p.grad, g)
                below.zero_grad()


@pytest.mark.nojit
@pytest.mark.parametrize("first", [0, 6, 11])
def test_inputs_of_some_steps(first):
    """Steps whose inputs ask for nothing, before and after; losses that come one by one; a past that is cut is seen."""
    net = all_trained(("egru", "lif"))
    x = sequence(net, 12)
    truth, d_x, *_ = autograd(net, x, Head(net.n_out))
    asks = np.arange(12) % 5 != 2
    asks[:first] = False
    for cut in (False, True):
        module, head = module_of(evsim.BPTT(net))
        given = [torch.tensor(row, requires_grad=bool(ask)) for row, ask in zip(x, asks)]
        for t in range(12):
            if cut and t == 11:
                module.reset()
            head(module(given[t])).backward()
        found = torch.stack([row.grad for row, ask in zip(given, asks) if ask])
        assert near(found, d_x[torch.from_numpy(asks)]) == (not cut)
        assert (worst(module.gradients(), truth) <= TOLERANCE) == (not cut)


@pytest.mark.nojit
@pytest.mark.parametrize("readout", READOUTS)
def test_inputs_of_streams_and_of_changing_weights(readout):
    net = all_trained(("egru", "lif"), readout=readout)
    x = torch.tensor(sequence(net, 12, lead=(2,)), requires_grad=True)
    d_x = autograd(net, x.detach().numpy(), Head(net.n_out))[1]
    module, head = module_of(evsim.BPTT(net, streams=2, threads=2))
    head(module(x)).backward()
    assert near(x.grad, d_x)
    module.reset()
    x.grad = None
    model = TorchNetwork(net)
    state, y = model.start(2, x), x.detach().clone().requires_grad_()
    outs, loss = [], 0.0
    for t in range(12):
        if t == 6:
            with torch.no_grad():
                module.parameter *= 0.9
            module.sync()
            model = TorchNetwork(net)
        out, state = model.step(y[:, t], state, model.values())
        outs.append(out)
        loss = loss + head(module(x[:, t]))
    head(torch.stack(outs, 1)).backward()
    loss.backward()
    assert near(x.grad, y.grad)


@pytest.mark.parametrize("block", [1, 5])
@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_the_part_within_the_block(stack, block):
    """Autograd's, with the state detached where a block begins; the gradient of parameters stays whole."""
    net = all_trained(stack, 20)
    x = sequence(net, 20)
    truth, whole, *_ = autograd(net, x, Head(net.n_out))
    model, given, head = TorchNetwork(net), torch.tensor(x, requires_grad=True), Head(net.n_out)
    state, outs = model.start(1, given), []
    for t in range(20):
        if t % block == 0:
            state = [(y.detach(), tuple(w.detach() for w in kept)) for y, kept in state]
        out, state = model.step(given[None, t], state, model.values())
        outs.append(out)
    head(torch.stack(outs, 1)).backward()
    assert not near(given.grad, whole)
    for by_blocks, kind in ((True, "rtrl"), (False, "rtrl"), (True, "tbptt"), (False, "tbptt")):
        learner = evsim.RTRL(net, block=block) if kind == "rtrl" else evsim.TBPTT(net, window=block)
        module, head = module_of(learner, input_gradient="block")
        y = torch.tensor(x, requires_grad=True)
        if by_blocks:
            for t in range(0, 20, block):
                sum(head(module(y[s])) for s in range(t, t + block)).backward()
        else:
            head(module(y)).backward()
        assert near(y.grad, given.grad)
        assert kind == "tbptt" or worst(module.gradients(), truth) <= TOLERANCE


@pytest.mark.parametrize("make", [evsim.RTRL, evsim.SnAp, evsim.EProp], ids=lambda make: make.__name__)
def test_two_losses_on_one_sequence_that_is_taken_again(make):
    """Both sent back, one after the other: their sum, as of one loss; and stepping goes on from the end."""
    found = []
    for apart in (False, True):
        net = network(("egru",), density=0.5)
        module, _ = module_of(make(net))
        x = torch.from_numpy(sequence(net, 12))
        out = module(x)
        losses = out[3].sum(), (out[5] ** 2).sum()
        if apart:
            losses[0].backward(retain_graph=True)
            losses[1].backward()
        else:
            sum(losses).backward()
        found.append((module.parameter.grad.clone(), module(x[0]).detach()))
    for together, separate in zip(*found):
        assert together.abs().sum() > 0
        torch.testing.assert_close(separate, together, rtol=1e-10, atol=1e-12)
