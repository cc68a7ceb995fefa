"""The page about cells: it is what the code makes, and its equations are those that the cells run."""

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import evsim.cells.lif
from evsim import describe
from evsim.forward import Forward
from evsim.layer import Layer
from evsim.opcount import LEAK, PROPAGATE, new_count
from evsim.readout import READOUTS, LeakyReadout
from evsim.registry import lookup, names
from evsim.symbols import Symbol, SymbolWords, equations, event_kind, links
from evsim.words import NumpyWords

PAGE = Path(evsim.__file__).resolve().parent.parent / "docs" / "cells.md"
CELLS = {name: lookup("cell", name) for name in names("cell")}
LAYERS = {**CELLS, "leaky readout": LeakyReadout}
CASES = {
    "-".join([name, *map(str, options.values())]): layer
    for name, cls in LAYERS.items()
    for options, layer in describe.variants(cls)
}
every_layer = pytest.mark.parametrize("layer", CASES.values(), ids=CASES)
WORDS = NumpyWords(None)
FUNCTIONS = {"H": WORDS.event, "sigmoid": WORDS.sigmoid, "tanh": WORDS.tanh}


def primed(text):
    """Names with a prime as Python can read them."""
    return re.sub(r"(\w)'", r"\1_before", text)


def evaluated(layer, lines, w, a, q):
    """dict of all values by name, from equations in text and from arrays."""
    known = {**FUNCTIONS, **dict(zip(layer.local, q))}
    known |= {f"{name}_before": value for name, value in zip(layer.kept, w)}
    known |= {f"a_{name}": value for name, value in zip(layer.channels, a)} | ({"a": a[0]} if len(a) == 1 else {})
    for name, text in lines:
        known[name] = eval(primed(text), {"__builtins__": {}}, known)
    return known


def assert_same(layer, lines, seed=0):
    """The text gives what `advance`, `emit` and `keep` give, for random arrays."""
    rng = np.random.default_rng(seed)
    w, a, q = (tuple(rng.standard_normal((len(some), 500))) for some in (layer.kept, layer.channels, layer.local))
    found = evaluated(layer, lines, w, a, q)
    s = layer.advance(WORDS, w, a, q)
    kept = layer.keep(WORDS, s, q)
    wanted = {**dict(zip(layer.states, s)), "y": layer.emit(WORDS, s, q), **dict(zip(layer.kept, kept))}
    for name, truth in wanted.items():
        np.testing.assert_allclose(found[name], truth, rtol=1e-12, atol=1e-12, err_msg=name)
    assert found["y"].any()


@pytest.mark.nojit
def test_the_page_is_what_the_code_makes():
    assert PAGE.read_text(encoding="utf-8") == describe.page(), "docs/cells.md is out of date: run `make docs`"


