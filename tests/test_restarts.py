"""Restarts and phases: the published table of phases, learning rates to 1e-12, both without training."""

import json
import math

import pytest
import torch

from evsim.cli import main
from evsim.restarts import Phases, Restarts
from evsim.schedule import WarmRestarts

pytestmark = pytest.mark.nojit
R, S = "real", "synthetic"
PUBLISHED = {  # (base, do gradients alternate, switch) -> phases over 320 epochs, as the authors' flags play out
    (5, True, ()): [(R, 1, 5), (S, 6, 10), (R, 11, 20), (S, 21, 40), (R, 41, 80), (S, 81, 160), (R, 161, 320)],
    (160, True, ()): [(R, 1, 160), (S, 161, 320)],
    (5, True, (2,)): [
        (R, 1, 1), (S, 2, 5), (R, 6, 10), (S, 11, 20), (R, 21, 40), (S, 41, 80), (R, 81, 160), (S, 161, 320),
    ],
    (160, True, (2,)): [(R, 1, 1), (S, 2, 160), (R, 161, 320)],
    (5, False, (2,)): [(R, 1, 1), (S, 2, 320)],
    (160, False, (2,)): [(R, 1, 1), (S, 2, 320)],
}  # fmt: skip


@pytest.mark.parametrize(("base", "alternate", "switch"), PUBLISHED)
def test_the_published_table_of_phases(base, alternate, switch):
    phases = Phases("real", Restarts(base) if alternate else None, switch)
    assert phases.table(320) == PUBLISHED[base, alternate, switch]
    other = Phases("synthetic", phases.restarts, switch)  # the other parity
    assert [(kind == R, a, b) for kind, a, b in other.table(320)] == [
        (kind == S, a, b) for kind, a, b in phases.table(320)
    ]
    assert Phases("real", Restarts(base + 1), switch).table(320) != PUBLISHED[base, alternate, switch]


def test_where_restarts_come():
    begins = [at for at in range(320) if Restarts(5).place(at)[1] == at]
    assert [at + 1 for at in begins] == [1, 6, 11, 21, 41, 81, 161]
    assert [Restarts(5).place(at)[2] for at in begins] == [5, 5, 10, 20, 40, 80, 160]
    multiplied = [at for at in range(100) if Restarts(5, "multiply").place(at)[1] == at]
    assert multiplied == [0, 5, 15, 35, 75]
    assert Restarts(3, "multiply", 1).place(3_000_000) == (1_000_000, 3_000_000, 3)
    assert Restarts(2, "multiply", 3).place(8.5) == (2, 8, 18)


def slow_boundary(lr, base, epochs):
    """lr / 2 * (1 + cos(pi * t / N)), t = 0..N-1 epochs since the restart; a boundary is twice the one before."""
    found, boundary = [], base
    start = 0
    for epoch in range(epochs):
        if epoch == boundary:
            start, boundary = boundary, 2 * boundary
        found.append(lr / 2 * (1 + math.cos(math.pi * (epoch - start) / (boundary - start))))
    return found


@pytest.mark.parametrize("base", [1, 5, 7, 160])
def test_rates_whose_boundary_doubles(base):
    wanted = slow_boundary(1e-3, base, 330)
    for per_epoch in (1, 13):
        rate = WarmRestarts(1e-3, base * per_epoch, hold=per_epoch)
        found = [rate(k) for k in range(330 * per_epoch)]
        assert max(abs(a - b) for a, b in zip(found[::per_epoch], wanted)) < 1e-12
        assert all(len(set(found[k * per_epoch : (k + 1) * per_epoch])) == 1 for k in range(330))
    standard = WarmRestarts(1e-3, base, "multiply")
    assert max(abs(standard(k) - wanted[k]) for k in range(330)) > 1e-5  # the two forms are not the same


@pytest.mark.parametrize(("base", "multiple"), [(5, 2), (10, 2), (3, 1), (4, 3)])
def test_rates_whose_period_multiplies_are_torchs(base, multiple):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, base, multiple, eta_min=0.01)
    rate = WarmRestarts(0.3, base, "multiply", multiple, final=0.01)
    for k in range(200):
        assert abs(optimizer.param_groups[0]["lr"] - rate(k)) < 1e-12
        optimizer.step()
        scheduler.step()
    batches = WarmRestarts(0.3, base * 8, "multiply", multiple, final=0.01)  # by batches of an eighth of an epoch
    for k in range(200):
        scheduler.step(k / 8)
        assert abs(optimizer.param_groups[0]["lr"] - batches(k)) < 1e-12


def foreseen(capsys, *arguments):
    assert main(["train", "delayed-recall", "--dry-run", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])["epochs"]


def test_a_dry_run_prints_phases_and_rates_and_trains_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ("--learner", "dni", "--alternate", "--restart-base", "5", "--epochs", "320", "--lr", "1e-3")
    rows = foreseen(capsys, *options)
    wanted = [(kind, epoch) for kind, a, b in PUBLISHED[5, True, ()] for epoch in range(a, b + 1)]
    assert [(row["phase"], row["epoch"]) for row in rows] == wanted
    assert max(abs(row["learning_rate"] - b) for row, b in zip(rows, slow_boundary(1e-3, 5, 320))) < 1e-12
    rows = foreseen(capsys, *options, "--switch", "2")
    assert [row["phase"] for row in rows][:7] == [R, S, S, S, S, R, R]
    rows = foreseen(capsys, *options, "--first", "synthetic", "--restart-growth", "multiply")
    assert [row["phase"] for row in rows][:16] == [S] * 5 + [R] * 10 + [S]
    rows = foreseen(capsys, *options, "--restart-each", "batch")
    assert abs(rows[6]["learning_rate"] - 1e-3 / 2 * (1 + math.cos(math.pi / 5))) < 1e-12
    assert list(tmp_path.iterdir()) == []
    assert main(["train", "delayed-recall", "--dry-run", *options]) == 0
    told = capsys.readouterr().out
    assert "learning rate" in told and told.count("synthetic") == 3 and told.count("real") == 4
    rows = foreseen(capsys, "--restart-base", "2", "--epochs", "4")  # rates alone, of any learner
    assert [set(row) for row in rows] == [{"epoch", "learning_rate"}] * 4


