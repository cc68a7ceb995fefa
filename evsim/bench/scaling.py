"""Scaling: how the cost of an exact step grows with the units when each hears sixteen inputs and sixteen units."""

import numpy as np

import evsim
from evsim.bench.influence import learning
from evsim.bench.nets import INPUTS, build, fan_in_mask

FAN_IN, PHI = 16, 0.05
KINDS = (("EvRNN", 128, 4096, 2.1), ("EGRU", 128, 1024, 2.4))


def measure(record):
    """Exponents of time and of counted multiply-adds, by least squares over the logarithms."""
    for kind, small, large, target in KINDS:
        sizes = [16, 32] if record.quick else [2**k for k in range(small.bit_length() - 1, large.bit_length())]
        ways, settings = [], {"cell": kind, "fan_in": FAN_IN, "phi_rate": {}}
        for n in sizes:
            case = one_case(kind, n, max(64, 2**17 // n) if not record.quick else 16)
            settings["phi_rate"][n] = case.rates["phi_rate"]
            ways.append(learning(case.net, case.x, case.y, f"n={n}"))
        title = f"{kind}, fan-in {FAN_IN}: exact RTRL, per step"
        rows = record.group("scaling", title, ways, f"n={sizes[0]}", settings)
        clocked, counted = (exponent(sizes, [row[what] for row in rows.values()]) for what in ("us", "multiply_adds"))
        what = f"{kind}, fan-in {FAN_IN}, n={sizes[0]} to {sizes[-1]}: exponent of time in n"
        record.claim("scaling", what, clocked, "<=", target, note=f"counted {counted:.2f}")


def one_case(kind, n, steps):
    """A layer of that many units, each with exactly FAN_IN inputs and FAN_IN units that it hears."""
    masks = {"mask_in": fan_in_mask(n, INPUTS, FAN_IN, 1), "mask_rec": fan_in_mask(n, n, FAN_IN, 2)}
    return build(getattr(evsim, kind)(n, **masks), PHI / 2, PHI, steps)


def exponent(sizes, costs):
    """Slope of log(cost) over log(size)."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])
