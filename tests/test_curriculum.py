"""Curricula: each level's sequences, the rule from level to level, training, resuming and evaluating at a level."""

import hashlib
import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from cutting import cut_after
from test_cli import _here, run  # noqa: F401

import evsim
from evsim import trainer as trainer_module
from evsim.contest import compare
from evsim.curriculum import SOLVED, Curriculum
from evsim.evaluate import evaluate
from evsim.models import MemUP, RolloutTrainer, build_model, full, truncated
from evsim.models.streams import of_task
from evsim.registry import lookup
from evsim.tasks.copy import Copy
from evsim.tasks.repeat_copy import RepeatCopy

LN2 = math.log(2)
QUICK = {"alphabet": 2, "epoch_size": 64}
NEVER = 1.0  # nats: a loss that solves nothing


def copies(n, alphabet, shown):
    """(x, y, told steps) of copying the symbols `shown`, as lists, by the definition."""
    x = [[0.0] * (alphabet + 2) for _ in range(2 * n)]
    for k in range(n):
        x[k][shown[k]] = 1.0
        x[n + k][alphabet + 1] = 1.0
    return x, [alphabet] * n + list(shown), list(range(n, 2 * n))


def repeats(n, r, bits, shown):
    """Likewise for repeat copy, from vectors of bits."""
    steps = (r + 1) * n + 3
    x, y = [[0.0] * (bits + 2) for _ in range(steps)], [[0.0] * (bits + 1) for _ in range(steps)]
    x[0][bits] = 1.0
    x[n + 1][bits + 1] = r / 10
    for k in range(n):
        for b in range(bits):
            x[1 + k][b] = float(shown[k][b])
            for time in range(r):
                y[n + 2 + time * n + k][b] = float(shown[k][b])
    y[steps - 1][bits] = 1.0
    return x, y, list(range(n + 2, steps))


def same_as(data, i, wanted):
    """Whether sequence i of `data` is what one of the two gave."""
    x, y, told = wanted
    if data.x.shape[1] != len(x) or [t for t in range(len(x)) if data.mask[i, t]] != told:
        return False
    exact = all(data.x[i, t, k] == np.float32(x[t][k]) for t in range(len(x)) for k in range(len(x[t])))
    return exact and data.y[i].tolist() == y and data.lengths is None


@pytest.mark.parametrize("n", [1, 2, 5])
def test_copy_is_as_defined(n):
    task = Copy(curriculum="on", symbols=n, alphabet=3)
    data = task.sample(20, np.random.default_rng(n))
    shown = np.random.default_rng(n).integers(3, size=(20, n)).tolist()
    assert all(same_as(data, i, copies(n, 3, shown[i])) for i in range(20))
    assert (data.answers == data.mask).all() and task.steps == 2 * n and (task.n_in, task.n_out) == (5, 4)
    other = [symbol + 1 if symbol < 2 else 0 for symbol in shown[0]]
    assert not same_as(data, 0, copies(n, 3, other)) and not same_as(data, 0, copies(n + 1, 3, [*other, 0]))


@pytest.mark.parametrize(("n", "r", "bits"), [(1, 1, 1), (1, 3, 2), (3, 1, 4), (2, 2, 8), (4, 13, 3)])
def test_repeat_copy_is_as_defined(n, r, bits):
    task = RepeatCopy(symbols=n, repeats=r, bits=bits)
    data = task.sample(20, np.random.default_rng(r))
    shown = np.random.default_rng(r).integers(2, size=(20, n, bits)).tolist()
    assert all(same_as(data, i, repeats(n, r, bits, shown[i])) for i in range(20))
    assert task.steps == (r + 1) * n + 3 and (task.n_in, task.n_out) == (bits + 2, bits + 1)
    assert not any(same_as(data, i, repeats(n, r + 1, bits, shown[i])) for i in range(20))
    shown[0][-1][-1] = 1 - shown[0][-1][-1]
    assert not same_as(data, 0, repeats(n, r, bits, shown[0]))


def test_guessing_at_repeat_copy():
    task = RepeatCopy(symbols=2, repeats=3, bits=2)
    assert task.chance == pytest.approx((6 / 4 + 1) / 7)
    assert task.chance_loss == pytest.approx(6 / 7 * 2 / 3 * LN2)
    climbing = RepeatCopy(curriculum="on", bits=2)
    climbing.close_epoch(0.0)
    assert climbing.chance == pytest.approx((2 / 4 + 1) / 3) and "chance 0.5;" in climbing.describe()


