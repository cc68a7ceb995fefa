"""A learner in C, compiled and called from here: its state is a struct of ctypes, its functions those of model.h."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

from evsim.emit.learn_model import LearningModel
from evsim.emit.learn_plan import plan_learner
from evsim.fixed.parts import divide

GCC = shutil.which("gcc")
needs_gcc = pytest.mark.skipif(GCC is None, reason="no gcc to compile the learner with")
WARN = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
TYPES = {"float": ctypes.c_float, "uint8_t": ctypes.c_uint8, "uint16_t": ctypes.c_uint16, "uint32_t": ctypes.c_uint32}


class Event(ctypes.Structure):
    _fields_ = [("index", ctypes.c_uint16), ("value", ctypes.c_float)]


class Device:
    """One learner in C on a network. folder: where it is compiled; change: what is done to the text before."""

    def __init__(self, net, folder, method="exact", loss="cross_entropy", change=None, init=True):
        self.net, self.loss = net, loss
        self.model = LearningModel(divide(net), "model", plan_learner(net, method), loss)
        code = self.model.code()
        changed = change(code) if change else code
        assert (changed != code) == bool(change)
        (folder / "model.h").write_text(self.model.header(), encoding="ascii")
        (folder / "model.c").write_text(changed, encoding="ascii")
        made = [GCC, *([] if change else WARN), "-O2", "-fPIC", "-shared", "-o", "model.so", "model.c", "-lm"]
        done = subprocess.run(made, cwd=folder, capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr
        self.library = ctypes.CDLL(str(folder / "model.so"))
        kinds = {**TYPES, "event": Event}
        members = [(f.name, kinds[f.type] * f.count if f.count else kinds[f.type]) for f in self.model.fields()]
        self.state = type("State", (ctypes.Structure,), {"_fields_": members})()
        self.library.model_update.argtypes = [ctypes.c_void_p, ctypes.c_float, ctypes.c_float]
        assert ctypes.sizeof(self.state) == self.model.state_bytes()[0]
        if init:
            self.check(self.library.model_init(ctypes.byref(self.state)))

    def check(self, status):
        assert status == 0, f"status {status}"

    def reset(self):
        self.check(self.library.model_reset(ctypes.byref(self.state)))

    def step(self, x, target=None):
        """One step; outputs (n_out,)."""
        at = np.flatnonzero(x)
        events = (Event * max(len(at), 1))(*((int(j), float(x[j])) for j in at))
        at_step = self.library.model_step(ctypes.byref(self.state), events, ctypes.c_size_t(len(at)), None, 0, None)
        self.check(at_step)
        if target is not None:
            self.check(self.learn(target))
        return np.array(self.state.out[:], np.float32)

    def learn(self, target):
        if self.loss == "cross_entropy":
            return self.library.model_learn_class(ctypes.byref(self.state), ctypes.c_size_t(int(target)))
        given = (ctypes.c_float * len(target))(*map(float, target))
        return self.library.model_learn_values(ctypes.byref(self.state), given)

    def update(self, rate, clip=0.0):
        return self.library.model_update(ctypes.byref(self.state), rate, clip)

    def spoken(self):
        """Which units of each layer had an event at the last step: list of sets."""
        layers = range(len(self.net.layers))
        counts = [getattr(self.state, f"layer{k}_spoken") for k in layers]
        return [{e.index for e in getattr(self.state, f"layer{k}_events")[:n]} for k, n in zip(layers, counts)]

    @property
    def gradient(self):
        return np.array(self.state.gradient[:], np.float32)

    @property
    def weights(self):
        return np.array(self.state.weights[:], np.float32)


def apart(found, wanted):
    """Largest difference, relative to the largest that is wanted."""
    return float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-30))
