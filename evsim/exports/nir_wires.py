"""What the units of a NIR graph hear of one another: matrices, with all that has no state multiplied out."""

import numpy as np

from evsim.check import named

PASSES = ("Affine", "Linear", "Scale", "Flatten", "Input", "Output")


class Wires:
    """What each node hears, of nodes, edges and ends as `evsim.exports.nir_file.read_graph` gives them.

    units: types of nodes with a state. Of this object: input, output: their names; units: names of the nodes with a
    state; wide: are there weights in float64?
    """

    def __init__(self, nodes, edges, ends, units):
        self.nodes = nodes
        self.before = {name: [start for start, end in edges if end == name] for name in nodes}
        self.input, self.output = ends
        self.units = [name for name, node in nodes.items() if node["type"] in units]
        weights = [np.asarray(node.get(key)) for node in nodes.values() for key in ("weight", "scale") if key in node]
        self.wide = any(weight.dtype == np.float64 for weight in weights)

    def heard(self, name, trail=()):
        """({source: matrix, or None for what is passed on as it is}, bias) that arrive at a node."""
        found, bias = {}, 0.0
        for start in self.before[name]:
            with named(f"node {name!r} hears {start!r}"):
                maps, more = self._said(start, trail)
                bias = add(bias, more)
                for source, matrix in maps.items():
                    found[source] = _sum(found[source], matrix) if source in found else matrix
        return found, bias

    def _said(self, name, trail):
        if name == self.input or name in self.units:
            return {name: None}, 0.0
        if name in trail:
            raise ValueError(f"a loop without a unit in it ({' -> '.join((*trail, name))}): put a LIF into it")
        maps, bias = self.heard(name, (*trail, name))
        node = self.nodes[name]
        if node["type"] in ("Affine", "Linear"):
            weight = number(name, node, "weight")
            if weight.ndim != 2:
                raise ValueError(f"its weight has shape {weight.shape}: evsim takes (outputs, inputs)")
            maps = {source: _product(weight, matrix) for source, matrix in maps.items()}
            bias = _apply(weight, bias)
            if node["type"] == "Affine":
                bias = add(bias, np.broadcast_to(fit(number(name, node, "bias"), len(weight), "bias"), len(weight)))
        elif node["type"] == "Scale":
            scale = number(name, node, "scale").ravel()
            maps = {source: _product(np.diag(scale), matrix) for source, matrix in maps.items()}
            bias = _apply(np.diag(scale), bias)
        return maps, bias


def number(name, node, field, default=None):
    """An array of finite numbers of a node; ValueError if it has none of that name."""
    value = np.asarray(node.get(field, default))
    if value.dtype.kind not in "biuf" or not np.isfinite(value).all():
        told = "is missing" if value.dtype == object else f"holds {value.dtype} that are not all finite numbers"
        raise ValueError(f"{field} of node {name!r} {told}: correct it")
    return value


def fit(value, n, what):
    """That array as one of n values, or of one; ValueError otherwise."""
    if value.size not in (1, n):
        raise ValueError(f"its {what} has shape {value.shape}, where {n} are needed")
    return value.ravel()


def _product(left, matrix):
    if matrix is None:
        return left
    if left.shape[1] != len(matrix):
        raise ValueError(f"{len(matrix)} values arrive, but {left.shape[1]} are heard: make these two equal")
    return np.asarray(left, np.float64) @ matrix


def _apply(left, bias):
    if np.ndim(bias) == 0:
        return left.sum(1) * bias if bias else 0.0
    if left.shape[1] != len(bias):
        raise ValueError(f"{len(bias)} values arrive, but {left.shape[1]} are heard: make these two equal")
    return np.asarray(left, np.float64) @ bias


def _sum(one, other):
    n = next((len(m) for m in (one, other) if m is not None), None)
    if n is None:
        raise ValueError("the same values arrive twice without weights: leave one of the two edges out")
    one, other = (np.eye(n) if m is None else m for m in (one, other))
    if one.shape != other.shape:
        raise ValueError(f"matrices of shapes {one.shape} and {other.shape} are added: make them equal")
    return one + other


def add(one, other):
    """The sum of two vectors, or of a vector and a number."""
    if np.ndim(one) and np.ndim(other) and len(one) != len(other):
        raise ValueError(f"{len(one)} values and {len(other)} are added: make these two equal")
    return one + other
