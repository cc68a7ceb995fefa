"""DNI with the true future gradient in the place of guesses: windows add up to full backpropagation."""

import pytest
import torch
from guesses import CELLS, Letters, Told, Truth, apart, model_of, trainer_of, true_gradients, windows_of

from evsim.models import DNI, full
from evsim.models.rollout import rollout_loss
from evsim.models.synthesiser import context_at

pytestmark = pytest.mark.nojit


@pytest.mark.parametrize("window", [1, 3, 4, 11])
@pytest.mark.parametrize("cell", CELLS)
def test_with_the_true_future_gradient_windows_add_up_to_full_backpropagation(cell, window):
    trainer = trainer_of(DNI(window, scale=1.0), cell=cell)
    whole, future = true_gradients(trainer, window)
    trainer.synthetic.synthesiser = truth = Truth(future)
    found, starts = windows_of(trainer)
    assert truth.asked == len(future)
    assert apart(found, whole) < 1e-10
    for first, (start, wanted) in enumerate(zip(starts[1:], future), 1):
        going = trainer.at.lengths > first * window
        torch.testing.assert_close(start[going], wanted[going], rtol=1e-10, atol=1e-12)
    assert 1 in trainer.at.lengths  # a sequence of a single step
    if window < 11:  # controls
        assert apart(windows_of(trainer_of(DNI(window), model=trainer.model), "real")[0], whole) > 1e-3
        half = trainer_of(DNI(window, scale=0.5), model=trainer.model)
        half.synthetic.synthesiser = Truth(future)
        assert apart(windows_of(half)[0], whole) > 1e-3


@pytest.mark.parametrize(("cell", "own"), [
    ("lstm", {}), ("lstm", {"layers": 2, "tied": True, "embed": 3}), ("qrnn", {}), ("qrnn", {"layers": 3}),
    ("egru", {}), ("egru", {"embed": 6}),
])  # fmt: skip
def test_the_same_on_tokens(cell, own):
    task = Letters()
    given = {"half_width": 0.5} if cell == "egru" else {"embed": 4}
    trainer = trainer_of(DNI(3, scale=1.0), task, model=model_of(task, cell, **{**given, **own}))
    whole, future = true_gradients(trainer, 3)
    trainer.synthetic.synthesiser = Truth(future)
    assert apart(windows_of(trainer)[0], whole) < 1e-10
    assert apart(windows_of(trainer_of(DNI(3), task, model=trainer.model), "real")[0], whole) > 1e-3
    seen = context_at("input", trainer.at, task, torch.full((12,), 4))
    there = trainer.at.lengths > 4
    assert torch.equal(seen[there].argmax(1), trainer.at.x[there, 4].long()) and (seen[~there] == 0).all()
    assert seen.shape == (12, 4) and seen.dtype == torch.float64


def test_the_same_in_float32():
    task = Told()
    trainer = trainer_of(DNI(3, scale=1.0), task, model=model_of(task, dtype="float32"))
    whole, future = true_gradients(trainer, 3)
    trainer.synthetic.synthesiser = Truth(future)
    assert apart(windows_of(trainer)[0], whole) < 1e-6


def test_full_backpropagation_is_one_window_of_the_same_loss():
    task = Told()
    trainer = trainer_of(full("sum"), task, streams=12)
    whole, _ = true_gradients(trainer, 4)
    loss, *_ = rollout_loss(trainer.model, trainer.at, trainer.method, "mse", trainer.generator)
    loss.backward()
    found = {name: p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}
    assert apart(found, whole) < 1e-12
