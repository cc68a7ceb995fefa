"""The way back against plain loops: gradients, and the work that is counted; rows side by side by closed forms."""

import numpy as np
import pytest
from naive import loss_and_error, masks_of, names_of
from oracle import (
    KINDS,
    PAIRS,
    READOUTS,
    SINGLE,
    TOLERANCE,
    TRIPLES,
    Swept,
    hidden,
    keeps,
    learnable,
    network,
    pick,
    record,
    sequence,
    speaking,
    targets_for,
    worst,
)

import evsim
from evsim.opcount import (
    BACK,
    COEFFICIENTS,
    IMMEDIATE,
    LEAK,
    ONES_INFLUENCE,
    PROPAGATE,
    STEP_READ,
    STEP_WRITTEN,
    SUMS,
    WEIGHTS,
    WORDS_READ,
    WORDS_WRITTEN,
)

STEPS = 30
COUNTED = [LEAK, PROPAGATE, IMMEDIATE, ONES_INFLUENCE, BACK, WEIGHTS, SUMS, STEP_READ, STEP_WRITTEN]


class Back:
    """Backpropagation over recorded Steps, dense, with the work that a sparse one has to do; fault: a term left out."""

    def __init__(self, net, fault=None):
        self.net, self.fault, self.masks, self.names = net, fault, masks_of(net), names_of(net)
        self.values = net.parameters()
        self.found = {n: np.zeros(v.shape) for n, v in self.values.items() if n not in net.layout.untrained}
        self.count = np.zeros((len(net.stack), len(COUNTED)), int)
        self.lam = [np.zeros((c.units, len(c.states))) for c in net.stack]
        self.eta = [np.zeros(c.units) for c in net.stack]

    def sweep(self, steps, errors):
        """steps: per time step, one Step per layer; errors: d loss / d event of the top layer, or None."""
        for t in range(len(steps) - 1, -1, -1):
            if errors[t] is not None:
                self.eta[-1] += errors[t]
            for k in range(len(self.net.stack) - 1, -1, -1):
                self._layer(k, steps[t], steps[t - 1] if t else None)
        return self.found

    def _layer(self, k, now, before):
        cell, step, (mask_in, mask_rec), names = self.net.stack[k], now[k], self.masks[k], self.names[k]
        propagate, ones, K, G = 0, 0, len(cell.states), len(cell.channels)
        self.lam[k] += self.eta[k][:, None] * step.phi
        self._locals(k, self.eta[k][:, None] * step.D)
        self.eta[k] = np.zeros(cell.units)
        alive = (self.lam[k] != 0).any(1)
        slope = np.einsum("ik,ikg->ig", self.lam[k], step.B)
        if self.fault != "C":
            self._locals(k, np.einsum("ik,ikq->iq", self.lam[k], step.C))
        self.lam[k] = np.einsum("ik,ikc->ic", self.lam[k], step.A)
        immediate = alive.sum() * (G + K * len(cell.trained()))
        leak, ones = alive.sum() * K * K, ones + alive.sum() * G
        self.found[names["bias"]] += slope.T.reshape(self.found[names["bias"]].shape)
        if alive.any():
            past = np.zeros(cell.units, bool) if before is None else before[k].phi.any(1)
            for side, mask, fed, z, below in (
                ("weight_in", mask_in, cell.in_channels, step.heard, None if k == 0 else now[k - 1].phi.any(1)),
                ("weight_rec", mask_rec, cell.rec_channels, step.own, past),
            ):
                if not fed:
                    continue
                weight = self.values[names[side]].reshape(len(fed), cell.units, -1)
                outer = np.stack([np.outer(slope[:, g], z) * mask for g in fed])
                self.found[names[side]] += outer.reshape(self.found[names[side]].shape)
                immediate += len(fed) * mask[:, z != 0].sum()
                ones += len(fed) * mask[:, z == 1].sum()
                if below is not None:
                    eta = np.einsum("fij,if->j", weight, slope[:, list(fed)]) * below
                    propagate += len(fed) * mask[:, below].sum()
                    self.eta[k - 1 if side == "weight_in" else k] += eta
        read = propagate + immediate + leak + alive.sum() * K * (G + 1)  # slopes, A, and lam with its B
        back, written = alive.sum() * K, alive.sum() * (G + K)
        self.count[k] += leak, propagate, immediate, ones, back, propagate, immediate, read, written

    def _locals(self, k, each):
        for q, name in enumerate(self.net.stack[k].local):
            if self.names[k][name] in self.found:
                self.found[self.names[k][name]] += each[:, q]


