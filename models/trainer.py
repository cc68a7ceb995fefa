"""RolloutTrainer: trains a torch model by MemUP, DNI, TBPTT or BPTT, one update a rollout."""

import math
import time
import warnings
from typing import Any

import numpy as np
import torch

from evsim.check import check_choice, check_count, check_positive, check_seed
from evsim.interrupt import Interrupt
from evsim.narrowing import Narrowing
from evsim.quiet import as_quiet

from .detector import build_detector, refuse_certain
from .dni import DNI
from .evaluate import evaluate
from .method import MemUP
from .model import Model
from .prices import Prices, event_core
from .rollout import rollout_loss
from .saved_tensors import watched
from .streams import Source, Streams, of_task
from .synthetic import SyntheticGradients

_SYNTHESISER_SEED = 2
_DETECTOR_SEED = 2**20  # the detector learns from sequences in an order of its own, which leaves the streams' as it is


class RolloutTrainer:
    """Trains a `Model` on a task's sequences, `streams` of them side by side, each at a random place at first.

    model: Model, moved to `device`. method: MemUP, DNI, or what `truncated` and `full` give. task: `evsim.task.Task`.
    optimizer: any torch optimiser over the model's parameters, or None for Adam(3e-3). scheduler: a torch learning-rate
    scheduler, stepped after every rollout (ReduceLROnPlateau: after every epoch, by the validation loss where there is
    one), or a function from the optimiser to one. clip: bound on the gradient's norm, or None. seed: of the streams'
    places and of the order of sequences. phase: "random", or "same": all streams begin at a first step together, and
    take sequences in the order in which an `evsim.Trainer` of that seed does. quiet: an `evsim.Quiet`, what events of
    evsim's cells cost. half_width: as in `evsim.Trainer`, of these cells.

    ValueError for a window that is longer than the task's sequences, and a model that does not fit the task.
    """

    def __init__(
        self, model, method, task, optimizer=None, scheduler=None, streams=64, clip=1.0, seed=0, device="cpu",
        phase="random", quiet=None, half_width=None,
    ):  # fmt: skip
        if not isinstance(model, Model):
            raise TypeError(f"model is {model!r}: pass an evsim.models.Model, such as from_evsim(net)")
        if not isinstance(method, MemUP | DNI):
            told = "pass MemUP(window, targets), DNI(window), truncated(window) or full()"
            raise TypeError(f"method is {method!r}: {told}")
        check_fit(model, task)
        check_seed(seed)
        check_choice("phase", phase, ("random", "same"))
        self.model, self.method, self.task = model.to(device), method, task.apart()
        self.optimizer = torch.optim.Adam(model.parameters(), 3e-3) if optimizer is None else optimizer
        if not isinstance(self.optimizer, torch.optim.Optimizer) or isinstance(self.optimizer, torch.optim.LBFGS):
            told = "pass a torch optimiser over model.parameters() that takes one gradient a step, so not LBFGS"
            raise TypeError(f"optimizer is a {type(optimizer).__name__}: {told}")
        self.scheduler: Any = scheduler
        if callable(scheduler) and not hasattr(scheduler, "step"):
            self.scheduler = scheduler(self.optimizer)
        self._by_epochs = isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
        self.streams = check_count("streams", streams)
        self.clip = None if clip is None else check_positive("clip", clip)
        self.dtype = np.float64 if next(model.parameters()).dtype == torch.float64 else np.float32
        source = Source(self.task, self.dtype, seed, phase == "same")
        self._later = Source(self.task, self.dtype, seed + _DETECTOR_SEED)
        if not self.task.stage():  # whose sequences grow longer than any window
            method.check_steps(source.longest())
        self.detector = None
        if isinstance(method, MemUP) and method.targets:
            self.detector = build_detector(method.detector, self.model, task, seed)
        self.synthetic = None  # what DNI adds; its `synthesiser` and `optimizer` may be replaced
        if isinstance(method, DNI):
            self.synthetic = SyntheticGradients(method, self.model, self.task, int(seed) + _SYNTHESISER_SEED)
        self.prices = None if quiet is None else Prices(as_quiet(quiet), self.model.core, streams)
        self.narrowing = None if half_width is None else Narrowing(half_width, event_core(self.model.core).net)
        self.generator = torch.Generator().manual_seed(int(seed))
        self._begin = lambda: self._start(source, seed, device, phase)
        self._at: Any = None
        self.updates, self.epoch = 0, 0
        self.graph = {"memory_steps": 0.0, "predictions": 0.0, "targets": 0.0, "bytes": 0}
        self.history = []  # one dict per epoch done so far
        self.settings = None  # what it was built from, where that has names (`evsim.models.build`)

    @property
    def window(self):
        """Steps read at once: the method's window, or whole sequences."""
        return self.method.window or self.task.steps

    @property
    def updates_per_epoch(self):
        """As the function of that name has it."""
        return updates_per_epoch(self.task, self.method, self.streams)

    @property
    def phase(self):
        """ "real" or "synthetic" in the present epoch, under DNI; None otherwise."""
        return self.method.phase(self.epoch + 1) if isinstance(self.method, DNI) else None

    @property
    def at(self):
        """The Streams; made, and the detector prepared, when first asked for."""
        if self._at is None:
            self._at = self._begin()
        return self._at

    def rollout(self):
        """Read one window of all streams, and update the weights if a target was met or a synthetic gradient sent.

        Returns a dict: loss (what was minimised; None without a target), steps (of all streams), right and judged (of
        answers in the window), targets (distant ones that were asked about), told and told_loss (the window's own told
        steps, and the sum of their losses).
        FloatingPointError if the loss or its gradient is not finite; no weight is changed then.
        """
        self.optimizer.zero_grad()
        loss, learns, state, counted = self._backward()
        if loss is not None and not math.isfinite(loss):
            told = f"the loss became {loss} at update {self.updates + 1}"
            raise FloatingPointError(f"{told}: lower the learning rate or pass clip=")
        if self.synthetic is not None:
            self.synthetic.check()
        if learns:
            most = math.inf if self.clip is None else self.clip
            norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), most))
            if not math.isfinite(norm):
                told = f"the gradient's norm became {norm} at update {self.updates + 1}"
                raise FloatingPointError(f"{told}: lower the learning rate, or the threshold's height")
            self.optimizer.step()
            self.model.project()
            self.updates += 1
            if self.narrowing is not None:
                self.narrowing.follow(self.updates)
            if self.detector is not None:
                self.detector.after_update()
        if self.synthetic is not None:
            self.synthetic.update()
        if self.scheduler is not None and not self._by_epochs:
            with warnings.catch_warnings():  # torch minds a step of the schedule before the first update
                warnings.simplefilter("ignore", UserWarning)
                self.scheduler.step()
        with torch.no_grad():
            self.at.move_on(state)
        return {"loss": loss, **counted}

    def _backward(self):
        """(loss or None, is there a gradient, the state after the window, what was counted); leaves the gradient."""
        model, at = self.model, self.at
        if self.synthetic is not None:
            loss, learns, state, counted = self.synthetic.backward(model, at, self.phase, self.prices)
            return None if loss is None else float(loss), learns, state, counted
        loss, state, counted = rollout_loss(
            model, at, self.method, self.task.loss, self.generator, self.prices
        )
        if loss is None:
            return None, False, state, counted
        loss.backward()
        return float(loss.detach()), True, state, counted

    def measure(self):
        """One `rollout`, noting in `graph` what its graph holds, the most so far.

        Of one stream: memory steps, predictions, and how many of these are for distant targets; of all: bytes saved.
        """
        self.at  # noqa: B018  (made outside of what is measured)
        before = dict(self.model.graph)
        with watched() as kept:
            found = self.rollout()
        now = {name: (self.model.graph[name] - before[name]) / self.streams for name in before}
        now |= {"targets": found["targets"] / self.streams, "bytes": kept.bytes}
        self.graph = {name: max(self.graph[name], value) for name, value in now.items()}
        return found

    def fit(
        self, *, epochs=None, updates=None, cpu_seconds=None, until=None, validate=True, checkpoint=None, on_epoch=None,
        progress=None,
    ):  # fmt: skip
        """Train until `epochs` epochs or `updates` updates have been done in all, or for `cpu_seconds` of this process.

        until: stop as soon as an epoch's row fulfils until(row). validate: evaluate on the validation split after every
        epoch. checkpoint: path to write at the start and after every epoch. on_epoch(row), progress(dict): called after
        every epoch and about every second. Returns one dict per epoch.
        FloatingPointError when the loss stops being finite; KeyboardInterrupt after Ctrl-C, when the checkpoint is that
        of the last whole epoch.
        """
        if epochs is None and updates is None and cpu_seconds is None:
            raise ValueError("fit was given no end: pass epochs=, updates= or cpu_seconds=")
        for name, value, check in (("epochs", epochs, check_count), ("updates", updates, check_count),
                                   ("cpu_seconds", cpu_seconds, check_positive)):  # fmt: skip
            if value is not None:
                check(name, value)
        cpu, told, sums = time.process_time(), time.monotonic(), _Sums(self._rate())
        with Interrupt() as stop:
            self.at  # noqa: B018  (what the detector learns beforehand counts for the first epoch)
            if checkpoint is not None and not self.history:
                self.save(checkpoint)

            def spent():
                if stop.asked:
                    raise KeyboardInterrupt
                late = cpu_seconds is not None and time.process_time() - cpu >= cpu_seconds
                return late or (updates is not None and self.updates >= updates)

            while not spent() and (epochs is None or self.epoch < epochs):
                for k in range(self.updates_per_epoch):
                    sums.add(self.rollout() if k % 50 else self.measure())
                    if spent():
                        break
                    if progress is not None and time.monotonic() - told > 0.5:
                        told = time.monotonic()
                        done, total = (n * self.streams * self.window for n in (k + 1, self.updates_per_epoch))
                        progress({"epoch": self.epoch + 1, "epochs": epochs or self.epoch + 1, "done": done,
                                  "total": total, **sums.row(self)})  # fmt: skip
                row = self._close_epoch(sums, validate)
                sums = _Sums(self._rate())
                if checkpoint is not None:
                    self.save(checkpoint)
                if on_epoch is not None:
                    on_epoch(row)
                if until is not None and until(row):
                    break
        return self.history

    def evaluate(self, data=None):
        """loss, accuracy (None for mse), activity on `data` (`evsim.task.Data`), by default the task's test split."""
        given = self.task.split("test") if data is None else data
        return evaluate(self.model, of_task(self.task, given, self.dtype), self.task.loss)

    def save(self, path):
        """Write everything that is needed to go on, bit for bit; ValueError for a scheduler that JSON cannot hold."""
        from .checkpoint import save_trainer

        save_trainer(path, self)

    def load(self, path):
        """Go on where the trainer that wrote `path` stood, which was built as this one; returns self.

        ValueError for a file that is none, or another trainer's; this one is not to be used then.
        """
        from .checkpoint import load_trainer

        return load_trainer(path, self)

    def _rate(self):
        return self.optimizer.param_groups[0]["lr"]

    def _close_epoch(self, sums, validate):
        synthetic = {}
        if self.synthetic is not None:
            synthetic = {"phase": self.phase, **self.synthetic.skill()}
            self.synthetic.clear()
        self.epoch += 1
        row = {"epoch": self.epoch, **synthetic, **sums.row(self), "updates": self.updates, "learning_rate": sums.rate}
        if validate:
            found = self.evaluate(self.task.split("validation"))
            row["validation_loss"], row["validation_accuracy"] = found["loss"], found["accuracy"]
        level = self.task.stage()
        if sums.losses:  # an epoch that was cut short may have met no target
            row = self.task.note(row)
        if self.task.stage() != level:  # the streams are full of sequences of the old level
            self.at.source.load_state([self.epoch, 0])
            self._at = None
        if self._by_epochs:
            self.scheduler.step(row.get("validation_loss", row["loss"]))
        self.history.append(row)
        return row

    def _start(self, source, seed, device, phase):
        score = None
        if self.detector is not None:
            refuse_certain(self.task, self.dtype)
            self.detector.prepare(self._later)
            score = self.detector.scores
        at = Streams(source, self.model, self.streams, self.window, score, device)
        if phase == "random":
            at.spread(np.random.default_rng(seed))
        return at


