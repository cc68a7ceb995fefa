"""Fits: what a network needs against what a target allows, limit by limit, and by how much it is too large."""

from typing import Any

import numpy as np

from evsim.fixed.need import Need, most
from evsim.fixed.targets import check_target, load_target

DECAY_CHANGE = 0.05  # a time constant that a target's decays change by more does not fit


def check(need: Need, target: Any) -> dict[str, Any]:
    """What of `need` (`evsim.fixed.need.need`) a target has room for.

    target: one of `evsim.fixed.targets.targets()`, the path of your own TOML file, or a dict as `load_target` gives it.

    Returns a dict: target, what, note; fits: is there room for all; limits: one dict for each limit of the target and
    each layer that it counts in: where ("network" or a layer), what, needed, limit, over (by how much, or None), fits;
    misfits: a sentence for each that does not; cores: {"layers": how many each takes, None where one unit is too large
    for a core, "needed": their sum}, or None for a target without cores; need: `Need.told`.
    """
    if isinstance(target, dict):
        found = {"name": "the target", **target}
        check_target({name: value for name, value in found.items() if name != "name"})
    else:
        found = load_target(target)
    limits = [*_kinds(need, found), *_counts(need, found), *_decays(need, found)]
    cores, own = _cores(need, found)
    limits += [*own, *_memory(need, found)]
    misfits = [one.pop("sentence") for one in limits if "sentence" in one]
    return {
        "target": found["name"], "what": found["what"], "note": found.get("note"), "fits": not misfits,
        "limits": limits, "misfits": misfits, "cores": cores, "need": need.told(),
    }  # fmt: skip


def _item(where, what, needed, limit, fits, sentence, over=None):
    """One limit, with what is wrong if it does not fit."""
    wrong = {} if fits else {"sentence": sentence}
    return {"where": where, "what": what, "needed": needed, "limit": limit, "over": over, "fits": bool(fits), **wrong}


def _number(target, where, what, needed, limit, words="", advice=""):
    """A limit that is a number, and so is what is needed; words: how what is needed is said."""
    over = max(needed - limit, 0)
    said = (words or f"{{}} {what}").format(_form(needed))
    told = f"{where} needs {said}, {target['name']} allows {_form(limit)}: {_form(over)} too many{advice}"
    return _item(where, what, needed, limit, not over, told, over)


def _form(value):
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def _kinds(need, target):
    """Cells, events and resets of each layer."""
    name = target["name"]
    for layer in need.layers[:-1]:
        where, cells, resets = layer.name, target["cells"], target.get("resets")
        told = f"{where} is of {layer.cell} units, which {name} does not have: choose {_either(cells)}"
        yield _item(where, "cell", layer.cell, cells, layer.cell in cells, told)
        told = f"{where} sends events with values, {name} only events without: choose a cell whose events are binary"
        yield _item(where, "graded events", layer.graded, target["graded"], target["graded"] or not layer.graded, told)
        if layer.reset is not None and resets is not None:
            told = f"{where} resets by {layer.reset!r}, {name} by {_either(resets)}: train with that"
            yield _item(where, "reset", layer.reset, resets, layer.reset in resets, told)


def _counts(need, target):
    """Bits, units and connections."""
    limits = target.get("limits", {})
    for key, needed, option in (("weight", need.bits, "--bits"), ("state", need.state_bits, "--state-bits")):
        if f"{key}_bits" in limits:
            what, allowed = f"bits of a {key}", limits[f"{key}_bits"]
            yield _number(target, "the network", what, needed, allowed, advice=f"; quantise with fewer {option}")
    for key, needed in (("inputs", need.inputs), ("units", need.units), ("outputs", need.outputs)):
        if key in limits:
            yield _number(target, "the network", key, needed, limits[key])
    for layer in need.layers:
        if "fan_in" in limits:
            yield _number(target, layer.name, "fan-in", most(layer.connections), limits["fan_in"], "fan-in {}")
        if "fan_out" in limits and layer is not need.layers[-1]:
            yield _number(target, layer.name, "fan-out", most(layer.fan_out), limits["fan_out"], "fan-out {}")
    if "fan_out_mean" in limits:
        mean = float(np.concatenate([layer.fan_out for layer in need.layers[:-1]]).mean())
        yield _number(target, "the network", "mean fan-out", mean, limits["fan_out_mean"], "a mean fan-out of {}")


