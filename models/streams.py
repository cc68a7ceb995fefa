"""Streams: sequences read side by side in windows, each from a place of its own; Source: where they come from."""

from typing import Any

import numpy as np
import torch

from evsim.sequences import as_sequences


class Source:
    """A task's training sequences without end, epoch after epoch, each in a new order.

    dtype: of the floats. seed: of the order. as_trainer: the order is that of an `evsim.Trainer` of this seed.
    """

    def __init__(self, task, dtype, seed, as_trainer=False):
        self.task, self.dtype, self.seed, self.as_trainer = task, dtype, seed, as_trainer
        self.epoch, self.place = 0, 0
        self._open()

    def _open(self):
        self._data = of_task(self.task, self.task.training(self.epoch), self.dtype)
        if self.as_trainer:
            rng = np.random.default_rng(self.seed)
            for _ in range(self.epoch):
                rng.permutation(len(self._data))
        else:
            rng = np.random.default_rng((self.seed, self.epoch))
        self._order = rng.permutation(len(self._data))

    def __len__(self):
        """Sequences in an epoch."""
        return len(self._data)

    def longest(self):
        """Steps of the longest sequence of the present epoch."""
        return int(self._data.lengths.max())

    def take(self, count):
        """The next `count` sequences: x, targets, keep, answers (count, T, ...) and lengths (count,), as tensors."""
        found = []
        while count:
            if self.place == len(self._order):
                self.epoch, self.place = self.epoch + 1, 0
                self._open()
            where = self._order[self.place : self.place + count]
            self.place, count = self.place + len(where), count - len(where)
            found.append(as_tensors(self._data, where))
        return [torch.cat(parts) for parts in zip(*found)] if len(found) > 1 else found[0]

    def state(self):
        """Where it stands, for `load_state`."""
        return [self.epoch, self.place]

    def load_state(self, state):
        """Go on from what `state` gave."""
        self.epoch, self.place = state
        self._open()


def of_task(task, data, dtype):
    """`evsim.sequences.Sequences` of a split of a task."""
    return as_sequences(data, task.n_in, task.n_out, task.loss, dtype)


def as_tensors(data, where, start=0, stop=None):
    """x, targets, keep, answers, lengths of the sequences at `where`, of steps start..stop - 1; tokens as they are."""
    parts = data.x, data.targets, data.keep, data.answers
    found = [torch.from_numpy(np.ascontiguousarray(part[where, start:stop])) for part in parts]
    return [*found, torch.from_numpy(np.ascontiguousarray(data.lengths[where]))]


def as_indices(part):
    """Whole numbers as int64, which torch needs as indices and classes; they are kept small until they are read."""
    return part.long() if part.dtype in (torch.uint8, torch.int32) else part


class Streams:
    """`count` streams, each with a sequence, a place in it and a memory's state.

    source: a Source. model: whose state it is, and what contexts are. score(x, padded, targets, keep) -> (n, T): the
    uncertainty of each step of new sequences; None: not needed. window: steps read at once.
    """

    def __init__(self, source, model, count, window, score=None, device="cpu"):
        self.source, self.model, self.window, self.score, self.device = source, model, window, score, device
        self.at = torch.zeros(count, dtype=torch.int64, device=device)
        self.x, self.targets, self.keep, self.answers, self.lengths = self._take(count)
        self.padded = model.padded(self.x)
        self.uncertainty: Any = None
        if score is not None:
            self.uncertainty = self._scores(score, self.x, self.padded, self.targets, self.keep)
        self.state = tuple(part.detach() for part in model.begin(count))
        self._rows = torch.arange(count, device=device)[:, None]

    def spread(self, rng):
        """Let the streams begin at random windows of their sequences; what lies before is read without learning."""
        windows = (self.lengths.numpy(force=True) + self.window - 1) // self.window
        ahead = torch.from_numpy((rng.random(len(windows)) * windows).astype(np.int64)).to(self.device)
        with torch.no_grad():
            for _ in range(int(ahead.max())):
                index, _inside = self.here()
                _, after = self.model.remember(self.read(self.x, index), self.state)
                going = ahead > 0
                self.state = tuple(torch.where(_as(going, new), new, old) for new, old in zip(after, self.state))
                self.at, ahead = self.at + self.window * going, ahead - 1

    def here(self):
        """Steps of each stream's next window (count, window), and which of them are inside its sequence."""
        index = self.at[:, None] + torch.arange(self.window, device=self.device)
        return index.clamp(max=self.x.shape[1] - 1), index < self.lengths[:, None]

    def read(self, array, index):
        """array (count, T, ...) at the steps index (count, k) of each stream; tokens and classes as int64."""
        return as_indices(array[self._rows, index])

    def move_on(self, state):
        """Past the window that was read: the state that it left is kept, detached; finished streams begin anew."""
        self.at = self.at + self.window
        done = self.at >= self.lengths
        self.state = tuple(torch.where(_as(done, part), 0.0, part.detach()) for part in state)
        (which,) = torch.nonzero(done, as_tuple=True)
        if not len(which):
            return
        self.at[which] = 0
        x, targets, keep, answers, lengths = self._take(len(which))
        padded = self.model.padded(x)
        new = [(self.x, x), (self.targets, targets), (self.keep, keep), (self.answers, answers)]
        for array, given in (*new, (self.lengths, lengths), (self.padded, padded)):
            array[which] = given
        if self.uncertainty is not None:
            self.uncertainty[which] = self._scores(self.score, x, padded, targets, keep)

    def arrays(self):
        """dict of all tensors that make up the present position."""
        names = "at", "x", "targets", "keep", "answers", "lengths", "padded", "uncertainty"
        found = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return found | {f"state{k}": part for k, part in enumerate(self.state)}

    def load_arrays(self, arrays):
        """Go on from what `arrays` gave."""
        for name, array in arrays.items():
            if not name.startswith("state"):
                setattr(self, name, array.to(self.device))
        self.state = tuple(arrays[f"state{k}"].to(self.device) for k in range(len(self.state)))

    def _take(self, count):
        return [part.to(self.device) for part in self.source.take(count)]

    def _scores(self, score, x, padded, targets, keep):
        with torch.no_grad():
            found = score(as_indices(x), padded, as_indices(targets), keep)
        return found.masked_fill(~keep, -torch.inf)


def _as(which, part):
    """which (count,), shaped to stand beside part (count, ...)."""
    return which.reshape(-1, *[1] * (part.ndim - 1))
