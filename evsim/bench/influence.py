"""Influence: one exact RTRL step against those who compute the same M otherwise, and the kernel against its ceiling."""

import evsim
from evsim.bench.kernel import ALIVE, measure_kernel
from evsim.bench.learn import one_sequence, told_block
from evsim.bench.nets import INPUTS, OUTPUTS, build, sequence
from evsim.bench.numpy_rtrl import CsrRTRL, DenseRTRL
from evsim.bench.record import ratio
from evsim.bench.rivals import rival
from evsim.bench.timing import Way

CSR = "numpy and scipy CSR"


def measure(record):
    """Against dense RTRL, against numpy and scipy's CSR, against braintrace; the rate of multiply-adds."""
    _dense(record)
    for n in (16,) if record.quick else (128, 256, 512):
        _csr(record, n)
    _braintrace(record)
    measure_kernel(record)


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
    blocks, steps = ((4, 8), 32) if record.quick else ((64, 96, 256), 1024)
    short, least = (16, 32) if record.quick else {128: (200, 1024), 256: (60, 512), 512: (20, 0)}[n]
    case = build(evsim.EvRNN(n, density=0.05, density_in=0.05, **ALIVE), steps=steps)
    x, y = case.x[:short], case.y[:short]
    mine = {1: learning(case.net, x, y, "RTRL, block 1")}
    for block in blocks:
        learner = evsim.RTRL(case.net, block=block)
        length = max(4 * block, least)
        turn = one_sequence(learner, case.x[:length], case.y[:length], anew=False)
        mine[block] = Way(f"RTRL, block {block}", turn, length, learner)
    title = f"plain RNN n={n}, density 0.05, all units live, a stream: against scipy's CSR, per step"
    settings = {"cell": "EvRNN", "n": n, "density": 0.05, "density_in": 0.05, **case.rates}
    ways = [*mine.values(), plain(CsrRTRL, case.net, x, y, CSR)]
    rows = record.group("influence", title, ways, CSR, settings)
    times = {block: rows[CSR]["us"] / rows[way.name]["us"] for block, way in mine.items()}
    best = max(times, key=times.__getitem__)
    what = f"plain RNN n={n}, all live, {{}}: times faster than numpy/scipy CSR"
    record.claim("influence", what.format("best block"), times[best], ">=", 4, note=told_block(best, mine[best]))
    record.claim("influence", what.format("block 1"), times[1], ">=", 4)


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
