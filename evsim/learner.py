"""Learner: what every gradient engine shares: inputs and targets, the forward pass, losses, updates.

Steps are written to slots 1, 2, ... of `evsim.forward.Forward`; those written since the last close are the open block.
An engine adds what it does with them: at once (`_learn`), when the gradient of their losses is asked for (`_settle`),
and when the slots are needed again (`_close`). Classes say what they are in `exact`, `drops`, `memory_claim`,
`cost_claim` and `source`.
"""

from math import isfinite, sqrt
from typing import Any, ClassVar

import numpy as np

from evsim.check import as_floats, check_choice, check_count, own_floats
from evsim.cost import Costed
from evsim.forward import Forward
from evsim.jit import bind
from evsim.loss import KINDS, send_down, tell
from evsim.memory import count_bytes, zeros
from evsim.network import check_network
from evsim.opcount import SEQUENCES, new_count
from evsim.pressure import Pressure
from evsim.quiet import as_quiet
from evsim.renewal import Renewal
from evsim.saving import Saving
from evsim.sharing import Sharing
from evsim.targets import one_target, run_mask, run_targets
from evsim.work import account, count_update


class Learner(Costed, Renewal, Saving, Sharing):
    """Base of the learners. See the class of the learner for what it computes.

    net: Network. loss: "cross_entropy", "binary_cross_entropy" or "mse". streams: independent sequences carried side by
    side, each with its own state. threads: how many `run` spreads them over, or parts of the influence matrix where
    there is one stream; results do not depend on it. quiet: an `evsim.Quiet`, what it costs units to speak.
    """

    kind: ClassVar[str]
    exact: bool  # of the class; a learner on a network where nothing is lost may know better
    drops: ClassVar[str] = ""  # what the gradient lacks, where it is not exact
    memory_claim: ClassVar[str]
    cost_claim: ClassVar[str]
    source: ClassVar[str]
    slots: int = 32  # how many Steps there is room for
    keeps: bool = False  # does an open block span calls; if not, `_learn` has read it all
    detach: ClassVar[bool] = False  # are resets without the event's derivative, whatever the layers say

    def __init__(self, net, loss="cross_entropy", streams=1, threads=1, quiet=None):
        self.net = check_network(net)
        self.quiet = as_quiet(quiet)
        self._pressure = None
        self.loss_kind = check_choice("loss", loss, KINDS)
        self.threads = check_count("threads", threads)
        self.streams = check_count("streams", streams)
        self._counts = [new_count(len(net.layers)) for _ in range(self.threads)]
        self._pool = None
        self._open = 0
        self._version, self._layout = net.version, net.layout
        self._back = net.theta  # the weights that carry errors down
        self._allocate(self.streams, self.slots)
        self._spaces = [self._workspace() for _ in range(self.threads)]
        self.reset()

    # What an engine adds

    def _workspace(self) -> Any:
        """Scratch of one thread."""
        return self._forward.workspace(), zeros(self.net.n_out, self.net.dtype)

    def _learn(self, lo, hi, start, steps, worker):
        """Read the Steps of slots start + 1..start + steps and the losses told there."""

    def _contract(self, slot, worker):
        """Add the gradient of a loss told after the step in `slot`, whose derivative to the events stands in _delta."""

    def _settle(self, lo, hi, steps, worker):
        """Add the gradient of the losses told in the open block, slots 1..steps."""

    def _close(self, lo, hi, steps, worker):
        """Take from the open block what later steps need; its losses are settled."""

    def _weights_changed(self):
        """What was written so far was written with other weights."""

    def _need(self, steps):
        """So many more steps are to come."""

    # Running

    def step(self, x_t, target=None):
        """One time step of every stream: x_t (n_in,) -> out (n_out,); with streams > 1, a leading stream axis on all.

        target: a class for cross entropy, (n_out,) numbers otherwise; None: no loss at this step.
        """
        single, n = self.streams == 1, self.streams
        net, lead = self.net, () if single else (n,)
        x, wanted = own_floats("x_t", x_t, (*lead, net.n_in), net.dtype), None
        if target is not None:
            wanted = one_target(target, self.loss_kind, lead, net.n_out, net.dtype)
        self._follow(1)
        self._open = self._make_room(0, n, self._open, 0)
        which, slot = 0 if single else slice(n), self._open + 1
        self._forward.x[which, slot] = x
        self._told[which, slot] = wanted is not None
        if wanted is not None:
            self._wanted[which, slot] = wanted
        if self._pressure is not None:
            self._forward.charged[which, slot] = True
        self._work(0, n, slot - 1, 1, 0)
        self._open = slot
        return self._forward.out[which, slot].copy()

    def run(self, x, targets=None, mask=None, charged=None):
        """Steps x (T, n_in) -> out (T, n_out) from the current state; with streams > 1, a leading stream axis on all.

        targets: (T,) classes for cross entropy, (T, n_out) otherwise. mask (T,): the steps whose target counts; targets
        elsewhere are not read. charged (T,): the steps that `quiet` charges, by default all. The time loop is compiled.
        """
        single = self.streams == 1
        lead = () if single else (self.streams,)
        x = as_floats("x", x, (*lead, None, self.net.n_in), self.net.dtype)
        steps = x.shape[-2]
        given = run_targets(targets, mask, self.loss_kind, (*lead, steps), self.net.n_out, self.net.dtype)
        charged = run_mask("charged", charged, (*lead, steps))
        if single:
            x, given, charged = x[None], given.of_one_stream(), charged[None]
        out = np.empty((self.streams, steps, self.net.n_out), self.net.dtype)
        if steps:
            self._follow(steps)
            ends = self._spread(lambda lo, hi, worker: self._run_streams(lo, hi, worker, x, given, charged, out))
            self._open = ends[0]
        return out[0] if single else out

    def accumulate(self, d_out):
        """After step, before update: add a loss of your own by its gradient d_out (n_out,) to that step's outputs."""
        forward, net = self._forward, self.net
        shape = (net.n_out,) if self.streams == 1 else (self.streams, net.n_out)
        given = as_floats("d_out", d_out, shape, net.dtype).reshape(self.streams, net.n_out)
        if not self._stepped or self._version != net.version:
            raise ValueError("accumulate needs a step taken with the present weights: call step(x_t) first")
        count, slot = self._counts[0], self._open
        for b in range(self.streams):
            if not (self.keeps and self._told[b, slot]):
                self._delta[b, slot] = 0
            self._told[b, slot] = True
            send_down(
                b, slot, given[b], *net.layout.top, self._back, forward.y, forward.phi, self._delta, self._gradient,
                count[-1],
            )  # fmt: skip
        self._contract(slot, 0)

    # Learning

    @property
    def loss(self):
        """Loss summed over told steps and streams since zero_gradients()."""
        return float(self._loss.sum())

    @property
    def penalty(self):
        """What `quiet` charged, summed over steps and streams since zero_gradients(); 0 without it."""
        return 0.0 if self._pressure is None else float(self._pressure.penalty.sum())

    def heed(self, other):
        """Go on from how often units have spoken under `other`, a learner on the same network with the same `quiet`."""
        if self._pressure is not None:
            self._pressure.heed(other._pressure)

    def gradient(self):
        """Flat gradient of `loss`, and of `penalty`, in the order of `net.trained`, summed over streams."""
        self._check_masks()
        if self.keeps and self._owes(0, self.streams, self._open):
            self._spread(lambda lo, hi, worker: self._settle(lo, hi, self._open, worker))
            self._forget(slice(None), self._open)
        return self._gradient.sum(0)

    def gradients(self):
        """dict of the gradient of `loss`, and of `penalty`, for every trained parameter, named and shaped as in
        `net.parameters()`."""
        return self.net.to_dense(self.gradient(), trained_only=True)

    def zero_gradients(self):
        """Forget gradients, loss and penalty; state and influence stay."""
        self._gradient[:] = 0
        self._loss[:] = 0
        if self._pressure is not None:
            self._pressure.penalty[:] = 0
        self._forget(slice(None), self._open)

    def reset(self, streams=None):
        """State and influence to zero: new sequences begin, `streams` of them if given.

        Gradients stay, unless the network's masks have changed: then all that depends on them is made anew.
        """
        if self.net.layout is not self._layout:
            self._renew()
        if self._open:
            self.gradient()  # what the open block still owes
        if streams is not None and check_count("streams", streams) != self.streams:
            if streams > self._forward.x.shape[0]:
                gradient, loss = self.gradient(), self.loss
                self._allocate(streams, self._forward.slots)
                self._gradient[0], self._loss[0] = gradient, loss
            self.streams = streams
        self._forward.reset()
        self._open = 0
        self._stepped = self._begun = False
        self._fresh = True  # sequences are counted once they have a step

    def update(self, optimizer, clip=None):
        """One optimiser step with the gradient divided by streams, its norm cut to `clip` if given; then zeroes it.

        Returns the gradient's norm before the cut. State and influence stay, so learning goes on in mid-sequence.
        """
        from evsim.optim import clip_scale

        if not hasattr(optimizer, "apply"):
            raise TypeError(f"optimizer is {optimizer!r}: pass one such as evsim.Adam(1e-3)")
        gradient = self.gradient()
        gradient /= self.streams
        norm = sqrt(np.vdot(gradient, gradient))
        if not isfinite(norm):
            norm = float(np.linalg.norm(gradient.astype(np.float64)))
        if clip is not None:
            gradient *= clip_scale(gradient, clip)
        optimizer.apply(self.net.trained, gradient, *self._to_decay(optimizer))
        self.net.project()
        self._stepped = False
        count_update(self._counts[0], self.net, len(self._gradient), optimizer, clip)
        self.zero_gradients()
        return norm

    def _to_decay(self, optimizer):
        """What an optimiser that lets weights alone decay has to know."""
        return (self.net.layout.weights,) if getattr(optimizer, "decay", "all") == "weights" else ()

    # What it costs

    @property
    def counts(self):
        """Counted work since construction: (layers + 1, parts) int64, columns as in `evsim.opcount.NAMES`."""
        return np.sum(self._counts, axis=0)

    @property
    def ops(self):
        """dict of the counted work since construction, summed over streams: totals, and by layer and part.

        As in `evsim.opcount` and `evsim.work`; `evsim.energy` prices it.
        """
        return account(self.counts, self.net, self.memory, len(self._gradient), self.threads)

    @property
    def memory(self):
        """dict of bytes by part, and their "total"; known before the first step."""
        forward = self._forward
        told = self._labels, self._values, self._told, self._delta, self._loss, self._pressure or []
        parts = {
            "parameters": self.net.theta.nbytes,
            "gradients": self._gradient.nbytes,
            "state": forward.stored.nbytes,
            "steps": count_bytes(list(forward.arrays.values())) + count_bytes(told),
            "scratch": count_bytes(self._spaces) + count_bytes(self._counts),
            "structure": count_bytes(forward.structure),
        }
        for part, size in self._engine_memory().items():
            parts[part] = parts.get(part, 0) + size
        return {**parts, "total": sum(parts.values())}

    def _engine_memory(self):
        return {}

    def __getstate__(self):
        """For copies and pickles: threads and bound kernels are made anew."""
        return {**vars(self), "_pool": None, "_calls": {}}

    def config(self):
        """The learner's options as plain numbers and strings."""
        quiet = {} if self.quiet is None else {"quiet": self.quiet.config()}
        return {"loss": self.loss_kind, "streams": self.streams, "threads": self.threads, **quiet}

    # Inside

    def _allocate(self, streams, slots):
        net = self.net
        self._forward = Forward(net, streams, slots, self.detach, 2 if self.quiet is None else 3)
        if self.quiet is not None:
            before, self._pressure = self._pressure, Pressure(net, self.quiet, streams)
            if before is not None:
                self._pressure.take(before)
        self._gradient = zeros((streams, net.layout.trained), net.dtype)
        self._loss = zeros(streams, np.float64)
        self._labels = zeros((streams, slots + 1), np.int64)
        self._values = zeros((streams, slots + 1, net.n_out), net.dtype)
        self._told = zeros((streams, slots + 1), np.bool_)
        self._delta = zeros((streams, slots + 1, net.layout.top[1]), net.dtype)
        self._bind()

    def _bind(self):
        """Gather the kernels' arguments that stay, after arrays were made."""
        f = self._forward
        self._wanted = self._labels if self.loss_kind == "cross_entropy" else self._values
        self._telling = (
            KINDS[self.loss_kind], self._labels, self._values, self._told, *self.net.layout.top, self.net.theta,
            self._back, f.y, f.phi, f.out, self._delta, self._gradient,
        )  # fmt: skip
        self._calls = {}  # worker -> what `_prepare` makes

    def _prepare(self, worker):
        """The kernels of the forward pass and of the loss, with one thread's scratch, ready to be called."""
        (pre, active), d_out, count = *self._spaces[worker][:2], self._counts[worker]
        told = *self._telling, d_out, active, self._loss, count[-1]
        pressing = [] if self._pressure is None else [self._pressure.call(self._forward)]
        self._calls[worker] = [*self._forward.calls((pre, active), count), bind(tell, told), *pressing]
        return self._calls[worker]

    def _follow(self, steps):
        """Before steps: heed that weights have changed, and see that there is room."""
        self._check_masks()
        if self._version != self.net.version:
            self._weights_changed()
            self._version = self.net.version
            if self._forward.refresh() and self._pressure is not None:
                self._pressure.refresh()
        self._begun = True
        self._need(steps)
        if self._fresh:
            self._counts[0][0, SEQUENCES] += self.streams
            self._fresh = False

    def _make_room(self, lo, hi, at, worker):
        """Close the open block of `at` slots if it is full, or has been read; returns how many slots are then taken."""
        if at == 0 or (self.keeps and at < self._forward.slots):
            return at
        self._finish(lo, hi, at, worker)
        return 0

    def _finish(self, lo, hi, at, worker):
        """Settle and close the open block of `at` slots."""
        if self.keeps:
            if self._owes(lo, hi, at):
                self._settle(lo, hi, at, worker)
                self._forget(slice(lo, hi), at)
            self._close(lo, hi, at, worker)
        self._forward.carry_over(lo, hi, at)

    def _owes(self, lo, hi, at):
        """Is anything told in slots 1..at whose gradient is still to be found?"""
        here = np.s_[lo:hi, 1 : at + 1]
        return bool(self._told[here].any() or self._forward.pressed[here].any())

    def _forget(self, streams, at):
        """What was told in slots 0..at is settled, or not wanted."""
        self._told[streams, : at + 1] = False
        self._forward.pressed[streams, : at + 1] = False

    def _work(self, lo, hi, start, steps, worker):
        for call in self._calls.get(worker) or self._prepare(worker):
            call(lo, hi, start, steps)
        self._learn(lo, hi, start, steps, worker)
        self._stepped = True

    def _run_streams(self, lo, hi, worker, x, given, charged, out):
        """Run streams lo..hi-1 through x (streams, T, n_in) on one thread; returns the slots that are then open."""
        forward, at, t = self._forward, self._open, 0
        while t < x.shape[1]:
            at = self._make_room(lo, hi, at, worker)
            h = min(forward.slots - at, x.shape[1] - t)
            here, there = np.s_[lo:hi, at + 1 : at + h + 1], np.s_[lo:hi, t : t + h]
            forward.x[here] = x[there]
            self._told[here] = given.keep[there]
            if self._pressure is not None:
                forward.charged[here] = charged[there]
            if given.wanted is not None:
                self._wanted[here] = given.wanted[there]
            self._work(lo, hi, at, h, worker)
            out[there] = forward.out[here]
            t, at = t + h, at + h
        return at
