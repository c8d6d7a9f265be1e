"""Runs a parsed expression over data, within bounds. Pure."""

import ast
import decimal
import operator
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from gemma_edge.extract.expressions.functions import FUNCTIONS
from gemma_edge.extract.expressions.values import (
    RunError,
    arithmetic,
    as_decimal,
    compared,
    kind_in_words,
    lift,
    lift_all,
)

MAX_STEPS = 100_000  # operations, one for each item of a list
# Names that are values of JSON, unless the data has a field of that name.
WORDS = {"true": True, "false": False, "null": None}


class Run:
    """One evaluation. ``about`` are the right sides of ``~=``, by identity; ``nulls`` collects the
    places of the data that were null."""

    def __init__(self, data: Mapping[str, Any], about: frozenset[int], tolerance: Decimal) -> None:
        self._data, self._about, self._tolerance = data, about, tolerance
        self.bound: dict[str, tuple[Any, str]] = {}
        self._steps = 0
        self.nulls: list[str] = []

    def value(self, node: ast.expr) -> Any:
        """The value of one part."""
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
        """Count one operation."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise RunError(f"it takes more than {MAX_STEPS:,} steps")

    def constant(self, node: ast.Constant) -> Any:
        """A number, a text, true, false or null."""
        return lift(node.value)

    def place(self, node: ast.expr) -> tuple[Any, str]:
        """A part of the data and its path, for those who are told that it was null."""
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
            key = self._key(node.slice)
            return self._item(inside, key), f"{path}[{key}]"
        return self.value(node), ""

    def read(self, node: ast.expr) -> Any:
        """The value of a place."""
        found, path = self.place(node)
        if path and (found is None or (isinstance(found, list) and None in found)):
            self.nulls.append(path)
        return lift_all(found)

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

    def _key(self, node: ast.expr) -> int | str:
        if isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant):
            return -int(str(node.operand.value))
        assert isinstance(node, ast.Constant) and isinstance(node.value, int | str)
        return node.value

    def _item(self, inside: Any, key: int | str) -> Any:
        if inside is None:
            return None
        if isinstance(inside, dict) and isinstance(key, str):
            return inside.get(key)
        if isinstance(inside, list) and isinstance(key, int):
            return inside[key] if -len(inside) <= key < len(inside) else None
        raise RunError(f"{kind_in_words(inside)} has no [{key!r}]")

    def each(self, values: list[Any], function: Callable[..., Any]) -> Any:
        """A function over scalars, and item by item over lists of one length."""
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
        """Arithmetic, item by item over lists."""
        name = type(node.op)
        return self.each(
            [self.value(node.left), self.value(node.right)],
            lambda left, right: arithmetic(name, left, right),
        )

    def unary(self, node: ast.UnaryOp) -> Any:
        """A minus or a ``not``."""
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
            value = self.value(part)
            if isinstance(value, list):
                raise RunError("a list is neither true nor false; all(…) or any(…) is")
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
        """A chain of comparisons holds if each of them does."""
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
        if about:
            return self.each([left, right], self._is_about)
        return self.each([left, right], lambda a, b: compared(type(sign), a, b))

    def _is_about(self, left: Any, right: Any) -> bool:
        distance = arithmetic(ast.Sub, left, right)
        return bool(abs(as_decimal(distance)) <= self._tolerance)

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
        """``a if test else b``."""
        test = self.value(node.test)
        if test is None:
            return None
        if isinstance(test, list):
            raise RunError("a list is neither true nor false; all(…) or any(…) is")
        return self.value(node.body if test else node.orelse)

    def call(self, node: ast.Call) -> Any:
        """One of the functions."""
        assert isinstance(node.func, ast.Name)
        values = [self.value(argument) for argument in node.args]
        return FUNCTIONS[node.func.id][2](self, *values)

    def listed(self, node: ast.List) -> Any:
        """A list that is written out."""
        return [self.value(each) for each in node.elts]

    def comprehension(self, node: ast.GeneratorExp | ast.ListComp) -> Any:
        """``[part for name in list if test]``."""
        return list(self._loop(node.elt, node.generators))

    def _loop(self, part: ast.expr, loops: list[ast.comprehension]) -> Iterator[Any]:
        if not loops:
            yield self.value(part)
            return
        loop, *inner = loops
        assert isinstance(loop.target, ast.Name)
        name = loop.target.id
        rows, path = self.place(loop.iter)
        if rows is None:
            self.nulls.append(path)
            return
        if not isinstance(rows, list):
            raise RunError(f"{kind_in_words(rows)} is no list")
        outer = self.bound.get(name)
        for number, row in enumerate(rows):
            self.step()
            self.bound[name] = (row, f"{path}[{number}]")
            if all(self.value(test) for test in loop.ifs):
                yield from self._loop(part, inner)
        self.bound.pop(name, None)
        if outer is not None:
            self.bound[name] = outer


def _is_null(node: ast.expr) -> bool:
    """Whether null is asked for by its name: only then is it a value like others."""
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
