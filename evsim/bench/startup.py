"""Startup: what a user waits for before anything happens, in processes of their own."""

import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

from evsim.bench.timing import say

TRAIN = ("train", "spiral", "--units", "8", "--epochs", "1", "--force", "--json")


def measure(record):
    """The command's help, the import, and `evsim train` besides the training itself."""
    say("startup: commands in processes of their own")
    turns = 1 if record.quick else 5
    evsim, python = [sys.executable, "-m", "evsim"], [sys.executable, "-c"]
    rows = [
        row("evsim --help", [seconds([*evsim, "--help"])[0] for _ in range(turns)]),
        row("import evsim", [seconds([*python, "import evsim"])[0] for _ in range(turns)]),
        row("python, nothing else", [seconds([*python, "pass"])[0] for _ in range(turns)], ours=False),
    ]
    with tempfile.TemporaryDirectory() as folder:
        command = [*evsim, *TRAIN, "--out", f"{folder}/run"]
        cache = {} if record.quick else {"NUMBA_CACHE_DIR": f"{folder}/cache"}
        if not record.quick:
            rows.append(row("evsim train, besides training: first ever, compiles", [besides(command, cache)]))
        rows.append(row("evsim train, besides training: later", [besides(command, cache) for _ in range(turns)]))
    record.add("startup", "from the command to work", rows, unit="s")


def seconds(command, environment=None, folder=None):
    """Seconds and standard output of a command that must succeed, run in `folder`."""
    start = time.perf_counter()
    environment = {**os.environ, **(environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    if done.returncode:
        raise OSError(f"{' '.join(command)} failed: {done.stderr.strip()[-300:]}")
    return time.perf_counter() - start, done.stdout


def besides(command, environment):
    """Seconds of a training command without the training."""
    whole, printed = seconds(command, environment)
    return whole - json.loads(printed.splitlines()[-1])["train_seconds"]


def row(name, times, ours=True):
    """A row of the table from times in seconds."""
    low, middle, high = (float(q) * 1e6 for q in np.quantile(times, (0.1, 0.5, 0.9)))
    nothing = dict.fromkeys(("missing", "multiply_adds", "phi_rate", "activity", "memory_bytes"))
    return {"name": name, "ours": ours, "us": middle, "us_10": low, "us_90": high, "turns": len(times), **nothing}
