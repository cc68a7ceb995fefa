"""Synthetic gradients beside truncated and full backpropagation, alone and in turns; and exact RTRL on the same text.

    python examples/dni_table.py [--out dni.json] [--quick] [--workers 2] [--only recall]        needs the extra [torch]

Some seeds of each, each run in a process of its own, on one thread. With --out results are kept as they come, and a
call that was interrupted goes on. docs/dni.md says what the tables show; dni_curves.py draws the second.
"""

import argparse
import math
from statistics import mean

from evsim.contest import train_all

BIT, TORCH = math.log(2), {"backend": "torch", "reduction": "sum"}
RECALL = {"task": "delayed-recall", "length": 9, "cell": "lstm", "units": 32, "embed": 0, "forget_bias": 0.0,
          "predictor": "linear", "streams": 64, "epoch_size": 640, "epochs": 60, "lr": 5e-3, "schedule": "constant",
          "clip": 1.0}  # fmt: skip
CUT = {**RECALL, **TORCH, "learner": "tbptt", "window": 3}
GUESS = {**RECALL, "learner": "dni", "window": 3, "synthesiser_units": 64, "scale": 1.0}
LABEL, LARGE = {**GUESS, "condition": "target"}, {"embed": 32}
WAYS = {
    "full BPTT": {**RECALL, **TORCH, "learner": "bptt"}, "TBPTT": CUT, "DNI": GUESS, "cDNI": LABEL,
    "DNI, scale 0.1": {**GUESS, "scale": 0.1}, "cDNI, scale 0.1": {**LABEL, "scale": 0.1},
    "TBPTT, embedded": {**CUT, **LARGE}, "DNI, embedded": {**GUESS, **LARGE}, "cDNI, embedded": {**LABEL, **LARGE},
}  # fmt: skip
TEXT = {"task": "text", "limit": 150_000, "cell": "lstm", "units": 96, "embed": 64, "predictor": "linear", "clip": 1.0,
        "window": 5, "streams": 32, "lr": 2e-3, "epochs": 15, "schedule": "constant"}  # fmt: skip
AGAIN = {"schedule": "restarts", "restart_base": 1, "restart_growth": "multiply", "restart_each": "batch"}
CUT, DNI = {**TEXT, **TORCH, "learner": "tbptt"}, {**TEXT, "learner": "dni", "synthesiser_units": 96}
BOTH, TURNS = {**DNI, **AGAIN}, {**DNI, **AGAIN, "alternate": True}
REAL, SYNTHETIC = "alternating, real first, restarts", "alternating, synthetic first, restarts"
LANGUAGE = {
    "TBPTT, constant rate": CUT, "DNI, constant rate": DNI,
    "alternating, real first, constant rate": {**DNI, "first": "real", "switch": [2, 4, 8]},
    "alternating, synthetic first, constant rate": {**DNI, "first": "synthetic", "switch": [2, 4, 8]},
    "TBPTT, restarts": {**CUT, **AGAIN}, "DNI, restarts": BOTH,
    REAL: {**TURNS, "first": "real"}, SYNTHETIC: {**TURNS, "first": "synthetic"},
    "DNI, restarts, guesses shuffled (control)": {**BOTH, "shuffled": True},
    "TBPTT, restarts, 1.5 times the epochs": {**CUT, **AGAIN, "restart_base": 1.5, "epochs": 22},
    "DNI, restarts, scale 1": {**BOTH, "scale": 1.0}, "DNI, restarts, auxiliary 0.1": {**BOTH, "auxiliary": 0.1},
    "cDNI (next target), restarts": {**BOTH, "condition": "target"},
}  # fmt: skip
PASS, SHORT = {"task": "text", "limit": 150_000, "streams": 1, "epochs": 1}, {"learner": "tbptt", "window": 20}
GATED = {**PASS, "cell": "egru", "units": 64, "threshold": 0.1, "half_width": 0.5, "update": 20, "lr": 5e-3}
ONCE = {
    "RTRL, exact, EGRU": {**GATED, "learner": "rtrl", "block": "auto"}, "TBPTT over 20, EGRU": {**GATED, **SHORT},
    "RTRL, exact, EvRNN": {**PASS, "learner": "rtrl"}, "TBPTT over 20, EvRNN": {**PASS, **SHORT},
    "TBPTT over 20, LSTM": {**PASS, **SHORT, **TORCH}, "TBPTT over 5, LSTM": {**PASS, **SHORT, **TORCH, "window": 5},
}  # fmt: skip
ENOUGH, SEEDS = 0.15 * BIT, {"recall": (0, 1, 2, 3, 4), "language": (0, 1), "once": (0, 1)}
TABLES = {
    "recall": (WAYS, ENOUGH, "delayed recall, delay 8, windows of 3: batches until below 0.15 bits; - (bits at 600)"),
    "language": (LANGUAGE, None, "English, windows of 5, 15 epochs: validation bits per character at the end (best)"),
    "once": (ONCE, None, "English, one pass, one stream: bits per character while learning; on validation behind it"),
}  # fmt: skip


def line(table, runs):
    """What the seeds of one way came to, then updates, CPU seconds, and the cosine of guesses with what was found."""
    rows, bits = [run["history"] for run in runs], "validation_bits_per_character"
    if table == "recall":
        ends = [one[-1]["validation_loss"] for one in rows]
        told = [f"{10 * len(one)}" if end <= ENOUGH else f"- ({end / BIT:.2f})" for one, end in zip(rows, ends)]
    elif table == "once":
        told = [f"{one[-1]['bits_per_character']:.3f}; {one[-1][bits]:.3f}" for one in rows]
    else:
        told = [f"{one[-1][bits]:.4f} ({min(row[bits] for row in one):.4f})" for one in rows]
        told.append(f"mean {mean(one[-1][bits] for one in rows):.4f}")
    skill = [one[-1].get("synthetic_cosine") for one in rows]
    told.append(f"{mean(run['cpu_seconds'] for run in runs):.0f} CPU s, {runs[0].get('updates', '-')} updates")
    return told if None in skill else [*told, f"cosine {mean(skill):+.3f}"]


def main():
    read = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    read.add_argument("--out"), read.add_argument("--quick", action="store_true")
    read.add_argument("--workers", type=int, default=2), read.add_argument("--only", choices=TABLES)
    asked = read.parse_args()
    for table, (ways, enough, title) in TABLES.items():
        if asked.only in (None, table):
            if asked.quick:
                little = {"epochs": 1, **({} if table == "recall" else {"limit": 3000})}
                ways = {name: {**own, **little} for name, own in list(ways.items())[:2]}
            found = train_all(ways, (0,) if asked.quick else SEEDS[table], enough, asked.out, asked.workers)
            print("", title, *(f"{name:<44} {'   '.join(line(table, runs))}" for name, runs in found.items()), sep="\n")


if __name__ == "__main__":
    main()
