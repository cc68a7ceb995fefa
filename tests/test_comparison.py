"""Comparison: figures against a plain loop, exact riders, runs that riders leave alone, refusals, the command line."""

import json
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

import evsim
from evsim.cli import main
from evsim.comparison import Comparison, cosine, name_of, relative_error
from evsim.runfolder import read_toml

N, STEPS, INPUTS, CLASSES = 7, 11, 3, 3
TIMED = ("seconds", "steps_per_second")


def network(readout=evsim.Readout, density=0.6, seed=1):
    layers = [evsim.EGRU(n, density=density, density_in=0.8, half_width=1.0) for n in (6, 5)]
    return evsim.Network(INPUTS, layers, readout(CLASSES), seed=seed, dtype="float64")


def arrays():
    """x, y with a class for each step, lengths that differ, mask."""
    rng = np.random.default_rng(3)
    x, y = 2 * rng.standard_normal((N, STEPS, INPUTS)), rng.integers(0, CLASSES, (N, STEPS))
    return x, y, np.array([11, 4, 7, 11, 9, 5, 8]), rng.random((N, STEPS)) < 0.7


def riders(net, **options):
    return [
        evsim.SnAp(net, n=1, **options), evsim.TBPTT(net, window=1, **options), evsim.TBPTT(net, window=4, **options),
        evsim.UORO(net, **options), evsim.EProp(net, broadcast="random", seed=2, **options), evsim.RFLO(net, **options),
        evsim.EProp(net, broadcast="adaptive", **options), evsim.BPTT(net, **options),
        evsim.RTRL(net, block=7, **options), evsim.SnAp(net, n=11, **options),
    ]  # fmt: skip


def trained(leader=evsim.RTRL, compare=riders, readout=evsim.Readout, streams=3, epochs=2, **options):
    """A Trainer after its epochs."""
    net = network(readout)
    compare = compare and compare(net, streams=streams)
    trainer = evsim.Trainer(leader(net, streams=streams), evsim.SGD(0.05), compare=compare, **options)
    trainer.fit(*arrays(), epochs=epochs)
    return trainer


def untimed(rows):
    return [{name: value for name, value in row.items() if name not in TIMED} for row in rows]


def plain_means(net, leader, others, exact, update, epochs=2):
    """What Trainer should report of each of (leader, *others): one list of dicts per epoch."""
    x, y, lengths, mask = arrays()
    rng, optimizer, everyone, streams = np.random.default_rng(0), evsim.SGD(0.05), [leader, *others], leader.streams
    rows = []
    for _ in range(epochs):
        found = [[] for _ in everyone]
        order = rng.permutation(N)
        for first in range(0, N, streams):
            where = order[first : first + streams]
            longest, told = lengths[where].max(), False
            for one in everyone:
                one.reset(streams=len(where))
            for t in range(longest):
                keep = mask[where, t : t + 1] & (t < lengths[where])[:, None]
                inside = (t < lengths[where])[:, None, None]
                given = np.where(inside, x[where, t : t + 1], 0), np.where(keep, y[where, t : t + 1], 0), keep
                for one in everyone:
                    one.run(*(given if len(where) > 1 else (a[0] for a in given)))
                told = told or keep.any()
                if told and (t + 1 == longest or (update != "sequence" and (t + 1) % update == 0)):
                    truth = exact.gradients()
                    for one, figures in zip(everyone, found, strict=True):
                        figures.append(figures_of(one.gradients(), truth))
                    leader.update(optimizer)
                    for one in others:
                        one.zero_gradients()
                    told = False
        rows.append([[mean([f[k] for f in figures]) for k in range(4)] + [len(figures)] for figures in found])
    return rows


