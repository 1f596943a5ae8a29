# SPDX-License-Identifier: Apache-2.0
"""The rules of the house that no linter knows: openings, sizes, and which modules are pure."""

from __future__ import annotations

import ast
import builtins
import configparser
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("ovn_ipsec", "controller", "northd_ext")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
LINES_MAX = 500


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def dotted(path: Path) -> str:
    return name(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def contract_pure() -> list[str]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config["importlinter:contract:pure"]["source_modules"].split()


def gate_pure() -> list[str]:
    found = re.search(r"^PURE = (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert found is not None
    return found[1].split(",")


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_opens_with_its_licence_and_its_purpose(path: Path):
    """The first line is the SPDX line, and a docstring follows."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# SPDX-License-Identifier: Apache-2.0\n")
    assert docstring(path)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_is_short_enough_to_be_read(path: Path):
    """Nobody scrolls past something unrelated."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LINES_MAX


def test_what_is_held_pure_is_what_must_be_covered():
    """Import contract and coverage gate speak of the same modules."""
    contract, gate = contract_pure(), gate_pure()
    for path in MODULES:
        held = any(dotted(path) == m or dotted(path).startswith(m + ".") for m in contract)
        covered = any(fnmatch(name(path), pattern) for pattern in gate)
        assert held == covered, name(path)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_that_says_it_is_pure_is_held_to_it(path: Path):
    """The laboratory alone is not: it is no part of what runs on a chassis."""
    says = docstring(path).startswith("Pure: ") and not name(path).startswith("ovn_ipsec/lab/")
    assert not says or any(fnmatch(name(path), pattern) for pattern in gate_pure())


@pytest.mark.parametrize("module", contract_pure())
def test_a_module_held_pure_exists(module: str):
    """A renamed module does not slip out of the contract."""
    path = ROOT / module.replace(".", "/")
    assert path.is_dir() or path.with_suffix(".py").is_file()


SET_OPERATORS = (ast.BitOr, ast.BitAnd, ast.BitXor, ast.Sub)
MADE_OF_ALL = ("set", "frozenset", "sorted", "list", "tuple", "dict")


def repeated(tree: ast.AST) -> list[str]:
    """What a comprehension makes anew for each of its elements, though it is the same each time."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            continue
        bound = {name for each in node.generators for name in names_of(each.target)}
        values = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        each_time = [*values, *(test for each in node.generators for test in each.ifs)]
        each_time += [each.iter for each in node.generators[1:]]
        parts = (part for whole in each_time for part in ast.walk(whole) if is_made_of_all(part))
        found.extend(ast.unparse(part) for part in parts if not bound & names_of(part))
    return found


def names_of(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def is_made_of_all(node: ast.AST) -> bool:
    """Whether this builds a collection from variables; constants and types are upper case."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        given = {name for each in node.args for name in names_of(each)}
        return node.func.id in MADE_OF_ALL and bool(given)
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, SET_OPERATORS)):
        return False
    both = names_of(node)
    return len(both) == 2 and all(each.islower() for each in both) and not both & set(dir(builtins))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_comprehension_makes_nothing_of_all_for_each_element(path: Path):
    """Work grows with the elements and not with their square."""
    assert repeated(ast.parse(path.read_text(encoding="utf-8"))) == []


def test_what_is_made_for_each_element_is_found():
    text = "[one for one in states if one not in known | pending and one in sorted(known)]"
    assert repeated(ast.parse(text)) == ["known | pending", "sorted(known)"]
    assert repeated(ast.parse("{one: first - one for one in sorted(known) if one & ALL}")) == []
