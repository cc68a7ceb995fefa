"""NIR as evsim writes it: it runs event for event on norse and snntorch, comes back, and nothing goes wrong silently.

Weights and biases are multiples of 2**-10, so that their sums are exact in any order.
"""

import copy
import json
import sys
import warnings

import numpy as np
import pytest

import evsim
from evsim.cli import main
from evsim.registry import lookup

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # importing norse calls torch.jit.script
    nir = pytest.importorskip("nir", reason="the extra [nir] is not installed")
    torch = pytest.importorskip("torch", reason="the extra [torch] is not installed")
    norse = pytest.importorskip("norse.torch", reason="norse is not installed")
    snn = pytest.importorskip("snntorch", reason="snntorch is not installed")
    nirtorch = pytest.importorskip("nirtorch", reason="nirtorch is not installed")

from evsim.exports.nir_read import read_nir
from evsim.exports.nir_write import to_graph, write_nir
from evsim.models import run_norse, run_snntorch, snntorch_nodes

UNITS, INPUTS, STEPS, SEEDS = 6, 4, 200, 5  # 1,200 bits a seed
KINDS = pytest.mark.parametrize("kind", [evsim.LIF, evsim.CubaLIF], ids=["lif", "cubalif"])
FORMS = pytest.mark.parametrize("form", ["flat", "nested", "self-edge"])


def draw(rng, shape, scale):
    """Multiples of 2**-10."""
    return np.round(rng.standard_normal(shape) * scale * 1024) / 1024


def made(kind, seed, layers=1, readout=None, rec=None, bias=0.1, **options):
    """A recurrent network of that kind, whose outputs are the top layer's events unless it has a readout."""
    rng = np.random.default_rng(seed)
    options = {"reset": "zero", **options, "threshold": rng.uniform(0.5, 1.5, UNITS)}
    options["beta"] = rng.uniform(0.5, 0.95, UNITS)
    if kind is evsim.CubaLIF:
        options["alpha"] = rng.uniform(0.1, 0.9, UNITS)
    net = evsim.Network(INPUTS, [kind(UNITS, **options)] * layers, readout or evsim.Readout(UNITS), seed=seed)
    values = net.parameters()
    for name, mask in net.masks().items():
        values[name] = draw(rng, mask.shape, 1.0) * mask
        if name.endswith("rec") and rec is not None:
            values[name][0] = rec
    for k in range(layers):
        values[f"layers.{k}.bias"] = draw(rng, (1, UNITS), bias)
    values["readout.weight"] = draw(rng, (net.n_out, UNITS), 1) if readout else np.eye(UNITS)
    net.load_parameters(values)
    return net


def noise(seed, steps=STEPS, inputs=INPUTS):
    return (np.random.default_rng(1000 + seed).random((steps, inputs)) < 0.3).astype(np.float32)


def written(net, path, form="flat"):
    """The graph of net in that form, from a file."""
    write_nir(path, net, nested=form == "nested", force=True)
    if form == "self-edge":
        graph = nir.read(path)
        del graph.nodes["layer0_rec"]
        edges = [edge for edge in graph.edges if "layer0_rec" not in edge] + [("layer0_units", "layer0_units")]
        nir.write(path, nir.NIRGraph(graph.nodes, edges, metadata=graph.metadata))
    return nir.read(path)


@KINDS
@FORMS
@pytest.mark.parametrize("run", [run_norse, run_snntorch])
def test_events_are_equal_to_the_last_bit(tmp_path, kind, form, run):
    for seed in range(SEEDS):
        net = made(kind, seed, rec=np.eye(UNITS) if form == "self-edge" else None)
        graph, x = written(net, tmp_path / "net.nir", form), noise(seed)
        bits = net.run(x)
        assert set(np.unique(bits)) == {0, 1} and bits.size == 1200
        assert np.count_nonzero(run(graph, x) != bits) == 0
        again = read_nir(tmp_path / "net.nir")
        assert np.count_nonzero(again.run(x) != bits) == 0
        assert {name: mask.sum() for name, mask in again.masks().items()} == {
            name: np.count_nonzero(net.parameters()[name]) for name in net.masks()
        }


@KINDS
@pytest.mark.parametrize("run", [run_norse, run_snntorch])
def test_stacks_with_a_linear_readout(tmp_path, kind, run):
    for nested in (False, True):
        net = made(kind, 0, layers=3, readout=evsim.Readout(3), density=0.4)
        write_nir(tmp_path / "net.nir", net, nested=nested, force=True)
        out = net.run(noise(0))
        assert np.count_nonzero(out) > 100
        assert np.array_equal(run(nir.read(tmp_path / "net.nir"), noise(0)), out)


