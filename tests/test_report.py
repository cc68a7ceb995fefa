"""`evsim report` and `--profile`: the page, what it says of work and energy, and what is refused."""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from evsim.cli import main
from evsim.forms import form_joules
from evsim.joules import MODEL, energy, load_profile, profiles
from evsim.work import PARTS

pytest.importorskip("matplotlib")
TINY = ("--units", "4", "--epochs", "2", "--cell", "lif", "--learner", "rtrl", "--block", "1")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez("own.npz", x=rng.standard_normal((12, 6, 3)), y=np.arange(12) % 2)


def run(*argv, code=0):
    assert main([str(word) for word in argv]) == code


def page(path="r"):
    text = Path(path, "report.html").read_text(encoding="utf-8")
    seen = Seen()
    seen.feed(text)
    assert not seen.open, seen.open
    return text


class Seen(HTMLParser):
    """Which elements are open; none may ask for anything from elsewhere."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "img", "link", "iframe")
        assert not any(name in ("src", "href") for name, _ in attrs)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_report_of_a_run(capsys):
    run("train", "--data", "own.npz", *TINY, "--out", "r", "--json")
    shown = capsys.readouterr()
    summary = json.loads(shown.out.splitlines()[-1])
    assert "MACs/step" in shown.err and MODEL in shown.err and "joules per step" in shown.err
    run("report", "r")
    assert capsys.readouterr().out == "the report is in r/report.html\n"
    text = page()
    assert text.count("<svg") == 3 and MODEL in text
    found = energy(summary["ops"])
    assert found["joules_per_step"] == summary["joules_per_step"] > 0
    inference = energy(summary["inference_ops"])["joules_per_inference"]
    assert inference == summary["joules_per_inference"] < summary["joules_per_sample"]
    assert inference == pytest.approx(found["joules_per_inference"], rel=0.5) and form_joules(inference) in text
    assert summary["inference_ops"]["multiply_adds"] == summary["inference_ops"]["parts"]["forward"]["multiply_adds"]
    assert summary["ops"]["sequences"] == 2 * 12 or summary["ops"]["sequences"] > 12
    steps = summary["ops"]["steps"]
    for part in PARTS:
        assert form_joules(sum(found["parts"][part].values()) / steps) in text
        assert f"{summary['ops']['parts'][part]['multiply_adds'] / steps:,.0f}"[:3] in text
    assert all(word in text for word in ("layers.0", "readout", "dense RTRL", "dense BPTT", "phi rate", "Horowitz"))
    assert summary["macs_per_step"] == summary["ops"]["multiply_adds"] / steps
    rows = [json.loads(line) for line in Path("r/metrics.jsonl").read_text().splitlines()]
    assert all(row["macs_per_step"] > 0 for row in rows)
    run("report", "r", code=2)
    assert "--force" in capsys.readouterr().err
    run("report", "r", "--force", "--profile", "cortex-m4")
    assert "VADD.F32" in page() and form_joules(energy(summary["ops"], "cortex-m4")["joules_per_step"]) in page()


def test_the_first_of_several_seeds():
    run("train", "--data", "own.npz", *TINY, "--out", "r", "--seeds", "3,4")
    run("report", "r")
    text = page()
    assert all(f'<td>{word}</td><td class="n">' in text for word in ("3", "4", "median"))
    assert "What came out, seed 3" in text and "Energy" in text
    summary = json.loads(Path("r/summary.json").read_text())
    each = sorted(one["joules_per_step"] for one in summary["runs"])
    assert summary["joules_per_step"] == sum(each) / 2 and summary["profile"] == "cmos45-float32"


def test_names_are_escaped():
    name = "<b>&'.npz"
    Path("own.npz").rename(name)
    run("train", "--data", name, *TINY, "--out", "r")
    run("report", "r")
    assert "<b>" not in page() and "&lt;b&gt;&amp;" in page()


def test_a_profile_of_ones_own(capsys):
    text = (Path(sys.modules["evsim.joules"].FOLDER) / "cmos45-int8.toml").read_text(encoding="utf-8")
    Path("mine.toml").write_text(text.replace("add = 0.1", "add = 1e6"), encoding="utf-8")
    run("train", "--data", "own.npz", *TINY, "--out", "r", "--profile", "mine.toml", "--json")
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["config"]["profile"] == summary["profile"] == str(Path("mine.toml").resolve())
    assert summary["joules_per_step"] > 1e-6 * summary["macs_per_step"]
    run("train", "--resume", "r", "--epochs", "3", "--profile", "mine.toml")
    assert energy(json.loads(Path("r/summary.json").read_text())["ops"], load_profile("mine.toml"))["joules"] > 0
    run("train", "--resume", "r", "--epochs", "4", "--profile", "cmos45-int8", code=2)
    assert "contradicts" in capsys.readouterr().err


def test_a_run_of_before_there_were_profiles_goes_on():
    run("train", "--data", "own.npz", *TINY, "--out", "r")
    for file in (Path("r/config.toml"),):
        file.write_text(re.sub("profile = .*\n", "", file.read_text()))
    run("train", "--resume", "r", "--epochs", "3")
    assert json.loads(Path("r/summary.json").read_text())["profile"] == "cmos45-float32"


def test_lists(capsys):
    run("list", "profiles", "--json")
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["profiles"]
    assert [row["name"] for row in found] == profiles()


@pytest.mark.parametrize(("argv", "told"), [
    (["train", "spiral", "--profile", "cmos44-float32"], "did you mean 'cmos45-float32'"),
    (["train", "spiral", "--profile", "none.toml"], "none.toml does not exist"),
    (["train", "copy", "--learner", "memup", "--profile", "cortex-m4"], "belongs to the backend numba"),
    (["report", "none"], "none does not exist"),
    (["report", "."], "is not the folder of a run"),
])  # fmt: skip
def test_refusals(argv, told, capsys):
    run(*argv, code=2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and told in lines[0]


def test_unfinished_runs_and_no_matplotlib(capsys, monkeypatch):
    run("train", "--data", "own.npz", *TINY, "--out", "r")
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    run("report", "r", code=2)
    assert '".[plot]"' in capsys.readouterr().err and not Path("r/report.html").exists()
    Path("r/summary.json").unlink()
    run("report", "r", code=2)
    assert "evsim train --resume r" in capsys.readouterr().err
