"""The benchmark of counting: what is taken out, and that different weights are not timed."""

from pathlib import Path

import numpy as np
import pytest

from evsim.bench.counting import check, copy_package, strip

SOURCE = """
def kernel(count, level, total, counts):
    for n in range(3):
        total[n] += n
        if n:
            count[level, LEAK] += n
    count[level] += 1
    self._counts[0][:, UPDATE] += total
    count_links(total, count)
    self.count += 1
    counts[0] += 1
    return total
"""


def test_what_counts_is_taken_out_and_nothing_else():
    source, taken = strip(SOURCE)
    assert taken == 4
    assert "LEAK" not in source and "UPDATE" not in source and "count_links" not in source
    for kept in ("total[n] += n", "if n:", "self.count += 1", "counts[0] += 1", "return total"):
        assert kept in source


def test_a_copy_without_counters(tmp_path):
    assert copy_package(tmp_path / "with", False) == 0
    assert copy_package(tmp_path / "without", True) > 60
    one, other = (Path(tmp_path, name, "evsim", "influence.py").read_text() for name in ("with", "without"))
    assert "count[level, LEAK] +=" in one and "count[level" not in other and "def advance" in other
    assert (tmp_path / "without" / "evsim" / "profiles" / "cortex-m4.toml").exists()


def test_different_weights_are_refused():
    weights = {"parameter/a": np.ones(3)}
    full = 1.0, {"macs_per_step": 5.0, "ops": {"multiply_adds": 5}}, weights
    empty = 1.0, {"macs_per_step": 0.0, "ops": {"multiply_adds": 0}}, {"parameter/a": np.ones(3)}
    check(full, empty)
    with pytest.raises(ArithmeticError, match="other weights"):
        check(full, (*empty[:2], {"parameter/a": np.nextafter(np.ones(3), 2)}))
    for one, other in ((full, full), (empty, empty)):
        with pytest.raises(ArithmeticError, match="not taken out, or not in"):
            check(one, other)
