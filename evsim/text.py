"""Corpora: texts that are already on this machine, cut into three parts and brought into numbers. Nothing is fetched.

The default is what every CPython carries, the topics of its built-in help (`pydoc_data.topics`), about 465,000
characters. A text of one's own is a file, or a folder in the layout of Penn Treebank or of WikiText-2; files that are
named text8 or enwik8 are cut as these corpora are.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evsim.check import check_choice
from evsim.vocabulary import LEVELS, UNKNOWN, Vocabulary, symbols_of

AUTO = ("auto", *LEVELS)
FOLDERS = (
    ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"),  # Penn Treebank as Mikolov prepared it
    ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"),
)
_PARTS = ("train", "validation", "test")
_OWN = (("train", 8), ("test", 1), ("validation", 1))  # in this order, in tenths
_HUTTER = (("train", 90), ("validation", 5), ("test", 5))  # text8 and enwik8: of 100 million
_QUOTES = "\u2018\u2019\u201c\u201d"
PLAIN = ("\n", *map(chr, range(32, 127)), *_QUOTES, *"\u2013\u2014\u2026\u00b0\u00df", UNKNOWN)
_TEXT8 = tuple(" abcdefghijklmnopqrstuvwxyz")


class Corpus(NamedTuple):
    """train, validation, test: numbers (symbols,). vocabulary: what they stand for, and its level.

    digest: SHA-256 of the text, and of the vocabulary's file if one was given.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    vocabulary: Vocabulary
    digest: str


def read_corpus(text=None, level="auto", vocabulary=None) -> Corpus:
    """Read the text at a path, or for None the default one.

    level: "characters", "words", "bytes"; "auto": words in a folder, bytes in enwik8, characters in all others.
    vocabulary: path of a JSON list that must hold all symbols, or `<unk>`. Without it the default text has a fixed one
    (new line, printable ASCII, nine typographic characters, `<unk>`), text8 space and a to z, and every other that of
    its training part with `<unk>`. The default text and a file of one's own are cut into the first 80 % to train on,
    then 10 % to test and 10 % to validate.
    FileNotFoundError, IsADirectoryError or ValueError says what is wrong with a text.
    """
    name = "the default text" if text is None else str(text)
    check_choice("level", level, AUTO)
    raw, shares, usual, fixed = _read(text)
    level = usual if level == "auto" else level
    if level == "words" and usual == "bytes":
        raise ValueError(f"{name} is markup, which has no words to speak of: give level bytes or characters")
    if level == "bytes" and vocabulary is not None:
        raise ValueError("a vocabulary was given, but bytes are always the same 256: leave it out")
    texts = [_decoded(one, title, level) for title, one in raw.items()]
    if not all(texts):
        raise ValueError(f"{list(raw)[texts.index('')]} is empty: give a text")
    symbols = [symbols_of(one, level) for one in texts]
    parts = dict(zip(_PARTS, symbols)) if shares is None else _cut(symbols[0], shares)
    for part, held in parts.items():
        if len(held) < 2:
            told = f"{name} holds {sum(map(len, parts.values()))} {level}, which leaves {len(held)} for {part}"
            raise ValueError(f"{told}, and two is the least: give a longer text")
    if vocabulary is not None:
        known = Vocabulary.load(vocabulary, level)
    elif fixed and level == "characters":
        known = Vocabulary(fixed, level)
    else:
        known = Vocabulary.of(parts["train"], level)
    found = {}
    for part, held in parts.items():
        try:
            found[part] = known.encode(held)
        except ValueError as error:
            raise ValueError(f"{name}, in the part for {part}: {error}") from None
    digest = hashlib.sha256()
    for one in (*raw.values(), *(() if vocabulary is None else (Path(vocabulary).read_bytes(),))):
        digest.update(b"%d\n" % len(one))  # where one ends and the next begins
        digest.update(one)
    return Corpus(**found, vocabulary=known, digest=digest.hexdigest())


def _read(text) -> tuple[dict[str, bytes], tuple | None, str, tuple | None]:
    """(bytes by name: a whole text, or the three parts; how a whole one is cut; usual level; fixed characters)."""
    if text is None:
        from pydoc_data.topics import topics

        whole = "".join(topics[name] for name in sorted(topics))
        return {"the default text": whole.encode()}, _OWN, "characters", PLAIN
    path = Path(text)
    if path.is_dir():
        return {str(path / name): (path / name).read_bytes() for name in _folder(path)}, None, "words", None
    if not path.is_file():
        raise FileNotFoundError(f"text {path} does not exist: give a text file, or a folder that holds a corpus")
    raw = {str(path): path.read_bytes()}
    if path.name == "text8":
        return raw, _HUTTER, "characters", _TEXT8
    if path.name == "enwik8":
        return raw, _HUTTER, "bytes", None
    return raw, _OWN, "characters", None


def _folder(path):
    """The names of a corpus' three files in a folder, training first."""
    missing = {names: [name for name in names if not (path / name).is_file()] for names in FOLDERS}
    for names, lost in missing.items():
        if not lost:
            return names
        if len(lost) < len(names):
            raise FileNotFoundError(f"{path} lacks {' and '.join(lost)}: a folder needs {', '.join(names)}")
    known = " or ".join(", ".join(names) for names in FOLDERS)
    raise FileNotFoundError(f"{path} holds no known corpus: a folder needs {known}; or give the path of a file")


def _decoded(raw: bytes, name, level) -> str:
    if level == "bytes":
        return raw.decode("latin-1")
    advice = "give a text in UTF-8, or take this one with level bytes"
    zero = raw.find(0)
    if zero >= 0:
        raise ValueError(f"{name} is no text, for byte {zero + 1} of it is zero: {advice}")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8 (byte {error.start + 1}: {error.reason}): {advice}") from None


def _cut(symbols, shares):
    """Parts of a whole by name, one after the other, the last taking what is left over."""
    total, found, done, start = sum(share for _, share in shares), {}, 0, 0
    for name, share in shares:
        done += share
        end = len(symbols) * done // total
        found[name] = symbols[start:end]
        start = end
    return found
