"""What the exactness tests share: networks to try, sequences, torch's gradients, and how far two gradients differ.

A cell named in the registry takes part without further ado, with each of the VARIANTS for which it has the option.
"""

from dataclasses import fields
from random import Random

import numpy as np
import torch
from naive import Step

from evsim import BPTT, RTRL, LeakyReadout, Network, Readout
from evsim.forward import Forward
from evsim.models.network import TorchNetwork, summed_loss
from evsim.opcount import new_count
from evsim.registry import lookup, names

VARIANTS = {"reset": ("-zero", "zero"), "graded": ("-binary", False)}  # option -> suffix of the name, other value
GAIN = {"evrnn": 0.8}  # of the recurrent weights, where a unit's output is not bounded
FACTORS = (1, 0.5, 0.25, 0.12, 0.06, 0.03, 2, 4)  # by which a layer's drive may be changed
SURROGATES = {
    "triangle": {},
    "boxcar": {"surrogate": "boxcar", "height": 0.5},
    "superspike": {"surrogate": "superspike", "slope": 4.0},
    "wide": {"half_width": 0.6},  # wider than the thresholds of EGRU and EvRNN
}
READOUTS = ("linear", "leaky")
LOSSES = ("cross_entropy", "binary_cross_entropy", "mse")
TOLERANCE = 1e-10


def _kinds():
    found = {}
    for name in names("cell"):
        make = lookup("cell", name)
        found[name] = (make, {})
        for option, (suffix, value) in VARIANTS.items():
            if option in {f.name for f in fields(make)}:
                found[name + suffix] = (make, {option: value})
    return found


def pick(choices, *names):
    """One of the choices, always the same one for these names: what is added elsewhere changes nothing."""
    return Random("-".join(map(str, names))).choice(choices)


def _stacks(*shapes):
    """One stack for each kind in the place marked 0 of one of the shapes, with companions from a fixed list."""
    found = []
    for kind in KINDS:
        others = [other for other in COMPANIONS if other != kind]
        found.append(tuple(pick(others, kind, n) if n else kind for n in pick(shapes, kind, *shapes[0])))
    return list(dict.fromkeys(found))


COMPANIONS = ("egru", "lif-zero", "evrnn", "alif", "cubalif", "lif", "evrnn-binary", "alif-zero", "cubalif-zero")
KINDS = _kinds()  # name -> (class, options)
SINGLE = _stacks((0,))
PAIRS = _stacks((0, 1), (1, 0))
TRIPLES = _stacks((0, 1, 2), (1, 0, 2), (1, 2, 0))


def options_of(kind):
    """Names of the fields that a kind of cell has."""
    return {f.name for f in fields(KINDS[kind][0])}


def learnable(kinds, readout="linear"):
    """The `learn_*` fields of these kinds, and of the readout."""
    found = {name for kind in kinds for name in options_of(kind) if name.startswith("learn_")}
    return sorted(found | ({"learn_kappa"} if readout == "leaky" else set()))


def spread_out(make, units, rng):
    """Values of their own for each unit's thresholds, time constants and other local parameters."""
    made, found = make(units), {}
    for name in made.local:
        given = made.decays.get(name) or name
        top = 1.1 if given == name and name in made.decays else 1.5
        found[given] = np.broadcast_to(getattr(made, given), units) * rng.uniform(0.5, top, units)
    return found


def cell_of(kind, units, spread=None, **options):
    """A layer; options that the kind does not have are left out. spread: a Generator for values of each unit's own."""
    make, own = KINDS[kind]
    known = {**{k: v for k, v in options.items() if k in options_of(kind)}, **own}
    return make(units, **known | (spread_out(make, units, spread) if spread else {}))


def readout_of(readout, n_out, spread=None, learn_kappa=False, **_):
    """A readout of that name; options that it does not have are left out."""
    if readout == "linear":
        return Readout(n_out)
    own = spread_out(LeakyReadout, n_out, spread) if spread else {}
    return LeakyReadout(n_out, learn_kappa=learn_kappa, **own)


