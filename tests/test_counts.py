"""Counted work: the kernels' counters against plain loops, and against the closed forms."""

from itertools import pairwise

import numpy as np
import pytest
from naive import Counter, forward, loss_and_error
from oracle import (
    FEEDS,
    KINDS,
    PAIRS,
    READOUTS,
    SINGLE,
    SURROGATES,
    TOLERANCE,
    Unrolled,
    at_once,
    keeps,
    learnable,
    network,
    record,
    sequence,
    targets_for,
    worst,
)

import evsim
import evsim.tiles
from evsim.opcount import NAMES, PARTS, dense_rtrl_macs, new_count, totals

STACKS = SINGLE + PAIRS
MASKS = {
    "drawn": {},
    "blocks": {"mask_rec": np.kron(np.eye(3, dtype=bool), np.ones((3, 3), bool))},
    "feed-forward": {"mask_rec": np.tri(9, 9, -1, bool)},
    "isolated": {"mask_rec": np.zeros((9, 9), bool)},
}


def tiles_of(learner):
    """The learner's column tiles, as (columns, units that own them)."""
    tiles = learner._tiles
    owners = [sorted({int(u) for u in tiles.piece[a:b, 0]}) for a, b in zip(tiles.piece_ptr, tiles.piece_ptr[1:])]
    return list(zip(tiles.tile[:, 2].tolist(), owners))


def counted(learner):
    """The learner's counters as a list of dicts, one per layer and one for the readout."""
    return [dict(zip(NAMES, map(int, row))) for row in learner.counts]


def naive_count(learner, x, targets, keep, loss="mse", fault=None):
    """The same work, by naive.Counter."""
    out, steps = record(learner.net, x)
    counter = Counter(learner.net, tiles_of(learner), fault)
    forces = None if learner.quiet is None else forces_of(learner, x, steps)
    for t in range(len(x)):
        error = loss_and_error(loss, out[t], targets[t])[1] if keep[t] else None
        counter.advance(steps[t], error, forces and forces[t])
    return counter


def forces_of(learner, x, steps):
    """For every time step, what pull and event_cost ask of each layer's states: a list of (n, K)."""
    net, quiet, seen = learner.net, learner.quiet, forward(learner.net, x)[1]
    values, margins = net.parameters(), np.split(quiet.margins(net.layers), np.cumsum([c.units for c in net.layers]))
    found = []
    for t in range(len(x)):
        found.append([])
        for k, cell in enumerate(net.layers):
            s, q = seen[k][t][2], [values[f"layers.{k}.{name}"] for name in cell.local]
            above, one = cell.above(s, q), np.eye(len(s))
            along = np.stack([cell.above([v + d for v, d in zip(s, row)], q) - above for row in one], 1).round(9)
            pulled = quiet.pull * (above + margins[k] > 0)[:, None] * along
            found[-1].append(pulled + quiet.event_cost * np.sign(steps[t][k].y)[:, None] * steps[t][k].phi)
    return found


def assert_same_counts(net, x, feed=at_once, quiet=None):
    """Feed x; every counter must be the naive one."""
    targets, keep = targets_for(net, "mse", (len(x),)), keeps(len(x))["some"]
    learner = evsim.RTRL(net, loss="mse", quiet=quiet)
    feed(learner, x, targets, keep)
    counter = naive_count(learner, x, targets, keep)
    for ours, truth in zip(counted(learner), counter.total, strict=True):
        assert ours == truth
    return learner, counter


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_counters_are_those_of_plain_loops(stack, masks):
    for seed, density in ((0, 1.0), (1, 0.3)):
        options = dict(dict.fromkeys(learnable(stack), bool(seed)), first=MASKS[masks], readout=READOUTS[seed])
        net = network(stack, density=density, density_in=density, seed=seed, spread=True, **options)
        learner, _ = assert_same_counts(net, sequence(net, 40, seed), FEEDS[seed])
        ops = learner.ops
        assert min(ops[name] for name in ("forward", "immediate", "rows", "events", "phi")) > 0
        assert ops["multiply_adds"] == sum(ops[part] for part in PARTS)


