"""Torch models: weights that move both ways, cores of one interface, predictors, masks; what is refused."""

import warnings

import numpy as np
import pytest
import torch
from oracle import PAIRS, READOUTS, SINGLE, TRIPLES, learnable, network, sequence

import evsim
from evsim.models import (
    ContextPredictor,
    EventCore,
    GatedCore,
    LinearPredictor,
    MemUP,
    Model,
    NorseCore,
    RolloutTrainer,
    TorchNetwork,
    build_core,
    build_model,
    follow,
    from_evsim,
    to_evsim,
    truncated,
)
from evsim.models.predictor import AsItIs
from evsim.registry import lookup

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # importing it calls torch.jit.script
    import norse.torch

pytestmark = pytest.mark.nojit
CORES = ("lstm", "gru", "qrnn", "norse-lif", "norse-lsnn", "egru", "evrnn", "lif", "cubalif", "alif", "adlif")


@pytest.mark.parametrize("stack", SINGLE + PAIRS + TRIPLES[:3], ids="-".join)
@pytest.mark.parametrize("readout", READOUTS)
def test_weights_move_both_ways(stack, readout):
    for dtype, most in (("float64", 1e-12), ("float32", 1e-6)):
        net = network(stack, units=(5, 4, 3), density=0.5, spread=True, readout=readout, dtype=dtype)
        x = sequence(net, 20, lead=(3,))
        model = from_evsim(net)
        out, _ = model(torch.from_numpy(x))
        scale = np.abs(net.run(x)).max()
        assert np.abs(out.detach().numpy() - net.run(x)).max() <= most * scale
        with torch.no_grad():
            for name, p in model.named_parameters():
                p *= 0.98
                if "bias" in name:
                    p += 0.01
        model.project()
        back = to_evsim(model)
        assert back is not net
        assert np.abs(model(torch.from_numpy(x))[0].detach().numpy() - back.run(x)).max() <= most * 10 * scale
        for name, mask in back.masks().items():
            np.testing.assert_array_equal(mask, net.masks()[name])
            assert not back.parameters()[name][~mask].any()
        assert (back.parameters()["readout.bias"] != net.parameters()["readout.bias"]).all()  # and net is as it was
        np.testing.assert_array_equal(to_evsim(TorchNetwork(net)).theta, net.theta)


def test_a_trained_model_goes_back_with_its_masks_and_ranges():
    """Steps of a torch optimiser, with learned decays and thresholds pushed to their bounds."""
    net = network(("alif", "egru"), density=0.4, **dict.fromkeys(learnable(("alif", "egru")), True))
    model = from_evsim(net)
    x, wanted = torch.from_numpy(sequence(net, 12, lead=(2,))), torch.zeros(2, 12, net.n_out, dtype=torch.float64)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        ((model(x)[0] - wanted) ** 2).sum().backward()
        optimizer.step()
        model.project()
    back = to_evsim(model)  # refuses what is out of range
    assert back.parameters()["layers.0.beta"].max() > 0.9999 and back.parameters()["layers.1.threshold"].max() == 1.0
    np.testing.assert_allclose(back.run(x.numpy()), model(x)[0].detach().numpy(), rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        model.core.get_parameter("layers/0/beta").fill_(1.5)
    with pytest.raises(ValueError, match=r"beta=1.5 is not usable"):
        to_evsim(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norses_lif_cells_go_to_evsim_event_for_event(dtype):
    torch.manual_seed(0)
    core = NorseCore("norse-lif", 3, 8, layers=2).to(dtype)
    with torch.no_grad():
        for cell in core.cells:
            cell.input_weights.mul_(8)
    model = Model(core, LinearPredictor(8, 2).to(dtype))
    x = (torch.rand(1, 60, 3) < 0.5).to(dtype)
    m, _ = core.unroll(x, core.begin(1))
    net = to_evsim(model)
    out, events = net.run(x[0].numpy(), record_events=True)
    assert 0.02 < m.mean() < 0.9
    np.testing.assert_array_equal(events[-1] != 0, m[0].detach().numpy() != 0)
    np.testing.assert_allclose(out, model(x)[0][0].detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", CORES)
@pytest.mark.parametrize("layers", [1, 2])
def test_a_core_goes_on_where_it_stopped(cell, layers):
    core = build_core(cell, 4, 6, layers, seed=2, dtype="float64")
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 11, 4)))
    whole, end = core.unroll(x, core.begin(3))
    assert whole.shape == (3, 11, core.width) and core.n_in == 4
    state, parts = core.begin(3), []
    for t in (slice(0, 4), slice(4, 5), slice(5, 11)):
        m, state = core.unroll(x[:, t], state)
        parts.append(m)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-12, atol=1e-12)
    for mine, wanted in zip(state, end, strict=True):
        assert len(mine) == 3
        torch.testing.assert_close(mine, wanted, rtol=1e-12, atol=1e-12)
    other = build_core(cell, 4, 6, layers, seed=2, dtype="float64")  # the same seed, the same weights
    assert all(torch.equal(a, b) for a, b in zip(core.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("cell", CORES)
def test_memup_trains_every_core(cell):
    task = lookup("task", "positional-copy")(length=12, symbols=1, alphabet=2, epoch_size=64)
    model = build_model(task, cell, 12, hidden=16, seed=1)
    before = [p.detach().clone() for p in model.parameters()]
    trainer = RolloutTrainer(model, MemUP(4, 1, every=1), task, streams=32)
    for _ in range(30):
        found = trainer.rollout()
    assert np.isfinite(found["loss"]) and trainer.updates == 30
    moved = [not torch.equal(a, b) for a, b in zip(before, model.parameters()) if b.requires_grad]
    assert all(moved)


@pytest.mark.parametrize("made", [torch.optim.RMSprop, torch.optim.Adagrad, lambda p: torch.optim.SGD(p, 0.1, 0.9)])
def test_any_optimiser_and_schedule_of_torch(made):
    task = lookup("task", "positional-copy")(length=12, symbols=1, alphabet=2, epoch_size=64)
    model = build_model(task, "gru", 4, hidden=8)
    optimizer = made(model.parameters())
    rate = optimizer.param_groups[0]["lr"]
    trainer = RolloutTrainer(
        model, truncated(4), task, optimizer, lambda o: torch.optim.lr_scheduler.StepLR(o, 2, 0.5), streams=8
    )
    for _ in range(5):
        trainer.rollout()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(rate / 4)


def test_schedules_of_evsim_drive_torchs_optimisers():
    schedule = evsim.Cosine(0.02, 10, warmup=3)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.02)
    scheduler, rates = follow(optimizer, schedule), []
    for _ in range(12):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(rates, [schedule(step) for step in range(12)], rtol=1e-12)


def test_a_schedule_can_be_laid_over_another_and_holds_for_all_groups():
    groups = [{"params": torch.nn.Parameter(torch.zeros(1)), "lr": rate} for rate in (0.1, 0.4)]
    optimizer = torch.optim.SGD(groups)
    for rate in (0.05, 0.02):
        follow(optimizer, lambda step, rate=rate: rate)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([rate, rate])
    with pytest.raises(ValueError, match="a learning rate of 0: give it any other"):
        follow(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.0), lambda step: 0.1)


