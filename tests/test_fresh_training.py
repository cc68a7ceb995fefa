"""Training on sequences that are new in every epoch, and figures at the answers: through Trainer and command line."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from cutting import cut_after

import evsim
from evsim import registry, trainer
from evsim.arraytask import ArrayTask
from evsim.cli import main
from evsim.evaluate import evaluate
from evsim.generated import GeneratedTask
from evsim.runfolder import read_toml
from evsim.sequences import as_sequences
from evsim.task import Data

FRESH = [name for name in registry.names("task") if registry.lookup("task", name).fresh]
SMALL = ["--units", "4", "--streams", "4", "--threads", "1"]


def copy_task(**options):
    """A small copy task."""
    return registry.lookup("task", "copy")(length=8, symbols=2, alphabet=3, epoch_size=12, **options)


def ready(task, streams=4, update="sequence", lr=1e-2):
    """A trainer on a small network for `task`."""
    net = evsim.Network(task.n_in, [evsim.EGRU(6)], evsim.Readout(task.n_out))
    return evsim.Trainer(evsim.RTRL(net, loss=task.loss, streams=streams), evsim.Adam(lr), task, update)


def says(task, out):
    """A network whose outputs are always `out`."""
    net = evsim.Network(task.n_in, [evsim.EGRU(2)], evsim.Readout(task.n_out))
    silent = {name: np.zeros_like(value) for name, value in net.parameters().items() if name.startswith("readout")}
    net.load_parameters({**net.parameters(), **silent, "readout.bias": np.array(out, float)})
    return net


class Seen(type(copy_task())):
    """A copy task that notes which epochs were asked for."""

    def __init__(self, **options):
        super().__init__(**options)
        self.asked = []

    def training(self, epoch):
        self.asked.append(epoch)
        return super().training(epoch)


class Careless(type(copy_task())):
    """One whose sequences depend on how many were drawn before."""

    def __init__(self, **options):
        super().__init__(**options)
        self.rng = np.random.default_rng(0)

    def training(self, epoch):
        return self.sample(self.epoch_size, self.rng)


def test_each_epoch_is_asked_for_and_read():
    task = Seen(length=8, symbols=2, epoch_size=12)
    ready(task).fit(epochs=3)
    assert task.asked == [0, 1, 2]
    fixed = ready(task)
    one = task.split("train")
    for _ in range(3):
        fixed.fit(*one[:4], answers=one.answers, epochs=1 + len(fixed.history))
    assert ready(task).fit(epochs=1)[0]["loss"] == fixed.history[0]["loss"]
    assert ready(task).fit(epochs=2)[1]["loss"] != fixed.history[1]["loss"]


STOPS = [(1, "sequence"), (5, "sequence"), (9, 3), (15, 3)]


@pytest.mark.parametrize(
    ("kind", "stop", "update"), [*((Seen, *stop) for stop in STOPS), *((Careless, *stop) for stop in STOPS[1:])]
)
def test_resumed_equals_uninterrupted(tmp_path, monkeypatch, kind, stop, update):
    """Bit for bit, wherever it was cut; not so where an epoch does not say which its sequences are."""
    equal = kind is Seen
    monkeypatch.setattr(trainer, "SAVE_SECONDS", -1)  # a checkpoint after every piece
    options = {"length": 8, "symbols": 2, "epoch_size": 12}
    whole = ready(kind(**options), update=update)
    whole.fit(epochs=3)
    cut_after(ready(kind(**options), update=update), stop, 3, tmp_path / "c.npz")
    resumed = evsim.Trainer.resume(tmp_path / "c.npz", kind(**options))
    resumed.fit(epochs=3)
    assert (resumed.net.theta.tobytes() == whole.net.theta.tobytes()) == equal
    assert ([row["loss"] for row in resumed.history] == [row["loss"] for row in whole.history]) == equal


def test_figures_are_those_of_the_answers():
    task = copy_task()
    data = task.split("test")
    net = says(task, [2, 1, 0, 5])  # the blank, and among symbols the first
    found = evaluate(net, data, "cross_entropy")
    told = data.y[:, -2:]
    norm = math.log(sum(math.exp(v) for v in (2, 1, 0, 5)))
    assert found["accuracy"] == 0 and found["loss"] == pytest.approx(np.mean(norm - np.array([2, 1, 0, 5])[told]))
    assert evaluate(net, data._replace(answers=None), "cross_entropy")["accuracy"] == 6 / 8
    first = evaluate(says(task, [5, 0, 0, 1]), data, "cross_entropy")
    assert first["accuracy"] == (told == 0).mean() == pytest.approx(task.chance, abs=0.05)


def test_figures_of_the_junction():
    task = registry.lookup("task", "tmaze")(length=5)
    found = evaluate(says(task, [0.5]), task.split("test"), "mse")
    assert found["loss"] == pytest.approx(task.chance_loss) and found["accuracy"] is None
    assert evaluate(says(task, [0.5]), task.split("test")._replace(answers=None), "mse")["loss"] < 2


def test_rows_and_the_trainers_evaluation_too():
    task = copy_task()
    calm = evsim.Trainer(evsim.RTRL(says(task, [0, 0, 0, 9]), streams=4), evsim.SGD(1e-9), task)
    row = calm.fit(epochs=1)[0]
    assert row["accuracy"] == row["validation_accuracy"] == calm.evaluate()["accuracy"] == 0
    assert row["loss"] < 0.3 * row["validation_loss"]  # the loss that is learnt from has the blanks in it
    data = task.split("train")
    given = evsim.Trainer(evsim.RTRL(says(task, [0, 0, 0, 9]), streams=4), evsim.SGD(1e-9))
    held = tuple(task.split("validation"))
    assert given.fit(data.x, data.y, epochs=1, validation=held[:2])[0]["accuracy"] == 6 / 8
    last = given.fit(data.x, data.y, answers=data.answers, epochs=2, validation=held)[-1]
    assert last["accuracy"] == last["validation_accuracy"] == 0
    assert given.evaluate(data.x, data.y)["accuracy"] == 6 / 8
    assert given.evaluate(data.x, data.y, answers=data.answers)["accuracy"] == 0


def test_answers_that_are_not_learnt_from_are_still_judged():
    task = copy_task()
    data = task.split("test")
    apart = data._replace(mask=~data.answers)
    made = as_sequences(apart, task.n_in, task.n_out, task.loss, np.float32)
    assert (made.targets == data.y).all() and not (made.keep & made.answers).any()
    assert evaluate(says(task, [9, 0, 0, 0]), apart, task.loss)["accuracy"] == (data.y[:, -2:] == 0).mean()
    hidden = data.y.copy()
    hidden[:, 0] = 99  # neither learnt from nor judged
    as_sequences(apart._replace(y=hidden, mask=data.answers), task.n_in, task.n_out, task.loss, np.float32)
    with pytest.raises(ValueError, match="y holds class 99"):
        as_sequences(apart._replace(y=hidden), task.n_in, task.n_out, task.loss, np.float32)


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        (np.zeros((2, 3), bool), "answers keeps no step at all"),
        (np.ones((2, 4), bool), "answers has shape (2, 4) and dtype bool: give a boolean array (2, 3)"),
        (np.ones((2, 3)), "answers has shape (2, 3) and dtype float64"),
        ([[False, False, True]] * 2, "answers keeps no step at all"),  # behind the end
    ],
)
def test_answers_that_cannot_be(answers, told):
    data = Data(np.zeros((2, 3, 1)), np.zeros((2, 3), int), np.array([2, 2]), None, answers)
    with pytest.raises(ValueError) as error:
        as_sequences(data, 1, 2, "cross_entropy", np.float32)
    assert told in str(error.value)


def test_arrays_in_a_file_may_carry_answers(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = copy_task().sample(40, np.random.default_rng(0))
    np.savez("own.npz", x=data.x, y=data.y, answers=data.answers)
    assert main(["train", "--data", "own.npz", *SMALL, "--epochs", "1", "--lr", "1e-9", "--out", "r", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    task = ArrayTask.from_npz("own.npz")
    assert task.split("test").answers.sum() == 2 * task.sizes["test"] and task.chance < 0.6
    net = evsim.load("r/checkpoint.npz").net
    assert found["test_accuracy"] == evaluate(net, task.split("test"), task.loss)["accuracy"]


def run(*argv, code=0):
    """Call the command line; the exit code must be as said."""
    assert main([str(one) for one in argv]) == code


@pytest.mark.parametrize("name", FRESH)
def test_a_task_trains_from_the_command_line(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run("train", name, *SMALL, "--sequences", "10", "--out", "r", "--json")
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["task"] == name and found["config"]["epochs"] == 1 and found["config"]["epoch_size"] == 10
    assert "sequences" not in found["config"] and np.isfinite(found["test_loss"])
    run("eval", "r", "--json")
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert again["test_loss"] == found["test_loss"] and again["test_accuracy"] == found["test_accuracy"]


def test_options_of_tasks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    chosen = {"length": 9, "symbols": 2, "alphabet": 3, "cues": "identical"}
    words = [word for name, value in chosen.items() for word in (f"--{name}", value)]
    run("train", "scattered-copy", *words, *SMALL, "--sequences", 8, "--out", "r")
    assert chosen.items() <= read_toml("r/config.toml").items()
    assert evsim.load("r/checkpoint.npz").net.n_in == 5
    run("eval", "r/checkpoint.npz", "--task", "scattered-copy", *words)
    run("train", "temporal-order", "--rule", "xor", *SMALL, "--sequences", 8, "--out", "x")
    assert evsim.load("x/checkpoint.npz").net.n_out == 2
    run("eval", "r", "--length", 30)  # a network reads any length
    capsys.readouterr()
    run("eval", "r", "--alphabet", 5, code=2)
    assert "hears 5 inputs" in capsys.readouterr().err


def test_defaults_go_with_the_learner_and_the_cell_that_they_were_made_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("train", "copy", *SMALL, "--sequences", 8, "--learner", "tbptt", "--window", 3, "--cell", "lif", "--out", "r")
    config = read_toml("r/config.toml")
    assert "block" not in config and "half_width" not in config
    run("train", "copy", *SMALL, "--sequences", 8, "--out", "s")
    assert {"block": "auto", "half_width": 0.5}.items() <= read_toml("s/config.toml").items()


def test_every_task_stands_on_its_page():
    page = (Path(evsim.__file__).parent.parent / "docs" / "tasks.md").read_text(encoding="utf-8")
    assert [name for name in registry.names("task") if f"| `{name}` |" not in page] == []


def test_a_budget_of_sequences(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("few.toml").write_text('task = "adding"\nepoch_size = 10\nepochs = 7\nschedule = "constant"\n')
    for count, epochs, size in ((4, 1, 4), (10, 1, 10), (11, 2, 10), (30, 3, 10)):
        run("train", "--config", "few.toml", *SMALL, "--sequences", count, "--out", f"r{count}")
        config = read_toml(f"r{count}/config.toml")
        assert (config["epochs"], config["epoch_size"]) == (epochs, size)
        assert len(Path(f"r{count}/metrics.jsonl").read_text().splitlines()) == epochs
    run("train", "--resume", "r4", "--epochs", 3)
    run("train", "--config", "few.toml", "--epochs", 3, *SMALL, "--sequences", 4, "--out", "both", code=2)
    told = capsys.readouterr().err.splitlines()[-1]
    assert told == "evsim: epochs and sequences were both given: leave one of them out" and not Path("both").exists()
    Path("four.toml").write_text('task = "adding"\nepoch_size = 4\nepochs = 3\nschedule = "constant"\n')
    run("train", "--config", "four.toml", *SMALL, "--out", "whole")
    thetas = [evsim.load(f"{name}/checkpoint.npz").net.theta.tobytes() for name in ("r4", "whole")]
    assert thetas[0] == thetas[1]
    run("train", "--config", "r11/config.toml", "--out", "again")
    thetas = [evsim.load(f"{name}/checkpoint.npz").net.theta.tobytes() for name in ("again", "r11")]
    assert thetas[0] == thetas[1]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["spiral", "--sequences", "9"], "sequences=9 was given, but spiral has a fixed set of 7000 to train on: give"),
        (["copy", "--sequences", "0"], "sequences=0 is not usable"),
        (["copy", "--sequences", "9", "--epochs", "2"], "epochs and sequences were both given"),
        (["copy", "--cues", "distinct"], "task 'copy' has no option 'cues'"),
        (["spiral", "--length", "9"], "task 'spiral' takes no options, but 'length' was given"),
        (["digits", "--length", "9"], "its options are layout: rows, pixels, permuted"),
        (["copy", "--length", "4"], "length=4 is too short"),
        (["copy", "--length", "4.5"], "--length"),
        (["temporal-order", "--rule", "xxor"], "did you mean 'xor'"),
    ],
)
def test_bad_input_is_one_line(argv, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run("train", *argv, code=2)
    shown = capsys.readouterr().err
    assert told in shown and shown.startswith("evsim: ") and shown.count("\n") == 1 and not list(tmp_path.iterdir())


def test_listing_draws_nothing(monkeypatch, capsys):
    monkeypatch.setattr(GeneratedTask, "_draw", None)
    run("list", "tasks", "--json")
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out.splitlines()[-1])["tasks"]}
    assert set(FRESH) < set(found) and "new training sequences in each epoch" in found["copy"]["what"]
    assert found["scattered-copy"]["options"][0] == "cues: distinct | identical"
    assert "length: 10 (at least 2)" in found["tmaze"]["options"]
