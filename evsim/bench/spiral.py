"""The spiral experiment of Subramoney (arXiv:2303.05641): what sparsity in activity and in parameters saves.

One EGRU layer reads spirals and is trained by exact RTRL as there: Adam at 3e-3, batches of 32, weights that change
between sequences, the readout read at the last step alone. Recurrent weights are left out at random, of each of the
three gates for itself; the input's all exist. The author counts how much of d y/d W_rec is not zero (`probe`), and adds
that up over iterations; here multiply-adds and seconds are beside it.

Other than there: the split has no sequence twice; the negligible trace before the gates (0.001) is left out; a
threshold is trained itself, not through a sigmoid. Gates share a mask in evsim, so it has the weights of any of the
three, and those that are absent in one are held at 0 in it, as is the bias that the author's cell does not have.
"""

import time
from typing import Any

import numpy as np

from evsim.evaluate import evaluate
from evsim.network import Network
from evsim.opcount import dense_rtrl_macs
from evsim.optim import Adam
from evsim.quiet import as_quiet
from evsim.readout import Readout
from evsim.registry import lookup
from evsim.task import Data

BATCH, ITERATIONS, RATE = 32, 1700, 3e-3
LEVELS = tuple(k / 10 for k in range(10))  # parts of the recurrent weights that are absent
SEEDS = (0, 1, 2, 3, 4)
EVERY = 20  # iterations between two looks
PROBED = 8  # sequences that are looked at
SMOOTH = 10  # batches over which the loss is a mean
REACHED = 0.1  # a loss that counts as learned
NOTHING = 1e-8  # what the author takes for 0
AUTHOR = {  # read off the author's figures: means of five seeds, at 0, 10, ..., 90 % of weights absent
    "sparsity of M, end": (0.569, 0.614, 0.650, 0.707, 0.740, 0.763, 0.823, 0.869, 0.915, 0.967),
    "activity sparsity, end": (0.62, 0.59, 0.59, 0.61, 0.62, 0.55, 0.57, 0.57, 0.55, 0.58),
    "iterations": (491, 506, 534, 622, 583, 608, 651, 675, 870, 1022),
    "compute-adjusted": (106, 99, 92, 96, 76, 62, 48, 35, 29, 13.4),
    "always, iterations": (274, 320, 331, 391, 363, 441, 462, 579, 547, 681),
    "always, compute-adjusted": (244, 255, 224, 238, 190, 191, 158, 149, 90, 50),
}


def paper_network(absent, seed, always=False, units=16):
    """(the network with the author's initial values, boolean places of theta that are held at 0)."""
    rng = np.random.default_rng([seed, round(100 * absent)])
    gates = rng.random((3, units, units)) >= absent
    threshold = 1 / (1 + np.exp(1 - rng.standard_normal(units)))
    cell = lookup("cell", "egru")(units, mask_rec=gates.any(0), half_width=1.0, threshold=threshold, always=always)
    net = Network(2, cell, Readout(1), seed=seed)
    values, reach = net.parameters(), 1 / np.sqrt(units)
    shape = values["layers.0.weight_in"].shape
    values["layers.0.weight_in"] = rng.standard_normal(shape) * np.sqrt(2 / (3 * units + 2))
    shape = values["layers.0.weight_rec"].shape
    values["layers.0.weight_rec"] = rng.standard_normal(shape) * np.sqrt(2 / (4 * units)) * gates
    values["layers.0.bias"] = rng.uniform(-reach, reach, (4, units)) * [[1], [1], [1], [0]]
    for name in ("readout.weight", "readout.bias"):
        values[name] = rng.uniform(-reach, reach, values[name].shape)
    net.load_parameters(values)
    held = np.zeros(net.layout.trained, bool)
    kept = {name: np.ones(value.shape, bool) for name, value in values.items()}
    kept["layers.0.weight_rec"], kept["layers.0.bias"][3] = gates, False
    for name, (_, dense, places) in net.layout.names.items():
        held[places] = ~kept[name].ravel()[dense]
    return net, held


def probe(net, held, x, streams=PROBED):
    """What is zero in the influence, on sequences x (N, T, 2): the author's measure, and two that are stricter.

    sparsity: of d y_t/d W_rec over all steps, units and recurrent weights of all gates, absent ones among them, below
    1e-8; carried: of d c_t/d parameter over the parameters that exist, exactly 0; activity: of units that are silent.
    """
    learner, units = lookup("learner", "rtrl")(net, loss="binary_cross_entropy", streams=streams), net.layers[0].units
    places = net.layout.names["layers.0.weight_rec"][2]
    live = np.zeros(net.layout.unit_columns, bool)
    live[places] = True
    live &= ~held[: net.layout.unit_columns]
    exist = ~held[: net.layout.unit_columns]
    shown = carried = silent = 0
    for t in range(x.shape[1]):
        learner.step(x[:streams, t])
        forward, slot = learner._forward, learner._open
        for b in range(streams):
            M = learner.influence(b)
            shown += int((np.abs(forward.phi[b, slot, :, :1] * M[:, live]) > NOTHING).sum())
            carried += int((M[:, exist] != 0).sum())
            silent += int((forward.y[b, slot] == 0).sum())
    size = streams * x.shape[1] * units
    return {
        "sparsity": 1 - shown / (size * 3 * units**2), "carried": 1 - carried / (size * int(exist.sum())),
        "silent": silent / size,
    }  # fmt: skip


