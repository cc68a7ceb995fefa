"""Work by layer and part: sums, closed forms under full activity and in silence, the way back, updates, sequences."""

import copy

import numpy as np
import pytest
from oracle import KINDS, Stepped, Swept, by_steps, keeps, network, sequence, targets_for
from test_counts import counted, naive_count

import evsim
from evsim.opcount import NAMES, dense_bptt_macs, totals
from evsim.work import PARTS, STORES

LEARNERS = {
    "rtrl": evsim.RTRL, "stepped": lambda net, **more: Stepped(net, block=4, **more),
    "swept": lambda net, **more: Swept(net, block=4, **more), "bptt": evsim.BPTT,
    "tbptt": lambda net, **more: evsim.TBPTT(net, window=5, **more), "snap": evsim.SnAp, "eprop": evsim.EProp,
    "rflo": evsim.RFLO, "uoro": evsim.UORO,
}  # fmt: skip
COUNTED = ("forward", "immediate", "coefficients", "show", "ones_forward", "ones_influence", "ones_gradient", "weights",
           "step_read", "words_read", "words_written", "sent", "read", "gradients", "sequences")  # fmt: skip


def loud(cells, n_in=4, inputs=1.0):
    """A dense network all of whose units speak and are heard at every step, and its inputs, none of them 0."""
    net = evsim.Network(n_in, cells, evsim.Readout(3), seed=1, dtype="float64")
    return net, np.full((40, n_in), inputs) * (1 + 0.01 * np.random.default_rng(0).random((40, 1)) * (inputs != 1))


def words(ops, part, way):
    return {store: one[way] for store, one in ops["parts"][part]["words"].items() if one[way]}


@pytest.mark.parametrize("name", LEARNERS)
def test_parts_and_layers_add_up(name):
    net = network(("egru", "lif"), density=0.5, spread=True)
    learner = LEARNERS[name](net, loss="mse", streams=2, threads=2)
    x, targets = sequence(net, 20, lead=(2,)), targets_for(net, "mse", (2, 20))
    for _ in range(2):
        learner.run(x, targets)
        learner.update(evsim.Adam(1e-3), clip=1.0)
        learner.reset()
    ops = learner.ops
    assert totals(learner.counts).items() <= ops.items()
    assert set(ops["parts"]) == set(PARTS) and set(ops["parts"]["forward"]["words"]) == set(STORES)
    for key in ("multiply_adds", "additions", "unit_updates"):
        assert ops[key] == sum(part[key] for part in ops["parts"].values())
        assert ops[key] == sum(layer[key] for layer in ops["layers"])
    for store in STORES:
        for way in ("read", "written"):
            told = [part["words"][store][way] for part in ops["parts"].values()]
            assert ops["words"][store][way] == sum(told) == sum(one["words"][store][way] for one in ops["layers"])
    for layer in ops["layers"]:
        for part in layer["parts"].values():
            assert 0 <= part["additions"] <= part["multiply_adds"]
    assert [layer["name"] for layer in ops["layers"]] == ["layers.0", "layers.1", "readout"]
    assert ops["sequences"] == 4 and ops["steps"] == 80
    assert ops["parts"]["forward"]["unit_updates"] == 80 * sum(c.units * len(c.states) for c in net.layers)
    stores, memory = ops["stores"], learner.memory
    assert stores["weights"] * 8 == memory["parameters"] and stores["optimizer"] == 2 * net.layout.trained
    scratch, steps = memory["scratch"] // 2, (memory["state"] + memory["steps"]) // 2
    rows = memory.get("influence", 0) // 2
    assert stores["gradients"] == memory["gradients"] // 2 // 8
    assert stores["state"] == (steps if rows else steps + scratch) // 8
    assert stores["influence"] == (rows + scratch if rows else 0) // 8


@pytest.mark.parametrize("fault", COUNTED)
def test_a_wrong_count_is_seen(fault):
    net = network(("egru", "lif"), density=0.6, spread=True)
    x = (sequence(net, 12) > 0).astype(float)
    targets, keep = targets_for(net, "mse", (12,)), keeps(12)["some"]
    learner = evsim.RTRL(net, loss="mse")
    by_steps(learner, x, targets, keep)
    ours = counted(learner)
    assert sum(row[fault] for row in ours) > 0
    assert ours == naive_count(learner, x, targets, keep).total
    assert ours != naive_count(learner, x, targets, keep, fault=fault).total


