"""The fields of a schema by their names, as rules and expressions write them: ``items.price``; a
dot goes through lists. Pure."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches

from gemma_edge.extract.expressions.run import WORDS
from gemma_edge.extract.recipes.parts import Check, Computed
from gemma_edge.extract.schemas.views import Views, item_schemas, iter_views, member_schemas
from gemma_edge.extract.schemas.walk import Json

ANSWER = "answer"  # the name of an answer that is no object, for expressions
_MAX_LISTS = 5  # lists in lists

# What is known of a value: the schemas that describe it; None where nothing is.
Known = Views | None


class Fields:
    """The fields of one schema; ``more`` are names beside them, of which nothing is known."""

    def __init__(self, source: Json, more: Sequence[str] = ()) -> None:
        self._root, self._more = source, tuple(more)
        self._top: Views = list(iter_views(source, [(source, True)], set()))

    def names(self) -> tuple[str, ...]:
        """The names at the top level."""
        return (*_names(self._top), *self._more)

    def problem(self, path: str) -> str:
        """Why ``path`` names no field, "" where it does; ``[2]`` in it is any item."""
        found: Known = self._top
        for name in re.sub(r"\[[^\]]*\]", "", path).strip().split("."):
            if found is self._top and name in self._more:
                return ""
            reason, found = self._into(found, name)
            if reason:
                return reason
        return ""

    def schemas(self, path: str) -> Views:
        """The schemas that describe what ``path`` names; none where it names nothing."""
        found: Known = self._top
        for name in path.split("."):
            _, found = self._into(found, name)
        return self._unlisted(found or [])

    def problems(self, tree: ast.AST) -> Iterator[str]:
        """What an expression names and is not there."""
        yield from self._visit(tree, {})

    def _visit(self, node: ast.AST, bound: Mapping[str, Known]) -> Iterator[str]:
        if isinstance(node, ast.GeneratorExp | ast.ListComp):
            inner = dict(bound)
            for loop in node.generators:
                reason, rows = self._place(loop.iter, inner)
                yield from filter(None, (reason,))
                assert isinstance(loop.target, ast.Name)
                inner[loop.target.id] = rows
                for test in loop.ifs:
                    yield from self._visit(test, inner)
            yield from self._visit(node.elt, inner)
        elif isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
            reason, _ = self._place(node, bound)
            yield from (reason,) if reason else self._below(node, bound)
        else:
            for child in ast.iter_child_nodes(node):
                if not (isinstance(node, ast.Call) and child is node.func):
                    yield from self._visit(child, bound)

    def _below(self, node: ast.expr, bound: Mapping[str, Known]) -> Iterator[str]:
        """The parts of ``(a - b).days``, which is no field."""
        while isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        if not isinstance(node, ast.Name):
            yield from self._visit(node, bound)

    def _place(self, node: ast.expr, bound: Mapping[str, Known]) -> tuple[str, Known]:
        """(why it is no field, what is known of it)."""
        if isinstance(node, ast.Name):
            if node.id in bound:
                return "", bound[node.id]
            if node.id in self._more or (node.id in WORDS and node.id not in _names(self._top)):
                return "", None
            return self._into(self._top, node.id)
        if isinstance(node, ast.Subscript):
            reason, found = self._place(node.value, bound)
            key = node.slice.value if isinstance(node.slice, ast.Constant) else None
            return (reason, found) if not isinstance(key, str) else self._into(found, key)
        if isinstance(node, ast.Attribute):
            reason, found = self._place(node.value, bound)
            return (reason, None) if reason else self._into(found, node.attr)
        return "", None

    def _into(self, found: Known, name: str) -> tuple[str, Known]:
        if found is None:
            return "", None
        views = self._unlisted(found)
        subs = member_schemas(views, name)
        if subs:
            return "", list(iter_views(self._root, subs, set()))
        names = _names(views)
        if found is self._top:
            names += self._more
        if not names:
            return (
                ("", None) if _says_nothing(views) else (f"nothing is in it called `{name}`", None)
            )
        close = get_close_matches(name, names, 1)
        known = f"`{close[0]}`?" if close else f"there are {', '.join(names)}"
        return f"there is no field `{name}`; {known}", None

    def _unlisted(self, views: Views) -> Views:
        """What the items of lists are described by, where it is a list."""
        for _ in range(_MAX_LISTS):
            items = item_schemas(views, 0)
            if not items:
                break
            views = list(iter_views(self._root, items, set()))
        return views


def unknown_names(
    source: Json, compute: Iterable[Computed], checks: Iterable[Check], known: Sequence[str] = ()
) -> Iterator[tuple[str, int]]:
    """(what expressions name that is not there, the line); ``known`` are computed before."""
    names = [*known, *(() if Fields(source).names() else (ANSWER,))]
    for each in compute:
        before = [name for name in names if name != each.name]
        for said in Fields(source, before).problems(each.expression.tree):
            yield f"`{each.name}` is computed of what is not there: {said}", each.line
        names.append(each.name)
    fields = Fields(source, names)
    for check in checks:
        for said in fields.problems(check.expression.tree):
            yield f"the check `{check.expression.text}` names what is not there: {said}", check.line


def _names(views: Views) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for view, _ in views for name in view.get("properties", ())))


def _says_nothing(views: Views) -> bool:
    return not any(view.keys() & {"type", "enum", "const"} for view, _ in views) or any(
        view.get("type") == "object" for view, _ in views
    )