def figures_of(found, truth):
    """[cosine, relative error, cosine of layer 0, of layer 1], None where undefined."""
    groups = [("layers.0", "layers.1"), ("layers.0",), ("layers.1",)]
    pairs = []
    for group in groups:
        names = [name for name in truth if name.startswith(group)]
        pairs.append([np.concatenate([values[name].ravel() for name in names]) for values in (found, truth)])
    angles = []
    for g, e in pairs:
        size = np.sqrt((g**2).sum() * (e**2).sum())
        angles.append((g * e).sum() / size if size else None)
    g, e = pairs[0]
    error = np.sqrt(((g - e) ** 2).sum() / (e**2).sum()) if e.any() else None if g.any() else 0.0
    return [angles[0], error, *angles[1:]]


def mean(values):
    known = [value for value in values if value is not None]
    return sum(known) / len(known)


def test_arithmetic():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 4, 5))
    for scale in (1.0, 1e-200, 1e200):
        assert cosine(a * scale, b) == pytest.approx((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()), rel=1e-12)
        wanted = np.sqrt(((a - b) ** 2).sum() / (b**2).sum())
        assert relative_error(a * scale, b * scale) == pytest.approx(wanted, rel=1e-12)
    assert cosine(a, 3 * a) == pytest.approx(1, abs=1e-15) and cosine(a, -a) == pytest.approx(-1, abs=1e-15)
    assert relative_error(0 * a, a) == 1 and relative_error(a, a) == 0


@pytest.mark.parametrize("bad", [np.zeros(3), np.array([1, np.nan, 2]), np.array([1, np.inf, 2]), np.zeros(0)])
def test_what_is_not_defined(bad):
    good = np.ones(len(bad))
    assert cosine(bad, good) is None and cosine(good, bad) is None
    if bad.any():
        assert relative_error(bad, good) is None and relative_error(good, bad) is None
    else:
        assert relative_error(bad, bad) == 0 and relative_error(good, bad) == (None if len(bad) else 0)


def test_names():
    net = network()
    names = "snap n=1,tbptt window=1,tbptt window=4,uoro,eprop broadcast=random,rflo,eprop broadcast=adaptive,bptt"
    assert [name_of(one) for one in riders(net)] == [*names.split(","), "rtrl block=7", "snap n=11"]
    assert name_of(evsim.RTRL(net)) == "rtrl" and name_of(evsim.EProp(net, seed=3)) == "eprop"
    twice = Comparison(evsim.RTRL(net), [evsim.UORO(net, seed=seed) for seed in range(3)])
    assert list(twice.means()) == ["uoro", "uoro (2)", "uoro (3)"]
    leader = Comparison(evsim.UORO(net), {"uoro": evsim.UORO(net, seed=1), "truth": evsim.BPTT(net)})
    assert list(leader.means()) == ["uoro (2)", "uoro"]


