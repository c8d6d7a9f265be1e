"""Answers about parts of a document to one: rows joined, duplicates decided by where they stand on
the page, single values taken from where the document has them. Pure.

A row is the same as another if most of its values stand at the same places of the same pages;
equal values alone prove nothing: a list may well hold the same row twice.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

from gemma_edge.engine.protocol import TokenScore
from gemma_edge.extraction.json_schema import ValuePath, iter_leaves, render_path
from gemma_edge.records import dataclass

_SHOWN = 40  # characters of a value in a note


class PagePlace(NamedTuple):
    page: int
    start: int


@dataclass(frozen=True, slots=True)
class Traced:
    """One value: of which answer, where in it, and where in the document, if it was found."""

    value: Any
    answer: int
    path: ValuePath
    place: PagePlace | None = None


Tree: TypeAlias = "Traced | list[Tree] | dict[str, Tree]"


def trace(data: Any, answer: int, path: ValuePath = ()) -> Tree:
    tree: Tree = _map(data, lambda value, at: Traced(value, answer, at), path)
    return tree


def locate(tree: Tree, places: Mapping[ValuePath, PagePlace]) -> Tree:
    found: Tree = _map(tree, lambda leaf, at: replace(leaf, place=places.get(at)))
    return found


def plain(tree: Tree) -> Any:
    return _map(tree, lambda leaf, _: leaf.value)


def _map(tree: Any, change: Callable[[Any, ValuePath], Any], path: ValuePath = ()) -> Any:
    if isinstance(tree, dict):
        return {name: _map(each, change, (*path, name)) for name, each in tree.items()}
    if isinstance(tree, list):
        return [_map(each, change, (*path, index)) for index, each in enumerate(tree)]
    return change(tree, path)


def value_at(data: Any, path: ValuePath, default: Any = None) -> Any:
    try:
        for step in path:
            data = data[step]
    except (LookupError, TypeError):
        return default
    return data


def replaced_at(data: Any, path: ValuePath, value: Any) -> Any:
    if not path:
        return value
    copy: Any = list(data) if isinstance(data, list) else dict(data)
    copy[path[0]] = replaced_at(data[path[0]], path[1:], value)
    return copy


class Merger:
    """Joins the answers of one document, in the order of its pages. ``conflicts`` are sentences
    about values that differ."""

    def __init__(self) -> None:
        self.conflicts: list[str] = []

    def windows(self, first: Tree, second: Tree) -> Tree:
        """The answer about the pages up to here, and the one about the next pages."""
        return self._both(first, second, (), repeats=False)

    def continued(self, first: Tree, second: Tree) -> Tree:
        """An answer that was cut, and what was asked for after the cut; that may begin with the
        entry which was shown to it."""
        return self._both(first, second, (), repeats=True)

    def _both(self, first: Tree, second: Tree, path: ValuePath, *, repeats: bool) -> Tree:
        if isinstance(first, dict) and isinstance(second, dict):
            names = [*first, *(name for name in second if name not in first)]
            return {
                name: self._both(first[name], second[name], (*path, name), repeats=repeats)
                if name in first and name in second
                else first.get(name, second.get(name, Traced(None, 0, ())))
                for name in names
            }
        if isinstance(first, list) and isinstance(second, list):
            return self._rows(first, second, path, repeats=repeats)
        if isinstance(first, Traced) and isinstance(second, Traced):
            return self._value(first, second, path)
        return second if isinstance(first, Traced) else first  # null, and a list or an object

    def _value(self, first: Traced, second: Traced, path: ValuePath) -> Traced:
        """What the document has before what it has not, the first of two that it has."""
        if second.value is None or first.value is None:
            return second if first.value is None else first
        found = [leaf for leaf in (first, second) if leaf.place is not None] or [first, second]
        if first.value != second.value:
            values = ", ".join(map(_with_page, (first, second)))
            taken = _shown(found[0].value)
            self.conflicts.append(f"{render_path(path, 'the answer')}: {values}; {taken} was taken")
        return found[0]

    def _rows(
        self, first: list[Tree], second: list[Tree], path: ValuePath, *, repeats: bool
    ) -> Tree:
        rows = list(first)
        new = second[_repeated(first, second) :] if repeats else second
        known = _RowPlaces(rows)
        for number, row in enumerate(new):
            same = known.find(row)
            if same is None and not number and rows and _goes_on(rows[-1], row, repeats):
                same = len(rows) - 1
            if same is None:
                rows.append(row)
            else:
                rows[same] = self._one_row(rows[same], row, (*path, same), repeats=repeats)
        return rows

    def _one_row(self, old: Tree, new: Tree, path: ValuePath, *, repeats: bool) -> Tree:
        """Two readings of one row: the fuller one counts, the other fills its gaps. A row that is
        cut by the end of a window differs; that is no conflict."""
        quiet = Merger()
        if not isinstance(old, dict) or not isinstance(new, dict):
            return quiet._both(old, new, path, repeats=repeats)
        first, second = (new, old) if _filled(new) > _filled(old) else (old, new)
        (values, _), (others, _) = _split(first), _split(second)
        merged = quiet._both(values, others, path, repeats=repeats)
        lists = quiet._both(_split(old)[1], _split(new)[1], path, repeats=repeats)
        assert isinstance(merged, dict) and isinstance(lists, dict)
        return {name: {**merged, **lists}[name] for name in {**old, **new}}


def _goes_on(last: Tree, row: Tree, repeats: bool) -> bool:
    if not isinstance(last, dict) or not isinstance(row, dict) or last.keys() != row.keys():
        return False
    head, lists = plain(_split(row)[0]), _split(row)[1]
    none = all(value is None for value in head.values())
    return bool(lists) and (none or (repeats and head == plain(_split(last)[0])))


def _repeated(first: list[Tree], second: list[Tree]) -> int:
    """How many rows of a continued list were there before: the last ones, said once more, or all
    of them, where the model began anew."""
    old, new = list(map(plain, first)), list(map(plain, second))
    most = min(len(old), len(new))
    if most > 1 and old[:most] == new[:most]:
        return most
    return next((n for n in range(most, 0, -1) if old[-n:] == new[:n]), 0)


class _RowPlaces:
    def __init__(self, rows: list[Tree]) -> None:
        self._at: dict[tuple[ValuePath, PagePlace], list[int]] = {}
        self._counts = [0] * len(rows)
        for index, row in enumerate(rows):
            for key in _places(row):
                self._at.setdefault(key, []).append(index)
                self._counts[index] += 1

    def find(self, row: Tree) -> int | None:
        keys = list(_places(row))
        votes = Counter(index for key in keys for index in self._at.get(key, ()))
        if not votes:
            return None
        best = max(votes, key=votes.__getitem__)
        return best if 2 * votes[best] > min(len(keys), self._counts[best]) else None


def _places(row: Tree) -> Iterator[tuple[ValuePath, PagePlace]]:
    for path, leaf in iter_leaves(row):
        if leaf.place is not None and not any(isinstance(step, int) for step in path):
            yield path, leaf.place


def _split(row: dict[str, Tree]) -> tuple[dict[str, Tree], dict[str, Tree]]:
    """A row's own values, and the lists in it."""
    lists: dict[str, Tree] = {name: each for name, each in row.items() if isinstance(each, list)}
    return {name: each for name, each in row.items() if name not in lists}, lists


