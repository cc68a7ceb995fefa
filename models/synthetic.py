"""SyntheticGradients: one window of all streams under DNI, backward once, and what the synthesiser learns from it."""

import math

import torch
from torch import nn

from .rollout import remember, told_loss
from .synthesiser import Synthesiser, context_at, context_size, flat, like_state


class SyntheticGradients:
    """What DNI adds to a trainer: the synthesiser, its auxiliary head, their optimiser, and how good its guesses are.

    method: DNI. model: Model. task: `evsim.task.Task`. seed: of the first weights. synthesiser: any module
    M(state (batch, size), context) -> (batch, size), of each stream's own loss, may be put in its place, then with an
    `optimizer` for it.
    """

    def __init__(self, method, model, task, seed):
        self.method, self.task = method, task
        like = next(model.parameters())
        size = flat(model.begin(1)).shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = Synthesiser(size, context_size(method.condition, task), method.units, method.layers)
            self.synthesiser = made.to(like)
            self.head = nn.Linear(model.core.width, size).to(like) if method.auxiliary else None
        modules = nn.ModuleList([self.synthesiser, *([self.head] if self.head else [])])
        self.optimizer = torch.optim.Adam(modules.parameters(), method.lr)
        self.generator = torch.Generator().manual_seed(seed)
        self.clear()

    def backward(self, model, streams, phase, prices=None):
        """Read one window and leave the gradient of its update in the parameters, whose .grad was empty before.

        Returns (loss of the window or None where no target was met, is there a gradient, the state after it, a dict of
        what was counted); the gradient at the state before it stays in `at_start` (count, size), of each stream's own
        loss. The synthesiser's gradient is left too, for `update`.
        """
        count, (index, inside) = len(streams.at), streams.here()
        start = tuple(part.detach().requires_grad_() for part in streams.state)
        m, state, price = remember(model, streams.read(streams.x, index), start, inside, prices)
        loss, counted = told_loss(model, streams, m, index, inside, self.task.loss, "sum")
        roots = [root for root in (loss, price) if root is not None]
        gradients = [None] * len(roots)
        going = streams.at + streams.window < streams.lengths
        if phase == "synthetic" and bool(going.any()):
            guess = self._guess(streams, state) * going[:, None]
            sent = guess[torch.randperm(count, generator=self.generator)] if self.method.shuffled else guess
            sent = like_state(sent * going[:, None] * (self.method.scale / count), state)
            for part, gradient in zip(state, sent, strict=True):
                if part.requires_grad:
                    roots.append(part)
                    gradients.append(gradient)
            if self.head is not None:
                error = ((self.head(m[:, 0]) - guess) ** 2).sum(1)[going].sum()
                roots.append(self.method.auxiliary * error / count)
                gradients.append(None)
        if roots:
            torch.autograd.backward(roots, gradients)
        zero = [torch.zeros_like(part) if part.grad is None else part.grad for part in start]
        self.at_start = count * flat(zero)
        self._learn(streams, flat(start).detach())
        return (None if loss is None else loss.detach()), bool(roots), state, counted

    def check(self):
        """FloatingPointError if the synthesiser has diverged, before anything learns from the window."""
        if not math.isfinite(self._error):
            told = f"the synthesiser's error became {self._error}: its guesses feed on themselves"
            raise FloatingPointError(f"{told}; lower the synthesiser's rate, the scale, or the learning rate")

    def update(self):
        """Let synthesiser and head learn from the window."""
        self.optimizer.step()
        self.optimizer.zero_grad()

    def skill(self):
        """synthetic_cosine and synthetic_error, of guesses against what was found, since `clear`; None: nothing yet.

        The cosine is over all guesses together; the error is the sum of squared differences over that of squares.
        """
        dot, guess, found, apart = self._sums
        return {
            "synthetic_cosine": dot / math.sqrt(guess * found) if guess * found > 0 else None,
            "synthetic_error": apart / found if found > 0 else None,
        }

    def clear(self):
        """Begin to judge guesses anew."""
        self._sums, self._error = [0.0, 0.0, 0.0, 0.0], 0.0

    def state_dict(self):
        """dict of tensors: all that learns and draws, the optimiser apart."""
        found = {f"synthesiser.{name}": value for name, value in self.synthesiser.state_dict().items()}
        if self.head is not None:
            found |= {f"head.{name}": value for name, value in self.head.state_dict().items()}
        return {**found, "generator": self.generator.get_state()}

    def load_state_dict(self, state):
        """Go on from what `state_dict` gave."""
        for name, module in (("synthesiser", self.synthesiser), ("head", self.head)):
            if module is not None:
                own = {key.removeprefix(f"{name}."): v for key, v in state.items() if key.startswith(f"{name}.")}
                module.load_state_dict(own)
        self.generator.set_state(state["generator"])

    @torch.no_grad()
    def _guess(self, streams, state):
        context = context_at(self.method.condition, streams, self.task, streams.at + streams.window)
        return self.synthesiser(flat(state), context)

    def _learn(self, streams, start):
        """Leave the synthesiser's gradient, from those streams whose first state was not the one all begin with."""
        self._error, begun = 0.0, streams.at > 0
        if not bool(begun.any()):
            return
        context = context_at(self.method.condition, streams, self.task, streams.at)
        guess = self.synthesiser(start[begun], None if context is None else context[begun])
        found = self.at_start[begun]
        error = ((guess - found) ** 2).sum(1).mean()
        error.backward()
        self._error = float(error.detach())
        with torch.no_grad():
            pairs = (guess, found), (guess, guess), (found, found), (guess - found, guess - found)
            for k, (a, b) in enumerate(pairs):
                self._sums[k] += float((a * b).sum())
