"""Torch models on evsim's cells, and the published rivals of exact online learning. Most of it needs the extra [torch].

The public names below are loaded when first used: specifications of methods can be read without torch.
"""

from typing import TYPE_CHECKING

from evsim.registry import load_optional as _load_optional

if TYPE_CHECKING:
    from .bridge import OnlineModule
    from .build import build_core, build_model, follow
    from .convert import from_norse, from_snntorch
    from .core import Core, GatedCore, NorseCore
    from .detector import EntropyDetector, SurpriseDetector
    from .dni import DNI
    from .evaluate import evaluate
    from .exchange import from_evsim, to_evsim
    from .fast import FastEGRU
    from .importers import run_norse, run_snntorch
    from .loss import summed_loss
    from .method import MemUP, full, truncated
    from .model import Model
    from .network import EventCore, TorchNetwork, autograd_gradients
    from .nodes import snntorch_nodes
    from .predictor import ContextPredictor, LinearPredictor, TiedPredictor
    from .qrnn import QRNNCore
    from .synthesiser import Synthesiser
    from .tokens import EmbeddedCore
    from .trainer import RolloutTrainer
    from .words import TorchWords

_MODULE_OF = {
    "ContextPredictor": "predictor",
    "Core": "core",
    "DNI": "dni",
    "EmbeddedCore": "tokens",
    "EntropyDetector": "detector",
    "EventCore": "network",
    "FastEGRU": "fast",
    "GatedCore": "core",
    "LinearPredictor": "predictor",
    "MemUP": "method",
    "Model": "model",
    "NorseCore": "core",
    "OnlineModule": "bridge",
    "QRNNCore": "qrnn",
    "RolloutTrainer": "trainer",
    "SurpriseDetector": "detector",
    "Synthesiser": "synthesiser",
    "TiedPredictor": "predictor",
    "TorchNetwork": "network",
    "TorchWords": "words",
    "autograd_gradients": "network",
    "build_core": "build",
    "build_model": "build",
    "evaluate": "evaluate",
    "follow": "build",
    "from_evsim": "exchange",
    "from_norse": "convert",
    "from_snntorch": "convert",
    "full": "method",
    "run_norse": "importers",
    "run_snntorch": "importers",
    "snntorch_nodes": "nodes",
    "summed_loss": "loss",
    "to_evsim": "exchange",
    "truncated": "method",
}
__all__ = [
    "ContextPredictor",
    "Core",
    "DNI",
    "EmbeddedCore",
    "EntropyDetector",
    "EventCore",
    "FastEGRU",
    "GatedCore",
    "LinearPredictor",
    "MemUP",
    "Model",
    "NorseCore",
    "OnlineModule",
    "QRNNCore",
    "RolloutTrainer",
    "SurpriseDetector",
    "Synthesiser",
    "TiedPredictor",
    "TorchNetwork",
    "TorchWords",
    "autograd_gradients",
    "build_core",
    "build_model",
    "evaluate",
    "follow",
    "from_evsim",
    "from_norse",
    "from_snntorch",
    "full",
    "run_norse",
    "run_snntorch",
    "snntorch_nodes",
    "summed_loss",
    "to_evsim",
    "truncated",
]


def __getattr__(name: str):
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'evsim.models' has no attribute {name!r}; it offers {', '.join(__all__)}")
    value = getattr(_load_optional(f"evsim.models.{_MODULE_OF[name]}", f"evsim.models.{name}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
