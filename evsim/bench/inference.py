"""Inference: a sequence without learning, per step, against the same in other libraries without their gradients."""

import evsim
from evsim.bench.nets import build
from evsim.bench.record import ratio
from evsim.bench.rivals import rival
from evsim.bench.timing import Way


def measure(record):
    """LIF units."""
    n, steps = (16, 32) if record.quick else (512, 1000)
    case = build(evsim.LIF(n, density=0.1, density_in=0.1), 0.1, steps=steps)
    net, x, rates = case.net, case.x, {"activity": case.rates["activity"]}
    rows = record.group("inference", f"LIF n={n}, density 0.1, T={steps}: inference, per step", [
        Way("net.run", lambda: net.run(x), steps, macs=case.rates["forward_macs"], rates=rates),
        rival("norse LIFRecurrent, no_grad", "torch", "silent_lif", n, x, steps=steps),
        rival("snntorch RLeaky, no_grad", "torch", "silent_rleaky", n, x, steps=steps),
        rival("torch nn.GRU, no_grad", "torch", "silent_gru", n, x, steps=steps),
        rival("torch LIF (evsim.models), no_grad", "torch", "silent_cell_of", net, x, steps=steps),
    ], "net.run", {"cell": "LIF", "n": n, "density": 0.1, "density_in": 0.1, **case.rates})  # fmt: skip
    times = ratio(rows["norse LIFRecurrent, no_grad"], rows["net.run"])
    record.claim("inference", f"LIF n={n}, activity 0.1: times faster than norse LIFRecurrent", times, ">=", 15)
