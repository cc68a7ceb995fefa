"""Networks from norse and snntorch: what was built or trained there, in evsim's cells, event for event.

Both libraries show the state after the reset, evsim keeps the one before it; the events are the same. What evsim's
cells cannot express exactly is refused. The forward pass alone is carried over: weights, biases, thresholds and decays.
Pseudo-derivatives, and what is to be trained, are chosen anew. The equations are the same, the order of summation is
not: in float32, once in some 10**7 to 10**8 unit-steps, a membrane falls on the other side of its threshold.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from evsim.cells.cubalif import CubaLIF
from evsim.cells.lif import LIF
from evsim.check import named
from evsim.network import Network
from evsim.readout import Readout
from evsim.registry import load_optional

_OPTIONS = ("surrogate", "height", "half_width", "slope", "detach_reset", "learn_threshold", "learn_beta")
_RATES = ("tau_mem_inv", "tau_syn_inv")


@dataclass
class _Found:
    """One layer as read: tensors weight_in (n, m), weight_rec (n, n) or None, biases (n,); arrays mask_rec, local."""

    weight_in: torch.Tensor
    weight_rec: torch.Tensor | None
    biases: list
    mask_rec: np.ndarray
    local: dict


def from_norse(cells, readout=None, **options):
    """An `evsim.Network` of CubaLIF layers that emits the events of norse's LIF cells.

    cells: a LIFRecurrentCell, or a stack of them, bottom to top, as a list or nn.Sequential; a feed-forward LIFCell
    stands behind an nn.Linear, as a pair or in a row. LIFRecurrent and LIF, the same over time, are as good. readout:
    an nn.Linear over the top layer's events, or None for those events themselves. options: surrogate, height,
    half_width, slope, detach_reset, learn_threshold, learn_beta, learn_alpha, of every CubaLIF. dt and dtype are the
    cells' own.

    Conventions, with k = dt * tau_mem_inv as norse rounds it: decays are Euler's, beta = 1 - k and
    alpha = 1 - dt * tau_syn_inv, not exponentials. evsim's v is (v - v_leak) / k, so that threshold is
    (v_th - v_leak) / k; half_width is in that unit too. reset is "zero". Recurrent weights have no diagonal unless
    autapses=True. Recurrent cells of norse have no bias: biases start at 0. norse starts at v = v_leak, evsim at 0.

    ValueError for a v_reset other than v_leak, dt that differ, decays outside [0, 1), thresholds not above v_leak, a
    diagonal in spite of autapses=False, sizes that do not fit and mixed precisions; TypeError for other modules.
    """
    norse = load_optional("norse.torch", "from_norse")
    alone, behind = (norse.LIFRecurrentCell, norse.LIFRecurrent), (norse.LIFCell, norse.LIF)
    row = _row("cells", cells, alone, behind, "norse's LIFRecurrentCell or pairs (nn.Linear, LIFCell)")
    steps = [float(cell.dt) for _, cell in row]
    if len(set(steps)) > 1:
        raise ValueError(f"the cells have dt={steps}: a network has one dt, build all its cells with the same")
    return _network(CubaLIF, row, _read_norse, readout, steps[0], _checked(options, (*_OPTIONS, "learn_alpha")))


def from_snntorch(layers, readout=None, dt=1e-3, **options):
    """An `evsim.Network` of LIF layers that emits the events of snntorch's RLeaky and Leaky layers.

    layers: a pair (nn.Linear, RLeaky) or (nn.Linear, Leaky), or a stack of such pairs, bottom to top: a list of pairs,
    a row, or nn.Sequential. readout: an nn.Linear over the top layer's events, or None for those events themselves. dt:
    seconds per step, which snntorch does not know and on which nothing here depends. options: surrogate, height,
    half_width, slope, detach_reset, learn_threshold, learn_beta, of every LIF. dtype is the weights' own.

    Conventions: beta is a factor, which snntorch clips to [0, 1] at every step. The biases of the nn.Linear and of
    RLeaky.recurrent add up to one. all_to_all=False is a recurrence along the diagonal, here one weight per unit even
    where snntorch shares one V. RLeaky needs reset_mechanism="zero" and reset_delay=False: with the delay it loses the
    whole input of the step after an event. Leaky with "zero" clears the membrane before the leak either way.

    ValueError for reset_mechanism="subtract": with the delay it takes the threshold off after the leak, where evsim
    does so before it; without, it takes it off once more, before it looks, wherever the membrane is still above it.
    Also for "none", a beta of 1 or more, graded spikes, inhibition, state_quant, convolutions, a spike_grad that is not
    a step, sizes that do not fit and mixed precisions; TypeError for other modules.
    """
    snn = load_optional("snntorch", "from_snntorch")
    row = _row("layers", layers, (), (snn.RLeaky, snn.Leaky), "pairs (nn.Linear, snntorch.RLeaky)")
    return _network(LIF, row, _read_snntorch, readout, dt, _checked(options, _OPTIONS))


def _row(name, given, alone, behind, needed):
    """[(nn.Linear or None, cell)], bottom to top, from a cell, a pair, or lists of them.

    alone, behind: types of cells without and with an nn.Linear in front; not their subclasses, which may compute
    something else.
    """
    lists = list | tuple | nn.Sequential
    flat = [module for part in _listed(given, lists) for module in _listed(part, lists)]
    found, linear = [], None
    for k, module in enumerate(flat):
        here = f"{name}, taken in a row, hold a {type(module).__name__} at place {k}"
        if isinstance(module, nn.Linear) and linear is None:
            linear = module
        elif type(module) in (alone if linear is None else behind):
            found.append((linear, module))
            linear = None
        elif isinstance(module, nn.Linear) or type(module) in alone:
            raise ValueError(f"{here}, right behind an nn.Linear: leave out one of the two, or merge them")
        elif type(module) in behind:
            raise ValueError(f"{here}, without input weights: put the nn.Linear that feeds it in front of it")
        else:
            raise TypeError(f"{here}: give {needed}, alone or in a list")
    if linear is not None:
        raise ValueError(f"{name} end in an nn.Linear: pass it as readout=, or put the cell that it feeds behind it")
    if not found:
        raise ValueError(f"{name} hold no cell: give {needed}, alone or in a list")
    return found


def _listed(given, lists):
    return list(given) if isinstance(given, lists) else [given]


def _checked(options, known):
    for name in options:
        if name not in known:
            raise TypeError(f"{name} is not an option here: choose from {', '.join(known)}")
    return options


def _read_norse(linear, cell):
    """_Found from a LIF cell of norse; linear: what feeds it, or None for a recurrent cell."""
    weight_in = cell.input_weights if linear is None else linear.weight
    weight_rec = cell.recurrent_weights if linear is None else None
    n, dtype = len(weight_in), weight_in.dtype
    mask = np.full((n, n), linear is None)
    if weight_rec is not None and not cell.autapses:
        np.fill_diagonal(mask, False)
        if torch.any(weight_rec.detach().diagonal() != 0):
            raise ValueError(
                "autapses=False, but recurrent_weights have a diagonal, which norse would use: set it to 0, or build "
                "the cell with autapses=True"
            )
    # The product first, in the precision that the rate has: so does norse.
    mem, syn = (_per_unit(f"dt * {name}", cell.dt * getattr(cell.p, name), n, dtype) for name in _RATES)
    for name, k in zip(_RATES, (mem, syn), strict=True):
        if not (k.min() > 0 and k.max() <= 1):
            worst = k.max() if k.max() > 1 else k.min()
            raise ValueError(f"dt * {name} is {worst:g}: for a decay in [0, 1) it must be above 0 and at most 1")
    th, leak, back = (_per_unit(name, getattr(cell.p, name), n, dtype) for name in ("v_th", "v_leak", "v_reset"))
    at = int(np.argmax(back != leak))
    if back[at] != leak[at]:
        raise ValueError(f"v_reset={back[at]:g} but v_leak={leak[at]:g}: evsim resets to rest, make them equal")
    at = int(np.argmin(th - leak))
    if th[at] <= leak[at]:
        raise ValueError(f"v_th={th[at]:g} but v_leak={leak[at]:g}: the threshold must lie above rest, raise v_th")
    local = {"threshold": (th - leak) / mem, "beta": 1 - mem, "alpha": 1 - syn}
    return _Found(weight_in, weight_rec, [] if linear is None else _biases(linear), mask, local)


def _read_snntorch(linear, cell):
    """_Found from an RLeaky or a Leaky, and the nn.Linear that feeds it."""
    recurrent = hasattr(cell, "recurrent")
    _check_snntorch(cell, recurrent)
    n, dtype = linear.weight.shape[0], linear.weight.dtype
    weight_rec, mask, biases = None, np.zeros((n, n), bool), _biases(linear)
    if recurrent and not cell.all_to_all:
        weight_rec = torch.diag(torch.from_numpy(_per_unit("V", cell.recurrent.V, n, dtype))).to(dtype)
        np.fill_diagonal(mask, True)
    elif recurrent:
        weight_rec, mask, biases = cell.recurrent.weight, ~mask, biases + _biases(cell.recurrent)
    beta = np.maximum(_per_unit("beta", cell.beta, n, dtype), 0)
    if beta.max() >= 1:
        raise ValueError(f"beta={beta.max():g} does not decay: evsim's decays lie below 1, lower it")
    local = {"threshold": _per_unit("threshold", cell.threshold, n, dtype), "beta": beta}
    return _Found(linear.weight, weight_rec, biases, mask, local)


def _check_snntorch(cell, recurrent):
    """ValueError for what evsim's LIF does not do."""
    needed = 'reset_mechanism="zero"' + (", reset_delay=False" if recurrent else "")
    chosen = list(cell.reset_dict)[int(cell.reset_mechanism_val)]
    if chosen == "subtract":
        when = "after the leak, evsim before it" if cell.reset_delay else "again from a membrane still above it"
        raise ValueError(f"reset_mechanism='subtract' takes the threshold off {when}: build and train it with {needed}")
    if chosen != "zero":
        raise ValueError(f"reset_mechanism={chosen!r} leaves the membrane as it is: build and train it with {needed}")
    if cell.state_function.__name__ != "_base_zero":
        raise ValueError(f"reset_mechanism was set on a finished layer, which heeds it in part: build it with {needed}")
    if recurrent and cell.reset_delay:
        raise ValueError(f"reset_delay=True drops the input of the step after an event: build and train with {needed}")
    if recurrent and cell.all_to_all and not isinstance(cell.recurrent, nn.Linear):
        kind = type(cell.recurrent).__name__
        raise ValueError(f"its recurrence is a {kind}: build it with linear_features, or with all_to_all=False")
    if cell.inhibition or cell.state_quant:
        what = "inhibition" if cell.inhibition else "state_quant"
        raise ValueError(f"{what} is on, which evsim's LIF does not know: build and train the layer without it")
    if torch.any(cell.graded_spikes_factor != 1):
        factor = cell.graded_spikes_factor.tolist()
        raise ValueError(f"graded_spikes_factor={factor}, where events are 0 or 1: multiply it into what they feed")
    tiny = torch.finfo(torch.float32).tiny
    steps = cell.spike_grad(torch.tensor([-1.0, -tiny, 0.0, tiny, 1.0])).tolist()
    if steps != [0, 0, 0, 1, 1]:
        raise ValueError(f"spike_grad is not a step, at -1 to 1 it gives {steps}: use one of snntorch.surrogate")


