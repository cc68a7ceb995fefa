"""Tiles: every reachable pair is stored once, and masks of small parts do not make M large."""

import numpy as np
import pytest

import evsim
from evsim.tiles import ROW_BYTES, SMALL, build_tiles

UNITS = 240


def masks():
    i, j = np.indices((UNITS, UNITS))
    rng = np.random.default_rng(0)
    return {
        "dense": rng.random((UNITS, UNITS)) < 0.1,
        "modules": i // 12 == j // 12,
        "feed-forward": (j < i) & (rng.random((UNITS, UNITS)) < 0.05),
        "chain": j == i - 1,
        "none": np.zeros((UNITS, UNITS), bool),
    }


@pytest.mark.parametrize("name", masks())
def test_influence_holds_little_more_than_its_entries(name):
    net = evsim.Network(5, [evsim.EGRU(UNITS, mask_rec=masks()[name])], evsim.Readout(2))
    learner = evsim.RTRL(net)
    entries = int((learner.structure().T @ np.ones(UNITS)) @ net.layout.width)  # reached units times own columns
    assert learner._tiles.entries == entries
    assert learner.memory["influence"] <= max(SMALL, 1.5 * 4 * entries)


@pytest.mark.parametrize("mask", [np.tri(32, k=-1, dtype=bool), np.eye(32, dtype=bool), np.zeros((32, 32), bool)])
def test_rows_are_no_longer_than_the_longest_tile(mask):
    """What pads a small M: less than a cache line to each row, and what shorter tiles leave."""
    learner = evsim.RTRL(evsim.Network(4, [evsim.LIF(32, mask_rec=mask)], evsim.Readout(2)), streams=32)
    tiles = learner._tiles
    assert tiles.width - tiles.tile[:, 2].max() < 16
    assert learner.memory["influence"] <= 32 * 4 * tiles.rows * (learner.net.layout.width.max() + 15)


def test_width_only_cuts_the_columns_differently():
    net = evsim.Network(5, [evsim.EGRU(20, density=0.2), evsim.EvRNN(9)], evsim.Readout(2), dtype="float64")
    for size in ROW_BYTES:
        tiles = build_tiles(net, net.layout.set_of_unit, net.layout.sets, size // 8)
        assert tiles.tile[:, 2].sum() == net.layout.unit_columns
        assert tiles.tile[:, 2].max() <= tiles.width
        np.testing.assert_array_equal(np.sort(tiles.tile[:, 1])[1:], np.cumsum(tiles.tile[:, 2])[:-1])
