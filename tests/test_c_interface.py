"""What a caller of the C meets: statuses, several states, sizes, C++, edge shapes, and no more of libc than needed."""

import subprocess
from dataclasses import replace

import numpy as np
import odd
import proven
import pytest
from compiled import WARN, Library, _at, compile, folder, library, model_of, needs_gcc, needs_gxx, write
from quantised import inputs, network

import evsim
from evsim.emit.model import Model
from evsim.emit.text import RESERVED, check_identifier
from evsim.fixed.golden import Golden
from evsim.fixed.parts import divide
from evsim.fixed.quantise import quantise

pytestmark = needs_gcc
OK, NULL, INDEX, VALUE, CAPACITY = range(5)
FIXED = "egru, adlif"


@pytest.fixture(params=["fixed", "float"])
def lib(request):
    return library(proven.fixed, FIXED) if request.param == "fixed" else library(network, ("egru", "adlif"))


def loud(lib):
    """A state after a step, and events with which the top layer speaks."""
    state, size = lib.state(), 1 if lib.model.fixed is None else lib.model.fixed.given.top // 2
    events = [(j, size * (1 if j % 2 else -1)) for j in range(5)]
    for _ in range(60):
        before = state.copy()
        status, _, count = lib.step(state, events)
        assert status == OK
        if count > 1:
            return before, events, count
    raise AssertionError("the top layer is silent")


def test_null_pointers(lib):
    c, state, out = lib.c, lib.state(), np.zeros(3, lib.value)
    before = state.copy()
    assert c.model_reset(None) == NULL
    assert c.model_step(None, None, 0, None, 0, None) == NULL
    assert c.model_step(_at(state), None, 1, None, 0, None) == NULL
    assert c.model_readout(None, _at(out)) == NULL and c.model_readout(_at(state), None) == NULL
    assert np.array_equal(state, before) and not out.any()
    assert c.model_step(_at(state), None, 0, None, 0, None) == OK and c.model_readout(_at(state), _at(out)) == OK


@pytest.mark.parametrize("indices", [[5], [0, 5], [65535], [1, 1], [2, 1], [0, 1, 3, 2]], ids=str)
def test_indices(lib, indices):
    state, events, _ = loud(lib)
    before = state.copy()
    status, spoken, count = lib.step(state, [(j, events[0][1]) for j in indices], capacity=6)
    assert status == INDEX and np.array_equal(state, before) and not spoken["index"].any() and count == 12345


def test_values(lib):
    state, events, _ = loud(lib)
    before = state.copy()
    if lib.model.fixed is None:
        bad, good = [np.nan, np.inf, -np.inf], [0.0, -1e30, 1e-40, 3e38]
    else:
        top = lib.model.fixed.given.top
        bad, good = [-top - 1], [0, top, -top]
    for value in bad:
        assert lib.step(state, [events[0], (3, value)])[0] == VALUE
        assert np.array_equal(state, before)
    for value in good:
        assert lib.step(state.copy(), [(3, value)])[0] == OK


@pytest.mark.parametrize("name", ["lif", "lif zero"])
def test_values_beyond_the_inputs_format(name):
    """Events of one bit in a value of 16; inputs of 16 bits in a value of 32."""
    lib = library(proven.fixed, name)
    top, state = lib.model.fixed.given.top, lib.state()
    for value, status in ((top, OK), (-top, OK), (top + 1, VALUE), (-top - 1, VALUE)):
        assert lib.step(state, [(0, value)])[0] == status


def test_capacity(lib):
    state, events, count = loud(lib)
    whole = state.copy()
    status, spoken, told = lib.step(whole, events, capacity=count)
    assert status == OK and told == count and np.all(np.diff(spoken["index"].astype(int)) > 0)
    cut = state.copy()
    status, some, told = lib.step(cut, events, capacity=count - 1)
    assert status == CAPACITY and told == count and some[: count - 1].tolist() == spoken[: count - 1].tolist()
    none = state.copy()
    assert lib.step(none, events, capacity=0)[0::2] == (CAPACITY, count)
    assert np.array_equal(whole, cut) and np.array_equal(whole, none) and not np.array_equal(whole, state)