@pytest.mark.parametrize("readout", [evsim.Readout, evsim.LeakyReadout])
@pytest.mark.parametrize(("update", "streams"), [("sequence", 3), (4, 3), (1, 1), ("sequence", 1)])
def test_figures_are_those_of_a_plain_loop(update, streams, readout):
    trainer = trained(update=update, streams=streams, readout=readout)
    net = network(readout)
    others = riders(net, streams=streams)
    leader = evsim.RTRL(net, streams=streams)
    wanted = plain_means(net, leader, others, leader, update)
    assert net.theta.tobytes() == trainer.net.theta.tobytes()
    for row, means in zip(trainer.history, wanted, strict=True):
        assert list(row["compare"]) == [name_of(one) for one in others]
        for found, (angle, error, *layers, updates) in zip(row["compare"].values(), means[1:], strict=True):
            assert found["updates"] == updates > 2
            np.testing.assert_allclose(found["cosine"], angle, rtol=1e-9)
            np.testing.assert_allclose(found["relative_error"], error, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(found["cosine_per_layer"], layers, rtol=1e-9)


@pytest.mark.parametrize("update", ["sequence", 4])
def test_exact_riders_are_exact_and_approximations_are_not(update):
    for row in trained(update=update).history:
        found = row["compare"]
        for name in ("bptt", "rtrl block=7", "snap n=11"):
            assert found[name]["relative_error"] < 1e-10
            assert min(found[name]["cosine"], *found[name]["cosine_per_layer"]) > 1 - 1e-12
        for name in ("tbptt window=1", "snap n=1", "uoro", "rflo"):
            assert found[name]["relative_error"] > 1e-3 and found[name]["cosine"] < 1 - 1e-6
        assert found["tbptt window=1"]["relative_error"] > found["tbptt window=4"]["relative_error"]


def test_a_leader_that_approximates_is_compared_with_the_first_exact_one():
    trainer = trained(evsim.EProp, lambda net, **o: [evsim.TBPTT(net, window=2, **o), *riders(net, **o)[7:]], update=4)
    net = network()
    leader, others = evsim.EProp(net, streams=3), [evsim.TBPTT(net, window=2, streams=3), evsim.BPTT(net, streams=3)]
    wanted = plain_means(net, leader, others, others[1], 4)
    for row, means in zip(trainer.history, wanted, strict=True):
        assert list(row["compare"]) == ["eprop", "tbptt window=2", "rtrl block=7", "snap n=11"]
        for name, (angle, error, *_) in zip(row["compare"], means[:2], strict=False):
            found = row["compare"][name]
            np.testing.assert_allclose([found["cosine"], found["relative_error"]], [angle, error], rtol=1e-9)


@pytest.mark.parametrize("update", ["sequence", 3])
@pytest.mark.parametrize("leader", [evsim.RTRL, evsim.TBPTT, evsim.UORO])
def test_riders_change_nothing(leader, update):
    one, two = trained(leader, update=update), trained(leader, None, update=update)
    assert one.net.theta.tobytes() == two.net.theta.tobytes()
    assert (one.learner.counts == two.learner.counts).all()
    rows = [{name: value for name, value in row.items() if name != "compare"} for row in untimed(one.history)]
    assert rows == untimed(two.history) and "compare" in one.history[0]


@pytest.mark.nojit
def test_progress_carries_the_running_means():
    net, told = network(), []
    trainer = evsim.Trainer(evsim.RTRL(net), evsim.SGD(0.01), update=4, compare={"mine": evsim.SnAp(net)})
    trainer.fit(*arrays(), epochs=1, progress=told.append)
    updates = [one["compare"]["mine"]["updates"] for one in told]
    assert updates == sorted(updates) and updates[0] < updates[-1]
    assert told[-1]["compare"] == trainer.history[0]["compare"]


@pytest.mark.nojit
def test_no_gradient_is_not_judged():
    net = network()
    net.load_parameters({**net.parameters(), "readout.weight": np.zeros((CLASSES, 5))})
    trainer = evsim.Trainer(evsim.RTRL(net), evsim.SGD(1e-300), compare=[evsim.SnAp(net)])
    found = trainer.fit(*arrays(), epochs=1)[0]["compare"]["snap n=1"]
    assert found == {"cosine": None, "relative_error": 0.0, "cosine_per_layer": [None, None], "updates": N}


@pytest.mark.nojit
def test_refusals():
    net, other = network(), network()
    leader = evsim.RTRL(net, streams=2)
    twin = evsim.SnAp(net, streams=2)
    for compare, error, told in [
        ([evsim.SnAp(other, streams=2)], ValueError, "'snap n=1' in compare is on another network: make it on that"),
        ([evsim.SnAp(net, loss="mse", streams=2)], ValueError, "has the loss mse, the learner that trains has cross"),
        ([evsim.SnAp(net, streams=2, quiet=evsim.Quiet(pull=0.1))], ValueError, "that trains has quiet=None"),
        ([evsim.SnAp(net)], ValueError, "carries streams=1, the learner that trains streams=2: give both the same"),
        ([leader], ValueError, "the same learner twice, or the one that trains"),
        ({"a": twin, "b": twin}, ValueError, "the same learner twice"),
        (["snap"], TypeError, "compare holds 'snap': give learners, such as evsim.SnAp"),
        ("snap", TypeError, "compare='snap' is not usable: give a list"),
        ({1: twin}, TypeError, "has the name 1: give strings"),
    ]:
        with pytest.raises(error, match=told) as caught:
            evsim.Trainer(leader, evsim.SGD(0.1), compare=compare)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"no exact gradient to compare with.*: add evsim.RTRL\(net\)"):
        evsim.Trainer(evsim.UORO(net, streams=2), evsim.SGD(0.1), compare=[twin])
    evsim.Trainer(evsim.UORO(net), evsim.SGD(0.1), compare=[])