def _biases(linear):
    return [] if linear.bias is None else [linear.bias]


def _per_unit(name, value, units, dtype):
    """float64 array (units,) of a number or tensor; ValueError where it would make its layer leave dtype."""
    value = value if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=torch.float64)
    if value.ndim > 1 or value.numel() not in (1, units):
        raise ValueError(f"{name} has shape {tuple(value.shape)}: give one number, or {units} of them, one per unit")
    if value.ndim and torch.promote_types(value.dtype, dtype) != dtype:
        raise ValueError(f"{name} is {value.dtype} but the layer's weights are {dtype}: give both the same dtype")
    return np.broadcast_to(_array(value), (units,)).copy()


def _array(tensor):
    return tensor.detach().cpu().double().numpy()


def _network(kind, row, read, readout, dt, options):
    """Network of `kind` cells from the row of modules, each as `read` finds it."""
    found, layers, parts = [], [], []
    for k, (linear, cell) in enumerate(row):
        what = f"layer {k} ({type(cell).__name__})"
        with named(what):
            f = read(linear, cell)
            layers.append(kind(len(f.weight_in), mask_rec=f.mask_rec, reset="zero", **f.local, **options))
        found.append(f)
        parts.append((what, f.weight_in, f.weight_rec))
    top = found[-1].weight_in
    if readout is None:
        weight, biases = torch.eye(len(top), dtype=top.dtype), []
    elif isinstance(readout, nn.Linear):
        weight, biases = readout.weight, _biases(readout)
    else:
        raise TypeError(f"readout is a {type(readout).__name__}: give an nn.Linear, or None for the top layer's events")
    _check_fit([*parts, ("readout", weight, None)])
    dtype = str(top.dtype).removeprefix("torch.")
    net = Network(found[0].weight_in.shape[1], layers, Readout(len(weight)), dtype=dtype, dt=dt)
    values = {name: np.zeros(value.shape) for name, value in net.parameters().items()}
    for k, f in enumerate(found):
        values[f"layers.{k}.weight_in"][0] = _array(f.weight_in)
        if f.weight_rec is not None:
            values[f"layers.{k}.weight_rec"][0] = _array(f.weight_rec)
        values[f"layers.{k}.bias"][0] = sum(map(_array, f.biases))
        values.update({f"layers.{k}.{name}": value for name, value in f.local.items()})
    values["readout.weight"] = _array(weight)
    values["readout.bias"][:] = sum(map(_array, biases))
    net.load_parameters(values)
    return net


def _check_fit(parts):
    """ValueError unless each (what, weight_in, weight_rec or None) fits the one below, all in one precision."""
    dtype, below = parts[0][1].dtype, parts[0][1].shape[1]
    for what, weight_in, weight_rec in parts:
        units, heard = weight_in.shape
        if heard != below:
            raise ValueError(f"{what} hears {heard} sources, but {below} units lie below it: make these two equal")
        shape = (units, units) if weight_rec is None else tuple(weight_rec.shape)
        if shape != (units, units):
            raise ValueError(f"{what} has recurrent weights {shape}, but {units} units: make them {(units, units)}")
        kinds = {weight_in.dtype, weight_in.dtype if weight_rec is None else weight_rec.dtype, dtype}
        if len(kinds) > 1 or not kinds <= {torch.float32, torch.float64}:
            given = " and ".join(sorted(map(str, kinds)))
            raise ValueError(f"{what} brings in weights of {given}: give all weights as float32, or all as float64")
        below = units