def digest(task):
    """Of all the sequences that a run may meet."""
    found = hashlib.sha256()
    for data in (task.training(0), task.training(3), task.split("validation"), task.split("test")):
        assert data.mask is None and data.lengths is None
        for array in (data.x, data.y, data.answers):
            found.update(array.astype(np.int8).tobytes())
    return found.hexdigest()[:16]


@pytest.mark.parametrize(
    ("options", "told"),
    [({}, "bef03f1892ab9ff5"), ({"length": 8, "symbols": 4, "alphabet": 3, "seed": 5}, "c17d59c47d091292")],
)
def test_copy_without_a_curriculum_is_as_it_was(options, told):
    """The digests are those of before there were curricula."""
    task = Copy(**options)
    assert digest(task) == told == digest(Copy(**options, curriculum="off"))
    assert task.close_epoch(0.0) == task.stage() == task.reached() == task.meaning(1.0) == {}
    assert digest(task) == told and task.apart() is task
    assert task.note({"epoch": 1, "loss": 0.0}) == {"epoch": 1, "loss": 0.0}


def levels(task, losses):
    """The level at which each of these losses was met, and the one behind them."""
    found = []
    for loss in losses:
        found.append(tuple(task.stage().values()))
        noted = task.close_epoch(loss)
        assert tuple(noted.values())[:-1] == found[-1]
    return [*found, tuple(task.stage().values())]


def test_the_rule_of_repeat_copy():
    low, high = 0.149 * LN2, 0.151 * LN2
    task = RepeatCopy(curriculum="on")
    wanted = [(1, 1), (1, 1), (2, 1), (2, 2), (2, 2), (2, 2), (3, 2), (3, 3), (4, 3), (4, 4), (5, 4)]
    assert levels(task, [high, low, low, high, high, low, low, low, low, low]) == wanted
    N, R = 1, 1
    task = RepeatCopy(curriculum="on")
    for _ in range(60):
        assert task.stage() == {"symbols": N, "repeats": R} and task.steps == (R + 1) * N + 3
        N, R = (N, R + 1) if R < N else (N + 1, R)
        task.close_epoch(low)
    assert (N, R) == (31, 31)
    assert levels(RepeatCopy(curriculum="on", symbols=2, repeats=5), [low, low]) == [(2, 5), (3, 5), (4, 5)]


def test_the_rule_of_copy():
    low, high = 0.149 * LN2, 0.151 * LN2
    assert levels(Copy(curriculum="on"), [low, high, low, low]) == [(1,), (2,), (2,), (3,), (4,)]
    assert levels(Copy(curriculum="on", symbols=7), [high, low]) == [(7,), (7,), (8,)]
    assert levels(Copy(curriculum="on"), [SOLVED * LN2, math.nan, math.inf, 0.0]) == [(1,)] * 4 + [(2,)]


def test_what_is_noted():
    task = RepeatCopy(curriculum="on")
    assert task.reached() == {"symbols": 1, "repeats": 1, "solved_symbols": 0, "solved_repeats": 0, "solved_length": 0}
    assert task.close_epoch(NEVER) == {"symbols": 1, "repeats": 1, "solved_length": 0}
    assert task.close_epoch(0.0) == {"symbols": 1, "repeats": 1, "solved_length": 5}
    assert task.close_epoch(0.0) == {"symbols": 2, "repeats": 1, "solved_length": 7}
    assert task.close_epoch(NEVER) == {"symbols": 2, "repeats": 2, "solved_length": 7}
    assert task.reached() == {"symbols": 2, "repeats": 2, "solved_symbols": 2, "solved_repeats": 1, "solved_length": 7}
    row = Copy(curriculum="on", symbols=3).note({"loss": 0.1 * LN2, "validation_loss": 2 * LN2})
    assert row["loss_bits"] == pytest.approx(0.1) and row["validation_loss_bits"] == pytest.approx(2)
    assert (row["symbols"], row["solved_length"]) == (3, 6)


def test_each_level_has_sequences_of_its_own():
    task = Copy(curriculum="on")
    first = task.split("test")
    assert task.split("test") is first and task.sizes == {"train": 640, "validation": 64, "test": 1000}
    apart = task.apart()
    apart.close_epoch(0.0)
    assert task.split("test") is first and task.stage() == {"symbols": 1} and task.steps == 2
    for split, size in apart.sizes.items():
        assert apart.split(split).x.shape == (size, 4, 10)
    assert apart.training(5).x.shape == (640, 4, 10)
    again = Copy(curriculum="on")
    again.go_on_from(apart.reached())
    assert (again.training(5).x == apart.training(5).x).all() and again.reached() == apart.reached()
    assert "curriculum=on: 4 steps" in again.describe() and "length" not in again.describe()