def _filled(row: dict[str, Tree]) -> int:
    return sum(leaf.value is not None for _, leaf in iter_leaves(_split(row)[0]))


def _with_page(leaf: Traced) -> str:
    where = f"page {leaf.place.page}" if leaf.place else "not found in the document"
    return f"{_shown(leaf.value)} ({where})"


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


# Where an answer was cut when its budget ran out, and what of it is whole. The engine ends such an
# answer with the shortest valid end, so the text is JSON; what was written after the cut (null, an
# empty list) says nothing about the document.

_SAYS_NOTHING = ("null", "false", "0", '"')  # with which an answer may have been closed


@dataclass(frozen=True, slots=True)
class Cut:
    """``data`` is what is whole. ``at`` is the list that is not complete, None where the cut was
    in no list; ``whole`` is the number of its entries. ``missing`` are the keys of the root whose
    values were not written, that of the list not among them."""

    data: Any
    at: ValuePath | None = None
    whole: int = 0
    missing: tuple[str, ...] = ()


def find_cut(text: str, data: Any, scores: Sequence[TokenScore] = ()) -> Cut:
    """What is whole of the closed answer ``text``, which says ``data``."""
    written = text[: last_chosen(text, scores)]
    places = JsonText(written).open
    if written.strip() and not places:  # the end itself was what came last
        return Cut(data)
    at, whole = _open_list(places, data)
    if at is not None:
        data = _shortened(data, at, whole)
    missing: tuple[str, ...] = ()
    if isinstance(data, dict):
        done = places[0].done if places else ""
        names = list(data)
        rest = names[names.index(done) + 1 :] if done in data else names
        missing = tuple(name for name in rest if not at or name != at[0])
        data = {name: None if name in missing else value for name, value in data.items()}
    return Cut(data, at, whole, missing)


