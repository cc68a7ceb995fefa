"""Predictors: what is said of a step k from a memory m_t of the same or an earlier step, and from k's own context."""

import torch
from torch import nn

from evsim.check import check_count

from .core import embedding


class LinearPredictor(nn.Module):
    """out = weight @ m + bias, whatever the context: the readout of evsim's networks."""

    steps = 1

    def __init__(self, width, n_out):
        super().__init__()
        self.n_out = n_out
        self.weight = nn.Parameter(torch.randn(n_out, width) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, m, context):
        """m (..., width), context unread -> out (..., n_out)."""
        return m @ self.weight.T + self.bias


class AsItIs(nn.Module):
    """out = m: the core's own outputs, such as a leaky readout's."""

    steps = 1

    def __init__(self, n_out):
        super().__init__()
        self.n_out = n_out

    def forward(self, m, context):
        """m (..., n_out), context unread -> m."""
        return m


class ContextPredictor(nn.Module):
    """A perceptron over m and an embedding of the context (Sorokin et al. 2022: q_phi(y_k | m_t, x_k)).

    width: numbers in m. n_context: columns of a step's context. n_out: outputs. steps: how many steps, the last of them
    k, make up the context: 1 where a step's own input says what is asked. hidden: of its two layers. embed: numbers
    into which a context is brought.
    """

    def __init__(self, width, n_context, n_out, steps=1, hidden=128, embed=32):
        super().__init__()
        self.n_out, self.steps = n_out, check_count("context", steps)
        self.embed = embedding(n_context * steps, embed, steps)
        layers = nn.Linear(width + embed, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        self.body = nn.Sequential(*layers, nn.Linear(hidden, n_out))

    def forward(self, m, context):
        """m (..., width), context (..., steps * n_context) -> out (..., n_out)."""
        return self.body(torch.cat([m, self.embed(context)], -1))
