"""An EGRU network in torch by few and large products: the rival to be timed against, where `network` is the truth."""

import torch

from .network import TorchNetwork
from .words import TorchWords


class FastEGRU(TorchNetwork):
    """One EGRU layer under a linear readout: inputs of all steps are multiplied at once, so are a step's channels.

    ValueError for any other network.
    """

    def __init__(self, net):
        super().__init__(net)
        if [cell.kind for cell in net.stack] != ["egru"]:
            raise ValueError(f"{net!r} is not one EGRU layer under a linear readout: use TorchNetwork")

    def forward(self, x, events=None):
        """x (batch, T, n_in) -> out (batch, T, n_out); `events` as in TorchNetwork."""
        cell = self.cells[0]
        words, n, detach = TorchWords(cell.pseudo), cell.units, cell.detach_reset
        own = {name.removeprefix("layers.0."): value for name, value in self.values().items()}
        bias, threshold = own["bias"], own["threshold"]
        heard = x @ own["weight_in"].reshape(3 * n, -1).T + bias[:3].reshape(-1)
        rec = own["weight_rec"].reshape(3 * n, n).T
        s = y = x.new_zeros(len(x), n)
        ys = []
        for a in heard.unbind(1):
            b = y @ rec
            z, r = torch.sigmoid(a[:, : 2 * n] + b[:, : 2 * n]).chunk(2, 1)
            c = z * s + (1 - z) * torch.tanh(a[:, 2 * n :] + r * (b[:, 2 * n :] + bias[3]))
            o = words.event(c - threshold)
            y, s = o * c, c - (o.detach() if detach else o) * threshold
            ys.append(y)
            if events is not None:
                events.append([y])
        return torch.stack(ys, 1) @ own["readout.weight"].T + own["readout.bias"]
