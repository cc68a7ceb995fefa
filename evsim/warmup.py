"""Warm-up: kernels are compiled, or fetched from numba's cache, before the clock starts; a long wait is explained."""

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np

from evsim.build import build_trainer
from evsim.evaluate import evaluate
from evsim.rewiring import RigL, all_gradients

_WAIT = 3.0  # seconds that fetching from the cache may take before we say that something is compiled


def cached(sources) -> bool:
    """False if kernels surely have to be compiled: numba's cache has none of these files as they are now."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        return True
    return any(_has_kernels(Path(source)) for source in sources)


def _has_kernels(source):
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if not chosen and not os.access(source.parent, os.W_OK):
        return True  # numba keeps them somewhere else: we cannot tell
    folders = [*Path(chosen).glob(f"{source.parent.name}_*")] if chosen else [source.parent / "__pycache__"]
    kernels = [kernel for folder in folders for kernel in folder.glob(f"{source.stem}.*.nbi")]
    return any(kernel.stat().st_mtime >= source.stat().st_mtime for kernel in kernels)


def warm_up(settings, task) -> float:
    """Run every kernel that training needs, on a tiny network; returns the seconds it took."""
    began = time.monotonic()
    trainer = build_trainer({**settings, "units": 2, "density": 1.0, "streams": 1, "threads": 1}, task)
    cells = {str(sys.modules[type(cell).__module__].__file__) for cell in trainer.net.layers}
    ready = cached(Path(__file__).parent.glob("*.py")) and all(cached([cell]) for cell in cells)
    patience = _WAIT if ready else 0.0
    done = threading.Event()
    explained = []

    def explain():
        if not done.wait(patience):
            told = "compiling the kernels: the first run takes up to a minute for it, later starts are quick"
            print(told, file=sys.stderr, flush=True)
            explained.append(True)

    waiting = threading.Thread(target=explain, daemon=True)
    waiting.start()
    try:
        _run(trainer, task, settings.get("rewire"))
    finally:
        done.set()
        waiting.join()
    seconds = time.monotonic() - began
    if explained:
        print(f"compiled in {seconds:.0f} s", file=sys.stderr, flush=True)
    return seconds


def _run(trainer, task, rewire):
    shape = () if task.loss == "cross_entropy" else (task.n_out,)
    x, y = np.zeros((1, 2, task.n_in)), np.zeros((1, *shape), np.int64)
    targets = np.zeros((2, *shape), np.int64)
    for learner in trainer.learners:
        learner.run(x[0], targets)
        learner.gradient()
    trainer.learner.update(trainer.optimizer, 1.0)
    for learner in trainer.learners:
        learner.run(x[0], targets)  # weights have changed: what closes an open block is compiled too
    if rewire == RigL.kind:
        all_gradients(trainer.net, task.loss, x[0], targets)
    evaluate(trainer.net, (x, y, None, None), task.loss)
