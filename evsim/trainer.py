"""Trainer: the loop from sequences to weights. No learning rule in it."""

import time
from typing import Any

import numpy as np

from evsim.check import check_count, check_positive, check_seed
from evsim.checkpoint import load, save
from evsim.comparison import Comparison
from evsim.evaluate import evaluate, predict, rates
from evsim.interrupt import Interrupt
from evsim.narrowing import Narrowing
from evsim.opcount import totals, widened
from evsim.rewiring import Rewiring
from evsim.schedule import from_config, to_config
from evsim.sequences import as_sequences, correct
from evsim.task import Data

PIECE = 1024  # steps between two looks at the clock and at Ctrl-C
ROOM = 2**24  # numbers that the inputs and outputs of a piece may hold, where it need not be so long
SAVE_SECONDS = 60


class Trainer:
    """Trains a learner's network on sequences, `learner.streams` of them side by side.

    learner, optimizer: as their names say. task: what `fit` and `evaluate` use when they are given no arrays.
    update: "sequence" (once a batch of sequences has been read to its end) or a number of steps k (every k steps,
    whenever a target was met since the last update; state and influence are kept, so learning is online).
    clip: bound on the gradient's norm. seed: order of the sequences. half_width: of the pseudo-derivative, a schedule
    of updates done, such as evsim.Cosine(0.5, 2000, final=0.2); None: as the layers have it.
    compare: a list of other learners on the same network, or a dict of them by name. They read the same sequences and
    never change the weights; at each update their gradients are compared with the exact one, and every row of `history`
    has the means under "compare" (`evsim.comparison`). One of all these learners must be exact.
    rewire: a policy of `evsim.rewiring`, which changes masks between batches of sequences, after so many updates; rows
    then have the "density" reached, and how many weights were "dropped" and "grown" in the epoch.
    """

    def __init__(
        self, learner, optimizer, task=None, update="sequence", clip=None, seed=0, compare=None, rewire=None,
        half_width=None,
    ):  # fmt: skip
        if isinstance(update, str) and update != "sequence":
            raise ValueError(f'update={update!r} is not usable: give "sequence" or a number of steps')
        self.learner, self.optimizer, self.task = learner, optimizer, task and task.apart()
        self.update = update if update == "sequence" else check_count("update", update)
        self.clip = None if clip is None else check_positive("clip", clip)
        self.streams = learner.streams
        self._comparison = Comparison(learner, compare, lasting=rewire is not None)
        self.narrowing = None if half_width is None else Narrowing(half_width, self.net, optimizer.steps)
        self._rng = check_seed(seed)
        self._rewiring = None
        if rewire is not None:
            self._rewiring = Rewiring(rewire, learner.net, self._rng.spawn(1)[0], optimizer.steps)
        self._place: dict[str, Any] = {"epoch": 0, "batch": 0, "step": 0, "told": 0}
        self._sums = _no_sums()
        self._started = None  # the generator's state at the start of the present epoch
        self._history = []

    @property
    def net(self):
        return self.learner.net

    @property
    def learners(self):
        """The learner that trains, and those that ride along to be compared."""
        return (self.learner, *self._comparison.riders)

    @property
    def history(self):
        """One dict per epoch done so far, those before a `resume` among them."""
        return list(self._history)

    def fit(
        self, x=None, y=None, lengths=None, mask=None, *, answers=None, epochs=1, validation=None, checkpoint=None,
        on_epoch=None, progress=None,
    ):  # fmt: skip
        """Train until `epochs` epochs have been done in all; returns one dict per epoch.

        x (N, T, n_in), or tokens (N, T), whole numbers that stand for one input each; y: one target a sequence (N,) or
        (N, n_out), read at its last step, or one a step, (N, T) or (N, T, n_out); lengths (N,), mask (N, T) and answers
        (N, T) as in `evsim.task.Data`. Without x: the task's training sequences of each epoch, and its validation
        split. validation: x and y, or more of such arrays in the order of `Data`, as a tuple.
        checkpoint: path to write at the start, after every epoch, every minute and on Ctrl-C.
        on_epoch(row), progress(dict): called after every epoch and every piece of work.
        Raises FloatingPointError when the loss stops being finite, KeyboardInterrupt after Ctrl-C.
        """
        sequences_of, held_out = self._data(x, y, lengths, mask, answers, validation)
        if check_count("epochs", epochs) <= self._place["epoch"] and x is not None:
            raise ValueError(f"epochs={epochs} counts all fits, and {self._place['epoch']} are done: give more")
        began = last_saved = time.monotonic()
        before = self._sums["seconds"]
        if checkpoint is not None and self._place["epoch"] < epochs:
            self._save(checkpoint)
        with Interrupt() as stop:
            while self._place["epoch"] < epochs:
                for info in self._pieces(sequences_of(self._place["epoch"])):
                    now = time.monotonic()
                    self._sums["seconds"] = before + now - began
                    if progress is not None:
                        progress({**info, **self._running(), "epochs": epochs})
                    if checkpoint is not None and (stop.asked or now - last_saved > SAVE_SECONDS):
                        self._save(checkpoint)
                        last_saved = now
                    if stop.asked:
                        raise KeyboardInterrupt
                row = self._close_epoch(held_out())
                began, before = time.monotonic(), 0.0
                if checkpoint is not None:
                    self._save(checkpoint)
                if on_epoch is not None:
                    on_epoch(row)
                if stop.asked:
                    raise KeyboardInterrupt
        return self.history

    def evaluate(self, x=None, y=None, lengths=None, mask=None, answers=None):
        """Loss, accuracy and rates (`evsim.evaluate`) on arrays, or on the task's test split."""
        data = self._task().split("test") if x is None else (x, y, lengths, mask, answers)
        return evaluate(self.net, data, self.learner.loss_kind)

    def predict(self, x, lengths=None):
        """What the network says at the last step: classes (N,), 0/1 (N, n_out), or numbers (N, n_out), by the loss."""
        return predict(self.net, x, lengths, self.learner.loss_kind)

    @classmethod
    def resume(cls, checkpoint, task=None, compare=None):
        """The trainer that wrote `checkpoint`, where it then stood; `fit` goes on bit for bit, on the same data.

        compare: a function that is given the network and returns what `Trainer` takes; learners to be compared are not
        saved, so these are new ones. They begin with the next batch of sequences.
        """
        if compare is not None and not callable(compare):
            told = "compare must be a function here, since the network is read from the checkpoint"
            raise TypeError(f"{told}: give one such as lambda net: [evsim.SnAp(net)]")
        found = load(checkpoint)
        state = found.extra.get("trainer")
        if found.learner is None or found.optimizer is None or state is None:
            raise ValueError(f"{checkpoint} holds no training to resume: it was not written by Trainer.fit")
        try:
            trainer = cls(found.learner, found.optimizer, task, state["update"], state["clip"])
            if state.get("half_width") is not None:
                trainer.narrowing = Narrowing(from_config(state["half_width"]), trainer.net, found.optimizer.steps)
            trainer.streams = check_count("streams", state["streams"])
            trainer._rng.bit_generator.state = state["generator"]
            trainer._place, trainer._history = state["place"], state["history"]
            trainer._sums = {**_no_sums(), **state["sums"]}
            trainer._started = state["started"]
            if state.get("rewiring") is not None:
                trainer._rewiring = Rewiring.load(state["rewiring"])
            if trainer.task is not None:
                trainer.task.go_on_from(state.get("reached", {}))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{checkpoint} holds no training that can be resumed ({error!r})") from None
        if compare is not None:
            lasting = trainer._rewiring is not None
            trainer._comparison = Comparison(found.learner, compare(found.net), trainer.streams, lasting)
        return trainer

    def _pieces(self, data):
        """Work through the present epoch from where it stands; yields after every piece."""
        learner, place, sums = self.learner, self._place, self._sums
        if self._started is None:
            self._started = self._rng.bit_generator.state
        else:
            self._rng.bit_generator.state = self._started
        order = self._rng.permutation(len(data))
        if sums["before"] is None:
            sums["before"] = learner.counts.tolist()
            sums["rate"] = self.optimizer.learning_rate
        total = int(data.lengths.sum())
        most = max(1, min(PIECE, ROOM // (self.streams * (self.net.n_in + self.net.n_out))))
        while place["batch"] * self.streams < len(data):
            where = order[place["batch"] * self.streams : (place["batch"] + 1) * self.streams]
            steps = int(data.lengths[where].max())
            if place["step"] == 0:
                if self._rewiring is not None:
                    self._rewiring.act(learner, self.optimizer, lambda at=where, end=steps: data.piece(at, 0, end)[:3])
                learner.reset(streams=len(where))
                self._comparison.reset(len(where))
            while place["step"] < steps:
                t = place["step"]
                h = min(most if self.update == "sequence" else int(self.update), steps - t)
                x, targets, keep, answers = data.piece(where, t, t + h)
                self._piece(x, targets, keep, answers, np.arange(t, t + h) < data.lengths[where][:, None])
                place["step"] += h
                sums["done"] += int(np.clip(data.lengths[where] - t, 0, h).sum())
                if place["told"] and (self.update != "sequence" or place["step"] == steps):
                    self._comparison.judge()
                    learner.update(self.optimizer, self.clip)
                    if self.narrowing is not None:
                        self.narrowing.follow(self.optimizer.steps)
                    place["told"] = 0
                if place["step"] == steps:
                    place["batch"], place["step"] = place["batch"] + 1, 0
                    learner.reset()
                    yield {"epoch": place["epoch"] + 1, "done": sums["done"], "total": total}
                    break
                yield {"epoch": place["epoch"] + 1, "done": sums["done"], "total": total}

    def _piece(self, x, targets, keep, answers, inside):
        learner, sums = self.learner, self._sums
        single = learner.streams == 1
        before, charged = learner.loss, learner.penalty
        given = tuple(one[0] for one in (x, targets, keep, inside)) if single else (x, targets, keep, inside)
        out = learner.run(*given)
        gained = learner.loss - before
        if not np.isfinite(gained):
            raise FloatingPointError(
                f"the loss became {gained} in epoch {self._place['epoch'] + 1}: lower the learning rate or pass clip="
            )
        self._comparison.run(*given)
        right, judged = correct(out[None] if single else out, targets, answers, learner.loss_kind)
        told = int(keep.sum())
        self._place["told"] += told
        sums["loss"] += gained
        sums["penalty"] += learner.penalty - charged
        sums["told"] += told
        sums["right"] += right
        sums["judged"] += judged

    def _running(self):
        """Means over the present epoch so far."""
        sums = self._sums
        count = self.learner.counts - widened(np.array(sums["before"]))
        done = totals(count)
        found = rates(self.net, count)
        compared = self._comparison.means()
        return {
            "loss": sums["loss"] / max(sums["told"], 1),
            **({} if self.learner.quiet is None else {"penalty": sums["penalty"] / max(sums["told"], 1)}),
            "accuracy": sums["right"] / sums["judged"] if sums["judged"] else None,
            "activity": found["activity"],
            "phi_rate": found["phi_rate"],
            "macs_per_step": done["multiply_adds"] / max(done["steps"], 1),
            "steps_per_second": sums["done"] / max(sums["seconds"], 1e-9),
            **({"compare": compared} if compared else {}),
        }

    def _close_epoch(self, validation):
        row = {"epoch": self._place["epoch"] + 1, **self._running()}
        row["learning_rate"] = self._sums["rate"]
        row["steps"], row["seconds"] = self._sums["done"], round(self._sums["seconds"], 3)
        if validation is not None:
            found = evaluate(self.net, validation, self.learner.loss_kind)
            row["validation_loss"], row["validation_accuracy"] = found["loss"], found["accuracy"]
        if self._rewiring is not None:
            row |= self._rewiring.note(self.net)
        if self.task is not None:
            row = self.task.note(row)
        self._place.update(epoch=row["epoch"], batch=0, step=0)
        self.learner.reset(streams=self.streams)  # the last batch may have been smaller
        self._comparison.reset(self.streams)
        self._comparison.clear()
        self._sums, self._started = _no_sums(), None
        self._history.append(row)
        return row

    def _save(self, path):
        state = {
            "update": self.update, "clip": self.clip, "streams": self.streams, "place": dict(self._place),
            "sums": dict(self._sums), "generator": self._rng.bit_generator.state, "started": self._started,
            "half_width": None if self.narrowing is None else to_config(self.narrowing.schedule),
            "history": self._history, "reached": self.task.reached() if self.task is not None else {},
            **({"rewiring": self._rewiring.state()} if self._rewiring is not None else {}),
        }  # fmt: skip
        save(path, self.net, self.learner, self.optimizer, {"trainer": state})

    def _data(self, x, y, lengths, mask, answers, validation):
        """(function from an epoch to its sequences, function that gives the present validation data or None)."""
        own = x is None and validation is None
        if x is None:
            task = self._task()
            training = task.training
            validation = task.split("validation") if own else validation
        elif y is None:
            raise ValueError("fit was given x without y: pass the targets too")
        else:
            given = Data(x, y, lengths, mask, answers)

            def training(_):
                return given

        if validation is not None:
            if not isinstance(validation, tuple | list) or not 2 <= len(validation) <= 5:
                raise ValueError("validation is none of (x, y), (x, y, lengths), (x, y, lengths, mask): pass one")
            validation = Data(*validation)
            try:
                self._sequences(validation)
            except (TypeError, ValueError) as error:
                raise type(error)(f"validation: {error}") from None
        at = self._place["epoch"]
        data = training(at)
        made = self._sequences(data)

        def sequences_of(epoch):
            nonlocal at, data, made
            if epoch != at:
                at, before, data = epoch, data, training(epoch)
                made = made if data is before else self._sequences(data)  # what has been checked is not checked again
            return made

        def held_out():  # the task's own are of the level that a curriculum has reached
            return self._task().split("validation") if own else validation

        return sequences_of, held_out

    def _sequences(self, data):
        net = self.net
        return as_sequences(data, net.n_in, net.n_out, self.learner.loss_kind, net.dtype)

    def _task(self):
        if self.task is None:
            raise ValueError("there is nothing to work on: give the Trainer a task, or pass x and y")
        return self.task


def _no_sums() -> dict[str, Any]:
    counts = dict.fromkeys(("told", "right", "judged", "done"), 0)
    return {"loss": 0.0, "penalty": 0.0, **counts, "seconds": 0.0, "before": None, "rate": None}
