"""C from a run on digits, as a user takes it: verified, with its accuracy on record, tuned before, and refused."""

import json
import re
import shutil
from pathlib import Path

import pytest
from compiled import needs_gcc

from evsim.cli import main
from evsim.exports import run_c

pytestmark = needs_gcc


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a run on digits, and C of it with all of its test images on record."""
    place = tmp_path_factory.mktemp("digits")
    tiny = ["--units", "12", "--epochs", "2", "--threads", "1", "--out", str(place / "run")]
    assert main(["train", "digits", *tiny]) == 0
    assert main(["export", str(place / "run"), "--to", "c", "--bits", "8", "--vectors", "1000", "--out",
                 str(place / "all")]) == 0  # fmt: skip
    return place


def last_line(capsys, *arguments):
    code = main([*map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out.splitlines()[-1]) if out else None, err


def test_the_accuracy_on_record_is_the_golden_models(place, capsys):
    memory = json.loads((place / "all" / "memory.json").read_text())
    _, found, _ = last_line(capsys, "quantise", place / "run", "--bits", "8")
    assert memory["accuracy_on_record"] == found["rows"][1]["accuracy"] > 0.2
    assert memory["steps"] == 540 * 8 and memory["trace"] == "digits, 540 test sequences"
    assert memory["flash_bytes"] == found["rows"][1]["bytes"]["flash"]
    assert memory["ram_bytes"] == found["rows"][1]["bytes"]["ram"]


def test_verifying(place, capsys):
    code, found, _ = last_line(capsys, "verify", place / "all")
    assert code == 0 and found["agrees"] and found["steps"] == 4320 and found["events"] > 1000
    assert found["random_steps"] == 1000 and found["updates"] is None
    m3 = all(shutil.which(tool) for tool in run_c.M3)
    assert found["places"] == ["host", *["Cortex-M3"] * m3] and bool(found["skipped"]) != m3
    assert main(["verify", str(place / "all")]) == 0
    assert "4,320 steps" in capsys.readouterr().out


@pytest.mark.parametrize("pattern, change, told", [
    (r"(layer0_bias\[\d+\] = \{\s+)(-?\d+)", r"\g<1>30000", "FAILED: sequence 0"),
    (r"return model_OK", "return", "error"),
    (r"to\[0\] \+= ", "to[0] -= ", "FAILED"),
])  # fmt: skip
def test_what_does_not_agree(place, capsys, pattern, change, told):
    other = place / "other"
    shutil.copytree(place / "all", other, dirs_exist_ok=True)
    (other / "test_main").unlink(missing_ok=True)
    text, count = re.subn(pattern, change, (place / "all" / "model.c").read_text(), flags=re.IGNORECASE)
    assert count
    (other / "model.c").write_text(text)
    code, found, err = last_line(capsys, "verify", other)
    assert code == 1 and not found["agrees"] and told in found["difference"]
    assert "does not agree with its record: on the host" in err and err.count("\n") == 1


def test_without_a_compiler(place, capsys, monkeypatch):
    monkeypatch.setattr(run_c.shutil, "which", lambda tool: None)
    assert main(["verify", str(place / "all")]) == 2
    assert "make and cc cannot be found: install a C compiler and make" in capsys.readouterr().err


def test_tuned_before(place, capsys):
    run, out = place / "run", place / "tuned"
    code, found, _ = last_line(capsys, "export", run, "--to", "c", "--bits", "4", "--tune", "1", "--out", out)
    assert code == 0 and Path(out, "model.c").read_text() != (place / "all" / "model.c").read_text()
    code, plain, _ = last_line(capsys, "export", run, "--to", "c", "--bits", "4", "--out", place / "four")
    assert plain["digest"] != found["digest"]


def test_what_it_would_take_is_told_before(place, capsys):
    run, out = place / "run", place / "later"
    given = "export", run, "--to", "c", "--learn", "--out", out
    code, told, _ = last_line(capsys, *given, "--dry-run")
    assert code == 0 and not out.exists() and sum(told["learner"]["ram"].values()) == told["ram_bytes"]
    assert last_line(capsys, *given)[1] == told and out.is_dir()


BAD = {
    "tune without bits": (["--tune", "1"], "--tune is of fixed point: give --bits too"),
    "tune 0": (["--bits", "4", "--tune", "0"], "epochs=0"),
    "no vectors": (["--vectors", "0"], "vectors=0"),
    "another method in fixed point": (["--bits", "8", "--method", "exact"], "the readout alone learns"),
    "too little memory": (["--bits", "8", "--learn", "--ram", "100"], "but --ram allows 100"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(place, capsys, case):
    options, told = BAD[case]
    assert main(["export", str(place / "run"), "--to", "c", "--out", str(place / "none"), *options]) == 2
    err = capsys.readouterr().err
    assert told in err and err.count("\n") == 1
    assert not (place / "none").exists()
