"""Build: cores, models and trainers from names and numbers, as options and TOML files give them."""

import torch

from evsim.backends import GATED_CELLS, TORCH_CELLS
from evsim.build import (
    CELL_OPTIONS,
    build_half_width,
    build_layers,
    build_optimizer,
    build_quiet,
    build_restarts,
)
from evsim.check import check_choice, check_count, check_dtype
from evsim.network import Network
from evsim.optim import SGD
from evsim.readout import Readout
from evsim.registry import names
from evsim.restarts import Phases

from .core import GatedCore, NorseCore
from .dni import DNI
from .exchange import readout_of
from .method import MemUP, full, truncated
from .model import Model
from .network import EventCore
from .predictor import ContextPredictor, LinearPredictor, TiedPredictor
from .qrnn import QRNNCore
from .tokens import EmbeddedCore
from .trainer import RolloutTrainer, updates_per_epoch

EMBED = 32  # numbers that stand for an input, where a core takes no inputs as they are
PREDICTORS = ("context", "linear")


def build_core(cell, n_in, units, layers=1, seed=0, dtype="float32", n_out=1, tokens=False, **options):
    """A Core of `layers` layers of `units` units; cell: "lstm", "gru", "qrnn", "norse-lif", "norse-lsnn" or evsim's.

    tokens: it hears whole numbers below n_in, one a step, in place of n_in numbers. n_out: of the network that evsim's
    cells belong to. The same seed gives the same weights. options: embed, how many numbers stand for an input: EMBED,
    or 0 for inputs as they are; norse's cells take numbers, and evsim's both, as they are, a token as a 1 among zeros;
    evsim's have an embedding of tokens where it is given. Others are those of the cores, or of each layer of evsim's
    cells, such as density.
    """
    check_dtype(dtype)
    gated, torchs = cell in GATED_CELLS, cell in TORCH_CELLS
    if not torchs and cell not in names("cell"):
        known = ", ".join((*TORCH_CELLS, *names("cell")))
        raise ValueError(f"cell {cell!r} is unknown: choose one of {known}")
    embed = options.pop("embed", EMBED if gated or (tokens and torchs) else None)
    if embed == 0 and gated and not tokens:
        embed = None
    if embed is not None:
        check_count("embed", embed)
        if not (gated or tokens):
            told = f"embed={embed} was given, but cell {cell!r} takes numbers as they are"
            raise ValueError(f"{told}: leave it out, or choose a task that shows tokens")
    elif tokens and torchs:
        raise ValueError(f"cell {cell!r} hears tokens by an embedding alone: give embed, a number of at least 1")
    heard = embed if tokens and embed is not None else n_in
    if gated:
        options["embed"] = None if tokens else embed
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if cell == "qrnn":
            core = QRNNCore(heard, units, layers, **options)
        elif gated:
            core = GatedCore(cell, heard, units, layers, **options)
        elif torchs:
            core = NorseCore(cell, heard, units, layers, **options)
        else:
            stack = build_layers(cell, check_count("layers", layers), {"units": units, **options}, heard)
            core = EventCore(Network(heard, stack, Readout(n_out), seed, dtype, tokens=tokens and embed is None))
        if tokens and embed is not None:
            core = EmbeddedCore(n_in, core)
        return core.to(getattr(torch, dtype))


