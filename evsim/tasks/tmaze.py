"""T-maze: what will turning left or right at the junction bring? A hint at the start tells, noise comes between.

T-Maze-LNR as the code of Sorokin et al. (MemUP, arXiv:2207.13649) has it, seen by one who walks at random and predicts
the reward.
"""

import numpy as np

from evsim.generated import TRAINING, GeneratedTask
from evsim.task import Count, Data

_SPREAD = 10  # steps that a corridor may be longer than the shortest
_RIGHT, _WRONG = 4.0, -3.0
_HINT, _JUNCTION, _NOISE, _ACTION, _BEFORE, _REWARD = 0, 1, 2, 3, 5, 7  # first columns of each part of x


class TMaze(GeneratedTask):
    """A corridor of L to L + 10 steps, each as likely; its last step is the junction.

    x: the hint (-1 or 1 at step 0, then 0), 1 at the junction, noise (-1 or 1 at every step), the action at this step
    (one-hot: left, right), the previous action (likewise; none at step 0), the previous reward. Actions are random.
    y: the reward of the step: 0 up to the junction; there 4 where the action is what the hint said (left for -1), -3
    otherwise. Every step is told, the junction is the answer. Always answering 0.5, the mean, has an error of 12.25.
    """

    name = "tmaze"
    options = {"length": Count(10, 2)} | GeneratedTask.options
    n_in = 8
    n_out = 1
    loss = "mse"
    chance = None
    chance_loss = 12.25
    memory_columns = (_HINT, _JUNCTION, _NOISE, _BEFORE, _BEFORE + 1, _REWARD)
    context_columns = (_HINT, _JUNCTION, _NOISE, _ACTION, _ACTION + 1)
    defaults = {**TRAINING, "units": 32, "density": 0.5, "epochs": 60}

    length: int

    def __init__(self, **options):
        super().__init__(**options)
        self.steps = self.length + _SPREAD

    def sample(self, count, rng):
        """Draw `count` sequences."""
        rows, time = np.arange(count), np.arange(self.steps)
        lengths = self.length + rng.integers(_SPREAD + 1, size=count)
        hint = rng.integers(2, size=count)
        noise, actions = rng.integers(2, size=(2, count, self.steps))
        junction = time == lengths[:, None] - 1
        y = np.where(junction, np.where(actions == hint[:, None], _RIGHT, _WRONG), 0).astype(np.float32)
        x = np.zeros((count, self.steps, self.n_in), np.float32)
        x[rows, 0, _HINT] = 2 * hint - 1
        x[:, :, _JUNCTION] = junction
        x[:, :, _NOISE] = 2 * noise - 1
        x[:, :, _ACTION : _ACTION + 2] = np.eye(2)[actions]
        x[:, 1:, _BEFORE : _BEFORE + 2] = x[:, :-1, _ACTION : _ACTION + 2]
        x[:, 1:, _REWARD] = y[:, :-1]
        x[time >= lengths[:, None]] = 0
        return Data(x, y[:, :, None], lengths, answers=junction)
