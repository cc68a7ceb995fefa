"""What a learner will take: cost against what is counted, imagined memory against real, block="auto", plans."""

import json

import numpy as np
import pytest
from oracle import KINDS, network

import evsim
from evsim.cli import main
from evsim.cost import BLOCKS, Rates, is_held
from evsim.memory import imagined, parse_bytes, zeros
from evsim.plan import LARGEST, largest, plan

MAKERS = {
    "rtrl": evsim.RTRL,
    "block 32": lambda net, **more: evsim.RTRL(net, block=32, **more),
    "bptt": evsim.BPTT,
    "tbptt": lambda net, **more: evsim.TBPTT(net, window=8, **more),
    "snap": lambda net, **more: evsim.SnAp(net, n=2, **more),
    "eprop": evsim.EProp,
    "rflo": evsim.RFLO,
    "uoro": evsim.UORO,
}
STREAMED = [name for name in MAKERS if name not in ("block 32", "uoro")]
KINDS_OF_STACK = [(kind,) for kind in KINDS] + [("egru", "lif")]


def busy(stack, units=48):
    """A network in which many units speak, its inputs, and classes for every step."""
    options = {"density": 0.3, "density_in": 0.5, "half_width": 0.8, "dtype": "float32", "seed": 3}
    net, rng = network(stack, units=(units, units), n_in=12, n_out=5, **options), np.random.default_rng(0)
    x = rng.standard_normal((300, 12)) * (rng.random((300, 12)) < 0.5)
    return net, x, rng.integers(5, size=300)


@pytest.mark.parametrize("stack", KINDS_OF_STACK, ids="-".join)
def test_expected_work_is_about_what_is_counted(stack):
    """With the rates that were seen; units do not speak independently, so it is not exactly that.

    A reset to zero empties a unit's rows, which costs nothing until something arrives: there it is less.
    """
    net, x, targets = busy(stack)
    for name in STREAMED:
        learner = MAKERS[name](net)
        learner.run(x, targets)
        learner.gradient()
        ops = learner.ops
        unit_steps = ops["steps"] * sum(cell.units for cell in net.layers)
        rates = ops["events"] / unit_steps, ops["phi"] / unit_steps, float((x != 0).mean())
        assert rates[1] > 0.02
        expected, counted = learner.cost(*rates)["total"], ops["multiply_adds"] / ops["steps"]
        if (stack, name) == (("lif-zero",), "snap"):
            assert 0.5 * expected < counted < expected
            continue
        assert expected == pytest.approx(counted, rel=0.35 if name in ("rtrl", "snap") else 0.5), name
        if len(stack) == 1 and name == "rtrl":
            assert expected == pytest.approx(counted, rel=0.2)


def test_cost_follows_the_rates():
    net, *_ = busy(("egru",))
    for name, make in MAKERS.items():
        learner = make(net)
        quiet, loud = learner.cost(0.05, 0.05), learner.cost(0.5, 0.5)
        assert quiet["total"] == quiet["forward"] + quiet["learn"]
        assert 0 < quiet["learn"] < loud["learn"], name
    assert MAKERS["bptt"](net).cost()["learn"] < MAKERS["block 32"](net).cost()["learn"] < learner_cost(net)
    for bad in (-0.1, 1.1, "x", None, float("nan")):
        with pytest.raises(ValueError, match="phi_rate"):
            MAKERS["rtrl"](net).cost(phi_rate=bad)


def learner_cost(net):
    return evsim.RTRL(net).cost()["learn"]


@pytest.mark.parametrize("name", MAKERS)
def test_imagined_memory_is_real_memory(name):
    net, *_ = busy(("alif", "egru"))
    with imagined():
        wanted = MAKERS[name](net, streams=3, threads=2).memory
    assert MAKERS[name](net, streams=3, threads=2).memory == wanted
    with imagined():
        huge = zeros((2**20, 2**20), np.float64)
    assert huge.nbytes == 2**43
    assert zeros(3, np.float64).strides == (8,)


