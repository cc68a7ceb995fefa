"""Backends: which settings mean torch models rather than evsim's own learners, and what goes with them."""

from typing import Any

from evsim.check import check_choice

GATED_CELLS = ("lstm", "gru", "qrnn")  # whose inputs an embedding brings in, and that know dropout
TORCH_CELLS = (*GATED_CELLS, "norse-lif", "norse-lsnn")  # that evsim's own learners do not have
TORCH_LEARNERS = ("memup", "tbptt", "bptt")
_OF_TORCH = ("targets", "detector", "every", "predictor", "context", "embed", "tied", "dropout", "device")
_OF_NUMBA = ("block", "memory_limit", "n", "broadcast", "compare", "threads", "update", "readout")
_OF_EVENTS = ("density", "density_in", "half_width", "threshold", "reset", "tau")  # options of evsim's cells
_OF_MEMUP = ("targets", "detector", "every")
_DEFAULTS: dict[str, Any] = {
    "cell": "lstm", "predictor": "context", "optimizer": "adam", "lr": 3e-3,
    "schedule": "cosine", "clip": 1.0, "streams": 64, "epochs": 25, "device": "cpu",
}  # fmt: skip


def choose_backend(chosen: dict[str, Any]) -> str:
    """ "torch" or "numba": as asked for, or as learner and cell need it; ValueError where they do not go together."""
    learner, cell, asked = (chosen.get(name) for name in ("learner", "cell", "backend"))
    needs = learner == "memup" or cell in TORCH_CELLS
    if asked is not None:
        check_choice("backend", asked, ("numba", "torch"))
    if asked == "numba" and needs:
        what = "learner 'memup'" if learner == "memup" else f"cell {cell!r}"
        raise ValueError(f"{what} runs under torch alone: leave --backend numba out")
    if not needs and asked != "torch":
        return "numba"
    if learner not in TORCH_LEARNERS:
        given = "no learner was given" if learner is None else f"learner {learner!r} is evsim's own"
        what = f"cell {cell!r}" if needs else "backend 'torch'"
        raise ValueError(f"{what} needs a learner of torch models, and {given}: choose {', '.join(TORCH_LEARNERS)}")
    return "torch"


def torch_defaults(chosen: dict[str, Any], task) -> dict[str, Any]:
    """What training a torch model uses where neither the user nor the task's `torch_defaults` says anything."""
    found, lengths = dict(_DEFAULTS), task.split("train").lengths
    longest = task.steps if lengths is None else int(lengths.max())
    if chosen["learner"] != "bptt":
        found["window"] = min(10, longest)
    if chosen["learner"] == "memup":
        window = chosen.get("window", found["window"])
        found |= {"targets": 5, "detector": "entropy", "every": max(1, min(2, window))}
    return {**found, **task.torch_defaults}


def refuse_others(settings: dict[str, Any], chosen: dict[str, Any]) -> None:
    """Drop from `settings` what the chosen backend has no use for; ValueError where it was asked for."""
    torch = settings["backend"] == "torch"
    drop = dict.fromkeys(_OF_NUMBA if torch else _OF_TORCH, f"the backend {'numba' if torch else 'torch'}")
    if torch and settings["learner"] != "memup":
        drop |= dict.fromkeys(_OF_MEMUP, "the learner memup")
    if torch and settings["learner"] == "bptt":
        drop |= {"window": "the learners tbptt and memup"}
    if torch and settings["cell"] not in GATED_CELLS:
        drop |= {"dropout": "the cells lstm, gru and qrnn"}
        if "embed" not in chosen:  # a default of the task's that is for those
            settings.pop("embed", None)
    if settings["cell"] in TORCH_CELLS:
        drop |= dict.fromkeys(_OF_EVENTS, "cells of evsim")
    if torch and settings["predictor"] != "context":
        drop |= {"context": "the predictor context"}
    for name, owner in drop.items():
        if name in chosen:
            raise ValueError(f"{name}={chosen[name]!r} belongs to {owner}: leave it out")
        settings.pop(name, None)
