"""evsim train under torch: runs, resuming, evaluation and predictions; what is refused; life without torch."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from test_cli import _here, run, start  # noqa: F401

import evsim
from evsim.models import MemUP, RolloutTrainer, build_model, full, truncated
from evsim.models.checkpoint import load_trainer
from evsim.registry import lookup

ROOT = Path(evsim.__file__).resolve().parent.parent
TINY = ("--length", 14, "--symbols", 1, "--alphabet", 2, "--units", 6, "--streams", 20, "--sequences", 120)
LEARNERS = {"memup": ("--window", 4, "--targets", 1), "tbptt": ("--window", 4, "--backend", "torch"),
            "bptt": ("--backend", "torch")}  # fmt: skip


def weights(folder):
    """The model's parameters in a run's checkpoint, as bytes."""
    with np.load(Path(folder) / "checkpoint.npz") as found:
        return {name: found[name].tobytes() for name in found.files if name.startswith("model/")}


def rows(folder):
    """metrics.jsonl without what the clock decides."""
    lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    timed = ("seconds", "cpu_seconds", "steps_per_second")
    return [{k: v for k, v in json.loads(line).items() if k not in timed} for line in lines]


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("cell", ["lstm", "egru"])
def test_train_evaluate_predict(learner, cell, capsys):
    run("train", "positional-copy", *TINY, "--learner", learner, *LEARNERS[learner], "--cell", cell, "--out", "r",
        "--json")  # fmt: skip
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    for name in ("test_accuracy", "updates", "train_cpu_seconds", "graph_elements", "graph_bytes", "peak_bytes"):
        assert summary[name] > 0 or name == "test_accuracy"
    assert ("activity" in summary) == (cell == "egru")
    steps = 14 if learner == "bptt" else 4
    assert steps < summary["graph_elements"] <= steps * 2 + 2
    assert summary == json.loads(Path("r/summary.json").read_text())
    row = rows("r")[-1]
    assert {"epoch", "learning_rate", "validation_accuracy", "updates", "loss"} <= set(row)
    for what in ("r", "r/checkpoint.npz"):
        run("eval", what, "--json")
        found = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert found["test_accuracy"] == summary["test_accuracy"]
    np.savez("new.npz", x=np.eye(4, dtype=np.float32)[np.random.default_rng(0).integers(4, size=(7, 9))])
    run("predict", "r", "--data", "new.npz", "--out", "said.npz")
    said = np.load("said.npz")["predictions"]
    assert said.shape == (7,) and set(said) <= {0, 1, 2}


@pytest.mark.parametrize("method", [MemUP(4, 1), MemUP(4, 2, "surprise", 2), MemUP(4, 1, "random"), full()], ids=repr)
@pytest.mark.parametrize("optimizer", [torch.optim.Adam, lambda p: torch.optim.SGD(p, 0.1, 0.9)])
def test_resumed_equals_uninterrupted(method, optimizer, tmp_path):
    task = lookup("task", "positional-copy")(length=14, symbols=1, alphabet=2, epoch_size=60)

    def trainer():
        model = build_model(task, "egru", 6, hidden=8, seed=1)
        made = optimizer(model.parameters())
        decay = torch.optim.lr_scheduler.ExponentialLR(made, 0.99)
        return RolloutTrainer(model, method, task, made, decay, streams=7, seed=2)

    whole, first = trainer(), trainer()
    whole.fit(epochs=3)
    first.fit(epochs=1, checkpoint=tmp_path / "c.npz")
    second = load_trainer(tmp_path / "c.npz", trainer())
    second.fit(epochs=3)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], value)
    losses = [[(row["loss"], row["learning_rate"], row["updates"]) for row in one.history] for one in (whole, second)]
    assert losses[0] == losses[1]
    other = trainer()
    other.fit(epochs=2)
    assert not torch.equal(next(other.model.parameters()), next(whole.model.parameters()))


def test_a_run_that_was_interrupted_goes_on(capsys):
    long = ("train", "positional-copy", *TINY[:-1], 100000, "--learner", "memup", "--window", 4, "--seed", 3,
            "--schedule", "constant")  # fmt: skip
    process = start(*long, "--out", "cut")
    while not (Path("cut/metrics.jsonl").exists() and Path("cut/metrics.jsonl").read_text()):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == 130 and "to go on: evsim train --resume cut" in told
    done = len(rows("cut"))
    config = Path("cut/config.toml")
    config.write_text(config.read_text().replace("epochs = 100\n", f"epochs = {done + 1}\n"))
    run("train", "--resume", "cut")
    assert len(rows("cut")) == done + 1
    same = (*long[:2], *TINY[:-2], "--learner", "memup", "--window", 4, "--seed", 3, "--schedule", "constant")
    run(*same, "--epochs", done + 1, "--out", "whole")
    assert weights("cut") == weights("whole") and rows("cut") == rows("whole")


def test_several_seeds_and_their_median(capsys):
    run("train", "positional-copy", *TINY, "--learner", "memup", "--window", 4, "--seeds", "0,1", "--json",
        "--out", "s")  # fmt: skip
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["updates"] == summary["runs"][0]["updates"]
    assert weights("s/seed-0") != weights("s/seed-1")
    run("train", "--resume", "s")


@pytest.mark.parametrize("task", ["adding", "tmaze", "digits", "spiral", "delayed-recall", "temporal-order"])
def test_other_tasks_and_losses(task):
    pytest.importorskip("sklearn")
    budget = ("--epochs", 1) if task in ("digits", "spiral") else ("--sequences", 64)
    run("train", task, *budget, "--learner", "memup", "--window", 4, "--units", 4, "--out", "r")
    assert json.loads(Path("r/summary.json").read_text())["test_loss"] > 0


def test_defaults_fit_short_windows_and_sequences():
    run("train", "positional-copy", *TINY, "--learner", "memup", "--window", 1, "--out", "r")
    rng = np.random.default_rng(0)
    np.savez("short.npz", x=rng.standard_normal((60, 8, 2)), y=rng.integers(2, size=60), lengths=np.full(60, 1))
    run("train", "--data", "short.npz", "--learner", "memup", "--epochs", 1, "--out", "s")
    assert "window = 1\n" in Path("s/config.toml").read_text()


def test_ones_own_arrays():
    run("train", "--data", "own.npz", "--learner", "tbptt", "--cell", "gru", "--window", 3, "--epochs", 1, "--out", "r")
    run("eval", "r")
    run("predict", "r", "--data", "own.npz", "--out", "said.npz")
    assert len(np.load("said.npz")["predictions"]) == 48


REFUSED = [
    (("--learner", "memup", "--window", 0), "window=0 is not usable"),
    (("--learner", "memup", "--targets", -1), "targets=-1 is not usable"),
    (("--learner", "memup", "--window", 15), "window=15 is longer than the longest sequence, which has 14 steps"),
    (("--learner", "memup", "--detector", "oracle"), "detector"),
    (("--learner", "memup", "--backend", "numba"), "learner 'memup' runs under torch alone: leave --backend numba out"),
    (("--learner", "rtrl", "--backend", "torch"), "learner 'rtrl' is evsim's own: choose memup, dni, tbptt, bptt"),
    (("--cell", "lstm"), "cell 'lstm' needs a learner of torch models, and no learner was given"),
    (("--backend", "jax"), "backend='jax'|backend 'jax'"),
    (("--learner", "memup", "--block", 4), "block=4 belongs to the backend numba: leave it out"),
    (("--learner", "memup", "--density", 0.5), "density=0.5 belongs to cells of evsim: leave it out"),
    (("--learner", "tbptt", "--targets", 2), "targets=2 belongs to the learner memup: leave it out"),
    (("--learner", "tbptt", "--cell", "gru", "--detector", "entropy"), "detector='entropy' belongs to the learner"),
    (("--learner", "bptt", "--cell", "gru", "--window", 2), "window=2 belongs to the learners tbptt, dni and memup"),
    (("--learner", "memup", "--predictor", "linear", "--context", 2), "context=2 belongs to the predictor context"),
    (("--learner", "memup", "--device", "abacus"), "device='abacus' is not to be had here"),
    (("--learner", "memup", "--device", "meta"), "device='meta' is not to be had here"),
    (("--learner", "memup", "--momentum", 0.9), "momentum belongs to sgd"),
    (("--learner", "memup", "--warmup", 5, "--schedule", "constant"), "warmup belongs to a cosine schedule"),
    (("--learner", "memup", "--decay", "weights"), "decay='weights' says what weight_decay is on"),
    (("--learner", "memup", "--lr", -1), "lr=-1"),
    (("--learner", "memup", "--dtype", "float16"), "float16"),
    (("--learner", "memup", "--cell", "egru", "--tau", 0.1), "cell 'egru' has no option 'tau'"),
    (("--compare", "memup"), "learner 'memup' trains torch models and has no gradient of this network"),
]


@pytest.mark.parametrize(("given", "told"), REFUSED, ids=[" ".join(map(str, given)) for given, _ in REFUSED])
def test_what_is_refused(given, told, capsys):
    run("train", "positional-copy", "--length", 14, "--symbols", 1, *given, "--out", "r", code=2)
    err = capsys.readouterr().err
    assert re.search(told, err) and err.count("\n") == 1
    assert not Path("r").exists()


def test_a_damaged_checkpoint_is_told(capsys):
    run("train", "positional-copy", *TINY, "--learner", "memup", "--window", 4, "--out", "r", "--seed", 1)
    Path("r/checkpoint.npz").write_bytes(b"no")
    run("eval", "r", code=2)
    assert "cannot be read as a checkpoint" in capsys.readouterr().err
    task = lookup("task", "positional-copy")(length=14, symbols=1, alphabet=2)
    trainer = RolloutTrainer(build_model(task, units=4), truncated(4), task, streams=3)
    trainer.save("own.npz")
    run("eval", "own.npz", code=2)
    assert "call its load(path)" in capsys.readouterr().err
    other = RolloutTrainer(build_model(task, units=5), truncated(4), task, streams=3)
    with pytest.raises(ValueError, match="does not fit this trainer"):
        other.load("own.npz")
    for change, told in (
        ({"streams": 4}, "with streams 3, and this one has 4"),
        ({"method": truncated(5)}, "with method .*'window': 4.* and this one has .*'window': 5"),
        ({"method": MemUP(4, 1)}, "with method"),
        ({"task": lookup("task", "positional-copy")(length=13, symbols=1, alphabet=2)}, "with task .*'length': 14"),
        ({"scheduler": lambda o: torch.optim.lr_scheduler.StepLR(o, 2)}, "with scheduler 'NoneType'"),
    ):
        given = {"method": truncated(4), "task": task, "streams": 3, **change}
        with pytest.raises(ValueError, match=told):
            RolloutTrainer(build_model(task, units=4), **given).load("own.npz")


WITHOUT = """
import sys
class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "norse"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Gone())
from evsim.cli import main
raise SystemExit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("argv", "code", "told"),
    [
        (("train", "positional-copy", "--learner", "memup"), 2, 'which is not installed: pip install -e ".[torch]"'),
        (("train", "delayed-recall", "--cell", "lstm", "--learner", "tbptt"), 2, 'pip install -e ".[torch]"'),
        (("train", "delayed-recall", "--learner", "memup", "--window", "0"), 2, 'pip install -e ".[torch]"'),
        (("list", "learners"), 0, "memup"),
        (("train", "delayed-recall", "--sequences", "32", "--units", "4"), 0, "the run is in"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_without_torch_all_else_works(argv, code, told):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", WITHOUT, *argv], capture_output=True, text=True, env=environment)
    assert done.returncode == code, done.stderr
    assert told in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_specifications_need_no_torch():
    code = "from evsim.models import MemUP, truncated; truncated(3)\ntry: MemUP(0)\nexcept ValueError as e: print(e)"
    blocked = WITHOUT.partition("from evsim.cli")[0] + code
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, env=environment)
    assert "window=0 is not usable" in done.stdout, done.stderr