@pytest.mark.nojit
@pytest.mark.parametrize("n", [3, 6])
def test_full_activity_of_bptt_is_the_dense_closed_form(n):
    """Every step costs what dense BPTT does, but for the first, at which nothing has spoken before."""
    net, x = loud([evsim.EGRU(n, always=True), evsim.EGRU(n + 1, always=True)], inputs=0.3)
    learner = evsim.BPTT(net, loss="mse")
    learner.run(x, np.ones((40, 3)))
    learner.gradient()
    recurrent = 3 * (n * n + (n + 1) ** 2)
    ops = learner.ops
    assert ops["multiply_adds"] == 40 * dense_bptt_macs(net) - 3 * recurrent
    assert ops["dense"]["bptt"] == dense_bptt_macs(net)
    assert ops["unit_updates"] == 3 * 40 * (2 * n + 1)  # forward, derivatives, and on the way back


@pytest.mark.nojit
def test_full_activity_of_rtrl_is_the_closed_form():
    """n^2 P to propagate, as dense RTRL; n P to leak, and to show, beside; after one step, from which nothing flows."""
    n, (net, x) = 5, loud([evsim.EGRU(5, always=True)], inputs=0.3)
    learner, P = evsim.RTRL(net, loss="mse"), net.layout.unit_columns
    learner.run(x[:1], np.ones((1, 3)))
    before = learner.ops
    for t in range(1, 40):
        learner.step(x[t], np.ones(3))
    done = {name: (learner.ops[name] - before[name]) / 39 for name in (*NAMES, "multiply_adds", "additions")}
    tiles = learner._tiles
    assert len(tiles.tile) == 1 and tiles.tile[0, 2] == P
    own = n * (3 * 4 + 3 * n + 4 + 1)
    expected = {
        "forward": n * (3 * 4 + 3 * n) + 3 * n, "propagate": n * n * P, "leak": n * P, "immediate": own,
        "coefficients": n * n * (3 + 1), "weights": n * n * 3, "gradient": n * P + 2 * 3 * n, "sent": 3 * n,
        "read": n * P, "gradients": P + 3 * n, "show": n * P, "rows": n, "words_read": (n * n + 2 * n) * P + own,
        "words_written": 2 * n * P + own, "step_read": own + n * n * 3, "events": n, "phi": n, "steps": 1,
        "ones_forward": 0, "ones_influence": n * 5, "ones_gradient": 0,
    }  # fmt: skip
    assert {name: done[name] for name in expected} == expected
    beside = sum(expected[name] for name in ("leak", "show", "gradient", "immediate", "coefficients"))
    assert done["multiply_adds"] == before["dense"]["rtrl"] + beside


@pytest.mark.nojit
def test_binary_events_and_inputs_of_one_need_additions_alone():
    """LIF units that all speak, inputs of 1: no multiplication forward, nor in the weights' gradients."""
    cell = evsim.LIF(6, half_width=50.0, beta=0.5, mask_rec=np.zeros((6, 6), bool))
    net, x = loud([cell], n_in=2)
    values = net.parameters()
    values["layers.0.bias"][:] = 20
    net.load_parameters(values)
    learner = evsim.BPTT(net, loss="mse")
    learner.run(x, np.ones((40, 3)))
    learner.gradient()
    ops, forward = learner.ops, learner.ops["parts"]["forward"]
    assert ops["events"] == 40 * 6
    assert forward["additions"] == forward["multiply_adds"] == 40 * (6 * 2 + 3 * 6)
    assert ops["ones_gradient"] == 40 * 3 * 6 and ops["gradient"] == 2 * 40 * 3 * 6
    assert ops["ones_influence"] == ops["immediate"] == 40 * 6 * (2 + 1)
    half, _ = learner_of(net, 0.5 * x)
    assert half.ops["parts"]["forward"]["additions"] == 40 * 3 * 6


def learner_of(net, x):
    learner = evsim.BPTT(net, loss="mse")
    return learner, learner.run(x, np.ones((len(x), 3)))