def online(task, update="sequence", dtype="float64"):
    """A trainer that climbs within a few epochs."""
    net = evsim.Network(task.n_in, [evsim.EGRU(16, half_width=0.5)], evsim.Readout(task.n_out), dtype=dtype)
    learner = evsim.RTRL(net, loss=task.loss, streams=8)
    return evsim.Trainer(learner, evsim.Adam(0.02), task, update)


def rollouts(task, method, **options):
    """The same of a torch model."""
    model = build_model(task, "lstm", 16, predictor="linear", seed=1)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    return RolloutTrainer(model, method, task, optimizer, streams=8, seed=2, **options)


def course(trainer):
    """What came of each epoch, the clock apart."""
    return [(row["loss"], row["validation_loss"], row["symbols"], row["solved_length"]) for row in trainer.history]


def test_training_climbs_on_a_task_of_its_own():
    task = Copy(curriculum="on", **QUICK)
    trainer = online(task)
    rows = trainer.fit(epochs=12)
    assert rows[0]["symbols"] == 1 and rows[-1]["symbols"] > 1 and task.stage() == {"symbols": 1}
    assert [row["steps"] for row in rows] == [64 * 2 * row["symbols"] for row in rows]
    for before, row in itertools.pairwise(rows):
        assert row["symbols"] == before["symbols"] + (before["loss_bits"] < SOLVED)
        assert row["loss_bits"] == row["loss"] / LN2
    assert online(task).fit(epochs=2)[-1]["loss"] == rows[1]["loss"]


class Stale(Copy):
    """A control: what is held out stays that of the first level."""

    def split(self, name):
        return Copy(curriculum="on", **QUICK).split(name) if name != "train" else super().split(name)


@pytest.mark.parametrize(("kind", "equal"), [(Copy, True), (Stale, False)])
def test_what_is_held_out_is_of_the_present_level(kind, equal):
    """Nothing but the level's own sequences gives the figures that were noted."""
    task = kind(curriculum="on", **QUICK)
    for trainer in (online(task), rollouts(task, truncated(4))):
        row = trainer.fit(epochs=12)[-1]
        own = Copy(curriculum="on", **QUICK, symbols=row["symbols"]).split("validation")
        if isinstance(trainer, RolloutTrainer):
            found = trainer.evaluate(own)
        else:
            found = evaluate(trainer.net, own, task.loss)
        assert row["symbols"] > 1 and (found["loss"] == row["validation_loss"]) == equal


def test_exact_rtrl_and_backpropagation_climb_alike():
    """Under evsim and under torch, level by level: the same sequences in the same order, losses of the same steps."""
    given = {"task": "copy", "curriculum": "on", **QUICK, "units": 16, "epochs": 9, "streams": 8, "dtype": "float64"}
    rows = compare({**given, "lr": 0.02}, "rtrl,bptt,bptt backend=torch")["rows"]
    losses = [[one["loss"] for one in row["history"]] for row in rows]
    assert losses[1] == pytest.approx(losses[0], abs=1e-9) and losses[2] == pytest.approx(losses[0], abs=1e-6)
    for row in rows:
        seen = [one["symbols"] for one in row["history"]]
        assert seen[0] == 1 and seen[-1] == 2 and row["solved_symbols"] == 1 and row["solved_length"] == 2
        assert row["steps"] == 64 * 2 * sum(seen)


class Forgetful(Copy):
    """A control: one that begins with the first level whatever was reached."""

    def go_on_from(self, reached):
        return


STOPS = [(Copy, stop, update) for stop in (2, 8, 50, 75) for update in ("sequence", 3)]


@pytest.mark.parametrize(("kind", "stop", "update"), [*STOPS, (Forgetful, 75, "sequence")])
def test_resumed_equals_uninterrupted(kind, stop, update, tmp_path, monkeypatch):
    """Bit for bit, wherever evsim's own training was cut; a task that forgets its level is seen."""
    monkeypatch.setattr(trainer_module, "SAVE_SECONDS", -1)  # a checkpoint after every piece
    whole = online(Copy(curriculum="on", **QUICK), update)
    whole.fit(epochs=12)
    cut_after(online(kind(curriculum="on", **QUICK), update), stop, 12, tmp_path / "c.npz")
    resumed = evsim.Trainer.resume(tmp_path / "c.npz", kind(curriculum="on", **QUICK))
    resumed.fit(epochs=12)
    equal = resumed.net.theta.tobytes() == whole.net.theta.tobytes() and course(resumed) == course(whole)
    assert equal == (kind is Copy) and whole.task.stage()["symbols"] > 2