def test_two_states_do_not_disturb_one_another(lib):
    top = 1 if lib.model.fixed is None else lib.model.fixed.given.top
    x, y = (np.clip(inputs(60, seed) * top / 3, -top, top) for seed in (1, 2))
    alone = [lib.run(one)[0] for one in (x, y)]
    states, found = [lib.state(), lib.state()], [[], []]
    for t in range(60):
        for k, one in enumerate((x, y)):
            found[k].append(lib.run(one[t : t + 1], states[k])[0][0])
    for k in (0, 1):
        assert np.array_equal(found[k], alone[k])
    assert not np.array_equal(*alone)


def test_reset_begins_anew(lib):
    state, events, _ = loud(lib)
    assert lib.c.model_reset(_at(state)) == OK and not state.any()
    first, again = lib.state(), state
    assert lib.step(first, events, 6)[2] == lib.step(again, events, 6)[2] and np.array_equal(first, again)


@pytest.mark.parametrize("name", proven.NETWORKS)
def test_the_state_is_as_large_as_was_said(name):
    fixed = proven.fixed(name)
    model = model_of(fixed)
    place = write(folder(), model, [np.zeros((2, 5), np.int64)], 2)
    size, members = model.state_bytes()
    check = f'#include "model.h"\ntypedef char right[sizeof(model_state) == {size} ? 1 : -1];\n'
    for member, much in members.items():
        check += f"typedef char {member}_right[sizeof(((model_state *)0)->{member}) == {much} ? 1 : -1];\n"
    (place / "sized.c").write_text(check)
    compile(place, "-c", sources=("sized.c",), out="sized.o")
    (place / "sized.c").write_text(check.replace(f"== {size} ?", f"== {size + 2} ?"))
    with pytest.raises(AssertionError, match="negative"):
        compile(place, "-c", sources=("sized.c",), out="sized.o")


@pytest.mark.parametrize("name", ["egru", "evrnn, egru", "lif", "float"])
def test_nothing_of_libc_and_no_variables(name):
    model = model_of(network(["egru"]) if name == "float" else proven.fixed(name))
    lib = Library(model)
    compile(lib.place, "-O2", "-c", sources=("model.c",), out="model.o")
    rows = [line.split() for line in subprocess.check_output(["nm", "model.o"], cwd=lib.place, text=True).splitlines()]
    allowed = {"memset", "memcpy", "memmove", *(("expf", "tanhf") if name == "float" else ())}
    assert {row[-1] for row in rows if row[-2] == "U"} <= allowed
    assert {row[-2] for row in rows} <= set("TtrRU")
    assert {row[-1] for row in rows if row[-2] == "T"} == {"model_reset", "model_step", "model_readout"}


@needs_gxx
@pytest.mark.parametrize("name", ["egru, adlif", "float"])
def test_cplusplus_calls_it(name):
    model = model_of(network(["egru"]) if name == "float" else proven.fixed(name))
    place = Library(model).place
    (place / "caller.cpp").write_text(
        '#include "model.h"\nint main()\n{\n    static model_state state;\n    model_event heard[1];\n'
        "    model_value out[MODEL_OUTPUTS];\n    heard[0].index = 0;\n    heard[0].value = 1;\n"
        "    if (model_reset(&state) != MODEL_OK) return 1;\n"
        "    if (model_step(&state, heard, 1, NULL, 0, NULL) != MODEL_OK) return 2;\n"
        "    return model_readout(&state, out) == MODEL_OK ? 0 : 3;\n}\n"
    )
    compile(place, "-c", sources=("model.c",), out="model.o")
    warn = tuple(flag for flag in WARN if flag != "-std=c99")
    path = compile(place, "-std=c++11", sources=("caller.cpp", "model.o"), out="caller", compiler="g++", warn=warn)
    assert subprocess.run([path], check=False).returncode == 0


