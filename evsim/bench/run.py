"""Run: the sections, one after the other, into one record."""

import os
from importlib import import_module
from pathlib import Path

from evsim.bench.ceilings import best_of, measure_ceilings
from evsim.bench.record import Record
from evsim.bench.timing import say
from evsim.check import check_choice, check_count
from evsim.runfolder import to_json

SECTIONS = ("influence", "learn", "inference", "stream", "scaling", "startup", "counting")
REPEATS = 5


def run(sections=(), quick=False, repeats=None, out=None, pinned=True):
    """dict of all figures of the named sections, or of all; written to `out` as JSON if given."""
    chosen = tuple(dict.fromkeys(check_choice("section", name, SECTIONS) for name in sections)) or SECTIONS
    repeats = check_count("repeats", (2 if quick else REPEATS) if repeats is None else repeats)
    if out is not None and not Path(out).resolve().parent.is_dir():
        raise FileNotFoundError(f"--out {out}: the folder does not exist: make it first")
    if not pinned:
        say("numpy was loaded before its threads could be pinned: set OMP_NUM_THREADS=1 for comparable figures")
    say("ceilings of this machine")
    record = Record(quick, repeats, measure_ceilings(quick), pinned)
    for name in chosen:
        import_module(f"evsim.bench.{name}").measure(record)
        record.ceilings.update(best_of(record.ceilings, measure_ceilings(quick)))
    found = record.as_dict(chosen)
    if out is not None:
        beside = Path(f"{out}.part")
        beside.write_text(to_json(found) + "\n", encoding="utf-8")
        os.replace(beside, out)
    return found
