"""Hold an answer to a grammar while it is decoded. ``llguidance`` decides.

The protocol is four verbs: is a token ``allowed``, ``advance`` by it, which tokens are ``forced``
next, and how the answer can be ``closed`` in the fewest steps when the budget runs out.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Sequence
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from gemma_edge.engine.grounding import render_grammar
from gemma_edge.engine.protocol import JsonConstraint
from gemma_edge.errors import EngineError, SchemaError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A closing that takes more steps than this is a grammar without a short end.
CLOSING_LIMIT = 8192

# The bytes by which an unfinished JSON text ends soonest, best first: inside a string, and outside.
_STRING_CLOSERS = (b'"',)
_CLOSERS = (b"]", b"}", b",", b":", b"null", b"n", b"false", b"f", b"0", b'"', b"[", b"{")

_OUTSIDE, _STRING, _ESCAPE = range(3)


class GrammarVocabulary:
    """llguidance's view of a vocabulary; built once a model (0.8 s for 262k tokens)."""

    def __init__(
        self, pieces: Sequence[bytes], vocab: object, tokenize: object, ends: Sequence[int]
    ) -> None:
        address = ctypes.cast(tokenize, ctypes.c_void_p).value  # type: ignore[arg-type]
        self.tokenizer: LLTokenizer = LLTokenizer.from_llamacpp(  # type: ignore[attr-defined]
            tokens=list(pieces),
            vocab_ptr=vocab,
            tokenize_fptr=address,
            eos_token=list(ends),
            slices=LLTokenizer.json_slices(),
        )
        self.pieces = pieces
        ids = {piece: index for index, piece in reversed(list(enumerate(pieces)))}
        self.closers = [ids[text] for text in _CLOSERS if text in ids]
        self.string_closers = [ids[text] for text in _STRING_CLOSERS if text in ids]


