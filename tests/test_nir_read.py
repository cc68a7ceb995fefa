"""NIR as others write it: read exactly, or refused by the name of the node."""

import shutil
import warnings

import numpy as np
import pytest

import evsim
from evsim.cli import main

nir = pytest.importorskip("nir", reason="the extra [nir] is not installed")
h5py = pytest.importorskip("h5py", reason="h5py is not installed")

from evsim.exports.nir_read import read_nir  # noqa: E402
from evsim.exports.nir_write import write_nir  # noqa: E402

N, M, STEPS = 6, 4, 300
RNG = np.random.default_rng(0)
X = (RNG.random((STEPS, M)) < 0.3).astype(float)
START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _drawn_anew():
    """Each test draws the same weights, whichever others run."""
    RNG.bit_generator.state = START


def matrix(n, m, scale=1.0):
    return np.round(RNG.standard_normal((n, m)) * scale * 1024) / 1024


def same(n, *values):
    return [np.full(n, value) for value in values]


def lif(n=N, tau=5e-3, r=1.0, leak=0.0, threshold=0.3, reset=None):
    tau, r, leak, reset, threshold = same(n, tau, r, leak, leak if reset is None else reset, threshold)
    return nir.LIF(tau=tau, r=r, v_leak=leak, v_reset=reset, v_threshold=threshold)


def cubalif(n=N, tau_mem=5e-3, tau_syn=3e-3, r=2.0, leak=0.0, threshold=0.3, w_in=1.5):
    given = same(n, tau_syn, tau_mem, r, leak, threshold, w_in, leak)
    names = ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "w_in", "v_reset")
    return nir.CubaLIF(**dict(zip(names, given)))


def li(n=N, tau=0.01, r=1.0, leak=0.0):
    return nir.LI(*same(n, tau, r, leak))


def port(kind, *shape):
    """An Input or Output of that shape."""
    return kind(**{f"{kind.__name__.lower()}_type": {kind.__name__.lower(): np.array(shape)}})


def graph(edges, types=True, **nodes):
    """Edges as "a b, b c"; Input and Output are added."""
    nodes = {"input": port(nir.Input, M), **nodes}
    nodes.setdefault("output", port(nir.Output, N))
    return nir.NIRGraph(nodes, [tuple(edge.split()) for edge in edges.split(",")], type_check=types)


def euler(node, weight_in, bias, weight_rec, x, dt=1e-3):
    """Events (T, n) of a LIF or CubaLIF node as NIR defines it, in steps of forward Euler, in float64."""
    v, i, z, said = node.v_leak.copy(), np.zeros(len(node.r)), np.zeros(len(node.r)), []
    for x_t in x:
        i_in = weight_in @ x_t + bias + weight_rec @ z
        if isinstance(node, nir.CubaLIF):
            i = i + dt / node.tau_syn * (node.w_in * i_in - i)
            v = v + dt / node.tau_mem * (node.v_leak - v + node.r * i)
        else:
            v = v + dt / node.tau * (node.v_leak - v + node.r * i_in)
        z = (v > node.v_threshold).astype(float)
        v = np.where(z > 0, node.v_reset, v)
        said.append(z)
    return np.array(said)


