"""evsim sweep: every combination of settings, medians over seeds, results that are kept; and what is refused."""

import json

import pytest

from evsim import grid
from evsim.cli import main
from evsim.show import show_sweep

SMALL = {"task": "spiral", "units": 4, "epochs": 1, "streams": 8, "threads": 1}


def test_every_combination_is_trained_and_the_best_stands_first(tmp_path):
    path = tmp_path / "out.json"
    found = grid.sweep(SMALL, ["lr=0.02,0.001", "threshold=0.2,0.4"], (0, 1), path=path)
    chosen = [row["settings"] for row in found["rows"]]
    assert found["task"] == "spiral" and found["seeds"] == [0, 1]
    assert sorted(map(str, chosen)) == sorted(
        str({"lr": lr, "threshold": threshold}) for lr in (0.02, 0.001) for threshold in (0.2, 0.4)
    )
    losses = [row["validation_loss"] for row in found["rows"]]
    assert losses == sorted(losses) and len(set(losses)) == 4
    runs = [one for one in json.loads(path.read_text()).values()]
    assert len(runs) == 8
    best = [one for one in runs if one["settings"]["lr"] == chosen[0]["lr"]
            and one["settings"]["threshold"] == chosen[0]["threshold"]]  # fmt: skip
    last = [one["history"][-1]["validation_loss"] for one in best]
    assert losses[0] == sum(last) / 2 and found["rows"][0]["runs"] == 2
    before = path.stat().st_mtime_ns
    assert grid.sweep(SMALL, ["lr=0.02,0.001", "threshold=0.2,0.4"], (0, 1), path=path) == found
    assert path.stat().st_mtime_ns == before


def test_diverged_runs_are_told_apart(capsys):
    runs = [{"failed": "NaN", "history": []}, {"test_loss": 1.0, "history": [{"validation_loss": 2.0}]}]
    row = grid._row({"lr": 9.0}, runs)
    assert row["diverged"] == 1 and row["validation_loss"] == 2.0 and row["test_loss"] == 1.0
    none = grid._row({"lr": 99.0}, runs[:1])
    assert none["validation_loss"] is None and "test_loss" not in none
    show_sweep({"task": "t", "seeds": [0, 1], "rows": [row, none]})
    assert "1 of 2" in capsys.readouterr().out


def test_the_command(capsys):
    small = [f"--set={name}={value}" for name, value in SMALL.items() if name != "task"]
    assert main(["sweep", "spiral", "--over", "lr=0.01,0.02", *small, "--workers", "1", "--json"]) == 0
    out, err = capsys.readouterr()
    assert {row["settings"]["lr"] for row in json.loads(out.splitlines()[-1])["rows"]} == {0.01, 0.02}
    assert "val loss" in err and "the best by validation loss first" in err


BAD = {
    "nothing": ([], "nothing is varied: give --over KEY=A,B,..."),
    "twice": (["lr=1,2", "lr=3"], "lr is varied twice"),
    "the same value": (["lr=1,1"], "holds a value twice"),
    "unknown": (["untis=1,2"], "did you mean 'units'?"),
    "of the wrong kind": (["lr=a,b"], "of the wrong kind: give a number"),
    "no value": (["lr"], "is no option"),
    "given too": (["units=1,2"], "units cannot be the same for all runs: leave units=4 out"),
    "seeds": (["seed=1,2"], "seeds go by --seeds"),
    "unusable": (["lr=0.1,-1"], "lr=-1"),
    "too many": ([f"lr={','.join(map(str, range(1, 1002)))}"], "1,001 runs, and at most 1,000"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    over, told = BAD[case]
    with pytest.raises(ValueError, match=told.replace("?", r"\?").replace(".", r"\.")):
        grid.sweep(SMALL, over)
