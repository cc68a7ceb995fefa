"""Footprint: flash, RAM, stack and operations of what is printed, before it has ever run on a device."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from evsim.fixed.lower import GREATER
from evsim.program import ADD, MULTIPLY, NEGATE, SIGMOID, SUBTRACT, TANH

ARM = "arm-none-eabi-gcc"
FLAGS = ("-std=c99", "-Os", "-mcpu=cortex-m3", "-mthumb", "-fstack-usage")
MATH = ("expf", "tanhf", "logf", "log1pf", "sqrtf")
ARITHMETIC = (ADD, SUBTRACT, MULTIPLY, NEGATE, GREATER, SIGMOID, TANH)


def footprint(model, x, events):
    """dict of what a `evsim.emit.model.Model` takes.

    x, events: sequences (steps, n_in), and for each the layers' events, by which typical operations are counted.
    flash_bytes: of tables, by name in `tables`; ram_bytes: of one state, by member in `state`; operations_per_step:
    typical and worst, additions into sums over synapses and operations of units. code_bytes, stack_bytes: measured with
    a Cortex-M3 compiler where there is one, else None; neither has what a library does of it.
    """
    total, members = model.state_bytes()
    tables = {name: size for _, name, _, size in model.source.tables}
    typical, worst = _operations(model, x, events)
    code, stack = measured(model)
    return {
        "flash_bytes": sum(tables.values()), "tables": tables, "ram_bytes": total, "state": members,
        "operations_per_step": round(typical), "worst_operations_per_step": worst, "code_bytes": code,
        "stack_bytes": stack,
    }  # fmt: skip


def _operations(model, x, events):
    """(typical, worst) number of additions over synapses and of operations of units in one step."""
    heard = np.concatenate(x) != 0
    spoken = [np.concatenate([shown[k] for shown in events]) != 0 for k in range(len(model.parts) - 1)]
    typical = worst = 0
    for k, part in enumerate(model.parts):
        units = part.units * sum(op.head in ARITHMETIC for op in part.program.ops)
        typical, worst = typical + units, worst + units
        for side, said in zip(part.sides, (heard if k == 0 else spoken[k - 1], spoken[k] if part.rec else None)):
            reach = np.diff(side.ptr) * len(side.fed)
            worst += int(reach.sum())
            typical += float((said @ reach).mean())
    return typical, worst


def measured(model):
    """(bytes of code and tables, worst bytes of stack) on a Cortex-M3 by its compiler; (None, None) without one."""
    if not shutil.which(ARM):
        return None, None
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder, f"{model.prefix}.c")
        code.write_text(model.code(), encoding="ascii")
        code.with_suffix(".h").write_text(model.header(), encoding="ascii")
        done = subprocess.run([ARM, *FLAGS, "-c", code.name], cwd=folder, capture_output=True, text=True, check=False)
        sizes = subprocess.run(
            [ARM.replace("gcc", "size"), f"{model.prefix}.o"], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode or sizes.returncode:
            return None, None
        stack = worst_stack(code.with_suffix(".su").read_text(), model.code())
        return int(sizes.stdout.splitlines()[1].split()[0]), stack


def worst_stack(usage, code):
    """The most stack that a call can take, from the compiler's report: the deepest chain of functions that call."""
    frames: dict[str, int] = {}
    for name, size in re.findall(r":(\w+)[.\w]*\t(\d+)\t", usage):  # behind a dot: which copy of a function it is
        frames[name] = max(int(size), frames.get(name, 0))
    bodies = re.findall(r"^(?:static )?\w+ (\w+)\([^;{]*?\)\n\{\n(.*?)^\}", code, re.DOTALL | re.MULTILINE)
    deepest: dict[str, int] = {}
    for name, body in bodies:  # each stands behind what it calls; what was made part of another has no frame
        called = set(re.findall(r"(\w+)\(", body)) & deepest.keys()
        deepest[name] = frames.get(name, 0) + max((deepest[one] for one in called), default=0)
    return max(deepest.values(), default=0)


def report(model, found, name):
    """The same for people, in Markdown."""
    fixed, kind = model.fixed, "float32"
    if fixed:
        kind = f"fixed point, weights of {fixed.bits} bits, states of {fixed.state_bits}"
    rows = [
        ("flash, tables", f"{found['flash_bytes']:,} bytes"), ("RAM, one state", f"{found['ram_bytes']:,} bytes"),
        ("flash with code, Cortex-M3, -Os", _or_unknown(found["code_bytes"])),
        ("stack at most, Cortex-M3, -Os", _or_unknown(found["stack_bytes"])),
        ("operations a step, typical", f"{found['operations_per_step']:,}"),
        ("operations a step, all units at once", f"{found['worst_operations_per_step']:,}"),
    ]  # fmt: skip
    lines = [f"# {name}: memory and work", "", f"{model.told()}. Arithmetic: {kind}.", "", "| what | how much |"]
    lines += ["|---|---|", *(f"| {what} | {much} |" for what, much in rows), ""]
    lines += ["Operations: additions into sums over synapses, and those of units' equations; typical on the recorded"]
    lines += [f"steps. No heap. {_called(model)}"]
    lines += ["", "| table (flash) | bytes |", "|---|---|"]
    lines += [f"| `{table}` | {size:,} |" for table, size in found["tables"].items()]
    lines += ["", "| member of the state (RAM) | bytes |", "|---|---|"]
    lines += [f"| `{member}` | {size:,} |" for member, size in found["state"].items()]
    return "\n".join(lines) + "\n"


def _called(model):
    """A sentence on what the code calls of a library, and whether the stack has it."""
    code = model.code()
    found = [name for name in MATH if f"{name}(" in code]
    if model.fixed is None:
        found.append("arithmetic of float32, where the processor has none")
    elif " / total" in code:
        found.append("a division of 64 bits")
    if not found:
        return "Nothing is called but what stands in the file."
    told = f"Called from a library: {', '.join(found)}."
    return f"{told}\nThe stack does not count what these take themselves: on a Cortex-M3, by newlib, some 50 bytes."


def _or_unknown(size):
    return f"unknown: no {ARM} that works was found" if size is None else f"{size:,} bytes"


