"""Work: what a learner has done, by layer and part, with the words it moved: `learner.ops`, from what kernels counted.

Parts: forward; influence (derivatives carried through time, as rows of M or as errors on their way back); gradient
(losses sent down, M read); update. Stores, where words are read and written: weights; state (events, pre-activations,
Steps); influence; gradients; optimizer. What is the same at every step, whoever speaks, has no column of its own but
follows exactly from the steps counted: unit updates, one for each state and step forward, and one more for its
derivatives; their words; sources looked through for events. Not counted: indices, lists made of them, losses.
"""


from evsim import opcount
from evsim.opcount import NAMES, STEPS, dense_bptt_macs, dense_rtrl_macs, totals

PARTS = ("forward", "influence", "gradient", "update")
STORES = ("weights", "state", "influence", "gradients", "optimizer")
_SUMS = {
    "forward": ("forward",), "influence": ("propagate", "leak", "immediate", "show", "coefficients"),
    "gradient": ("gradient",), "update": ("update", "optimizer"),
}  # fmt: skip


def account(count, net, memory=None, streams=1, threads=1):
    """dict of the work in `count`: totals by name, "parts", "layers" (the readout last), "stores", "dense".

    Each layer has totals and parts of its own; a part has multiply_adds, additions (those of them that only add),
    unit_updates, and words[store] = {"read", "written"}. stores: words that each holds for one stream, from the
    `memory` of a learner of so many streams and threads. dense: multiply-adds of a step of dense RTRL and dense BPTT of
    the same network.
    """
    layers, steps = [], int(count[0, STEPS])
    for k, row in enumerate(count.tolist()):
        found = dict(zip(NAMES, row, strict=True))
        name = f"layers.{k}" if k < len(net.layers) else "readout"
        parts = _parts(found, *_every_step(net, k), found["steps"] or steps)
        layers.append({"name": name, **found, **_sum(parts), "parts": parts})
    parts = {part: _add(layer["parts"][part] for layer in layers) for part in PARTS}
    return {
        **totals(count), **_sum(parts), "parts": parts, "layers": layers,
        "stores": {} if memory is None else stores(count, net, memory, streams, threads),
        "dense": {"rtrl": dense_rtrl_macs(net), "bptt": dense_bptt_macs(net)},
    }  # fmt: skip


def shortened(ops):
    """What `evsim.energy` reads of `ops`, and each layer's parts: for a summary."""
    told = ("name", "multiply_adds", "additions", "unit_updates", "events", "phi", "parts")
    names = ("steps", "sequences", "multiply_adds", "additions", "unit_updates", "events", "phi", "parts")
    layers = [{name: layer[name] for name in told} for layer in ops["layers"]]
    return {**{name: ops[name] for name in names}, "layers": layers, "stores": ops["stores"], "dense": ops["dense"]}


def stores(count, net, memory, streams=1, threads=1):
    """dict of the words that each store holds for one stream: what streams do not share is divided by their number.

    Scratch, of one thread, is that of rows of M, or where there is none, of Steps.
    """
    scratch = "influence" if memory.get("influence") else "state"
    held = {
        "weights": memory["parameters"], "state": (memory["state"] + memory["steps"]) // streams,
        "influence": memory.get("influence", 0) // streams, "gradients": memory["gradients"] // streams,
    }  # fmt: skip
    held[scratch] += memory["scratch"] // threads
    updated, kept = int(count[:, opcount.UPDATE].sum()), int(count[:, opcount.KEPT].sum())
    words = {store: size // net.dtype.itemsize for store, size in held.items()}
    return {**words, "optimizer": net.layout.trained * kept // updated if updated else 0}


def count_update(count, net, streams, optimizer, clip):
    """Add an update to `count`: parameters changed, layer by layer, and what that takes.

    Beside the optimiser's arithmetic: the sum over streams, the division by their number, the norm; with a clip two
    more for a norm in double precision, and one to scale. Projection, O(n), is not counted.
    """
    size = net.layout.sizes
    extra = getattr(optimizer, "arithmetic", 0) + streams + 1 + (0 if clip is None else 3)
    count[:, opcount.UPDATE] += size
    count[:, opcount.OPTIMIZER] += size * extra
    count[:, opcount.SUMMED] += size * streams
    count[:, opcount.KEPT] += size * len(getattr(optimizer, "slots", ()))


def _every_step(net, k):
    """Of row k, at every step: states, words read of weights and state, written of state; of the Step, and kept on.

    The last two are for derivatives: what a Step holds, and what a unit stores for them.
    """
    below = net.n_in if k == 0 else net.stack[k - 1].units
    if k == len(net.stack):  # a readout without memory: biases into outputs
        return 0, net.n_out, below, net.n_out, 0, 0
    cell = net.stack[k]
    n, states, channels, local = cell.units, len(cell.states), len(cell.channels), len(cell.local)
    sources, kept = below + (n if cell.rec_channels else 0), len(cell.kept)
    step = states * (states + channels + local + 1) + local
    return (
        n * states, n * (channels + local), sources + n * (channels + kept), n * (channels + kept + 1), n * step,
        n * max(cell.stored - kept, 0),
    )  # fmt: skip


def _parts(found, states, weights, read, written, step, stored, steps):
    forward, changed = found["forward"], found["update"]
    words = {
        "forward": {
            "weights": (forward + steps * weights, 0), "state": (forward + steps * read, forward + steps * written)
        },
        "influence": {
            "weights": (found["weights"], 0),
            "state": (found["step_read"] + steps * stored, found["step_written"] + steps * (step + stored)),
            "influence": (found["words_read"], found["words_written"]), "gradients": (found["sums"], found["sums"]),
        },
        "gradient": {
            "weights": (found["sent"], 0), "influence": (found["read"], 0),
            "gradients": (found["gradients"], found["gradients"]),
        },
        "update": {
            "weights": (changed, changed), "gradients": (found["summed"], 0),
            "optimizer": (found["kept"], found["kept"]),
        },
    }  # fmt: skip
    updates = {"forward": steps * states, "influence": steps * states + found["back"]}
    return {
        part: {
            "multiply_adds": sum(found[name] for name in _SUMS[part]),
            "additions": found.get(f"ones_{part}", 0),
            "unit_updates": updates.get(part, 0),
            "words": {store: dict(zip(("read", "written"), words[part].get(store, (0, 0)))) for store in STORES},
        }
        for part in PARTS
    }


def _add(parts):
    """The sum of one part over layers."""
    parts = list(parts)
    words = {
        store: {way: sum(part["words"][store][way] for part in parts) for way in ("read", "written")}
        for store in STORES
    }
    names = "multiply_adds", "additions", "unit_updates"
    return {**{name: sum(part[name] for part in parts) for name in names}, "words": words}


def _sum(parts):
    """The sum over parts."""
    return _add(parts.values())
