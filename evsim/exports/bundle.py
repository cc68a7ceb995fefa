"""Bundle: one file with all that inference needs, and a trace by which a reader can tell whether it is read right.

An npz file of plain arrays, without pickle, and a JSON text among them (`header`); docs/deploy.md lists its fields.
`evsim.exports.replay` runs the trace in plain numpy.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evsim import __version__
from evsim.check import check_choice, check_count, check_dtype, check_finite, check_positive, named
from evsim.exports.trace import record
from evsim.files import DAMAGE, refuse_existing, replacing
from evsim.layer import Layer, respecify
from evsim.loss import KINDS
from evsim.readout import READOUTS
from evsim.registry import lookup
from evsim.source import commit

FORMAT, VERSION = "evsim bundle", 1
WEIGHTS = "CSR by target: unit i hears source[ptr[i]:ptr[i + 1]], ascending; weight has one row for each fed channel"
SIDES = ("in", "rec")
PARTS = ("ptr", "source", "weight")


@dataclass
class Bundle:
    """What `read` found: the header, all arrays by name, and the layers' and the readout's specifications.

    layers hold local parameters (thresholds, decays), no masks.
    """

    header: dict[str, Any]
    arrays: dict[str, np.ndarray]
    layers: list[Layer]
    readout: Any


def export(trained, out, force=False):
    """One npz file: weights in CSR, cells, units, and a reference trace that evsim verify replays in plain numpy.

    Raises ValueError if `out` exists (without force), and for a layer whose class the registry does not name.
    """
    from evsim.checkpoint import check_kinds

    refuse_existing(out, force)
    net = trained.net
    check_kinds(net)
    trace, told = record(net, trained.task)
    arrays = {f"trace.{name}": array for name, array in trace.items()}
    masks = net.masks()
    for name, value in net.parameters().items():
        if name in masks:
            arrays |= {f"{name}.{part}": array for part, array in _to_csr(value, masks[name][0]).items()}
        else:
            arrays[name] = value
    header = {
        "format": FORMAT, "version": VERSION, "evsim": __version__, "commit": commit(), **net.config(),
        "layers": [_config(cell) for cell in net.layers], "readout": _config(net.readout), "n_out": net.n_out,
        "loss": getattr(trained, "loss", None), "weights": WEIGHTS, "trace": told,
        "channels": [
            {"names": cell.channels, "in": cell.in_channels, "rec": cell.rec_channels} for cell in net.layers
        ],
        "units": _units(net),
    }  # fmt: skip
    with replacing(out) as file:
        np.savez_compressed(file, allow_pickle=False, header=np.array(json.dumps(header)), **arrays)
    return {
        "path": str(out), "bytes": Path(out).stat().st_size, "format": FORMAT, "version": VERSION,
        "weights": sum(array.size for name, array in arrays.items() if name.endswith(".weight")),
        "trace": told, "sequences": len(trace["lengths"]), "steps": int(trace["lengths"].sum()),
        "events_per_layer": [int(np.count_nonzero(trace[f"events.{k}"])) for k in range(len(net.layers))],
        "commit": header["commit"],
    }  # fmt: skip


def load(path):
    """The `evsim.Network` in a bundle: weights, masks and local parameters bit for bit. Raises as `read` does."""
    from evsim.checkpoint import rebuild

    found = read(path)
    parameters, masks = dict(found.arrays), {}
    below = found.header["n_in"]
    for k, cell in enumerate(found.layers):
        for side, sources in zip(SIDES, (below, cell.units), strict=True):
            name = f"layers.{k}.weight_{side}"
            ptr, source, weight = (parameters.pop(f"{name}.{part}") for part in PARTS)
            at = np.repeat(np.arange(cell.units), np.diff(ptr)), source
            masks[name] = np.zeros((cell.units, sources), bool)
            masks[name][at] = True
            parameters[name] = np.zeros((len(weight), cell.units, sources), weight.dtype)
            parameters[name][:, *at] = weight
        below = cell.units
    parameters = {name: value for name, value in parameters.items() if not name.startswith("trace.")}
    try:
        return rebuild(found.header, parameters, masks)
    except DAMAGE as error:
        raise ValueError(f"{path} does not fit together ({error}): it is damaged or was edited") from None


def read(path):
    """The `Bundle` in a file, every field of it checked.

    Raises FileNotFoundError if there is none, ValueError if the file is none, is damaged, or is of another version.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{path} {what}: give a file that evsim export --to bundle wrote")
    try:
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            arrays = {name: found[name] for name in found.files}
        header = json.loads(str(arrays.pop("header")[()]))
        kind, version = header["format"], header["version"]
    except DAMAGE as error:
        raise ValueError(f"{path} cannot be read as a bundle ({error}): it is damaged, or another's") from None
    if kind != FORMAT:
        raise ValueError(f"{path} is of kind {kind!r}, not {FORMAT!r}: give what evsim export --to bundle wrote")
    if version != VERSION:
        told = f"{path} is of version {version!r} of the format, but this evsim reads version {VERSION}"
        newer = isinstance(version, int) and version > VERSION
        raise ValueError(f"{told}: {'install a newer evsim' if newer else 'export the run again'}")
    try:
        return _checked(header, arrays)
    except DAMAGE as error:
        told = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path} does not fit together ({told}): it is damaged or was edited") from None


