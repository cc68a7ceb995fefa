"""Where the code that runs comes from: its commit, where the package lies in a checkout of its own."""

import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent


def commit():
    """The commit of the checkout that this package lies in, with "-dirty" behind it if files differ; otherwise None.

    A checkout of something else, into which the package was installed, does not count.
    """
    root = _git("rev-parse", "--show-toplevel")
    if root is None or Path(root).resolve() != HERE.parent or _git("ls-files", "evsim/__init__.py") is None:
        return None
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(*words):
    """What git says of the package's parent folder, or None."""
    try:
        done = subprocess.run(["git", "-C", str(HERE.parent), *words], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
