"""evsim export and evsim verify: from runs to files, what they say, and what bad input leads to."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from bundled import arrays_of, edited, written

import evsim
from evsim.cli import main
from evsim.exports import bundle


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with r, a run; two, one of two seeds; gone, one whose data have gone."""
    place, before = tmp_path_factory.mktemp("runs"), Path.cwd()
    os.chdir(place)
    y = np.arange(48) % 2
    x = np.random.default_rng(0).standard_normal((48, 5, 3)) + y[:, None, None]
    for name in ("own.npz", "gone.npz"):
        np.savez(name, x=x, y=y, lengths=np.arange(48) % 3 + 3)
    tiny = ["--units", "6", "--streams", "4", "--epochs", "1"]
    assert main(["train", "--data", "own.npz", *tiny, "--out", "r"]) == 0
    assert main(["train", "--data", "own.npz", *tiny, "--seeds", "0,1", "--out", "two"]) == 0
    assert main(["train", "--data", "gone.npz", *tiny, "--out", "gone"]) == 0
    Path("gone.npz").unlink()
    assert main(["export", "r", "--to", "bundle", "--out", "r.bundle"]) == 0
    Path("cut").write_bytes(Path("r.bundle").read_bytes()[:-100])
    Path("folder").mkdir()
    os.chdir(before)
    return place


