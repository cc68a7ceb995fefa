"""The learner in C in use: statuses, work that is not done, the header in C++, sanitizers, `evsim export --learn`."""

import ctypes
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from compiled import needs_arm
from device import WARN, Device, needs_gcc
from oracle import all_trained, sequence, targets_for

import evsim
from evsim.cli import main
from evsim.emit.footprint import worst_stack
from evsim.emit.learn_model import LearningModel
from evsim.emit.learn_plan import METHODS, plan_learner
from evsim.emit.learn_report import multiply_adds
from evsim.emit.learn_vectors import RATE, STEPS, UPDATES, record_learning
from evsim.exports import c
from evsim.fixed.parts import divide

OK, NULL, ORDER, TARGET, UNUSABLE, DIVERGED = 0, 1, 5, 6, 7, 8
SANITIZED = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"


def trained(net, loss="mse"):
    return SimpleNamespace(net=net, settings={}, task=None, loss=loss)


@needs_gcc
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_statuses(loss, tmp_path):
    net = all_trained(("egru",), dtype="float32", readout="linear")
    device = Device(net, tmp_path, loss=loss)
    library, state = device.library, ctypes.byref(device.state)
    good, bad = (1, 3) if loss == "cross_entropy" else ([0.1, 0.2, 0.3], [0.1, np.nan, 0.3])
    assert device.learn(good) == ORDER  # no step yet
    device.step(sequence(net, 1)[0])
    before = bytes(device.state)
    assert device.learn(bad) == TARGET and bytes(device.state) == before
    for rate, clip in ((np.nan, 0), (-0.1, 0), (np.inf, 0), (0.1, -1), (0.1, np.inf)):
        assert device.update(rate, clip) == UNUSABLE and bytes(device.state) == before
    for function in (library.model_init, library.model_reset):
        assert function(None) == NULL
    assert library.model_update(None, 0.1, 0.0) == NULL
    if loss == "mse":
        assert library.model_learn_values(state, None) == NULL
    assert device.learn(good) == OK and device.state.loss > 0
    assert device.update(0.01) == OK
    assert device.learn(good) == ORDER  # other weights than those of the step


@needs_gcc
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
def test_a_diverged_update_leaves_the_weights(value, tmp_path):
    net = all_trained(("lif",), dtype="float32", readout="leaky")
    device = Device(net, tmp_path, loss="mse")
    x, targets = sequence(net, 20), targets_for(net, "mse", (20,))
    for t in range(20):
        device.step(x[t], targets[t])
    before = device.weights
    device.state.gradient[7] = value
    assert device.update(100.0) == DIVERGED
    np.testing.assert_array_equal(device.weights, before)
    assert not device.gradient.any() and device.state.loss == 0
    device.reset()
    device.step(x[0], targets[0])
    assert device.update(0.1) == OK and np.isfinite(device.weights).all()
    assert not np.array_equal(device.weights, before)


@needs_gcc
def test_reset_and_init(tmp_path):
    """A reset clears state and influence and keeps what is learnt; init begins anew."""
    net = all_trained(("egru", "alif"), dtype="float32", readout="linear")
    device = Device(net, tmp_path, loss="mse")
    x, targets = sequence(net, 30), targets_for(net, "mse", (30,))

    def run():
        outs = np.array([device.step(x[t], targets[t]) for t in range(30)])
        return outs, device.gradient

    outs, gradient = run()
    device.check(device.update(0.01))
    weights = device.weights
    assert not np.array_equal(weights, net.trained)
    assert np.any(device.state.influence[:])
    run()
    device.reset()
    np.testing.assert_array_equal(device.weights, weights)
    assert device.gradient.any() and not np.any(device.state.influence[:])
    device.init()
    np.testing.assert_array_equal(device.weights, net.trained)
    again = run()
    np.testing.assert_array_equal(again[0], outs)
    np.testing.assert_array_equal(again[1], gradient)


@needs_gcc
def test_values_are_projected_as_evsim_does(tmp_path):
    net = all_trained(("egru", "cubalif"), dtype="float32", readout="leaky")
    device = Device(net, tmp_path, loss="mse")
    device.step(sequence(net, 1)[0], [0, 0, 0])
    push = np.where(np.arange(net.layout.trained) % 2, 5, -5).astype(np.float32)
    device.state.gradient[:] = push.tolist()
    device.check(device.update(1.0))
    evsim.SGD(1.0).apply(net.trained, push)
    net.project()
    np.testing.assert_array_equal(device.weights, net.trained)


