"""Rewire options: settings of a run that say how its masks change, and the policy that they make."""

import math
from typing import Any

from evsim.check import check_choice, check_count
from evsim.rewiring import POLICIES, Magnitude, RigL, from_config

DONE = 0.75  # of training, by which pruning has come to its end and RigL stops
LONGEST = 20_000  # steps of a sequence that BPTT is let keep for RigL
_OF = {"rewire_fraction": ("set", "rigl"), "rewire_density": ("magnitude",)}


def refuse_rewiring(settings: dict[str, Any], task):
    """ValueError for settings of masks that change which do not go together, or not with the task."""
    kind = settings.get("rewire")
    for name in ("rewire_every", *_OF):
        if kind is None and name in settings:
            raise ValueError(f"{name}={settings[name]!r} says how masks change, but they do not: give --rewire too")
    if kind is None:
        return
    check_choice("rewire", kind, POLICIES)
    for name, owners in _OF.items():
        if name in settings and kind not in owners:
            told = f"{name}={settings[name]!r} belongs to --rewire {' or '.join(owners)}"
            raise ValueError(f"{told}: leave it out, or choose that")
    if kind == "magnitude" and "rewire_density" not in settings:
        raise ValueError("rewire='magnitude' needs to know what is to be left in the end: give --rewire-density")
    if settings["epochs"] * math.ceil(task.sizes["train"] / settings["streams"]) < 2:
        told = f"masks change between sequences, and all there are of {task.name} are read side by side, once"
        raise ValueError(f"{told}: give more --epochs, or, where it has several sequences, fewer --streams")
    if kind == "rigl" and task.steps > LONGEST:
        told = f"rewire='rigl' keeps all of a sequence's {task.steps:,} steps to find the gradient of absent weights"
        raise ValueError(f"{told}: choose set or magnitude, or more --streams if they make sequences shorter")


def build_rewiring(settings: dict[str, Any], per_epoch: int):
    """The policy of `settings`, for epochs of so many updates; None where masks stay.

    Without rewire_every masks change once an epoch, or four times where that would be less than four times in all.
    """
    if settings.get("rewire") is None:
        return None
    total = settings["epochs"] * per_epoch
    every = check_count("rewire_every", settings.get("rewire_every", max(1, min(per_epoch, total // 4))))
    if every >= total:
        told = f"rewire_every={every} would change nothing in the {total} updates of this training"
        raise ValueError(f"{told}: give fewer updates, or train for longer")
    given = {"kind": settings["rewire"], "every": every}
    if given["kind"] == Magnitude.kind:
        steps = max(every, int(DONE * total) // every * every)
        return from_config({**given, "density": settings["rewire_density"], "steps": steps})
    if "rewire_fraction" in settings:
        given["fraction"] = settings["rewire_fraction"]
    return from_config({**given, "steps": total, "stop": DONE} if given["kind"] == RigL.kind else given)
