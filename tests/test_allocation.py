"""What a step leaves in memory: nothing. Kernels cannot allocate, and thousands of calls keep no object alive."""

import gc
import pickle
import tracemalloc
from importlib import import_module
from pathlib import Path

import numba
import numpy as np
import pytest
from oracle import KINDS, READOUTS, network, sequence

import evsim
from evsim.jit import jit, jit_fused, jit_fused_inline, jit_inline

compiled = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="needs the JIT")  # type: ignore[attr-defined]
WAYS = {"plain": jit, "inline": jit_inline, "fused": jit_fused, "fused inline": jit_fused_inline}


def allocating(n):
    """What no kernel may do."""
    return np.zeros(n).sum()


def kernels():
    """Every kernel of the package, by module and name."""
    root = Path(evsim.__file__).parent
    files = [*root.glob("*.py"), *root.glob("cells/*.py"), *root.glob("learners/*.py")]
    names = {".".join(("evsim", *file.relative_to(root).with_suffix("").parts)) for file in files}
    modules = [import_module(name) for name in sorted(names) if "__" not in name]
    return {
        f"{module.__name__}.{name}": given
        for module in modules for name, given in vars(module).items() if hasattr(given, "targetoptions")
    }  # fmt: skip


@compiled
@pytest.mark.parametrize("way", WAYS)
def test_a_kernel_that_allocates_does_not_compile(way):
    with pytest.raises(numba.core.errors.TypingError, match="built-in function zeros"):
        WAYS[way](allocating)(3)
    assert numba.njit(allocating)(3) == 0


@compiled
def test_all_kernels_are_compiled_that_way():
    found = kernels()
    assert len(found) > 40 and {"evsim.influence.advance", "evsim.cells.lif._run_lif"} <= set(found)
    assert [name for name, kernel in found.items() if kernel.targetoptions.get("_nrt") is not False] == []


def growth(step, calls=1000):
    """Bytes that Python and numpy hold more after so many calls than before them, once all has been called."""
    for _ in range(50):
        step()
    gc.collect()
    tracemalloc.start()
    try:
        step()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(calls):
            step()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


LEARNERS = {
    "rtrl": lambda net: evsim.RTRL(net),
    "block 8": lambda net: evsim.RTRL(net, block=8),
    "streams": lambda net: evsim.RTRL(net, streams=3, threads=2),
    "tbptt": lambda net: evsim.TBPTT(net, window=8),
    "uoro": lambda net: evsim.UORO(net),
}


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("name", LEARNERS)
def test_steps_keep_nothing(name, readout):
    net = network(("egru", "lif"), density=0.5, readout=readout, dtype="float32")
    learner = LEARNERS[name](net)
    x = sequence(net, 1, lead=(3,))[:, 0] if name == "streams" else sequence(net, 1)[0]
    target = np.array([0, 1, 2]) if name == "streams" else 1

    def step():
        learner.step(x, target)
        learner.step(x)

    assert growth(step) < 2000


def test_growth_is_noticed():
    kept = []
    assert growth(lambda: kept.append(np.zeros(1))) > 100_000


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_has_calls_of_its_own(kind):
    """What is bound to a learner's arrays does not go along with a copy of it."""
    net = network((kind,))
    learner, x = evsim.RTRL(net, loss="mse"), sequence(net, 12)
    learner.run(x[:6])
    other = pickle.loads(pickle.dumps(learner))
    out = [learner.step(x_t) for x_t in x[6:]]
    learner.run(0 * x)
    np.testing.assert_array_equal([other.step(x_t) for x_t in x[6:]], out)


def test_calls_follow_new_arrays():
    """More streams, and a longer block: the kernels then work on other arrays."""
    net = network(("lif",))
    x = sequence(net, 70)
    learner, truth = evsim.BPTT(net), evsim.RTRL(net).run(x)
    np.testing.assert_array_equal([learner.step(x_t) for x_t in x], truth)
    learner.reset(2)
    np.testing.assert_array_equal(learner.step(np.stack([x[0], x[0]])), [truth[0]] * 2)
