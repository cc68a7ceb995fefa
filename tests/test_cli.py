"""The command line: training, going on, evaluating and predicting, at tiny sizes; what bad input leads to."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import evsim
from evsim import warmup
from evsim.cli import main
from evsim.runfolder import read_toml

ROOT = Path(evsim.__file__).resolve().parent.parent
TINY = ["--units", "8", "--streams", "4", "--epochs", "2"]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """Each test has a folder of its own as the current one, with own.npz in it."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    y = np.arange(48) % 2
    np.savez("own.npz", x=rng.standard_normal((48, 5, 3)) + y[:, None, None], y=y, lengths=np.arange(48) % 3 + 3)


def run(*argv, code=0):
    """Call the command line; the exit code must be as said."""
    assert main([str(one) for one in argv]) == code


def theta(folder):
    """The parameters in a run folder's checkpoint, as bytes."""
    return evsim.load(Path(folder) / "checkpoint.npz").net.theta.tobytes()


def rows(folder):
    """metrics.jsonl without what the clock decides."""
    lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    timed = ("seconds", "steps_per_second")
    return [{k: v for k, v in json.loads(line).items() if k not in timed} for line in lines]


def tree():
    """Name -> bytes of all that lies here."""
    return {str(p): p.read_bytes() if p.is_file() else None for p in sorted(Path().rglob("*"))}


