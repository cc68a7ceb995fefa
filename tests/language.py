"""What the tests of models that hear tokens share: a task and a source of tokens, models for it, comparisons."""

import warnings

import torch
from torch import nn

from evsim.models import build_model
from evsim.task import Task

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # importing it calls torch.jit.script
    import norse.torch  # noqa: F401

V, T = 7, 12  # different tokens, steps
GATED = ("lstm", "gru", "qrnn")
HEARERS = (*GATED, "norse-lif", "egru", "lif")


class Letters(Task):
    """Tokens, and the next one."""

    name, tokens, loss, n_in, n_out, steps = "letters", True, "cross_entropy", V, V, T


class Drawn:
    """As much of a `Source` as Streams need: sequences of tokens without end."""

    def __init__(self):
        self.rng = torch.Generator().manual_seed(0)

    def take(self, count):
        text = torch.randint(V, (count, T + 1), generator=self.rng)
        keep = torch.ones(count, T, dtype=torch.bool)
        return text[:, :-1], text[:, 1:], keep, keep, torch.full((count,), T)


def tokens(batch=3, steps=T, kinds=V):
    return torch.randint(kinds, (batch, steps), generator=torch.Generator().manual_seed(1))


def one_hot(x, dtype=torch.float64):
    return nn.functional.one_hot(x, V).to(dtype)


def gradients(loss, parameters):
    return torch.autograd.grad(loss, list(parameters))


def close(mine, wanted, most=1e-12):
    torch.testing.assert_close(mine, wanted, rtol=most, atol=most)


def model(cell="lstm", dtype="float64", **options):
    return build_model(Letters(), cell, **{"units": 6, "predictor": "linear", "dtype": dtype, **options})
