"""What is usually run instead: recurrent networks of torch, norse and snntorch under backpropagation through time.

Every function gives a callable that does one sequence: forward, summed cross entropy at all steps, backward. All read
x (T, n_in) with classes y (T,) as one sequence, on one thread.
"""

import torch
from torch import nn

from evsim.registry import load_optional

from .fast import FastEGRU
from .loss import summed_loss
from .network import TorchNetwork


def cell_of(net, x, y, kind=TorchNetwork):
    """The network itself, unrolled by a TorchNetwork."""
    return _bptt(kind(net), None, torch.from_numpy(x)[None], y)


def fast_cell_of(net, x, y):
    """The network itself by FastEGRU."""
    return cell_of(net, x, y, FastEGRU)


def gru(units, n_out, x, y):
    """torch's nn.GRU, whose time loop and backward pass are compiled."""
    body = nn.GRU(x.shape[1], units)
    return _bptt(lambda heard: body(heard)[0], (body, nn.Linear(units, n_out)), torch.from_numpy(x)[:, None], y)


def lsnn(units, n_out, x, y):
    """norse's LSNNRecurrent: adaptive spiking units."""
    body = load_optional("norse.torch", "norse").LSNNRecurrent(x.shape[1], units)
    return _bptt(lambda heard: body(heard)[0], (body, nn.Linear(units, n_out)), torch.from_numpy(x)[:, None], y)


def rleaky(units, n_out, x, y):
    """snntorch's RLeaky behind an nn.Linear, stepped by hand as its documentation does."""
    body = Leaky(x.shape[1], units)
    return _bptt(body, (body, nn.Linear(units, n_out)), torch.from_numpy(x)[:, None], y)


def silent_cell_of(net, x):
    """Inference of the network itself by a TorchNetwork."""
    model = TorchNetwork(net)
    return _inference(model, torch.from_numpy(x)[None])


def silent_gru(units, x):
    """Inference of torch's nn.GRU."""
    return _inference(nn.GRU(x.shape[1], units), torch.from_numpy(x)[:, None])


def silent_lif(units, x):
    """Inference of norse's LIFRecurrent."""
    body = load_optional("norse.torch", "norse").LIFRecurrent(x.shape[1], units)
    return _inference(body, torch.from_numpy(x)[:, None])


def silent_rleaky(units, x):
    """Inference of snntorch's RLeaky behind an nn.Linear."""
    return _inference(Leaky(x.shape[1], units), torch.from_numpy(x)[:, None])


class Leaky(nn.Module):
    """nn.Linear and snntorch's RLeaky over a sequence (T, batch, n_in) -> spikes (T, batch, units)."""

    def __init__(self, n_in, units):
        super().__init__()
        self.heard = nn.Linear(n_in, units)
        self.leaky = load_optional("snntorch", "snntorch").RLeaky(beta=0.9, linear_features=units)

    def forward(self, x):
        spikes, membrane = self.leaky.init_rleaky()
        out = []
        for now in self.heard(x):
            spikes, membrane = self.leaky(now, spikes, membrane)
            out.append(spikes)
        return torch.stack(out)


def _bptt(body, parts, x, y):
    """A callable that does one sequence; its model's parameters carry the gradient. parts: (body, readout), if any."""
    torch.set_num_threads(1)
    readout = parts[1] if parts else nn.Identity()
    model = nn.ModuleList(parts) if parts else body
    wanted = torch.from_numpy(y)

    def turn():
        model.zero_grad(set_to_none=True)
        out = readout(body(x))
        loss = summed_loss("cross_entropy", out.reshape(len(wanted), -1), wanted)
        loss.backward()
        return loss

    turn.model = model
    return turn


def _inference(body, x):
    torch.set_num_threads(1)

    def turn():
        with torch.no_grad():
            return body(x)

    return turn
