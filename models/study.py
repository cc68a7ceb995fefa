"""Study: training methods side by side on one task, each run in a process of its own, and what each of them came to."""

import json
import statistics
import time
from dataclasses import asdict, dataclass, field

from evsim.processes import run_each
from evsim.registry import lookup


@dataclass(frozen=True)
class Arm:
    """One method on one task.

    name: in the table. task, options: the task and its sizes. method: "memup", "tbptt" or "bptt" under torch, or "rtrl"
    (exact, evsim's own). window, targets, detector, every: as in `evsim.models.MemUP`. cell, units, context: of the
    model. lr: at the start; it falls in a line to a tenth over `updates` (rtrl: stays). updates, cpu_seconds: the run
    ends with whichever comes first, or once the validation split is solved to `enough` (accuracy, or for mse the loss).
    net: options of the layers of evsim's cells.
    """

    name: str
    task: str
    options: dict
    method: str
    window: int | None = 10
    targets: int = 0
    detector: str = "entropy"
    every: int | None = None
    cell: str = "lstm"
    units: int = 64
    context: int = 1
    lr: float = 3e-3
    streams: int = 64
    updates: int = 8000
    cpu_seconds: float = 180
    enough: float = 0.999
    net: dict = field(default_factory=dict)


def run_arm(arm: Arm, seed: int) -> dict:
    """Train one arm with one seed; a dict of what came out. Meant for a process that does nothing else."""
    task = lookup("task", arm.task)(**arm.options)
    began = time.process_time()
    found = (_rtrl if arm.method == "rtrl" else _torch)(arm, task, seed)
    from evsim.runs import peak_bytes

    return {**asdict(arm), "seed": seed, "total_cpu_seconds": time.process_time() - began, **found,
            "peak_bytes": peak_bytes(), "chance": task.chance, "chance_loss": task.chance_loss}  # fmt: skip


def _torch(arm, task, seed):
    import torch

    from .build import build_model
    from .method import MemUP
    from .trainer import RolloutTrainer

    torch.set_num_threads(1)
    model = build_model(task, arm.cell, arm.units, context=arm.context, seed=seed, **arm.net)
    window = task.steps if arm.method == "bptt" else arm.window
    targets = arm.targets if arm.method == "memup" else 0
    method = MemUP(window if arm.method != "bptt" else None, targets, arm.detector, arm.every if targets else None)
    optimizer = torch.optim.Adam(model.parameters(), arm.lr)
    fall = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.1, 1 - 0.9 * step / arm.updates))
    trainer = RolloutTrainer(model, method, task, optimizer, fall, arm.streams, seed=seed)
    cpu = time.process_time()
    trainer.fit(updates=arm.updates, cpu_seconds=arm.cpu_seconds, until=lambda row: _solved(row, arm, task))
    cpu = time.process_time() - cpu
    test = trainer.evaluate()
    return {
        "accuracy": test["accuracy"], "loss": test["loss"], "updates_done": trainer.updates, "cpu": cpu,
        "memory_steps": trainer.graph["memory_steps"], "predictions": trainer.graph["predictions"],
        "targets_asked": trainer.graph["targets"], "graph_bytes": trainer.graph["bytes"],
        "curve": [(row["updates"], row["validation_accuracy"], row["validation_loss"]) for row in trainer.history],
    }  # fmt: skip


def _rtrl(arm, task, seed):
    from evsim.learners.rtrl import RTRL
    from evsim.network import Network
    from evsim.optim import Adam
    from evsim.readout import Readout
    from evsim.trainer import Trainer

    layers = [lookup("cell", arm.cell)(arm.units, **arm.net)]
    net = Network(task.n_in, layers, Readout(task.n_out), seed)
    trainer = Trainer(RTRL(net, task.loss, block="auto", streams=arm.streams), Adam(arm.lr), task, clip=1.0, seed=seed)
    trainer.learner.run(task.split("validation").x[: arm.streams, :2])  # compiled before the clock starts
    trainer.learner.gradient()
    trainer.learner.reset()
    cpu, updates, row = time.process_time(), 0, {}
    for epoch in range(1, 10**6):
        updates += -(-task.sizes["train"] // arm.streams)
        row = trainer.fit(epochs=epoch, validation=task.split("validation"))[-1]
        if time.process_time() - cpu >= arm.cpu_seconds or updates >= arm.updates or _solved(row, arm, task):
            break
    cpu = time.process_time() - cpu
    test = trainer.evaluate()
    history = trainer.history
    return {
        "accuracy": test["accuracy"], "loss": test["loss"], "updates_done": updates, "cpu": cpu, "memory_steps": 0,
        "predictions": 0, "targets_asked": 0, "graph_bytes": trainer.learner.memory["total"],
        "block": trainer.learner.block, "activity": test["activity"],
        "curve": [(row["epoch"], row["validation_accuracy"], row["validation_loss"]) for row in history],
    }  # fmt: skip


def _solved(row, arm, task):
    if task.loss == "mse":
        return row["validation_loss"] <= arm.enough
    return row["validation_accuracy"] >= arm.enough


def run_all(arms, seeds, path=None, workers=2, tell=print) -> list[dict]:
    """Run every arm with every seed, `workers` at a time, each in a fresh process on one thread; what each came to.

    path: a JSON file to which every result is added as it comes, and whose results are not made again.
    """
    jobs = [(asdict(arm), seed) for seed in seeds for arm in arms]
    return run_each(_run, jobs, workers, path, lambda row: tell(_line(row)))


def _run(arm, seed):
    return run_arm(Arm(**arm), seed)


def _key(row):
    return json.dumps([row["seed"], {name: row[name] for name in Arm.__dataclass_fields__}], sort_keys=True)


def _line(row):
    came = f"loss {row['loss']:.4f}" if row["accuracy"] is None else f"accuracy {row['accuracy']:.4f}"
    return f"{row['name']}, seed {row['seed']}: {came} after {row['updates_done']:,} updates, {row['cpu']:.0f} CPU s"


def summarise(rows) -> list[dict]:
    """One dict per arm: median, least and most of its seeds, median CPU seconds and updates, graph, peak memory."""
    found: dict[str, list] = {}
    for row in rows:
        found.setdefault(_key({**row, "seed": 0}), []).append(row)
    out = []
    for runs in found.values():
        first = runs[0]
        measure = "loss" if first["accuracy"] is None else "accuracy"
        values = [run[measure] for run in runs]
        middle = {name: statistics.median(run[name] for run in runs) for name in ("cpu", "updates_done", "peak_bytes")}
        out.append({**first, **middle, "measure": measure, "median": statistics.median(values), "least": min(values),
                    "most": max(values), "seeds": len(runs)})  # fmt: skip
    return out
