"""Compile a JSON Schema for ``llguidance``, and ask about a text without a model."""

from functools import lru_cache
from typing import TYPE_CHECKING

from gemma_edge.engine.protocol import JsonConstraint
from gemma_edge.errors import SchemaError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

# Compact and bounded: no token is spent on indentation, and no whitespace loop is possible.
COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def compile_schema(tokenizer: "LLTokenizer", wanted: JsonConstraint) -> "LLMatcher":
    """The matcher at the start of an answer.

    Raises:
        SchemaError: llguidance refuses the schema; the message is its reason.
    """
    from llguidance import LLMatcher  # noqa: PLC0415  (most commands need none)

    options: dict[str, object] = dict(COMPACT)
    if wanted.relaxed:
        options[wanted.relaxed] = True
    try:
        grammar = LLMatcher.grammar_from_json_schema(
            wanted.schema,
            overrides=options,  # type: ignore[arg-type]
        )
    except ValueError as error:
        raise SchemaError(f"the schema is not a JSON object: {error}") from error
    matcher = LLMatcher(tokenizer, grammar, log_level=0)
    if matcher.is_error():
        reason = " ".join(matcher.get_error().split()) or "no reason given"
        raise SchemaError(f"the schema cannot be held while decoding: {reason}")
    return matcher


class TextConstraint:
    """A JSON Schema, compiled to be asked about text, a byte a token: no model is needed.

    Raises:
        SchemaError: llguidance refuses the schema; the message is its reason.
    """

    def __init__(self, wanted: JsonConstraint) -> None:
        self._matcher = compile_schema(_byte_tokenizer(), wanted)

    def take(self, text: str) -> bool:
        """Go on by all of ``text``, or not at all."""
        data = list(text.encode("utf-8", "surrogatepass"))
        taken = self._matcher.try_consume_tokens(data)
        if taken < len(data):
            self._matcher.rollback(taken)
        return taken == len(data)

    def take_back(self, count_bytes: int) -> None:
        self._matcher.rollback(count_bytes)

    def reset(self) -> None:
        self._matcher.reset()

    def forced(self) -> str:
        """What can only come next; cut before a character that is not whole."""
        return self._matcher.compute_ff_bytes().decode("utf-8", "ignore")

    @property
    def complete(self) -> bool:
        return self._matcher.is_accepting()


@lru_cache(maxsize=1)
def _byte_tokenizer() -> "LLTokenizer":
    from llguidance import LLTokenizer  # noqa: PLC0415

    return LLTokenizer("byte")
