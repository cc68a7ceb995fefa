"""Contests: the same weights, order and steps for all; what is of no use to a learner is left out; bad words."""

import json
import re

import numpy as np
import pytest
import torch

from evsim.build import resolve
from evsim.cli import main
from evsim.contest import compare, train_one
from evsim.models import RolloutTrainer, build_model, truncated
from evsim.models.streams import Source
from evsim.processes import run_each
from evsim.registry import lookup
from evsim.runs import backend_of

SMALL = {"task": "delayed-recall", "units": 8, "sequences": 400, "streams": 10, "dtype": "float64"}


def test_backpropagation_comes_to_the_same_by_evsim_and_by_torch():
    """So weights, order of sequences, losses, clipping, optimiser and schedule are the same."""
    words = "bptt,bptt backend=torch,tbptt window=4,tbptt window=4 backend=torch,bptt seed=1"
    rows = compare(SMALL, words)["rows"]
    assert [row["backend"] for row in rows] == ["numba", "torch", "numba", "torch", "numba"]
    whole, whole_torch, cut, cut_torch, other = (row["test_loss"] for row in rows)
    assert abs(whole - whole_torch) < 1e-9
    assert abs(whole - cut) > 1e-6 and abs(whole - other) > 1e-6
    assert np.isfinite(cut_torch)  # it updates after every window, evsim's own after sequences
    assert len({row["steps"] for row in rows}) == 1 and rows[0]["steps"] == 400 * 9
    losses = [[row["loss"] for row in run["history"]] for run in rows[:2]]
    assert losses[0] == pytest.approx(losses[1], abs=1e-9)


def test_the_order_of_sequences_is_that_of_the_trainer():
    task = lookup("task", "delayed-recall")(epoch_size=30)
    rng = np.random.default_rng(7)
    orders = [rng.permutation(30) for _ in range(3)]
    source = Source(task, np.float32, 7, as_trainer=True)
    for epoch in range(3):
        data = task.training(epoch)
        x, *_ = source.take(30)
        assert np.array_equal(x.numpy(), data.x[orders[epoch]])
    again = Source(task, np.float32, 7, as_trainer=True)
    again.load_state([2, 4])
    assert np.array_equal(again.take(5)[0].numpy(), task.training(2).x[orders[2][4:9]])
    model = build_model(task, "gru", 4, predictor="linear")
    made = RolloutTrainer(model, truncated(3), task, streams=5, seed=7, phase="same")
    assert np.array_equal(made.at.x.numpy(), task.training(0).x[orders[0][:5]])
    plain = Source(task, np.float32, 7)
    plain.take(30)  # of epoch 0 both orders are the same
    assert not np.array_equal(plain.take(30)[0].numpy(), task.training(1).x[orders[1]])


def test_first_weights_are_the_same():
    found = []
    for learner, backend in (("rtrl", "numba"), ("dni", "torch"), ("tbptt", "torch")):
        given = {"task": "delayed-recall", "cell": "egru", "units": 6, "density": 0.5, "dtype": "float64"}
        given |= {"learner": learner, "backend": backend, **({} if backend == "numba" else {"predictor": "linear"})}
        trainer = backend_of({"backend": backend}).build(*resolve(given))
        found.append(trainer)
    net, *others = found
    values = net.net.parameters()
    for trainer in others:
        mine = {name: value.detach().numpy() for name, value in trainer.model.core.values().items()}
        mine["readout.weight"] = trainer.model.predictor.weight.detach().numpy()
        mine["readout.bias"] = trainer.model.predictor.bias.detach().numpy()
        assert mine.keys() == values.keys()
        assert all(np.array_equal(mine[name], values[name]) for name in values)


