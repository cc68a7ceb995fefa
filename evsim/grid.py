"""Grid: a run for every combination of settings and every seed, side by side in processes; medians over seeds."""

from itertools import product
from statistics import median
from typing import Any

from evsim.build import check_kind, merge, parse_options, read_settings, resolve
from evsim.check import check_count
from evsim.contest import train_all

MOST = 1000  # runs
KEPT = ("test_accuracy", "test_loss", "bits_per_character", "activity", "macs_per_step", "cpu_seconds")


def sweep(given: dict[str, Any], over: list[str], seeds=(0,), config=None, path=None, workers: int = 2):
    """Train with every combination of the values in `over`, with every seed; returns a dict of the task and rows.

    given, config: settings that all runs share, as for a run. over: texts such as "lr=0.01,0.003" and "units=32,64".
    path: a JSON file to which results are added as they come; what it holds is not done again. workers: runs at a time,
    each on one thread.

    Rows, the best first by the median of the last validation losses (`validation_loss`, and `validation_accuracy` where
    there is one; the test split takes no part in the order): settings (dict of what was varied), runs, diverged, and
    medians over the seeds that did not diverge of KEPT, where they apply. ValueError for settings that do not exist or
    cannot be used, for a setting that is both given and varied, and for more than MOST runs.
    """
    check_count("workers", workers)
    shared = merge(given, None if config is None else read_settings(config))
    axes = _axes(over)
    for name in ("seed", "seeds", *axes):
        if name in shared:
            told = "seeds go by --seeds" if name.startswith("seed") else f"leave {name}={shared[name]} out"
            raise ValueError(f"{name} cannot be the same for all runs: {told}")
    for name in ("seed", "seeds", "compare"):
        if name in axes:
            raise ValueError(f"{name} cannot be varied: seeds go by --seeds, learners are compared by evsim compare")
    ways = {}
    for values in product(*axes.values()):
        chosen = dict(zip(axes, values, strict=True))
        ways[" ".join(f"{name}={value}" for name, value in chosen.items())] = chosen
    if (runs := len(ways) * len(seeds)) > MOST:
        raise ValueError(f"these are {runs:,} runs, and at most {MOST:,} are taken: vary less at once")
    settings = {title: resolve({**shared, **chosen, "seed": seeds[0]})[0] for title, chosen in ways.items()}
    found = train_all(settings, list(seeds), path=path, workers=workers)
    rows = [_row(chosen, found[title]) for title, chosen in ways.items()]
    rows.sort(key=lambda row: (row["validation_loss"] is None, row["validation_loss"]))
    return {"task": next(iter(settings.values())).get("task", "data"), "seeds": list(seeds), "rows": rows}


def _axes(over):
    """dict of setting -> its values, from texts."""
    if not over:
        raise ValueError("nothing is varied: give --over KEY=A,B,...")
    axes: dict[str, list] = {}
    for text in over:
        name, _, values = text.partition("=")
        if name in axes:
            raise ValueError(f"{name} is varied twice: give all of its values at once")
        parts = values.split(",")
        if len(set(parts)) < len(parts):
            raise ValueError(f"{text!r} holds a value twice: leave one of them out")
        axes[name] = [check_kind(name, parse_options([f"{name}={one}"])[name]) for one in parts]
    return axes


def _row(chosen, runs):
    """Medians of the runs of one combination."""
    good = [run for run in runs if "failed" not in run]
    row: dict[str, Any] = {"settings": chosen, "runs": len(runs), "diverged": len(runs) - len(good)}
    for name in ("validation_loss", "validation_accuracy"):
        row[name] = _median([run["history"][-1].get(name) for run in good])
    for name in KEPT:
        if any(name in run for run in good):
            row[name] = _median([run.get(name) for run in good])
    return row


def _median(values):
    return None if not values or None in values else median(values)
