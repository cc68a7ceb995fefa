"""A torch network from the one truth: any evsim network unrolled over time, differentiable by autograd."""

from typing import Any

import torch

from evsim.network import check_network

from .core import Core
from .loss import summed_loss
from .words import TorchWords


class EventCore(Core):
    """The layers of an `evsim.Network` (with a leaky readout, which is one of them): m_t is what the top one says.

    The same cells, parameters and masks, under torch's autograd. Parameters keep the names of `net.parameters()` with
    "/" for "."; absent weights are held at 0 by the masks.
    """

    hears = ("numbers", "tokens")
    reads_out = False  # are a linear readout's parameters held too

    def __init__(self, net):
        super().__init__()
        self.net = check_network(net)
        self.n_in, self.n_out = net.n_in, net.n_out
        self.names = [place.names for place in net.layout.layers]
        self.width = self.stack[-1].units
        self.prices: Any = None  # an `evsim.models.prices.Prices`, while it charges what is unrolled
        held = {name for names in self.names for name in names.values()}
        for name, value in net.parameters().items():
            if name in held or self.reads_out:
                trained = name not in net.layout.untrained
                parameter = torch.nn.Parameter(torch.from_numpy(value.copy()), trained)
                self.register_parameter(name.replace(".", "/"), parameter)
        for name, mask in net.masks().items():
            self.register_buffer("mask/" + name.replace(".", "/"), torch.from_numpy(mask))

    @property
    def cells(self):
        """The network's layers, with their present half-widths."""
        return self.net.layers

    @property
    def stack(self):
        """The layers, and a leaky readout on top of them."""
        return self.net.stack

    def values(self):
        """dict of tensors by evsim's names, masks applied."""
        found = {name.replace("/", "."): value for name, value in self.named_parameters()}
        masks = {name.removeprefix("mask/").replace("/", "."): mask for name, mask in self.named_buffers()}
        return {name: value * masks[name] if name in masks else value for name, value in found.items()}

    def project(self):
        """Bring trained local parameters back into range, as `evsim.Network.project` does after an update."""
        with torch.no_grad():
            for cell, names in zip(self.stack, self.names, strict=True):
                for name in cell.trained():
                    bounds = cell.bounds(name)
                    if bounds:
                        self.get_parameter(names[name].replace(".", "/")).clamp_(*bounds)

    def start(self, batch, like):
        """State before the first step: for each layer of the stack, its events (batch, n) and what it keeps."""
        zeros = [torch.zeros(batch, cell.units, dtype=like.dtype, device=like.device) for cell in self.stack]
        return [(z, cell.nothing_kept(z)) for z, cell in zip(zeros, self.stack, strict=True)]

    def begin(self, batch):
        return _flat(self.start(batch, self._like()))

    def unroll(self, x, state):
        values, state, m = self.values(), self._layered(state), []
        if not x.is_floating_point():
            x = self._looked_up(x, values)
        for now in x.unbind(1):
            state = self.advance(now, state, values)
            m.append(state[-1][0])
        return torch.stack(m, 1), _flat(state)

    def advance(self, x, state, values):
        """One time step: x (batch, n_in), or weighted (batch, fed channels, n); state as from `start` -> new state."""
        heard, after = x, []
        for k, (cell, names, (y, kept)) in enumerate(zip(self.stack, self.names, state, strict=True)):
            words = TorchWords(getattr(cell, "pseudo", None))
            own = {name: values[full] for name, full in names.items()}
            q = [own[name] for name in cell.local]
            s = cell.advance(words, kept, preactivations(cell, own, heard, y), q)
            heard = cell.emit(words, s, q)
            after.append((heard, cell.keep(words, s, q)))
            if self.prices is not None and k < len(self.cells):
                self.prices.charge(k, cell, words, s, q, heard)
        return after

    def _looked_up(self, tokens, values):
        """What tokens (batch, T) tell the bottom layer, (batch, T, fed channels, n): as their one-hot vectors would."""
        weight = values[self.names[0]["weight_in"]].reshape(-1, self.n_in)
        return torch.nn.functional.embedding(tokens, weight.T).unflatten(-1, (-1, self.stack[0].units))

    def _layered(self, flat):
        """A state as `start` has it, from the tuple that `begin` gives."""
        found, parts = [], iter(flat)
        for cell in self.stack:
            y = next(parts)
            found.append((y, tuple(next(parts) for _ in cell.nothing_kept(y))))
        return found


class TorchNetwork(EventCore):
    """All of an `evsim.Network`, readout included, unrolled over time under torch's autograd (BPTT)."""

    reads_out = True

    def step(self, x, state, values):
        """One time step: x (batch, n_in), state as from `start` -> out (batch, n_out), new state."""
        after = self.advance(x, state, values)
        top = after[-1][0]
        if len(self.stack) > len(self.cells):
            return top, after
        return top @ values["readout.weight"].T + values["readout.bias"], after

    def forward(self, x, events=None):
        """x (batch, T, n_in) -> out (batch, T, n_out); `events`, a list, receives each step's events per layer."""
        values, state = self.values(), self.start(len(x), x)
        out = []
        for t in range(x.shape[1]):
            now, state = self.step(x[:, t], state, values)
            out.append(now)
            if events is not None:
                events.append([y for y, _ in state[: len(self.cells)]])
        return torch.stack(out, 1)


def _flat(state):
    return tuple(part for y, kept in state for part in (y, *kept))


def preactivations(cell, own, heard, y):
    """Channels of one layer, each (batch, n): inputs, recurrence and bias, each where the cell is fed by it.

    own: the layer's weight_in, weight_rec and bias, with or without an axis of channels. heard: (batch, m), or what its
    weights have made of it already, (batch, fed channels, n).
    """
    a = list(own["bias"].reshape(len(cell.channels), cell.units))
    sides = [("weight_in", cell.in_channels, heard), ("weight_rec", cell.rec_channels, y)]
    for name, fed, source in sides[: 2 if cell.rec_channels else 1]:
        weights = own[name].reshape(len(fed), cell.units, -1)
        told = source.unbind(1) if source.ndim == 3 else [source @ weight.T for weight in weights]
        for channel, drive in zip(fed, told, strict=True):
            a[channel] = a[channel] + drive
    return a


def autograd_gradients(net, x, targets, loss, keep=None, kind=TorchNetwork):
    """(loss, dict of gradients) of an `evsim.Network` by backpropagation through time, for x (T, n_in).

    targets as for `learner.run`; keep (T,) bool: the steps whose target counts, all by default. This is the reference
    that exact online gradients are held against. kind: the class that runs it.
    """
    model = kind(net)
    out = model(torch.from_numpy(x)[None])[0]
    wanted = torch.from_numpy(targets)
    if keep is not None:
        out, wanted = out[torch.from_numpy(keep)], wanted[torch.from_numpy(keep)]
    total = summed_loss(loss, out, wanted)
    total.backward()
    found = {name.replace("/", "."): value.grad for name, value in model.named_parameters()}
    return float(total.detach()), {name: grad.numpy() for name, grad in found.items() if grad is not None}
