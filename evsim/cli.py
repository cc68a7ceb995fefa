"""The command line: its commands and their options; how it says what went wrong: `evsim.app`.

Nothing heavy is imported before a command needs it.
"""

from typing import Annotated

import typer

from evsim.app import Force, Json, Option, Run, app, chosen, complain, guarded
from evsim.cli_deploy import export, import_, quantise, verify


def _version(asked: bool):
    if asked:
        from evsim import __version__

        print(__version__)
        raise typer.Exit()


Data = Annotated[str | None, Option(metavar="FILE.npz", help="Your own arrays: x, y, optionally lengths and more.")]
Layout = Annotated[str | None, Option(help="How digits shows an image: rows, pixels or permuted.")]
Length = Annotated[int | None, Option(help="Of a task: steps of its sequences (of tmaze, of the shortest).")]
Symbols = Annotated[int | None, Option(help="Of the copy tasks: how many symbols to remember.")]
Alphabet = Annotated[int | None, Option(help="Of the copy tasks and delayed-recall: different symbols.")]
Cues = Annotated[str | None, Option(help="Of scattered-copy: distinct or identical.")]
Rule = Annotated[str | None, Option(help="Of temporal-order: order or xor.")]
Repeats = Annotated[int | None, Option(help="Of repeat-copy: how often to say it.")]
Bits = Annotated[int | None, Option(help="Of repeat-copy: bits of each symbol.")]
Curriculum = Annotated[str | None, Option(help="Of copy, repeat-copy: off, or on: short ones first.")]
Text = Annotated[str | None, Option(metavar="PATH", help="Of text: your own file, or the folder of a corpus.")]
Level = Annotated[str | None, Option(help="Of text: characters, words or bytes.")]
Vocabulary = Annotated[str | None, Option(metavar="FILE.json", help="Of text: a list of all it may hold.")]
Limit = Annotated[int | None, Option(help="Of text: train on so much of it.")]
Version = Annotated[bool, Option("--version", callback=_version, is_eager=True, help="Print the version.")]
BLOCK = "Of rtrl: steps between two advances of the influence matrix."
COMPARE = "Learners whose gradients are compared with the exact one: 'snap n=1,tbptt window=8'."
RIVALS = "Each with settings of its own, if need be: 'rtrl,tbptt window=5,dni window=5 scale=1'."
RULE = "uniform, or erk: small matrices denser, --density that of all together."
PROFILE = "Prices of an operation and of a word, for joules: as in 'evsim list profiles', or your own."
LISTS = "[cells|learners|tasks|exports|profiles|targets]"
SETTING = "Any other setting of evsim train, as often as needed: --set density=0.1 --set clip=1."
OVER = "A setting and its values, as often as needed: --over lr=0.01,0.003 --over units=32,64."
SECTIONS = "influence, learn, inference, stream, scaling, startup, counting; all of them by default."
Loss = Annotated[str | None, Option(help="With --data: cross_entropy, binary_cross_entropy or mse.")]


def main(argv: list[str] | None = None) -> int:
    """Run the command line on `argv` (without the program's name; None: the process's own); returns the exit code."""
    try:
        return app(args=argv, prog_name="evsim", standalone_mode=False) or 0
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        complain(error.format_message())  # type: ignore[attr-defined]
        return 2


@app.callback()
def _top(version: Version = False):
    pass