def train_paper(absent, seed, always=False, units=16, iterations=ITERATIONS) -> dict[str, Any]:
    """One run as the author's; see `train`."""
    net, held = paper_network(absent, seed, always, units)
    found = train(net, seed, iterations, RATE, held=held, probed=True)
    return {"absent": absent, "seed": seed, "always": always, "units": units, **found}


def train_ours(
    name, seed, options, rate=RATE, iterations=ITERATIONS, quiet=None, units=16, learner="rtrl"
) -> dict[str, Any]:
    """One run of a layer with `options` of EGRU and prices of `evsim.Quiet`, from evsim's own initial values.

    Among options may be `blocks`: into how many groups that do not hear one another the units are divided.
    """
    given = dict(options)
    if "blocks" in given:
        blocks = given.pop("blocks")
        given["mask_rec"] = np.kron(np.eye(blocks, dtype=bool), np.ones((units // blocks,) * 2, bool))
    net = Network(2, lookup("cell", "egru")(units, **given), Readout(1), seed=seed)
    found = train(net, seed, iterations, rate, quiet=quiet, enough=True, learner=learner)
    return {"name": name, "seed": seed, "units": units, "options": options, "rate": rate, **found}


def train(
    net, seed, iterations, rate, held=None, probed=False, quiet=None, enough=False, learner="rtrl"
) -> dict[str, Any]:
    """Train, and note every 20 iterations how far it is and what it has cost.

    held: places of theta that stay at 0. probed: look at the influence as well. enough: stop when it is learned, which
    is when the mean loss of ten batches is below 0.1 and 99.5 % of 500 validation sequences are told apart. learner:
    "bptt" gives the same gradients and other counts.
    """
    task = lookup("task", "spiral")()
    data, spare = task.split("train"), Data(*(part[:500] for part in task.split("validation")[:2]))
    rng, losses, rows = np.random.default_rng([seed, 1]), [], []
    learner = lookup("learner", learner)(net, loss="binary_cross_entropy", streams=BATCH, quiet=as_quiet(quiet))
    optimizer, order, seconds = Adam(rate), np.zeros(0, int), 0.0
    steps, keep = data.x.shape[1], np.arange(data.x.shape[1]) == data.x.shape[1] - 1
    keeps = np.broadcast_to(keep, (BATCH, steps))
    targets = np.zeros((BATCH, steps, 1), net.dtype)
    reached, learned = None, None
    for k in range(iterations + 1):
        if k % EVERY == 0:
            loss = float(np.mean(losses[-SMOOTH:])) if losses else None
            right = evaluate(net, spare, "binary_cross_entropy")["accuracy"]
            found = probe(net, np.zeros(net.layout.trained, bool) if held is None else held, data.x) if probed else {}
            rows.append({"iteration": k, "loss": loss, "accuracy": right, **_spent(learner, seconds), **found})
            if learned is None and loss is not None and loss < REACHED and right >= 0.995:
                learned = rows[-1]
                if enough:
                    break
        if k == iterations:
            break
        if len(order) < BATCH:
            order = rng.permutation(len(data.x))
        where, order = order[:BATCH], order[BATCH:]
        began = time.perf_counter()
        learner.reset()
        targets[:, -1] = data.y[where]
        learner.run(data.x[where], targets, keeps)
        losses.append(learner.loss / BATCH)
        learner.update(optimizer)
        if held is not None:
            net.trained[held] = 0
            net.project()
        seconds += time.perf_counter() - began
        if reached is None and len(losses) >= SMOOTH and np.mean(losses[-SMOOTH:]) < REACHED:
            reached = {"iteration": k + 1, **_spent(learner, seconds)}
    tested = evaluate(net, task.split("test"), "binary_cross_entropy")
    return {
        "rows": rows, "reached": reached, "learned": learned, "test_accuracy": tested["accuracy"],
        "activity": tested["activity"], "phi_rate": tested["phi_rate"], "dense": dense_rtrl_macs(net),
    }  # fmt: skip


def _spent(learner, seconds):
    ops = learner.ops
    return {"macs": ops["multiply_adds"], "steps": ops["steps"], "seconds": seconds}


def mean_curves(runs):
    """Means over runs of one kind, as arrays over looks: iteration, loss, accuracy, sparsity, silent, macs, steps,
    seconds, and the author's compute-adjusted iterations, `adjusted`: the sum of 1 - sparsity over iterations."""
    rows = [[row for row in run["rows"] if row["loss"] is not None] for run in runs]
    names = [name for name, value in rows[0][0].items() if value is not None]
    found = {name: np.mean([[row[name] for row in own] for own in rows], 0) for name in names}
    if "sparsity" in found:
        first = np.mean([run["rows"][0]["sparsity"] for run in runs])
        at, dense = np.append(0, found["iteration"]), 1 - np.append(first, found["sparsity"])
        found["adjusted"] = np.cumsum(np.diff(at) * (dense[1:] + dense[:-1]) / 2)
    return found


def when_learned(curves):
    """The means at the first iteration at which the mean loss is below 0.1, between looks by a straight line; or None.

    That is how the author's figures show it: the slowest seeds decide."""
    below = np.flatnonzero(curves["loss"] < REACHED)
    if not len(below):
        return None
    k = below[0]
    if k == 0:
        return {name: float(values[0]) for name, values in curves.items()}
    loss = curves["loss"]
    part = (loss[k - 1] - REACHED) / (loss[k - 1] - loss[k])
    return {name: float(values[k - 1] + part * (values[k] - values[k - 1])) for name, values in curves.items()}
