"""Exports: what a trained network is written as, for use elsewhere. Each is a function that the registry names,

    export(trained, out, force=False, **options) -> dict

trained: has `net` (an `evsim.Network`), `settings` (dict: those of the run, empty for a bare checkpoint or a bundle)
and `task` (the run's `evsim.task.Task`, or None), and perhaps `loss` (its name: what outputs mean); `evsim.exporting`
makes it. out: the path to write. force: replace what lies there; without it ValueError. The options that an export
knows are its further arguments (`bits`, `learn`, `allow_custom`), which are not passed where they were not given;
`evsim export` refuses others.
The dict says what was written: `path`, `bytes`, and more in numbers and words that JSON can hold. The first line of the
function's docstring is what `evsim list exports` shows.
"""
