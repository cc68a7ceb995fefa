"""Texts: corpora and vocabularies as they lie on disk, how they are cut, what is refused."""

import json
from collections import Counter

import numpy as np
import pytest
from corpora import LINES, PTB, STORY, WIKI, folder, words, write

from evsim.text import PLAIN, read_corpus
from evsim.vocabulary import END, UNKNOWN, Vocabulary

pytestmark = pytest.mark.nojit


# Vocabularies


def test_the_default_text_its_vocabulary_and_its_split():
    from pydoc_data.topics import topics

    whole = "".join(topics[name] for name in sorted(topics))
    corpus = read_corpus()
    n = len(whole)
    parts = corpus.train, corpus.test, corpus.validation
    assert [len(part) for part in parts] == [n * 8 // 10, n * 9 // 10 - n * 8 // 10, n - n * 9 // 10]
    assert "".join(corpus.vocabulary.decode(part) for part in parts) == whole
    assert corpus.vocabulary.tokens == PLAIN and len(set(PLAIN)) == 106
    assert PLAIN[:96] == ("\n", *map(chr, range(32, 127))) and PLAIN[-1] == UNKNOWN
    assert {part.dtype for part in parts} == {np.dtype(np.uint8)}


def test_characters_there_and_back():
    known = Vocabulary.of(STORY, "characters")
    assert known.tokens == (*sorted(set(STORY)), UNKNOWN)
    numbers = known.encode(STORY)
    assert numbers.tolist() == [known.tokens.index(one) for one in STORY] and known.decode(numbers) == STORY
    assert known.encode("t\u00e9").tolist() == [known.tokens.index("t"), len(known) - 1]
    wide = Vocabulary(map(chr, range(256, 600)))
    assert wide.encode("\u0100\u0257").tolist() == [0, 343] and wide.encode("\u0100").dtype == np.int32


def test_long_texts_are_encoded_in_pieces(monkeypatch):
    known = Vocabulary.of(STORY, "characters")
    whole = known.encode(STORY)
    monkeypatch.setattr("evsim.vocabulary._CHUNK", 7)
    np.testing.assert_array_equal(known.encode(STORY), whole)
    with pytest.raises(ValueError, match="symbol 17 of the text is 'X', which the vocabulary lacks, and it has no '<u"):
        Vocabulary("ab").encode("ab" * 8 + "X")


def test_words_there_and_back():
    text = "b a\n\na c a\n"
    known = Vocabulary.of(words(text.split("\n")[:-1]), "words")
    assert known.tokens == (END, "a", "b", "c", UNKNOWN)  # both three times; then once each
    assert known.encode(text).tolist() == [2, 1, 0, 0, 1, 3, 1, 0]
    assert known.decode(known.encode(text)) == text
    assert known.encode("zebra a").tolist() == [4, 1, 0]
    with pytest.raises(ValueError, match="symbol 1 of the text is 'zebra', which the vocabulary lacks"):
        Vocabulary(["a", END], "words").encode("zebra a")


def test_bytes_there_and_back(tmp_path):
    raw = bytes(range(256)) * 2
    corpus = read_corpus(write(tmp_path / "b.bin", raw), "bytes")
    assert len(corpus.vocabulary) == 256
    assert b"".join(part.tobytes() for part in (corpus.train, corpus.test, corpus.validation)) == raw


def test_a_vocabulary_is_saved_and_loaded(tmp_path):
    known = Vocabulary.of(STORY + "\u00e9", "characters")
    known.save(tmp_path / "v.json")
    assert json.loads((tmp_path / "v.json").read_text()) == list(known.tokens)
    again = Vocabulary.load(tmp_path / "v.json")
    assert again.tokens == known.tokens and again.digest() == known.digest()
    assert Vocabulary.of(STORY, "characters").digest() != known.digest()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("[1, 2", r"cannot be read \(.*\): give a JSON list of strings"),
        ('{"a": 1}', "it holds a dict.*give a JSON list"),
        ("[1, 2]", "cannot hold 1: give a list of different strings"),
        ('["a", ""]', "cannot hold ''"),
        ('["a", "b", "a"]', "holds 'a' twice"),
        ('["a"]', "a vocabulary of 1 symbols tells nothing"),
        ('["a", "cat"]', "holds 'cat', which is more than one character: give level words"),
        ('["a", "b"]', "in the part for train: symbol 2 of the text is 'b'.*|symbol 1 of the text is 't'.*add one of"),
    ],
)
def test_a_vocabulary_that_does_not_fit(tmp_path, content, match):
    text = write(tmp_path / "story.txt", STORY)
    with pytest.raises(ValueError, match=match):
        read_corpus(text, vocabulary=write(tmp_path / "v.json", content))


def test_a_vocabulary_of_ones_own(tmp_path):
    text, given = write(tmp_path / "story.txt", STORY), write(tmp_path / "v.json", '["t", "<unk>", "h"]')
    corpus = read_corpus(text, vocabulary=given)
    assert corpus.train[:5].tolist() == [0, 2, 1, 1, 1]
    assert corpus.digest != read_corpus(text).digest
    with pytest.raises(FileNotFoundError, match="vocabulary .*none.json does not exist"):
        read_corpus(text, vocabulary=tmp_path / "none.json")
    with pytest.raises(ValueError, match="bytes are always the same 256: leave it out"):
        read_corpus(text, "bytes", given)


# Corpora on disk


