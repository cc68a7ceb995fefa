"""MemUP's loss and its gradient against a slow reading of the method, one stream at a time; detectors; ranges."""

import numpy as np
import pytest
import torch

from evsim.arraytask import ArrayTask
from evsim.models import MemUP, RolloutTrainer, build_model
from evsim.models.loss import each_loss
from evsim.models.streams import Source
from evsim.registry import lookup

pytestmark = pytest.mark.nojit
CASES = list(range(14))


def drawn(seed):
    """A trainer on random sequences: losses, lengths, masks, answers, cells, contexts and methods of every kind."""
    rng = np.random.default_rng(seed)
    loss = ("cross_entropy", "mse", "binary_cross_entropy")[seed % 3]
    count, steps, per_step = 40, int(rng.integers(9, 20)), seed % 2 == 0
    lead = (count, steps) if per_step else (count,)
    y = {"cross_entropy": rng.integers(0, 3, lead), "mse": rng.normal(size=(*lead, 2)),
         "binary_cross_entropy": rng.integers(0, 2, (*lead, 2)).astype(float)}[loss]  # fmt: skip
    arrays = {"x": rng.normal(size=(count, steps, 3)), "y": y, "lengths": rng.integers(5, steps + 1, count)}
    if per_step and rng.random() < 0.7:
        arrays["mask"] = rng.random((count, steps)) < 0.4
    task = ArrayTask(arrays, loss)
    cell = ("lstm", "egru", "gru", "alif", "lstm")[seed % 5]
    model = build_model(
        task, cell, 6, 1 + seed % 2, context=int(rng.integers(1, 4)), hidden=8, dtype="float64", seed=seed
    )
    window, every = int(rng.integers(1, 6)), None
    if rng.random() < 0.6:
        every = int(rng.integers(1, window + 1))
    method = MemUP(window, int(rng.integers(1, steps + 5)), "surprise", every, bool(seed % 4))
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    return RolloutTrainer(model, method, task, optimizer, streams=5, clip=None, seed=seed)


def plainly(trainer, asked=lambda t, k: k, point=lambda t: t):
    """The loss of the trainer's next window, read off the method's definition.

    asked: the step whose context goes with target k at point t; point: whose memory is asked. Both for controls.
    """
    model, method, at, loss = trainer.model, trainer.method, trainer.at, trainer.task.loss
    now, future = [], []

    def context(x, k):
        past = range(k - model.predictor.steps + 1, k + 1)
        return torch.cat([x[j] if j >= 0 else torch.zeros_like(x[0]) for j in past])

    for b in range(len(at.lengths)):
        x, first, length = at.x[b], int(at.at[b]), int(at.lengths[b])
        end = min(first + method.window, length)
        m, _ = model.core.unroll(x[None, first:end], tuple(part[b : b + 1] for part in at.state))
        told = [k for k in range(length) if at.keep[b, k]]
        if method.current:
            now += [each_loss(loss, model.predictor(m[0, k - first], context(x, k)), at.targets[b, k])
                    for k in told if first <= k < end]  # fmt: skip
        for t in range(first, end):
            if t == end - 1 or (method.every and (t - first + 1) % method.every == 0):
                ahead = sorted((k for k in told if k >= t), key=lambda k: -float(at.uncertainty[b, k]))
                future += [
                    each_loss(loss, model.predictor(m[0, point(t - first)], context(x, asked(t, k))), at.targets[b, k])
                    for k in ahead[: method.targets]
                ]
    parts = [torch.stack(losses).mean() for losses in (now, future) if losses]
    return sum(parts) if parts else None


@pytest.mark.parametrize("seed", CASES)
def test_loss_and_gradient_are_the_methods(seed):
    trainer, met = drawn(seed), 0
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    trainer.model.project = lambda: None  # what is compared is the gradient
    for _ in range(15):
        wanted = plainly(trainer)
        before = [p.detach().clone() for p in trained]
        slopes = None if wanted is None else torch.autograd.grad(wanted, trained, allow_unused=True)
        found = trainer.rollout()
        assert (found["loss"] is None) == (wanted is None)
        if wanted is None:
            continue
        met += 1
        assert found["loss"] == pytest.approx(float(wanted.detach()), rel=1e-10)
        for p, old, slope in zip(trained, before, slopes):
            moved = torch.zeros_like(p) if slope is None else -0.05 * slope
            torch.testing.assert_close(p.detach(), old + moved, rtol=1e-9, atol=1e-12)
    assert met > 5


def test_the_comparison_sees_a_wrong_context_and_a_wrong_memory():
    """The controls: the context of the point in place of the target's, and the memory of another step."""
    wrong_context = wrong_memory = 0
    for seed in CASES:
        trainer = drawn(seed)
        for _ in range(6):
            with torch.no_grad():
                right, other, older = (
                    plainly(trainer, **how) for how in ({}, {"asked": lambda t, k: t}, {"point": lambda t: 0})
                )
            if right is not None:
                wrong_context += abs(float(right - other)) > 1e-6
                wrong_memory += abs(float(right - older)) > 1e-6
            trainer.rollout()
    assert wrong_context > 20 and wrong_memory > 20


