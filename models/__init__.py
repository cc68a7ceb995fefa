"""Torch models on evsim's cells: the same equations under autograd. Needs the extra [torch]."""

from .bridge import OnlineModule
from .convert import from_norse, from_snntorch
from .fast import FastEGRU
from .network import TorchNetwork, autograd_gradients, summed_loss
from .words import TorchWords

__all__ = [
    "FastEGRU", "OnlineModule", "TorchNetwork", "TorchWords", "autograd_gradients", "from_norse", "from_snntorch",
    "summed_loss",
]  # fmt: skip