def network(
    kinds, units=(9, 7, 6), n_in=4, n_out=3, seed=0, dtype="float64", spread=False, first=None, readout="linear",
    **options,
):  # fmt: skip
    """A network whose units are active at different levels: biases moved at random, gains kept below 1.

    spread: thresholds, time constants and the like differ from unit to unit. first: options of the first layer alone;
    `options`: of every layer that has them.
    """
    rng = np.random.default_rng([seed, 1])
    each = [{**options, **(first or {})}, *[options] * (len(kinds) - 1)]
    cells = [cell_of(kind, n, rng if spread else None, **o) for kind, n, o in zip(kinds, units, each)]
    net = Network(n_in, cells, readout_of(readout, n_out, rng if spread else None, **options), seed=seed, dtype=dtype)
    values = net.parameters()
    for k, kind in enumerate(kinds):
        values[f"layers.{k}.weight_in"] *= 3.0 if k else 1.5
        if kind in GAIN:
            radius = np.abs(np.linalg.eigvals(values[f"layers.{k}.weight_rec"])).max()
            values[f"layers.{k}.weight_rec"] *= GAIN[kind] / max(radius, 1.0)
        values[f"layers.{k}.bias"] += 0.5 * rng.standard_normal(values[f"layers.{k}.bias"].shape)
    values["readout.bias"] += 0.1 * rng.standard_normal(n_out)
    for k in range(len(kinds)):
        enliven(net, k, values)
    net.load_parameters(values)
    return net


def speaking(kinds, steps, **options):
    """The first of some networks of which every layer matters to a loss within so many steps."""
    for seed in range(20):
        net = network(kinds, seed=seed, **options)
        learner = RTRL(net, loss="mse")
        learner.run(sequence(net, steps), targets_for(net, "mse", (steps,)))
        found = learner.gradients()
        if all(found[f"layers.{k}.bias"].any() for k in range(len(kinds))):
            return net
    raise AssertionError(f"no network of {kinds} speaks within {steps} steps")


def all_trained(stack, steps=61, readout=None, **options):
    """A network of units with values of their own, in which every parameter is trained and every layer matters."""
    readout = readout or pick(READOUTS, *stack)
    learn = dict.fromkeys(learnable(stack, readout), True)
    return speaking(stack, steps, spread=True, readout=readout, **{"density": 0.4, **learn, **options})


def enliven(net, k, values, steps=25):
    """Scale a layer's drive so that its units speak, and are near their thresholds, for some of the time.

    Units that sum up much of the past need little drive; too much, and they are far above their thresholds for ever.
    """
    plain = {name: values[name] for name in (f"layers.{k}.{side}" for side in ("weight_in", "weight_rec", "bias"))}
    place, best = net.layout.layers[k], (-1.0, 1.0)
    for factor in FACTORS:
        net.load_parameters(values | {name: factor * value for name, value in plain.items()})
        forward = Forward(net, 1, steps)
        forward.x[0, 1:] = sequence(net, steps)
        forward.advance(0, 1, 0, steps, forward.workspace(), new_count(len(net.layers)))
        units = slice(place.first, place.first + place.units)
        events, slopes = (forward.arrays[name][0, 1:, units] for name in ("y", "phi"))
        rates = np.mean(events != 0), np.mean(np.abs(slopes).max(-1) > 0.01)
        best = max(best, (min(rates[0], 0.2) * min(rates[1], 0.2), factor), key=lambda found: found[0])
    values |= {name: best[1] * value for name, value in plain.items()}


def sequence(net, steps, seed=0, lead=()):
    """Inputs (*lead, T, n_in): of both signs, three in ten exactly zero."""
    rng = np.random.default_rng([seed, 2])
    shape = (*lead, steps, net.n_in)
    return (rng.standard_normal(shape) * (rng.random(shape) < 0.7)).astype(net.dtype)


def targets_for(net, loss, lead, seed=0):
    """Targets for every step: classes (*lead) or numbers (*lead, n_out)."""
    rng = np.random.default_rng([seed, 3])
    if loss == "cross_entropy":
        return rng.integers(net.n_out, size=lead)
    return rng.random((*lead, net.n_out)).astype(net.dtype)


