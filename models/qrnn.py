"""QRNN: quasi-recurrent layers, whose products are made for all steps at once; only gates run along time."""

import torch
from torch import nn

from evsim.check import check_choice, check_count

from .core import Core, embedding
from .dropout import Dropout


class QRNNCore(Core):
    """Layers of Bradbury, Merity, Xiong, Socher: Quasi-recurrent neural networks (2016). m_t is the top layer's h_t.

        z, f, o = tanh, sigmoid, sigmoid of W [x_{t-1}, x_t] + b      or W x_t + b, where the window is 1
        c_t = f * c_{t-1} + (1 - f) * z;  h_t = o * c_t

    windows: for each layer, how many of its last inputs it hears, 1 or 2; None: 2, and 1 above the first layer, as in
    Merity, Keskar, Socher (2018). embed, forget_bias, dropout: as for a GatedCore. A state is c (batch, layers, units)
    and the last input (batch, n) of each layer with a window of 2.
    """

    kind = "qrnn"

    def __init__(self, n_in, units, layers=1, embed=None, windows=None, forget_bias=1.0, dropout=0.0):
        super().__init__()
        self.n_in, self.width, self.layers = check_count("n_in", n_in), check_count("units", units), layers
        check_count("layers", layers)
        self.windows = (2, *[1] * (layers - 1)) if windows is None else tuple(windows)
        if len(self.windows) != layers:
            told = f"windows={windows} has {len(self.windows)} entries for {layers} layers"
            raise ValueError(f"{told}: give one for each layer, 1 or 2")
        for window in self.windows:
            check_choice("windows", window, (1, 2))
        self.embed = nn.Identity() if embed is None else embedding(n_in, check_count("embed", embed))
        below = [n_in if embed is None else embed, *[units] * (layers - 1)]
        self.heard = [n for n, window in zip(below, self.windows) if window == 2]
        gates = [nn.Linear(window * n, 3 * units) for n, window in zip(below, self.windows)]
        with torch.no_grad():
            for gate in gates:
                gate.bias[units : 2 * units] = forget_bias
        self.gates = nn.ModuleList(gates)
        self.drop = Dropout(dropout)

    def begin(self, batch):
        zeros = self._like().new_zeros
        return (zeros(batch, self.layers, self.width), *(zeros(batch, n) for n in self.heard))

    def unroll(self, x, state):
        before, last, kept, ends = state[0].unbind(1), iter(state[1:]), [], []
        with self.drop.draws(x):
            heard = self.embed(x)
            for gate, window, c in zip(self.gates, self.windows, before, strict=True):
                heard = given = self.drop(heard)
                if window == 2:
                    given = torch.cat([torch.cat([next(last)[:, None], heard[:, :-1]], 1), heard], -1)
                    kept.append(heard[:, -1])
                z, f, o = gate(given).chunk(3, -1)
                f = torch.sigmoid(f)
                every = scan(f, (1 - f) * torch.tanh(z), c)
                ends.append(every[:, -1])
                heard = torch.sigmoid(o) * every
            return self.drop(heard), (torch.stack(ends, 1), *kept)


def scan(f, u, c):
    """c_t = f_t * c_{t-1} + u_t for f, u (batch, T, n), from c (batch, n) -> all of them (batch, T, n)."""
    found = []
    for keep, new in zip(f.unbind(1), u.unbind(1)):
        c = torch.addcmul(new, keep, c)
        found.append(c)
    return torch.stack(found, 1)
