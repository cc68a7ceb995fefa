"""Symbols: a layer's equations as text, from the same three functions that numpy and torch run.

`advance`, `emit` and `keep` are called with `Symbol`s in place of arrays and `SymbolWords` in place of numpy's; what
they return is written out with no more brackets than needed. A prime marks the step before:
`v = beta * (v' - threshold * o') + a`.
"""

from collections import Counter

import numpy as np

EVENT = "H"
DETACH = "detach"  # has a value and no derivative: not written
SIGNS = {"+": 0, "-": 0, "*": 1}  # how tightly each holds together
ATOM = 2


class Symbol:
    """A name, a number or an operation. head: the name, the number, the sign or the word; parts: what it applies to."""

    __array_ufunc__ = None  # numpy's numbers leave the operation to this class

    def __init__(self, head, *parts):
        self.head = head
        self.parts = tuple(part if isinstance(part, Symbol) else Symbol(_number(part)) for part in parts)

    def __add__(self, other):
        return Symbol("+", self, other)

    def __radd__(self, other):
        return Symbol("+", other, self)

    def __sub__(self, other):
        return Symbol("-", self, other)

    def __rsub__(self, other):
        return Symbol("-", other, self)

    def __mul__(self, other):
        return Symbol("*", self, other)

    def __rmul__(self, other):
        return Symbol("*", other, self)

    def __neg__(self):
        return Symbol("-", self)

    def __bool__(self):
        raise TypeError("a cell's equations cannot branch on values: use the words of evsim.words and + - * only")

    def __str__(self):
        return self.written({})

    def written(self, names, own=None):
        """The text, with names[t] for each part whose text is t; `own`: that name is not used."""
        return self._write(names, own)[0]

    def walk(self):
        """This Symbol and all that it is made of, from the left."""
        yield self
        for part in self.parts:
            yield from part.walk()

    def seen(self):
        """This Symbol, or what is detached here."""
        return self.parts[0].seen() if self.head == DETACH else self

    def reads(self):
        """The set of names to which the derivative may differ from zero."""
        if not self.parts:
            return {self.head}
        return set() if self.head == DETACH else set().union(*(part.reads() for part in self.parts))

    @property
    def is_word(self):
        """Whether this is a sigmoid, a tanh or an event."""
        return bool(self.parts) and self.head not in SIGNS and self.head != DETACH

    def _write(self, names, own):
        """(text, how tightly it holds together)."""
        if self.head == DETACH:
            return self.parts[0]._write(names, own)
        if names and self.parts and names.get(str(self), own) != own:
            return names[str(self)], ATOM
        if not self.parts:
            return self.head, 0 if self.head.startswith("-") else ATOM
        told = [part._write(names, own) for part in self.parts]
        if self.is_word:
            return f"{self.head}({told[0][0]})", ATOM
        tight = SIGNS[self.head]
        if len(told) == 1:
            return f"-{_bracketed(*told[0], 1)}", tight
        (left, right), after = told, 1 if self.head == "-" or told[1][0].startswith("-") else tight
        return f"{_bracketed(*left, tight)} {self.head} {_bracketed(*right, after)}", tight


class SymbolWords:
    """The words of `evsim.words` for Symbols; an event is written H(...)."""

    def sigmoid(self, x):
        return Symbol("sigmoid", x)

    def tanh(self, x):
        return Symbol("tanh", x)

    def event(self, x):
        return Symbol(EVENT, x)

    def detach(self, x):
        return Symbol(DETACH, x)


def drive(layer):
    """(name, text) of each channel: what feeds it. W_in and W_rec hold one matrix for each channel that they feed."""
    many, found = len(layer.channels) > 1, []
    sides = (("W_in", layer.in_channels, "x"), ("W_rec", layer.rec_channels, "y'"))
    for g, name in enumerate(channel_names(layer)):
        terms = [f"{w}{[fed.index(g)] if many else ''} {source}" for w, fed, source in sides if g in fed]
        found.append((name, " + ".join([*terms, f"bias{[g] if many else ''}"])))
    return found