def build_model(task, cell="lstm", units=64, layers=1, predictor="context", context=1, hidden=128, seed=0,
                dtype="float32", tied=False, **options):  # fmt: skip
    """A Model for a task.

    predictor: "context" (a perceptron with `hidden` units a layer over m_t and the last `context` inputs up to the step
    asked about), or "linear" (a readout of m_t alone). tied: the readout's weights are those of the embedding of
    tokens, by default of as many numbers as there are units. The rest as in `build_core`.

    evsim's cells under a linear predictor start as the `evsim.Network` of that seed does, readout included.
    """
    check_choice("predictor", predictor, PREDICTORS)
    memory, seen = task.memory_columns, task.context_columns
    if task.tokens and (memory is not None or seen is not None):
        raise ValueError(f"task {task.name!r} shows tokens, which have no columns: let it name none")
    if predictor == "linear":  # there is nobody else to see the other columns
        memory = None
    if tied:
        _refuse_tied(task, predictor)
        if cell in TORCH_CELLS:
            options = {"embed": units, **options}
    n_in = task.n_in if memory is None else len(memory)
    core = build_core(cell, n_in, units, layers, seed, dtype, task.n_out, task.tokens, **options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        if tied:
            asked = _tied_to(core, cell)
        elif predictor == "context":
            columns = task.n_in if seen is None else len(seen)
            asked = ContextPredictor(core.width, columns, task.n_out, context, hidden, tokens=task.tokens)
        else:
            net = getattr(core, "net", None)
            asked = LinearPredictor(core.width, task.n_out) if net is None else readout_of(net)
    return Model(core, asked.to(getattr(torch, dtype)), memory, seen)


def _refuse_tied(task, predictor):
    """ValueError where a readout cannot have the weights of an embedding."""
    told = None
    if not task.tokens:
        told = f"task {task.name!r} shows no tokens to embed"
    elif predictor != "linear":
        told = f"the predictor {predictor!r} is no readout"
    elif task.n_in != task.n_out:
        told = f"task {task.name!r} has {task.n_in} different tokens and {task.n_out} outputs"
    if told:
        raise ValueError(f"tied weights are those of an embedding and of a linear readout, but {told}: leave tied out")


def _tied_to(core, cell):
    if not isinstance(core, EmbeddedCore):
        raise ValueError(f"tied weights need an embedding, which cell {cell!r} has not by itself: give embed too")
    return TiedPredictor(core.width, core.embed.weight)


def build_method(settings):
    """The method of `settings`: MemUP, DNI, truncated(window) or full()."""
    reduction = {name: settings[name] for name in ("reduction",) if name in settings}
    if settings["learner"] == "dni":
        return _dni(settings)
    if settings["learner"] != "memup":
        return full(**reduction) if settings["learner"] == "bptt" else truncated(settings["window"], **reduction)
    given = {name: settings[name] for name in ("window", "targets", "detector", "every") if name in settings}
    return MemUP(**given, **reduction)


def _dni(settings):
    given = {name: settings[name] for name in ("window", "scale", "condition", "auxiliary", "shuffled")
             if name in settings}  # fmt: skip
    own = {name: settings[f"synthesiser_{name}"] for name in ("units", "layers", "lr")
           if f"synthesiser_{name}" in settings}  # fmt: skip
    restarts = None
    if settings["alternate"]:
        if settings["schedule"] != "restarts":
            raise ValueError("alternate changes the gradient at warm restarts, and there are none: give --restart-base")
        restarts = build_restarts(settings)
    return DNI(**given, **own, phases=Phases(settings["first"], restarts, tuple(settings.get("switch", ()))))


def model_of(settings, task):
    """The Model of `settings` for a task, of which n_in, n_out and the columns are read."""
    named = (*CELL_OPTIONS[1:], "context", "embed", "tied", "dropout", "forget_bias")
    options = {name: settings[name] for name in named if name in settings}
    return build_model(
        task, settings["cell"], settings["units"], settings["layers"], settings["predictor"], seed=settings["seed"],
        dtype=settings["dtype"], **options,
    )  # fmt: skip


def build_trainer(settings, task, together=False):
    """A RolloutTrainer ready to fit, from settings as `evsim.build.resolve` gives them, of a single seed.

    together: streams begin at a first step together, in the order of `evsim.Trainer`, as they always do on a text.
    """
    method, model = build_method(settings), model_of(settings, task)
    model.to(check_device(settings["device"]))
    updates = settings["epochs"] * updates_per_epoch(task, method, settings["streams"])
    optimizer, scheduler = as_torch(build_optimizer(settings, updates), model)
    trainer = RolloutTrainer(
        model, method, task, optimizer, scheduler, settings["streams"], settings.get("clip"), settings["seed"],
        settings["device"], "same" if together or task.tokens else "random", build_quiet(settings),
        build_half_width(settings, updates),
    )  # fmt: skip
    trainer.settings = settings
    return trainer


def check_device(name):
    """Return `name` if torch can compute there; ValueError otherwise."""
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        told = str(error).partition("\n")[0]
        raise ValueError(f"device={name!r} is not to be had here ({told}): leave it out to use the CPU") from None
    return name


def as_torch(optimizer, model):
    """(torch optimiser, its scheduler) over a model's trained parameters, as one of `evsim.optim` with its schedule.

    torch's AdamW, which without weight decay is Adam, or SGD.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    given: list = [p for _, p in named]
    if optimizer.weight_decay and optimizer.decay == "weights":
        light = [p for name, p in named if "weight" not in name]
        given = [{"params": [p for name, p in named if "weight" in name]}, {"params": light, "weight_decay": 0.0}]
    rate = optimizer.schedule(0)
    if isinstance(optimizer, SGD):
        made = torch.optim.SGD(given, rate, optimizer.momentum, weight_decay=optimizer.weight_decay)
    else:
        betas = optimizer.beta1, optimizer.beta2
        made = torch.optim.AdamW(given, rate, betas, optimizer.epsilon, optimizer.weight_decay)
    return made, follow(made, optimizer.schedule)


def follow(optimizer, schedule):
    """A torch scheduler that gives all groups the rates of one of `evsim.schedule`, or of any function of the updates.

    ValueError for a group whose rate is 0 at the start, which no factor can raise.
    """
    bases = [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]
    if min(bases) <= 0:
        raise ValueError("a group of the optimiser has a learning rate of 0: give it any other, which is replaced")
    factors = [lambda step, base=base: schedule(step) / base for base in bases]
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factors)
