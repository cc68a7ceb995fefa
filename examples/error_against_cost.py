"""Every learner on one network: how far its gradient is from the exact one, and what a step costs it.

    python examples/error_against_cost.py [--out error_against_cost.png] [--quick]        needs the extra [plot]

EGRU units keep three bits in mind: rare pulses set them, all are asked for at every step. After some training each
learner reads the same sequences. Error: |g - g_exact| / |g_exact| over the hidden parameters, the mean over sequences.
"""

import argparse
import time

import numpy as np
from matplotlib import pyplot as plt
from numpy.linalg import norm

import evsim

EXACT = 0.05  # where exact learners stand on the axis of errors
LEARNERS = (  # class, colour, name: (options, where the name stands beside its dot, in points)
    (evsim.RTRL, "#0072b2", {"RTRL": ({"block": 1}, (0, -36)), "RTRL, block 64": ({"block": 64}, (0, -46))}),
    (evsim.BPTT, "#008060", {"BPTT": ({}, (0, -30))}),
    (evsim.TBPTT, "#008060", {"TBPTT-4": ({"window": 4}, (-30, 18)), "TBPTT-16": ({"window": 16}, (0, -24))}),
    (evsim.TBPTT, "#008060", {"TBPTT-64": ({"window": 64}, (0, -26))}),
    (evsim.SnAp, "#c85200", {f"SnAp-{n}": ({"n": n}, at) for n, at in ((1, (44, -12)), (2, (0, -31)), (3, (0, -36)))}),
    (evsim.EProp, "#a8408c", {"e-prop": ({}, (22, -38)), "e-prop, adaptive": ({"broadcast": "adaptive"}, (90, 20))}),
    (evsim.EProp, "#a8408c", {"e-prop, random": ({"broadcast": "random"}, (66, 42))}),
    (evsim.RFLO, "#a8408c", {"RFLO": ({}, (14, 62))}),
    (evsim.UORO, "#444444", {"UORO": ({}, (0, 14))}),
)


def bits(rng, shape, rate=0.05):
    x = rng.choice((-1, 0, 1), shape, p=(rate / 2, 1 - rate, rate / 2)).astype(np.float32)
    last = np.maximum.accumulate(np.where(x != 0, np.arange(shape[1])[:, None], 0), axis=1)
    return x, np.take_along_axis(x, last, axis=1)


def measure(learner, x, y):
    """Gradients of the hidden parameters (len(x), P); microseconds and multiply-adds a step."""
    found, cost = [], []
    for k in (0, *range(len(x))):  # the first sequence twice: kernels compile, and BPTT's store grows
        learner.reset()
        learner.zero_gradients()
        start, before = time.perf_counter(), learner.ops["multiply_adds"]
        learner.run(x[k], y[k])
        learner.gradient()
        cost.append(((time.perf_counter() - start) * 1e6, learner.ops["multiply_adds"] - before))
        found.append(np.concatenate([g.ravel() for name, g in learner.gradients().items() if "readout" not in name]))
    return np.array(found[1:]), np.median(cost[1:], axis=0) / x.shape[1]


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", default="error_against_cost.png", help="picture to write")
    options.add_argument("--quick", action="store_true", help="a small network, short sequences")
    given = options.parse_args()
    units, steps, count, epochs = (12, 24, 2, 1) if given.quick else (96, 256, 8, 10)
    net = evsim.Network(3, [evsim.EGRU(units, density=0.1, half_width=0.3)], evsim.Readout(3))
    made = [(n, c, at, kind(net, "mse", **o)) for kind, c, names in LEARNERS for n, (o, at) in names.items()]
    x, y = bits(np.random.default_rng(0), (9 * count, steps, 3))
    trainer = evsim.Trainer(evsim.RTRL(net, "mse", block=64, streams=8), evsim.Adam(0.005), update=64, clip=1.0)
    follow = [learner for name, *_, learner in made if "adaptive" in name]  # its feedback follows the readout
    rows = trainer.fit(x[count:], y[count:], epochs=epochs, on_epoch=lambda row: [f.step(x[0, 0]) for f in follow])
    print(f"{net}; mean squared error {rows[-1]['loss']:.2f}, was {rows[0]['loss']:.2f}")
    print(f"{'':20}{'exact':>7}{'error':>10}{'cosine':>8}{'us a step':>11}{'multiply-adds':>15}{'kB':>7}", flush=True)
    x, y = x[:count], y[:count]
    true, (figure, axes) = measure(made[0][-1], x, y)[0], plt.subplots(figsize=(9, 5.7), layout="constrained")
    for name, colour, place, learner in made:
        draws = [measure(learner, x, y) for _ in range(5 if name == "UORO" else 1)]  # each with signs of its own
        g, (us, macs) = np.array([g for g, _ in draws]), np.median([cost for _, cost in draws], axis=0)
        error = np.mean(norm(g - true, axis=2) / norm(true, axis=1))
        cosine, kb = np.mean((g * true).sum(2) / norm(g, axis=2) / norm(true, axis=1)), learner.memory["total"] / 1000
        print(f"{name:20}{learner.exact!s:>7}{error:10.2g}{cosine:8.3f}{us:11.1f}{macs:15,.0f}{kb:7,.0f}", flush=True)
        at, radius = (us, EXACT if learner.exact else error), (kb / 5) ** 0.5 / 2
        line = {"arrowstyle": "-", "color": colour, "lw": 0.8, "shrinkB": radius}
        axes.scatter(*at, s=4 * radius**2, color=colour, alpha=0.8, linewidths=0)
        axes.annotate(name, at, place, "data", "offset points", line, color=colour, ha="center", fontsize=12)
    axes.axhspan(EXACT / 3, EXACT * 1.7, color="#0072b2", alpha=0.07, lw=0)
    axes.set(xscale="log", yscale="log", ylim=(EXACT / 3, 20))
    axes.set_xticks(ticks := (10, 30, 100, 300, 1000), ticks)
    axes.set_yticks((EXACT, 0.1, 0.3, 1, 3, 10), ("exact", 0.1, 0.3, 1, 3, 10))
    axes.minorticks_off()
    axes.set(xlabel=f"microseconds per step (area: memory at step {steps})", ylabel="relative error of the gradient")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(given.out, dpi=130)


if __name__ == "__main__":
    main()