@needs_gcc
@pytest.mark.parametrize("method", ["exact", "snap1", "eprop"])
def test_no_more_work_is_done_than_is_said_and_none_for_silent_units(method, tmp_path):
    """Multiply-adds of whole rows, counted by the C itself."""
    net = all_trained(("lif", "egru"), dtype="float32", readout="linear")

    def change(code):
        code = code.replace("to[j] += factor * from[j];", "to[j] += factor * from[j]; ++done;")
        return code.replace("static void learn_add", "unsigned long done;\nstatic void learn_add")

    device = Device(net, tmp_path, method, "mse", change)
    done, most = ctypes.c_ulong.in_dll(device.library, "done"), multiply_adds(device.model.plan)
    x, targets, seen = sequence(net, 40), targets_for(net, "mse", (40,)), []
    for t in range(40):
        before = done.value
        device.step(x[t])
        carried = done.value - before
        device.check(device.learn(targets[t]))
        assert carried <= most["influence"] and done.value - before - carried <= most["gradient"]
        seen.append(carried)
    assert max(seen) > min(seen) and max(seen) > 0
    quiet = net.parameters()
    for name, value in quiet.items():
        if "weight" in name or "bias" in name:
            value[:] = -50.0 if name.startswith("layers") and "bias" in name else 0.0
    net.load_parameters(quiet)
    device.state.weights[:] = net.trained.tolist()
    device.reset()
    before = done.value
    for _ in range(5):
        device.step(np.ones(net.n_in), targets[0])
    assert done.value == before


