"""Commands by which networks leave evsim, and come to it: export, quantise, verify, import. The rest: `evsim.cli`."""

from typing import Annotated

import typer

from evsim.app import Force, Json, Option, Run, chosen, guarded

TARGETS = "As in 'evsim list targets', or your own TOML files: does it fit, and if not, by how much."


def export(
    run: Run,
    to: Annotated[str, Option(metavar="NAME", help="As in 'evsim list exports'.", show_default=False)],
    out: Annotated[str, Option(metavar="PATH", help="What to write.", show_default=False)],
    bits: Annotated[int | None, Option(help="Of exports in fixed point: bits of a weight.")] = None,
    learn: Annotated[bool | None, Option("--learn", help="Of c: the learner too, exact unless --method says.")] = None,
    method: Annotated[str | None, Option(help="Of c: learn by exact, snap1, eprop or readout (alone).")] = None,
    ram: Annotated[str | None, Option(metavar="BYTES", help="Of c: what a learner may take, as in 64K.")] = None,
    state_bits: Annotated[int | None, Option("--state-bits", help="In fixed point: bits of a state.")] = None,
    tune: Annotated[int | None, Option(metavar="EPOCHS", help="Of c, with --bits: go on training, rounded.")] = None,
    dry_run: Annotated[bool | None, Option("--dry-run", help="Of c: what it would take; nothing is written.")] = None,
    vectors: Annotated[int | None, Option(help="Of c: test sequences on record in its test.")] = None,
    name: Annotated[str | None, Option(help="Of c: what names of files and identifiers begin with.")] = None,
    allow_custom: Annotated[bool | None, Option("--allow-custom", help="Of nir: nodes that others may drop.")] = None,
    force: Force = False,
    json: Json = False,
) -> int:
    """Write a trained network for use elsewhere."""
    options = chosen(locals(), "run", "to", "out", "force", "json")
    return guarded("export", run, to, out, force, options, json)


def quantise(
    run: Run,
    bits: Annotated[str, Option(metavar="A,B,...", help="Of weights: 4, 8 or 16.")] = "4,8,16",
    state_bits: Annotated[str, Option(metavar="A,B", help="Of states and events: 16 or 32.")] = "16",
    target: Annotated[str | None, Option(metavar="A,B,...|all", help=TARGETS)] = None,
    tune: Annotated[int | None, Option(metavar="EPOCHS", help="Also go on training, with rounded weights.")] = None,
    lr: Annotated[float | None, Option(help="Of tuning; half of the run's by default.")] = None,
    sequences: Annotated[int | None, Option(help="Of the test split, at most so many.")] = None,
    out: Annotated[str | None, Option(metavar="CHECKPOINT.npz", help="Where the tuned network goes.")] = None,
    force: Force = False,
    json: Json = False,
) -> int:
    """What a run loses in fixed point, by the integer golden model, and which targets have room for it."""
    return guarded("quantise", run, bits, state_bits, target, tune, lr, sequences, out, force, json)


def verify(
    file: Annotated[str, typer.Argument(metavar="PATH", help="A bundle, or a folder of C.", show_default=False)],
    json: Json = False,
) -> int:
    """Replay a bundle in numpy, or build and run exported C; exit code 1 unless every event and output agrees."""
    return guarded("verify", file, json)


def import_(
    file: Annotated[str, typer.Argument(metavar="FILE.nir", help="Of evsim, norse, snntorch or your own.")],
    out: Annotated[str, Option(metavar="CHECKPOINT.npz", help="Where the network goes.", show_default=False)],
    dt: Annotated[float | None, Option(help="Seconds per step, where the file does not say it.")] = None,
    force: Force = False,
) -> int:
    """Read a network in NIR, of LIF and CubaLIF neurons, into a checkpoint; what evsim cannot express is refused."""
    return guarded("import_", file, out, dt, force)
