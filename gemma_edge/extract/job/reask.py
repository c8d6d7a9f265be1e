"""What is asked a second time: the values that are wrong, with what is wrong about them. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gemma_edge.extract.paths import ValuePath, render_path
from gemma_edge.extract.schemas.parts import (
    Part,
    fields_of,
    make_part,
    select_fields,
    select_values,
)
from gemma_edge.extract.schemas.walk import Json

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
MOST_VALUES = 40  # that are asked again; more of them are another kind of trouble
_MOST_PAGES = 3  # that are named with a problem
_SHOWN = 200  # characters of a value in a prompt


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something wrong with the values at ``paths``; ``text`` says what, to the model too."""

    text: str
    paths: tuple[ValuePath, ...]


@dataclass(frozen=True, slots=True)
class Again:
    """``part`` asks for the values at ``paths``, each under the name that ``names`` gives it;
    ``problems`` are lines for the prompt."""

    part: Part
    paths: tuple[ValuePath, ...]
    names: tuple[str, ...]
    problems: str


def plan_again(
    source: Json, flaws: Sequence[Flaw], data: Any, pages: dict[ValuePath, int], *, strict: bool
) -> Again | None:
    """The second request for all flaws; ``pages`` is where values were found. None where there is
    nothing to ask: too much is wrong, or what is wrong cannot be asked for alone."""
    found = (_existing(data, path) for flaw in flaws for path in flaw.paths)
    paths = _outermost([path for path in found if path is not None])
    if not paths or len(paths) > MOST_VALUES:
        return None
    known = fields_of(source)
    part: Part | None
    if paths == ((),):
        part = make_part(source, strict=strict)
    elif all(len(path) == 1 and path[0] in known for path in paths):
        part = select_fields(source, [str(path[0]) for path in paths], strict=strict)
    else:
        part = select_values(source, paths, strict=strict)
    if part is None:
        return None
    lines = [f"- {flaw.text}{_where(flaw.paths, pages)}" for flaw in flaws if flaw.paths]
    lines += [_record_line(path, data) for path in paths if _in_list(path)]
    return Again(part, paths, tuple(map(render_path, paths)), "\n".join(dict.fromkeys(lines)))


def parse_path(text: str) -> ValuePath:
    """``items[2].qty`` to a path; a name that a recipe's check gives is one step."""
    return tuple(int(found[2]) if found[2] else found[1] for found in _STEP.finditer(text))


def put(data: Any, path: ValuePath, value: Any) -> Any:
    """A copy of ``data`` with another value at ``path``."""
    if not path:
        return value
    copy: Any = list(data) if isinstance(data, list) else dict(data)
    copy[path[0]] = put(data[path[0]], path[1:], value)
    return copy


def get(data: Any, path: ValuePath) -> Any:
    """The value at ``path``.

    Raises:
        LookupError, TypeError: there is none.
    """
    for step in path:
        data = data[step]
    return data


def _existing(data: Any, path: ValuePath) -> ValuePath | None:
    """The value as it was printed that ``path``, into converted data, is about; None where there
    is none."""
    for size in range(len(path), 0, -1):
        try:
            get(data, path[:size])
        except (LookupError, TypeError):
            continue
        return path[:size]
    return None if path else path


def _outermost(paths: Sequence[ValuePath]) -> tuple[ValuePath, ...]:
    """Each once, and none that lies in another."""
    unique = dict.fromkeys(paths)
    return tuple(
        path for path in unique
        if not any(path[:size] in unique for size in range(len(path)))
    )  # fmt: skip


def _where(paths: Sequence[ValuePath], pages: dict[ValuePath, int]) -> str:
    found = sorted({page for path in paths for page in _pages_under(path, pages)})
    if not 0 < len(found) <= _MOST_PAGES:
        return ""
    return f" (page {', '.join(map(str, found))})"


def _pages_under(path: ValuePath, pages: dict[ValuePath, int]) -> set[int]:
    return {page for each, page in pages.items() if each[: len(path)] == path}


def _in_list(path: ValuePath) -> bool:
    return any(isinstance(step, int) for step in path)


def _record_line(path: ValuePath, data: Any) -> str:
    """The record that a value belongs to, so that the model finds its row."""
    last = max(index for index, step in enumerate(path) if isinstance(step, int))
    record = get(data, path[: last + 1])
    text = str(record)
    if isinstance(record, dict):
        single = {name: v for name, v in record.items() if not isinstance(v, dict | list)}
        text = ", ".join(f"{name}: {v}" for name, v in single.items() if v is not None)
    return f"- {render_path(path)} belongs to: {text[:_SHOWN]}"
