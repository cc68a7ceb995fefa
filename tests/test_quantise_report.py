"""evsim quantise: the table of accuracy against bits, tuning, targets, and what bad input leads to."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import evsim
from evsim.cli import main
from evsim.evaluate import evaluate
from evsim.fewbits import report
from evsim.fixed.golden import run as run_fixed
from evsim.fixed.quantise import quantise
from evsim.fixed.tune import tune
from evsim.results import open_run, own_task

TINY = ["--units", "8", "--streams", "4", "--lr", "0.02"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with own, a run on arrays of several lengths; numbers, one whose loss is mse; two, of two seeds."""
    place, before = tmp_path_factory.mktemp("runs"), Path.cwd()
    os.chdir(place)
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    x = rng.standard_normal((120, 6, 3)) + 1.2 * np.eye(3)[y][:, None]
    np.savez("own.npz", x=x, y=y, lengths=np.arange(120) % 3 + 4)
    np.savez("numbers.npz", x=x, y=x.sum(1)[:, :2] / 4)
    assert main(["train", "--data", "own.npz", *TINY, "--cell", "lif", "--epochs", "6", "--out", "own"]) == 0
    assert main(["train", "--data", "numbers.npz", "--loss", "mse", *TINY, "--epochs", "2", "--out", "numbers"]) == 0
    assert main(["train", "--data", "own.npz", *TINY, "--seeds", "0,1", "--epochs", "1", "--out", "two"]) == 0
    os.chdir(before)
    return place


def opened(name):
    """What was trained, with its settings and its task."""
    trained, trained.settings = open_run(name)
    trained.task = own_task(name, trained, trained.settings)
    return trained


