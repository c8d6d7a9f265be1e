"""YAML as people write recipes: read by PyYAML's safe loader, within bounds, every error with its
line. Pure.

Only JSON's values exist: ``no`` is a country and ``2024-01-01`` a text, not false and a date.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import yaml

from gemma_edge.errors import InputError
from gemma_edge.units import render_bytes

MAX_BYTES = 1 << 20
MAX_NODES = 20_000  # of the file as it is written out; the largest shipped recipe has 300
MAX_DEPTH = 60

_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,30})(\.\d{1,30})?(?:[eE][+-]?\d{1,2})?")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


@dataclass(frozen=True, slots=True)
class Node:
    """A value of the file and the line it stands on; ``value`` is a dict of names to nodes, a list
    of nodes, or a scalar. ``file`` is its name for people; ``text_line`` is where a text begins,
    which is below the ``|`` of a block."""

    value: Any
    line: int
    file: str
    key_lines: tuple[tuple[str, int], ...] = ()
    text_line: int = 0

    def error(self, what: str, *, hint: str = "", line: int | None = None) -> InputError:
        """``what`` with the place."""
        return InputError(f"{self.file}, line {line or self.line}: {what}", hint=hint or _HINT)

    def plain(self) -> Any:
        """The value as JSON."""
        if isinstance(self.value, dict):
            return {name: each.plain() for name, each in self.value.items()}
        if isinstance(self.value, list):
            return [each.plain() for each in self.value]
        return self.value

    def text(self, what: str) -> str:
        """A text that is not empty; a number is one too.

        Raises:
            InputError: it is something else.
        """
        if isinstance(self.value, dict | list | bool):
            raise self.error(f"{what} is a text")
        text = "" if self.value is None else str(self.value).strip()
        if not text:
            raise self.error(f"{what} is empty")
        return text

    def items(self, what: str) -> list["Node"]:
        """The elements of a list; a single text is a list of one.

        Raises:
            InputError: it is something else.
        """
        if isinstance(self.value, list):
            return self.value
        if isinstance(self.value, str):
            return [self]
        raise self.error(f"{what} is a list: one `- …` a line")

    def members(self, what: str, known: tuple[str, ...] = ()) -> dict[str, "Node"]:
        """The members of a mapping, of which only ``known`` ones may be there.

        Raises:
            InputError: it is something else, or has a key that is not known.
        """
        if not isinstance(self.value, dict):
            raise self.error(f"{what} has keys: {', '.join(known) or 'name: value'}")
        for name, line in self.key_lines:
            if known and name not in known:
                close = get_close_matches(name, known, 1, 0.5)
                meant = f"`{close[0]}`?" if close else f"there are {', '.join(known)}"
                split = self.value[name].value is None
                hint = "in { } a comma divides: put the text in quotes" if split else ""
                raise self.error(f"{what} has no key `{name[:40]}`; {meant}", line=line, hint=hint)
        return dict(self.value)


_HINT = "gemma-edge recipes show invoice prints one that is right"


def read_yaml(text: str, name: str) -> Node:
    """The one document of ``text``; ``name`` is the file's, for errors.

    Raises:
        InputError: no YAML, too large, a key twice, or nodes without end.
    """
    if len(text.encode("utf-8")) > MAX_BYTES:
        raise InputError(f"{name} is larger than {render_bytes(MAX_BYTES)}", hint=_HINT)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        said = " ".join(filter(None, (error.context, error.problem)))
        raise InputError(f"{name}{line}: not YAML: {said}", hint=_HINT) from None
    except yaml.YAMLError as error:  # a control character
        said = " ".join(str(error).split())[:120]
        raise InputError(f"{name}: not YAML: {said}", hint=_HINT) from None
    except RecursionError:
        raise InputError(f"{name} is nested too deeply", hint=_HINT) from None
    if root is None:
        raise InputError(f"{name} is empty", hint=_HINT)
    return _Builder(name).node(root, 0)


class _Builder:
    """PyYAML's nodes to ours; aliases are written out, and so counted."""

    def __init__(self, name: str) -> None:
        self._name, self._count = name, 0

    def node(self, node: yaml.Node, depth: int) -> Node:
        line = node.start_mark.line + 1
        self._count += 1
        if self._count > MAX_NODES or depth > MAX_DEPTH:
            much = f"more than {MAX_NODES:,} values" if depth <= MAX_DEPTH else "nested too deeply"
            raise self._error(line, f"{much}; do its aliases (*name) multiply?")
        if node.tag.startswith("tag:yaml.org,2002:python") or node.tag.startswith("!"):
            raise self._error(line, f"{node.tag[:60]} is no value of a recipe")
        if isinstance(node, yaml.MappingNode):
            lines = tuple(self._keys(node))
            values = [self.node(value, depth + 1) for _, value in node.value]
            members = {name: value for (name, _), value in zip(lines, values, strict=True)}
            return Node(members, line, self._name, lines)
        if isinstance(node, yaml.SequenceNode):
            return Node([self.node(each, depth + 1) for each in node.value], line, self._name)
        below = getattr(node, "style", None) in ("|", ">")
        return Node(self._scalar(node), line, self._name, (), line + below)

    def _keys(self, node: yaml.MappingNode) -> Iterator[tuple[str, int]]:
        seen: set[str] = set()
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise self._error(line, "a key is a word, not a list")
            if key.value in seen:
                raise self._error(line, f"the key `{key.value[:40]}` is there already")
            seen.add(key.value)
            yield key.value, line

    def _scalar(self, node: yaml.Node) -> Any:
        text, style = str(node.value), getattr(node, "style", None)
        if style is not None or node.tag == "tag:yaml.org,2002:str":
            if style is None and text not in _WORDS and _NUMBER.fullmatch(text):
                return _number(text)
            return text
        if text in _WORDS:
            return _WORDS[text]
        return _number(text) if _NUMBER.fullmatch(text) else text

    def _error(self, line: int, what: str) -> InputError:
        return InputError(f"{self._name}, line {line}: {what}", hint=_HINT)


def _number(text: str) -> int | float:
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)