@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_counters_under_prices(stack):
    """Rows of M read for what units are charged, and rows of units without memory that are computed for that alone."""
    for seed, quiet in enumerate(({"pull": 0.1}, {"event_cost": 0.1}, {"pull": 0.1, "margin": 1.5, "event_cost": 0.1})):
        net = network(stack, density=0.5, seed=seed, readout=READOUTS[seed % 2])
        learner, _ = assert_same_counts(net, sequence(net, 40, seed), FEEDS[seed % 2], evsim.Quiet(**quiet))
        assert learner.penalty > 0


@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_counters_with_many_tiles(stack, monkeypatch):
    """Units whose columns fill more than one tile, under each pseudo-derivative."""
    monkeypatch.setattr(evsim.tiles, "ROW_BYTES", (1024,))
    for surrogate in SURROGATES.values():
        net = network(stack, units=(24, 20), n_in=30, density=0.4, **surrogate)
        learner, _ = assert_same_counts(net, sequence(net, 12))
        assert len(tiles_of(learner)) >= 4


@pytest.mark.nojit
@pytest.mark.parametrize("kind", KINDS)
def test_small_counts(kind):
    net = network((kind, kind), units=(4, 3), density=0.6, spread=True)
    learner, _ = assert_same_counts(net, sequence(net, 5))
    assert learner.ops["steps"] == 5


@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_tiles_hold_every_column_once(stack):
    net = network(stack, units=(24, 20), n_in=30, density=0.2)
    learner = evsim.RTRL(net)
    tiles, reached = tiles_of(learner), learner.structure().tocsc()
    assert sum(columns for columns, _ in tiles) == net.layout.unit_columns
    starts = learner._tiles.tile[:, 1]
    np.testing.assert_array_equal(np.sort(starts), np.cumsum([0, *(c for c, _ in tiles)])[:-1])
    for _, owners in tiles:
        members = {tuple(np.sort(reached.indices[reached.indptr[u] : reached.indptr[u + 1]])) for u in owners}
        assert len(members) == 1


