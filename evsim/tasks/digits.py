"""Handwritten digits, real ones: which of the ten is it? The image is shown row by row or pixel by pixel,
in order or not.

1,797 images of 8 x 8 pixels: the test part of UCI's "Optical Recognition of Handwritten Digits", as
scikit-learn carries it. No image is in it twice.
"""

import numpy as np

from evsim.registry import load_optional
from evsim.task import Choice, Data, Task, fixed_order, quotas

_SEED = 20240817
_PERMUTATION = 64_1797
_LARGEST = 16.0  # pixels are whole numbers from 0 to 16


class Digits(Task):
    """layout "rows": 8 steps of 8 pixels; "pixels": 64 steps of one; "permuted": the same 64 in an order that was drawn
    once, so that pixels that are neighbours in the image are seldom so in time. They lie in [0, 1]; the end is read.

    The split is fixed, the same for every seed and version of scikit-learn: 1,077 images to train on, 180 to
    validate, 540 to test, each class within 1 of its proportional part.
    """

    name = "digits"
    options = {"layout": Choice(("rows", "pixels", "permuted"))}
    n_out = 10
    loss = "cross_entropy"
    chance = 0.1
    sizes = {"train": 1077, "validation": 180, "test": 540}

    layout: str

    def __init__(self, **options):
        super().__init__(**options)
        self.steps, self.n_in = (8, 8) if self.layout == "rows" else (64, 1)
        common = {
            "cell": "egru", "units": 64, "layers": 1, "density": 0.2, "optimizer": "adam", "schedule": "cosine",
            "warmup": 50, "streams": 8, "threads": 2,
        }  # fmt: skip
        rows = {"half_width": 0.3, "lr": 0.015, "weight_decay": 0.02, "epochs": 20}
        pixels = {"half_width": 0.5, "lr": 0.005, "weight_decay": 0.01, "clip": 1.0, "epochs": 100}
        self.defaults = {**common, **(rows if self.layout == "rows" else pixels)}

    def _make(self):
        read = load_optional("sklearn.datasets", f"task {self.name!r}").load_digits()
        y = read.target.astype(np.int64)
        x = (read.data / _LARGEST).astype(np.float32)
        if self.layout == "permuted":
            x = x[:, fixed_order(x.shape[1], _PERMUTATION)]
        x = x.reshape(len(y), self.steps, self.n_in)
        places = stratified(y, self.sizes, _SEED)
        return {split: Data(x[where], y[where]) for split, where in places.items()}


def stratified(y: np.ndarray, sizes: dict[str, int], seed: int) -> dict[str, np.ndarray]:
    """Return split -> places in y (N,), disjoint and together all, each class in proportion, in fixed order.

    The first split of `sizes` takes what the others leave.
    """
    order = fixed_order(len(y), seed)
    groups = [order[y[order] == label] for label in range(y.max() + 1)]
    counts = np.array([len(group) for group in groups])
    rest, *others = sizes
    places, taken = {}, np.zeros_like(counts)
    for split in others:
        share = quotas(counts, sizes[split])
        places[split] = [group[a : a + n] for group, a, n in zip(groups, taken, share, strict=True)]
        taken += share
    places[rest] = [group[a:] for group, a in zip(groups, taken, strict=True)]
    rank = np.argsort(order)
    return {split: _in_order(np.concatenate(places[split]), rank) for split in sizes}


def _in_order(places, rank):
    return places[np.argsort(rank[places])]
