"""Formats, the one rounding, and tables: properties, and what they give beside exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rational import nearest, rounded, table_value, unit

from evsim.fixed.format import FURTHEST, SCALES, Format, align, common, requantise
from evsim.fixed.table import Table, widest

BITS = st.sampled_from([2, 4, 8, 16, 32])
FRACS = st.integers(*SCALES)
MANTISSAS = st.integers(-(2**62) + 1, 2**62 - 1)
NUMBERS = st.floats(-1e9, 1e9)


@given(MANTISSAS, st.integers(-70, 70), BITS)
@settings(max_examples=500)
def test_requantise_rounds_once_halves_up_and_saturates_symmetrically(m, shift, bits):
    top = 2 ** (bits - 1) - 1
    wanted = max(-top, min(top, nearest(Fraction(m) / Fraction(2) ** shift)))
    if shift > FURTHEST:
        assert abs(Fraction(m) / Fraction(2) ** shift) <= Fraction(1, 2)
        wanted = 0
    assert int(requantise(m, shift, bits)) == wanted


@given(st.lists(MANTISSAS, min_size=2, max_size=9), st.integers(-70, 62), BITS)
@settings(max_examples=200)
def test_requantise_is_monotone(m, shift, bits):
    assert np.all(np.diff(requantise(np.sort(np.array(m, np.int64)), shift, bits)) >= 0)


@given(st.integers(0, 2**61), st.integers(1, 61), BITS)
@settings(max_examples=200)
def test_requantise_is_odd_but_for_halves(m, shift, bits):
    one, other = int(requantise(m, shift, bits)), int(requantise(-m, shift, bits))
    half = m % 2**shift == 2 ** (shift - 1)
    top = 2 ** (bits - 1) - 1
    assert one + other == (1 if half and m >> shift < top else 0)


def test_halves_go_up():
    assert requantise([-3, -1, 1, 3], 1, 8).tolist() == [-1, 0, 1, 2]
    assert Format(8, 0).quantise([-1.5, -0.5, 0.5, 1.5]).tolist() == [-1, 0, 1, 2]


@given(st.floats(0, 1e9), BITS)
@settings(max_examples=300)
def test_a_fitted_format_is_the_finest_that_holds(most, bits):
    top = 2 ** (bits - 1) - 1
    if most > top * 2.0 ** -SCALES[0]:
        with pytest.raises(ValueError, match="bring the parameters into range"):
            Format.fit(most, bits)
        return
    form = Format.fit(most, bits)
    largest = Fraction(form.top) * unit(form)
    assert Fraction(most) <= largest * (1 + Fraction(1, 10**12))
    assert form.frac == SCALES[1] or Fraction(most) * (1 + Fraction(1, 10**12)) > largest / 2


@given(NUMBERS, BITS, FRACS)
@settings(max_examples=300)
def test_quantise_is_nearest_and_value_is_its_inverse(x, bits, frac):
    form = Format(bits, frac)
    m = int(form.quantise(x))
    assert m == rounded(Fraction(x), form) or abs(Fraction(x) / unit(form)) > 2**52
    assert form.value(m) == m * 2.0**-frac and int(form.quantise(form.value(m))) == m


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30), st.sampled_from([4, 8, 16]))
def test_the_best_format_is_no_worse_than_the_one_that_holds_all(values, bits):
    def error(form):
        return ((form.value(form.quantise(values)) - values) ** 2).sum()

    whole = Format.fit(np.abs(values).max(), bits)
    best = Format.best(values, bits)
    assert error(best) <= error(whole) and 0 <= best.frac - whole.frac <= 3


@given(st.sampled_from([16, 32]), FRACS, FRACS, st.data())
@settings(max_examples=300)
def test_aligned_mantissas_stand_for_the_same_numbers(bits, one, other, data):
    forms = Format(bits, one), Format(bits, other)
    frac = common(*forms)
    for form in forms:
        m = data.draw(st.integers(-form.top, form.top))
        found = int(align(np.int64(m), form, frac))
        assert abs(found) < 2**61
        difference = abs(found * Fraction(2) ** -frac - m * unit(form))
        assert difference == 0 or (abs(one - other) > 29 and difference <= Fraction(2) ** -frac / 2)


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("word", ["sigmoid", "tanh"])
@pytest.mark.parametrize("frac", [-24, -3, 0, 4, 5, 6, 7, 8, 11, "widest"])
def test_tables(word, bits, frac):
    """As fractions say; monotone; sigmoid(-x) = 1 - sigmoid(x) and tanh odd, to the bit; near the function itself."""
    form = Format(bits, widest(bits) if frac == "widest" else frac)
    table = Table(word, form)
    size = min(form.top, int(16 * 2.0**form.frac) + 3)
    m = np.unique(np.append(np.linspace(-size, size, 4001).astype(np.int64), [-form.top, -1, 0, 1, form.top]))
    found = table(m)
    some = slice(None, None, 7)
    wanted = [table_value(table, int(one) * unit(form)) / unit(table.out) for one in m[some]]
    assert found[some].tolist() == wanted
    assert np.all(np.diff(found) >= 0)
    whole = 2 ** (bits - 1) if word == "sigmoid" else 0
    assert np.all((found + table(-m))[m != 0] == whole)
    assert int(table(np.int64(0))) == (2 ** (bits - 2) if word == "sigmoid" else 0)
    x = form.value(m)
    right = 1 / (1 + np.exp(-np.clip(x, -700, 700))) if word == "sigmoid" else np.tanh(x)
    error = np.abs(table.out.value(found) - right).max()
    # Straight lines: at most h * h / 8 of the second derivative, 0.0963 and 0.77; the level end; two roundings.
    bend = 2.0 ** (-2 * table.density) / 8 * (0.0963 if word == "sigmoid" else 0.77)
    end = 1 - right[-1] if x[-1] < 6 else np.exp(-12.0) * (2 if word == "tanh" else 1)
    assert error <= bend + min(end, np.exp(-12.0) * 2) + 1.5 * 2.0 ** -(bits - 1)


def test_a_table_with_one_wrong_point_is_noticed(monkeypatch):
    form = Format(16, 10)
    table, m = Table("tanh", form), np.arange(-3000, 3000)
    points = table.points()
    points[40] += 1
    right = table(m)
    monkeypatch.setattr(Table, "points", lambda self: points)
    assert 0 < np.count_nonzero(table(m) != right) < 2 * 2 * 2**5
