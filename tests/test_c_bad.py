"""evsim export --to c from the command line: what it writes, and what bad input leads to."""

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from compiled import compile, needs_gcc, run

import evsim
from evsim.cli import main
from evsim.exports import c


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with r, a run; big.npz, a checkpoint whose weights no scale holds; there, with files of others."""
    place, before = tmp_path_factory.mktemp("runs"), Path.cwd()
    os.chdir(place)
    y = np.arange(48) % 2
    x = np.random.default_rng(0).standard_normal((48, 5, 3)) + y[:, None, None]
    np.savez("own.npz", x=x, y=y, lengths=np.arange(48) % 3 + 3)
    tiny = ["--units", "6", "--streams", "4", "--epochs", "1"]
    assert main(["train", "--data", "own.npz", *tiny, "--out", "r"]) == 0
    net = evsim.load("r/checkpoint.npz").net
    values = net.parameters()
    values["layers.0.weight_in"] *= np.float32(1e25)
    net.load_parameters(values)
    evsim.save("big.npz", net)
    Path("there").mkdir()
    Path("there/mine.txt").write_text("mine")
    Path("there/model.c").write_text("old")
    os.chdir(before)
    return place


FILES = ["MEMORY.md", "Makefile", "cortex_m3.c", "cortex_m3.ld", "memory.json", "net.c", "net.h", "test_main.c"]


@needs_gcc
@pytest.mark.parametrize("arithmetic", [[], ["--bits", "8"], ["--bits", "4", "--state-bits", "32"]], ids=str)
def test_export_a_run(here, capsys, arithmetic, tmp_path):
    capsys.readouterr()
    out = str(tmp_path / "c")
    assert main(["export", "r", "--to", "c", "--out", out, "--name", "net", *arithmetic, "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert sorted(path.name for path in Path(out).iterdir()) == FILES == sorted(found["files"])
    assert found["bytes"] == sum(path.stat().st_size for path in Path(out).iterdir())
    assert found["trace"].startswith("own, test sequences 0, ")
    code, text = run(compile(out, sources=("net.c", "test_main.c")))
    assert code == 0 and ("random: 1000 steps" in text) == bool(arithmetic)
    memory = json.loads(Path(out, "memory.json").read_text())
    assert 0 <= memory["ram_bytes"] - sum(memory["state"].values()) < 16  # padding
    assert memory["flash_bytes"] == sum(memory["tables"].values()) and memory["digest"] == found["digest"]
    assert f"0x{found['digest']}u" in Path(out, "net.h").read_text()
    told = Path(out, "MEMORY.md").read_text()
    assert f"{memory['flash_bytes']:,} bytes" in told and f"{memory['ram_bytes']:,} bytes" in told
    assert memory["operations_per_step"] <= memory["worst_operations_per_step"]


def test_the_same_run_gives_the_same_bytes(here, tmp_path):
    for name in ("a", "b"):
        assert main(["export", "r", "--to", "c", "--out", str(tmp_path / name), "--bits", "16"]) == 0
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_with_force_files_of_others_survive(here, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "model.c").write_text("old")
    assert main(["export", "r", "--to", "c", "--out", str(tmp_path), "--force"]) == 0
    assert (tmp_path / "mine.txt").read_text() == "mine" and "evsim" in (tmp_path / "model.c").read_text()


def case(*arguments, out="o", run="r"):
    return ["export", run, "--to", "c", "--out", out, *arguments]


BAD = {
    "bits": (case("--bits", "3"), "bits=3"),
    "bits 32": (case("--bits", "32"), "bits=32"),
    "no bits": (case("--bits", "0"), "bits=0"),
    "state bits": (case("--bits", "8", "--state-bits", "8"), "state_bits=8"),
    "no state bits": (case("--bits", "8", "--state-bits", "0"), "state_bits=0"),
    "state bits alone": (case("--state-bits", "32"), "--state-bits is of fixed point: give --bits too"),
    "too large": (case("--bits", "8", run="big.npz"), "bring the parameters into range"),
    "there": (case(out="there"), "the folder there exists already: give another name, or --force"),
    "a file": (case(out="own.npz"), "own.npz is a file"),
    "a file, forced": (case("--force", out="own.npz"), "own.npz is a file"),
    "nowhere": (case(out="no/o"), "the folder no does not exist: make it first"),
    "custom": (case("--allow-custom"), "--allow-custom means nothing to"),
    **{f"name {name!r}": (case(f"--name={name}"), f"name={name!r} is no name that C can use")
       for name in ("7up", "int", "a-b", "n\u00e9", "", "../x", "test_main")},
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_writes_nothing(name, here, capsys):
    before = {path: path.read_bytes() for path in sorted(here.rglob("*")) if path.is_file()}
    argv, told = BAD[name]
    capsys.readouterr()
    assert main(argv) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("evsim: ") and shown.err.count("\n") == 1 and shown.out == ""
    assert re.sub(r"\s+", " ", told) in shown.err
    assert {path: path.read_bytes() for path in sorted(here.rglob("*")) if path.is_file()} == before
    assert not (here / "o").exists()


def test_a_torch_model_is_refused(here, capsys):
    pytest.importorskip("torch")
    tiny = ["--units", "4", "--streams", "4", "--epochs", "1", "--backend", "torch", "--learner", "bptt"]
    assert main(["train", "--data", "own.npz", *tiny, "--out", "t"]) == 0
    capsys.readouterr()
    assert main(case(run="t")) == 2
    assert "train one with --backend numba" in capsys.readouterr().err and not Path("o").exists()


def test_what_float32_does_not_hold(tmp_path):
    net = evsim.Network(2, [evsim.LIF(3)], evsim.Readout(1), seed=0, dtype="float64")
    values = net.parameters()
    values["readout.bias"][0] = 1e300
    net.load_parameters(values)
    with pytest.raises(ValueError, match="readout"):
        c.export(SimpleNamespace(net=net, task=None), tmp_path / "c")
    assert not (tmp_path / "c").exists()
