"""Prices on activity and half-widths in training: by evsim, under torch, from the command line, resumed."""

import json

import numpy as np
import pytest

import evsim
from evsim.build import build_quiet, resolve
from evsim.cli import main
from evsim.contest import train_one
from evsim.models import RolloutTrainer, build_model, truncated
from evsim.narrowing import Narrowing
from evsim.registry import lookup
from evsim.runs import backend_of

SMALL = {
    "task": "delayed-recall", "units": 8, "sequences": 200, "streams": 10, "dtype": "float64", "learner": "bptt",
}  # fmt: skip
PRICES = {
    "unit": {"target_activity": 0.05, "quiet_strength": 0.05, "quiet_horizon": 20},
    "layer": {"target_activity": 0.05, "quiet_strength": 0.05, "quiet_over": "layer", "quiet_horizon": 20},
    "step": {"target_activity": 0.05, "quiet_strength": 0.05, "quiet_over": "step"},
    "pull and events": {"pull": 1e-4, "event_cost": 1e-3},
    "all, narrowing": {"target_activity": 0.3, "event_cost": 1e-3, "half_width": 0.6, "half_width_to": 0.3},
}


@pytest.mark.parametrize("cell", ("egru", "alif"))
@pytest.mark.parametrize("prices", PRICES)
def test_evsim_and_torch_come_to_the_same(prices, cell):
    """Through a whole training, in which every update hangs on the prices and half-widths of all before."""
    given = {**SMALL, **PRICES[prices], "cell": cell, "clip": 1.0, "lr": 0.01, "threshold": 0.1}
    torchs = {"backend": "torch", "predictor": "linear", "reduction": "sum"}
    ours, theirs = train_one("a", given), train_one("b", {**given, **torchs})
    assert theirs["backend"] == "torch"
    assert ours["test_loss"] == pytest.approx(theirs["test_loss"], abs=1e-9)
    plain = train_one("c", {name: value for name, value in given.items() if name not in PRICES[prices]})
    assert abs(plain["test_loss"] - ours["test_loss"]) > 1e-5


@pytest.mark.parametrize("learner", ("tbptt", "dni", "memup"))
def test_other_torch_methods_are_charged_too(learner, tmp_path):
    """Activity falls; a trainer that is saved goes on bit for bit, rates and half-width included."""
    task = lookup("task", "delayed-recall")(length=4, epoch_size=60)
    found = []
    for quiet in (None, evsim.Quiet(event_cost=0.3, target=0.0, pull=0.03)):
        given = {
            "task": "delayed-recall", "length": 4, "learner": learner, "backend": "torch", "cell": "lif", "units": 10,
            "window": 2, "predictor": "context" if learner == "memup" else "linear", "epochs": 1,
        }  # fmt: skip
        settings, _ = resolve(given)
        trainer = backend_of(settings).build(settings, task)
        trainer = RolloutTrainer(trainer.model, trainer.method, task, streams=20, quiet=quiet, half_width=0.4)
        trainer.fit(epochs=6)
        found.append(trainer.evaluate()["activity"])
    assert found[1] < 0.6 * found[0]
    trainer.save(tmp_path / "half.npz")
    twin = RolloutTrainer(build_like(trainer), trainer.method, task, streams=20, quiet=quiet, half_width=0.4)
    twin.load(tmp_path / "half.npz")
    for one in (trainer, twin):
        one.fit(epochs=8)
    for a, b in zip(trainer.model.parameters(), twin.model.parameters()):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
    other = RolloutTrainer(build_like(trainer), trainer.method, task, streams=20, quiet=evsim.Quiet(target=0.2))
    with pytest.raises(ValueError, match="written by a trainer with quiet"):
        other.load(tmp_path / "half.npz")


def build_like(trainer):
    """A model of the same shape with other weights."""
    predictor = "context" if type(trainer.model.predictor).__name__ == "ContextPredictor" else "linear"
    return build_model(trainer.task, "lif", 10, predictor=predictor, seed=9)


