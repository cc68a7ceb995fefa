"""Densities: how many weights each layer and side has, where a density is given for all of them together."""

import numpy as np

from evsim.check import check_count, check_density

RULES = ("uniform", "erk")


def erk(n_in, units, density):
    """Erdos-Renyi densities of every layer and side: small matrices are dense, large ones sparse.

    A matrix from m sources to n units has a density in proportion to (n + m) / (n * m), which is what
    Erdos-Renyi-Kernel says of layers that are no convolutions (Evci et al. 2020, after Mocanu et al. 2018). None is
    above 1; what that takes away is shared by the others in the same proportion.

    n_in: inputs of the network. units: units of each layer, bottom to top. density: of all edges together, in (0, 1].
    Returns a dict by name: `layers.0.weight_in`, `layers.0.weight_rec`, ...
    """
    density, below = check_density("density", density), check_count("n_in", n_in)
    names, shapes = [], []
    for k, n in enumerate(units):
        n = check_count(f"units of layer {k}", n)
        names += [f"layers.{k}.weight_in", f"layers.{k}.weight_rec"]
        shapes += [(n, below), (n, n)]
        below = n
    if not names:
        raise ValueError("units names no layer: give the units of at least one")
    sizes = np.array([n * m for n, m in shapes], np.float64)
    weight = np.array([n + m for n, m in shapes]) / sizes
    full = np.zeros(len(sizes), bool)
    found = np.ones(len(sizes))
    while not full.all():
        left = density * sizes.sum() - sizes[full].sum()
        found = np.where(full, 1.0, weight * (left / (weight * sizes)[~full].sum()))
        over = ~full & (found > 1)
        if not over.any():
            break
        full |= over
    found = np.minimum(found, 1.0)
    return dict(zip(names, found.tolist(), strict=True))
