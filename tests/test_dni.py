"""DNI: what the synthesiser learns and from what, what goes back and what does not, going on from a checkpoint."""

from dataclasses import replace

import pytest
import torch
from guesses import Late, Told, model_of, trainer_of
from torch import nn

from evsim.models import DNI, Synthesiser, truncated
from evsim.models.synthesiser import context_at, flat, like_state
from evsim.registry import lookup
from evsim.restarts import Phases, Restarts

pytestmark = pytest.mark.nojit


def test_real_phases_are_truncated_backpropagation_to_the_last_bit():
    for task in (Told(), Late()):
        runs = [trainer_of(method, task, streams=5, phase="random", clip=1.0, optimizer=None)
                for method in (DNI(3, phases=Phases("real")), truncated(3, "sum"), DNI(3), truncated(3))]  # fmt: skip
        for _ in range(40):
            for run in runs:
                run.rollout()
        real, cut, synthetic, mean = ([p.detach() for p in run.model.parameters()] for run in runs)
        assert runs[0].updates == runs[1].updates
        assert all(torch.equal(a, b) for a, b in zip(real, cut))
        assert not all(torch.equal(a, b) for a, b in zip(synthetic, cut))  # the controls
        assert not all(torch.equal(a, b) for a, b in zip(mean, cut))
        weights = runs[0].synthetic.synthesiser.last.weight
        assert weights.abs().sum() > 0  # it has learnt meanwhile


def test_windows_without_a_loss_are_updated_all_the_same_where_a_guess_goes_back():
    def after(phase):
        trainer = trainer_of(DNI(2, phases=Phases(phase)), Late())
        trainer.at.lengths[:] = 11
        trainer.at.keep[:] = False
        nn.init.ones_(trainer.synthetic.synthesiser.last.bias)
        before = [p.detach().clone() for p in trainer.model.core.parameters()]
        found = trainer.rollout()
        assert found["loss"] is None and found["told"] == 0
        return trainer.updates, any(not torch.equal(a, b) for a, b in zip(before, trainer.model.core.parameters()))

    assert after("synthetic") == (1, True)
    assert after("real") == (0, False)


def test_where_a_sequence_ends_nothing_is_guessed():
    """Streams whose sequence ends in the window get what they get without a guess; the others do not."""
    grads = {}
    for size in (0.0, 100.0):
        trainer = trainer_of(DNI(4, scale=1.0))
        nn.init.constant_(trainer.synthetic.synthesiser.last.bias, size)
        trainer.synthetic.backward(trainer.model, trainer.at, "synthetic")
        grads[size] = trainer.synthetic.at_start
    ended = trainer.at.lengths <= 4
    assert ended.any() and not ended.all()
    assert torch.equal(grads[0.0][ended], grads[100.0][ended])
    assert ((grads[0.0][~ended] - grads[100.0][~ended]).abs().sum(1) > 1).all()


def test_a_synthesiser_says_nothing_at_first_and_looks_at_all_of_the_state():
    for layers in (0, 1, 3):
        made = Synthesiser(6, context=2, layers=layers)
        assert (made(torch.randn(4, 6), torch.randn(4, 2)) == 0).all()
        assert sum(isinstance(m, nn.Linear) for m in made.modules()) == layers + 2
    for cell, size in (("lstm", 10), ("lstm x 2", 20), ("gru x 3", 15), ("egru", 10), ("alif", 20)):
        trainer = trainer_of(DNI(3), cell=cell)
        assert trainer.synthetic.synthesiser.last.out_features == size
        state = tuple(torch.randn_like(part) for part in trainer.model.begin(7))
        assert all(torch.equal(a, b) for a, b in zip(like_state(flat(state), state), state))


def test_neither_loss_trains_what_the_other_owns():
    trainer = trainer_of(DNI(3))
    nn.init.normal_(trainer.synthetic.synthesiser.last.weight)
    own, core = list(trainer.synthetic.synthesiser.parameters()), list(trainer.model.core.parameters())
    trainer.synthetic.backward(trainer.model, trainer.at, "synthetic")  # no stream has begun: nothing to learn
    assert all(p.grad is None for p in own) and any(p.grad.abs().sum() > 0 for p in core)
    trainer.model.zero_grad()
    trainer.at.at += 3
    trainer.synthetic._learn(trainer.at, flat(trainer.at.state))
    assert any(p.grad.abs().sum() > 0 for p in own) and all(p.grad is None for p in core)