def test_torch_cells_have_no_prices():
    task = lookup("task", "delayed-recall")()
    for given in ({"quiet": evsim.Quiet(target=0.1)}, {"half_width": 0.2}):
        with pytest.raises(ValueError, match="core 'lstm' has none: leave them out"):
            RolloutTrainer(build_model(task, "lstm", 4), truncated(2), task, **given)


def run(capsys, *words):
    """(exit code, JSON, stderr) of the command line."""
    code = main([*map(str, words)])
    out, err = capsys.readouterr()
    return code, json.loads(out.splitlines()[-1]) if code == 0 else None, err


def test_target_activity_on_the_command_line(capsys, tmp_path):
    """Units speak less; rows tell the penalty; a resumed run goes on bit for bit; the half-width ends where asked."""
    common = ("train", "digits", "--json", "--units", 12, "--streams", 32, "--seed", 1)
    code, plain, _ = run(capsys, *common, "--epochs", 4, "--out", tmp_path / "plain")
    assert code == 0
    quiet = ("--target-activity", 0.05, "--quiet-strength", 0.1, "--schedule", "constant")
    ends = []
    for name, first in (("once", 4), ("twice", 2)):
        out = tmp_path / name
        code, found, _ = run(capsys, *common, *quiet, "--epochs", first, "--out", out)
        assert code == 0
        if first == 2:
            code, found, _ = run(capsys, "train", "--resume", out, "--epochs", 4, "--json")
        ends.append(found)
    for name in ("test_loss", "activity", "phi_rate", "macs_per_step", "steps"):
        assert ends[0][name] == ends[1][name]
    assert ends[0]["activity"] < 0.6 * plain["activity"] and ends[0]["macs_per_step"] < plain["macs_per_step"]
    rows = [json.loads(line) for line in (tmp_path / "once" / "metrics.jsonl").read_text().splitlines()]
    assert all(row["penalty"] > 0 for row in rows)
    code, _, _ = run(capsys, *common, *quiet, "--half-width-to", 0.2, "--epochs", 1, "--out", tmp_path / "narrow")
    net = evsim.load(tmp_path / "narrow" / "checkpoint.npz").net
    assert net.layers[0].half_width == pytest.approx(0.2, abs=1e-3)


def test_a_trainer_resumes_bit_for_bit(tmp_path):
    task = lookup("task", "spiral")()
    data = task.split("train")
    x, y = data.x[:64], data.y[:64]
    ends = []
    for stops in ((4,), (2, 4)):
        net = evsim.Network(2, [evsim.EGRU(6)], evsim.Readout(1), seed=0)
        learner = evsim.RTRL(net, loss="binary_cross_entropy", streams=8, quiet=evsim.Quiet(target=0.1, pull=1e-3))
        trainer = evsim.Trainer(
            learner, evsim.Adam(1e-2), half_width=evsim.Cosine(0.5, 30, final=0.1)
        )
        for stop in stops:
            trainer.fit(x, y, epochs=stop, checkpoint=tmp_path / "c.npz")
            trainer = evsim.Trainer.resume(tmp_path / "c.npz")
        ends.append((trainer.net.theta.copy(), trainer.learner._pressure.rate.copy(), trainer.net.layers[0].half_width))
    for a, b in zip(*ends):
        np.testing.assert_array_equal(a, b)
    assert ends[0][2] == 0.1


