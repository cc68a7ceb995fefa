"""Table: the figures as text, a table for each comparison and one for what was to be reached."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

WIDTH = 118  # where no terminal says otherwise
STYLE: Any = {"title_justify": "left", "box": SIMPLE_HEAD, "padding": (0, 1, 0, 0), "pad_edge": False}
COLUMNS = ("time", "10 % - 90 %", "ratio", "MACs/step", "of best", "phi-rate", "activity", "memory")


def show_bench(found, err=False):
    """All of `evsim.bench.run.run`'s figures; err: on stderr."""
    console = Console(stderr=err, highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(stderr=err, highlight=False, markup=False, width=WIDTH)
    for line in _heading(found):
        console.print(line, soft_wrap=True)
    for group in found["groups"]:
        console.print(_group(group))
    if found["claims"]:
        console.print(_claims(found["claims"]))


def _heading(found):
    machine, ceilings = found["machine"], found["ceilings"]
    known = ", ".join(f"{name} {version}" for name, version in found["versions"].items() if version)
    caches = ", ".join(f"{level} {held // 1024:,} KiB" for level, held in machine["caches"].items())
    yield f"{found['date']}; {machine['cpu']}, {machine['cores']} cores, {machine['vectors'] or 'no AVX'}; {caches}"
    yield known
    load = "" if machine["load"] is None else f", load {machine['load']:.1f} as it began"
    yield f"{machine['system']}{load}"
    rates = ", ".join(
        f"{ceilings[f'macs_{level}'] / 1e9:.1f} from {level} ({size(read)})"
        for level, read in ceilings["bytes"].items()
    )
    rates = f"{rates}, sgemm {ceilings['sgemm_macs'] / 1e9:.1f}"
    yield f"ceilings of one core, 10^9 float32 multiply-adds a second: {rates}"
    yield f"stream: copy {ceilings['copy_bytes'] / 1e9:.1f} GB/s, triad {ceilings['triad_bytes'] / 1e9:.1f} GB/s"
    yield "of best: multiply-adds a second over the ceiling of the level in which tiles stay, or over that of sgemm;"
    yield "  of the inner kernel and the product alone, in turns that nothing disturbed"
    threads = "one thread unless stated" if found["pinned"] else "threads of BLAS NOT pinned"
    yield f"{threads}; medians of up to {found['repeats']} turns each, taken in turn"
    if found["quick"]:
        yield "quick: sizes are tiny, figures say nothing"


def _group(group):
    rows = group["rows"]
    cells_of = [_cells(row, group) for row in rows]
    shown = [name for name in COLUMNS if any(cells[name] for cells in cells_of)]
    table = Table(title=f"{group['section']}: {group['title']}", **STYLE)
    table.add_column("", overflow="fold")
    for name in shown:
        table.add_column(group["unit"] if name == "time" else name, justify="right", no_wrap=True)
    for row, cells in zip(rows, cells_of):
        name = f"{row['name']}: {row['missing']}" if row["missing"] else row["name"]
        table.add_row(name, *(cells[column] for column in shown), style="bold" if row["ours"] else None)
    return table


def _cells(row, group):
    scale = 1e6 if group["unit"] == "s" else 1.0
    times = [None if row[name] is None else row[name] / scale for name in ("us", "us_10", "us_90")]
    return {
        "time": figure(times[0]), "10 % - 90 %": times[0] and f"{figure(times[1])} - {figure(times[2])}",
        "ratio": "" if row["name"] == group["base"] else figure(row["ratio"]),
        "MACs/step": "" if row["multiply_adds"] is None else f"{row['multiply_adds']:,.0f}",
        "of best": f"{row['of_ceiling']:.2f} {row['level']}" if "of_ceiling" in row else "",
        "phi-rate": rate(row["phi_rate"]), "activity": rate(row["activity"]), "memory": size(row["memory_bytes"]),
    }  # fmt: skip


def _claims(claims):
    table = Table(title="what is to be reached, and what was", **STYLE)
    table.add_column("", overflow="fold")
    for name in ("measured", "target", "met"):
        table.add_column(name, justify="right", no_wrap=True)
    for claim in claims:
        aim = f", aim {claim['aim']:g}" if claim["aim"] is not None else ""
        met = {True: "yes", False: "no", None: "not measured"}[claim["met"]]
        note = f" ({claim['note']})" if claim["note"] else ""
        measured = figure(claim["value"]) or "-"
        table.add_row(claim["what"] + note, measured, f"{claim['relation']} {claim['target']:,g}{aim}", met)
    return table


def figure(value):
    """A time or a ratio with three digits that mean something."""
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 1e-3 else f"{value:.1e}"


def rate(value):
    """A fraction."""
    return "" if value is None else f"{value:.3f}"


def size(value):
    """Bytes."""
    if value is None:
        return ""
    return f"{value / 2**20:,.1f} MiB" if value >= 2**20 else f"{value / 2**10:,.1f} KiB"
