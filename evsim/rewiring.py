"""Rewiring: which weights exist changes while a network learns: magnitude pruning, SET, RigL.

A policy says what the masks are to be; `Network.rewire` changes them between sequences, `evsim.rewire` with learner and
optimiser. Masks are shared by a layer's channels: an edge is as large as the norm of its weights over channels. Among
equals the one that comes first in the mask goes first. Updates are counted by the optimiser, as for learning rates.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np

from evsim.check import check_choice, check_count, check_fraction, check_seed
from evsim.network import Network, check_network
from evsim.registry import lookup
from evsim.task import quotas

SCOPES = ("layer", "global")


def rewire(learner, optimizer, masks):
    """Change the masks of a learner's network between sequences, and bring learner and optimiser along.

    masks: as in `Network.rewire`. Gradients that were not used yet are dropped; other learners on the network follow
    at their next `reset`. Returns what `Network.rewire` does.

    ValueError, and no change, in mid-sequence, for masks that do not fit, and for an optimiser of another network.
    """
    if learner.in_sequence:
        raise ValueError("the learner is in mid-sequence, and masks change between sequences: call its reset() first")
    if not hasattr(optimizer, "rewire"):
        raise TypeError(f"optimizer is {optimizer!r}: pass one such as evsim.Adam(1e-3)")
    optimizer.check_state(learner.net.trained)
    origin = learner.net.rewire(masks)
    optimizer.rewire(origin)
    learner.reset()
    return origin


class Policy:
    """Base of what decides on masks, a frozen dataclass. every: updates between two changes."""

    every: int
    kind: ClassVar[str]
    wants_gradient: ClassVar[bool] = False  # that of absent weights

    def share(self, step) -> float | None:
        """Fraction of weights that a change after so many updates replaces; None: no weight grows."""
        return None

    def check_fit(self, net):
        """ValueError if the policy cannot be followed from this network on."""

    def masks(self, net, step, rng, start=None, gradients=None):
        """dict of masks (n, m) by name after so many updates, or None where nothing is to change.

        rng: numpy Generator. start: the density in the beginning. gradients: dict by name, as `all_gradients` gives it.
        """
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """What `from_config` needs, and JSON can hold."""
        return {"kind": self.kind, **vars(self)}


@dataclass(frozen=True)
class Magnitude(Policy):
    """Gradual pruning of the smallest weights (Zhu and Gupta: To prune, or not to prune, arXiv 1710.01878).

    After t updates the density of all input and recurrent weights together, in edges, is
    density + (start - density) * (1 - part) ** 3, part = (t - begin) / (steps - begin) from 0 to 1, with `start` that
    of the network in the beginning. What is gone does not come back.

    density: the final one, above 0. steps: updates until it is reached. every: updates between two changes. begin:
    updates before the first. scope: "layer": each layer and side loses the same share of its weights; "global": all
    compete, and none but the inputs of a layer are sure to keep a weight.
    """

    density: float
    steps: int
    every: int = 100
    begin: int = 0
    scope: str = "layer"
    kind: ClassVar[str] = "magnitude"

    def __post_init__(self):
        density = check_fraction("rewiring to density", self.density)
        if density == 0:
            raise ValueError("rewiring to density=0 means pruning to zero weights: give a final density above 0")
        check_choice("scope", self.scope, SCOPES)
        steps, begin = check_count("steps", self.steps), check_count("begin", self.begin, 0)
        if begin >= steps:
            raise ValueError(f"begin={begin} leaves nothing of steps={steps}: give a begin below steps")
        _keep(self, density=density, steps=steps, begin=begin, every=check_count("every", self.every))

    def check_fit(self, net):
        now = density_of(net)
        if self.density > now:
            told = f"rewiring to density={self.density:g} would add weights to a network of density {now:.4g}"
            raise ValueError(f"{told}, and magnitude only prunes: give a final density below that")

    def aim(self, step, start):
        """The density after so many updates."""
        part = min(1.0, max(0.0, (step - self.begin) / (self.steps - self.begin)))
        return self.density + (start - self.density) * (1 - part) ** 3

    def masks(self, net, step, rng, start=None, gradients=None):
        before, sizes = edges_of(net), magnitudes(net)
        counts = np.array([mask.sum() for mask in before.values()])
        start = density_of(net) if start is None else start
        aim = max(1, round(self.aim(step, start) * sum(mask.size for mask in before.values())))
        if aim >= counts.sum():
            return None
        if self.scope == "layer":
            kept = dict(zip(before, quotas(counts, aim).tolist(), strict=True))
        else:
            kept = _compete(before, sizes, aim)
        found = {}
        for name, mask in before.items():
            least = 1 if name.endswith("weight_in") else 0  # a layer has to hear something
            found[name] = np.zeros(mask.shape, bool)
            found[name].flat[_largest(sizes[name], mask)[: max(least, kept[name])]] = True
        return found


@dataclass(frozen=True)
class SET(Policy):
    """Sparse evolutionary training (Mocanu et al.: Scalable training of artificial neural networks with adaptive sparse
    connectivity inspired by network science, 2018).

    At each change the smallest weights of each layer and side go, a fraction of those that exist, and as many grow
    where there were none, drawn at random. They begin at 0. Where too few are absent, fewer are replaced.

    fraction: from 0 to 1. every: updates between two changes.
    """

    fraction: float = 0.3
    every: int = 100
    kind: ClassVar[str] = "set"

    def __post_init__(self):
        fraction = check_fraction("fraction", self.fraction)
        _keep(self, fraction=fraction, every=check_count("every", self.every))

    def share(self, step):
        return self.fraction

    def masks(self, net, step, rng, start=None, gradients=None):
        return _replaced(net, self.share(step), lambda name, absent: rng.permutation(absent))


@dataclass(frozen=True)
class RigL(Policy):
    """Rigging the lottery (Evci et al.: Rigging the lottery: making all tickets winners, 2020).

    As `SET`, but those weights grow whose gradient is the largest: the exact one of the sequences about to be read,
    from `all_gradients`. After t updates the fraction is fraction / 2 * (1 + cos(pi * t / end)), end = stop * steps,
    and from then on masks stay. Unlike the authors', a weight that goes does not come back at once.

    steps: updates of the whole training. every: updates between two changes. fraction, stop: from 0 to 1.
    """

    steps: int
    every: int = 100
    fraction: float = 0.3
    stop: float = 0.75
    kind: ClassVar[str] = "rigl"
    wants_gradient: ClassVar[bool] = True

    def __post_init__(self):
        _keep(
            self, steps=check_count("steps", self.steps), every=check_count("every", self.every),
            fraction=check_fraction("fraction", self.fraction), stop=check_fraction("stop", self.stop),
        )  # fmt: skip

    def share(self, step):
        end = self.stop * self.steps
        return self.fraction / 2 * (1 + math.cos(math.pi * step / end)) if step < end else None

    def masks(self, net, step, rng, start=None, gradients=None):
        share = self.share(step)
        if share is None:
            return None
        if gradients is None:
            raise ValueError("RigL needs the gradients of all weights: pass gradients=all_gradients(net, ...)")
        sizes = {name: _norm(gradients[name]) for name in edges_of(net)}
        return _replaced(net, share, lambda name, absent: absent[_descending(sizes[name].flat[absent])])


POLICIES: dict[str, type[Magnitude | SET | RigL]] = {made.kind: made for made in (Magnitude, SET, RigL)}


def from_config(config: Mapping[str, Any]) -> Policy:
    """The policy that `config()` described; ValueError if it did not come from there."""
    given = dict(config)
    made = POLICIES[check_choice("kind", given.pop("kind", None), POLICIES)]
    try:
        return made(**given)
    except TypeError:
        found, needed = ", ".join(given) or "nothing", ", ".join(field.name for field in fields(made))
        raise ValueError(f"the policy {made.kind!r} got {found}: it takes {needed}") from None


def all_gradients(net, loss, x, targets=None, mask=None):
    """dict of the exact gradient of the summed loss for every weight, those that do not exist among them.

    What a learner's `quiet` charges is not part of it.

    By BPTT on `dense_twin(net)`, from zero state: x (T, n_in) or (streams, T, n_in), targets and mask as in
    `Learner.run`.
    """
    streams = 1 if np.ndim(x) == 2 else len(x)
    if streams == 1 and np.ndim(x) == 3:
        x, targets, mask = (None if one is None else one[0] for one in (x, targets, mask))
    learner = lookup("learner", "bptt")(dense_twin(net), loss, streams)
    learner.run(x, targets, mask)
    return learner.gradients()


def dense_twin(net):
    """A Network of its own that computes the same: all weights exist, and are 0 where `net` has none."""
    every = {name: np.ones(mask.shape, bool) for name, mask in edges_of(check_network(net)).items()}
    layers = [
        replace(cell, mask_in=every[f"layers.{k}.weight_in"], mask_rec=every[f"layers.{k}.weight_rec"])
        for k, cell in enumerate(net.layers)
    ]
    twin = Network(net.n_in, layers, net.readout, 0, net.dtype, net.dt)
    twin.load_parameters(net.parameters())
    return twin


def edges_of(net):
    """dict of a network's masks, one (n, m) for all channels of each layer and side."""
    return {name: mask[0] for name, mask in net.masks().items()}


