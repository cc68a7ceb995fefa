"""C: the network as C99 for microcontrollers, in float32 or in fixed point, with a test that needs no evsim."""

import json
from pathlib import Path

import numpy as np

from evsim.check import check_dtype
from evsim.checkpoint import rebuild
from evsim.emit.build import build_files
from evsim.emit.footprint import footprint, report
from evsim.emit.model import Model
from evsim.emit.text import check_identifier
from evsim.emit.vectors import SOAK, test_main
from evsim.exports.trace import choose_inputs
from evsim.files import write_text
from evsim.fixed.golden import Golden
from evsim.fixed.parts import divide
from evsim.fixed.quantise import check_bits, quantise
from evsim.sample import sample

TRIED = 128, 256  # sequences, and steps of each, by which scales are chosen


def export(trained, out, force=False, bits=None, state_bits=None, name="model", soak=SOAK):
    """C99 for microcontrollers: model.h, model.c, a test with recorded vectors, a Makefile and a memory report.

    out: the folder to write. bits: of weights, 4, 8 or 16, for fixed point, whose scales are chosen on the run's
    training split; None: float32. state_bits: of states and events in fixed point, 16 (if None) or 32. name: what files
    and identifiers begin with. soak: random steps of the test, in fixed point.

    Returns a dict: path, bytes (of all files), arithmetic, digest, and what `evsim.emit.footprint` finds. ValueError,
    and nothing written, for a folder that exists (without force: with it, files of the same names are replaced), for
    other widths, a name that C cannot use, and networks that do not fit.
    """
    check_identifier(name)
    out = _folder(out, force)
    net = _in_float32(trained.net)
    inputs, told = choose_inputs(net, trained.task)
    if bits is None:
        if state_bits is not None:
            raise ValueError("--state-bits is of fixed point: give --bits too")
        model, recorded = Model(divide(net), name), _recorded(net, inputs)
    else:
        state_bits = 16 if state_bits is None else state_bits
        check_bits(bits, state_bits)
        tried = sample(net, trained.task, "train", *TRIED)[0] if trained.task else inputs
        fixed = quantise(net, tried, bits, state_bits)
        model, recorded = Model(fixed.parts, name, fixed), _golden(fixed, inputs)
    found = footprint(model, *recorded[:2])
    about = {
        "arithmetic": "float32" if bits is None else f"fixed point, {bits} bits, states {state_bits}",
        "digest": f"{model.digest():08X}", "trace": told, **found,
    }  # fmt: skip
    texts = {
        f"{name}.h": model.header(), f"{name}.c": model.code(), "test_main.c": test_main(model, *recorded, steps=soak),
        **build_files(name), "MEMORY.md": report(model, found, name), "memory.json": json.dumps(about, indent=2) + "\n",
    }  # fmt: skip
    out.mkdir(exist_ok=True)
    for file, text in texts.items():
        write_text(out / file, text)
    told = {key: value for key, value in about.items() if key not in ("tables", "state")}
    return {"path": str(out), "bytes": sum(len(text) for text in texts.values()), "files": list(texts), **told}


def _folder(out, force):
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: give the name of a folder to write")
    if out.exists() and not force:
        told = "give another name, or --force to replace the files that an export writes"
        raise ValueError(f"the folder {out} exists already: {told}")
    if not out.parent.is_dir():
        raise ValueError(f"the folder {out.parent} does not exist: make it first")
    return out


def _in_float32(net):
    """The network, in the precision that a microcontroller has."""
    if check_dtype(net.dtype) == np.float32:
        return net
    return rebuild({**net.config(), "dtype": "float32"}, net.parameters(), net.masks())


def _recorded(net, inputs):
    """(inputs, for each the layers' events, for each the outputs)."""
    ran = [net.run(x, record_events=True) for x in inputs]
    return inputs, [events for _, events in ran], [out for out, _ in ran]


def _golden(fixed, inputs):
    """The same of the golden model, in mantissas."""
    given = [fixed.given.quantise(x) for x in inputs]
    ran = [Golden(fixed).run(x[None]) for x in given]
    return given, [[shown[0] for shown in events] for _, events in ran], [out[0] for out, _ in ran]
