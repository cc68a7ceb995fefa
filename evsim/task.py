"""Task: what there is to learn, as three sets of sequences; Data: one such set; Choice, Count, Place: options."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from evsim.check import check_choice, check_count

SPLITS = ("train", "validation", "test")


class Data(NamedTuple):
    """N sequences of at most T steps.

    x: (N, T, n_in) float32; or tokens, (N, T) whole numbers, each standing for n_in inputs of which its own is 1.
    y: for cross entropy whole numbers, (N,) one class a sequence or (N, T) one a step;
       otherwise float32, (N, n_out) or (N, T, n_out).
    lengths: (N,) the steps that count, from the first; None: all T.
    mask: (N, T) bool, the steps whose output is compared with y; None: the last step where y has one target a
       sequence, every step where it has one a step.
    answers: (N, T) bool, the steps that matter: those whose accuracy and loss evaluation reports; None: those of mask.

    The arrays are shared with the task: read them, do not write to them.
    """

    x: np.ndarray
    y: np.ndarray
    lengths: np.ndarray | None = None
    mask: np.ndarray | None = None
    answers: np.ndarray | None = None


@dataclass(frozen=True)
class Choice:
    """An option with a few allowed values, the first of which is the default."""

    values: tuple

    @property
    def default(self):
        """The value that holds when none is given."""
        return self.values[0]

    def check(self, name: str, value):
        """Return `value` if it is allowed; ValueError, listing what is, otherwise."""
        return check_choice(name, value, self.values)

    def allowed(self) -> list[str]:
        """Return, in words, what may be given."""
        return [str(value) for value in self.values]


@dataclass(frozen=True)
class Count:
    """An option that is a whole number of at least `least`; without a default it may be left out."""

    default: int | None
    least: int = 1

    def check(self, name: str, value) -> int | None:
        """Return `value` if it is such a number, or the default; ValueError otherwise."""
        return None if value is None and self.default is None else check_count(name, value, self.least)

    def allowed(self) -> list[str]:
        """Return, in words, what may be given."""
        bound = f"at least {self.least}"
        return [bound if self.default is None else f"{self.default} ({bound})"]


@dataclass(frozen=True)
class Place:
    """An option that is a path and may be left out; what: what lies there."""

    what: str
    default: None = None

    def check(self, name: str, value) -> str | None:
        """Return the absolute path, or None; TypeError for what is no path. What lies there is for others to see."""
        if value is None:
            return None
        if not isinstance(value, str | os.PathLike) or not str(value):
            raise TypeError(f"{name}={value!r} is not usable: give the path of {self.what}")
        return str(Path(value).resolve())

    def allowed(self) -> list[str]:
        """Return, in words, what may be given."""
        return [f"path of {self.what}"]


class Task:
    """Base of all tasks. A subclass states what follows and writes `_make`; each option becomes an attribute.

    name: as in the registry. options: option name -> `Choice`, `Count` or `Place`.
    n_in, n_out: inputs and outputs. steps: T of the longest sequence. sizes: split -> N.
    loss: "cross_entropy", "binary_cross_entropy" or "mse".
    chance: the accuracy of guessing, or None where accuracy means nothing.
    chance_loss: the loss of the best answer that does not depend on x, or None where it is not known.
    defaults: what training uses where the user says nothing; torch_defaults: the same for torch models.
    memory_columns, context_columns: in models that have both, the columns of x that the memory reads, and those that
    the predictor reads beside it; None: all.
    fresh: are the training sequences of each epoch new ones?
    tokens: is x whole numbers (N, T), each of which stands for n_in inputs, all 0 but a single 1 at its place?
    digest: of what was read from files, by which a run notices that they have changed; None: nothing was.
    symbols_digest: of what tokens stand for, which a network cannot do without; None: there are none.
    """

    name: ClassVar[str] = ""
    options: ClassVar[dict[str, Choice | Count | Place]] = {}
    fresh: ClassVar[bool] = False
    tokens: ClassVar[bool] = False
    n_in: int
    n_out: int
    steps: int
    loss: str
    chance: float | None
    chance_loss: float | None = None
    digest: str | None = None
    symbols_digest: str | None = None
    sizes: dict[str, int]
    defaults: dict[str, object]
    torch_defaults: dict[str, object] = {}
    memory_columns: tuple[int, ...] | None = None
    context_columns: tuple[int, ...] | None = None

    def __init__(self, **options):
        for given in options:
            check_option(self.name, given, self.options)
        for name, option in self.options.items():
            setattr(self, name, option.check(name, options.get(name, option.default)))
        self._splits: dict[str, Data] | None = None

    def split(self, name: str) -> Data:
        """Return "train", "validation" or "test": always the same data, made at the first call and kept."""
        check_choice("split", name, SPLITS)
        if self._splits is None:
            self._splits = self._make()
        return self._splits[name]

    def training(self, epoch: int) -> Data:
        """Return the training sequences of epoch 0, 1, ...: the same ones for the same epoch, whenever it is asked."""
        return self.split("train")

    def side_by_side(self, streams: int) -> "Task":
        """Return the same task, arranged to be read in so many streams; most need no arrangement."""
        return self

    def meaning(self, loss: float) -> dict[str, float]:
        """Return what a mean loss says in other units, such as bits_per_character."""
        return {}

    def summarise(self, test: float, running: float) -> dict[str, float]:
        """Return the `meaning` of the test loss and, as running_..., that of the last epoch's training loss."""
        return self.meaning(test) | {f"running_{key}": value for key, value in self.meaning(running).items()}

    def close_epoch(self, loss: float) -> dict[str, int]:
        """Told the mean training loss of an epoch at its end, a curriculum may go on; returns what to note of it."""
        return {}

    def apart(self) -> "Task":
        """Return a task that training may change without changing this one: itself where nothing is changed."""
        return self

    def stage(self) -> dict[str, int]:
        """Return what the present sequences of a curriculum are, in numbers by name; nothing for other tasks."""
        return {}

    def reached(self) -> dict[str, int]:
        """Return how far a curriculum has come, in numbers by name; nothing for other tasks."""
        return {}

    def go_on_from(self, reached: dict[str, int]) -> None:
        """Return to where `reached` was given; ValueError for a task that has no curriculum."""
        if reached:
            told = f"{reached} was reached in a curriculum, which task {self.name!r} as it is does not have"
            raise ValueError(f"{told}: give the task that was trained on")

    def note(self, row: dict) -> dict:
        """Return an epoch's row with the `meaning` of its losses and what `close_epoch` says."""
        found = dict(row)
        for name in ("loss", "validation_loss"):
            if name in row:
                found |= {name.removesuffix("loss") + key: value for key, value in self.meaning(row[name]).items()}
        return found | self.close_epoch(row["loss"])

    def describe(self) -> str:
        """Return shapes, sizes, loss and chance level in one line."""
        known = {name: getattr(self, name) for name in self.options}
        chosen = "".join(f", {name}={value}" for name, value in known.items() if value is not None)
        chance = "no chance level" if self.chance_loss is None else f"chance loss {self.chance_loss:.4g}"
        if self.chance is not None:
            chance = f"chance {self.chance:.3g}"
        shapes = f"{self.steps} steps of {self.n_in} in, {self.n_out} out"
        sizes = ", ".join(f"{self.sizes[split]} {split}" for split in SPLITS)
        if self.fresh:
            sizes += ", new training sequences in each epoch"
        return f"{self.name}{chosen}: {shapes}, {self.loss}, {chance}; {sizes}"

    def _make(self) -> dict[str, Data]:
        raise NotImplementedError


def check_option(task: str, given: str, options) -> None:
    """Raise ValueError, with what there is, unless `given` is one of a task's options."""
    if not options:
        raise ValueError(f"task {task!r} takes no options, but {given!r} was given: leave it out")
    if given not in options:
        known = "; ".join(f"{name}: {', '.join(option.allowed())}" for name, option in options.items())
        raise ValueError(f"task {task!r} has no option {given!r}: its options are {known}")


def fixed_order(count: int, seed: int) -> np.ndarray:
    """Return an order of range(count) that depends on `seed` alone: PCG64's raw bits, which never change."""
    return np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable")


def quotas(counts: np.ndarray, total: int) -> np.ndarray:
    """Share `total` among classes as `counts` (K,) are, each within 1 of its part, by largest remainder."""
    exact = counts * total / counts.sum()
    shares = np.floor(exact).astype(np.int64)
    largest = np.argsort(shares - exact, kind="stable")[: total - shares.sum()]
    shares[largest] += 1
    return shares
