"""C exports, compiled and run: by their own test_main, and as a library that Python calls."""

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

from evsim.emit.build import build_files
from evsim.emit.model import Model
from evsim.emit.vectors import test_main as main_text
from evsim.fixed.golden import Golden
from evsim.fixed.parts import divide

WARN = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wvla", "-Wunused", "-Werror")
M3 = ("-mcpu=cortex-m3", "-mthumb")
SANITIZE = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
ARM, QEMU = "arm-none-eabi-gcc", "qemu-system-arm"
KEEP = tempfile.TemporaryDirectory(prefix="evsim-c-")

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
needs_gxx = pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
needs_arm = pytest.mark.skipif(
    not (shutil.which(ARM) and shutil.which(QEMU)), reason=f"needs {ARM} and {QEMU}: make test-embedded installs them"
)


def model_of(net, name="model"):
    """The `Model` of an `evsim.Network` in float32, or of a `FixedNetwork`."""
    return Model(net.parts, name, net) if hasattr(net, "parts") else Model(divide(net), name)


def write(folder, model, x, steps=100):
    """Write a model with its test; x: list of inputs (steps, n_in), mantissas for fixed point. Returns the folder."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    out, events = zip(*(Golden(model.fixed).run(one[None]) for one in x), strict=True)
    out, events = [one[0] for one in out], [[one[0] for one in some] for some in events]
    texts = {f"{model.prefix}.h": model.header(), f"{model.prefix}.c": model.code(), **build_files(model.prefix)}
    texts["test_main.c"] = main_text(model, x, events, out, steps)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="ascii")
    return folder


def compile(folder, *flags, sources=("model.c", "test_main.c"), out="test_main", compiler="gcc", warn=WARN):
    """Compile, and fail with what the compiler says; returns the path of what it made."""
    command = [compiler, *warn, *flags, "-o", out, *sources, "-lm"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
    return Path(folder, out)


def run(path):
    """(exit code, what a program printed)."""
    done = subprocess.run([str(path)], cwd=path.parent, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


def folder():
    """A new folder that lasts as long as the tests run."""
    return Path(tempfile.mkdtemp(dir=KEEP.name))


_SHIM = """#include "model.h"
size_t state_size(void);
size_t event_size(void);
void trace(model_state *s, size_t steps, const model_value *x, model_value *y, model_value *out);
size_t state_size(void) { return sizeof(model_state); }
size_t event_size(void) { return sizeof(model_event); }
/* Dense inputs in, dense events of all layers and outputs out. */
void trace(model_state *s, size_t steps, const model_value *x, model_value *y, model_value *out)
{
    static model_event heard[MODEL_INPUTS];
    for (size_t t = 0; t < steps; ++t, x += MODEL_INPUTS, out += MODEL_OUTPUTS) {
        size_t n = 0;
        for (size_t j = 0; j < MODEL_INPUTS; ++j) {
            if (x[j] != 0) {
                heard[n].index = (uint16_t)j;
                heard[n++].value = x[j];
            }
        }
        if (model_step(s, heard, n, NULL, 0, NULL) != MODEL_OK) {
            return;
        }
%s
        (void)model_readout(s, out);
    }
}
"""


class Library:
    """A model as a shared library. state: one more state, in bytes, owned by the caller."""

    def __init__(self, model, *flags, place=None):
        self.model, place = model, place or folder()
        self.place = place
        layers = []
        for k, part in enumerate(model.parts[:-1]):
            layers.append(f"        for (size_t e = 0; e < s->layer{k}_spoken; ++e) {{")
            layers.append(f"            y[s->layer{k}_events[e].index] = s->layer{k}_events[e].value;")
            layers.append(f"        }}\n        y += {part.units};")
        (place / "model.h").write_text(model.header(), encoding="ascii")
        (place / "model.c").write_text(model.code(), encoding="ascii")
        (place / "shim.c").write_text(_SHIM % "\n".join(layers), encoding="ascii")
        flags = flags or ("-O2",)
        self.c = ctypes.CDLL(str(compile(place, "-shared", "-fPIC", *flags, sources=("model.c", "shim.c"), out="m.so")))
        self.c.state_size.restype = self.c.event_size.restype = ctypes.c_size_t
        self.value = np.dtype("f4" if model.fixed is None else f"i{model.fixed.state_bits // 8}")
        size = int(self.c.event_size())
        self.event = np.dtype(
            {"names": ["index", "value"], "formats": ["u2", self.value], "offsets": [0, self.value.itemsize],
             "itemsize": size}
        )  # fmt: skip

    def state(self):
        """A state after reset, over bytes that held something else."""
        found = np.full(int(self.c.state_size()), 0xA5, np.uint8)
        assert self.c.model_reset(_at(found)) == 0
        return found

    def step(self, state, events, capacity=None):
        """(status, spoken or None, count) of one step; events: pairs (index, value)."""
        given = np.array([tuple(one) for one in events], self.event)
        spoken = None if capacity is None else np.zeros(max(capacity, 1), self.event)
        count = ctypes.c_size_t(12345)
        status = self.c.model_step(
            _at(state), _at(given), ctypes.c_size_t(len(given)), _at(spoken), ctypes.c_size_t(capacity or 0),
            ctypes.byref(count),
        )  # fmt: skip
        return status, spoken, count.value

    def run(self, x, state=None):
        """(out, [events of each layer]) of dense inputs (steps, n_in), from the start unless a state is given."""
        state = self.state() if state is None else state
        x = np.ascontiguousarray(x, self.value)
        units = [part.units for part in self.model.parts[:-1]]
        y = np.zeros((len(x), sum(units)), self.value)
        out = np.full((len(x), self.model.n_out), 77, self.value)
        self.c.trace(_at(state), ctypes.c_size_t(len(x)), _at(x), _at(y), _at(out))
        return out, np.split(y, np.cumsum(units)[:-1], axis=1)


def _at(array):
    return None if array is None else ctypes.c_void_p(array.ctypes.data)


@functools.cache
def library(make, *arguments):
    """A Library, made once: of what make(*arguments) gives, a network or a `FixedNetwork`."""
    return Library(model_of(make(*arguments)))