@app.command()
def train(
    task: Annotated[str | None, typer.Argument(metavar="[TASK]", help="As in 'evsim list tasks'.")] = None,
    data: Data = None,
    config: Annotated[str | None, Option(metavar="FILE.toml", help="Settings; options go before them.")] = None,
    out: Annotated[str | None, Option(metavar="DIR", help="The run folder; otherwise runs/TASK-N.")] = None,
    force: Annotated[bool, Option("--force", help="Replace the run that stands in --out.")] = False,
    resume: Annotated[str | None, Option(metavar="DIR", help="Go on with this run; --epochs may be raised.")] = None,
    dry_run: Annotated[bool, Option("--dry-run", help="Print what each epoch would do, and train nothing.")] = False,
    json: Json = False,
    layout: Layout = None,
    length: Length = None,
    symbols: Symbols = None,
    alphabet: Alphabet = None,
    cues: Cues = None,
    rule: Rule = None,
    repeats: Repeats = None,
    bits: Bits = None,
    curriculum: Curriculum = None,
    text: Text = None,
    level: Level = None,
    vocabulary: Vocabulary = None,
    limit: Limit = None,
    loss: Loss = None,
    cell: Annotated[str | None, Option(help="As in 'evsim list cells', lstm, gru, qrnn, norse-lif or -lsnn.")] = None,
    units: Annotated[int | None, Option(help="Units of each layer.")] = None,
    layers: Annotated[int | None, Option(help="Number of layers.")] = None,
    density: Annotated[float | None, Option(help="Fraction of recurrent weights that exist.")] = None,
    density_in: Annotated[float | None, Option(help="Fraction of input weights that exist.")] = None,
    density_rule: Annotated[str | None, Option(help=RULE)] = None,
    half_width: Annotated[float | None, Option(help="Half the width of the pseudo-derivative.")] = None,
    threshold: Annotated[float | None, Option(help="What a unit's state must exceed for an event.")] = None,
    reset: Annotated[str | None, Option(help="Of spiking cells after an event: subtract or zero.")] = None,
    tau: Annotated[float | None, Option(help="Time constant of spiking cells, s; a step is 0.001.")] = None,
    always: Annotated[bool | None, Option("--always", help="Of egru: units speak at every step.")] = None,
    readout: Annotated[str | None, Option(help="linear, or leaky: outputs that remember.")] = None,
    half_width_to: Annotated[float | None, Option(help="Let half the width shrink to this in training.")] = None,
    target_activity: Annotated[float | None, Option(help="How often units are to speak, from 0 to 1.")] = None,
    quiet_strength: Annotated[float | None, Option(help="Weight of that target in the loss.")] = None,
    quiet_over: Annotated[str | None, Option(help="That of a unit, a layer, or a layer at each step.")] = None,
    quiet_horizon: Annotated[int | None, Option(help="Steps over which a unit's rate is a running mean.")] = None,
    pull: Annotated[float | None, Option(help="Weight of a pull on states from near the threshold.")] = None,
    margin: Annotated[float | None, Option(help="How far below is far enough; otherwise the half-width.")] = None,
    event_cost: Annotated[float | None, Option(help="Weight of events' absolute values in the loss (L1).")] = None,
    dtype: Annotated[str | None, Option(help="float32 or float64.")] = None,
    learner: Annotated[str | None, Option(help="As in 'evsim list learners'.")] = None,
    block: Annotated[str | None, Option(metavar="auto|N", help=BLOCK)] = None,
    memory_limit: Annotated[str | None, Option(metavar="BYTES", help="Of rtrl, as in 512M or 2G.")] = None,
    n: Annotated[int | None, Option(help="Of snap: influence may pass n - 1 recurrent weights.")] = None,
    window: Annotated[int | None, Option(help="Of tbptt, memup, dni: steps after which the past is cut off.")] = None,
    broadcast: Annotated[str | None, Option(help="Of errors in eprop: symmetric, random or adaptive.")] = None,
    backend: Annotated[str | None, Option(help="numba, or torch for memup, dni, bptt, tbptt.")] = None,
    targets: Annotated[int | None, Option(help="Of memup: distant steps asked about at each point.")] = None,
    detector: Annotated[str | None, Option(help="Of memup: entropy, surprise or random.")] = None,
    every: Annotated[int | None, Option(help="Of memup: steps between prediction points.")] = None,
    predictor: Annotated[str | None, Option(help="Of torch models: context or linear.")] = None,
    context: Annotated[int | None, Option(help="Steps that a context predictor sees of its own.")] = None,
    embed: Annotated[int | None, Option(help="Of torch models: numbers that stand for an input.")] = None,
    tied: Annotated[bool | None, Option("--tied", help="Of torch models on text: the output's weights too.")] = None,
    forget_bias: Annotated[float | None, Option(help="Of lstm: where its forget gates' bias starts.")] = None,
    reduction: Annotated[str | None, Option(help="Of a window's losses: mean, or sum (as dni has it).")] = None,
    dropout: Annotated[float | None, Option(help="Of lstm, gru, qrnn: the part of numbers set to 0.")] = None,
    device: Annotated[str | None, Option(help="Of torch models: cpu, or cuda.")] = None,
    scale: Annotated[float | None, Option(help="Of dni: by which synthetic gradients are multiplied.")] = None,
    condition: Annotated[str | None, Option(help="Of dni: what it sees too: none, target or input.")] = None,
    auxiliary: Annotated[float | None, Option(help="Of dni: weight of its auxiliary loss.")] = None,
    synthesiser_units: Annotated[int | None, Option(help="Of dni: units of a hidden layer.")] = None,
    synthesiser_layers: Annotated[int | None, Option(help="Of dni: hidden layers; 0: linear.")] = None,
    synthesiser_lr: Annotated[float | None, Option(help="Of dni: the synthesiser's own rate.")] = None,
    shuffled: Annotated[bool | None, Option("--shuffled", help="Of dni: a control, others' guesses.")] = None,
    alternate: Annotated[bool | None, Option("--alternate", help="Of dni: change the gradient at restarts.")] = None,
    first: Annotated[str | None, Option(help="Of dni: gradients of the first epoch: real or synthetic.")] = None,
    switch: Annotated[str | None, Option(metavar="A,B,...", help="Of dni: epochs that change it too.")] = None,
    compare: Annotated[str | None, Option(metavar="A,B ...", help=COMPARE)] = None,
    streams: Annotated[int | None, Option(help="Sequences side by side, the size of a batch.")] = None,
    threads: Annotated[int | None, Option(help="Threads that share the streams.")] = None,
    update: Annotated[str | None, Option(metavar="sequence|K", help="After sequences or every K steps.")] = None,
    optimizer: Annotated[str | None, Option(help="adam or sgd.")] = None,
    lr: Annotated[float | None, Option(help="Learning rate.")] = None,
    schedule: Annotated[str | None, Option(help="Of the learning rate: constant, cosine or restarts.")] = None,
    warmup: Annotated[int | None, Option(help="Updates over which a cosine schedule rises first.")] = None,
    restart_base: Annotated[float | None, Option(help="Epochs up to the first warm restart.")] = None,
    restart_growth: Annotated[str | None, Option(help="Of periods: boundary (5, 5, 10, 20) or multiply.")] = None,
    restart_multiple: Annotated[int | None, Option(help="By which multiply grows each period.")] = None,
    restart_each: Annotated[str | None, Option(help="Does the rate change each epoch, or each batch?")] = None,
    weight_decay: Annotated[float | None, Option(help="In adam apart from the gradient.")] = None,
    decay: Annotated[str | None, Option(help="What weight decay is on: all, or weights alone.")] = None,
    momentum: Annotated[float | None, Option(help="Of sgd.")] = None,
    clip: Annotated[float | None, Option(help="Bound on the gradient's norm.")] = None,
    rewire: Annotated[str | None, Option(help="Change masks while learning: magnitude, set or rigl.")] = None,
    rewire_every: Annotated[int | None, Option(metavar="N", help="Updates between two changes.")] = None,
    rewire_fraction: Annotated[float | None, Option(help="Of set and rigl: weights replaced at a change.")] = None,
    rewire_density: Annotated[float | None, Option(help="Of magnitude: what is left of all in the end.")] = None,
    epochs: Annotated[int | None, Option(help="Passes over the training sequences, in all.")] = None,
    sequences: Annotated[int | None, Option(help="In place of epochs, where each brings new ones.")] = None,
    seed: Annotated[int | None, Option(help="Of weights, masks and the order of sequences.")] = None,
    seeds: Annotated[str | None, Option(metavar="A,B,...", help="One run for each, and their median.")] = None,
    profile: Annotated[str | None, Option(metavar="NAME|FILE.toml", help=PROFILE)] = None,
) -> int:
    """Train a network, on a TASK or on your own arrays, into a run folder; what is not given, the task decides."""
    given = chosen(locals(), "config", "out", "force", "resume", "json", "dry_run")
    return guarded("train", given, config, out, force, resume, json, dry_run)


