"""C whose readout learns in fixed point: the golden model's outputs and weights, to the bit, however it is compiled."""

import functools
import re

import numpy as np
import pytest
from bundled import network
from compiled import SANITIZE, compile, folder, needs_arm, needs_gcc, run
from test_embedded import on_target

from evsim.emit.build import build_files
from evsim.emit.fixed_learn import FixedLearningModel
from evsim.emit.fixed_lesson import fixed_lesson
from evsim.emit.learn_report import fixed_learner
from evsim.emit.vectors import test_main as main_text
from evsim.exports.trace import choose_inputs
from evsim.fixed.quantise import quantise

LOSSES = ("cross_entropy", "binary_cross_entropy", "mse")
CASES = [(loss, bits, states, kinds) for loss in LOSSES for bits, states, kinds in (
    (4, 16, ("lif",)), (8, 16, ("egru", "alif")), (16, 32, ("cubalif", "egru")),
)]  # fmt: skip
FLAGS = {"O0": ("-O0",), "O3": ("-O3",), "sanitizers": SANITIZE}


def model_of(loss="cross_entropy", bits=8, states=16, kinds=("egru", "alif")):
    net = network(kinds)
    inputs = choose_inputs(net)[0]
    return FixedLearningModel(quantise(net, inputs, bits, states), "model", loss), inputs


@functools.lru_cache
def written(*case):
    """A folder with the C and its test."""
    model, inputs = model_of(*case)
    x = [model.fixed.given.quantise(one) for one in inputs]
    ran = [model.golden().run(one[None]) for one in x]
    events, out = [[one[0] for one in shown] for _, shown in ran], [one[0] for one, _ in ran]
    place = folder()
    texts = {"model.h": model.header(), "model.c": model.code(), **build_files("model")}
    begin = "(void)model_init(&state);"
    texts["test_main.c"] = main_text(model, x, events, out, 100, begin=begin, more=fixed_lesson(model))
    for name, text in texts.items():
        (place / name).write_text(text, encoding="ascii")
    return place


def hash_of(path):
    code, told = run(path)
    assert code == 0, told
    return re.search(r"lesson: 500 updates, hash (\w+)", told)[1]


@needs_gcc
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case[:3])))
def test_weights_after_500_updates_are_the_golden_models(case):
    found = {hash_of(compile(written(*case), *flags, out=f"test_{what}")) for what, flags in FLAGS.items()}
    assert len(found) == 1


@needs_arm
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case[:3])))
def test_so_they_are_on_a_cortex_m3(case):
    place = written(*case)
    wanted = int(hash_of(on_target(place, ("model.c", "test_main.c"), "-O2")), 16)
    assert f"hash != {wanted}u" in (place / "test_main.c").read_text()


FAULTS = {
    "an error": (r"total / 2\) / total", "total) / total"),
    "a gradient": (r"\(int64_t\)s->error\[o\] \* z", "(int64_t)s->error[o] * z + 700000"),
    "a step": (r"\(int64_t\)\*gradient \* rate", "(int64_t)*gradient * (rate + 1)"),
    "what is seen": (r"model_round64\(\(int64_t\)w\[o\], 16, 32767\)", "(w[o] / 65536)"),
    "first weights": (r"(readout_first\[\d+\] = \{\s+)(-?\d+)", r"\g<1>77"),
}


@needs_gcc
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_noticed(fault):
    place, (pattern, change) = written(*CASES[1]), FAULTS[fault]
    text, count = re.subn(pattern, change, (place / "model.c").read_text(), count=1)
    assert count == 1
    (place / "faulty.c").write_text(text)
    code, told = run(compile(place, "-O1", sources=("faulty.c", "test_main.c"), out="faulty"))
    assert code == 1 and "FAILED" in told


def odd_start(scale, bias=1.0):
    """(folder, model): C of a readout that learns, with the usual weights times `scale` at first, biases likewise."""
    net = network(("egru",))
    values = net.parameters()
    values["readout.weight"] *= np.float32(scale)
    values["readout.bias"] = np.float32(bias * values["readout.bias"])
    net.load_parameters(values)
    inputs = choose_inputs(net)[0]
    model = FixedLearningModel(quantise(net, inputs, 8, 16), "model", "mse")
    place = folder()
    (place / "model.h").write_text(model.header(), encoding="ascii")
    (place / "model.c").write_text(model.code(), encoding="ascii")
    return place, model


START = """#include <stdio.h>
#include "model.h"
int main(void)
{
    static model_state s;
    (void)model_init(&s);
    for (size_t k = 0; k < sizeof s.readout_weight / sizeof s.readout_weight[0]; ++k) {
        printf("%ld ", (long)s.readout_weight[k]);
    }
    return 0;
}
"""


@needs_gcc
@pytest.mark.parametrize(
    ("scale", "bias"), [(0, 1), (0, 0), (0, 1e8), (1e-9, 1), (1e-5, 1), (1e-3, 1e3), (1, 1), (1, 1e4), (1e4, 1)]
)
def test_first_weights_of_any_scale_are_the_golden_models(scale, bias):
    """None at all, and some finer than what is stored, among them."""
    place, model = odd_start(scale, bias)
    (place / "start.c").write_text(START)
    code, told = run(compile(place, *SANITIZE, sources=("model.c", "start.c"), out="start"))
    wanted = model.golden().weight.T.ravel()
    assert code == 0 and [int(one) for one in told.split()] == wanted.tolist()
    assert wanted.any() == (scale > 0)


