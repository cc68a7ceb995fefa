"""Exactness: the learner's gradients against a toy worked by hand and against torch's backpropagation through time."""

import math
from itertools import product

import numpy as np
import pytest
from oracle import (
    ENGINES,
    FEEDS,
    KINDS,
    LOSSES,
    PAIRS,
    READOUTS,
    SINGLE,
    SURROGATES,
    TOLERANCE,
    TRIPLES,
    Unrolled,
    keeps,
    learnable,
    network,
    pick,
    sequence,
    targets_for,
    worst,
)  # fmt: skip

import evsim

STACKS = SINGLE + PAIRS + TRIPLES
LENGTHS = (1, 2, 17, 60, 300)
FACTORS = {
    "stack": STACKS,
    "steps": LENGTHS,
    "density": (1.0, 0.3, 0.1),
    "loss": LOSSES,
    "keep": ("all", "last", "some"),
    "surrogate": tuple(SURROGATES),
    "readout": READOUTS,
    "detach": (False, True),
    "learn": ("nothing", "one", "all"),
    "spread": (False, True),
}


def has_reset(stack):
    """Whether detach_reset makes a difference."""
    return any(KINDS[kind][0].kept for kind in stack)


def chosen(stack, readout, learn, turn=0):
    """Which of the `learn_*` options are on: nothing, all, or one of them, another one at each turn."""
    every = learnable(stack, readout)
    on = {"nothing": [], "all": every, "one": every[turn % len(every) :][:1] if every else []}[learn]
    return {name: name in on for name in every}


def net_of(stack, density, surrogate, readout, detach, learn, spread, seed=0, turn=0, **more):
    """The network of one case."""
    options = dict(SURROGATES[surrogate], detach_reset=detach, readout=readout, **chosen(stack, readout, learn, turn))
    return network(stack, density=density, spread=spread, seed=seed, **options, **more)