@pytest.mark.nojit
def test_every_cell_and_readout_has_its_row_and_its_section():
    text, path = describe.page(), "[{0}](#{1})"
    assert text.isascii() and text.endswith("\n") and not text.endswith("\n\n")
    for cls in (*CELLS.values(), *READOUTS.values()):
        assert text.count(f"\n## {cls.__name__}\n") == 1
        assert text.count(path.format(cls.__name__, cls.__name__.lower())) == 1
    for cls in LAYERS.values():
        assert cls.source.split()[0] in text
        for name in ("bias", *cls.local):
            assert f"| `{name}` |" in text.partition(f"## {cls.__name__}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("cls", LAYERS.values(), ids=LAYERS)
def test_every_local_parameter_is_explained(cls):
    assert set(cls.about) == set(cls.local) and all(cls.about.values())
    assert set(cls.decays) <= set(cls.local) and {c for c in cls.decays.values() if c} <= {f.name for f in fields(cls)}


@pytest.mark.nojit
@every_layer
def test_printed_equations_are_those_that_run(layer):
    lines = equations(layer)
    assert_same(layer, lines)
    assert len({name for name, _ in lines}) == len(lines)
    assert set(layer.states) | {"y"} <= {name for name, _ in lines}


@pytest.mark.nojit
@every_layer
def test_a_wrong_equation_is_noticed(layer):
    lines = equations(layer)
    for k, (name, text) in enumerate(lines):
        with pytest.raises(AssertionError):
            assert_same(layer, [*lines[:k], (name, f"1.001 * ({text}) + 0.001"), *lines[k + 1 :]])


@pytest.mark.parametrize("cls", CELLS.values(), ids=CELLS)
def test_what_is_detached_is_written_as_it_is(cls):
    for options, layer in describe.variants(cls):
        assert equations(cls(3, detach_reset=True, **options)) == equations(layer)


def network_of(layer, n=6, **options):
    """A network whose units all hear one another, and whose pseudo-derivative is nowhere zero."""
    config = {name: value for name, value in layer.config().items() if name in ("reset", "graded")}
    if isinstance(layer, LeakyReadout):
        return evsim.Network(3, [evsim.LIF(4, surrogate="superspike")], LeakyReadout(n), dtype="float64")
    return evsim.Network(3, [type(layer)(n, surrogate="superspike", **config)], evsim.Readout(2), dtype="float64")


@every_layer
def test_entries_of_A_are_those_that_kernels_fill(layer):
    net, steps = network_of(layer), 60
    forward = Forward(net, 1, steps)
    forward.x[:] = 3.0 * np.random.default_rng(0).standard_normal(forward.x.shape)
    forward.advance(0, 1, 0, steps, forward.workspace(), new_count(len(net.layers)))
    K, first = len(layer.states), net.layout.layers[-1].first
    np.testing.assert_array_equal(links(layer), (forward.A[0, 2:, first:, :K, :K] != 0).any((0, 1)))


@every_layer
def test_cost_and_memory_are_those_counted(layer):
    """With density and phi 1, one step costs what the page says, to the last multiply-add."""
    net = network_of(layer)
    learner, x = evsim.RTRL(net), np.random.default_rng(1).standard_normal((21, 3))
    learner.run(x[:20])
    before = learner.counts
    learner.run(x[20:])
    (*below, own), place = net.layout.layers, len(net.stack) - 1
    P, lower = net.layout.unit_columns, int(net.layout.width[: own.first].sum())
    known = {"P(below)": lower, "P(own)": P - lower, "phi(below)": 1, "phi(t)": 1, "phi(t-1)": 1, "^": "**"}

    def value(text):
        for name, number in known.items():
            text = text.replace(name, str(number))
        return eval(text, {"n": own.units, "m": sum(b.units for b in below), "P": P, "density": 1, "phi": 1})

    done = (learner.counts - before)[place]
    assert done[PROPAGATE] + done[LEAK] == value(describe.cost(layer))
    assert learner._tiles.entries == value(describe.memory(layer)) + sum(b.units for b in below) * lower


@pytest.mark.nojit
def test_the_page_can_be_printed_and_written(capsys, tmp_path):
    describe.main([])
    assert capsys.readouterr().out == describe.page()
    describe.main(["--out", str(tmp_path / "cells.md")])
    assert (tmp_path / "cells.md").read_text(encoding="utf-8") == describe.page()


@pytest.mark.nojit
def test_the_page_about_new_cells_names_what_there_is():
    text = PAGE.with_name("new_cell.md").read_text(encoding="utf-8")
    declared = [name for name, kind in Layer.__annotations__.items() if "ClassVar" in str(kind)]
    assert len(declared) >= 12 and not [name for name in declared if f"`{name}`" not in text]
    code = Path(evsim.cells.lif.__file__).read_text(encoding="utf-8")
    quoted = re.findall(r"^    (return .*)$", text, re.MULTILINE) + re.findall(r"`(C\[.* = .*)`", text)
    assert len(quoted) == 5 and all(line in code for line in quoted)
    (loop,) = re.findall(r"^for i in range\(n\):\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.partition("#")[0].partition("...")[0].strip() for line in loop.splitlines()]
    assert len(lines) == 15 and all(line in code for line in lines)


# Symbols by themselves

a, b, c = Symbol("a"), Symbol("b"), Symbol("c")


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("found", "text"),
    [
        (a + b * c, "a + b * c"),
        ((a + b) * c, "(a + b) * c"),
        (a - (b - c), "a - (b - c)"),
        (a - b - c, "a - b - c"),
        (a + (b - c), "a + b - c"),
        (a * (b * c), "a * b * c"),
        (1.0 - a, "1 - a"),
        (0.5 * a + 2, "0.5 * a + 2"),
        (np.float64(2.5) * a - 1, "2.5 * a - 1"),
        (-a + b, "-a + b"),
        (-(a + b) * c, "(-(a + b)) * c"),
        (a - -b, "a - (-b)"),
        (a + -2, "a + (-2)"),
        (SymbolWords().event(a - b) * SymbolWords().detach(a + b), "H(a - b) * (a + b)"),
    ],
)
def test_brackets_are_those_that_are_needed(found, text):
    assert str(found) == text


@pytest.mark.nojit
def test_symbols_refuse_what_has_no_text():
    with pytest.raises(TypeError, match="cannot branch"):
        bool(a)
    with pytest.raises(TypeError, match="local parameters, settings and plain numbers"):
        a * np.ones(3)


class Odd:
    """Two states of which the first reads the second, several events, words used twice, one name for two things."""

    channels, in_channels, rec_channels = ("v", "g"), (0,), (1,)
    states, kept, local = ("v", "u"), ("v", "u", "spike", "e"), ("b",)

    def advance(self, m, w, a, q):
        u = -(w[0] - w[1]) * q[0] + (w[3] + (m.tanh(a[1]) - 2.5))
        d = m.sigmoid(m.tanh(u) * m.event(u - q[0]))
        return u + d * d + m.sigmoid(a[0]) - m.detach(w[2]), u

    def emit(self, m, s, q):
        return m.event(s[1] - q[0]) * m.event(s[0])

    def keep(self, m, s, q):
        return s[0], m.detach(s[1]), m.event(s[0]), m.event(s[0] - 0.5) * 2


@pytest.mark.nojit
def test_names_of_an_odd_cell():
    odd = Odd()
    assert equations(odd) == [
        ("g", "tanh(a_g)"),
        ("u", "(-(v' - u')) * b + e' + g - 2.5"),
        ("o1", "H(u - b)"),
        ("h1", "sigmoid(tanh(u) * o1)"),
        ("v", "u + h1 * h1 + sigmoid(a_v) - spike'"),
        ("spike", "H(v)"),
        ("y", "o1 * spike"),
        ("o2", "H(v - 0.5)"),
        ("e", "o2 * 2"),
    ]
    assert_same(odd, equations(odd))
    assert links(odd).tolist() == [[True, False], [True, False]]  # u is kept detached
    assert event_kind(odd) == "graded"


@pytest.mark.nojit
def test_a_kept_value_under_the_name_of_a_state_is_refused():
    class Wrong(Odd):
        def keep(self, m, s, q):
            return s[0] - q[0], s[1], m.event(s[0]), s[0]

    with pytest.raises(ValueError, match="kept 'v' is v - b.*another name"):
        equations(Wrong())
