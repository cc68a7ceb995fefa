"""Exact RTRL of one EvRNN layer as anybody would write it: dense by BLAS, and with scipy's CSR over existing weights.

The rivals to which ours is held; every multiply-add is done whatever the units do.
"""

import numpy as np
from scipy.sparse import csr_array


class NumpyRTRL:
    """The forward pass and the losses; what is done with M is the subclasses'. run adds to `gradients()`."""

    M: np.ndarray
    gradient: np.ndarray

    def __init__(self, net):
        (self.cell,) = net.layers
        values, n = net.parameters(), net.layers[0].units
        self.weight_in, self.weight_rec = (values[f"layers.0.weight_{side}"].reshape(n, -1) for side in ("in", "rec"))
        self.bias, self.threshold = values["layers.0.bias"].ravel(), values["layers.0.threshold"]
        self.weight, self.out_bias = values["readout.weight"], values["readout.bias"]
        self.n, self.m = self.weight_in.shape
        self.y = np.zeros(self.n, self.bias.dtype)
        self.phi = np.zeros_like(self.y)
        self.d_weight, self.d_bias = np.zeros_like(self.weight), np.zeros_like(self.out_bias)

    def advance(self, x, y, phi):
        """M <- J M + own inputs; x (n_in,), y and phi (n,) of the step before."""
        raise NotImplementedError

    def run(self, x, targets):
        """x (T, n_in), a class at each step; cross entropy."""
        for x_t, target in zip(x, targets):
            v = self.weight_in @ x_t + self.weight_rec @ self.y + self.bias
            o = (v > self.threshold).astype(v.dtype)
            h = self.cell.pseudo.derivative(v - self.threshold).astype(v.dtype)
            self.advance(x_t, self.y, self.phi)
            self.y, self.phi = (o * v, o + v * h) if self.cell.graded else (o, h)
            out = self.weight @ self.y + self.out_bias
            error = np.exp(out - out.max())
            error /= error.sum()
            error[target] -= 1
            self.d_weight += np.outer(error, self.y)
            self.d_bias += error
            self.gradient += (error @ self.weight * self.phi) @ self.M


class DenseRTRL(NumpyRTRL):
    """M (n, n (n_in + n + 1)): all weights, whether they exist or not; J M is a product of two dense matrices."""

    def __init__(self, net):
        super().__init__(net)
        self.M = np.zeros((self.n, self.n * (self.m + self.n + 1)), self.y.dtype)
        self._next = np.zeros_like(self.M)
        self.gradient = np.zeros(self.M.shape[1], self.y.dtype)
        self.macs = self.M.size * (self.n + 1) + self.n * (self.m + self.n + 2 * len(self.weight))
        self.bytes = 2 * self.M.nbytes

    def advance(self, x, y, phi):
        np.matmul(self.weight_rec * phi, self.M, out=self._next)
        self.M, self._next = self._next, self.M
        units = np.arange(self.n)
        self.M.reshape(self.n, self.n, -1)[units, units] += np.concatenate([x, y, [1]]).astype(y.dtype)

    def gradients(self):
        """dict as of `learner.gradients()`, absent weights included."""
        own = self.gradient.reshape(self.n, -1)
        sides = own[:, : self.m], own[:, self.m : -1], own[:, -1]
        return _named(*sides, self.d_weight, self.d_bias)


class CsrRTRL(NumpyRTRL):
    """M (n, P) over the P parameters that exist, J in CSR."""

    def __init__(self, net):
        super().__init__(net)
        masks = net.masks()
        own_in, own_rec = (masks[f"layers.0.weight_{side}"].reshape(self.n, -1) for side in ("in", "rec"))
        (to_in, self.from_in), (to_rec, self.from_rec) = np.nonzero(own_in), np.nonzero(own_rec)
        self.to = np.concatenate([to_in, to_rec, np.arange(self.n)])
        self.at = np.arange(len(self.to))
        self.J = csr_array(self.weight_rec * own_rec)
        self.J.sort_indices()
        self.weights = self.J.data.copy()
        self.M = np.zeros((self.n, len(self.to)), self.y.dtype)
        self.gradient = np.zeros(len(self.to), self.y.dtype)
        self.macs = (self.J.nnz + self.n) * len(self.to) + len(self.to) + self.n * 2 * len(self.weight)
        self.bytes = 2 * self.M.nbytes

    def advance(self, x, y, phi):
        self.J.data = self.weights * phi[self.J.indices]
        self.M = self.J @ self.M
        self.M[self.to, self.at] += np.concatenate([x[self.from_in], y[self.from_rec], np.ones(self.n, y.dtype)])

    def gradients(self):
        """dict as of `learner.gradients()`."""
        d_in, d_rec = np.zeros_like(self.weight_in), np.zeros_like(self.weight_rec)
        cuts = len(self.from_in), len(self.from_in) + len(self.from_rec)
        g_in, g_rec, d_bias = np.split(self.gradient, cuts)
        d_in[self.to[: cuts[0]], self.from_in] = g_in
        d_rec[self.to[cuts[0] : cuts[1]], self.from_rec] = g_rec
        return _named(d_in, d_rec, d_bias, self.d_weight, self.d_bias)


def _named(d_in, d_rec, d_bias, d_weight, d_out_bias):
    hidden = {"layers.0.weight_in": d_in[None], "layers.0.weight_rec": d_rec[None], "layers.0.bias": d_bias[None]}
    return {**hidden, "readout.weight": d_weight, "readout.bias": d_out_bias}
