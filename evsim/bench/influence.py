"""Influence: one exact RTRL step against those who compute the same M otherwise, and the kernel against its ceiling."""

from functools import partial

import numpy as np

import evsim
from evsim.bench.ceilings import squares
from evsim.bench.nets import INPUTS, OUTPUTS, build, fan_in_mask, sequence
from evsim.bench.numpy_rtrl import CsrRTRL, DenseRTRL
from evsim.bench.record import ratio
from evsim.bench.rivals import rival
from evsim.bench.timing import Way
from evsim.memory import aligned_zeros

ALIVE = {"threshold": 1e-3, "half_width": 100.0, "graded": False}  # every unit near its threshold at every step


def measure(record):
    """Against dense RTRL, against numpy and scipy's CSR, against braintrace; the rate of multiply-adds."""
    _dense(record)
    for n in (16,) if record.quick else (128, 256, 512):
        _csr(record, n)
    _braintrace(record)
    _kernel(record)


def learning(net, x, y, name, **options):
    """Way of ours: exact RTRL at every step in a stream, a loss at each; M is full before the clock starts."""
    learner = evsim.RTRL(net)
    return Way(name, lambda: learner.run(x, y), len(x), learner, **options)


def plain(maker, net, x, y, name, **options):
    """Way of a learner in `evsim.bench.numpy_rtrl`."""
    made = maker(net)
    return Way(name, lambda: made.run(x, y), len(x), ours=False, memory=made.bytes, macs=made.macs, **options)


def _dense(record):
    n, steps, few = (24, 16, 2) if record.quick else (512, 250, 1)
    case = build(evsim.EvRNN(n, density=0.1, density_in=0.1), 0.05, 0.1, steps)
    rows = record.group("influence", f"EvRNN n={n}, density 0.1: exact RTRL against dense RTRL, per step", [
        learning(case.net, case.x, case.y, "RTRL"),
        plain(DenseRTRL, case.net, case.x[:few], case.y[:few], "dense RTRL, numpy's BLAS", most=3),
    ], "RTRL", {"cell": "EvRNN", "n": n, "density": 0.1, "density_in": 0.1, **case.rates})  # fmt: skip
    times = ratio(rows["dense RTRL, numpy's BLAS"], rows["RTRL"])
    record.claim("influence", f"EvRNN n={n}, phi 0.1: times faster than dense RTRL in BLAS", times, ">=", 2000)


def _csr(record, n):
    steps = 16 if record.quick else {128: 200, 256: 60, 512: 20}[n]
    case = build(evsim.EvRNN(n, density=0.05, density_in=0.05, **ALIVE), steps=steps)
    rows = record.group("influence", f"plain RNN n={n}, density 0.05, all units live: against scipy's CSR, per step", [
        learning(case.net, case.x, case.y, "RTRL"),
        plain(CsrRTRL, case.net, case.x, case.y, "numpy and scipy CSR"),
    ], "RTRL", {"cell": "EvRNN", "n": n, "density": 0.05, "density_in": 0.05, **case.rates})  # fmt: skip
    times = ratio(rows["numpy and scipy CSR"], rows["RTRL"])
    record.claim("influence", f"plain RNN n={n}, all live: times faster than numpy/scipy CSR", times, ">=", 4)


def _braintrace(record):
    n, steps, few = (12, 16, 4) if record.quick else (128, 1000, 20)
    case = build(evsim.EvRNN(n, density=0.1, density_in=0.1), 0.1, 0.2, steps)
    x, y = sequence(INPUTS, OUTPUTS, few)
    rows = record.group("influence", f"EvRNN n={n}, density 0.1: exact RTRL against braintrace's, per step", [
        learning(case.net, case.x, case.y, "RTRL"),
        rival("braintrace, tanh RNN, saturated SnAp, scan", "braintrace", "scan", n, OUTPUTS, x, y, steps=few),
        rival("braintrace, the same, a call each step", "braintrace", "stream", n, OUTPUTS, x, y, steps=few),
    ], "RTRL", {"cell": "EvRNN", "n": n, "density": 0.1, "density_in": 0.1, **case.rates})  # fmt: skip
    times = ratio(rows["braintrace, tanh RNN, saturated SnAp, scan"], rows["RTRL"])
    record.claim("influence", f"EvRNN n={n}, phi 0.2: times faster than braintrace's exact step", times, ">=", 200)


def _kernel(record):
    """The update alone, in turns with the ceiling of a buffer of its size."""
    places = (("L1", 16, 256, 8), ("L2", 128, 1024, 8))
    for level, rows, columns, edges in places:
        turn, steps, learner, size = inner_kernel(rows, columns, edges, 32 if record.quick else 500)
        x, out, times = aligned_zeros(size // 4, np.float32), np.zeros(1, np.float32), 64 if record.quick else 1000
        found = record.group("influence", f"influence update, {size // 1024} KiB, all units live", [
            Way("update", turn, steps, learner),
            Way("ceiling: read and add squares", partial(squares, x, times, out), times, ours=False, macs=len(x)),
        ], "update", {"rows": rows, "columns": columns, "edges": edges, "bytes": size})  # fmt: skip
        rates = [row["multiply_adds"] / row["us"] / 1e3 for row in found.values()]  # 10^9 a second
        what = f"influence update in {level} ({size // 1024} KiB): fraction of the multiply-add ceiling there"
        record.claim("influence", what, rates[0] / rates[1], ">=", 0.5, note="{:.1f} of {:.1f} G/s".format(*rates))


def inner_kernel(rows, columns, edges, steps):
    """(turn, its steps, learner, bytes of M): M of `rows` rows by about so many columns, each made of `edges` others.

    The place where the kernel itself is to be called; for now it is the whole step of a learner.
    """
    heard = max(1, columns // rows - edges - 1)
    masks = {"mask_in": np.ones((rows, heard), bool), "mask_rec": fan_in_mask(rows, rows, edges, 0)}
    net = evsim.Network(heard, evsim.EvRNN(rows, **masks, **ALIVE), evsim.Readout(2))
    x = np.random.default_rng(0).standard_normal((steps, heard)).astype(np.float32)
    learner = evsim.RTRL(net)
    return lambda: learner.run(x), steps, learner, learner.memory["influence"]
