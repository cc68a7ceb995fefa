"""Results: what a finished or interrupted run makes of data: figures and predictions."""

from pathlib import Path

import numpy as np

from evsim.arraytask import ArrayTask, read_npz
from evsim.build import TASK_OPTIONS, build_task, merge
from evsim.check import check_choice
from evsim.files import refuse_existing, replacing
from evsim.runfolder import RunFolder
from evsim.task import SPLITS
from evsim.trained import open_trained


def evaluate_run(run, given, split=None, predictions=None, force=False):
    """Figures of the network in `run`, a run folder or a checkpoint, on one split of its task or of what is given.

    given: dict with task and its options, or data, and loss; a curriculum stands at the level that the run had reached,
    unless a level is among them. split: "train", "validation", "test" or, with data,
    "all" of x; without it "test", and "all" for a file without x_test that the run was not trained on.
    """
    trained, config = open_run(run)
    given = merge(given)
    leveled = {"symbols", "repeats"} & set(given)
    chosen = dict(given)
    loss = _loss(trained, given, config)
    noted = None
    if "data" not in given and "task" not in given:
        if not config:
            raise ValueError(f"{run} is a bare checkpoint, which names no task: give --data FILE.npz or --task too")
        own = ("task", "data", *TASK_OPTIONS)
        given = {**{name: config[name] for name in own if name in config}, **given}
        noted = None if chosen else config.get("data_digest")
    if "data" in given:
        given["loss"] = loss
    if predictions is not None:
        refuse_existing(predictions, force)
    task = build_task(given, trained.n_out)
    if noted not in (None, task.digest):
        what = given.get("data") or given.get("text", "the text")
        how = "it with --data" if "data" in given else f"--task {task.name} and its options"
        raise ValueError(f"{what} has changed since the run began: give {how} to use it as it is now")
    _check_symbols(run, config, task)
    check_fits(run, trained, task)
    if task.stage() and not leveled:
        task.go_on_from(trained.reached)
    split = _split(split, task, config)
    data = task.given["train"] if isinstance(task, ArrayTask) and split == "all" else task.split(split)
    found = trained.evaluate(data, task.loss)
    if predictions is not None:
        said = trained.predict(data.x, data.lengths, task.loss)
        _write_npz(predictions, predictions=said, y=data.y)
    prefix = "" if split == "all" else f"{split}_"
    return {
        "title": f"{run} on {task.name}, {split}: {len(data.x)} sequences",
        "run": str(run), "task": task.name, "split": split, "sequences": len(data.x), **task.stage(),
        f"{prefix}accuracy": found["accuracy"], f"{prefix}loss": found["loss"],
        **{key if split == "test" else prefix + key: value for key, value in task.meaning(found["loss"]).items()},
        **{name: found[name] for name in ("activity", "phi_rate", "activity_per_layer") if name in found},
    }  # fmt: skip


def predict_run(run, data, out, force=False):
    """Write what the network in `run` says about x (and lengths) in the file `data` to `out`; returns how many."""
    trained, config = open_run(run)
    loss = _loss(trained, {}, config)
    refuse_existing(out, force)
    arrays = read_npz(data, needed=("x",))
    x = np.asarray(arrays["x"])
    try:
        said = trained.predict(x, arrays.get("lengths"), loss)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{data}: {error}") from None
    _write_npz(out, predictions=said)
    return len(said)


def own_task(run, trained, config, as_it_was=True):
    """The task that `run` was trained on, on the level that it had reached; config: its settings.

    ValueError for a bare checkpoint, where what it was trained on does not fit the network, and, with as_it_was, where
    that has changed since.
    """
    if not config:
        raise ValueError(f"{run} names no task: give the folder of a run")
    given = {name: config[name] for name in ("task", "data", *TASK_OPTIONS) if name in config}
    if "data" in given:
        given["loss"] = _loss(trained, {}, config)
    task = build_task(given, trained.n_out)
    if as_it_was:
        if config.get("data_digest") not in (None, task.digest):
            what = given.get("data") or given.get("text", "the text")
            raise ValueError(f"{what} has changed since the run began: bring back what it was trained on")
        _check_symbols(run, config, task)
    check_fits(run, trained, task)
    if task.stage():
        task.go_on_from(trained.reached)
    return task


def open_run(run):
    """(what was trained, settings) of a run folder or a bare checkpoint; evsim's own checkpoints hold no settings.

    FileNotFoundError or ValueError if there is none, and for a run of several seeds.
    """
    place = Path(run)
    if not place.exists():
        raise FileNotFoundError(f"{run} does not exist: give a run folder or a checkpoint")
    if not place.is_dir():
        trained = open_trained(place)
        return trained, trained.settings
    folder = RunFolder(place)
    config = folder.config()
    if "seeds" in config:
        within = ", ".join(str(member.path) for member in folder.members())
        raise ValueError(f"{run} holds a run for each of several seeds: name one of {within}")
    return open_trained(folder.checkpoint), config


def _loss(trained, given, config):
    """The loss that was trained with; where the checkpoint does not tell, as given, or as the run's settings say."""
    held, asked = trained.loss, given.get("loss")
    if held and asked and asked != held:
        raise ValueError(f"loss={asked!r} was given, but the network was trained with {held}: leave it out")
    return held or asked or config.get("loss")


def _split(split, task, config):
    own = isinstance(task, ArrayTask)
    if split is None:
        foreign = own and task.digest != config.get("data_digest") and "test" not in task.given
        return "all" if foreign else "test"
    if split == "all" and not own:
        raise ValueError(f"split='all' needs --data: task {task.name!r} has {', '.join(SPLITS)}")
    return check_choice("split", split, (*SPLITS, "all") if own else SPLITS)


def _check_symbols(run, config, task):
    if task.symbols_digest is not None and config.get("symbols_digest", task.symbols_digest) != task.symbols_digest:
        told = f"{run} was trained on other symbols than those of this text, or on the same in another order"
        how = "evsim.text.read_corpus(PATH).vocabulary.save(FILE), of the text it was trained on, writes it"
        raise ValueError(f"{told}: give the same --level, and with --vocabulary the list of its own, which {how}")


def check_fits(run, trained, task):
    """ValueError unless the task has the inputs and outputs of what was trained."""
    n_in, n_out = trained.n_in, trained.n_out
    if task.n_in != n_in:
        raise ValueError(f"{run} hears {n_in} inputs, but {task.name} has {task.n_in}: give data of {n_in}")
    if task.n_out != n_out:
        raise ValueError(f"{run} has {n_out} outputs, but {task.name} needs {task.n_out}: give data of {n_out}")


def _write_npz(path, **arrays):
    with replacing(path) as file:
        np.savez(file, **arrays)