def test_a_leaky_readout_comes_with_a_warning_about_norse(tmp_path):
    net = made(evsim.LIF, 0, readout=evsim.LeakyReadout(3, kappa=[0.0, 0.5, 0.9]))
    with pytest.warns(UserWarning, match="norse 1.1.0 drops LI nodes silently"):
        told = write_nir(tmp_path / "net.nir", net)
    assert "leak (LI)" in told["nodes"] and len(told["notes"]) == 1
    graph, out = nir.read(tmp_path / "net.nir"), net.run(noise(0))
    np.testing.assert_allclose(run_snntorch(graph, noise(0)), out, rtol=1e-6, atol=1e-5)
    forgetful = run_norse(graph, noise(0))  # the warning is right: the day it is not, it goes
    assert np.array_equal(forgetful[:, 0], out[:, 0]) and not np.allclose(forgetful[:, 2], out[:, 2], atol=0.1)


@KINDS
def test_the_comparison_can_fail(tmp_path, kind):
    """A wrong reset, a wrong dt, a recurrence that is not there."""
    net, x = made(kind, 0), noise(0)
    graph, bits = written(net, tmp_path / "net.nir"), net.run(x)
    other = made(kind, 0, reset="subtract")
    assert np.count_nonzero(other.run(x) != bits) > 10
    for run in (run_norse, run_snntorch):
        assert np.count_nonzero(run(graph, x, dt=0.5e-3) != bits) > 10
    edges = [edge for edge in graph.edges if "layer0_rec" not in edge]
    cut = nir.NIRGraph({k: v for k, v in graph.nodes.items() if k != "layer0_rec"}, edges)
    unsaid = nir.NIRGraph(graph.nodes, graph.edges)  # without metadata: how long is a step?
    for found in (run_norse(cut, x), run_snntorch(cut, x), read_nir(cut, 1e-3).run(x), read_nir(unsaid, 0.5e-3).run(x)):
        assert np.count_nonzero(found != bits) > 10
    assert np.array_equal(read_nir(unsaid, 1e-3).run(x), bits)


@KINDS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.filterwarnings("ignore:.*norse 1.1.0 drops LI")
def test_write_read_import_write_gives_the_same_bytes(tmp_path, kind, dtype, nested):
    a, b, c = (tmp_path / name for name in ("a.nir", "b.nir", "c.nir"))
    for seed, readout in enumerate((evsim.Readout(3), evsim.LeakyReadout(3, kappa=[0.0, 0.3, 0.9]))):
        beta = np.random.default_rng(seed).random(5)
        layers = [kind(5, density=0.5, reset="zero", beta=beta), evsim.LIF(7, reset="zero", density=0.2)]
        net = evsim.Network(INPUTS, layers, readout, seed=seed, dtype=dtype, dt=3.7e-4)
        write_nir(a, net, nested=nested, force=True)
        again = read_nir(a)
        assert again.dtype == net.dtype and again.dt == net.dt
        for name, value in net.parameters().items():
            assert np.array_equal(again.parameters()[name], value), name
        write_nir(b, again, nested=nested, force=True)
        assert main(["import", str(a), "--out", str(tmp_path / "net.npz"), "--force"]) == 0
        write_nir(c, evsim.load(tmp_path / "net.npz").net, nested=nested, force=True)
        for one in (b, c):
            assert one.read_bytes() == a.read_bytes()
            assert one.with_suffix(".vectors.nir").read_bytes() == a.with_suffix(".vectors.nir").read_bytes()


def test_the_vectors_are_what_the_network_says(tmp_path):
    net = made(evsim.LIF, 0, layers=2, readout=evsim.Readout(3))
    told = write_nir(tmp_path / "net.nir", net)
    data, graph = nir.read_data(told["vectors"]), nir.read(told["path"])
    data.check_nodes(graph)
    seen = {name: next(iter(node.observables.values())) for name, node in data.nodes.items()}
    x = seen["input"].data
    assert x.dtype == bool and seen["input"].dt == net.dt and x.mean() > 0.2
    out, events = net.run(x, record_events=True)
    for k, of_layer in enumerate(events):
        assert np.array_equal(seen[f"layer{k}_units"].data, of_layer)
        assert told["events_per_layer"][k] == of_layer.sum() > 0
    assert np.array_equal(seen["output"].data, out)
    for sample in range(2):
        assert np.array_equal(run_norse(graph, x[sample].astype(np.float32)), out[sample])
    write_nir(tmp_path / "net.nir", net, x=np.full((1, 3, INPUTS), 0.5), force=True)
    own = input_of(told)
    assert own.shape == (1, 3, INPUTS) and (own == 0.5).all()


