"""The formats of JSON Schema that the last check knows. Pure."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema import FormatChecker
    from jsonschema.protocols import Validator


def known_formats() -> Mapping[str, Any]:
    """The formats that some draft defines, the newest definition of each. Draft 4 knows no
    ``date``, but whoever writes it means one, and decoding holds to it."""
    from jsonschema import validators

    drafts = (validators.Draft3Validator, validators.Draft4Validator, validators.Draft6Validator,
              validators.Draft7Validator, validators.Draft201909Validator,
              validators.Draft202012Validator)  # fmt: skip
    return {name: how for each in drafts for name, how in each.FORMAT_CHECKER.checkers.items()}


def make_format_checker(draft: type["Validator"]) -> "FormatChecker":
    """All known formats, by the draft's own definition where it has one."""
    from jsonschema import FormatChecker

    checker = FormatChecker()
    checker.checkers = {**known_formats(), **draft.FORMAT_CHECKER.checkers}
    return checker
