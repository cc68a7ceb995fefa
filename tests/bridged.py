"""What the tests of the bridge to torch share: learners, a head with its loss, torch's gradients, ways to feed."""

import torch
from oracle import TOLERANCE

import evsim
from evsim.models import OnlineModule, TorchNetwork

LEARNERS = {
    "rtrl": lambda net, **options: evsim.RTRL(net, **options),
    "block 7": lambda net, **options: evsim.RTRL(net, block=7, **options),
    "bptt": lambda net, **options: evsim.BPTT(net, **options),
}


class Head(torch.nn.Module):
    """A layer above the readout, and a loss that no learner has built in."""

    def __init__(self, n_out, dtype=torch.float64):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(n_out, 2, dtype=dtype)

    def forward(self, out):
        return (self.layer(torch.tanh(out)) - 0.3).pow(4).sum() + out.prod(-1).sum()


def module_of(learner, **options):
    """The learner as a module, and a head for it."""
    return OnlineModule(learner, **options), Head(learner.net.n_out, torch.from_numpy(learner.net.theta).dtype)


def autograd(net, x, head, encoder=None):
    """(gradients by name, d loss / d x, the head's, the encoder's) by torch alone, for x (T, n_in) or (B, T, n_in)."""
    model, x = TorchNetwork(net), torch.tensor(x, requires_grad=True)
    heard = encoder(x) if encoder else x
    head(model(heard if x.ndim == 3 else heard[None])).backward()
    found = {name.replace("/", "."): p for name, p in model.named_parameters() if p.requires_grad}
    named = {name: (torch.zeros_like(p) if p.grad is None else p.grad).numpy() for name, p in found.items()}
    parts = [part for part in (head, encoder) if isinstance(part, torch.nn.Module)]
    others = [[p.grad.clone() for p in part.parameters()] for part in parts]
    for part in parts:
        part.zero_grad()
    return named, x.grad, *others


def by_steps(module, head, x):
    """One loss, and one backward, for each step."""
    for t in range(x.shape[-2]):
        head(module(x[..., t, :])).backward()


def at_once(module, head, x):
    """One loss on the whole sequence."""
    head(module(x)).backward()


def in_pieces(module, head, x):
    """One loss for each of some pieces, a single step among them."""
    for part in torch.tensor_split(torch.arange(x.shape[-2]), [1, 4, 15]):
        if len(part):
            head(module(x[..., part, :])).backward()


def near(found, wanted):
    """Relative to the largest entry."""
    return float((found - wanted).abs().max() / wanted.abs().max()) <= TOLERANCE
