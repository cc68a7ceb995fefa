"""The sparse influence matrix against the plain dense recursion, its structure against powers of the mask graph."""

import numpy as np
import pytest
from beside import beside
from naive import Influence, reach
from oracle import (
    KINDS,
    PAIRS,
    READOUTS,
    SINGLE,
    TRIPLES,
    learnable,
    network,
    sequence,
    speaking,
)

import evsim
from evsim.tiles import SPARE

STACKS = SINGLE + PAIRS + TRIPLES


def empty_rows():
    mask = np.random.default_rng(1).random((8, 8)) < 0.4
    mask[[1, 4]] = False
    mask[:, 6] = False
    return mask


MASKS = {
    "drawn": {},
    "dense": {"mask_rec": np.ones((8, 8), bool)},
    "empty rows": {"mask_rec": empty_rows(), "mask_in": np.arange(32).reshape(8, 4) % 5 == 0},
    "feed-forward": {"mask_rec": np.tri(8, 8, -1, bool)},
    "blocks": {"mask_rec": np.kron(np.eye(2, dtype=bool), np.ones((4, 4), bool))},
    "isolated": {"mask_rec": np.zeros((8, 8), bool)},
    "own loops": {"mask_rec": np.eye(8, dtype=bool)},
    "ring": {"mask_rec": np.roll(np.eye(8, dtype=bool), 1, 0)},
}


def compare(net, steps=12):
    """RTRL beside the dense recursion."""
    return beside(evsim.RTRL(net, loss="mse"), Influence(net), steps)


@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_influence_is_that_of_the_dense_recursion(stack):
    for density, readout in zip((1.0, 0.3), READOUTS):
        options = dict(dict.fromkeys(learnable(stack, readout), True), readout=readout)
        options = dict(options, units=(8, 6, 5), density=density, density_in=density, spread=True)
        compare(speaking(stack, 12, **options))


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("stack", [*SINGLE, *TRIPLES], ids="-".join)
def test_influence_under_unusual_masks(stack, masks):
    options = dict(dict.fromkeys(learnable(stack), True), density=0.5, density_in=0.6, first=MASKS[masks])
    net = speaking(stack, 12, units=(8, 6, 5), spread=True, **options)
    learner = compare(net)
    found = learner.structure().toarray()
    np.testing.assert_array_equal(found, reach(net))
    assert found.dtype == bool
    if masks == "blocks":
        block = np.kron(np.eye(2, dtype=bool), np.ones((4, 4), bool))
        np.testing.assert_array_equal(found[:8, :8], block)
        first = 4 * len(net.layers[0].states)  # rows of the first block
        assert not learner.influence()[first : 2 * first, columns_of(net, range(4))].any()
    if masks == "isolated":
        np.testing.assert_array_equal(found[:8, :8], np.eye(8, dtype=bool))
    if masks == "feed-forward":
        np.testing.assert_array_equal(found[:8, :8], np.tri(8, 8, 0, bool))


def columns_of(net, units):
    """Columns of M that belong to these units."""
    layout = net.layout
    return np.concatenate([np.arange(layout.start[u], layout.start[u] + layout.width[u]) for u in units])


@pytest.mark.parametrize("kind", KINDS)
def test_empty_blocks_take_no_room(kind):
    """Four blocks on the diagonal: a quarter of the pairs, and storage for those alone."""
    units, blocks, size = 128, 4, 32
    block = np.kron(np.eye(blocks, dtype=bool), np.ones((size, size), bool))
    options = dict.fromkeys(learnable((kind,)), True)
    for mask in (np.ones((units, units), bool), block):
        learner = evsim.RTRL(network((kind,), units=(units,), mask_rec=mask, **options))
        pairs = learner.structure()
        np.testing.assert_array_equal(pairs.toarray(), mask)
        entries = int(learner.net.layout.width[pairs.indices].sum()) * len(learner.net.layers[0].states)
        assert entries <= learner.memory["influence"] / 8 <= SPARE * entries
    learner.run(sequence(learner.net, 300), np.zeros(300, int))
    assert learner.structure().nnz == mask.sum()
    M = learner.influence().reshape(units, -1, learner.net.layout.unit_columns)
    assert M.any()
    for k in range(blocks):
        own = columns_of(learner.net, range(k * size, (k + 1) * size))
        assert not np.delete(M, np.arange(k * size, (k + 1) * size), 0)[:, :, own].any()


@pytest.mark.nojit
@pytest.mark.parametrize("kind", KINDS)
def test_small_influence(kind):
    for density, units in ((0.7, (4, 3)), (1.0, (9, 6))):
        compare(network((kind, kind), units=units, density=density, spread=True, half_width=0.6), steps=8)


@pytest.mark.nojit
@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_structure_is_reachability(stack):
    for seed in range(4):
        net = network(stack, units=(12, 9, 7), density=0.12, density_in=0.2, seed=seed)
        np.testing.assert_array_equal(evsim.RTRL(net).structure().toarray(), reach(net))


@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_a_pair_that_is_missing_is_noticed(stack, monkeypatch):
    """Take one reachable pair out of the structure: the same comparison must fail."""
    from evsim import layout

    def short(units, source, target):
        sets_of, sets = real(units, source, target)
        full = max(range(len(sets)), key=lambda s: len(sets[s]))
        cut = [np.delete(s, 1) if i == full else s for i, s in enumerate(sets)]
        return sets_of, cut

    real = layout.reachable
    build = dict(units=(8, 6, 5), density=1.0, spread=True)
    compare(network(stack, **build))
    monkeypatch.setattr(layout, "reachable", short)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        compare(network(stack, **build))
