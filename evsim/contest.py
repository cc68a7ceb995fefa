"""Contest: learners side by side on one task: the same cells, first weights, order of sequences and number of steps."""

import inspect
import time
from typing import Any

from evsim.backends import TORCH_ALONE, choose_backend, foreign
from evsim.build import (
    BASE,
    KINDS,
    LEARNER_OPTIONS,
    TASK_OPTIONS,
    build_task,
    check_kind,
    merge,
    parse_options,
    read_settings,
    resolve,
)
from evsim.check import named
from evsim.processes import run_each
from evsim.registry import lookup
from evsim.runs import backend_of, peak_bytes, tell

LONGEST = 20_000  # steps of a stream without end that bptt is let keep
LEARNERS = "rtrl,bptt,tbptt,memup,dni"
_SHARED = ("cell", "units", "layers", "density", "density_in", "half_width", "threshold", "reset", "tau", "streams",
           "optimizer", "lr", "schedule", "clip", "epochs", "dtype", "seed")  # fmt: skip


def compare(given: dict[str, Any], learners: str = LEARNERS, config=None, path=None) -> dict[str, Any]:
    """Train the same network on the same task by each of `learners`, one after another, each in a fresh process.

    given, config: settings, as for a run. Those that some learner has no use for are left out there. learners: names,
    each with settings of its own behind it: "rtrl,tbptt window=5,dni window=5 scale=1". path: a JSON file to which
    results are added as they come; what it holds is not done again.

    All start from the weights of the same `evsim.Network` (`lstm` and other cells of torch from the same seed), read
    the same sequences in the same order, `streams` side by side, and take the losses of a sequence's steps as a sum.
    The batches are the very same where all sequences are of one length and their number is a multiple of `streams`,
    which generated tasks see to; otherwise streams under torch go on to the next sequence as they become free, so that
    steps may differ a little; and a curriculum goes its own way with each learner. Learners that evsim has itself are
    run by it, the others by torch, and so is tbptt beside memup or dni, since it then updates after each window as they
    do (evsim's own updates after sequences, or as `update` says). Under memup the predictor reads the context too,
    without which nothing distant can be asked for; all others have a linear readout.

    Returns a dict with the task's name and "rows", one dict a learner: learner, backend, cell, test_accuracy,
    test_loss and what that means, steps, updates, how far a curriculum came, cpu_seconds (training and a validation an
    epoch), stored_bytes (what the learner or autograd holds), peak_bytes (of the process); or "failed", if training
    diverged.
    ValueError for settings and learners that do not exist, or that no learner has a use for.
    """
    chosen = merge(given, None if config is None else read_settings(config))
    for name in ("seeds", "learner", "compare"):
        if name in chosen:
            raise ValueError(f"{name}={chosen[name]!r} cannot be chosen for all: one seed, and learners by --learners")
    entries = _entries(learners)
    build_task(chosen)  # what is wrong with it shows
    windows = any(own["learner"] in TORCH_ALONE for _, own in entries)
    jobs, unused = [], set(chosen)
    for title, own in entries:
        with named(f"learners, {title!r}"):
            if windows and own["learner"] == "tbptt":  # which then updates after each window, as those do
                own = {"backend": "torch", **own}
            settings = _settings(chosen, own)
            unused -= set(settings)
            settings, task = resolve(settings)  # what is wrong shows before anything is trained
            if own["learner"] == "bptt" and task.tokens and task.steps > LONGEST:
                told = f"bptt keeps all of a stream's {task.steps:,} steps, and goes through them at every update"
                raise ValueError(f"{told}: leave it out, or give more --streams or a --set limit=")
            if "epoch_size" in settings:  # whole batches, so that all read equally many steps
                settings["epoch_size"] = -(-task.sizes["train"] // settings["streams"]) * settings["streams"]
        jobs.append((title, settings, None, task.digest))
    for name in sorted(unused):
        raise ValueError(f"{name}={chosen[name]!r} is of no use to any of {learners}: leave it out")
    rows = run_each(train_one, jobs, path=path, tell=lambda row: tell(_line(row)))
    return {"task": jobs[0][1].get("task", "data"), "rows": rows}


def _entries(text):
    """[(title, its own settings, the learner among them)]."""
    found = {}
    for part in text.split(","):
        name, *words = part.split() or [""]
        title = " ".join([name, *words])
        with named(f"learners, {title!r}"):
            lookup("learner", name)
            if title in found:
                raise ValueError("it is there twice: leave one of them out")
            options = parse_options(words)
            for option in options.keys() & {"learner", "compare", "seeds", "task", "data", *TASK_OPTIONS}:
                raise ValueError(f"{option} cannot be chosen for one learner alone: leave it out")
            if isinstance(options.get("switch"), int):
                options["switch"] = [options["switch"]]
            found[title] = {"learner": name} | {key: check_kind(key, value) for key, value in options.items()}
    return list(found.items())


def _settings(chosen, own):
    """What one learner is trained with: `own`, and of `chosen` and the task's defaults what it has a use for."""
    defaults = {"clip": 1.0, **BASE, **(build_task(chosen).defaults if "task" in chosen else {})}
    given = {**chosen, **own}
    shared = {name: defaults[name] for name in _SHARED if name in defaults and not _replaced(name, given)}
    settings = {**shared, **given}
    if "restart_base" in settings and "schedule" not in given:
        settings["schedule"] = "restarts"
    settings["backend"] = choose_backend(settings)
    if settings["backend"] == "torch":
        settings.setdefault("predictor", "context" if own["learner"] == "memup" else "linear")
        if own["learner"] != "dni":
            settings.setdefault("reduction", "sum")
    taken = inspect.signature(lookup("learner", own["learner"])).parameters
    others = foreign(settings)
    if settings["backend"] == "numba":
        others |= {name: "" for name in LEARNER_OPTIONS if name not in taken}
    if settings["schedule"] != "restarts" and "restart_base" not in settings:
        others |= {name: "" for name in KINDS if name.startswith("restart_")}
    return {name: value for name, value in settings.items() if name in own or name not in others}


def _replaced(name, given):
    """Was a partner of that setting given, which takes its place? A task's default of a unit is for its own cell."""
    return (name == "epochs" and "sequences" in given) or (name in ("half_width", "threshold") and "cell" in given)


def train_one(title: str, settings: dict[str, Any], enough: float | None = None, digest=None) -> dict[str, Any]:
    """Train as settings of a single seed say, on batches of sequences in the order of `evsim.Trainer`; what came of it.

    enough: stop after an epoch whose validation loss is no more than that. digest: of the data, by which results that
    are kept are told apart. The row is as `compare` has it, with "history", a dict for each epoch. Meant for a process
    that does nothing else.
    """
    settings, task = resolve(settings)
    backend = backend_of(settings)
    trainer = backend.build(settings, task, together=True)
    backend.prepare(settings, task)
    row = {"learner": title, "backend": settings["backend"], "cell": settings["cell"], "seed": settings["seed"]}
    cpu = time.process_time()
    try:
        for epoch in range(1, settings["epochs"] + 1):
            last = trainer.fit(epochs=epoch)[-1]
            if enough is not None and last["validation_loss"] <= enough:
                break
    except FloatingPointError as error:
        return {**row, "failed": str(error), "history": list(trainer.history)}
    cpu = time.process_time() - cpu
    found = backend.figures(trainer, settings)
    kept = (
        "test_accuracy", "test_loss", "bits_per_character", "perplexity", "activity", "phi_rate", "macs_per_step",
        "joules_per_step", "joules_per_inference", "joules_per_sample", "steps",
    )  # fmt: skip
    told = {"updates": trainer.optimizer.steps} if settings["backend"] == "numba" else {"updates": trainer.updates}
    return {
        **row, **trainer.task.reached(), **{name: found[name] for name in kept if name in found}, **told,
        "cpu_seconds": cpu, "stored_bytes": backend.stored(trainer), "peak_bytes": peak_bytes(), "settings": settings,
        "history": list(trainer.history),
    }  # fmt: skip


def train_all(ways, seeds, enough=None, path=None, workers=2) -> dict[str, list[dict[str, Any]]]:
    """`train_one` with every settings of `ways`, a dict by title, and every seed: title -> a row for each seed.

    enough: as there. path, workers: as in `evsim.processes.run_each`.
    """
    for title, settings in ways.items():
        with named(title):
            resolve({**settings, "seed": seeds[0]})  # what is wrong shows before anything is trained
    jobs = [(title, {**settings, "seed": seed}, enough) for seed in seeds for title, settings in ways.items()]
    rows = run_each(train_one, jobs, workers, path, lambda row: tell(f"seed {row['seed']}, {_line(row)}"))
    return {title: [row for (one, *_), row in zip(jobs, rows, strict=True) if one == title] for title in ways}


def _line(row):
    if "failed" in row:
        return f"{row['learner']}: {row['failed']}"
    return f"{row['learner']}: loss {row['test_loss']:.4f}, {row['cpu_seconds']:.1f} CPU seconds"
