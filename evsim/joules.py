"""Energy: counted work times the prices of a profile. A model, not a measurement: nothing here has been near a meter.

A profile is a TOML file, energies in pJ: `compute` has the prices of an addition, a multiplication, a unit update and
an event; each `memory` holds so many `bytes`, the last any number, and has the prices of reading and writing one word
of `word_bytes`. A store of the learner (`evsim.work`) lies in the smallest memory that holds it by itself.
"""

import math
from pathlib import Path
from typing import Any

from evsim.tables import check_entries, check_head, check_number, names_in, read_table
from evsim.work import PARTS, STORES

FOLDER = Path(__file__).with_name("profiles")
DEFAULT = "cmos45-float32"
MODEL = "A model, not a measurement: counted work times a profile's energy per operation and per word."
_COMPUTE = ("add", "multiply", "unit_update", "event")
_NEEDED = {"what", "word_bytes", "compute", "memory"}


def profiles():
    """Names of the profiles that come with evsim, sorted."""
    return names_in(FOLDER)


def load_profile(profile):
    """dict of a profile, from its name or the path of a TOML file.

    ValueError for an unknown name and for a file that is no profile, FileNotFoundError for one that is not there.
    """
    return read_table("profile", profile, FOLDER, _check)


def locate_profile(profile):
    """The name of a profile, or the whole path of a file, once it is seen that it can be used."""
    name = load_profile(profile)["name"]
    return name if name in profiles() else str(Path(name).resolve())


def energy(ops, profile: Any = DEFAULT):
    """Joules of the work in `ops`, as `learner.ops` gives it. A model, not a measurement.

    profile: one of `profiles()`, the path of your own TOML file, or a dict as `load_profile` gives it.

    Returns a dict: joules, and joules_per_step, joules_per_inference (one sequence, forward alone), joules_per_sample
    (one sequence, forward and learning; None where no sequence was counted); compute and memory, whose sum is joules;
    parts[part] = {"compute", "memory"} in joules; stores[store] = bytes of the memory that holds it, None: the last.
    ValueError as `load_profile` has it, and for `ops` that are not a learner's.
    """
    if isinstance(profile, dict):
        _check({name: value for name, value in profile.items() if name != "name"})
    else:
        profile = load_profile(profile)
    missing = [name for name in ("parts", "stores", "steps", "sequences", "events") if name not in ops]
    if missing:
        raise ValueError(f"ops has no {missing[0]!r}: give what learner.ops returns")
    places = {store: _place(profile, ops["stores"].get(store, 0)) for store in STORES}
    parts = {part: _price(ops["parts"][part], profile["compute"], places) for part in PARTS}
    parts["forward"]["compute"] += ops["events"] * profile["compute"]["event"] * 1e-12
    compute, memory = (sum(part[kind] for part in parts.values()) for kind in ("compute", "memory"))
    total, sequences = compute + memory, ops["sequences"]
    return {
        "profile": profile.get("name"), "joules": total,
        "joules_per_step": total / ops["steps"] if ops["steps"] else None,
        "joules_per_inference": sum(parts["forward"].values()) / sequences if sequences else None,
        "joules_per_sample": total / sequences if sequences else None,
        "compute": compute, "memory": memory, "parts": parts,
        "stores": {store: place.get("bytes") for store, place in places.items()}, "note": MODEL,
    }  # fmt: skip


def _place(profile, words):
    """The smallest memory that holds so many words, or the last."""
    size = words * profile["word_bytes"]
    return next((level for level in profile["memory"] if level.get("bytes", math.inf) >= size), profile["memory"][-1])


def _price(part, prices, places):
    """Joules of one part."""
    done, additions = part["multiply_adds"], part["additions"]
    compute = done * prices["add"] + (done - additions) * prices["multiply"]
    compute += part["unit_updates"] * prices["unit_update"]
    moved = part["words"].items()
    memory = sum(places[s]["read"] * n["read"] + places[s]["write"] * n["written"] for s, n in moved)
    return {"compute": compute * 1e-12, "memory": memory * 1e-12}


def _check(found: dict[str, Any]):
    """ValueError unless these are the entries of a profile."""
    check_head(found, _NEEDED)
    check_number("word_bytes", found["word_bytes"], above=True)
    check_entries("compute", found["compute"], set(_COMPUTE))
    for name in _COMPUTE:
        check_number(f"compute.{name}", found["compute"][name])
    levels = found["memory"]
    if not isinstance(levels, list) or not levels:
        raise ValueError("memory is no list of tables: give [[memory]] once or more")
    for k, level in enumerate(levels):
        last = k == len(levels) - 1
        check_entries(f"memory {k + 1}", level, {"read", "write"} | (set() if last else {"bytes"}))
        for name in ("read", "write"):
            check_number(f"memory {k + 1}, {name}", level[name])
        if not last:
            check_number(f"memory {k + 1}, bytes", level["bytes"], above=True)
    sizes = [level["bytes"] for level in levels[:-1]]
    if sizes != sorted(set(sizes)):
        raise ValueError(f"the memories' bytes are {sizes}: order them from small to large, each once")
