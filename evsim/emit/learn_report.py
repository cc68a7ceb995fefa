"""What a learner in C takes of flash, RAM and work, before anything is written."""

import numpy as np

from evsim.emit.learn_model import LearningModel
from evsim.emit.learn_plan import METHODS, plan_learner
from evsim.fixed.parts import divide
from evsim.memory import parse_bytes

PARTS = ("weights", "gradient", "influence", "slopes", "state", "scratch")


def learner_footprint(net, method="exact", loss="cross_entropy"):
    """dict of what the C of a network (`evsim.Network`) takes that learns by one of METHODS, without writing it.

    method; trained: parameters that it trains; flash_bytes: of all tables; ram_bytes: of the state, and by part in
    `ram`; multiply_adds: at most, of a step, by part, with every unit active, every phi other than 0 and a loss.
    """
    return footprint_of(LearningModel(divide(net), "model", plan_learner(net, method), loss))


def footprint_of(model):
    """The same of a `LearningModel`."""
    total, members = model.state_bytes()
    ram: dict[str, int] = dict.fromkeys(PARTS, 0)
    about = {field.name: field.what for field in model.fields()}
    for name, size in members.items():
        part = name if name in PARTS else "state"
        if about[name].startswith(("slope: ", "scratch: ")):
            part = {"slope": "slopes"}.get(about[name].split(":")[0], "scratch")
        ram[part] += size
    ram["state"] += total - sum(ram.values())  # what aligns its members
    return {
        "method": model.plan.method, "trained": model.plan.trained,
        "flash_bytes": sum(size for _, _, _, size in model.source.tables), "ram_bytes": total, "ram": ram,
        "multiply_adds": multiply_adds(model.plan),
    }  # fmt: skip


def multiply_adds(plan):
    """dict of multiply-adds of one step at most: forward, influence, gradient, update; and their total."""
    net, layout = plan.net, plan.net.layout
    forward = 0
    for cell, place in zip(net.stack, layout.layers, strict=True):
        forward += len(place.inp.source) * len(cell.in_channels) + len(place.rec.source) * len(cell.rec_channels)
    top = 0 if plan.leaky else net.n_out * net.stack[-1].units
    found = {
        "forward": forward + top, "influence": sum(_carried(plan, k) for k in range(len(plan.layers))),
        "gradient": top * (2 if plan.layers else 1) + _read(plan), "update": 2 * plan.trained,
    }  # fmt: skip
    return {**found, "total": sum(found.values())}


def _carried(plan, k):
    """Of one layer: its rows' leaks, what its units show, what passes through weights, and its own columns."""
    layer, found, blocks = plan.layers[k], plan.layers[k].derivative, plan.blocks
    place, cell = plan.net.layout.layers[layer.index], layer.cell
    width = np.bincount(blocks.of, blocks.width, len(blocks.span)).astype(np.int64)  # columns of each set's blocks
    leaks = sum(not found.program.is_number(one) for row in found.A for one in row)
    total = int(leaks * np.diff(blocks.span)[:, k] @ width)
    for side, fed, passes, showing in (
        ("rec", cell.rec_channels, layer.recalls, k), ("inp", cell.in_channels, k and plan.layers[k - 1].shows, k - 1)
    ):  # fmt: skip
        edges = getattr(place, side)
        rows = sum(any(not found.is_zero(found.B[s][g]) for g in fed) for s in range(layer.states))
        total += len(edges.source) * sum(not found.is_zero(B[g]) for B in found.B for g in fed)
        if passes:
            reach = np.array([_within(plan, s, edges, k, showing) for s in range(len(blocks.span))])
            total += int((reach * rows + np.diff(blocks.span)[:, showing] * _shown(plan.layers[showing])) @ width)
    own = sum(not found.is_zero(one) for table in (found.B, found.C) for row in table for one in row)
    return total + own * cell.units


def _within(plan, s, edges, k, showing):
    """How many of the edges into layer k begin at a unit of set s in layer `showing`, and end in the set."""
    blocks = plan.blocks
    inside = []
    for layer in (k, showing):
        units = np.zeros(plan.layers[layer].cell.units, bool)
        units[blocks.member[blocks.span[s, layer] : blocks.span[s, layer + 1]] - plan.layers[layer].first] = True
        inside.append(units)
    target = np.repeat(np.arange(len(edges.ptr) - 1), np.diff(edges.ptr))
    return int((inside[0][target] & inside[1][edges.source]).sum())


def _shown(layer):
    """Multiplications for each column of what a unit shows."""
    found = layer.derivative
    return sum(not found.is_zero(place) for place in found.phi)


def _read(plan):
    """Of a loss: the top units' rows."""
    if not plan.layers:
        return 0
    blocks = plan.blocks
    members = np.diff(blocks.span)[blocks.of, len(plan.layers) - 1]
    return int(members @ blocks.width) * _shown(plan.layers[-1])


def check_ram(net, method, loss, ram):
    """What the learner of that method takes (`learner_footprint`); ValueError if its state is over `ram` (bytes, 64K).

    The error names what the other methods would take. ram: None for no limit.
    """
    found = learner_footprint(net, method, loss)
    if ram is None:
        return found
    limit = parse_bytes(ram)
    if found["ram_bytes"] <= limit:
        return found
    others = {other: learner_footprint(net, other, loss)["ram_bytes"] for other in METHODS if other != method}
    told = ", ".join(f"{other} {size:,}" for other, size in others.items())
    needed = f"--method {method} takes {found['ram_bytes']:,} bytes of RAM, but --ram allows {limit:,}"
    raise ValueError(f"{needed}; others would take: {told}; choose one with --method, or take fewer units or weights")


def fixed_learner(model, ram=None):
    """The same of a `evsim.emit.fixed_learn.FixedLearningModel`, whose readout learns.

    ValueError if its state is over `ram` (bytes, or as in "64K").
    """
    total, members = model.state_bytes()
    if ram is not None and total > parse_bytes(ram):
        told = "take fewer units, or leave --learn out"
        raise ValueError(f"the network and its learner take {total:,} bytes of RAM, but --ram allows {ram}: {told}")
    weights = model.n_out * model.parts[-1].inp.sources
    trained = weights + model.n_out
    found = {"weights": members["readout_weight"] + members["readout_bias"]}
    found |= {"gradient": members["weight_gradient"] + members["bias_gradient"], "scratch": members["error"]}
    found["scratch"] += members["sums64"]
    return {
        "method": "readout", "trained": trained, "ram_bytes": total,
        "ram": {**found, "state": total - sum(found.values())},
        "multiply_adds": {"gradient": weights, "update": trained, "total": weights + trained},
    }  # fmt: skip


def learner_report(found):
    """The section of the memory report that is about the learner, in Markdown."""
    work = found["multiply_adds"]
    lines = ["", "## The learner", "", f"Method: {METHODS[found['method']]}; {found['trained']:,} parameters.", ""]
    lines += ["| RAM | bytes |", "|---|---|", *(f"| {part} | {size:,} |" for part, size in found["ram"].items())]
    lines += ["", "| multiply-adds a step, at most | |", "|---|---|"]
    lines += [f"| {part} | {n:,} |" for part, n in work.items()]
    lines += ["", "At most: every unit active and near its threshold, and a loss and an update at every step. What is"]
    lines += ["silent costs nothing: a unit without an event in the forward pass, one far from its threshold in the"]
    return "\n".join([*lines, "influence.", ""])
