"""Model: a memory and a predictor as one torch module."""

import torch
from torch import nn


class Model(nn.Module):
    """What is said of step k: out = q(m_t, c_k), with m_t the memory of step t and c_k the context of step k.

    core: a `Core`. predictor: q. memory_columns, context_columns: columns of x that the core and q read; None: all. c_k
    are q's last `predictor.steps` inputs up to k, zeros before the first. Where the core hears tokens, x is (batch, T),
    whole numbers, which have no columns; before the first stands -1.
    """

    def __init__(self, core, predictor, memory_columns=None, context_columns=None):
        super().__init__()
        self.core, self.predictor = core, predictor
        self.memory_columns = None if memory_columns is None else list(memory_columns)
        self.context_columns = None if context_columns is None else list(context_columns)
        self.graph = {  # what was computed so far with a graph, over all sequences
            "memory_steps": 0, "predictions": 0,
        }

    @property
    def n_out(self):
        return self.predictor.n_out

    def begin(self, batch):
        """The core's state before the first step of `batch` sequences."""
        return self.core.begin(batch)

    def remember(self, x, state):
        """Steps x (batch, T, n_in) from `state` -> (m (batch, T, width), the state after them)."""
        if torch.is_grad_enabled():
            self.graph["memory_steps"] += x.shape[0] * x.shape[1]
        return self.core.unroll(x if self.memory_columns is None else x[..., self.memory_columns], state)

    def predict(self, m, context):
        """m (batch, k, width), context (batch, k, ...) -> out (batch, k, n_out)."""
        if torch.is_grad_enabled():
            self.graph["predictions"] += m.shape[0] * m.shape[1]
        return self.predictor(m, context)

    def padded(self, x):
        """x (batch, T, n_in) -> its context columns, behind as many steps of zeros as `contexts` looks back."""
        if not x.is_floating_point():
            ahead = self.predictor.steps - 1
            return nn.functional.pad(x.long(), (ahead, 0), value=-1) if ahead else x
        seen = x if self.context_columns is None else x[..., self.context_columns]
        return nn.functional.pad(seen, (0, 0, self.predictor.steps - 1, 0))

    def contexts(self, padded, k):
        """Contexts of steps k (batch, n), counted from 0, of what `padded` gave -> (batch, n, ...)."""
        rows = torch.arange(len(k), device=k.device)[:, None]
        if self.predictor.steps == 1 and padded.is_floating_point():
            return padded[rows, k]
        window = torch.arange(self.predictor.steps, device=k.device)
        return padded[rows[..., None], k[..., None] + window].flatten(2)

    def forward(self, x, state=None):
        """Whole sequences x (batch, T, n_in), or from `state` on -> (q(m_t, c_t) (batch, T, n_out), state).

        Where q's context is longer than a step, contexts begin anew with x.
        """
        m, state = self.remember(x, self.begin(len(x)) if state is None else state)
        every = torch.arange(x.shape[1], device=x.device).expand(len(x), -1)
        return self.predict(m, self.contexts(self.padded(x), every)), state

    def project(self):
        """Bring parameters that have a range back into it: after each update."""
        self.core.project()
