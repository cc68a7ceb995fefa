"""What torch makes of the words in a cell's equations: autograd sees the pseudo-derivative in place of dH/dx."""

import torch


class _Event(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, surrogate):
        ctx.save_for_backward(x)
        ctx.surrogate = surrogate
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, *grads):
        (x,) = ctx.saved_tensors
        return grads[0] * pseudo_derivative(ctx.surrogate, x), None


def pseudo_derivative(surrogate, x):
    """psi(x) of an `evsim.surrogate.Surrogate` for a tensor."""
    distance = x.abs()
    if surrogate.kind == "superspike":
        return 1.0 / (1.0 + surrogate.slope * distance) ** 2
    inside = (distance < surrogate.half_width).to(x.dtype)
    if surrogate.kind == "boxcar":
        return surrogate.height * inside
    return surrogate.height * inside * (1.0 - distance / surrogate.half_width)


class TorchWords:
    """The words of `evsim.words` for tensors."""

    def __init__(self, surrogate):
        self.surrogate = surrogate

    def sigmoid(self, x):
        return torch.sigmoid(x)

    def tanh(self, x):
        return torch.tanh(x)

    def event(self, x):
        return _Event.apply(x, self.surrogate)

    def detach(self, x):
        return x.detach()
