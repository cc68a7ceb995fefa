"""Show: results as short tables."""

from rich.box import SIMPLE_HEAD
from rich.table import Table

from evsim.fixed.targets import load_target, targets
from evsim.forms import (
    console_on,
    count,
    form_bytes,
    form_joules,
    mebibytes,
    number,
    percent,
    tenths,
    times,
    word,
)
from evsim.joules import MODEL, load_profile, profiles
from evsim.registry import lookup, names

LARGEST = 2048  # units up to which plans look
KINDS = ("cells", "learners", "tasks", "exports", "profiles", "targets")


def show_summary(summary, err=False):
    """What one run or evaluation came to; err: on stderr."""
    console = console_on(err)
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
    console = console_on(err)
    console.print(_title(summary), soft_wrap=True)
    table = Table()
    columns = {
        "solved_symbols": ("solved", count), "solved_repeats": ("repeats", count),
        "test_accuracy": ("accuracy", percent), "test_loss": ("loss", number),
        "bits_per_character": ("bits", number), "perplexity": ("perplexity", number),
        "activity": ("activity", percent), "phi_rate": ("phi-rate", percent),
        "macs_per_step": ("multiply-adds", count), "updates": ("updates", count),
        "train_seconds": ("seconds", tenths), "train_cpu_seconds": ("CPU seconds", tenths),
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
    dense, peak = summary.get("dense_rtrl_macs_per_step"), f"peak memory {mebibytes(summary['peak_bytes'])}"
    if dense is not None:
        ratio = times(dense, summary["macs_per_step"])
        peak = f"multiply-adds are per step, where dense RTRL needs {count(dense)}, {ratio} times as many; {peak}"
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
        layers = " ".join(map(number, found["cosine_per_layer"]))
        error = "-" if found["relative_error"] is None else f"{found['relative_error']:.2g}"
        table.add_row(name, number(found["cosine"]), error, layers)
    console.print(table)


def show_foreseen(rows, err=False):
    """What epochs would do, one row each; a phase is written where it begins."""
    console, table, last = console_on(err), Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False), None
    for title in ("epoch", "learning rate", *(("phase",) if "phase" in rows[0] else ())):
        table.add_column(title, justify="left" if title == "phase" else "right")
    for row in rows:
        phase = () if "phase" not in row else (row["phase"] if row["phase"] != last else "",)
        table.add_row(str(row["epoch"]), f"{row['learning_rate']:.6g}", *phase)
        last = row.get("phase")
    console.print(table)


def show_contest(found, err=False):
    """What each learner came to on the same task, one row each."""
    console, table = console_on(err), Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    rows = found["rows"]
    columns = {
        "solved_symbols": ("solved", count), "solved_repeats": ("repeats", count),
        "test_accuracy": ("accuracy", percent), "test_loss": ("loss", number),
        "bits_per_character": ("bits/char", number), "perplexity": ("perplexity", tenths),
        "steps": ("steps", count), "updates": ("updates", count),
        "cpu_seconds": ("CPU s", tenths), "stored_bytes": ("stored", form_bytes), "peak_bytes": ("peak", mebibytes),
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


def show_sweep(found, err=False):
    """What each combination of settings came to, the best on validation first."""
    console, table = console_on(err), Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    columns = {
        "validation_loss": ("val loss", number), "validation_accuracy": ("val acc", percent),
        "test_accuracy": ("test acc", percent), "test_loss": ("test loss", number),
        "bits_per_character": ("bits/char", number), "activity": ("activity", percent),
        "macs_per_step": ("MACs/step", count), "cpu_seconds": ("CPU s", tenths),
    }  # fmt: skip
    rows = found["rows"]
    columns = {name: form for name, form in columns.items() if any(row.get(name) is not None for row in rows)}
    for name in rows[0]["settings"]:
        table.add_column(name.replace("_", "-"), justify="right", no_wrap=True)
    for title, _ in columns.values():
        table.add_column(title, justify="right", no_wrap=True)
    diverged = any(row["diverged"] for row in rows)
    if diverged:
        table.add_column("diverged", justify="right")
    for row in rows:
        cells = [form(row.get(name)) for name, (_, form) in columns.items()]
        cells += [f"{row['diverged']} of {row['runs']}"] if diverged else []
        table.add_row(*map(str, row["settings"].values()), *cells)
    seeds = ", ".join(map(str, found["seeds"]))
    console.print(f"{found['task']}: medians over seeds {seeds}, the best by validation loss first")
    console.print(table)


def show_plan(rows, err=False):
    """What learners would take, one row each."""
    console, table = console_on(err), Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    limited = any(row["fits"] is not None for row in rows)
    titles = ("learner", "exact", "memory", "MACs/step", "us/step")
    for title in (*titles, *(("fits", "largest") if limited else ())):
        table.add_column(title, justify="left" if title == "learner" else "right", no_wrap=True)
    for row in rows:
        cells = [
            row["learner"], word(row["exact"]), form_bytes(row["bytes"]), count(row["multiply_adds"]),
            f"{row['microseconds']:,.0f}" if row["microseconds"] >= 100 else tenths(row["microseconds"]),
        ]  # fmt: skip
        if limited:
            most = {-1: "-", None: "", LARGEST: f"over {LARGEST}"}.get(row["largest_units"], f"{row['largest_units']}")
            cells += [word(row["fits"]), most]
        table.add_row(*cells)
    console.print(table)
    console.print("Memory: of all streams and threads. Work, time: of one stream on one thread, here.", soft_wrap=True)


def show_list(kind, table_of):
    """One of the four tables of `evsim list`."""
    rows = table_of[kind]
    if not rows:
        console_on().print(f"{kind}: none yet")
        return
    table = Table(title=kind, title_justify="left")
    for name in rows[0]:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(", ".join(v) if isinstance(v, list | tuple) else word(v) for v in row.values()))
    console_on().print(table)


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


def _title(summary):
    return summary.get("title") or summary["task"]


def _lines(summary):
    """(name, text) of what there is to tell."""
    forms = {
        "accuracy": percent, "loss": number, "character": number, "perplexity": number, "activity": percent,
        "phi_rate": percent, "macs_per_step": count, "dense_rtrl_macs_per_step": count, "peak_bytes": mebibytes,
        "dense_bptt_macs_per_step": count, "joules_per_step": form_joules, "joules_per_inference": form_joules,
        "joules_per_sample": form_joules,
        "train_seconds": tenths, "updates": count, "train_cpu_seconds": tenths, "graph_elements": tenths,
        "graph_bytes": mebibytes, "symbols": count, "repeats": count, "length": count,
        "cosine": number,
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
            yield "dense RTRL / this", times(value, summary["macs_per_step"])
