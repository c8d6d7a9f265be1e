"""A small, safe language for what is computed from extracted data, and checked in it.

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
import decimal
import math
import operator
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from datetime import date, timedelta
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Literal

from gemma_edge.errors import InputError
from gemma_edge.extraction.values import read_mrz
from gemma_edge.records import dataclass

# The values that expressions compute with: JSON in, decimals and dates inside, JSON out.

MAX_DIGITS = 50  # of a result; money has 15
MAX_DAYS = 4_000_000  # that are added to a date: more than the calendar has
_ISO = re.compile(r"\d{4}-\d\d-\d\d")
CONTEXT = decimal.Context(
    prec=MAX_DIGITS, Emax=300, Emin=-300,
    traps=[decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow],
)  # fmt: skip


class RunError(Exception):
    """Something that cannot be computed; ``column`` is where, from 0."""

    def __init__(self, message: str, column: int | None = None) -> None:
        super().__init__(message)
        self.column = column


def lift(value: Any) -> Any:
    """JSON to what is computed with: numbers are decimal, texts that are ISO dates are dates, also
    in lists."""
    if isinstance(value, list):
        return [lift(each) for each in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Decimal(repr(value))
    if isinstance(value, str) and _ISO.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            return value
    return value


def plain(value: Any) -> Any:
    """What was computed as JSON; a whole number is an int."""
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise OverflowError
        whole = value == value.to_integral_value(context=CONTEXT)
        return int(value) if whole else float(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value


def kind_in_words(value: Any) -> str:
    if value is None:
        return "null"
    kinds = ((bool, "true or false"), (Decimal, "a number"), (int, "a number"), (float, "a number"),
             (date, "a date"), (str, "a text"), (list, "a list"))  # fmt: skip
    return next((name for kind, name in kinds if isinstance(value, kind)), "an object")


def as_decimal(value: Any) -> Decimal:
    if isinstance(value, Decimal):
        return value
    shown = f" ({value!r:.40})" if isinstance(value, str) else ""
    raise RunError(f"{kind_in_words(value)}{shown} is no number")


def arithmetic(sign: type[ast.operator], left: Any, right: Any) -> Any:
    if isinstance(left, date) or isinstance(right, date):
        return _with_dates(sign, left, right)
    return _OPERATIONS[sign](as_decimal(left), as_decimal(right))


_OPERATIONS: dict[type[ast.operator], Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: CONTEXT.add, ast.Sub: CONTEXT.subtract, ast.Mult: CONTEXT.multiply,
    ast.Div: CONTEXT.divide, ast.FloorDiv: CONTEXT.divide_int, ast.Mod: CONTEXT.remainder,
}  # fmt: skip
_ORDERS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip


def _with_dates(sign: type[ast.operator], left: Any, right: Any) -> Any:
    if sign is ast.Sub and isinstance(left, date) and isinstance(right, date):
        return Decimal((left - right).days)
    if sign in (ast.Add, ast.Sub) and isinstance(left, date):
        days = as_decimal(right)
        if days != days.to_integral_value(context=CONTEXT) or abs(days) > MAX_DAYS:
            raise RunError(f"{days} is no number of days")
        return left + timedelta(days=int(days if sign is ast.Add else -days))
    raise RunError("dates are only subtracted, and days added to them")


def compared(sign: type[ast.cmpop], left: Any, right: Any) -> bool:
    if sign in (ast.Eq, ast.NotEq):
        return bool((left == right) == (sign is ast.Eq))
    if kind_in_words(left) != kind_in_words(right) or isinstance(left, bool | dict):
        raise RunError(f"{kind_in_words(left)} and {kind_in_words(right)} have no order")
    return bool(_ORDERS[sign](left, right))


# The functions that expressions may call.


def _rows(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise RunError(f"{kind_in_words(value)} is no list")
    return value


def _flat(run: "Run", value: Any) -> list[Any]:
    found: list[Any] = []
    for each in _rows(value):
        run.step()
        found += _flat(run, each) if isinstance(each, list) else [each]
    return found


def _sum(run: "Run", value: Any) -> Any:
    if value is None:
        return None
    items = _flat(run, value)
    if None in items:
        return None
    total = Decimal(0)
    for item in items:
        total = CONTEXT.add(total, as_decimal(item))
    return total


def _extreme(choose: Callable[[list[Any]], Any]) -> Callable[..., Any]:
    def of(run: "Run", *values: Any) -> Any:
        items = _flat(run, list(values))
        if None in items or not items:
            return None
        if len(set(map(kind_in_words, items))) > 1 or isinstance(items[0], bool | dict):
            raise RunError("these values have no order")
        return choose(items)

    return of


def _length(run: "Run", value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, list | str):
        raise RunError(f"{kind_in_words(value)} has no length")
    return Decimal(len(value))


def _round(run: "Run", value: Any, digits: Any = Decimal(0)) -> Any:
    """To the nearest, half away from zero, as on invoices."""
    places = int(as_decimal(digits))
    if abs(places) > MAX_DIGITS:
        raise RunError(f"{places} digits are too many")
    step = Decimal(1).scaleb(-places)

    def rounded(number: Any) -> Decimal:
        return as_decimal(number).quantize(step, decimal.ROUND_HALF_UP, CONTEXT)

    return run.each([value], rounded)


def _quantified(deciding: bool) -> Callable[..., Any]:
    """``any`` and ``all``: one item may decide; else a null leaves it open."""

    def of(run: "Run", value: Any) -> Any:
        if value is None:
            return None
        items = _flat(run, value)
        if any(item is not None and bool(item) is deciding for item in items):
            return deciding
        return None if None in items else not deciding

    return of


def _date(run: "Run", value: Any) -> Any:
    if value is not None and not isinstance(value, date):
        raise RunError(f"{kind_in_words(value)} is no date like 2024-05-06")
    return value


def _default(run: "Run", value: Any, instead: Any) -> Any:
    if isinstance(value, list):
        return [_default(run, each, instead) for each in value]
    run.step()
    return instead if value is None else value


def _previous(run: "Run", value: Any, first: Any) -> Any:
    """The list moved by one: what stands in the row before, and ``first`` in the first row."""
    return None if value is None else [first, *_rows(value)][: len(value)]


def _following(run: "Run", value: Any, last: Any) -> Any:
    """What stands in the row after, and ``last`` in the last row."""
    return None if value is None else [*_rows(value)[1:], last][: len(value)]


def _mrz(run: "Run", value: Any) -> Any:
    if value is None or value == []:  # most documents have none
        return None
    lines = value.splitlines() if isinstance(value, str) else _rows(value)
    if not all(isinstance(line, str) for line in lines):
        raise RunError("the lines of a machine-readable zone are texts")
    return read_mrz(lines)


# The functions: the fewest and the most values, and what they do.
FUNCTIONS: dict[str, tuple[int, int, Callable[..., Any]]] = {
    "sum": (1, 1, _sum),
    "min": (1, 9, _extreme(min)),
    "max": (1, 9, _extreme(max)),
    "len": (1, 1, _length),
    "round": (1, 2, _round),
    "abs": (1, 1, lambda run, value: run.each([value], lambda number: abs(as_decimal(number)))),
    "any": (1, 1, _quantified(True)),
    "all": (1, 1, _quantified(False)),
    "date": (1, 1, _date),
    "default": (2, 2, _default),
    "previous": (2, 2, _previous),
    "following": (2, 2, _following),
    "mrz": (1, 1, _mrz),
}

MAX_STEPS = 100_000  # operations, one for each item of a list
# Names that are values of JSON, unless the data has a field of that name.
WORDS = {"true": True, "false": False, "null": None}


class Run:
    """One evaluation, within bounds. ``about`` are the right sides of ``~=``, by identity;
    ``nulls`` collects the places of the data that were null."""

    def __init__(self, data: Mapping[str, Any], about: frozenset[int], tolerance: Decimal) -> None:
        self._data, self._about, self._tolerance = data, about, tolerance
        self.bound: dict[str, tuple[Any, str]] = {}
        self._steps = 0
        self.nulls: list[str] = []

    def value(self, node: ast.expr) -> Any:
        self.step()
        try:
            return _EVALUATORS[type(node)](self, node)
        except RunError as error:
            if error.column is None:
                error.column = node.col_offset
            raise
        except decimal.DivisionByZero:
            raise RunError("division by zero", node.col_offset) from None
        except (decimal.DecimalException, OverflowError):
            raise RunError("the number is out of range", node.col_offset) from None

    def step(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise RunError(f"it takes more than {MAX_STEPS:,} steps")

    def constant(self, node: ast.Constant) -> Any:
        return lift(node.value)

    def place(self, node: ast.expr) -> tuple[Any, str]:
        if isinstance(node, ast.Name):
            if node.id in self.bound:
                return self.bound[node.id]
            if node.id in WORDS and node.id not in self._data:
                return WORDS[node.id], ""
            return self._data.get(node.id), node.id
        if isinstance(node, ast.Attribute):
            inside, path = self.place(node.value)
            return self._member(inside, node.attr), f"{path}.{node.attr}"
        if isinstance(node, ast.Subscript):
            inside, path = self.place(node.value)
            key = ast.literal_eval(node.slice)
            return self._item(inside, key), f"{path}[{key}]"
        return self.value(node), ""

    def read(self, node: ast.expr) -> Any:
        found, path = self.place(node)
        if path and (found is None or (isinstance(found, list) and None in found)):
            self.nulls.append(path)
        return lift(found)

    def _member(self, inside: Any, name: str) -> Any:
        if inside is None:
            return None
        if isinstance(inside, dict):
            return inside.get(name)
        if isinstance(inside, list):
            for _ in inside:
                self.step()
            return [self._member(each, name) for each in inside]
        if isinstance(inside, Decimal) and name == "days":
            return inside  # the difference of two dates is a number of days
        raise RunError(f"{kind_in_words(inside)} has no `{name}`")

    def _item(self, inside: Any, key: int | str) -> Any:
        if inside is None:
            return None
        if isinstance(inside, dict) and isinstance(key, str):
            return inside.get(key)
        if isinstance(inside, list) and isinstance(key, int):
            return inside[key] if -len(inside) <= key < len(inside) else None
        raise RunError(f"{kind_in_words(inside)} has no [{key!r}]")

    def each(self, values: list[Any], function: Callable[..., Any]) -> Any:
        lengths = {len(value) for value in values if isinstance(value, list)}
        if not lengths:
            self.step()
            return None if any(value is None for value in values) else function(*values)
        if len(lengths) > 1:
            raise RunError(f"lists of {' and '.join(map(str, sorted(lengths)))} items do not match")
        (length,) = lengths
        columns = [value if isinstance(value, list) else [value] * length for value in values]
        return [self.each(list(row), function) for row in zip(*columns, strict=True)]

    def binary(self, node: ast.BinOp) -> Any:
        name = type(node.op)
        return self.each(
            [self.value(node.left), self.value(node.right)],
            lambda left, right: arithmetic(name, left, right),
        )

    def unary(self, node: ast.UnaryOp) -> Any:
        inner = self.value(node.operand)
        if isinstance(node.op, ast.Not):
            return self.each([inner], operator.not_)
        return self.each([inner], lambda value: -as_decimal(value))

    def boolean(self, node: ast.BoolOp) -> Any:
        """``and`` and ``or`` give one of their values, as ``tax or 0`` does; of truths that are not
        all known, one may decide."""
        value: Any = None
        before, open_ones = len(self.nulls), 0
        for part in node.values:
            value = self._truth(part)
            if value is not None and bool(value) == isinstance(node.op, ast.Or):
                break
            open_ones += value is None
        else:
            if open_ones and (isinstance(node.op, ast.And) or isinstance(value, bool)):
                return None
        if value is not None:
            del self.nulls[before:]  # they made no difference
        return value

    def compare(self, node: ast.Compare) -> Any:
        left, left_node, result = self.value(node.left), node.left, None
        for number, (sign, right_node) in enumerate(zip(node.ops, node.comparators, strict=True)):
            right = self.value(right_node)
            if isinstance(sign, ast.Eq | ast.NotEq) and (
                _is_null(left_node) or _is_null(right_node)
            ):
                one: Any = (left is right) == isinstance(sign, ast.Eq)
            else:
                one = self._compare(sign, left, right, id(right_node) in self._about)
            result = one if not number else self.each([result, one], lambda a, b: a and b)
            left, left_node = right, right_node
        return result

    def _compare(self, sign: ast.cmpop, left: Any, right: Any, about: bool) -> Any:
        if isinstance(sign, ast.In | ast.NotIn):
            return self._contains(left, right, isinstance(sign, ast.In))

        def one(a: Any, b: Any) -> bool:
            if about:
                return abs(as_decimal(arithmetic(ast.Sub, a, b))) <= self._tolerance
            return compared(type(sign), a, b)

        return self.each([left, right], one)

    def _contains(self, left: Any, right: Any, wanted: bool) -> Any:
        if left is None or right is None:
            return None
        if isinstance(right, str) and isinstance(left, str):
            return (left in right) == wanted
        if not isinstance(right, list):
            raise RunError(f"nothing is in {kind_in_words(right)}")
        for _ in right:
            self.step()
        return (left in right) == wanted

    def either(self, node: ast.IfExp) -> Any:
        test = self._truth(node.test)
        return None if test is None else self.value(node.body if test else node.orelse)

    def _truth(self, node: ast.expr) -> Any:
        value = self.value(node)
        if isinstance(value, list):
            raise RunError("a list is neither true nor false; all(…) or any(…) is")
        return value

    def call(self, node: ast.Call) -> Any:
        assert isinstance(node.func, ast.Name)
        values = [self.value(argument) for argument in node.args]
        return FUNCTIONS[node.func.id][2](self, *values)

    def listed(self, node: ast.List) -> Any:
        return [self.value(each) for each in node.elts]

    def comprehension(self, node: ast.GeneratorExp | ast.ListComp) -> Any:
        """``[part for name in list if test]``."""
        return [self.value(node.elt) for _ in self.rows(node.generators)]

    def rows(self, loops: list[ast.comprehension], path: str = "") -> Iterator[str]:
        """The paths of the rows that loops go over, one after another, each with its names
        bound."""
        if not loops:
            yield path
            return
        loop, *inner = loops
        assert isinstance(loop.target, ast.Name)
        name = loop.target.id
        rows, path = self.place(loop.iter)
        if rows is None:
            self.nulls.append(path)
            return
        outer = self.bound.get(name)
        for number, row in enumerate(_rows(rows)):
            self.step()
            here = f"{path}[{number}]"
            self.bound[name] = (row, here)
            if all(self.value(test) for test in loop.ifs):
                yield from self.rows(inner, here)
        self.bound.pop(name, None)
        if outer is not None:
            self.bound[name] = outer


def _is_null(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id == "null") or (
        isinstance(node, ast.Constant) and node.value is None
    )


_EVALUATORS: dict[type[ast.expr], Callable[[Run, Any], Any]] = {
    ast.Constant: Run.constant,
    ast.Name: Run.read,
    ast.Attribute: Run.read,
    ast.Subscript: Run.read,
    ast.BinOp: Run.binary,
    ast.UnaryOp: Run.unary,
    ast.BoolOp: Run.boolean,
    ast.Compare: Run.compare,
    ast.IfExp: Run.either,
    ast.Call: Run.call,
    ast.List: Run.listed,
    ast.GeneratorExp: Run.comprehension,
    ast.ListComp: Run.comprehension,
}

# The text of an expression, read and checked.

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
        except (OverflowError, ValueError, decimal.DecimalException):
            return Result(None, problem=f"`{self.text}`: the number is out of range")
        except RunError as error:
            at = _column(self.text, error.column or 0)
            return Result(None, problem=f"`{self.text}`, column {at + 1}: {error}")
        unknown = value is None or (isinstance(value, list) and None in value)
        return Result(value, tuple(dict.fromkeys(run.nulls)) if unknown else ())


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
        at = (error.offset or len(text) + 1) - 1
        raise _wrong(text, at, error.msg or "not understood") from None
    except (ValueError, RecursionError, MemoryError):  # a NUL, or brackets without an end
        raise InputError("the expression is not understood", hint=_HINT) from None
    _check(tree, text)
    abouts = frozenset(_abouts(tree, text, about))
    return Expression(text, tuple(dict.fromkeys(_names(tree))), tree, abouts)


def _names(tree: ast.expr) -> Iterator[str]:
    parts = list(ast.walk(tree))
    called = {id(part.func) for part in parts if isinstance(part, ast.Call)}
    names = [part for part in parts if isinstance(part, ast.Name) and id(part) not in called]
    bound = {name.id for name in names if isinstance(name.ctx, ast.Store)}
    yield from (name.id for name in names if name.id not in bound | WORDS.keys())


def _column(text: str, offset: int) -> int:
    """Python counts columns in bytes of UTF-8, people in characters."""
    return len(text.encode("utf-8")[:offset].decode("utf-8", "ignore"))


def _abouts(tree: ast.expr, text: str, about: set[int]) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            for left, right in zip(sides, sides[1:], strict=False):
                start = _column(text, left.end_col_offset or 0)
                if about & set(range(start, _column(text, right.col_offset))):
                    yield id(right)


def _check(tree: ast.expr, text: str) -> None:
    """Only what is listed, and what can be told before there is data; else an InputError."""
    for count, node in enumerate(ast.walk(tree)):
        at = _column(text, getattr(node, "col_offset", 0))
        if count >= MAX_NODES:
            raise InputError("the expression has too many parts", hint="split it in several")
        if not isinstance(node, _ALLOWED):
            raise _wrong(text, at, f"{type(node).__name__.lower()} is not of the language")
        flaw = _flaw(node)
        if flaw:
            raise _wrong(text, at, flaw)


def _flaw(node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        return _call_flaw(node)
    if isinstance(node, ast.Constant) and not _is_value(node.value):
        return f"{node.value!r:.40} is no value"
    if isinstance(node, ast.Subscript):
        index = node.slice
        kinds: tuple[type, ...] = (int, str)
        if isinstance(index, ast.UnaryOp) and isinstance(index.op, ast.USub):
            index, kinds = index.operand, (int,)
        if not isinstance(index, ast.Constant) or type(index.value) not in kinds:
            return "between [ ] stands a number or a quoted name"
    if isinstance(node, ast.comprehension) and (
        node.is_async or not isinstance(node.target, ast.Name)
    ):
        return "after `for` stands one name"
    if isinstance(node, ast.Attribute) and node.attr.startswith("__"):
        return f"`{node.attr}` is no field"
    return ""


def _is_value(value: Any) -> bool:
    """Whether JSON has it: ``1e999`` is infinite, and half a character is no text."""
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, int)


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


# A check that does not hold, as an equation with the numbers filled in: what a person reads, and
# what the model is asked again with.
#
#     subtotal + (tax or 0) ~= total
#     subtotal 100.00 + tax 7.00 = 107.00, total is 170.00

MAX_EXPRESSION_CHARS = 400
_MAX_TERMS = 12  # of a sum that is written out
_MAX_ROWS = 3  # that fail and are shown
_MAX_TEXT = 80  # characters of a text value
_CENT_PLACES = 2

_SIGNS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "×", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip
_PRODUCTS = (ast.Mult, ast.Div, ast.FloorDiv, ast.Mod)


def explain(expression: Expression, data: dict[str, Any], *, tolerance: Decimal = CENTS) -> str:
    words = _Explanation(expression, data, tolerance)
    try:
        said = words.failing(expression.tree)
        if words.fractions:  # then all amounts are shown with cents
            said = words.failing(expression.tree)
    except RunError:  # a part that was not needed to see that the whole fails
        said = f"{expression.text} does not hold"
    return said if len(said) <= MAX_EXPRESSION_CHARS else f"{said[:MAX_EXPRESSION_CHARS]}…"


class _Explanation:
    """Renders parts of one expression. ``row`` is the item that is looked at where lists are
    compared item by item; ``inside`` is the path of the row that a ``for`` stands at."""

    def __init__(self, expression: Expression, data: dict[str, Any], tolerance: Decimal) -> None:
        self._text = expression.text.replace("~=", "==")
        self._run = Run(data, expression.about, tolerance)
        self._row: int | None = None
        self._inside = ""
        self.fractions = False

    def failing(self, node: ast.expr) -> str:
        if isinstance(node, ast.BoolOp):
            wrong = [each for each in node.values if self._is_false(each)]
            few = wrong[:1] if isinstance(node.op, ast.And) else wrong
            return ", and ".join(map(self.failing, few))
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        return f"{self._source(node)} is false"

    def _call(self, node: ast.Call) -> str:
        assert isinstance(node.func, ast.Name)
        (first, *_) = node.args
        if node.func.id == "all":
            if isinstance(first, ast.GeneratorExp | ast.ListComp):
                return self._rows(first)
            return self.failing(first)
        said = self._source(first if node.func.id == "any" else node)
        return f"not true of any: {said}" if node.func.id == "any" else f"{said} is false"

    def _is_false(self, node: ast.expr) -> bool:
        value = self._value(node)
        return value is False or (isinstance(value, list) and False in value) or value == 0

    def _value(self, node: ast.expr) -> Any:
        value = self._run.value(node)
        if self._row is not None and isinstance(value, list) and self._row < len(value):
            return value[self._row]
        return value

    def _source(self, node: ast.expr) -> str:
        return ast.get_source_segment(self._text, node) or ast.unparse(node)

    def _comparison(self, node: ast.Compare) -> str:
        found = self._run.value(node)
        if self._row is None and isinstance(found, list):
            return self._items(node, found)
        left = node.left
        for sign, right in zip(node.ops, node.comparators, strict=True):
            pair = ast.Compare(left, [sign], [right])
            if self._is_false(pair):
                return self._pair(left, sign, right)
            left = right
        return f"{self._source(node)} is false"

    def _items(self, node: ast.Compare, found: list[Any]) -> str:
        wrong = [number for number, value in enumerate(found) if value is False]
        said = []
        for number in wrong[:_MAX_ROWS]:
            self._row = number
            said.append(f"item {number + 1}: {self._comparison(node)}")
        self._row = None
        return _joined(said, len(wrong))

    def _rows(self, loop: ast.GeneratorExp | ast.ListComp) -> str:
        said: list[str] = []
        count = 0
        for path in self._run.rows(loop.generators):
            if not self._is_false(loop.elt):
                continue
            count += 1
            if len(said) < _MAX_ROWS:
                outer, self._inside = self._inside, path
                said.append(f"{path}: {self.failing(loop.elt)}")
                self._inside = outer
        return _joined(said, count)

    def _pair(self, left: ast.expr, sign: ast.cmpop, right: ast.expr) -> str:
        if isinstance(left, ast.Constant) and isinstance(sign, ast.Eq):
            left, right = right, left
        word = isinstance(right, ast.Name) and right.id in WORDS
        if word or isinstance(right, ast.Constant | ast.List):
            against = self._source(right)
            if isinstance(sign, ast.Eq):
                return f"{self._equation(left, verb='is')}, not {against}"
            if isinstance(sign, ast.NotEq):
                return self._equation(left, verb="is")
            return f"{self._equation(left)} is not {_SIGNS[type(sign)]} {against}"
        if isinstance(sign, ast.Eq):
            if _is_place(left) and not _is_place(right):
                left, right = right, left
            return f"{self._equation(left)}, {self._equation(right, verb='is')}"
        return f"{self._equation(left)} is not {_SIGNS[type(sign)]} {self._equation(right)}"

    def _equation(self, node: ast.expr, verb: str = "") -> str:
        if _is_place(node):
            return self._named(node, verb)
        said, result = self._terms(node), self._shown(self._value(node))
        if not said and _is_opaque(node):
            return f"{self._source(node)} {verb or '='} {result}"
        said = said or self._part(node)
        return said if said.endswith(f" {result}") else f"{said} = {result}"

    def _named(self, node: ast.expr, verb: str = "", product: bool = False) -> str:
        said = (self._label(node), verb, self._shown(self._value(node), product))
        return " ".join(filter(None, said))

    def _label(self, node: ast.expr) -> str:
        _, path = self._run.place(node)
        return path.removeprefix(f"{self._inside}.") if self._inside else path

    def _part(self, node: ast.expr, product: bool = False) -> str:
        while isinstance(node, ast.IfExp):
            node = node.body if self._value(node.test) else node.orelse
        if _is_place(node):
            return self._named(node, product=product)
        if isinstance(node, ast.BinOp):
            return self._arithmetic(node)
        if isinstance(node, ast.BoolOp) and _is_place(node.values[0]):
            return self._filled(node.values[0], node, product)  # the first's name: `tax or 0`
        if isinstance(node, ast.Call):
            return self._called(node, product)
        if isinstance(node, ast.Attribute) and isinstance(
            node.value, ast.BinOp
        ):  # (due_date - date).days
            return f"({self._part(node.value)}).{node.attr}"
        shown = self._shown(self._value(node), product)
        return shown if isinstance(node, ast.Constant) else f"{self._source(node)} {shown}"

    def _called(self, node: ast.Call, product: bool) -> str:
        assert isinstance(node.func, ast.Name)
        first, more = node.args[0], node.args[1:]
        inner = first.args[0] if node.func.id == "abs" and isinstance(first, ast.Call) else first
        inner = inner.values[0] if isinstance(inner, ast.BoolOp) else inner
        if _is_place(inner) and node.func.id in ("abs", "default"):
            return self._filled(inner, node, product)
        if not isinstance(first, ast.BinOp):
            return f"{self._source(node)} {self._shown(self._value(node), product)}"
        said = ", ".join([self._part(first, True), *map(self._source, more)])
        return f"{node.func.id}({said})"

    def _arithmetic(self, node: ast.BinOp) -> str:
        product = isinstance(node.op, _PRODUCTS)
        sides = []
        for side in (node.left, node.right):
            said = self._part(side, product)
            sum_inside = isinstance(side, ast.BinOp) and not isinstance(side.op, _PRODUCTS)
            first = side is node.left
            apart = sum_inside and (product or (isinstance(node.op, ast.Sub) and not first))
            sides.append(f"({said})" if apart else said)
        return f" {_SIGNS[type(node.op)]} ".join(sides)

    def _filled(self, place: ast.expr, node: ast.expr, product: bool) -> str:
        missing = "no " if self._value(place) is None else ""
        return f"{missing}{self._label(place)} {self._shown(self._value(node), product)}"

    def _terms(self, node: ast.expr) -> str:
        """``sum(items.amount) 4.75 + 1.10``, where that is all and not too long; else ""."""
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            return ""
        terms = self._run.value(node.args[0]) if node.func.id == "sum" else None
        if not isinstance(terms, list) or not 1 < len(terms) <= _MAX_TERMS:
            return ""
        return f"{self._source(node)} {' + '.join(map(self._shown, terms))}"

    def _shown(self, value: Any, product: bool = False) -> str:
        if isinstance(value, Decimal):
            exact = plain(value)
            self.fractions = self.fractions or isinstance(exact, float)
            places = max(0, -int(value.normalize().as_tuple().exponent))
            if self.fractions and not product:
                places = max(places, _CENT_PLACES)
            return f"{value:.{places}f}"
        if value is None or isinstance(value, bool):
            return {None: "null", True: "true", False: "false"}[value]
        if isinstance(value, str):
            return f'"{value[:_MAX_TEXT]}{"…" if len(value) > _MAX_TEXT else ""}"'
        if isinstance(value, list | dict):
            return f"{kind_in_words(value)} of {len(value)}"
        return str(value)


def _is_place(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return isinstance(node, ast.Name)


def _is_opaque(node: ast.expr) -> bool:
    """Whether only its value can be shown: a function of a field, or a part of what one gives."""
    if isinstance(node, ast.Attribute):
        return not isinstance(node.value, ast.BinOp)
    return isinstance(node, ast.Call) and not isinstance(node.args[0], ast.BinOp)


def _joined(said: list[str], count: int) -> str:
    more = f"; and {count - len(said)} more" if count > len(said) else ""
    return "; ".join(said) + more