def test_auto_takes_what_is_cheap_within_the_limit():
    net = evsim.Network(32, evsim.EGRU(96, density=0.1), evsim.Readout(10))
    free = evsim.RTRL(net, block="auto")
    assert free.block in BLOCKS and free.config()["block"] == free.block
    limit = evsim.RTRL(net, block=64).memory["total"]
    tight = evsim.RTRL(net, block="auto", memory_limit=limit)
    assert 1 < tight.block <= 64 < free.block
    assert tight.memory["total"] <= limit
    sparse = evsim.Network(4, evsim.LIF(400, mask_rec=np.eye(400, k=1, dtype=bool)), evsim.Readout(2))
    assert evsim.RTRL(sparse, block="auto").block == 1  # next to nothing flows: there is nothing to save
    with pytest.raises(ValueError, match="block=65 needs [0-9,]+ bytes, but memory_limit is [0-9,]+: take block=64 or"):
        evsim.RTRL(net, block=65, memory_limit=limit)
    for block in (1, "auto"):
        with pytest.raises(ValueError, match="memory_limit is 1,000: .*allow more"):
            evsim.RTRL(net, block=block, memory_limit=1000)
    with pytest.raises(ValueError, match="block='often'"):
        evsim.RTRL(net, block="often")


def test_what_is_held_is_held():
    for units, block in ((40, 16), (130, 600)):
        learner = evsim.RTRL(evsim.Network(4, evsim.LIF(units, density=0.1), evsim.Readout(2)), block=block)
        space = learner._spaces[0][-1]
        assert (len(space.hist) == space.groups) == is_held(units, block, 4)
    assert not is_held(130, 6000, 4)


def test_a_plan():
    def make(n):
        return evsim.EGRU(n, density=0.2)

    rows = plan(make, 40, inputs=8, outputs=3, rates=Rates(0.1, 0.2, 0.5), block=16, length=200, memory_limit=2**20)
    by_name = {row["learner"]: row for row in rows}
    assert {"rtrl block=1", "rtrl block=16", "bptt of 200 steps", "snap n=1", "uoro"} <= set(by_name)
    net = evsim.Network(8, make(40), evsim.Readout(3))
    learner = evsim.BPTT(net)
    learner.run(np.zeros((200, 8)))
    assert by_name["bptt of 200 steps"]["bytes"] == learner.memory["total"]
    assert by_name["rtrl block=16"]["bytes"] == evsim.RTRL(net, block=16).memory["total"]
    assert by_name["rtrl block=1"]["multiply_adds"] == round(evsim.RTRL(net).cost(0.1, 0.2, 0.5)["total"])
    for row in rows:
        assert row["microseconds"] > 0
        assert row["fits"] == (row["bytes"] <= 2**20)
        assert (row["largest_units"] >= 40) == row["fits"]
    n = by_name["rtrl block=1"]["largest_units"]
    sizes = [evsim.RTRL(evsim.Network(8, make(k), evsim.Readout(3))).memory["total"] for k in (n, n + n // 20)]
    assert sizes[0] <= 2**20 < sizes[1]
    assert plan(make, 40, block=2)[0]["largest_units"] is None


def test_the_largest_that_fits():
    assert largest(lambda n: n**3, 1_000_000) == 100
    assert largest(lambda n: 7 * n * n + 1000, 10**6) in range(370, 378)
    assert largest(lambda n: n, 10**9) == LARGEST
    assert largest(lambda n: 10 * n, 79) == 7
    assert largest(lambda n: 10 * n, 9) == -1


def test_amounts_of_memory():
    assert [parse_bytes(t) for t in ("4096", "512K", "1.5M", "2GB", "1 GiB")] == [4096, 2**19, 3 * 2**19, 2**31, 2**30]
    for bad in ("", "x", "-1", "1P", "nan"):
        with pytest.raises(ValueError, match="no amount of memory"):
            parse_bytes(bad)


def test_plan_on_the_command_line(capsys):
    options = ["plan", "--units", "24", "--density", "0.2", "--block", "8", "--memory", "8M"]
    assert main([*options, "--json"]) == 0
    shown = capsys.readouterr()
    rows = json.loads(shown.out.splitlines()[-1])["plan"]
    assert [row["learner"] for row in rows][:2] == ["rtrl block=1", "rtrl block=8"]
    assert "rtrl block=8" in shown.err
    for bad in (["--block", "0"], ["--activity", "2"], ["--memory", "much"], ["--cell", "none"], ["--units", "0"]):
        assert main(["plan", *bad]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
