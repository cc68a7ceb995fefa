"""Bundles: what is written is what is read, the replay agrees, and notices what was changed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import naive
import numpy as np
import pytest
from bundled import READOUTS, arrays_of, edited, network, written

import evsim
from evsim import registry
from evsim.exports import bundle, replay
from evsim.registry import lookup, names

ROOT = Path(evsim.__file__).resolve().parent.parent
VARIANTS = [(kind, {}) for kind in names("cell")] + [
    ("adlif", {"reset": "zero"}), ("alif", {"reset": "zero", "learn_rho": True}), ("cubalif", {"reset": "zero"}),
    ("lif", {"reset": "zero", "detach_reset": True}), ("evrnn", {"graded": False}), ("egru", {"always": True}),
]  # fmt: skip


def settings(net):
    """A network's config without local parameters and time constants, of which a bundle has arrays."""
    found = net.config()
    gone = {name for cell in net.stack for name in (*cell.local, *cell.decays.values())}
    for one in (*found["layers"], found["readout"]):
        for name in gone & set(one):
            del one[name]
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize(("kind", "options"), VARIANTS, ids=str)
def test_written_read_and_replayed(tmp_path, kind, options, readout, dtype):
    net = network((kind, kind), dtype, readout, **options)
    path = written(net, tmp_path / "a")
    again = bundle.load(path)
    assert settings(again) == settings(net) and again.dtype == net.dtype and again.dt == net.dt
    assert again.theta.tobytes() == net.theta.tobytes()
    for one, other in ((net.parameters(), again.parameters()), (net.masks(), again.masks())):
        assert set(one) == set(other)
        assert all(one[name].tobytes() == other[name].tobytes() for name in one)
    first, second = arrays_of(path), arrays_of(written(again, tmp_path / "b"))
    assert set(first) == set(second)
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)
    found = replay.verify(path)
    assert found["agrees"] and found["difference"] is None and found["near_threshold"] == 0
    assert found["sequences"] == 2 and found["steps"] == 128 and min(found["events_per_layer"]) > 0
    assert found["events"] == sum(np.count_nonzero(first[f"trace.events.{k}"]) for k in (0, 1))
    scale = 1 + max(np.abs(first[f"trace.events.{k}"]).max() for k in (0, 1))
    tight = scale * (1e-6 if dtype == "float32" else 1e-14)
    assert max(found["largest_output_difference"], found["largest_event_difference"]) < tight


@pytest.mark.nojit
@pytest.mark.parametrize("kinds", [("egru", "lif"), ("cubalif", "evrnn"), ("alif",), ("adlif", "egru")], ids=str)
def test_the_trace_is_what_the_equations_say(tmp_path, kinds):
    net = network(kinds, "float64", "leaky")
    trace = arrays_of(written(net, tmp_path / "a"))
    assert replay.verify(tmp_path / "a")["agrees"]
    for start in (0, 64):
        here = slice(start, start + 64)
        out, seen = naive.forward(net, trace["trace.x"][here])
        np.testing.assert_allclose(trace["trace.out"][here], out, rtol=1e-10, atol=1e-12)
        for k in range(len(kinds)):
            shown = np.array([y for y, _, _ in seen[k]])
            np.testing.assert_allclose(trace[f"trace.events.{k}"][here], shown, rtol=1e-10, atol=1e-12)


def heard_edge(arrays, k, side):
    """An edge whose source has an event, before the last step, in the trace."""
    heard = arrays[f"trace.events.{k - (side == 'in')}"] if k or side == "rec" else arrays["trace.x"]
    source = arrays[f"layers.{k}.weight_{side}.source"]
    count = np.count_nonzero(heard[:-1], axis=0)[source] * np.abs(arrays[f"layers.{k}.weight_{side}.weight"][0])
    return int(count.argmax())


