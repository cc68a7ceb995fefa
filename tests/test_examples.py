"""Every example runs, at a small size, and so does the README's Python."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import evsim

ROOT = Path(__file__).resolve().parent.parent
SMALL = {
    "first_run.py": ("--epochs", "1", "--units", "8", "--threads", "1", "--out", "picture.png"),
    "rtrl_equals_bptt.py": ("--steps", "9"),
    "bench_stack.py": ("--quick",),
    "cost_against_activity.py": ("--quick", "--out", "picture.png"),
    "error_against_cost.py": ("--quick", "--out", "picture.png"),
    "memory_against_time.py": ("--quick", "--out", "picture.png"),
    "memup_table.py": ("--quick", "--workers", "1"),
    "accuracy_against_length.py": ("--quick", "--out", "picture.png"),
    "dni_table.py": ("--quick", "--workers", "1"),
    "dni_curves.py": ("--quick", "--workers", "1", "--out", "picture.png"),
    "sparsity_table.py": ("--quick", "--density", "0.2", "--start", "0.5"),
    "spiral_paper.py": ("--quick", "--workers", "1", "--out", "picture.png"),
    "spiral_savings.py": ("--quick", "--workers", "1"),
    "bits_front.py": ("--quick", "--out", "picture.png"),
    "deploy_digits.py": ("--quick", "--folder", "deploy"),
    "digits_front.py": ("--quick", "--workers", "1", "--out", "picture.png"),
    "online_text.py": ("--characters", "400", "--units", "8", "--report", "200", "--out", "picture.png"),
}
SAYS = {
    "first_run.py": "test accuracy",
    "rtrl_equals_bptt.py": "layers.1.threshold",
    "bench_stack.py": "cubalif",
    "cost_against_activity.py": "dense/ours",
    "error_against_cost.py": "e-prop, adaptive",
    "memory_against_time.py": "block 256",
    "memup_table.py": "TBPTT",
    "accuracy_against_length.py": "exact RTRL",
    "dni_table.py": "RTRL, exact, EGRU",
    "dni_curves.py": "alternating, real first",
    "sparsity_table.py": "ERK, pruned from 0.5 by magnitude",
    "spiral_paper.py": "units always speak",
    "bits_front.py": "4 bits, tuned",
    "deploy_digits.py": "EGRU, C, 8 bits, readout learns",
    "digits_front.py": "not asked to be quiet",
    "spiral_savings.py": "16 units: to a loss below 0.1",
    "online_text.py": "bits per character of the test text",
}


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_an_example_runs_and_is_short(path, tmp_path):
    done = subprocess.run(
        [sys.executable, path, *SMALL[path.name]], cwd=tmp_path, capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0, done.stderr
    assert SAYS[path.name] in done.stdout
    assert len(path.read_text().splitlines()) <= 90
    if "--out" in SMALL[path.name]:
        assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def readme():
    """The pieces of Python in the README."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_the_first_lines_of_the_readme_run():
    code = readme()[0]
    shortened = code.replace("1000", "20")
    names = {}
    exec(shortened, names)
    assert names["out"].shape == (10,)
    assert names["learner"].ops["steps"] == 20


def test_the_networks_of_the_readme_can_be_built():
    names = {"evsim": evsim}
    exec(readme()[2], names)
    assert [layer.kind for layer in names["net"].layers] == ["alif", "lif"]
    assert names["net"].parameters()["layers.1.beta"].shape == (32,)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # norse, as it is imported
def test_the_readme_takes_networks_from_elsewhere():
    for name in ("torch", "norse.torch", "snntorch"):
        pytest.importorskip(name)
    names = {name: sys.modules[name] for name in ("torch", "norse", "snntorch")}
    exec(readme()[3], names)
    assert (names["net"].n_in, names["net"].n_out) == (32, 10)


def test_the_comparison_on_the_page_about_learners_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "learners.md").read_text(), re.DOTALL)
    exec(code, {})
    word, error, other, cosine = capsys.readouterr().out.split()
    assert (word, other) == ("error", "cosine")
    assert 0 < float(error) < 1 and 0 < float(cosine) < 1


def test_the_page_about_texts_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "text.md").read_text(), re.DOTALL)
    exec(code, {})
    bits, *text = capsys.readouterr().out.splitlines()
    assert 1 < float(bits) < 6.7 and len("".join(text)) > 20


def test_the_page_about_sparsity_runs():
    names = {}
    for code in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "sparsity.md").read_text(), re.DOTALL):
        exec(code, names)
    net = names["net"]
    kept = names["masks"]["layers.0.weight_rec"].any(0)
    assert names["trainer"].net is net and (net.masks()["layers.0.weight_rec"] == kept).all()


@pytest.mark.parametrize("page", ["memup.md", "dni.md", "torch.md"])
def test_the_pages_about_torch_run(page, capsys):
    pytest.importorskip("torch")
    names = {}
    for code in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL):
        shortened = code.replace("range(1, 1000)", "range(1, 20)").replace("epochs=10", "epochs=1")
        exec(shortened, names)
    if page == "torch.md":
        assert names["encoder"].weight.grad.abs().sum() > 0
        assert names["online"].parameter.grad.abs().sum() > 0
    else:
        said = {"memup.md": "memory_steps", "dni.md": "('synthetic', 6, 10)"}[page]
        assert said in capsys.readouterr().out


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
