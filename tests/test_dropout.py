"""Dropout: draws of its own, where it drops, and training that goes on bit for bit."""

import pytest
import torch
from language import GATED, V, tokens

from evsim.models import RolloutTrainer, build_core, build_model, truncated
from evsim.models.dropout import Dropout
from evsim.registry import lookup

pytestmark = pytest.mark.nojit


def test_dropout_draws_by_itself():
    torch.manual_seed(0)
    drop, x = Dropout(0.25), torch.ones(100, 100)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    found = []
    for _ in range(2):
        with drop.draws(x):
            found.append(drop(x))
        torch.rand(3)  # what others draw makes no difference
    assert set(found[0].unique().tolist()) == {0.0, float(1 / torch.tensor(0.75))}
    assert abs(float((found[0] == 0).float().mean()) - 0.25) < 0.02 and not torch.equal(*found)
    torch.manual_seed(0)
    again = Dropout(0.25)
    with again.draws(x):
        assert torch.equal(again(x), found[0])
    state = again.state_dict()
    torch.manual_seed(7)
    assert torch.equal(torch.get_rng_state(), before)
    later = Dropout(0.25)
    later.load_state_dict(state)
    with later.draws(x):
        assert torch.equal(later(x), found[1])
    assert torch.equal(later.eval()(x), x)
    with pytest.raises(ValueError, match="dropout=1.0 is not usable"):
        Dropout(1.0)


@pytest.mark.parametrize("cell", GATED)
def test_dropout_on_inputs_between_layers_and_on_the_output(cell):
    core, x = build_core(cell, V, 40, 2, tokens=True, dropout=0.4), tokens(20)
    heard = {}
    layers = list(core.body.gates) if cell == "qrnn" else [core.body.body]
    for k, layer in enumerate(layers):
        layer.register_forward_pre_hook(lambda _, given, k=k: heard.update({k: given[0]}))
    outside = torch.get_rng_state()
    m, _ = core.unroll(x, core.begin(20))
    assert torch.equal(torch.get_rng_state(), outside)

    def silent(numbers):
        return float((numbers == 0).float().mean())

    assert abs(silent(heard[0][..., -32:]) - 0.4) < 0.02 and abs(silent(m) - 0.4) < 0.02
    if cell == "qrnn":
        assert abs(silent(heard[1]) - 0.4) < 0.02
        assert torch.equal(heard[0][:, 1:, :32], heard[0][:, :-1, 32:])  # what comes again is dropped as it was
    else:
        assert core.body.body.dropout == 0.4
    assert not torch.equal(core.unroll(x, core.begin(20))[0], m)
    core.eval()
    plain = build_core(cell, V, 40, 2, tokens=True)
    assert torch.equal(core.unroll(x, core.begin(20))[0], plain.unroll(x, plain.begin(20))[0])


@pytest.mark.parametrize("cell", GATED)
def test_training_with_dropout_goes_on_bit_for_bit(cell, tmp_path):
    task = lookup("task", "positional-copy")(length=12, symbols=1, alphabet=2, epoch_size=64)

    def trainer():
        mine = build_model(task, cell, 8, 2, "linear", dropout=0.3, embed=5)
        return RolloutTrainer(mine, truncated(4), task, streams=8)

    whole, first = trainer(), trainer()
    for _ in range(6):
        whole.rollout()
    for _ in range(3):
        first.rollout()
    first.save(tmp_path / "c.npz")
    torch.rand(11)
    second = trainer().load(tmp_path / "c.npz")
    for _ in range(3):
        second.rollout()
    for one, other in zip(whole.model.state_dict().values(), second.model.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(whole.model.predictor.weight, first.model.predictor.weight)
    assert whole.evaluate() == second.evaluate()