def _config(cell):
    """A layer's config without local parameters, and the time constants behind them: there is an array of each."""
    gone = {*getattr(cell, "local", ()), *getattr(cell, "decays", {}).values()}
    return {name: value for name, value in cell.config().items() if name not in gone}


def _to_csr(dense, mask):
    """dict of ptr (n + 1,), source (edges,) and weight (channels, edges) from weights (channels, n, m)."""
    ptr = np.concatenate([[0], np.cumsum(mask.sum(1))]).astype(np.int32)
    return {"ptr": ptr, "source": np.nonzero(mask)[1].astype(np.int32), "weight": dense[:, mask]}


def _units(net):
    """Name of a quantity -> its unit and meaning."""
    found = {
        "dt": "seconds per step", "trace.x": "as the network hears it", "trace.out": "the unit of the outputs",
        "trace.lengths": "steps of each sequence; x, events and out hold one sequence behind the other",
        "readout.weight": "the unit of the outputs, for an event of 1", "readout.bias": "the unit of the outputs",
    }  # fmt: skip
    for k, cell in enumerate(net.layers):
        fed = "for an input or event of 1" if k else "for an input of 1"
        found |= {
            f"layers.{k}.weight_in.weight": f"the unit of the channels, {fed}",
            f"layers.{k}.weight_rec.weight": "the unit of the channels, for an event of 1",
            f"layers.{k}.bias": "the unit of the channels, at every step",
            f"trace.events.{k}": "0, or the value of an event, which is 1 for a binary one",
        }
        found |= {f"layers.{k}.{name}": cell.about[name] for name in cell.local if name in cell.about}
    for name in getattr(net.readout, "local", ()):
        found[f"readout.{name}"] = net.readout.about[name]
    return found


