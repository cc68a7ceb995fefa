"""Deploy: train on handwritten digits, export to every target, run each export there, and print what came of it.

    python examples/deploy_digits.py [--folder deploy] [--quick]                  needs the extras [torch] and [nir]

Two networks: an EGRU, and an LIF network, which NIR has words for. The C is compiled and run on all test images by the
host's compiler, and on a Cortex-M3 under QEMU where arm-none-eabi-gcc and qemu-system-arm are installed.
"""

import argparse
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np

from evsim import load
from evsim.cli import main as evsim
from evsim.exports.replay import verify
from evsim.fixed.golden import run as run_golden
from evsim.fixed.quantise import quantise
from evsim.models import run_norse
from evsim.sample import sample
from evsim.tasks.digits import Digits

LIF = ["--cell", "lif", "--reset", "zero", "--units", "128", "--density", "0.3", "--half-width", "1", "--lr", "0.003"]
TASK = Digits(layout="rows")
CASES = (
    ("EGRU, bundle", "egru", "bundle", []),
    ("EGRU, C, float32", "egru", "c", []),
    ("EGRU, C, 16 bits", "egru", "c", ["--bits", "16"]),
    ("EGRU, C, 8 bits", "egru", "c", ["--bits", "8"]),
    ("EGRU, C, 4 bits", "egru", "c", ["--bits", "4"]),
    ("EGRU, C, float32, learns (SnAp-1)", "egru", "c", ["--learn", "--method", "snap1"]),
    ("EGRU, C, 8 bits, readout learns", "egru", "c", ["--bits", "8", "--learn"]),
    ("LIF, bundle", "lif", "bundle", []),
    ("LIF, NIR", "lif", "nir", []),
    ("LIF, C, 8 bits", "lif", "c", ["--bits", "8"]),
)  # fmt: skip


def accuracy(out):
    return float((out[:, -1].argmax(-1) == TASK.split("test").y).mean())


def on_targets(folder):
    """What the C said, on the host and on a Cortex-M3."""
    said, places = [], [("host", "test")]
    if shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-system-arm"):
        places.append(("Cortex-M3", "m3"))
    for _, target in places:
        done = subprocess.run(["make", "-s", "-C", folder, target], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{folder}: {done.stdout}{done.stderr}")
        said.append(done.stdout)
    steps, events = re.search(r"recorded: (\d+) steps, (\d+) events", said[0]).groups()
    told = f"{int(steps):,} steps, {int(events):,} events equal: {' and '.join(place for place, _ in places)}"
    return told + ("; as is a lesson of 500 updates" if "lesson" in said[0] else "")


def row(net, kind, options, path):
    """(bytes, operations a step, accuracy, how that was verified) of one export."""
    x = TASK.split("test").x.astype(np.float32)
    if kind == "bundle":
        found = verify(path)
        return path.stat().st_size, "-", accuracy(load(path.parent / "run" / "checkpoint.npz").net.run(x)), (
            f"replayed in numpy: {found['events']} events " + ("equal" if found["agrees"] else "DIFFER")
        )  # fmt: skip
    if kind == "nir":
        ours, theirs = net.run(x), run_norse(path, x, net.dt)
        return path.stat().st_size, "-", accuracy(theirs), (
            f"norse on {len(x)} images: {int((ours[:, -1].argmax(-1) != theirs[:, -1].argmax(-1)).sum())} answers differ"
        )  # fmt: skip
    memory, bits = json.loads((path / "memory.json").read_text()), [int(one) for one in options if one.isdigit()]
    out = run_golden(quantise(net, sample(net, TASK, "train", 128, 256)[0], *bits), x) if bits else net.run(x)
    size = f"{memory['flash_bytes']:,} + {memory['ram_bytes']:,}"
    return size, f"{memory['operations_per_step']:,}", accuracy(out), on_targets(path)