def _decays(need, target):
    """By how much the target's decays change the time constants of a layer."""
    bits = target.get("decay_bits")
    if bits is None and "decay" not in target:
        return
    for layer in need.layers:
        for name, given in layer.decays.items():
            rest = 1 - given  # one step's loss, the inverse of the time constant where that is long
            held = 2.0 ** np.round(np.log2(rest)) if bits is None else 1 - np.round(given * 2**bits) / 2**bits
            change = np.abs(rest / np.maximum(held, 2.0**-53) - 1)
            worst = int(change.argmax())
            percent = 100 * float(change[worst])
            how = "1 - 2**-k" if bits is None else f"multiples of 2**-{bits}"
            told = f"{layer.name} has {name} {given[worst]:.6g}, of which {target['name']} makes {1 - held[worst]:.6g}"
            off = f"{percent:,.0f} % off in the time constant, where {100 * DECAY_CHANGE:g} % are allowed"
            told += f", for it holds {how}: {off if held[worst] > 0 else 'so it would never forget'}"
            allowed = change[worst] <= DECAY_CHANGE
            yield _item(layer.name, f"{name}'s change in %", percent, 100 * DECAY_CHANGE, allowed, told,
                        max(percent - 100 * DECAY_CHANGE, 0.0))  # fmt: skip


def _cores(need, target):
    """(cores by layer, limits): each layer has cores of its own, filled unit by unit."""
    core = target.get("core")
    if core is None:
        return None, []
    each, limits, name = {}, [], target["name"]
    room = core["memory"] - core.get("reserved", 0) if "memory" in core else None
    for layer in need.layers:
        found, largest = split(layer, need.bits, need.state_bits, core.get("units"), room)
        each[layer.name] = found
        if room is not None:
            told = f"{layer.name} has a unit of {largest:,} bytes, a core of {name} has room for {room:,}"
            fits = largest <= room
            over = max(largest - room, 0)
            limits.append(_item(layer.name, "bytes of a unit", largest, room, fits, f"{told}: {over:,} too many", over))
    whole = None if None in each.values() else sum(each.values())
    if whole is not None and "count" in core:
        limits.append(_number(target, "the network", "cores", whole, core["count"]))
    return {"layers": each, "needed": whole}, limits


def split(layer, bits, state_bits, units=None, room=None):
    """(cores, bytes of the largest unit alone): how many cores of so many units and bytes a layer takes.

    Units follow in their order, a new core begins where one is full; None cores where a unit is too large for one.
    """
    sizes, each = layer.unit_bytes(bits, state_bits), np.array([side.connections for side in layer.sides])
    alone = sizes + [_pointers(layer, heard) for heard in each.T]
    if room is not None and alone.max() > room:
        return None, int(alone.max())
    cores, held, size, heard = 1, 0, 0, 0 * each[:, 0]
    for own, hears in zip(sizes.tolist(), each.T, strict=True):
        full = room is not None and size + own + _pointers(layer, heard + hears) > room
        if full or held == units:
            cores, held, size, heard = cores + 1, 0, 0, 0 * heard
        held, size, heard = held + 1, size + own, heard + hears
    return cores, int(alone.max())


def _pointers(layer, heard):
    """Bytes of where sources' connections begin, on a core that has so many of each side."""
    return sum(side.pointer_bytes(int(count)) for side, count in zip(layer.sides, heard, strict=True))


def _memory(need, target):
    """Flash and RAM."""
    memory, parts = target.get("memory", {}), need.bytes()
    for key, name in (("flash", "flash"), ("ram", "RAM")):
        if key in memory:
            needed = parts[key] + memory.get(f"reserved_{key}", 0)
            yield _number(target, "the network", f"bytes of {name}", needed, memory[key])


def _either(names):
    return " or ".join(names)
