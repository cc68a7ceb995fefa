"""RTRL equals BPTT: the same gradient, found forwards and backwards.

    python examples/rtrl_equals_bptt.py [--steps 60]        needs the extra [torch]

A two-layer event-based network reads a random stream. evsim finds the gradient while time runs forward, one step after
the other, forgetting the past; torch's autograd keeps every step and goes back through all of them. Printed: the
largest difference for every parameter, relative to its largest entry.
"""

import argparse

import numpy as np

import evsim
from evsim.models import autograd_gradients


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--steps", type=int, default=60)
    given = options.parse_args()

    upper = evsim.EvRNN(16, density=0.3, graded=False, threshold=0.1, learn_threshold=True)
    layers = [evsim.EGRU(24, density=0.3), upper]
    net = evsim.Network(6, layers, evsim.Readout(4), seed=1, dtype="float64")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((given.steps, net.n_in))
    targets = rng.integers(0, net.n_out, given.steps)

    learner = evsim.RTRL(net, loss="cross_entropy")
    for x_t, target in zip(x, targets, strict=True):
        learner.step(x_t, target)  # constant memory: nothing of the past is kept but M

    _, reference = autograd_gradients(net, x, targets, "cross_entropy")  # keeps all steps
    print(f"{'parameter':22}{'entries':>9}{'largest':>12}{'relative difference':>22}")
    worst = 0.0
    for name, gradient in learner.gradients().items():
        largest = np.abs(reference[name]).max()
        difference = np.abs(gradient - reference[name]).max() / largest if largest else np.abs(gradient).max()
        worst = max(worst, difference)
        print(f"{name:22}{np.count_nonzero(reference[name]):9}{largest:12.3g}{difference:22.1e}")
    print(f"worst {worst:.1e} over {given.steps} steps")
    return worst


if __name__ == "__main__":
    raise SystemExit(int(main() > 1e-10))
