"""Plan: what each learner would take of memory, work and time, before anything is trained."""

from math import exp, log
from typing import Any

from evsim.calibrate import Speed
from evsim.check import check_count
from evsim.cost import Rates, Work
from evsim.memory import imagined
from evsim.network import Network
from evsim.readout import Readout
from evsim.registry import lookup
from evsim.show import LARGEST


def plan(make, units, layers=1, inputs=32, outputs=10, rates=None, block: Any = "auto", length=1000, streams=1,
         threads=1, dtype="float32", memory_limit=None, seed=0):  # fmt: skip
    """What learners would take for `layers` layers of `make(units)` between so many inputs and outputs.

    rates: `evsim.cost.Rates`. length: steps of a sequence, which BPTT keeps; block: of RTRL. memory_limit: bytes.
    Returns one dict for each learner: learner, exact, bytes, fits (None without a limit), multiply_adds and
    microseconds of a step of one stream, and largest_units, the most that fit in the limit: None without one, -1 if
    even the smallest does not; LARGEST means that more may fit.
    """
    for name, given in (("units", units), ("layers", layers), ("length", length)):
        check_count(name, given)
    if memory_limit is not None:
        check_count("memory_limit", memory_limit)
    rates = rates or Rates()
    nets = {}

    def net_of(n):
        if n not in nets:
            nets[n] = Network(inputs, [make(n) for _ in range(layers)], Readout(outputs), seed=seed, dtype=dtype)
        return nets[n]

    def needs(create, n):
        return _imagine(create, net_of(n)).memory["total"]

    speed, work, found = Speed(make, dtype), Work(net_of(units), rates), []
    block = _block(block, net_of(units), streams, threads, memory_limit)
    for name, create, parts in _learners(block, length, streams, threads):
        learner = _imagine(create, net_of(units))
        size = learner.memory["total"]
        macs, seconds = learner.cost(*rates)["total"], speed.seconds("forward", units * layers, work.forward())
        seconds += sum(speed.seconds(part, units * layers, count) for part, count in parts(work, learner))
        row = {"learner": name, "exact": learner.exact, "bytes": size, "multiply_adds": round(macs)}
        row |= {"microseconds": round(seconds * 1e6, 1), "fits": None, "largest_units": None}
        if memory_limit is not None:
            row["fits"] = size <= memory_limit
            row["largest_units"] = largest(lambda n, made=create: needs(made, n), memory_limit)
        found.append(row)
    return found


def largest(size_of, limit):
    """The largest n up to LARGEST for which size_of(n), which rises with n, is at most `limit`; -1 if there is none."""
    if size_of(1) > limit:
        return -1
    low = 1
    while low < LARGEST and size_of(2 * low) <= limit:
        low *= 2
    if low >= LARGEST:
        return LARGEST
    high = 2 * low
    a, b = size_of(low), size_of(high)
    guess = max(low, int(low * exp(log(2) * log(limit / a) / log(b / a))))  # sizes are close to powers of n
    low, high = (guess, high) if size_of(guess) <= limit else (low, guess)
    while high - low > max(1, low // 50):
        middle = (low + high) // 2
        low, high = (middle, high) if size_of(middle) <= limit else (low, middle)
    return low


def _block(block, net, streams, threads, limit):
    """The block length to plan for: "auto" within the limit, or 1 if nothing is."""
    if block != "auto":
        return check_count("block", block)
    try:
        with imagined():
            made = lookup("learner", "rtrl")(net, block="auto", streams=streams, threads=threads, memory_limit=limit)
            return made.block
    except ValueError:
        return 1


def _imagine(create, net):
    with imagined():
        return create(net)


def _learners(block, length, streams, threads):
    """(name, maker, parts of its time) for each learner worth planning for."""
    many = {"streams": streams, "threads": threads}

    def of(kind, **options):
        return lambda net: lookup("learner", kind)(net, **options, **many)

    def cut(work, learner):
        return [("cut", learner._work_of(work))]

    def sweep(work, learner):
        return [("sweep", work.sweep())]

    def blocks(work, learner):
        if learner.block == 1:
            return [("stepping", learner._work_of(work))]
        rows, product = work.rows(learner.block), work.product(learner._sets) / learner.block
        if learner.cost(*work.rates)["learn"] < rows + product:  # it would step through its blocks
            return [("sweep", work.sweep()), ("stepping", work.stepping(learner._sets))]
        return [("sweep", work.sweep()), ("rows", rows), ("product", product)]

    def whole(net):
        learner = of("bptt")(net)
        learner._need(length)
        return learner

    return [
        *((f"rtrl block={h}", of("rtrl", block=h), blocks) for h in sorted({1, block})),
        (f"bptt of {length} steps", whole, sweep),
        ("tbptt window=32", of("tbptt", window=32), sweep),
        ("snap n=1", of("snap", n=1), cut),
        ("snap n=2", of("snap", n=2), cut),
        ("eprop, rflo", of("eprop"), cut),
        ("uoro", of("uoro"), lambda work, _: [("sweep", work.rank_one())]),
    ]  # fmt: skip
