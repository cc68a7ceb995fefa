"""Tokens and long sequences under torch: streams carry whole numbers, evaluation reads in pieces."""

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

import evsim
from evsim.cli import main
from evsim.generated import one_hot
from evsim.models.build import build_core
from evsim.models.method import truncated
from evsim.models.model import Model
from evsim.models.network import EventCore
from evsim.models.predictor import ContextPredictor, LinearPredictor
from evsim.models.streams import Source, Streams, of_task
from evsim.models.trainer import RolloutTrainer
from evsim.task import Data, Task
from evsim.tasks.text import Text

N = 106
KEPT = ("loss", "accuracy", "validation_loss", "validation_accuracy")
evaluating = import_module("evsim.models.evaluate")  # evsim.models has a function of that name


class Told(Model):
    """A model whose tokens become one-hot before anything else sees them; notes what it was given."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.core.hears = ("numbers", "tokens")
        self.given = []

    def remember(self, x, state):
        if not x.is_floating_point():
            self.given.append((tuple(x.shape), x.dtype))
        return super().remember(self.floats(x), state)

    def padded(self, x):
        return super().padded(self.floats(x))

    def floats(self, x):
        return x if x.is_floating_point() else torch.nn.functional.one_hot(x.long(), N).to(torch.float32)


class Hot(Task):
    """The text as explicit one-hot arrays."""

    name, loss = "hot", "cross_entropy"

    def __init__(self, text):
        super().__init__()
        self.text, self.n_in, self.n_out = text, N, N
        self.steps, self.sizes = text.steps, text.sizes

    def _make(self):
        parts = {part: self.text.split(part) for part in self.sizes}
        return {part: data._replace(x=one_hot(data.x, N)) for part, data in parts.items()}


@pytest.fixture(scope="module")
def task():
    return Text(limit=331).side_by_side(3)


def model(steps=1, cell="lstm"):
    """A small model, always the same."""
    core = build_core(cell, N, 8)
    torch.manual_seed(0)
    predictor = LinearPredictor(core.width, N) if steps == 1 else ContextPredictor(core.width, N, N, steps, 8, 4)
    return Told(core, predictor)


def test_streams_carry_tokens_as_they_are(task):
    source = Source(task, np.float32, 0)
    streams = Streams(source, model(), 3, 10)
    assert streams.x.dtype == torch.uint8 and streams.x.shape == (3, 110)
    streams.spread(np.random.default_rng(1))
    assert len(set(streams.at.tolist())) > 1
    index, _ = streams.here()
    read = streams.read(streams.x, index)
    assert read.dtype == torch.int64 and streams.read(streams.keep, index).dtype == torch.bool
    data = task.split("train")
    for k, at in enumerate(streams.at.tolist()):
        found = [row for row in data.x if (row[at : at + 10] == read[k].numpy()[: 110 - at]).all()]
        assert found and (row_after(found[0], at) == streams.read(streams.targets, index)[k, 0].item() or at >= 109)


def row_after(row, at):
    return row[at + 1] if at + 1 < len(row) else None


@pytest.mark.parametrize("phase", ["random", "same"])
def test_training_on_tokens_is_training_on_one_hot_arrays(task, phase, tmp_path):
    histories = []
    for given in (task, Hot(task)):
        trainer = RolloutTrainer(model(), truncated(7), given, streams=3, phase=phase)
        trainer.fit(epochs=2, checkpoint=tmp_path / f"{given.name}.npz")
        histories.append([{name: row[name] for name in KEPT} for row in trainer.history])
        if given is task:
            assert {dtype for _, dtype in trainer.model.given} == {torch.int64}
            assert {"bits_per_character", "validation_bits_per_character"} <= set(trainer.history[0])
            again = RolloutTrainer(model(), truncated(7), given, streams=3, phase=phase).load(tmp_path / "text.npz")
            again.fit(epochs=3)
            trainer.fit(epochs=3)
            assert again.history[-1]["loss"] == trainer.history[-1]["loss"]
    assert histories[0] == histories[1]


def test_evaluation_in_pieces_is_evaluation_in_one(task, monkeypatch):
    data = of_task(task, task.split("train"), np.float32)
    made = model()
    made.given.clear()
    whole = evaluating.evaluate(made, data, task.loss)
    assert made.given == [((3, 110), torch.int64)]
    made.given.clear()
    monkeypatch.setattr(evaluating, "ROOM", 3 * N * 40)
    pieces = evaluating.evaluate(made, data, task.loss)
    assert [shape for shape, _ in made.given] == [(3, 40), (3, 40), (3, 30)]
    assert pieces["loss"] == pytest.approx(whole["loss"], rel=1e-6) and pieces["accuracy"] == whole["accuracy"]
    x = data.x[:, :110].reshape(-1, 10)
    anew = of_task(task, Data(x, data.targets.reshape(-1, 10)), np.float32)
    assert abs(evaluating.evaluate(made, anew, task.loss)["loss"] - whole["loss"]) > 1e-4  # state counts


def test_longer_contexts_are_read_whole(task, monkeypatch):
    data = of_task(task, task.split("train"), np.float32)
    made = model(steps=3)
    whole = evaluating.evaluate(made, data, task.loss)
    monkeypatch.setattr(evaluating, "ROOM", 3 * N * 40)
    made.given.clear()
    assert evaluating.evaluate(made, data, task.loss) == whole
    assert [shape for shape, _ in made.given] == [(3, 110)]


def test_the_last_step_is_found_among_pieces(task, monkeypatch):
    """As `Trained.predict` looks for it, with sequences of several lengths."""
    from evsim.models import run

    made, lengths = model(), np.array([40, 110, 81])
    trained = run.Trained.__new__(run.Trained)
    trained._model, trained.n_in, trained.n_out = made, N, N
    trained.settings = {"dtype": "float32"}
    x = task.split("train").x
    whole = trained.predict(x, lengths, "mse")
    monkeypatch.setattr(evaluating, "ROOM", 3 * N * 40)
    np.testing.assert_allclose(trained.predict(x, lengths, "mse"), whole, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        alone = made(torch.from_numpy(x[2:, :81].astype(np.int64)))[0][0, -1].numpy()
    np.testing.assert_allclose(whole[2], alone, rtol=1e-5, atol=1e-6)


def test_a_run_under_torch_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["train", "text", "--learner", "tbptt", "--backend", "torch", "--limit", "700", "--units", "5"]
    assert main([*options, "--epochs", "2", "--out", "r"]) == 0
    found = json.loads(Path("r/summary.json").read_text())
    last = json.loads(Path("r/metrics.jsonl").read_text().splitlines()[-1])
    assert found["bits_per_character"] == pytest.approx(found["test_loss"] / np.log(2))
    assert found["running_bits_per_character"] == last["bits_per_character"]
    assert last["validation_bits_per_character"] == pytest.approx(last["validation_loss"] / np.log(2))
    assert main(["eval", "r", "--predictions", "p.npz", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["bits_per_character"] == found["bits_per_character"]
    assert np.load("p.npz")["predictions"].shape == (16,)
    monkeypatch.setattr("pydoc_data.topics.topics", {"one": "another text\n" * 100})
    assert main(["train", "--resume", "r"]) == 2
    assert "the text has changed since the run in r began" in capsys.readouterr().err


def test_events_of_tokens_are_counted(task):
    """A cell of evsim speaks under torch as often as it does by itself."""
    net = evsim.Network(N, [evsim.EGRU(8)], evsim.Readout(N), tokens=True)
    made = Told(EventCore(net), LinearPredictor(8, N))
    found = [evaluating.evaluate(made, of_task(t, t.split("train"), np.float32), t.loss) for t in (task, Hot(task))]
    assert found[0]["activity"] == found[1]["activity"] > 0
    assert found[0] == found[1]
    _, (events,) = net.run(one_hot(task.split("train").x, N), record_events=True)
    assert found[0]["activity"] == pytest.approx((events != 0).mean())
