"""The package as a whole: public names, cost of importing, which way imports run, rules of the code."""

import ast
import configparser
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import evsim

ROOT = Path(evsim.__file__).resolve().parent.parent
FOLDERS = ("evsim", "models", "examples", "tests")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
APART = ("evsim.cells", "evsim.learners", "evsim.tasks")  # one file each, which no other of them reads
NAMED = (*APART, "evsim.exports")
HEAVY = ("numpy", "scipy", "numba", "torch")


def name_of(path):
    """Return the dotted module name of a file below ROOT; models/ is evsim.models."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[0] == "models":
        parts.insert(0, "evsim")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCE = {name_of(path): path for path in FILES}
OURS = [name for name in SOURCE if name.split(".")[0] == "evsim"]
CORE = [name for name in OURS if not name.startswith("evsim.models")]


def imports_of(name):
    """Return the dotted names that a module imports when it runs; for `from a import b` both a and a.b."""
    path = SOURCE[name]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for branch in node.body
        for inner in ast.walk(branch)
    }
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], base]).rstrip(".")
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def inside(names, package):
    """Return those of `names` that are `package` or lie in it."""
    return sorted(name for name in names if name == package or name.startswith(package + "."))


def loaded_after(code):
    """Run `code` in a fresh interpreter; return which of the heavy packages it loaded."""
    told = f"{code}\nimport json, sys\nprint(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_all_is_sorted_and_complete():
    assert evsim.__all__ == sorted(evsim._MODULE_OF)
    assert set(evsim.__all__) <= set(dir(evsim))


def test_type_checkers_see_the_same_names():
    tree = ast.parse(SOURCE["evsim"].read_text(encoding="utf-8"))
    (block,) = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert {alias.name: node.module for node in imports for alias in node.names} == evsim._MODULE_OF


@pytest.mark.parametrize("name", evsim.__all__)
def test_public_name_resolves_and_is_documented(name):
    value = getattr(evsim, name)
    assert value is getattr(importlib.import_module(evsim._MODULE_OF[name]), name)
    assert value.__doc__ and not value.__doc__.startswith(f"{name}(")  # a dataclass makes up one like that


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'Rtrl'; it offers .*RTRL"):
        evsim.Rtrl  # noqa: B018


def test_importing_evsim_loads_nothing_heavy():
    assert loaded_after("import evsim; evsim.__version__; dir(evsim); evsim.names('task')") == []
    assert loaded_after("import evsim.optim") != []  # the look at sys.modules does tell


def test_help_loads_neither_numba_nor_torch():
    code = (
        "import runpy, sys\nsys.argv = ['evsim', '--help']\n"
        "try: runpy.run_module('evsim', run_name='__main__')\n"
        "except SystemExit as done: assert not done.code, done.code"
    )
    assert not {"numba", "torch"} & set(loaded_after(code))


def test_models_is_found_beside_the_package():
    assert importlib.import_module("evsim.models").__doc__


def test_setup_cfg_lists_every_package():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = config["options"]["packages"].split()
    assert sorted(listed) == sorted(name for name in OURS if SOURCE[name].name == "__init__.py")
    assert config["options"]["package_dir"].split() == ["evsim.models", "=", "models"]


def test_version_is_stated_once():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == evsim.__version__


def test_imports_are_read_as_they_should_be():
    """The rules below can fail: the reader sees what is there."""
    assert {"evsim.task", "evsim.task.Data", "numpy"} <= imports_of("evsim.tasks.spiral")
    assert {"evsim.check", "evsim.jit"} <= imports_of("evsim.optim")
    assert "evsim.network" not in imports_of("evsim")  # for type checkers only


@pytest.mark.parametrize("name", CORE)
def test_the_core_imports_neither_torch_nor_models(name):
    for package in ("torch", "torchvision", "norse", "evsim.models", "models"):
        assert not inside(imports_of(name), package)


@pytest.mark.parametrize("name", [name for name in SOURCE if name.startswith("examples.")])
def test_examples_do_not_import_torch(name):
    assert not inside(imports_of(name), "torch")


def test_numba_is_imported_in_one_place():
    """So every kernel is compiled in the same way, by evsim.jit.jit; beside it, where machine code is laid down."""
    assert [name for name in OURS if inside(imports_of(name), "numba")] == ["evsim.jit", "evsim.vector"]


@pytest.mark.parametrize("inner", NAMED)
def test_siblings_never_import_one_another(inner):
    for name in inside(OURS, inner):
        if inner in APART:
            assert set(inside(imports_of(name), inner)) <= {inner}, name
        for other in set(NAMED) - {inner}:
            assert not inside(imports_of(name), other), name


def test_the_registry_imports_nothing_of_ours():
    assert not inside(imports_of("evsim.registry"), "evsim")


@pytest.mark.parametrize("name", [name for name in CORE if not name.startswith(NAMED)])
def test_what_the_registry_names_is_not_imported_from_below(name):
    for package in NAMED:
        assert not inside(imports_of(name), package)
    assert name == "evsim.__main__" or not inside(imports_of(name), "evsim.cli")


def test_imports_run_one_way():
    waiting = {name: (imports_of(name) & set(SOURCE)) - {name, "evsim"} for name in OURS}
    while ready := [name for name, needs in waiting.items() if not needs & set(waiting)]:
        for name in ready:
            del waiting[name]
    assert not waiting, f"these import one another: {', '.join(waiting)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_is_short_plain_and_says_what_it_is(path):
    text = path.read_text(encoding="utf-8")
    assert text.isascii()
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text))


def test_every_kernel_is_documented():
    for name in OURS:
        for node in ast.walk(ast.parse(SOURCE[name].read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and "jit" in map(ast.unparse, node.decorator_list):
                assert ast.get_docstring(node), f"{name}.{node.name}"
