"""Nodes of a NIR graph that have a state, as evsim's units: decays, thresholds, and what stood before their inputs."""

import json
from dataclasses import dataclass

import numpy as np

from evsim.exports.nir_wires import fit, number
from evsim.exports.nir_write import CUSTOM, time_constant

UNITS = ("LIF", "CubaLIF", "LI", CUSTOM)


@dataclass
class Unit:
    """A node with a state, as evsim has it. gain (n,) is what stood before its inputs and moved into the threshold.

    type: the name of a cell, or "LI"; local: its local parameters, arrays (n,).
    """

    name: str
    type: str
    local: dict
    gain: np.ndarray
    custom: tuple[dict, dict] | None = None  # of evsim's own nodes: configuration, parameters


def read_unit(name, node, dt, n=None):
    """The Unit that a node is, a dict as to_dict() gives it, with n units; None: as many as its longest array has.

    ValueError where evsim cannot express it.
    """
    kind = node["type"]
    if kind == CUSTOM:
        try:
            own = {key: number(name, node["parameters"], key) for key in node["parameters"]}
            config = json.loads(node["config"])
            return Unit(name, config["kind"], {}, np.ones(own["bias"].shape[1]), (config, own))
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"it is no layer of evsim ({error}): it is damaged or was edited") from None
    fields = ("tau", "r", "v_leak") if kind == "LI" else ("tau", "r", "v_leak", "v_threshold", "v_reset")
    fields = ("tau_mem", "tau_syn", "w_in", *fields[1:]) if kind == "CubaLIF" else fields
    defaults = {"v_reset": 0.0, "w_in": 1.0}  # of files before NIR 1.0.5
    given = {field: number(name, node, field, defaults.get(field)) for field in fields}
    n = max(value.size for value in given.values()) if n is None else n
    eps = max(np.finfo(v.dtype).eps for v in (*given.values(), np.zeros(0)) if v.dtype.kind == "f")
    p = {key: np.broadcast_to(fit(v, n, key), n).astype(np.float64) for key, v in given.items()}
    taus = [key for key in p if key.startswith("tau")]
    for key in taus:
        if p[key].min() < dt * (1 - eps):
            raise ValueError(
                f"{key}={p[key].min():g} s is shorter than a step of dt={dt:g} s: give the dt that it was made for "
                "(norse 1.1.0 writes tau in seconds only with to_nir(..., dt=1))"
            )
    gain = p["r"] * dt / p[taus[0]]
    leak = "kappa" if kind == "LI" else "beta"
    local = {leak: _decay(node, leak, p[taus[0]], dt, eps)}
    if kind == "CubaLIF":
        gain = gain * (p["w_in"] * dt / p["tau_syn"])
        local["alpha"] = _decay(node, "alpha", p["tau_syn"], dt, eps)
    gain = np.where(np.abs(gain - 1) <= 8 * eps, 1.0, gain)
    if gain.min() <= 0:
        raise ValueError(f"r and w_in give a gain of {gain.min():g}: evsim needs one above 0, move signs into weights")
    if kind == "LI":
        if p["v_leak"].any():
            raise ValueError("its v_leak is not 0, where evsim's leaky readouts start and rest: set it to 0")
        return Unit(name, kind, local, gain)
    at = int(np.argmax(p["v_reset"] != p["v_leak"]))
    if p["v_reset"][at] != p["v_leak"][at]:
        told = f"v_reset={p['v_reset'][at]:g} but v_leak={p['v_leak'][at]:g}"
        raise ValueError(f"{told}: evsim resets to rest, make them equal")
    local["threshold"] = (p["v_threshold"] - p["v_leak"]) / gain
    if local["threshold"].min() <= 0:
        raise ValueError("its v_threshold is not above v_leak: raise it")
    kind = "lif" if kind == "LIF" or not local["alpha"].any() else "cubalif"
    if kind == "lif":
        local.pop("alpha", None)
    return Unit(name, kind, local, gain)


def _decay(node, name, tau, dt, eps):
    """1 - dt / tau, 0 within rounding; or what the node's metadata say it was, where that fits tau."""
    metadata = node.get("metadata")
    said = np.asarray(metadata.get(name) if isinstance(metadata, dict) else None)
    if said.shape == tau.shape and said.dtype.kind == "f" and np.array_equal(time_constant(said, dt), tau):
        return said
    decay = np.maximum(1.0 - dt / tau, 0.0)
    decay[decay <= 8 * eps] = 0.0
    return decay
