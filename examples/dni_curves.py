"""Learning curves on English under warm restarts: truncated, synthetic and alternating gradients, phases marked.

    python examples/dni_curves.py [--results dni.json] [--quick] [--workers 2] [--out dni_curves.png]

Takes from --results what dni_table.py left there, and trains what is missing. Needs the extras [torch] and [plot].
"""

import argparse
from statistics import mean

from dni_table import AGAIN, LANGUAGE, REAL, SEEDS, SYNTHETIC, TEXT
from matplotlib import pyplot as plt

from evsim.build import build_restarts
from evsim.contest import train_all
from evsim.schedule import WarmRestarts

COLOURS = {"TBPTT, restarts": "0.45", "DNI, restarts": "tab:blue", REAL: "tab:orange", SYNTHETIC: "tab:green"}
PHASE = {"real": "0.85", "synthetic": "lightskyblue"}
BITS = "validation_bits_per_character"


def main():
    read = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    read.add_argument("--results")
    read.add_argument("--out", default="dni_curves.png")
    read.add_argument("--workers", type=int, default=2)
    read.add_argument("--quick", action="store_true")
    asked = read.parse_args()
    small = {"epochs": 4, "limit": 3000} if asked.quick else {}
    ways = {name: {**LANGUAGE[name], **small} for name in COLOURS}
    found = train_all(ways, (0,) if asked.quick else SEEDS["language"], None, asked.results, asked.workers)
    epochs = ways[REAL]["epochs"]
    figure, (curves, rates, phases) = plt.subplots(
        3, sharex=True, figsize=(8, 7), height_ratios=(4, 1, 0.8), layout="constrained"
    )
    for name, runs in found.items():
        bits = [[row[BITS] for row in run["history"]] for run in runs]
        middle = [mean(at) for at in zip(*bits)]
        for one in bits:
            curves.plot(range(1, epochs + 1), one, color=COLOURS[name], lw=0.6, alpha=0.5)
        curves.plot(range(1, epochs + 1), middle, "o-", ms=3, color=COLOURS[name], label=name)
        print(f"{name:<44} {middle[-1]:.4f} bits per character")
    curves.set(ylabel="bits per character, validation", ylim=(None, 2.6 if not small else None))
    curves.legend()
    rate = WarmRestarts(TEXT["lr"], 100, AGAIN["restart_growth"])  # an epoch in a hundred pieces
    rates.plot([k / 100 for k in range(100 * epochs)], [rate(k) for k in range(100 * epochs)], color="black", lw=1)
    rates.set(ylabel="learning rate")
    restarts = build_restarts(AGAIN)
    for at in range(1, epochs):
        if restarts.place(at)[1] == at:
            for axes in (curves, rates):
                axes.axvline(at, color="tab:red", lw=0.8, ls=":")
            high = curves.get_xaxis_transform()
            curves.text(at + 0.05, 0.99, "restart", color="tab:red", fontsize=7, va="top", transform=high)
    for place, name in enumerate((SYNTHETIC, REAL)):
        for row in found[name][0]["history"]:
            phases.barh(place, 1, left=row["epoch"] - 1, color=PHASE[row["phase"]], height=0.8)
    for kind, colour in PHASE.items():
        phases.barh(0, 0, color=colour, label=kind)
    phases.set(yticks=(0, 1), yticklabels=("synthetic first", "real first"), xlabel="epochs", xlim=(0, epochs))
    phases.legend(ncols=2, fontsize=7, loc="upper right")
    figure.savefig(asked.out, dpi=150)


if __name__ == "__main__":
    main()
