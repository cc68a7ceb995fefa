"""Learn: exact learning against backpropagation through time as users run it today, per step; threads."""

import evsim
from evsim.bench.nets import OUTPUTS, build
from evsim.bench.record import ratio
from evsim.bench.rivals import rival
from evsim.bench.timing import Way

DENSITY, ACTIVITY, PHI = 0.1, 0.1, 0.2
FAST = "torch EGRU written for speed, BPTT"
TARGETS = {128: ((0.9, 0.6), (0.3, 0.2)), 512: (None, (3.0, 1.5))}  # of block=1 and of the best block: needed, aimed at


def measure(record):
    """EGRU at two sizes, then two threads against one."""
    for n in (8,) if record.quick else (128, 512):
        _one_size(record, n)
    _threads(record)


def one_sequence(learner, x, y, anew=True):
    """A turn of ours: a sequence, told at every step, and its gradient; anew: from reset."""

    def turn():
        if anew:
            learner.reset()
        learner.zero_gradients()
        learner.run(x, y)
        return learner.gradient()

    return turn


def egru(n, steps):
    """The layer and the sequence of this section."""
    return build(evsim.EGRU(n, density=DENSITY, density_in=DENSITY), ACTIVITY, PHI, steps)


def _one_size(record, n):
    steps, blocks = (32, (4, 16)) if record.quick else (1000, (16, 64, 256))
    case, large = egru(n, 4 * blocks[-1]), n > 128
    net, x, y = case.net, case.x[:steps], case.y[:steps]
    few = min(steps, 64) if large else steps  # where a step takes long: it costs the same at any time of a stream
    one = evsim.RTRL(net)
    ways = [Way("RTRL, block 1", one_sequence(one, x[:few], y[:few], anew=few == steps), few, one)]
    for block in blocks[1:] if large else blocks:
        learner = evsim.RTRL(net, block=block)
        ways.append(Way(f"RTRL, block {block}", one_sequence(learner, x, y), steps, learner))
    for block in blocks:
        learner, length = evsim.RTRL(net, block=block), 4 * (block if large else blocks[-1])
        turn = one_sequence(learner, case.x[:length], case.y[:length], anew=False)
        ways.append(Way(f"- in a stream, block {block}", turn, length, learner))
    bptt = evsim.BPTT(net)
    ways.append(Way("BPTT", one_sequence(bptt, x, y), steps, bptt))
    shown = {"steps": steps}
    ways += [
        rival("torch EGRU (evsim.models), BPTT", "torch", "cell_of", net, x, y, **shown),
        rival(FAST, "torch", "fast_cell_of", net, x, y, **shown),
        rival("torch nn.GRU, BPTT", "torch", "gru", n, OUTPUTS, x, y, **shown),
        rival("norse LSNNRecurrent, BPTT", "torch", "lsnn", n, OUTPUTS, x, y, **shown),
        rival("snntorch RLeaky, BPTT", "torch", "rleaky", n, OUTPUTS, x, y, **shown),
    ]
    settings = {"cell": "EGRU", "n": n, "density": DENSITY, "density_in": DENSITY, "steps": steps, **case.rates}
    title = f"EGRU n={n}, density {DENSITY}, T={steps}: learning, per step; ratios to {FAST}"
    rows = record.group("learn", title, ways, FAST, settings)
    _claims(record, n, rows, blocks)


def _claims(record, n, rows, blocks):
    single, best = TARGETS.get(n, TARGETS[128])
    rivals = [row for name, row in rows.items() if name.startswith("torch EGRU") and row["us"]]
    fastest = min(rivals, key=lambda row: row["us"], default={"us": None})
    against = f"EGRU n={n}, {{}}, against the faster torch EGRU under BPTT"
    if single:
        record.claim("learn", against.format("block 1"), ratio(rows["RTRL, block 1"], fastest), "<=", *single)
    for name, word in (("RTRL, block {}", "best block"), ("- in a stream, block {}", "best block in a stream")):
        found = min((rows[name] for name in map(name.format, blocks) if name in rows), key=lambda row: row["us"])
        note = f"block {found['name'].rpartition(' ')[2]}"
        record.claim("learn", against.format(word), ratio(found, fastest), "<=", *best, note=note)


def _threads(record):
    small, large, steps = (8, 8, 16) if record.quick else (128, 512, 64)
    for n, streams, block in ((large, 1, 1), (small, 2, 1), (large, 1, 256)):
        length = steps if block == 1 or record.quick else 2 * block
        case, ways = egru(n, length), []
        x, y = case.x, case.y
        if streams > 1:
            x, y = x[None].repeat(streams, 0), y[None].repeat(streams, 0)
        for threads in (1, 2):
            learner = evsim.RTRL(case.net, block=block, streams=streams, threads=threads)
            name = f"{threads} thread{'s' * (threads > 1)}"
            ways.append(Way(name, one_sequence(learner, x, y, anew=False), length, learner))
        what = f"EGRU n={n}, block {block}, {streams} stream{'s' * (streams > 1)}"
        settings = {"cell": "EGRU", "n": n, "density": DENSITY, "streams": streams, "block": block, **case.rates}
        rows = record.group("learn", f"{what}: threads, per step of all streams", ways, "1 thread", settings)
        if block == 1:
            claimed = ratio(rows["1 thread"], rows["2 threads"])
            record.claim("learn", f"{what}: two threads against one, times faster", claimed, ">=", 1.7)
