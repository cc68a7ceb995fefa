"""Progress: how training goes, on stderr: a bar in a terminal, a line per epoch everywhere."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn


class TrainingProgress:
    """Context that shows what `Trainer.fit` tells its `progress` and `on_epoch`.

    label: which of several runs it is. meaning: `evsim.task.Task.meaning`, whose units stand in place of the loss.
    """

    def __init__(self, epochs, label="", meaning=None):
        self._epochs, self._label, self._meaning = epochs, label, meaning
        self._console = Console(stderr=True, highlight=False)
        self._bar = self._item = None

    def __enter__(self):
        if self._console.is_terminal:
            texts = [TextColumn(f"{{task.fields[{name}]}}") for name in ("numbers", "rate", "left")]
            columns = (TextColumn("{task.description}"), BarColumn(10), *texts)
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._item = self._bar.add_task(f"{self._label}epoch", total=1, numbers="", rate="", left="")
            self._bar.start()
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.stop()

    def piece(self, info):
        """After every piece of work."""
        if self._bar is None or self._item is None:
            return
        rate = info["steps_per_second"]
        ahead = info["total"] - info["done"] + (info["epochs"] - info["epoch"]) * info["total"]
        self._bar.update(
            self._item,
            description=f"{self._label}epoch {info['epoch']}/{info['epochs']}",
            completed=info["done"],
            total=info["total"],
            numbers=self._numbers(info, short=True),
            rate=f"{rate:,.0f}/s",
            left=f"{_clock(ahead / rate)} left" if rate > 0 else "",
        )

    def epoch(self, row):
        """After every epoch."""
        width = len(str(self._epochs))
        held = [f"validation {self._told(row['validation_loss'])}"] if row.get("validation_loss") is not None else []
        if row.get("validation_accuracy") is not None:
            held.append(f"accuracy {row['validation_accuracy']:.2%}")
        level = [f"{name} {row[name]}" for name in ("symbols", "repeats") if name in row]
        level += [f"{row['phase']} gradients"] if "phase" in row else []
        parts = [
            f"{self._label}epoch {row['epoch']:{width}d}/{self._epochs}", *level, self._numbers(row), *held,
            f"{row['steps_per_second']:,.0f} steps/s",
        ]  # fmt: skip
        self._console.print(", ".join(parts), markup=False, soft_wrap=True)
        if "compare" in row:
            known = [(name, found["cosine"]) for name, found in row["compare"].items()]
            told = ", ".join(f"{name} {'-' if cosine is None else f'{cosine:.4f}'}" for name, cosine in known)
            self._console.print(f"{' ' * len(self._label)}  cosine: {told}", markup=False, soft_wrap=True)

    def _numbers(self, info, short=False):
        told, accuracy, activity = self._told(info["loss"], short), info.get("accuracy"), info.get("activity")
        if short:  # a bar of 80 characters
            right = "" if accuracy is None else f"accuracy {accuracy:.1%} "
            return f"{told} {right}" + ("" if activity is None else f"active {activity:.1%}")
        right = "" if accuracy is None else f", accuracy {accuracy:.2%}"
        macs = f", {_rounded(info['macs_per_step'])} MACs/step" if "macs_per_step" in info else ""
        return f"{told}{right}" + ("" if activity is None else f", activity {activity:.2%}") + macs

    def _told(self, loss, short=False):
        """The loss, or what the task says in place of it."""
        places = 3 if short else 4
        for name, value in (self._meaning(loss) if self._meaning else {}).items():
            unit = name.replace("_", " ")
            return f"{'bits' if short and unit.startswith('bits') else unit} {value:.{places}f}"
        return f"loss {loss:.{places}f}"


def _rounded(count):
    """A count as in 87, 4.2k, 1.3M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return f"{count:.0f}"


def _clock(seconds):
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
