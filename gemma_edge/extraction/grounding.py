"""Which values are copied from the document, and what each of them can be. Pure.

A copied value can only be what is printed (``engine.grounding`` holds the decoder to it):

- a value of a semantic type, a date or an e-mail address by its format, and a number are one of
  those that code finds in the pages of the prompt;
- a string whose name says so ("invoice_date", "total", "address") is one of those too, where the
  pages have any;
- any other string is a run of their words, such as a name or a number of an order;
- what the model has to write itself is free: a yes or no, one of several words, a summary, a
  category, a translation, and what a description asks to convert.

``rule_of`` is that rule, for one leaf. ``"x-gemma-edge": "text"`` makes a string free and
``"verbatim"`` holds it, whatever its name says.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from gemma_edge.documents.document import Document, Page
from gemma_edge.engine.grounding import (
    HELD,
    MOST_ROWS,
    NUMBER,
    ROWS,
    TITLES,
    VERBATIM,
    cells_of,
    render_grammar,
    row_key,
    row_leaves,
)
from gemma_edge.engine.protocol import Grounding, PrintedRow
from gemma_edge.extraction.json_schema import Json, ValuePath, resolve
from gemma_edge.extraction.printed import AMOUNT, LIKE, QUANTITY, SCALE, Finder
from gemma_edge.extraction.rows import Field, Row, Table, choose_rows, find_tables, trace_rows
from gemma_edge.extraction.values import (
    MARK,
    kind_of_leaf,
)

ALL = "all"
FREE = "text"  # the mark of a string that the model writes itself
_FORMATS = {"email": "email", "idn-email": "email", "uri": "url", "url": "url", "iri": "url"}

# Words of a name that say: this is not printed, it is made from what is.
_WRITTEN = frozenset(
    ("summary", "summaries", "abstract", "overview", "gist", "highlights", "takeaways", "insight")
    + ("insights", "explanation", "reasoning", "rationale", "analysis", "assessment", "opinion")
    + ("category", "categories", "classification", "class", "type", "kind", "genre", "topic")
    + ("topics", "tag", "tags", "keyword", "keywords", "theme", "themes", "sentiment", "tone")
    + ("mood", "emotion", "status", "priority", "severity", "gender", "language", "lang")
    + ("translation", "translated", "english", "paraphrase", "slug", "locale", "normalized")
    + ("unit", "units", "scale", "format", "level")
    + ("confidence", "score", "probability", "rating", "count", "age", "index", "position", "rank")
)
# Words of a name that say which kind of value a plain string is, and those beside which they say
# nothing: a tax number is no amount.
_NAMED_KINDS: tuple[tuple[str, frozenset[str]], ...] = (
    ("date", frozenset(("date", "dated", "birthday", "dob"))),
    ("email", frozenset(("email", "mail"))),
    ("phone", frozenset(("phone", "telephone", "tel", "mobile", "fax"))),
    ("iban", frozenset(("iban",))),
    ("url", frozenset(("url", "website", "homepage", "uri"))),
    ("currency", frozenset(("currency",))),
    ("amount", frozenset(("total", "subtotal", "amount", "price", "tax", "vat", "gst", "cost"))
     | frozenset(("fee", "fees", "balance", "discount", "net", "gross"))),
    ("address", frozenset(("address",))),
)  # fmt: skip
_NO_KIND = frozenset(
    ("id", "number", "no", "nr", "code", "name", "rate", "office", "unit", "method", "terms")
    + ("label", "description", "note", "notes", "format", "range", "list", "symbol", "account")
)
# An address of another kind, or a part of one.
_NO_ADDRESS = frozenset(("line", "street", "ip", "mac", "wallet", "block", "contract"))
# Of a description: what is written is asked for, or printed values in another form.
_ASKED = re.compile(
    r"\b(?:summar\w*|in your own words|translat\w*|classif\w*|categor\w*|infer\w*|convert\w*"
    r"|normali[sz]\w*|canonical\w*|abbreviat\w*|comput\w*|calculat\w*|derive\w*|estimat\w*"
    r"|ISO[ -]\d+|YYYY|lower-?case|upper-?case|in English|how many"
    r"|number of (?!the\b|an?\b|this\b|its\b))\b"
    r"|['\"][^'\"]{1,20}['\"] (?:if|for|when|where|unless|otherwise)\b",  # 'NA' if unknown
    re.IGNORECASE,
)
_COPIED = re.compile(
    r"\b(?:as (?:it is |they are |it stands |they stand )?(?:printed|written|shown)|verbatim"
    r"|word for word|letter for letter)\b",
    re.IGNORECASE,
)
_NAME_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_LEAF_WORDS = frozenset(("enum", "const", "contentEncoding", "contentMediaType"))
_NUMBERS = frozenset(("number", "integer"))
_PRINTS_NUMBERS = frozenset(
    (NUMBER, AMOUNT, QUANTITY, "amount", "money", "percent", f"{LIKE}amount")
)
_COUNTED = frozenset(("quantity", "quantities", "qty", "units", "pieces", "hours", "count"))
_WRITTEN_TYPES = _NUMBERS | {"string"}
_LISTED, _SHOWN = 12, 3  # names in a line


def rule_of(name: str, schema: Json) -> str:
    """How a leaf with this name is decoded: "" where it is free, ``VERBATIM``, ``NUMBER``, or the
    kind of value that it is one of."""
    mark = schema.get(MARK)
    if mark in (FREE, VERBATIM):
        return "" if mark == FREE else VERBATIM
    kind = kind_of_leaf(schema)
    if kind == "amount" and _words_of(name) & _COUNTED:
        return QUANTITY
    types = {*_types(schema)} - {"null"}
    if not kind and types and types <= _NUMBERS and _is_scale(name, schema):
        return SCALE
    if kind or _is_written(name, schema):
        return kind or ""
    if types and types <= _NUMBERS:
        return AMOUNT if _named_kind(name) == f"{LIKE}amount" else NUMBER
    is_text = "string" in types and not types & {"object", "array"}
    return _rule_of_string(name, schema) if is_text else ""


def _is_scale(name: str, schema: Json) -> bool:
    """Whether a number is called ``scale`` or ``unit_scale``: what a table counts in."""
    words = [word.lower() for word in _NAME_PART.findall(name)]
    return words in (["scale"], ["unit", "scale"]) and not _LEAF_WORDS & schema.keys()


def _rule_of_string(name: str, schema: Json) -> str:
    if "format" in schema:
        return _FORMATS.get(schema["format"], "")
    return "pattern" not in schema and _named_kind(name) or VERBATIM


def _named_kind(name: str) -> str:
    words = _words_of(name)
    if words & _NO_KIND or (words & _NO_ADDRESS and "address" in words):
        return ""
    return next((LIKE + kind for kind, known in _NAMED_KINDS if words & known), "")


def _types(schema: Json) -> Sequence[Any]:
    said = schema.get("type")
    return said if isinstance(said, list) else (said,)


def _words_of(name: str) -> set[str]:
    """Its words, and each in the singular."""
    words = {word.lower() for word in _NAME_PART.findall(name)}
    return words.union(*({w.removesuffix("s"), w.removesuffix("es")} for w in words))


def _is_written(name: str, schema: Json) -> bool:
    """Whether a name or a description says that the value is made, not copied."""
    said = schema.get("description")
    described = said if isinstance(said, str) else ""
    if _LEAF_WORDS & schema.keys():
        return True
    if _COPIED.search(described):
        return False
    return _ASKED.search(described) is not None or bool(_words_of(name) & _WRITTEN)


_SAME_NAME = ("anyOf", "oneOf", "allOf", "prefixItems")
_INNER = ("items", "additionalProperties", "contains")
_NAMED = ("properties", "$defs", "definitions", "patternProperties")

_Keys = tuple[str, ...]  # that lead to a schema
_Change = Callable[[_Keys, Json], Json]


def mark_leaves(source: Json) -> Json:
    """The schema with ``HELD`` at each leaf that is copied."""

    def mark(keys: _Keys, schema: Json) -> Json:
        name = keys[-1] if keys else ""
        titles = _row_titles(name, schema, source)
        if titles is not None:
            return {**schema, HELD: ROWS, TITLES: titles}
        rule = rule_of(name, schema)
        is_leaf = "properties" not in schema or kind_of_leaf(schema)
        return {**schema, HELD: rule} if rule and is_leaf else schema

    marked: Json = _rewrite(source, (), mark)
    return marked


def _row_titles(
    name: str, schema: Json, root: Json, seen: set[str] | None = None
) -> dict[str, str] | None:
    """What is said of the fields of a list whose entries can be the rows of a table: objects of
    two copied values or more, or lists of cells. None where it is no such list. ``seen`` are
    references that were followed already."""
    items, seen = schema.get("items"), set() if seen is None else seen
    while isinstance(items, dict) and isinstance(to := items.get("$ref"), str):
        if to in seen:
            return None
        seen.add(to)
        items = resolve(root, to)
    if not isinstance(items, dict):
        return None
    if cells := cells_of(items):
        return {} if rule_of(cells[0] or name, cells[1]["items"]) else None
    leaves = [
        (path, leaf, leaf.get(HELD) or rule_of(path.rpartition(".")[2] or name, leaf))
        for path, leaf in row_leaves(items, lambda to: resolve(root, to))
    ]
    held = [path for path, _, rule in leaves if rule]
    if len(held) < _LEAST_HELD or _has_rows_inside(items, root, seen):
        return None
    return {path: _said_of(leaf) for path, leaf, rule in leaves if rule and _said_of(leaf)}


_LEAST_HELD = 2  # fields of an entry that is a row


def _said_of(leaf: Json) -> str:
    return " ".join(str(leaf[word]) for word in ("title", "description") if leaf.get(word))


def _has_rows_inside(items: Any, root: Json, seen: set[str]) -> bool:
    """Whether an entry holds a list whose entries are rows; each reference is followed once."""
    if not isinstance(items, dict):
        return False
    if isinstance(to := items.get("$ref"), str):
        if to in seen:
            return False
        seen.add(to)
        return _has_rows_inside(resolve(root, to), root, seen)
    inner = [*items.get("properties", {}).values(), *items.get("anyOf", ())]
    return any(
        (isinstance(sub, dict) and _row_titles("", sub, root, seen) is not None)
        or _has_rows_inside(sub, root, seen)
        for sub in inner
    )


def choose_held(marked: Json, free: Collection[str], held: Collection[str]) -> Json:
    """The marked schema with these fields, and what lies inside of them, not held, and held to any
    printed words or numbers. A field is called by its name, or by those that lead to it
    (``items.description``); ``ALL`` is each."""
    if not free and not held:
        return marked

    def loosen(_: _Keys, schema: Json) -> Json:
        return {word: value for word, value in schema.items() if word not in (HELD, TITLES)}

    def hold(_: _Keys, schema: Json) -> Json:
        types, known = {*_types(schema)}, str(schema.get(HELD, LIKE))
        if not known.startswith(LIKE) or _LEAF_WORDS & schema.keys():
            return schema
        rule = VERBATIM if "string" in types else NUMBER if types & _NUMBERS else ""
        return {**schema, HELD: rule} if rule else schema

    def choose(keys: _Keys, schema: Json) -> Json:
        change = loosen if _is_named(keys, free) else hold if _is_named(keys, held) else None
        return schema if change is None else _rewrite(schema, keys, change)

    chosen: Json = _rewrite(marked, (), choose)
    return chosen


def _is_named(keys: _Keys, names: Collection[str]) -> bool:
    if not keys:
        return ALL in names
    return any(".".join(keys[at:]) in names for at in range(len(keys)))


def unknown_fields(source: Json, names: Collection[str]) -> list[str]:
    """Those of the names that no field of a schema has."""
    known: set[str] = {ALL}

    def note(keys: _Keys, schema: Json) -> Json:
        known.update(".".join(keys[at:]) for at in range(len(keys)))
        return schema

    _rewrite(source, (), note)
    return [name for name in names if name not in known]


def _rewrite(schema: Any, keys: _Keys, change: _Change) -> Any:
    """The schema with each schema inside of it changed, the innermost first."""
    if not isinstance(schema, dict):
        return schema
    out = dict(schema)
    for word in _NAMED:
        if isinstance(out.get(word), dict):
            inner = keys if word == "properties" else ()
            out[word] = {
                each: _rewrite(sub, (*inner, each), change) for each, sub in out[word].items()
            }
    for word in _SAME_NAME:
        if isinstance(out.get(word), list):
            out[word] = [_rewrite(sub, keys, change) for sub in out[word]]
    for word in _INNER:
        if word in out:
            out[word] = _rewrite(out[word], keys, change)
    return change(keys, out)


def held_kinds(schema: Any) -> Iterator[str]:
    """What the leaves of a marked schema are held to."""
    if isinstance(schema, dict):
        if isinstance(schema.get(HELD), str) and schema[HELD] != ROWS:
            yield schema[HELD]
            if _NUMBERS & {*_types(schema)}:
                yield schema[HELD] if schema[HELD].endswith(NUMBER) else NUMBER
        for value in schema.values():
            yield from held_kinds(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from held_kinds(value)


def rule_at(marked: Json, path: ValuePath) -> str:
    """What the value at a path is held to by a marked decoding schema; "" where it is free."""
    views = _views(marked, [marked])
    for step in path:
        inner = [
            view.get("items") if isinstance(step, int) else view.get("properties", {}).get(step)
            for view in views
        ]
        views = _views(marked, inner)
    return next((view[HELD] for view in views if view.get(HELD, ROWS) != ROWS), "")


def _views(root: Json, schemas: Iterable[Any]) -> list[Json]:
    """These schemas with those that they refer to or are made of, each once."""
    found: dict[int, Json] = {}
    waiting = list(schemas)
    for schema in waiting:  # grows
        if isinstance(schema, dict) and id(schema) not in found:
            found[id(schema)] = schema
            for word in _SAME_NAME:
                waiting += schema.get(word, ())
            waiting.append(resolve(root, schema["$ref"]) if "$ref" in schema else None)
    return list(found.values())


def row_lists(marked: Json) -> Iterator[tuple[str, list[Field]]]:
    """The lists of a marked schema whose entries are rows: the ``row_key`` of each, and the copied
    fields of an entry; no fields where it is a list of cells."""

    def walk(schema: Any) -> Iterator[Json]:
        if isinstance(schema, dict):
            if schema.get(HELD) == ROWS and isinstance(schema.get("items"), dict):
                yield schema
            schema = list(schema.values())
        for each in schema if isinstance(schema, list) else ():
            yield from walk(each)

    target = _targets(marked)
    for schema in walk(marked):
        titles = schema.get(TITLES, {})
        fields = [
            Field(
                path,
                titles.get(path, ""),
                _has_digits(leaf[HELD]),
                leaf[HELD] in _AMOUNTS,
                leaf[HELD],
            )
            for path, leaf in row_leaves(schema["items"], target)
            if HELD in leaf
        ]
        yield row_key(schema["items"], target), fields


def _targets(marked: Json) -> Callable[[str], Any]:
    """What a reference of a marked schema points at."""
    definitions = marked.get("$defs", {})
    return lambda reference: definitions.get(reference.removeprefix("#/$defs/"), {})


_WORDS_ONLY = frozenset((VERBATIM, "country", "currency", "email", "url"))
_AMOUNTS = frozenset((NUMBER, AMOUNT, QUANTITY, "amount", "money", f"{LIKE}amount"))


def _has_digits(rule: str) -> bool:
    return rule.removeprefix(LIKE) not in _WORDS_ONLY


_Candidates = dict[str, tuple[str, ...]]


# What is said of a list: that all of its lines are wanted, that some are not.
_EVERY = re.compile(r"\b(?:each|every|all)\b", re.IGNORECASE)
_SOME = re.compile(
    r"\b(?:only|except\w*|other than|but not|exclud\w*|ignor\w*|skip\w*|leave out|omit\w*|unless"
    r"|first|last|top|largest|smallest|more than|less than)\b"
    # "Lines above 100.00", but not "a line below with", "the entry above", "over all pages"
    r"|\b(?:above|below|over|under)\b(?!\s*(?:[;,.:)]|$|(?:with|and|it|all)\b))",
    re.IGNORECASE,
)


def wants_every(source: Json, rules: Iterable[tuple[str, str]]) -> bool:
    """Whether what is said of the lists of entries of this schema, in their descriptions and in
    rules (the field that one is about, its text), asks for each of their lines, of every list."""
    said: dict[str, str] = {}

    def note(keys: _Keys, schema: Json) -> Json:
        items = schema.get("items")
        if isinstance(items, dict) and "properties" in items:
            said[".".join(keys)] = str(schema.get("description", ""))
        return schema

    _rewrite(source, (), note)
    for name, text in rules:
        if name in said:
            said[name] += f" {text}"
    lists = said.values()
    return bool(said) and all(map(_EVERY.search, lists)) and not any(map(_SOME.search, lists))


def find_candidates(document: Document, marked: Json, *, every: bool = False) -> Grounding:
    """What the copied values of a marked schema can be in a document, or in some of its pages; and
    in each row of its tables, where a list has their rows as its entries. With ``every`` a list
    leaves none out of those that are surely rows of one table."""
    known = _find(document, set(held_kinds(marked)))
    lists = dict(row_lists(marked))
    tables = find_tables([page.text for page in document.pages if page.text]) if lists else []
    rows = _RowCandidates(document, known, deep=_is_deep(marked), every=every)
    found = ((key, tuple(rows.of(tables, fields))) for key, fields in lists.items())
    return Grounding(
        text=_text_of(document),
        candidates=_pairs(known),
        rows=tuple((key, some) for key, some in found if 0 < len(some) <= MOST_ROWS),
    )


def find_rows(document: Document, marked: Json) -> dict[str, list[Row]]:
    """The rows that the entries of each list of a marked schema can be, by the ``row_key`` of the
    list, down the pages: for ``trace_rows``. A page without text counts as none."""
    tables = find_tables([page.text for page in document.pages if page.text])
    return {
        key: [chosen.row for chosen in choose_rows(tables, fields)]
        for key, fields in row_lists(marked)
    }


def place_rows(
    rows: Mapping[str, Sequence[Row]], marked: Json, data: Any
) -> dict[ValuePath, tuple[int, tuple[tuple[int, int], ...]]]:
    """Where the row of each entry stands, of the lists of ``data`` whose entries are rows: its
    page, from 0 among those with text, and its lines in that. ``rows`` are those of
    ``find_rows``."""
    found: dict[ValuePath, tuple[int, tuple[tuple[int, int], ...]]] = {}
    target = _targets(marked)

    def walk(schemas: Iterable[Any], value: Any, path: ValuePath) -> None:
        views = _views(marked, schemas)
        if isinstance(value, dict):
            for name, each in value.items():
                walk([view.get("properties", {}).get(name) for view in views], each, (*path, name))
        if not isinstance(value, list):
            return
        held = next((view["items"] for view in views if view.get(HELD) == ROWS), None)
        some = [] if held is None else rows.get(row_key(held, target), [])
        for at, row in enumerate(trace_rows(value, some)):
            if row is not None:
                found.update({(*path, at): (some[row].page, some[row].spans)})
        for at, each in enumerate(value if held is None else ()):
            walk([view.get("items") for view in views], each, (*path, at))

    walk([marked], data, ())
    return found


def _is_deep(schema: Any, inside: bool = False) -> bool:
    """Whether an entry that is a row may hold a list."""
    if isinstance(schema, dict):
        if inside and ("items" in schema or "$ref" in schema):
            return True
        at_rows = schema.get(HELD) == ROWS
        return any(
            _is_deep(sub, inside or (at_rows and word == "items")) for word, sub in schema.items()
        )
    return isinstance(schema, list) and any(_is_deep(sub, inside) for sub in schema)


class _RowCandidates:
    """What stands in rows; the same text is read once."""

    def __init__(
        self, document: Document, known: _Candidates, *, deep: bool, every: bool
    ) -> None:  # fmt: skip
        self._document, self._known, self._every = document, known, every
        self._inner = known.keys() if deep else ()  # kinds of what stands in lists of entries
        self._allowed = {kind: frozenset(texts) for kind, texts in known.items()}
        self._finders: dict[str, Finder] = {}
        self._found: dict[tuple[str, str], tuple[str, ...]] = {}

    def of(self, tables: Sequence[Table], fields: Sequence[Field]) -> Iterator[PrintedRow]:
        """The rows of a list with these fields."""
        chosen = choose_rows(tables, fields)
        rules = {each.path: each.rule for each in fields}
        kinds = ({NUMBER, *rules.values()} if fields else {NUMBER}) & self._known.keys()
        # What no row of the list has, such as the currency of a page, can stand anywhere in it.
        above = {
            kind: self._known[kind] for kind in kinds - _AMOUNTS
            if not any(self._own(each.row.text, kind) for each in chosen)
        }  # fmt: skip
        for each in chosen:
            cells, text = each.row.cells, each.row.text
            claimed = {path: at for path, at in each.columns.items() if cells[at]}
            rest = [cell for at, cell in enumerate(cells) if cell and at not in claimed.values()]
            rest = rest if claimed else [*rest, text]
            columns = {path: self._column(cells[at], rules[path], above)
                       for path, at in claimed.items()}  # fmt: skip
            for path in rules.keys() - claimed.keys():
                empty = path in each.sure or (path in each.columns and not rest)
                free = "" if empty else "\n".join(rest) or text
                columns[path] = self._rest(free, text, rules[path], above)
            inner = {kind: self._own(text, kind) for kind in self._inner}
            yield PrintedRow(
                text=text, candidates=_pairs({**inner, **above}),
                columns=tuple(sorted(columns.items())),
                sure=tuple(sorted(each.sure & claimed.keys())), cells=cells, begins=each.begins,
                bound=each.bound and self._every,
            )  # fmt: skip

    def _rest(self, free: str, row: str, kind: str, above: _Candidates) -> PrintedRow:
        """What is in no field's column. A currency and the like may stand in one beside a value."""
        if kind not in self._known:
            return PrintedRow(text=free)
        own = self._own(free, kind) or (() if _has_digits(kind) else self._own(row, kind))
        return PrintedRow(text=free, candidates=_pairs({**self._numbers(free), kind: own, **above}))

    def _column(self, cell: str, kind: str, above: _Candidates) -> PrintedRow:
        """What is only called like a date can be any words of its cell, where they are none."""
        if kind not in self._known:
            return PrintedRow(text=cell)
        own = self._own(cell, kind)
        found = {kind: own} if own or not kind.startswith(LIKE) else {}
        return PrintedRow(text=cell, candidates=_pairs({**self._numbers(cell), **found, **above}))

    def _numbers(self, text: str) -> _Candidates:
        return {NUMBER: self._own(text, NUMBER)} if NUMBER in self._known else {}

    def _own(self, text: str, kind: str) -> tuple[str, ...]:
        """What the text has of what the document has: with all of it in sight, a number may be no
        amount."""
        if (text, kind) not in self._found:
            if text not in self._finders:
                page = replace(self._document, pages=(Page(1, text),))
                self._finders[text] = Finder(page)
            found = self._finders[text].find(kind) or ()
            self._found[text, kind] = tuple(filter(self._allowed[kind].__contains__, found))
        return self._found[text, kind]


