"""C in float32 gives what evsim gives, over 1,000 steps of every cell and of stacks."""

from types import SimpleNamespace

import numpy as np
import pytest
from bundled import READOUTS
from compiled import SANITIZE, Library, compile, folder, model_of, needs_gcc, run
from naive import forward
from quantised import inputs, network

from evsim.exports import c
from evsim.registry import names
from evsim.words import NumpyWords

pytestmark = needs_gcc
STEPS = 1000
NEAR = 1e-6  # of the threshold: there rounding decides whether there is an event
VARIANTS = [((kind,), {}) for kind in names("cell")] + [
    *(((kind,), {"reset": "zero"}) for kind in ("lif", "cubalif", "alif", "adlif")),
    (("egru",), {"always": True}), (("evrnn",), {"graded": False}), (("egru", "lif"), {}), (("alif", "egru"), {}),
    (("evrnn", "adlif"), {}), (("cubalif", "evrnn"), {}),
]  # fmt: skip


class Watching(NumpyWords):
    """Notes by how much each unit is above its threshold."""

    seen: list = []

    def event(self, x):
        Watching.seen.append(np.abs(x).min())
        return super().event(x)


def compared(net, library, x):
    """(steps before the first event that differs, largest error of outputs until then, relative to the largest)."""
    wanted, shown = net.run(x, record_events=True)
    out, events = library.run(x)
    assert all(one.any() for one in shown)
    differ = np.any([((a != 0) != (b != 0)).any(1) for a, b in zip(events, shown, strict=True)], axis=0)
    steps = int(np.argmax(differ)) if differ.any() else len(x)
    pairs = zip([out, *events], [wanted, *shown], strict=True)
    return steps, max(float((np.abs(a - b)[:steps] / (1 + np.abs(b).max())).max(initial=0)) for a, b in pairs)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize(("kinds", "options"), VARIANTS, ids=str)
def test_float_c_is_near(kinds, options, readout):
    net, x = network(kinds, readout=readout, **options), inputs(STEPS).astype(np.float32)
    steps, error = compared(net, Library(model_of(net)), x)
    assert error < 1e-5
    if steps < STEPS:  # an event that rounding decides: the state, in float64, is at its threshold at that step
        exact = network(kinds, "float64", readout, **options)
        Watching.seen.clear()
        forward(exact, x[: steps + 1].astype(np.float64), Watching)
        assert min(Watching.seen[-4 * len(kinds) :]) < NEAR and steps > 100


def test_another_weight_is_noticed():
    net, x = network(["egru", "lif"], readout="leaky"), inputs(STEPS).astype(np.float32)
    right = Library(model_of(net))
    assert compared(net, right, x)[0] == STEPS
    values = net.parameters()
    one = np.flatnonzero(values["layers.0.weight_in"])[0]
    values["layers.0.weight_in"].flat[one] *= np.float32(1.001)
    net.load_parameters(values)
    steps, error = compared(net, right, x)
    assert steps < STEPS or error > 1e-5


@pytest.mark.parametrize("kinds", [("egru", "alif"), ("evrnn",)], ids=str)
def test_the_written_test_runs_under_sanitizers(kinds, tmp_path):
    trained = SimpleNamespace(net=network(kinds, "float64", "leaky"), task=None)
    found = c.export(trained, tmp_path / "c")
    assert found["arithmetic"] == "float32" and found["ram_bytes"] > 0
    code, text = run(compile(tmp_path / "c", *SANITIZE))
    assert code == 0 and "recorded: 128 steps" in text and "random" not in text
    main = tmp_path / "c" / "test_main.c"
    main.write_text(main.read_text().replace("<= 1e-05 *", "<= -1.0 *"))
    code, text = run(compile(tmp_path / "c"))
    assert code == 1 and "FAILED" in text


def test_float64_networks_become_float32():
    x = inputs(200).astype(np.float32)
    exact = network(["egru"], "float64")
    here = folder()
    c.export(SimpleNamespace(net=exact, task=None), here, force=True, soak=10)
    rounded = network(["egru"])
    rounded.load_parameters({name: value.astype(np.float32) for name, value in exact.parameters().items()})
    assert (here / "model.c").read_text() == model_of(rounded).code()
    assert compared(rounded, Library(model_of(rounded)), x)[0] == 200
