"""A JSON Schema whose copied values can only be what a document prints, as a grammar. Pure.

A leaf that is copied carries the keyword ``HELD``: ``VERBATIM`` for any run of the document's
words, ``NUMBER`` for a printed number, or the name of a list of candidates (dates, amounts, …);
one whose name ends with ``NUMBER`` holds numbers as JSON writes them.
llguidance reads JSON Schema and cannot hold a string to a text, so objects, lists and unions become
rules of its Lark dialect. What is not copied stays JSON Schema inside of them; so does whatever the
rules here do not know, and then ``Grounded.free`` names the leaves that are not held for it.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from itertools import accumulate, cycle, islice
from typing import Any

from gemma_edge.engine.protocol import Grounding, PrintedRow
from gemma_edge.records import dataclass

# The keyword of a leaf that is copied. llguidance never sees it.
HELD = "x-gemma-edge-held"
VERBATIM, NUMBER = "verbatim", "number"
ROWS = "rows"  # of a list: an entry is one printed row, and rows go down the page
# Of such a list: what its schema says of the fields of an entry, in words, by their paths.
TITLES = "x-gemma-edge-titles"
# An entry may skip this many rows and more, and then go on where a table begins. With all rows in
# reach a mask takes 2 ms for 1,000 rows, with these 0.1 ms.
_BLOCK, _REACH = 32, 4  # rows, and blocks of rows
MOST_ROWS = 4_000  # of one list
_MOST_STARTS = 64  # tables that are known one by one: blocks are a chain, and a recursion
_TABLES = 3  # whose beginning is in reach besides
_MOST_COUNTED = 20_000  # rules of a list of so many rows with so many entries, squared
_FEW_PIECES = 10  # of a text all of whose runs are spelled out
_EMPTY = 3  # entries without rows that may follow each other

# Characters of the longest run of words. A text that is longer than this can hold a model captive:
# a small one that has begun to copy a page does not stop by itself.
LONGEST_COPY = 4_000
# Characters of a free string in a grounded answer, where the schema does not say: as much as the
# document has, but never less or more than this.
LEAST_FREE, MOST_FREE = 400, 4_000
_HYPHENATED = 200  # characters on each side of a word that a line end cuts
_MOST_CELLS = 8  # of a column that are read as one value: more lines than an address has
_SAME_COLUMN = 2  # characters by which the cells of one column may begin apart

_ANNOTATIONS = frozenset(
    ("title", "description", "default", "examples", "$schema", "$defs", HELD, TITLES)
)
_LEAF = frozenset(
    ("type", "format", "pattern", "minLength", "maxLength", "minimum", "maximum")
    + ("exclusiveMinimum", "exclusiveMaximum", "multipleOf")
)
_OBJECT = frozenset(("type", "properties", "required", "additionalProperties"))
_ARRAY = frozenset(("type", "items", "minItems", "maxItems"))

# A number with its signs is one piece, and so is a word; a script without spaces is cut between
# characters.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
_PIECE = re.compile(rf"\d+(?:[.,]\d+)+|[{_UNSPACED}]|(?:(?![{_UNSPACED}])\w)+|[,;:]{{0,4}}\s+|\S")
_CELL = re.compile(r"\S+(?: \S+)*")
_BULLET = re.compile(r"(?m)^[ \t]*(?:[•▪▫◦●○■□‣⁃\uf0b7\uf0a7·]|[-–*](?=[ ]+[^\W\d]))[ \t]+")
_CUT_WORD = re.compile(r"(\w)[-\u00ad\u2010]\n[ \t]*(\w)")
# Of a copied text: how it begins, and its last character. A dash or dots before a space lead to it
# and are no part of it.
_LEADS = r".=_\u2026\u2010-\u2015-"
_FIRST = rf"(?:[^ \x00-\x1f,;:)\]}}{_LEADS}]|[{_LEADS}]+[^ \x00-\x1f,;:)\]}}{_LEADS}])"
_LAST = r"[^ \x00-\x1f,;:(\[{]"
# Kinds of which two values may be the same.
_REPEATED = re.compile(r"number$|amount|money|percent|quantity")
_BREAK = "\x01"  # between texts that are not one; no value may hold it

_NULL, _COMMA = '"null"', '", "'
_NO_WORDS = " "  # no name of a rule

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Grounded:
    """``lark`` is the grammar; ``free`` are the places of leaves that should be held and are not,
    each with the reason."""

    lark: str
    free: tuple[tuple[str, str], ...] = ()


def has_held(schema: Any) -> bool:
    """Whether any leaf of a schema is copied."""
    if isinstance(schema, dict):
        return HELD in schema or any(map(has_held, schema.values()))
    return isinstance(schema, list) and any(map(has_held, schema))


def without_marks(schema: Any) -> Any:
    """The schema as llguidance may read it."""
    if isinstance(schema, dict):
        marks = (HELD, TITLES)
        return {key: without_marks(value) for key, value in schema.items() if key not in marks}
    return list(map(without_marks, schema)) if isinstance(schema, list) else schema


def row_leaves(
    items: Any, resolve: Callable[[str], Any], path: str = "", depth: int = 0
) -> Iterator[tuple[str, Json]]:
    """The leaves of an entry of a list and where they stand in it (``price.amount``); what is in
    a list inside of it is none. The entry itself, "", where it is a list or a leaf."""
    if not isinstance(items, dict) or depth > _DEEPEST:
        return
    if isinstance(items.get("$ref"), str):
        yield from row_leaves(resolve(items["$ref"]), resolve, path, depth + 1)
    elif isinstance(items.get("properties"), dict) and items.get(HELD, ROWS) == ROWS:
        for name, sub in items["properties"].items():
            yield from row_leaves(sub, resolve, f"{path}.{name}".lstrip("."), depth + 1)
    elif branches := [each for word in ("anyOf", "oneOf") for each in items.get(word, ())]:
        for branch in branches:
            yield from row_leaves(branch, resolve, path, depth + 1)
    elif "items" not in items:
        yield path, items


_DEEPEST = 6  # of a leaf in an entry


def row_key(items: Any, resolve: Callable[[str], Any]) -> str:
    """The name of the rows that entries like this can be: lists with the same fields have one."""
    return ", ".join(dict.fromkeys(path for path, _ in row_leaves(items, resolve))) or "[]"


_CELLS = frozenset(("cells", "cell", "values", "row", "data", "columns"))


def cells_of(items: Any) -> tuple[str, Json] | None:
    """Where an entry is the cells of a row: the list of them, and the one member of the entry that
    it is, "" where it is the entry itself. None where the entry is anything else."""
    if isinstance(items, dict) and len(items.get("properties", ())) == 1:
        ((name, cells),) = items["properties"].items()
        if name not in _CELLS:
            return None
    else:
        name, cells = "", items
    inner = cells.get("items") if isinstance(cells, dict) else None
    if not isinstance(inner, dict) or inner.keys() & {"properties", "items", "$ref"}:
        return None
    return name, cells


def render_grammar(
    schema: Json, grounding: Grounding, options: Mapping[str, Any] | None = None
) -> Grounded:
    """The grammar of one answer on one line, with ``", "`` and ``": "``. ``options`` are
    llguidance's for the parts that stay JSON Schema."""
    grammar = _Grammar(schema, grounding, dict(options or {}))
    lines = [f"start: {grammar.value(schema, '')}"]
    lines += [f"{name}: {body}" for name, body in grammar.rules.items()]
    return Grounded("\n".join(lines), tuple(dict.fromkeys(grammar.free)))


