"""The bridge to torch in use: optimisers, shared memory, what adds up and what is zeroed, copies, refusals."""

import copy

import numpy as np
import pytest
import torch
from bridged import LEARNERS, Head, autograd, by_steps, module_of
from oracle import TOLERANCE, all_trained, network, sequence, targets_for, worst

import evsim
from evsim.models import OnlineModule, summed_loss

# Optimisers

@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("kind", ["SGD", "Adam", "fused", "wrong"])
def test_updates_in_mid_stream_are_evsims_own(name, kind):
    nets = [network(("egru", "lif"), density=0.5, spread=True, learn_threshold=True) for _ in range(2)]
    x, targets = sequence(nets[0], 24), targets_for(nets[0], "cross_entropy", (24,))
    own, module = LEARNERS[name](nets[0]), OnlineModule(LEARNERS[name](nets[1]))
    ours = evsim.SGD(0.05) if kind == "SGD" else evsim.Adam(0.01)
    theirs = {
        "SGD": lambda p: torch.optim.SGD(p, lr=0.05), "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
        "fused": lambda p: torch.optim.Adam(p, lr=0.01, fused=True), "wrong": lambda p: torch.optim.Adam(p, lr=0.0101),
    }[kind](module.parameters())  # fmt: skip
    before, apart = nets[0].theta.copy(), 0.0
    for t in range(24):
        own.step(x[t], int(targets[t]))
        summed_loss("cross_entropy", module(torch.from_numpy(x[t])), torch.tensor(targets[t])).backward()
        if t % 3 == 2:
            own.update(ours)
            theirs.step()
            theirs.zero_grad(set_to_none=t % 2 == 0)
            module.sync()
            apart = max(apart, np.abs(nets[0].theta - nets[1].theta).max())
    moved = np.abs(nets[0].theta - before)[: len(nets[0].trained)]
    assert (moved > 0).mean() > 0.7
    assert (apart <= 1e-9 * moved.max()) == (kind != "wrong")  # Adam divides by small numbers


@pytest.mark.nojit
@pytest.mark.parametrize("name", LEARNERS)
def test_the_parameter_is_the_networks_memory(name):
    net = network(("egru",), density=0.5)
    module, _ = module_of(LEARNERS[name](net))
    assert np.shares_memory(module.parameter.detach().numpy(), net.theta)
    assert np.shares_memory(module.fixed.numpy(), net.theta) or not len(module.fixed)
    assert [n for n, _ in module.named_parameters()] == ["parameter"]
    assert len(module.parameter) == len(net.trained)
    before = net.parameters()["readout.bias"]
    with torch.no_grad():
        module.parameter += 1.0
    np.testing.assert_array_equal(net.parameters()["readout.bias"], before + 1.0)
    x = torch.from_numpy(sequence(net, 3))
    module(x[0])
    net.load_parameters({k: 0 * v if "weight" in k else v for k, v in net.parameters().items()})
    np.testing.assert_array_equal(module(x[1]).detach(), net.parameters()["readout.bias"])
    assert not module.parameter[net.layout.names["readout.weight"][2]].any()


def test_thresholds_are_brought_back_into_range():
    net = network(("egru",), density=0.5)
    module, head = module_of(evsim.RTRL(net, block=7))
    optimizer = torch.optim.SGD(module.parameters(), lr=1e4)
    x = torch.from_numpy(sequence(net, 9))
    head(module(x)).backward()
    optimizer.step()
    raw = net.parameters()["layers.0.threshold"]
    assert raw.max() > 1 or raw.min() < 1e-3
    version = net.version
    module(x[0])
    assert net.version == version + 1
    now = net.parameters()["layers.0.threshold"]
    np.testing.assert_array_equal(now, np.clip(raw, 1e-3, 1.0))
    module(x[1])
    assert net.version == version + 1
    module.parameter.data[0] = np.nan
    with pytest.raises(ValueError, match="net.theta holds nan at index"):
        module(x[2])


