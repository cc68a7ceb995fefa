"""QRNN: its equations and gradients against a plain implementation, where it starts, a run from the command line."""

import json

import pytest
import torch
from language import close, gradients
from test_cli import _here, run  # noqa: F401

from evsim.models import QRNNCore, build_core

pytestmark = pytest.mark.nojit


def by_hand(core, x, c, last):
    """The equations of Bradbury et al., a step and a layer at a time; order: the older input's weights come first."""
    said, last = [], list(last)
    for now in x.unbind(1):
        at = 0
        for k, (gate, window) in enumerate(zip(core.gates, core.windows)):
            new = gate.weight[:, -now.shape[1] :] @ now.T
            if window == 2:
                new = new + gate.weight[:, : now.shape[1]] @ last[at].T
                last[at], at = now, at + 1
            z, f, o = (new + gate.bias[:, None]).T.split(core.width, 1)
            z, f, o = torch.tanh(z), 1 / (1 + torch.exp(-f)), 1 / (1 + torch.exp(-o))
            c[k] = f * c[k] + z - f * z
            now = o * c[k]
        said.append(now)
    return torch.stack(said, 1), (torch.stack(c, 1), *last)


@pytest.mark.parametrize("windows", [None, (1, 1, 1), (2, 2, 2), (1, 2, 1)])
def test_qrnn_has_the_equations_of_its_paper(windows):
    """Values, and gradients of parameters, inputs and the first state, against a plain implementation."""
    torch.manual_seed(0)
    core = QRNNCore(4, 5, 3, windows=windows).double()
    assert core.windows == (windows or (2, 1, 1))
    x = torch.randn(2, 9, 4, dtype=torch.float64, requires_grad=True)
    state = tuple(torch.randn_like(part).requires_grad_() for part in core.begin(2))
    assert [part.shape[1:] for part in state] == [(3, 5), *((n,) for n, w in zip((4, 5, 5), core.windows) if w == 2)]
    found = []
    for m, after in (core.unroll(x, state), by_hand(core, x, list(state[0].unbind(1)), state[1:])):
        ends = (m.sin() * torch.arange(1, 10)[:, None]).sum() + sum((part**2).sum() for part in after)
        found.append((m, *after, *gradients(ends, (*core.parameters(), x, *state))))
    for mine, wanted in zip(*found, strict=True):
        close(mine, wanted)
        assert wanted.abs().max() > 1e-3


def test_a_window_of_two_hears_the_input_before():
    torch.manual_seed(0)
    x = torch.randn(1, 3, 4)
    for windows, hears in (((1,), False), ((2,), True)):
        core = QRNNCore(4, 5, windows=windows)
        with torch.no_grad():
            core.gates[0].bias[5:10] = -1e4  # forgets at once
        other = x.clone()
        other[:, 0] += 1
        mine, changed = core.unroll(x, core.begin(1))[0], core.unroll(other, core.begin(1))[0]
        assert torch.equal(mine[:, 1], changed[:, 1]) != hears and torch.equal(mine[:, 2], changed[:, 2])


def test_where_qrnn_starts():
    core = build_core("qrnn", 4, 6, 2)
    assert core.embed.weight.shape == (32, 4) and [gate.weight.shape[1] for gate in core.gates] == [64, 6]
    assert all((gate.bias[6:12] == 1).all() for gate in core.gates)
    assert build_core("qrnn", 4, 6, embed=None).gates[0].weight.shape == (18, 8)
    assert not any(part.any() for part in core.begin(2))
    for windows, told in (((2,), "has 1 entries for 2 layers: give one for each layer"), ((1, 3), "windows")):
        with pytest.raises(ValueError, match=told):
            build_core("qrnn", 4, 6, 2, windows=windows)


def test_a_qrnn_is_trained_and_evaluated(capsys):
    run("train", "positional-copy", "--length", 12, "--symbols", 1, "--alphabet", 2, "--cell", "qrnn", "--units", 8,
        "--layers", 2, "--embed", 5, "--dropout", 0.1, "--learner", "tbptt", "--window", 6, "--streams", 20,
        "--sequences", 200, "--out", "r", "--json")  # fmt: skip
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"cell": "qrnn", "embed": 5, "dropout": 0.1, "backend": "torch"}.items() <= summary["config"].items()
    run("eval", "r", "--json")
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["test_accuracy"] == summary["test_accuracy"] and found["test_loss"] == summary["test_loss"]
