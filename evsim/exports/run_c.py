"""Running exported C: built and tried by its own Makefile, on this machine and, under QEMU, on a Cortex-M3."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

HOST = ("make", "cc")
M3 = ("make", "arm-none-eabi-gcc", "qemu-system-arm")
PATIENCE = 600  # seconds
TOO_LARGE = r"will not fit in region|region \S+ overflowed"  # says the linker
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
    in words what does not; places: where it was tried ("host", "Cortex-M3"); skipped: why not on the latter (tools
    that are missing, or too little memory); steps, events: how many were compared; random_steps and hash (of fixed
    point, the golden model's), updates (of a learner), each None where there are none. FileNotFoundError without make
    and a C compiler.
    """
    if missing := _missing(HOST):
        raise FileNotFoundError(f"{' and '.join(missing)} cannot be found: install a C compiler and make to verify C")
    skipped = [f"{tool} cannot be found" for tool in _missing(M3)]
    found = {"path": str(folder), "agrees": True, "difference": None, "places": [], "skipped": skipped}
    found |= dict.fromkeys(TOLD)
    for place, target in [("host", "test"), *([] if skipped else [("Cortex-M3", "m3")])]:
        code, text = _make(folder, target)
        if code and place != "host" and re.search(TOO_LARGE, text):
            return {**found, "skipped": ["it does not fit the memory of QEMU's machine"]}
        found["places"].append(place)
        here = {name: re.search(pattern, text) for name, pattern in TOLD.items()}
        if code or not here["steps"]:
            return {**found, "agrees": False, "difference": f"on the {place}: {_why(text)}"}
        found |= {name: one[1] if name == "hash" else int(one[1]) for name, one in here.items() if one}
    return found


def _make(folder, target):
    """(exit code, what was printed) of a target of the Makefile; what takes longer than PATIENCE is ended."""
    command = ["make", "-s", "-C", str(folder), target]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True
    ) as made:
        try:
            text, _ = made.communicate(timeout=PATIENCE)
        except BaseException as stop:
            os.killpg(made.pid, signal.SIGKILL)  # what make has started too
            if not isinstance(stop, subprocess.TimeoutExpired):
                raise
            return 1, f"it has no end, not after {PATIENCE} seconds"
    return made.returncode, text


def _why(text):
    """The line that says what went wrong: the test's own, the compiler's, or the first."""
    lines = [line for line in text.splitlines() if line.strip()]
    telling = (line for mark in ("FAILED", " error: ") for line in lines if mark in line)
    return next(telling, lines[0] if lines else "its test is mute")


def _missing(tools):
    return [tool for tool in tools if not shutil.which(tool)]