@pytest.mark.parametrize("each", ["epoch", "batch"])
def test_a_run_does_what_was_foreseen(capsys, tmp_path, each):
    options = ("--learner", "dni", "--alternate", "--restart-base", "1", "--restart-each", each, "--epochs", "5",
               "--window", "3", "--units", "4", "--predictor", "linear", "--sequences", "320")  # fmt: skip
    options = tuple(o for o in options if o not in ("--epochs", "5"))
    rows = foreseen(capsys, *options)
    assert main(["train", "delayed-recall", *options, "--out", str(tmp_path / "run")]) == 0
    noted = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    keys = "epoch", "phase", "learning_rate"
    assert [[row[key] for key in keys] for row in noted] == [[row[key] for key in keys] for row in rows]


def test_rates_and_phases_stay_together_where_windows_are_told_nothing(capsys, tmp_path):
    """One stream, whose first two windows of three have no target: in real phases they make no update."""
    options = ("--learner", "dni", "--alternate", "--restart-base", "2", "--window", "3", "--streams", "1")
    options += ("--units", "4")
    config = tmp_path / "c.toml"
    config.write_text('task = "delayed-recall"\nepoch_size = 20\nepochs = 6\n')
    assert main(["train", "--config", str(config), *options, "--out", str(tmp_path / "run")]) == 0
    noted = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["phase"] for row in noted] == [R, R, S, S, R, R]
    assert [row["learning_rate"] for row in noted] == pytest.approx(slow_boundary(3e-3, 2, 6), abs=1e-12)
    assert noted[0]["updates"] == 20 and noted[-1]["updates"] < 6 * 60  # so rates are not by updates


def test_restarts_for_evsims_own_learners(capsys, tmp_path):
    config = tmp_path / "c.toml"
    config.write_text('task = "delayed-recall"\nepoch_size = 16\n')
    options = ("--config", str(config), "--restart-base", "1", "--epochs", "4", "--units", "4")
    rows = foreseen(capsys, *options)
    assert main(["train", *options, "--out", str(tmp_path / "run")]) == 0
    noted = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["learning_rate"] for row in noted] == [row["learning_rate"] for row in rows]
    assert len({row["learning_rate"] for row in rows}) == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--restart-base", "0"), "restart_base=0"),
        (("--restart-base", "1.5"), "restart_base=1.5 has to be a whole number of epochs"),
        (("--restart-base", "2", "--restart-multiple", "3"), "restart_multiple=3 belongs to restart_growth multiply"),
        (("--restart-base", "2", "--auxiliary", "-1"), "auxiliary=-1.0 is not usable: .* at least 0"),
        (("--restart-base", "2", "--synthesiser-layers", "0", "--synthesiser-units", "7"), "synthesiser_units=7 is"),
        (("--restart-base", "2", "--window", "1000"), "window=1000 is longer"),
        (("--restart-base", "2", "--streams", "0"), "streams=0 is not usable"),
        (("--restart-base", "-3"), "restart_base=-3"),
        (("--restart-base", "2", "--first", "even"), "first='even'.*real, synthetic"),
        (("--restart-base", "2", "--restart-growth", "double"), "restart_growth='double'.*boundary, multiply"),
        (("--restart-base", "2", "--restart-growth", "multiply", "--restart-multiple", "0"), "restart_multiple=0"),
        (("--restart-base", "2", "--restart-each", "step"), "restart_each='step'.*epoch, batch"),
        (("--restart-base", "2", "--switch", "2,2"), "switch=.2, 2. names an epoch twice"),
        (("--restart-base", "2", "--switch", "0"), "switch=0"),
        (("--restart-base", "2", "--switch", "two"), "switch='two'"),
        ((), "give --restart-base"),
        (("--schedule", "restarts"), "give --restart-base"),
        (("--schedule", "cosine", "--restart-base", "3"), "restart_base.*--schedule restarts"),
        (("--restart-base", "2", "--scale", "0"), "scale=0"),
        (("--restart-base", "2", "--condition", "label"), "condition='label'"),
    ],
)
def test_bad_options_in_one_line(options, told, capsys):
    import re

    assert main(["train", "delayed-recall", "--learner", "dni", "--alternate", "--dry-run", *options]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and re.search(told, said[0]), said


def test_options_of_dni_are_its_own(capsys):
    for learner in (("rtrl",), ("memup",), ("tbptt", "--backend", "torch")):
        assert main(["train", "delayed-recall", "--learner", *learner, "--scale", "0.5", "--dry-run"]) == 2
        assert "scale=0.5 belongs to the learner dni" in capsys.readouterr().err
    assert main(["train", "delayed-recall", "--learner", "dni", "--backend", "numba"]) == 2
    assert "runs under torch alone" in capsys.readouterr().err
    assert main(["train", "delayed-recall", "--learner", "dni", "--reduction", "mean", "--dry-run"]) == 2
    assert "reduction" in capsys.readouterr().err