@pytest.mark.parametrize("names", [PTB, WIKI])
def test_a_folder_of_words(tmp_path, names):
    corpus = read_corpus(folder(tmp_path / "corpus", names))
    known, count = corpus.vocabulary, Counter(words(LINES * 3))
    assert known.level == "words"
    assert list(known.tokens) == sorted(count, key=lambda word: (-count[word], word))  # <unk> is in it already
    assert known.decode(corpus.train).split() == "".join(LINES * 3).split()
    assert [known.tokens[k] for k in corpus.train] == words(LINES * 3)
    assert [known.tokens[k] for k in corpus.validation] == [*words(LINES), UNKNOWN, UNKNOWN, END]
    assert [known.tokens[k] for k in corpus.test] == [*words(LINES), UNKNOWN, UNKNOWN, END]


def test_a_folder_of_characters(tmp_path):
    corpus = read_corpus(folder(tmp_path / "corpus", PTB), "characters")
    assert corpus.vocabulary.decode(corpus.train) == "".join(LINES * 3)
    assert corpus.vocabulary.tokens[-1] == UNKNOWN
    assert [corpus.vocabulary.tokens[k] for k in corpus.validation[-6:-4]] == [UNKNOWN, UNKNOWN]  # no b, no i


@pytest.mark.parametrize(("name", "level", "size"), [("text8", "characters", 27), ("enwik8", "bytes", 256)])
def test_text8_and_enwik8(tmp_path, name, level, size):
    raw = ("an old fox " * 100).encode()[:1000]
    corpus = read_corpus(write(tmp_path / name, raw))
    assert (corpus.vocabulary.level, len(corpus.vocabulary)) == (level, size)
    assert [len(part) for part in corpus[:3]] == [900, 50, 50]
    parts = corpus.train, corpus.validation, corpus.test  # in this order
    assert "".join(map(corpus.vocabulary.decode, parts)) == raw.decode()
    if name == "text8":
        assert corpus.vocabulary.tokens == tuple(" abcdefghijklmnopqrstuvwxyz")
        with pytest.raises(ValueError, match="text8, in the part for test: symbol 50 .* is 'X', which the vocabulary"):
            read_corpus(write(tmp_path / name, raw[:-1] + b"X"))
    else:
        with pytest.raises(ValueError, match="enwik8 is markup, .*give level bytes or characters"):
            read_corpus(tmp_path / name, "words")


def test_a_text_of_ones_own(tmp_path):
    path = write(tmp_path / "story.txt", b"\xef\xbb\xbf" + STORY.encode())  # with a mark that says UTF-8
    corpus = read_corpus(path)
    n = len(STORY)
    assert corpus.vocabulary.level == "characters"
    assert corpus.vocabulary.decode(corpus.train) == STORY[: n * 8 // 10]
    assert corpus.vocabulary.decode(corpus.test) == STORY[n * 8 // 10 : n * 9 // 10]
    assert corpus.vocabulary.decode(corpus.validation) == STORY[n * 9 // 10 :]
    by_words = read_corpus(path, "words")
    every = words(STORY.split("\n")[:-1])
    assert len(by_words.train) == len(every) * 8 // 10
    assert [by_words.vocabulary.tokens[k] for k in by_words.train] == every[: len(by_words.train)]


@pytest.mark.parametrize(
    ("content", "level", "match"),
    [
        (b"", "auto", "mine.txt is empty: give a text"),
        (b"abc\0def" * 9, "auto", "mine.txt is no text, for byte 4 of it is zero: .*or take this one with level bytes"),
        (b"abc\xff\xfe" * 9, "auto", r"mine.txt is not UTF-8 \(byte 4: .*\): give a text in UTF-8, or take"),
        (b"abcabc", "auto", "mine.txt holds 6 characters, which leaves 1 for test, and two is the least"),
        (b"one two three\n" * 3, "words", "holds 12 words, which leaves 1 for test"),
        (STORY.encode(), "letters", "level='letters' is unknown: choose one of auto, characters, words, bytes"),
    ],
)
def test_texts_that_are_refused(tmp_path, content, level, match):
    with pytest.raises(ValueError, match=match):
        read_corpus(write(tmp_path / "mine.txt", content), level)


def test_places_where_there_is_no_text(tmp_path):
    with pytest.raises(FileNotFoundError, match="text .*none.txt does not exist: give a text file, or a folder"):
        read_corpus(tmp_path / "none.txt")
    with pytest.raises(FileNotFoundError, match="holds no known corpus: a folder needs ptb.train.txt, .* or wiki"):
        read_corpus(tmp_path)
    folder(tmp_path / "half", PTB[:2])
    with pytest.raises(FileNotFoundError, match="half lacks ptb.test.txt: a folder needs ptb.train.txt, ptb.valid.txt"):
        read_corpus(tmp_path / "half")


def test_a_digest_tells_of_every_part(tmp_path):
    found = {read_corpus(folder(tmp_path / "c", PTB)).digest}
    for name in PTB:
        write(tmp_path / "c" / name, "".join([*LINES, *LINES, " the cat \n"]))
        found.add(read_corpus(tmp_path / "c").digest)
    assert len(found) == 4
    folder(tmp_path / "c", PTB)
    late, early = tmp_path / "c" / PTB[2], tmp_path / "c" / PTB[1]
    first, rest = late.read_text().split("\n", 1)
    write(early, f"{early.read_text()}{first}\n")
    write(late, rest)
    assert read_corpus(tmp_path / "c").digest not in found  # a line has moved from one file to the next