def _text_of(document: Document) -> str:
    return "\n\n".join(page.text for page in document.pages if page.text)


def _pairs(candidates: _Candidates) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple(candidates.items())


def _find(document: Document, kinds: Collection[str]) -> _Candidates:
    finder = Finder(document)
    found = ((kind, finder.find(kind)) for kind in sorted({*kinds} - {VERBATIM}))
    return {kind: texts for kind, texts in found if texts is not None}


def not_held(schema: Json, grounding: Grounding) -> tuple[str, ...]:
    """Lines where leaves that are copied cannot be held, and why, and where lists have no rows."""
    free = render_grammar(schema, replace(grounding, text="-", rows=())).free
    names = listed(_without_rows(schema, grounding))
    said = f"{names}: no rows were found, entries are only held to words"
    lines = (said,) if names else ()
    if not free:
        return lines
    named = ", ".join(f"{path} ({reason})" for path, reason in free[:_SHOWN])
    more = f" and {len(free) - _SHOWN} more" if len(free) > _SHOWN else ""
    return (f"not held to what is printed: {named}{more}", *lines)


def _without_rows(schema: Json, grounding: Grounding) -> list[str]:
    """The names of the lists whose entries could be rows, and are not."""
    known = dict(grounding.rows)
    names: dict[str, None] = {}

    def note(keys: _Keys, sub: Json) -> Json:
        if sub.get(HELD) == ROWS and row_key(sub["items"], _targets(schema)) not in known:
            names[".".join(keys) or "the answer"] = None
        return sub

    _rewrite(schema, (), note)
    return list(names)


