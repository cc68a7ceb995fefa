"""Derivatives of programs: what they give is the Step that kernels write, whatever the cell and its options."""

from dataclasses import replace

import numpy as np
import pytest
from naive import channels
from oracle import KINDS, SURROGATES, learnable, network, record, sequence

import evsim
from evsim import program as p
from evsim.derivative import PSI, differentiate
from evsim.symbols import DETACH, EVENT

OPTIONS = {
    "plain": {}, "detached": {"detach_reset": True}, "always": {"always": True}, **SURROGATES,
}  # fmt: skip
CASES = [(kind, "plain") for kind in KINDS] + [(kind, "detached") for kind in KINDS if KINDS[kind][0].kept]
CASES += [(kind, name) for kind in ("egru", "alif-zero", "evrnn") for name in ("boxcar", "superspike", "wide")]
CASES += [("egru", "always")]


def computed(cell, ops, local, fed, kept):
    """The value of each operation, by what its head says."""
    leaves, values = {p.LOCAL: local, p.CHANNEL: fed, p.KEPT: kept}, []
    done = {
        p.ADD: np.add, p.SUBTRACT: np.subtract, p.MULTIPLY: np.multiply, p.NEGATE: np.negative, p.TANH: np.tanh,
        p.SIGMOID: lambda x: 1 / (1 + np.exp(-x)), EVENT: lambda x: (x > 0).astype(float),
        PSI: lambda x: cell.pseudo.derivative(x),
    }  # fmt: skip
    for op in ops:
        parts = [values[part] for part in op.parts]
        if op.head == p.NUMBER:
            values.append(np.full(cell.units, op.value))
        else:
            values.append(leaves[op.head][op.index] if op.head in leaves else done[op.head](*parts))
    return values


def follow(net, k, steps, change=None):
    """Layer k's program run through what it heard: yields (Step of the kernel, dict of the derivative's values)."""
    cell, place, values = net.stack[k], net.layout.layers[k], net.parameters()
    own = {name: values[given] for name, given in place.names.items()}
    own.setdefault("weight_rec", np.zeros((0, cell.units, cell.units)))
    found, local = differentiate(cell, cell.local), [own[name] for name in cell.local]
    ops = change(found.program.ops) if change else found.program.ops
    kept = [np.zeros(cell.units) for _ in found.program.kept]
    for step in steps:
        got = computed(cell, ops, local, channels(cell, own, step[k].heard, step[k].own), kept)
        kept = [got[place] for place in found.program.kept]
        yield step[k], {
            "y": got[found.program.y],
            **{name: np.array([[got[one] for one in row] for row in getattr(found, name)]).reshape(
                len(cell.states), -1, cell.units).transpose(2, 0, 1) for name in ("A", "B", "C")},
            **{name: np.array([got[one] for one in getattr(found, name)]).reshape(-1, cell.units).T
               for name in ("phi", "D")},
        }  # fmt: skip


def furthest(net, k, steps, change=None):
    """Largest relative difference between the Steps of kernels and of the program, at any step."""
    worst = 0.0
    for t, (step, got) in enumerate(follow(net, k, steps, change)):
        for name, value in got.items():
            truth = getattr(step, name)
            if truth.size and not (name == "A" and t == 0):  # M is 0 then: A multiplies nothing
                worst = max(worst, float((abs(value - truth) / (1 + abs(truth))).max()))
    return worst


@pytest.mark.parametrize(("kind", "option"), CASES, ids=map("-".join, CASES))
def test_derivatives_are_the_steps_that_kernels_write(kind, option):
    options = dict.fromkeys(learnable((kind,), "leaky"), True)
    net = network((kind,), units=(12,), spread=True, readout="leaky", **options, **OPTIONS[option])
    _, steps = record(net, 3.0 * sequence(net, 30))
    assert furthest(net, 0, steps) < 1e-12
    assert furthest(net, 1, steps) < 1e-12  # the leaky readout
    assert any(step[0].phi.any() for step in steps)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_derivative_shows(kind):
    """Controls: an event with something else in place of its pseudo-derivative; 1 - 2 a where 1 - a a belongs."""
    net = network((kind,), units=(12,), spread=True, **dict.fromkeys(learnable((kind,)), True))
    _, steps = record(net, 3.0 * sequence(net, 30))

    def muted(ops):
        return [replace(op, head=p.MULTIPLY, parts=(op.parts[0], zero)) if op.head == PSI else op for op in ops]

    ops = differentiate(net.layers[0]).program.ops
    zero = next((k for k, op in enumerate(ops) if op.head == EVENT), 0)
    assert furthest(net, 0, steps, muted) > 1e-3
    if any(op.head == p.TANH for op in ops):
        def doubled(ops):
            squares = {k for k, op in enumerate(ops) if op.head == p.MULTIPLY and op.parts[0] == op.parts[1]}
            return [replace(op, head=p.ADD) if k in squares else op for k, op in enumerate(ops)]

        assert furthest(net, 0, steps, doubled) > 1e-3


@pytest.mark.parametrize("local", ["all", "trained"])
@pytest.mark.parametrize(("kind", "option"), CASES, ids=map("-".join, CASES))
def test_no_operation_is_done_in_vain(kind, option, local):
    net = network((kind,), readout="leaky", **OPTIONS[option])
    for layer in net.stack:
        found = differentiate(layer, layer.local if local == "all" else None)
        ops = found.program.ops
        assert all(found.program.needed(found.places()))
        assert len(set(ops)) == len(ops) and not any(op.head == DETACH for op in ops)
        assert found.local == (layer.local if local == "all" else layer.trained())


def test_what_is_kept_for_the_next_step():
    """Slopes that are the same number at every step are not kept; nor are those that only untrained numbers need."""
    kept = {
        evsim.LIF(3): 3, evsim.LIF(3, detach_reset=True): 2, evsim.CubaLIF(3): 4, evsim.EvRNN(3): 0,
        evsim.EGRU(3): 3, evsim.EGRU(3, learn_threshold=False): 2, evsim.EGRU(3, always=True, learn_threshold=False): 1,
        evsim.ALIF(3): 5, evsim.LeakyReadout(3, learn_kappa=True): 1,
    }  # fmt: skip
    for layer, wanted in kept.items():
        assert len(differentiate(layer).program.kept) == wanted, layer


def test_an_egru_that_always_speaks_has_no_pseudo_derivative():
    found = differentiate(evsim.EGRU(3, always=True))
    assert not any(op.head in (PSI, EVENT) for op in found.program.ops)
    assert found.program.is_number(found.phi[0], 1) and found.is_zero(found.D[0])


def test_names_that_a_layer_has_not_are_refused():
    with pytest.raises(ValueError, match="no local parameter 'rho'"):
        differentiate(evsim.LIF(3), ["rho"])


def test_a_state_that_never_changes_is_refused():
    class Still(type(evsim.LIF(1))):
        kind = "still"

        def advance(self, m, w, a, q):
            return (q[0],)

    with pytest.raises(ValueError, match="never changes"):
        differentiate(Still(3))