def magnitudes(net):
    """dict of each edge's norm over its channels (n, m), 0 where there is none."""
    values = net.parameters()
    return {name: _norm(values[name]) for name in net.masks()}


def density_of(net):
    """Fraction of all input and recurrent edges of all layers that exist."""
    masks = edges_of(net).values()
    return float(sum(mask.sum() for mask in masks) / sum(mask.size for mask in masks))


class Rewiring:
    """A policy at work in a training: when it acts, its random numbers, and what it did in the present epoch."""

    def __init__(self, policy, net, seed, done=0):
        if not isinstance(policy, Policy):
            raise TypeError(f"rewire is {policy!r}: pass a policy such as evsim.SET(fraction=0.3, every=100)")
        for name, mask in edges_of(net).items():
            if name.endswith("weight_in") and not mask.any():
                raise ValueError(f"{name} has no weight at all, so its layer hears nothing: raise the density there")
        policy.check_fit(net)
        self.policy, self._rng = policy, check_seed(seed)
        self._start, self._last = density_of(net), done
        self.dropped = self.grown = 0

    def due(self, step):
        """Has an interval of updates ended since the last look?"""
        return step // self.policy.every > self._last // self.policy.every

    def act(self, learner, optimizer, batch):
        """Change masks if that is due. batch(): inputs, targets and mask of the sequences to be read next."""
        net, step = learner.net, optimizer.steps
        if not self.due(step):
            return
        self._last, gradients = step, None
        if self.policy.wants_gradient and self.policy.share(step) is not None:
            gradients = all_gradients(net, learner.loss_kind, *batch())
        masks = self.policy.masks(net, step, self._rng, self._start, gradients)
        if masks is None:
            return
        before = edges_of(net)
        rewire(learner, optimizer, masks)
        self.dropped += sum(int((before[name] & ~mask).sum()) for name, mask in masks.items())
        self.grown += sum(int((mask & ~before[name]).sum()) for name, mask in masks.items())

    def note(self, net):
        """What an epoch's row says of it; counting begins anew."""
        found = {"density": density_of(net), "dropped": self.dropped, "grown": self.grown}
        self.dropped = self.grown = 0
        return found

    def state(self):
        """What `load` needs to go on bit for bit, as JSON can hold it."""
        return {
            "policy": self.policy.config(), "generator": self._rng.bit_generator.state, "start": self._start,
            "last": self._last, "dropped": self.dropped, "grown": self.grown,
        }  # fmt: skip

    @classmethod
    def load(cls, state):
        """The Rewiring whose `state` this was."""
        made = cls.__new__(cls)
        made.policy, made._rng = from_config(state["policy"]), np.random.default_rng()
        made._rng.bit_generator.state = state["generator"]
        made._start, made._last = float(state["start"]), int(state["last"])
        made.dropped, made.grown = int(state["dropped"]), int(state["grown"])
        return made