class _Unknown(Exception):
    """A schema says something that no rule here can say; the message is its keyword."""


class _Grammar:
    """One grammar in the making."""

    def __init__(self, root: Json, grounding: Grounding, options: dict[str, Any]) -> None:
        self.rules: dict[str, str] = {}
        self.free: list[tuple[str, str]] = []
        self._defs: Json = root.get("$defs", {})
        self._printed: Grounding | PrintedRow = grounding
        self._rows = dict(grounding.rows)
        self._sure = False  # of the leaf in hand: its cell is certainly the one
        self._row: tuple[PrintedRow, str] | None = None  # that an entry at this path is
        self._options = options
        self._coerced = bool(options.keys() & {"coerce_one_of", "lenient"})
        self._names: dict[tuple[Any, str], str] = {}  # of what is a rule already
        self._longest_free = min(MOST_FREE, max(LEAST_FREE, len(grounding.text)))

    @property
    def _text(self) -> str:
        return self._printed.text

    @property
    def _candidates(self) -> dict[str, tuple[str, ...]]:
        return dict(self._printed.candidates)

    def value(self, schema: Any, path: str) -> str:
        """The expression of a value of ``schema``, which stands at ``path``."""
        if not self._holds(schema, set()):
            return self._json(schema)
        try:
            return self._held(schema, path)
        except _Unknown as error:
            self.free.append((path or "the answer", str(error)))
            return self._json(schema)

    def _holds(self, schema: Any, seen: set[str]) -> bool:
        """Whether a leaf in it is copied; references are followed."""
        if isinstance(schema, list):
            return any(self._holds(each, seen) for each in schema)
        if not isinstance(schema, dict):
            return False
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference not in seen:
            seen.add(reference)
            if self._holds(self._target(reference), seen):
                return True
        inner = (value for key, value in schema.items() if key != "$defs")
        return HELD in schema or any(self._holds(each, seen) for each in inner)

    def _target(self, reference: str) -> Any:
        return self._defs.get(reference.removeprefix("#/$defs/"), {})

    def _held(self, schema: Json, path: str) -> str:
        said = schema.keys() - _ANNOTATIONS
        if HELD in schema and schema[HELD] != ROWS:
            return self._leaf(schema, said, path)
        if said == {"$ref"}:
            return self._reference(schema["$ref"], path)
        for union in ("anyOf", *(("oneOf",) if self._coerced else ())):
            if said == {union}:
                return _either(self.value(branch, path) for branch in schema[union])
        kinds = _kinds(schema)
        shapes = [self._shape(schema, said, kind, path) for kind in kinds if kind != "null"]
        if not shapes:
            raise _Unknown(_first(said))
        return _either([*shapes, *(['"null"'] if "null" in kinds else [])])

    def _shape(self, schema: Json, said: set[str], kind: str, path: str) -> str:
        if kind == "object" and said <= _OBJECT:
            return self._object(schema, path)
        if kind == "array" and said <= _ARRAY:
            return self._array(schema, path)
        raise _Unknown(_first(said - _OBJECT - _ARRAY) or kind)

    def _reference(self, reference: str, path: str) -> str:
        # In a row each place has its own column.
        place = path if self._row and path.count(".") < _DEEPEST else ""
        key = (id(self._printed), f"{reference} {place}")
        if key not in self._names:
            self._names[key] = name = f"d{len(self._names)}"
            self.rules[name] = ""  # holds the place, and ends a recursion
            self.rules[name] = self.value(self._target(reference), path)
        return self._names[key]

    # Objects and lists.

    def _object(self, schema: Json, path: str) -> str:
        if schema.get("additionalProperties") is not False:
            raise _Unknown("additionalProperties")
        members = {
            name: sub for name, sub in schema.get("properties", {}).items() if sub is not False
        }
        required = set(schema.get("required", ()))
        if not members or not required <= members.keys():
            raise _Unknown("required")
        if required == members.keys() and self._row is not None:
            return " ".join([*self._begun(members, path, "{"), '"}"'])
        written = [
            (self._member(name, sub, path), name in required) for name, sub in members.items()
        ]
        if all(needed for _, needed in written):
            return '"{" ' + ' ", " '.join(text for text, _ in written) + ' "}"'
        return '"{" ' + self._optional(written) + ' "}"'

    def _begun(self, members: Mapping[str, Any], path: str, before: str) -> Iterator[str]:
        """The parts of members that all stand there, the first one behind ``before``: in fewer
        steps than ``_member``. No other step may begin with one of these: the longest is taken."""
        for name, schema in members.items():
            yield _literal(f"{before}{_literal(name)}: ")
            yield f"({self.value(schema, f'{path}.{name}'.lstrip('.'))})"
            before = ", "

    def _member(self, name: str, schema: Any, path: str) -> str:
        key = _literal(name)
        value = self.value(schema, f"{path}.{name}".lstrip("."))
        return f"{_literal(key + ': ')} ({value})"

    def _optional(self, written: Sequence[tuple[str, bool]]) -> str:
        """Members of which some may be missing: ``more`` is what follows behind a comma or
        nothing, ``first`` is what follows where nothing stands yet."""
        more = first = ""
        for text, needed in reversed(written):
            member = self._rule(text)
            begins = f"{member} {more}"
            goes_on = f'", " {member} {more}'
            if not needed:
                begins = f"{begins} | {first}" if first else f"({begins})?"
                goes_on = f"{goes_on} | {more}" if more else f"({goes_on})?"
            more, first = self._rule(goes_on), self._rule(begins)
        return first

    def _array(self, schema: Json, path: str) -> str:
        if not isinstance(schema.get("items"), dict):
            raise _Unknown("items")
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        if most is not None and (most < max(least, 1)):
            raise _Unknown("maxItems")
        if rows := self._down(schema, path, _COMMA) or self._groups(schema, path):
            return rows
        if not least and most is None and (each := self._each_once(schema["items"])) is not None:
            return each
        item = self._rule(self.value(schema["items"], f"{path}[]"))
        bounds = f"{{{max(least - 1, 0)},{'' if most is None else most - 1}}}"
        more = "" if most == 1 else f'(", " {item}){bounds} '
        rows = f'"[" {item} {more}"]"'
        return rows if least else f'"[]" | {rows}'

    def _each_once(self, leaf: Json) -> str | None:
        """A list of values of one kind, such as e-mail addresses: those that are printed, in their
        order, each at most once. None where such a value may be the same as another."""
        if leaf.get(HELD) not in self._candidates or _REPEATED.search(leaf[HELD]):
            return None
        if leaf.keys() - _ANNOTATIONS - _LEAF or "string" not in _kinds(leaf):
            return None
        values = [self._rule(_literal(each)) for each in dict.fromkeys(self._quoted(leaf))]
        return f'"[]" | "[" {self._tree(values, _COMMA)} "]"' if values else '"[]"'

    # Rows.

    def _down(self, schema: Json, path: str, between: str) -> str:
        """A list whose entries are printed rows in their order, each at most once; "" where no row
        has what an entry needs. ``between`` is what stands between two of them."""
        rows = self._rows_of(schema)
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        whole, self._rows = (self._printed, self._rows), {}
        begins: list[bool] = []
        found: list[str] = []
        counted = least > 1 or (most is not None and most < len(rows))
        for row in rows:
            self._printed, self._row = row, (row, f"{path}[]")
            with suppress(_Unknown):
                entry = self._rule(self._entry(schema["items"], row, f"{path}[]"))
                if found and row.bound and not counted:
                    found[-1] = f"{found[-1]} {between} {entry}"
                else:
                    found.append(entry)
                    begins.append(row.begins)
        found = [self._rule(each) if between in each else each for each in found]
        (self._printed, self._rows), self._row = whole, None
        entries = self._sequence(found, begins, between, least, most)
        if not entries:
            return ""
        return f'"[" {entries} "]"' if least else f'"[]" | "[" {entries} "]"'

    def _rows_of(self, schema: Json) -> tuple[PrintedRow, ...]:
        if schema.get(HELD) != ROWS or not self._rows:
            return ()
        return self._rows.get(row_key(schema["items"], self._target), ())

    def _entry(self, items: Json, row: PrintedRow, path: str) -> str:
        """What an entry can be that is this row; where it is a list, its cells."""
        found = cells_of(self._resolved(items))
        if found is None or not row.cells:
            return self._held(items, path)
        name, cells = found
        count = len(row.cells)
        if not cells.get("minItems", 0) <= count <= cells.get("maxItems", count):
            raise _Unknown("maxItems")
        before, behind = (_literal(f"{{{_literal(name)}: "), '"}"') if name else ("", "")
        return f"{before} {self._cells(cells['items'], row)} {behind}".strip()

    def _cells(self, inner: Json, row: PrintedRow) -> str:
        """All cells of a row, null where one is empty."""
        kinds = {kind for _, leaf in row_leaves(inner, self._target) for kind in _kinds(leaf)}
        texts = [" ".join(cell.split()) or None for cell in row.cells]
        if "string" in kinds:
            return _literal(json.dumps(texts, ensure_ascii=False))
        number = self._one_of(dict(row.candidates).get(NUMBER, ()))
        value = f"({number} | {_NULL})" if number else _NULL
        return f'"[" {" ".join(islice(cycle((value, _COMMA)), 2 * len(texts) - 1))} "]"'

    def _sequence(
        self, rows: Sequence[str], begins: Sequence[bool], between: str, least: int,
        most: int | None,
    ) -> str:  # fmt: skip
        """One row or more, down the page; "" where there are too few or too many to be counted."""
        if not rows or len(rows) < least:
            return ""
        if least > 1 or (most is not None and most < len(rows)):
            return self._counted(rows, between, max(least, 1), most)
        size = max(_BLOCK, len(rows) // _BLOCK)
        starts = [at for at, begin in enumerate(begins) if begin and at]
        starts = starts if len(starts) <= _MOST_STARTS else []
        borders = sorted({0, len(rows), *starts, *range(0, len(rows), size)})
        firsts = [at for at, border in enumerate(borders[:-1]) if border in starts]
        blocks: list[str] = []  # from the last; what begins in each of them
        count = len(borders) - 1

        def reached(first: int) -> str:
            near = range(first, min(first + _REACH, count))
            far = [at for at in firsts if at >= first + _REACH][:_TABLES]
            return _either(blocks[count - 1 - at] for at in (*near, *far))

        for at in reversed(range(count)):
            block = self._tree(rows[borders[at] : borders[at + 1]], between)
            more = reached(at + 1)
            blocks.append(self._rule(f"{block} ({between} ({more}))?" if more else block))
        return f"({reached(0)})"

    def _tree(self, rows: Sequence[str], between: str) -> str:
        """One or more of these, in their order; halved, since a chain is a deep recursion."""
        if len(rows) == 1:
            return rows[0]
        half = len(rows) // 2
        one, other = self._tree(rows[:half], between), self._tree(rows[half:], between)
        return self._rule(f"{one} | {other} | {one} {between} {other}")

    def _counted(self, rows: Sequence[str], between: str, least: int, most: int | None) -> str:
        """As many as a schema wants."""
        top = least if most is None else most
        if len(rows) * top * top > _MOST_COUNTED:
            return ""

        def count(some: Sequence[str]) -> dict[int, str]:
            """The rule of each number of entries; where there is no most, ``top`` is or more."""
            if len(some) == 1:
                return {1: some[0]}
            half = len(some) // 2
            one, other = count(some[:half]), count(some[half:])
            found: dict[int, list[str]] = {}
            for part in (one, other):
                for number, rule in part.items():
                    found.setdefault(number, []).append(rule)
            for first, before in one.items():
                for second, behind in other.items():
                    number = first + second if most is not None else min(first + second, top)
                    if number <= top:
                        found.setdefault(number, []).append(f"{before} {between} {behind}")
            return {number: self._rule(_either(each)) for number, each in found.items()}

        return f"({_either(rule for number, rule in count(rows).items() if number >= least)})"

    def _groups(self, schema: Json, path: str) -> str:
        """A list whose entries hold a list of rows: their rows go down the page together. "" where
        it is none."""
        items, least = self._resolved(schema["items"]), schema.get("minItems", 0)
        members = items.get("properties", {})
        lists = [name for name, sub in members.items() if self._rows_of(self._resolved(sub))]
        whole = items.get("additionalProperties") is False and "object" in (_kinds(items) or ())
        if len(lists) != 1 or set(items.get("required", ())) != members.keys() or not whole:
            return ""
        rows = self._resolved(members[lists[0]])
        if least > 1 or schema.keys() & {"maxItems"} or rows.keys() & {"minItems", "maxItems"}:
            return ""
        at = list(members).index(lists[0])
        before, behind = dict([*members.items()][:at]), dict([*members.items()][at + 1 :])
        key = _literal(f"{', ' if before else '{'}{_literal(lists[0])}: ")
        opening = self._rule(" ".join([*self._begun(before, f"{path}[]", "{"), key]))
        closing = self._rule(" ".join([*self._begun(behind, f"{path}[]", ", "), '"}"']))
        empty = self._rule(f'{opening} "[]" {closing}')
        few = f'(", " {empty}){{0,{_EMPTY}}}'
        between = self._rule(f'", " | "]" {closing} {few} ", " {opening} "["')
        listed = self._down(rows, f"{path}[].{lists[0]}", between)
        if not listed:
            return ""
        entries = listed.removeprefix('"[]" | ')  # with the brackets of the first and last list
        some = f'"[" ({empty} ", "){{0,{_EMPTY}}} {opening} {entries} {closing} {few} "]"'
        none = f'"[" {empty} {few} "]"'
        return f"{some} | {none}" if least else f'"[]" | {some} | {none}'

    def _resolved(self, schema: Any) -> Json:
        """Without a reference, and without a null beside it."""
        while isinstance(schema, dict):
            branches = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
            if len(branches) == 1:
                schema = branches[0]
            elif isinstance(schema.get("$ref"), str):
                schema = self._target(schema["$ref"])
            else:
                return schema
        return {}

    # Leaves.

    def _leaf(self, schema: Json, said: set[str], path: str) -> str:
        if not said <= _LEAF:
            raise _Unknown(_first(said - _LEAF))
        whole, sure = self._printed, False
        if self._row is not None:
            row, base = self._row
            field = path.removeprefix(base).lstrip(".")
            self._printed = dict(row.columns).get(field, row)
            sure = field in row.sure
        try:
            self._sure = sure
            return self._choices(schema, sure=sure)
        finally:
            self._printed, self._sure = whole, False

    def _choices(self, schema: Json, *, sure: bool) -> str:
        kinds = _kinds(schema)
        found = [self._scalar(schema, kind) for kind in kinds if kind != "null"]
        choices = [each for each in found if each]
        if "null" in kinds and not (sure and choices):
            choices.append('"null"')
        if not choices:
            raise _Unknown("the document prints none")
        return _either(choices)

    def _scalar(self, schema: Json, kind: str) -> str:
        """What a leaf of one type can be; "" where the document has nothing for it."""
        held = schema[HELD]
        if kind == "string" and (held in (VERBATIM, NUMBER) or held not in self._candidates):
            return self._verbatim(schema)
        if kind == "string":
            return self._one_of(self._quoted(schema))
        if kind in ("number", "integer"):
            name = held if held.endswith(NUMBER) else NUMBER
            return self._one_of(
                [n for n in self._candidates.get(name, ()) if _fits(n, kind, schema)]
            )
        if kind == "boolean":
            return '"true" | "false"'
        raise _Unknown(kind)

    def _quoted(self, schema: Json) -> list[str]:
        """The candidates of a leaf, as JSON spells them."""
        fits = (each for each in self._candidates[schema[HELD]] if _has_length(each, schema))
        return [json.dumps(" ".join(each.split()), ensure_ascii=False) for each in fits]

    def _one_of(self, values: Sequence[str]) -> str:
        """A terminal of these texts."""
        if not values:
            return ""
        return (
            _either(map(_literal, values))
            if len(values) == 1
            else self._terminal("C", _either(map(_literal, values)))
        )

    def _verbatim(self, schema: Json) -> str:
        """A run of words within the lengths of the schema."""
        if "format" in schema:
            raise _Unknown("format")
        pattern = _whole_pattern(schema["pattern"]) if "pattern" in schema else ""
        if not self._text.split():
            return ""
        least, most = schema.get("minLength", 0), schema.get("maxLength", LONGEST_COPY)
        words = self._few_words(least, most) or self._words()
        if words == _NO_WORDS:
            return ""
        limits = []
        if least > most:
            raise _Unknown("minLength")
        if least > 1 or most < min(len(self._text), LONGEST_COPY):
            limits.append(f"/(?s:.{{{least},{most}}})/")
        if pattern:
            limits.append(f"/{pattern}/")
        if not limits:
            return f'"\\"" {words} "\\""'
        # One terminal with its quotes: where no words are like that, it does not begin either.
        fits = self._terminal("W", " & ".join((words, *limits)))
        return self._terminal("Q", f'"\\"" {fits} "\\""')

    def _lines(self, least: int, most: int) -> str:
        """Whole lines of a cell that is certainly the one: less would be a part of a name."""
        lines = [" ".join(line.split()) for line in self._text.split("\n") if line.strip()]
        parts = [
            "\n".join(lines[first : last + 1])
            for first in range(len(lines))
            for last in range(first, len(lines))
        ]
        runs = [
            whole.replace("\n", " ")
            for part in parts
            for whole in (part, _CUT_WORD.sub(r"\1\2", part))
        ]
        fits = [_literal(run)[1:-1] for run in runs if least <= len(run) <= most]
        return self._one_of(fits) or _NO_WORDS

    def _few_words(self, least: int, most: int) -> str:
        """The same, spelled out where the text is short: that compiles sooner. "" where it is not;
        ``_NO_WORDS`` where no run is long or short enough."""
        if self._sure:
            return self._lines(least, most)
        pieces = list(_PIECE.finditer(" ".join(self._text.split())))
        inside = [found for found in pieces if not found[0].isspace()]
        if len(inside) > _FEW_PIECES or _CUT_WORD.search(self._text):
            return ""
        runs = [
            first.string[first.start() : last.end()]
            for at, first in enumerate(inside)
            for last in inside[at:]
        ]
        fits = [run for run in runs if re.fullmatch(f"(?s:{_FIRST}(?:.*{_LAST})?)", run)
                and least <= len(run) <= most]  # fmt: skip
        spelled = [_literal(run)[1:-1] for run in fits]
        return self._one_of(spelled) or _NO_WORDS

    def _words(self) -> str:
        """The terminal of all runs of words; a run begins and ends with more than a mark between
        words."""
        chunks = json.dumps(list(_chunks(self._text)), ensure_ascii=False)
        runs = self._terminal("S", f'%regex {{"substring_chunks": {chunks}}}')
        inner = r"[^\x00-\x1f]*"
        if len(self._text) > LONGEST_COPY:
            inner = rf"[^\x00-\x1f]{{0,{LONGEST_COPY - 2}}}"
        return self._terminal("T", f"{runs} & /{_FIRST}({inner}{_LAST})?/")

    # What stays JSON Schema.

    def _json(self, schema: Any) -> str:
        free = _bounded(without_marks(schema), self._longest_free)
        if not isinstance(free, dict):  # a schema that is true or false
            free = {} if free else {"not": {}}
        if "$ref" in json.dumps(free):
            free = {**free, "$defs": _bounded(without_marks(self._defs), self._longest_free)}
        free["x-guidance"] = self._options
        return self._rule(f"%json {json.dumps(free, ensure_ascii=False)}")

    def _rule(self, body: str) -> str:
        """The name of a rule with this body; the same body is one rule."""
        return self._named("r", body)

    def _terminal(self, letter: str, body: str) -> str:
        return self._named(letter, body)

    def _named(self, letter: str, body: str) -> str:
        key = (letter, body)
        if key not in self._names:
            self._names[key] = name = f"{letter}{len(self._names)}"
            self.rules[name] = body
        return self._names[key]


def _either(choices: Iterator[str] | Sequence[str]) -> str:
    return " | ".join(dict.fromkeys(choices))


_ENCODE = json.JSONEncoder(ensure_ascii=False).encode


def _literal(text: str) -> str:
    """Text as a string of the grammar, which is that of JSON."""
    return f'"{text}"' if text.isalnum() else _ENCODE(text)


def _kinds(schema: Json) -> list[str]:
    """The types that a schema allows; an object and an array are known by their keywords too."""
    said = schema.get("type")
    if isinstance(said, list):
        return said
    if isinstance(said, str):
        return [said]
    if "properties" in schema:
        return ["object"]
    raise _Unknown("type")


def _first(words: set[str]) -> str:
    return min(words, default="")


# What no linear expression says: look-around, back-references, borders of words.
_NOT_LINEAR = re.compile(r"\(\?(?!:)|\\[1-9bBkc]")
_ESCAPE_OR_CLASS = re.compile(r"\\.|\[(?:\\.?|[^\]\\])*(?:\]|\Z)", re.DOTALL)


def _whole_pattern(pattern: str) -> str:
    """A pattern of JSON Schema, which is found anywhere in a text, as one of a whole text, for
    llguidance. Raises _Unknown: it cannot be said so."""
    plain = _ESCAPE_OR_CLASS.sub(lambda found: "x" * len(found[0]), pattern)
    begins, ends = plain.startswith("^"), plain.endswith("$")
    inner = plain[begins : len(plain) - ends]
    depths = accumulate((char == "(") - (char == ")") for char in inner)
    has_branches = any(char == "|" and not depth for char, depth in zip(inner, depths, strict=True))
    one_of = (begins or ends) and has_branches  # the anchor is of one branch alone
    if _NOT_LINEAR.search(pattern) or {"^", "$"} & {*inner} or one_of:
        raise _Unknown("pattern")
    whole = f"(?:{pattern[begins : len(pattern) - ends]})"
    whole = f"{'' if begins else '(?s:.*)'}{whole}{'' if ends else '(?s:.*)'}"
    return re.sub(r"(\\.)|([/\n])", lambda found: found[1] or f"\\{_SPELLED[found[2]]}", whole)


_SPELLED = {"/": "/", "\n": "n"}


def _has_length(text: str, schema: Json) -> bool:
    most = schema.get("maxLength")
    return len(text) >= schema.get("minLength", 0) and (most is None or len(text) <= most)


def _fits(text: str, kind: str, schema: Json) -> bool:
    """Whether a printed number is of a type and within the limits of a schema."""
    value = Decimal(text)
    if kind == "integer" and ("." in text or value != int(value)):
        return False

    def limit(word: str) -> Decimal | None:
        said = schema.get(word)
        return None if said is None or isinstance(said, bool) else Decimal(str(said))

    least, most, step = limit("minimum"), limit("maximum"), limit("multipleOf")
    above, below = limit("exclusiveMinimum"), limit("exclusiveMaximum")
    return (
        (least is None or value >= least)
        and (most is None or value <= most)
        and (above is None or value > above)
        and (below is None or value < below)
        and (not step or value % step == 0)
    )


def _bounded(schema: Any, longest: int) -> Any:
    """With a greatest length for free strings that have no other limit, so that none can go on for
    ever."""
    if isinstance(schema, list):
        return [_bounded(each, longest) for each in schema]
    if not isinstance(schema, dict):
        return schema
    out = {
        key: value if key in ("enum", "const", "required") else _bounded(value, longest)
        for key, value in schema.items()
    }
    said = out.get("type")
    if (said == "string" or (isinstance(said, list) and "string" in said)) and not (
        out.keys() & {"maxLength", "pattern", "format", "enum", "const"}
    ):
        out["maxLength"] = max(longest, out.get("minLength", 0))
    return out


def _chunks(text: str) -> Iterator[str]:
    """The pieces at whose borders a copied value may begin and end, as JSON strings spell them. The
    marks of a list's entries are no part of its words."""
    text = _BULLET.sub("", text)
    runs = [text]
    for cells in columns(text):
        runs.append("\n".join(text[start:end] for start, end in cells))
    for number, part in enumerate((*runs, *(cut for run in runs for cut in _cut_words(run)))):
        if number:
            yield _BREAK
        for piece in _PIECE.findall(" ".join(part.split())):
            plain = piece.isalnum() or piece == " "
            yield piece if plain else _ENCODE(piece)[1:-1]


def _cut_words(text: str) -> Iterator[str]:
    """What stands around each word that a line end cuts, with the word whole."""
    for found in _CUT_WORD.finditer(text):
        start, end = found.start() + 1, found.end() - 1
        before = text[max(0, start - _HYPHENATED) : start].partition(" ")[2]
        before = before or text[max(0, start - 60) : start]
        behind = text[end : end + _HYPHENATED].rpartition(" ")[0] or text[end : end + 60]
        yield before + _CUT_WORD.sub(r"\1\2", behind)


def columns(text: str) -> Iterator[list[tuple[int, int]]]:
    """Cells that stand below each other, read downwards, each by where it begins and ends in the
    text: an address beside another one goes on in the next line of its column, not of the page."""
    above: dict[int, list[tuple[int, int]]] = {}
    begins = 0
    for line in (*text.split("\n"), ""):
        here: dict[int, list[tuple[int, int]]] = {}
        for found in _CELL.finditer(line):
            if not any(map(str.isalpha, found[0])):  # numbers of a table are no text together
                continue
            start = found.start()
            near = range(start - _SAME_COLUMN, start + _SAME_COLUMN + 1)
            at = next((each for each in near if each in above), None)
            column = [] if at is None else above.pop(at)
            if len(column) == _MOST_CELLS:
                yield column
                column = column[_MOST_CELLS // 2 :]
            here[start] = [*column, (begins + start, begins + found.end())]
        yield from (column for column in above.values() if len(column) > 1)
        above = here if len(here) > 1 or any(len(column) > 1 for column in here.values()) else {}
        begins += len(line) + 1
