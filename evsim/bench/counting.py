"""Counting: what the counters cost `evsim train`, against a copy of the package from which they are taken out.

Both copies compile their own kernels and train in fresh processes, in turns; they must come to the same weights, bit
for bit, before a time is looked at. Times are CPU seconds, which others on the machine disturb less.
"""

import ast
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

import evsim
from evsim.bench.startup import row, seconds
from evsim.bench.timing import say

COUNTS = ("count", "_counts")  # arrays that kernels, and the learner, add to
CALLS = ("count_links", "count_update")  # what does nothing else
WORK = {
    "digits": ("digits", "--epochs", "2"),
    "digits, block 1": ("digits", "--epochs", "4", "--learner", "rtrl", "--block", "1", "--units", "32"),
    "spiral": ("spiral", "--epochs", "1"),
}
QUICK = {"spiral, tiny": ("spiral", "--units", "4", "--epochs", "1", "--learner", "bptt")}
CHILD = """
import sys, time
from evsim.cli import main
from evsim.trainer import Trainer
def timed(*given, fit=Trainer.fit, **options):
    start = time.process_time()
    found = fit(*given, **options)
    print(time.process_time() - start)
    return found
Trainer.fit = timed
sys.exit(main(sys.argv[1:]))
"""


class Strip(ast.NodeTransformer):
    """Takes out each statement that adds to a count, and notes how many there were."""

    def __init__(self):
        self.taken = 0

    def visit_AugAssign(self, node):
        return self._without(node, isinstance(node.target, ast.Subscript) and _root(node.target) in COUNTS)

    def visit_Expr(self, node):
        call = node.value
        return self._without(node, isinstance(call, ast.Call) and getattr(call.func, "id", "") in CALLS)

    def _without(self, node, counts):
        self.taken += counts
        return ast.Pass() if counts else node


def _root(node):
    """The name that is indexed: count of count[level, LEAK], _counts of self._counts[0][:, UPDATE]."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def strip(source):
    """(source without its counting, statements taken out)."""
    way = Strip()
    tree = way.visit(ast.parse(source))
    return ast.unparse(ast.fix_missing_locations(tree)), way.taken


def copy_package(folder, without):
    """Copy evsim into `folder`, without its counting if so wanted; returns how many statements were taken out."""
    home, taken = Path(evsim.__file__).parent, 0
    to = Path(folder) / "evsim"
    shutil.copytree(home, to, ignore=shutil.ignore_patterns("__pycache__", "bench"))
    for file in to.rglob("*.py") if without else ():
        source = file.read_text(encoding="utf-8")
        if "opcount" in source:
            source, here = strip(source)
            file.write_text(source, encoding="utf-8")
            taken += here
    return taken


def train(folder, words, name):
    """(CPU seconds of Trainer.fit, summary, weights) of `evsim train` with the package that lies in `folder`."""
    out = Path(folder) / name
    command = [sys.executable, "-c", CHILD, "train", *words, "--json", "--force", "--out", str(out)]
    environment = {"PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": f"{folder}/cache"}
    *_, cpu, line = seconds(command, environment, folder)[1].splitlines()
    summary = json.loads(line)
    with np.load(out / "checkpoint.npz", allow_pickle=False) as found:
        weights = {key: found[key] for key in found.files if key.startswith("parameter/")}
    return float(cpu), summary, weights


def check(counted, stripped):
    """ArithmeticError unless both came to the same weights, and one alone has counted."""
    (_, full, weights), (_, empty, others) = counted, stripped
    if weights.keys() != others.keys() or any(weights[key].tobytes() != others[key].tobytes() for key in weights):
        raise ArithmeticError("without its counters evsim comes to other weights: times would say nothing")
    if not full["macs_per_step"] or empty["macs_per_step"] or empty["ops"]["multiply_adds"]:
        raise ArithmeticError("the counters were not taken out, or not in: times would say nothing")


def measure(record):
    """Digits in blocks and step by step, and a small network, which has least work to count."""
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / name for name in ("counted", "stripped")]
        for place, without in zip(places, (False, True)):
            taken = copy_package(place, without)
        for title, words in (QUICK if record.quick else WORK).items():
            say(f"counting: {title}, {taken} statements taken out")
            check(*(train(place, words, "first") for place in places))  # compiles, too
            times = []
            for turn in range(1 if record.quick else 2 * record.repeats):
                order = places if turn % 2 else places[::-1]
                found = {place.name: train(place, words, "again")[0] for place in order}
                times.append([found[place.name] for place in places])
            ratios = [with_counts / without for with_counts, without in times]
            low, middle, high = (float(q) for q in np.quantile(ratios, (0.1, 0.5, 0.9)))
            ours, other = zip(*times)
            rows = [row("evsim train", ours), row("the same without its counters", other, ours=False)]
            record.add("counting", f"{title}: CPU seconds of training", rows, rows[1]["name"], unit="s")
            note = f"median of {len(ratios)} pairs, 10 % to 90 %: {low:.3f} to {high:.3f}; weights are the same"
            what = f"{title}: CPU time with counters over that without"
            record.claim("counting", what, middle, "<=", 1.05, note=note)