def _replaced(net, share, order):
    """Masks in which a share of each layer and side's smallest weights has gone and as many others have come.

    order(name, absent): places of absent weights, those first that are to come.
    """
    found, sizes = {}, magnitudes(net)
    for name, mask in edges_of(net).items():
        absent = np.flatnonzero(~mask)
        moved = min(round(share * int(mask.sum())), len(absent))
        kept = _largest(sizes[name], mask)[: int(mask.sum()) - moved]
        found[name] = np.zeros(mask.shape, bool)
        found[name].flat[kept] = True
        found[name].flat[order(name, absent)[:moved]] = True
    return found


def _compete(masks, sizes, aim):
    """How many weights each mask keeps if `aim` of all stay, the largest."""
    every = np.concatenate([np.where(mask, sizes[name], -1.0).ravel() for name, mask in masks.items()])
    owner = np.repeat(np.arange(len(masks)), [mask.size for mask in masks.values()])
    counts = np.bincount(owner[_descending(every)[:aim]], minlength=len(masks))
    return dict(zip(masks, counts.tolist(), strict=True))


def _largest(sizes, mask):
    """Places of the existing weights, the largest first."""
    places = np.flatnonzero(mask)
    return places[_descending(sizes.flat[places])]


def _descending(values):
    return np.argsort(-np.asarray(values), kind="stable")


def _norm(values):
    """Norm over channels (n, m) of weights (channels, n, m), in float64."""
    return np.sqrt(np.square(values, dtype=np.float64).sum(0))


def _keep(policy, **checked):
    for name, value in checked.items():
        object.__setattr__(policy, name, value)