@pytest.mark.nojit
def test_gradients_add_up_until_they_are_zeroed():
    net = network(("egru", "lif"), density=0.5)
    x = torch.from_numpy(sequence(net, 4))
    for make in LEARNERS.values():
        module, head = module_of(make(net))
        head(module(x[:2])).backward()
        first = module.parameter.grad.clone()
        out = module(x[2])
        head(out).backward(retain_graph=True)
        both = module.parameter.grad.clone()
        assert not torch.equal(both, first)
        head(out).backward()
        torch.testing.assert_close(module.parameter.grad - both, both - first, rtol=1e-9, atol=1e-12)
        for to_none in (True, False):
            module.zero_grad(set_to_none=to_none)
            assert not any(g.any() for g in module.gradients().values())
            out = module(x[3])
            (found,) = torch.autograd.grad(head(out), module.parameter, retain_graph=True)
            assert module.parameter.grad is None or not module.parameter.grad.any()
            head(out).backward()
            assert torch.equal(module.parameter.grad, found)
        norm = torch.nn.utils.clip_grad_norm_(module.parameters(), 1e-3)
        assert norm == found.norm()
        assert module.parameter.grad.norm() == pytest.approx(1e-3, rel=1e-3)


def test_an_ordinary_torch_program_learns():
    """A head on top, one optimiser and a scheduler for both; the loss falls, and the learning rate."""
    net = evsim.Network(2, evsim.EGRU(12, density=0.5), evsim.Readout(6), dtype="float64")
    torch.manual_seed(0)
    module = OnlineModule(evsim.RTRL(net, streams=4))
    model = torch.nn.Sequential(module, torch.nn.ReLU(), torch.nn.Linear(6, 1, dtype=torch.float64))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10, gamma=0.5)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 10, 2)))
    losses, before = [], net.theta.copy()
    for _ in range(30):
        module.reset()
        loss = 0.0
        for t in range(10):
            now = torch.nn.functional.smooth_l1_loss(model(x[:, t])[:, 0], x[:, max(t - 1, 0), 0])
            now.backward()
            loss += now.item()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
        losses.append(loss)
    assert losses[-1] < 0.7 * losses[0]
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.02 / 8)
    assert (net.theta != before).any()


# Refusals

@pytest.mark.nojit
@pytest.mark.parametrize("make", [evsim.RTRL, evsim.TBPTT, evsim.SnAp, evsim.EProp, evsim.UORO], ids=lambda m: m.kind)
def test_an_inexact_input_gradient_is_refused(make):
    net = network(("egru",))
    module = OnlineModule(make(net))
    x = torch.tensor(sequence(net, 20), requires_grad=True)
    with pytest.raises(ValueError, match="x requires a gradient.*depends on the future: pass x.detach.., take BPTT"):
        module(x)
    assert module(x.detach()).requires_grad
    with torch.no_grad():
        assert not module(x).requires_grad
    if make in (evsim.RTRL, evsim.TBPTT):
        OnlineModule(make(net), input_gradient="block")(x).sum().backward()
        assert x.grad.any()
    else:
        with pytest.raises(ValueError, match='"block" needs a backward sweep, but .* has none: take RTRL'):
            OnlineModule(make(net), input_gradient="block")


@pytest.mark.nojit
def test_losses_that_come_too_late_are_refused():
    net = network(("egru", "lif"), density=0.5)
    x = torch.from_numpy(sequence(net, 9))
    for make, cause in (
        (evsim.RTRL, "RTRL was reset or took other steps"), (evsim.SnAp, "SnAp was reset or took other steps"),
        (lambda net: evsim.RTRL(net, block=2), "RTRL was reset or closed that block"),
        (lambda net: evsim.TBPTT(net, window=2), "TBPTT was reset or closed that block"),
    ):  # fmt: skip
        module, head = module_of(make(net))
        early, _, late = (head(module(x[t])) for t in range(3))
        with pytest.raises(ValueError, match=f"are gone, for {cause} since: call backward before"):
            early.backward()
        late.backward()
        several = head(module(x[3:8]))
        module(x[8])
        with pytest.raises(ValueError, match="are gone"):
            several.backward()
    for make in LEARNERS.values():
        module, head = module_of(make(net))
        loss = head(module(x[0]))
        module.reset()
        with pytest.raises(ValueError, match="was reset or"):
            loss.backward()
        loss = head(module(x[0]))
        module.learner.step(x[1].numpy())
        with pytest.raises(ValueError, match="are gone"):
            loss.backward()


