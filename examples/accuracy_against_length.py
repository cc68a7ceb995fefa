"""How long a wait each method bridges: accuracy against the length of the sequence, at a window that stays the same.

    python examples/accuracy_against_length.py [--out accuracy_against_length.png] [--quick]
                                                                          needs the extras [torch] and [plot]

Positional copy, 3 symbols of 8, asked for at the end; windows of 10 steps. TBPTT, MemUP and full BPTT train the same
LSTM, exact RTRL an EGRU of evsim. Each run ends when it is solved or after a fixed number of CPU seconds.
"""

import argparse

from matplotlib import pyplot as plt

from evsim.models.study import Arm, run_all, summarise

LENGTHS = (15, 30, 60, 120, 240)
SEEDS = (0, 1)
COMMON = {"task": "positional-copy", "updates": 8000, "enough": 0.995}
EGRU = {"cell": "egru", "lr": 5e-3, "streams": 16, "net": {"density": 0.2, "half_width": 0.5}}
METHODS = {  # name -> options, colour, marker, seconds
    "MemUP, r = 10, K = 3": ({"method": "memup", "targets": 3, "every": 2}, "#0072b2", "o"),
    "full BPTT": ({"method": "bptt", "window": None}, "#008060", "s"),
    "exact RTRL (EGRU)": ({"method": "rtrl", **EGRU}, "#c85200", "^"),
    "TBPTT, r = 10": ({"method": "tbptt"}, "#444444", "v"),
}


def arms(lengths, seconds):
    for name, (options, *_) in METHODS.items():
        for length in lengths:
            given = {**COMMON, **options, "cpu_seconds": seconds}
            if options["method"] == "rtrl":
                given["updates"] = 10**9
            yield Arm(name, options={"length": length, "symbols": 3}, **given)


def draw(rows, path, seconds):
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.2), width_ratios=(1.25, 1))
    for name, (_, colour, marker) in METHODS.items():
        mine = sorted((row for row in rows if row["name"] == name), key=lambda row: row["options"]["length"])
        lengths = [row["options"]["length"] for row in mine]
        middle = [100 * row["median"] for row in mine]
        left.fill_between(lengths, [100 * r["least"] for r in mine], [100 * r["most"] for r in mine], alpha=0.15,
                          color=colour, lw=0)  # fmt: skip
        left.plot(lengths, middle, color=colour, marker=marker, label=name)
        right.plot(lengths, [row["graph_bytes"] / 1e6 for row in mine], color=colour, marker=marker)
    left.axhline(12.5, color="grey", lw=0.8, ls=":")
    left.text(LENGTHS[-1], 14, "guessing", ha="right", va="bottom", color="grey", fontsize=8)
    left.set(ylim=(0, 103), ylabel="accuracy of the answers, %", title=f"what is reached in {seconds} CPU seconds")
    right.set(yscale="log", ylabel="MB", title="what is stored to learn from it, all streams")
    for axis in (left, right):
        axis.set_xscale("log")
        axis.set_xticks(LENGTHS, map(str, LENGTHS))
        axis.minorticks_off()
        axis.set_xlabel("steps in a sequence, T")
        axis.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize=9, loc="upper right", bbox_to_anchor=(1.0, 0.93))
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main():
    read = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    read.add_argument("--out", default="accuracy_against_length.png")
    read.add_argument("--results", help="a JSON file for what was measured, so that a call can go on")
    read.add_argument("--seconds", type=float, default=20)
    read.add_argument("--quick", action="store_true")
    asked = read.parse_args()
    lengths, seconds, seeds = (LENGTHS[:1], 0.3, (0,)) if asked.quick else (LENGTHS, asked.seconds, SEEDS)
    rows = summarise(run_all(list(arms(lengths, seconds)), seeds, asked.results))
    for row in rows:
        reached = f"{row['median']:7.1%} ({row['least']:.1%} to {row['most']:.1%})"
        print(f"{row['name']:22} T={row['options']['length']:4}: {reached}, {row['cpu']:.0f} CPU s, "
              f"{row['graph_bytes'] / 1e6:.1f} MB")  # fmt: skip
    draw(rows, asked.out, f"{seconds:g}")


if __name__ == "__main__":
    main()
