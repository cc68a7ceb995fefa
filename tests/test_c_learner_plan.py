"""The tables of a learner in C: which entries of M there are, where they lie, and what they are said to take."""

import numpy as np
import pytest
from bundled import network
from oracle import KINDS, PAIRS, all_trained

import evsim
from evsim.emit.learn_model import LearningModel
from evsim.emit.learn_plan import METHODS, plan_learner
from evsim.emit.learn_report import check_ram, learner_footprint, learner_report, multiply_adds
from evsim.fixed.parts import divide

LEARNERS = {"exact": evsim.RTRL, "snap1": evsim.SnAp, "eprop": evsim.EProp}
STACKS = [*PAIRS[:6], ("egru",), ("adlif", "cubalif", "evrnn")]


def entries(plan):
    """Boolean (units, columns): which rows and columns the blocks hold; and for each unit where its own lie in M."""
    blocks, units = plan.blocks, sum(layer.cell.units for layer in plan.layers)
    held, own, at = np.zeros((units, plan.net.layout.unit_columns), bool), {}, 0
    states = np.repeat([layer.states for layer in plan.layers], [layer.cell.units for layer in plan.layers])
    for s, column, width, start in zip(blocks.of, blocks.column, blocks.width, blocks.at):
        assert start == at
        for k in range(len(plan.layers)):
            row = blocks.row[s, k]
            for u in blocks.member[blocks.span[s, k] : blocks.span[s, k + 1]]:
                assert not held[u, column : column + width].any()
                held[u, column : column + width] = True
                own[u, column] = start + row * width, width
                row += states[u]
        at += states[blocks.member[blocks.span[s, 0] : blocks.span[s, -1]]].sum() * width
    assert at == blocks.entries
    return held, own


@pytest.mark.parametrize("method", LEARNERS)
@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_entries_are_those_of_the_learner(stack, method):
    net = all_trained(stack, density=0.2)
    plan, layout = plan_learner(net, method), net.layout
    held, own = entries(plan)
    structure = LEARNERS[method](net).structure().toarray()
    for u in range(layout.units):
        columns = slice(layout.start[u], layout.start[u] + layout.width[u])
        np.testing.assert_array_equal(held[:, columns], np.repeat(structure[:, [u]], layout.width[u], 1))
    for layer, place in zip(plan.layers, layout.layers):
        for i, u in enumerate(range(place.first, place.first + place.units)):
            block = max(b for b in plan.blocks.column if b <= layout.start[u])
            assert own[u, block] == (layer.own[i] + block, layer.stride[i])
    assert plan.base == 0 and plan.trained == layout.trained


@pytest.mark.parametrize("readout", ["linear", "leaky"])
def test_the_readout_alone_leaves_the_layers_as_they_are(readout):
    net = all_trained(("egru", "lif"), readout=readout)
    plan = plan_learner(net, "readout")
    assert plan.trained == sum(net.parameters()[f"readout.{name}"].size for name in names_of(readout))
    assert plan.blocks.entries == (plan.trained if readout == "leaky" else 0)
    assert plan.home == 2


def names_of(readout):
    return ("weight", "bias", "kappa") if readout == "leaky" else ("weight", "bias")


def test_what_is_silent_at_every_step_takes_no_room():
    """Of a LIF: slopes that are numbers, or kept anyway, are not stored; the fewer are trained, the fewer there are."""
    net = network(("lif",))
    (layer,) = plan_learner(net).layers
    assert [layer.names[place] for place in layer.slopes] == ["a00"]
    net = network(("lif",), learn_threshold=True, learn_beta=True)
    (layer,) = plan_learner(net).layers
    assert [layer.names[place] for place in layer.slopes] == ["a00", "c00", "c01"]
    assert len(layer.was) == 1 and plan_learner(net, "eprop").layers[0].was == ()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_footprints_are_those_of_the_struct(kind, method):
    net = all_trained((kind, "egru"), dtype="float32")
    found = learner_footprint(net, method)
    model = LearningModel(divide(net), "model", plan_learner(net, method))
    assert found["ram_bytes"] == model.state_bytes()[0] == sum(found["ram"].values())
    assert found["ram"]["weights"] == found["ram"]["gradient"] == 4 * found["trained"]
    assert found["ram"]["influence"] == 4 * model.plan.blocks.entries
    work = found["multiply_adds"]
    assert work["total"] == sum(work[part] for part in ("forward", "influence", "gradient", "update"))
    assert all(part in learner_report(found) for part in ("influence", METHODS[method]))


def test_multiply_adds_by_hand():
    """A dense EGRU of n units: the leak, what is shown and passed on, own columns; the loss; the update."""
    n, m, o = 5, 3, 2
    net = evsim.Network(m, [evsim.EGRU(n)], evsim.Readout(o))
    found, columns = multiply_adds(plan_learner(net)), n * (3 * m + 3 * n + 5)
    assert found["forward"] == 3 * n * (m + n) + o * n
    assert found["influence"] == columns * (n + n + n * n) + 3 * n * (m + n) + n * 5
    assert found["gradient"] == 2 * o * n + columns * n
    assert found["update"] == 2 * net.layout.trained
    assert multiply_adds(plan_learner(net, "readout"))["influence"] == 0


def test_memory_that_does_not_suffice_is_refused_with_what_the_others_take():
    net = evsim.Network(8, [evsim.EGRU(32, density=0.1)], evsim.Readout(10))
    sizes = {method: learner_footprint(net, method)["ram_bytes"] for method in METHODS}
    assert sizes["exact"] > sizes["snap1"] > sizes["eprop"] > sizes["readout"]
    assert check_ram(net, "exact", "mse", sizes["exact"])["ram_bytes"] == sizes["exact"]
    assert check_ram(net, "exact", "mse", None)["ram_bytes"] == sizes["exact"]
    with pytest.raises(ValueError) as error:
        check_ram(net, "exact", "mse", "64K")
    told = str(error.value)
    assert f"--method exact takes {sizes['exact']:,} bytes of RAM, but --ram allows 65,536" in told
    assert all(f"{method} {sizes[method]:,}" in told for method in ("snap1", "eprop", "readout"))
    with pytest.raises(ValueError, match="no amount of memory"):
        check_ram(net, "exact", "mse", "much")


def test_unknown_methods_and_losses_are_refused():
    net = evsim.Network(2, [evsim.LIF(3)], evsim.Readout(2))
    with pytest.raises(ValueError, match="snap1"):
        plan_learner(net, "snap9")
    with pytest.raises(ValueError, match="cross_entropy"):
        LearningModel(divide(net), "model", plan_learner(net), "hinge")
