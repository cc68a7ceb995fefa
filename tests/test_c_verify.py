"""evsim verify on a folder of C: what it says of a test that is mute, has no end, or is too large for the Cortex-M3."""

import shutil
from types import SimpleNamespace

import pytest
from bundled import network

from evsim.cli import main
from evsim.exports import c, run_c

TEST = "test:\n\t@{}\nm3:\n\t@{}\n"
GOOD = "echo recorded: 3 steps, 2 events agree"


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A function that writes a folder whose Makefile does that on the host and, if it is given, on the Cortex-M3."""
    if not all(shutil.which(tool) for tool in run_c.HOST):
        pytest.skip("needs make and cc")

    def write(host, m3=None):
        monkeypatch.setattr(run_c, "M3", ("make",) if m3 else ("make", "no-such-tool"))
        for name in ("test_main.c", "memory.json"):
            (tmp_path / name).write_text("")
        (tmp_path / "Makefile").write_text(TEST.format(host, m3 or "false"))
        return tmp_path

    return write


def test_what_agrees(made):
    found = run_c.verify(made(GOOD, GOOD))
    assert found["agrees"] and found["places"] == ["host", "Cortex-M3"] and not found["skipped"]
    assert (found["steps"], found["events"], found["hash"], found["updates"]) == (3, 2, None, None)


def test_a_test_that_says_nothing_proves_nothing(made, capsys):
    assert main(["verify", str(made("true"))]) == 1
    shown = capsys.readouterr().err
    assert "does not agree with its record: on the host: its test is mute" in shown and shown.count("\n") == 1


def test_a_test_without_end_is_ended(made, monkeypatch):
    monkeypatch.setattr(run_c, "PATIENCE", 0.2)
    found = run_c.verify(made("sleep 20 & sleep 20"))
    assert not found["agrees"] and "on the host: it has no end" in found["difference"]


@pytest.mark.parametrize(
    "linker", ["section `.bss' will not fit in region `RAM'", "region `FLASH' overflowed by 88 bytes"]
)
def test_what_is_too_large_for_the_cortex_m3_is_not_tried_there(made, capsys, linker):
    assert main(["verify", str(made(GOOD, f'echo "{linker}" | sed s/x/x/ >&2; false'.replace("`", "'")))]) == 0
    assert "not tried on a Cortex-M3: it does not fit the memory of QEMU's machine" in capsys.readouterr().out
    assert main(["verify", str(made(f'echo "{linker}"; false'.replace("`", "'")))]) == 1


def test_missing_tools_are_named(made, capsys):
    assert main(["verify", str(made(GOOD))]) == 0
    assert "not tried on a Cortex-M3: no-such-tool cannot be found" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "options", "called"),
    [
        ("lif", {}, ["arithmetic of float32"]), ("egru", {}, ["expf", "tanhf", "arithmetic of float32"]),
        ("lif", {"learn": True}, ["expf", "logf", "sqrtf", "arithmetic of float32"]), ("egru", {"bits": 8}, []),
        ("lif", {"bits": 8, "learn": True}, ["a division of 64 bits"]),
    ],
    ids=str,
)  # fmt: skip
def test_the_memory_report_says_what_is_called(kind, options, called, tmp_path):
    trained = SimpleNamespace(net=network([kind]), settings={}, task=None, loss="cross_entropy")
    c.export(trained, tmp_path / "c", vectors=1, **options)
    text = " ".join((tmp_path / "c" / "MEMORY.md").read_text().split())
    assert all(one in text.split("Called from a library: ")[1].split(".")[0] for one in called)
    assert ("The stack does not count" in text) == bool(called)
    assert ("Nothing is called but what stands in the file." in text) == (not called)


@pytest.mark.parametrize("options", [{"bits": 8, "learn": True}, {"learn": True}], ids=str)
def test_labels_are_made_sizes_explicitly(options, tmp_path):
    """Where a size has 16 bits, as on AVR, the conversion would be a warning, and so an error."""
    trained = SimpleNamespace(net=network(["lif"]), settings={}, task=None, loss="cross_entropy")
    c.export(trained, tmp_path / "c", vectors=1, **options)
    assert "model_learn_class(&state, (size_t)" in (tmp_path / "c" / "test_main.c").read_text()
