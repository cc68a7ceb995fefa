"""Tape: a learner's steps as pieces of a larger computation: run first, and told of their losses' derivative later."""

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from evsim.backward import Backward
from evsim.check import as_floats, check_finite
from evsim.loss import send_all
from evsim.memory import zeros

_OURS = np.True_  # the learner leaves the other True, so that a step which the tape did not ask for is seen


class Span(NamedTuple):
    """Where steps were put: slots start + 1..start + steps of the learner's open block, the tape's `block`-th.

    before, x: where they did not fit in it, the learner's state ahead of them, and their inputs.
    """

    start: int
    steps: int
    block: int
    version: int
    before: Any = None
    x: Any = None


class Tape:
    """Runs a learner, and takes losses by their derivative to outputs, as long as the steps are at hand.

    Learners that keep Steps (BPTT: since `reset`; TBPTT and RTRL in blocks: in the open window or block) take them on
    any of these, in any order. The others take them on the last call alone; if that was of several steps, they are
    taken again from the learner's state ahead of them, of which a copy was made. The learner's own gradient and loss
    are not touched. While a tape is in use, only it may run and reset the learner.
    """

    def __init__(self, learner):
        self.learner = learner
        self._block, self._open, self._last = 0, learner._open, None
        self._seen = learner.net.theta.copy()
        self._losses, self._key = [], None

    @property
    def state_shape(self):
        """(streams, units, K): of the derivative to the state between two steps."""
        net = self.learner.net
        return self.learner.streams, net.layout.units, max(len(c.states) for c in net.stack)

    def heed(self):
        """See whether the network's parameters were written to, and bring the trained ones into range.

        ValueError if they hold NaN or infinity.
        """
        net = self.learner.net
        if not np.array_equal(self._seen, net.theta):  # torch's own count of changes misses some optimisers'
            check_finite("net.theta", net.theta)
            net.project()
            self._seen[:] = net.theta

    def run(self, x, losses=True):
        """Steps x (T, n_in), T at least 1, from the current state: out (T, n_out), and a Span for `pull`; with
        streams > 1, a leading stream axis on both arrays.

        losses=False: none are to come, so no copy of a state is made; where that would be needed, the Span is None.
        """
        self.heed()
        learner, steps = self.learner, x.shape[-2]
        learner._follow(steps)
        (at, *_) = learner._spread(lambda lo, hi, worker: learner._make_room(lo, hi, learner._open, worker))
        learner._open = at
        if at != self._open:  # closed, or reset
            self._block += 1
        span = Span(at, steps, self._block, learner.net.version)
        if at + steps > learner._forward.slots if learner.keeps else steps > 1:
            self._block += 1
            span = Span(at, steps, self._block, span.version, learner.state(), x.copy()) if losses else None
        out = learner.step(x[..., 0, :])[..., None, :] if steps == 1 else learner.run(x)
        self._open, self._last, learner._stepped = learner._open, span, _OURS
        return out, span

    def reset(self, streams=None):
        """As the learner's; no loss can be taken on what was before."""
        self.learner.reset(streams)
        self._block, self._open, self._last = self._block + 1, 0, None

    def tell(self, span, d_out, key):
        """A loss on steps that the open block holds, for `gather` with the same key: d_out as in `pull`.

        What was told with another key, and not gathered, is forgotten.
        """
        self._check(span)
        if key != self._key:
            self._losses, self._key = [], key
        self._losses.append((span.start, span.steps, self._errors(span, d_out)))

    def gather(self, key):
        """Gradient (P,) of all that was told, by one sweep."""
        losses, self._losses = self._losses if key == self._key else [], []
        last = max((start + steps for start, steps, _ in losses), default=0)
        return self._sweep(losses, 0, last, None, True, None)[0]

    def pull(self, span, d_out, lam=None, whole=True, inputs=False):
        """What a loss sends back from the steps of `span`: (gradient (P,), lam, d_x).

        d_out: its derivative to their outputs, shaped as these; None: nothing is asked of them. lam: its derivative to
        the state after them, by way of later steps, of `state_shape`; None: nothing. Returned is that to the state
        before them, unless the gradient is `whole`, which takes in all steps before. d_x: that to their inputs (as x)
        if wanted, by way of steps in the same block; for learners that keep no Steps, of the same step.

        ValueError for steps that are no longer at hand, and for NaN.
        """
        learner = self.learner
        self._check(span)
        errors = None if d_out is None else self._errors(span, d_out)
        if lam is not None:
            lam = as_floats("the derivative to the state", lam, self.state_shape, learner.net.dtype).copy()
        d_x = zeros((learner.streams, span.steps, learner.net.n_in), learner.net.dtype) if inputs else None
        if span.before is not None:
            gradient = self._again(span, errors, d_x)
        elif learner.keeps:
            losses = [] if errors is None else [(span.start, span.steps, errors)]
            gradient, lam = self._sweep(losses, span.start, span.steps, lam, whole, d_x)
        else:
            gradient = self._contract(span.start, errors, d_x)
        if d_x is not None and learner.streams == 1:
            d_x = d_x[0]
        return gradient, lam, d_x

    def _errors(self, span, d_out):
        """d_out, checked, with an axis of streams."""
        streams, net = self.learner.streams, self.learner.net
        shape = *(() if streams == 1 else (streams,)), span.steps, net.n_out
        d_out = as_floats("the derivative to the outputs", d_out, shape, net.dtype)
        return d_out.reshape(streams, *shape[-2:])

    def _check(self, span):
        learner = self.learner
        name, alone = type(learner).__name__, span.before is not None or not learner.keeps
        there = span is self._last and learner._stepped is _OURS if alone else span.block == self._block
        if not there or learner._open != self._open:
            cause = "closed that block" if learner.keeps else "took other steps"
            raise ValueError(
                f"the steps that this loss is on are gone, for {name} was reset or {cause} since: call backward before "
                "that, or pass all steps as one sequence"
            )
        net = learner.net
        if alone and not (span.version == net.version and np.array_equal(self._seen, net.theta)):
            raise ValueError(
                f"the weights have changed since the steps that this loss is on, and {name} does not keep old ones: "
                "call backward before the optimiser's step"
            )

    def _contract(self, start, errors, d_x):
        """Gradient of a loss on the last step, in slot start + 1, for learners that keep no Steps."""
        learner, dtype = self.learner, self.learner.net.dtype
        own, learner._gradient = learner._gradient, zeros(learner._gradient.shape, dtype)
        try:
            learner.accumulate(errors[:, 0] if learner.streams > 1 else errors[0, 0])
            gradient = learner._gradient.sum(0)
        finally:
            learner._gradient = own
        if d_x is not None:
            self._backward.sweep(
                0, learner.streams, start, 1, learner.net.theta[None], zeros(learner._told.shape, np.int32),
                learner._forward, learner._told, learner._delta, np.zeros_like(own), zeros(self.state_shape, dtype),
                self._spaces[0], learner._counts[0], d_x,
            )  # fmt: skip
        return gradient

    def _sweep(self, losses, start, steps, lam, whole, d_x):
        """(gradient, lam before slot start + 1, or before slot 1 if `whole`) of losses (start, steps, errors) on some
        of the slots start + 1..start + steps."""
        learner = self.learner
        gradient = zeros(learner._gradient.shape, learner.net.dtype)
        if lam is None:
            lam = zeros(self.state_shape, learner.net.dtype)
        given = losses, start, steps, lam, whole, gradient, d_x
        learner._spread(lambda lo, hi, worker: self._sweep_streams(lo, hi, worker, *given))
        return gradient.sum(0), lam

    def _sweep_streams(self, lo, hi, worker, losses, start, steps, lam, whole, gradient, d_x):
        learner = self.learner
        theta, segment = learner._in_force
        forward, told, delta, count = learner._forward, learner._told, learner._delta, learner._counts[worker]
        here = np.s_[lo:hi, (0 if whole else start) + 1 : start + steps + 1]
        own = told[here].copy(), delta[here].copy()
        told[here] = False  # losses of the learner's own are for it to settle
        for first, several, errors in losses:
            told[lo:hi, first + 1 : first + several + 1] = True
            send_all(
                lo, hi, first, several, errors, *learner.net.layout.top, theta, segment, forward.y, forward.phi, delta,
                gradient, count[-1],
            )  # fmt: skip
        given = theta, segment, forward, told, delta, gradient, lam, self._spaces[worker], count
        self._backward.sweep(lo, hi, start, steps, *given, d_x)
        if whole:
            if start:
                self._backward.sweep(lo, hi, 0, start, *given)
            learner._read_past(lo, hi, lam, gradient, worker)
        told[here], delta[here] = own

    def _again(self, span, errors, d_x):
        """Take the steps of `span` once more, with their losses; the gradient."""
        learner, dtype, t = self.learner, self.learner.net.dtype, 0
        gradient = zeros(learner.net.layout.trained, dtype)
        spent = learner.counts - span.before["counts"]
        learner.load_state(span.before)
        learner._counts[0] += spent
        while t < span.steps:
            at = learner._open if learner.keeps and learner._open < learner._forward.slots else 0
            h = min(learner._forward.slots - at, span.steps - t) if learner.keeps else 1
            learner.run(span.x[..., t : t + h, :])
            now = np.ascontiguousarray(errors[:, t : t + h])
            piece = None if d_x is None else zeros((len(d_x), h, d_x.shape[2]), dtype)
            if learner.keeps:
                gradient += self._sweep([(at, h, now)], at, h, None, True, piece)[0]
            else:
                gradient += self._contract(at, now, piece)
            if d_x is not None:
                d_x[:, t : t + h] = piece
            t += h
        self._open, learner._stepped = learner._open, _OURS
        return gradient

    @cached_property
    def _backward(self):
        return Backward(self.learner.net, self.learner.streams)

    @cached_property
    def _spaces(self):
        return [self._backward.workspace() for _ in range(self.learner.threads)]
