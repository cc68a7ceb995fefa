"""Text: which symbol comes next? A text is read in one go, and at every step the following symbol is to be told."""

import copy
import math

import numpy as np

from evsim.check import check_count
from evsim.task import Choice, Count, Data, Place, Task
from evsim.text import AUTO, Corpus, read_corpus

HELD_OUT = 16  # parts into which validation and test are cut, so that they are read side by side
SHORTEST = 256  # steps below which such a part is not cut further


class Text(Task):
    """One sequence of training for each stream; x (N, T) whole numbers, y (N, T) the same one step later.

    text: path of a text of one's own (`evsim.text.read_corpus`); None: the default. level: "characters", "words" or
    "bytes"; "auto" becomes what is usual for such a text. vocabulary: path of a JSON list. limit: train on the first so
    many symbols only; validation, test and vocabulary do not depend on it. streams: the training text is cut into so
    many parts of equal length, which lie behind one another in it; what is left over at its end is not used. Validation
    and test are always cut into 16, or fewer of at least 256 steps; each begins from zero state.
    corpus: what was read; digest, symbols_digest: SHA-256 of it and of its symbols. chance: how often the commonest
    symbol of the training text comes; chance_loss: the entropy of its symbols one by one.
    """

    name = "text"
    options = {
        "text": Place("a file or a corpus' folder"), "level": Choice(AUTO),
        "vocabulary": Place("a JSON list"), "limit": Count(None, 2),
    }  # fmt: skip
    tokens = True
    loss = "cross_entropy"
    defaults = {
        "cell": "evrnn", "units": 128, "density": 1.0, "threshold": 0.1, "half_width": 0.1, "layers": 1, "block": 1,
        "streams": 1, "update": 10, "epochs": 1, "optimizer": "adam", "lr": 3e-3, "schedule": "cosine", "clip": 10.0,
    }  # fmt: skip
    torch_defaults = {
        "cell": "lstm", "units": 96, "predictor": "linear", "embed": 64, "window": 20, "streams": 32, "epochs": 15,
        "lr": 2e-3, "clip": 1.0,
    }  # fmt: skip

    text: str | None
    level: str
    vocabulary: str | None
    limit: int | None

    def __init__(self, **options):
        super().__init__(**options)
        corpus = read_corpus(self.text, self.level, self.vocabulary)
        self.level, self.digest = corpus.vocabulary.level, corpus.digest
        self.symbols_digest = corpus.vocabulary.digest()
        if self.limit is not None and self.limit > len(corpus.train):
            told = f"limit={self.limit} was given, but there are {len(corpus.train)} {self.level} to train on"
            raise ValueError(f"{told}: give fewer, or leave it out")
        self.corpus: Corpus = corpus._replace(train=corpus.train[: self.limit])
        self.n_in = self.n_out = len(corpus.vocabulary)
        often = np.bincount(self.corpus.train) / len(self.corpus.train)
        self.chance, self.chance_loss = float(often.max()), -float((often[often > 0] * np.log(often[often > 0])).sum())
        self._arrange(1)

    def side_by_side(self, streams):
        """Return the task with its training text cut into so many parts."""
        made = copy.copy(self)
        made._arrange(streams)
        return made

    def meaning(self, loss):
        """Return bits_per_character, of bytes too, or for words perplexity."""
        if self.level == "words":
            return {"perplexity": math.exp(loss) if loss < 700 else math.inf}
        return {"bits_per_character": loss / math.log(2)}

    def describe(self):
        """Return what the base says, and how long the text is."""
        sizes = f"{len(self.corpus.train):,} to train on, {len(self.corpus.validation):,} to validate"
        return f"{super().describe()}; {self.level}: {sizes}, {len(self.corpus.test):,} to test"

    def _arrange(self, streams):
        check_count("streams", streams)
        length = len(self.corpus.train) - 1
        if streams > length:
            told = f"{length + 1} {self.level} to train on are too few for streams={streams}, with a step in each"
            raise ValueError(f"{told}: take fewer streams, or a longer text")
        held = {part: (len(getattr(self.corpus, part)) - 1) // SHORTEST for part in ("validation", "test")}
        self.sizes = {"train": streams, **{part: max(1, min(HELD_OUT, most)) for part, most in held.items()}}
        self.steps = length // streams
        self._splits = None

    def _make(self):
        return {part: _parts(getattr(self.corpus, part), count) for part, count in self.sizes.items()}


def _parts(numbers, count) -> Data:
    """A text as `count` sequences, without a copy."""
    steps = (len(numbers) - 1) // count
    x, y = (numbers[k : k + count * steps].reshape(count, steps) for k in (0, 1))
    return Data(x, y)