@pytest.mark.parametrize("kind", KINDS)
def test_silence_costs_unit_updates_and_no_events(kind):
    """Without inputs and events no weight is read and nothing flows; what is left follows from the steps alone."""
    net = network((kind,), units=(16,), density=0.5, half_width=0.05)
    values = net.parameters()
    values["layers.0.bias"][:] = 0
    net.load_parameters(values)
    for make in (evsim.RTRL, evsim.BPTT):
        learner = make(net, loss="mse")
        learner.run(np.zeros((20, net.n_in)), np.ones((20, net.n_out)))
        learner.gradient()
        ops, (cell,) = learner.ops, net.layers
        nothing = (
            "forward", "propagate", "gradient", "show", "coefficients", "ones_forward", "ones_gradient", "weights",
            "sums", "back", "sent", "read", "gradients", "events", "phi", "step_written", "update", "kept",
        )  # fmt: skip
        assert {name: ops[name] for name in nothing} == dict.fromkeys(nothing, 0)
        states, own = 16 * len(cell.states), len(cell.channels) + len(cell.trained())
        assert ops["unit_updates"] == 2 * 20 * states
        carried = make is evsim.RTRL and cell.memory
        assert ops["immediate"] == ops["step_read"] == (20 * states * own if carried else 0)
        assert ops["ones_influence"] == ops["immediate"]
        forward = ops["parts"]["forward"]["words"]
        assert forward["weights"]["read"] == 20 * (16 * (len(cell.channels) + len(cell.local)) + net.n_out)
        assert forward["weights"]["written"] == 0


@pytest.mark.nojit
def test_updates_by_layer():
    net = network(("egru", "lif"), density=0.5)
    learner = evsim.RTRL(net, streams=3)
    learner.run(np.ones((3, 5, net.n_in)), np.zeros((3, 5), int))
    before = learner.counts
    learner.update(evsim.SGD(0.1, momentum=0.9))
    done = dict(zip(NAMES, (learner.counts - before).T.tolist()))
    sizes = net.layout.sizes.tolist()
    assert sum(sizes) == net.layout.trained and sizes[-1] == net.n_out * (net.layers[1].units + 1)
    assert done["update"] == done["kept"] == sizes
    assert done["summed"] == [3 * size for size in sizes]
    assert done["optimizer"] == [(1 + 3 + 1) * size for size in sizes]  # momentum; streams; division, norm
    assert words(learner.ops, "update", "written") == {"weights": sum(sizes), "optimizer": sum(sizes)}


@pytest.mark.nojit
@pytest.mark.parametrize("name", ["rtrl", "swept", "bptt"])
def test_counts_survive_checkpoints(name, tmp_path):
    net = network(("egru",), density=0.5)
    learner = LEARNERS[name](net)
    learner.run(sequence(net, 6), np.zeros(6, int))
    evsim.save(tmp_path / "a.npz", net, learner)
    found = evsim.load(tmp_path / "a.npz").learner
    np.testing.assert_array_equal(found.counts, learner.counts)
    found.run(sequence(net, 3), np.zeros(3, int))
    assert found.ops["sequences"] == 1  # it goes on with the same
    found.reset()
    found.step(np.ones(net.n_in))
    assert found.ops["sequences"] == 2
    state = learner.state()
    old = {key: value for key, value in state.items() if key != "fresh"}
    old["counts"] = state["counts"][:, :12]
    other = copy.deepcopy(learner)
    other.load_state(old)
    np.testing.assert_array_equal(other.counts[:, :12], learner.counts[:, :12])
    assert not other.counts[:, 12:].any()
    with pytest.raises(ValueError, match="counts of the learner's state"):
        other.load_state({**old, "counts": state["counts"][:, :11]})


def test_resets_without_steps_begin_no_sequence():
    learner = evsim.BPTT(network(("lif",)), streams=2)
    for _ in range(3):
        learner.reset()
    assert learner.ops["sequences"] == 0
    learner.run(np.zeros((2, 4, learner.net.n_in)))
    learner.reset(streams=1)
    learner.step(np.zeros(learner.net.n_in))
    assert learner.ops["sequences"] == 3
