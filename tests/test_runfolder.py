"""Run folders: TOML and JSON as they are read back, replacing whole files, what is refused and what is cleared."""

import json
import os
import tomllib

import pytest

from evsim.files import replacing, write_text
from evsim.runfolder import RunFolder, free_folder, read_toml, to_json, to_toml

CONFIG = {"task": "digits", "units": 8, "lr": 1e-05, "seeds": [0, 1], "data": 'C:\\a "b"\n\x7f\U0001f600', "on": True}


def a_run(path):
    """A run folder with all its files, and one that is not its own."""
    folder = RunFolder(path)
    folder.clear()
    folder.write_config({"task": "digits"})
    folder.write_rows([{"epoch": 1}])
    folder.write_summary({"test_accuracy": 1.0})
    folder.checkpoint.write_bytes(b"x")
    return folder


def everything(path):
    """Name -> bytes of all files below a folder."""
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def test_toml_reads_back():
    assert tomllib.loads(to_toml({**CONFIG, "clip": None})) == CONFIG


def test_toml_refuses_what_is_not_flat():
    with pytest.raises(TypeError, match="cannot be written as TOML"):
        to_toml({"a": {"b": 1}})


def test_json_has_no_nan():
    assert json.loads(to_json({"a": float("nan"), "b": [1.5, float("inf")]})) == {"a": None, "b": [1.5, None]}


def test_files_read_back(tmp_path):
    folder = a_run(tmp_path / "run")
    folder.write_config(CONFIG)
    assert folder.config() == CONFIG and "evsim" in read_toml(folder.path / "config.toml")
    assert folder.rows() == [{"epoch": 1}] and folder.summary() == {"test_accuracy": 1.0}
    folder.write_summary(None)
    folder.write_summary(None)
    assert folder.summary() is None and RunFolder(tmp_path / "none").rows() == []


def test_a_row_cut_short_is_left_out(tmp_path):
    folder = a_run(tmp_path / "run")
    (folder.path / "metrics.jsonl").write_text('{"epoch": 1}\n{"epo')
    assert folder.rows() == [{"epoch": 1}]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    file = tmp_path / "a.txt"
    write_text(file, "old")
    with pytest.raises(RuntimeError), replacing(file) as handle:
        handle.write(b"ne")
        raise RuntimeError
    assert everything(tmp_path) == {"a.txt": b"old"}
    write_text(file, "new")
    assert everything(tmp_path) == {"a.txt": b"new"}


def test_where_a_new_run_may_go(tmp_path):
    (tmp_path / "empty").mkdir()
    RunFolder(tmp_path / "empty").refuse()
    RunFolder(tmp_path / "none").refuse()
    folder = a_run(tmp_path / "run")
    folder.refuse(force=True)
    with pytest.raises(ValueError, match="holds a run already: give another --out, --force"):
        folder.refuse()


@pytest.mark.parametrize("name", ["notes.txt", "config.toml", "summary.json", "checkpoint.npz"])
def test_a_folder_of_something_else_is_refused_even_by_force(tmp_path, name):
    (tmp_path / name).write_text("units = 3\n")
    with pytest.raises(ValueError, match="no run, which are never replaced"):
        RunFolder(tmp_path).refuse(force=True)
    with pytest.raises(ValueError, match="is a file"):
        RunFolder(tmp_path / name).refuse(force=True)


def test_clearing_removes_the_files_of_a_run_and_nothing_else(tmp_path):
    folder = a_run(tmp_path)
    a_run(tmp_path / "seed-0")
    a_run(tmp_path / "seed-11")
    for name in ("notes.txt", "seed-0/notes.txt", "seed-x.txt"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "seed-7").mkdir()
    (tmp_path / "seed-7" / "config.toml").write_text("mine = 1\n")
    assert [member.path.name for member in folder.members()] == ["seed-0", "seed-11"]
    folder.clear()
    assert set(everything(tmp_path)) == {"notes.txt", "seed-0/notes.txt", "seed-x.txt", "seed-7/config.toml"}
    assert not (tmp_path / "seed-11").exists()


def test_no_run(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        RunFolder(tmp_path / "none").config()
    with pytest.raises(ValueError, match="not the folder of a run"):
        RunFolder(tmp_path).config()


def test_the_first_free_folder(tmp_path):
    assert free_folder("digits", tmp_path).path.name == "digits-1"
    (tmp_path / "digits-1").mkdir()
    os.symlink(tmp_path / "nowhere", tmp_path / "digits-2")
    assert free_folder("digits", tmp_path).path.name == "digits-3"


def test_toml_that_cannot_be_read(tmp_path):
    (tmp_path / "a.toml").write_text("a = [")
    with pytest.raises(ValueError, match="cannot be read as TOML"):
        read_toml(tmp_path / "a.toml")
    with pytest.raises(FileNotFoundError, match="give a TOML file"):
        read_toml(tmp_path / "b.toml")