def test_the_target_is_the_windows_gradient_and_the_scaled_guess_carried_back():
    """By finite differences of each stream's loss plus scale * <guess, state>, guesses held."""
    trainer = trainer_of(DNI(2, scale=0.3))
    model, at, engine = trainer.model, trainer.at, trainer.synthetic
    nn.init.normal_(engine.synthesiser.last.weight)
    at.at += 2
    at.state = tuple(torch.randn_like(part) * 0.3 for part in at.state)
    start, (index, inside) = flat(at.state), at.here()
    going = at.at + 2 < at.lengths
    with torch.no_grad():
        held = engine.synthesiser(flat(model.remember(at.read(at.x, index), at.state)[1]))

    def value(vector):
        m, after = model.remember(at.read(at.x, index), like_state(vector, at.state))
        out = model.predict(m, None)
        each = ((out - at.read(at.targets, index)) ** 2).mean(-1) * (at.read(at.keep, index) & inside)
        return each.sum(1) + 0.3 * (held * flat(after)).sum(1) * going

    engine.backward(model, at, "synthetic")
    with torch.no_grad():
        for k in range(start.shape[1]):
            moved = torch.zeros_like(start)
            moved[:, k] = 1e-6
            slope = (value(start + moved) - value(start - moved)) / 2e-6
            torch.testing.assert_close(engine.at_start[:, k], slope, rtol=1e-6, atol=1e-8)


class Twice(nn.Module):
    """The structure of a published code: a hook at the state trains M whenever a gradient arrives there."""

    def __init__(self, synthesiser, optimizer):
        super().__init__()
        self.synthesiser, self.optimizer = synthesiser, optimizer

    def learn(self, state, gradient):
        with torch.enable_grad():
            self._step(state, gradient)

    def _step(self, state, gradient):
        self.optimizer.zero_grad()
        ((self.synthesiser(state) - gradient) ** 2).sum(1).mean().backward()
        self.optimizer.step()


def test_two_backward_calls_halve_the_fixed_point():
    """One window's first state s, loss a * f(s) and a guess b * M carried back: M should come to a + b M, and with a
    hook that fires in each of two backward calls comes to half of that."""
    torch.manual_seed(0)
    a, b = torch.tensor([[0.7, -1.3, 0.4]]), 0.1
    found = {}
    for way in ("joint", "twice"):
        made = Synthesiser(3, layers=0)
        trainer = Twice(made, torch.optim.SGD(made.parameters(), 0.02))
        for _ in range(4000):
            s = torch.zeros(1, 3, requires_grad=True)
            guess = made(s).detach()
            loss, end = (a * s).sum(), b * s
            if way == "joint":
                torch.autograd.backward([loss, end], [None, guess])
                trainer.learn(s.detach(), s.grad)
            else:
                s.register_hook(lambda gradient, at=s, hooked=trainer: hooked.learn(at.detach(), gradient))
                end.backward(guess)
                loss.backward()
        m = made(torch.zeros(1, 3)).detach()
        found[way] = m / (a + b * m)
    torch.testing.assert_close(found["joint"], torch.ones(1, 3), rtol=1e-3, atol=0)
    torch.testing.assert_close(found["twice"], torch.full((1, 3), 0.5), rtol=2e-2, atol=0)


def test_the_trainers_own_synthesiser_comes_to_the_whole_target():
    """The same through the trainer: with weights at rest M comes to 1.0 of what it should say."""
    task = Told()
    trainer = trainer_of(DNI(3, scale=1.0, lr=0.02, units=32), task, optimizer=None)
    for group in trainer.optimizer.param_groups:
        group["lr"] = 0.0
    for _ in range(3000):
        trainer.rollout()
    dot = squares = 0.0
    for _ in range(40):
        at = trainer.at
        begun = at.at > 0
        start = flat(at.state)
        trainer.rollout()
        with torch.no_grad():
            guess = trainer.synthetic.synthesiser(start)[begun]
        target = trainer.synthetic.at_start[begun]
        dot, squares = dot + float((guess * target).sum()), squares + float((target**2).sum())
    assert dot / squares == pytest.approx(1.0, abs=0.1)
    row = trainer.synthetic.skill()
    assert row["synthetic_cosine"] > 0.5 and row["synthetic_error"] < 1


