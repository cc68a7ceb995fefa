"""The benchmark: it runs and writes its figures, rates are what they are said to be, rivals compute what they should.

Nothing here looks at a time.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import naive
import numpy as np
import pytest

import evsim
from evsim.bench import ceilings, kernel, learn, nets, numpy_rtrl, rivals, scaling, timing
from evsim.bench.record import Record
from evsim.bench.run import SECTIONS, run
from evsim.bench.table import show_bench
from evsim.cli import main

ROOT = Path(evsim.__file__).resolve().parent.parent
ALIVE = {"threshold": 1e-3, "half_width": 100.0, "graded": False}


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """What the command line prints and writes, all sections, at tiny sizes."""
    folder = tmp_path_factory.mktemp("bench")
    command = [sys.executable, "-m", "evsim", "bench", "--quick", "--json", "--out", "found.json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "found.json").read_text())
    assert json.loads(done.stdout) == found
    return found, done.stderr


def test_every_section_is_measured(figures):
    found, shown = figures
    assert found["sections"] == list(SECTIONS) and found["quick"] and found["pinned"]
    assert {group["section"] for group in found["groups"]} == set(SECTIONS)
    assert {claim["section"] for claim in found["claims"]} == set(SECTIONS) - {"startup"}
    words = ("ceilings of one core", "phi-rate", "dense RTRL", "combine, all rows", "that remembers", "block 1: times")
    for word in (*words, "what is to be reached", found["machine"]["cpu"]):
        assert word in shown
    assert found["versions"]["numpy"] == np.__version__ and found["versions"]["evsim"] == evsim.__version__
    assert all(found["ceilings"][f"macs_{place}"] > 0 for place in ("L1", "L2", "L3", "memory"))


def test_every_row_says_what_was_done(figures):
    rows = [row for group in figures[0]["groups"] for row in group["rows"]]
    here = [row for row in rows if row["missing"] is None]
    assert all(row["us_10"] <= row["us"] <= row["us_90"] and row["turns"] >= 1 for row in here)
    assert all(row["us"] is None for row in rows if row["missing"])
    ours = [row for row in here if row["ours"] and row["name"].startswith(("RTRL", "BPTT", "learner", "n="))]
    assert len(ours) > 15
    for row in ours:
        assert row["multiply_adds"] > 0 and row["memory_bytes"] > 0
        assert 0 <= row["activity"] <= row["phi_rate"] <= 1
    for group in figures[0]["groups"]:
        base = next((row for row in group["rows"] if row["name"] == group["base"]), None)
        assert base is None or base["ratio"] in (1, None)


def test_an_unknown_section_is_refused(capsys):
    assert main(["bench", "lern"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "section='lern' is unknown" in told and "did you mean 'learn'" in told


@pytest.mark.parametrize("bad", [["--repeats", "0"], ["--out", "nowhere/found.json"]])
def test_bad_options_are_refused(bad, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "startup", "--quick", *bad]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_what_is_not_installed_says_so(monkeypatch, capsys):
    for package in ("torch", "braintrace"):
        monkeypatch.setitem(sys.modules, package, None)
    for module in rivals.MODULES.values():
        monkeypatch.delitem(sys.modules, module, raising=False)
    found = run(["inference", "influence"], quick=True, repeats=1)
    rows = {row["name"]: row for group in found["groups"] for row in group["rows"]}
    assert rows["norse LIFRecurrent, no_grad"]["missing"] == "torch is not installed"
    assert rows["net.run"]["missing"] is None
    claim = next(claim for claim in found["claims"] if "braintrace" in claim["what"])
    assert claim["value"] is None and claim["met"] is None
    show_bench(found)
    shown = " ".join(capsys.readouterr().out.split())
    assert "torch is not installed" in shown and "not measured" in shown


@pytest.mark.parametrize(("make", "activity", "phi_rate"), [(evsim.EGRU, 0.1, 0.2), (evsim.EvRNN, 0.05, 0.1)])
def test_rates_are_set_by_construction(make, activity, phi_rate):
    """Counted on the slow forward pass, which knows nothing of the kernels' counters."""
    case = nets.build(make(48, density=0.2), activity, phi_rate, steps=200)
    assert abs(case.rates["activity"] - activity) < 0.01 and abs(case.rates["phi_rate"] - phi_rate) < 0.01
    _, (seen,) = naive.forward(case.net, case.x.astype(np.float64))
    y, s = np.array([y for y, _, _ in seen]), np.array([s for _, _, (s,) in seen])
    near = np.abs(s - case.net.parameters()["layers.0.threshold"]) < case.net.layers[0].half_width
    assert abs(np.mean(y != 0) - case.rates["activity"]) < 1e-3
    assert abs(np.mean((y != 0) | near) - case.rates["phi_rate"]) < 1e-3


