"""A check that does not hold, as an equation with the numbers filled in. Pure.

    subtotal + (tax or 0) ~= total
    subtotal 100.00 + tax 7.00 = 107.00, total is 170.00

It is what a person reads, and what the model is asked again with.
"""

import ast
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from gemma_edge.extract.expressions.expression import CENTS, Expression
from gemma_edge.extract.expressions.run import WORDS, Run
from gemma_edge.extract.expressions.values import RunError, kind_in_words, plain

MAX_CHARS = 400
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
    """Why ``expression``, which fails for ``data``, does: one line."""
    words = _Words(expression, data, tolerance)
    try:
        said = words.failing(expression.tree)
        if words.fractions:  # then all amounts are shown with cents
            said = words.failing(expression.tree)
    except RunError:  # a part that was not needed to see that the whole fails
        said = f"{expression.text} does not hold"
    return said if len(said) <= MAX_CHARS else f"{said[:MAX_CHARS]}…"


class _Words:
    """Renders parts of one expression. ``row`` is the item that is looked at where lists are
    compared item by item; ``inside`` is the path of the row that a ``for`` stands at."""

    def __init__(self, expression: Expression, data: dict[str, Any], tolerance: Decimal) -> None:
        self._text = expression.text.replace("~=", "==")
        self._run = Run(data, expression.about, tolerance)
        self._row: int | None = None
        self._inside = ""
        self.fractions = False

    def failing(self, node: ast.expr) -> str:
        """Why a part that is false is false."""
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
        """The value of a part, of the row that is looked at."""
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
        """The items that fail, where lists are compared item by item."""
        wrong = [number for number, value in enumerate(found) if value is False]
        said = []
        for number in wrong[:_MAX_ROWS]:
            self._row = number
            said.append(f"item {number + 1}: {self._comparison(node)}")
        self._row = None
        return _joined(said, len(wrong))

    def _rows(self, loop: ast.GeneratorExp | ast.ListComp) -> str:
        """The rows that fail, of ``all(… for row in rows)``."""
        said: list[str] = []
        count = 0
        for prefix in self._iter_rows(loop.generators):
            if not self._is_false(loop.elt):
                continue
            count += 1
            if len(said) < _MAX_ROWS:
                outer, self._inside = self._inside, prefix
                said.append(f"{prefix}: {self.failing(loop.elt)}")
                self._inside = outer
        return _joined(said, count)

    def _iter_rows(self, loops: list[ast.comprehension], prefix: str = "") -> Iterator[str]:
        if not loops:
            yield prefix
            return
        loop, *inner = loops
        assert isinstance(loop.target, ast.Name)
        rows, path = self._run.place(loop.iter)
        for number, row in enumerate(rows or ()):
            here = f"{path}[{number}]"
            self._run.bound[loop.target.id] = (row, here)
            if all(self._run.value(test) for test in loop.ifs):
                yield from self._iter_rows(inner, here)
        self._run.bound.pop(loop.target.id, None)

    def _pair(self, left: ast.expr, sign: ast.cmpop, right: ast.expr) -> str:
        """One comparison that fails: an equation and what stands against it."""
        if isinstance(left, ast.Constant) and isinstance(sign, ast.Eq):
            left, right = right, left
        if isinstance(right, ast.Constant | ast.List) or _is_word(right):
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
        """``a 1 + b 2 = 3``; a field alone is ``a 1``, or ``a is 1``."""
        if _is_place(node):
            return self._named(node, verb)
        said, result = self._terms(node), self._shown(self._value(node))
        if not said and _is_opaque(node):
            return f"{self._source(node)} {verb or '='} {result}"
        said = said or self._part(node)
        return said if said.endswith(f" {result}") else f"{said} = {result}"

    def _named(self, node: ast.expr, verb: str = "", product: bool = False) -> str:
        """A field with its value."""
        said = (self._label(node), verb, self._shown(self._value(node), product))
        return " ".join(filter(None, said))

    def _label(self, node: ast.expr) -> str:
        """The path of a field; of a field of a row, within the row."""
        _, path = self._run.place(node)
        return path.removeprefix(f"{self._inside}.") if self._inside else path

    def _part(self, node: ast.expr, product: bool = False) -> str:
        """A part of an equation with the values of its fields; factors are shown as they are, not
        to the cent."""
        while isinstance(node, ast.IfExp):
            node = node.body if self._value(node.test) else node.orelse
        if _is_place(node):
            return self._named(node, product=product)
        if isinstance(node, ast.BinOp):
            return self._arithmetic(node)
        if isinstance(node, ast.BoolOp):
            return self._chosen(node, product)
        if isinstance(node, ast.Call):
            return self._called(node, product)
        if isinstance(node, ast.Attribute) and isinstance(
            node.value, ast.BinOp
        ):  # (due_date - date).days
            return f"({self._part(node.value)}).{node.attr}"
        shown = self._shown(self._value(node), product)
        return shown if isinstance(node, ast.Constant) else f"{self._source(node)} {shown}"

    def _called(self, node: ast.Call, product: bool) -> str:
        """A function with its value; of a computed value, what it is of."""
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

    def _chosen(self, node: ast.BoolOp, product: bool) -> str:
        """``tax or 0``: the value under the first part's name."""
        first = node.values[0]
        if not _is_place(first):
            return f"{self._source(node)} {self._shown(self._value(node), product)}"
        return self._filled(first, node, product)

    def _filled(self, place: ast.expr, node: ast.expr, product: bool) -> str:
        """A field with what is computed of it, or stands for it where it is null."""
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
        """A value as it stands in an equation."""
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
    """Whether it names a field of the data."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return isinstance(node, ast.Name)


def _is_word(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in WORDS


def _is_opaque(node: ast.expr) -> bool:
    """Whether only its value can be shown: a function of a field, or a part of what one gives."""
    if isinstance(node, ast.Attribute):
        return not isinstance(node.value, ast.BinOp)
    return isinstance(node, ast.Call) and not isinstance(node.args[0], ast.BinOp)


def _joined(said: list[str], count: int) -> str:
    more = f"; and {count - len(said)} more" if count > len(said) else ""
    return "; ".join(said) + more