def input_of(told):
    """The inputs (samples, T, n) in the vectors that were written."""
    return nir.read_data(told["vectors"]).nodes["input"].observables["input"].data


CUSTOM = [evsim.EGRU(5, density=0.5), evsim.EvRNN(5), evsim.ALIF(5), evsim.LIF(5), evsim.CubaLIF(5)]


@pytest.mark.parametrize("cell", [*CUSTOM, lookup("cell", "adlif")(5)], ids=lambda cell: cell.kind)
def test_what_nir_does_not_know_is_refused_or_a_node_of_our_own(tmp_path, cell):
    net = evsim.Network(INPUTS, [evsim.LIF(4, reset="zero"), cell], evsim.Readout(3))
    path = tmp_path / "net.nir"
    told = rf"layers.1 \({type(cell).__name__}\) has .*reset='zero'.*--allow-custom"
    with pytest.raises(ValueError, match=told):
        write_nir(path, net)
    assert not any(tmp_path.iterdir())
    with pytest.warns(UserWarning, match="norse 1.1.0 drops custom nodes silently"):
        found = write_nir(path, net, allow_custom=True)
    assert "layer1_units (EvsimCell)" in found["nodes"]
    again = read_nir(path)
    x = noise(0)
    assert np.array_equal(again.run(x), net.run(x)) and type(again.layers[1]) is type(cell)
    with pytest.raises(ValueError, match="Unknown node type"):  # as the note says: others stop
        nirtorch.nir_to_torch(to_graph(net, allow_custom=True), snntorch_nodes())
    first = path.read_bytes()
    with pytest.warns(UserWarning, match="norse 1.1.0 drops"):
        write_nir(path, again, allow_custom=True, force=True)
    assert path.read_bytes() == first


@pytest.mark.parametrize("how", ["config", "kind", "bias", "weight_rec", "threshold", "units"])
def test_a_damaged_node_of_our_own(how):
    graph = to_graph(evsim.Network(INPUTS, [evsim.EGRU(5)], evsim.Readout(3)), allow_custom=True)
    node = graph.nodes["layer0_units"]
    if how == "config":
        node.config = "{"
    elif how == "kind":
        node.config = "{}"
    elif how == "units":
        node.parameters["weight_in"] = node.parameters["weight_in"][:, :4]
    else:
        del node.parameters[how]
    with pytest.raises(ValueError, match="node 'layer0_units': "):
        read_nir(graph)


def test_names_follow_one_another_as_the_layers_do():
    """Files hold nodes by the alphabet, and nirtorch 2.6 cannot bring nested graphs into order."""
    layers = [evsim.LIF(3, reset="zero") for _ in range(12)]
    graph = to_graph(evsim.Network(INPUTS, layers, evsim.Readout(3)), nested=True)
    assert list(graph.nodes) == [*sorted(set(graph.nodes) - {"readout", "output"}), "readout", "output"]


def places(node, above=()):
    """The keys that lead to each entry of dicts within dicts."""
    for name, value in node.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from places(value, (*above, name))


JUNK = [None, "x", b"\xff", 3, -1.0, {}, [("a", "b")], np.zeros(0), np.eye(2), np.array([1j]), np.array([np.inf])]


def test_whatever_is_amiss_in_a_file_is_refused_in_words(monkeypatch):
    """Each entry of a file in turn is missing, or is something else: ValueError, or a network all the same."""
    layers = [evsim.LIF(5, reset="zero", density=0.5), evsim.EGRU(3)]
    whole = to_graph(evsim.Network(INPUTS, layers, evsim.LeakyReadout(3)), allow_custom=True).to_dict()
    refused = read = 0
    for *above, name in places(whole):
        for junk in [*JUNK, "missing"]:
            tree = copy.deepcopy(whole)
            into = tree
            for one in above:
                into = into[one]
            into[name] = junk
            if isinstance(junk, str) and junk == "missing":
                del into[name]
            monkeypatch.setattr("evsim.exports.nir_file._read", lambda source, tree=tree: tree)
            try:
                read += isinstance(read_nir("net.nir"), evsim.Network)
            except ValueError as error:
                assert str(error).startswith("net.nir: ")
                refused += 1
    assert refused > 400 and read > 50


