"""Dropout whose draws are its own: they depend on no other use of torch's generator, and are kept in checkpoints."""

from contextlib import contextmanager

import torch
from torch import nn

from evsim.check import check_below_one


class Dropout(nn.Module):
    """In training, sets a part `rate` of all numbers to 0 and scales up the others (Srivastava et al. 2014).

    Everything that drops inside `draws` draws there, torch's own modules among them. With rate 0 nothing is drawn.
    """

    def __init__(self, rate=0.0):
        super().__init__()
        self.rate = check_below_one("dropout", rate)
        if self.rate:  # a number that the next draws follow from; taking it leaves torch's generator as it is
            with torch.random.fork_rng(devices=[]):
                self.register_buffer("next", torch.randint(2**62, ()))

    @contextmanager
    def draws(self, x):
        """Seed torch's generators anew, of the CPU and of where x is, and put them back at the end."""
        if not (self.rate and self.training):
            yield
            return
        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            torch.manual_seed(int(self.next))
            self.next += 1
            yield

    def forward(self, x):
        return nn.functional.dropout(x, self.rate, self.training)
