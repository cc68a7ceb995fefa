"""Describe: a page about every cell and readout, made from the code: `python -m evsim.describe --out docs/cells.md`."""

import argparse
import sys
from dataclasses import MISSING, fields
from itertools import product
from textwrap import fill

import numpy as np

from evsim.cell import Cell
from evsim.files import write_text
from evsim.layer import Layer
from evsim.network import Network
from evsim.readout import READOUTS, Readout
from evsim.registry import lookup, names
from evsim.spiking import RESETS
from evsim.symbols import drive, equations, event_kind, links

OPTIONS = {"reset": RESETS, "graded": (True, False)}  # fields that change equations -> their values
N, M = 23, 29  # sizes by which the letters n and m are known in a shape
DT = 1e-3  # s
LETTERS = {N: "n", M: "m"}
SIDES = {
    "weight_in": ("W_in", "in_channels", "from what the layer hears, x"),
    "weight_rec": ("W_rec", "rec_channels", "from the layer's own y of the step before"),
}

INTRODUCTION = """\
# Cells

Made from the code by `make docs`: change the cells, not this page. [new_cell.md](new_cell.md) says how to write one.

A layer has n units and hears x, the m inputs or the events of the layer below; y is what it says. A prime marks the
step before; what it marks is 0 at the first step. `H` is 1 above 0 and otherwise 0; its derivative is a
pseudo-derivative (`evsim.surrogate.Surrogate`), which `detach_reset=True` leaves out inside the reset. States, weights
and local parameters are plain numbers; where a unit is named, it is that of a state. Time constants are in seconds; the
decays made of them hold for one step of the network's `dt`, {dt} ms below. Weights that a mask leaves out do not exist.

Memory and cost are those of exact RTRL. P is the number of trained parameters that exist, the layer's own and those
below it; density the fraction of recurrent weights that exist; phi the fraction of units with d(event)/d(state) not 0,
which each run counts. A unit with K states has K rows of P numbers, and its K x K matrix `A` costs `n * P` for each
entry that can differ from 0. A layer upon another also takes `K * density_in * phi(below) * n * m * P(below)`, times
its own phi(t) if its units have no memory. Masks under which not every unit reaches every other make all of it less.
Rows are stored in tiles and padded to whole cache lines; `learner.memory` tells the bytes before the first step.

{options}"""


def page():
    """The page, as markdown text that ends with a newline."""
    cells = [(name, lookup("cell", name)) for name in names("cell")]
    both = [*cells, *((f"{name} readout", cls) for name, cls in READOUTS.items())]
    options = _options(Cell, "Options of every cell (`evsim.cell.Cell`), beside those below")
    first = INTRODUCTION.format(dt=f"{1e3 * DT:g}", options=options)
    return "\n".join([first, overview(both), learners(), *(section(cls) for _, cls in both)]).rstrip("\n") + "\n"


def overview(named):
    """A table with one row for each (name, class)."""
    exact = ", ".join(f"{name}: {_yes(lookup('learner', name).exact)}" for name in names("learner"))
    rows = []
    for name, cls in named:
        if issubclass(cls, Layer):
            layer, kinds = cls(N), dict.fromkeys(event_kind(layer) for _, layer in variants(cls))
            told = (", ".join(layer.states), ", ".join(layer.channels), " or ".join(kinds))
            told = (*told, f"`{memory(layer, 4)}`", f"`{cost(layer)}`")
        else:
            told = ("none", "out", "none", "0", "0")
        rows.append((f"[{cls.__name__}](#{cls.__name__.lower()})", f"`{name}`", *told, exact))
    head = ("class", "name", "states", "channels", "event", "bytes of influence, float32", "multiply-adds per step")
    return _table((*head, "exact"), rows)


def learners():
    """A table of the learners: whether each is exact, its memory, its cost."""
    found = [(f"`{name}`", lookup("learner", name)) for name in names("learner")]
    rows = [(name, _yes(cls.exact), cls.memory_claim, cls.cost_claim) for name, cls in found]
    return _table(("learner", "exact", "memory", "multiply-adds per step"), rows)


def section(cls):
    """One class: what it is, its equations with each of its options, parameters, source, memory, cost, options."""
    parts = [f"## {cls.__name__}\n", *_summary(cls)]
    if issubclass(cls, Layer):
        told = {}
        for options, layer in variants(cls):
            told.setdefault(tuple(equations(layer)), []).append(options)
        for lines, given in told.items():
            if len(told) > 1:
                parts.append(f"With {' or '.join(f'`{_call(options)}`' for options in given)}:\n")
            parts.append(_block([*drive(cls(N)), *lines]))
    else:
        parts.append(_block([("out", "W_in x + bias")]))
    parts.append(_table(("parameter", "shape", "at the start", "unit and meaning", "trained"), parameters(cls)))
    if issubclass(cls, Layer):
        layer = cls(N)
        parts.append(fill(f"Source: {layer.source}.", 120) + "\n")
        parts.append(f"Influence: `{memory(layer)}` numbers.\nMultiply-adds per step: `{cost(layer)}`.\n")
        parts.append(_options(cls, "Options"))
    return "\n".join(parts)


def variants(cls):
    """(options, layer of N units) for each value of the fields that change equations, the defaults first."""
    default = {f.name: f.default for f in fields(cls)}
    known = [name for name in OPTIONS if name in default]
    values = [sorted(OPTIONS[name], key=lambda value, first=default[name]: value != first) for name in known]
    found = [dict(zip(known, chosen, strict=True)) for chosen in product(*values)]
    return [(options, cls(N, **options)) for options in found]


