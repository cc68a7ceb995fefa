"""Slow truths, written to be read: the forward pass, the losses, the influence recursion, the count of its work.

Nothing here calls a compiled kernel.
"""

from typing import NamedTuple

import numpy as np

from evsim.opcount import NAMES
from evsim.words import NumpyWords


class Step(NamedTuple):
    """What one step of one layer leaves behind; `own` is the layer's output of the step before."""

    heard: np.ndarray  # (m,)
    own: np.ndarray  # (n,)
    y: np.ndarray  # (n,)
    A: np.ndarray  # (n, K, K)
    B: np.ndarray  # (n, K, G)
    C: np.ndarray  # (n, K, L)
    phi: np.ndarray  # (n, K)
    D: np.ndarray  # (n, L)


def channels(cell, own, heard, y):
    """Pre-activations of one layer: a list of G arrays (n,). own: its weights and biases, channels first if at all."""
    a = list(own["bias"].reshape(len(cell.channels), cell.units))
    for name, fed, source in (("weight_in", cell.in_channels, heard), ("weight_rec", cell.rec_channels, y)):
        for row, g in enumerate(fed):
            a[g] = a[g] + own[name].reshape(len(fed), cell.units, len(source))[row] @ source
    return a


def names_of(net):
    """For each layer of the stack, its own name of each parameter -> the network's."""
    return [place.names for place in net.layout.layers]


def masks_of(net):
    """For each layer of the stack, boolean (mask_in, mask_rec); a readout hears all of the layer below."""
    masks, found = net.masks(), []
    for k, cell in enumerate(net.stack):
        if k < len(net.layers):
            found.append(tuple(masks[f"layers.{k}.weight_{side}"][0] for side in ("in", "rec")))
        else:
            found.append((np.ones((cell.units, net.layers[-1].units), bool), np.zeros((cell.units, cell.units), bool)))
    return found


def forward(net, x, words=NumpyWords, values=None):
    """One sequence x (T, n_in) from zero: out (T, n_out), and per layer a list over time of (y, a, s)."""
    values = net.parameters() if values is None else values
    own = [{name: values[full] for name, full in names.items()} for names in names_of(net)]
    ys = [np.zeros(cell.units, x.dtype) for cell in net.stack]
    kept = [cell.nothing_kept(y) for cell, y in zip(net.stack, ys)]
    out, seen = [], [[] for _ in net.stack]
    for heard in x:
        for k, cell in enumerate(net.stack):
            m = words(getattr(cell, "pseudo", None))
            q = [own[k][name] for name in cell.local]
            a = channels(cell, own[k], heard, ys[k])
            s = cell.advance(m, kept[k], a, q)
            ys[k] = heard = cell.emit(m, s, q)
            kept[k] = cell.keep(m, s, q)
            seen[k].append((heard, a, s))
        leaky = len(net.stack) > len(net.layers)
        out.append(heard if leaky else values["readout.weight"] @ heard + values["readout.bias"])
    return np.array(out).reshape(len(x), net.n_out), seen


def loss_and_error(kind, out, target):
    """Loss of one output vector, and its derivative to that vector."""
    if kind == "cross_entropy":
        p = np.exp(out - out.max())
        p /= p.sum()
        return -np.log(p[target]), p - np.eye(len(out))[target]
    if kind == "binary_cross_entropy":
        p = 1 / (1 + np.exp(-out))
        return -np.mean(target * np.log(p) + (1 - target) * np.log(1 - p)), (p - target) / len(out)
    return np.mean((out - target) ** 2), 2 * (out - target) / len(out)


FAULTS = ("C", "D", "D in the recurrence", "layer below cut", "layer below late")