def test_a_bias_of_z_makes_a_network_remember():
    """What happens in a block reaches its end or not; the note of a claim says which, from counted work."""
    steps, block, notes = 1024, 256, []
    for keep in (0.0, 6.0):
        case = nets.build(evsim.EGRU(24, density=0.5), 0.1, 0.2, steps, keep=keep)
        assert case.net.parameters()["layers.0.bias"][0].mean() == 1 + keep
        assert abs(case.rates["phi_rate"] - 0.2) < 0.02
        learner = evsim.RTRL(case.net, block=block)
        way = timing.Way("ours", learn.one_sequence(learner, case.x, case.y), steps, learner)
        way.turn()
        notes.append(learn.told_block(block, way))
    assert notes == ["block 256, which took no product with M", "block 256"]
    assert learn.told_block(1, way) == "block 1"


def test_a_fan_in_is_exact():
    mask = nets.fan_in_mask(20, 12, 5, seed=0)
    assert mask.shape == (20, 12) and (mask.sum(1) == 5).all() and len(np.unique(mask, axis=0)) > 10
    case = scaling.one_case("EvRNN", 24, 8)
    assert all((mask[0].sum(1) == scaling.FAN_IN).all() for mask in case.net.masks().values())


@pytest.mark.parametrize("maker", [numpy_rtrl.DenseRTRL, numpy_rtrl.CsrRTRL])
@pytest.mark.parametrize("options", [{}, ALIVE], ids=["graded", "alive"])
def test_rivals_in_numpy_are_right(maker, options):
    net, x, y = small(evsim.EvRNN(14, density=0.4, density_in=0.6, **options))
    rival, learner = maker(net), evsim.RTRL(net)
    learner.run(x, y)
    rival.run(x, y)
    assert worst(rival.gradients(), learner.gradients()) < 1e-12
    faulty = maker(net)
    faulty.advance = lambda x, y, phi: maker.advance(faulty, x, y, 0 * phi)  # nothing of the past comes along
    faulty.run(x, y)
    assert worst(faulty.gradients(), learner.gradients()) > 1e-3


@pytest.mark.parametrize("maker", ["cell_of", "fast_cell_of"])
def test_rivals_in_torch_are_right(maker):
    torch_rivals = pytest.importorskip("torch") and pytest.importorskip("evsim.models.rivals")
    net, x, y = small(evsim.EGRU(10, density=0.4))
    learner = evsim.RTRL(net)
    learner.run(x, y)
    turn = getattr(torch_rivals, maker)(net, x, y)
    for _ in range(2):  # a turn leaves nothing for the next
        turn()
    assert worst(gradients(turn.model), learner.gradients()) < 1e-10
    other = getattr(torch_rivals, maker)(net, x, y[::-1].copy())
    other()
    assert worst(gradients(other.model), learner.gradients()) > 1e-3


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # norse, as it is imported
@pytest.mark.parametrize("maker", ["gru", "lsnn", "rleaky"])
def test_rivals_of_other_libraries_learn_every_parameter(maker):
    torch_rivals = pytest.importorskip("torch") and pytest.importorskip("evsim.models.rivals")
    x, y = nets.sequence(12, 3, 60)
    turn = getattr(torch_rivals, maker)(8, 3, 3 * x, y)
    turn()
    for name, parameter in turn.model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_braintrace_is_exact():
    pytest.importorskip("braintrace")
    import jax

    from evsim.models import braintrace_rival

    x, y = nets.sequence(5, 3, 20)
    true = braintrace_rival.by_autodiff(6, 3, x, y)
    for maker in (braintrace_rival.scan, braintrace_rival.stream):
        found = maker(6, 3, x, y)()
        pairs = list(zip(*map(jax.tree.leaves, (found, true)), strict=True))
        assert len(pairs) == 4
        assert all(np.abs(a - b).max() < 1e-5 * np.abs(b).max() for a, b in pairs)


def test_ways_take_turns():
    told, missing = [], timing.Way("z", missing="z is not installed")
    ways = [timing.Way(name, lambda name=name: told.append(name), most=most) for name, most in (("a", None), ("b", 2))]
    rows = timing.take_turns([*ways, missing], 4)
    assert "".join(told) == "ab" + "ababaa"
    assert [row["turns"] for row in rows] == [4, 2, 0]
    assert rows[2]["us"] is None and rows[2]["missing"] == "z is not installed"


