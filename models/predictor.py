"""Predictors: what is said of a step k from a memory m_t of the same or an earlier step, and from k's own context."""

import torch
from torch import nn

from evsim.check import check_count

from .core import embedding
from .tokens import TokenLinear


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


class TiedPredictor(nn.Module):
    """A readout that shares its weights with the embedding of tokens (Press and Wolf 2017; Inan et al. 2017).

        out = weight @ h / sqrt(embed) + bias;  h = m, or projection @ m where m is not of `embed` numbers

    width: numbers in m. weight: nn.Parameter (n_out, embed), the embedding's own. Divided by sqrt(embed), as by Vaswani
    et al. (2017), since an embedding that starts as N(0, 1) would make outputs that are too sure of themselves.
    """

    steps = 1

    def __init__(self, width, weight):
        super().__init__()
        self.n_out, embed = weight.shape
        self.weight, self.scale = weight, embed**-0.5
        drawn = None if width == embed else nn.Parameter(torch.randn(embed, width) / width**0.5)
        self.register_parameter("projection", drawn)
        self.bias = nn.Parameter(torch.zeros(self.n_out))

    def forward(self, m, context):
        """m (..., width), context unread -> out (..., n_out)."""
        h = m if self.projection is None else m @ self.projection.T
        return (h * self.scale) @ self.weight.T + self.bias


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
    into which a context is brought. tokens: a step's context is one whole number below n_context, as in `TokenLinear`.
    """

    def __init__(self, width, n_context, n_out, steps=1, hidden=128, embed=32, tokens=False):
        super().__init__()
        self.n_out, self.steps = n_out, check_count("context", steps)
        made = TokenLinear(n_context, embed, steps) if tokens else embedding(n_context * steps, embed, steps)
        self.embed = made
        layers = nn.Linear(width + embed, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        self.body = nn.Sequential(*layers, nn.Linear(hidden, n_out))

    def forward(self, m, context):
        """m (..., width), context (..., steps * n_context), or of tokens (..., steps) -> out (..., n_out)."""
        return self.body(torch.cat([m, self.embed(context)], -1))