@pytest.mark.parametrize("over", ("unit", "layer"))
def test_nobody_pays_for_what_stands_behind_the_end_of_a_sequence(over):
    """Two sequences of 8 and of 30 steps side by side come to the penalty and the update of each by itself."""
    rng, quiet = np.random.default_rng(0), evsim.Quiet(target=0.3, over=over, pull=0.1, margin=2.0, horizon=5)
    x, lengths = rng.standard_normal((2, 30, 3)), np.array([8, 30])
    make = lambda: evsim.Network(3, [evsim.EGRU(5)], evsim.Readout(2), seed=0, dtype="float64")  # noqa: E731
    net, apart = make(), make()
    trainer = evsim.Trainer(evsim.RTRL(net, streams=2, quiet=quiet), evsim.SGD(0.1))
    (row,) = trainer.fit(x, [0, 1], lengths, epochs=1)
    penalty, gradient = 0.0, 0.0
    for k, length in enumerate(lengths):
        learner = evsim.BPTT(apart, quiet=quiet)
        learner.run(x[k, :length], np.full(length, k), np.arange(length) == length - 1)
        penalty, gradient = penalty + learner.penalty, gradient + learner.gradient()
    assert 2 * row["penalty"] == pytest.approx(penalty)
    np.testing.assert_allclose(net.trained, apart.trained - 0.1 * gradient / 2, atol=1e-12)


def test_half_widths_do_not_close_the_block_of_a_run_that_goes_on(tmp_path):
    """Stopped in mid-block, in a sequence's second of three pieces, after an update that changed the half-width."""
    x, y = np.random.default_rng(0).standard_normal((2, 2500, 2)), [0, 1]
    ends = []
    for stopped in (False, True):
        net = evsim.Network(2, [evsim.EGRU(6)], evsim.Readout(2), seed=0)
        trainer = evsim.Trainer(evsim.RTRL(net, block=7), evsim.SGD(0.1), half_width=evsim.Exponential(0.5, 0.5))

        def progress(info, stopped=stopped, trainer=trainer):
            if stopped and info["done"] == 2500 + 1024:
                trainer._save(tmp_path / "c.npz")

        trainer.fit(x, y, epochs=1, progress=progress)
        if stopped:
            trainer = evsim.Trainer.resume(tmp_path / "c.npz")
            trainer.fit(x, y, epochs=1)
        ends.append((trainer.net.theta.tobytes(), trainer.learner.counts.tolist()))
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    "words, told",
    [
        (("--target-activity", 1.5), "target=1.5 is not usable: give how often a unit should speak, from 0 to 1"),
        (("--target-activity", -0.1), "from 0 to 1"),
        (("--quiet-strength", 0.1), "quiet_strength=0.1 belongs to target_activity, which was not given: give both"),
        (("--margin", 0.1), "margin=0.1 belongs to pull"),
        (("--pull", -1), "pull=-1.0 is not usable"),
        (("--half-width-to", 0.5), "half_width_to=0.5 is not usable: give one above 0 and at most half_width=0.3"),
        (("--cell", "lstm", "--learner", "bptt", "--target-activity", 0.1), "target_activity=0.1 belongs to cells of"),
        (("--cell", "lif", "--half-width-to", 0.1), "half_width_to=0.1 needs a half_width to begin with: give both"),
        (("--cell", "lif", "--always"), "has no option 'always'"),
    ],
)
def test_refusals(capsys, words, told, tmp_path):
    code, _, err = run(capsys, "train", "digits", "--out", tmp_path / "r", *words)
    assert code == 2 and told in err and len(err.strip().splitlines()) == 1


def test_what_settings_name():
    assert build_quiet({"units": 3}) is None
    made = build_quiet({"target_activity": 0.1, "quiet_over": "layer", "pull": 0.2})
    assert made.config() == evsim.Quiet(target=0.1, over="layer", pull=0.2).config()
    net = evsim.Network(2, [evsim.LIF(3)], evsim.Readout(1))
    for bad in (float("nan"), 0.0, -1.0):
        with pytest.raises(ValueError, match="half_width|lr"):
            Narrowing(lambda _, bad=bad: bad, net)


def test_a_torch_module_does_not_take_prices():
    net = evsim.Network(2, [evsim.LIF(3)], evsim.Readout(1))
    from evsim.models import OnlineModule

    with pytest.raises(ValueError, match="quiet"):
        OnlineModule(evsim.RTRL(net, quiet=evsim.Quiet(target=0.1)))
