"""Curriculum: tasks whose sequences begin short and grow longer each time that they are solved."""

import copy
import math

from evsim.check import check_count
from evsim.generated import GeneratedTask
from evsim.task import Choice

_DEFAULTS = {  # a schedule would have to know how many updates there will be
    "schedule": "constant", "lr": 0.003, "epochs": 300,
}  # fmt: skip
_TORCH_DEFAULTS = {**_DEFAULTS, "predictor": "linear", "window": 4, "epochs": 600}
SOLVED = 0.15  # bits: a level whose mean loss over an epoch is below it is solved (DNI, arXiv:1608.05343)


class Curriculum(GeneratedTask):
    """Base of generated tasks that can be learned level by level. A subclass writes `_steps`, `_after` and `sample`.

    curriculum "off": all sequences are of one level, which the options name. "on": that level, by default the lowest,
    is where training begins. At the end of each epoch whose mean training loss is below SOLVED bits the level counts as
    solved, and the next one begins; there is no last one. Bits: the loss in nats / ln 2, so per told step for cross
    entropy, and per told step and output for binary cross entropy, which is a mean over outputs. Epochs are short then,
    and validation and test are of the present level.

    grows: the options that make up a level. climbing: defaults of options under a curriculum. at, solved: the present
    level, and the last that was solved, numbers in the order of `grows`; before any was solved those are 0.
    """

    options = {"curriculum": Choice(("off", "on"))} | GeneratedTask.options
    grows: tuple[str, ...]
    climbing = {"symbols": 1, "repeats": 1, "epoch_size": 640}

    curriculum: str

    def __init__(self, **options):
        if options.get("curriculum") == "on":
            options = {**{name: value for name, value in self.climbing.items() if name in self.options}, **options}
        super().__init__(**options)
        self.at: tuple[int, ...] = tuple(getattr(self, name) for name in self.grows)
        self.solved = (0,) * len(self.grows)
        if self.curriculum == "on":
            self.sizes = {**self.sizes, "validation": 64}
            self.defaults, self.torch_defaults = {**self.defaults, **_DEFAULTS}, _TORCH_DEFAULTS
        self._enter(self.at)

    def _steps(self, *level: int) -> int:
        """Steps of a sequence at a level."""
        raise NotImplementedError

    def _after(self, *level: int) -> tuple[int, ...]:
        """The level after one that was solved."""
        raise NotImplementedError

    def _enter(self, level):
        self.at, self.steps, self._kept = level, self._steps(*level), {}

    def apart(self):
        """Return a copy, whose level may rise."""
        return copy.copy(self) if self.curriculum == "on" else self

    def meaning(self, loss):
        """Return loss_bits, under a curriculum."""
        return {"loss_bits": loss / math.log(2)} if self.curriculum == "on" else {}

    def close_epoch(self, loss):
        """Go on to the next level if the present one is solved; returns the level that was trained, and solved_length.

        solved_length: steps of a whole sequence, of what is shown and of what is answered, at the last solved level.
        """
        if self.curriculum == "off":
            return {}
        trained = self.stage()
        if self.meaning(loss)["loss_bits"] < SOLVED:
            self.solved = self.at
            self._enter(self._after(*self.at))
        return {**trained, "solved_length": self.reached()["solved_length"]}

    def stage(self):
        """Return the present level, by name, under a curriculum."""
        return dict(zip(self.grows, self.at)) if self.curriculum == "on" else {}

    def reached(self):
        """Return the present level and, each as solved_..., the last that was solved and the steps of its sequences."""
        if self.curriculum == "off":
            return {}
        solved = {f"solved_{name}": value for name, value in zip(self.grows, self.solved)}
        return {**self.stage(), **solved, "solved_length": self._steps(*self.solved) if any(self.solved) else 0}

    def go_on_from(self, reached):
        """Return to where `reached` was given; ValueError for what is not of this curriculum."""
        if self.curriculum == "off" or not reached:
            return super().go_on_from(reached)
        if set(reached) != set(self.reached()):
            told = f"{reached} was reached in another curriculum than that of task {self.name!r}"
            raise ValueError(f"{told}: give the task that was trained on")
        self.solved = tuple(check_count(f"solved_{name}", reached[f"solved_{name}"], 0) for name in self.grows)
        self._enter(tuple(check_count(name, reached[name]) for name in self.grows))
