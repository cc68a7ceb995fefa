"""Numba: what a run does with evsim's own learners. `evsim.models.run.Torch` does the same with torch models."""

from evsim.build import build_compared, build_trainer, updates_per_epoch
from evsim.evaluate import evaluate
from evsim.joules import DEFAULT, energy, load_profile
from evsim.opcount import new_count
from evsim.registry import lookup
from evsim.rewiring import density_of
from evsim.trainer import Trainer
from evsim.warmup import warm_up
from evsim.work import account, shortened


class Numba:
    """The steps of a run, in which settings are those of a single seed."""

    medians = (
        "test_accuracy", "test_loss", "activity", "phi_rate", "density", "macs_per_step", "joules_per_step",
        "joules_per_inference", "joules_per_sample", "train_seconds", "steps",
    )  # fmt: skip
    shared = ("dense_rtrl_macs_per_step", "dense_bptt_macs_per_step", "profile")  # what all seeds have in common
    build = staticmethod(build_trainer)
    prepare = staticmethod(warm_up)

    @staticmethod
    def foresee(settings, task):
        """(updates in an epoch, function from an epoch to the kind of its gradients or None)."""
        return updates_per_epoch(settings, task), None

    @staticmethod
    def resume(checkpoint, settings, task):
        """The trainer that wrote `checkpoint`, where it then stood."""
        load_profile(settings.get("profile", DEFAULT))  # what is wrong shows before anything is done
        compare = (lambda net: build_compared(settings, net, task.loss)) if "compare" in settings else None
        return Trainer.resume(checkpoint, task, compare)

    @staticmethod
    def announce(trainer, settings):
        """What is going to be trained, in a few words."""
        net, learner = trainer.net, trainer.learner
        cells = ", ".join(f"{cell.units} {type(cell).__name__}" for cell in net.layers)
        name = lookup("learner", settings["learner"]).__name__
        size = f"{learner.memory['total'] / 2**20:,.1f} MiB"
        return f"{cells}, {net.layout.trained:,} parameters, {name} holds {size}"

    @staticmethod
    def stored(trainer):
        """Bytes that the learner holds."""
        return trainer.learner.memory["total"]

    @staticmethod
    def figures(trainer, settings):
        """What came out, for the summary."""
        net, learner, profile = trainer.net, trainer.learner, settings.get("profile", DEFAULT)
        count, data = new_count(len(net.layers)), trainer.task.split("test")
        found, ops = evaluate(net, data, learner.loss_kind, count), learner.ops
        joules = energy(ops, profile)
        spoken = shortened(account(count, net, learner.memory, learner.streams, learner.threads))
        spoken = {**{k: v for k, v in spoken.items() if k not in ("layers", "dense")}, "sequences": len(data.x)}
        last = trainer.history[-1]
        return {
            "test_accuracy": found["accuracy"],
            "test_loss": found["loss"],
            **trainer.task.summarise(found["loss"], last["loss"]),
            "activity": found["activity"],
            "phi_rate": found["phi_rate"],
            "activity_per_layer": found["activity_per_layer"],
            "density": density_of(trainer.net),
            "macs_per_step": ops["multiply_adds"] / max(ops["steps"], 1),
            "dense_rtrl_macs_per_step": ops["dense"]["rtrl"],
            "dense_bptt_macs_per_step": ops["dense"]["bptt"],
            "joules_per_step": joules["joules_per_step"],
            "joules_per_inference": energy(spoken, profile)["joules_per_inference"],
            "joules_per_sample": joules["joules_per_sample"],
            "profile": joules["profile"],
            "ops": shortened(ops),
            "inference_ops": spoken,
            "steps": ops["steps"],
            **({"compare": last["compare"]} if "compare" in last else {}),
        }
