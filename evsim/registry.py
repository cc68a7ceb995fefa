"""What can be chosen by name: cells, learners, tasks and exports, each a string that says where it lies.

Nothing is imported until it is looked up, so names can be listed quickly. Adding one of ours is one line in a
table below; anybody else calls `register`.
"""

import difflib
import re
from importlib import import_module
from types import ModuleType
from typing import Any

CELLS = {
    "adlif": "evsim.cells.adlif:AdLIF",
    "alif": "evsim.cells.alif:ALIF",
    "cubalif": "evsim.cells.cubalif:CubaLIF",
    "egru": "evsim.cells.egru:EGRU",
    "evrnn": "evsim.cells.evrnn:EvRNN",
    "lif": "evsim.cells.lif:LIF",
}
LEARNERS = {
    "bptt": "evsim.learners.bptt:BPTT",
    "dni": "evsim.models.dni:DNI",
    "eprop": "evsim.learners.eprop:EProp",
    "memup": "evsim.models.method:MemUP",
    "rflo": "evsim.learners.rflo:RFLO",
    "rtrl": "evsim.learners.rtrl:RTRL",
    "snap": "evsim.learners.snap:SnAp",
    "tbptt": "evsim.learners.bptt:TBPTT",
    "uoro": "evsim.learners.uoro:UORO",
}
TASKS = {
    "adding": "evsim.tasks.adding:Adding",
    "copy": "evsim.tasks.copy:Copy",
    "delayed-recall": "evsim.tasks.delayed_recall:DelayedRecall",
    "digits": "evsim.tasks.digits:Digits",
    "positional-copy": "evsim.tasks.positional_copy:PositionalCopy",
    "repeat-copy": "evsim.tasks.repeat_copy:RepeatCopy",
    "scattered-copy": "evsim.tasks.scattered_copy:ScatteredCopy",
    "spiral": "evsim.tasks.spiral:Spiral",
    "temporal-order": "evsim.tasks.temporal_order:TemporalOrder",
    "text": "evsim.tasks.text:Text",
    "tmaze": "evsim.tasks.tmaze:TMaze",
}
EXPORTS: dict[str, str] = {
    "bundle": "evsim.exports.bundle:export",
    "c": "evsim.exports.c:export",
    "nir": "evsim.exports.nir_write:export",
}

_TABLES = {"cell": CELLS, "learner": LEARNERS, "task": TASKS, "export": EXPORTS}
_EXTRA_OF = {
    "torch": "torch",
    "norse": "torch",
    "snntorch": "torch",
    "nir": "nir",
    "sklearn": "data",
    "h5py": "data",
    "matplotlib": "plot",
    "dask": "dask",
}
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def register(kind: str, name: str, target: str) -> None:
    """Make "package.module:attribute" known as `name`; kind is "cell", "learner", "task" or "export".

    The target is imported only when it is used. ValueError for an unknown kind, a malformed name or target,
    or a name that already stands for something else; registering the same thing twice is harmless.
    """
    table = _table(kind)
    for what, given in (("name", name), ("target", target)):
        if not isinstance(given, str):
            raise TypeError(f"{what}={given!r} is a {type(given).__name__}: give a string")
    if not _NAME.fullmatch(name):
        raise ValueError(f"name={name!r} cannot be used: give lower-case letters, digits and hyphens")
    if not _TARGET.fullmatch(target):
        raise ValueError(f'target={target!r} cannot be used: give "package.module:attribute"')
    if table.get(name, target) != target:
        raise ValueError(f"{kind} {name!r} already stands for {table[name]}: choose another name")
    table[name] = target


def names(kind: str) -> list[str]:
    """Return the known names of a kind ("cell", "learner", "task", "export"), sorted."""
    return sorted(_table(kind))


def lookup(kind: str, name: str) -> Any:
    """Import and return what `name` stands for.

    ValueError for an unknown name, with those known; ImportError, with the line that installs it, where an
    optional package is missing, and where a registered target does not exist.
    """
    table = _table(kind)
    if name not in table:
        known = ", ".join(sorted(table)) or "none yet"
        raise ValueError(f"{kind} {name!r} is unknown: choose one of {known}{nearest(name, table)}")
    module, attribute = table[name].split(":")
    found = load_optional(module, f"{kind} {name!r}")
    if not hasattr(found, attribute):
        told = f"{kind} {name!r} is registered as {table[name]}, but {module} has no {attribute}"
        raise ImportError(f"{told}: correct the registered target")
    return getattr(found, attribute)


def load_optional(module: str, purpose: str) -> ModuleType:
    """Import and return a module; if an optional package is missing, ImportError says how to install it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in _EXTRA_OF:
            line = f'pip install -e ".[{_EXTRA_OF[package]}]" -c constraints.txt, in a checkout of evsim'
            told = f"{purpose} needs {package}, which is not installed: {line}"
            raise ImportError(told, name=error.name) from None
        told = f"{purpose} needs the module {module}, but {error.name} cannot be found: install or correct it"
        raise ImportError(told, name=error.name) from error


def _table(kind: str) -> dict[str, str]:
    if kind not in _TABLES:
        known = ", ".join(_TABLES)
        raise ValueError(f"kind={kind!r} is unknown: choose one of {known}{nearest(kind, _TABLES)}")
    return _TABLES[kind]


def nearest(given: object, known) -> str:
    """What was probably meant, as the end of a sentence, or nothing."""
    near = difflib.get_close_matches(str(given), list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""
