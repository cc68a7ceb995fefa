"""Report: a run as one HTML page that needs nothing else: curves, work by layer and part, energy. Pictures are SVG."""

import html
import io

from evsim.files import write_text
from evsim.forms import form_bytes, form_joules, unit_of
from evsim.joules import DEFAULT, MODEL, energy, load_profile
from evsim.registry import load_optional
from evsim.runfolder import RunFolder
from evsim.work import PARTS

STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; } th, td { padding: .2em .8em; border-bottom: 1px solid #ddd; }
th { text-align: left; } td.n { text-align: right; font-variant-numeric: tabular-nums; }
h2 { margin-top: 2em; } svg { max-width: 100%; height: auto; } p.model { background: #fff3cd; padding: .6em 1em; }
"""
FIGURES = (
    "test_accuracy", "test_loss", "bits_per_character", "perplexity", "activity", "phi_rate", "macs_per_step",
    "dense_rtrl_macs_per_step", "dense_bptt_macs_per_step", "steps", "peak_bytes", "train_seconds",
)  # fmt: skip


def write_report(path, profile=None, force=False):
    """Write report.html into the folder of a run that is at its end; returns its path.

    profile: what energy is priced by, if not by what the run says. ValueError where there is no such run, or a report
    already and no `force`; ImportError, with what installs it, without matplotlib.
    """
    folder = RunFolder(path)
    folder.config()
    summary, file = folder.summary(), folder.path / "report.html"
    if summary is None:
        raise ValueError(f"{path} is not at its end and has no summary: go on with evsim train --resume {path}")
    if file.exists() and not force:
        raise ValueError(f"{file} is there already: give --force to replace it")
    price = load_profile(profile or summary.get("profile", DEFAULT))
    load_optional("matplotlib", "a report")
    first = summary
    if "runs" in summary:
        first, folder = summary["runs"][0], folder.member(summary["runs"][0]["seed"])
    parts = [_seeds(summary)] if "runs" in summary else []
    parts += [_figures(first), _curves(folder.rows())]
    parts += [_work(first), _energy(first, price)] if "ops" in first else [_uncounted(first)]
    parts.append(_settings(summary["config"]))
    title = f"{summary['task']}, {summary['config']['learner']}"
    head = f'<meta charset="utf-8"><title>{_safe(title)}</title><style>{STYLE}</style>'
    body = "\n".join([f"<h1>{_safe(title)}</h1>", *parts])
    write_text(file, f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n')
    return file


def _figures(run):
    rows = [(name.replace("_", " "), _number(run[name], name)) for name in FIGURES if run.get(name) is not None]
    seed = f", seed {run['seed']}" if "seed" in run else ""
    return f"<h2>What came out{_safe(seed)}</h2>" + _table(("", ""), rows)


def _seeds(summary):
    names = [name for name in (*FIGURES, "joules_per_step") if name in summary and name in summary["runs"][0]]
    rows = [[str(run["seed"]), *(_number(run[name], name) for name in names)] for run in summary["runs"]]
    rows.append(["median", *(_number(summary[name], name) for name in names)])
    told = "<p>Details below are those of the first.</p>"
    return "<h2>Seeds</h2>" + _table(["seed", *(name.replace("_", " ") for name in names)], rows) + told


def _settings(config):
    return "<h2>Settings</h2>" + _table(("setting", "value"), [(name, str(value)) for name, value in config.items()])


def _curves(rows):
    """Loss and accuracy, activity and phi-rate, over epochs."""
    if not rows:
        return ""
    groups = (
        ("loss", ("loss", "validation_loss")), ("accuracy", ("accuracy", "validation_accuracy")),
        ("activity", ("activity", "phi_rate")), ("MACs per step", ("macs_per_step",)),
    )  # fmt: skip
    groups = [(title, [name for name in names if any(row.get(name) is not None for row in rows)])
              for title, names in groups]  # fmt: skip
    groups = [(title, names) for title, names in groups if names]
    from matplotlib.ticker import MaxNLocator

    figure = _figure(9.0, 2.6 * -(-len(groups) // 2))
    for k, (title, names) in enumerate(groups):
        axes = figure.add_subplot(-(-len(groups) // 2), 2, k + 1)
        for name in names:
            points = [(row["epoch"], row[name]) for row in rows if row.get(name) is not None]
            axes.plot(*zip(*points), marker=".", label=name.replace("_", " "))
        axes.set_xlabel("epoch")
        axes.set_title(title, fontsize=10)
        highest = max(row[name] for row in rows for name in names if row.get(name) is not None)
        axes.set_ylim(0, 1.1 * highest or 1)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if len(names) > 1:
            axes.legend(fontsize=8)
    return "<h2>Over epochs</h2>" + _svg(figure)


def _work(run):
    """Multiply-adds per step of each layer and part, beside those of dense learners."""
    ops = run["ops"]
    steps = max(ops["steps"], 1)
    rows = []
    for layer in [*ops["layers"], {"name": "all", **ops}]:
        each = [layer["parts"][part]["multiply_adds"] / steps for part in PARTS]
        share = layer["additions"] / layer["multiply_adds"] if layer["multiply_adds"] else 0
        rows.append([layer["name"], *map(_count, [*each, sum(each)]), f"{share:.1%}",
                     _count(layer["unit_updates"] / steps), _count(layer["events"] / steps)])  # fmt: skip
    titles = ("multiply-adds per step", *PARTS, "sum", "additions alone", "unit updates", "events")
    whole = ops["multiply_adds"] / steps
    dense = [
        (name, _count(macs), f"{macs / whole:,.2f}" if whole else "-")
        for name, macs in (("dense RTRL", ops["dense"]["rtrl"]), ("dense BPTT", ops["dense"]["bptt"]))
    ]
    figure = _figure(7.0, 2.2)
    axes = figure.add_subplot()
    bars = [("this run", whole), ("dense RTRL", ops["dense"]["rtrl"]), ("dense BPTT", ops["dense"]["bptt"])]
    drawn = axes.barh([name for name, _ in bars], [value for _, value in bars], color=["tab:blue", "0.7", "0.7"])
    axes.bar_label(drawn, [_count(value) for _, value in bars], padding=4)
    axes.margins(x=0.2)
    axes.invert_yaxis()
    axes.set_xlabel("multiply-adds per step")
    told = (
        "<p>Counted by the kernels over all of training; dense learners by closed forms, for the same network without "
        "masks. Additions alone: multiply-adds of which one factor is exactly 1.</p>"
    )
    titles_of_dense = ("", "multiply-adds per step", "times this run's")
    return "<h2>Work</h2>" + told + _table(titles, rows) + _table(titles_of_dense, dense) + _svg(figure)


def _energy(run, price):
    ops = run["ops"]
    found = energy(ops, price)
    if "inference_ops" in run:  # of the trained network on the test split
        found["joules_per_inference"] = energy(run["inference_ops"], price)["joules_per_inference"]
    rows = [
        [part, *(form_joules(value / max(ops["steps"], 1)) for value in (*one.values(), sum(one.values())))]
        for part, one in found["parts"].items()
    ]
    whole = (found["compute"], found["memory"], found["joules"])
    rows.append(["all", *(form_joules(value / max(ops["steps"], 1)) for value in whole)])
    figure = _figure(7.0, 2.6)
    axes = figure.add_subplot()
    left, (scale, unit) = [0.0] * len(PARTS), unit_of(found["joules"] / max(ops["steps"], 1))
    for kind in ("compute", "memory"):
        values = [found["parts"][part][kind] / max(ops["steps"], 1) / scale for part in PARTS]
        axes.barh(PARTS, values, left=left, label=kind)
        left = [a + b for a, b in zip(left, values, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel(f"{unit} per step")
    axes.legend(fontsize=8)
    each = [(text, form_joules(found[name])) for text, name in (
        ("a step", "joules_per_step"), ("an inference: one sequence, forward alone", "joules_per_inference"),
        ("a learned sequence", "joules_per_sample"),
    )]  # fmt: skip
    placed = [
        (store, form_bytes(ops["stores"].get(store, 0) * price["word_bytes"]),
         "the last" if size is None else form_bytes(size)) for store, size in found["stores"].items()
    ]  # fmt: skip
    sources = _table(("price", "source"), list(price.get("sources", {}).items()))
    return "".join([
        f"<h2>Energy, by {_safe(price['name'])}: {_safe(price['what'])}</h2>", f'<p class="model">{MODEL}</p>',
        _table(("energy of", ""), each), _table(("joules per step", "compute", "memory", "sum"), rows), _svg(figure),
        _table(("store", "holds for one stream", "lies in a memory of"), placed), sources,
    ])  # fmt: skip


def _uncounted(run):
    return f"<h2>Work</h2><p>The backend {_safe(run['config'].get('backend', 'torch'))} counts no work.</p>"


def _table(titles, rows):
    head = "".join(f"<th>{_safe(title)}</th>" for title in titles)
    kinds = "", ' class="n"'
    cells = (
        "".join(f"<td{kinds[k > 0]}>{_safe(cell)}</td>" for k, cell in enumerate(row)) for row in rows
    )  # fmt: skip
    body = "".join(f"<tr>{one}</tr>" for one in cells)
    return f"<table><tr>{head}</tr>{body}</table>"


def _figure(width, height):
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure):
    """The picture as an element of the page."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]


def _safe(text):
    return html.escape(str(text))


def _count(value):
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.2f}"


def _number(value, name):
    if value is None:
        return "-"
    if name.endswith("bytes"):
        return form_bytes(value)
    if name.startswith("joules"):
        return form_joules(value)
    return f"{value:.4f}" if isinstance(value, float) and value < 10 else f"{value:,.0f}"
