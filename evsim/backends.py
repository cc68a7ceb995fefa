"""Backends: which settings mean torch models rather than evsim's own learners, and what goes with them."""

from typing import Any

from evsim.check import check_choice

GATED_CELLS = ("lstm", "gru", "qrnn")  # whose inputs an embedding brings in, and that know dropout
TORCH_CELLS = (*GATED_CELLS, "norse-lif", "norse-lsnn")  # that evsim's own learners do not have
TORCH_LEARNERS = ("memup", "dni", "tbptt", "bptt")
TORCH_ALONE = ("memup", "dni")
_OF_TORCH: tuple[str, ...] = ("predictor", "context", "embed", "tied", "dropout", "forget_bias", "reduction", "device")
_OF_NUMBA: tuple[str, ...] = (
    "block", "memory_limit", "n", "broadcast", "compare", "threads", "update", "readout", "profile",
    "rewire", "rewire_every", "rewire_fraction", "rewire_density",
)  # fmt: skip
_OF_EVENTS: tuple[str, ...] = (
    "density", "density_in", "density_rule", "half_width", "threshold", "reset", "tau", "always", "half_width_to",
    "target_activity", "quiet_strength", "quiet_over", "quiet_horizon", "pull", "margin", "event_cost",
)  # fmt: skip
_OF_MEMUP: tuple[str, ...] = ("targets", "detector", "every")
_OF_DNI: tuple[str, ...] = (
    "scale", "condition", "auxiliary", "synthesiser_units", "synthesiser_layers", "synthesiser_lr", "shuffled",
    "alternate", "first", "switch",
)  # fmt: skip
_DEFAULTS: dict[str, Any] = {
    "cell": "lstm", "predictor": "context", "optimizer": "adam", "lr": 3e-3,
    "schedule": "cosine", "clip": 1.0, "streams": 64, "epochs": 25, "device": "cpu",
}  # fmt: skip


def choose_backend(chosen: dict[str, Any]) -> str:
    """ "torch" or "numba": as asked for, or as learner and cell need it; ValueError where they do not go together."""
    learner, cell, asked = (chosen.get(name) for name in ("learner", "cell", "backend"))
    needs = learner in TORCH_ALONE or cell in TORCH_CELLS
    if asked is not None:
        check_choice("backend", asked, ("numba", "torch"))
    if asked == "numba" and needs:
        what = f"learner {learner!r}" if learner in TORCH_ALONE else f"cell {cell!r}"
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
    if chosen["learner"] == "dni":
        alternate = chosen.get("alternate", False)
        found |= {"scale": 0.1, "condition": "none", "auxiliary": 0.0, "synthesiser_layers": 1, "synthesiser_lr": 1e-3,
                  "alternate": alternate, "first": "real" if alternate else "synthetic"}  # fmt: skip
    return {**found, **task.torch_defaults}


def foreign(settings: dict[str, Any]) -> dict[str, str]:
    """Names of settings that backend, learner, cell or predictor of `settings` have no use for -> whose they are."""
    torch = settings["backend"] == "torch"
    owner = "numba" if torch else "torch"
    found: dict[str, str] = dict.fromkeys(_OF_NUMBA if torch else _OF_TORCH, f"the backend {owner}")
    if settings["learner"] != "memup":
        found |= dict.fromkeys(_OF_MEMUP, "the learner memup")
    if settings["learner"] != "dni":
        found |= dict.fromkeys(_OF_DNI, "the learner dni")
    elif torch:
        found["reduction"] = "the learners tbptt, bptt and memup"
    if torch and settings["learner"] == "bptt":
        found |= {"window": "the learners tbptt, dni and memup"}
    if torch and settings["cell"] not in GATED_CELLS:
        found |= {"dropout": "the cells lstm, gru and qrnn"}
    if torch and settings["cell"] != "lstm":
        found |= {"forget_bias": "the cell lstm"}
    if settings["cell"] in TORCH_CELLS:
        found |= dict.fromkeys(_OF_EVENTS, "cells of evsim")
    if torch and settings["predictor"] != "context":
        found |= {"context": "the predictor context"}
    return found


def refuse_others(settings: dict[str, Any], chosen: dict[str, Any]) -> None:
    """Drop from `settings` what is `foreign` to them; ValueError where it was asked for."""
    if settings["cell"] not in GATED_CELLS and "embed" not in chosen:  # a default of the task's that is for those
        settings.pop("embed", None)
    for name, owner in foreign(settings).items():
        if name in chosen:
            raise ValueError(f"{name}={chosen[name]!r} belongs to {owner}: leave it out")
        settings.pop(name, None)
