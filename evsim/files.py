"""Files that are either whole or not there: written beside their place, then renamed."""

import contextlib
import os
import tokenize
import zipfile
import zlib
from pathlib import Path

# What reading a damaged, foreign or encrypted npz file may raise.
DAMAGE = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, LookupError, ValueError, TypeError, AttributeError,
    NotImplementedError, RuntimeError, SyntaxError, tokenize.TokenError,
)  # fmt: skip


def write_text(path, text):
    """Replace a text file once the new one is complete."""
    with replacing(path) as file:
        file.write(text.encode())


def refuse_existing(path, force=False):
    """ValueError if a file must not be written to `path`: it exists (and not `force`), or its folder does not."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give the name of a file to write")
    if path.exists() and not force:
        raise ValueError(f"{path} exists already: give another name, or --force to replace it")
    if not path.parent.is_dir():
        raise ValueError(f"the folder {path.parent} does not exist: make it first")


@contextlib.contextmanager
def replacing(path):
    """Open a file for writing bytes beside `path`, and put it in its place if nothing went wrong."""
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
