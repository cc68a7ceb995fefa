"""Runs on texts, from the command line: training, going on in mid-epoch, evaluating, predicting; what is refused."""

import json
import math
import signal
from pathlib import Path

import numpy as np
import pytest
from corpora import PTB, STORY, folder, write

import evsim
from evsim.cli import main
from evsim.evaluate import evaluate
from evsim.progress import TrainingProgress
from evsim.runfolder import read_toml
from evsim.tasks.text import Text
from evsim.text import read_corpus

SMALL = ["train", "text", "--limit", "600", "--units", "6"]
TIMED = ("seconds", "steps_per_second")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """Each test has a folder of its own as the current one."""
    monkeypatch.chdir(tmp_path)


def run(*argv, code=0):
    """Call the command line; the exit code must be as said."""
    assert main([str(one) for one in argv]) == code


def summary(out):
    return json.loads(Path(out, "summary.json").read_text())


def rows(out):
    """metrics.jsonl without what the clock decides."""
    lines = map(json.loads, Path(out, "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name not in TIMED} for line in lines]


def theta(out):
    return evsim.load(Path(out, "checkpoint.npz")).net.theta.tobytes()


def test_a_run_on_the_default_text(capsys):
    run(*SMALL, "--out", "r", "--epochs", "2", "--seed", "4")
    shown, found, (first, last) = capsys.readouterr(), summary("r"), rows("r")
    for row in (first, last):
        assert row["bits_per_character"] == row["loss"] / math.log(2)
        assert row["validation_bits_per_character"] == row["validation_loss"] / math.log(2)
    assert found["bits_per_character"] == found["test_loss"] / math.log(2)
    assert found["running_bits_per_character"] == last["bits_per_character"] < first["bits_per_character"]
    assert found["steps"] == 2 * 599 and 0 < found["test_accuracy"] < 1
    assert f"epoch 2/2, bits per character {last['bits_per_character']:.4f}, accuracy" in shown.err
    assert f"validation bits per character {last['validation_bits_per_character']:.4f}" in shown.err
    assert f"{found['bits_per_character']:.4f}" in shown.out and "running bits per character" in shown.out
    config = read_toml("r/config.toml")
    assert config["level"] == "characters" and config["limit"] == 600 and not {"text", "vocabulary"} & set(config)
    net = evsim.load("r/checkpoint.npz").net
    assert found["test_loss"] == evaluate(net, Text().split("test"), "cross_entropy")["loss"]
    run("eval", "r", "--json")
    evaluated = json.loads(capsys.readouterr().out)
    for name in ("test_loss", "test_accuracy", "bits_per_character", "activity"):
        assert evaluated[name] == found[name]
    run("eval", "r", "--split", "validation", "--json")
    evaluated = json.loads(capsys.readouterr().out)
    assert evaluated["validation_bits_per_character"] == last["validation_bits_per_character"]
    run("train", "--config", "r/config.toml", "--out", "again")
    assert theta("again") == theta("r")


def test_input_weights_of_a_run_start_large():
    run(*SMALL, "--out", "r", "--lr", "1e-12")
    weights = evsim.load("r/checkpoint.npz").net.parameters()["layers.0.weight_in"]
    assert weights[weights != 0].std() == pytest.approx(1, abs=0.15)


def test_seeds_have_a_median(capsys):
    run(*SMALL, "--seeds", "0,1,2", "--out", "r")
    found = summary("r")
    for name in ("bits_per_character", "running_bits_per_character"):
        assert found[name] == sorted(one[name] for one in found["runs"])[1]
    shown = capsys.readouterr().out
    assert "bits" in shown and "loss" not in shown and f"{found['bits_per_character']:.4f}" in shown


def test_several_streams_and_other_learners():
    run(*SMALL, "--streams", "4", "--learner", "tbptt", "--window", "5", "--out", "r")
    assert summary("r")["steps"] == 4 * (599 // 4)
    run(*SMALL, "--streams", "600", "--out", "s", code=2)
    assert not Path("s").exists()


@pytest.mark.parametrize("streams", [1, 3])
def test_interrupted_within_an_epoch_and_resumed(monkeypatch, capsys, streams):
    options = [*SMALL, "--streams", streams, "--update", "7"]
    run(*options, "--out", "whole")
    real, told = TrainingProgress.piece, []

    def piece(self, info):
        if info["done"] >= 250 and not told:
            told.append(info["done"])
            signal.raise_signal(signal.SIGINT)
        real(self, info)

    monkeypatch.setattr(TrainingProgress, "piece", piece)
    run(*options, "--out", "cut", code=130)
    assert 250 <= told[0] < 300 and rows("cut") == [] and theta("cut") != theta("whole")
    assert "checkpoint is kept" in capsys.readouterr().err
    run("train", "--resume", "cut", "--limit", "600")
    assert theta("cut") == theta("whole") and rows("cut") == rows("whole")
    run("train", "--resume", "cut", "--limit", "500", code=2)
    assert "limit=500 contradicts limit=600" in capsys.readouterr().err


def test_words_of_a_folder_and_paths_from_elsewhere(capsys, tmp_path, monkeypatch):
    folder(tmp_path / "corpus", PTB)
    run("train", "text", "--text", "corpus", "--units", "4", "--out", "r", "--epochs", "2")
    assert "epoch 2/2, perplexity" in capsys.readouterr().err
    found, last = summary("r"), rows("r")[-1]
    assert found["perplexity"] == pytest.approx(math.exp(found["test_loss"]))
    assert found["running_perplexity"] == last["perplexity"] == pytest.approx(math.exp(last["loss"]))
    assert "bits_per_character" not in found
    config = read_toml("r/config.toml")
    assert (config["text"], config["level"]) == (str(tmp_path / "corpus"), "words")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    run("eval", "../r", "--json")
    assert json.loads(capsys.readouterr().out)["perplexity"] == found["perplexity"]
    run("train", "--resume", "../r", "--text", "../corpus", "--level", "words", "--epochs", "3", code=2)  # cosine
    assert "ends after 2 epochs" in capsys.readouterr().err
    run("train", "--resume", "../r", "--text", "corpus", code=2)
    assert "contradicts text=" in capsys.readouterr().err


def test_a_text_that_has_changed_is_refused(capsys):
    write(Path("story.txt"), STORY)
    run("train", "text", "--text", "story.txt", "--units", "4", "--out", "r", "--level", "words")
    write(Path("story.txt"), STORY.replace("cat", "cow"))
    capsys.readouterr()
    run("eval", "r", code=2)
    assert "story.txt has changed since the run began: give --task text and its options" in capsys.readouterr().err
    run("train", "--resume", "r", code=2)
    assert "story.txt has changed since the run in r began: start a new run" in capsys.readouterr().err
    again = ["eval", "r", "--task", "text", "--text", "story.txt", "--level", "words"]
    run(*again, code=2)  # cow in place of cat: what a number stands for is not what it was
    assert "r was trained on other symbols than those of this text" in capsys.readouterr().err
    write(Path("old.txt"), STORY)
    read_corpus("old.txt", "words").vocabulary.save("words.json")
    run(*again, "--vocabulary", "words.json", "--json")
    assert json.loads(capsys.readouterr().out)["perplexity"] > 1


def test_the_default_text_of_another_python(monkeypatch, capsys):
    from pydoc_data import topics

    run(*SMALL, "--out", "r")
    monkeypatch.setattr(topics, "topics", {**topics.topics, "zzz": "one more\n" * 50})
    run("eval", "r", code=2)
    assert "the text has changed since the run began" in capsys.readouterr().err
    run("eval", "r", "--task", "text")  # the same symbols


def test_predictions(capsys):
    run(*SMALL, "--out", "r")
    run("eval", "r", "--predictions", "p.npz")
    net, data = evsim.load("r/checkpoint.npz").net, Text().split("test")
    with np.load("p.npz") as found:
        assert found["predictions"].shape == (16,)
        np.testing.assert_array_equal(found["y"], data.y)
        wanted = net.run(np.eye(106)[data.x[3]])[-1].argmax()
        assert found["predictions"][3] == wanted
    np.savez("new.npz", x=data.x[:5, :30].astype(np.int64), lengths=[30, 1, 7, 30, 8])
    run("predict", "r", "--data", "new.npz", "--out", "said.npz")
    with np.load("said.npz") as found:
        wanted = net.run(np.eye(106)[data.x[2, :7]])[-1].argmax()
        assert found["predictions"].shape == (5,) and found["predictions"][2] == wanted
    np.savez("wrong.npz", x=np.full((2, 3), 106))
    run("predict", "r", "--data", "wrong.npz", "--out", "w.npz", code=2)
    assert "wrong.npz: x holds token 106: whole numbers (sequences, steps) run from 0 to 105" in capsys.readouterr().err
    np.savez("own.npz", x=data.x[:5, :30], y=data.y[:5, :30])
    run("eval", "r", "--data", "own.npz", code=2)
    assert "x has shape (5, 30), but (sequences, steps" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--text", "none.txt"], "none.txt does not exist: give a text file, or a folder"),
        (["--text", "empty.txt"], "empty.txt is empty: give a text"),
        (["--text", "binary.txt"], "binary.txt is no text, for byte 2 of it is zero"),
        (["--level", "letters"], "level='letters' is unknown: choose one of auto, characters, words, bytes"),
        (["--vocabulary", "v.json"], "vocabulary holds 'x' twice"),
        (["--limit", "5", "--streams", "5"], "5 characters to train on are too few for streams=5"),
        (["--limit", "0"], "limit=0 is not usable"),
    ],
)
def test_bad_input_is_one_line(capsys, options, match):
    for name, content in (("empty.txt", b""), ("binary.txt", b"a\0b" * 30), ("v.json", b'["x", "x"]')):
        write(Path(name), content)
    before = sorted(Path().rglob("*"))
    run("train", "text", *options, code=2)
    told = capsys.readouterr().err
    assert match in told and told.count("\n") == 1 and told.startswith("evsim: ")
    assert sorted(Path().rglob("*")) == before


def test_it_is_listed(capsys):
    run("list", "tasks", "--json")
    (row,) = [row for row in json.loads(capsys.readouterr().out)["tasks"] if row["name"] == "text"]
    assert row["options"] == [
        "text: path of a file or a corpus' folder", "level: auto | characters | words | bytes",
        "vocabulary: path of a JSON list", "limit: at least 2",
    ]  # fmt: skip
    assert "steps of 106 in, 106 out, cross_entropy, chance 0.1" in row["what"]


def test_the_bar_shows_bits():
    shown = TrainingProgress(3, meaning=Text(limit=100).meaning)
    info = {"loss": math.log(2) * 1.5, "accuracy": 0.5, "activity": None}
    assert shown._numbers(info, short=True) == "bits 1.500 accuracy 50.0% "
    assert shown._numbers(info) == "bits per character 1.5000, accuracy 50.00%"
    assert TrainingProgress(3)._numbers(info) == "loss 1.0397, accuracy 50.00%"
