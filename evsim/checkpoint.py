"""Checkpoints: one npz file with everything that a run needs to go on bit for bit. No pickle in it."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from evsim import optim
from evsim.files import DAMAGE, replacing
from evsim.layer import respecify
from evsim.network import Network
from evsim.readout import READOUTS
from evsim.registry import lookup, names

VERSION = 1


@dataclass
class Checkpoint:
    """What `load` found: net, learner and optimizer (None where none was saved) and extra (dict)."""

    net: Network
    learner: Any = None
    optimizer: Any = None
    extra: dict = field(default_factory=dict)


def save(path, net, learner=None, optimizer=None, extra=None):
    """Write net, learner (state and influence), optimizer and `extra` to `path`, beside it first and then renamed.

    extra: dict of arrays and of what JSON can hold. An existing file is replaced only once the new one is complete.
    Raises ValueError for an optimizer whose learning-rate schedule is a function of your own, and for a layer whose
    class is not what its kind stands for in the registry.
    """
    path = Path(path)
    check_kinds(net)
    extra = extra or {}
    arrays = {f"extra/{k}": v for k, v in extra.items() if isinstance(v, np.ndarray)}
    header: dict[str, Any] = {
        "format": "evsim checkpoint",
        "version": VERSION,
        "network": net.config(),
        "extra": {k: v for k, v in extra.items() if not isinstance(v, np.ndarray)},
    }
    arrays |= {f"parameter/{name}": value for name, value in net.parameters().items()}
    arrays |= {f"mask/{name}": mask[0] for name, mask in net.masks().items()}
    if learner is not None:
        header["learner"] = {"kind": learner.kind, **learner.config()}
        arrays |= {f"learner/{k}": v for k, v in learner.state().items()}
    if optimizer is not None:
        header["optimizer"] = optimizer.config()
        arrays |= {f"optimizer/{k}": v for k, v in optimizer.state().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        np.savez(file, allow_pickle=False, header=np.array(json.dumps(header)), **arrays)


def load(path):
    """Read a checkpoint written by `save`.

    Raises FileNotFoundError if there is none, ValueError if the file is not one, is damaged, or is of another version.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint at {path}: give the path of a file that evsim.save wrote")
    try:
        with path.open("rb") as file:  # numpy would leave it open where it is damaged
            found = np.load(file, allow_pickle=False)
            arrays = {name: found[name] for name in found.files}
        header = json.loads(str(arrays.pop("header")[()]))
        found = (header["format"], header["version"])
    except DAMAGE as error:
        raise ValueError(f"{path} cannot be read as a checkpoint ({error}): it is damaged, or another's") from None
    if found != ("evsim checkpoint", VERSION):
        raise ValueError(f"{path} is of kind and version {found}: this evsim reads {('evsim checkpoint', VERSION)}")
    try:
        return _rebuild(header, arrays)
    except DAMAGE as error:
        raise ValueError(f"{path} does not fit together ({error}): it is damaged or was edited") from None


def check_kinds(net):
    """ValueError for a layer whose class is not what its kind stands for in the registry: no file could name it."""
    for k, cell in enumerate(net.layers):
        if cell.kind not in names("cell") or lookup("cell", cell.kind) is not type(cell):
            made = f"{type(cell).__module__}:{type(cell).__name__}"
            raise ValueError(
                f"layers.{k} is of kind {cell.kind!r}, which does not stand for {made}: give the class a kind of its "
                f'own and call evsim.register("cell", kind, "{made}")'
            )


def rebuild(config, parameters, masks):
    """The network with that `config()`, `parameters()` and masks, each (n, m), by name."""
    layers = []
    for k, given in enumerate(config["layers"]):
        cell = respecify(lookup("cell", given["kind"]), given, parameters, f"layers.{k}.")
        layers.append(replace(cell, **{f"mask_{side}": masks[f"layers.{k}.weight_{side}"] for side in ("in", "rec")}))
    given = config["readout"]
    readout = respecify(READOUTS[given["kind"]], given, parameters, "readout.")
    net = Network(config["n_in"], layers, readout, 0, config["dtype"], config["dt"])
    net.load_parameters(parameters)
    return net


def _rebuild(header, arrays):
    net = rebuild(header["network"], _part(arrays, "parameter/"), _part(arrays, "mask/"))
    learner = optimizer = None
    if "learner" in header:
        options = dict(header["learner"])
        learner = lookup("learner", options.pop("kind"))(net, **options)
        learner.load_state(_part(arrays, "learner/"))
    if "optimizer" in header:
        optimizer = optim.from_config(header["optimizer"])
        optimizer.load_state(_part(arrays, "optimizer/"))
        for name, value in optimizer.state().items():
            if value.ndim and value.shape != net.trained.shape:
                raise ValueError(f"the optimizer's {name} has shape {value.shape}, not {net.trained.shape}")
    return Checkpoint(net, learner, optimizer, {**header["extra"], **_part(arrays, "extra/")})


def _part(arrays, prefix):
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