def start(*argv):
    """The command line in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "evsim", *map(str, argv)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_help_is_light():
    code = "import sys; from evsim.cli import main; c = main(['train', '--help']); print(c, sorted(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert told.splitlines()[-1].startswith("0 ") and "'typer'" in told
    assert not any(f"'{heavy}'" in told for heavy in ("numpy", "scipy", "numba", "torch"))


def test_version_and_no_arguments(capsys):
    run("--version")
    assert capsys.readouterr().out == f"{evsim.__version__}\n"
    run(code=2)
    assert "train" in capsys.readouterr().out


def test_train_fills_a_run_folder(capsys):
    run("train", "--data", "own.npz", *TINY)
    shown = capsys.readouterr()
    assert sorted(p.name for p in Path("runs/own-1").iterdir()) == [
        "checkpoint.npz", "config.toml", "metrics.jsonl", "summary.json",
    ]  # fmt: skip
    for word in ("test accuracy", "activity", "phi-rate", "dense RTRL's multiply-adds", "peak memory"):
        assert word in shown.out
    assert "8 EGRU" in shown.err and "epoch 2/2, loss" in shown.err and "runs/own-1" in shown.err
    assert [row["epoch"] for row in rows("runs/own-1")] == [1, 2]
    assert {"learning_rate", "validation_loss", "activity"} <= set(rows("runs/own-1")[0])
    run("train", "--data", "own.npz", *TINY)
    assert theta("runs/own-1") == theta("runs/own-2")


def test_json_is_the_last_line_and_the_summary(capsys):
    run("train", "--data", "own.npz", *TINY, "--out", "r", "--json", "--learner", "rtrl", "--block", "1")
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert found == json.loads(Path("r/summary.json").read_text())
    assert "test accuracy" in shown.err
    keys = "test_accuracy test_loss activity phi_rate activity_per_layer macs_per_step dense_rtrl_macs_per_step"
    keys += " dense_bptt_macs_per_step joules_per_step joules_per_inference joules_per_sample profile ops inference_ops"
    assert set(f"{keys} density peak_bytes train_seconds steps task seed config".split()) == set(found)
    assert found["steps"] >= 2 * 34 * 3 and 0 < found["macs_per_step"] < found["dense_rtrl_macs_per_step"]
    assert found["config"]["block"] == 1 and found["config"]["loss"] == "cross_entropy"


@pytest.mark.parametrize("task", ["digits", "spiral"])
def test_a_task_trains_with_its_defaults(capsys, task):
    pytest.importorskip("sklearn")
    layout = ["--layout", "pixels"] if task == "digits" else []
    run("train", task, *layout, "--epochs", "1", "--units", "4", "--json")
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["task"] == task and found["config"].get("layout") == ("pixels" if layout else None)


def test_options_go_before_the_file_and_the_file_before_the_task(capsys):
    Path("a.toml").write_text('data = "own.npz"\nunits = 6\nlr = 0.01\nepochs = 1\nstreams = 3\nhalf_width = 0.4\n')
    run("train", "--config", "a.toml", "--out", "a", "--lr", "0.02", "--clip", "1", "--update", "2", "--layers", "2")
    config = read_toml("a/config.toml")
    wanted = {"units": 6, "lr": 0.02, "half_width": 0.4, "density": 0.2, "clip": 1.0, "update": 2, "layers": 2}
    assert wanted.items() <= config.items()
    net = evsim.load("a/checkpoint.npz").net
    assert [(cell.units, cell.density, cell.half_width) for cell in net.layers] == [(6, 0.2, 0.4)] * 2
    run("train", "--config", "a/config.toml", "--out", "b")
    assert theta("a") == theta("b") and rows("a") == rows("b")
    run("train", "spiral", "--config", "a/config.toml", "--out", "c", code=2)  # the file's loss is its data's


def test_several_seeds_and_their_median(capsys):
    run("train", "--data", "own.npz", *TINY, "--seeds", "0,1,2", "--out", "all", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(Path("all/summary.json").read_text()) and found["seeds"] == [0, 1, 2]
    each = [json.loads(Path(f"all/seed-{seed}/summary.json").read_text()) for seed in range(3)]
    assert found["runs"] == each
    assert found["test_loss"] == sorted(one["test_loss"] for one in each)[1]
    run("train", "--data", "own.npz", *TINY, "--seed", "1", "--out", "one")
    assert theta("one") == theta("all/seed-1") != theta("all/seed-0")
    run("train", "--resume", "all", "--epochs", "3")
    assert "median" in capsys.readouterr().out
    run("train", "--resume", "one", "--epochs", "3")
    assert theta("one") == theta("all/seed-1") and len(rows("all/seed-2")) == 3


def test_a_resumed_run_with_more_epochs_equals_one_of_as_many(capsys):
    run("train", "--data", "own.npz", *TINY, "--epochs", "3", "--out", "whole")
    run("train", "--data", "own.npz", *TINY, "--epochs", "1", "--out", "part")
    extra = {"epoch": 2, "loss": 0.5}
    with open("part/metrics.jsonl", "a") as file:
        file.write(json.dumps(extra) + "\n")
    run("train", "--resume", "part", "--epochs", "3", "--units", "8", "--data", "own.npz")
    assert theta("part") == theta("whole") and rows("part") == rows("whole")
    one, two = (json.loads(Path(f"{name}/summary.json").read_text()) for name in ("whole", "part"))
    for name in ("test_accuracy", "test_loss", "macs_per_step", "steps", "config"):
        assert one[name] == two[name]
    before = tree()
    capsys.readouterr()
    run("train", "--resume", "part")
    assert "all of its 3 epochs" in capsys.readouterr().err and tree() == before


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_interrupted_and_resumed_equals_uninterrupted(capsys):
    options = ["train", "--data", "own.npz", *TINY, "--epochs", "60", "--update", "2", "--threads", "2"]
    process = start(*options, "--out", "cut here")
    assert process.stderr is not None
    for line in process.stderr:
        if "epoch  3/60" in line:
            process.send_signal(signal.SIGINT)
            break
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    last = told.splitlines()[-1]
    assert "checkpoint is kept" in last and last.endswith("evsim train --resume 'cut here'")
    assert 3 <= len(rows("cut here")) < 60 and not Path("cut here/summary.json").exists()
    run("train", "--resume", "cut here")
    run(*options, "--out", "whole")
    assert theta("cut here") == theta("whole") and rows("cut here") == rows("whole")


def test_evaluating_gives_the_same_figures(capsys):
    run("train", "--data", "own.npz", *TINY, "--out", "r")
    summary = json.loads(Path("r/summary.json").read_text())
    capsys.readouterr()
    for what in (["r"], ["r/checkpoint.npz", "--data", "own.npz", "--split", "test"]):
        run("eval", *what, "--json")
        found = json.loads(capsys.readouterr().out)
        assert all(found[k] == summary[k] for k in ("test_accuracy", "test_loss", "activity", "phi_rate"))
    run("eval", "r", "--split", "validation")
    assert "validation accuracy" in capsys.readouterr().out


def test_evaluating_and_predicting_on_other_data(capsys):
    run("train", "--data", "own.npz", *TINY, "--out", "r")
    np.savez("other.npz", x=np.ones((2, 4, 3)), y=[1, 1], lengths=[4, 2])
    capsys.readouterr()
    run("eval", "r", "--data", "other.npz", "--json", "--predictions", "p.npz")
    found = json.loads(capsys.readouterr().out)
    assert found["split"] == "all" and found["sequences"] == 2
    with np.load("p.npz") as file:
        assert found["accuracy"] == (file["predictions"] == file["y"]).mean()
        said = file["predictions"]
    run("predict", "r", "--data", "other.npz", "--out", "q.npz")
    with np.load("q.npz") as file:
        assert (file["predictions"] == said).all()
    before = tree()
    run("predict", "r", "--data", "other.npz", "--out", "q.npz", code=2)
    run("eval", "r", "--data", "other.npz", "--predictions", "p.npz", code=2)
    assert tree() == before
    run("predict", "r/checkpoint.npz", "--data", "other.npz", "--out", "q.npz", "--force")


def test_numbers_as_targets(capsys):
    x = np.random.default_rng(0).standard_normal((40, 4, 2))
    np.savez("numbers.npz", x=x, y=x.sum(axis=2, keepdims=True))
    run("train", "--data", "numbers.npz", *TINY, "--out", "r", "--schedule", "cosine", "--optimizer", "sgd", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["test_accuracy"] is None and found["config"]["loss"] == "mse"
    run("predict", "r", "--data", "numbers.npz", "--out", "p.npz")
    with np.load("p.npz") as file:
        assert file["predictions"].shape == (40, 1)


def test_force_replaces_a_run_and_nothing_else():
    run("train", "--data", "own.npz", *TINY, "--seeds", "0,1", "--out", "r")
    Path("r/notes.txt").write_text("mine")
    run("train", "--data", "own.npz", *TINY, "--out", "r", "--force")
    assert sorted(p.name for p in Path("r").iterdir()) == [
        "checkpoint.npz", "config.toml", "metrics.jsonl", "notes.txt", "summary.json",
    ]  # fmt: skip


def test_list(capsys):
    run("list")
    told = capsys.readouterr().out
    assert all(word in told for word in ("egru", "rtrl", "digits", "rows | pixels", "exports", "bundle", "nir"))
    run("list", "learners", "--json")
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out.splitlines()[-1])["learners"]}
    assert found["rtrl"]["exact"] is True and found["snap"]["exact"] is False


def test_a_diverging_run_fails_in_one_line_and_keeps_its_checkpoint(capsys):
    argv = ["train", "--data", "own.npz", "--out", "r", "--cell", "evrnn", "--density", "1", "--units", "8"]
    run(*argv, "--lr", "1e30", "--optimizer", "sgd", "--epochs", "9", code=1)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("evsim: ") and "lower the learning rate" in last and "r/checkpoint.npz" in last
    assert np.isfinite(evsim.load("r/checkpoint.npz").net.theta).all() and not Path("r/summary.json").exists()


def test_compiling_is_announced(capsys, monkeypatch):
    monkeypatch.setattr(warmup, "cached", lambda _: False)
    run("train", "--data", "own.npz", *TINY)
    told = capsys.readouterr().err
    assert "compiling the kernels: the first run takes up to a minute" in told and "compiled in " in told


def test_whether_kernels_are_cached(tmp_path, monkeypatch):
    source = tmp_path / "evsim" / "forward.py"
    (tmp_path / "evsim" / "__pycache__").mkdir(parents=True)
    source.write_text("")
    monkeypatch.delenv("NUMBA_DISABLE_JIT", raising=False)
    for chosen, folder in ((None, source.parent / "__pycache__"), (tmp_path / "kernels", tmp_path / "kernels/evsim_0")):
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(chosen)) if chosen else monkeypatch.delenv("NUMBA_CACHE_DIR", False)
        assert not warmup.cached([source])
        folder.mkdir(parents=True, exist_ok=True)
        kernel = folder / "forward._read_out-24.py311.nbi"
        kernel.write_bytes(b"")
        assert warmup.cached([source])
        os.utime(kernel, (1, 1))  # older than the source
        assert not warmup.cached([source])
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert warmup.cached([source])


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    run("train", "--data", "own.npz", *TINY)
    told = capsys.readouterr().err
    assert "steps/s" in told and "\x1b[" in told


BAD = {
    "nothing to do": (["train"], "name a task"),
    "unknown command": (["trian"], "'trian'"),
    "unknown option": (["train", "digits", "--unit", "3"], "--unit"),
    "option without value": (["train", "digits", "--lr"], "--lr"),
    "not a number": (["train", "digits", "--lr", "fast"], "--lr"),
    "too many words": (["train", "digits", "spiral"], "spiral"),
    "unknown task": (["train", "digit"], "did you mean 'digits'"),
    "task and data": (["train", "digits", "--data", "own.npz"], "task and data were both given"),
    "unknown cell": (["train", "spiral", "--cell", "egruu"], "did you mean 'egru'"),
    "unknown learner": (["train", "spiral", "--learner", "rtrll"], "did you mean 'rtrl'"),
    "unknown optimizer": (["train", "spiral", "--optimizer", "adm"], "did you mean 'adam'"),
    "unknown schedule": (["train", "spiral", "--schedule", "cosin"], "did you mean 'cosine'"),
    "unknown loss": (["train", "--data", "own.npz", "--loss", "mae"], "loss='mae'"),
    "loss of a task": (["train", "spiral", "--loss", "mse"], "leave it out"),
    "layout of a task": (["train", "spiral", "--layout", "rows"], "takes no options"),
    "unknown layout": (["train", "digits", "--layout", "row"], "did you mean 'rows'"),
    "layout of data": (["train", "--data", "own.npz", "--layout", "rows"], "layout belongs to a task"),
    "no units": (["train", "spiral", "--units", "0"], "units=0"),
    "no layers": (["train", "spiral", "--layers", "0"], "layers=0"),
    "density": (["train", "spiral", "--density", "1.5"], "density=1.5"),
    "density_in": (["train", "spiral", "--density-in", "0"], "density_in=0"),
    "half width": (["train", "spiral", "--half-width", "-1"], "half_width=-1"),
    "learning rate": (["train", "spiral", "--lr", "nan"], "lr=nan"),
    "clip": (["train", "spiral", "--clip", "0"], "clip=0"),
    "epochs": (["train", "spiral", "--epochs", "0"], "epochs=0"),
    "streams": (["train", "spiral", "--streams", "0"], "streams=0"),
    "threads": (["train", "spiral", "--threads", "0"], "threads=0"),
    "block": (["train", "spiral", "--block", "0"], "block=0"),
    "block in words": (["train", "spiral", "--block", "often"], "block='often'"),
    "memory": (["train", "spiral", "--block", "64", "--memory-limit", "100K"], "memory_limit is 102,400"),
    "update": (["train", "spiral", "--update", "often"], "update='often'"),
    "update 0": (["train", "spiral", "--update", "0"], "update=0"),
    "dtype": (["train", "spiral", "--dtype", "float16"], "float16"),
    "seed": (["train", "spiral", "--seed", "-1"], "seed=-1"),
    "seeds": (["train", "spiral", "--seeds", "0,x"], "seeds='x'"),
    "seeds twice": (["train", "spiral", "--seeds", "1,1"], "different"),
    "seed and seeds": (["train", "spiral", "--seed", "1", "--seeds", "1,2"], "seed and seeds"),
    "no data": (["train", "--data", "none.npz"], "does not exist"),
    "data unreadable": (["train", "--data", "text.toml"], "cannot be read"),
    "data with NaN": (["train", "--data", "nan.npz"], "x holds nan"),
    "no config": (["train", "--config", "none.toml"], "does not exist"),
    "config key": (["train", "spiral", "--config", "text.toml"], "did you mean 'units'"),
    "config kind": (["train", "spiral", "--config", "kind.toml"], "units='many'"),
    "config unreadable": (["train", "spiral", "--config", "own.npz"], "cannot be read as TOML"),
    "out is a run": (["train", "spiral", "--out", "r"], "holds a run already"),
    "out is a folder": (["train", "spiral", "--out", "folder"], "no run, which are never replaced"),
    "forced": (["train", "spiral", "--out", "folder", "--force"], "no run, which are never replaced"),
    "out is a file": (["train", "spiral", "--out", "own.npz", "--force"], "is a file"),
    "resume nothing": (["train", "--resume", "none"], "does not exist"),
    "resume no run": (["train", "--resume", "folder"], "not the folder of a run"),
    "resume otherwise": (["train", "--resume", "r", "--units", "9"], "units=9 contradicts units=8"),
    "resume a task": (["train", "spiral", "--resume", "r"], "contradicts"),
    "resume less": (["train", "--resume", "r", "--epochs", "1"], "epochs=1 is below"),
    "resume elsewhere": (["train", "--resume", "r", "--out", "s"], "leave --out"),
    "resume by force": (["train", "--resume", "r", "--force"], "leave --out and --force"),
    "resume damaged": (["train", "--resume", "cut", "--epochs", "9"], "cannot be read"),
    "resume empty": (["train", "--resume", "bare"], "no checkpoint.npz"),
    "resume cosine": (["train", "--resume", "cosine", "--epochs", "9"], "cosine schedule"),
    "eval nothing": (["eval", "none"], "does not exist"),
    "eval no run": (["eval", "folder"], "not the folder of a run"),
    "eval damaged": (["eval", "cut"], "cannot be read"),
    "eval what": (["eval", "r/checkpoint.npz"], "--data FILE.npz or --task"),
    "eval a task": (["eval", "r", "--task", "spiral", "--loss", "mse"], "trained with cross_entropy"),
    "eval inputs": (["eval", "r", "--task", "spiral"], "hears 3 inputs, but spiral has 2"),
    "eval split": (["eval", "r", "--split", "tests"], "did you mean 'test'"),
    "eval both": (["eval", "r", "--task", "spiral", "--data", "own.npz"], "task and data"),
    "eval labels": (["eval", "r", "--data", "labels.npz"], "holds class 2"),
    "eval into a folder": (["eval", "r", "--predictions", "folder"], "is a folder"),
    "predict without data": (["predict", "r", "--out", "p.npz"], "--data"),
    "predict shape": (["predict", "r", "--data", "wide.npz", "--out", "p.npz"], "x has shape"),
    "predict nowhere": (["predict", "r", "--data", "own.npz", "--out", "no/p.npz"], "does not exist"),
    "list what": (["list", "cell"], "did you mean 'cells'"),
}


@pytest.fixture(scope="module")
def runs_to_break(tmp_path_factory):
    """A folder with runs, sound and broken, and files that are none."""
    place = tmp_path_factory.mktemp("broken")
    before = Path.cwd()
    os.chdir(place)
    x = np.random.default_rng(0).standard_normal((20, 3, 3))
    np.savez("own.npz", x=x, y=np.arange(20) % 2)
    np.savez("nan.npz", x=np.full_like(x, np.nan), y=np.arange(20) % 2)
    np.savez("labels.npz", x=x, y=np.arange(20) % 6)
    np.savez("wide.npz", x=np.zeros((4, 3, 7)))
    Path("text.toml").write_text("unit = 3\n")
    Path("kind.toml").write_text('units = "many"\n')
    for name in ("r", "cut", "bare"):
        assert main(["train", "--data", "own.npz", *TINY, "--out", name]) == 0
    assert main(["train", "--data", "own.npz", *TINY, "--schedule", "cosine", "--out", "cosine"]) == 0
    Path("cut/checkpoint.npz").write_bytes(Path("r/checkpoint.npz").read_bytes()[:-300])
    Path("bare/checkpoint.npz").unlink()
    Path("folder").mkdir()
    Path("folder/notes.txt").write_text("mine")
    os.chdir(before)
    return place


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_changes_nothing(case, runs_to_break, monkeypatch, capsys):
    monkeypatch.chdir(runs_to_break)
    before = tree()
    argv, told = BAD[case]
    run(*argv, code=2)
    shown = capsys.readouterr()
    assert shown.err.startswith("evsim: ") and shown.err.count("\n") == 1 and told in shown.err
    assert shown.out == "" and tree() == before


def test_changed_data_are_not_gone_on_with(capsys):
    run("train", "--data", "own.npz", *TINY, "--out", "r")
    np.savez("own.npz", x=np.zeros((48, 5, 3)), y=np.arange(48) % 2)
    run("train", "--resume", "r", "--epochs", "3", code=2)
    assert "has changed since" in capsys.readouterr().err


def test_a_traceback_on_request(monkeypatch):
    monkeypatch.setenv("EVSIM_TRACEBACK", "1")
    with pytest.raises(ValueError, match="is unknown"):
        main(["train", "nothing"])
