"""What a finished run says about data."""

import numpy as np

from evsim.cli import main


def test_evaluating_on_a_file_that_has_changed_wants_it_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez("own.npz", x=rng.random((40, 3, 2)), y=np.arange(40) % 2)
    assert main(["train", "--data", "own.npz", "--units", "4", "--epochs", "1", "--out", "r"]) == 0
    np.savez("own.npz", x=rng.random((40, 3, 2)), y=np.arange(40) % 2)
    capsys.readouterr()
    assert main(["eval", "r"]) == 2
    assert "own.npz has changed since the run began" in capsys.readouterr().err
    assert main(["eval", "r", "--data", "own.npz"]) == 0
