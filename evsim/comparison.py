"""Comparison: how near the gradients of several learners on one network come to the exact one, update by update."""

import inspect
from typing import Any

import numpy as np

from evsim.learner import Learner

_SHARED = ("loss", "quiet", "streams", "threads", "seed")  # options that do not tell one approximation from another
_TELLING = ("n", "window")  # options that a name always states, the defaults too


def cosine(gradient, exact):
    """Cosine of the angle between two arrays; None where one of them is zero or not finite."""
    found, wanted = _direction(gradient), _direction(exact)
    if found is None or wanted is None:
        return None
    return float(np.clip(np.vdot(found, wanted), -1.0, 1.0))


def relative_error(gradient, exact):
    """|gradient - exact| / |exact|; None where it is not finite, but 0 where both arrays are zero."""
    found, wanted = (np.asarray(a, np.float64).ravel() for a in (gradient, exact))
    if not found.any() and not wanted.any():
        return 0.0
    largest = np.abs(wanted).max(initial=0.0)
    with np.errstate(all="ignore"):  # what comes of it is looked at
        error = np.linalg.norm(found / largest - wanted / largest) / np.linalg.norm(wanted / largest)
    return float(error) if np.isfinite(error) else None


def name_of(learner):
    """A learner's kind and what sets it apart, as in "tbptt window=8"."""
    known = inspect.signature(type(learner)).parameters
    told = [
        f"{option}={value}"
        for option, value in learner.config().items()
        if option not in _SHARED and (option in _TELLING or option not in known or value != known[option].default)
    ]
    return " ".join([learner.kind, *told])


class Comparison:
    """Learners that ride along with a leading one: they read what it reads and never change the weights.

    leader: the learner that trains. compare: a list of other learners on its network, or a dict of them by name.
    streams: of a batch, where it is not what the leader carries now. The exact gradient is the leader's if that is
    exact, else that of the first of `compare` that is; then the leader is one of those compared. lasting: it has to be
    exact whatever masks the network will have.

    Riders begin with the first `reset`; means run over the updates since the last `clear`.
    """

    def __init__(self, leader, compare=None, streams=None, lasting=False):
        named = _by_name(compare)
        for name, rider in named.items():
            _check(name, rider, leader, leader.streams if streams is None else streams)
        everyone = (leader, *named.values())
        if len({id(one) for one in everyone}) < len(everyone):
            raise ValueError("compare holds the same learner twice, or the one that trains: make one for each place")
        self.riders = tuple(named.values())
        self._reference = next((one for one in everyone if (type(one) if lasting else one).exact), None)
        if self.riders and self._reference is None:
            told = "there is no exact gradient to compare with, since all of these learners approximate"
            raise ValueError(f"{told}: add evsim.RTRL(net) or evsim.BPTT(net) to compare")
        own = {} if leader is self._reference or not self.riders else {_unused(name_of(leader), named): leader}
        self._compared = {name: one for name, one in {**own, **named}.items() if one is not self._reference}
        self._leader, self._layout, self._parts = leader, leader.net.layout, parts(leader.net)
        self._riding = False
        self.clear()

    def reset(self, streams):
        """New sequences begin, `streams` of them."""
        for rider in self.riders:
            rider.zero_gradients()  # what it may have found before it rode along
            rider.reset(streams=streams)
            if not self._riding:
                rider.heed(self._leader)
        if self._layout is not self._leader.net.layout:
            self._layout, self._parts = self._leader.net.layout, parts(self._leader.net)
        self._riding = True

    def run(self, x, targets, mask, charged=None):
        """What the leader has just read, as `Learner.run` takes it."""
        if self._riding:
            for rider in self.riders:
                rider.run(x, targets, mask, charged)

    def judge(self):
        """Just before the leader updates the weights: compare all gradients, and begin new ones."""
        if not self._riding or self._reference is None or not self.riders:
            return
        exact = self._reference.gradient()
        for name, learner in self._compared.items():
            found = learner.gradient()
            figures = [relative_error(found[self._parts["hidden"]], exact[self._parts["hidden"]])]
            figures += [cosine(found[where], exact[where]) for where in self._parts.values()]
            for k, figure in enumerate(figures):
                if figure is not None:
                    self._sums[name][k] += figure
                    self._judged[name][k] += 1
        self._updates += 1
        for rider in self.riders:
            rider.zero_gradients()

    def means(self):
        """Name -> dict of means since the last `clear`, over the updates at which a figure was defined (else None).

        "cosine" and "relative_error" are those of all trained parameters but the readout's, whose gradient most
        approximations have exactly; "cosine_per_layer" lists the layers, bottom to top; "updates": how many there were.
        """
        found: dict[str, Any] = {}
        for name in self._compared:
            pairs = zip(self._sums[name].tolist(), self._judged[name].tolist(), strict=True)
            error, hidden, *layers = (total / count if count else None for total, count in pairs)
            found[name] = {
                "cosine": hidden, "relative_error": error, "cosine_per_layer": layers, "updates": self._updates,
            }  # fmt: skip
        return found

    def clear(self):
        """Begin new means."""
        self._updates = 0
        self._sums = {name: np.zeros(len(self._parts) + 1) for name in self._compared}
        self._judged = {name: np.zeros(len(self._parts) + 1, np.int64) for name in self._compared}


