"""NIR files as plain nodes and edges, graphs within graphs laid flat; what is damaged or foreign is refused."""

import numpy as np

from evsim.registry import load_optional

# What reading a damaged or foreign HDF5 file, or one of another version of NIR, may raise.
_DAMAGE = (OSError, LookupError, ValueError, TypeError, AttributeError, AssertionError, RuntimeError)


def read_graph(source):
    """(nodes, edges, ends, metadata) of a NIR file or a nir.NIRGraph.

    nodes: name -> dict with its type and arrays; what lies in a graph within the graph is named graph.node. edges: list
    of pairs of names. ends: names of the one input and the one output. FileNotFoundError if there is no such file;
    ValueError if it is not NIR, or damaged.
    """
    nir = load_optional("nir", "reading NIR")
    root = source.to_dict() if isinstance(source, nir.NIRGraph) else _read(source)
    nodes, edges = {}, []
    try:
        _flatten(root, "", nodes, edges)
        ends = _ends("", root)
        metadata = {name: _text(value) for name, value in root.get("metadata", {}).items()}
    except (LookupError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(f"it does not hang together as a NIR graph ({error}): it is damaged or was edited") from None
    return nodes, edges, ends, metadata


def _read(path):
    h5py = load_optional("h5py", "reading NIR")
    version = None
    try:
        with h5py.File(path, "r") as file:
            if "version" in file:
                version = _text(file["version"][()])
            root = _tree(file["node"])
        if _text(root["type"]) != "NIRGraph":
            raise ValueError(f"a lone {_text(root['type'])}, no graph")
        return root
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}: give one that nir.write wrote") from None
    except PermissionError:
        raise
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder: give a file that nir.write wrote") from None
    except _DAMAGE as error:
        written = f"of NIR {version}" if version else "that names no version of NIR"
        told = f"it cannot be read as a NIR file ({str(error).strip(chr(39))}), {written}"
        raise ValueError(f"{told}: it is damaged, of another kind, or older than NIR 1.0") from None


def _tree(group):
    """A group of an HDF5 file as dicts of arrays."""
    return {name: _tree(item) if hasattr(item, "items") else item[()] for name, item in group.items()}


def _flatten(graph, prefix, nodes, edges):
    """Put the nodes and edges of a graph into those given; edges to a graph end at its input, from it at its output."""
    inner = graph["nodes"]
    ends = {name: _ends(prefix + name, node) for name, node in inner.items() if _is(node, "NIRGraph")}
    for name, node in inner.items():
        if not isinstance(_text(node["type"]), str):
            raise TypeError(f"the type of node {prefix}{name} is {node['type']!r}")
        if name in ends:
            _flatten(node, f"{prefix}{name}.", nodes, edges)
        else:
            if prefix + name in nodes:
                raise LookupError(f"there are two nodes {prefix}{name}")
            nodes[prefix + name] = {**node, "type": _text(node["type"])}
    for start, end in graph["edges"]:
        start, end = _text(start), _text(end)
        for name in (start, end):
            if name not in inner:
                raise LookupError(f"there is an edge {start} -> {end}, but no node {prefix}{name}")
        start = f"{prefix}{start}" + (f".{ends[start][1]}" if start in ends else "")
        end = f"{prefix}{end}" + (f".{ends[end][0]}" if end in ends else "")
        if (start, end) in edges:
            raise LookupError(f"there are two edges {start} -> {end}")
        edges.append((start, end))


def _ends(where, graph):
    """Names of the one input and the one output of a graph."""
    found = []
    for kind in ("Input", "Output"):
        names = [name for name, node in graph["nodes"].items() if _is(node, kind)]
        if len(names) != 1:
            raise LookupError(f"the graph{where and ' '}{where} has {len(names)} nodes of type {kind}, in place of one")
        found += names
    return found


def _is(node, kind):
    found = _text(node["type"])
    return isinstance(found, str) and found == kind


def _text(value):
    """A string from bytes or a string; anything else as it is."""
    value = value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value
    return value.decode() if isinstance(value, bytes) else value
