"""Learn: exact learning against backpropagation through time as users run it today, per step; threads."""

import numpy as np

import evsim
from evsim.bench.nets import OUTPUTS, build
from evsim.bench.record import ratio
from evsim.bench.rivals import rival
from evsim.bench.timing import Way

DENSITY, ACTIVITY, PHI = 0.1, 0.1, 0.2
TILE = 256  # columns
KEEP = 6.0  # more bias of z: units that hold what they know for hundreds of steps
FAST = "torch EGRU written for speed, BPTT"
TARGETS = {128: ((0.9, 0.6), (0.3, 0.2)), 512: (None, (3.0, 1.5))}  # of block=1 and of the best block: needed, aimed at


def measure(record):
    """EGRU at two sizes, a network that remembers, then two threads against one."""
    for n in (8,) if record.quick else (128, 512):
        _one_size(record, n)
    _remembering(record, 8 if record.quick else 512)
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


def told_block(block, way):
    """The block of a way, and whether its turn did less than a single product with M, as where influence has faded."""
    ops, net = way.learner.ops, way.learner.net
    product = sum(cell.units for cell in net.layers) ** 2 * net.layout.unit_columns
    less = block > 1 and ops["propagate"] / ops["steps"] * way.steps < product
    return f"block {block}, which took no product with M" if less else f"block {block}"


def egru(n, steps, keep=0.0):
    """The layer and the sequence of this section."""
    return build(evsim.EGRU(n, density=DENSITY, density_in=DENSITY), ACTIVITY, PHI, steps, keep=keep)


def _ours(case, steps, block, anew=True):
    """Way of exact RTRL over the first `steps` steps: a sequence from reset, or a stretch of a stream."""
    learner = evsim.RTRL(case.net, block=block)
    turn = one_sequence(learner, case.x[:steps], case.y[:steps], anew)
    return Way(f"{'RTRL' if anew else '- in a stream'}, block {block}", turn, steps, learner)


def _one_size(record, n):
    steps, blocks = (32, (4, 16)) if record.quick else (1000, (16, 64, 256))
    case, large = egru(n, 4 * blocks[-1]), n > 128
    net, x, y = case.net, case.x[:steps], case.y[:steps]
    if large:  # where a step takes long, the least blocks are timed on short stretches
        ways = [_ours(case, steps, block) for block in blocks[1:]]
        ways += [_ours(case, 64 if block == 1 else 4 * block, block, anew=False) for block in (1, *blocks)]
    else:
        ways = [_ours(case, steps, block) for block in (1, *blocks)]
        ways += [_ours(case, 4 * blocks[-1], block, anew=False) for block in blocks]
    mine, shown = {way.name: way for way in ways}, {"steps": steps}
    ways += [
        _backward(net, x, y),
        rival("torch EGRU (evsim.models), BPTT", "torch", "cell_of", net, x, y, **shown),
        rival(FAST, "torch", "fast_cell_of", net, x, y, **shown),
        rival("torch nn.GRU, BPTT", "torch", "gru", n, OUTPUTS, x, y, **shown),
        rival("norse LSNNRecurrent, BPTT", "torch", "lsnn", n, OUTPUTS, x, y, **shown),
        rival("snntorch RLeaky, BPTT", "torch", "rleaky", n, OUTPUTS, x, y, **shown),
    ]
    title = f"EGRU n={n}, density {DENSITY}, T={steps} from reset, initial weights: learning, per step"
    rows = record.group("learn", title, ways, FAST, _settings(case, n, steps))
    _claims(record, n, rows, mine)


def _backward(net, x, y):
    learner = evsim.BPTT(net)
    return Way("BPTT", one_sequence(learner, x, y), len(x), learner)


def _settings(case, n, steps, **more):
    rates = {"density": DENSITY, "density_in": DENSITY, **case.rates}
    return {"cell": "EGRU", "n": n, "steps": steps, **rates, **more}


def _claims(record, n, rows, mine):
    """Of sequences from reset; streams stand in the table."""
    single, best = TARGETS.get(n, TARGETS[128])
    rivals = [row for name, row in rows.items() if name.startswith("torch EGRU") and row["us"]]
    fastest = min(rivals, key=lambda row: row["us"], default={"us": None})
    against = f"EGRU n={n}, T from reset, {{}}, against the faster torch EGRU under BPTT"
    if single:
        record.claim("learn", against.format("block 1"), ratio(rows["RTRL, block 1"], fastest), "<=", *single)
    found = min((rows[name] for name in mine if name.startswith("RTRL")), key=lambda row: row["us"])
    note = told_block(int(found["name"].rpartition(" ")[2]), mine[found["name"]])
    record.claim("learn", against.format("best block"), ratio(found, fastest), "<=", *best, note=note)


def _remembering(record, n):
    """What a block costs where influence outlasts it."""
    steps, block = (32, 8) if record.quick else (1000, 256)
    case = egru(n, 4 * block, KEEP)
    x, y = case.x[:steps], case.y[:steps]
    product = _product(n, case.net.layout.unit_columns, block)
    ways = [
        _ours(case, steps, block), _ours(case, 4 * block, block, anew=False), product, _backward(case.net, x, y),
        rival(FAST, "torch", "fast_cell_of", case.net, x, y, steps=steps),
    ]  # fmt: skip
    title = f"EGRU n={n} that remembers (bias of z + {KEEP:g}), T={steps} from reset: the product with M is paid"
    rows = record.group("learn", title, ways, FAST, _settings(case, n, steps, keep=KEEP))
    row = rows[product.name]
    fraction = row["multiply_adds"] / row["us_10"] * 1e6 / record.ceilings.get("sgemm_macs", np.inf)
    row |= {"of_ceiling": fraction, "level": "BLAS"}


def _product(n, columns, block):
    """Way of a block's product alone: (n, n) by (n, columns), as many columns at a time as a tile of M has."""
    factor = np.full((n, n), 1 / n, np.float32)
    M = np.ones((columns // TILE + 1, n, TILE), np.float32)
    out = np.empty((n, TILE), np.float32)

    def turn():
        for tile in M:
            np.matmul(factor, tile, out=out)
            tile[:] = out

    return Way("- - of that, the product with M", turn, block, macs=M.size * n / block)


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
