"""Segments: which weights were in force at which slot of an open block, where weights change inside it."""

import numpy as np

from evsim.memory import zeros


class Segments:
    """theta (room, size): weights, the first `count` of them in use; of[b, t]: which of them slot t was made with."""

    def __init__(self, theta, streams, slots):
        self.theta = zeros((1, theta.size), theta.dtype)
        self.theta[0] = theta
        self.of = zeros((streams, slots + 1), np.int32)
        self.count, self.now = 1, 0

    @property
    def nbytes(self):
        return self.theta.nbytes + self.of.nbytes

    def change(self, theta, taken):
        """Other weights are in force from now on; slots 1..taken hold Steps."""
        if not taken:
            self.count = 0
        if self.count == len(self.theta):
            self.forget(taken)
            if self.count > len(self.theta) // 2:
                self._store(2 * len(self.theta))
        self.theta[self.count] = theta
        self.now = self.count
        self.count += 1

    def forget(self, taken):
        """Keep only weights that slots 1..taken were made with, and those in force."""
        used = np.union1d(self.of[:, 1 : taken + 1], [self.now])
        self.of[:, 1 : taken + 1] = np.searchsorted(used, self.of[:, 1 : taken + 1])
        self.now = int(np.searchsorted(used, self.now))
        self.theta[: len(used)] = self.theta[used]
        self.count = len(used)
        if len(self.theta) > 4 * self.count:
            self._store(2 * self.count)

    def load(self, theta, now):
        """Take weights that were saved."""
        self.theta, self.count, self.now = theta.copy(), len(theta), now

    def _store(self, room):
        new = zeros((room, self.theta.shape[1]), self.theta.dtype)
        new[: self.count] = self.theta[: self.count]
        self.theta = new
