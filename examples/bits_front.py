"""Bits: what digits networks of two sizes lose at 4, 8 and 16 bits, and win back by training on with rounded weights.

    python examples/bits_front.py [--out bits_front.png] [--quick]                 needs the extras [data] and [plot]

Three seeds of each size; every figure is the integer golden model's on the test split, which the C agrees with bit for
bit. docs/quantise.md shows the picture.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median

from evsim.cli import main as evsim
from evsim.fewbits import report

SIZES, BITS = (32, 64), (4, 8, 16)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", default="bits_front.png", help="picture to write; '' for none")
    options.add_argument("--quick", action="store_true", help="one epoch, one seed: does it run")
    given = options.parse_args()
    seeds, sizes, short = ((0,), (8,), ["--epochs", "1"]) if given.quick else ((0, 1, 2), SIZES, [])
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for units in sizes:
            for seed in seeds:
                run = str(Path(folder, f"{units}-{seed}"))
                if evsim(["train", "digits", "--units", str(units), "--seed", str(seed), *short, "--out", run]):
                    raise SystemExit(1)
                found[units, seed] = report(run, BITS, epochs=1 if given.quick else 5)[0]["rows"]
    print(f"{'units':>5}  {'weights':<16}{'flash':>8}{'accuracy':>10}  (seeds)")
    lines = {}
    for units in sizes:
        for k, row in enumerate(found[units, seeds[0]]):
            all_of = [found[units, seed][k]["accuracy"] for seed in seeds]
            sizes_of = [(found[units, seed][k]["bytes"] or {}).get("flash") for seed in seeds]
            flash = median(sizes_of) if row["fixed"] else None
            name = f"{row['bits']} bits{', tuned' * row['tuned']}" if row["fixed"] else "float32"
            told = ", ".join(f"{one:.2%}" for one in all_of)
            print(f"{units:5}  {name:<16}{'' if flash is None else f'{flash:,.0f}':>8}{median(all_of):10.2%}  ({told})")
            lines.setdefault((units, row["fixed"], row["tuned"]), []).append((flash, median(all_of)))
    if given.out:
        draw(lines, given.out)
        print("picture written to", given.out)


def draw(lines, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    colours = dict(zip(dict.fromkeys(units for units, *_ in lines), ("C0", "C1"), strict=False))
    for (units, fixed, tuned), points in lines.items():
        size, accuracy = zip(*points, strict=True)
        if not fixed:
            axes.axhline(100 * accuracy[0], color=colours[units], lw=0.8, ls=":", label=f"{units} units, float32")
            continue
        style = {"ls": "-", "marker": "o"} if tuned else {"ls": "--", "marker": "o", "markerfacecolor": "white"}
        told = "trained on, rounded" if tuned else "rounded"
        axes.plot([one / 1000 for one in size], [100 * one for one in accuracy], color=colours[units], **style,
                  label=f"{units} units, {told}")  # fmt: skip
        if not tuned:
            for bits, x, y in zip(BITS, size, accuracy, strict=True):
                axes.annotate(f"{bits} bits", (x / 1000, 100 * y), (4, -12), textcoords="offset points", fontsize=8)
    axes.set(xlabel="flash for tables, kB", ylabel="test accuracy, % (median of the seeds)", title="digits in few bits")
    axes.margins(x=0.1, y=0.1)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