def updates_per_epoch(task, method, streams):
    """Rollouts in which all streams together read about as many sequences as a task has to train on."""
    return math.ceil(task.sizes["train"] * math.ceil(task.steps / (method.window or task.steps)) / streams)


def check_fit(model, task):
    """ValueError unless a model hears what a task shows, answers as it asks, and has something to train."""
    kind, hears, columns = "tokens" if task.tokens else "numbers", model.core.n_in, model.memory_columns
    if kind not in model.core.hears:
        raise ValueError(f"{task.name} shows {kind}, which the model's core does not hear: build it for that task")
    shown = task.n_in if columns is None else len(columns)
    if hears != shown:
        raise ValueError(f"the memory hears {hears} inputs, but {task.name} shows it {shown}: build it for that task")
    if model.n_out != task.n_out:
        told = f"the model has {model.n_out} outputs, but {task.name} has {task.n_out}"
        raise ValueError(f"{told}: build it for that task")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("no parameter of the model requires a gradient: let at least one be trained")


class _Sums:
    """What an epoch's rollouts add up to; rate: the learning rate of its first update."""

    def __init__(self, rate):
        self.rate = rate
        self.loss = self.losses = self.right = self.judged = self.told = self.told_loss = self.steps = 0
        self.began, self.cpu = time.monotonic(), time.process_time()

    def add(self, found):
        self.steps += found["steps"]
        if found["loss"] is not None:
            self.loss, self.losses = self.loss + found["loss"], self.losses + 1
        self.right, self.judged = self.right + found["right"], self.judged + found["judged"]
        self.told, self.told_loss = self.told + found["told"], self.told_loss + found["told_loss"]

    def row(self, trainer):
        seconds = time.monotonic() - self.began
        asked = self.loss / max(self.losses, 1)  # where none but distant targets are
        loss = self.told_loss / self.told if self.told else asked
        return {
            "loss": loss, "accuracy": self.right / self.judged if self.judged else None,
            "steps": self.steps, "steps_per_second": self.steps / max(seconds, 1e-9), "seconds": round(seconds, 3),
            "cpu_seconds": round(time.process_time() - self.cpu, 3),
        }  # fmt: skip