def test_a_contest_of_all_five_on_the_command_line(capsys, tmp_path):
    options = ("--units", "6", "--sequences", "96", "--streams", "8", "--window", "3", "--set", "density=0.5")
    out = str(tmp_path / "found.json")
    assert main(["compare", "delayed-recall", *options, "--out", out, "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out.splitlines()[-1])
    rows = found["rows"]
    assert [row["learner"] for row in rows] == ["rtrl", "bptt", "tbptt", "memup", "dni"]
    assert [row["backend"] for row in rows] == ["numba"] * 2 + ["torch"] * 3
    assert [row["updates"] for row in rows] == [12, 12, 12, 36, 36]  # TBPTT's first windows have nothing to learn from
    assert {row["cell"] for row in rows} == {"egru"}
    assert {row["steps"] for row in rows} == {96 * 9}
    for row in rows:
        assert 0 <= row["test_accuracy"] <= 1 and row["test_loss"] > 0
        assert row["cpu_seconds"] > 0 and row["peak_bytes"] > 1e7 and row["stored_bytes"] > 1000
        assert row["settings"]["units"] == 6 and row["settings"]["density"] == 0.5
    assert rows[2]["settings"]["window"] == 3 and "window" not in rows[0]["settings"]
    assert rows[3]["settings"]["predictor"] == "context" and rows[4]["settings"]["predictor"] == "linear"
    for word in ("learner", "accuracy", "CPU s", "stored", "peak"):
        assert word in said.err
    assert main(["compare", "delayed-recall", *options, "--out", out]) == 0  # goes on: nothing is left to do
    told = capsys.readouterr()
    assert "CPU seconds" not in told.err and f"{rows[0]['test_accuracy']:.2%}" in told.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--learners", "rtrl,bttp"), "learner 'bttp' is unknown.*bptt"),
        (("--learners", "rtrl,rtrl"), "it is there twice"),
        (("--learners", "rtrl,tbptt window=3,tbptt window=x"), "window='x' is of the wrong kind"),
        (("--learners", "rtrl,tbptt windw=3"), "windw"),
        (("--learners", "rtrl,"), "learner '' is unknown"),
        (("--learners", "rtrl,bptt", "--window", "3"), "window=3 is of no use to any of rtrl,bptt"),
        (("--learners", "rtrl", "--cell", "lstm"), "learner 'rtrl' is evsim's own"),
        (("--set", "units=3", "--units", "4"), "units was given twice"),
        (("--set", "nothing=3"), "nothing"),
        (("--set", "units"), "'units' is no option"),
        (("--learners", "dni", "--window", "30"), "window=30 is longer"),
        (("--learners", "rtrl learner=bptt"), "learner cannot be chosen for one learner alone"),
        (("--learners", "rtrl,bptt length=4"), "length cannot be chosen for one learner alone"),
        (("--set", "learner=bptt"), "learner='bptt' cannot be chosen for all"),
        (("--streams", "0"), "streams=0 is not usable"),
        (("--out", "nowhere/found.json"), "the folder nowhere, where results are to go, does not exist"),
        (("--out", "README.md"), "README.md holds no results of an earlier call"),
    ],
)
def test_bad_words_in_one_line(arguments, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("# no results")
    assert main(["compare", "delayed-recall", *arguments]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and re.search(told, said[0]), said


def test_flags_and_restarts_of_one_learner():
    words = "dni window=3 alternate=true restart_base=1 switch=3,dni window=3 shuffled=true"
    first, second = (row["settings"] for row in compare({**SMALL, "sequences": 20}, words)["rows"])
    assert first["alternate"] is True and first["schedule"] == "restarts" and first["switch"] == [3]
    assert first["first"] == "real" and second["first"] == "synthetic" and second["shuffled"] is True


def test_a_tasks_threshold_is_for_its_own_cell():
    given = {"task": "text", "limit": 300, "units": 4}
    own, egru = (row["settings"] for row in compare(given, "tbptt window=5,tbptt window=5 cell=egru")["rows"])
    assert own["cell"] == "evrnn" and own["threshold"] == 0.1
    assert not {"threshold", "half_width"} & set(egru)


def test_bptt_is_not_let_keep_a_text_without_end():
    with pytest.raises(ValueError, match=r"bptt keeps all of a stream's 3\d\d,\d\d\d steps"):
        compare({"task": "text", "units": 4}, "bptt")


def test_one_that_diverges_does_not_take_the_others_along(capsys):
    given = {**SMALL, "sequences": 100, "dtype": "float32"}
    rows = compare(given, "dni window=2 scale=1e9 synthesiser_lr=1e30,bptt")["rows"]
    assert "failed" in rows[0] and rows[1]["test_loss"] > 0
    from evsim.show import show_contest

    show_contest({"task": "t", "rows": rows})
    assert "diverged" in capsys.readouterr().out


def test_training_stops_when_it_is_enough():
    settings = {"task": "delayed-recall", "learner": "bptt", "units": 16, "density": 1.0, "epochs": 30, "lr": 0.01}
    row = train_one("bptt", settings, enough=0.3)
    assert len(row["history"]) < 30 and row["history"][-1]["validation_loss"] <= 0.3
    assert all(one["validation_loss"] > 0.3 for one in row["history"][:-1])
    torch.manual_seed(0)


def test_results_are_kept_as_they_come(tmp_path):
    path, told = tmp_path / "kept.json", []
    first = run_each(_twice, [(1,), (2,)], path=path, tell=told.append)
    assert first == [{"value": 2}, {"value": 4}] == told
    more = run_each(_twice, [(3,), (1,)], path=path, tell=told.append)
    assert more == [{"value": 6}, {"value": 2}] and told[2:] == [{"value": 6}]


def _twice(value):
    return {"value": 2 * value}
