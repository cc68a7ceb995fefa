"""Energy: counted work times the prices of a profile. A model, not a measurement: nothing here has been near a meter.

A profile is a TOML file, energies in pJ: `compute` has the prices of an addition, a multiplication, a unit update and
an event; each `memory` holds so many `bytes`, the last any number, and has the prices of reading and writing one word
of `word_bytes`. A store of the learner (`evsim.work`) lies in the smallest memory that holds it by itself.
"""

import math
from pathlib import Path
from typing import Any

from evsim.registry import nearest
from evsim.runfolder import read_toml
from evsim.work import PARTS, STORES

FOLDER = Path(__file__).with_name("profiles")
DEFAULT = "cmos45-float32"
MODEL = "A model, not a measurement: counted work times a profile's energy per operation and per word."
_COMPUTE = ("add", "multiply", "unit_update", "event")
_NEEDED = {"what", "word_bytes", "compute", "memory"}


def profiles():
    """Names of the profiles that come with evsim, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_profile(profile):
    """dict of a profile, from its name or the path of a TOML file.

    ValueError for an unknown name and for a file that is no profile, FileNotFoundError for one that is not there.
    """
    name = str(profile)
    if name in profiles():
        path = FOLDER / f"{name}.toml"
    elif name.endswith(".toml"):
        path = Path(name)
    else:
        known = ", ".join(profiles())
        told = f"profile {name!r} is unknown: choose one of {known}, or give a file that ends in .toml"
        raise ValueError(told + nearest(name, profiles()))
    if path.is_dir():
        raise ValueError(f"profile {name} is a folder: give a TOML file")
    found = read_toml(path)
    try:
        _check(found)
    except ValueError as error:
        raise ValueError(f"profile {name}: {error}") from None
    return {"name": name, **found}


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
    _entries("the file", found, _NEEDED, {"sources"})
    if not isinstance(found["what"], str):
        raise ValueError(f"what={found['what']!r} is not text: say in a line what it is a model of")
    _number("word_bytes", found["word_bytes"], above=True)
    sources = found.get("sources", {})
    if not isinstance(sources, dict) or not all(isinstance(text, str) for text in sources.values()):
        raise ValueError("sources is no table of texts: say where each number comes from, or leave it out")
    _entries("compute", found["compute"], set(_COMPUTE))
    for name in _COMPUTE:
        _number(f"compute.{name}", found["compute"][name])
    levels = found["memory"]
    if not isinstance(levels, list) or not levels:
        raise ValueError("memory is no list of tables: give [[memory]] once or more")
    for k, level in enumerate(levels):
        last = k == len(levels) - 1
        _entries(f"memory {k + 1}", level, {"read", "write"} | (set() if last else {"bytes"}))
        for name in ("read", "write"):
            _number(f"memory {k + 1}, {name}", level[name])
        if not last:
            _number(f"memory {k + 1}, bytes", level["bytes"], above=True)
    sizes = [level["bytes"] for level in levels[:-1]]
    if sizes != sorted(set(sizes)):
        raise ValueError(f"the memories' bytes are {sizes}: order them from small to large, each once")


def _entries(where, table, needed: set, optional=()):
    if not isinstance(table, dict):
        raise ValueError(f"{where} is no table: give {', '.join(sorted(needed))} in it")
    if needed - table.keys():
        raise ValueError(f"{where} lacks {', '.join(sorted(needed - table.keys()))}: add it")
    if table.keys() - needed - set(optional):
        other = ", ".join(sorted(table.keys() - needed - set(optional)))
        raise ValueError(f"{where} has {other}, which is not known: leave it out; it takes {', '.join(sorted(needed))}")


def _number(name, value, above=False):
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or value < 0 or (above and value == 0):
        raise ValueError(f"{name}={value!r} is not usable: give a number {'above 0' if above else 'of at least 0'}")