@needs_gcc
@pytest.mark.skipif(not shutil.which("g++"), reason="no g++ to compile the header with")
@pytest.mark.parametrize("name", ["learn", "layer0", "readout", "weights"])
@pytest.mark.parametrize("method", METHODS)
def test_the_header_is_also_one_of_cpp_and_names_do_not_clash(method, name, tmp_path):
    net = all_trained(("alif", "egru"), dtype="float32", readout="leaky" if name == "learn" else "linear")
    c.export(trained(net), tmp_path / "m", name=name, method=method)
    use = f'#include "{name}.h"\nint main() {{ {name}_state s; return {name}_init(&s); }}\n'
    (tmp_path / "m" / "use.cc").write_text(use)
    for compiler, standard, file in (("g++", "-std=c++11", "use.cc"), ("gcc", "-std=c99", f"{name}.c")):
        flags = [compiler, standard, *WARN[1:], "-c", file, "-o", "out.o"]
        done = subprocess.run(flags, cwd=tmp_path / "m", capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr


@needs_gcc
@pytest.mark.skipif(not shutil.which("make"), reason="no make")
@pytest.mark.parametrize(
    ("stack", "method", "readout"),
    [
        (("egru", "lif"), "exact", "linear"), (("cubalif-zero", "alif"), "snap1", "leaky"),
        (("evrnn", "adlif"), "eprop", "linear"), (("egru",), "readout", "leaky"),
    ],
    ids=str,
)  # fmt: skip
def test_the_exported_test_passes_under_sanitizers(stack, method, readout, tmp_path):
    """And fails where the update is another."""
    net = all_trained(stack, dtype="float32", readout=readout)
    found = c.export(trained(net), tmp_path / "m", method=method)
    assert found["learner"]["method"] == method and found["ram_bytes"] == found["learner"]["ram_bytes"]
    assert {"model.c", "model.h", "test_main.c", "Makefile", "MEMORY.md"} <= set(found["files"])
    assert "## The learner" in (tmp_path / "m" / "MEMORY.md").read_text()

    def make():
        made = ["make", "-B", "test", f"CFLAGS={SANITIZED}"]
        return subprocess.run(made, cwd=tmp_path / "m", capture_output=True, text=True, check=False)

    done = make()
    assert not done.returncode, done.stdout + done.stderr
    updates, apart = re.search(r"lesson: (\d+) updates, weights differ by ([\d.e+-]+)", done.stdout).groups()
    assert int(updates) >= 40 and float(apart) <= 1e-4
    if method != "exact":
        return
    code = tmp_path / "m" / "model.c"
    text = code.read_text()
    code.write_text(text.replace("state->weights[k] -= rate *", "state->weights[k] -= 0.9f * rate *"))
    assert code.read_text() != text and make().returncode


@needs_arm
@pytest.mark.parametrize(("stack", "method"), [(("egru", "alif"), "exact"), (("cubalif",), "snap1")], ids=str)
def test_on_a_cortex_m3(stack, method, tmp_path):
    """Hundreds of updates in software floating point, and another libm: the weights on record."""
    c.export(trained(all_trained(stack, dtype="float32")), tmp_path / "m", method=method)
    done = subprocess.run(["make", "m3"], cwd=tmp_path / "m", capture_output=True, text=True, check=False)
    assert not done.returncode and re.search(r"lesson: \d\d+ updates", done.stdout), done.stdout + done.stderr


def test_the_most_stack_is_that_of_the_deepest_chain():
    code = """static float low(float x)
{
    return x;
}

static void side(state *s, size_t n,
    size_t m)
{
    s->a[low(1)] = 0;
}

status model_step(state *s)
{
    side(s, low(1), 2);
    if (s) {
        low(3);
    }
    return OK;
}
"""
    usage = "m.c:1:14:low\t8\tstatic\nm.c:6:13:side\t100\tstatic\nm.c:12:8:model_step\t24\tstatic\n"
    assert worst_stack(usage, code) == 132
    assert worst_stack(usage.replace("100", "0"), code) == 32
    assert worst_stack(usage, code.replace("    side(s, low(1), 2);\n", "")) == 108


@pytest.mark.parametrize("learn", [False, True])
def test_a_network_that_grows_without_bound_is_refused(learn, tmp_path):
    net = evsim.Network(6, [evsim.EvRNN(12)], evsim.Readout(3), seed=2)
    values = net.parameters()
    values["layers.0.weight_rec"] *= 9
    net.load_parameters(values)
    with pytest.raises(ValueError, match=r"outputs are no numbers from step \d+ of sequence 0 on"):
        c.export(trained(net), tmp_path / "m", learn=learn)
    assert not (tmp_path / "m").exists()


def test_the_header_says_whose_parameters_are_where():
    """In the order of units that it tells, weights are those of the network, unit by unit."""
    net = all_trained(("alif", "egru"), dtype="float32", readout="linear", density=0.2)
    header = LearningModel(divide(net), "model", plan_learner(net), "mse").header()
    values, masks, told = net.parameters(), net.masks(), 0
    for k, cell in enumerate(net.layers):
        place = rf"FIRST_LAYER{k} (\d+)(?:\n/\* its units follow so: ([\d,\s]+) \*/)?"
        first, order = re.search(place, header).groups()
        units = [int(one) for one in order.split(",")] if order else range(cell.units)
        told += order is not None
        found = []
        for u in units:
            for side in ("in", "rec"):
                weight, mask = (one[f"layers.{k}.weight_{side}"] for one in (values, masks))
                found += weight[:, u, :].T[np.broadcast_to(mask, weight.shape)[:, u, :].T].tolist()
            found += values[f"layers.{k}.bias"][:, u].tolist()
            found += [values[f"layers.{k}.{name}"][u] for name in cell.trained()]
        np.testing.assert_array_equal(net.trained[int(first) :][: len(found)], np.float32(found))
    assert told


def test_updates_on_record_are_those_of_evsim():
    net = all_trained(("lif",), dtype="float32", readout="linear")
    inputs = [sequence(net, 50), sequence(net, 20, 1)]
    found = record_learning(plan_learner(net), "mse", inputs)
    assert 0 < len(found.x) <= UPDATES and len(found.x) == len(found.targets)
    twin = all_trained(("lif",), dtype="float32", readout="linear")
    learner, optimizer = evsim.RTRL(twin, loss="mse"), evsim.SGD(RATE)
    for t, (x, target) in enumerate(zip(found.x, found.targets)):
        if t % STEPS == 0:
            learner.reset()
        learner.step(x, target)
        learner.update(optimizer, clip=1.0)
    np.testing.assert_array_equal(found.weights, twin.trained)
    np.testing.assert_array_equal(found.x[:STEPS], inputs[0][:STEPS])
    assert not np.array_equal(net.trained, twin.trained)  # the network itself was not changed


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder, of 12 units that were trained a little on arrays."""
    place, before = tmp_path_factory.mktemp("run"), Path.cwd()
    os.chdir(place)
    y = np.arange(24) % 2
    np.savez("own.npz", x=np.random.default_rng(0).standard_normal((24, 5, 3)) + y[:, None, None], y=y)
    given = ["--data", "own.npz", "--units", "12", "--streams", "4", "--epochs", "1"]
    assert main(["train", *given, "--out", "r"]) == 0
    os.chdir(before)
    return place


def test_from_the_command_line(run, monkeypatch, capsys):
    monkeypatch.chdir(run)
    assert main(["export", "r", "--to", "c", "--out", "learns", "--learn", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["learner"]["method"] == "exact" and found["learner"]["multiply_adds"]["influence"] > 0
    assert "model_learn_class" in Path("learns/model.h").read_text()
    assert json.loads(Path("learns/memory.json").read_text())["learner"] == found["learner"]
    assert main(["export", "r", "--to", "c", "--out", "cut", "--method", "snap1", "--ram", "16K", "--json"]) == 0
    cut = json.loads(capsys.readouterr().out)["learner"]
    assert cut["method"] == "snap1" and cut["ram_bytes"] < found["learner"]["ram_bytes"]
    assert main(["export", "r", "--to", "c", "--out", "plain", "--json"]) == 0
    assert "learner" not in json.loads(capsys.readouterr().out)
    assert "learn" not in Path("plain/model.h").read_text()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--learn", "--ram", "4K"], "--method exact takes .* bytes of RAM, but --ram allows 4,096; .* readout"),
        (["--method", "bptt"], "method='bptt'"), (["--ram", "64K"], "--ram is of the learner: give --learn too"),
        (["--method", "exact", "--bits", "8"], "--method exact is of float32"),
        (["--learn", "--ram", "lots"], "no amount of memory"),
    ],
    ids=str,
)  # fmt: skip
def test_refusals(run, monkeypatch, capsys, options, told):
    monkeypatch.chdir(run)
    assert main(["export", "r", "--to", "c", "--out", "refused", *options]) == 2
    assert re.search(told, capsys.readouterr().err) and not Path("refused").exists()
