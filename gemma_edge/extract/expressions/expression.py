"""A small, safe language for what is computed from extracted data, and checked in it. Pure.

    sum(items.price * items.qty) + (tax or 0) ~= total
    all(row.qty > 0 for row in items)
    (due_date - date).days <= 30

Numbers are decimal, so cents are exact; ``~=`` allows for a few of them. A dot goes into objects,
and through lists: ``items.price`` is the list of prices, and lists are added and multiplied item
by item. Texts that are ISO dates can be subtracted and compared as dates. Null is not known: what
is computed from it is null too, but for ``tax or 0``, ``tax == null`` and ``tax != null``.

``default(items.tax, 0)`` fills what is null, ``previous(rows.balance, opening)`` is what stands in
the row before, and ``mrz(lines)`` reads the machine-readable zone of a passport or an ID card.

Python's own parser reads it; only what is listed here runs, within bounds: there are no attributes
of Python, no calls but the functions below, no powers, no text that grows.
"""

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Literal

from gemma_edge.errors import InputError
from gemma_edge.extract.expressions.functions import FUNCTIONS
from gemma_edge.extract.expressions.run import WORDS, Run
from gemma_edge.extract.expressions.values import RunError, plain

MAX_CHARS = 1000
MAX_NODES = 300
CENTS = Decimal("0.02")  # how far ``~=`` goes: two roundings to the cent on each side

Truth = Literal["holds", "fails", "unknown"]

_ABOUT = re.compile(r"'[^']*'|\"[^\"]*\"|~=")
_ALLOWED = (
    ast.Expression, ast.Constant, ast.Name, ast.Attribute, ast.Subscript, ast.Load, ast.BinOp,
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Mod, ast.FloorDiv, ast.UnaryOp, ast.USub, ast.Not,
    ast.BoolOp, ast.And, ast.Or, ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE,
    ast.In, ast.NotIn, ast.IfExp, ast.Call, ast.GeneratorExp, ast.ListComp, ast.comprehension,
    ast.List, ast.Store,
)  # fmt: skip
_HINT = "for example: sum(items.price * items.qty) + (tax or 0) ~= total"


@dataclass(frozen=True, slots=True)
class Result:
    """``value`` is JSON; None where it is not known: ``nulls`` are the places that were null, or
    ``problem`` says what went wrong and where."""

    value: Any
    nulls: tuple[str, ...] = ()
    problem: str = ""

    @property
    def truth(self) -> Truth:
        """The result as a check; a list holds if all of it does."""
        if self.problem or self.value is None:
            return "unknown"
        if isinstance(self.value, list):
            if None in self.value and all(each is not False for each in self.value):
                return "unknown"
            return "holds" if all(self.value) else "fails"
        return "holds" if self.value else "fails"


@dataclass(frozen=True)
class Expression:
    """A text that was parsed; ``names`` are the fields of the data that it starts from, ``about``
    the right sides of ``~=`` in ``tree``, by identity."""

    text: str
    names: tuple[str, ...]
    tree: ast.expr = field(repr=False)
    about: frozenset[int] = field(repr=False)

    def evaluate(self, data: dict[str, Any], *, tolerance: Decimal = CENTS) -> Result:
        """The value for ``data``, parsed JSON. Never raises."""
        run = Run(data, self.about, tolerance)
        try:
            value = plain(run.value(self.tree))
        except RunError as error:
            at = _Columns(self.text).of(error.column or 0)
            where = f", column {at + 1}"
            return Result(None, problem=f"`{self.text}`{where}: {error}")
        return Result(value, tuple(dict.fromkeys(run.nulls)) if _is_unknown(value) else ())


def _is_unknown(value: Any) -> bool:
    return value is None or (isinstance(value, list) and None in value)


