"""Rollouts: what MemUP's gradient sees and what it cannot, which steps are asked about, how large the graph is."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from evsim.models import GatedCore, MemUP, Model, RolloutTrainer, build_model, full, truncated
from evsim.models.evaluate import evaluate
from evsim.models.loss import each_loss
from evsim.models.predictor import ContextPredictor
from evsim.models.rollout import choose_targets, rollout_loss
from evsim.models.streams import Source, Streams, of_task
from evsim.registry import lookup
from evsim.task import Data, Task

pytestmark = pytest.mark.nojit


def task_of(name="positional-copy", **options):
    options = {"symbols": 2, "alphabet": 3, "length": 24, "epoch_size": 40, **options}
    return lookup("task", name)(**{k: v for k, v in options.items() if k in lookup("task", name).options})


def model_of(task, cell="lstm", dtype="float64", **options):
    return build_model(task, cell, **{"units": 6, "hidden": 8, "dtype": dtype, **options})


def trainer_of(method, task=None, cell="lstm", **options):
    task = task or task_of()
    given = {"streams": 5, "seed": 3, **options}
    model = given.pop("model", None) or model_of(task, cell)
    return RolloutTrainer(model, method, task, **given)


class Ending(Task):
    """Noise; the class of a sequence is told at its end alone, and lengths differ."""

    name, n_in, n_out, steps, loss, chance, sizes, defaults = "ending", 3, 2, 9, "cross_entropy", 0.5, {"train": 30}, {}

    def _make(self):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((30, 9, 3)).astype(np.float32)
        data = Data(x, rng.integers(2, size=30), rng.integers(5, 10, size=30))
        return dict.fromkeys(("train", "validation", "test"), data)


@pytest.mark.parametrize("window", [1, 3, 5])
@pytest.mark.parametrize("targets", [0, 2])
@pytest.mark.parametrize("cell", ["lstm", "gru", "egru"])
def test_inputs_before_the_window_get_exactly_nothing(window, targets, cell):
    trainer = trainer_of(MemUP(window, targets), cell=cell, phase="same")
    at = trainer.at
    at.x.requires_grad_()
    for _ in range(2):
        _, state, _ = rollout_loss(trainer.model, at, trainer.method, "cross_entropy", trainer.generator)
        at.at, at.state = at.at + window, tuple(part.detach() for part in state)
    loss, *_ = rollout_loss(trainer.model, at, trainer.method, "cross_entropy", trainer.generator)
    loss.backward()
    grad = at.x.grad.abs().sum((0, 2))
    assert (grad[: 2 * window] == 0).all()
    assert (grad[2 * window : 3 * window] > 0).all() or cell == "egru"  # silent units pass nothing on
    assert grad[2 * window : 3 * window].sum() > 0
    whole = trainer_of(full(), cell=cell, model=trainer.model, task=trainer.task, phase="same")  # the control
    whole.at.x.requires_grad_()
    at = whole.at
    m, _ = whole.model.remember(at.x, whole.model.begin(5))
    m[:, 3 * window - 1].sum().backward()
    assert (at.x.grad[:, : 2 * window] != 0).any()


def test_k_0_is_truncated_backpropagation_to_the_last_bit():
    """Held against a loop that shares nothing with the trainer but the model and the order of the sequences."""
    task, window, count = task_of(length=20), 4, 5
    data = of_task(task, task.training(0), np.float64)
    order = np.random.default_rng((3, 0)).permutation(len(data))
    trainer, plain = trainer_of(truncated(window), task), model_of(task)
    assert trainer.method == MemUP(window, targets=0)
    optimizer = torch.optim.Adam(plain.parameters(), 3e-3)
    place = (np.random.default_rng(3).random(count) * (20 // window)).astype(int) * window
    row, states, ahead = order[:count].copy(), [plain.core.begin(1) for _ in range(count)], count
    with torch.no_grad():
        for first in range(0, place.max(), window):  # all rows at once: the sums of one row depend on the batch
            x = torch.from_numpy(data.x[row, first : first + window])
            _, after = plain.core.unroll(x, tuple(torch.cat(parts) for parts in zip(*states)))
            for k in np.flatnonzero(place > first):
                states[k] = tuple(part[k : k + 1] for part in after)
    for _ in range(25):
        steps = place[:, None] + np.arange(window)
        x = torch.from_numpy(data.x[row[:, None], steps])
        m, after = plain.core.unroll(x, tuple(torch.cat(parts) for parts in zip(*states)))
        out = plain.predictor(m.reshape(1, -1, m.shape[-1]), x.reshape(1, -1, x.shape[-1]))[0]
        wanted = torch.from_numpy(data.targets[row[:, None], steps]).reshape(-1)
        optimizer.zero_grad()
        each_loss("cross_entropy", out, wanted).mean().backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
        states = [tuple(part[k : k + 1].detach() for part in after) for k in range(count)]
        place += window
        for k in range(count):
            if place[k] == 20:
                place[k], row[k], states[k], ahead = 0, order[ahead], plain.core.begin(1), ahead + 1
        trainer.rollout()
        for mine, theirs in zip(trainer.model.parameters(), plain.parameters()):
            assert torch.equal(mine, theirs)
    other = trainer_of(MemUP(window, targets=2), task)  # and with a future it is not
    for _ in range(25):
        other.rollout()
    assert not all(torch.equal(a, b) for a, b in zip(other.model.parameters(), plain.parameters()))


@pytest.mark.parametrize("every", [None, 1, 2])
@pytest.mark.parametrize("detector", ["entropy", "surprise", "random"])
def test_targets_are_the_most_uncertain_that_lie_ahead(every, detector):
    task = Ending() if detector == "surprise" else task_of(length=9)
    trainer = trainer_of(MemUP(4, 3, detector, every), task, streams=8)
    at, rng, met = trainer.at, torch.Generator().manual_seed(0), 0
    for turn in range(12):
        told = torch.rand(at.keep.shape, generator=rng) < 0.7
        value = torch.rand(at.keep.shape, generator=rng, dtype=torch.float64)
        at.uncertainty = torch.where(told, value, -torch.inf)
        _, inside = at.here()
        where, step, chosen = choose_targets(at, trainer.method, inside, rng)
        for b in range(8):
            ends = int(at.lengths[b])
            points = [t for t in trainer.method.points(4) if at.at[b] + t < ends - 1 or t == 3]
            assert chosen[b].any(-1).sum() <= len(points)
            for p in range(where.shape[1]):
                asked = step[b, p][chosen[b, p]].tolist()
                now = int(at.at[b] + where[b, p])
                assert now < ends
                if not asked:
                    continue
                met += 1
                assert all(now <= k < ends and told[b, k] for k in asked)
                open_to = [k for k in range(now, ends) if told[b, k]]
                assert len(asked) == min(3, len(open_to)) == len(set(asked))
                if detector != "random":
                    best = sorted(open_to, key=lambda k: -float(at.uncertainty[b, k]))[:3]
                    assert sorted(asked) == sorted(best)
        at.move_on(at.state)
        at.at = (at.at + turn) % 3 * 4 % at.lengths
    assert met > 30


def test_the_same_seed_gives_the_same_bits():
    found = []
    for seed in (3, 3, 4):
        trainer = trainer_of(MemUP(4, 2), seed=seed)
        for _ in range(5):
            trainer.rollout()
        mine = [*trainer.model.parameters(), *trainer.detector.net.parameters()]
        found.append(torch.cat([p.detach().flatten() for p in mine]))
        torch.rand(3)  # nothing depends on torch's own generator
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_random_targets_are_drawn_anew():
    trainer = trainer_of(MemUP(3, 2, "random"))
    _, inside = trainer.at.here()
    drawn = [choose_targets(trainer.at, trainer.method, inside, trainer.generator)[1] for _ in range(2)]
    assert not torch.equal(*drawn)


@pytest.mark.parametrize("detector", ["entropy", "surprise"])
def test_the_detector_gets_no_gradient(detector):
    trainer = trainer_of(MemUP(4, 2, detector))
    trainer.at  # noqa: B018  (prepares it)
    inner = trainer.detector.net if detector == "entropy" else trainer.detector.average
    for p in inner.parameters():
        p.grad = None
    before = [p.clone() for p in inner.parameters()]
    for _ in range(8):
        trainer.rollout()
    assert all(p.grad is None for p in inner.parameters())
    moved = [not torch.equal(a, b) for a, b in zip(before, inner.parameters())]
    assert any(moved) == (detector == "surprise")  # averages follow the model; nothing else moves
    assert all(p.grad is not None for p in trainer.model.parameters())


def test_the_entropy_detector_finds_the_answers():
    trainer = trainer_of(MemUP(4, 2), task_of(length=40, alphabet=8))
    score = trainer.at.uncertainty
    answers = trainer.at.answers
    assert (score[answers] > 2).all()  # ln 8 = 2.08
    assert (score[~answers] < 0.05).all()


def test_spread_of_quantiles_is_the_spread_of_what_comes():
    trainer = trainer_of(MemUP(4, 1), lookup("task", "tmaze")(length=12, epoch_size=400))
    score, answers, inside = trainer.at.uncertainty, trainer.at.answers, trainer.at.keep
    assert ((score[answers] > 3) & (score[answers] < 4)).all()  # 3.5, of 4 and -3
    assert (score[inside & ~answers] < 0.2).all()


@pytest.mark.parametrize("every", [None, 2])
def test_the_graph_does_not_grow_with_the_sequence(every):
    """window + K per prediction point, counted and in bytes; whole sequences are the control."""
    found = {}
    for length in (24, 48, 96):
        trainer = trainer_of(MemUP(6, 2, every=every, current=False), task_of(length=length), phase="same")
        trainer.measure()
        points = 1 if every is None else 3
        assert trainer.graph["memory_steps"] == 6 and trainer.graph["predictions"] == 2 * points
        found[length] = trainer.graph
    assert found[24] == found[48] == found[96]
    bytes_of = []
    for length in (24, 96):
        whole = trainer_of(full(), task_of(length=length))
        whole.measure()
        assert whole.graph["memory_steps"] == length
        bytes_of.append(whole.graph["bytes"])
    assert bytes_of[1] > 3 * bytes_of[0] > 3 * found[24]["bytes"]


def test_current_steps_are_counted_too():
    trainer = trainer_of(MemUP(6, 2), phase="same")
    trainer.measure()
    assert trainer.graph["predictions"] == 2 + 6 and trainer.graph["targets"] == 2
    silent = trainer_of(truncated(3), Ending(), phase="same")
    silent.measure()
    assert silent.graph["predictions"] == 0 and silent.updates == 0  # no target in the first window, no update


def test_a_new_sequence_begins_with_an_empty_memory():
    trainer = trainer_of(truncated(4), Ending(), streams=6)
    seen = 0
    for _ in range(20):
        before = trainer.at.at.clone()
        trainer.rollout()
        fresh = trainer.at.at == 0
        seen += int(fresh.sum())
        for part in trainer.at.state:
            assert not part[fresh].any() and part[~fresh].any()
            assert not part.requires_grad
        assert (trainer.at.at[~fresh] == before[~fresh] + 4).all()
    assert seen > 20


def test_streams_begin_at_random_places_with_the_state_that_belongs_there():
    trainer = trainer_of(truncated(3), Ending(), streams=20)
    at = trainer.at
    assert len(set(at.at.tolist())) > 1 and (at.at < at.lengths).all() and not (at.at % 3).any()
    for b in range(20):
        state = trainer.model.begin(1)
        if at.at[b]:
            _, state = trainer.model.core.unroll(at.x[b : b + 1, : at.at[b]], state)
        for mine, wanted in zip(at.state, state):
            torch.testing.assert_close(mine[b : b + 1], wanted.detach(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["positional-copy", "tmaze"])
def test_evaluation_asks_the_memory_of_the_same_step(name):
    task = task_of(name, length=12)
    model = model_of(task, context=3)
    data = of_task(task, task.split("validation"), np.float64)
    losses, hits = [], []
    model.requires_grad_(False)
    for b in range(20):
        memory = data.x[b] if model.memory_columns is None else data.x[b][:, model.memory_columns]
        own = data.x[b] if model.context_columns is None else data.x[b][:, model.context_columns]
        m, _ = model.core.unroll(torch.from_numpy(memory)[None], model.begin(1))
        for k in np.flatnonzero(data.answers[b]):
            past = [own[j] if j >= 0 else np.zeros_like(own[0]) for j in (k - 2, k - 1, k)]
            out = model.predictor(m[0, k], torch.from_numpy(np.concatenate(past)))
            losses.append(float(each_loss(task.loss, out, torch.from_numpy(np.asarray(data.targets[b, k])))))
            hits.append(int(out.argmax()) == data.targets[b, k] if task.loss == "cross_entropy" else 0)
    part = replace(data, **{name: getattr(data, name)[:20] for name in ("x", "targets", "keep", "lengths", "answers")})
    found = evaluate(model, part, task.loss)
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-10)
    assert task.loss == "mse" or found["accuracy"] == pytest.approx(np.mean(hits))


def test_sources_go_round_and_can_be_taken_up():
    task = Ending()
    source = Source(task, np.float64, 0)
    first = [source.take(7)[0] for _ in range(5)]  # 35 of 30
    assert source.state() == [1, 5]
    data = of_task(task, task.training(0), np.float64)
    rows = np.concatenate(first)[:30].reshape(30, -1)
    assert len(np.unique(rows, axis=0)) == 30 == len(np.unique(data.x.reshape(30, -1), axis=0))
    again = Source(task, np.float64, 0)
    again.load_state(source.state())
    assert torch.equal(again.take(4)[0], source.take(4)[0])


def test_where_tbptt_cannot_memup_can():
    """One symbol, 10 blanks, windows of 4: chance for truncated backpropagation, solved by all of it."""
    task = lookup("task", "positional-copy")(length=12, symbols=1, alphabet=2, epoch_size=500)
    found = {}
    methods = {"memup": (MemUP(4, 1, every=2), 40), "tbptt": (truncated(4), 40), "bptt": (full(), 80)}
    for name, (method, epochs) in methods.items():
        model = build_model(task, units=16, hidden=32, seed=1)
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        trainer = RolloutTrainer(model, method, task, optimizer, streams=32)
        trainer.fit(epochs=epochs, until=lambda row: row["validation_accuracy"] > 0.99)
        found[name] = trainer.evaluate()["accuracy"]
    assert found["memup"] > 0.95
    assert found["bptt"] > 0.95
    assert 0.4 < found["tbptt"] < 0.6


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"window": 0}, "window=0 is not usable"),
        ({"window": 2.5}, "window=2.5"),
        ({"targets": -1}, "targets=-1 is not usable"),
        ({"detector": "magic"}, "detector 'magic' is unknown|detector='magic'"),
        ({"every": 0}, "every=0"),
        ({"every": 11}, "every=11 is longer than the window of 10 steps"),
        ({"targets": 0, "current": False}, "leaves nothing to learn from"),
    ],
)
def test_methods_that_cannot_be(options, told):
    with pytest.raises((ValueError, TypeError), match=told):
        MemUP(**options)


def test_what_does_not_fit_is_refused():
    task = task_of(length=24)
    with pytest.raises(ValueError, match="window=25 is longer than the longest sequence, which has 24 steps"):
        trainer_of(MemUP(25), task)
    with pytest.raises(ValueError, match="window=10 is longer than the longest sequence, which has 9 steps"):
        trainer_of(MemUP(10), Ending())
    with pytest.raises(TypeError, match="pass an evsim.models.Model"):
        RolloutTrainer(torch.nn.Linear(1, 1), MemUP(), task)
    with pytest.raises(TypeError, match="pass MemUP"):
        RolloutTrainer(model_of(task), "memup", task)
    with pytest.raises(ValueError, match="fit was given no end"):
        trainer_of(MemUP(4), task).fit()
    with pytest.raises(ValueError, match="epochs=-1 is not usable"):
        trainer_of(MemUP(4), task).fit(epochs=-1)
    with pytest.raises(ValueError, match="phase"):
        trainer_of(MemUP(4), task, phase="smae")
    with pytest.raises(ValueError, match="the memory hears 6 inputs, but ending shows it 3: build it for that task"):
        trainer_of(MemUP(4), Ending(), model=model_of(task))
    with pytest.raises(ValueError, match="the model has 4 outputs, but certain has 2"):
        other = Ending()
        vars(other).update(n_in=6, name="certain")
        trainer_of(MemUP(4), other, model=model_of(task))
    with pytest.raises(ValueError, match="no parameter of the model requires a gradient"):
        trainer_of(MemUP(4), task, model=model_of(task).requires_grad_(False), optimizer=None)
    with pytest.raises(TypeError, match="optimizer is a LBFGS: pass a torch optimiser .* so not LBFGS"):
        model = model_of(task)
        trainer_of(MemUP(4), task, model=model, optimizer=torch.optim.LBFGS(model.parameters()))


def test_a_loss_that_is_not_finite_stops_training():
    trainer = trainer_of(truncated(4))
    with torch.no_grad():
        trainer.model.predictor.body[-1].bias[0] = torch.nan
    with pytest.raises(FloatingPointError, match="the loss became nan at update 1: lower the learning rate"):
        trainer.rollout()
    assert trainer.updates == 0


def test_a_context_is_the_last_steps_up_to_the_one_asked_about():
    core = GatedCore("gru", 2, 3)
    model = Model(core, ContextPredictor(3, 2, 1, steps=3))
    x = torch.arange(10.0).reshape(1, 5, 2)
    found = model.contexts(model.padded(x), torch.tensor([[0, 1, 4]]))
    assert found.tolist() == [[[0, 0, 0, 0, 0, 1], [0, 0, 0, 1, 2, 3], [4, 5, 6, 7, 8, 9]]]


def test_streams_alone_read_windows_of_whole_sequences():
    task = Ending()
    model = model_of(task)
    at = Streams(Source(task, np.float64, 1), model, 3, 4)
    index, inside = at.here()
    assert index.tolist() == [[0, 1, 2, 3]] * 3 and inside.all()
    assert torch.equal(at.read(at.x, index), at.x[:, :4])
    assert not at.uncertainty