class Influence:
    """M and Y of every layer as dense arrays over every entry of every trained parameter, absent weights included.

    `place[name]` has the parameter's shape and holds columns. `fault`, one of FAULTS, leaves a term out, and so does
    recurrent=False: W_rec Y(t-1). pattern (units, units): each step's M is cut to the state of unit i against the
    parameters of unit k where it is True at (i, k).
    """

    def __init__(self, net, fault=None, recurrent=True, pattern=None):
        assert fault is None or fault in FAULTS
        self.recurrent = recurrent
        self.cells, self.fault, self.masks, self.names = net.stack, fault, masks_of(net), names_of(net)
        self.leaky = len(net.stack) > len(net.layers)
        self.place, columns = {}, 0
        for name, value in net.parameters().items():
            if name not in net.layout.untrained and (self.leaky or not name.startswith("readout")):
                self.place[name] = columns + np.arange(value.size).reshape(value.shape)
                columns += value.size
        self.M = [np.zeros((cell.units, len(cell.states), columns)) for cell in self.cells]
        self.Y = [np.zeros((cell.units, columns)) for cell in self.cells]
        self.echo = [y.copy() for y in self.Y]  # what the recurrence hears of Y
        owner = np.zeros(columns, int)
        first = np.cumsum([0, *(cell.units for cell in self.cells)])
        for k, names in enumerate(self.names):
            units = np.arange(first[k], first[k + 1])
            for name, full in names.items():
                if full in self.place:
                    owner[self.place[full]] = units[:, None] if name.startswith("weight") else units
        keep = np.ones((first[-1], first[-1]), bool) if pattern is None else pattern
        self.keep = [keep[first[k] : first[k + 1], None, owner] for k in range(len(self.cells))]

    def advance(self, steps, values):
        """One time step from one Step per layer, with the parameters in force."""
        before = [y.copy() for y in self.Y]
        for k, (cell, step) in enumerate(zip(self.cells, steps)):
            below = None if k == 0 else before[k - 1] if self.fault == "layer below late" else self.Y[k - 1]
            if self.fault == "layer below cut":
                below = None
            self._layer(k, cell, step, values, below)

    def gradient(self, values, d_out, y):
        """Add-on of one told step: d loss / d parameter for every trained parameter, readout included."""
        flat = (d_out if self.leaky else d_out @ values["readout.weight"]) @ self.Y[-1]
        found = {name: flat[place] for name, place in self.place.items()}
        if self.leaky:
            return found
        return {**found, "readout.weight": np.outer(d_out, y), "readout.bias": d_out.copy()}

    def _layer(self, k, cell, step, values, below):
        names, n = self.names[k], cell.units
        pre = np.zeros((n, len(cell.channels), self.M[k].shape[2]))
        echo = self.echo[k] if self.recurrent else None
        for name, fed, Y in (("weight_in", cell.in_channels, below), ("weight_rec", cell.rec_channels, echo)):
            for row, g in enumerate(fed if Y is not None else ()):
                pre[:, g] += values[names[name]].reshape(len(fed), n, -1)[row] @ Y
        A, B = step.A, step.B
        M = np.einsum("ikc,icp->ikp", A, self.M[k]) + np.einsum("ikg,igp->ikp", B, pre)
        M *= self.keep[k]
        place = {name: self.place[full] for name, full in names.items() if full in self.place}
        sides = ("weight_in", cell.in_channels, step.heard), ("weight_rec", cell.rec_channels, step.own)
        for i in range(n):
            for (name, fed, z), mask in zip(sides, self.masks[k]):
                for row, g in enumerate(fed):
                    M[i][:, place[name].reshape(len(fed), n, -1)[row, i]] += np.outer(B[i, :, g], z * mask[i])
            for g in range(len(cell.channels)):
                M[i, :, place["bias"].reshape(-1, n)[g, i]] += B[i, :, g]
        Y = np.einsum("ik,ikp->ip", step.phi, M)
        echo = Y.copy()
        for q, name in enumerate(cell.local):
            if name in place:
                at = place[name]
                for i in range(cell.units):
                    if self.fault != "C":
                        M[i, :, at[i]] += step.C[i, :, q]
                        through = step.phi[i] @ step.C[i, :, q]
                        Y[i, at[i]] += through
                        echo[i, at[i]] += through
                    if self.fault != "D":
                        Y[i, at[i]] += step.D[i, q]
                        if self.fault != "D in the recurrence":
                            echo[i, at[i]] += step.D[i, q]
        self.M[k], self.Y[k], self.echo[k] = M, Y, echo


