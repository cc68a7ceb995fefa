"""evsim: event-based recurrent networks that learn online, exactly, in memory that does not grow.

The public names below are loaded when first used: `import evsim` itself loads neither numpy nor numba.
"""

from importlib import import_module as _import_module
from pathlib import Path as _Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evsim.cells.alif import ALIF
    from evsim.cells.cubalif import CubaLIF
    from evsim.cells.egru import EGRU
    from evsim.cells.evrnn import EvRNN
    from evsim.cells.lif import LIF
    from evsim.checkpoint import Checkpoint, load, save
    from evsim.densities import erk
    from evsim.joules import energy
    from evsim.learners.bptt import BPTT, TBPTT
    from evsim.learners.eprop import EProp
    from evsim.learners.rflo import RFLO
    from evsim.learners.rtrl import RTRL
    from evsim.learners.snap import SnAp
    from evsim.learners.uoro import UORO
    from evsim.network import Network
    from evsim.optim import SGD, Adam
    from evsim.quiet import Quiet
    from evsim.readout import LeakyReadout, Readout
    from evsim.registry import names, register
    from evsim.rewiring import SET, Magnitude, RigL, rewire
    from evsim.schedule import Cosine, Exponential, StepDecay, WarmRestarts
    from evsim.trainer import Trainer

__version__ = "0.1.0"

__all__ = [
    "ALIF",
    "Adam",
    "BPTT",
    "Checkpoint",
    "Cosine",
    "CubaLIF",
    "EGRU",
    "EProp",
    "EvRNN",
    "Exponential",
    "LIF",
    "LeakyReadout",
    "Magnitude",
    "Network",
    "Quiet",
    "RFLO",
    "RTRL",
    "Readout",
    "RigL",
    "SET",
    "SGD",
    "SnAp",
    "StepDecay",
    "TBPTT",
    "Trainer",
    "UORO",
    "WarmRestarts",
    "energy",
    "erk",
    "load",
    "names",
    "register",
    "rewire",
    "save",
]

_MODULE_OF = {
    "ALIF": "evsim.cells.alif",
    "Adam": "evsim.optim",
    "BPTT": "evsim.learners.bptt",
    "Checkpoint": "evsim.checkpoint",
    "Cosine": "evsim.schedule",
    "CubaLIF": "evsim.cells.cubalif",
    "EGRU": "evsim.cells.egru",
    "EProp": "evsim.learners.eprop",
    "EvRNN": "evsim.cells.evrnn",
    "Exponential": "evsim.schedule",
    "LIF": "evsim.cells.lif",
    "LeakyReadout": "evsim.readout",
    "Magnitude": "evsim.rewiring",
    "Network": "evsim.network",
    "Quiet": "evsim.quiet",
    "RFLO": "evsim.learners.rflo",
    "RTRL": "evsim.learners.rtrl",
    "Readout": "evsim.readout",
    "RigL": "evsim.rewiring",
    "SET": "evsim.rewiring",
    "SGD": "evsim.optim",
    "SnAp": "evsim.learners.snap",
    "StepDecay": "evsim.schedule",
    "TBPTT": "evsim.learners.bptt",
    "Trainer": "evsim.trainer",
    "UORO": "evsim.learners.uoro",
    "WarmRestarts": "evsim.schedule",
    "energy": "evsim.joules",
    "erk": "evsim.densities",
    "load": "evsim.checkpoint",
    "names": "evsim.registry",
    "register": "evsim.registry",
    "rewire": "evsim.rewiring",
    "save": "evsim.checkpoint",
}

# models/ lies beside evsim/ in a checkout and inside it in a wheel; either way it is evsim.models.
_here = _Path(__file__).resolve().parent
if not (_here / "models").is_dir():
    __path__.append(str(_here.parent))


def __getattr__(name: str):
    module = _MODULE_OF.get(name) or _registered(name)
    if module is None:
        raise AttributeError(f"module 'evsim' has no attribute {name!r}; it offers {', '.join(__all__)}")
    value = getattr(_import_module(module), name)
    globals()[name] = value
    return value


def _registered(name: str):
    """The module of a cell or learner that is in the registry alone."""
    from evsim.registry import CELLS, LEARNERS

    targets = (target.split(":") for target in (*CELLS.values(), *LEARNERS.values()))
    return next((module for module, attribute in targets if attribute == name), None)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