def test_figures_are_those_of_the_golden_model(here):
    found, tuned = report("own", bits=(4, 8), state_bits=(16, 32), targets=("mcu", "xylo-like"))
    first, *rows = found["rows"]
    assert not tuned and found["split"] == "test" and found["dtype"] == "float32"
    trained = opened("own")
    test = trained.task.split("test")
    assert found["sequences"] == len(test.x)
    whole = evaluate(trained.net, test, "cross_entropy")
    assert first["accuracy"] == whole["accuracy"] and first["loss"] == pytest.approx(whole["loss"], rel=1e-6)
    assert first["activity"] == pytest.approx(whole["activity"]) and first["events_differ"] == 0
    assert not first["fixed"] and first["bytes"] is None and first["bits"] == 32
    assert [(row["bits"], row["state_bits"]) for row in rows] == [(4, 16), (4, 32), (8, 16), (8, 32)]
    train = trained.task.split("train")
    inputs = [x[:n] for x, n in zip(train.x, train.lengths)]
    fixed, right, differ, events = quantise(trained.net, inputs, 8, 16), 0, 0, 0
    for x, y, length in zip(test.x, test.y, test.lengths):
        out, (spoken,) = run_fixed(fixed, x[:length], record_events=True)
        _, (wanted,) = trained.net.run(x[:length], record_events=True)
        right += out[-1].argmax() == y
        differ += int((spoken != wanted).sum())
        events += int(wanted.sum())
    assert rows[2]["accuracy"] == right / len(test.x) and rows[2]["events_differ"] == differ / events
    assert rows[0]["events_differ"] > rows[2]["events_differ"] > 0 and rows[2]["accuracy"] > 0.6
    sizes = [*(int(mask.sum()) for mask in trained.net.masks().values()), 24]
    assert rows[0]["bytes"]["weights"] == sum(-(-size // 2) for size in sizes)
    assert rows[2]["bytes"]["weights"] == sum(sizes)
    assert rows[1]["bytes"]["state"] > rows[0]["bytes"]["state"] and all(row["fixed"] for row in rows)
    assert [(one["target"], one["need"]["bits"], one["fits"]) for one in found["targets"]][::2] == [
        ("mcu", 4, True), ("mcu", 8, True), ("xylo-like", 4, False), ("xylo-like", 8, False)
    ]  # fmt: skip


def test_flash_and_ram_are_those_of_the_export(here, capsys):
    found, _ = report("own", bits=(4, 16), state_bits=32, targets=["mcu"])
    for row, fits in zip(found["rows"][1:], found["targets"]):
        capsys.readouterr()
        told = ["--bits", str(row["bits"]), "--state-bits", "32", "--force", "--json"]
        assert main(["export", "own", "--to", "c", "--out", "c", *told]) == 0
        written = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (row["bytes"]["flash"], row["bytes"]["ram"]) == (written["flash_bytes"], written["ram_bytes"])
        needed = {one["what"]: one["needed"] for one in fits["limits"]}
        assert needed["bytes of flash"] == row["bytes"]["flash"] + 8192
        assert needed["bytes of RAM"] == row["bytes"]["ram"] + 2048


def test_tuning_leaves_what_was_trained_and_ends_on_the_grid(here):
    trained = opened("own")
    before = trained.net.theta.copy()
    found = tune(trained, 4, epochs=3)
    assert trained.net.theta.tobytes() == before.tobytes() and found.net is not trained.net
    assert found.task is not None and found.settings == trained.settings and found.loss == "cross_entropy"
    again = tune(trained, 4, epochs=3)
    assert again.net.theta.tobytes() == found.net.theta.tobytes()
    assert tune(trained, 4, epochs=3, lr=0.1).net.theta.tobytes() != found.net.theta.tobytes()
    inputs = [np.zeros((3, 3))]
    for part in quantise(found.net, inputs, 4).parts:
        for side, form in zip(part.sides, part.sum.weights):
            name = "readout.weight" if part.is_readout else f"{part.name}.weight_{'in' if side is part.inp else 'rec'}"
            kept = found.net.parameters()[name]
            assert np.isin(kept, [*form.value(side.weight).ravel(), 0]).all()


def test_tuning_wins_back_most_of_what_4_bits_lose(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", "--units", "32", "--threads", "1", "--out", "digits"]) == 0
    found, tuned = report("digits", bits=(4, 8), epochs=5)
    whole, plain, better, eight, _ = found["rows"]
    assert [row["tuned"] for row in found["rows"]] == [False, False, True, False, True] and list(tuned) == [4, 8]
    lost, won = whole["accuracy"] - plain["accuracy"], better["accuracy"] - plain["accuracy"]
    assert lost > 0.02 and won > lost / 2 and better["loss"] < plain["loss"]
    assert plain["bytes"] == better["bytes"] and whole["accuracy"] - eight["accuracy"] < 0.01


def test_the_command_prints_table_and_targets(here, capsys):
    capsys.readouterr()
    assert main(["quantise", "own", "--target", "all"]) == 0
    told = capsys.readouterr().out
    for part in ("own on own, test:", "float32", "4 bits", "16 bits", "accuracy", "flash", "mcu (a microcontroller",
                 "fits at 4/16, 8/16, 16/16 bits", "xylo-like (like Xylo Audio 2", "22 % off in the time constant",
                 "at 16/16: the network needs 16 bits of a weight, xylo-like allows 8: 8 too many"):  # fmt: skip
        assert part in told
    assert "fits at 4/16, 8/16 bits of weights/states, on 2 cores" in told  # loihi2-like
    assert max(map(len, told.split("differ:")[0].splitlines())) <= 80


def test_json_and_a_tuned_network(here, capsys):
    capsys.readouterr()
    told = ["quantise", "own", "--bits", "8", "--state-bits", "16,32", "--tune", "1", "--sequences", "5", "--json"]
    assert main([*told, "--out", "tuned.npz"]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out.splitlines()[-1])
    assert found["sequences"] == 5 and found["targets"] == [] and found["out"] == "tuned.npz"
    assert [row["tuned"] for row in found["rows"]] == [False, False, False, True, True]
    assert "8 bits, tuned" in shown.err and "8 bits, epoch 1/1" in shown.err
    net = evsim.load("tuned.npz").net
    assert net.theta.tobytes() == tune(opened("own"), 8, epochs=1).net.theta.tobytes()
    assert main(["eval", "tuned.npz", "--data", "own.npz", "--split", "test"]) == 0
    assert main([*told, "--out", "tuned.npz"]) == 2 and "--force" in capsys.readouterr().err
    assert main([*told, "--out", "tuned.npz", "--force"]) == 0


def test_where_there_is_no_accuracy(here, capsys):
    capsys.readouterr()
    assert main(["quantise", "numbers", "--bits", "8", "--target", "xylo-like"]) == 0
    told = capsys.readouterr().out
    assert "loss" in told and "accuracy" not in told and "egru units, which xylo-like does not have" in told


def test_own_targets(here, capsys):
    text = 'what = "mine"\ncells = ["lif"]\ngraded = false\n[limits]\nunits = 7\n'
    Path("own.toml").write_text(text, encoding="utf-8")
    capsys.readouterr()
    assert main(["quantise", "own", "--bits", "8", "--target", "own.toml,mcu"]) == 0
    assert "the network needs 8 units, own.toml allows 7: 1 too many" in capsys.readouterr().out


def test_targets_are_listed(capsys):
    assert main(["list", "targets", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["targets"]
    assert [row["name"] for row in rows] == ["loihi2-like", "mcu", "spinnaker2-like", "xylo-like"]
    assert rows[3]["cells"] == ["cubalif", "lif"] and "fan out 64" in rows[3]["limits"]


REFUSED = {
    "bits": (["own", "--bits", "4,5"], "bits=5 is unknown: choose one of 4, 8, 16"),
    "words": (["own", "--bits", "few"], "bits='few' is not usable: give whole numbers, as in 4,8"),
    "state bits": (["own", "--state-bits", "8"], "state_bits=8 is unknown: choose one of 16, 32"),
    "target": (["own", "--target", "mcu,xylo"], "target 'xylo' is unknown: choose one of"),
    "no target": (["own", "--target", "none.toml"], "none.toml does not exist"),
    "checkpoint": (["own/checkpoint.npz"], "own/checkpoint.npz names no task: give the folder of a run"),
    "seeds": (["two"], "two holds a run for each of several seeds: name one of"),
    "none": (["gone"], "gone does not exist"),
    "epochs": (["own", "--tune", "-1"], "tune=-1 is not usable: give a whole number of at least 1"),
    "lr": (["own", "--lr", "0.1"], "--lr 0.1 is that of tuning: give --tune EPOCHS too"),
    "negative": (["own", "--tune", "1", "--lr", "-1"], "lr=-1.0 is not usable: give a finite number above 0"),
    "out": (["own", "--tune", "1", "--out", "o.npz"], "--out takes the tuned network: give --tune EPOCHS, and --bits"),
    "sequences": (["own", "--sequences", "0"], "sequences=0 is not usable"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_one_line_and_exit_code_2(name, here, capsys):
    words, told = REFUSED[name]
    capsys.readouterr()
    assert main(["quantise", *words]) == 2
    shown = capsys.readouterr()
    assert told in shown.err and len(shown.err.splitlines()) == 1 and not shown.out


def test_data_that_have_changed_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for command in (["train", "--data", "o.npz", "--units", "4", "--epochs", "1", "--out", "r"], ["quantise", "r"]):
        np.savez("o.npz", x=rng.random((40, 3, 2)), y=np.arange(40) % 2)
        code = main(command)
    assert code == 2 and "o.npz has changed since the run began" in capsys.readouterr().err


def test_a_torch_model_is_refused(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    np.savez("o.npz", x=np.random.default_rng(0).random((40, 3, 2)), y=np.arange(40) % 2)
    tiny = ["--units", "4", "--epochs", "1", "--learner", "bptt", "--backend", "torch"]
    assert main(["train", "--data", "o.npz", *tiny, "--out", "r"]) == 0
    capsys.readouterr()
    assert main(["quantise", "r"]) == 2
    assert "r holds a torch model, which cannot be quantised: train one with --backend numba" in capsys.readouterr().err