def parse_expression(text: str) -> Expression:
    """Read an expression.

    Raises:
        InputError: it is not of the language; the message names the column.
    """
    text = re.sub(r"[\t\r\n]", " ", text).strip()
    if not text:
        raise InputError("the expression is empty", hint=_HINT)
    if len(text) > MAX_CHARS:
        raise InputError(f"the expression is longer than {MAX_CHARS:,} characters", hint=_HINT)
    about = {found.start() for found in _ABOUT.finditer(text) if found[0] == "~="}
    source = "".join("=" if at in about else char for at, char in enumerate(text))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # "1or 2" is read by Python, with a warning
            tree = ast.parse(source, mode="eval").body
    except SyntaxError as error:
        raise _wrong(
            text, (error.offset or len(text) + 1) - 1, error.msg or "not understood"
        ) from None
    except (ValueError, RecursionError, MemoryError):  # a NUL, or brackets without an end
        raise InputError("the expression is not understood", hint=_HINT) from None
    columns = _Columns(text)
    _check(tree, text, columns)
    abouts = frozenset(_abouts(tree, about, columns))
    return Expression(text, tuple(dict.fromkeys(_names(tree))), tree, abouts)


def _names(tree: ast.expr) -> Iterator[str]:
    """Fields of the data: names that are no functions, no words and not bound by a ``for``."""
    parts = list(ast.walk(tree))
    called = {id(part.func) for part in parts if isinstance(part, ast.Call)}
    names = [part for part in parts if isinstance(part, ast.Name) and id(part) not in called]
    bound = {name.id for name in names if isinstance(name.ctx, ast.Store)}
    yield from (name.id for name in names if name.id not in bound | WORDS.keys())


class _Columns:
    """Python counts columns in bytes of UTF-8, people in characters."""

    def __init__(self, text: str) -> None:
        self._data = text.encode("utf-8")

    def of(self, offset: int) -> int:
        """The column of a character."""
        return len(self._data[:offset].decode("utf-8", "ignore"))


def _abouts(tree: ast.expr, about: set[int], columns: _Columns) -> Iterator[int]:
    """The column of each comparison's right side whose sign was ``~=``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            for left, right in zip(sides, sides[1:], strict=False):
                start = columns.of(left.end_col_offset or 0)
                if about & set(range(start, columns.of(right.col_offset))):
                    yield id(right)


def _check(tree: ast.expr, text: str, columns: _Columns) -> None:
    """Only what is listed, and what can be told before there is data.

    Raises:
        InputError: something else is in it.
    """
    for count, node in enumerate(ast.walk(tree)):
        at = columns.of(getattr(node, "col_offset", 0))
        if count >= MAX_NODES:
            raise InputError("the expression has too many parts", hint="split it in several")
        if not isinstance(node, _ALLOWED):
            raise _wrong(text, at, f"{type(node).__name__.lower()} is not of the language")
        flaw = _flaw(node)
        if flaw:
            raise _wrong(text, at, flaw)


def _flaw(node: ast.AST) -> str:
    """What is wrong with a part that is of an allowed kind, "" if nothing."""
    if isinstance(node, ast.Call):
        return _call_flaw(node)
    if isinstance(node, ast.Constant) and not isinstance(
        node.value, bool | int | float | str | None
    ):
        return f"{node.value!r} is no value"
    if isinstance(node, ast.Subscript):
        index = node.slice
        kinds: tuple[type, ...] = (int, str)
        if isinstance(index, ast.UnaryOp) and isinstance(index.op, ast.USub):
            index, kinds = index.operand, (int,)
        if not isinstance(index, ast.Constant) or type(index.value) not in kinds:
            return "between [ ] stands a number or a quoted name"
    if isinstance(node, ast.comprehension) and not _is_plain(node):
        return "after `for` stands one name"
    if isinstance(node, ast.Attribute) and node.attr.startswith("__"):
        return f"`{node.attr}` is no field"
    return ""


def _is_plain(loop: ast.comprehension) -> bool:
    return isinstance(loop.target, ast.Name) and not loop.is_async


def _call_flaw(node: ast.Call) -> str:
    if not isinstance(node.func, ast.Name):
        return "only functions are called"
    name = node.func.id
    if name not in FUNCTIONS:
        close = get_close_matches(name, FUNCTIONS, 1)
        known = f"`{close[0]}`?" if close else f"there are {', '.join(FUNCTIONS)}"
        return f"there is no function `{name}`; {known}"
    least, most, _ = FUNCTIONS[name]
    if node.keywords or not least <= len(node.args) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        return f"`{name}` takes {wanted} value{'' if most == 1 else 's'}"
    return ""


def _wrong(text: str, at: int, what: str) -> InputError:
    return InputError(f"expression `{text[:80]}`, column {at + 1}: {what}", hint=_HINT)
