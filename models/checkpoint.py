"""Checkpoints of torch trainers: one npz file, no pickle, from which training goes on bit for bit."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from evsim.files import DAMAGE, replacing

FORMAT, VERSION = "evsim torch checkpoint", 2


def save_trainer(path, trainer):
    """Write a `RolloutTrainer` with all that it stands on: weights, optimiser, schedule, detector, streams.

    ValueError for a scheduler whose state JSON cannot hold.
    """
    arrays, numbers = {}, {}
    groups = _take_apart(trainer.optimizer, "optimizer", arrays, numbers)
    arrays |= {f"model/{name}": value for name, value in trainer.model.state_dict().items()}
    arrays |= {f"streams/{name}": value for name, value in trainer.at.arrays().items()}
    if trainer.detector is not None:
        arrays |= {f"detector/{name}": value for name, value in trainer.detector.state_dict().items()}
    if trainer.prices is not None:
        arrays |= {f"prices/{name}": value for name, value in trainer.prices.arrays().items()}
    own = []
    if trainer.synthetic is not None:
        arrays |= {f"synthetic/{name}": value for name, value in trainer.synthetic.state_dict().items()}
        own = _take_apart(trainer.synthetic.optimizer, "guessing", arrays, numbers)
    arrays["generator"] = trainer.generator.get_state()
    header = {
        "format": FORMAT, "version": VERSION, "settings": trainer.settings, "task": describe(trainer.task),
        "made": _made(trainer), "epoch": trainer.epoch, "updates": trainer.updates, "history": trainer.history,
        "reached": trainer.task.reached(), "graph": trainer.graph, "source": trainer.at.source.state(),
        "groups": groups, "synthetic_groups": own, "numbers": numbers,
        "scheduler": None if trainer.scheduler is None else trainer.scheduler.state_dict(),
    }  # fmt: skip
    try:
        text = json.dumps(header)
    except TypeError as error:
        raise ValueError(f"this trainer's scheduler or optimiser cannot be saved ({error}): use another") from None
    with replacing(Path(path)) as file:
        np.savez(
            file, allow_pickle=False, header=np.array(text),
            **{name: value.detach().cpu().numpy() for name, value in arrays.items()},
        )  # fmt: skip


def describe(task):
    """What a model has to know of a task, as JSON can hold it."""
    names = "name", "n_in", "n_out", "loss", "tokens", "memory_columns", "context_columns"
    return {name: getattr(task, name) for name in names}


def _made(trainer):
    """What a trainer was built from, as JSON can hold it."""
    kind = {name: type(value).__name__ for name, value in
            (("optimizer", trainer.optimizer), ("scheduler", trainer.scheduler))}  # fmt: skip
    task = {name: getattr(trainer.task, name) for name in ("name", *trainer.task.options)}
    quiet = {} if trainer.prices is None else {"quiet": trainer.prices.quiet.config()}
    return {"method": asdict(trainer.method), "streams": trainer.streams, "task": task, **kind, **quiet}


def read(path):
    """(header, dict of arrays) of such a file; FileNotFoundError if there is none, ValueError if it is not one."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint at {path}: give the path of a file that a trainer wrote")
    try:
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            arrays = {name: found[name] for name in found.files}
        header = json.loads(str(arrays.pop("header")[()]))
        told = header["format"], header["version"]
    except DAMAGE as error:
        raise ValueError(f"{path} cannot be read as a checkpoint ({error}): it is damaged, or another's") from None
    if told != (FORMAT, VERSION):
        raise ValueError(f"{path} is of kind and version {told}: {(FORMAT, VERSION)} is needed here")
    return header, arrays


def load_trainer(path, trainer):
    """Let a trainer that was built alike go on where the one that wrote `path` stood.

    ValueError, for a file that is none or does not fit; the trainer is not to be used then.
    """
    header, arrays = read(path)
    mine = json.loads(json.dumps(_made(trainer)))
    for name, value in mine.items():
        if header["made"].get(name) != value:
            theirs = header["made"].get(name)
            told = f"{path} was written by a trainer with {name} {theirs!r}, and this one has {value!r}"
            raise ValueError(f"{told}: build it as the one that was saved")
    try:
        trainer.task.go_on_from(header.get("reached", {}))
        _put_together(trainer.optimizer, "optimizer", arrays, header["numbers"], header["groups"])
        if trainer.synthetic is not None:
            own = trainer.synthetic
            own.load_state_dict(_part(arrays, "synthetic/"))
            _put_together(own.optimizer, "guessing", arrays, header["numbers"], header["synthetic_groups"])
        if trainer.scheduler is not None:
            trainer.scheduler.load_state_dict(header["scheduler"])
        if trainer.detector is not None:
            trainer.detector.load_state_dict(_part(arrays, "detector/"))
        if trainer.prices is not None:
            trainer.prices.load(_part(arrays, "prices/"))
        trainer.generator.set_state(torch.from_numpy(arrays["generator"]))
        trainer.epoch, trainer.updates = header["epoch"], header["updates"]
        if trainer.narrowing is not None:
            trainer.narrowing.follow(trainer.updates)
        trainer.graph, trainer.history[:] = header["graph"], header["history"]
        trainer.at.load_arrays(_part(arrays, "streams/"))
        trainer.at.source.load_state(header["source"])
        load_weights(trainer.model, arrays)  # last, since streams that are made have drawn what dropout needs
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not fit this trainer ({error}): build it as the one that was saved") from None
    return trainer


def _take_apart(optimizer, prefix, arrays, numbers):
    """Put what an optimiser holds under prefix/parameter/slot in one of the two dicts; returns its groups."""
    whole = optimizer.state_dict()
    for key, slots in whole["state"].items():
        for name, value in slots.items():
            (arrays if torch.is_tensor(value) else numbers)[f"{prefix}/{key}/{name}"] = value
    return whole["param_groups"]


def _put_together(optimizer, prefix, arrays, numbers, groups):
    """The opposite."""
    state = {}
    for name, value in {**arrays, **numbers}.items():
        if name.startswith(f"{prefix}/"):
            _, key, slot = name.split("/")
            state.setdefault(int(key), {})[slot] = torch.from_numpy(value) if name in arrays else value
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def load_weights(model, arrays):
    """Take a model's parameters from the arrays of a checkpoint."""
    model.load_state_dict(_part(arrays, "model/"))


def _part(arrays, prefix):
    found = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    return {name: torch.from_numpy(array.copy()) for name, array in found.items()}