def last_chosen(text: str, scores: Sequence[TokenScore]) -> int:
    """Characters of the answer up to the end of the last token that the model chose; without
    scores, up to the last value that says something, which may itself be cut."""
    end = len(text)
    if "".join(score.text for score in scores) == text:
        for score in reversed(scores):
            if not score.forced:
                return end
            end -= len(score.text)
    for _, start, stop in reversed(JsonText(text).leaves):
        if text[start:stop] not in _SAYS_NOTHING:
            return start - text[:stop].endswith('"')  # before its first quote
    return 0


_DEEPEST = 500  # levels; an answer with more of them is no JSON that is read
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*(?P<end>")?|[-+.\w]+|[{}\[\],:]', re.DOTALL)


@dataclass(slots=True)
class _Open:
    """A list or an object that is open. ``count`` values were begun in a list; ``key`` is the last
    key of an object, ``done`` the last one with its value. ``idle``: nothing is half-made in it."""

    is_list: bool
    count: int = 0
    key: str = ""
    done: str = ""
    idle: bool = True

    def begin(self) -> None:
        self.count += 1
        self.idle = False

    def end(self) -> None:
        self.done = self.key
        self.idle = True


class JsonText:
    """JSON text that may have a fence before it and end too early. ``leaves`` are the path and the
    place of each value that holds no others, that of a string without its first quote: its letters
    and the closing quote were a choice. ``open`` is what is open at the end, outside first."""

    def __init__(self, text: str) -> None:
        self.leaves: list[tuple[ValuePath, int, int]] = []
        self.open: list[_Open] = []
        fence = re.match(r"\s*```\w*\s*", text)
        for found in _TOKEN.finditer(text, fence.end() if fence else 0):
            if found[0] in "}]":
                del self.open[-1:]
                if not self.open:
                    return
                self.open[-1].end()
            elif len(self.open) > _DEEPEST:
                return
            elif found[0] not in ",:":
                self._value(found, at_end=found.end() == len(text))

    def _value(self, found: re.Match[str], *, at_end: bool) -> None:
        token, place = found[0], self.open[-1] if self.open else None
        is_text = token.startswith('"')
        if place and is_text and not place.is_list and place.idle:
            place.idle = False
            place.key = _text_of(token) if found["end"] else place.done
            return
        if place:
            place.begin()
        if token in "{[":
            self.open.append(_Open(token == "["))
            return
        path = tuple(each.count - 1 if each.is_list else each.key for each in self.open)
        self.leaves.append((path, found.start() + (is_text and len(token) > 1), found.end()))
        whole = found["end"] if is_text else not at_end  # a number may go on
        if place and whole:
            place.end()


def _text_of(token: str) -> str:
    try:
        return str(json.loads(token))
    except ValueError:  # an escape that is none
        return token.strip('"')


def _open_list(places: Sequence[_Open], data: Any) -> tuple[ValuePath | None, int]:
    """The innermost open list of records, else the innermost open list, and how many entries of
    it are whole."""
    path: ValuePath = ()
    found: list[tuple[bool, ValuePath, int]] = []
    for place in places:
        if place.is_list:
            whole = place.count if place.idle else place.count - 1
            entries = value_at(data, path)
            records = isinstance(entries, list) and any(isinstance(each, dict) for each in entries)
            found.append((records, path, whole))
        path = (*path, place.count - 1 if place.is_list else place.key)
    if not found:
        return None, 0
    _, at, whole = next((each for each in reversed(found) if each[0]), found[-1])
    return at, whole


def _shortened(data: Any, path: ValuePath, count: int) -> Any:
    if not path:
        return data[:count] if isinstance(data, list) else data
    step = path[0]
    if isinstance(data, dict) and step in data:
        return {**data, step: _shortened(data[step], path[1:], count)}
    if isinstance(data, list) and isinstance(step, int) and step < len(data):
        return [*data[:step], _shortened(data[step], path[1:], count)]
    return data
