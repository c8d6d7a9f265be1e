"""Every regular expression of the package takes time in proportion to its text, whatever the text.

The patterns are found in the source, so there is no list of them to keep; those that are put
together at run time are taken from a few runs.
"""

import ast
import importlib
import pkgutil
import re
import sys
from collections.abc import Callable, Collection, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

import gemma_edge
from gemma_edge.documents.document import Document, Page
from gemma_edge.engine.constraint import shortest_match
from gemma_edge.extraction.recipe import Recipe
from gemma_edge.extraction.recognition import Known, look
from gemma_edge.extraction.schema import parse_schema
from tests.pumping import find_blowup

# Functions of ``re`` and methods of a pattern, and how each goes through a text.
MODES = {
    "match": "match", "fullmatch": "fullmatch", "search": "search", "sub": "scan", "subn": "scan",
    "split": "scan", "findall": "scan", "finditer": "scan",
}  # fmt: skip
FLAGS_AT = {"compile": 1, "split": 3, "sub": 4, "subn": 4}  # their argument; else the third


class Found(NamedTuple):
    """A pattern in the source and all the ways in which it is used; ``pattern`` is None where it
    is put together at run time."""

    module: str
    call: ast.Call
    pattern: Any
    modes: frozenset[str]

    @property
    def place(self) -> str:
        return f"{self.module}:{self.call.lineno}"


@cache
def modules() -> dict[str, ModuleType]:
    names = [each.name for each in pkgutil.walk_packages(gemma_edge.__path__, "gemma_edge.")]
    return {name: importlib.import_module(name) for name in names if "__main__" not in name}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(Path(str(modules()[module].__file__)).read_text("utf-8"))


@cache
def found() -> tuple[Found, ...]:
    return tuple(each for module in modules() for each in patterns_in(module))


def patterns_in(module: str) -> Iterator[Found]:
    calls: dict[ast.Call, str] = {}  # of functions of ``re``: what is called on what they give
    unused = set()
    for node in ast.walk(tree_of(module)):
        match node:
            case ast.Expr(ast.Call() as call):
                unused.add(call)  # only compiled, to see whether it can be
            case ast.Attribute(ast.Call(ast.Attribute(ast.Name("re"), "compile")) as call, method):
                calls[call] = method
            case ast.Call(ast.Attribute(ast.Name("re"), method)) if method in MODES:
                calls[node] = method
            case ast.Call(ast.Attribute(ast.Name("re"), "compile")):
                calls.setdefault(node, "")
    for call in calls.keys() - unused:
        method = calls[call]
        modes = {MODES.get(method, "scan")} if method else uses(module, call)
        yield Found(module, call, evaluated(call, vars(modules()[module])), frozenset(modes))


