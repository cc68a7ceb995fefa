"""Tokens: inputs that are whole numbers. A row of a matrix is looked up where a one-hot vector would be multiplied."""

import torch
from torch import nn

from evsim.check import check_count

from .core import Core


class EmbeddedCore(Core):
    """A core that hears tokens, whole numbers below n_in: each becomes the core's inputs, numbers that are learned.

    n_in: how many different tokens there are. body: the Core that hears what stands for them. The numbers start as
    N(0, 1).
    """

    hears = ("tokens",)

    def __init__(self, n_in, body):
        super().__init__()
        self.n_in, self.width = check_count("n_in", n_in), body.width
        self.embed, self.body = nn.Embedding(n_in, body.n_in), body

    def begin(self, batch):
        return self.body.begin(batch)

    def unroll(self, x, state):
        """Steps of tokens x (batch, T)."""
        return self.body.unroll(self.embed(x), state)

    def project(self):
        self.body.project()


class TokenLinear(nn.Module):
    """nn.Linear for `steps` tokens side by side, each of n_in kinds; a token of -1 says nothing. Starts as N(0, 1)."""

    def __init__(self, n_in, n_out, steps=1):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(steps, n_in, n_out) / steps**0.5)
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, tokens):
        """tokens (..., steps) -> (..., n_out)."""
        steps, n_in, _ = self.weight.shape
        place = tokens.clamp(min=0) + n_in * torch.arange(steps, device=tokens.device)
        found = nn.functional.embedding(place, self.weight.flatten(0, 1)) * (tokens >= 0)[..., None]
        return found.sum(-2) + self.bias
