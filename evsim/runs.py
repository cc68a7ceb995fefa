"""Runs: training from settings into a run folder, and going on with one."""

import contextlib
import shlex
import statistics
import sys
from pathlib import Path

from evsim.build import RECORD, build_optimizer, build_task, merge, read_settings, resolve
from evsim.check import check_count
from evsim.progress import TrainingProgress
from evsim.registry import load_optional
from evsim.runfolder import RunFolder, free_folder

_BACKENDS = {"numba": ("evsim.online", "Numba"), "torch": ("evsim.models.run", "Torch")}


def train(given, config=None, out=None, force=False):
    """Train as settings `given`, and those of the TOML file `config` below them, say; returns the summary."""
    settings, task = resolve(merge(given, None if config is None else read_settings(config)))
    runs = _each(settings)
    backend = backend_of(settings)
    trainers = [backend.build(runs[0], task)]
    folder = free_folder(task.name) if out is None else RunFolder(out)
    folder.refuse(force)
    seeds = f"seeds {', '.join(map(str, settings['seeds']))}" if "seeds" in settings else f"seed {settings['seed']}"
    tell(f"training {task.name} ({task.loss}): {backend.announce(trainers[0], settings)}, {seeds}")
    backend.prepare(runs[0], task)
    if out is None:
        folder = free_folder(task.name)
    folder.clear()
    return _train_all(folder, settings, task, trainers)


def foresee(given, config=None):
    """What each epoch of such a run would do, one dict each: epoch, phase (where gradients alternate), learning_rate.

    The rate is that of the epoch's first update.
    """
    settings, task = resolve(merge(given, None if config is None else read_settings(config)))
    settings = _each(settings)[0]
    backend_of(settings).build(settings, task)  # what is wrong shows
    per_epoch, phase_of = backend_of(settings).foresee(settings, task)
    rate = build_optimizer(settings, settings["epochs"] * per_epoch).schedule
    rows = []
    for epoch in range(1, settings["epochs"] + 1):
        phase = {} if phase_of is None else {"phase": phase_of(epoch)}
        rows.append({"epoch": epoch, **phase, "learning_rate": rate((epoch - 1) * per_epoch)})
    return rows


def resume(path, given, config=None):
    """Go on with the run in folder `path`; `given` may raise epochs and must agree otherwise. Returns the summary."""
    folder = RunFolder(path)
    noted = folder.config()
    settings = {name: value for name, value in noted.items() if name not in RECORD}
    chosen = merge(given, None if config is None else read_settings(config))
    _compare(folder, settings, chosen)
    task = build_task(settings)
    if task.digest != noted.get("data_digest", task.digest):
        told = settings.get("data") or settings.get("text", "the text")
        raise ValueError(f"{told} has changed since the run in {path} began: start a new run")
    if "seeds" not in settings and folder.rows() and not folder.checkpoint.exists():
        raise ValueError(f"{path} has no checkpoint.npz to go on from: start a new run")
    settings["epochs"] = chosen.get("epochs", settings["epochs"])
    backend = backend_of(settings)
    for one in (folder, *folder.members()):
        if one.checkpoint.exists():
            backend.resume(one.checkpoint, settings, task)  # a damaged one shows before anything is done
    tell(f"going on with {path}, up to epoch {settings['epochs']}")
    backend.prepare(_each(settings)[0], task)
    return _train_all(folder, settings, task, [])


def backend_of(settings):
    """What does the work: evsim's own learners, or torch models; ImportError says how to install torch."""
    name = settings.get("backend", "numba")  # runs of before there was a choice
    module, attribute = _BACKENDS[name]
    return getattr(load_optional(module, f"backend {name!r}"), attribute)


def tell(text):
    """One line on stderr."""
    print(text, file=sys.stderr, flush=True)


def _each(settings):
    """Settings of each run: one, or one per seed."""
    if "seeds" not in settings:
        return [settings]
    common = {name: value for name, value in settings.items() if name != "seeds"}
    return [{**common, "seed": seed} for seed in settings["seeds"]]


