"""Stream: one call for each step, as a device that learns would make it, and what the call costs beside the work."""

import evsim
from evsim.bench.nets import OUTPUTS, build
from evsim.bench.rivals import rival
from evsim.bench.timing import Way


def measure(record):
    """EGRU at three sizes."""
    for n in (1, 4) if record.quick else (1, 32, 128):
        _one_size(record, n)


def calls(learner, x, y, optimizer=None):
    """A turn of one call of learner.step for each step, and of learner.update with an optimizer."""
    targets = [int(target) for target in y]

    def turn():
        for x_t, target in zip(x, targets):
            learner.step(x_t, target)
            if optimizer is not None:
                learner.update(optimizer)

    return turn


def _one_size(record, n):
    steps, few = (16, 4) if record.quick else (1000, 50)
    if n == 1:  # as little work as there can be
        case = build(evsim.EGRU(1), steps=steps, n_in=1, n_out=2)
    else:
        case = build(evsim.EGRU(n, density=0.1, density_in=0.1), 0.1, 0.2, steps)
    net, x, y = case.net, case.x, case.y
    loop, step, updated = (evsim.RTRL(net) for _ in range(3))
    ways = [
        Way("learner.run, the compiled loop", lambda: loop.run(x, y), steps, loop),
        Way("learner.step", calls(step, x, y), steps, step),
        Way("learner.step and learner.update", calls(updated, x, y, evsim.SGD(1e-9)), steps, updated),
    ]
    if n > 1:
        one = x[:1], y[:1]
        ways += [
            rival("torch EGRU (evsim.models), one step and back", "torch", "cell_of", net, *one),
            rival("norse LSNNRecurrent, one step and back", "torch", "lsnn", n, OUTPUTS, *one),
            rival("braintrace, tanh RNN, exact, a call a step", "braintrace", "stream", n, OUTPUTS, x[:few], y[:few],
                  steps=few),
        ]  # fmt: skip
    rows = record.group("stream", f"EGRU n={n}: a call for each step", ways, "learner.step", {"n": n, **case.rates})
    if n <= 32:  # beyond, M leaves the nearer caches between two calls, which the loop spares by taking a tile through
        beyond = rows["learner.step"]["us"] - rows["learner.run, the compiled loop"]["us"]
        record.claim("stream", f"EGRU n={n}: learner.step beyond the compiled loop's share, us", beyond, "<=", 10)
    if n == 1:
        whole = rows["learner.step"]["us"]
        record.claim("stream", "EGRU n=1: all of learner.step, which bounds it, us", whole, "<=", 10)