def memory(layer, each=1):
    """How much influence a layer holds: numbers, or bytes at `each` a number; letters as on the page."""
    return _held(layer, each * len(layer.states))


def cost(layer):
    """Multiply-adds of RTRL per step: what arrives at the units, and their own rows; letters as on the page."""
    states, entries = len(layer.states), int(links(layer).sum())
    here = () if layer.memory else ("phi(t)",)
    if layer.rec_channels:
        arrives = _times(states, "density", *here, "phi" if layer.memory else "phi(t-1)", "n^2", "P")
    else:
        drawn = ("density_in",) if "density_in" in {f.name for f in fields(layer)} else ()
        arrives = _times(states, *drawn, *here, "phi(below)", "n", "m", "P(below)")
    return f"{arrives} + {_held(layer, entries)}" if layer.memory else arrives


def _held(layer, times):
    """So many times the entries of M for one state of every unit."""
    if layer.rec_channels:
        return _times(times, "n", "P")
    alone = "n * P(below) + P(own)"  # a unit that hears no other of its layer has no entries for their parameters
    return alone if times == 1 else f"{times} * ({alone})"


def parameters(cls):
    """Rows (name, shape, value at the start, meaning, trained) for every parameter of a layer or readout."""
    if issubclass(cls, Cell):
        net, prefix = Network(M, [cls(N)], Readout(1), dt=DT), "layers.0."
    else:
        net, prefix = Network(1, [lookup("cell", names("cell")[0])(M)], cls(N), dt=DT), "readout."
    rows = []
    for full, (shape, _, _) in net.layout.names.items():
        if full.startswith(prefix):
            name = full.removeprefix(prefix)
            sizes = ", ".join(LETTERS.get(size, str(size)) for size in shape) + ("," if len(shape) == 1 else "")
            told = _local(cls, name) if name in getattr(cls, "local", ()) else _shared(cls, name)
            rows.append((f"`{name}`", f"({sizes})", *told))
    return rows


def _shared(cls, name):
    """(value at the start, meaning, trained) of weights or biases; a Readout has no names for its one channel."""
    channels = getattr(cls, "channels", ("out",))
    if name == "bias":
        given = [f"{channel}: {value:g}" for channel, value in getattr(cls, "bias", {}).items()]
        return ", ".join([*given, "others: 0"] if given else "0"), f"bias{_of(channels)}", "always"
    side = "weight_rec" if name == "weight_rec" else "weight_in"  # a readout's is called weight
    symbol, fed, source = SIDES[side]
    fed = [channels[g] for g in getattr(cls, fed, (0,))]
    return "N(0, 1 / fan-in)", f"{symbol}{_of(fed, len(channels))}, {source}", "always"


def _local(cls, name):
    """(value at the start, meaning, trained) of a local parameter."""
    layer = cls(N)
    start = layer.initial_local(name, DT)
    told = " to ".join(f"{value:.4g}" for value in dict.fromkeys((start.min(), start.max())))
    constant = layer.decays.get(name)
    if constant and getattr(layer, name) is None:
        told += f", from `{constant}={np.min(getattr(layer, constant)):g}`"
    if name in layer.trained():
        return told, layer.about[name], f"by default (`learn_{name}`)"
    known = f"learn_{name}" in {f.name for f in fields(cls)}
    return told, layer.about[name], f"with `learn_{name}`" if known else "no"


def _of(channels, among=None):
    return f" of {', '.join(channels)}" if (among or len(channels)) > 1 else ""


def _summary(cls):
    """The first line of the class's file, if it is about that class."""
    line = (sys.modules[cls.__module__].__doc__ or "").partition("\n")[0]
    name, _, told = line.partition(": ")
    return [f"{told[:1].upper()}{told[1:]}\n"] if name == cls.__name__ else []


def _options(cls, title):
    """A paragraph with those fields that are no parameters, where they are not those of every cell."""
    local, decays, common = (), {}, {}
    if cls is not Cell:
        local, decays, common = cls.local, cls.decays, {f.name: f.default for f in fields(Cell)}
    hidden = {"units", *local, *decays.values(), *(f"learn_{name}" for name in local)}
    own = [f for f in fields(cls) if f.name not in hidden and common.get(f.name, MISSING) != f.default]
    if not own:
        return ""
    told = ", ".join(f"`{f.name}={_plain(f.default)}`" for f in own)
    return fill(f"{title}: {told}.", 120, break_on_hyphens=False, break_long_words=False) + "\n"


def _plain(value):
    return f'"{value}"' if isinstance(value, str) else str(value)


def _call(options):
    return ", ".join(f"{name}={_plain(value)}" for name, value in options.items())


def _block(lines):
    width = max(len(name) for name, _ in lines)
    return "\n".join(["```", *(f"{name:<{width}} = {text}" for name, text in lines), "```", ""])


def _table(head, rows):
    lines = [f"| {' | '.join(line)} |\n" for line in (head, *rows)]
    return "".join([lines[0], "|", "---|" * len(head), "\n", *lines[1:]])


def _times(factor, *names):
    return " * ".join([str(factor)] * (factor != 1) + list(names))


def _yes(value):
    return "yes" if value else "no"


def main(argv=None):
    """Print the page, or write it to --out."""
    parser = argparse.ArgumentParser(prog="python -m evsim.describe", description="A page about cells and readouts.")
    parser.add_argument("--out", help="the file to write (default: print)")
    out = parser.parse_args(argv).out
    if out is None:
        print(page(), end="")
    else:
        write_text(out, page())


if __name__ == "__main__":
    main()
