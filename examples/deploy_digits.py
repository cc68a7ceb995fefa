"""Deploy: train on handwritten digits, export to every target, run each export there, and print what came of it.

    python examples/deploy_digits.py [--folder deploy] [--quick]              needs the extras [torch], [nir] and [data]

Two networks: an EGRU, and LIF units, for which NIR has words. The C is compiled and run on all test images: here, and
on a Cortex-M3 under QEMU where arm-none-eabi-gcc and qemu-system-arm are installed (make test-embedded installs them).
"""

import argparse
import warnings
from pathlib import Path

import numpy as np

from evsim.cli import main as evsim
from evsim.exporting import export_run
from evsim.exports import bundle, replay, run_c
from evsim.results import open_run
from evsim.tasks.digits import Digits

LIF = ["--cell", "lif", "--reset", "zero", "--units", "128", "--density", "0.3", "--half-width", "1", "--lr", "0.003"]
CASES = (
    ("EGRU, bundle", "egru", "bundle", {}),
    ("EGRU, C, float32", "egru", "c", {}),
    ("EGRU, C, 16 bits", "egru", "c", {"bits": 16}),
    ("EGRU, C, 8 bits", "egru", "c", {"bits": 8}),
    ("EGRU, C, 4 bits", "egru", "c", {"bits": 4}),
    ("EGRU, C, learns by SnAp-1", "egru", "c", {"learn": True, "method": "snap1"}),
    ("EGRU, C, 8 bits, readout learns", "egru", "c", {"bits": 8, "learn": True}),
    ("LIF, bundle", "lif", "bundle", {}),
    ("LIF, NIR", "lif", "nir", {}),
    ("LIF, C, 8 bits", "lif", "c", {"bits": 8}),
)


def row(case, net, task, path, found):
    """(bytes, operations a step, accuracy, how that was verified) of one export."""
    to, test = case[2], task.split("test")
    x = test.x.astype(np.float32)
    if to == "bundle":
        told = replay.verify(path)
        how = f"replayed in numpy: {told['events']:,} events {'equal' if told['agrees'] else 'DIFFER'}"
        return f"{found['bytes']:,}", "-", accuracy(bundle.load(path).run(x), test), how
    if to == "nir":
        from evsim.models import run_norse

        out = run_norse(path, x, net.dt)
        differ = np.abs(out - net.run(x)).max(-1) > 1e-4
        how = f"norse: outputs differ at {differ.sum()} of {differ.size:,} steps"
        return f"{found['bytes']:,}", "-", accuracy(out, test), how
    try:
        told = run_c.verify(path)
        how = f"{' and '.join(told['places'])}: {told['steps'] or 0:,} steps, {told['events'] or 0:,} events equal"
        how += f", {told['updates']} updates" if told["updates"] else ""
        how = how if told["agrees"] else told["difference"]
    except FileNotFoundError as missing:
        how = f"not run: {missing}"
    size = f"{found['flash_bytes']:,} + {found['ram_bytes']:,}"
    return size, f"{found['operations_per_step']:,}", f"{found['accuracy_on_record']:.1%}", how


def accuracy(out, test):
    return f"{(out[:, -1].argmax(-1) == test.y).mean():.1%}"


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--folder", default="deploy", help="where everything goes")
    options.add_argument("--quick", action="store_true", help="one epoch: does it run; the figures say nothing")
    given, task = options.parse_args(), Digits(layout="rows")
    folder, size = Path(given.folder), ["--epochs", "1"] if given.quick else []
    folder.mkdir(exist_ok=True)
    warnings.simplefilter("ignore", DeprecationWarning)  # of libraries below norse
    for name, chosen in (("egru", []), ("lif", LIF)):
        if evsim(["train", "digits", *chosen, *size, "--out", str(folder / name), "--force"]):
            raise SystemExit(1)
    lines = [("target", "bytes (C: flash + RAM)", "operations", "accuracy", "verified how")]
    for k, case in enumerate(CASES):
        path, net = folder / f"{k}.{case[2]}", open_run(folder / case[1])[0].net
        wanted = {**case[3], **({"vectors": 10**6} if case[2] == "c" else {})}
        found = export_run(folder / case[1], case[2], path, True, wanted)
        lines.append((case[0], *row(case, net, task, path, found)))
    widths = [max(len(line[k]) for line in lines) for k in range(5)]
    print(*("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip() for line in lines), sep="\n")


if __name__ == "__main__":
    main()
