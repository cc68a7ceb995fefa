"""Build: cores, models and trainers from names and numbers, as options and TOML files give them."""

import torch

from evsim.backends import TORCH_CELLS
from evsim.build import CELL_OPTIONS
from evsim.check import check_choice, check_count
from evsim.network import Network
from evsim.readout import Readout
from evsim.registry import lookup, names
from evsim.schedule import Constant, Cosine

from .core import GatedCore, NorseCore
from .method import MemUP, full, truncated
from .model import Model
from .network import EventCore
from .predictor import ContextPredictor, LinearPredictor
from .trainer import RolloutTrainer

EMBED = 32  # numbers into which a gated core's inputs are brought
PREDICTORS = ("context", "linear")


def build_core(cell, n_in, units, layers=1, seed=0, dtype="float32", n_out=1, **options):
    """A Core of `layers` layers of `units` units; cell: "lstm", "gru", "norse-lif", "norse-lsnn" or a cell of evsim.

    options: of each layer of evsim's cells, such as density. n_out: of the network that those belong to. The same
    seed gives the same weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if cell in TORCH_CELLS[:2]:
            core = GatedCore(cell, n_in, units, layers, **{"embed": EMBED, **options})
        elif cell in TORCH_CELLS:
            core = NorseCore(cell, n_in, units, layers, **options)
        elif cell in names("cell"):
            made = lookup("cell", cell)
            stack = [made(units, **options) for _ in range(layers)]
            core = EventCore(Network(n_in, stack, Readout(n_out), seed, dtype))
        else:
            known = ", ".join((*TORCH_CELLS, *names("cell")))
            raise ValueError(f"cell {cell!r} is unknown: choose one of {known}")
        return core.to(getattr(torch, dtype))


def build_model(task, cell="lstm", units=64, layers=1, predictor="context", context=1, hidden=128, seed=0,
                dtype="float32", **options):  # fmt: skip
    """A Model for a task.

    predictor: "context" (a perceptron with `hidden` units a layer over m_t and the last `context` inputs up to the step
    asked about), or "linear" (a readout of m_t alone). The rest as in `build_core`.
    """
    memory, seen = task.memory_columns, task.context_columns
    if predictor == "linear":  # there is nobody else to see the other columns
        memory = None
    n_in = task.n_in if memory is None else len(memory)
    core = build_core(cell, n_in, units, layers, seed, dtype, task.n_out, **options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        if check_choice("predictor", predictor, PREDICTORS) == "linear":
            asked = LinearPredictor(core.width, task.n_out)
        else:
            columns = task.n_in if seen is None else len(seen)
            asked = ContextPredictor(core.width, columns, task.n_out, context, hidden)
    return Model(core, asked.to(getattr(torch, dtype)), memory, seen)


def build_method(settings):
    """The method of `settings`: MemUP, truncated(window) or full()."""
    if settings["learner"] != "memup":
        return full() if settings["learner"] == "bptt" else truncated(settings["window"])
    given = {name: settings[name] for name in ("window", "targets", "detector", "every") if name in settings}
    return MemUP(**given)


def model_of(settings, task):
    """The Model of `settings` for a task, of which n_in, n_out and the columns are read."""
    options = {name: settings[name] for name in (*CELL_OPTIONS[1:], "context") if name in settings}
    return build_model(
        task, settings["cell"], settings["units"], settings["layers"], settings["predictor"], seed=settings["seed"],
        dtype=settings["dtype"], **options,
    )  # fmt: skip


def build_trainer(settings, task):
    """A RolloutTrainer ready to fit, from settings as `evsim.build.resolve` gives them, of a single seed."""
    method, model = build_method(settings), model_of(settings, task)
    model.to(check_device(settings["device"]))
    trainer = RolloutTrainer(
        model, method, task, build_optimizer(settings, model), None, settings["streams"], settings.get("clip"),
        settings["seed"], settings["device"],
    )  # fmt: skip
    trainer.scheduler = follow(trainer.optimizer, _schedule(settings, trainer.updates_per_epoch))
    trainer.settings = settings
    return trainer


def check_device(name):
    """Return `name` if torch can compute there; ValueError otherwise."""
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        told = str(error).partition("\n")[0]
        raise ValueError(f"device={name!r} is not to be had here ({told}): leave it out to use the CPU") from None
    return name


def build_optimizer(settings, model):
    """torch's AdamW, which without weight_decay is Adam, or SGD."""
    kind = check_choice("optimizer", settings["optimizer"], ("adam", "sgd"))
    given = [p for p in model.parameters() if p.requires_grad]
    if kind == "sgd":
        return torch.optim.SGD(given, settings["lr"], settings.get("momentum", 0.0))
    decay = settings.get("weight_decay", 0.0)
    return torch.optim.AdamW(given, settings["lr"], weight_decay=decay)


def follow(optimizer, schedule):
    """A torch scheduler that gives the rates of one of `evsim.schedule`, or of any function of the updates done."""
    base = optimizer.param_groups[0]["lr"]
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step) / base)


def _schedule(settings, updates_per_epoch):
    shape = check_choice("schedule", settings["schedule"], ("constant", "cosine"))
    if shape == "constant":
        return Constant(settings["lr"])
    updates = check_count("epochs", settings["epochs"]) * updates_per_epoch
    return Cosine(settings["lr"], updates, min(settings.get("warmup", 0), updates // 2))
