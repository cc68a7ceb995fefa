"""Build: from named settings, as options and TOML files give them, to task, network, learner, optimiser, trainer.

Settings are a flat dict with the names of `KINDS`; what is absent or None is left to whoever takes it.
"""

import inspect
import math
from pathlib import Path
from typing import Any

from evsim import optim, schedule
from evsim.arraytask import ArrayTask
from evsim.backends import choose_backend, refuse_others, torch_defaults
from evsim.check import check_choice, check_count, named
from evsim.densities import RULES, erk
from evsim.joules import DEFAULT, locate_profile
from evsim.network import Network
from evsim.quiet import Quiet
from evsim.readout import READOUTS
from evsim.registry import lookup
from evsim.restarts import Restarts
from evsim.rewire_options import build_rewiring, refuse_rewiring
from evsim.runfolder import MARK, read_toml
from evsim.task import Task
from evsim.trainer import Trainer

_REAL, _WHOLE, _WORD, _FLAG = (int, float), (int,), (str,), (bool,)
KINDS: dict[str, tuple[type, ...]] = {
    "task": _WORD, "data": _WORD, "layout": _WORD, "length": _WHOLE, "symbols": _WHOLE, "alphabet": _WHOLE,
    "cues": _WORD, "rule": _WORD, "repeats": _WHOLE, "bits": _WHOLE, "curriculum": _WORD,
    "text": _WORD, "level": _WORD, "vocabulary": _WORD, "limit": _WHOLE, "epoch_size": _WHOLE, "loss": _WORD,
    "cell": _WORD, "units": _WHOLE, "layers": _WHOLE, "density": _REAL, "density_in": _REAL, "half_width": _REAL,
    "density_rule": _WORD, "threshold": _REAL, "reset": _WORD, "tau": _REAL, "always": _FLAG, "readout": _WORD,
    "dtype": _WORD,
    "half_width_to": _REAL, "target_activity": _REAL, "quiet_strength": _REAL, "quiet_over": _WORD,
    "quiet_horizon": _WHOLE, "pull": _REAL, "margin": _REAL, "event_cost": _REAL,
    "learner": _WORD, "backend": _WORD, "block": (str, int), "memory_limit": (str, int), "n": _WHOLE,
    "window": _WHOLE, "targets": _WHOLE, "detector": _WORD, "every": _WHOLE, "predictor": _WORD, "context": _WHOLE,
    "embed": _WHOLE, "tied": _FLAG, "dropout": _REAL, "forget_bias": _REAL, "reduction": _WORD, "device": _WORD,
    "scale": _REAL, "condition": _WORD, "auxiliary": _REAL, "synthesiser_units": _WHOLE, "synthesiser_layers": _WHOLE,
    "synthesiser_lr": _REAL, "shuffled": _FLAG, "alternate": _FLAG, "first": _WORD, "switch": (list,),
    "broadcast": _WORD, "compare": _WORD, "streams": _WHOLE, "threads": _WHOLE, "update": (str, int),
    "optimizer": _WORD, "lr": _REAL, "schedule": _WORD, "warmup": _WHOLE, "restart_base": _REAL,
    "restart_growth": _WORD, "restart_multiple": _WHOLE, "restart_each": _WORD,
    "weight_decay": _REAL, "decay": _WORD, "momentum": _REAL, "clip": _REAL,
    "rewire": _WORD, "rewire_every": _WHOLE, "rewire_fraction": _REAL, "rewire_density": _REAL,
    "epochs": _WHOLE, "sequences": _WHOLE, "seed": _WHOLE, "seeds": (list,), "profile": _WORD,
}  # fmt: skip
BASE: dict[str, Any] = {
    "cell": "egru", "units": 64, "layers": 1, "density": 1.0, "density_in": 1.0, "readout": "linear",
    "dtype": "float32",
    "learner": "rtrl", "streams": 1, "threads": 1, "update": "sequence",
    "optimizer": "adam", "lr": 1e-3, "schedule": "constant", "epochs": 10, "seed": 0,
    "profile": DEFAULT,
}  # fmt: skip
TASK_OPTIONS = (
    "layout", "length", "symbols", "alphabet", "cues", "rule", "repeats", "bits", "curriculum", "text", "level",
    "vocabulary", "limit", "epoch_size",
)  # fmt: skip
CELL_OPTIONS = ("units", "density", "density_in", "density_rule", "half_width", "threshold", "reset", "tau", "always")
QUIET = {  # setting -> field of `evsim.quiet.Quiet`
    "target_activity": "target", "quiet_strength": "strength", "quiet_over": "over", "quiet_horizon": "horizon",
    "pull": "pull", "margin": "margin", "event_cost": "event_cost",
}  # fmt: skip
LEARNER_OPTIONS = ("block", "memory_limit", "n", "window", "broadcast")
_COMMON = ("streams", "threads")  # options of every learner of a run
_FIXED = ("net", "loss", *_COMMON)  # what cannot be chosen for one that is compared
RECORD = (MARK, "data_digest", "symbols_digest")  # what a run folder notes beside the settings
_ONE_OF = (("task", "data"), ("seed", "seeds"), ("epochs", "sequences"))


