"""Report: what a trained network loses in fixed point, width by width, and which targets have room for it."""

from dataclasses import replace
from typing import Any

import numpy as np

from evsim.check import check_count
from evsim.emit.model import Model
from evsim.evaluate import Marks
from evsim.fixed.fits import check
from evsim.fixed.golden import run as run_fixed
from evsim.fixed.need import need
from evsim.fixed.quantise import TRIED, check_bits, quantise
from evsim.fixed.targets import load_target
from evsim.fixed.tune import tune
from evsim.results import open_run, own_task
from evsim.sample import sample
from evsim.sequences import as_sequences

ROOM = 2**22  # events of a layer that are held at once


def report(run, bits=(4, 8, 16), state_bits=(16,), targets=(), epochs=0, lr=None, sequences=None, show=False):
    """What the network in `run`, a run folder, comes to on its task's test split in every one of these widths.

    bits: of weights, some of 4, 8, 16. state_bits: some of 16, 32. targets: names, paths or dicts as
    `evsim.fixed.fits.check` takes them. epochs: above 0, each width of weights is also tuned for so many
    (`evsim.fixed.tune.tune`, with that lr). sequences: of the test split, at most so many. show: tell of tuning on
    stderr.

    Returns (found, tuned). found, a dict: run, task, split, sequences, dtype; rows, a dict for each network: bits,
    state_bits, fixed, tuned (rows[0] is the network as it was trained), loss and accuracy (None where the task has
    none), what the task makes of the loss, activity, events_differ (places where just one of this network and the
    trained one has an event, over the trained one's events; None if it has none), bytes as
    `evsim.fixed.need.Need.bytes` has them, flash and ram those of the C (None for the first); targets: what
    `evsim.fixed.fits.check` gives, for each target and the widths of each. tuned: dict of bits -> what `tune` gave.

    ValueError for other widths, a run without a task, a torch model, and as `own_task` and `load_target` have it.
    """
    bits, state_bits = _widths(bits, state_bits)
    targets = [one if isinstance(one, dict) else load_target(one) for one in targets]
    check_count("epochs", epochs, 0)
    if sequences is not None:
        check_count("sequences", sequences)
    trained, config = open_run(run)
    if getattr(trained, "net", None) is None:
        raise ValueError(f"{run} holds a torch model, which cannot be quantised: train one with --backend numba")
    task = own_task(run, trained, config)
    trained.settings, trained.task = config, task
    test, inputs = _sequences(trained.net, task, sequences), sample(trained.net, task, "train", *TRIED)[0]
    rows = [_row(trained.net, trained.net, test, task, None, None)]
    nets, tuned, needs = [(width, False, trained.net) for width in bits], {}, []
    if epochs:
        for width in bits:
            tuned[width] = tune(trained, width, epochs=epochs, lr=lr, show=show)
            nets.insert(1 + next(k for k, one in enumerate(nets) if one[0] == width), (width, True, tuned[width].net))
    for width, is_tuned, net in nets:
        for states in state_bits:
            fixed = quantise(net, inputs, width, states)
            needed = replace(need(net, width, states), **_in_c(fixed))
            needs += [] if is_tuned else [needed]
            rows.append(_row(fixed, trained.net, test, task, needed, is_tuned))
    fits = [check(needed, one) for one in targets for needed in needs]
    found = {
        "run": str(run), "task": task.name, "split": "test", "sequences": len(test), "dtype": trained.net.dtype.name,
        "rows": rows, "targets": fits,
    }  # fmt: skip
    return found, tuned


def _widths(bits, state_bits):
    """Lists of the widths, each once; ValueError for others than there are."""
    found = []
    for name, given in (("bits", bits), ("state_bits", state_bits)):
        given = [given] if isinstance(given, int) else list(given)
        if not given:
            raise ValueError(f"{name} is empty: give one width at least")
        found.append(list(dict.fromkeys(given)))
    for width in found[0]:
        for states in found[1]:
            check_bits(width, states)
    return found


def _sequences(net, task, most):
    """The test split, or its first sequences."""
    data = task.split("test")
    data = data._replace(**{name: array[:most] for name, array in data._asdict().items() if array is not None})
    return as_sequences(data, net.n_in, net.n_out, task.loss, net.dtype)


def _in_c(fixed):
    """flash and ram of a `FixedNetwork` in C; None where a layer is too large for it."""
    try:
        model = Model(fixed.parts, "model", fixed)
    except ValueError:
        return {"flash": None, "ram": None}
    return {"flash": sum(size for *_, size in model.source.tables), "ram": model.state_bytes()[0]}


def _row(net, trained, test, task, needed, tuned) -> dict[str, Any]:
    """Figures of a network, or of a `FixedNetwork`, beside the one that was trained."""
    marks, spoken, here, differ, places = Marks(task.loss), 0, 0, 0, 0
    for where, length in _batches(test, max(cell.units for cell in trained.layers)):
        x = test.inputs(where, 0, length)
        out, events = trained.run(x, record_events=True)
        said = [one != 0 for one in events]
        shown = said
        if needed is not None:
            out, events = run_fixed(net, x, record_events=True)
            shown = [one != 0 for one in events]
        marks.add(out, test.targets[where, :length], test.answers[where, :length])
        spoken += sum(int(one.sum()) for one in said)
        here += sum(int(one.sum()) for one in shown)
        places += sum(one.size for one in said)
        differ += sum(int((one != other).sum()) for one, other in zip(said, shown, strict=True))
    found = marks.told()
    return {
        "bits": 8 * trained.dtype.itemsize if needed is None else needed.bits,
        "state_bits": 8 * trained.dtype.itemsize if needed is None else needed.state_bits,
        "fixed": needed is not None, "tuned": bool(tuned), **found, **task.meaning(found["loss"]),
        "activity": here / places, "events_differ": differ / spoken if spoken else None,
        "bytes": None if needed is None else needed.bytes(),
    }  # fmt: skip


def _batches(test, units):
    """(places, length): batches of sequences of equal length, as many as there is room for."""
    for length in np.unique(test.lengths).tolist():
        places = np.flatnonzero(test.lengths == length)
        size = max(1, ROOM // (length * max(units, test.n_in)))
        for start in range(0, len(places), size):
            yield places[start : start + size], length
