"""GeneratedTask: sequences drawn from a rule, new ones in every epoch, as many as one likes."""

import numpy as np
import numpy.typing as npt

from evsim.check import check_choice, check_count
from evsim.task import SPLITS, Count, Data, Task

_SEEDS = {"train": 1, "validation": 2, "test": 3}
TRAINING: dict[str, object] = {  # defaults that such tasks have in common; a narrower half_width lets units fall silent
    "cell": "egru", "half_width": 0.5, "layers": 1, "block": "auto", "streams": 16, "optimizer": "adam", "lr": 0.01,
    "schedule": "cosine",
}  # fmt: skip


class GeneratedTask(Task):
    """Base of tasks whose sequences are drawn afresh. A subclass writes `sample` and sets what `Task` lists.

    epoch_size: sequences in an epoch. seed: of the training sequences; those of validation and test depend on the
    options alone. Where few sequences are possible, the same one may come in training and in a test.
    """

    fresh = True
    options = {"epoch_size": Count(1000)}

    epoch_size: int

    def __init__(self, *, seed=0, **options):
        super().__init__(**options)
        self.seed = check_count("seed", seed, 0)
        self.sizes = {"train": self.epoch_size, "validation": 200, "test": 1000}
        self._kept: dict[str, Data] = {}

    def sample(self, count: int, rng: np.random.Generator) -> Data:
        """Draw `count` sequences; nothing but `rng` decides which."""
        raise NotImplementedError

    def split(self, name):
        """Return "train" (the sequences of epoch 0), "validation" or "test", made at the first call and kept."""
        check_choice("split", name, SPLITS)
        if name not in self._kept:
            self._kept[name] = self._draw(name, self.seed if name == "train" else 0, 0)
        return self._kept[name]

    def training(self, epoch):
        """Return the training sequences of an epoch, those of epoch 0 being kept."""
        return self.split("train") if check_count("epoch", epoch, 0) == 0 else self._draw("train", self.seed, epoch)

    def _draw(self, name, seed, epoch):
        rng = np.random.Generator(np.random.PCG64([_SEEDS[name], seed, epoch]))
        return self.sample(self.sizes[name], rng)


def one_hot(tokens: np.ndarray, size: int, dtype: npt.DTypeLike = np.float32) -> np.ndarray:
    """Return tokens (...) as (..., size) floats, a single 1 for each."""
    found = np.zeros((*tokens.shape, size), dtype)
    np.put_along_axis(found, tokens[..., None].astype(np.int64), 1, -1)
    return found
