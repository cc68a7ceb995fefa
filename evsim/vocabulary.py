"""Vocabulary: the symbols that a text is made of, characters or words, and a number for each."""

import hashlib
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np

from evsim.check import check_choice
from evsim.files import write_text

LEVELS = ("characters", "words", "bytes")
UNKNOWN = "<unk>"  # stands for every symbol that a vocabulary lacks
END = "<eos>"  # the end of a line, where symbols are words
_CHUNK = 2**20  # characters that are looked up at once
_CODES = 0x110000  # there are so many different characters


class Vocabulary:
    """Symbols numbered 0, 1, ... in the order of `tokens`, each a string; `<unk>`, if there, stands for all others.

    level: "characters", "words", or "bytes", which are the 256 characters of Latin-1.
    """

    def __init__(self, tokens, level="characters"):
        self.level = check_choice("level", level, LEVELS)
        self.tokens = tuple(tokens)
        _check(self.tokens, level)
        self._number = {token: k for k, token in enumerate(self.tokens)}
        self._dtype = np.uint8 if len(self) <= 256 else np.int32
        self._table = None

    def __len__(self):
        return len(self.tokens)

    @classmethod
    def of(cls, symbols, level):
        """Of what a text holds, as `symbols_of` gives it, and `<unk>`: characters in their order, words by frequency.

        Words that are equally frequent stand in their order too. Bytes are always all 256.
        """
        if level == "bytes":
            return cls(map(chr, range(256)), level)
        if level == "characters":
            return cls([*sorted(set(symbols)), UNKNOWN], level)
        count = Counter(symbols)
        found = sorted(count, key=lambda word: (-count[word], word))
        return cls(found if UNKNOWN in count else [*found, UNKNOWN], level)

    def encode(self, symbols):
        """Numbers (T,), uint8 or int32, of a text, or of what `symbols_of` gave; ValueError for what is not there."""
        if self.level == "words":
            given = symbols_of(symbols, self.level) if isinstance(symbols, str) else symbols
            missing = self._number.get(UNKNOWN, -1)
            found = np.fromiter((self._number.get(word, missing) for word in given), np.int32, len(given))
            if missing < 0:
                self._refuse(found, given, 0)
            return found.astype(self._dtype)
        found = np.empty(len(symbols), self._dtype)
        for start in range(0, len(symbols), _CHUNK):
            part = symbols[start : start + _CHUNK]
            codes = np.frombuffer(part.encode("utf-32-le", "surrogatepass"), np.uint32)
            numbers = self._numbers_of_codes()[codes]
            self._refuse(numbers, part, start)
            found[start : start + len(part)] = numbers
        return found

    def decode(self, numbers) -> str:
        """The text of numbers (T,); words stand with spaces between them, each `<eos>` as a new line."""
        found, fresh = [], True
        for token in (self.tokens[k] for k in numbers):
            ends = self.level == "words" and token == END
            found += [] if fresh or ends or self.level != "words" else [" "]
            found.append("\n" if ends else token)
            fresh = ends
        return "".join(found)

    def digest(self) -> str:
        """SHA-256 of the tokens in their order."""
        return hashlib.sha256(json.dumps(self.tokens).encode()).hexdigest()

    def save(self, path):
        """Write the tokens as a JSON list."""
        write_text(path, json.dumps(self.tokens) + "\n")

    @classmethod
    def load(cls, path, level="characters"):
        """Read what `save` wrote; FileNotFoundError or ValueError says what is wrong with it."""
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"vocabulary {path} does not exist: give a JSON file")
        try:
            found = json.loads(path.read_bytes())
            if not isinstance(found, list):
                raise ValueError(f"it holds a {type(found).__name__}")
        except (ValueError, RecursionError) as error:
            told = f"vocabulary {path} cannot be read ({error})"
            raise ValueError(f"{told}: give a JSON list of strings, as Vocabulary.save writes") from None
        try:
            return cls(found, level)
        except ValueError as error:
            raise ValueError(f"vocabulary {path}: {error}") from None

    def _numbers_of_codes(self):
        """Number of every character by its code; -1 where there is none."""
        if self._table is None:
            self._table = np.full(_CODES, self._number.get(UNKNOWN, -1), np.int32)
            for token, k in self._number.items():
                if token != UNKNOWN:
                    self._table[ord(token)] = k
        return self._table

    def _refuse(self, numbers, symbols, start):
        if len(numbers) and numbers.min() < 0:
            place = int(numbers.argmin())
            told = f"symbol {start + place + 1} of the text is {symbols[place]!r}, which the vocabulary lacks"
            raise ValueError(f"{told}, and it has no {UNKNOWN!r}: add one of the two to it, or give another text")


def symbols_of(text: str, level: str):
    """What a text is made of, to be cut and counted: the text itself, or a list of its words.

    Words are what white space divides; each line ends with `<eos>`.
    """
    if level != "words":
        return text
    found, known = [], {}
    for line in io.StringIO(text, newline="\n"):
        found += [known.setdefault(word, word) for word in line.split()]  # one string for each word, however often
        found.append(END)
    return found


def _check(tokens, level):
    advice = "give a list of different strings that are not empty"
    if len(tokens) < 2:
        raise ValueError(f"a vocabulary of {len(tokens)} symbols tells nothing: {advice}, two at least")
    for token in tokens:
        if not isinstance(token, str) or not token:
            raise ValueError(f"a vocabulary cannot hold {token!r}: {advice}")
        if level != "words" and len(token) > 1 and token != UNKNOWN:
            told = f"the vocabulary holds {token!r}, which is more than one character"
            raise ValueError(f"{told}: give level words with it, or a vocabulary of characters")
    if len(set(tokens)) < len(tokens):
        twice = next(token for token, times in Counter(tokens).items() if times > 1)
        raise ValueError(f"the vocabulary holds {twice!r} twice: {advice}")