NODES = {
    "lif": lif(), "lif r": lif(r=2.5), "lif at rest": lif(leak=-0.2, threshold=0.1), "cubalif": cubalif(),
    "cubalif at rest": cubalif(leak=-0.1), "cubalif without a synapse": cubalif(tau_syn=1e-3, w_in=1.0, r=5.0),
}  # fmt: skip


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("form", ["flat", "first", "nested", "self-edge", "apart", "scaled"])
def test_hand_written_networks(tmp_path, name, form):
    """Against NIR's equations, in float64; the recurrence in every form that others give it."""
    node, w, b, rec = NODES[name], matrix(N, M, 2.0), matrix(N, 1, 0.1)[:, 0], matrix(N, N, 0.5)
    enter, back = nir.Affine(weight=w, bias=b), nir.Linear(weight=rec)
    if form == "flat":
        made = graph("input w, w n, n rec, rec n, n output", w=enter, n=node, rec=back)
    elif form == "first":
        made = graph("rec n, n rec, n output, w n, input w", rec=back, n=node, w=enter)
    elif form == "nested":
        ends = {"in": port(nir.Input, N), "out": port(nir.Output, N)}
        inner = nir.NIRGraph({**ends, "n": node, "rec": back}, [("in", "n"), ("n", "rec"), ("rec", "n"), ("n", "out")])
        made = graph("input w, w pop, pop output", w=enter, pop=inner)
    elif form == "self-edge":
        rec = np.eye(N)
        made = graph("input w, w n, n n, n output", w=enter, n=node)
    elif form == "apart":  # two matrices behind one another, and two side by side
        left, right, more = matrix(N, 3), matrix(3, N), matrix(N, M)
        w, rec = w + more, left @ right
        parts = {"more": nir.Linear(weight=more), "right": nir.Linear(weight=right), "left": nir.Linear(weight=left)}
        edges = "input w, w n, input more, more n, n right, right left, left n, n output"
        made = graph(edges, w=enter, n=node, **parts)
    else:
        scale = np.array([0.5, 1, 2, 4, 0.25, 1])
        made = graph("input w, w s, s n, n rec, rec n, n output", w=enter, s=nir.Scale(scale=scale), n=node, rec=back)
        w, b = w * scale[:, None], b * scale
    nir.write(tmp_path / "net.nir", made)
    wanted = euler(node, w, b, rec, X)
    assert 50 < wanted.sum() < wanted.size - 50
    for source in (tmp_path / "net.nir", made):
        net = read_nir(source, dt=1e-3)
        assert net.dtype == np.float64
        assert net.layers[0].kind == ("cubalif" if name in ("cubalif", "cubalif at rest") else "lif")
        assert np.count_nonzero(net.run(X) != wanted) == 0
    write_nir(tmp_path / "ours.nir", net)
    write_nir(tmp_path / "again.nir", read_nir(tmp_path / "ours.nir"))
    assert (tmp_path / "ours.nir").read_bytes() == (tmp_path / "again.nir").read_bytes()


def test_a_stack_with_a_leaky_readout():
    one, two, w, w2, w3 = lif(), cubalif(5, threshold=0.1), matrix(N, M), matrix(5, N), matrix(3, 5)
    parts = {"a": nir.Linear(weight=w), "one": one, "b": nir.Linear(weight=w2), "two": two, "li": li(3, 4e-3, 2.0)}
    ends = {"output": port(nir.Output, 3)}
    made = graph("input a, a one, one b, b two, two c, c li, li output", **parts, c=nir.Linear(weight=w3), **ends)
    net = read_nir(made, 1e-3)
    low = euler(one, w, 0.0, np.zeros((N, N)), X)
    top, out, wanted = euler(two, w2, 0.0, np.zeros((5, 5)), low), np.zeros(3), []
    for y in top:
        out = out + 1e-3 / 4e-3 * (2.0 * (w3 @ y) - out)
        wanted.append(out)
    assert top.sum() > 50
    np.testing.assert_allclose(net.run(X), wanted, rtol=1e-12, atol=1e-12)
    assert isinstance(net.readout, evsim.LeakyReadout)


def test_masks_are_what_is_not_zero():
    w, rec = matrix(N, M), matrix(N, N)
    w[:, 1] = 0
    rec[RNG.random((N, N)) < 0.7] = 0
    net = read_nir(graph("input w, w n, n r, r n, n output", w=nir.Linear(w), n=lif(), r=nir.Linear(rec)), 1e-3)
    assert np.array_equal(net.masks()["layers.0.weight_rec"][0], rec != 0)
    assert np.array_equal(net.masks()["layers.0.weight_in"][0], w != 0)
    silent = read_nir(graph("input w, w n, n output", w=nir.Linear(np.zeros((N, M))), n=lif()), 1e-3)
    assert silent.masks()["layers.0.weight_in"].all() and not silent.run(X).any()
    alone = read_nir(graph("input n, n output", n=lif(M), output=port(nir.Output, M)), 1e-3)
    assert np.array_equal(alone.run(X), euler(lif(M), np.eye(M), 0.0, np.zeros((M, M)), X))


def torch_events(module, x, keeps_state):
    """Outputs (T, n) of a torch module, step by step."""
    torch = pytest.importorskip("torch", reason="the extra [torch] is not installed")
    state, said = None, []
    with torch.no_grad():
        for x_t in torch.from_numpy(x.astype(np.float32))[:, None]:
            y = module(x_t, state) if keeps_state else module(x_t)
            if keeps_state:
                y, state = y
            said.append(y[0].numpy())
    return np.array(said)