SATURATED = """#include <stdio.h>
#include "model.h"
static model_state s;
int main(void)
{
    static model_event heard[MODEL_INPUTS];
    for (uint16_t j = 0; j < MODEL_INPUTS; ++j) {
        heard[j].index = j;
        heard[j].value = MODEL_INPUT_TOP;
    }
    (void)model_init(&s);
    for (size_t k = 0; k < sizeof s.readout_weight / sizeof s.readout_weight[0]; ++k) {
        s.readout_weight[k] = INT32_MAX;
    }
    for (int t = 0; t < 20; ++t) {
        (void)model_step(&s, heard, MODEL_INPUTS, NULL, 0, NULL);
        printf("%d %d %d ", s.out[0], s.out[1], s.out[2]);
    }
    return 0;
}
"""


@needs_gcc
def test_a_weight_that_has_grown_to_the_end_stays_there():
    place, model = odd_start(1)
    (place / "saturated.c").write_text(SATURATED)
    golden = model.golden()
    golden.weight[:] = model.plan.latent.top
    out, events = golden.run(np.full((1, 20, model.n_in), model.fixed.given.top))
    assert events[-1].any()
    for flags in (("-O2",), SANITIZE):
        code, told = run(compile(place, *flags, sources=("model.c", "saturated.c"), out="saturated"))
        assert code == 0 and [int(one) for one in told.split()] == out.ravel().tolist(), told


@needs_gcc
@pytest.mark.parametrize("prefix", ["learn", "readout", "layer0", "model_exp"])
def test_names_that_could_clash(prefix):
    fixed = model_of("cross_entropy")[0].fixed
    model, place = FixedLearningModel(fixed, prefix, "cross_entropy"), folder()
    (place / f"{prefix}.h").write_text(model.header(), encoding="ascii")
    (place / f"{prefix}.c").write_text(model.code(), encoding="ascii")
    compile(place, "-c", sources=(f"{prefix}.c",), out="clash.o")


STATUSES = """#include "model.h"
#define NEED(k, x) do { if (!(x)) { return k; } } while (0)
int main(void)
{
    static model_state s;
    const model_event one = {0, 1};
    int32_t before;
    NEED(1, model_init(NULL) == MODEL_NULL && model_update(NULL, 1) == MODEL_NULL);
    NEED(2, model_learn_class(NULL, 0) == MODEL_NULL);
    NEED(3, model_init(&s) == MODEL_OK && model_learn_class(&s, 0) == MODEL_ORDER);
    NEED(4, model_step(&s, &one, 1, NULL, 0, NULL) == MODEL_OK && model_learn_class(&s, 3) == MODEL_TARGET);
    NEED(5, s.bias_gradient[0] == 0 && model_learn_class(&s, 2) == MODEL_OK && s.bias_gradient[2] != 0);
    NEED(6, model_update(&s, -1) == MODEL_RATE && s.bias_gradient[2] != 0);
    before = s.readout_bias[2];
    NEED(7, model_update(&s, 65536) == MODEL_OK && s.readout_bias[2] > before);
    NEED(8, model_reset(&s) == MODEL_OK && s.readout_bias[2] > before);
    NEED(9, model_learn_class(&s, 2) == MODEL_ORDER);
    NEED(10, model_init(&s) == MODEL_OK && s.readout_bias[2] == before);
    return 0;
}
"""


@needs_gcc
def test_statuses_and_what_a_reset_leaves():
    place = written(*CASES[1])
    (place / "statuses.c").write_text(STATUSES)
    assert run(compile(place, *SANITIZE, sources=("model.c", "statuses.c"), out="statuses")) == (0, "")


def test_the_memory_is_told_and_limited():
    model, _ = model_of()
    found = fixed_learner(model)
    weights = model.n_out * model.parts[-1].inp.sources
    assert found["ram"]["weights"] == found["ram"]["gradient"] == 4 * (weights + model.n_out)
    assert sum(found["ram"].values()) == found["ram_bytes"] == model.state_bytes()[0]
    assert fixed_learner(model, "64K") == found
    with pytest.raises(ValueError, match="take [0-9,]+ bytes of RAM, but --ram allows 100"):
        fixed_learner(model, 100)


def test_the_golden_model_learns():
    """What the C is compared with lowers the loss."""
    model, inputs = model_of("mse")
    golden, x = model.golden(), model.fixed.given.quantise(inputs[0])
    y = golden.run(x[None])[1][-1][0]
    goal = np.full(3, int(model.out_format.quantise(0.5)))
    before = np.abs(golden.read_out(y) - goal).mean()
    for k in range(300):
        golden.learn(y[k % len(y)], golden.read_out(y[k % len(y)]), goal)
        golden.update(1 << 16)
    assert np.abs(golden.read_out(y) - goal).mean() < 0.5 * before