METHODS = [truncated(4), full(), MemUP(3, 1), MemUP(4, 2, "surprise", 2)]


@pytest.mark.parametrize("phase", ["random", "same"])
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_resumed_equals_uninterrupted_under_torch(method, phase, tmp_path):
    """Wherever it was cut: where a level was just left, and in the midst of one."""
    whole = rollouts(Copy(curriculum="on", **QUICK), method, phase=phase)
    whole.fit(epochs=12)
    risen = [k for k in range(1, 12) if whole.history[k]["symbols"] > whole.history[k - 1]["symbols"]]
    assert risen
    for stop in (risen[0], risen[0] + 1, 11):
        first = rollouts(Copy(curriculum="on", **QUICK), method, phase=phase)
        first.fit(epochs=stop, checkpoint=tmp_path / "c.npz")
        second = rollouts(Copy(curriculum="on", **QUICK), method, phase=phase).load(tmp_path / "c.npz")
        assert second.window == first.window and second.at.x.shape == first.at.x.shape
        second.fit(epochs=12)
        assert course(second) == course(whole)
        for name, value in whole.model.state_dict().items():
            assert torch.equal(second.model.state_dict()[name], value)
    forgetful = rollouts(Forgetful(curriculum="on", **QUICK), method, phase=phase).load(tmp_path / "c.npz")
    with pytest.raises(RuntimeError, match="shape mismatch"):  # new sequences are of another level than the streams
        forgetful.fit(epochs=12)


def test_streams_begin_anew_with_the_sequences_of_the_next_level():
    task = Copy(curriculum="on", **QUICK)
    trainer = rollouts(task, full())
    assert trainer.window == 2 and trainer.updates_per_epoch == 8
    while trainer.task.stage()["symbols"] < 3:
        trainer.fit(epochs=trainer.epoch + 1)
        steps = trainer.task.steps
        assert trainer.window == trainer.at.window == trainer.at.x.shape[1] == steps
        given = of_task(trainer.task, trainer.task.training(trainer.at.source.epoch), np.float32)
        assert all(any((x == one).all() for one in given.x) for x in trainer.at.x.numpy())
    assert trainer.graph["memory_steps"] == 4
    cut = rollouts(task, truncated(3))
    cut.task.go_on_from({"symbols": 4, "solved_symbols": 3, "solved_length": 6})
    assert (cut.window, cut.updates_per_epoch) == (3, 24)


def test_a_window_may_be_longer_than_the_sequences_of_a_level():
    assert rollouts(Copy(curriculum="on", **QUICK), truncated(50)).fit(epochs=1)[0]["accuracy"] > 0
    with pytest.raises(ValueError, match="window=50 is longer than the longest sequence, which has 20 steps"):
        rollouts(Copy(**QUICK), truncated(50))


def test_an_epoch_that_met_no_target_solves_nothing():
    task = Copy(curriculum="on", alphabet=2, epoch_size=1)
    trainer = rollouts(task, truncated(1), phase="same")
    rows = trainer.fit(epochs=2)
    assert trainer.updates_per_epoch == 1 and rows[0]["loss"] == 0 and "symbols" not in rows[0]
    assert rows[1]["symbols"] == 1 and rows[1]["loss"] > 0


def test_a_checkpoint_of_a_curriculum_goes_on_with_one(tmp_path):
    online(Copy(curriculum="on", **QUICK)).fit(epochs=1, checkpoint=tmp_path / "c.npz")
    with pytest.raises(ValueError, match="was reached in a curriculum, which task 'copy' as it is does not have"):
        evsim.Trainer.resume(tmp_path / "c.npz", Copy(**QUICK))
    given = {"symbols": 2, "solved_symbols": 1, "solved_length": 2}
    for wrong in ({"symbols": 0}, {"solved_symbols": "1"}, {"solved_symbols": -1}):
        with pytest.raises(ValueError, match="symbols=.* is not usable"):
            Copy(curriculum="on").go_on_from({**given, **wrong})
    with pytest.raises(ValueError, match="was reached in another curriculum than that of task 'repeat-copy'"):
        RepeatCopy(curriculum="on").go_on_from(given)
    Copy().go_on_from({})


def test_the_page_says_what_the_bar_is():
    page = (Path(evsim.__file__).parent.parent / "docs" / "tasks.md").read_text(encoding="utf-8")
    assert re.search(rf"below {SOLVED} bits", page) and issubclass(lookup("task", "repeat-copy"), Curriculum)
