"""C in fixed point is the golden model, bit for bit, over 10,000 random steps, however it is compiled."""

import re

import numpy as np
import odd
import proven
import pytest
from compiled import SANITIZE, Library, compile, folder, model_of, needs_gcc, run, write
from quantised import inputs, network

from evsim.fixed.golden import Golden
from evsim.fixed.quantise import quantise

pytestmark = needs_gcc
FLAGS = {"O0": ("-O0",), "O3": ("-O3", "-march=native"), "sanitizers": SANITIZE}


def said(path):
    """The hash that a test printed; what it compares must be there and agree."""
    code, text = run(path)
    assert code == 0, text
    steps, events = re.search(r"recorded: (\d+) steps, (\d+) events agree", text).groups()
    assert int(steps) == 60 and int(events) > 0
    steps, digest = re.search(r"random: (\d+) steps, hash ([0-9A-F]{8})", text).groups()
    assert int(steps) == proven.STEPS
    return digest


@pytest.mark.parametrize("name", proven.NETWORKS)
def test_every_build_agrees_with_the_golden_model(name):
    place = proven.written(name)
    found = {said(compile(place, *flags, out=f"test_{what}")) for what, flags in FLAGS.items()}
    assert len(found) == 1


@pytest.mark.parametrize("readout", ["linear", "leaky"])
def test_networks_differ_in_their_hashes(readout):
    """Else the hash would prove nothing."""
    names = [name for name, one in proven.NETWORKS.items() if one[3] == readout]
    hashes = {re.search(r"hash != (\d+)u", (proven.written(name) / "test_main.c").read_text())[1] for name in names}
    assert len(hashes) == len(names) > 3