def subset():
    """Cases such that each stack meets every density at T = 17, every length, and every value of all other factors."""
    found = []
    for stack in STACKS:
        s = pick(range(12), *stack)
        plan = [(17, density) for density in FACTORS["density"]]
        plan += [(steps, FACTORS["density"][(i + s) % 3]) for i, steps in enumerate((1, 2, 60, 300))]
        for j, (steps, density) in enumerate(plan):
            picks = {
                "loss": LOSSES[(j + s) % 3], "keep": FACTORS["keep"][(2 * j + j // 3 + s) % 3],
                "surrogate": FACTORS["surrogate"][(j + s) % 4], "readout": READOUTS[(j + j // 3 + s) % 2],
                "detach": (j + j // 2 + s) % 2 == 0, "learn": FACTORS["learn"][(j // 2 + s) % 3],
                "spread": (j // 3 + s) % 2 == 0,
            }  # fmt: skip
            found.append({"stack": stack, "steps": steps, "density": density, **picks})
    return found


SUBSET = subset()


def name_of(case):
    """A test's name."""
    marks = [name for name in ("detach", "spread") if case[name]]
    picks = (str(case[k]) for k in ("steps", "density", "loss", "keep", "surrogate", "readout", "learn"))
    return "-".join([*case["stack"], *picks, *marks])


def is_alive(truth, keep, density=1.0):
    """Whether the reference itself says something: a test of zeros proves nothing.

    A handful of recurrent weights may be silent: in a short sequence few units speak, and then are heard.
    """
    dead = [name for name, g in truth.items() if not g.any()]
    few = density < 0.2 or len(keep) < 60
    return "readout.bias" not in dead and (
        keep.sum() < 5 or not dead or (few and all(name.endswith("weight_rec") for name in dead))
    )


# Toys

def toy(cell, values):
    """A learner of one unit, one input, one output with the given parameters."""
    net = evsim.Network(1, cell, evsim.Readout(1), dtype="float64")
    net.load_parameters(shaped(net, values))
    return evsim.RTRL(net, loss="mse")


def shaped(net, values):
    """Numbers and lists by name, as arrays of the parameters' shapes."""
    return {name: np.reshape(np.array(values[name], float), old.shape) for name, old in net.parameters().items()}


@pytest.mark.nojit
def test_one_evrnn_unit_by_hand():
    cell = evsim.EvRNN(1, threshold=0.5, learn_threshold=True)  # triangle, height 0.7, half width 0.5
    learner = toy(cell, {
        "layers.0.weight_in": 1.0, "layers.0.weight_rec": 0.5, "layers.0.bias": 0.1, "layers.0.threshold": 0.5,
        "readout.weight": 2.0, "readout.bias": 0.0,
    })  # fmt: skip
    # t = 1: v = 0.6 + 0.1 = 0.7, an event of size 0.7; h = 0.7 (1 - 0.2/0.5) = 0.42; phi = 1 + 0.7 * 0.42 = 1.294
    #   dv = (in 0.6, rec 0, bias 1, threshold 0);  dy = phi dv, and -0.7 * 0.42 = -0.294 for the threshold
    assert learner.step([0.6])[0] == pytest.approx(1.4, rel=1e-14)
    # t = 2: v = 0.2 + 0.5 * 0.7 + 0.1 = 0.65 = y; h = 0.7 (1 - 0.15/0.5) = 0.49; phi = 1 + 0.65 * 0.49 = 1.3185
    #   dv = (0.2 + 0.5 * 0.7764, 0.7, 1 + 0.5 * 1.294, 0.5 * -0.294) = (0.5882, 0.7, 1.647, -0.147)
    #   dy = (0.7755417, 0.92295, 2.1715695, 1.3185 * -0.147 - 0.65 * 0.49 = -0.5123195)
    # out = 1.3 against 1: loss 0.09, d loss/d out = 0.6, d loss/d y = 1.2
    assert learner.step([0.2], [1.0])[0] == pytest.approx(1.3, rel=1e-14)
    assert learner.loss == pytest.approx(0.09, rel=1e-13)
    wanted = {
        "layers.0.weight_in": 1.2 * 0.7755417, "layers.0.weight_rec": 1.2 * 0.92295, "layers.0.bias": 1.2 * 2.1715695,
        "layers.0.threshold": 1.2 * -0.5123195, "readout.weight": 0.6 * 0.65, "readout.bias": 0.6,
    }  # fmt: skip
    assert worst(learner.gradients(), shaped(learner.net, wanted)) <= 1e-13


@pytest.mark.nojit
def test_one_egru_unit_by_hand():
    learner = toy(evsim.EGRU(1), {  # triangle, height 0.7, half width 0.2; z = r = 1/2 throughout
        "layers.0.weight_in": [0.0, 0.0, math.log(3)], "layers.0.weight_rec": [0.0, 0.0, 0.8],
        "layers.0.bias": [0.0] * 4, "layers.0.threshold": 0.3, "readout.weight": 2.0, "readout.bias": 0.0,
    })  # fmt: skip
    # t = 1: g = tanh(ln 3) = 0.8; c = 0.5 * 0.8 = 0.4, an event: y = 0.4, s = 0.1; h = 0.7 (1 - 0.1/0.2) = 0.35
    #   phi = 1 + 0.4 * 0.35 = 1.14; D = -0.4 * 0.35 = -0.14; ds/dc = 1 - 0.3 * 0.35 = 0.895; ds/dthreshold = -0.895
    #   k = 0.5 (1 - 0.64) = 0.18; B = (z (0 - 0.8)/4 = -0.2, r 0, g 0.18, q 0.09)
    #   dc = (in z -0.2, r 0, g 0.18; bias z -0.2, r 0, g 0.18, q 0.09), all else 0; dy = 1.14 dc, threshold -0.14
    assert learner.step([1.0])[0] == pytest.approx(0.8, rel=1e-14)
    # t = 2: q = 0.8 * 0.4 = 0.32; x such that ln 3 x + 0.16 = ln 2, so g = 0.6; c = 0.05 + 0.3 = 0.35: y = 0.35
    #   h = 0.7 (1 - 0.05/0.2) = 0.525; phi = 1 + 0.35 * 0.525 = 1.18375; D = -0.18375
    #   A = 0.5 * 0.895 = 0.4475; C = 0.5 * -0.895; k = 0.5 (1 - 0.36) = 0.32
    #   B = (z (0.1 - 0.6)/4 = -0.125, r 0.32 * 0.32/4 = 0.0256, g 0.32, q 0.16); recurrence 0.16 * 0.8 = 0.128
    x = (math.log(2) - 0.16) / math.log(3)
    old_z, old_g, old_q = (0.4475 * d + 0.128 * 1.14 * d for d in (-0.2, 0.18, 0.09))
    wanted = {
        "layers.0.weight_in": [old_z - 0.125 * x, 0.0256 * x, old_g + 0.32 * x],
        "layers.0.weight_rec": [-0.125 * 0.4, 0.0256 * 0.4, 0.16 * 0.4],
        "layers.0.bias": [old_z - 0.125, 0.0256, old_g + 0.32, old_q + 0.16],
        "layers.0.threshold": [-0.4475 + 0.128 * -0.14 - 0.18375 / 1.18375],
    }
    # out = 0.7 against 1: loss 0.09, d loss/d out = -0.6, d loss/d y = -1.2
    assert learner.step([x], [1.0])[0] == pytest.approx(0.7, rel=1e-14)
    assert learner.loss == pytest.approx(0.09, rel=1e-13)
    wanted = {name: [-1.2 * 1.18375 * d for d in ds] for name, ds in wanted.items()}
    wanted |= {"readout.weight": [-0.6 * 0.35], "readout.bias": [-0.6]}
    assert worst(learner.gradients(), shaped(learner.net, wanted)) <= 1e-13


@pytest.mark.nojit
def test_one_lif_unit_by_hand():
    cell = evsim.LIF(1, beta=0.5, learn_threshold=True, learn_beta=True)  # threshold 1; height 0.7, half width 0.5
    learner = toy(cell, {
        "layers.0.weight_in": 1.0, "layers.0.weight_rec": 0.4, "layers.0.bias": 0.0, "layers.0.threshold": 1.0,
        "layers.0.beta": 0.5, "readout.weight": 2.0, "readout.bias": 0.0,
    })  # fmt: skip
    # t = 1: v = 1.2, an event; h = 0.7 (1 - 0.2/0.5) = 0.42
    #   dv = (in 1.2, rec 0, bias 1, threshold 0, beta 0);  dy = 0.42 dv, and -0.42 for the threshold
    assert learner.step([1.2])[0] == pytest.approx(2.0, rel=1e-14)
    # t = 2: the reset leaves 0.2; v = 0.1 + 0.6 + 0.4 = 1.1, an event; h = 0.7 (1 - 0.1/0.5) = 0.56
    #   A = 0.5 (1 - 0.42) = 0.29; C: threshold 0.5 (-1 + 0.42) = -0.29, beta 0.2; recurrence 0.4 dy
    #   dv = (0.348 + 0.2016 + 0.6, 1, 0.29 + 0.168 + 1, -0.168 - 0.29, 0.2); dy = 0.56 dv, and -0.56 for the threshold
    # out = 2 against 1: loss 1, d loss/d out = 2, d loss/d y = 4
    assert learner.step([0.6], [1.0])[0] == pytest.approx(2.0, rel=1e-14)
    assert learner.loss == pytest.approx(1.0, rel=1e-13)
    wanted = {
        "layers.0.weight_in": 4 * 0.56 * 1.1496, "layers.0.weight_rec": 4 * 0.56, "layers.0.bias": 4 * 0.56 * 1.458,
        "layers.0.threshold": 4 * (0.56 * -0.458 - 0.56), "layers.0.beta": 4 * 0.56 * 0.2,
        "readout.weight": 2.0, "readout.bias": 2.0,
    }  # fmt: skip
    assert worst(learner.gradients(), shaped(learner.net, wanted)) <= 1e-13


@pytest.mark.nojit
def test_a_leaky_readout_by_hand():
    net = evsim.Network(1, evsim.EvRNN(1), evsim.LeakyReadout(1, kappa=0.5, learn_kappa=True), dtype="float64")
    net.load_parameters(shaped(net, {
        "layers.0.weight_in": 1.0, "layers.0.weight_rec": 0.0, "layers.0.bias": 0.0, "layers.0.threshold": 0.5,
        "readout.weight": 2.0, "readout.bias": 0.1, "readout.kappa": 0.5,
    }))  # fmt: skip
    learner = evsim.RTRL(net, loss="mse")
    # t = 1: y = 2, out = 4.1; t = 2: silent, out = 2.15; t = 3: y = 1, h = 0, out = 1.075 + 2.1 = 3.175
    outs = [learner.step([x], None if t < 2 else [2.675])[0] for t, x in enumerate((2.0, -1.0, 1.0))]
    assert outs == pytest.approx([4.1, 2.15, 3.175], rel=1e-14)
    # error 0.5, d loss/d out = 1; kappa: 2.15 + 0.5 * 4.1; weight: 0.25 * 2 + 1; bias: 1.75
    # input weight: 2 (0.25 * 2 + 1); bias of the unit: 2 (0.25 + 1); recurrence: silent before
    wanted = {
        "layers.0.weight_in": 3.0, "layers.0.weight_rec": 0.0, "layers.0.bias": 2.5,
        "readout.weight": 1.5, "readout.bias": 1.75, "readout.kappa": 4.2,
    }  # fmt: skip
    found = learner.gradients()
    assert {name: g.item() for name, g in found.items()} == pytest.approx(wanted, rel=1e-13, abs=1e-15)


# Against torch

def test_the_subset_covers():
    for stack in STACKS:
        cases = [case for case in SUBSET if case["stack"] == stack]
        for factor, values in FACTORS.items():
            wanted = {stack} if factor == "stack" else set(values)
            assert {case[factor] for case in cases} == wanted, (stack, factor)
        assert {case["density"] for case in cases if case["steps"] == 17} == set(FACTORS["density"])


@pytest.mark.parametrize("case", SUBSET, ids=name_of)
def test_gradients_equal_backpropagation(case):
    steps, loss = case["steps"], case["loss"]
    picks = {name: case[name] for name in case if name not in ("steps", "loss", "keep")}
    turn = pick(range(60), name_of(case))
    for seed in range(steps, steps + 10):  # the first network that has something to say
        net = net_of(**picks, seed=seed, turn=turn)
        x, targets, keep = sequence(net, steps), targets_for(net, loss, (steps,)), keeps(steps)[case["keep"]]
        unrolled = Unrolled(net, x)
        truth = unrolled.gradients(loss, targets, keep)
        if is_alive(truth, keep, case["density"]):
            break
    else:
        raise AssertionError("no network of these says anything")
    ways = [(name, FEEDS[(turn + k) % 3]) for k, name in enumerate(ENGINES)]
    for name, feed in dict.fromkeys([*product(["stepping"], FEEDS), *ways]):
        learner = ENGINES[name](net, steps, loss=loss)
        out = feed(learner, x, targets, keep)
        assert worst(learner.gradients(), truth) <= TOLERANCE, name
        np.testing.assert_allclose(out, unrolled.out.detach(), rtol=1e-9, atol=1e-11)


def lively(stack, steps, loss, **picks):
    """The first of some networks in which every parameter matters within so few steps: (net, x, targets, keep)."""
    for seed in range(20):
        net = net_of(stack, seed=seed, **picks)
        x, targets, keep = sequence(net, steps), targets_for(net, loss, (steps,)), keeps(steps)["some"]
        if all(g.any() for g in Unrolled(net, x).gradients(loss, targets, keep).values()):
            return net, x, targets, keep
    raise AssertionError(f"no network of {stack} is lively enough")


@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_gradients_are_exact_at_any_step(stack):
    picks = dict(surrogate="wide", readout=READOUTS[len(stack) % 2], detach=False, learn="all", spread=True)
    net, x, targets, keep = lively(stack, 20, "mse", density=0.4, **picks)
    unrolled, seen = Unrolled(net, x), np.zeros(len(x), bool)
    learners = {name: make(net, len(x), loss="mse") for name, make in ENGINES.items()}
    for t in range(len(x)):
        seen[t] = keep[t]
        truth = unrolled.gradients("mse", targets, seen)
        errors = (unrolled.out.detach().numpy() - targets) ** 2
        for name, learner in learners.items():
            learner.step(x[t], targets[t] if keep[t] else None)
            assert worst(learner.gradients(), truth) <= TOLERANCE, name
            assert learner.loss == pytest.approx(errors.mean(1)[seen].sum(), rel=1e-12)


FULL = [
    (stack, density, surrogate, readout, detach, learn)
    for stack, density, surrogate, readout, detach, learn in product(
        STACKS, (1.0, 0.3), SURROGATES, READOUTS, FACTORS["detach"], FACTORS["learn"]
    )
    if has_reset(stack) or not detach
]


@pytest.mark.full
@pytest.mark.parametrize(("stack", "density", "surrogate", "readout", "detach", "learn"), FULL)
def test_every_case(stack, density, surrogate, readout, detach, learn):
    """With every length, and local parameters alike or not; losses and masks take turns."""
    alive, names = set(), set()
    for turn, (steps, spread) in enumerate(product(LENGTHS, FACTORS["spread"])):
        net = net_of(stack, density, surrogate, readout, detach, learn, spread, seed=steps, turn=turn)
        loss, keep = LOSSES[turn % 3], keeps(steps)[FACTORS["keep"][(turn + turn // 3) % 3]]
        x, targets = sequence(net, steps), targets_for(net, loss, (steps,))
        truth = Unrolled(net, x).gradients(loss, targets, keep)
        for k, (name, make) in enumerate(ENGINES.items()):
            learner = make(net, steps, loss=loss)
            FEEDS[(turn + k) % 3](learner, x, targets, keep)
            assert worst(learner.gradients(), truth) <= TOLERANCE, (steps, spread, loss, name)
        names |= set(truth)
        alive |= {name for name, g in truth.items() if g.any()}
    assert learn != "all" or alive == names, names - alive  # each parameter matters in some of them


# In single precision

def moves(net, x, loss, targets, keep):
    """By how much the gradient moves, relatively, when every parameter is off by one rounding to single precision."""
    rng, exact, found = np.random.default_rng(0), Unrolled(net, x).gradients(loss, targets, keep), 0.0
    parameters = net.parameters()
    for _ in range(3):
        net.load_parameters({
            name: value * (1 + 2.0**-24 * rng.standard_normal(value.shape)) for name, value in parameters.items()
        })  # fmt: skip
        found = max(found, worst(Unrolled(net, x).gradients(loss, targets, keep), exact))
    net.load_parameters(parameters)
    return found


@pytest.mark.parametrize("stack", STACKS, ids="-".join)
def test_single_precision_on_the_same_events(stack):
    """Against autograd in double precision; a sequence in which rounding flips an event is counted, not compared.

    Where the gradient itself moves by over 1e-3 at a rounding of the parameters, it need be no nearer than that.
    """
    same, tried, unsure = 0, 0, 0
    for seed, steps, surrogate in product(range(3), (2, 17, 60), ("triangle", "superspike")):
        options = dict(SURROGATES[surrogate], density=0.3, seed=seed)
        net, double = (network(stack, dtype=dtype, **options) for dtype in ("float32", "float64"))
        double.load_parameters(net.parameters())
        x, targets, keep = sequence(net, steps), targets_for(net, "cross_entropy", (steps,)), np.ones(steps, bool)
        arbiter, learners = Unrolled(double, x.astype(np.float64)), [make(net, steps) for make in ENGINES.values()]
        for learner in learners:
            learner.run(x, targets)
            assert learner.gradient().dtype == np.float32
        _, events = net.run(x, record_events=True)
        tried += 1
        if np.array_equal(np.concatenate(events, 1) != 0, arbiter.pattern()):
            same += 1
            truth = arbiter.gradients("cross_entropy", targets, keep)
            error = max(worst(learner.gradients(), truth) for learner in learners)
            if error > 1e-4:
                unsure += 1
                known = moves(double, x.astype(np.float64), "cross_entropy", targets, keep)
                assert known > 1e-3 and error <= known, (seed, steps, surrogate)
    assert tried == 18
    assert same >= 16
    assert unsure <= 1
