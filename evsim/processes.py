"""Processes: work done piece by piece, each in a fresh process on one thread, and kept as it comes."""

import json
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from evsim.files import write_text

PINS = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}


def run_each(
    work: Callable[..., dict], jobs: list[tuple], workers: int = 1, path=None, tell: Callable[[dict], Any] | None = None
) -> list[dict]:
    """work(*job) for every job, `workers` at a time; the dicts that came of them, in the order of `jobs`.

    work: a function of a module, since processes find it by name. jobs: of plain data; JSON must be able to hold it.
    path: a JSON file to which every result is added as it comes; what it holds is not done again. tell(result): called
    after each.
    """
    path = None if path is None else Path(path)
    kept = {} if path is None else _kept(path)
    keys = [json.dumps(job, sort_keys=True) for job in jobs]
    missing = {key: job for key, job in zip(keys, jobs, strict=True) if key not in kept}
    before = {name: os.environ.get(name) for name in PINS}
    os.environ.update(PINS)  # children are started with them
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, max_tasks_per_child=1) as pool:
            waiting = {pool.submit(work, *job): key for key, job in missing.items()}
            for one in as_completed(waiting):
                try:
                    kept[waiting[one]] = found = one.result()
                except BrokenExecutor:
                    told = "a process was killed before it was done, perhaps for want of memory"
                    raise OSError(f"{told}: take a smaller task or network, or fewer at once") from None
                if tell is not None:
                    tell(found)
                if path is not None:
                    write_text(path, json.dumps(kept, indent=1) + "\n")
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    return [kept[key] for key in keys]


def _kept(path):
    """The results that a file holds by their jobs; ValueError if it is none of these, or can never be one."""
    if not path.exists():
        if not path.parent.is_dir():
            raise ValueError(f"the folder {path.parent}, where results are to go, does not exist: make it first")
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise ValueError(f"{path} holds no results of an earlier call ({error}): give another file") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no results of an earlier call: give another file")
    return found