def test_a_rival_that_fails_ends_nothing():
    def fail():
        raise RuntimeError("no such kernel\nand more")

    ours = timing.Way("ours", lambda: None)
    rows = timing.take_turns([ours, timing.Way("theirs", fail, ours=False)], 2)
    assert rows[0]["turns"] == 2 and rows[1]["missing"] == "fails with RuntimeError: no such kernel"
    with pytest.raises(RuntimeError, match="no such kernel"):
        timing.take_turns([timing.Way("ours", fail)], 2)
    assert rivals.rival("x", "torch", "no such maker").missing is not None


def test_a_row_counts_what_its_own_turns_did():
    net, x, y = small(evsim.EvRNN(9, density=0.5))
    learner, other = evsim.RTRL(net), evsim.RTRL(net)
    (row,) = timing.take_turns([timing.Way("ours", lambda: learner.run(x, y), len(x), learner)], 3)
    for turn in range(4):
        if turn == 1:
            before = other.ops["multiply_adds"]
        other.run(x, y)
    assert row["multiply_adds"] == (other.ops["multiply_adds"] - before) / (3 * len(x))


def test_claims_are_judged():
    record = Record(True, 1, {}, True)
    for value, relation in ((2.0, ">="), (2.0, "<="), (None, "<=")):
        record.claim("learn", "x", value, relation, 1.5)
    assert [claim["met"] for claim in record.claims] == [True, False, None]


def test_exponents_and_levels():
    assert scaling.exponent([2, 4, 8], [3 * 2**1.5, 3 * 4**1.5, 3 * 8**1.5]) == pytest.approx(1.5)
    sizes = {"L1": 100, "L2": 1000, "L3": 10_000}
    assert [ceilings.level_of(size, sizes) for size in (100, 101, 5000, 20_000)] == ["L1", "L2", "L3", "memory"]


def test_the_kernel_is_timed_on_work_that_is_done():
    """Two steps of a tile, against two products with the matrix of coefficients."""
    rows, columns, edges = 12, 40, 5
    turn, size = kernel.tile_update(rows, columns, edges, steps=2)
    _, Y, ptr, source, coef = turn.args
    assert size == Y.nbytes == 2 * rows * columns * 4
    J = np.zeros((rows, rows))
    for r in range(rows):
        assert (np.diff(source[ptr[r] : ptr[r + 1]]) > 0).all() and ptr[r + 1] - ptr[r] == edges
        J[r, source[ptr[r] : ptr[r + 1]]] = coef[ptr[r] : ptr[r + 1]]
    once = J @ Y[:rows].astype(np.float64)
    turn()
    assert np.abs(Y[rows:] - once).max() < 1e-6 and np.abs(Y[:rows] - J @ once).max() < 1e-6
    sizes = ceilings.SIZES
    for level, rows, columns, edges in kernel.PLACES:
        assert ceilings.level_of(kernel.tile_update(rows, columns, edges, 2)[1], sizes) == level


def test_ceilings_read_memory_that_was_written():
    assert (ceilings.touched(5000) != 0).all()
    least, times = ceilings.BEYOND
    assert ceilings.large_buffer(2**20, free=2**40) == least
    assert ceilings.large_buffer(least, free=2**40) == times * least
    assert ceilings.large_buffer(2**25, free=2**30) == 2**27  # an eighth of what is free
    assert ceilings.large_buffer(2**25, free=2**20) == 2**26  # never what a cache holds
    assert ceilings.large_buffer(2**25) >= 2**26


def test_the_ceiling_is_measured_on_work_that_is_done():
    x, out = np.arange(1, 101, dtype=np.float32), np.zeros(1, np.float32)
    ceilings.squares(x, 2, out)
    assert out[0] == 2 * np.sum(np.arange(1, 101) ** 2)
    a, b, c = np.zeros(8, np.float32), np.arange(8, dtype=np.float32), np.ones(8, np.float32)
    ceilings.triad(a, b, c, np.full(1, 0.5, np.float32))
    assert (a == b + 0.5).all()


def small(cell):
    """A network in float64 and a sequence that makes it speak."""
    net = evsim.Network(7, cell, evsim.Readout(3), seed=3, dtype="float64")
    x, y = nets.sequence(7, 3, 25, seed=1)
    return net, x.astype(np.float64), y


def gradients(model):
    """Those of a TorchNetwork by evsim's names."""
    return {name.replace("/", "."): p.grad.numpy() for name, p in model.named_parameters()}


def worst(found, wanted):
    """The largest error of a gradient relative to its size, over parameters and over weights that exist."""
    return max(
        np.abs(np.where(true != 0, np.reshape(found[name], true.shape), 0) - true).max() / max(np.abs(true).max(), 1e-9)
        for name, true in wanted.items()
    )
