"""Small texts on disk, in the layouts of well-known corpora."""

from evsim.vocabulary import END

STORY = "the cat sat.\nThe dog, no cat, ran on and on.\n" * 40
LINES = [" the cat sat on the mat \n", " the dog ran \n", "\n", " the cat ran to <unk> \n"]
PTB = ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt")
WIKI = ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens")


def write(path, text):
    """A file of that text, or of those bytes; returns its path."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def folder(path, names, lines=LINES):
    """A corpus' folder: in the parts for validation and test a word that training lacks."""
    for name, part in zip(names, (lines * 3, [*lines, " a bird \n"], [*lines, " a fish \n"])):
        write(path / name, "".join(part))
    return path


def words(lines):
    """Words of lines by hand."""
    return [word for line in lines for word in [*line.split(), END]]