def read_settings(path) -> dict[str, Any]:
    """Settings in a TOML file, the config.toml of a run among them; ValueError for unknown keys and wrong kinds."""
    found = {}
    for name, value in read_toml(path).items():
        if name in RECORD:
            continue
        try:
            found[name] = check_kind(name, value)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return found


def check_kind(name: str, value):
    """Return `value` if it can be the setting `name`; ValueError otherwise."""
    kinds = KINDS[check_choice("key", name, KINDS)]
    if isinstance(value, bool) != (kinds is _FLAG) or not isinstance(value, kinds):
        words = {str: "a string", int: "a whole number", float: "a number", list: "a list", bool: "true or false"}
        raise ValueError(f"{name}={value!r} is of the wrong kind: give {words[kinds[-1]]}")
    return value


def merge(given: dict[str, Any], file: dict[str, Any] | None = None) -> dict[str, Any]:
    """What was asked for: `given` goes before the settings of a file, and so do its partners (task or data, ...)."""
    given = {name: value for name, value in given.items() if value is not None}
    merged = {**(file or {}), **given}
    for pair in _ONE_OF:
        for source in (given, file or {}):
            if all(name in source for name in pair):
                raise ValueError(f"{pair[0]} and {pair[1]} were both given: leave one of them out")
        for one, other in (pair, pair[::-1]):
            if one in given and one in merged:
                merged.pop(other, None)
    return merged


