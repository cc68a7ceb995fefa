"""Exporting: from a run, a checkpoint or a bundle to what an export of the registry writes."""

import inspect

from evsim.registry import lookup
from evsim.results import open_run, own_task
from evsim.runfolder import RunFolder


def export_run(run, kind, out, force=False, options=None):
    """Write what was trained in `run` as the export `kind` to `out`; returns the dict that the export gives.

    options: those of the export, by name; ValueError for others than it has. A run's own task goes along with it; a
    bare checkpoint or a bundle has none. ValueError for a torch model, which holds no `evsim.Network`.
    """
    export, options = lookup("export", kind), options or {}
    known = inspect.signature(export).parameters.values()
    if not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known):
        for name in options:
            if name not in {one.name for one in known}:
                raise ValueError(f"--{name.replace('_', '-')} means nothing to the export {kind!r}: leave it out")
    trained, config = open_run(run)
    if getattr(trained, "net", None) is None:
        raise ValueError(f"{run} holds a torch model, which cannot be exported: train one with --backend numba")
    trained.settings = config
    if config:
        trained.task = _task(run, trained, config)
    return export(trained, out, force=force, **options)


def _task(run, trained, config):
    """The task of a run, on the level that it had reached; what is wrong with it comes with the way around it."""
    try:
        task = own_task(run, trained, config, as_it_was=False)
        task.split("test")
    except (ValueError, TypeError, FileNotFoundError, ImportError) as error:
        told = f"{error}; or give {RunFolder(run).checkpoint}, which is exported without sequences of the task"
        raise type(error)(told) from None
    return task