def test_units_without_memory_compute_the_rows_that_speak_and_no_other():
    """EvRNN: a row of M for each unit with phi != 0 and each tile, once the whole matrix is filled."""
    net = network(("evrnn",), units=(64,), density=0.5, seed=3)
    learner, x = evsim.RTRL(net), sequence(net, 100)
    tiles = len(tiles_of(learner))
    learner.run(x[:50])
    before = learner.ops
    learner.run(x[50:])
    rows, phi = (learner.ops[name] - before[name] for name in ("rows", "phi"))
    assert 0 < phi < 50 * 64
    assert rows == phi * tiles
    assert learner.ops["leak"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_silent_network_does_not_propagate(kind):
    """No event, no phi: inputs are all that the forward pass costs, the leak all of the influence; and it is exact."""
    net = network((kind,), units=(16,), density=0.5, half_width=0.05)
    values = net.parameters()
    values["layers.0.bias"][:] = 0
    values["layers.0.weight_in"] *= 1e-3
    net.load_parameters(values)
    x, targets = sequence(net, 20), targets_for(net, "cross_entropy", (20,))
    learner = evsim.RTRL(net)
    learner.run(x, targets)
    ops, (cell,) = learner.ops, net.layers
    assert (ops["events"], ops["phi"], ops["propagate"], ops["gradient"]) == (0, 0, 0, 0)
    assert ops["forward"] == (x != 0).sum() * 16 * len(cell.in_channels)
    assert (ops["leak"] > 0) == cell.memory
    assert (ops["rows"] > 0) == cell.memory
    truth = Unrolled(net, x).gradients("cross_entropy", targets, np.ones(20, bool))
    assert worst(learner.gradients(), truth) <= TOLERANCE
    assert truth["readout.bias"].any()
    assert not truth["layers.0.bias"].any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_silent_network_costs_as_much_per_unit_whatever_its_size(kind):
    """With as many weights to each unit: work per step in proportion to n, neither to n^2 nor to n P."""
    work = {}
    for n in (64, 256):
        ring = np.any([np.roll(np.eye(n, dtype=bool), k, 0) for k in (1, 5, 9)], axis=0)
        net = network((kind,), units=(n,), mask_rec=ring, half_width=0.05)
        values = net.parameters()
        values["layers.0.bias"][:] = 0
        values["layers.0.weight_in"] *= 1e-3
        net.load_parameters(values)
        learner, x = evsim.RTRL(net), sequence(net, 40)
        learner.run(x[:20], np.zeros(20, int))
        before = learner.ops
        learner.run(x[20:], np.zeros(20, int))
        assert learner.ops["events"] == learner.ops["phi"] == 0
        work[n] = learner.ops["multiply_adds"] - before["multiply_adds"]
    assert work[256] <= 1.05 * 4 * work[64]


@pytest.mark.parametrize(("density", "seed"), [(0.2, 0), (0.5, 1), (1.0, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_closed_forms(kind, density, seed):
    """Per step, once M has filled: w phi n^2 P, and P for the leak of each row at which something arrives.

    Without memory w phi_t phi_{t-1} n^2 P.
    """
    n, warm, steps = 64, 100, 60
    net = network((kind,), units=(n,), density=density, seed=seed)
    learner, (cell,) = evsim.RTRL(net), net.layers
    x, K = sequence(net, warm + steps), len(cell.states)
    learner.run(x[:warm])
    before = learner.ops
    learner.run(x[warm:])
    done = {name: (learner.ops[name] - before[name]) / steps for name in ("propagate", "leak", "phi")}
    found = [step for (step,) in record(net, x)[1]][warm - 1 :]
    phi = np.array([step.phi.any(1).mean() for step in found])
    assert done["phi"] == pytest.approx(n * phi[1:].mean())
    assert 0.03 < phi.mean() < 0.95
    w, P = net.masks()["layers.0.weight_rec"][0].mean(), net.layout.unit_columns
    if cell.memory:
        assert done["propagate"] == pytest.approx(K * w * phi[:-1].mean() * n * n * P, rel=0.1)
        if K == 1:
            own = [sum(columns for columns, owners in tiles_of(learner) if i in owners) for i in range(n)]
            leaks, mask = 0, net.masks()["layers.0.weight_rec"][0]
            for before, step in pairwise(found):
                arrives = (mask & before.phi.any(1)).any(1)
                leaks += (step.A[:, 0, 0] != 0) @ np.where(arrives, P, own)
            assert 0 < done["leak"] == pytest.approx(leaks / steps, rel=0.1)
    else:
        assert done["propagate"] == pytest.approx(w * (phi[1:] * phi[:-1]).mean() * n * n * P, rel=0.1)
        assert done["leak"] == 0


@pytest.mark.nojit
def test_streams_are_counted_together():
    net = network(("egru",))
    x, targets = sequence(net, 20, lead=(3,)), targets_for(net, "mse", (3, 20))
    together = evsim.RTRL(net, loss="mse", streams=3, threads=2)
    together.run(x, targets)
    apart = new_count(1)
    for b in range(3):
        learner = evsim.RTRL(net, loss="mse")
        learner.run(x[b], targets[b])
        apart += learner.counts
    np.testing.assert_array_equal(together.counts, apart)
    assert totals(apart).items() <= together.ops.items()
    assert together.ops["steps"] == 60


@pytest.mark.nojit
def test_updates_are_counted():
    net = network(("evrnn",))
    learner = evsim.RTRL(net)
    for _ in range(3):
        learner.step(np.ones(net.n_in), 1)
        learner.update(evsim.SGD(0.1))
    assert learner.ops["update"] == 3 * net.layout.trained


@pytest.mark.nojit
def test_what_dense_rtrl_would_cost():
    """By hand: n^2 P per layer, what comes from below, and the forward pass."""
    net = network(("egru", "evrnn"), units=(5, 3), n_in=2, n_out=4, density=0.3)
    low = 5 * (3 * 2 + 3 * 5 + 4 + 1)
    both = low + 3 * (5 + 3 + 1)
    forward = 5 * (3 * 2 + 3 * 5) + 3 * (5 + 3) + 4 * 3
    assert dense_rtrl_macs(net) == 25 * low + 9 * both + 3 * 5 * low + forward
