"""Programs: a cell's equations as a list of operations give what the equations give."""

import numpy as np
import pytest

import evsim
from evsim import program as p
from evsim.registry import lookup
from evsim.symbols import DETACH, EVENT
from evsim.words import NumpyWords

N = 50
CELLS = {kind: lookup("cell", kind)(N) for kind in evsim.names("cell")} | {
    "egru, always": evsim.EGRU(N, always=True),
    "evrnn, binary": evsim.EvRNN(N, graded=False),
    "leaky readout": evsim.LeakyReadout(N),
    **{f"{kind}, zero": lookup("cell", kind)(N, reset="zero") for kind in ("lif", "cubalif", "alif", "adlif")},
    **{f"{kind}, detached": lookup("cell", kind)(N, detach_reset=True) for kind in ("lif", "egru", "alif")},
}


def computed(program, local, channels, kept):
    """The value of each operation, by what its head says."""
    leaves, values = {p.LOCAL: local, p.CHANNEL: channels, p.KEPT: kept}, []
    done = {
        p.ADD: np.add, p.SUBTRACT: np.subtract, p.MULTIPLY: np.multiply, p.NEGATE: np.negative, p.TANH: np.tanh,
        p.SIGMOID: lambda x: 1 / (1 + np.exp(-x)), EVENT: lambda x: (x > 0).astype(float), DETACH: lambda x: x,
    }  # fmt: skip
    for op in program.ops:
        parts = [values[part] for part in op.parts]
        if op.head == p.NUMBER:
            values.append(np.full(N, op.value))
        else:
            values.append(leaves[op.head][op.index] if op.head in leaves else done[op.head](*parts))
    return values


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_a_program_gives_what_the_equations_give(name, detach):
    cell, rng = CELLS[name], np.random.default_rng(4)
    local = [rng.uniform(0.1, 0.9, N) for _ in cell.local]
    channels, kept = ([rng.normal(0, 1, N) for _ in some] for some in (cell.channels, cell.kept))
    words = NumpyWords(None)
    states = cell.advance(words, tuple(kept), tuple(channels), local)
    wanted = [*states, cell.emit(words, states, local), *cell.keep(words, states, local)]
    program = p.trace(cell, detach)
    values = computed(program, local, channels, kept)
    found = [values[place] for place in (*program.states, program.y, *program.kept)]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-15)
    assert any(op.head == DETACH for op in program.ops) == (detach and ", detached" in name)


def test_what_is_used_twice_is_computed_once():
    program = p.trace(evsim.EGRU(3))
    heads = [op.head for op in program.ops]
    assert (heads.count(p.SIGMOID), heads.count(p.TANH), heads.count(EVENT)) == (2, 1, 1)
    assert len(set(program.ops)) == len(program.ops)


def test_exact_simplifications():
    program = p.Program()
    x, zero, one = program.add(p.CHANNEL), program.number(0), program.number(1)
    assert program.add(p.ADD, x, zero) == program.add(p.MULTIPLY, one, x) == program.add(p.SUBTRACT, x, zero) == x
    assert program.add(p.MULTIPLY, x, zero) == program.add(p.SUBTRACT, x, x) == zero
    negative = program.add(p.SUBTRACT, zero, x)
    assert program.ops[negative].head == p.NEGATE and program.add(p.NEGATE, negative) == x
    assert program.ops[program.add(p.ADD, one, program.number(2.5))].value == 3.5
    assert program.add(p.ADD, x, one) != program.add(p.ADD, x, program.number(2))


def test_what_no_step_changes_and_what_is_needed():
    program = p.trace(evsim.LIF(3))
    constant, op = program.constant(), program.ops
    assert [op[k].head for k in range(len(op)) if constant[k]] == [p.LOCAL, p.LOCAL]
    needed = program.needed([program.states[0]])
    assert not needed[program.y] and needed[program.states[0]]
    assert program.is_binary(program.y) and not program.is_binary(program.states[0])