def resolve(chosen: dict[str, Any]) -> tuple[dict[str, Any], Task]:
    """All settings, the task's defaults and ours where nothing was chosen, and the task."""
    task = build_task(chosen)
    if "sequences" in chosen:
        chosen = _budget(chosen, task)
        task = build_task(chosen)
    backend = choose_backend(chosen)
    if "restart_base" in chosen:
        chosen = {"schedule": "restarts", **chosen}
    settings = {**BASE, **task.defaults, **(torch_defaults(chosen, task) if backend == "torch" else {}), **chosen}
    settings["backend"] = backend
    partners = ("weight_decay", "optimizer", "adam"), ("warmup", "schedule", "cosine"), ("block", "learner", "rtrl")
    if settings["schedule"] != "restarts":
        for name in ("restart_base", "restart_growth", "restart_multiple", "restart_each"):
            if name in chosen:
                raise ValueError(f"{name} belongs to --schedule restarts: leave it out, or choose that schedule")
    of_cell = [(name, "cell", task.defaults.get("cell")) for name in ("half_width", "threshold")]
    for name, needs, value in (*partners, *of_cell):
        if settings[needs] != value and name not in chosen:
            settings.pop(name, None)  # a default of the task's that goes with another default
    refuse_others(settings, chosen)
    if settings.get("density_rule") == "erk":
        if "density_in" in chosen:
            told = f"density_in={chosen['density_in']!r} was given, but under density_rule erk density is that of all"
            raise ValueError(f"{told} weights together: leave it out")
        settings.pop("density_in", None)
    if "profile" in settings:
        settings["profile"] = locate_profile(settings["profile"])
    for name in ("streams", *(("threads",) if "threads" in settings else ())):
        check_count(name, settings[name])
    task = task.side_by_side(settings["streams"])
    settings |= {name: getattr(task, name) for name in task.options if getattr(task, name) is not None}
    if task.stage() and settings["schedule"] != "constant":
        told = f"schedule={settings['schedule']!r} has to know how many updates there will be"
        raise ValueError(f"{told}, which a curriculum does not: leave it out, or give --schedule constant")
    if isinstance(task, ArrayTask):
        settings.update(data=str(Path(settings["data"]).resolve()), loss=task.loss)
    if "seeds" in settings:
        del settings["seed"]
        settings["seeds"] = check_seeds(settings["seeds"])
    else:
        check_count("seed", settings["seed"], 0)
    check_count("epochs", settings["epochs"])
    check_count("layers", settings["layers"])
    refuse_rewiring(settings, task)
    task.split("train")  # what is missing for it shows now
    order = [*KINDS]
    return dict(sorted(settings.items(), key=lambda item: order.index(item[0]))), task


def _budget(chosen, task):
    """`chosen` with epochs and epoch_size in place of sequences, how many to train on in all."""
    count = check_count("sequences", chosen["sequences"])
    if not task.fresh:
        told = f"sequences={count} was given, but {task.name} has a fixed set of {task.sizes['train']} to train on"
        raise ValueError(f"{told}: give --epochs in its place")
    size = min(count, task.sizes["train"])
    rest = {name: value for name, value in chosen.items() if name != "sequences"}
    return {**rest, "epochs": math.ceil(count / size), "epoch_size": size}


def check_seeds(seeds) -> list[int]:
    """A list of different whole numbers."""
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds={seeds} is not usable: give different whole numbers, as in --seeds 0,1,2")
    return [check_count("seeds", seed, 0) for seed in seeds]


def build_task(settings: dict[str, Any], n_out: int | None = None) -> Task:
    """The task that settings name, or that their data file makes (n_out: outputs of the network, if there is one)."""
    options = {name: settings[name] for name in TASK_OPTIONS if name in settings}
    if "data" in settings:
        if options:
            raise ValueError(f"{next(iter(options))} belongs to a task, but data of your own were given: leave it out")
        return ArrayTask.from_npz(settings["data"], settings.get("loss"), n_out=n_out)
    if "task" not in settings:
        raise ValueError("nothing to work on was given: name a task, as in 'evsim train digits', or give --data FILE")
    task = lookup("task", settings["task"])(**options).side_by_side(settings.get("streams", 1))
    if settings.get("loss", task.loss) != task.loss:
        raise ValueError(f"loss={settings['loss']!r} was given, but task {task.name!r} has {task.loss}: leave it out")
    return task


def build_network(settings: dict[str, Any], task: Task) -> Network:
    """`layers` layers of one kind of cell between the task's inputs and outputs."""
    options = {name: settings[name] for name in CELL_OPTIONS if name in settings}
    layers = build_layers(settings["cell"], settings["layers"], options, task.n_in)
    readout = READOUTS[check_choice("readout", settings["readout"], READOUTS)](task.n_out)
    return Network(task.n_in, layers, readout, settings["seed"], settings["dtype"], tokens=task.tokens)


