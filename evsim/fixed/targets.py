"""Targets: limits of chips and microcontrollers, as data with their sources, and what of a network they have room for.

A target is a TOML file: `what` it is a model of; `cells` that its units can be; `graded`, may events carry values;
`resets` that it knows; how it holds decays: in `decay_bits`, or by `decay = "shift"` as 1 - 2**-k. [limits]: of bits
and counts (`LIMITS`); [core]: `units`, `memory` in bytes, of which `reserved` are not for the network, and the `count`
of cores; [memory]: `flash` and `ram` in bytes, and what is reserved of them. What is left out has no limit. `note`:
what these numbers cannot say. Nothing here has been near a chip.
"""

from pathlib import Path
from typing import Any

from evsim.check import check_choice
from evsim.registry import names
from evsim.tables import check_entries, check_head, check_whole, names_in, read_table

FOLDER = Path(__file__).with_name("targets")
LIMITS = ("weight_bits", "state_bits", "inputs", "outputs", "units", "fan_in", "fan_out", "fan_out_mean")
CORE = ("units", "memory", "reserved", "count")
MEMORY = ("flash", "ram", "reserved_flash", "reserved_ram")
RESETS = ("subtract", "zero")
_NEEDED = ("what", "cells", "graded")
_OPTIONAL = ("note", "resets", "decay", "decay_bits", "limits", "core", "memory")


def targets():
    """Names of the targets that come with evsim, sorted."""
    return names_in(FOLDER)


def load_target(target) -> dict[str, Any]:
    """dict of a target, from its name or the path of a TOML file.

    ValueError for an unknown name and for a file that is no target, FileNotFoundError for one that is not there.
    """
    return read_table("target", target, FOLDER, check_target)


def choose_targets(text):
    """List of targets, from names or paths with commas between them, or "all"; errors as in `load_target`."""
    return [load_target(name.strip()) for name in (targets() if text == "all" else text.split(","))]


def check_target(found: dict[str, Any]):
    """ValueError unless these are the entries of a target."""
    check_head(found, _NEEDED, _OPTIONAL)
    if not isinstance(found.get("note", ""), str):
        raise ValueError(f"note={found['note']!r} is not text: give a sentence, or leave it out")
    for name, known in (("cells", names("cell")), ("resets", RESETS)):
        given = found.get(name, [])
        if not isinstance(given, list) or (name == "cells" and not given):
            raise ValueError(f"{name}={given!r} is no list: give some of {', '.join(known)}")
        for one in given:
            check_choice(name, one, known)
    if not isinstance(found["graded"], bool):
        raise ValueError(f"graded={found['graded']!r} is not usable: give true or false")
    if "decay" in found:
        check_choice("decay", found["decay"], ("shift",))
        if "decay_bits" in found:
            raise ValueError("decay and decay_bits were both given: leave one of them out")
    if "decay_bits" in found:
        check_whole("decay_bits", found["decay_bits"])
    for where, known in (("limits", LIMITS), ("core", CORE), ("memory", MEMORY)):
        table = found.get(where, {})
        check_entries(where, table, (), known)
        for name, value in table.items():
            check_whole(f"{where}.{name}", value, 0 if name.startswith("reserved") else 1)
    for where, whole, part in (("core", "memory", "reserved"), ("memory", "flash", "reserved_flash"),
                               ("memory", "ram", "reserved_ram")):  # fmt: skip
        table = found.get(where, {})
        if part in table and table[part] >= table.get(whole, 0):
            raise ValueError(f"{where}.{part}={table[part]} leaves nothing of {whole}: give a larger {whole} too")
