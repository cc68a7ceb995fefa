"""Before numpy is loaded: one thread a library, a fresh cache of kernels, a short hypothesis profile."""

import atexit
import os
import shutil
import tempfile

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_variable] = "1"

# A kernel cached before a kernel it calls was changed would still give the old result.
if "NUMBA_CACHE_DIR" not in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(prefix="evsim-kernels-")
    atexit.register(shutil.rmtree, os.environ["NUMBA_CACHE_DIR"], ignore_errors=True)

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

settings.register_profile("evsim", deadline=None, derandomize=True, database=None, max_examples=20)
settings.load_profile("evsim")


@pytest.fixture
def here(runs, monkeypatch):
    """A module's own `runs`, a folder, as the working directory."""
    monkeypatch.chdir(runs)
    return runs