def _checked(header, arrays):
    """The `Bundle` of what a file holds; ValueError or another of DAMAGE for what does not fit."""
    dtype, n_in = check_dtype(header["dtype"]), check_count("n_in", header["n_in"])
    check_positive("dt", header["dt"])
    check_choice("loss", header["loss"], (None, *KINDS))
    if not isinstance(header["layers"], list) or not header["layers"]:
        raise ValueError("the header names no layers")
    kinds = [lookup("cell", given["kind"]) for given in header["layers"]]
    readout = READOUTS[header["readout"]["kind"]]
    sizes = [n_in, *(check_count("units", given["units"]) for given in header["layers"])]
    n_out = check_count("units", header["readout"]["units"])
    if header["n_out"] != n_out:
        raise ValueError(f"n_out is {header['n_out']!r}, but the readout has {n_out} units")
    shapes: dict[str, tuple[int | None, ...]] = {}
    for k, kind in enumerate(kinds):
        n = sizes[k + 1]
        for side, fed in zip(SIDES, (kind.in_channels, kind.rec_channels), strict=True):
            name = f"layers.{k}.weight_{side}"
            shapes |= {f"{name}.ptr": (n + 1,), f"{name}.source": (None,), f"{name}.weight": (len(fed), None)}
        shapes[f"layers.{k}.bias"] = (len(kind.channels), n)
        shapes |= {f"layers.{k}.{name}": (n,) for name in kind.local}
        shapes[f"trace.events.{k}"] = (None, n)
    shapes |= {"readout.weight": (n_out, sizes[-1]), "readout.bias": (n_out,), "trace.lengths": (None,)}
    shapes |= {f"readout.{name}": (n_out,) for name in getattr(readout, "local", ())}
    shapes |= {"trace.x": (None, n_in), "trace.out": (None, n_out)}
    _check_arrays(arrays, shapes, dtype)
    for k in range(len(kinds)):
        for side, sources in zip(SIDES, (sizes[k], sizes[k + 1]), strict=True):
            with named(name := f"layers.{k}.weight_{side}"):
                _check_csr(arrays, name, sources)
    _check_trace(arrays)
    cells = []
    for k, (kind, given) in enumerate(zip(kinds, header["layers"], strict=True)):
        with named(f"layers.{k}"):
            cells.append(respecify(kind, given, arrays, f"layers.{k}."))
    return Bundle(header, arrays, cells, respecify(readout, header["readout"], arrays, "readout."))


def _check_arrays(arrays, shapes, dtype):
    """Names, shapes (None stands for any length), kinds of numbers; finite."""
    if missing := sorted(set(shapes) - set(arrays)):
        raise ValueError(f"it has no array {missing[0]}")
    if extra := sorted(set(arrays) - set(shapes)):
        raise ValueError(f"it has an array {extra[0]}, which does not belong in it")
    for name, shape in shapes.items():
        array, whole = arrays[name], name.endswith((".ptr", ".source", ".lengths"))
        if array.ndim != len(shape) or any(s not in (None, a) for s, a in zip(shape, array.shape, strict=True)):
            wanted = ", ".join("any" if s is None else str(s) for s in shape)
            raise ValueError(f"{name} has shape {array.shape}, not ({wanted})")
        if array.dtype.kind not in "iu" if whole else array.dtype != dtype:
            raise ValueError(f"{name} has dtype {array.dtype}, not {'whole numbers' if whole else dtype}")
        if not whole:
            check_finite(name, array)


def _check_csr(arrays, name, sources):
    ptr, source, weight = (arrays[f"{name}.{part}"] for part in PARTS)
    edges = len(source)
    if ptr[0] != 0 or ptr[-1] != edges or (np.diff(ptr.astype(np.int64)) < 0).any():
        raise ValueError(f"ptr does not rise from 0 to {edges}, the number of its edges")
    if weight.shape[1] != edges:
        raise ValueError(f"there are {weight.shape[1]} weights for {edges} edges")
    if edges and not (source.min() >= 0 and source.max() < sources):
        wrong = source.min() if source.min() < 0 else source.max()
        raise ValueError(f"source holds {wrong}, but sources run from 0 to {sources - 1}")
    target = np.repeat(np.arange(len(ptr) - 1), np.diff(ptr.astype(np.int64)))
    if ((np.diff(source.astype(np.int64)) <= 0) & (np.diff(target) == 0)).any():
        raise ValueError("source does not ascend within a target")


def _check_trace(arrays):
    lengths = arrays["trace.lengths"]
    if not len(lengths) or lengths.min() < 1:
        raise ValueError("trace.lengths needs at least one sequence, each of at least one step")
    steps = int(lengths.sum())
    for name, array in arrays.items():
        if name.startswith("trace.") and name != "trace.lengths" and len(array) != steps:
            raise ValueError(f"{name} holds {len(array)} steps, but trace.lengths {steps}")