def test_surprise_is_the_loss_of_the_averages():
    trainer = drawn(0)
    at, average = trainer.at, trainer.detector.average
    with torch.no_grad():
        scores = each_loss(trainer.task.loss, average(at.x)[0], at.targets)
    assert torch.equal(at.uncertainty[at.keep], scores[at.keep]) and scores[at.keep].std() > 0.01
    assert torch.isneginf(at.uncertainty[~at.keep]).all()


def test_averages_follow_slowly():
    trainer = drawn(2)
    trainer.at  # noqa: B018
    mean = [p.detach().clone() for p in trainer.model.parameters()]
    for _ in range(3):
        updates = trainer.updates
        trainer.rollout()
        if trainer.updates > updates:
            mean = [0.99 * m + 0.01 * p.detach() for m, p in zip(mean, trainer.model.parameters())]
    for mine, wanted in zip(trainer.detector.average.parameters(), mean):
        torch.testing.assert_close(mine, wanted, rtol=1e-12, atol=1e-14)
    assert trainer.updates > 1


def test_ranges_are_kept_after_every_update():
    task = lookup("task", "positional-copy")(length=12, symbols=1, alphabet=2, epoch_size=64)
    model = build_model(task, "egru", 6, hidden=8)
    model.core.get_parameter("layers/0/threshold").data[:] = 5.0  # above what height allows
    trainer = RolloutTrainer(model, MemUP(4, 1), task, streams=4)
    trainer.rollout()
    top = model.core.cells[0].bounds("threshold")[1]
    assert float(model.core.get_parameter("layers/0/threshold").detach().max()) == pytest.approx(top)


@pytest.mark.parametrize("count", [20, 60, 200])
def test_the_entropy_detector_does_not_learn_small_sets_by_heart(count):
    """Noise and a class that nothing tells: the entropy is ln 3 = 1.10 whatever the number of sequences."""
    rng = np.random.default_rng(count)
    task = ArrayTask({"x": rng.normal(size=(count, 12, 8)), "y": rng.integers(0, 3, count)})
    trainer = RolloutTrainer(build_model(task, "gru", 4, hidden=8), MemUP(4, 2), task, streams=8)
    told = trainer.at.uncertainty[trainer.at.keep]
    assert told.median() > 0.5


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_targets_that_are_all_the_same_are_refused_whatever_the_detector(loss):
    rng = np.random.default_rng(0)
    y = np.ones((40, 12), int) if loss == "cross_entropy" else np.full((40, 12, 1), 0.3)
    task = ArrayTask({"x": rng.normal(size=(40, 12, 2)), "y": y}, loss)
    for detector in ("entropy", "surprise", "random"):
        trainer = RolloutTrainer(build_model(task, "gru", 4, hidden=8), MemUP(4, 2, detector), task, streams=8)
        with pytest.raises(ValueError, match="is uncertain, for all its targets are the same"):
            trainer.rollout()


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_targets_that_the_context_tells_are_refused(loss):
    rng = np.random.default_rng(0)
    bit = rng.integers(0, 2, (1200, 6))
    y = bit if loss == "cross_entropy" else bit[..., None].astype(float)
    task = ArrayTask({"x": np.stack([bit, 1 - bit], -1).astype(float), "y": y}, loss)
    trainer = RolloutTrainer(build_model(task, "gru", 4, hidden=8), MemUP(4, 2), task, streams=8)
    for _ in range(2):  # and again
        with pytest.raises(ValueError, match="is uncertain to who sees its context alone"):
            trainer.rollout()


def test_a_gradient_that_is_not_finite_changes_nothing():
    trainer = drawn(0)
    weight = next(p for p in trainer.model.parameters() if p.requires_grad)
    weight.register_hook(lambda grad: grad * torch.inf)
    before = [p.detach().clone() for p in trainer.model.parameters()]
    with pytest.raises(FloatingPointError, match="the gradient's norm became (inf|nan) at update 1: lower"):
        for _ in range(5):
            trainer.rollout()
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters()))


def test_the_detector_has_sequences_in_an_order_of_its_own():
    task = lookup("task", "positional-copy")(length=12, symbols=1, alphabet=2, epoch_size=64)
    model = build_model(task, "gru", 4, hidden=8)
    plain, asks = (RolloutTrainer(model, MemUP(4, targets), task, streams=8) for targets in (0, 1))
    assert torch.equal(plain.at.x, asks.at.x)
    assert not torch.equal(Source(task, np.float32, 0).take(8)[0], asks._later.take(8)[0])
