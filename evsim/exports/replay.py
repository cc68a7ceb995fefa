"""Replay: a bundle's trace once more, in plain numpy and from the file alone, compared event for event.

The cells' own equations are executed as they are written (`evsim.words.NumpyWords`); no kernel is called and no network
is built. What a unit hears at a step are the events on record, so that a difference shows where it arises.
"""

from dataclasses import dataclass

import numpy as np

from evsim.exports.bundle import PARTS, SIDES, read
from evsim.layer import Layer
from evsim.words import NumpyWords

NEAR = {"float32": 1e-6, "float64": 1e-12}  # |state - threshold| below which rounding may decide about an event
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}  # of outputs and graded events: |difference| / (1 + |on record|)


class Recorded(NumpyWords):
    """Hard events; those on record, `spoken` (n,), where `near` or less decides. told: of which units (n,)."""

    def __init__(self, spoken, near):
        super().__init__(None)
        self.spoken, self.near = spoken, near
        self.told = np.zeros(spoken.shape, bool)

    def event(self, x):
        hard = x > 0
        self.told = (hard != self.spoken) & (np.abs(x) < self.near)
        return (hard ^ self.told).astype(x.dtype)


@dataclass
class Part:
    """One layer, or a leaky readout: what it needs for a step. edges: (fed channels, target, source, weight) a side."""

    cell: Layer
    bias: np.ndarray
    local: list
    edges: list

    def channels(self, *heard):
        """Pre-activations (channels, n) from what each side hears: bias, inputs, recurrence, by ascending source."""
        a = self.bias.copy()
        for z, (fed, target, source, weight) in zip(heard, self.edges, strict=True):
            for row, g in enumerate(fed):
                np.add.at(a[g], target, weight[row] * z[source])
        return a


def verify(path):
    """Replay the trace in the bundle at `path`, up to the first difference; returns a dict of what was compared.

    agrees: True if there was none; otherwise `difference` says where. sequences, steps, events (on record),
    events_per_layer; near_threshold: events that differ, where |state - threshold| < NEAR; the largest differences of
    outputs and of graded events. Raises as `evsim.exports.bundle.read` does.
    """
    found = read(path)
    arrays, name = found.arrays, np.dtype(found.header["dtype"]).name
    parts = _parts(found)
    replay = Replay(parts, found, NEAR[name], TOLERANCE[name])
    ends = np.cumsum(arrays["trace.lengths"]).tolist()
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of it does not agree
        for s, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            if not replay.sequence(s, start, end):
                break
    events = replay.events
    return {
        "path": str(path), "agrees": replay.difference is None, "difference": replay.difference,
        "sequences": replay.sequences, "steps": replay.steps, "events": sum(events), "events_per_layer": events,
        "near_threshold": replay.near_threshold, "largest_output_difference": replay.largest["out"],
        "largest_event_difference": replay.largest["event"], "tolerance": replay.tolerance, "near": replay.near,
        "dtype": name, "trace": found.header.get("trace"),
    }  # fmt: skip


class Replay:
    """Counts of what was compared, and the first difference (dict) or None."""

    def __init__(self, parts, found, near, tolerance):
        self.parts, self.near, self.tolerance = parts, near, tolerance
        self.leaky = len(parts) > len(found.layers)
        self.trace = {key.removeprefix("trace."): a for key, a in found.arrays.items() if key.startswith("trace.")}
        self.weight, self.bias = found.arrays["readout.weight"], found.arrays["readout.bias"]
        self.shown = [self.trace[f"events.{k}"] for k in range(len(found.layers))]
        self.sequences = self.steps = self.near_threshold = 0
        self.events = [0] * len(found.layers)
        self.largest = {"out": 0.0, "event": 0.0}
        self.difference = None

    def sequence(self, s, start, end):
        """Replay one sequence, steps start..end - 1 of the trace, from zero; False at the first difference."""
        silent = [np.zeros(part.cell.units, self.bias.dtype) for part in self.parts]
        kept = [part.cell.nothing_kept(y) for part, y in zip(self.parts, silent, strict=True)]
        for t in range(start, end):
            heard = self.trace["x"][t]
            for k, shown in enumerate(self.shown):
                own = shown[t - 1] if t > start else silent[k]
                words = Recorded(shown[t] != 0, self.near)
                y, kept[k] = self._step(k, words, kept[k], heard, own)
                if not self._same_events(y, shown[t], {"sequence": s, "step": t - start, "layer": k}):
                    return False
                self.near_threshold += int(words.told.sum())
                self.events[k] += int(np.count_nonzero(shown[t]))
                heard = shown[t]
            if self.leaky:
                out, kept[-1] = self._step(-1, NumpyWords(None), kept[-1], heard, silent[-1])
            else:
                out = self.bias.copy()
                for i in np.flatnonzero(heard):
                    out += self.weight[:, i] * heard[i]
            if not self._same("out", "output", out, self.trace["out"][t], {"sequence": s, "step": t - start}):
                return False
            self.steps += 1
        self.sequences += 1
        return True

    def _step(self, k, words, kept, heard, own):
        part = self.parts[k]
        state = part.cell.advance(words, kept, tuple(part.channels(heard, own)), part.local)
        return part.cell.emit(words, state, part.local), part.cell.keep(words, state, part.local)

    def _same_events(self, found, wanted, where):
        spoken = np.flatnonzero((found != 0) != (wanted != 0))
        return self._same("event", "unit", found, wanted, where, spoken)

    def _same(self, what, name, found, wanted, where, wrong=()):
        """Note the largest difference of two arrays (n,), or the first place that is wrong or beyond the tolerance."""
        gap = np.abs(found.astype(np.float64) - wanted)
        wrong = [*wrong, *np.flatnonzero(~(gap <= self.tolerance * (1 + np.abs(wanted))))]
        if wrong:
            k = int(wrong[0])
            self.difference = {**where, name: k, "recorded": float(wanted[k]), "replayed": _number(found[k])}
            return False
        self.largest[what] = max(self.largest[what], float(gap.max()))
        return True


def _number(value):
    """A float that JSON can hold, or None."""
    return float(value) if np.isfinite(value) else None


def _parts(found):
    """Layers bottom to top, and a leaky readout above them."""
    parts = []
    for k, cell in enumerate(found.layers):
        edges = []
        for side, fed in zip(SIDES, (cell.in_channels, cell.rec_channels), strict=True):
            ptr, source, weight = (found.arrays[f"layers.{k}.weight_{side}.{part}"] for part in PARTS)
            edges.append((fed, np.repeat(np.arange(cell.units), np.diff(ptr)), source, weight))
        local = [found.arrays[f"layers.{k}.{name}"] for name in cell.local]
        parts.append(Part(cell, found.arrays[f"layers.{k}.bias"], local, edges))
    cell = found.readout
    if hasattr(cell, "advance"):
        weight = found.arrays["readout.weight"]
        target, source = np.divmod(np.arange(weight.size), weight.shape[1])
        local = [found.arrays[f"readout.{name}"] for name in cell.local]
        edges = [(cell.in_channels, target, source, weight.reshape(1, -1)), (cell.rec_channels, source, source, None)]
        parts.append(Part(cell, found.arrays["readout.bias"][None], local, edges))
    return parts
