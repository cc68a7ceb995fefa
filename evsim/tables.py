"""Tables: data of ours in TOML files, which a user may have of his own: by name or path, and what they may hold."""

import math
from pathlib import Path

from evsim.registry import nearest
from evsim.runfolder import read_toml


def names_in(folder):
    """Names of the TOML files that come with evsim in that folder, sorted."""
    return sorted(path.stem for path in Path(folder).glob("*.toml"))


def read_table(kind, given, folder, check):
    """dict of a table: `name`, and what the file holds, once `check` has seen that it is usable.

    kind: what messages call it. given: one of `names_in(folder)`, or the path of a TOML file. check: called with what
    the file holds, ValueError if that cannot be used.

    ValueError for an unknown name and for a file that is no such table, FileNotFoundError for one that is not there.
    """
    name, known = str(given), names_in(folder)
    if name in known:
        path = Path(folder) / f"{name}.toml"
    elif name.endswith(".toml"):
        path = Path(name)
    else:
        told = f"{kind} {name!r} is unknown: choose one of {', '.join(known)}, or give a file that ends in .toml"
        raise ValueError(told + nearest(name, known))
    if path.is_dir():
        raise ValueError(f"{kind} {name} is a folder: give a TOML file")
    found = read_toml(path)
    try:
        check(found)
    except ValueError as error:
        raise ValueError(f"{kind} {name}: {error}") from None
    return {"name": name, **found}


def check_head(found, needed, optional=()):
    """ValueError unless the file has these entries, `what` is a text, and `sources`, if there are any, are texts."""
    check_entries("the file", found, needed, {"sources", *optional})
    if not isinstance(found["what"], str):
        raise ValueError(f"what={found['what']!r} is not text: say in a line what it is a model of")
    sources = found.get("sources", {})
    if not isinstance(sources, dict) or not all(isinstance(text, str) for text in sources.values()):
        raise ValueError("sources is no table of texts: say where each number comes from, or leave it out")


def check_entries(where, table, needed, optional=()):
    """ValueError unless `table` is a dict with all of `needed`, and nothing else than these and `optional`."""
    if not isinstance(table, dict):
        raise ValueError(f"{where} is no table: give {', '.join(sorted({*needed} or {*optional}))} in it")
    if set(needed) - table.keys():
        raise ValueError(f"{where} lacks {', '.join(sorted(set(needed) - table.keys()))}: add it")
    if table.keys() - set(needed) - set(optional):
        other = ", ".join(sorted(table.keys() - set(needed) - set(optional)))
        takes = ", ".join(sorted({*needed} or {*optional}))
        raise ValueError(f"{where} has {other}, which is not known: leave it out; it takes {takes}")


def check_number(name, value, above=False):
    """ValueError unless `value` is a finite number of at least 0, or above it."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or value < 0 or (above and value == 0):
        raise ValueError(f"{name}={value!r} is not usable: give a number {'above 0' if above else 'of at least 0'}")


def check_whole(name, value, least=1):
    """ValueError unless `value` is a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r} is not usable: give a whole number of at least {least}")