def graphs(net):
    """Boolean (units, units), layers bottom up: edges from layer to layer, recurrent edges; from k to i at (i, k)."""
    first = np.cumsum([0, *(cell.units for cell in net.stack)])
    upward, recurrent = np.zeros((2, first[-1], first[-1]), bool)
    for k, (mask_in, mask_rec) in enumerate(masks_of(net)):
        here = slice(first[k], first[k + 1])
        recurrent[here, here] = mask_rec
        if k:
            upward[here, first[k - 1] : first[k]] = mask_in
    return upward, recurrent


def reach(net):
    """Boolean (units, units): (i, k) where a path of edges (or none: i = k) leads from k to i."""
    upward, recurrent = graphs(net)
    return np.linalg.matrix_power(upward | recurrent | np.eye(len(upward), dtype=bool), 2 * len(upward))


def near(net, n):
    """As `reach`, by paths of at most n - 1 recurrent edges: S_1 = (I + In)^layers, S_{n+1} = S_1 (I + Rec) S_n."""
    upward, recurrent = graphs(net)
    one = np.eye(len(upward), dtype=bool)
    free = found = np.linalg.matrix_power(one | upward, len(net.stack))
    for _ in range(n - 1):
        found = free @ (one | recurrent) @ found
    return found


class Counter:
    """The work that exact sparse RTRL has to do, by plain loops over rows and edges.

    tiles: list of (columns, units that own them): rows are counted once for each. A row that nothing has reached is not
    touched; a memory-less unit has a row where phi != 0, and forgets the one that it had. A row of a unit of one state
    at which nothing arrives is not touched either: its leak is kept in a factor. A row of Y is made for each unit that
    somebody hears; those of one state without memory stand there anyhow. fault: a name whose counts are wrong on
    purpose.
    """

    def __init__(self, net, tiles, fault=None):
        self.net, self.tiles, self.fault = net, tiles, fault
        self.first = np.cumsum([0, *(cell.units for cell in net.stack)])
        self.masks, self.leaky = masks_of(net), len(net.stack) > len(net.layers)
        self.reach = reach(net)
        self.alive = [set() for _ in tiles]
        self.shown = [set() for _ in tiles]
        self.past = None  # Steps of the step before
        self.total = [dict.fromkeys(NAMES, 0) for _ in range(len(net.layers) + 1)]

    def add(self, k, **done):
        """Add to the counts of layer k, or of the readout."""
        for name, value in done.items():
            self.total[k][name] += int(value) + (name == self.fault)

    def advance(self, steps, d_out=None, forces=None):
        """Count one step from one Step per layer; d_out: the error at the outputs, if a loss was told.

        forces: one (n, K) per layer, what `evsim.quiet` asks of the states, where it does.
        """
        net, top = self.net, len(self.net.stack) - 1
        self.forces = [np.zeros_like(step.phi) for step in steps]
        for k, force in enumerate(forces or ()):
            self.forces[k] = force
        moves = [step.phi.any(1) for step in steps]
        if self.past is None:
            self.add(0, sequences=1)
        for k, (cell, step) in enumerate(zip(net.stack, steps)):
            self._layer(k, cell, step, moves)
        sent = np.zeros(net.stack[top].units)
        if self.leaky:
            sent = sent if d_out is None else d_out
        else:
            sent = self._read_out(steps[top].y, int(moves[top].sum()), d_out, sent)
        for which in range(len(self.tiles)):
            self._tile(which, steps, moves, sent)
        self.past = steps

    def _layer(self, k, cell, step, moves):
        mask_in, mask_rec = self.masks[k]
        fed_in, fed_rec, K = len(cell.in_channels), len(cell.rec_channels), len(cell.states)
        done = fed_in * mask_in[:, step.heard != 0].sum() + fed_rec * mask_rec[:, step.own != 0].sum()
        ones = fed_in * mask_in[:, step.heard == 1].sum() + fed_rec * mask_rec[:, step.own == 1].sum()
        self.add(k, forward=done, ones_forward=ones, steps=1)
        if k < len(self.net.layers):
            self.add(k, events=(step.y != 0).sum(), phi=moves[k].sum())
        before = np.zeros(cell.units, bool) if self.past is None else self.past[k].phi.any(1)
        below = moves[k - 1] if k else np.zeros(len(step.heard), bool)
        for i in range(cell.units):
            if not (cell.memory or moves[k][i] or self.forces[k][i].any()):
                continue
            plain = len(cell.channels) + len(cell.trained())
            added, ones = (
                fed_in * (mask_in[i] & heard).sum() + fed_rec * (mask_rec[i] & own).sum() + plain
                for heard, own in ((step.heard != 0, step.own != 0), (step.heard == 1, step.own == 1))
            )
            self.add(k, immediate=K * added, ones_influence=K * ones, step_read=K * added)
            self.add(k, words_read=K * added, words_written=K * added)
            recurrent, feed = (mask_rec[i] & before).sum() if fed_rec else 0, (mask_in[i] & below).sum()
            products = K * (recurrent * fed_rec + feed * fed_in)
            self.add(k, weights=products, step_read=products, coefficients=products + K * (recurrent + feed))

    def _read_out(self, y, moving, d_out, sent):
        n_out, spoken, ones = self.net.n_out, (y != 0).sum(), (y == 1).sum()
        self.add(-1, forward=n_out * spoken, ones_forward=n_out * ones)
        if d_out is not None:
            self.add(-1, gradient=n_out * (spoken + moving), sent=n_out * moving)
            self.add(-1, gradients=n_out * spoken, ones_gradient=n_out * ones)
            sent = d_out @ self.net.parameters()["readout.weight"]
        return sent

    def _show(self, which, k, phi):
        """A row of Y made from the rows of a unit's states: the first, and others that move the event."""
        columns, read = self.tiles[which][0], 1 + (phi[1:] != 0).sum()
        self.add(k, show=read * columns, words_read=read * columns, words_written=columns)

    def _tile(self, which, steps, moves, sent):
        (columns, owners), alive, before = self.tiles[which], self.alive[which], self.shown[which]
        shown, top = set(), len(self.net.stack) - 1
        for k, (cell, step) in enumerate(zip(self.net.stack, steps)):
            first, K, read, pressed = self.first[k], len(cell.states), 0, 0
            mask_in, mask_rec = self.masks[k]
            kept = (k < top or cell.rec_channels) and (cell.memory or K > 1)
            for i in range(cell.units):
                u = first + i
                if not self.reach[u, owners[0]]:
                    continue
                if not cell.memory:
                    alive.discard(u)
                    if not (moves[k][i] or self.forces[k][i].any()):
                        continue
                edges = sum(first + j in before for j in np.flatnonzero(mask_rec[i])) if cell.rec_channels else 0
                if k:
                    edges += sum(self.first[k - 1] + j in shown for j in np.flatnonzero(mask_in[i]))
                leak = int((step.A[i, :K, :K] != 0).sum()) if u in alive else 0
                if K == 1 and not leak:
                    alive.discard(u)
                if edges or u in owners or not cell.memory or (K > 1 and u in alive):
                    alive.add(u)
                    self.add(k, rows=K, leak=leak * columns, propagate=K * edges * columns)
                    self.add(k, words_read=(leak + K * edges) * columns, words_written=K * columns)
                elif u not in alive:
                    continue
                pressed += columns * int((self.forces[k][i] != 0).sum())
                if moves[k][i]:
                    shown.add(u)
                    if kept:
                        self._show(which, k, step.phi[i])
                    if k == top and sent[i] != 0:
                        read += columns * int((step.phi[i] != 0).sum())
            self.add(k, gradient=read + pressed, read=read + pressed)
            self.add(k, gradients=columns * ((read > 0) + (pressed > 0)))
        self.shown[which] = shown
