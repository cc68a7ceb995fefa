"""Tuning: a trained network goes on learning with its weights on the grid of few bits, by exact RTRL."""

from evsim import optim, schedule
from evsim.build import build_learner, updates_per_epoch
from evsim.check import check_count, check_positive
from evsim.checkpoint import Checkpoint, rebuild
from evsim.fixed.latent import Quantised
from evsim.fixed.quantise import check_bits
from evsim.progress import TrainingProgress
from evsim.trained import Trained
from evsim.trainer import Trainer

EPOCHS = 5
SHARE = 0.5  # of the run's own learning rate, where none is given
_KEPT = ("streams", "threads", "target_activity", "quiet_strength", "quiet_over", "quiet_horizon", "pull", "margin",
         "event_cost")  # fmt: skip
_OF_RTRL = ("block", "memory_limit")


def tune(trained, bits=8, state_bits=16, epochs=EPOCHS, lr=None, show=False):
    """What was trained goes on, on its own task, with weights of so many bits; returns an `evsim.trained.Trained`.

    trained: an `evsim.trained.Trained` with its `settings`, those of its run, and its `task`; it stays as it is.
    bits: of weights, 4, 8 or 16. state_bits: 16 or 32; states are not rounded in training, so it is only checked.
    epochs: passes over the task's training sequences. lr: learning rate at the start, from which it falls to 0 as a
    cosine; None: half of the run's. show: tell of each epoch on stderr.

    Streams, updates, clipping, weight decay and prices on activity are the run's; the gradient is RTRL's whatever
    learner it had (`evsim.fixed.latent` says at which point it is taken). The network that comes back is on the grid.
    ValueError for a network without a task, and as those say who do the work.
    """
    check_bits(bits, state_bits)
    check_count("epochs", epochs)
    net, task, settings = getattr(trained, "net", None), trained.task, trained.settings
    if net is None:
        raise ValueError("this is a torch model, which has no exact RTRL: train one with --backend numba")
    if task is None or not settings:
        raise ValueError("there is no task to tune on: give what was trained with its settings and its task")
    masks = {name: mask[0] for name, mask in net.masks().items()}
    net = rebuild(net.config(), net.parameters(), masks)
    task = task.apart()
    lr = SHARE * settings["lr"] if lr is None else check_positive("lr", lr)
    options = {name: settings[name] for name in _KEPT if name in settings}
    if settings.get("learner") == "rtrl":
        options |= {name: settings[name] for name in _OF_RTRL if name in settings}
    learner = build_learner({"threads": 1, **options, "learner": "rtrl"}, net, task.loss)
    rate = schedule.Cosine(lr, epochs * updates_per_epoch(settings, task))
    trainer = Trainer(
        learner, Quantised(_optimizer(settings, rate), net, bits), task, settings["update"], settings.get("clip"),
        settings["seed"],
    )  # fmt: skip
    if show:
        with TrainingProgress(epochs, f"{bits} bits, ", task.meaning) as shown:
            trainer.fit(epochs=epochs, on_epoch=shown.epoch, progress=shown.piece)
    else:
        trainer.fit(epochs=epochs)
    found = Trained(Checkpoint(net, learner))
    found.settings, found.task, found.reached, found.loss = settings, trainer.task, trained.reached, trained.loss
    return found


def _optimizer(settings, rate):
    """An optimiser as the run's, anew."""
    decay = {name: settings[name] for name in ("weight_decay", "decay") if name in settings}
    if settings["optimizer"] == "adam":
        return optim.Adam(rate, **decay)
    return optim.SGD(rate, settings.get("momentum", 0.0), **decay)
