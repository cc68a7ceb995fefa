"""Names and what they stand for."""

import re
import sys

import pytest

from evsim import registry

pytestmark = pytest.mark.nojit

KNOWN = [(kind, name) for kind in ("cell", "learner", "task", "export") for name in registry.names(kind)]


@pytest.fixture(autouse=True)
def tables_restored():
    kept = {kind: dict(table) for kind, table in registry._TABLES.items()}
    yield
    for kind, table in kept.items():
        registry._TABLES[kind].clear()
        registry._TABLES[kind].update(table)


@pytest.mark.parametrize(("kind", "name"), KNOWN)
def test_every_name_leads_somewhere(kind, name):
    found = registry.lookup(kind, name)
    assert callable(found) and found.__doc__


def test_register_and_lookup():
    registry.register("task", "my-task", "collections:OrderedDict")
    registry.register("task", "my-task", "collections:OrderedDict")
    assert "my-task" in registry.names("task")
    assert registry.lookup("task", "my-task") is __import__("collections").OrderedDict
    assert registry.names("task") == sorted(registry.names("task"))
    with pytest.raises(ValueError, match="already stands for collections:OrderedDict"):
        registry.register("task", "my-task", "collections:Counter")


@pytest.mark.parametrize("kind", ["cells", "", "x"])
def test_unknown_kind(kind):
    for call in (lambda: registry.names(kind), lambda: registry.lookup(kind, "a")):
        with pytest.raises(ValueError, match="choose one of cell, learner, task, export"):
            call()


def test_unknown_name_says_what_is_known_and_near():
    with pytest.raises(ValueError, match=r"task 'digit' is unknown: choose one of .* mean 'digits'\?"):
        registry.lookup("task", "digit")


@pytest.mark.parametrize("name", ["", "My", "two words", "-a", "a-", "a--b", "1a", "a_b", "a/b"])
def test_bad_names(name):
    with pytest.raises(ValueError, match="cannot be used"):
        registry.register("cell", name, "package.module:Thing")


@pytest.mark.parametrize("target", ["", "module", "module.T", ":Thing", "module:", "a b:C", ".a:B"])
def test_bad_targets(target):
    with pytest.raises(ValueError, match="package.module:attribute"):
        registry.register("cell", "mine", target)


def test_not_strings():
    with pytest.raises(TypeError, match="give a string"):
        registry.register("cell", "mine", object)  # type: ignore[arg-type]


def test_targets_that_do_not_exist():
    registry.register("cell", "a", "no_such_package.module:Thing")
    registry.register("cell", "b", "collections:NoSuchThing")
    with pytest.raises(ImportError, match="cell 'a' needs the module no_such_package.module"):
        registry.lookup("cell", "a")
    with pytest.raises(ImportError, match="collections has no NoSuchThing"):
        registry.lookup("cell", "b")


@pytest.mark.parametrize(("package", "extra"), [("sklearn", "data"), ("torch", "torch"), ("nir", "nir")])
def test_a_missing_package_comes_with_the_line_that_installs_it(monkeypatch, package, extra):
    monkeypatch.setitem(sys.modules, package, None)  # importing it now fails as if it were absent
    line = re.escape(f'this needs {package}, which is not installed: pip install -e ".[{extra}]" -c constraints.txt')
    with pytest.raises(ImportError, match=line):
        registry.load_optional(package, "this")
