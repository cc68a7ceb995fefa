"""Show, of what leaves evsim: exports, what became of them, and what few bits cost."""

from rich.box import SIMPLE_HEAD
from rich.table import Table

from evsim.forms import console_on, number, percent, tenths, word


def show_quantised(found, err=False):
    """What a network comes to in fixed point, one row for each of its widths, and what targets say to it."""
    console, table = console_on(err), Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    rows = found["rows"]
    columns = {
        "accuracy": ("accuracy", percent), "bits_per_character": ("bits/char", number),
        "perplexity": ("perplexity", tenths), "loss": ("loss", number), "activity": ("activity", percent),
        "events_differ": ("differ", percent),
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
    console = console_on(err)
    console.print(f"{found['path']}: {found['bytes']:,} bytes", soft_wrap=True)
    for name, value in found.items():
        if name not in ("path", "bytes") and value is not None:
            text = ", ".join(map(word, value)) if isinstance(value, list | tuple) else word(value)
            console.print(f"  {name.replace('_', ' ')}: {text}", soft_wrap=True)


def show_verified(found, err=False):
    """How much of a bundle's trace was compared, and how near it came."""
    console = console_on(err)
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
    console = console_on(err)
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
