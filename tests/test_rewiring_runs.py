"""Masks that change in training: the trainer, its riders and checkpoints, and the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from oracle import network, sequence
from test_cli import _here, rows, run, theta  # noqa: F401

import evsim
from evsim import rewiring
from evsim.build import build_network, build_trainer, resolve
from evsim.rewiring import density_of, edges_of

STEPS, N = 7, 22
POLICIES = {
    "magnitude": lambda: evsim.Magnitude(density=0.2, steps=12, every=4),
    "set": lambda: evsim.SET(fraction=0.4, every=4),
    "rigl": lambda: evsim.RigL(steps=24, every=4, fraction=0.4),
}


def data(net):
    """Sequences of different lengths with a target a step."""
    rng = np.random.default_rng(7)
    y = rng.integers(net.n_out, size=(N, STEPS))
    return sequence(net, STEPS, lead=(N,)), y, 4 + np.arange(N) % (STEPS - 3)


def trainer_of(kind, make=evsim.RTRL, update="sequence", **options):
    net = network(("egru", "lif"), density=0.6, density_in=0.7, dtype="float32")
    learner = make(net, streams=4)
    return evsim.Trainer(learner, evsim.Adam(0.01), update=update, seed=5, rewire=POLICIES[kind](), **options)


def untimed(history):
    return [{k: v for k, v in row.items() if k not in ("seconds", "steps_per_second")} for row in history]


@pytest.mark.parametrize("update", ["sequence", 3])
@pytest.mark.parametrize("kind", POLICIES)
def test_masks_change_between_batches_alone(kind, update, monkeypatch):
    seen = []
    real = evsim.Network.rewire

    def noted(net, masks):
        seen.append((trainer._place["step"], trainer.optimizer.steps, trainer.learner.in_sequence))
        return real(net, masks)

    trainer = trainer_of(kind, update=update)
    monkeypatch.setattr(evsim.Network, "rewire", noted)
    before = edges_of(trainer.net)
    history = trainer.fit(*data(trainer.net), epochs=3)
    assert len(seen) >= 3 and all(step == 0 and not running for step, _, running in seen)
    marks = [updates // 4 for _, updates, _ in seen]
    assert marks == sorted(set(marks)) and marks[0] == 1  # once in four updates, and at the next batch
    after = edges_of(trainer.net)
    for row in history:
        assert row["dropped"] == row["grown"] or kind == "magnitude"
    assert sum(row["dropped"] for row in history) > 0 and history[-1]["density"] == density_of(trainer.net)
    if kind == "magnitude":
        edges = sum(mask.size for mask in after.values())
        assert density_of(trainer.net) == round(0.2 * edges) / edges
        assert sum(row["dropped"] for row in history) == sum((before[n] & ~after[n]).sum() for n in after)
    else:
        assert [mask.sum() for mask in after.values()] == [mask.sum() for mask in before.values()]
        assert any((before[name] != after[name]).any() for name in after)


def test_rigl_reads_the_batch_that_comes_next(monkeypatch):
    trainer, given = trainer_of("rigl"), []
    real, run_, now = rewiring.all_gradients, trainer.learner.run, []

    def noted(net, loss, x, targets, mask):
        given.append((x, targets, mask))
        return real(net, loss, x, targets, mask)

    def running(*read):
        now.append(read)
        if given and len(given) > len(checked):
            checked.append(all(np.array_equal(one, other) for one, other in zip(read, given[-1])))
        return run_(*read)

    checked = []
    monkeypatch.setattr(rewiring, "all_gradients", noted)
    monkeypatch.setattr(trainer.learner, "run", running)
    trainer.fit(*data(trainer.net), epochs=3)
    assert len(given) >= 3 and checked == [True] * len(given)


@pytest.mark.parametrize("update", ["sequence", 3])
@pytest.mark.parametrize("make", [evsim.RTRL, lambda net, **o: evsim.UORO(net, seed=1, **o), evsim.BPTT])
@pytest.mark.parametrize("kind", POLICIES)
def test_a_training_goes_on_bit_for_bit(kind, make, update, tmp_path):
    whole = trainer_of(kind, make, update)
    whole.fit(*data(whole.net), epochs=4)
    cut, pieces, path = trainer_of(kind, make, update), 0, tmp_path / "c.npz"

    def stop(info):
        nonlocal pieces
        pieces += 1
        if pieces == (17 if update == "sequence" else 26):
            cut._save(path)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut.fit(*data(cut.net), epochs=4, progress=stop)
    assert cut._rewiring.state()["last"] > 0
    resumed = evsim.Trainer.resume(path)
    assert resumed._rewiring.policy == POLICIES[kind]()
    resumed.fit(*data(resumed.net), epochs=4)
    assert resumed.net.theta.tobytes() == whole.net.theta.tobytes()
    for name, mask in whole.net.masks().items():
        assert (resumed.net.masks()[name] == mask).all()
    assert untimed(resumed.history) == untimed(whole.history)
    assert resumed._rewiring.state() == whole._rewiring.state()


@pytest.mark.parametrize("kind", ["magnitude", "set"])
def test_riders_follow(kind):
    def riders(net):
        return {
            "bptt": evsim.BPTT(net, streams=4), "block": evsim.RTRL(net, block=5, streams=4),
            "snap": evsim.SnAp(net, n=1, streams=4),
        }  # fmt: skip

    net = network(("egru", "lif"), density=0.6, density_in=0.7)
    trainer = evsim.Trainer(
        evsim.RTRL(net, streams=4), evsim.Adam(0.01), rewire=POLICIES[kind](), compare=riders(net), seed=1
    )
    history = trainer.fit(*data(net), epochs=2)
    assert sum(row["dropped"] for row in history) > 0
    for row in history:
        for name in ("bptt", "block"):
            assert row["compare"][name]["relative_error"] < 1e-10 and row["compare"][name]["updates"] == 6
        assert row["compare"]["snap"]["relative_error"] > 1e-3


def test_what_is_exact_by_its_masks_alone_is_no_reference():
    net = network(("egru",), density=0.5)
    net.rewire({"layers.0.weight_rec": np.zeros((9, 9), bool)})
    leader = evsim.EProp(net)
    assert leader.exact
    evsim.Trainer(leader, evsim.Adam(), compare=[evsim.SnAp(net)])
    with pytest.raises(ValueError, match="all of these learners approximate: add evsim.RTRL"):
        evsim.Trainer(leader, evsim.Adam(), compare=[evsim.SnAp(net)], rewire=evsim.SET())


@pytest.mark.nojit
def test_a_trainer_refuses_what_is_no_policy_and_does_not_fit():
    net = network(("egru",), density=0.3)
    with pytest.raises(TypeError, match="rewire is 'set': pass a policy such as evsim.SET"):
        evsim.Trainer(evsim.RTRL(net), evsim.Adam(), rewire="set")
    with pytest.raises(ValueError, match="magnitude only prunes: give a final density below that"):
        evsim.Trainer(evsim.RTRL(net), evsim.Adam(), rewire=evsim.Magnitude(0.9, steps=10))
    net = network(("egru", "lif"), density=0.3)
    deaf = evsim.LIF(7, mask_in=np.zeros((7, 9), bool))
    deaf = evsim.Network(net.n_in, [net.layers[0], deaf], net.readout)
    with pytest.raises(ValueError, match="layers.1.weight_in has no weight at all, so its layer hears nothing: raise"):
        evsim.Trainer(evsim.RTRL(deaf), evsim.Adam(), rewire=evsim.SET())


# The command line

TINY = ["--data", "own.npz", "--units", "12", "--streams", "4", "--density", "0.6", "--density-in", "0.9"]


def test_a_run_is_pruned_learns_and_goes_on_bit_for_bit(capsys):
    options = [*TINY, "--lr", "0.02", "--threshold", "0.1", "--rewire-every", "5"]
    run("train", *options, "--rewire", "magnitude", "--rewire-density", "0.2", "--epochs", "8", "--out", "m", "--json")
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    edges = 12 * 12 + 12 * 3
    assert summary["density"] == round(0.2 * edges) / edges == rows("m")[-1]["density"]
    assert sum(row["dropped"] for row in rows("m")) > 0 and not any(row["grown"] for row in rows("m"))
    assert rows("m")[-1]["loss"] < 0.7 * rows("m")[0]["loss"]
    net = evsim.load("m/checkpoint.npz").net
    assert density_of(net) == summary["density"]
    run("eval", "m", "--json")
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["test_loss"] == summary["test_loss"]
    for out, epochs in (("whole", 5), ("part", 2)):
        run("train", *options, "--rewire", "set", "--rewire-fraction", "0.5", "--epochs", epochs, "--out", out)
    run("train", "--resume", "part", "--epochs", 5)
    assert theta("part") == theta("whole") and rows("part") == rows("whole")
    assert all(row["grown"] == row["dropped"] > 0 for row in rows("whole")[1:])


def test_seeds_have_masks_and_policies_of_their_own(capsys):
    run("train", *TINY, "--rewire", "rigl", "--epochs", "3", "--seeds", "0,1", "--out", "r", "--json")
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    each = [one["density"] for one in found["runs"]]
    assert found["density"] == np.median(each)
    nets = [evsim.load(Path("r") / f"seed-{seed}" / "checkpoint.npz").net for seed in (0, 1)]
    assert [density_of(net) for net in nets] == each


@pytest.mark.nojit
def test_settings_become_policies():
    def policy(**chosen):
        settings, task = resolve({"task": "spiral", "epochs": 4, "density": 0.5, **chosen})
        return build_trainer(settings, task)._rewiring.policy

    per_epoch = 219  # 7,000 sequences, 32 side by side
    assert policy(rewire="set") == evsim.SET(every=per_epoch)
    assert policy(rewire="rigl", rewire_fraction=0.1) == evsim.RigL(4 * per_epoch, per_epoch, 0.1)
    assert policy(rewire="magnitude", rewire_density=0.1) == evsim.Magnitude(0.1, 3 * per_epoch, per_epoch)
    assert policy(rewire="set", epochs=1) == evsim.SET(every=per_epoch // 4)
    assert policy(rewire="magnitude", rewire_density=0.1, rewire_every=100) == evsim.Magnitude(0.1, 600, 100)


@pytest.mark.nojit
def test_erk_gives_each_layer_and_side_its_own_density():
    settings, task = resolve({"task": "spiral", "units": 40, "layers": 2, "density": 0.2, "density_rule": "erk"})
    assert "density_in" not in settings
    cells, wanted = build_network(settings, task).layers, evsim.erk(task.n_in, [40, 40], 0.2)
    assert [cell.density_in for cell in cells] == [wanted[f"layers.{k}.weight_in"] for k in (0, 1)]
    assert [cell.density for cell in cells] == [wanted[f"layers.{k}.weight_rec"] for k in (0, 1)]
    nets = [build_network({**settings, "seed": seed}, task) for seed in range(20)]
    assert np.mean([density_of(net) for net in nets]) == pytest.approx(0.2, abs=0.01)


def test_erk_under_torch_is_the_same_network():
    from evsim.models.build import model_of

    chosen = {"task": "spiral", "cell": "egru", "units": 20, "density": 0.2, "density_rule": "erk", "seed": 3}
    settings, task = resolve({**chosen, "learner": "bptt", "backend": "torch", "predictor": "linear"})
    ours = build_network(*resolve(chosen))
    theirs = model_of(settings, task).core.net
    assert all((theirs.masks()[name] == mask).all() for name, mask in ours.masks().items())


BAD = {
    "unknown": (["--rewire", "sett"], "rewire='sett' is unknown: choose one of magnitude, set, rigl; did you mean"),
    "no density": (["--rewire", "magnitude"], "needs to know what is to be left in the end: give --rewire-density"),
    "density 0": (["--rewire", "magnitude", "--rewire-density", "0"], "means pruning to zero weights: give a final"),
    "density above": (["--rewire", "magnitude", "--rewire-density", "0.95"], "would add weights to a network of"),
    "density of set": (["--rewire", "set", "--rewire-density", "0.1"], "belongs to --rewire magnitude: leave it out"),
    "fraction of magnitude": (
        ["--rewire", "magnitude", "--rewire-density", "0.1", "--rewire-fraction", "0.1"], "belongs to --rewire set or",
    ),
    "fraction": (["--rewire", "rigl", "--rewire-fraction", "1.5"], "fraction=1.5 is not usable: give a fraction"),
    "every": (["--rewire", "set", "--rewire-every", "0"], "rewire_every=0 is not usable"),
    "never": (["--rewire", "set", "--rewire-every", "900"], "rewire_every=900 would change nothing in the"),
    "alone": (["--rewire-fraction", "0.5"], "rewire_fraction=0.5 says how masks change, but they do not: give"),
    "one batch": (["--rewire", "set", "--streams", "64", "--epochs", "1"], "read side by side, once: give more"),
    "rule": (["--density-rule", "erg"], "density_rule='erg' is unknown: choose one of uniform, erk"),
}  # fmt: skip


@pytest.mark.parametrize("which", BAD)
def test_the_command_line_refuses_in_one_line(which, capsys):
    options, sentence = BAD[which]
    run("train", *TINY, *options, code=2)
    told = capsys.readouterr().err
    assert sentence in told and told.count("\n") == 1


def test_what_does_not_go_with_text_torch_and_erk(capsys):
    for options, sentence in (
        (["text", "--limit", "400", "--rewire", "set"], "all there are of text are read side by side, once: give more"),
        (["text", "--epochs", "2", "--rewire", "rigl"], "keeps all of a sequence's 3"),
        (["digits", "--learner", "bptt", "--backend", "torch", "--rewire", "set"], "belongs to the backend numba"),
        (["digits", "--density-rule", "erk", "--density-in", "0.5"], "density is that of all weights together"),
        (["copy", "--learner", "bptt", "--cell", "lstm", "--density-rule", "erk"], "belongs to cells of evsim"),
    ):
        run("train", *options, code=2)
        told = capsys.readouterr().err
        assert sentence in told and told.count("\n") == 1