@pytest.mark.nojit
def test_losses_after_the_weights_have_changed():
    """Refused where old weights are not kept; else the gradient is that at the old ones."""
    for name, make in LEARNERS.items():
        for steps in (1, 9):
            net = network(("egru", "lif"), density=0.5)
            x = torch.from_numpy(sequence(net, steps))
            truth = autograd(net, x.numpy(), Head(net.n_out))[0]
            module, head = module_of(make(net))
            loss = head(module(x))
            torch.optim.Adam(module.parameters(), fused=True).zero_grad()
            module.parameter.data *= 0.5
            if name == "bptt" or (name == "block 7" and steps == 1):
                loss.backward()
                assert worst(module.gradients(), truth) <= TOLERANCE
            else:
                with pytest.raises(ValueError, match="weights have changed since .*call backward before the optim"):
                    loss.backward()


@pytest.mark.nojit
def test_twice_is_refused():
    net = network(("egru",))
    for make in LEARNERS.values():
        module = OnlineModule(make(net))
        loss = module(torch.ones(net.n_in)).sum()
        loss.backward()
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()
        out = module(torch.ones(net.n_in))
        (found,) = torch.autograd.grad(out.pow(2).sum(), module.parameter, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            found.sum().backward()


@pytest.mark.nojit
def test_bad_input_is_refused_in_a_sentence():
    net = network(("egru",))
    with pytest.raises(TypeError, match="learner is .*: pass one such as evsim.RTRL"):
        OnlineModule(net)
    with pytest.raises(ValueError, match="input_gradient='blok' is unknown.*did you mean 'block'"):
        OnlineModule(evsim.RTRL(net), input_gradient="blok")
    module = OnlineModule(evsim.RTRL(net))
    with pytest.raises(ValueError, match=r"x has shape \(3,\), but \(4\) .*or \(T, 4\) for a seq"):
        module(torch.ones(3))
    with pytest.raises(ValueError, match=r"x has shape \(0, 4\), no steps"):
        module(torch.ones(0, 4))
    with pytest.raises(TypeError, match="x is torch.complex64 on cpu: pass real numbers"):
        module(torch.ones(4, dtype=torch.complex64))
    with pytest.raises(ValueError, match="x_t holds nan"):
        module(torch.full((4,), torch.nan))
    with pytest.raises(ValueError, match="derivative to the outputs holds inf|d_out holds inf"):
        (module(torch.ones(4)) * torch.inf).sum().backward()
    module.reset(streams=2)
    with pytest.raises(ValueError, match=r"but \(2, 4\) is needed for a step, or \(2, T, 4\)"):
        module(torch.ones(4))
    module.float()
    with pytest.raises(ValueError, match="parameter is torch.float32 .* needs torch.float64 .* on the CPU: convert"):
        module(torch.ones(2, 4))
    assert module.double()(torch.ones(2, 4)).shape == (2, net.n_out)


# As a module

@pytest.mark.nojit
@pytest.mark.parametrize("name", LEARNERS)
def test_no_grad_only_means_no_loss_there(name):
    net = all_trained(("egru",))
    x = torch.from_numpy(sequence(net, 20))
    truth = autograd(net, x.numpy(), lambda out: out[:, 15:].pow(2).sum())[0]
    for mode in (torch.no_grad, torch.inference_mode):
        module, _ = module_of(LEARNERS[name](net))
        with mode():
            assert not module(x[0]).requires_grad
            assert not module(x[1:14]).requires_grad
            module(x[14])
        for t in range(15, 20):
            module(x[t]).pow(2).sum().backward()
        assert worst(module.gradients(), truth) <= TOLERANCE


@pytest.mark.nojit
@pytest.mark.parametrize("name", LEARNERS)
def test_copies_stand_on_their_own_and_states_go_over(name):
    net = network(("lif", "egru"), density=0.5)
    x = torch.from_numpy(sequence(net, 12))
    module, head = module_of(LEARNERS[name](net))
    by_steps(module, head, x[:10])
    twin = copy.deepcopy(module)
    with torch.no_grad():
        module.parameter *= 0.5
    for one in (twin, module):
        one.zero_grad()
        by_steps(one, head, x[10:])
        assert np.shares_memory(one.parameter.detach().numpy(), one.learner.net.theta)
    other, head = module_of(LEARNERS[name](network(("lif", "egru"), density=0.5)))
    by_steps(other, head, x)
    before = other.parameter.grad.clone()
    other.zero_grad()
    other.reset()
    by_steps(other, head, x[:10])
    other.zero_grad()
    by_steps(other, head, x[10:])
    torch.testing.assert_close(twin.parameter.grad, other.parameter.grad)
    assert not torch.allclose(module.parameter.grad, other.parameter.grad)
    assert not torch.allclose(before, other.parameter.grad)
    other.load_state_dict(module.state_dict())
    other.sync()
    np.testing.assert_array_equal(other.learner.net.theta, net.theta)


class Fails(torch.autograd.Function):
    """Passes on what it is given, and nothing back."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, *_):
        raise ArithmeticError("no way back")


@pytest.mark.nojit
@pytest.mark.parametrize("name", LEARNERS)
def test_a_backward_that_fails_leaves_nothing(name):
    net = network(("egru",), density=0.5)
    x = torch.from_numpy(sequence(net, 2))
    found = []
    for failing in (True, False):
        module, head = module_of(LEARNERS[name](net))
        bad = Fails.apply(module(x[0]))
        out = module(x[1])
        if failing:
            with pytest.raises(ArithmeticError):
                (head(bad) + head(out)).backward(retain_graph=True)
            module.zero_grad()
        head(out).backward()
        found.append(module.parameter.grad)
    assert found[0].any()
    assert torch.equal(*found)


@pytest.mark.nojit
def test_frozen_weights_can_be_thawed():
    net = network(("egru",), density=0.5)
    x = torch.from_numpy(sequence(net, 4))
    for make in LEARNERS.values():
        module, head = module_of(make(net))
        module.requires_grad_(False)
        head(module(x[:3])).backward()
        assert module.parameter.grad is None
        module.requires_grad_(True)
        head(module(x[3])).backward()
        assert module.gradients()["layers.0.bias"].any()


@pytest.mark.nojit
def test_the_learners_own_losses_are_left_alone():
    net = network(("egru",), density=0.5)
    x, targets = sequence(net, 6), targets_for(net, "cross_entropy", (6,))
    for make in LEARNERS.values():
        alone, learner = make(net), make(net)
        for one in (alone, learner):
            one.run(x[:3], targets[:3])
        module, head = module_of(learner)
        by_steps(module, head, torch.from_numpy(x[3:]))
        alone.run(x[3:])
        np.testing.assert_allclose(learner.gradient(), alone.gradient(), rtol=1e-12)
        assert learner.loss == alone.loss
        only, head = module_of(make(net))
        only(torch.from_numpy(x[:3]))
        by_steps(only, head, torch.from_numpy(x[3:]))
        torch.testing.assert_close(module.parameter.grad, only.parameter.grad)


@pytest.mark.nojit
def test_work_is_counted_once_more_where_it_is_done_again():
    net = network(("egru",), density=0.5)
    x = torch.from_numpy(sequence(net, 6))
    module, head = module_of(evsim.RTRL(net))
    loss = head(module(x))
    once = module.learner.ops["multiply_adds"]
    loss.backward()
    assert module.learner.ops["multiply_adds"] >= 2 * once


def test_long_sequences_by_steps():
    """The graph of many steps is gone through, and let go, without deep recursion."""
    net = network(("lif",), units=(2,))
    module = OnlineModule(evsim.BPTT(net))
    x = torch.ones(net.n_in, dtype=torch.float64)
    for _ in range(20000):
        out = module(x)
    out.sum().backward()
    module.reset()
    del out
    assert "BPTT on Network" in repr(module)
