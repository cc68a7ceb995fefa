"""MemUP beside truncated and full BPTT and exact RTRL: what each reaches on tasks with a long wait, and what it stores.

    python examples/memup_table.py [--out memup.json] [--quick] [--workers 2] [--only copy]      needs the extra [torch]

Three seeds each, each run in a process of its own, on one thread; some two hours of CPU time. With --out results are
kept as they come, and a call that was interrupted goes on. docs/memup.md says what the table shows.
"""

import argparse

from evsim.models.study import Arm, run_all, summarise

R, NET = "exact RTRL (EGRU)", {"density": 0.2, "half_width": 0.5}
EGRU = {"cell": "egru", "lr": 5e-3, "streams": 16, "updates": 10**9, "cpu_seconds": 60, "net": NET}
POS200, POS500, BIT = (dict(length=t, symbols=n, alphabet=a) for t, n, a in ((200, 5, 8), (500, 5, 8), (1000, 1, 2)))
COPY5, COPY10, *MAZES = {"length": 120, "symbols": 5}, {"length": 120, "symbols": 10}, {"length": 100}, {"length": 1000}
LONG = {"updates": 12000, "cpu_seconds": 400}
FIVE = {"window": 20, "context": 6, "lr": 4e-3, "updates": 6000}
TEN = {"window": 20, "context": 11, "units": 128, "lr": 2e-3, "updates": 15000, "cpu_seconds": 900}
MAZE = {"lr": 2e-3, "updates": 10000, "cpu_seconds": 600, "enough": 1e-4}
ARMS = [
    Arm("MemUP, entropy", "positional-copy", POS200, "memup", targets=5, every=2),
    Arm("MemUP, surprise", "positional-copy", POS200, "memup", targets=5, every=2, detector="surprise"),
    Arm("MemUP, random targets", "positional-copy", POS200, "memup", targets=5, every=2, detector="random"),
    Arm("MemUP, one point a rollout", "positional-copy", POS200, "memup", targets=5),
    Arm("the same, random targets", "positional-copy", POS200, "memup", targets=5, detector="random"),
    Arm("MemUP, entropy, EGRU", "positional-copy", POS200, "memup", targets=5, every=2, cell="egru", net=NET),
    Arm("TBPTT", "positional-copy", POS200, "tbptt"),
    Arm("TBPTT, EGRU", "positional-copy", POS200, "tbptt", cell="egru", net=NET),
    Arm("full BPTT", "positional-copy", POS200, "bptt", cpu_seconds=90),
    Arm(R, "positional-copy", POS200, "rtrl", **EGRU),
    Arm("MemUP, entropy", "positional-copy", POS500, "memup", targets=5, every=2, **LONG),
    Arm("TBPTT", "positional-copy", POS500, "tbptt", **LONG),
    Arm(R, "positional-copy", POS500, "rtrl", **EGRU),
    Arm("MemUP, entropy", "positional-copy", BIT, "memup", targets=1, every=2),
    Arm("MemUP, one point a rollout", "positional-copy", BIT, "memup", targets=1),
    Arm("MemUP, entropy, EGRU", "positional-copy", BIT, "memup", targets=1, every=2, cell="egru", net=NET),
    Arm("TBPTT", "positional-copy", BIT, "tbptt"),
    Arm("TBPTT, EGRU", "positional-copy", BIT, "tbptt", cell="egru", net=NET),
    Arm(R, "positional-copy", BIT, "rtrl", **EGRU),
    Arm("MemUP, entropy", "copy", COPY5, "memup", targets=5, every=2, **FIVE),
    Arm("TBPTT", "copy", COPY5, "tbptt", **FIVE),
    Arm(R, "copy", COPY5, "rtrl", **EGRU),
    Arm("MemUP, entropy", "copy", COPY10, "memup", targets=10, every=4, **TEN),
    Arm("TBPTT", "copy", COPY10, "tbptt", **TEN),
    Arm("MemUP, spread", "tmaze", MAZES[0], "memup", targets=1, every=2, **MAZE),
    Arm("TBPTT", "tmaze", MAZES[0], "tbptt", **MAZE),
    Arm(R, "tmaze", MAZES[0], "rtrl", **{**EGRU, "enough": 1e-4}),
    Arm("MemUP, spread", "tmaze", MAZES[1], "memup", targets=1, every=2, **MAZE),
    Arm("TBPTT", "tmaze", MAZES[1], "tbptt", **MAZE),
]
NOTES = """graph: memory steps + distant targets + the window's own, of one stream. stored MB: what autograd saves for
backward, all streams, or all that the RTRL learner holds. Medians of the seeds. tmaze: squared error at the junction,
12.25 by guessing. Copies: accuracy of the answers, by guessing 12.5 %, or 50 % with two symbols. Known of the paper
(Sorokin et al. 2022): copy, 10 of 8: 100 % at T = 120, 99.3 % at T = 5020, with two layers of 128 units and a recurrent
context. Ours: one layer, minutes on one core, the last inputs as context; what else differs, and why: docs/memup.md."""
HEAD = ("method", "task", "T", "r", "reached (range; seeds)", "updates", "CPU s", "graph", "stored MB", "peak MB")


def line(row):
    wide = row["options"]
    few = f", {wide['symbols']} of {wide.get('alphabet', 8)}" if "symbols" in wide else ""
    form = "{:.1%}" if row["measure"] == "accuracy" else "{:.4f}"
    reached = f"{form} ({form} to {form}; {row['seeds']})".format(row["median"], row["least"], row["most"])
    own = row["predictions"] - row["targets_asked"]
    graph = f"{row['memory_steps']:.0f} + {row['targets_asked']:.0f} + {own:.0f}" if row["memory_steps"] else "-"
    window = {"bptt": "T", "rtrl": "-"}.get(row["method"], row["window"])
    numbers = f"{row['updates_done']:,.0f}", f"{row['cpu']:.0f}", graph, f"{row['graph_bytes'] / 1e6:.1f}"
    return row["name"], row["task"] + few, wide["length"], window, reached, *numbers, f"{row['peak_bytes'] / 2**20:.0f}"


def main():
    read = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    read.add_argument("--out"), read.add_argument("--quick", action="store_true")
    read.add_argument("--workers", type=int, default=2)
    read.add_argument("--only", choices=sorted({arm.task for arm in ARMS}))
    asked = read.parse_args()
    arms = [arm for arm in ARMS if asked.only in (None, arm.task)]
    if asked.quick:
        first = {arm.name: arm for arm in reversed(ARMS)}
        arms = [Arm(**vars(first[name]) | {"updates": 20, "cpu_seconds": 20}) for name in ("MemUP, entropy", "TBPTT")]
    rows = run_all(arms, (0,) if asked.quick else (0, 1, 2), asked.out, asked.workers)
    lines = [HEAD, *(tuple(map(str, line(row))) for row in summarise(rows))]
    widths = [max(map(len, column)) for column in zip(*lines)]
    print(*("  ".join(cell.ljust(n) for cell, n in zip(cells, widths)).rstrip() for cells in lines), NOTES, sep="\n")


if __name__ == "__main__":
    main()