def case(stack):
    """A network with all parameters trained, inputs, targets, told steps, and by recording: Steps, errors, outputs."""
    readout = pick(READOUTS, *stack)
    options = dict(dict.fromkeys(learnable(stack, readout), True), density=0.4, density_in=0.6, readout=readout)
    net = speaking(stack, STEPS, spread=True, **options)
    x, targets, keep = sequence(net, STEPS), targets_for(net, "mse", (STEPS,)), keeps(STEPS)["some"]
    out, steps = record(net, x)
    errors = [loss_and_error("mse", out[t], targets[t])[1] if keep[t] else None for t in range(STEPS)]
    if readout == "linear":
        weight = net.parameters()["readout.weight"]
        moving = [steps[t][-1].phi.any(1) for t in range(STEPS)]
        errors = [None if e is None else (e @ weight) * m for e, m in zip(errors, moving)]
    return net, x, targets, keep, steps, errors


@pytest.mark.parametrize("stack", SINGLE + PAIRS + TRIPLES, ids="-".join)
def test_the_way_back_is_that_of_plain_loops(stack):
    net, x, targets, keep, steps, errors = case(stack)
    learner, naive = evsim.BPTT(net, loss="mse"), Back(net)
    learner.run(x, targets, keep)
    before = learner.counts
    wanted = naive.sweep(steps, errors)
    found = learner.gradients()
    layers = [name for name in wanted if not name.startswith("readout") or len(net.stack) > len(net.layers)]
    assert worst({n: found[n] for n in layers}, {n: wanted[n] for n in layers}) <= TOLERANCE
    done = (learner.counts - before)[: len(net.stack), COUNTED]
    np.testing.assert_array_equal(done, naive.count)
    assert naive.count.min(0).max() > 0


def test_a_fault_in_the_plain_loops_is_seen():
    for stack in (("lif",), ("egru", "lif")):
        net, _, _, _, steps, errors = case(stack)
        right, wrong = Back(net).sweep(steps, errors), Back(net, "C").sweep(steps, errors)
        assert worst(hidden(wrong), hidden(right)) > 1e-3


@pytest.mark.parametrize("kind", ["egru", "lif", "evrnn"])
def test_the_work_of_rows_side_by_side(kind):
    """rows * (edges heard + units that remember + own inputs) for each step, and the product."""
    assert kind in KINDS
    net = network((kind,), units=(20,), density=0.3, density_in=0.5, seed=1)
    mask_in, mask_rec = masks_of(net)[0]
    cell, x = net.layers[0], sequence(net, 24)
    _, steps = record(net, x)
    learner = Swept(net, block=12)
    learner.run(x[:12])
    trained = len(cell.channels) + len(cell.trained())
    columns = net.layout.width.sum()
    for block in range(2):
        before = learner.counts
        learner._finish(0, 1, 12, 0)
        learner._open = 0
        found = (learner.counts - before)[0]
        here = [steps[t][0] for t in range(12 * block, 12 * block + 12)]
        past = [steps[t - 1][0].phi.any(1) if t else np.zeros(20, bool) for t in range(12 * block, 12 * block + 12)]
        wanted = [np.ones(20, bool) if cell.memory else step.phi.any(1) for step in here]
        rows = wanted[-1].sum()
        edges = sum(int(mask_rec[w][:, p].sum()) for w, p in zip(wanted, past))
        own = sum(
            len(cell.in_channels) * mask_in[w][:, s.heard != 0].sum()
            + len(cell.rec_channels) * mask_rec[w][:, s.own != 0].sum() + w.sum() * trained
            for w, s in zip(wanted, here)
        )  # fmt: skip
        product = found[PROPAGATE] - rows * edges
        assert found[IMMEDIATE] == rows * own
        assert found[LEAK] == rows * sum((step.A != 0).sum() for step in here) * cell.memory
        assert found[COEFFICIENTS] == found[WEIGHTS] == edges * len(cell.rec_channels)
        if block == 0:
            assert product == 0
            operands = found[PROPAGATE] + found[LEAK] + found[IMMEDIATE]
            assert operands < found[WORDS_READ] <= operands + rows * columns
            assert rows * columns < found[WORDS_WRITTEN] or not cell.memory
            learner.run(x[12:])
        else:
            assert 0 < product <= rows * 20 * columns
    assert edges > 0