@app.command("eval")
def evaluate(
    run: Run,
    data: Data = None,
    task: Annotated[str | None, Option(help="A task to evaluate a checkpoint on.")] = None,
    layout: Layout = None,
    length: Length = None,
    symbols: Symbols = None,
    alphabet: Alphabet = None,
    cues: Cues = None,
    rule: Rule = None,
    repeats: Repeats = None,
    bits: Bits = None,
    curriculum: Curriculum = None,
    text: Text = None,
    level: Level = None,
    vocabulary: Vocabulary = None,
    limit: Limit = None,
    loss: Loss = None,
    split: Annotated[str | None, Option(help="train, validation, test or, with --data, all.")] = None,
    predictions: Annotated[str | None, Option(metavar="OUT.npz", help="Also write predictions and targets.")] = None,
    force: Force = False,
    json: Json = False,
) -> int:
    """Evaluate a run, on its test split or on other data."""
    given = chosen(locals(), "run", "split", "predictions", "force", "json")
    return guarded("evaluate", run, given, split, predictions, force, json)


@app.command()
def predict(
    run: Run,
    data: Annotated[str, Option(metavar="FILE.npz", help="An array x and optionally lengths.", show_default=False)],
    out: Annotated[str, Option(metavar="OUT.npz", help="Where predictions go.", show_default=False)],
    force: Force = False,
) -> int:
    """Write what a run says at the end of each sequence: classes, 0/1 or numbers, by its loss."""
    return guarded("predict", run, data, out, force)


