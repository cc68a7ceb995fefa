"""Timing: several ways of doing the same thing, each in its turn, in one process; medians."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LONG = 10.0  # seconds after which a way takes no further turns, once it has had two
PARTS = ("multiply_adds", "phi", "events", "steps")


@dataclass
class Way:
    """One way to do the work of a table's row.

    turn: does `steps` time steps. learner: one of ours, whose counters and memory are read. most: turns that are enough
    for a slow one, at least two. first: turns that are not timed, in which kernels compile and M fills. ours: is it one
    of evsim's. memory, macs: bytes, and multiply-adds of a step, of what has no counters. missing: why it cannot run.
    """

    name: str
    turn: Callable[[], Any] = field(default=lambda: None)
    steps: int = 1
    learner: Any = None
    ours: bool = True
    most: int | None = None
    first: int = 1
    memory: int | None = None
    macs: float | None = None
    missing: str | None = None
    rates: dict = field(default_factory=dict)


def take_turns(ways, repeats):
    """List of rows, one for each way: dicts of median and quantiles in microseconds per step, and what was counted."""
    ways = list(ways)
    present = [way for way in ways if way.missing is None]
    for way in present:
        _begin(way)
    present = [way for way in present if way.missing is None]
    before = {id(way): counted(way.learner) for way in present}
    times = {id(way): [] for way in present}
    for turn in range(repeats):
        for way in present:
            spent = sum(times[id(way)]) * way.steps / 1e6
            if turn < 2 or (spent < LONG and (way.most is None or turn < way.most)):
                start = time.perf_counter()
                way.turn()
                times[id(way)].append((time.perf_counter() - start) / way.steps * 1e6)
    return [_row(way, times.get(id(way)), before.get(id(way))) for way in ways]


def _begin(way):
    """The turns that are not timed; a rival that fails there is missing from then on."""
    try:
        for _ in range(way.first):
            way.turn()
    except Exception as error:
        if way.ours:
            raise
        way.missing = failure(error)


def failure(error):
    """Why a rival cannot run, in a few words."""
    return f"fails with {type(error).__name__}: {str(error).partition(chr(10))[0][:80]}"


def counted(learner):
    """The learner's counters as they are now, those that rows tell."""
    return {part: learner.ops[part] for part in PARTS} if learner is not None else {}


def _row(way, times, before):
    row = {"name": way.name, "ours": way.ours, "missing": way.missing, "us": None, "us_10": None, "us_90": None}
    row |= {"turns": 0, "steps": way.steps, "multiply_adds": way.macs, "phi_rate": None, "activity": None}
    row |= {"memory_bytes": way.memory, **way.rates}
    if times:
        low, middle, high = (float(q) for q in np.quantile(times, (0.1, 0.5, 0.9)))
        row |= {"us": middle, "us_10": low, "us_90": high, "turns": len(times)}
    if times and way.learner is not None:
        done = {part: now - before[part] for part, now in counted(way.learner).items()}
        steps, units = done["steps"], sum(cell.units for cell in way.learner.net.layers)
        streams = way.learner.streams
        row |= {
            "multiply_adds": done["multiply_adds"] / steps * streams,
            "phi_rate": done["phi"] / steps / units, "activity": done["events"] / steps / units,
            "memory_bytes": way.learner.memory["total"],
        }  # fmt: skip
        if getattr(way.learner, "block", 0) == 1 and way.learner.threads == 1:
            row["influence_bytes"] = way.learner.memory["influence"]
    return row


def say(text):
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)