def parts(net):
    """dict of places in `net.trained`: "hidden", all but the readout's, and then each layer's, "layers.0", ..."""
    layers = {f"layers.{k}": [] for k in range(len(net.layers))}
    for name, (_, _, places) in net.layout.names.items():
        layer = name.rpartition(".")[0]
        if layer in layers and name not in net.layout.untrained:
            layers[layer].append(places)
    found = {layer: np.sort(np.concatenate(places)) for layer, places in layers.items()}
    return {"hidden": np.concatenate(list(found.values())), **found}


def _direction(array):
    """A unit vector, through numbers that neither overflow nor vanish when squared; None if there is none."""
    array = np.asarray(array, np.float64).ravel()
    largest = np.abs(array).max(initial=0.0)
    if not 0 < largest < np.inf:  # so NaN is refused too
        return None
    array = array / largest
    return array / np.linalg.norm(array)


def _by_name(compare):
    if compare is None:
        return {}
    if isinstance(compare, dict):
        return dict(compare)
    if not isinstance(compare, list | tuple):
        raise TypeError(f"compare={compare!r} is not usable: give a list of learners, or a dict of them by name")
    named = {}
    for one in compare:
        named[_unused(name_of(one) if isinstance(one, Learner) else repr(one), named)] = one
    return named


def _unused(name, taken):
    """The name itself, or with a number behind it."""
    found, number = name, 2
    while found in taken:
        found, number = f"{name} ({number})", number + 1
    return found


def _check(name, rider, leader, streams):
    if not isinstance(name, str):
        raise TypeError(f"compare has the name {name!r}: give strings")
    if not isinstance(rider, Learner):
        raise TypeError(f"compare holds {rider!r}: give learners, such as evsim.SnAp(net)")
    if rider.net is not leader.net:
        raise ValueError(f"{name!r} in compare is on another network: make it on that of the learner that trains")
    if rider.loss_kind != leader.loss_kind:
        told = f"{name!r} in compare has the loss {rider.loss_kind}, the learner that trains has {leader.loss_kind}"
        raise ValueError(f"{told}: give both the same")
    ours, leading = (None if one.quiet is None else one.quiet.config() for one in (rider, leader))
    if ours != leading:
        told = f"{name!r} in compare has quiet={ours}, the learner that trains has quiet={leading}"
        raise ValueError(f"{told}: give both the same")
    if rider.streams != streams:
        told = f"{name!r} in compare carries streams={rider.streams}, the learner that trains streams={streams}"
        raise ValueError(f"{told}: give both the same")