class GrammarConstraint:
    """A JSON Schema, compiled.
    Raises SchemaError: llguidance refuses the schema, the message is its reason."""

    def __init__(self, vocabulary: GrammarVocabulary, wanted: JsonConstraint) -> None:
        self._vocabulary = vocabulary
        self._matcher = compile_schema(vocabulary.tokenizer, wanted)
        self._bits = (ctypes.c_uint32 * ((len(vocabulary.pieces) + 31) // 32))()
        self._bits_are_fresh = False
        self._states = [_OUTSIDE]  # of the JSON text after each token

    def _fill(self) -> None:
        if not self._bits_are_fresh:
            self._matcher.unsafe_compute_mask_ptr(
                ctypes.addressof(self._bits), ctypes.sizeof(self._bits)
            )
            self._bits_are_fresh = True

    def allowed(self, token: int) -> bool:
        self._fill()
        return bool((self._bits[token >> 5] >> (token & 31)) & 1)

    def mask(self, logits: NDArray[np.float32]) -> None:
        logits[~self.legal()] = -inf

    def legal(self) -> NDArray[np.bool_]:
        """Which tokens may come next: ``bool[vocabulary]``."""
        import numpy as np  # noqa: PLC0415  (0.1 s, and a schema is compiled without it)

        self._fill()
        count = len(self._vocabulary.pieces)
        bits = np.frombuffer(memoryview(self._bits), np.uint8)
        return np.unpackbits(bits, bitorder="little", count=count).view(np.bool_)

    def advance(self, token: int) -> None:
        self._bits_are_fresh = False
        if not self._matcher.consume_token(token):
            raise EngineError(
                f"the constraint refuses token {token}: {_first_line(self._matcher.get_error())}"
            )
        self._states.append(_after(self._states[-1], self._vocabulary.pieces[token]))

    def forced(self) -> list[int]:
        """Tokens that can only come next; they are not taken yet."""
        return list(self._matcher.compute_ff_tokens())

    @property
    def complete(self) -> bool:
        return self._matcher.is_stopped()

    def take_back(self, count: int) -> None:
        self._bits_are_fresh = False
        self._matcher.rollback(count)
        del self._states[len(self._states) - count :]

    def closing(self) -> list[int]:
        """The tokens of the shortest known end, found on a copy: at each step the forced ones, else
        the first closer that is legal, else the first legal token of all."""
        copy = GrammarConstraint.__new__(GrammarConstraint)
        copy._vocabulary = self._vocabulary
        copy._matcher = self._matcher.deep_copy()
        copy._bits = type(self._bits)()
        copy._bits_are_fresh = False
        copy._states = [self._states[-1]]
        tokens: list[int] = []
        while not copy._matcher.is_accepting():
            step = copy.forced() or [copy._closer()]
            for token in step:
                copy.advance(token)
            tokens += step
            if len(tokens) > CLOSING_LIMIT:
                raise EngineError(
                    f"the schema has no end within {CLOSING_LIMIT:,} tokens",
                    hint="look for large minItems or minLength in the schema",
                )
        return tokens

    def _closer(self) -> int:
        inside = self._states[-1] != _OUTSIDE
        for token in self._vocabulary.string_closers if inside else self._vocabulary.closers:
            if self.allowed(token):
                return token
        return int(self.legal().argmax())


def _after(state: int, piece: bytes) -> int:
    """Follow a piece of JSON text: outside of a string, in one, or after a backslash in one."""
    if state == _OUTSIDE and b'"' not in piece:
        return state
    for byte in piece:
        if state == _ESCAPE:
            state = _STRING
        elif byte == ord('"'):
            state = _OUTSIDE if state == _STRING else _STRING
        elif byte == ord("\\") and state == _STRING:
            state = _ESCAPE
    return state


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "no reason given"


class TokenConstraint:
    """A JSON Schema, compiled to be asked about texts in the tokens of a vocabulary.
    Raises SchemaError: llguidance refuses the schema."""

    def __init__(self, vocabulary: GrammarVocabulary, wanted: JsonConstraint) -> None:
        self._tokenizer = vocabulary.tokenizer
        self._matcher = compile_schema(vocabulary.tokenizer, wanted)

    def accepts(self, text: str) -> bool:
        """Whether all of ``text`` is let through and is then a whole answer."""
        self._matcher.reset()
        tokens = self._tokenizer.tokenize_str(text)
        taken = self._matcher.try_consume_tokens(tokens)
        return taken == len(tokens) and self._matcher.is_accepting()


# Compact and bounded: no token is spent on indentation, and no whitespace loop is possible.
COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def compile_schema(tokenizer: LLTokenizer, wanted: JsonConstraint) -> LLMatcher:
    """The matcher at the start of an answer.
    Raises SchemaError: llguidance refuses the schema, the message is its reason."""
    options: dict[str, object] = dict(COMPACT)
    if wanted.relaxed:
        options[wanted.relaxed] = True
    if wanted.grounding is not None:
        lark = render_grammar(json.loads(wanted.schema), wanted.grounding, options).lark
        grammar = LLMatcher.grammar_from_lark(lark)
    else:
        try:
            grammar = LLMatcher.grammar_from_json_schema(
                wanted.schema,
                overrides=options,  # type: ignore[arg-type]
            )
        except ValueError as error:
            raise SchemaError(f"the schema is not a JSON object: {error}") from error
    limits = None if wanted.grounding is None else _long_text()
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=limits)
    if matcher.is_error():
        # The lines behind the reason repeat the grammar.
        said = matcher.get_error()
        said = said if wanted.grounding is None else said.partition("\n")[0]
        reason = " ".join(said.split()) or "no reason given"
        raise SchemaError(f"the schema cannot be held while decoding: {reason}")
    return matcher


def _long_text() -> LLParserLimits:
    """Room for the text of a long document, and for the rows of a table: llguidance's own limits
    refuse 300,000 characters, measured."""
    return LLParserLimits(
        initial_lexer_fuel=20_000_000, step_lexer_fuel=20_000_000, max_grammar_size=5_000_000,
        max_items_in_row=50_000, step_max_items=5_000_000,
    )  # fmt: skip


class TextConstraint:
    """A JSON Schema, compiled to be asked about text, a byte a token: no model is needed.
    Raises SchemaError: llguidance refuses the schema, the message is its reason."""

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
def _byte_tokenizer() -> LLTokenizer:
    return LLTokenizer("byte")
