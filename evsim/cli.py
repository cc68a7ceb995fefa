"""The command line: its options, and how it says what went wrong: one line on stderr and an exit code.

0: done. 1: failed, as when training diverges or a disk is full. 2: bad usage or input. 130: interrupted.
Nothing heavy is imported before a command needs it. With EVSIM_TRACEBACK=1 in the environment errors show where
they were raised.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="evsim",
    help="Event-based recurrent networks that learn online, exactly, in memory that does not grow.",
    epilog="evsim COMMAND --help tells what a command takes.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool):
    if asked:
        from evsim import __version__

        print(__version__)
        raise typer.Exit()


_Option = typer.Option
Data = Annotated[str | None, _Option(metavar="FILE.npz", help="Your own arrays: x, y, optionally lengths and more.")]
Json = Annotated[bool, _Option("--json", help="Print one JSON object as the last line of stdout; tables go to stderr.")]
Force = Annotated[bool, _Option("--force", help="Replace what an earlier call wrote there.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run folder or a checkpoint.", show_default=False)]
Layout = Annotated[str | None, _Option(help="How digits shows an image: rows, pixels or permuted.")]
Length = Annotated[int | None, _Option(help="Of a task: steps of its sequences (of tmaze, of the shortest).")]
Symbols = Annotated[int | None, _Option(help="Of the copy tasks: how many symbols to remember.")]
Alphabet = Annotated[int | None, _Option(help="Of the copy tasks and delayed-recall: different symbols.")]
Cues = Annotated[str | None, _Option(help="Of scattered-copy: distinct or identical.")]
Rule = Annotated[str | None, _Option(help="Of temporal-order: order or xor.")]
Version = Annotated[bool, _Option("--version", callback=_version, is_eager=True, help="Print the version.")]
BLOCK = "Of rtrl: steps between two advances of the influence matrix."
COMPARE = "Learners whose gradients are compared with the exact one: 'snap n=1,tbptt window=8'."
SECTIONS = "influence, learn, inference, stream, scaling, startup; all of them by default."
Loss = Annotated[str | None, _Option(help="With --data: cross_entropy, binary_cross_entropy or mse.")]


def main(argv: list[str] | None = None) -> int:
    """Run the command line on `argv` (without the program's name; None: the process's own); returns the exit code."""
    try:
        return app(args=argv, prog_name="evsim", standalone_mode=False) or 0
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        _complain(error.format_message())  # type: ignore[attr-defined]
        return 2


def _guarded(work, *arguments, **options) -> int:
    """Call `work`; what a user can cause becomes one line and an exit code."""
    try:
        work(*arguments, **options)
    except KeyboardInterrupt as stop:
        return _failed(stop, 130, str(stop) or "interrupted")
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, TypeError, ImportError, FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        return _failed(error, 2)
    except MemoryError as error:
        told = f"there is not enough memory ({error}): take fewer units or streams, or a shorter block or window"
        return _failed(error, 1, told)
    except (FloatingPointError, OSError) as error:
        return _failed(error, 1)
    return 0


def _failed(error, code, text=None) -> int:
    if os.environ.get("EVSIM_TRACEBACK"):
        raise error
    _complain(text or str(error) or type(error).__name__)
    return code


def _complain(text):
    if text:
        print(f"evsim: {' '.join(text.split())}", file=sys.stderr, flush=True)


@app.callback()
def _top(version: Version = False):
    pass


@app.command()
def train(
    task: Annotated[str | None, typer.Argument(metavar="[TASK]", help="As in 'evsim list tasks'.")] = None,
    data: Data = None,
    config: Annotated[str | None, _Option(metavar="FILE.toml", help="Settings; options go before them.")] = None,
    out: Annotated[str | None, _Option(metavar="DIR", help="The run folder; otherwise runs/TASK-N.")] = None,
    force: Annotated[bool, _Option("--force", help="Replace the run that stands in --out.")] = False,
    resume: Annotated[str | None, _Option(metavar="DIR", help="Go on with this run; --epochs may be raised.")] = None,
    json: Json = False,
    layout: Layout = None,
    length: Length = None,
    symbols: Symbols = None,
    alphabet: Alphabet = None,
    cues: Cues = None,
    rule: Rule = None,
    loss: Loss = None,
    cell: Annotated[str | None, _Option(help="As in 'evsim list cells'; lstm, gru, norse-lif, norse-lsnn.")] = None,
    units: Annotated[int | None, _Option(help="Units of each layer.")] = None,
    layers: Annotated[int | None, _Option(help="Number of layers.")] = None,
    density: Annotated[float | None, _Option(help="Fraction of recurrent weights that exist.")] = None,
    density_in: Annotated[float | None, _Option(help="Fraction of input weights that exist.")] = None,
    half_width: Annotated[float | None, _Option(help="Half the width of the pseudo-derivative.")] = None,
    threshold: Annotated[float | None, _Option(help="What a unit's state must exceed for an event.")] = None,
    reset: Annotated[str | None, _Option(help="Of spiking cells after an event: subtract or zero.")] = None,
    tau: Annotated[float | None, _Option(help="Time constant of spiking cells, s; a step is 0.001.")] = None,
    readout: Annotated[str | None, _Option(help="linear, or leaky: outputs that remember.")] = None,
    dtype: Annotated[str | None, _Option(help="float32 or float64.")] = None,
    learner: Annotated[str | None, _Option(help="As in 'evsim list learners'.")] = None,
    block: Annotated[str | None, _Option(metavar="auto|N", help=BLOCK)] = None,
    memory_limit: Annotated[str | None, _Option(metavar="BYTES", help="Of rtrl, as in 512M or 2G.")] = None,
    n: Annotated[int | None, _Option(help="Of snap: influence may pass n - 1 recurrent weights.")] = None,
    window: Annotated[int | None, _Option(help="Of tbptt, memup: steps after which the past is cut off.")] = None,
    broadcast: Annotated[str | None, _Option(help="Of errors in eprop: symmetric, random or adaptive.")] = None,
    backend: Annotated[str | None, _Option(help="numba, or torch for memup, bptt, tbptt.")] = None,
    targets: Annotated[int | None, _Option(help="Of memup: distant steps asked about at each point.")] = None,
    detector: Annotated[str | None, _Option(help="Of memup: entropy, surprise or random.")] = None,
    every: Annotated[int | None, _Option(help="Of memup: steps between prediction points.")] = None,
    predictor: Annotated[str | None, _Option(help="Of torch models: context or linear.")] = None,
    context: Annotated[int | None, _Option(help="Steps that a context predictor sees of its own.")] = None,
    device: Annotated[str | None, _Option(help="Of torch models: cpu, or cuda.")] = None,
    compare: Annotated[str | None, _Option(metavar="A,B ...", help=COMPARE)] = None,
    streams: Annotated[int | None, _Option(help="Sequences side by side, the size of a batch.")] = None,
    threads: Annotated[int | None, _Option(help="Threads that share the streams.")] = None,
    update: Annotated[str | None, _Option(metavar="sequence|K", help="After sequences or every K steps.")] = None,
    optimizer: Annotated[str | None, _Option(help="adam or sgd.")] = None,
    lr: Annotated[float | None, _Option(help="Learning rate.")] = None,
    schedule: Annotated[str | None, _Option(help="Of the learning rate: constant or cosine.")] = None,
    warmup: Annotated[int | None, _Option(help="Updates over which a cosine schedule rises first.")] = None,
    weight_decay: Annotated[float | None, _Option(help="Of adam, apart from the gradient.")] = None,
    momentum: Annotated[float | None, _Option(help="Of sgd.")] = None,
    clip: Annotated[float | None, _Option(help="Bound on the gradient's norm.")] = None,
    epochs: Annotated[int | None, _Option(help="Passes over the training sequences, in all.")] = None,
    sequences: Annotated[int | None, _Option(help="In place of epochs, where each brings new ones.")] = None,
    seed: Annotated[int | None, _Option(help="Of weights, masks and the order of sequences.")] = None,
    seeds: Annotated[str | None, _Option(metavar="A,B,...", help="One run for each, and their median.")] = None,
) -> int:
    """Train a network, on a TASK or on your own arrays, into a run folder; what is not given, the task decides."""
    given = {
        "task": task, "data": data, "layout": layout, "length": length, "symbols": symbols, "alphabet": alphabet,
        "cues": cues, "rule": rule, "sequences": sequences, "loss": loss, "cell": cell, "units": units,
        "layers": layers, "density": density, "density_in": density_in, "half_width": half_width,
        "threshold": threshold, "reset": reset, "tau": tau, "readout": readout, "dtype": dtype, "learner": learner,
        "block": block, "memory_limit": memory_limit, "n": n, "window": window, "broadcast": broadcast,
        "backend": backend, "targets": targets, "detector": detector, "every": every, "predictor": predictor,
        "context": context, "device": device,
        "compare": compare, "streams": streams, "threads": threads, "update": update, "optimizer": optimizer,
        "lr": lr, "schedule": schedule, "warmup": warmup, "weight_decay": weight_decay, "momentum": momentum,
        "clip": clip, "epochs": epochs, "seed": seed, "seeds": seeds,
    }  # fmt: skip
    return _guarded(_train, given, config, out, force, resume, json)


@app.command("eval")
def evaluate(
    run: Run,
    data: Data = None,
    task: Annotated[str | None, _Option(help="A task to evaluate a checkpoint on.")] = None,
    layout: Layout = None,
    length: Length = None,
    symbols: Symbols = None,
    alphabet: Alphabet = None,
    cues: Cues = None,
    rule: Rule = None,
    loss: Loss = None,
    split: Annotated[str | None, _Option(help="train, validation, test or, with --data, all.")] = None,
    predictions: Annotated[str | None, _Option(metavar="OUT.npz", help="Also write predictions and targets.")] = None,
    force: Force = False,
    json: Json = False,
) -> int:
    """Evaluate a run, on its test split or on other data."""
    given = {
        "data": data, "task": task, "layout": layout, "length": length, "symbols": symbols, "alphabet": alphabet,
        "cues": cues, "rule": rule, "loss": loss,
    }  # fmt: skip
    return _guarded(_evaluate, run, given, split, predictions, force, json)


@app.command()
def predict(
    run: Run,
    data: Annotated[str, _Option(metavar="FILE.npz", help="An array x and optionally lengths.", show_default=False)],
    out: Annotated[str, _Option(metavar="OUT.npz", help="Where predictions go.", show_default=False)],
    force: Force = False,
) -> int:
    """Write what a run says at the end of each sequence: classes, 0/1 or numbers, by its loss."""
    return _guarded(_predict, run, data, out, force)


@app.command()
def plan(
    cell: Annotated[str, _Option(help="As in 'evsim list cells'.")] = "egru",
    units: Annotated[int, _Option(help="Units of each layer.")] = 64,
    layers: Annotated[int, _Option(help="Number of layers.")] = 1,
    inputs: Annotated[int, _Option(help="Inputs of the network.")] = 32,
    outputs: Annotated[int, _Option(help="Outputs of the network.")] = 10,
    density: Annotated[float, _Option(help="Fraction of recurrent weights that exist.")] = 1.0,
    density_in: Annotated[float, _Option(help="Fraction of input weights that exist.")] = 1.0,
    activity: Annotated[float, _Option(help="Fraction of units with an event at a step.")] = 0.1,
    phi_rate: Annotated[float, _Option(help="Fraction of units near their threshold at a step.")] = 0.2,
    input_activity: Annotated[float, _Option(help="Fraction of inputs that are not 0 at a step.")] = 1.0,
    block: Annotated[str, _Option(metavar="auto|N", help=BLOCK)] = "auto",
    length: Annotated[int, _Option(help="Steps of a sequence, which bptt keeps.")] = 1000,
    streams: Annotated[int, _Option(help="Sequences side by side.")] = 1,
    threads: Annotated[int, _Option(help="Threads that share the streams.")] = 1,
    memory: Annotated[str | None, _Option(metavar="BYTES", help="What there is, as in 512M or 2G.")] = None,
    dtype: Annotated[str, _Option(help="float32 or float64.")] = "float32",
    json: Json = False,
) -> int:
    """What each learner would take of memory, work and time on this machine, and how large a network may be."""
    given = {
        "units": units, "layers": layers, "inputs": inputs, "outputs": outputs, "length": length, "streams": streams,
        "threads": threads, "dtype": dtype,
    }  # fmt: skip
    rates = {"activity": activity, "phi_rate": phi_rate, "input_activity": input_activity}
    return _guarded(_plan, cell, {"density": density, "density_in": density_in}, rates, block, memory, given, json)


@app.command()
def bench(
    sections: Annotated[list[str] | None, typer.Argument(metavar="[SECTION ...]", help=SECTIONS)] = None,
    quick: Annotated[bool, _Option("--quick", help="Tiny sizes: does it run; the figures say nothing.")] = False,
    repeats: Annotated[int | None, _Option(help="Turns that each way takes at most; 5 by default.")] = None,
    out: Annotated[str | None, _Option(metavar="FILE.json", help="Where all figures go.")] = None,
    json: Json = False,
) -> int:
    """Time learning and inference here, beside other libraries and what this machine can do at best."""
    return _guarded(_bench, sections or (), quick, repeats, out, json)


@app.command("list")
def list_(
    kind: Annotated[str | None, typer.Argument(metavar="[cells|learners|tasks|exports]", help="Or all.")] = None,
    json: Json = False,
) -> int:
    """List what there is to choose from."""
    return _guarded(_list, kind, json)


def _train(given, config, out, force, resume, json):
    from evsim import runs, show

    given = {name: value for name, value in given.items() if value is not None}
    if "update" in given and given["update"] != "sequence":
        given["update"] = _whole("update", given["update"], "give 'sequence' or a number of steps")
    if "block" in given:
        given["block"] = _block(given["block"])
    if "seeds" in given:
        given["seeds"] = [_whole("seeds", one, "give whole numbers, as in 0,1,2") for one in given["seeds"].split(",")]
    if resume is None:
        summary = runs.train(given, config, out, force)
    elif force or (out is not None and Path(out).resolve() != Path(resume).resolve()):
        raise ValueError("--resume goes on with the run where it stands: leave --out and --force out")
    else:
        summary = runs.resume(resume, given, config)
    (show.show_seeds if "runs" in summary else show.show_summary)(summary, err=json)
    _print_json(json, summary)


def _evaluate(run, given, split, predictions, force, json):
    from evsim import results, show

    found = results.evaluate_run(run, given, split, predictions, force)
    show.show_summary(found, err=json)
    _print_json(json, {name: value for name, value in found.items() if name != "title"})


def _predict(run, data, out, force):
    from evsim.results import predict_run

    print(f"{predict_run(run, data, out, force)} predictions are in {out}")


def _plan(cell, options, rates, block, memory, given, json):
    from evsim import show
    from evsim.cost import Rates
    from evsim.memory import parse_bytes
    from evsim.plan import plan
    from evsim.registry import lookup

    make = lookup("cell", cell)
    block = _block(block)
    limit = None if memory is None else parse_bytes(memory)
    rows = plan(
        lambda n: make(n, **options), rates=Rates.checked(**rates), block=block, memory_limit=limit, **given
    )  # fmt: skip
    show.show_plan(rows, err=json)
    _print_json(json, {"plan": rows})


def _bench(sections, quick, repeats, out, json):
    from evsim.bench.pin import pin_threads

    pinned = pin_threads()  # before numpy is imported

    from evsim.bench.run import run
    from evsim.bench.table import show_bench

    found = run(sections, quick, repeats, out, pinned)
    show_bench(found, err=json)
    _print_json(json, found)


def _list(kind, json):
    from evsim import show
    from evsim.check import check_choice

    kinds = show.KINDS if kind is None else (check_choice("kind", kind, show.KINDS),)
    table_of = show.listing(kinds)
    for one in kinds:
        if not json:
            show.show_list(one, table_of)
    _print_json(json, table_of)


def _block(text):
    return text if text == "auto" else _whole("block", text, 'give a number of steps or "auto"')


def _whole(name, text: Any, advice):
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name}={text!r} is not usable: {advice}") from None


def _print_json(wanted, value):
    if wanted:
        from evsim.runfolder import to_json

        print(to_json(value), flush=True)