def test_export_and_verify_a_run(here, capsys):
    capsys.readouterr()
    assert main(["export", "two/seed-1", "--to", "bundle", "--out", "s.bundle", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["path"] == "s.bundle" and found["bytes"] == Path("s.bundle").stat().st_size
    assert found["sequences"] == 4 and found["trace"].startswith("own, test sequences 0, ")
    net = evsim.load("two/seed-1/checkpoint.npz").net
    assert bundle.load("s.bundle").theta.tobytes() == net.theta.tobytes()
    assert main(["verify", "s.bundle"]) == 0
    told = capsys.readouterr().out
    assert f"4 sequences, {found['steps']} steps and {sum(found['events_per_layer'])} events agree" in told
    assert main(["verify", "s.bundle", "--json"]) == 0
    verified = json.loads(capsys.readouterr().out)
    assert verified["agrees"] is True and verified["events_per_layer"] == found["events_per_layer"]
    assert main(["export", "r", "--to", "bundle", "--out", "s.bundle", "--force"]) == 0
    assert Path("s.bundle").read_bytes() == Path("r.bundle").read_bytes()


def test_a_bare_checkpoint_and_a_bundle_go_by_drawn_inputs(here, capsys):
    for what in ("gone/checkpoint.npz", "r.bundle"):
        capsys.readouterr()
        assert main(["export", what, "--to", "bundle", "--out", "c.bundle", "--force", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["trace"].startswith("random: ")
        assert main(["verify", "c.bundle"]) == 0


def test_a_bundle_is_evaluated_as_its_run_is(here, capsys):
    found = []
    for what in ("r", "r.bundle"):
        capsys.readouterr()
        assert main(["eval", what, "--data", "own.npz", "--split", "test", "--json"]) == 0
        found.append({k: v for k, v in json.loads(capsys.readouterr().out).items() if k != "run"})
    assert found[0] == found[1] and found[0]["activity"] > 0
    np.savez("new.npz", x=np.ones((2, 4, 3)))
    for what in ("r", "r.bundle"):
        assert main(["predict", what, "--data", "new.npz", "--out", f"{what}.said", "--force"]) == 0
    one, other = (arrays_of(f"{what}.said")["predictions"] for what in ("r", "r.bundle"))
    assert one.tolist() == other.tolist() and one.shape == (2,)


def test_a_difference_is_exit_code_1_and_said(here, capsys):
    events = arrays_of("r.bundle")["trace.events.0"].copy()
    t, i = np.argwhere(events != 0)[0]
    events[t, i] = 0
    edited("r.bundle", trace__events__0=events)
    capsys.readouterr()
    assert main(["verify", "edited.bundle", "--json"]) == 1
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert found["agrees"] is False and found["difference"]["unit"] == i and found["difference"]["recorded"] == 0
    last = shown.err.splitlines()[-1]
    assert last.startswith("evsim: edited.bundle does not agree with its record: at sequence 0, step ")
    assert f"layer 0, unit {i} it is 0 on record" in last


def test_what_was_not_tried_and_what_rounding_decides_is_said(tmp_path, capsys):
    layers = [evsim.LIF(3, threshold=1e9), evsim.LIF(2, threshold=0.5)]
    net = evsim.Network(2, layers, evsim.Readout(1), seed=0)
    net.load_parameters({**net.parameters(), "layers.1.bias": np.full((1, 2), 0.5, np.float32)})
    path = written(net, tmp_path / "a")
    capsys.readouterr()
    assert main(["verify", str(path)]) == 0
    told = capsys.readouterr().out
    assert "no event was on record in layer 0: nothing of it was tried" in told and "threshold" not in told
    lower = np.full(2, np.nextafter(np.float32(0.5), np.float32(0)))  # the first step's 0.5 is above it
    assert main(["verify", str(edited(path, layers__1__threshold=lower))]) == 0
    assert "events differ where the state is within 1e-06 of its threshold" in capsys.readouterr().out


def test_lists_say_what_a_bundle_is(capsys):
    assert main(["list", "exports", "--json"]) == 0
    (row,) = [r for r in json.loads(capsys.readouterr().out.splitlines()[-1])["exports"] if r["name"] == "bundle"]
    assert "evsim verify" in row["what"]


BAD = {
    "no run": (["export", "none", "--to", "bundle", "--out", "o"], "does not exist"),
    "several seeds": (["export", "two", "--to", "bundle", "--out", "o"], "name one of two/seed-0, two/seed-1"),
    "unknown": (["export", "r", "--to", "bundel", "--out", "o"], "did you mean 'bundle'"),
    "there already": (["export", "r", "--to", "bundle", "--out", "r.bundle"], "exists already"),
    "a folder": (["export", "r", "--to", "bundle", "--out", "folder", "--force"], "is a folder"),
    "nowhere": (["export", "r", "--to", "bundle", "--out", "no/o"], "does not exist: make it first"),
    "no name": (["export", "r", "--out", "o"], "--to"),
    "no place": (["export", "r", "--to", "bundle"], "--out"),
    "bits": (["export", "r", "--to", "bundle", "--out", "o", "--bits", "8"], "--bits means nothing to"),
    "learn": (["export", "r", "--to", "bundle", "--out", "o", "--learn"], "--learn means nothing to"),
    "custom": (["export", "r", "--to", "bundle", "--out", "o", "--allow-custom"], "--allow-custom means nothing to"),
    "data gone": (["export", "gone", "--to", "bundle", "--out", "o"], "or give gone/checkpoint.npz"),
    "no checkpoint": (["export", "own.npz", "--to", "bundle", "--out", "o"], "cannot be read as a checkpoint"),
    "damaged": (["export", "cut", "--to", "bundle", "--out", "o"], "cannot be read"),
    "verify nothing": (["verify", "none"], "does not exist"),
    "verify damage": (["verify", "cut"], "cannot be read as a bundle"),
    "verify another's": (["verify", "r/checkpoint.npz"], "is of kind 'evsim checkpoint'"),
    "verify a run": (["verify", "r"], "is a folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_changes_nothing(case, here, capsys):
    before = {p: p.read_bytes() for p in sorted(here.rglob("*")) if p.is_file()}
    argv, told = BAD[case]
    capsys.readouterr()
    assert main(argv) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("evsim: ") and shown.err.count("\n") == 1 and told in shown.err and shown.out == ""
    assert {p: p.read_bytes() for p in sorted(here.rglob("*")) if p.is_file()} == before


def test_a_torch_model_is_refused(here, capsys):
    pytest.importorskip("torch")
    tiny = ["--units", "4", "--streams", "4", "--epochs", "1", "--backend", "torch", "--learner", "bptt"]
    assert main(["train", "--data", "own.npz", *tiny, "--out", "t"]) == 0
    capsys.readouterr()
    assert main(["export", "t", "--to", "bundle", "--out", "o"]) == 2
    assert "train one with --backend numba" in capsys.readouterr().err
