"""ArrayTask: a task made of one's own arrays, from memory or from an npz file."""

import hashlib
from pathlib import Path

import numpy as np

from evsim.check import check_choice
from evsim.files import DAMAGE
from evsim.loss import KINDS
from evsim.sequences import as_sequences
from evsim.task import SPLITS, Data, Task, fixed_order

PARTS = {"train": "", "validation": "_validation", "test": "_test"}
ARRAYS = ("x", "y", "lengths", "mask", "answers")
NAMES = tuple(name + suffix for suffix in PARTS.values() for name in ARRAYS)
LOSSES = tuple(KINDS)
HELD_OUT = 0.15
_MANY = 1000  # classes beyond which we ask whether y really counts classes


class ArrayTask(Task):
    """Sequences x (N, T, n_in) with targets y and, if need be, lengths (N,), mask (N, T) and answers (N, T).

    They are those of `evsim.task.Data`.

    arrays: dict of these. x_validation, y_validation, ..., x_test, ... are held out as given; without them 15 % of the
    sequences each are, always the same ones for the same seed, and in proportion where y is one class a sequence.
    loss: without it whole numbers in y mean cross_entropy, booleans binary_cross_entropy, all others mse. n_out:
    without it, as many as y has. given: split -> Data of the parts as they were given, x being "train". digest:
    SHA-256 of the file that it came from, if it did.
    """

    def __init__(self, arrays, loss=None, name="data", seed=0, n_out=None):
        super().__init__()
        missing = [name for name in ("x", "y") if name not in arrays]
        if missing:
            raise ValueError(f"{missing[0]} is missing among {_shown(arrays)}: give x (sequences, steps, inputs) and y")
        loss = _loss(arrays["y"], loss)
        given = {split: _part(arrays, suffix) for split, suffix in PARTS.items() if f"x{suffix}" in arrays}
        for split, suffix in PARTS.items():
            lost = [f"{name}{suffix}" for name in ARRAYS if f"{name}{suffix}" in arrays and split not in given]
            if lost:
                raise ValueError(f"{lost[0]} was given without x{suffix}: give both or neither")
        given = {split: part._replace(y=_targets(part, split, loss)) for split, part in given.items()}
        n_in = given["train"].x.shape[-1] if given["train"].x.ndim == 3 else 1
        if n_out is None:
            n_out = np.iinfo(np.int32).max if loss == "cross_entropy" else given["train"].y.shape[-1]
        checked = {split: _checked(part, split, n_in, n_out, loss) for split, part in given.items()}
        if n_out == np.iinfo(np.int32).max:
            n_out = _classes(np.concatenate([c.targets[c.keep | c.answers] for c in checked.values()]))
        kept = checked["train"].targets[checked["train"].answers]
        self.n_in, self.n_out, self.loss = n_in, n_out, loss
        self.steps = max(part.x.shape[1] for part in given.values())
        self.chance = None if loss == "mse" else _commonest(kept)
        self.digest = None
        self.given = {split: _cast(part, checked[split], loss) for split, part in given.items()}
        self._seed = seed
        self.sizes = _sizes({split: len(part.x) for split, part in given.items()})
        streams = max(1, min(16, self.sizes["train"] // 8))
        self.defaults = {"units": 64, "density": 0.2, "lr": 3e-3, "epochs": 20, "streams": streams}
        vars(self)["name"] = name

    @classmethod
    def from_npz(cls, path, loss=None, seed=0, n_out=None):
        """Read an npz file of such arrays; ValueError, TypeError or FileNotFoundError says what is wrong with it."""
        arrays = read_npz(path)
        try:
            task = cls(arrays, loss, Path(path).stem, seed, n_out)
        except (ValueError, TypeError) as error:
            raise type(error)(f"{path}: {error}") from None
        with open(path, "rb") as file:
            task.digest = hashlib.file_digest(file, "sha256").hexdigest()
        return task

    def _make(self):
        whole, absent = self.given["train"], [split for split in SPLITS if split not in self.given]
        if not absent:
            return self.given
        count = len(whole.x)
        if count <= len(absent):
            missing = " and ".join(absent)
            told = f"x holds {count} sequences, too few to hold some out for {missing}"
            raise ValueError(f"{told}: give more, or {' and '.join(f'x_{split}, y_{split}' for split in absent)} too")
        left = fixed_order(count, self._seed)
        if self.loss == "cross_entropy" and whole.y.ndim == 1:
            left = left[np.argsort(whole.y[left], kind="stable")]
        splits = dict(self.given)
        for split in absent:
            size = self.sizes[split]
            taken = ((np.arange(size) + 0.5) * len(left) / size).astype(np.int64)  # evenly spaced, so in proportion
            splits[split] = _rows(whole, np.sort(left[taken]))
            left = np.delete(left, taken)
        return {**splits, "train": _rows(whole, np.sort(left))}


def read_npz(path, needed=("x", "y")):
    """dict of the arrays in an npz file; ValueError if unreadable, without one of `needed` or with unknown ones.

    x_train is another name for x, and so on.
    """
    path = Path(path)
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{path} {problem}: give an npz file with the arrays x and y")
    try:
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            if isinstance(found, np.ndarray):
                raise ValueError("it holds a single array without a name")
            arrays = {name.removesuffix("_train"): found[name] for name in found.files}
    except DAMAGE as error:
        reason = "it holds Python objects" if "allow_pickle" in str(error) else str(error)
        told = f"{path} cannot be read ({reason})"
        raise ValueError(f"{told}: give an npz file of plain arrays, as numpy.savez writes") from None
    for name in arrays:
        try:
            check_choice("array", name, NAMES)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    for name in needed:
        if name not in arrays:
            raise ValueError(f"{path} has no array {name!r}, only {_shown(arrays)}: save it under that name")
    return arrays


def _part(arrays, suffix):
    if arrays.get(f"y{suffix}") is None:
        raise ValueError(f"x{suffix} was given without y{suffix}: give both or neither")
    return Data(**{name: np.asarray(array) for name in ARRAYS if (array := arrays.get(f"{name}{suffix}")) is not None})


def _loss(y, loss):
    if loss is not None:
        return check_choice("loss", loss, LOSSES)
    kind = np.asarray(y).dtype.kind
    return "cross_entropy" if kind in "iu" else "binary_cross_entropy" if kind == "b" else "mse"


def _targets(part, split, loss):
    """y with one number a sequence written as (N, 1), where the loss is not cross entropy."""
    x, y = part.x, part.y
    if loss == "cross_entropy":
        if y.ndim not in (1, 2):
            told = f"y of {split} has shape {y.shape}, but cross entropy needs one class a sequence or a step"
            raise ValueError(f"{told}: give (sequences,) or (sequences, steps)")
        return y
    if y.ndim not in (1, 2, 3):
        raise ValueError(f"y of {split} has shape {y.shape}: give (sequences, outputs) or (sequences, steps, outputs)")
    if y.ndim == 2 and part.mask is None and x.ndim == 3 and y.shape == x.shape[:2] and x.shape[1] > 1:
        one, all_ = f"{(*y.shape, 1)} for one target a step", "a mask too if these are outputs at the last step"
        raise ValueError(f"y of {split} has shape {y.shape}, which could be read in two ways: give {one}, or {all_}")
    return y[:, None] if y.ndim == 1 else y


def _checked(part, split, n_in, n_out, loss):
    try:
        with np.errstate(over="ignore"):
            return as_sequences(part, n_in, n_out, loss, np.float32)
    except (ValueError, TypeError) as error:
        raise type(error)(str(error) if split == "train" else f"in the {split} part, {error}") from None


def _classes(labels):
    classes = int(labels.max()) + 1
    if classes == 1:
        raise ValueError("y holds class 0 only: give two classes or more, numbered from 0")
    if classes > _MANY and classes > 10 * len(np.unique(labels)):
        raise ValueError(f"y runs up to {classes - 1} with few classes in use: number them from 0, or use the loss mse")
    return classes


def _cast(part, checked, loss):
    with np.errstate(over="ignore"):
        y = part.y.astype(np.int64 if loss == "cross_entropy" else np.float32)
    lengths = None if part.lengths is None else checked.lengths
    mask, answers = (None if p is None else c for p, c in ((part.mask, checked.keep), (part.answers, checked.answers)))
    return Data(checked.x, y, lengths, mask, answers)


def _sizes(given):
    """Sequences of each split, from those of the parts that were given."""
    held = {split: max(1, round(HELD_OUT * given["train"])) for split in SPLITS if split not in given}
    sizes = {**given, **held, "train": max(given["train"] - sum(held.values()), 0)}
    return {split: sizes[split] for split in SPLITS}


def _rows(data, where):
    return Data(**{name: array[where] for name, array in data._asdict().items() if array is not None})


def _commonest(targets):
    """Accuracy of always answering what is most frequent: kept targets (K,) classes or (K, n_out) numbers."""
    if targets.ndim == 2:
        targets = targets > 0.5
    counts = np.unique(targets, axis=0, return_counts=True)[1]
    return float(counts.max() / counts.sum())


def _shown(arrays):
    return ", ".join(arrays) or "nothing"
