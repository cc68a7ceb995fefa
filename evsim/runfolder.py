"""RunFolder: what a training run leaves on disk. Every file is written beside its place and then renamed.

config.toml: the settings, which `evsim train --config` takes again. metrics.jsonl: one line per epoch.
checkpoint.npz: where to go on from. summary.json: what came out. A run of several seeds holds one such folder,
seed-N, for each, and a config.toml and a summary.json of its own.
"""

import contextlib
import json
import math
import re
import tomllib
from pathlib import Path

from evsim import __version__
from evsim.files import write_text

FILES = ("config.toml", "metrics.jsonl", "summary.json", "checkpoint.npz", "report.html")
MARK = "evsim"  # the key in config.toml that tells a run folder from another: the version that wrote it
_MEMBER = re.compile(r"seed-\d+")


class RunFolder:
    """The files of the run in folder `path`, which need not exist yet."""

    def __init__(self, path):
        self.path = Path(path)
        self.checkpoint = self.path / "checkpoint.npz"

    def is_run(self):
        """True if a run stands here."""
        try:
            return MARK in read_toml(self.path / "config.toml")
        except (ValueError, OSError):
            return False

    def refuse(self, force=False):
        """Raise ValueError, and change nothing, if a new run must not go here."""
        if not self.path.exists() and not self.path.is_symlink():
            return
        if not self.path.is_dir():
            raise ValueError(f"{self.path} is a file, not a folder: give another --out")
        if not any(self.path.iterdir()):
            return
        if not self.is_run():
            raise ValueError(f"{self.path} holds files that are no run, which are never replaced: give another --out")
        if not force:
            told = f"{self.path} holds a run already"
            raise ValueError(f"{told}: give another --out, --force to replace it, or --resume to go on with it")

    def clear(self):
        """Make the folder if need be, and remove the files of a run from it and nothing else."""
        self.path.mkdir(parents=True, exist_ok=True)
        for member in self.members():
            member.clear()
            with contextlib.suppress(OSError):  # something else lies in it
                member.path.rmdir()
        for name in FILES:
            (self.path / name).unlink(missing_ok=True)

    def member(self, seed):
        """The folder of one of several seeds."""
        return RunFolder(self.path / f"seed-{seed}")

    def members(self):
        """Folders of seeds that are here, in order."""
        found = [place for place in self.path.iterdir() if _MEMBER.fullmatch(place.name) and RunFolder(place).is_run()]
        return [RunFolder(place) for place in sorted(found, key=lambda place: int(place.name[5:]))]

    def config(self):
        """The settings; ValueError if no run stands here."""
        if not self.path.exists():
            raise ValueError(f"{self.path} does not exist: give the folder of a run")
        if not self.is_run():
            raise ValueError(f"{self.path} is not the folder of a run, having no config.toml of evsim's: give another")
        config = read_toml(self.path / "config.toml")
        return {name: value for name, value in config.items() if name != MARK}

    def write_config(self, config):
        """Write the settings, a flat dict; None is left out."""
        write_text(self.path / "config.toml", to_toml({MARK: __version__, **config}))

    def rows(self):
        """One dict per epoch; a line that was cut short is left out."""
        file, rows = self.path / "metrics.jsonl", []
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
            with contextlib.suppress(ValueError):
                rows.append(json.loads(line))
        return rows

    def write_rows(self, rows):
        """Replace all rows."""
        write_text(self.path / "metrics.jsonl", "".join(to_json(row) + "\n" for row in rows))

    def summary(self):
        """What came out, or None where the run is not at its end."""
        file = self.path / "summary.json"
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def write_summary(self, summary):
        """Write what came out; None removes it."""
        if summary is None:
            (self.path / "summary.json").unlink(missing_ok=True)
        else:
            write_text(self.path / "summary.json", to_json(summary, indent=2) + "\n")


def free_folder(stem, parent="runs"):
    """The first of parent/stem-1, parent/stem-2, ... that does not exist."""
    number = 1
    while (place := Path(parent) / f"{stem}-{number}").exists() or place.is_symlink():
        number += 1
    return RunFolder(place)


def read_toml(path):
    """dict of a TOML file; FileNotFoundError if there is none, ValueError if it cannot be read."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: give a TOML file")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as TOML ({error}): correct it") from None


def to_toml(config):
    """A flat dict of booleans, numbers, strings and lists of them as TOML; None is left out."""
    return "".join(f"{name} = {_value(value)}\n" for name, value in config.items() if value is not None)


def to_json(value, indent=None):
    """JSON in which what is not finite stands as null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _value(value):
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    raise TypeError(f"{value!r} cannot be written as TOML: give booleans, numbers, strings or lists of them")


def _finite(value):
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