def edge(name):
    make = evsim.LIF
    layers, n_in = {
        "one unit": ([make(1, threshold=0.1)], 5),
        "one input": ([make(5, threshold=0.1)], 1),
        "no recurrence": ([make(6, threshold=0.1, mask_rec=np.zeros((6, 6), bool))], 5),
        "hears nothing": ([make(6, threshold=0.1, mask_in=np.zeros((6, 5), bool))], 5),
        "all synapses": ([evsim.EGRU(4, threshold=0.01)], 5),
        "nothing between": ([make(4, threshold=0.1), make(4, threshold=0.1, mask_in=np.zeros((4, 4), bool))], 5),
        "300 units": ([make(300, threshold=0.1, density=0.05, density_in=0.5)], 5),
        "300 inputs": ([make(4, threshold=0.1, density_in=0.9)], 300),
        "many edges": ([make(300, threshold=0.1, density=0.75)], 5),
    }[name]
    net = evsim.Network(n_in, layers, evsim.Readout(2), seed=1)
    values = net.parameters()
    for key in values:
        if key.startswith("layers") and key.endswith("bias"):
            values[key] += np.float32(0.03)
    net.load_parameters(values)
    return net, inputs(60, 3, n_in)


EDGES = ["one unit", "one input", "no recurrence", "hears nothing", "all synapses", "nothing between", "300 units",
         "300 inputs", "many edges"]  # fmt: skip


@pytest.mark.parametrize("bits", [4, 8, None])
@pytest.mark.parametrize("name", EDGES)
def test_edge_shapes(name, bits):
    net, x = edge(name)
    if bits is None:
        wanted, events = net.run(x, record_events=True)
        out, shown = Library(model_of(net)).run(x)
        np.testing.assert_allclose(out, wanted, rtol=1e-4, atol=1e-4)
    else:
        fixed = quantise(net, [x], bits, 16)
        wanted, events = Golden(fixed).run(fixed.given.quantise(x)[None])
        wanted, events = wanted[0], [one[0] for one in events]
        out, shown = Library(model_of(fixed)).run(fixed.given.quantise(x))
        assert np.array_equal(out, wanted)
    assert all(np.array_equal(one != 0, other != 0) for one, other in zip(shown, events, strict=True))
    assert all(one.any() for one in events)


def test_tables_are_no_wider_than_they_must_be():
    kinds = {}
    for name in ("300 units", "many edges", "one unit"):
        tables = model_of(edge(name)[0]).source.tables
        kinds[name] = {table.removeprefix("layer0_"): kind for kind, table, _, _ in tables}
    assert kinds["300 units"]["rec_target"] == "uint16_t" and kinds["300 units"]["rec_ptr"] == "uint16_t"
    assert kinds["many edges"]["rec_ptr"] == "uint32_t" and "rec_ptr" not in kinds["one unit"]


CLASHES = ["layer0", "layer1", "readout", "state", "step", "s", "heard", "X", "NULL", "a" * 40]


@pytest.mark.parametrize("prefix", CLASHES)
def test_names_that_could_clash(prefix):
    fixed = quantise(odd.network(), [inputs()], 8, 16)
    for network_ in (fixed, proven.fixed("egru, adlif")):
        model = model_of(network_, prefix)
        place = write(folder(), model, [np.zeros((2, 5), np.int64)], 20)
        compile(place, sources=(f"{prefix}.c", "test_main.c"))


@pytest.mark.parametrize("name", ["7up", "int", "a-b", "n\u00e9", "", "../x", "a b", "class", "test_main", "cortex_m3",
                                  "stdint", "math", "a" * 41, "_a", "a\n", None, 3])  # fmt: skip
def test_names_that_c_cannot_use(name):
    with pytest.raises(ValueError, match="is no name that C can use"):
        check_identifier(name)
    assert check_identifier("net_2") == "net_2" and "main" in RESERVED


def test_too_many_units_for_an_index():
    parts = divide(network(["lif"]))
    parts[0] = replace(parts[0], units=65536)
    with pytest.raises(ValueError, match=r"layers\.0 has more than 65535 units or inputs"):
        Model(parts, "model")