@pytest.mark.parametrize(("kind", "options"), VARIANTS, ids=str)
def test_controls_a_changed_weight_or_threshold_is_noticed(tmp_path, kind, options):
    path = written(network((kind, kind), **options), tmp_path / "a")
    arrays = arrays_of(path)
    for k, side in ((0, "in"), (0, "rec"), (1, "in"), (1, "rec")):
        name = f"layers.{k}.weight_{side}.weight"
        weight = arrays[name].copy()
        weight[0, heard_edge(arrays, k, side)] *= -1
        found = replay.verify(edited(path, **{name: weight}))
        assert not found["agrees"] and found["difference"]["layer"] == k, name
    for k in (0, 1):
        name = f"layers.{k}.threshold"
        found = replay.verify(edited(path, **{name: arrays[name] * np.float32(3)}))
        assert not found["agrees"] and found["difference"]["layer"] == k, name
    readout = replay.verify(edited(path, readout__weight=-arrays["readout.weight"]))
    assert not readout["agrees"] and "output" in readout["difference"]


@pytest.mark.parametrize("kind", ["egru", "lif"])
def test_controls_a_changed_trace_is_noticed_where_it_was_changed(tmp_path, kind):
    path = written(network((kind, kind)), tmp_path / "a")
    arrays = arrays_of(path)
    for k in (0, 1):
        shown = arrays[f"trace.events.{k}"]
        for t, i in (np.argwhere(shown[64:] != 0)[3] + (64, 0), np.argwhere(shown == 0)[-1]):
            other = shown.copy()
            other[t, i] = 1 if shown[t, i] == 0 else 0
            found = replay.verify(edited(path, **{f"trace.events.{k}": other}))
            place = {name: found["difference"][name] for name in ("sequence", "step", "layer", "unit")}
            assert place == {"sequence": t // 64, "step": t % 64, "layer": k, "unit": i}
            assert found["steps"] == t and found["sequences"] == t // 64 and not found["agrees"]
            assert found["difference"]["recorded"] == other[t, i]
            assert (found["difference"]["replayed"] != 0) == (shown[t, i] != 0)
    out = arrays["trace.out"].copy()
    out[70, 2] += 1e-3
    found = replay.verify(edited(path, trace__out=out))["difference"]
    assert (found["sequence"], found["step"], found["output"]) == (1, 6, 2)


def test_controls_decays_of_another_step_or_exchanged_are_noticed(tmp_path):
    path = written(network(("cubalif", "adlif"), readout="leaky"), tmp_path / "a")
    arrays = arrays_of(path)
    for name, value in arrays.items():
        if name.endswith((".alpha", ".beta", ".rho", ".kappa")):
            assert not replay.verify(edited(path, **{name: value**2}))["agrees"], name  # twice the dt
            assert not replay.verify(edited(path, **{name: value[::-1]}))["agrees"], name
    exchanged = {"layers.0.alpha": arrays["layers.0.beta"] ** 1.5, "layers.0.beta": arrays["layers.0.alpha"]}
    assert not replay.verify(edited(path, **exchanged))["agrees"]
    assert not replay.verify(edited(path, layers__1__coupling=arrays["layers.1.coupling"] * 1.5))["agrees"]
    header = json.loads(str(arrays["header"]))
    header["layers"][0]["reset"] = "zero"
    assert not replay.verify(edited(path, header))["agrees"]
    header["layers"][0]["kind"] = "lif"
    with pytest.raises(ValueError, match=r"an array layers.0.alpha, which does not belong in it"):
        replay.verify(edited(path, header))


def test_what_lies_within_rounding_of_the_threshold_is_counted_and_goes_on(tmp_path):
    net = evsim.Network(1, evsim.LIF(1, beta=0.5, threshold=0.75, reset="zero"), evsim.Readout(1), seed=0)
    ones = {"layers.0.weight_in": [[[0.75]]], "layers.0.weight_rec": [[[0.0]]], "layers.0.bias": [[0.0]]}
    net.load_parameters({**net.parameters(), **ones})
    path = written(net, tmp_path / "a")
    steps = int(arrays_of(path)["trace.lengths"].sum())
    arrays = {"trace.x": np.ones((steps, 1), "f4"), "trace.events.0": np.zeros((steps, 1), "f4")}
    out, events = net.run(arrays["trace.x"].reshape(2, -1, 1), record_events=True)
    arrays |= {"trace.events.0": events[0].reshape(-1, 1), "trace.out": out.reshape(-1, 1)}
    assert not events[0][:, ::2].any() and events[0][:, 1::2].all()  # 0.75 is not above 0.75; 0.375 + 0.75 is
    whole = edited(path, **arrays).rename(tmp_path / "whole")
    assert replay.verify(whole)["agrees"]
    lower = np.nextafter(np.float32([0.75]), np.float32(0))
    found = replay.verify(edited(whole, layers__0__threshold=lower))
    assert found["agrees"] and found["near_threshold"] == steps / 2 and found["steps"] == steps
    found = replay.verify(edited(whole, layers__0__threshold=lower - np.float32(1e-4)))
    assert not found["agrees"] and found["difference"]["step"] == 0 and found["near_threshold"] == 0


def test_a_cell_of_ones_own_needs_nothing_more_than_its_name(tmp_path, monkeypatch):
    monkeypatch.setitem(registry.CELLS, "own-lif", "bundled:OwnLIF")
    path = written(network(("own-lif", "egru")), tmp_path / "a")
    assert replay.verify(path)["agrees"] and bundle.load(path).layers[0].kind == "own-lif"
    monkeypatch.delitem(registry.CELLS, "own-lif")
    with pytest.raises(ValueError, match="cell 'own-lif' is unknown"):
        bundle.read(path)


def test_real_sequences_of_a_task_each_as_long_as_it_is(tmp_path):
    task = lookup("task", "tmaze")(length=4)
    net = evsim.Network(task.n_in, evsim.EGRU(6), evsim.Readout(task.n_out), seed=0)
    trace = arrays_of(written(net, tmp_path / "a", task))
    data = task.split("test")
    lengths = np.full(len(data.x), data.x.shape[1]) if data.lengths is None else data.lengths
    places = np.linspace(0, len(data.x) - 1, 4).astype(int)
    assert trace["trace.lengths"].tolist() == lengths[places].tolist()
    start = 0
    for k in places:
        np.testing.assert_array_equal(trace["trace.x"][start : start + lengths[k]], data.x[k, : lengths[k]])
        start += lengths[k]
    assert replay.verify(tmp_path / "a")["sequences"] == 4


def test_tokens_become_ones_among_zeros(tmp_path):
    task = lookup("task", "text")(limit=2000)
    net = evsim.Network(task.n_in, evsim.LIF(4), evsim.Readout(task.n_out), seed=0, tokens=True)
    trace = arrays_of(written(net, tmp_path / "a", task))
    assert (trace["trace.x"].sum(1) == 1).all() and trace["trace.lengths"].max() <= 256
    assert replay.verify(tmp_path / "a")["agrees"]


def test_verifying_needs_neither_network_nor_kernels(tmp_path):
    path = written(network(("egru", "adlif"), readout="leaky"), tmp_path / "a")
    code = (
        "import sys\nfor name in ('evsim.network', 'evsim.forward', 'evsim.layout'): sys.modules[name] = None\n"
        f"from evsim.exports.replay import verify\nfound = verify({str(path)!r})\n"
        "from evsim.cells.egru import EGRU\nassert not EGRU.kernel.signatures\nprint(found['agrees'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert told.stdout.strip() == "True", told.stderr


def test_the_reader_of_the_page_agrees_with_the_trace(tmp_path, monkeypatch):
    """The lines of docs/deploy.md, which use nothing of ours, on a network of the kind that they are for."""
    text = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    net = network(("lif", "lif"))
    written(net, "model.bundle")
    space = {}
    exec(code, space)
    assert space["wrong"] == 0 and space["far"] < 1e-5
    arrays = arrays_of("model.bundle")
    edited("model.bundle", layers__0__threshold=arrays["layers.0.threshold"] * 2).rename("model.bundle")
    exec(code, space)
    assert space["wrong"] > 0


def test_the_commit_is_that_of_our_own_checkout(tmp_path, monkeypatch):
    from evsim import source

    def git(*words, at=ROOT):
        return subprocess.run(["git", "-C", str(at), *words], capture_output=True, text=True).stdout.strip()

    if git("rev-parse", "--show-toplevel") == str(ROOT):
        assert (source.commit() or "").removesuffix("-dirty") == git("rev-parse", "HEAD")
    git("init", at=tmp_path)
    inside = tmp_path / "lib" / "evsim"
    inside.mkdir(parents=True)
    monkeypatch.setattr(source, "HERE", inside)  # installed into a folder of another checkout
    assert source.commit() is None
    monkeypatch.setattr(source, "HERE", tmp_path / "evsim")  # at its top, but no file of it
    assert source.commit() is None
