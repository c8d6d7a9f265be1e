"""The schema as the model reads it, on one line: what it has to fill in, not every rule. Pure.

    {"vendor": string, "total": number /* after tax */, "items": [row]} where row is {…}

A definition that is used more than once, or uses itself, is written once, under its name.
"""

import json
import re
from collections import Counter
from typing import Any

from gemma_edge.extract.schemas.semantic import kind_of_leaf
from gemma_edge.extract.schemas.walk import (
    SCALARS,
    Json,
    Kinds,
    Subschema,
    every,
    lone_references,
    resolve,
)

MAX_COMMENT = 120  # characters of a description
MAX_CHOICES = 40  # values of an enum that are spelled out
MAX_FORM = 12_000  # characters with comments; a longer form goes without
MAX_NODES = 5000  # of the form; the largest of 500 real schemas has 2,000

_ANY, _MORE = "any", "…"
_ORDER = ("integer", "number", "string", "boolean", "array", "object")
_DATES = ("date", "time", "date-time")


def render_form(source: Json) -> str:
    """The form of ``source``; the decoder enforces the rest of it."""
    source = lone_references(source)
    form = _Form(source, comments=True).render_whole()
    return form if len(form) <= MAX_FORM else _Form(source, comments=False).render_whole()


class _Form:
    """One rendering; ``_named`` maps the references that get a name to it."""

    def __init__(self, root: Json, *, comments: bool) -> None:
        self._root, self._comments = root, comments
        self._kinds, self._nodes = Kinds(root), 0
        self._named = _repeated(root, self._kinds)
        self._used: list[str] = []  # references that were written as names
        self._inside: set[str] = set()  # references that are being written out

    def render_whole(self) -> str:
        """The form and the definitions it names, in the order of their use."""
        form = self.render(self._root)
        parts = []
        for reference in self._used:  # grows while definitions use others
            target = self.render(resolve(self._root, reference))
            parts.append(f"{self._named[reference]} is {target}")
        return form + (f" where {'; '.join(parts)}" if parts else "")

    def render(self, schema: Subschema | None) -> str:
        """One schema's form."""
        self._nodes += 1
        if not isinstance(schema, dict):
            return _ANY
        if self._nodes > MAX_NODES:
            return _MORE
        reference = schema.get("$ref")
        if reference in self._named and "properties" not in schema:
            if reference not in self._used:
                self._used.append(reference)
            return self._named[reference]
        views, opened = self._views(schema)
        self._inside |= opened
        try:
            return self._merged(schema, views)
        finally:
            self._inside -= opened

    def _merged(self, schema: Json, views: list[Json]) -> str:
        meant = next(filter(None, map(kind_of_leaf, views)), None)
        if meant:
            return meant
        properties: Json = {}
        for view in views:
            for name, sub in view.get("properties", {}).items():
                properties.setdefault(name, sub)
        if properties:
            return self._object(properties)
        for view in views:
            if "enum" in view or "const" in view:
                return _choices(view["enum"] if "enum" in view else [view["const"]])
            branches = view.get("anyOf") or view.get("oneOf")
            if branches:
                return self._either(branches)
        return self._plain(schema, views)

    def _views(self, schema: Json) -> tuple[list[Json], set[str]]:
        """The schemas that hold at once: itself, what it refers to, its ``allOf``; and the
        references that were followed. One that it stands inside of is not."""
        views: list[Json] = [schema]
        opened: set[str] = set()
        for view in views:
            reference = view.get("$ref")
            if isinstance(reference, str) and reference not in self._inside | opened:
                opened.add(reference)
                target = resolve(self._root, reference)
                views += [target] if isinstance(target, dict) else []
            views += [sub for sub in view.get("allOf", ()) if isinstance(sub, dict)]
        return views, opened

    def _object(self, properties: Json) -> str:
        members = (
            f"{_quoted(name)}: {self.render(sub)}{self._comment(sub)}"
            for name, sub in properties.items()
            if sub is not False
        )
        return "{" + ", ".join(members) + "}"

    def _either(self, branches: list[Any]) -> str:
        """The branches' forms, each once, without null: any value may be null."""
        named = (sub for sub in branches if self._kinds.of(sub) != {"null"})
        return " | ".join(dict.fromkeys(self.render(sub) for sub in named)) or "null"

    def _plain(self, schema: Json, views: list[Json]) -> str:
        """A scalar, a list, a map, or several of them."""
        kinds = self._kinds.of(schema) - {"null"}
        if kinds == {"array"}:
            return self._list(views)
        if kinds == {"object"}:
            return self._map(views)
        if not kinds or kinds >= SCALARS:
            return _ANY if kinds else "null"
        if "number" in kinds:
            kinds -= {"integer"}
        named = [kind for kind in _ORDER if kind in kinds]
        return " | ".join(_date(views) if kind == "string" else kind for kind in named)

    def _list(self, views: list[Json]) -> str:
        for view in views:
            items = view.get("prefixItems", view.get("items"))
            if isinstance(items, list):
                return "[" + ", ".join(map(self.render, items)) + "]"
            if items is not None:
                return f"[{self.render(items)}]"
        return f"[{_ANY}]"

    def _map(self, views: list[Json]) -> str:
        for view in views:
            values = [view.get("additionalProperties"), *view.get("patternProperties", {}).values()]
            for value in values:
                if isinstance(value, dict):
                    return f"{{string: {self.render(value)}}}"
        return "object"

    def _comment(self, schema: Subschema) -> str:
        """The description, shortened, as a comment."""
        text = schema.get("description") if isinstance(schema, dict) and self._comments else None
        if not isinstance(text, str) or not text.strip():
            return ""
        words = " ".join(text.replace("/*", "").replace("*/", "").split())
        if len(words) > MAX_COMMENT:
            words = words[:MAX_COMMENT].rsplit(" ", 1)[0] + _MORE
        return f" /* {words} */"


def _repeated(root: Json, kinds: Kinds) -> dict[str, str]:
    """A name for each reference to an object or a list that is used more than once. What is used
    once is written where it is used, so a form never unfolds without end."""
    uses: Counter[str] = Counter()
    seen: set[int] = set()
    waiting: list[Subschema | None] = [root]
    while waiting:
        for schema in every(waiting.pop() or False):
            reference = schema.get("$ref")
            if id(schema) in seen or not isinstance(reference, str):
                continue
            seen.add(id(schema))
            uses[reference] += 1
            waiting.append(resolve(root, reference) if uses[reference] == 1 else None)
    names: dict[str, str] = {}
    for reference, count in uses.items():
        whole = resolve(root, reference) is root
        if (count > 1 or whole) and kinds.of({"$ref": reference}) & {"object", "array"}:
            base = re.sub(r"\W+", "_", reference.rsplit("/", 1)[-1]).strip("_") or "form"
            same = sum(name == base or name.startswith(f"{base}_") for name in names.values())
            names[reference] = f"{base}_{same}" if same else base
    return names


def _date(views: list[Json]) -> str:
    for view in views:
        if view.get("format") in _DATES:
            return str(view["format"])
    return "string"


def _choices(values: list[Any]) -> str:
    shown = [_quoted(value) for value in values[:MAX_CHOICES] if value is not None]
    return " | ".join(shown + ([_MORE] if len(values) > MAX_CHOICES else [])) or "null"


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
