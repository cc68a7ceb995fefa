"""Show: results as short tables."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from evsim.fixed.targets import load_target, targets
from evsim.joules import MODEL, load_profile, profiles
from evsim.registry import lookup, names

_UNITS = ((1.0, "J"), (1e-3, "mJ"), (1e-6, "uJ"), (1e-9, "nJ"), (1e-12, "pJ"))
LARGEST = 2048  # units up to which plans look
KINDS = ("cells", "learners", "tasks", "exports", "profiles", "targets")


def show_summary(summary, err=False):
    """What one run or evaluation came to; err: on stderr."""
    console = _console(err)
    console.print(_title(summary), soft_wrap=True)
    table = Table(show_header=False)
    table.add_column("what")
    table.add_column("value", justify="right")
    for name, text in _lines(summary):
        table.add_row(name, text)
    console.print(table)
    _show_model(console, summary)
    _show_compared(console, summary)


def _show_model(console, summary):
    """What joules are, where there are any."""
    if "joules_per_step" in summary:
        console.print(f"joules: {summary['profile']}. {MODEL}", soft_wrap=True)


def show_seeds(summary, err=False):
    """What several runs came to: one row each, and their median."""
    console = _console(err)
    console.print(_title(summary), soft_wrap=True)
    table = Table()
    columns = {
        "solved_symbols": ("solved", _count), "solved_repeats": ("repeats", _count),
        "test_accuracy": ("accuracy", _percent), "test_loss": ("loss", _number),
        "bits_per_character": ("bits", _number), "perplexity": ("perplexity", _number),
        "activity": ("activity", _percent), "phi_rate": ("phi-rate", _percent),
        "macs_per_step": ("multiply-adds", _count), "updates": ("updates", _count),
        "train_seconds": ("seconds", _tenths), "train_cpu_seconds": ("CPU seconds", _tenths),
    }  # fmt: skip
    told = {"test_loss"} if {"bits_per_character", "perplexity"} & set(summary) else set()  # what says the same
    columns = {name: form for name, form in columns.items() if name in summary and name not in told}
    for name in ("seed", *(shown for shown, _ in columns.values())):
        table.add_column(name, justify="right", no_wrap=True)
    for run in summary["runs"]:
        table.add_row(str(run["seed"]), *(form(run[name]) for name, (_, form) in columns.items()))
    table.add_section()
    table.add_row("median", *(form(summary[name]) for name, (_, form) in columns.items()), style="bold")
    console.print(table)
    dense, peak = summary.get("dense_rtrl_macs_per_step"), f"peak memory {_bytes(summary['peak_bytes'])}"
    if dense is not None:
        times = _times(dense, summary["macs_per_step"])
        peak = f"multiply-adds are per step, where dense RTRL needs {_count(dense)}, {times} times as many; {peak}"
    console.print(peak, soft_wrap=True)
    if "joules_per_step" in summary:
        whole, alone = (form_joules(summary[f"joules_per_{name}"]) for name in ("sample", "inference"))
        told = f"{alone} per inference, {whole} per learned sequence"
        console.print(f"medians: {form_joules(summary['joules_per_step'])} per step, {told}", soft_wrap=True)
    _show_model(console, summary)
    _show_compared(console, summary)


def _show_compared(console, summary):
    """How near the learners that rode along came to the exact gradient in the last epoch: one row each."""
    if "compare" not in summary:
        return
    table = Table(title="nearness to the exact gradient, without the readout's", title_justify="left")
    table.add_column("learner", overflow="fold")
    for name in ("cosine", "relative error", "cosine of each layer"):
        table.add_column(name, justify="right")
    for name, found in summary["compare"].items():
        layers = " ".join(map(_number, found["cosine_per_layer"]))
        error = "-" if found["relative_error"] is None else f"{found['relative_error']:.2g}"
        table.add_row(name, _number(found["cosine"]), error, layers)
    console.print(table)


def show_foreseen(rows, err=False):
    """What epochs would do, one row each; a phase is written where it begins."""
    console, table, last = _console(err), Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False), None
    for title in ("epoch", "learning rate", *(("phase",) if "phase" in rows[0] else ())):
        table.add_column(title, justify="left" if title == "phase" else "right")
    for row in rows:
        phase = () if "phase" not in row else (row["phase"] if row["phase"] != last else "",)
        table.add_row(str(row["epoch"]), f"{row['learning_rate']:.6g}", *phase)
        last = row.get("phase")
    console.print(table)


def show_contest(found, err=False):
    """What each learner came to on the same task, one row each."""
    console, table = _console(err), Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    rows = found["rows"]
    columns = {
        "solved_symbols": ("solved", _count), "solved_repeats": ("repeats", _count),
        "test_accuracy": ("accuracy", _percent), "test_loss": ("loss", _number),
        "bits_per_character": ("bits/char", _number), "perplexity": ("perplexity", _tenths),
        "steps": ("steps", _count), "updates": ("updates", _count),
        "cpu_seconds": ("CPU s", _tenths), "stored_bytes": ("stored", form_bytes), "peak_bytes": ("peak", _bytes),
    }  # fmt: skip
    columns = {name: form for name, form in columns.items() if any(name in row for row in rows)}
    words = [word for row in rows for word in row["learner"].split()]
    table.add_column("learner", min_width=max(map(len, ["learner", *words])))
    table.add_column("under")
    for title, _ in columns.values():
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        cells = ["diverged"] if "failed" in row else [form(row.get(name)) for name, (_, form) in columns.items()]
        table.add_row(row["learner"], "torch" if row["backend"] == "torch" else "evsim", *cells)
    console.print(found["task"])
    console.print(table)


def show_plan(rows, err=False):
    """What learners would take, one row each."""
    console, table = _console(err), Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    limited = any(row["fits"] is not None for row in rows)
    titles = ("learner", "exact", "memory", "MACs/step", "us/step")
    for title in (*titles, *(("fits", "largest") if limited else ())):
        table.add_column(title, justify="left" if title == "learner" else "right", no_wrap=True)
    for row in rows:
        cells = [
            row["learner"], _word(row["exact"]), form_bytes(row["bytes"]), _count(row["multiply_adds"]),
            f"{row['microseconds']:,.0f}" if row["microseconds"] >= 100 else _tenths(row["microseconds"]),
        ]  # fmt: skip
        if limited:
            most = {-1: "-", None: "", LARGEST: f"over {LARGEST}"}.get(row["largest_units"], f"{row['largest_units']}")
            cells += [_word(row["fits"]), most]
        table.add_row(*cells)
    console.print(table)
    console.print("Memory: of all streams and threads. Work, time: of one stream on one thread, here.", soft_wrap=True)


def show_list(kind, table_of):
    """One of the four tables of `evsim list`."""
    rows = table_of[kind]
    if not rows:
        _console().print(f"{kind}: none yet")
        return
    table = Table(title=kind, title_justify="left")
    for name in rows[0]:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(", ".join(v) if isinstance(v, list | tuple) else _word(v) for v in row.values()))
    _console().print(table)


def listing(kinds):
    """dict kind -> list of dicts with what there is to choose from."""
    rows = {"cells": _cell_row, "learners": _learner_row, "tasks": _task_row, "exports": _export_row,
            "profiles": _profile_row, "targets": _target_row}  # fmt: skip
    files = {"profiles": profiles, "targets": targets}
    known = {kind: files[kind]() if kind in files else names(kind[:-1]) for kind in kinds}
    return {kind: [{"name": name, **rows[kind](name)} for name in known[kind]] for kind in kinds}


def _cell_row(name):
    cell = lookup("cell", name)
    return {"states": cell.states, "channels": cell.channels, "local_parameters": cell.local, "source": cell.source}


def _learner_row(name):
    learner = lookup("learner", name)
    return {
        "exact": learner.exact, "drops": learner.drops or "nothing", "memory": learner.memory_claim,
        "cost_per_step": learner.cost_claim, "source": learner.source,
    }  # fmt: skip


def _task_row(name):
    task = lookup("task", name)()
    options = [f"{option}: {' | '.join(choice.allowed())}" for option, choice in task.options.items()]
    return {"what": task.describe().partition(": ")[2], "options": options}


def _export_row(name):
    return {"what": (lookup("export", name).__doc__ or "").strip().partition("\n")[0]}


def _profile_row(name):
    found = load_profile(name)
    prices = (f"{price.replace('_', ' ')} {cost:g}" for price, cost in found["compute"].items())
    words = (f"{form_bytes(one['bytes']) if 'bytes' in one else 'beyond'} {one['read']:g}" for one in found["memory"])
    return {
        "a_model_of": found["what"], "compute_in_pJ": ", ".join(prices), "a_word_from_memory_in_pJ": ", ".join(words)
    }  # fmt: skip


def _target_row(name):
    found = load_target(name)
    tables = ((table, found.get(table, {})) for table in ("limits", "core", "memory"))
    limits = [f"{table + ' ' if table != 'limits' else ''}{key.replace('_', ' ')} {value:,}"
              for table, held in tables for key, value in held.items()]  # fmt: skip
    return {"a_model_of": found["what"], "cells": found["cells"], "limits": ", ".join(limits)}


def show_quantised(found, err=False):
    """What a network comes to in fixed point, one row for each of its widths, and what targets say to it."""
    console, table = _console(err), Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    rows = found["rows"]
    columns = {
        "accuracy": ("accuracy", _percent), "bits_per_character": ("bits/char", _number),
        "perplexity": ("perplexity", _tenths), "loss": ("loss", _number), "activity": ("activity", _percent),
        "events_differ": ("differ", _percent),
    }  # fmt: skip
    told = {"loss"} if {"bits_per_character", "perplexity"} & set(rows[0]) else set()
    columns = {name: form for name, form in columns.items() if rows[0].get(name) is not None and name not in told}
    table.add_column("weights", no_wrap=True)
    for title in ("states", *(title for title, _ in columns.values()), "flash", "RAM"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        name, states = (f"{row['bits']} bits", f"{row['state_bits']}") if row["fixed"] else (found["dtype"], "")
        held = row["bytes"]
        sizes = ["", ""] if held is None else [f"{held['flash']:,}", f"{held['ram']:,}"]
        figures = (form(row[one]) for one, (_, form) in columns.items())
        table.add_row(f"{name}, tuned" if row["tuned"] else name, states, *figures, *sizes)
    console.print(f"{found['run']} on {found['task']}, {found['split']}: {found['sequences']} sequences")
    console.print(table)
    console.print(
        "differ: events that only one of it and the trained network has, over the trained one's. flash, RAM: bytes of "
        "the C's tables and state, without code and stack", soft_wrap=True
    )  # fmt: skip
    if "out" in found:
        console.print(f"the tuned network is in {found['out']}", soft_wrap=True)
    for name in dict.fromkeys(one["target"] for one in found["targets"]):
        _show_target(console, [one for one in found["targets"] if one["target"] == name])


def _show_target(console, found):
    """One target: at which widths it has room, and what does not fit elsewhere."""
    widths = {id(one): f"{one['need']['bits']}/{one['need']['state_bits']}" for one in found}
    good = [widths[id(one)] for one in found if one["fits"]]
    told = f"fits at {', '.join(good)} bits of weights/states" if good else "does not fit"
    cores = dict.fromkeys(one["cores"]["needed"] for one in found if one["fits"] and one["cores"])
    cores = f", on {' to '.join(map(str, sorted({min(cores), max(cores)})))} cores" if cores else ""
    console.print(f"{found[0]['target']} ({found[0]['what']}): {told}{cores}", soft_wrap=True)
    for sentence in dict.fromkeys(sentence for one in found for sentence in one["misfits"]):
        at = [widths[id(one)] for one in found if sentence in one["misfits"]]
        console.print(f"  {sentence}" if len(at) == len(found) else f"  at {', '.join(at)}: {sentence}", soft_wrap=True)
    if found[0]["note"]:
        console.print(f"  note: {found[0]['note']}", soft_wrap=True)


def show_export(found, err=False):
    """What was written: where, and all else that the export tells."""
    console = _console(err)
    console.print(f"{found['path']}: {found['bytes']:,} bytes", soft_wrap=True)
    for name, value in found.items():
        if name not in ("path", "bytes") and value is not None:
            text = ", ".join(map(_word, value)) if isinstance(value, list | tuple) else _word(value)
            console.print(f"  {name.replace('_', ' ')}: {text}", soft_wrap=True)


def show_verified(found, err=False):
    """How much of a bundle's trace was compared, and how near it came."""
    console = _console(err)
    what = f"{found['sequences']} sequences, {found['steps']:,} steps and {found['events']:,} events agree"
    console.print(f"{found['path']}: {what}, replayed in plain numpy ({found['dtype']})", soft_wrap=True)
    console.print(
        f"  largest difference of outputs: {found['largest_output_difference']:.2g}, of events' values: "
        f"{found['largest_event_difference']:.2g} (tolerance {found['tolerance']:g} of 1 + |value|)", soft_wrap=True
    )  # fmt: skip
    if found["near_threshold"]:
        told = f"events differ where the state is within {found['near']:g} of its threshold"
        console.print(f"  {found['near_threshold']} {told}", soft_wrap=True)
    silent = [str(k) for k, events in enumerate(found["events_per_layer"]) if not events]
    if silent and found["agrees"]:
        console.print(f"  no event was on record in layer {', '.join(silent)}: nothing of it was tried", soft_wrap=True)