def test_the_auxiliary_heads_gradient_reaches_the_core_and_it_alone_sets_them_apart():
    grads = {}
    for auxiliary in (0.0, 1.0):
        trainer = trainer_of(DNI(3, scale=1.0, auxiliary=auxiliary))
        nn.init.ones_(trainer.synthetic.synthesiser.last.bias)
        trainer.synthetic.backward(trainer.model, trainer.at, "synthetic")
        grads[auxiliary] = [p.grad for p in trainer.model.core.parameters()]
        if auxiliary:
            head, engine = trainer.synthetic.head, trainer.synthetic
            assert head.weight.grad.abs().sum() > 0
            kept = [p.grad.clone() for p in trainer.model.core.parameters()]
            trainer.model.zero_grad()
            engine.backward(trainer.model, trainer.at, "real")
            assert any(not torch.equal(a, p.grad) for a, p in zip(kept, trainer.model.core.parameters()))
    assert any(not torch.allclose(a, b) for a, b in zip(grads[0.0], grads[1.0]))


def test_the_auxiliary_loss_by_finite_differences():
    trainer = trainer_of(DNI(3, scale=1e-12, auxiliary=0.5))
    model, at, engine = trainer.model, trainer.at, trainer.synthetic
    nn.init.normal_(engine.synthesiser.last.weight)
    at.keep[:] = False  # nothing is told: all that is left is the auxiliary loss
    weight, index = model.core.body.weight_ih_l0, at.here()[0]
    going = at.lengths > 3
    with torch.no_grad():
        _, state = model.remember(at.read(at.x, index), at.state)
        held = engine.synthesiser(flat(state))

    def value():
        m, _ = model.remember(at.read(at.x, index), at.state)
        return float(0.5 * ((engine.head(m[:, 0]) - held) ** 2).sum(1)[going].sum() / len(m))

    engine.backward(model, at, "synthetic")
    found = weight.grad.clone()
    with torch.no_grad():
        for place in ((0, 0), (3, 1), (11, 2), (19, 0)):
            weight[place] += 1e-5
            up = value()
            weight[place] -= 2e-5
            slope = (up - value()) / 2e-5
            weight[place] += 1e-5
            assert float(found[place]) == pytest.approx(slope, rel=1e-4, abs=1e-8)


def test_what_a_conditioned_synthesiser_sees():
    task = Told()
    trainer = trainer_of(DNI(4, condition="target"), task)
    at, steps = trainer.at, torch.full((12,), 4)
    told = context_at("target", at, task, steps)
    for row in range(12):
        left = [k for k in range(4, int(at.lengths[row])) if at.answers[row, k]]
        wanted = at.targets[row, left[0]] if left else torch.zeros(2)
        assert torch.equal(told[row].double(), wanted.double())
    seen = context_at("input", at, task, steps)
    there = at.lengths > 4
    assert torch.equal(seen[there], at.x[there, 4]) and (seen[~there] == 0).all() and not there.all()
    classes = lookup("task", "delayed-recall")()
    other = trainer_of(DNI(3, condition="target"), classes, model=model_of(classes))
    hot = context_at("target", other.at, classes, torch.full((12,), 6))
    assert torch.equal(hot.argmax(1), other.at.targets[:, -1]) and (hot.sum(1) == 1).all()
    assert context_at("none", at, task, steps) is None
    nn.init.normal_(trainer.synthetic.synthesiser.last.weight)
    trainer.synthetic.backward(trainer.model, at, "synthetic")
    before = trainer.synthetic.at_start
    at.targets[:, 4:] += 1.0  # what is to come changes the guess, and with it the gradient
    trainer.synthetic.backward(trainer.model, at, "synthetic")
    assert not torch.equal(before, trainer.synthetic.at_start)


