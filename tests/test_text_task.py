"""The text task, tokens in training and evaluation, and long sequences in pieces."""

import math

import numpy as np
import pytest
from corpora import PTB, STORY, folder, write

import evsim
from evsim import evaluate as evaluating
from evsim import trainer as training
from evsim.evaluate import activity, evaluate, predict
from evsim.generated import one_hot
from evsim.registry import lookup
from evsim.sequences import as_sequences
from evsim.task import Data
from evsim.tasks.text import Text

pytestmark = pytest.mark.nojit


@pytest.fixture(scope="module")
def task():
    return Text(limit=1000)


def test_each_step_is_told_the_next_symbol(task):
    assert (task.n_in, task.n_out, task.level, task.loss) == (106, 106, "characters", "cross_entropy") and task.tokens
    for streams in (1, 3, 32):
        arranged = task.side_by_side(streams)
        data, T = arranged.split("train"), 999 // streams
        assert data.x.shape == data.y.shape == (streams, T) and data.x.dtype == np.uint8
        assert arranged.steps == T and arranged.sizes["train"] == streams
        np.testing.assert_array_equal(data.x.ravel(), task.corpus.train[: streams * T])
        np.testing.assert_array_equal(data.y.ravel(), task.corpus.train[1 : streams * T + 1])
        assert np.shares_memory(data.x, data.y)  # nothing is copied
        assert task.steps == 999  # the task itself stays


