"""Synthesiser: guesses the gradient that the future would send back to a state; and what it is shown for that."""

import torch
from torch import nn


class Synthesiser(nn.Module):
    """M(s, c): a perceptron from a core's whole state, and a context, to a number for each number of the state.

    size: numbers in a state. context: numbers in a context, which enter the first layer; 0: none. units: of a hidden
    layer, by default as many as `size`. layers: hidden layers of ReLU; 0: linear. It says 0 until it has learnt.
    """

    def __init__(self, size, context=0, units=None, layers=1):
        super().__init__()
        width = size if units is None else units
        outer = [width] * layers
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in zip([size, *outer], outer))
        self.last = nn.Linear(width if layers else size, size)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        self.context = nn.Linear(context, width if layers else size, bias=False) if context else None
        if self.context is not None and not layers:
            nn.init.zeros_(self.context.weight)

    def forward(self, state, context=None):
        """state (batch, size), context (batch, ...) or None -> the gradient at it, of each stream's own loss."""
        extra = 0 if self.context is None else self.context(context)
        if not self.hidden:
            return self.last(state) + extra
        first, *others = self.hidden
        found = torch.relu(first(state) + extra)
        for layer in others:
            found = torch.relu(layer(found))
        return self.last(found)


def flat(state):
    """A core's state, a tuple of tensors (batch, ...), as one (batch, size)."""
    return torch.cat([part.flatten(1) for part in state], 1)


def like_state(gradient, state):
    """(batch, size) as a tuple of tensors shaped as the parts of a state."""
    sizes = [part[0].numel() for part in state]
    return [piece.reshape(part.shape) for piece, part in zip(gradient.split(sizes, 1), state, strict=True)]


def context_size(condition, task):
    """Numbers in a context of that kind."""
    return {"none": 0, "target": task.n_out, "input": task.n_in}[condition]


def context_at(condition, streams, task, steps):
    """What a synthesiser sees beside the state before step `steps` (count,) of each stream: (count, n), or None.

    Zeros where a sequence has no such step, or no answer any more.
    """
    if condition == "none":
        return None
    dtype = streams.state[0].dtype
    last = streams.x.shape[1] - 1
    there = steps < streams.lengths
    at = steps.clamp(max=last)[:, None]
    if condition == "input":
        found, classes = streams.read(streams.x, at)[:, 0], task.n_in if task.tokens else 0
    else:
        at, there = _next_answer(streams, at, there)
        found, classes = streams.read(streams.targets, at)[:, 0], task.n_out if task.loss == "cross_entropy" else 0
    if classes:
        found = nn.functional.one_hot(found, classes)
    return found.to(dtype) * there[:, None]


def _next_answer(streams, at, there):
    """(place (count, 1), is there one (count,)) of the first answer from step `at` (count, 1) on."""
    now = streams.read(streams.answers, at)[:, 0]
    if bool((now | ~there).all()):
        return at, there & now
    steps = torch.arange(streams.answers.shape[1], device=at.device)
    open_to = streams.answers & (steps >= at) & (steps < streams.lengths[:, None])
    return open_to.to(torch.uint8).argmax(1, keepdim=True), open_to.any(1) & there