def show_run_c(found, err=False):
    """Where exported C was run, and what was compared there."""
    console = _console(err)
    if found["agrees"]:
        what = f"{found['steps']:,} steps and {found['events']:,} events agree"
        console.print(f"{found['path']}: {what}, on the {' and on the '.join(found['places'])}", soft_wrap=True)
        if found["random_steps"]:
            console.print(f"  {found['random_steps']:,} random steps, hash {found['hash']}: the golden model's")
        if found["updates"]:
            console.print(f"  {found['updates']:,} updates of its learner come to the same weights")
    if found["skipped"]:
        console.print(f"  not tried on a Cortex-M3: {', '.join(found['skipped'])}", soft_wrap=True)


def form_difference(found):
    """Where a replay first differed, in words."""
    at = ", ".join(f"{name} {found[name]}" for name in ("sequence", "step", "layer", "unit", "output") if name in found)
    replayed = "nothing finite" if found["replayed"] is None else f"{found['replayed']:.9g}"
    return f"at {at} it is {found['recorded']:.9g} on record, but {replayed} in the replay"


def _title(summary):
    return summary.get("title") or summary["task"]


def _lines(summary):
    """(name, text) of what there is to tell."""
    forms = {
        "accuracy": _percent, "loss": _number, "character": _number, "perplexity": _number, "activity": _percent,
        "phi_rate": _percent, "macs_per_step": _count, "dense_rtrl_macs_per_step": _count, "peak_bytes": _bytes,
        "dense_bptt_macs_per_step": _count, "joules_per_step": form_joules, "joules_per_inference": form_joules,
        "joules_per_sample": form_joules,
        "train_seconds": _tenths, "updates": _count, "train_cpu_seconds": _tenths, "graph_elements": _tenths,
        "graph_bytes": _bytes, "symbols": _count, "repeats": _count, "length": _count,
        "cosine": _number,
    }  # fmt: skip
    shown = {
        "phi_rate": "phi-rate", "macs_per_step": "multiply-adds per step", "peak_bytes": "peak memory",
        "dense_rtrl_macs_per_step": "dense RTRL's multiply-adds per step", "train_seconds": "training seconds",
        "train_cpu_seconds": "CPU seconds", "graph_elements": "steps and predictions in a stream's graph",
        "dense_bptt_macs_per_step": "dense BPTT's multiply-adds per step",
        "joules_per_inference": "joules per inference (a sequence)",
        "joules_per_sample": "joules per learned sequence", "graph_bytes": "saved for backward",
        "synthetic_cosine": "cosine of guesses with what was found",
    }  # fmt: skip
    for name, value in summary.items():
        form = forms.get(name) or forms.get(name.rpartition("_")[2])
        if form is not None and value is not None:
            yield shown.get(name, name.replace("_", " ")), form(value)
        if name == "dense_rtrl_macs_per_step" and value and summary.get("macs_per_step"):
            yield "dense RTRL / this", _times(value, summary["macs_per_step"])


def _console(err=False):
    return Console(stderr=err, highlight=False, markup=False)


def _times(dense, macs):
    return f"{dense / macs:,.1f}" if macs else "-"


def _percent(value):
    return "-" if value is None else f"{value:.2%}"


def _number(value):
    return "-" if value is None else f"{value:.4f}"


def _tenths(value):
    return "-" if value is None else f"{value:.1f}"


def unit_of(joules):
    """(size, name) of a unit in which so many joules are easily read."""
    return next((one for one in _UNITS if joules >= one[0]), _UNITS[-1])


def form_joules(value):
    """Joules in a unit in which they are easily read."""
    if value is None:
        return "-"
    size, unit = unit_of(value)
    return f"{value / size:,.3g} {unit}" if value < 1000 else f"{value:,.0f} J"


def _count(value):
    return "-" if value is None else f"{value:,.0f}"


def _bytes(value):
    if value is None:
        return "-"
    return f"{value / 2**20:,.1f} MiB"


def form_bytes(value):
    return _bytes(value) if value >= 2**20 else f"{value / 2**10:,.1f} KiB"


def _word(value):
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)