@pytest.mark.parametrize("kind", ["Leaky", "RLeaky", "Synaptic"])
def test_files_of_snntorch(tmp_path, kind):
    torch = pytest.importorskip("torch", reason="the extra [torch] is not installed")
    snn = pytest.importorskip("snntorch", reason="snntorch is not installed")
    from snntorch.export_nir import export_to_nir

    beta = torch.full((N,), 0.875)
    options = {"init_hidden": True, "reset_mechanism": "zero", "reset_delay": False, "threshold": torch.full((N,), 1.0)}
    options |= {"RLeaky": {"linear_features": N}, "Synaptic": {"alpha": beta - 0.25}}.get(kind, {})
    layer = getattr(snn, kind)(beta=beta, **options)
    module = torch.nn.Sequential(torch.nn.Linear(M, N), layer)
    with torch.no_grad():
        for one in module.modules():
            if isinstance(one, torch.nn.Linear):
                one.weight.copy_(torch.from_numpy(matrix(*one.weight.shape)))
                one.bias.copy_(torch.from_numpy(matrix(N, 1, 0.1)[:, 0]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            made = export_to_nir(module, torch.zeros(1, M), ignore_dims=[0])
        nir.write(tmp_path / "net.nir", made)
    layer.reset_mem()
    wanted = torch_events(module, X, keeps_state=False)
    net = read_nir(tmp_path / "net.nir", dt=1e-4)  # snntorch's own, which it does not write down
    assert 50 < wanted.sum() < wanted.size - 50 and net.masks()["layers.0.weight_rec"].any() == (kind == "RLeaky")
    assert np.count_nonzero(net.run(X) != wanted) == 0


def test_files_of_norse(tmp_path):
    torch = pytest.importorskip("torch", reason="the extra [torch] is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        norse = pytest.importorskip("norse.torch", reason="norse is not installed")
    tau, leak, th = (torch.full((N,), value) for value in (200.0, 0.0, 0.3))
    cell = norse.LIFBoxCell(norse.LIFBoxParameters(tau_mem_inv=tau, v_leak=leak, v_th=th))
    module = norse.SequentialState(torch.nn.Linear(M, N), cell)
    with torch.no_grad():
        module[0].weight.copy_(torch.from_numpy(matrix(N, M)))
        module[0].bias.zero_()
        for dt in (1, 1e-3):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                nir.write(tmp_path / f"{dt}.nir", norse.to_nir(module, torch.zeros(1, M), dt=dt))
    wanted = torch_events(module, X, keeps_state=True)
    assert 50 < wanted.sum() < wanted.size - 50
    assert np.count_nonzero(read_nir(tmp_path / "1.nir", dt=1e-3).run(X) != wanted) == 0
    with pytest.raises(ValueError, match=r"node '1': tau=5e-06 s is shorter than a step of dt=0.001 s.*to_nir.*dt=1"):
        read_nir(tmp_path / "0.001.nir", dt=1e-3)


def test_a_file_of_an_older_version(tmp_path):
    """Before 1.0.5 there was no v_reset, and no w_in everywhere: it was 0 and 1."""
    path, node = tmp_path / "net.nir", cubalif(w_in=1.0)
    w = matrix(N, M)
    nir.write(path, graph("input w, w n, n output", w=nir.Linear(w), n=node))
    with h5py.File(path, "r+") as file:
        del file["version"], file["node/nodes/n/v_reset"], file["node/nodes/n/w_in"]
        file["version"] = "1.0.1"
    assert np.array_equal(read_nir(path, 1e-3).run(X), euler(node, w, 0.0, np.zeros((N, N)), X))


W, REC = nir.Linear(weight=matrix(N, M)), nir.Linear(weight=matrix(N, N))
PLAIN = "input w, w n, n output"
BAD = {
    "if": (PLAIN, {"n": nir.IF(*same(N, 1.0, 1.0))}, r"node 'n' is of type IF: it does not leak"),
    "threshold": ("input w, w t, t output", {"t": nir.Threshold(np.ones(N))}, "node 't' is of type Threshold"),
    "delay": ("input w, w d, d n, n output", {"d": nir.Delay(np.ones(N)), "n": lif()}, "node 'd' is of type Delay"),
    "cubali": (PLAIN, {"n": nir.CubaLI(*same(N, 0.01, 0.01, 1.0, 0.0))}, "node 'n' is of type CubaLI"),
    "li below": ("input w, w l, l n, n output", {"l": li(), "n": lif()}, "node 'l' is of type LI"),
    "li that hears itself": (
        "input w, w n, n l, l l, l output", {"l": li(), "n": lif()}, "node 'l' is of type LI"),
    "li at rest": (
        "input w, w n, n l, l output", {"l": li(leak=1.0), "n": lif()}, "node 'l': its v_leak"),
    "reset": (PLAIN, {"n": lif(reset=-0.1)}, r"node 'n': v_reset=-0.1 but v_leak=0: evsim resets to rest"),
    "short": (PLAIN, {"n": lif(tau=1e-4)}, "node 'n': tau=0.0001 s is shorter than a step of dt=0.001 s"),
    "negative gain": (PLAIN, {"n": lif(r=-1.0)}, "node 'n': r and w_in give a gain of -0.2"),
    "low threshold": (PLAIN, {"n": lif(threshold=0.0)}, "node 'n': its v_threshold is not above v_leak"),
    "nan": (PLAIN, {"n": lif(threshold=np.nan)}, "v_threshold of node 'n' holds float64 that are not all finite"),
    "infinite weight": (PLAIN, {"w": nir.Linear(np.full((N, M), np.inf)), "n": lif()}, "weight of node 'w' holds"),
    "no units": ("input w, w output", {}, "the output hears no LIF or CubaLIF node"),
    "skip": ("input w, w n, n r, r k, k output, w k", {"n": lif(), "k": lif(), "r": REC}, "node 'k' hears input and n"),
    "feedback": (
        "input w, w n, n r, r k, k output, k n", {"n": lif(), "k": lif(), "r": REC}, "node 'n' hears input and k"),
    "two outputs": ("input w, w n, n output, w k, k output", {"n": lif(), "k": lif()}, "node 'output' hears k and n"),
    "idle": ("input w, w n, n output, n k", {"n": lif(), "k": lif()}, "node 'k' does not lie between input and output"),
    "ring": ("input w, n k, k n, n output", {"n": lif(), "k": lif()}, "feed one another in a ring"),
    "loop": ("input w, w n, n output, r r, r n", {"n": lif(), "r": REC}, "a loop without a unit in it .*r -> r"),
    "twice": (
        "input w, w n, n output, n n, n f, f n", {"n": lif(), "f": nir.Flatten({"input": np.array([N])}, 0, -1)},
        "arrive twice"),
    "image": (PLAIN, {"input": port(nir.Input, 2, 2), "n": lif()}, r"has the shape \(2, 2\)"),
    "wide weight": (PLAIN, {"w": nir.Linear(matrix(N, M + 1)), "n": lif()}, r"its weights have shape \(6, 5\)"),
    "units": (PLAIN, {"n": lif(N + 1)}, r"node 'n': its tau has shape \(7,\), where 6 are needed"),
    "deep weight": (PLAIN, {"w": nir.Linear(np.ones((2, N, M))), "n": lif()}, r"its weight has shape \(2, 6, 4\)"),
    "bias": (PLAIN, {"w": nir.Affine(matrix(N, M), np.ones(N + 1)), "n": lif()}, r"bias has shape \(7,\)"),
    "chain": ("input w, w r, r n, n output", {"r": nir.Linear(matrix(N, 3)), "n": lif()}, "6 values arrive, but 3 are"),
    "recurrence": (
        "input w, w n, n r, r n, n output", {"n": lif(), "r": nir.Linear(matrix(N, 3))}, r"have shape \(6, 3\)"),
    "output": (PLAIN, {"n": lif(), "output": port(nir.Output, N + 1)}, r"node 'output' has the shape \(7,\), but 6"),
    "two inputs": (PLAIN, {"n": lif(), "more": port(nir.Input, M)}, "2 nodes of type Input"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_evsim_cannot_express_is_refused_by_name(tmp_path, name, capsys):
    edges, nodes, told = BAD[name]
    path = tmp_path / "net.nir"
    nir.write(path, graph(edges, types=False, **{"w": W, **nodes}))
    with pytest.raises(ValueError, match=f"net.nir: .*{told}"):
        read_nir(path, 1e-3)
    assert main(["import", str(path), "--dt", "0.001", "--out", str(tmp_path / "net.npz")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("evsim: ") and said.count("\n") == 1 and not (tmp_path / "net.npz").exists()


@pytest.mark.parametrize(
    ("edge", "told"), [("nobody", "an edge n -> nobody, but no node nobody"), ("output", "two edges n -> output")]
)
def test_an_edge_too_many(edge, told):
    made = graph(PLAIN, w=W, n=lif())
    made.edges.append(("n", edge))
    with pytest.raises(ValueError, match=told):
        read_nir(made, 1e-3)


def test_how_long_a_step_is(tmp_path):
    made = graph(PLAIN, w=W, n=lif())
    with pytest.raises(ValueError, match="does not say how long a step is.*--dt"):
        read_nir(made)
    for dt in (0, -1e-3, np.nan, "1"):
        with pytest.raises(ValueError, match="dt=.* is not usable"):
            read_nir(made, dt)
    made.metadata = {"dt": 1e-3}
    assert read_nir(made).dt == read_nir(made, 1e-3).dt == 1e-3
    with pytest.raises(ValueError, match="written for steps of 0.001 s, but dt=0.002 was given"):
        read_nir(made, 2e-3)


def damaged(path, how):
    """Do to a good file what the name says."""
    data = path.read_bytes()
    if how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("no HDF5 at all\n" * 100)
    elif how == "npz":
        np.savez(path.with_suffix(""), a=np.zeros(3))
        shutil.move(path.with_suffix(".npz"), path)
    else:
        with h5py.File(path, "r+") as file:
            if how == "other HDF5":
                del file["node"]
            elif how == "no edges":
                del file["node/edges"]
            elif how == "no weight":
                del file["node/nodes/w/weight"]
            elif how == "text for numbers":
                del file["node/nodes/w/weight"]
                file["node/nodes/w/weight"] = "heavy"
            elif how == "no type":
                del file["node/nodes/n/type"]
            elif how == "lone node":
                del file["node"]
                file["node/type"] = "LIF"


HOW = ["truncated", "empty", "text", "npz", "other HDF5", "no edges", "no weight", "text for numbers", "no type",
       "lone node"]  # fmt: skip


@pytest.mark.parametrize("how", HOW)
def test_damaged_files(tmp_path, how, capsys):
    path = tmp_path / "net.nir"
    nir.write(path, graph(PLAIN, w=W, n=lif()))
    damaged(path, how)
    told = r"net.nir: .*(cannot be read as a NIR file|does not hang together|of node 'w')"
    with pytest.raises(ValueError, match=told):
        read_nir(path, 1e-3)
    assert main(["import", str(path), "--dt", "0.001", "--out", str(tmp_path / "net.npz")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_every_truncation_is_refused_or_whole(tmp_path):
    path = tmp_path / "net.nir"
    nir.write(path, graph(PLAIN, w=W, n=lif()))
    data = path.read_bytes()
    for size in range(0, len(data), len(data) // 40):
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match="cannot be read as a NIR file"):
            read_nir(path, 1e-3)


def test_the_command(tmp_path, capsys):
    path, out = tmp_path / "net.nir", tmp_path / "net.npz"
    assert main(["import", str(path), "--out", str(out)]) == 2
    assert f"there is no file {path}" in capsys.readouterr().err
    assert main(["import", str(tmp_path), "--out", str(out)]) == 2
    made = graph(PLAIN, w=W, n=lif())
    nir.write(path, made)
    assert main(["import", str(path), "--out", str(out)]) == 2
    assert main(["import", str(path), "--out", str(out), "--dt", "0.001"]) == 0
    assert f"is in {out}" in capsys.readouterr().out
    assert np.array_equal(evsim.load(out).net.run(X), read_nir(made, 1e-3).run(X))
    assert main(["import", str(path), "--out", str(out), "--dt", "0.001"]) == 2
    assert "exists" in capsys.readouterr().err
    assert main(["import", str(path), "--out", str(out), "--dt", "0.001", "--force"]) == 0
