"""Exact RTRL of one EGRU layer as anybody would write it with BLAS: dense, whatever is silent or absent.

The rival of `evsim.bench.spiral`: a batch of sequences at once, J M as a product of two dense matrices for each.
"""

import time

import numpy as np

from evsim.network import Network
from evsim.readout import Readout
from evsim.registry import lookup


class DenseEGRU:
    """M (streams, n, n (3 n_in + 3 n + 5)): for each unit the weights of z, r, g, those of z, r, q, biases, threshold.

    One EGRU layer under a linear readout, binary cross entropy at the last step alone.
    """

    def __init__(self, net, streams):
        (self.cell,), values = net.layers, net.parameters()
        self.w_in, self.w_rec = values["layers.0.weight_in"], values["layers.0.weight_rec"]
        self.bias, self.threshold = values["layers.0.bias"], values["layers.0.threshold"]
        self.weight, self.out_bias = values["readout.weight"], values["readout.bias"]
        self.n, self.m, self.streams = self.w_in.shape[1], self.w_in.shape[2], streams
        self.width = 3 * self.m + 3 * self.n + 5
        self.M = np.zeros((streams, self.n, self.n * self.width), self.w_in.dtype)
        self._next = np.zeros_like(self.M)
        self.macs = self.n * self.M.shape[2] * self.n  # of J M, for one step of one stream

    def run(self, x, targets):
        """Gradients by name, summed over streams, of sequences x (streams, T, n_in) and targets (streams, n_out)."""
        b, n = self.streams, self.n
        zero = np.zeros((b, n), x.dtype)
        self.M[:] = 0
        e, y, phi, D, by_c, by_threshold = zero, zero, zero, zero, zero, zero
        unit = np.arange(n)
        for t in range(x.shape[1]):
            fed = np.einsum("gij,bj->gbi", self.w_in, x[:, t])
            told = np.einsum("gij,bj->gbi", self.w_rec, y)
            inner = told[2] + self.bias[3]
            z, r = (1 / (1 + np.exp(-(fed[k] + told[k] + self.bias[k]))) for k in (0, 1))
            g = np.tanh(fed[2] + self.bias[2] + r * inner)
            c = z * e + (1 - z) * g
            k = (1 - z) * (1 - g * g)
            slopes = np.stack([(e - g) * z * (1 - z), k * inner * r * (1 - r), k, k * r], 2)  # (b, n, 4)
            flow = np.einsum("bik,kij->bij", slopes[:, :, [0, 1, 3]], self.w_rec)
            J = flow * phi[:, None]
            J[:, unit, unit] += z * by_c
            np.matmul(J, self.M, out=self._next)
            self.M, self._next = self._next, self.M
            M = self.M.reshape(b, n, n, self.width)
            M[:, :, :, -1] += flow * D[:, None]  # thresholds, through the events of the step before
            own = M[:, unit, unit]  # (b, n, width), a copy
            own[:, :, : 3 * self.m] += (slopes[:, :, :3, None] * x[:, t, None, None]).reshape(b, n, -1)
            own[:, :, 3 * self.m : -5] += (slopes[:, :, [0, 1, 3], None] * y[:, None, None]).reshape(b, n, -1)
            own[:, :, -5:-1] += slopes
            own[:, :, -1] += z * by_threshold
            M[:, unit, unit] = own
            o = (c > self.threshold).astype(x.dtype)
            h = self.cell.pseudo.derivative(c - self.threshold).astype(x.dtype)
            if self.cell.always:
                o, h = np.ones_like(o), np.zeros_like(h)
            y, e, phi, D = o * c, c - o * self.threshold, o + c * h, -c * h
            by_c, by_threshold = 1 - self.threshold * h, -o + self.threshold * h
        out = y @ self.weight.T + self.out_bias
        error = (1 / (1 + np.exp(-out)) - targets) / out.shape[1]
        sent = error @ self.weight
        flat = np.matmul((sent * phi)[:, None], self.M)[:, 0].reshape(b, n, self.width)
        flat[:, :, -1] += sent * D
        return self._named(flat.sum(0), error, y)

    def _named(self, flat, error, y):
        n, cut = self.n, 3 * self.m
        return {
            "layers.0.weight_in": flat[:, :cut].reshape(n, 3, self.m).transpose(1, 0, 2),
            "layers.0.weight_rec": flat[:, cut:-5].reshape(n, 3, n).transpose(1, 0, 2),
            "layers.0.bias": flat[:, -5:-1].T, "layers.0.threshold": flat[:, -1],
            "readout.weight": error.T @ y, "readout.bias": error.sum(0),
        }  # fmt: skip


def time_dense(units, streams, repeats=3):
    """dict: seconds of a step of one stream on the spiral task, units that always speak, the least of some batches."""
    net = Network(2, lookup("cell", "egru")(units, always=True), Readout(1))
    data = lookup("task", "spiral")().split("train")
    rival, least = DenseEGRU(net, streams), np.inf
    for _ in range(repeats):
        began = time.perf_counter()
        rival.run(data.x[:streams], data.y[:streams])
        least = min(least, time.perf_counter() - began)
    return {"units": units, "seconds": least / (streams * data.x.shape[1])}