def keeps(steps, seed=0):
    """Name -> which steps have a loss."""
    some = np.random.default_rng([seed, 4]).random(steps) < 0.4
    some[steps // 2] = True
    return {"all": np.ones(steps, bool), "last": np.arange(steps) == steps - 1, "some": some}


class Unrolled:
    """One sequence (T, n_in), or several with a leading axis, under torch: outputs, events, gradients (BPTT)."""

    def __init__(self, net, x):
        self.net, self.model = net, TorchNetwork(net)
        self.events = []
        found = self.model(torch.from_numpy(x if x.ndim == 3 else x[None]), self.events)
        self.out = found if x.ndim == 3 else found[0]

    def gradients(self, loss, targets, keep):
        """dict of the summed loss's gradient for every trained parameter; it can be asked for several times."""
        wanted = {name.replace("/", "."): p for name, p in self.model.named_parameters() if p.requires_grad}
        total = summed_loss(loss, self.out[torch.from_numpy(keep)], torch.from_numpy(np.asarray(targets)[keep]))
        found = torch.autograd.grad(total, list(wanted.values()), retain_graph=True, allow_unused=True)
        empty = {name: np.zeros(p.shape) for name, p in wanted.items()}
        return {name: empty[name] if g is None else g.numpy() for name, g in zip(wanted, found)}

    def pattern(self):
        """Which units spoke: boolean (T, units) of the first sequence."""
        return np.array([np.concatenate([y[0].detach().numpy() != 0 for y in ys]) for ys in self.events])


class Shared:
    """Torch, step by step, with parameters that change: a constant for each step, plus one delta shared by all.

    window: steps after which states are detached from their past; None: never.
    """

    def __init__(self, net, x, window=None):
        self.net, self.model, self.window = net, TorchNetwork(net), window
        self.x = torch.from_numpy(x[None])
        self.state = self.model.start(1, self.x)
        trained = {name: value for name, value in net.parameters().items() if name not in net.layout.untrained}
        self.delta = {name: torch.zeros(value.shape, dtype=torch.float64) for name, value in trained.items()}
        for tensor in self.delta.values():
            tensor.requires_grad_()

    def step(self, t):
        """Outputs at t with the parameters in force now."""
        masks = self.net.masks()
        values = {name: torch.from_numpy(value) for name, value in self.net.parameters().items()}
        for name, delta in self.delta.items():
            values[name] = values[name] + (delta * torch.from_numpy(masks[name]) if name in masks else delta)
        if self.window and t % self.window == 0:
            self.state = [(y.detach(), tuple(w.detach() for w in kept)) for y, kept in self.state]
        out, self.state = self.model.step(self.x[:, t], self.state, values)
        return out[0]

    def gradients(self, total):
        """d total / d delta."""
        found = torch.autograd.grad(total, list(self.delta.values()), retain_graph=True, allow_unused=True)
        empty = {name: np.zeros(d.shape) for name, d in self.delta.items()}
        return {name: empty[name] if g is None else g.numpy() for name, g in zip(self.delta, found)}


def worst(ours, truth):
    """Largest error over parameters, each relative to its own largest entry; infinite if what should be 0 is not."""
    assert list(ours) == list(truth)
    error = 0.0
    for name, wanted in truth.items():
        assert ours[name].shape == wanted.shape
        top = np.abs(wanted).max()
        off = np.abs(ours[name] - wanted).max()
        assert np.isfinite(off)
        error = max(error, off / top if top else np.inf if off else 0.0)
    return error


def hidden(gradients):
    """Without the readout: what has come through the influence matrix."""
    return {name: g for name, g in gradients.items() if not name.startswith("readout")}


def by_steps(learner, x, targets, keep):
    """Feed a sequence by single steps, with targets where `keep` says so: outputs (T, n_out)."""
    return np.array([learner.step(x[t], targets[t] if keep[t] else None) for t in range(len(x))])


def at_once(learner, x, targets, keep):
    """Feed a sequence by one `run`."""
    return learner.run(x, targets, keep)


def in_pieces(learner, x, targets, keep, cuts=(1, 2, 35)):
    """Feed a sequence by `run` in uneven pieces."""
    parts = np.split(np.arange(len(x)), [c for c in cuts if c < len(x)])
    return np.concatenate([learner.run(x[part], targets[part], keep[part]) for part in parts])


class Swept(RTRL):
    """Closes its blocks by a sweep, whatever it costs."""

    prices = 0.0, 0.0


class Stepped(RTRL):
    """Closes its blocks by stepping through them."""

    prices = 1e30, 1e30


FEEDS = (by_steps, at_once, in_pieces)
ENGINES = {  # name -> exact learner for a sequence of so many steps
    "stepping": lambda net, steps, **options: RTRL(net, **options),
    "swept 2": lambda net, steps, **options: Swept(net, block=2, **options),
    "swept 7": lambda net, steps, **options: Swept(net, block=7, **options),
    "stepped 7": lambda net, steps, **options: Stepped(net, block=7, **options),
    "block 2": lambda net, steps, **options: RTRL(net, block=2, **options),
    "block 7": lambda net, steps, **options: RTRL(net, block=7, **options),
    "block 16": lambda net, steps, **options: RTRL(net, block=16, **options),
    "whole": lambda net, steps, **options: RTRL(net, block=max(steps, 2), **options),
    "bptt": lambda net, steps, **options: BPTT(net, **options),
}
KEEPING = [name for name in ENGINES if name.startswith(("block", "whole", "bptt"))]  # open blocks; can be saved


def one_step(net, forward, b=0, slot=1):
    """The Steps of one slot of a Forward, cut to each layer's own sizes; a leaky readout is the last layer."""
    found = []
    for k, (cell, place) in enumerate(zip(net.stack, net.layout.layers)):
        u = slice(place.first, place.first + cell.units)
        below = net.layout.layers[k - 1] if k else None
        heard = forward.y[b, slot, below.first : below.first + below.units] if k else forward.x[b, slot]
        K, G, L = len(cell.states), len(cell.channels), len(cell.local)
        found.append(
            Step(
                heard.copy(), forward.y[b, slot - 1, u].copy(), forward.y[b, slot, u].copy(),
                forward.A[b, slot, u, :K, :K].copy(), forward.B[b, slot, u, :K, :G].copy(),
                forward.C[b, slot, u, :K, :L].copy(), forward.phi[b, slot, u, :K].copy(),
                forward.D[b, slot, u, :L].copy(),
            )
        )  # fmt: skip
    return found


def record(net, x, chunk=1):
    """Outputs (T, n_out) and, for every time step, one Step per layer, as the kernels write them."""
    learner, steps, out = RTRL(net), [], []
    for t in range(0, len(x), chunk):
        out += list(learner.run(x[t : t + chunk]))
        steps += [one_step(net, learner._forward, slot=s) for s in range(1, min(chunk, len(x) - t) + 1)]
    return np.array(out), steps


def jacobians(cell, words, before, a, q, at_start):
    """A, B, C, phi, D of one step by autograd, from the states before (K arrays), channels and local parameters."""
    m = words(getattr(cell, "pseudo", None))
    before, a, q = ([torch.tensor(v, requires_grad=True) for v in group] for group in (before, a, q))
    kept = cell.nothing_kept(before[0].detach()) if at_start else cell.keep(m, before, q)
    s = cell.advance(m, kept, a, q)
    seen = [v.detach().requires_grad_() for v in s]
    y = cell.emit(m, seen, q)

    def by_unit(outs, ins):
        found = np.zeros((len(ins[0]), len(outs), len(ins)))
        for k, o in enumerate(outs):
            for j, g in enumerate(torch.autograd.grad(o.sum(), ins, retain_graph=True, allow_unused=True)):
                found[:, k, j] = 0 if g is None else g
        return found

    A, B, C = (by_unit(s, group) for group in (before, a, q))
    return A, B, C, by_unit([y], seen)[:, 0], by_unit([y], q)[:, 0]
