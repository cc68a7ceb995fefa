"""What autograd keeps between forward and backward, in bytes: the memory that a training method stores."""

from contextlib import contextmanager

import torch


class Kept:
    """bytes: of the different pieces of memory that were saved for backward."""

    def __init__(self):
        self._sizes = {}

    @property
    def bytes(self):
        """All of them together."""
        return sum(self._sizes.values())

    def add(self, tensor):
        """Note a tensor; several views of the same memory count once."""
        if not isinstance(tensor, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            self._sizes[storage.data_ptr()] = storage.nbytes()


@contextmanager
def watched():
    """Within it, autograd tells a `Kept`, which is given, of every tensor that it saves; parameters are left out."""
    kept = Kept()

    def pack(tensor):
        kept.add(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept
