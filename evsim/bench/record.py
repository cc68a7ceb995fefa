"""Record: what a run of the benchmark finds, and what it ran on."""

import datetime
import os
import platform
from importlib import metadata
from pathlib import Path

from evsim.bench.ceilings import cache_sizes, level_of
from evsim.bench.timing import say, take_turns

PACKAGES = ("numpy", "scipy", "numba", "llvmlite", "torch", "norse", "snntorch", "braintrace", "jax")


class Record:
    """Groups of rows and claims. quick: tiny sizes, so that all of it runs in seconds; repeats: turns of each way."""

    def __init__(self, quick, repeats, ceilings, pinned):
        self.quick, self.repeats, self.ceilings, self.pinned = quick, repeats, ceilings, pinned
        self.groups, self.claims = [], []
        self.machine = machine()  # with its load before ours

    def group(self, section, title, ways, base, settings=None, repeats=None):
        """Time the ways in turns; rows by name. base: the name of the row to which the others' ratios are taken."""
        say(f"{section}: {title}")
        rows = take_turns(ways, repeats or self.repeats)
        return self.add(section, title, rows, base, settings)

    def add(self, section, title, rows, base=None, settings=None, unit="us/step"):
        """Rows that were measured otherwise; see `group`. unit: "us/step", or "s" for things that take long."""
        one = next((row["us"] for row in rows if row["name"] == base), None)
        for row in rows:
            row["ratio"] = row["us"] / one if one and row["us"] else None
        told = {"section": section, "title": title, "base": base, "unit": unit, "settings": settings or {}}
        self.groups.append({**told, "rows": rows})
        return {row["name"]: row for row in rows}

    def claim(self, section, what, value, relation, target, aim=None, note=None):
        """A figure with its target; relation: ">=" or "<="; value None: it could not be measured here."""
        met = None if value is None else bool(value >= target if relation == ">=" else value <= target)
        self.claims.append({
            "section": section, "what": what, "value": value, "relation": relation, "target": target, "aim": aim,
            "met": met, "note": note,
        })  # fmt: skip

    def as_dict(self, sections):
        """All of it, for JSON."""
        for row in (row for group in self.groups for row in group["rows"] if row.get("influence_bytes")):
            row["level"] = "L1" if level_of(row["influence_bytes"]) == "L1" else "L2"  # tiles are cut to stay in L2
            row["of_ceiling"] = row["multiply_adds"] / row["us"] * 1e6 / self.ceilings[f"macs_{row['level']}"]
        return {
            "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "machine": self.machine, "versions": versions(), "quick": self.quick, "repeats": self.repeats,
            "pinned": self.pinned, "sections": list(sections), "ceilings": self.ceilings, "claims": self.claims,
            "groups": self.groups,
        }  # fmt: skip


def ratio(over, under):
    """One row's time by another's; None where one is missing."""
    return over["us"] / under["us"] if over["us"] and under["us"] else None


def machine():
    """dict of what this runs on."""
    cpuinfo, model = Path("/proc/cpuinfo"), platform.processor() or platform.machine()
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    vectors = next((name for name in ("avx512f", "avx2", "avx") if name in flags), None)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cpu": names[0] if names else model, "cores": os.cpu_count(), "vectors": vectors, "caches": cache_sizes(),
        "system": platform.platform(), "load": load,
    }  # fmt: skip


def versions():
    """dict of the versions of what takes part; None for what is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version(), "evsim": None}
    for name in ("evsim", *PACKAGES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    if found["evsim"] is None:
        from evsim import __version__

        found["evsim"] = __version__
    return found
