"""Network: a stack of layers and a readout. It owns the parameters and nothing else."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from evsim.cell import Cell
from evsim.check import as_floats, check_choice, check_count, check_dtype, check_mask, check_positive, check_seed, named
from evsim.layout import build_layout
from evsim.readout import LeakyReadout, Readout

PIECE = 128  # steps through which a layer is run before the next one


class Network:
    """Layers of event-based units, from n_in inputs to a readout.

    n_in: number of inputs. layers: cells, bottom to top; layer l hears the events of layer l-1 of the same step and its
    own of the step before. readout: a Readout or a LeakyReadout. seed: int or numpy Generator for masks and weights.
    dtype: "float32" or "float64" (drawn in float64 and rounded: the same seed gives the same network in both). dt:
    seconds per step, which turns time constants into decays. tokens: are the inputs all 0 but for a single 1?

    Weights start as N(0, 1 / existing fan-in), biases at 0 (an EGRU's z at 1); with tokens those of the first layer's
    inputs, of which a unit hears one at a time, start as N(0, 1). `theta` is the flat vector of all parameters
    (`evsim.layout`), `version` counts its changes: whoever writes to theta calls `project`. `stack` is what the engine
    runs: the layers, and a LeakyReadout on top of them.
    """

    def __init__(self, n_in, layers, readout, seed=0, dtype="float32", dt=1e-3, tokens=False):
        self.n_in = check_count("n_in", n_in)
        if not isinstance(layers, Cell | list | tuple):
            raise TypeError(f"layers is {layers!r}: pass a list of layers such as [evsim.EGRU(64)]")
        layers = (layers,) if isinstance(layers, Cell) else tuple(layers)
        if not layers:
            raise ValueError("the network has no layers: pass at least one, such as [evsim.EGRU(64)]")
        for k, cell in enumerate(layers):
            if not isinstance(cell, Cell):
                raise TypeError(f"layers[{k}] is {cell!r}: pass layers such as evsim.EGRU(64)")
        if not isinstance(readout, Readout | LeakyReadout):
            raise TypeError(f"readout is {readout!r}: pass evsim.Readout(number of outputs) or evsim.LeakyReadout")
        self.layers = layers
        self.readout = readout
        leaky = isinstance(readout, LeakyReadout)
        self.stack = (*layers, readout) if leaky else layers
        self.n_out = readout.units
        self.dtype = check_dtype(dtype)
        self.dt = check_positive("dt", dt)
        rng = check_seed(seed)
        masks = []
        below = self.n_in
        for k, cell in enumerate(layers):
            masks.append((_draw_in(k, cell, below, rng), _draw_rec(cell, rng)))
            below = cell.units
        if leaky:
            masks.append((np.ones((self.n_out, below), bool), np.zeros((self.n_out, self.n_out), bool)))
        self._plain_outputs = 0 if leaky else self.n_out  # of a readout that is no layer of the stack
        self.layout = build_layout(self.stack, masks, self._plain_outputs)
        self._masks = {}
        for k, (mask_in, mask_rec) in enumerate(masks[: len(layers)]):
            self._masks[f"layers.{k}.weight_in"] = mask_in
            self._masks[f"layers.{k}.weight_rec"] = mask_rec
        self.theta = np.zeros(self.layout.size, self.dtype)
        self.version = 0
        self._start(rng, tokens)

    @property
    def trained(self):
        """View of theta that holds the trained parameters: what gradients and optimisers run over."""
        return self.theta[: self.layout.trained]

    def parameters(self):
        """dict of all parameters, trained or not: dense copies by name, absent weights 0."""
        return self.to_dense(self.theta)

    def masks(self):
        """dict of boolean arrays, shaped as the parameter, for every weight_in and weight_rec: which weights exist."""
        shapes = {name: self.layout.names[name][0] for name in self._masks}
        return {name: np.broadcast_to(mask, shapes[name]).copy() for name, mask in self._masks.items()}

    def to_dense(self, flat, trained_only=False):
        """dict of dense arrays by parameter name from a flat vector in theta's order."""
        out = {}
        for name, (shape, dense, places) in self.layout.names.items():
            if not (trained_only and name in self.layout.untrained):
                array = np.zeros(int(np.prod(shape)), flat.dtype)
                array[dense] = flat[places]
                out[name] = array.reshape(shape)
        return out

    def load_parameters(self, parameters):
        """Take parameters from a dict as `parameters()` gives it; nothing changes unless all of it fits.

        Raises ValueError for wrong names or shapes, values that are not finite or out of range, and values other than 0
        where no weight exists.
        """
        if not isinstance(parameters, Mapping):
            raise TypeError(f"parameters is {parameters!r}: pass a dict of arrays by name, as parameters() gives it")
        names = self.layout.names
        missing, extra = sorted(set(names) - set(parameters)), sorted(set(parameters) - set(names))
        if missing or extra:
            raise ValueError(f"parameters do not fit this network: missing {missing}, unknown {extra}; give its own")
        theta = self.theta.copy()
        for name, (shape, dense, places) in names.items():
            value = as_floats(name, parameters[name], shape, self.dtype).ravel()
            theta[places] = value[dense]
            absent = np.ones(value.size, bool)
            absent[dense] = False
            if np.any(value[absent]):
                raise ValueError(f"{name} has values where no weight exists: set them to 0, or build with that mask")
        self._check_locals(theta)
        self.theta[:] = theta
        self.version += 1

    def project(self):
        """Bring trained local parameters back into range (an EGRU's threshold: [0.001, 1]); each update does it."""
        for cell, place in zip(self.stack, self.layout.layers, strict=True):
            for q, name in enumerate(cell.local):
                bounds = cell.bounds(name)
                if name in cell.trained() and bounds:
                    at = place.local_at[:, q]
                    self.theta[at] = np.clip(self.theta[at], bounds[0], bounds[1])
        self.version += 1

    def set_half_width(self, half_width):
        """Give the layers another half-width of the pseudo-derivative: a number, or a list of one for each layer.

        Learners on this network take it from their next step on; what they know of earlier steps stays as it was, so
        gradients are exact, each step with the half-width that was in force. ValueError for one that is not above 0,
        and for a list of another length.
        """
        given = half_width if isinstance(half_width, list | tuple) else [half_width] * len(self.layers)
        if len(given) != len(self.layers):
            told = f"half_width has {len(given)} entries, but the network has {len(self.layers)} layers"
            raise ValueError(f"{told}: give one for each layer, or a single number")
        layers = tuple(replace(cell, half_width=width) for cell, width in zip(self.layers, given, strict=True))
        self.stack = (*layers, *self.stack[len(layers) :])
        self.layers = layers
        self.version += 1

    def rewire(self, masks):
        """Let other weights exist: masks, a dict of boolean arrays by name, each (n, m) or as `masks()` gives it.

        Weights that stay keep their values, new ones are 0, masks that are left out stay, and so does all else; `theta`
        and `layout` are new objects. Returns where each parameter of `trained` stood before (P,), and -1 for a new one:
        what `Optimizer.rewire` takes.
        Learners take the change up at their next `reset`; `evsim.rewire` sees to all of it.

        TypeError, ValueError, and no change, for unknown names, other kinds and shapes, masks that differ from channel
        to channel, and a layer that would hear nothing.
        """
        found = {**self._masks, **self._checked_masks(masks)}
        pairs = [tuple(found[f"layers.{k}.weight_{side}"] for side in ("in", "rec")) for k in range(len(self.layers))]
        layers = tuple(
            replace(cell, mask_in=pair[0], mask_rec=pair[1]) for cell, pair in zip(self.layers, pairs, strict=True)
        )
        stack = (*layers, *self.stack[len(layers) :])
        leaky = [(np.ones((self.n_out, layers[-1].units), bool), np.zeros((self.n_out, self.n_out), bool))]
        layout = build_layout(stack, pairs + leaky * (len(stack) - len(layers)), self._plain_outputs)
        origin = np.full(layout.size, -1)
        for name, (shape, dense, places) in layout.names.items():
            _, before, stood = self.layout.names[name]
            each = np.full(int(np.prod(shape)), -1)
            each[before] = stood
            origin[places] = each[dense]
        theta = self.theta[origin]
        theta[origin < 0] = 0
        self.layers, self.stack, self.layout, self.theta, self._masks = layers, stack, layout, theta, found
        self.version += 1
        return origin[: layout.trained]

    def run(self, x, record_events=False):
        """Inference from zero state: x (T, n_in) -> out (T, n_out); with a leading axis of sequences, on all of them.

        record_events=True returns (out, events) with one array (T, n) of events per layer.
        """
        from evsim.forward import Forward

        single = np.ndim(x) == 2
        x = as_floats("x", x, (None, self.n_in) if single else (None, None, self.n_in), self.dtype)
        forward = Forward(self, 1, min(PIECE, max(1, x.shape[-2])), learn=0)
        out, events = forward.sequences(x[None] if single else x, record_events)
        if single:
            out, events = out[0], [e[0] for e in events]
        return (out, events) if record_events else out

    def config(self):
        """The network's specification, without masks and parameters."""
        return {
            "n_in": self.n_in,
            "layers": [cell.config() for cell in self.layers],
            "readout": self.readout.config(),
            "dtype": self.dtype.name,
            "dt": self.dt,
        }

    def __repr__(self):
        stack = ", ".join(f"{type(c).__name__}({c.units})" for c in self.layers)
        size = f"{self.layout.trained:,} trained parameters, {self.dtype}"
        return f"Network({self.n_in}, [{stack}], {type(self.readout).__name__}({self.n_out})), {size}"

    def _checked_masks(self, masks):
        if not isinstance(masks, Mapping):
            told = f"masks is of type {type(masks).__name__}"
            raise TypeError(f"{told}: pass a dict of boolean arrays by name, as masks() gives it")
        found = {}
        for name, given in masks.items():
            check_choice("mask", name, self._masks)
            if np.ndim(given) == 3 and not (np.asarray(given) == np.asarray(given)[:1]).all():
                raise ValueError(f"{name} differs from channel to channel, which share a mask: pass one for all")
            found[name] = check_mask(name, given, self._masks[name].shape)
            if found[name] is None:
                raise TypeError(f"{name} is None: pass a boolean array, or leave the name out to keep its mask")
            if name.endswith("weight_in") and not found[name].any():
                raise ValueError(f"{name} keeps no weight at all, and the layer would hear nothing: keep at least one")
        return found

    def _start(self, rng, tokens):
        values = {}
        for k, cell in enumerate(self.layers):
            prefix = f"layers.{k}."
            for side in ("weight_in", "weight_rec"):
                shape = self.layout.names[prefix + side][0]
                mask = self._masks[prefix + side]
                alone = tokens and k == 0 and side == "weight_in"
                fan = 1 if alone else np.maximum(mask.sum(1, keepdims=True), 1)
                values[prefix + side] = rng.standard_normal(shape) * mask / np.sqrt(fan)
            bias = [np.full(cell.units, cell.bias.get(name, 0.0)) for name in cell.channels]
            values[prefix + "bias"] = np.stack(bias)
        top = self.layers[-1].units
        values["readout.weight"] = rng.standard_normal((self.n_out, top)) / np.sqrt(top)
        values["readout.bias"] = np.zeros(self.n_out)
        for cell, place in zip(self.stack, self.layout.layers, strict=True):
            with named(_whose(place, cell)):
                values |= {place.names[name]: self._initial(cell, name) for name in cell.local}
        self.load_parameters(values)

    def _initial(self, cell, name):
        """A layer's local parameter at the start, which must be usable in the network's precision too."""
        exact = cell.initial_local(name, self.dt)
        try:
            cell.check_local(name, exact.astype(self.dtype))
        except ValueError as error:
            told = " to ".join(dict.fromkeys((f"{exact.min():.12g}", f"{exact.max():.12g}")))
            raise ValueError(f'{error}; it is {told} rounded to {self.dtype}: change it, or pass "float64"') from None
        return exact

    def _check_locals(self, theta):
        for cell, place in zip(self.stack, self.layout.layers, strict=True):
            with named(_whose(place, cell)):
                for q, name in enumerate(cell.local):
                    cell.check_local(name, theta[place.local_at[:, q]])


def check_network(net):
    """Return `net` if it is a Network."""
    if isinstance(net, Network):
        return net
    raise TypeError(f"net is {net!r}: pass an evsim.Network")


def _whose(place, cell):
    """A layer as messages name it: "layers.1 (LIF)"."""
    return f"{place.names['bias'].removesuffix('.bias')} ({type(cell).__name__})"


def _draw_in(k, cell, below, rng):
    if cell.mask_in is None:
        return rng.random((cell.units, below)) < cell.density_in
    if cell.mask_in.shape[1] != below:
        raise ValueError(
            f"mask_in of layer {k} has shape {cell.mask_in.shape}, but the layer hears {below} sources: "
            f"pass a mask of shape {(cell.units, below)}"
        )
    return cell.mask_in


def _draw_rec(cell, rng):
    return cell.mask_rec if cell.mask_rec is not None else rng.random((cell.units, cell.units)) < cell.density
