"""Where torch models start: evsim's cells as without torch, torch's cells as they always did."""

import numpy as np
import pytest
import torch
from language import Letters, model
from torch import nn

from evsim.build import BASE, build_network, resolve
from evsim.models import ContextPredictor, LinearPredictor, build_model, to_evsim
from evsim.models.build import model_of
from evsim.registry import lookup

pytestmark = pytest.mark.nojit


@pytest.mark.parametrize("cell", ["egru", "evrnn", "lif", "cubalif", "alif", "adlif"])
@pytest.mark.parametrize("task", ["positional-copy", "tmaze"])
def test_evsims_cells_start_under_torch_as_without_it(cell, task):
    """The same settings, but for the backend: all weights, masks and outputs, where tmaze has columns of its own."""
    chosen = {"task": task, "length": 12, "cell": cell, "units": 9, "layers": 2, "density": 0.5, "seed": 3,
              "learner": "bptt"}  # fmt: skip
    for dtype, most in (("float64", 1e-12), ("float32", 1e-5)):
        settings, made = resolve({**chosen, "dtype": dtype})
        net = build_network(settings, made)
        settings, made = resolve({**chosen, "dtype": dtype, "backend": "torch", "predictor": "linear"})
        mine = model_of(settings, made)
        back = to_evsim(mine)
        np.testing.assert_array_equal(back.theta, net.theta)
        for name, mask in net.masks().items():
            np.testing.assert_array_equal(back.masks()[name], mask)
        x = 20 * made.split("validation").x[:4].astype(dtype)  # so that all have something to say
        out = net.run(x)
        assert np.abs(mine(torch.from_numpy(x))[0].detach().numpy() - out).max() <= most * np.abs(out).max() > 0
        assert not torch.equal(model_of({**settings, "seed": 4}, made).predictor.weight, mine.predictor.weight)


def test_a_network_of_tokens_starts_as_without_torch():
    net = build_network({**BASE, "units": 6, "density": 0.5, "seed": 5}, Letters())
    mine = model("egru", "float32", density=0.5, density_in=1.0, seed=5)
    np.testing.assert_array_equal(to_evsim(mine).theta, net.theta)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("predictor", ["linear", "context"])
def test_what_torchs_cells_start_from_is_what_it_was(cell, predictor):
    """Drawn in the order in which it always was: what is new draws nothing where it is not asked for."""
    task = lookup("task", "positional-copy")(length=12)
    mine = build_model(task, cell, 6, 2, predictor, hidden=8, seed=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        embed = nn.Linear(task.n_in, 32)
        nn.init.normal_(embed.weight)
        body = (nn.LSTM if cell == "lstm" else nn.GRU)(32, 6, 2)
        torch.manual_seed(4)
        sizes = (6, task.n_out) if predictor == "linear" else (6, task.n_in, task.n_out, 1, 8)
        asked = (LinearPredictor if predictor == "linear" else ContextPredictor)(*sizes)
    assert torch.equal(mine.core.embed.weight, embed.weight)
    for part, plain in ((mine.core.body, body), (mine.predictor, asked)):
        for (name, p), wanted in zip(part.named_parameters(), plain.parameters(), strict=True):
            if cell == "lstm" and name.startswith("bias_"):  # all but the forget gate's
                p, wanted = (torch.cat([bias[:6], bias[12:]]) for bias in (p, wanted))
            assert torch.equal(p, wanted)
    assert {name.split(".")[0] for name in mine.state_dict()} == {"core", "predictor"}
    assert not any(name.startswith("core.drop") for name in mine.state_dict())
