"""The slow truth of `evsim.quiet`: prices of a whole sequence, step by step under torch, for autograd."""

import numpy as np
import torch

from evsim.models.loss import summed_loss
from evsim.models.network import TorchNetwork, preactivations
from evsim.models.words import TorchWords


def priced(net, quiet, x, rate=None):
    """(torch model, outputs (T, n_out), penalty) of one sequence x (T, n_in) from zero.

    rate: list of what each layer's running rates are at the start (they begin at the target); it is brought up to date.
    """
    model = TorchNetwork(net)
    values, given = model.values(), torch.from_numpy(x)
    state = model.start(1, given[None])
    targets = np.split(quiet.targets(net.layers), np.cumsum([c.units for c in net.layers])[:-1])
    margins = np.split(quiet.margins(net.layers), np.cumsum([c.units for c in net.layers])[:-1])
    rate = [np.nan_to_num(t) for t in targets] if rate is None else rate
    out, total = [], torch.zeros((), dtype=given.dtype)
    for now in given[:, None]:
        heard, after = now, []
        for k, (cell, names, (y, kept)) in enumerate(zip(model.stack, model.names, state)):
            words = TorchWords(getattr(cell, "pseudo", None))
            own = {name: values[full] for name, full in names.items()}
            q = [own[name] for name in cell.local]
            s = cell.advance(words, kept, preactivations(cell, own, heard, y), q)
            heard = cell.emit(words, s, q)
            after.append((heard, cell.keep(words, s, q)))
            if k < len(net.layers):
                total = total + of_layer(quiet, cell, words, s, q, heard[0], targets[k], margins[k], rate, k)
        state = after
        top = state[-1][0]
        leaky = len(model.stack) > len(net.layers)
        out.append(top[0] if leaky else (top @ values["readout.weight"].T + values["readout.bias"])[0])
    return model, torch.stack(out), total


def of_layer(quiet, cell, words, s, q, y, target, margin, rate, k):
    """The price of one layer at one step."""
    above, spoken = cell.above(s, q)[0], cell.spoken(words, s, q)[0]
    price = quiet.pull * torch.relu(above + torch.from_numpy(margin)).sum() + quiet.event_cost * y.abs().sum()
    if np.isnan(target).all():
        return price
    wanted = torch.from_numpy(target)
    if quiet.over == "step":
        return price + quiet.strength / 2 * ((spoken.mean() - wanted) ** 2).sum()
    keep = 1 - 1 / quiet.horizon
    rate[k] = keep * rate[k] + (1 - keep) * (y.detach().numpy() != 0)
    seen = rate[k] if quiet.over == "unit" else np.full_like(rate[k], rate[k].mean())
    off = torch.from_numpy(seen) - wanted
    charged = (off * (spoken - spoken.detach())).sum()  # of value 0: what is charged is the square below
    return price + quiet.strength * charged + quiet.strength / 2 * (off**2).sum()


def gradients(net, quiet, x, loss, targets, keep):
    """dict of gradients of loss and penalty by autograd, and the penalty's value."""
    model, out, penalty = priced(net, quiet, x)
    kept = torch.from_numpy(keep)
    total = summed_loss(loss, out[kept], torch.from_numpy(np.asarray(targets)[keep])) + penalty
    wanted = {name.replace("/", "."): p for name, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
    empty = {name: np.zeros(p.shape) for name, p in wanted.items()}
    return {n: empty[n] if g is None else g.numpy() for n, g in zip(wanted, found)}, float(penalty.detach())