def build_layers(kind: str, count: int, options: dict[str, Any], n_in: int) -> list:
    """`count` equal layers of a kind of cell; ValueError for an option that it does not have.

    density_rule among the options: "erk" gives each layer and side its own density; n_in inputs are heard.
    """
    cell, options = lookup("cell", kind), dict(options)
    rule = options.pop("density_rule", "uniform")
    for option in options.keys() - inspect.signature(cell).parameters.keys():
        raise ValueError(f"cell {kind!r} has no option {option!r}: leave it out or choose another cell")
    if check_choice("density_rule", rule, RULES) == "uniform":
        return [cell(**options) for _ in range(count)]
    shares = list(erk(n_in, [options["units"]] * count, options.get("density", 1.0)).values())
    pairs = zip(shares[::2], shares[1::2], strict=True)
    return [cell(**options | {"density_in": inp, "density": rec}) for inp, rec in pairs]


def build_learner(settings: dict[str, Any], net: Network, loss: str):
    """The learner on `net`; ValueError for a chosen option that it does not take."""
    options = {option: settings[option] for option in LEARNER_OPTIONS if option in settings}
    return _learner(settings["learner"], options, settings, net, loss)


def build_compared(settings: dict[str, Any], net: Network, loss: str) -> dict[str, Any] | None:
    """Learners on `net` by name, from compare="snap n=1,tbptt window=8"; None where nothing is to be compared.

    Each is a learner's name, and behind it its options as key=value.
    """
    if "compare" not in settings:
        return None
    found = {}
    for text in settings["compare"].split(","):
        name, *words = text.split() or [""]
        title = " ".join([name, *words])
        with named(f"compare, {title!r}"):
            if title in found:
                raise ValueError("it is there twice: leave one of them out")
            options = parse_options(words)
            for option in options.keys() & set(_FIXED):
                raise ValueError(f"{option} cannot be chosen for it alone: leave it out")
            found[title] = _learner(name, options, settings, net, loss)
    return found


def _learner(name, options, settings, net, loss):
    made = lookup("learner", name)
    if getattr(made, "backend", "numba") != "numba":
        raise ValueError(f"learner {name!r} trains torch models and has no gradient of this network: leave it out")
    known = inspect.signature(made).parameters
    common = {option: settings[option] for option in (*_COMMON, "seed") if option in settings}
    common["quiet"] = build_quiet(settings)
    chosen = {option for option in _COMMON if common.get(option) != BASE[option]}
    for option in (*options, *chosen):
        if option not in known:
            raise ValueError(f"learner {name!r} has no option {option!r}: leave it out or choose another learner")
    return made(net, loss=loss, **{option: value for option, value in common.items() if option in known} | options)


def build_quiet(settings: dict[str, Any]) -> Quiet | None:
    """The prices on activity that settings name, or None."""
    given = {field: settings[name] for name, field in QUIET.items() if name in settings}
    if not given.keys() & {"target", "pull", "event_cost"}:
        for name, needs in (("quiet_strength", "target_activity"), ("quiet_over", "target_activity"),
                            ("quiet_horizon", "target_activity"), ("margin", "pull")):  # fmt: skip
            if name in settings:
                raise ValueError(f"{name}={settings[name]!r} belongs to {needs}, which was not given: give both")
        return None
    return Quiet(**given)


def build_half_width(settings: dict[str, Any], updates: int):
    """The half-width of the pseudo-derivative as it goes to half_width_to over so many updates; None: it stays."""
    if "half_width_to" not in settings:
        return None
    if "half_width" not in settings:
        raise ValueError(f"half_width_to={settings['half_width_to']} needs a half_width to begin with: give both")
    first, last = settings["half_width"], settings["half_width_to"]
    if not 0 < last <= first:
        raise ValueError(f"half_width_to={last} is not usable: give one above 0 and at most half_width={first}")
    return schedule.Cosine(first, updates, final=last)


def parse_options(words: list[str]) -> dict[str, Any]:
    """Options by name from such words as window=8."""
    options = dict(_option(word) for word in words)
    if len(options) < len(words):
        raise ValueError("an option is there twice: leave one of them out")
    return options