def test_held_out_parts(task, tmp_path):
    for part in ("validation", "test"):
        held = getattr(task.corpus, part)
        for streams in (1, 7):
            data = task.side_by_side(streams).split(part)
            assert data.x.shape == (16, (len(held) - 1) // 16)
            np.testing.assert_array_equal(data.y.ravel(), held[1 : data.y.size + 1])
    short = Text(text=write(tmp_path / "story.txt", STORY * 4))
    assert short.sizes == {"train": 1, "validation": 2, "test": 2}  # of 256 steps or more
    tiny = Text(text=write(tmp_path / "tiny.txt", STORY[:100]))
    assert tiny.sizes == dict.fromkeys(("train", "validation", "test"), 1) and tiny.split("test").x.shape == (1, 9)


def test_the_limit_cuts_training_alone(task):
    whole = Text()
    assert len(whole.corpus.train) > len(task.corpus.train) == 1000
    assert whole.n_in == task.n_in and whole.digest == task.digest
    np.testing.assert_array_equal(whole.split("test").x, task.split("test").x)


def test_chance(task):
    count = np.bincount(task.corpus.train)
    p = count[count > 0] / 1000
    assert task.chance == p.max() and task.chance_loss == pytest.approx(-(p * np.log(p)).sum())


def test_what_losses_mean(task, tmp_path):
    assert task.meaning(math.log(2)) == {"bits_per_character": pytest.approx(1)}
    by_words = Text(text=folder(tmp_path / "c", PTB))
    assert by_words.meaning(math.log(50)) == {"perplexity": pytest.approx(50)}
    assert by_words.meaning(1e4) == {"perplexity": math.inf}
    assert task.note({"loss": 2.0, "validation_loss": 1.0}) == {
        "loss": 2.0, "validation_loss": 1.0, "bits_per_character": 2 / math.log(2),
        "validation_bits_per_character": 1 / math.log(2),
    }  # fmt: skip
    assert by_words.summarise(0.0, math.log(3)) == {"perplexity": 1, "running_perplexity": pytest.approx(3)}


def test_what_it_says_of_itself(task, tmp_path):
    told = task.describe()
    assert "level=characters, limit=1000: 999 steps of 106 in, 106 out" in told and "None" not in told
    held = f"{len(task.corpus.validation):,} to validate, {len(task.corpus.test):,} to test"  # Pythons differ in it
    assert f"characters: 1,000 to train on, {held}" in told and len(task.corpus.test) > 40_000
    made = Text(text=write(tmp_path / "story.txt", STORY), level="words")
    assert made.text == str(tmp_path / "story.txt") and f"text={made.text}, level=words" in made.describe()


@pytest.mark.parametrize(
    ("options", "streams", "error", "match"),
    [
        ({"limit": 1}, 1, ValueError, "limit=1 is not usable: give a whole number of at least 2"),
        ({"limit": 10**6}, 1, ValueError, "limit=1000000 was given, but there are 3.* characters to train on"),
        ({"limit": 20}, 20, ValueError, "20 characters to train on are too few for streams=20, with a step in each"),
        ({"limit": 20}, 0, ValueError, "streams=0 is not usable"),
        ({"text": 5}, 1, TypeError, "text=5 is not usable: give the path of a file or a corpus' folder"),
        ({"text": ""}, 1, TypeError, "text='' is not usable"),
        ({"layout": "rows"}, 1, ValueError, "has no option 'layout': its options are text: path of a file"),
    ],
)
def test_bad_options(options, streams, error, match):
    with pytest.raises(error, match=match):
        Text(**options).side_by_side(streams)


# Tokens


def hot(data, n):
    """The same data with explicit one-hot arrays."""
    return data._replace(x=one_hot(data.x, n))


def network(n=106, units=6, dtype="float32"):
    return evsim.Network(n, [evsim.EGRU(units, density=0.5, half_width=0.5)], evsim.Readout(n), 3, dtype, tokens=True)


def test_one_hot():
    found = one_hot(np.array([[2, 0]], np.uint8), 3)
    assert found.tolist() == [[[0, 0, 1], [1, 0, 0]]] and found.dtype == np.float32
    assert one_hot(np.array([1]), 2, np.float64).dtype == np.float64


def test_a_network_for_tokens_starts_with_larger_weights():
    made = [evsim.Network(400, [evsim.EGRU(64, density_in=0.5)], evsim.Readout(3), tokens=t) for t in (True, False)]
    net, usual = made
    weights, mask = net.parameters(), net.masks()["layers.0.weight_in"]
    assert weights["layers.0.weight_in"][mask].std() == pytest.approx(1, abs=0.02)
    assert usual.parameters()["layers.0.weight_in"][mask].std() == pytest.approx(200**-0.5, rel=0.02)
    for name in set(weights) - {"layers.0.weight_in"}:
        np.testing.assert_array_equal(weights[name], usual.parameters()[name])


def test_tokens_are_the_same_as_one_hot_arrays(task):
    data, n = task.side_by_side(3).split("train"), task.n_in
    data = Data(data.x[:, :40], data.y[:, :40], np.array([40, 31, 40]))
    found, wanted = (as_sequences(d, n, n, task.loss, np.float32) for d in (data, hot(data, n)))
    assert found.tokens and not wanted.tokens and found.x.dtype == np.uint8
    for start, stop in ((0, 40), (5, 9)):
        for a, b in zip(found.piece([0, 2], start, stop), wanted.piece([0, 2], start, stop), strict=True):
            np.testing.assert_array_equal(a, b)
    net = network()
    assert evaluate(net, data, task.loss) == evaluate(net, hot(data, n), task.loss)
    assert activity(net, found) == activity(net, wanted)
    np.testing.assert_array_equal(
        predict(net, data.x, data.lengths, task.loss), predict(net, hot(data, n).x, data.lengths, task.loss)
    )


@pytest.mark.parametrize(("streams", "update"), [(1, 7), (2, "sequence")])
def test_training_on_tokens_is_training_on_one_hot_arrays(task, streams, update):
    data = task.side_by_side(4).split("train")
    data, histories, thetas = Data(data.x[:, :30], data.y[:, :30]), [], []
    for given in (data, hot(data, task.n_in)):
        net = network()
        trainer = evsim.Trainer(evsim.RTRL(net, streams=streams), evsim.Adam(1e-2), update=update)
        trainer.fit(given.x, given.y, epochs=2, validation=(given.x, given.y))
        histories.append([{k: v for k, v in row.items() if "second" not in k} for row in trainer.history])
        thetas.append(net.theta.copy())
    assert histories[0] == histories[1]
    np.testing.assert_array_equal(*thetas)
    assert np.any(thetas[0] != network().theta)


def test_tokens_that_stand_for_nothing():
    y = np.zeros((2, 3), int)
    for wrong, match in ((5, "x holds token 5: whole numbers .* run from 0 to 4"), (-1, "x holds token -1")):
        x = np.zeros((2, 3), int)
        x[1, 2] = wrong
        with pytest.raises(ValueError, match=match):
            as_sequences(Data(x, y), 5, 2, "cross_entropy", np.float32)
        as_sequences(Data(x, y, np.array([3, 2])), 5, 2, "cross_entropy", np.float32)  # behind the end
    with pytest.raises(ValueError, match=r"x has shape \(2, 3\), but \(sequences, steps, 5\) is needed"):
        as_sequences(Data(np.zeros((2, 3)), y), 5, 2, "cross_entropy", np.float32)
    with pytest.raises(ValueError, match=r"x has shape \(2, 3\), but \(sequences, steps, 1\) is needed"):
        as_sequences(Data(np.zeros((2, 3), int), y), 1, 2, "cross_entropy", np.float32)
    with pytest.raises(ValueError, match=r"y has shape \(2, 4\)"):
        as_sequences(Data(np.zeros((2, 3), int), np.zeros((2, 4), int)), 5, 2, "cross_entropy", np.float32)
    with pytest.raises(ValueError, match="y holds class 2"):
        as_sequences(Data(np.zeros((2, 3), np.uint8), np.full((2, 3), 2, np.uint8)), 5, 2, "cross_entropy", np.float32)


# Pieces


def test_evaluation_in_pieces_is_evaluation_in_one(task, monkeypatch):
    """Loss, hits and events of long sequences, against a network that runs each of them in one go."""
    data = task.side_by_side(2).split("train")
    data = Data(data.x[:, :150], data.y[:, :150], np.array([150, 97]))
    net = network(dtype="float64")
    found = evaluate(net, data, task.loss)  # in pieces of 64 steps
    monkeypatch.setattr(evaluating, "ROOM", 2 * 106 * 5)
    fifths = evaluate(net, data, task.loss)
    loss, right, events = 0.0, 0, 0.0
    for x, y, n in zip(one_hot(data.x, 106, np.float64), data.y, data.lengths):
        out, (y_,) = net.run(x[:n], record_events=True)
        loss += float((np.log(np.exp(out).sum(-1)) - out[np.arange(n), y[:n]]).sum())
        right += int((out.argmax(-1) == y[:n]).sum())
        events += float((y_ != 0).sum())
    for one in (found, fifths):
        assert one["loss"] == pytest.approx(loss / 247, rel=1e-12) and one["accuracy"] == right / 247
        assert one["activity"] == pytest.approx(events / 247 / 6)
    alone = Data(data.x.reshape(-1, 50), data.y.reshape(-1, 50))  # state not carried: another result
    assert abs(evaluate(net, alone, task.loss)["loss"] - loss / 300) > 1e-6


def test_evaluation_holds_no_more_outputs_than_it_must(monkeypatch):
    """The largest array of outputs, of 3 sequences of 5,000 steps among 50 symbols."""
    shapes = []
    real = evaluating.correct
    monkeypatch.setattr(evaluating, "correct", lambda out, *rest: shapes.append(out.shape) or real(out, *rest))
    monkeypatch.setattr(evaluating, "ROOM", 3 * 50 * 10)
    x = np.random.default_rng(0).integers(50, size=(3, 200))
    evaluate(network(50), Data(x, x), "cross_entropy")
    assert set(shapes) == {(3, 10, 50)} and len(shapes) == 20


def test_pieces_of_training_leave_it_as_it_is(task, monkeypatch):
    data = task.side_by_side(2).split("train")
    thetas = []
    for room in (training.ROOM, 2 * 212 * 7):
        monkeypatch.setattr(training, "ROOM", room)
        net = network()
        trainer, pieces = evsim.Trainer(evsim.RTRL(net, streams=2), evsim.Adam(1e-2)), []
        trainer.fit(data.x[:, :100], data.y[:, :100], progress=pieces.append)
        thetas.append(net.theta.copy())
    assert len(pieces) == 15
    np.testing.assert_array_equal(*thetas)


def test_the_registry_knows_it():
    assert lookup("task", "text") is Text