for _command in (export, quantise, verify):
    app.command()(_command)


@app.command()
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)],
    profile: Annotated[str | None, Option(metavar="NAME|FILE.toml", help=PROFILE)] = None,
    force: Force = False,
) -> int:
    """Write RUN/report.html: curves, work by layer and part beside dense learners, energy by a profile."""
    return guarded("report", run, profile, force)


@app.command()
def compare(
    task: Annotated[str, typer.Argument(metavar="TASK", help="As in 'evsim list tasks'.", show_default=False)],
    learners: Annotated[str, Option(metavar="A,B,...", help=RIVALS)] = "rtrl,bptt,tbptt,memup,dni",
    setting: Annotated[list[str] | None, Option("--set", metavar="KEY=VALUE", help=SETTING)] = None,
    config: Annotated[str | None, Option(metavar="FILE.toml", help="Settings; options go before them.")] = None,
    out: Annotated[str | None, Option(metavar="FILE.json", help="Results as they come; a later call goes on.")] = None,
    json: Json = False,
    length: Length = None,
    cell: Annotated[str | None, Option(help="As in 'evsim list cells'.")] = None,
    units: Annotated[int | None, Option(help="Units of each layer.")] = None,
    window: Annotated[int | None, Option(help="Of tbptt, memup, dni.")] = None,
    streams: Annotated[int | None, Option(help="Sequences side by side.")] = None,
    lr: Annotated[float | None, Option(help="Learning rate.")] = None,
    epochs: Annotated[int | None, Option(help="Passes over the training sequences.")] = None,
    sequences: Annotated[int | None, Option(help="In place of epochs, where each brings new ones.")] = None,
    seed: Annotated[int | None, Option(help="Of weights, masks and the order of sequences.")] = None,
) -> int:
    """Train the same network by several learners: same first weights, data, order and steps; what each comes to."""
    given = chosen(locals(), "learners", "setting", "config", "out", "json")
    return guarded("compare", given, learners, setting or [], config, out, json)