def equations(layer):
    """(name, text) in an order in which they can be computed: states, y, and what is kept but is no state.

    An event stands by itself, under the name by which it is kept or as o (o1, o2 where there are several). So does a
    sigmoid or tanh of a channel, by the channel's name, and one that is used twice (h1, h2). ValueError if something
    that is not a state is kept under a state's name.
    """
    states, y, kept = called(layer)
    whole = {}
    for name, found in states.items():
        if found.seen().parts:
            whole.setdefault(str(found), name)
    roots = {name: _with_states(found, whole, name) for name, found in states.items()} | {"y": y}
    for name, found in kept.items():
        if name in roots and str(found) != name:
            raise ValueError(f"kept {name!r} is {found}, and {name!r} is a state or the event: give it another name")
        roots.setdefault(name, found)
    words = _named_words(layer, roots)
    names = {str(found): name for name, found in words.items()}
    out = {}
    for name, found in roots.items():
        if str(found) != name:
            _write_out(name, found, names, {**words, **roots}, out)
    return list(out.items())


def event_kind(layer):
    """ "binary" if y is an event, "graded" if y holds one among other things, "none" if there is no event."""
    y = called(layer)[1].seen()
    if y.head == EVENT:
        return "binary"
    return "graded" if any(part.head == EVENT for part in y.walk()) else "none"


def links(layer):
    """Boolean (K, K): where A = d s_t / d s_{t-1} can differ from zero, by way of what is kept."""
    states, _, kept = called(layer)
    through = {_before(name): found.reads() for name, found in kept.items()}
    reached = [set().union(*(through.get(name, set()) for name in found.reads())) for found in states.values()]
    return np.array([[name in some for name in layer.states] for some in reached])


def called(layer):
    """What the three functions return for Symbols: dict of the states, y, dict of what is kept."""
    words, q = SymbolWords(), [Symbol(name) for name in layer.local]
    w = tuple(Symbol(_before(name)) for name in layer.kept)
    s = tuple(Symbol(name) for name in layer.states)
    states = layer.advance(words, w, [Symbol(name) for name in channel_names(layer)], q)
    kept = dict(zip(layer.kept, layer.keep(words, s, q), strict=True))
    return dict(zip(layer.states, states, strict=True)), layer.emit(words, s, q), kept


def _with_states(found, whole, own=None):
    """`found`, with a state's name in place of each part that is another state's whole equation."""
    if whole.get(str(found), own) != own:
        return Symbol(whole[str(found)])
    return Symbol(found.head, *(_with_states(part, whole, own) for part in found.parts))


def _named_words(layer, roots):
    """Name -> Symbol of the events, sigmoids and tanhs that stand by themselves."""
    uses, words = Counter(), {}
    for found in roots.values():
        _count(found, uses, words)
    channel = dict(zip(channel_names(layer), layer.channels, strict=True))
    taken = {*roots, *layer.local, *channel, "x"}
    named = {str(found): name for name, found in reversed(roots.items()) if name != "y" and str(found) in words}
    events = [text for text, part in words.items() if part.head == EVENT and text not in named]
    for text, part in words.items():
        if text in named:
            continue
        feeds = channel.get(str(part.parts[0]))
        if part.head == EVENT:
            named[text] = _free("o", taken, len(events) == 1)
        elif feeds is not None and feeds not in taken:
            named[text] = feeds
        elif uses[text] > 1:
            named[text] = _free("h", taken, False)
        taken |= {named[text]} if text in named else set()
    return {name: words[text] for text, name in named.items()}


def _count(found, uses, words):
    """Count in how many places each sigmoid, tanh and event is used, what lies inside them once."""
    if found.is_word:
        uses[str(found)] += 1
        words[str(found)] = found
        if uses[str(found)] > 1:
            return
    for part in found.parts:
        _count(part, uses, words)


def _write_out(name, found, names, known, out):
    """Add name -> text to `out`, behind that which it reads."""
    if name in out:
        return
    for part in found.walk():
        other = names.get(str(part), part.head)
        if other != name and other in known and str(known[other]) != other:
            _write_out(other, known[other], names, known, out)
    out[name] = found.written(names, name)


def _free(stem, taken, alone):
    """A name that is not taken: the stem where it stands alone, else with a number."""
    numbered = (f"{stem}{k}" for k in range(1, len(taken) + 2))
    return next(name for name in [*([stem] if alone else []), *numbered] if name not in taken)


def channel_names(layer):
    return [f"a_{name}" for name in layer.channels] if len(layer.channels) > 1 else ["a"]


def _before(name):
    return f"{name}'"


def _bracketed(text, tight, least):
    return text if tight >= least else f"({text})"


def _number(value):
    if not isinstance(value, int | float | np.number):
        raise TypeError(f"{value!r} stands in a cell's equations: use local parameters, settings and plain numbers")
    return str(int(value)) if value == int(value) else repr(float(value))