def test_shuffled_guesses_are_those_of_other_streams():
    grads = []
    for shuffled in (False, True):
        trainer = trainer_of(DNI(3, scale=1.0, shuffled=shuffled))
        trainer.at.lengths[:] = 11
        trainer.at.keep[:] = False
        nn.init.normal_(trainer.synthetic.synthesiser.last.weight, generator=torch.Generator().manual_seed(0))
        trainer.synthetic.backward(trainer.model, trainer.at, "synthetic")
        grads.append(trainer.synthetic.at_start)
    assert not torch.allclose(*grads)


def test_guesses_are_of_one_streams_loss_whatever_the_number_of_streams():
    starts = []
    for count in (4, 12):
        trainer = trainer_of(DNI(4), streams=count)
        trainer.synthetic.backward(trainer.model, trainer.at, "real")
        starts.append(trainer.synthetic.at_start)
    torch.testing.assert_close(starts[0], starts[1][:4], rtol=1e-12, atol=1e-14)


def test_rows_say_what_kind_of_gradient_there_was_and_how_good_guesses_were():
    task = lookup("task", "delayed-recall")(epoch_size=60)
    phases = Phases("real", Restarts(1), (3,))
    trainer = trainer_of(DNI(3, condition="target", phases=phases), task, model=model_of(task), phase="random")
    rows = trainer.fit(epochs=5, validate=False)
    assert [row["phase"] for row in rows] == [phases.of(epoch) for epoch in range(1, 6)]
    assert [row["phase"] for row in rows] == ["real", "synthetic", "synthetic", "synthetic", "real"]
    assert all(-1 <= row["synthetic_cosine"] <= 1 and row["synthetic_error"] >= 0 for row in rows)
    cut = trainer_of(truncated(3), task, model=model_of(task), phase="random").fit(epochs=1, validate=False)
    assert not {"phase", "synthetic_cosine"} & set(cut[0])


def test_it_goes_on_from_a_checkpoint_to_the_last_bit(tmp_path):
    task = lookup("task", "delayed-recall")(epoch_size=60)

    def made(**options):
        phases = Phases("real", Restarts(1))
        method = DNI(3, condition="target", auxiliary=0.1, phases=phases, shuffled=True)
        return trainer_of(replace(method, **options), task, model=model_of(task), phase="random")

    whole, half = made(), made()
    whole.fit(epochs=4, validate=False)
    half.fit(epochs=2, validate=False)
    half.save(tmp_path / "half.npz")
    second = made().load(tmp_path / "half.npz")
    second.fit(epochs=4, validate=False)
    for a, b in zip(whole.model.parameters(), second.model.parameters()):
        assert torch.equal(a, b)
    for name, value in whole.synthetic.state_dict().items():
        assert torch.equal(value, second.synthetic.state_dict()[name])
    kept = "epoch", "phase", "loss", "synthetic_cosine", "synthetic_error"
    assert [[row[name] for name in kept] for row in whole.history] == [
        [row[name] for name in kept] for row in second.history
    ]
    for other in ({"scale": 0.2}, {"condition": "input"}, {"layers": 2}, {"phases": Phases("synthetic")}):
        with pytest.raises(ValueError, match="written by a trainer with method"):
            made(**other).load(tmp_path / "half.npz")


def test_a_synthesiser_that_feeds_on_itself_is_stopped_with_a_word():
    trainer = trainer_of(DNI(2, scale=1.0))
    nn.init.constant_(trainer.synthetic.synthesiser.last.bias, 1e200)
    with pytest.raises(FloatingPointError, match="lower"):
        for _ in range(5):
            trainer.rollout()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"window": 0}, "window=0"), ({"scale": 0.0}, "scale=0"), ({"scale": -1.0}, "scale=-1"),
        ({"condition": "label"}, "condition='label'.*none, target, input"), ({"auxiliary": -0.1}, "auxiliary=-0.1"),
        ({"units": 0}, "synthesiser_units=0"), ({"layers": -1}, "synthesiser_layers=-1"),
        ({"lr": 0}, "synthesiser_lr=0"),
        ({"phases": "real"}, "phases is 'real'"),
    ],
)  # fmt: skip
def test_bad_settings(given, told):
    with pytest.raises((ValueError, TypeError), match=told):
        DNI(**given)


def test_a_window_longer_than_the_sequences():
    with pytest.raises(ValueError, match="window=12 is longer"):
        trainer_of(DNI(12))
