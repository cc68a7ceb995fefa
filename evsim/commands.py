"""Commands: what each command of the line does once its options are read. Raises what `evsim.cli` turns into a line."""

from pathlib import Path
from typing import Any


class Failed(Exception):
    """A command did its work and what it found is bad, as the message says."""


def train(given, config, out, force, resume, json, dry_run):
    """Train, or go on with, a run; or tell what would be done."""
    from evsim import runs, show

    if "update" in given and given["update"] != "sequence":
        given["update"] = _whole("update", given["update"], "give 'sequence' or a number of steps")
    if "block" in given:
        given["block"] = _block(given["block"])
    for name in ("seeds", "switch"):
        if name in given:
            given[name] = _wholes(name, given[name])
    if dry_run:
        if resume is not None:
            raise ValueError("--dry-run tells what a new run would do: leave --resume out")
        found = runs.foresee(given, config)
        show.show_foreseen(found, err=json)
        _print_json(json, {"epochs": found})
        return
    if resume is None:
        summary = runs.train(given, config, out, force)
    elif force or (out is not None and Path(out).resolve() != Path(resume).resolve()):
        raise ValueError("--resume goes on with the run where it stands: leave --out and --force out")
    else:
        summary = runs.resume(resume, given, config)
    (show.show_seeds if "runs" in summary else show.show_summary)(summary, err=json)
    _print_json(json, summary)


def evaluate(run, given, split, predictions, force, json):
    """Evaluate a run."""
    from evsim import results, show

    found = results.evaluate_run(run, given, split, predictions, force)
    show.show_summary(found, err=json)
    _print_json(json, {name: value for name, value in found.items() if name != "title"})


def predict(run, data, out, force):
    """Write what a run says."""
    from evsim.results import predict_run

    print(f"{predict_run(run, data, out, force)} predictions are in {out}")


def export(run, to, out, force, options, json):
    """Export a run."""
    from evsim import show_exports
    from evsim.exporting import export_run

    found = export_run(run, to, out, force, options)
    show_exports.show_export(found, err=json)
    _print_json(json, found)


def quantise(run, bits, state_bits, target, tune, lr, sequences, out, force, json):
    """Tell what a run loses in fixed point, and which targets have room for it; write the tuned network if asked."""
    from evsim import show_exports
    from evsim.check import check_count
    from evsim.checkpoint import save
    from evsim.fewbits import report
    from evsim.files import refuse_existing
    from evsim.fixed.targets import choose_targets
    from evsim.registry import lookup

    bits, state_bits = _wholes("bits", bits, "4,8"), _wholes("state_bits", state_bits, "16,32")
    targets = [] if target is None else choose_targets(target)
    epochs = 0 if tune is None else check_count("tune", tune)
    if out is not None and (not epochs or len(bits) > 1):
        raise ValueError("--out takes the tuned network: give --tune EPOCHS, and --bits with a single width")
    if lr is not None and not epochs:
        raise ValueError(f"--lr {lr:g} is that of tuning: give --tune EPOCHS too")
    if out is not None:
        refuse_existing(out, force)
    found, tuned = report(run, bits, state_bits, targets, epochs, lr, sequences, show=True)
    if out is not None:
        (one,) = tuned.values()
        save(out, one.net, lookup("learner", "bptt")(one.net, loss=one.loss))  # which tells the loss
        found["out"] = out
    show_exports.show_quantised(found, err=json)
    _print_json(json, found)


def verify(file, json):
    """Replay a bundle, or run exported C; Failed, after all is printed, if it does not agree."""
    from evsim import show_exports
    from evsim.registry import load_optional

    run_c = load_optional("evsim.exports.run_c", "evsim verify")
    if run_c.is_export(file):
        found = run_c.verify(file)
        show_exports.show_run_c(found, err=json)
        told = found["difference"]
    else:
        if Path(file).is_dir():
            told = "is a folder, but none that evsim export --to c wrote: give such a folder, or a bundle"
            raise ValueError(f"{file} {told}")
        found = load_optional("evsim.exports.replay", "evsim verify").verify(file)
        show_exports.show_verified(found, err=json)
        told = None if found["agrees"] else show_exports.form_difference(found["difference"])
    _print_json(json, found)
    if not found["agrees"]:
        raise Failed(f"{file} does not agree with its record: {told}")


def import_(file, out, dt, force):
    """Write a network from a NIR file as a checkpoint."""
    from evsim.checkpoint import save
    from evsim.files import refuse_existing
    from evsim.registry import load_optional

    read_nir = load_optional("evsim.exports.nir_read", "evsim import").read_nir
    refuse_existing(out, force)
    net = read_nir(file, dt)
    save(out, net)
    print(f"{net!r} is in {out}")


def report(run, profile, force):
    """Write the report of a run."""
    from evsim.report import write_report

    print(f"the report is in {write_report(run, profile, force)}")


def compare(given, learners, words, config, out, json):
    """Train by several learners, and tell what each came to."""
    from evsim import contest, show
    from evsim.build import check_kind, parse_options

    own = {name: check_kind(name, value) for name, value in parse_options(words).items()}
    for name in own.keys() & given.keys():
        raise ValueError(f"{name} was given twice: leave --set {name}={own[name]} out")
    found = contest.compare({**own, **given}, learners, config, out)
    show.show_contest(found, err=json)
    _print_json(json, found)


def sweep(given, over, words, seeds, config, workers, out, json):
    """Train every combination of settings, and tell what each came to."""
    from evsim import grid, show
    from evsim.build import check_kind, parse_options

    own = {name: check_kind(name, value) for name, value in parse_options(words).items()}
    found = grid.sweep({**own, **given}, over, _wholes("seeds", seeds), config, out, workers)
    show.show_sweep(found, err=json)
    _print_json(json, found)


def plan(cell, options, rates, block, memory, given, json):
    """Tell what learners would take."""
    from evsim import show
    from evsim.cost import Rates
    from evsim.memory import parse_bytes
    from evsim.plan import plan
    from evsim.registry import lookup

    make = lookup("cell", cell)
    block = _block(block)
    limit = None if memory is None else parse_bytes(memory)
    rows = plan(
        lambda n: make(n, **options), rates=Rates.checked(**rates), block=block, memory_limit=limit, **given
    )  # fmt: skip
    show.show_plan(rows, err=json)
    _print_json(json, {"plan": rows})


def bench(sections, quick, repeats, out, json):
    """Time learning and inference."""
    from evsim.bench.pin import pin_threads

    pinned = pin_threads()  # before numpy is imported

    from evsim.bench.run import run
    from evsim.bench.table import show_bench

    found = run(sections, quick, repeats, out, pinned)
    show_bench(found, err=json)
    _print_json(json, found)


def list_(kind, json):
    """List what there is to choose from."""
    from evsim import show
    from evsim.check import check_choice

    kinds = show.KINDS if kind is None else (check_choice("kind", kind, show.KINDS),)
    table_of = show.listing(kinds)
    for one in kinds:
        if not json:
            show.show_list(one, table_of)
    _print_json(json, table_of)


def _block(text):
    return text if text == "auto" else _whole("block", text, 'give a number of steps or "auto"')


def _wholes(name, text, like="0,1,2"):
    return [_whole(name, one, f"give whole numbers, as in {like}") for one in text.split(",")]


def _whole(name, text: Any, advice):
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name}={text!r} is not usable: {advice}") from None


def _print_json(wanted, value):
    if wanted:
        from evsim.runfolder import to_json

        print(to_json(value), flush=True)