FAULTS = {
    "a weight": ("egru", r"(layer0_in_weight\[\d+\] = \{\s+)(-?\d+)", lambda m: m[1] + str(int(m[2]) - 1)),
    "a bias": ("egru", r"(layer0_bias\[\d+\] = \{\s+)(-?\d+)", lambda m: m[1] + str(int(m[2]) + 400)),
    "halves down": ("egru", r"\(n - 1\)\), n\)", lambda m: "(n - 1)) - 1, n)"),
    "cut, not rounded": ("egru", r"x \+ \(\(int32_t\)1 << \(n - 1\)\)", lambda m: "x"),
    "a point": ("egru", r"(model_tanh_points\[\d+\] = \{\s+0, )(\d+)", lambda m: m[1] + str(int(m[2]) + 1)),
    "no reset": ("egru", r"model_clip32\(\(v\d+ != 0 \? layer0_constant\d+\[i\] : 0\), 32767\)", lambda m: "0 * v1"),
    "wraps": ("alif", r"y > top \? top", lambda m: "y > top ? -top"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_noticed(fault):
    name, pattern, change = FAULTS[fault]
    place = proven.written(name)
    text, count = re.subn(pattern, change, (place / "model.c").read_text(), count=1)
    assert count == 1
    (place / "faulty.c").write_text(text)
    relaxed = ("-std=c99", "-w")
    code, text = run(compile(place, "-O1", sources=("faulty.c", "test_main.c"), out="faulty", warn=relaxed))
    assert code == 1 and "FAILED" in text


def compared(fixed, m):
    """How many events and outputs differ from the golden model's, step by step, through a library."""
    out, events = Library(model_of(fixed)).run(m)
    wanted, shown = Golden(fixed).run(m[None])
    assert all(one.any() for one in shown)
    pairs = [(out, wanted[0]), *((one, other[0]) for one, other in zip(events, shown, strict=True))]
    return sum(int(np.count_nonzero(one != other)) for one, other in pairs)


@pytest.mark.parametrize(("bits", "state_bits"), [(4, 16), (8, 32), (16, 16)])
def test_equations_of_any_kind(bits, state_bits):
    fixed = quantise(odd.network(), [inputs() / 2], bits, state_bits)
    assert compared(fixed, fixed.given.quantise(inputs(500))) == 0


@pytest.mark.parametrize("name", ["alif", "egru wide", "evrnn, egru"])
def test_step_by_step_through_a_library(name):
    """Also where inputs are as large as they can be, so that all that can saturate does."""
    fixed = proven.fixed(name)
    assert compared(fixed, fixed.given.quantise(inputs(300, 9))) == 0
    rng = np.random.default_rng(0)
    assert compared(fixed, rng.choice([-fixed.given.top, 0, fixed.given.top], (300, fixed.n_in))) == 0


@pytest.mark.parametrize("kind", ["lif", "alif", "egru"])
def test_thresholds_far_beyond_any_state_compile(kind):
    """A compiler that foresees a comparison's outcome warns of it, and warnings are errors."""
    net = network([kind], threshold=1.0 if kind == "egru" else 1e6)
    values = net.parameters()
    for name in ("weight_in", "weight_rec", "bias"):
        values[f"layers.0.{name}"] *= np.float32(1e-3)
    net.load_parameters(values)
    fixed = quantise(net, [inputs()], 8, 32)
    out, events = Library(model_of(fixed)).run(fixed.given.quantise(inputs(50)))
    wanted, _ = Golden(fixed).run(fixed.given.quantise(inputs(50))[None])
    assert not events[0].any() and np.array_equal(out, wanted[0])


@pytest.mark.parametrize(
    ("kind", "names"),
    [("lif", ["beta"]), ("lif zero", ["beta"]), ("alif zero", ["beta", "rho"]), ("cubalif", ["alpha"]),
     ("adlif", ["rho", "adaptation"]), ("alif", ["adaptation"])],
    ids=str,
)  # fmt: skip
def test_constants_of_zero_compile(kind, names):
    """Of states so small that no bit of the product is left; then nothing may be left over that is not used."""
    kind, *zero = kind.split()
    net = network([kind], **({"reset": "zero"} if zero else {}))
    values = net.parameters()
    for name in ("weight_in", "weight_rec", "bias", "threshold"):
        values[f"layers.0.{name}"] *= np.float32(1e-6)
    for name in names:
        values[f"layers.0.{name}"][:] = 0
    net.load_parameters(values)
    fixed = quantise(net, [inputs()], 8, 16)
    assert compared(fixed, fixed.given.quantise(inputs(100))) == 0


def test_weights_of_four_bits_lie_two_in_a_byte():
    fixed = proven.fixed("lif")
    model = model_of(fixed)
    sizes = {name: (kind, size) for kind, name, _, size in model.source.tables}
    for name, side in (("layer0_in", fixed.parts[0].inp), ("layer0_rec", fixed.parts[0].rec)):
        assert sizes[f"{name}_weight"] == ("uint8_t", (side.weight.size + 1) // 2)
    place = proven.written("lif")
    (packed,) = re.search(r"layer0_in_weight\[\d+\] = \{([^}]*)\}", (place / "model.c").read_text()).groups()
    flat = [half - 8 for one in map(int, packed.replace(",", " ").split()) for half in (one & 15, one >> 4)]
    weights = fixed.parts[0].inp.weight.ravel().tolist()
    assert flat[: len(weights)] == weights and {-7, 7} & set(weights)


def test_the_test_of_one_network_refuses_another():
    """Of the same shape, with all weights into the first layer the other way round."""
    kinds, bits, state_bits, readout, heard, options = proven.NETWORKS["lif zero"]
    net = network(kinds, readout=readout, **options)
    values = net.parameters()
    values["layers.0.weight_in"] *= np.float32(-1)
    net.load_parameters(values)
    one, other = model_of(proven.fixed("lif zero")), model_of(quantise(net, [heard()], bits, state_bits))
    assert one.digest() != other.digest()
    place = write(folder(), one, [one.fixed.given.quantise(heard(30))], 50)
    assert run(compile(place))[0] == 0
    (place / "model.c").write_text(other.code())
    code, text = run(compile(place))
    assert code == 1 and "FAILED: sequence 0, step " in text


def test_digests_tell_apart_what_differs_in_equations_alone():
    reset = [model_of(quantise(network(["lif"], reset=one), [inputs()], 8, 16)) for one in ("subtract", "zero")]
    tables = [[line for line in one.source.definitions if "weight" in line] for one in reset]
    assert tables[0] == tables[1] and reset[0].digest() != reset[1].digest()
