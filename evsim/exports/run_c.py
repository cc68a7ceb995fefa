"""Running exported C: built and tried by its own Makefile, on this machine and, under QEMU, on a Cortex-M3."""

import re
import shutil
import subprocess
from pathlib import Path

HOST = ("make", "cc")
M3 = ("make", "arm-none-eabi-gcc", "qemu-system-arm")
PATIENCE = 600  # seconds
TOLD = {
    "steps": r"recorded: (\d+) steps", "events": r"(\d+) events agree", "random_steps": r"random: (\d+) steps",
    "hash": r"random: .* hash (\w+)", "updates": r"lesson: (\d+) updates",
}  # fmt: skip


def is_export(folder):
    """Whether that is a folder that the export `c` wrote."""
    return all(Path(folder, name).is_file() for name in ("Makefile", "test_main.c", "memory.json"))


def verify(folder):
    """Build the C in a folder, run its test, on a Cortex-M3 too where the tools for that are, and say what came of it.

    Returns a dict: path; agrees: True if all that was tried agrees with what is on record, otherwise `difference` says
    in words what does not; places: where it was tried ("host", "Cortex-M3"); skipped: tools that are missing for the
    latter; steps, events: how many were compared; random_steps and hash (of fixed point, the golden model's), updates
    (of a learner), each None where there are none. FileNotFoundError without make and a C compiler.
    """
    if missing := _missing(HOST):
        raise FileNotFoundError(f"{' and '.join(missing)} cannot be found: install a C compiler and make to verify C")
    skipped = _missing(M3)
    found = {"path": str(folder), "agrees": True, "difference": None, "places": [], "skipped": skipped}
    found |= dict.fromkeys(TOLD)
    for place, target in [("host", "test"), *([] if skipped else [("Cortex-M3", "m3")])]:
        done = subprocess.run(
            ["make", "-s", "-C", str(folder), target], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        found["places"].append(place)
        if done.returncode:
            return {**found, "agrees": False, "difference": f"on the {place}: {_why(done.stdout + done.stderr)}"}
        for name, pattern in TOLD.items():
            if match := re.search(pattern, done.stdout):
                found[name] = match[1] if name == "hash" else int(match[1])
    return found


def _why(text):
    """The line that says what went wrong: the test's own, the compiler's, or the first."""
    lines = [line for line in text.splitlines() if line.strip()]
    telling = (line for mark in ("FAILED", " error: ") for line in lines if mark in line)
    return next(telling, lines[0] if lines else "it fails without a word")


def _missing(tools):
    return [tool for tool in tools if not shutil.which(tool)]
