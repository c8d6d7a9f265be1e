"""Data as it is printed to data as the schema means it. Pure.

What cannot be converted, or can mean two things, stays as it is printed: the user's schema then
says that it is wrong, and nothing is guessed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gemma_edge.extract.paths import ValuePath
from gemma_edge.extract.schemas.semantic import kind_of_leaf
from gemma_edge.extract.schemas.views import Views, item_schemas, iter_views, member_schemas
from gemma_edge.extract.schemas.walk import Json, Subschema, lone_references
from gemma_edge.extract.values.habits import infer_habits
from gemma_edge.extract.values.types import is_nothing, read_as
from gemma_edge.extract.values.types_reading import Habits, Reading

# A place in the data: keys and numbers.


@dataclass(frozen=True, slots=True)
class Unread:
    """A printed value that is no value of its type, or only in part."""

    path: ValuePath
    kind: str
    text: str
    reading: Reading

    @property
    def tolerated(self) -> bool:
        """What is certain of it is a value of its type."""
        return self.reading.partly is not None


@dataclass(frozen=True, slots=True)
class Normalized:
    """``data`` converted; ``notes`` say what the document's own habits decided."""

    data: Any
    unread: tuple[Unread, ...]
    notes: tuple[str, ...]


def normalize(data: Any, source: Json, habits: Habits, text: str = "") -> Normalized:
    """Convert every semantic leaf of ``data``, which is as printed; ``text`` is the document, for
    the habits that ``habits`` does not say.

    Raises:
        RecursionError: data of a schema that refers to itself, without end.
    """
    walk = _Walk(lone_references(source))
    leaves: list[tuple[ValuePath, str, str]] = []

    def collect(path: ValuePath, kind: str, printed: str) -> Any:
        leaves.append((path, kind, printed))
        return printed

    walk.convert(data, collect)
    known, notes = infer_habits(habits, [leaf[1:] for leaf in leaves], text)
    unread: list[Unread] = []
    used = False

    def read(path: ValuePath, kind: str, printed: str) -> Any:
        nonlocal used
        if is_nothing(printed):
            return None
        reading = read_as(kind, printed, known)
        used = used or reading != read_as(kind, printed, habits)
        if reading.value is not None:
            return reading.value
        unread.append(Unread(path, kind, printed, reading))
        return printed if reading.partly is None else reading.partly

    converted = walk.convert(data, read) if leaves else data
    return Normalized(converted, tuple(unread), notes if used else ())


class _Walk:
    """Goes through data and schema together."""

    def __init__(self, root: Json) -> None:
        self._root = root

    def convert(self, data: Any, leaf: Callable[[ValuePath, str, str], Any]) -> Any:
        """``data`` with every semantic leaf replaced by what ``leaf`` gives for it."""
        return self._value(data, [(self._root, True)], (), leaf)

    def _value(
        self,
        data: Any,
        schemas: list[tuple[Subschema, bool]],
        path: ValuePath,
        leaf: Callable[[ValuePath, str, str], Any],
    ) -> Any:
        if not isinstance(data, dict | list | str):
            return data
        views: Views = list(iter_views(self._root, schemas, set()))
        if isinstance(data, dict):
            return {
                name: self._value(member, member_schemas(views, name), (*path, name), leaf)
                for name, member in data.items()
            }
        if isinstance(data, list):
            return [
                self._value(item, item_schemas(views, index), (*path, index), leaf)
                for index, item in enumerate(data)
            ]
        kind = next(filter(None, (kind_of_leaf(view) for view, _ in views)), None)
        return leaf(path, kind, data) if kind else data


def place(path: ValuePath) -> str:
    """``items[2].price``; the whole answer is "the answer"."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "the answer"
