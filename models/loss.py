"""The losses of `evsim.loss` under autograd."""

import torch


def each_loss(kind, out, targets):
    """The loss of every step: out (..., n_out) and its targets -> (...)."""
    if kind == "cross_entropy":
        return -torch.log_softmax(out, -1).gather(-1, targets[..., None])[..., 0]
    if kind == "binary_cross_entropy":
        return torch.nn.functional.binary_cross_entropy_with_logits(out, targets, reduction="none").mean(-1)
    return ((out - targets) ** 2).mean(-1)


def summed_loss(kind, out, targets):
    """`each_loss`, summed over all steps."""
    return each_loss(kind, out, targets).sum()