def _train_all(folder, settings, task, trainers):
    """Train into `folder` whatever of it is not done yet; `trainers`: those that are built already."""
    if "seeds" not in settings:
        return _train_one(folder, folder, settings, task, "", trainers)
    folder.write_config(_noted(settings, task))
    folder.write_summary(None)
    runs = []
    for own in _each(settings):
        member = folder.member(own["seed"])
        member.path.mkdir(exist_ok=True)
        runs.append(_train_one(member, folder, own, task, f"seed {own['seed']} ", trainers))
    backend = backend_of(settings)
    names = (*task.reached(), *backend.medians, *task.summarise(0.0, 0.0))
    medians = {name: _median([run[name] for run in runs]) for name in names}
    summary = {
        "task": task.name, "seeds": settings["seeds"], **medians,
        **{name: runs[0][name] for name in backend.shared}, "peak_bytes": peak_bytes(),
        **({"compare": _medians_of([run["compare"] for run in runs])} if "compare" in settings else {}),
        "runs": runs, "config": settings,
    }  # fmt: skip
    folder.write_summary(summary)
    tell(f"the runs are in {folder.path}")
    return summary


def _train_one(folder, whole, settings, task, label, trainers):
    """One run in `folder`, which is `whole` or one of its seeds; goes on from a checkpoint if there is one."""
    done = folder.summary()
    if done is not None and done["config"]["epochs"] == settings["epochs"]:
        tell(f"{label}has done all of its {settings['epochs']} epochs: a larger --epochs goes on")
        return done
    trainer = None
    try:
        if folder.checkpoint.exists():
            trainer = backend_of(settings).resume(folder.checkpoint, settings, task)
        else:
            trainer = trainers.pop() if trainers else backend_of(settings).build(settings, task)
        folder.write_config(_noted(settings, task))
        folder.write_summary(None)
        folder.write_rows(trainer.history)
        _fit(trainer, folder, settings["epochs"], label, task)
        summary = {
            "task": task.name, "seed": settings["seed"], **trainer.task.reached(),
            **backend_of(settings).figures(trainer, settings), "peak_bytes": peak_bytes(),
            "train_seconds": round(sum(row["seconds"] for row in trainer.history), 3), "config": settings,
        }  # fmt: skip
    except KeyboardInterrupt:
        if not folder.checkpoint.exists():
            raise
        goes_on = f"evsim train --resume {shlex.quote(str(whole.path))}"
        done = f"{label}interrupted after {len(trainer.history) if trainer else 0} epochs, the checkpoint is kept"
        raise KeyboardInterrupt(f"{done}; to go on: {goes_on}") from None
    except FloatingPointError as error:
        raise FloatingPointError(f"{error}; the last good checkpoint is {folder.checkpoint}") from None
    folder.write_summary(summary)
    if whole is folder:
        tell(f"the run is in {folder.path}")
    return summary


def _fit(trainer, folder, epochs, label, task):
    with TrainingProgress(epochs, label, task.meaning) as shown:

        def keep(row):
            folder.write_rows(trainer.history)
            shown.epoch(row)

        trainer.fit(epochs=epochs, checkpoint=folder.checkpoint, on_epoch=keep, progress=shown.piece)


def _compare(folder, settings, chosen):
    """Raise ValueError unless `chosen` says nothing else than `settings`, more epochs apart."""
    for name, value in chosen.items():
        if name == "epochs":
            check_count("epochs", value)
            if value < settings["epochs"]:
                raise ValueError(f"epochs={value} is below the {settings['epochs']} of {folder.path}: give more")
            if value > settings["epochs"] and settings["schedule"] == "cosine":
                ended = f"the cosine schedule of {folder.path} ends after {settings['epochs']} epochs"
                raise ValueError(f"{ended}, and epochs={value} was given: start a new run")
        elif not _same(name, value, settings):
            told = f"{name}={value!r} contradicts {name}={settings.get(name)!r} of {folder.path}"
            raise ValueError(f"{told}: leave it out, or start a new run")


def _same(name, value, settings):
    if name in ("data", "text", "vocabulary") or (name == "profile" and value.endswith(".toml")):
        value = str(Path(value).resolve())
    return name in settings and value == settings[name]


def _noted(settings, task):
    return {**settings, "data_digest": task.digest, "symbols_digest": task.symbols_digest}


def _medians_of(runs):
    """What `Comparison.means` gave in each of several runs, as medians."""
    found = {}
    for name in runs[0]:
        ours = [run[name] for run in runs]
        found[name] = {key: _median([one[key] for one in ours]) for key in ("cosine", "relative_error", "updates")}
        layers = zip(*(one["cosine_per_layer"] for one in ours), strict=True)
        found[name]["cosine_per_layer"] = [_median(values) for values in layers]
    return found


def _median(values):
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def peak_bytes():
    """The most memory that this process has held, or None where the system does not tell."""
    with contextlib.suppress(OSError, StopIteration, LookupError, ValueError):
        # Linux, where getrusage would tell of the parent's peak as well
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:
        return None
    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
