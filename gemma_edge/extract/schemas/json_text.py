"""JSON text to values: strict, bounded, and with the place of what is wrong. Pure."""

import json
from typing import Any, NoReturn

from gemma_edge.errors import SchemaError
from gemma_edge.units import render_bytes

MAX_TEXT_BYTES = 4 << 20
MAX_NESTING = 200  # lists and objects of the JSON text; the deepest of 500 real schemas has 40

EXAMPLE_HINT = (
    'for example {"type": "object", "properties": {"vendor": {"type": "string"}}}, '
    'or in one line: "vendor, date, total num"'
)


def parse_json(text: str, name: str) -> Any:
    """JSON text to Python values; NaN, Infinity and bottomless nesting are refused.

    Raises:
        SchemaError: with the line and the column.
    """
    if len(text) > MAX_TEXT_BYTES:
        raise SchemaError(
            f"{name} is larger than {render_bytes(MAX_TEXT_BYTES)}", hint="make it smaller"
        )
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise SchemaError(
            f"{name} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}",
            hint=EXAMPLE_HINT,
        ) from None
    except ValueError as error:  # a constant that is not JSON, or a number of 5,000 digits
        raise SchemaError(f"{name} is not JSON: {error}", hint=EXAMPLE_HINT) from None
    except RecursionError:
        value = None
        _refuse_nesting(name)
    if _nesting(value) > MAX_NESTING:
        _refuse_nesting(name)
    return value


def parse_values(text: str, name: str) -> list[Any]:
    """One JSON value, or one a line (JSONL).

    Raises:
        SchemaError: it is neither; the place is the one of the whole text read as one value.
    """
    try:
        return [parse_json(text, name)]
    except SchemaError as whole:
        lines = [line for line in text.split("\n") if line.strip()]  # JSON may hold U+2028 as it is
        if not lines[1:] or not all(line.lstrip().startswith(("{", "[")) for line in lines):
            raise
        try:
            return [parse_json(line, name) for line in lines]
        except SchemaError:
            raise whole from None


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON value")


def _refuse_nesting(name: str) -> NoReturn:
    raise SchemaError(
        f"{name} is nested deeper than {MAX_NESTING} levels", hint="flatten it, or use $defs"
    )


def _nesting(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= MAX_NESTING:
        depth += 1
        level = [
            sub
            for item in level
            if isinstance(item, dict | list)
            for sub in (item.values() if isinstance(item, dict) else item)
        ]
    return depth
