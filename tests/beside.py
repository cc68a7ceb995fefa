"""A learner and the plain dense recursion, side by side: influence at every step, gradients at every update."""

import numpy as np
from naive import loss_and_error
from oracle import TOLERANCE, one_step, sequence, targets_for, worst

import evsim


def dense(naive, net):
    """The naive M as `learner.influence()` shows it: rows of all layers, columns in the order of theta."""
    found = np.concatenate([M.reshape(-1, M.shape[2]) for M in naive.M])
    order = np.zeros(net.layout.unit_columns, int)
    for name, place in naive.place.items():
        _, entries, columns = net.layout.names[name]
        order[columns] = place.ravel()[entries]
    absent = np.ones(found.shape[1], bool)
    absent[order] = False
    assert not found[:, absent].any()
    return found[:, order]


def read_rows(net, steps):
    """Rows of M that will be read again: not those of memory-less units with phi = 0."""
    rows = []
    for cell, step in zip(net.stack, steps):
        rows.append(np.repeat(step.phi.any(1) | cell.memory, len(cell.states)))
    return np.concatenate(rows)


def beside(learner, naive, steps=12, feedback=None, every=None):
    """Run both on the same inputs; compare M at every step, gradients at the end. Returns the learner.

    feedback: from the readout's weights of a step to those that carry its errors down. every: steps after which an
    update changes all weights.
    """
    net, loss, optimizer = learner.net, learner.loss_kind, evsim.SGD(0.05)
    x, targets = sequence(net, steps), targets_for(net, loss, (steps,))
    gradient = {name: np.zeros(g.shape) for name, g in learner.gradients().items()}
    alive = False
    for t in range(steps):
        values = net.parameters()
        if feedback:
            values["readout.weight"] = feedback(values["readout.weight"])
        out = learner.step(x[t], targets[t])
        seen = one_step(net, learner._forward)
        naive.advance(seen, values)
        for name, g in naive.gradient(values, loss_and_error(loss, out, targets[t])[1], seen[-1].y).items():
            gradient[name] += g
        ours, truth, rows = learner.influence(), dense(naive, net), read_rows(net, seen)
        np.testing.assert_allclose(ours[rows], truth[rows], rtol=1e-12, atol=1e-14 * abs(truth).max(), err_msg=f"{t}")
        assert not ours[~rows].any()
        full = every and (t + 1) % every == 0
        if full or t == steps - 1:
            assert worst(learner.gradients(), gradient) <= TOLERANCE
            alive = alive or any(gradient[name].any() for name in naive.place)
        if full:
            learner.update(optimizer)
            gradient = {name: 0 * g for name, g in gradient.items()}
    assert alive
    return learner