@app.command()
def sweep(
    task: Annotated[str, typer.Argument(metavar="TASK", help="As in 'evsim list tasks'.", show_default=False)],
    over: Annotated[list[str] | None, Option(metavar="KEY=A,B,...", help=OVER)] = None,
    setting: Annotated[list[str] | None, Option("--set", metavar="KEY=VALUE", help=SETTING)] = None,
    seeds: Annotated[str, Option(metavar="A,B,...", help="One run for each, and their median.")] = "0",
    config: Annotated[str | None, Option(metavar="FILE.toml", help="Settings; options go before them.")] = None,
    workers: Annotated[int, Option(help="Runs at a time, each on one thread.")] = 2,
    out: Annotated[str | None, Option(metavar="FILE.json", help="Results as they come; a later call goes on.")] = None,
    json: Json = False,
) -> int:
    """Train with every combination of settings; the best by validation loss stands first."""
    return guarded("sweep", {"task": task}, over or [], setting or [], seeds, config, workers, out, json)


@app.command()
def plan(
    cell: Annotated[str, Option(help="As in 'evsim list cells'.")] = "egru",
    units: Annotated[int, Option(help="Units of each layer.")] = 64,
    layers: Annotated[int, Option(help="Number of layers.")] = 1,
    inputs: Annotated[int, Option(help="Inputs of the network.")] = 32,
    outputs: Annotated[int, Option(help="Outputs of the network.")] = 10,
    density: Annotated[float, Option(help="Fraction of recurrent weights that exist.")] = 1.0,
    density_in: Annotated[float, Option(help="Fraction of input weights that exist.")] = 1.0,
    activity: Annotated[float, Option(help="Fraction of units with an event at a step.")] = 0.1,
    phi_rate: Annotated[float, Option(help="Fraction of units near their threshold at a step.")] = 0.2,
    input_activity: Annotated[float, Option(help="Fraction of inputs that are not 0 at a step.")] = 1.0,
    block: Annotated[str, Option(metavar="auto|N", help=BLOCK)] = "auto",
    length: Annotated[int, Option(help="Steps of a sequence, which bptt keeps.")] = 1000,
    streams: Annotated[int, Option(help="Sequences side by side.")] = 1,
    threads: Annotated[int, Option(help="Threads that share the streams.")] = 1,
    memory: Annotated[str | None, Option(metavar="BYTES", help="What there is, as in 512M or 2G.")] = None,
    dtype: Annotated[str, Option(help="float32 or float64.")] = "float32",
    json: Json = False,
) -> int:
    """What each learner would take of memory, work and time on this machine, and how large a network may be."""
    given = {
        "units": units, "layers": layers, "inputs": inputs, "outputs": outputs, "length": length, "streams": streams,
        "threads": threads, "dtype": dtype,
    }  # fmt: skip
    rates = {"activity": activity, "phi_rate": phi_rate, "input_activity": input_activity}
    return guarded("plan", cell, {"density": density, "density_in": density_in}, rates, block, memory, given, json)


app.command("import")(import_)


@app.command()
def bench(
    sections: Annotated[list[str] | None, typer.Argument(metavar="[SECTION ...]", help=SECTIONS)] = None,
    quick: Annotated[bool, Option("--quick", help="Tiny sizes: does it run; the figures say nothing.")] = False,
    repeats: Annotated[int | None, Option(help="Turns that each way takes at most; 5 by default.")] = None,
    out: Annotated[str | None, Option(metavar="FILE.json", help="Where all figures go.")] = None,
    json: Json = False,
) -> int:
    """Time learning and inference here, beside other libraries and what this machine can do at best."""
    return guarded("bench", sections or (), quick, repeats, out, json)


@app.command("list")
def list_(
    kind: Annotated[str | None, typer.Argument(metavar=LISTS, help="Or all.")] = None,
    json: Json = False,
) -> int:
    """List what there is to choose from."""
    return guarded("list_", kind, json)