def _option(word: str) -> tuple[str, int | float | str]:
    """key=value, the value as a number if it is one."""
    key, equals, value = word.partition("=")
    if not (key and equals and value):
        raise ValueError(f"{word!r} is no option: give key=value, without spaces around the sign")
    if value in ("true", "false"):
        return key, value == "true"
    for kind in (int, float):
        try:
            return key, kind(value)
        except ValueError:
            continue
    return key, value


def build_optimizer(settings: dict[str, Any], updates: int):
    """The optimiser with its schedule; a cosine ends after so many updates."""
    kind = check_choice("optimizer", settings["optimizer"], ("adam", "sgd"))
    shape = check_choice("schedule", settings["schedule"], ("constant", "cosine", "restarts"))
    rate = schedule.Constant(settings["lr"])
    if shape == "cosine":
        rate = schedule.Cosine(settings["lr"], updates, min(settings.get("warmup", 0), updates // 2))
    elif settings.get("warmup"):
        raise ValueError("warmup belongs to a cosine schedule: give --schedule cosine or leave it out")
    if shape == "restarts":
        rate = _restarting(settings, max(1, updates // settings["epochs"]))
    if "decay" in settings and not settings.get("weight_decay"):
        raise ValueError(f"decay={settings['decay']!r} says what weight_decay is on, and there is none: give both")
    decay = {name: settings[name] for name in ("weight_decay", "decay") if name in settings}
    if kind == "adam" and settings.get("momentum"):
        raise ValueError("momentum belongs to sgd, adam has its own: leave it out or give --optimizer sgd")
    if kind == "adam":
        return optim.Adam(rate, **decay)
    return optim.SGD(rate, settings.get("momentum", 0.0), **decay)


def build_restarts(settings: dict[str, Any]) -> Restarts:
    """The warm restarts of `settings`, in epochs."""
    if settings.get("restart_base") is None:
        raise ValueError("a schedule of restarts needs the epochs up to the first: give --restart-base")
    options = {name: settings[f"restart_{name}"] for name in ("growth", "multiple") if f"restart_{name}" in settings}
    made, each = Restarts(settings["restart_base"], **options), settings.get("restart_each", "epoch")
    if "multiple" in options and made.growth != "multiply":
        raise ValueError(f"restart_multiple={made.multiple} belongs to restart_growth multiply: give both, or neither")
    if made.base != int(made.base) and (settings.get("alternate") or each == "epoch"):
        told = "where the rate or the kind of gradient changes by epochs"
        raise ValueError(f"restart_base={made.base} has to be a whole number of epochs {told}: give one")
    return made


def _restarting(settings, per_epoch):
    """The schedule of these restarts, for epochs of so many updates."""
    own = build_restarts(settings)
    each = check_choice("restart_each", settings.get("restart_each", "epoch"), ("epoch", "batch"))
    hold = per_epoch if each == "epoch" else 1
    return schedule.WarmRestarts(settings["lr"], max(1, round(own.base * per_epoch)), own.growth, own.multiple, hold)


def updates_per_epoch(settings: dict[str, Any], task: Task) -> int:
    """How often an epoch updates the weights (the most, where lengths or masks differ)."""
    batches = math.ceil(task.sizes["train"] / settings["streams"])
    data = task.split("train")
    once = data.mask is None and data.y.ndim == (1 if task.loss == "cross_entropy" else 2)
    return batches if once or settings["update"] == "sequence" else batches * math.ceil(task.steps / settings["update"])


def build_trainer(settings: dict[str, Any], task: Task, together: bool = True) -> Trainer:
    """Everything, ready to fit; settings with a single seed. together: as it always is here; torch has a choice."""
    net = build_network(settings, task)
    learner, compared = build_learner(settings, net, task.loss), build_compared(settings, net, task.loss)
    per_epoch = updates_per_epoch(settings, task)
    updates = settings["epochs"] * per_epoch
    return Trainer(
        learner, build_optimizer(settings, updates), task, settings["update"], settings.get("clip"), settings["seed"],
        compared, build_rewiring(settings, per_epoch), build_half_width(settings, updates),
    )  # fmt: skip