def test_a_plateau_is_judged_by_epochs():
    task = lookup("task", "positional-copy")(length=12, symbols=1, alphabet=2, epoch_size=16)
    model = build_model(task, "gru", 4, hidden=8)
    optimizer = torch.optim.SGD(model.parameters(), 1e-5)  # nothing gets better by a tenth
    slower = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, threshold=0.1)
    trainer = RolloutTrainer(model, truncated(4), task, optimizer, slower, streams=8)
    trainer.fit(epochs=3)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(5e-6)


def test_columns_of_memory_and_predictor():
    task = lookup("task", "tmaze")(length=10)
    model = build_model(task, units=4)
    assert model.core.n_in == 6 and model.predictor.embed.in_features == 5
    x = torch.from_numpy(task.split("validation").x[:2])
    out, _ = model(x)
    other = x.clone()
    other[..., 3:5] += 1  # the action of the step, which memory does not see
    m = [model.remember(given, model.begin(2))[0] for given in (x, other)]
    assert torch.equal(*m) and not torch.allclose(model(other)[0], out)
    assert build_model(task, units=4, predictor="linear").core.n_in == 8  # who has no predictor of its own sees all


def test_masks_hold_in_training():
    task = lookup("task", "positional-copy")(length=12, symbols=1, alphabet=2, epoch_size=64)
    model = build_model(task, "egru", 8, density=0.3, predictor="linear")
    trainer = RolloutTrainer(model, truncated(4), task, streams=8)
    for _ in range(10):
        trainer.rollout()
    net = to_evsim(model)
    for name, mask in net.masks().items():
        assert not net.parameters()[name][~mask].any() and (name.endswith("in") or not mask.all())


def test_what_has_no_counterpart_is_refused():
    lstm = Model(GatedCore("lstm", 2, 3), LinearPredictor(3, 1))
    with pytest.raises(TypeError, match="evsim has no cell for 'lstm': give a Model of evsim's own cells"):
        to_evsim(lstm)
    asks = Model(EventCore(network(("egru",))), ContextPredictor(6, 2, 1))
    with pytest.raises(TypeError, match="ContextPredictor reads a context, which no readout of evsim does"):
        to_evsim(asks)
    with pytest.raises(TypeError, match="an EventCore alone has no readout"):
        to_evsim(EventCore(network(("egru",))))
    with pytest.raises(ValueError, match=r"has a linear readout of 3 outputs, the model LinearPredictor of 5: build"):
        to_evsim(Model(EventCore(network(("egru",))), LinearPredictor(6, 5)))
    with pytest.raises(ValueError, match=r"has a linear readout of 3 outputs, the model AsItIs of 3"):
        to_evsim(Model(EventCore(network(("egru",))), AsItIs(3)))
    with pytest.raises(ValueError, match=r"v_leak=.* is not usable: states start at 0 here"):
        NorseCore("norse-lif", 1, 2, p=norse.torch.LIFParameters(v_leak=torch.tensor(0.3)))
    with pytest.raises(TypeError, match=r"pass an evsim\.Network"):
        from_evsim("net")
    with pytest.raises(ValueError, match="cell 'elman' is unknown: choose one of lstm, gru, qrnn, norse-lif"):
        build_core("elman", 1, 1)
    with pytest.raises(ValueError, match="predictor"):
        build_model(lookup("task", "spiral")(), predictor="tree")
    with pytest.raises(AttributeError, match=r"evsim.models' has no attribute 'Memup'; it offers .*MemUP"):
        evsim.models.Memup  # noqa: B018
