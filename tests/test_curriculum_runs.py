"""Runs of curricula on the command line: they climb, go on bit for bit, are evaluated where they stand, and refuse."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_cli import _here, run  # noqa: F401

from evsim.curriculum import SOLVED
from evsim.runfolder import read_toml

EASY = ("--curriculum", "on", "--streams", 8, "--units", 16, "--lr", 0.02)
RUNS = {
    "copy rtrl": ("copy", "--alphabet", 2, "--epochs", 8),
    "copy tbptt torch": ("copy", "--alphabet", 2, "--epochs", 8, "--learner", "tbptt", "--cell", "lstm"),
    "repeat rtrl": ("repeat-copy", "--bits", 1, "--epochs", 12),
    "repeat dni": ("repeat-copy", "--bits", 1, "--epochs", 12, "--learner", "dni", "--window", 3),
}


@pytest.mark.parametrize("which", RUNS)
def test_a_run_climbs_and_is_evaluated_where_it_stands(which, capsys):
    run("train", *RUNS[which], *EASY, "--out", "r", "--json")
    shown = capsys.readouterr()
    summary = json.loads(shown.out.splitlines()[-1])
    rows = [json.loads(line) for line in Path("r/metrics.jsonl").read_text().splitlines()]
    names = ["symbols", "repeats"] if "repeat" in which else ["symbols"]
    level, solved = ({name: summary[prefix + name] for name in names} for prefix in ("", "solved_"))
    met = [{name: row[name] for name in names} for row in rows]
    assert max(level.values()) > 1 and set(solved.values()) != {0} and solved in met
    last = met.index(solved, -1 - met[::-1].index(solved))
    assert rows[last]["loss_bits"] < SOLVED and rows[-1]["solved_length"] == summary["solved_length"]
    n, r = solved["symbols"], solved.get("repeats", 1)
    assert summary["solved_length"] == ((r + 1) * n + 3 if "repeat" in which else 2 * n)
    assert "solved symbols" in shown.err and f"epoch {len(rows)}/{len(rows)}, symbols {met[-1]['symbols']}" in shown.err
    config = read_toml("r/config.toml")
    assert config["symbols"] == 1 and config["curriculum"] == "on" and "length" not in {**config, **summary["config"]}
    run("eval", "r", "--json")
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["test_loss"] == summary["test_loss"] and level.items() <= found.items()
    run("eval", "r", "--symbols", 1, *(["--repeats", 1] if "repeat" in which else []), "--json")
    lowest = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert lowest["symbols"] == 1 and lowest["test_loss"] != found["test_loss"]
    run("eval", "r/checkpoint.npz", "--task", RUNS[which][0], *RUNS[which][1:3], "--curriculum", "on", "--json")
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["test_loss"] == found["test_loss"]


def test_a_run_goes_on_bit_for_bit_and_each_seed_begins_below(capsys):
    options = ("copy", "--alphabet", 2, *EASY)
    for backend in ((), ("--learner", "tbptt", "--cell", "lstm")):
        run("train", *options, *backend, "--epochs", 9, "--seeds", "0,1", "--out", "whole", "--force")
        run("train", *options, *backend, "--epochs", 4, "--seeds", "0,1", "--out", "part", "--force")
        run("train", "--resume", "part", "--epochs", 9)
        whole, part = (json.loads(Path(f"{name}/summary.json").read_text()) for name in ("whole", "part"))
        for one, two in zip(whole["runs"], part["runs"]):
            assert one["test_loss"] == two["test_loss"] and one["solved_symbols"] == two["solved_symbols"] > 0
        assert whole["solved_symbols"] == np.median([one["solved_symbols"] for one in whole["runs"]])
        for seed in (0, 1):
            first = json.loads(Path(f"whole/seed-{seed}/metrics.jsonl").read_text().splitlines()[0])
            assert first["symbols"] == 1
    assert "solved" in capsys.readouterr().out


def test_a_budget_of_sequences_counts_epochs_that_are_short():
    run("train", "copy", *EASY, "--sequences", 1300, "--out", "r")
    config = read_toml("r/config.toml")
    assert (config["epochs"], config["epoch_size"], config["schedule"]) == (3, 640, "constant")


REFUSED = [
    (("copy", "--curriculum", "on", "--length", 30), "length=30 does not go with curriculum='on', where n symbols"),
    (("copy", "--curriculum", "on", "--symbols", 0), "symbols=0 is not usable: give a whole number of at least 1"),
    (("copy", "--curriculum", "up"), "curriculum='up' is unknown: choose one of off, on"),
    (("copy", "--repeats", 2), "task 'copy' has no option 'repeats'"),
    (("positional-copy", "--curriculum", "on"), "task 'positional-copy' has no option 'curriculum'"),
    (("repeat-copy", "--length", 9), "task 'repeat-copy' has no option 'length'"),
    (("repeat-copy", "--repeats", 0), "repeats=0 is not usable"),
    (("repeat-copy", "--bits", 0), "bits=0 is not usable"),
    (("copy", "--curriculum", "on", "--schedule", "cosine"), "schedule='cosine' has to know how many updates there"),
    (("repeat-copy", "--curriculum", "on", "--restart-base", 3), "schedule='restarts' has to know how many updates"),
]


@pytest.mark.parametrize(("argv", "told"), REFUSED, ids=[" ".join(map(str, argv)) for argv, _ in REFUSED])
def test_what_is_refused(argv, told, capsys):
    run("train", *argv, "--out", "r", code=2)
    err = capsys.readouterr().err
    assert told in err and err.count("\n") == 1 and not Path("r").exists()


def test_a_level_that_a_run_did_not_reach_is_not_taken_from_it(capsys):
    """What a run did without a curriculum has no level; `--curriculum on` then stands at the first."""
    run("train", "repeat-copy", "--units", 4, "--sequences", 20, "--out", "r")
    capsys.readouterr()
    run("eval", "r", "--json")
    plain = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert "symbols" not in plain and "solved_symbols" not in json.loads(Path("r/summary.json").read_text())
    run("eval", "r", "--curriculum", "on", "--json")
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["symbols"] == 3  # where that run's options stand