# Going on


def test_resumed_with_and_without_riders(tmp_path):
    file = tmp_path / "a.npz"
    compare = lambda net: [evsim.SnAp(net, streams=3), evsim.BPTT(net, streams=3)]  # noqa: E731
    whole = trained(compare=lambda net, streams: compare(net), epochs=3, update=4)
    net = network()
    part = evsim.Trainer(evsim.RTRL(net, streams=3), evsim.SGD(0.05), update=4, compare=compare(net))
    part.fit(*arrays(), epochs=2, checkpoint=file)
    for again in (evsim.Trainer.resume(file), evsim.Trainer.resume(file, compare=compare)):
        again.fit(*arrays(), epochs=3)
        assert again.net.theta.tobytes() == whole.net.theta.tobytes()
        assert untimed(again.history)[:2] == untimed(whole.history)[:2]
    assert untimed(again.history) == untimed(whole.history)
    with pytest.raises(TypeError, match="compare must be a function here"):
        evsim.Trainer.resume(file, compare=[])


def test_new_riders_know_how_often_units_have_spoken(tmp_path):
    file, net = tmp_path / "a.npz", network()
    quiet = evsim.Quiet(target=0.1, strength=1.0)
    evsim.Trainer(evsim.RTRL(net, streams=3, quiet=quiet), evsim.SGD(0.05)).fit(*arrays(), epochs=1, checkpoint=file)
    again = evsim.Trainer.resume(file, compare=lambda net: [evsim.BPTT(net, streams=3, quiet=quiet)])
    (found,) = again.fit(*arrays(), epochs=2)[1]["compare"].items()
    assert found[0] == "bptt" and found[1]["relative_error"] < 1e-10


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_resumed_in_mid_sequence_riders_begin_with_the_next_batch(tmp_path):
    file = tmp_path / "a.npz"
    whole = trained(compare=None, update=4)
    stopped = evsim.Trainer(evsim.RTRL(network(), streams=3), evsim.SGD(0.05), update=4)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(*arrays(), epochs=2, checkpoint=file, progress=lambda _: signal.raise_signal(signal.SIGINT))
    again = evsim.Trainer.resume(file, compare=lambda net: [evsim.BPTT(net, streams=3), evsim.TBPTT(net, streams=3)])
    again.fit(*arrays(), epochs=2)
    assert again.net.theta.tobytes() == whole.net.theta.tobytes()
    first, second = (row["compare"]["bptt"] for row in again.history)
    assert 0 < first["updates"] < second["updates"] and max(first["relative_error"], second["relative_error"]) < 1e-10


# The command line

TINY = ["--units", "8", "--streams", "4", "--epochs", "2", "--cell", "egru"]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder of its own as the current one, with own.npz in it."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    y = np.arange(48) % 2
    np.savez("own.npz", x=rng.standard_normal((48, 5, 3)) + y[:, None, None], y=y, lengths=np.arange(48) % 3 + 3)


def train(*argv, code=0):
    assert main(["train", "--data", "own.npz", *TINY, *argv]) == code


def rows_of(folder):
    return [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]