class _Literal(ast.NodeTransformer):
    """``re.escape`` of anything is some letters."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        match node:
            case ast.Call(ast.Attribute(ast.Name("re"), "escape")):
                return ast.Constant("a-b")
        return node


def evaluated(call: ast.Call, names: dict[str, Any]) -> Any:
    assert isinstance(call.func, ast.Attribute)
    at = FLAGS_AT.get(call.func.attr, 2)
    flags = call.args[at : at + 1] + [each.value for each in call.keywords if each.arg == "flags"]
    try:
        spelled = [ast.unparse(_Literal().visit(each)) for each in (call.args[0], *flags)]
        said = [eval(each, dict(names)) for each in spelled]
    except NameError:
        return None
    return said[0] if isinstance(said[0], re.Pattern) else re.compile(*said)


def uses(module: str, call: ast.Call) -> set[str]:
    """How a compiled pattern is used: by the methods that are called on its name anywhere in the
    package; without a name, as its module uses what it does not name."""
    for node in tree_of(module).body:
        if isinstance(node, ast.Assign) and node.value is call:
            (name,) = node.targets
            assert isinstance(name, ast.Name)
            return uses_by_pattern()[getattr(modules()[module], name.id)]
    return unnamed_uses(module)


@cache
def uses_by_pattern() -> dict[Any, set[str]]:
    found: dict[Any, set[str]] = {}
    for module, loaded in modules().items():
        named = {name: each for name, each in vars(loaded).items() if isinstance(each, re.Pattern)}
        tree = tree_of(module)
        inside = {node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for name, mode in methods_in(tree):
            if name in named:
                found.setdefault(named[name], set()).add(mode)
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id in named and node not in inside:
                handed_on = unnamed_uses(module) if isinstance(node.ctx, ast.Load) else set()
                found.setdefault(named[node.id], set()).update(handed_on)
    return found


@cache
def unnamed_uses(module: str) -> set[str]:
    """The ways in which a module uses patterns that have no names of their own there; all ways
    where it shows none."""
    known = {name for name, each in vars(modules()[module]).items() if isinstance(each, re.Pattern)}
    methods = methods_in(tree_of(module), MODES.keys() - {"split"})  # texts have that too
    return {mode for name, mode in methods if name not in known | {"re"}} or {"scan"}


def methods_in(tree: ast.AST, methods: Collection[str] = MODES.keys()) -> Iterator[tuple[str, str]]:
    """Names, and how what they stand for goes through a text."""
    calls = {node.func: node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(ast.Name(name), method) if method in methods:
                from_a_place = node in calls and len(calls[node].args) > 1
                yield name, "scan" if from_a_place else MODES[method]


def is_linear(pattern: Any, modes: frozenset[str]) -> str:
    told = (f"{mode}: {text}" for mode in sorted(modes) if (text := find_blowup(pattern, mode)))
    return next(told, "")


@pytest.mark.parametrize("module", [each.name for each in pkgutil.walk_packages(
    gemma_edge.__path__, "gemma_edge.")])  # fmt: skip
def test_every_pattern_is_linear(module: str) -> None:
    here = {(each.pattern, each.modes): each for each in found() if each.module == module}
    slow = {
        f"{each.place} {pattern.pattern!r}": text
        for (pattern, modes), each in here.items()
        if pattern is not None and (text := is_linear(pattern, modes))
    }
    assert not slow


def recipe(name: str) -> Recipe:
    return Recipe(name=name, schema=parse_schema("total num"), description="")


# What makes the patterns that are put together at run time.
ASSEMBLED: dict[str, Callable[[], object]] = {
    "gemma_edge.engine.constraint": lambda: shortest_match("[^a-z]"),
    "gemma_edge.extraction.recognition": lambda: look(
        Document("bill", (Page(1, "Tax  invoice"),)), Known((recipe("tax-invoice"),), recipe(""))
    ),
}


def test_patterns_that_are_put_together_are_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, int, Any]] = []
    compiled = re._compile  # type: ignore[attr-defined]

    def record(pattern: Any, flags: Any) -> Any:
        done = compiled(pattern, flags)
        frame = sys._getframe(2)
        made.append((frame.f_globals["__name__"], frame.f_lineno, done))
        return done

    monkeypatch.setattr(re, "_compile", record)
    for run in ASSEMBLED.values():
        run()
    monkeypatch.undo()
    late = [each for each in found() if each.pattern is None]
    assert {each.module for each in late} == ASSEMBLED.keys()
    for each in late:
        end = each.call.end_lineno or each.call.lineno
        here = [
            pattern
            for module, line, pattern in made
            if module == each.module and each.call.lineno <= line <= end
        ]
        assert here, f"no run makes the pattern of {each.place}"
        assert not [text for pattern in here if (text := is_linear(pattern, each.modes))]


def test_all_patterns_of_the_modules_are_found_in_their_source() -> None:
    known = {each.pattern for each in found()}
    for module in modules().values():
        loaded = [each for value in vars(module).values() for each in patterns_within(value)]
        assert not [each.pattern for each in loaded if each not in known]


def patterns_within(value: Any, depth: int = 0) -> Iterator[Any]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, (dict, list, tuple, set, frozenset)) and depth < 4:
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        for each in inner:
            yield from patterns_within(each, depth + 1)


@pytest.mark.parametrize(
    ("pattern", "mode"),
    [
        (r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<html\b", "match"),
        (r"(a+)+$", "match"),
        (r"(a|aa)+$", "match"),
        (r"(?:a|b|ab)*c", "fullmatch"),
        (r"(?:x{1,30}){1,30}y", "match"),
        (r"(.*?,){11}P", "match"),
        (r"\s+$", "search"),
        (r"\s*\|\s*", "scan"),
        (r"\(.*?\)", "scan"),
        (r"\w*\s*\w*\s*=", "match"),
        (r"<!--.*?-->", "search"),
        (r"(\w+) = \1", "scan"),
        (r"[.,]-(?=\D*$)", "scan"),
        (rb"a+b", "search"),
    ],
)
def test_what_is_not_linear_is_found(pattern: Any, mode: str) -> None:
    assert find_blowup(re.compile(pattern), mode)


@pytest.mark.parametrize(
    ("pattern", "mode"),
    [
        (r"(?:<!--(?:[^-]|-(?!->))*-->\s*)*<html\b", "match"),
        (r"\s+$", "match"),
        (r"a+$", "fullmatch"),
        (r"(?:(?<!\s)\s+)?\|\s*", "scan"),
        (r"\d+(?:[.,]\d+)*", "scan"),
        (r"\S+(?: \S+)*", "scan"),
        (r'"(?:[^"\\]|\\.)*"?', "scan"),
        (r"(?:[a-z]{1,20}-){1,20}[a-z]{1,20}", "fullmatch"),
        (r"\((?=[^()\d]*\d)([^()]*)\)", "scan"),
        (r"(?:abc|abd|xyz)\b", "search"),
    ],
)
def test_what_is_linear_is_left_alone(pattern: str, mode: str) -> None:
    assert not find_blowup(re.compile(pattern), mode)
