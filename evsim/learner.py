"""Learner: what every gradient engine shares: inputs and targets, the forward pass, losses, updates.

An engine adds two things: what it does with the Steps of a call (`_learn`), and what it does with a loss told later
(`_contract`). Classes state what they are in `exact`, `memory_claim` and `cost_claim`.
"""

from concurrent.futures import ThreadPoolExecutor
from math import isfinite, sqrt
from typing import Any, ClassVar

import numpy as np

from evsim.check import as_floats, as_labels, check_choice, check_count, check_finite, check_labels
from evsim.forward import Forward
from evsim.loss import KINDS, send_down, tell
from evsim.network import Network
from evsim.opcount import UPDATE, new_count, totals


def check_network(net):
    """Return `net` if it is a Network."""
    if isinstance(net, Network):
        return net
    raise TypeError(f"net is {net!r}: pass an evsim.Network")


class Learner:
    """Base of the learners. See the class of the learner for what it computes.

    net: Network. loss: "cross_entropy", "binary_cross_entropy" or "mse". streams: independent sequences carried side by
    side, each with its own state. threads: how many threads `run` spreads them over; results do not depend on it.
    """

    kind: ClassVar[str]
    exact: ClassVar[bool]
    memory_claim: ClassVar[str]
    cost_claim: ClassVar[str]

    def __init__(self, net, loss="cross_entropy", streams=1, threads=1, chunk=32):
        self.net = check_network(net)
        self.loss_kind = check_choice("loss", loss, KINDS)
        self.threads = check_count("threads", threads)
        self.streams = check_count("streams", streams)
        self._chunk = chunk
        self._counts = [new_count(len(net.layers)) for _ in range(self.threads)]
        self._pool = None
        self._allocate(self.streams)
        self._spaces = [self._workspace() for _ in range(self.threads)]
        self.reset()

    # What an engine adds

    def _workspace(self) -> Any:
        """Scratch of one thread."""
        return self._forward.workspace(), np.zeros(self.net.n_out, self.net.dtype)

    def _learn(self, lo, hi, steps, space, count):
        """Read the Steps of slots 1..steps and the losses told there."""
        raise NotImplementedError

    def _contract(self, slot, space, count):
        """Add the gradient of a loss told after the step in `slot`, whose derivative to the events stands in _delta."""
        raise NotImplementedError

    # Running

    def step(self, x_t, target=None):
        """One time step of every stream: x_t (n_in,) -> out (n_out,); with streams > 1, a leading stream axis on all.

        target: a class for cross entropy, (n_out,) numbers otherwise; None: no loss at this step.
        """
        forward, single = self._forward, self.streams == 1
        inlet, outlet, keep = self._ports
        x = self._floats("x_t", x_t, inlet.shape)
        if target is None:
            keep[...] = False
        else:
            self._take_target(target, single)
            keep[...] = True
        inlet[...] = x
        self._work(0, self.streams, 1, self._spaces[0], forward.last, self._counts[0])
        forward.last = 1
        return outlet.copy()

    def run(self, x, targets=None, mask=None):
        """Steps x (T, n_in) -> out (T, n_out) from the current state; with streams > 1, a leading stream axis on all.

        targets: (T,) classes for cross entropy, (T, n_out) otherwise. mask (T,): the steps whose target counts; targets
        elsewhere are not read. The time loop is compiled.
        """
        single = self.streams == 1
        lead = () if single else (self.streams,)
        x = as_floats("x", x, (*lead, None, self.net.n_in), self.net.dtype)
        steps = x.shape[-2]
        labels, values, keep = self._targets(targets, mask, (*lead, steps))
        if single:
            x, keep = x[None], keep[None]
            labels, values = (None if a is None else a[None] for a in (labels, values))
        out = np.empty((self.streams, steps, self.net.n_out), self.net.dtype)
        if steps:
            self._spread(lambda lo, hi, worker: self._run_streams(lo, hi, worker, x, labels, values, keep, out))
            self._forward.last = (steps - 1) % self._chunk + 1
        return out[0] if single else out

    def accumulate(self, d_out):
        """After step, before update: add a loss of your own by its gradient d_out (n_out,) to that step's outputs."""
        forward, net = self._forward, self.net
        shape = (net.n_out,) if self.streams == 1 else (self.streams, net.n_out)
        given = as_floats("d_out", d_out, shape, net.dtype).reshape(self.streams, net.n_out)
        if not self._stepped:
            raise ValueError("accumulate needs a step taken with the present weights: call step(x_t) first")
        count, slot = self._counts[0], forward.last
        for b in range(self.streams):
            send_down(
                b, slot, given[b], *net.layout.top, net.theta, forward.y, forward.phi, self._delta, self._gradient,
                count[-1],
            )  # fmt: skip
        self._contract(slot, self._spaces[0], count)

    # Learning

    @property
    def loss(self):
        """Loss summed over told steps and streams since zero_gradients()."""
        return float(self._loss.sum())

    def gradient(self):
        """Flat gradient of `loss`, in the order of `net.trained`, summed over streams."""
        return self._gradient.sum(0)

    def gradients(self):
        """dict of the gradient of `loss` for every trained parameter, named and shaped as in `net.parameters()`."""
        flat = np.zeros(self.net.layout.size, self.net.dtype)
        flat[: self.net.layout.trained] = self.gradient()
        return self.net.to_dense(flat, trained_only=True)

    def zero_gradients(self):
        """Forget gradients and loss; state and influence stay."""
        self._gradient[:] = 0
        self._loss[:] = 0

    def reset(self, streams=None):
        """State and influence to zero: new sequences begin, `streams` of them if given. Gradients stay."""
        if streams is not None and check_count("streams", streams) != self.streams:
            if streams > self._forward.x.shape[0]:
                gradient, loss = self.gradient(), self.loss
                self._allocate(streams)
                self._gradient[0], self._loss[0] = gradient, loss
            self.streams = streams
            self._open_ports()
        self._forward.reset()
        self._stepped = False

    def update(self, optimizer, clip=None):
        """One optimiser step with the gradient divided by streams, its norm cut to `clip` if given; then zeroes it.

        Returns the gradient's norm before the cut. State and influence stay, so learning goes on in mid-sequence.
        """
        from evsim.optim import clip_scale

        gradient = self.gradient()
        gradient /= self.streams
        norm = sqrt(np.vdot(gradient, gradient))
        if not isfinite(norm):
            norm = float(np.linalg.norm(gradient.astype(np.float64)))
        if clip is not None:
            gradient *= clip_scale(gradient, clip)
        optimizer.apply(self.net.trained, gradient)
        self.net.project()
        self._stepped = False
        self._counts[0][-1, UPDATE] += gradient.size
        self.zero_gradients()
        return norm

    # What it costs

    @property
    def counts(self):
        """Counted work since construction: (layers + 1, parts) int64, columns as in `evsim.opcount.NAMES`."""
        return np.sum(self._counts, axis=0)

    @property
    def ops(self):
        """dict of the counted work since construction, summed over layers and streams."""
        return totals(self.counts)

    @property
    def memory(self):
        """dict of bytes by part, and their "total"; known before the first step."""
        forward = self._forward
        told = (self._labels, self._values, self._keep, self._told, self._delta, self._loss)
        parts = {
            "parameters": self.net.theta.nbytes,
            "gradients": self._gradient.nbytes,
            "state": forward.stored.nbytes,
            "steps": _bytes(list(forward.arrays.values())) - forward.stored.nbytes + _bytes(told),
            "scratch": _bytes(self._spaces) + _bytes(self._counts),
            "structure": _bytes(forward.structure),
        }
        for part, size in self._engine_memory().items():
            parts[part] = parts.get(part, 0) + size
        return {**parts, "total": sum(parts.values())}

    def _engine_memory(self):
        return {}

    # Saving

    def state(self):
        """dict of arrays from which `load_state` continues bit for bit."""
        forward = self._forward
        slot = forward.last
        return {
            "streams": np.array(self.streams), "stepped": np.array(self._stepped), "stored": forward.stored.copy(),
            "y": forward.y[:, slot].copy(), "phi": forward.phi[:, slot].copy(), "D": forward.D[:, slot].copy(),
            "gradient": self._gradient.copy(), "loss": self._loss.copy(), "counts": self.counts,
        }  # fmt: skip

    def load_state(self, state):
        """Continue from what `state` gave, for a learner of the same network and options; ValueError if it is not."""
        capacity = len(state["stored"])
        if capacity != self._forward.x.shape[0]:
            self._allocate(capacity)
        self.reset()
        self._check_state(state, capacity)
        forward = self._forward
        self.streams, self._stepped = int(state["streams"]), bool(state["stepped"])
        self._open_ports()
        forward.stored[:], self._gradient[:], self._loss[:] = state["stored"], state["gradient"], state["loss"]
        forward.y[:, 0], forward.phi[:, 0], forward.D[:, 0] = state["y"], state["phi"], state["D"]
        for count in self._counts:
            count[:] = 0
        self._counts[0][:] = state["counts"]

    def _check_state(self, state, capacity):
        wanted = self.state()
        if set(state) != set(wanted):
            raise ValueError(f"the learner's state holds {sorted(state)}, but {sorted(wanted)} are needed")
        for name, array in wanted.items():
            given = state[name]
            if given.dtype != array.dtype or given.shape not in self._state_shapes(name, array):
                found, needed = f"{given.dtype} {given.shape}", f"{array.dtype} {array.shape}"
                raise ValueError(f"{name} of the learner's state is {found}, but {needed} is needed")
            if given.dtype.kind == "f" and not np.isfinite(given).all():
                raise ValueError(f"{name} of the learner's state holds NaN or infinity")
        if not 1 <= state["streams"] <= capacity:
            raise ValueError(f"the learner's state has {state['streams']} streams, but room for 1 to {capacity}")

    def _state_shapes(self, name, array):
        return (array.shape,)

    def __getstate__(self):
        """For copies and pickles: views and threads are made anew."""
        return {name: value for name, value in vars(self).items() if name not in ("_ports", "_pool")}

    def __setstate__(self, found):
        vars(self).update(found, _pool=None)
        self._open_ports()

    def config(self):
        """The learner's options as plain numbers and strings."""
        return {"loss": self.loss_kind, "streams": self.streams, "threads": self.threads}

    # Inside

    def _allocate(self, streams):
        net, chunk = self.net, self._chunk
        self._forward = Forward(net, streams, chunk)
        self._gradient = np.zeros((streams, net.layout.trained), net.dtype)
        self._loss = np.zeros(streams)
        self._labels = np.zeros((streams, chunk), np.int64)
        self._values = np.zeros((streams, chunk, net.n_out), net.dtype)
        self._keep = np.zeros((streams, chunk), np.bool_)
        self._told = np.zeros((streams, chunk + 1), np.bool_)
        self._delta = np.zeros((streams, chunk + 1, net.layout.top[1]), net.dtype)
        self._open_ports()
        self._telling = (
            KINDS[self.loss_kind], self._labels, self._values, self._keep, *net.layout.top, net.theta,
            self._forward.y, self._forward.phi, self._forward.out, self._told, self._delta, self._gradient,
        )  # fmt: skip

    def _open_ports(self):
        """Views through which `step` passes: inputs, outputs, is there a target; without axis for one stream."""
        which = 0 if self.streams == 1 else slice(self.streams)
        self._ports = self._forward.x[which, 1], self._forward.out[which, 1], self._keep[which, 0:1]

    def _work(self, lo, hi, steps, space, last, count):
        forward = self._forward
        forward.advance(lo, hi, steps, last, space[0], count)
        tell(lo, hi, steps, *self._telling, space[1], self._loss, count[-1])
        self._learn(lo, hi, steps, space, count)
        self._stepped = True

    def _run_streams(self, lo, hi, worker, x, labels, values, keep, out):
        forward, last = self._forward, self._forward.last
        for t in range(0, x.shape[1], self._chunk):
            h = min(self._chunk, x.shape[1] - t)
            forward.x[lo:hi, 1 : h + 1] = x[lo:hi, t : t + h]
            self._keep[lo:hi, :h] = keep[lo:hi, t : t + h]
            if labels is not None:
                self._labels[lo:hi, :h] = labels[lo:hi, t : t + h]
            if values is not None:
                self._values[lo:hi, :h] = values[lo:hi, t : t + h]
            self._work(lo, hi, h, self._spaces[worker], last, self._counts[worker])
            last = h
            out[lo:hi, t : t + h] = forward.out[lo:hi, 1 : h + 1]

    def _spread(self, work):
        """Call work(lo, hi, worker) so that all streams are covered, over the threads."""
        workers = min(self.threads, self.streams)
        if workers == 1:
            work(0, self.streams, 0)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="evsim")
        cuts = [self.streams * k // workers for k in range(workers + 1)]
        jobs = [self._pool.submit(work, cuts[k], cuts[k + 1], k) for k in range(workers)]
        for job in jobs:
            job.result()

    def _floats(self, name, value, shape):
        """as_floats, with a short path for what needs no change."""
        if type(value) is np.ndarray and value.dtype == self.net.dtype and value.shape == shape:
            check_finite(name, value)
            return value
        return as_floats(name, value, shape, self.net.dtype)

    def _take_target(self, target, single):
        n = self.streams
        if self.loss_kind == "cross_entropy":
            if single and type(target) is int and 0 <= target < self.net.n_out:
                self._labels[0, 0] = target
            else:
                labels = as_labels("target", target, () if single else (n,))
                check_labels("target", labels, self.net.n_out)
                self._labels[:n, 0] = labels
        else:
            values = as_floats("target", target, (self.net.n_out,) if single else (n, self.net.n_out), self.net.dtype)
            self._check_values("target", values)
            self._values[:n, 0] = values

    def _targets(self, targets, mask, lead):
        """labels, values, keep from what `run` was given; targets at dropped steps are not read."""
        if targets is None:
            if mask is not None:
                raise ValueError("a mask was given without targets: pass targets too, or leave the mask out")
            return None, None, np.zeros(lead, bool)
        keep = np.ones(lead, bool)
        if mask is not None:
            mask = np.asarray(mask)
            if mask.shape != lead or mask.dtype.kind not in "biu":
                raise ValueError(f"mask has shape {mask.shape} and dtype {mask.dtype}: give a boolean array {lead}")
            keep = mask.astype(bool)
        if self.loss_kind == "cross_entropy":
            labels = as_labels("targets", targets, lead)
            check_labels("targets", labels, self.net.n_out, keep)
            return np.where(keep, labels, 0), None, keep
        values = np.asarray(targets)
        if values.dtype.kind in "biuf" and values.shape == (*lead, self.net.n_out):
            values = np.where(keep[..., None], values, 0)
        values = as_floats("targets", values, (*lead, self.net.n_out), self.net.dtype)
        self._check_values("targets", values)
        return None, values, keep

    def _check_values(self, name, values):
        if self.loss_kind == "binary_cross_entropy" and values.size and not (values.min() >= 0 and values.max() <= 1):
            worst = values.flat[np.argmax(np.abs(values - 0.5))]
            raise ValueError(f"{name} holds {worst:g}: binary cross entropy needs targets between 0 and 1")


def _bytes(space: Any) -> int:
    if isinstance(space, np.ndarray):
        return space.nbytes
    return sum(_bytes(part) for part in space)
