"""Build: torch models and their trainers from named settings."""

import torch

from evsim.network import Network
from evsim.readout import Readout
from evsim.registry import lookup, names

from .core import GatedCore, NorseCore
from .model import Model
from .network import EventCore
from .predictor import ContextPredictor, LinearPredictor

EMBED = 32
GATED, NORSE = ("lstm", "gru"), ("norse-lif", "norse-lsnn")


def build_core(cell, n_in, units, layers=1, seed=0, dtype="float32", **options):
    """A Core of `layers` layers of `units` units; cell: "lstm", "gru", "norse-lif", "norse-lsnn" or a cell of evsim.

    options: of each layer of evsim's cells, such as density. The same seed gives the same weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if cell in GATED:
            core = GatedCore(cell, n_in, units, layers, **{"embed": EMBED, **options})
        elif cell in NORSE:
            core = NorseCore(cell, n_in, units, layers, **options)
        elif cell in names("cell"):
            made = lookup("cell", cell)
            core = EventCore(Network(n_in, [made(units, **options) for _ in range(layers)], Readout(1), seed, dtype))
        else:
            known = ", ".join((*GATED, *NORSE, *names("cell")))
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
    core = build_core(cell, n_in, units, layers, seed, dtype, **options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        if predictor == "linear":
            asked = LinearPredictor(core.width, task.n_out)
        elif predictor == "context":
            columns = task.n_in if seen is None else len(seen)
            asked = ContextPredictor(core.width, columns, task.n_out, context, hidden)
        else:
            raise ValueError(f"predictor={predictor!r} is unknown: choose context or linear")
    return Model(core, asked.to(getattr(torch, dtype)), memory, seen)