@pytest.mark.parametrize("call", [lambda path: write_nir(path, made(evsim.LIF, 0)), read_nir])
def test_without_nir_there_is_the_line_that_installs_it(tmp_path, monkeypatch, call):
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(ImportError, match=r'needs nir, which is not installed: pip install -e "\.\[nir\]"'):
        call(tmp_path / "net.nir")
    assert not any(tmp_path.iterdir())


class Run:
    """What `evsim export` hands to an export."""

    settings, task = {}, None

    def __init__(self, net, task=None):
        self.net, self.task = net, task


def test_the_export(tmp_path):
    export, out, net = lookup("export", "nir"), tmp_path / "net.nir", made(evsim.LIF, 0)
    assert export(Run(net), out)["path"] == str(out)
    with pytest.raises(ValueError, match="net.nir exists already.*--force"):
        export(Run(net), out)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2 and export(Run(net), out, force=True)["bytes"] == sum(sizes)
    with pytest.raises(ValueError, match="bits, learn: no option of the export to nir"):
        export(Run(net), out, force=True, bits=8, learn=True)
    with pytest.raises(ValueError, match="is a folder"):
        export(Run(net), tmp_path)
    with pytest.raises(ValueError, match="torch model"):
        export(Run(None), out, force=True)


@pytest.mark.parametrize("name", ["digits", "copy"])
def test_vectors_come_from_the_task(tmp_path, name):
    task = lookup("task", name)()
    net = evsim.Network(task.n_in, [evsim.LIF(8, reset="zero")], evsim.Readout(task.n_out))
    told = lookup("export", "nir")(Run(net, task), tmp_path / "net.nir")
    data, x = task.split("test"), input_of(told)
    steps = len(data.x[0]) if data.lengths is None else data.lengths[0]
    given = data.x[0][:steps]
    shown = given if given.ndim == 2 else np.eye(task.n_in)[given]
    assert x.shape[0] == 4 and x.any()
    assert np.array_equal(x[0, :steps], shown.astype(net.dtype)) and not x[0, steps:].any()


def test_the_commands(tmp_path, monkeypatch, capsys):
    """A run goes out, and comes back as a checkpoint that says the same; what cannot go is exit code 2."""
    monkeypatch.chdir(tmp_path)
    tiny = ["--units", "6", "--epochs", "1", "--streams", "4", "--data", "own.npz", "--cell"]
    rng = np.random.default_rng(0)
    np.savez("own.npz", x=rng.random((40, 8, INPUTS)) < 0.4, y=np.arange(40) % 2)
    assert main(["train", *tiny, "lif", "--reset", "zero", "--out", "run"]) == 0
    assert main(["export", "run", "--to", "nir", "--out", "net.nir", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["path"] == "net.nir" and "layer0_units (CubaLIF)" in told["nodes"]
    assert main(["import", "net.nir", "--out", "net.npz"]) == 0
    x = rng.random((20, INPUTS)) < 0.4
    before, after = evsim.load("run/checkpoint.npz").net, evsim.load("net.npz").net
    assert np.array_equal(before.run(x), after.run(x)) and before.run(x).any()
    assert main(["export", "net.npz", "--to", "nir", "--out", "again.nir"]) == 0
    assert (tmp_path / "net.nir").read_bytes() == (tmp_path / "again.nir").read_bytes()
    assert main(["export", "net.npz", "--to", "nir", "--out", "again.nir"]) == 2
    assert main(["train", *tiny, "egru", "--out", "other"]) == 0
    capsys.readouterr()
    assert main(["export", "other", "--to", "nir", "--out", "other.nir"]) == 2
    assert "layers.0 (EGRU) has equations NIR has no node for" in capsys.readouterr().err
    assert main(["export", "run", "--to", "nir", "--bits", "8", "--out", "other.nir"]) == 2
    assert not (tmp_path / "other.nir").exists()
    capsys.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        assert main(["export", "other", "--to", "nir", "--out", "other.nir", "--allow-custom"]) == 0
    told = capsys.readouterr().err
    assert told.startswith("evsim: warning: other.nir: norse 1.1.0 drops custom nodes") and told.count("\n") == 1
