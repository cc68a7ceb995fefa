"""C: the network as C99 for microcontrollers, in float32 or in fixed point, with a test that needs no evsim."""

import json
from pathlib import Path

import numpy as np

from evsim.check import check_count, check_dtype
from evsim.checkpoint import rebuild
from evsim.emit.build import build_files
from evsim.emit.fixed_learn import FixedLearningModel
from evsim.emit.fixed_lesson import fixed_lesson
from evsim.emit.footprint import footprint, report
from evsim.emit.learn_model import LearningModel
from evsim.emit.learn_plan import plan_learner
from evsim.emit.learn_report import check_ram, fixed_learner, learner_report
from evsim.emit.learn_vectors import learning_test, record_learning
from evsim.emit.model import Model
from evsim.emit.text import check_identifier
from evsim.emit.vectors import SOAK, test_main
from evsim.evaluate import score
from evsim.exports.trace import SEQUENCES, choose_inputs
from evsim.files import write_text
from evsim.fixed.parts import divide
from evsim.fixed.quantise import TRIED, check_bits, quantise, vanished
from evsim.fixed.tune import tune as tuned
from evsim.sample import sample

STATE_BITS = 16  # where nothing else is said


def export(
    trained, out, force=False, bits=None, state_bits=None, name="model", vectors=SEQUENCES, soak=SOAK, learn=False,
    method=None, ram=None, tune=None, dry_run=False,
):  # fmt: skip
    """C99 for microcontrollers: model.h, model.c, a test with recorded vectors, a Makefile and a memory report.

    out: the folder to write. bits: of weights, 4, 8 or 16, for fixed point, whose scales are chosen on the run's
    training split; None: float32. state_bits: of states and events in fixed point, 16 (if None) or 32. name: what files
    and identifiers begin with. vectors: how many of the task's test sequences the test has on record, at most; soak:
    its random steps, in fixed point.

    learn: the learner too: SGD on the run's loss, in float32 by exact real-time recurrent learning, in fixed point of
    the readout alone; method: by another of `evsim.emit.learn_plan.METHODS` ("exact", "snap1", "eprop", "readout").
    ram: bytes (or "64K") that its state may take. tune: in fixed point, train on with rounded weights for so many
    epochs before (`evsim.fixed.tune.tune`). dry_run: tell all of it and write nothing.

    Returns a dict: path, bytes (of all files), arithmetic, digest, and what `evsim.emit.footprint` finds. ValueError,
    and nothing written, for a folder that exists (without force: with it, files of the same names are replaced), for
    other widths, a name that C cannot use, and networks that do not fit, or whose learner does not.
    """
    check_identifier(name)
    check_count("soak", soak)
    out = _folder(out, force)
    method = _method(learn, method, ram, bits)
    if bits is None and (state_bits, tune) != (None, None):
        raise ValueError(f"--{'state-bits' if tune is None else 'tune'} is of fixed point: give --bits too")
    width = STATE_BITS if state_bits is None else state_bits
    if bits is not None:
        check_bits(bits, width)
        if tune is not None:
            trained = tuned(trained, bits, width, epochs=tune, show=True)
    net, task, loss = _in_float32(trained.net), trained.task, getattr(trained, "loss", None) or "cross_entropy"
    inputs, told = choose_inputs(net, task, check_count("vectors", vectors))
    zeros = {}
    if bits is None:
        model, learner, lesson = _in_floats(net, name, method, loss, ram, inputs)
        recorded = _recorded(net, inputs)
    else:
        tried = sample(net, task, "train", *TRIED)[0] if task else inputs
        fixed = quantise(net, tried, bits, width)
        zeros = {"weights_rounded_to_0": {key: round(part, 4) for key, part in vanished(net, fixed).items()}}
        model, learner, lesson = _in_fixed_point(fixed, name, method, loss, ram)
        recorded = _golden(model, inputs)
    about = {
        "arithmetic": "float32" if bits is None else f"fixed point, {bits} bits, states {width}",
        "digest": f"{model.digest():08X}", "trace": told, "steps": sum(map(len, inputs)), **zeros,
        "accuracy_on_record": _accuracy(net, task, vectors, model, recorded[2]), **footprint(model, *recorded[:2]),
        **({"learner": learner} if learner else {}),
    }  # fmt: skip
    begin = f"(void){name}_init(&state);" if learner else ""
    texts = {
        f"{name}.h": model.header(), f"{name}.c": model.code(),
        "test_main.c": test_main(model, *recorded, steps=soak, begin=begin, more=lesson), **build_files(name),
        "MEMORY.md": report(model, about, name) + (learner_report(learner) if learner else ""),
        "memory.json": json.dumps(about, indent=2) + "\n",
    }  # fmt: skip
    if not dry_run:
        out.mkdir(exist_ok=True)
        for file, text in texts.items():
            write_text(out / file, text)
    told = {key: value for key, value in about.items() if key not in ("tables", "state")}
    return {"path": str(out), "bytes": sum(len(text) for text in texts.values()), "files": list(texts), **told}


def _in_floats(net, name, method, loss, ram, inputs):
    """(model, what its learner takes, what the test has of it) in float32."""
    if not method:
        return Model(divide(net), name), None, ("", "")
    learner = check_ram(net, method, loss, ram)
    model = LearningModel(divide(net), name, plan_learner(net, method), loss)
    return model, learner, learning_test(model, record_learning(model.plan, loss, inputs))


def _in_fixed_point(fixed, name, method, loss, ram):
    """The same of a `FixedNetwork`."""
    if not method:
        return Model(fixed.parts, name, fixed), None, ("", "")
    model = FixedLearningModel(fixed, name, loss)
    return model, fixed_learner(model, ram), fixed_lesson(model)


def _method(learn, method, ram, bits):
    """The learner's method, or "" where none is wanted."""
    if method is None and not learn:
        if ram is not None:
            raise ValueError("--ram is of the learner: give --learn too")
        return ""
    if bits is not None and method not in (None, "readout"):
        told = "in fixed point the readout alone learns"
        raise ValueError(f"--method {method} is of float32, for {told}: leave --bits out, or choose --method readout")
    return method or ("exact" if bits is None else "readout")


def _accuracy(net, task, vectors, model, out):
    """Of the outputs on record; None without a task, and where there are no right answers."""
    if task is None:
        return None
    said = out if model.fixed is None else [model.out_format.value(one) for one in out]
    return score(net, task, "test", vectors, said)["accuracy"]


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
    """(inputs, for each the layers' events, for each the outputs); ValueError if these are not finite."""
    ran = [net.run(x, record_events=True) for x in inputs]
    for s, (out, _) in enumerate(ran):
        wrong = np.flatnonzero(~np.isfinite(out).all(1))
        if len(wrong):
            told = f"outputs are no numbers from step {wrong[0]} of sequence {s} on"
            raise ValueError(f"{told}, so there is nothing to compare C with: train the network again")
    return inputs, [events for _, events in ran], [out for out, _ in ran]


def _golden(model, inputs):
    """The same of the golden model, in mantissas."""
    given = [model.fixed.given.quantise(x) for x in inputs]
    ran = [model.golden().run(x[None]) for x in given]
    return given, [[shown[0] for shown in events] for _, events in ran], [out[0] for out, _ in ran]