def describe_held(source: Json, free: Collection[str] = (), held: Collection[str] = ()) -> str:
    """What is copied and what the model writes, in words; "" where nothing is copied."""
    leaves = list(_leaves(choose_held(mark_leaves(source), free, held), ""))
    copied = dict.fromkeys(name for name, rule in leaves if rule)
    written = dict.fromkeys(name for name, rule in leaves if not rule)
    if not copied:
        return ""
    said = f"can only be what is printed: {listed(copied)}"
    return f"{said}; free: {listed(written)}" if written else said


def _leaves(schema: Any, name: str) -> Iterator[tuple[str, str]]:
    """The texts and numbers of a marked schema, by name, and what each is held to."""
    if not isinstance(schema, dict):
        return
    if HELD in schema and schema[HELD] != ROWS:
        yield name, schema[HELD]
        return
    if _WRITTEN_TYPES & {*_types(schema)}:
        yield name, ""
    for word in _NAMED:
        for each, sub in schema.get(word, {}).items():
            yield from _leaves(sub, each)
    for word in _SAME_NAME:
        for sub in schema.get(word, ()):
            yield from _leaves(sub, name)
    for word in _INNER:
        yield from _leaves(schema.get(word), name)


def listed(names: Collection[str]) -> str:
    """Names for a line, the first of many."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(islice(names, _LISTED)) + more