def test_compare_on_the_command_line(own, capsys):
    compare = "snap n=1, tbptt window=2,uoro,eprop broadcast=random,rtrl block=3"
    names = ["snap n=1", "tbptt window=2", "uoro", "eprop broadcast=random", "rtrl block=3"]
    train("--compare", compare, "--update", "2", "--out", "a", "--json")
    shown = capsys.readouterr()
    summary = json.loads(shown.out)
    rows = rows_of("a")
    assert summary["compare"] == rows[-1]["compare"] == json.loads(Path("a/summary.json").read_text())["compare"]
    assert list(rows[0]["compare"]) == names and read_toml("a/config.toml")["compare"] == compare
    exact = rows[0]["compare"]["rtrl block=3"]
    assert exact["cosine"] > 0.999999 and exact["relative_error"] < 1e-4 and exact["updates"] > 10
    assert "  cosine: snap n=1 " in shown.err and "nearness to the exact gradient" in shown.err
    train("--update", "2", "--out", "b")
    one, two = (evsim.load(f"{name}/checkpoint.npz").net.theta.tobytes() for name in "ab")
    assert one == two and "nearness" not in capsys.readouterr().out


def test_compared_with_several_seeds_and_gone_on_with(own, capsys):
    options = ["--learner", "tbptt", "--window", "2", "--compare", "bptt,snap n=2", "--seeds", "0,1"]
    train(*options, "--out", "a", "--epochs", "1")
    assert main(["train", "--resume", "a", "--epochs", "2"]) == 0
    train(*options, "--out", "b")
    rows = [rows_of(f"{name}/seed-1") for name in "ab"]
    assert untimed(rows[0]) == untimed(rows[1])
    found = json.loads(Path("a/summary.json").read_text())
    each = [run["compare"]["snap n=2"]["cosine"] for run in found["runs"]]
    assert list(found["compare"]) == ["tbptt window=2", "snap n=2"]
    assert found["compare"]["snap n=2"]["cosine"] == pytest.approx(sum(each) / 2)
    capsys.readouterr()
    assert main(["train", "--resume", "a", "--epochs", "3", "--compare", "bptt"]) == 2
    assert "contradicts" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "config"),
    [
        (["--learner", "tbptt", "--window", "3"], {"kind": "tbptt", "window": 3}),
        (["--learner", "snap", "--n", "2"], {"kind": "snap", "n": 2}),
        (["--learner", "eprop", "--broadcast", "random", "--seed", "4"], {"broadcast": "random", "seed": 4}),
    ],
)
def test_options_of_learners(own, options, config):
    train(*options, "--out", "r")
    learner = evsim.load("r/checkpoint.npz").learner
    assert config.items() <= {"kind": learner.kind, **learner.config()}.items()


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--window", "3"], "learner 'rtrl' has no option 'window': leave it out or choose another learner"),
        (["--learner", "tbptt", "--block", "3"], "learner 'tbptt' has no option 'block'"),
        (["--learner", "bptt", "--n", "1"], "learner 'bptt' has no option 'n'"),
        (["--learner", "snap", "--n", "0"], "n=0"),
        (["--learner", "eprop", "--broadcast", "randm"], "did you mean 'random'"),
        (["--compare", "snap n=1,snapp"], "compare, 'snapp': learner 'snapp' is unknown"),
        (["--compare", "snap n"], "compare, 'snap n': 'n' is no option: give key=value"),
        (["--compare", "snap n=1.5"], "compare, 'snap n=1.5': n=1.5 is not usable"),
        (["--compare", "snap n=1 n=2"], "an option is there twice"),
        (["--compare", "snap window=2"], "learner 'snap' has no option 'window'"),
        (["--compare", "rtrl epochs=10"], "learner 'rtrl' has no option 'epochs'"),
        (["--compare", "snap streams=2"], "streams cannot be chosen for it alone: leave it out"),
        (["--compare", "uoro,,snap"], "compare, '': learner '' is unknown"),
        (["--compare", "uoro, uoro"], "compare, 'uoro': it is there twice"),
        (["--compare", "uoro", "--learner", "tbptt"], "no exact gradient to compare with"),
    ],
)
def test_the_command_line_refuses_in_one_line(own, capsys, options, told):
    train(*options, code=2)
    shown = capsys.readouterr().err
    assert told in shown and shown.count("\n") == 1
    assert [p.name for p in Path().iterdir()] == ["own.npz"]
