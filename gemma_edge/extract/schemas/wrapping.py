"""The schema inside what others put round it, and whether a JSON object is a schema at all. Pure.

OpenAI (chat and responses), Anthropic, Gemini, Ollama, vLLM, MCP, tools and functions, and the
files of MaskBench. Gemini's own dialect (``"type": "OBJECT"``, ``nullable``) is read as what it
means.
"""

from copy import deepcopy
from typing import Any

from gemma_edge.errors import SchemaError
from gemma_edge.extract.schemas.json_text import EXAMPLE_HINT
from gemma_edge.extract.schemas.walk import (
    ANNOTATIONS,
    CORE,
    RULES,
    TYPES,
    Json,
    every,
)

# The keys that hold a schema, or a wrapper of one; the innermost wins.
_WRAPPERS = (
    ("response_format", "json_schema", "schema", "function", "parameters", "input_schema")
    + ("inputSchema", "outputSchema", "output_format", "text", "format", "structured_outputs")
    + ("json", "guided_json", "generationConfig", "generation_config", "responseSchema")
    + ("response_schema", "responseJsonSchema", "response_json_schema", "tools")
    + ("functionDeclarations", "function_declarations", "schema_definition")
)
_MAX_WRAPPERS = 8
_STRONG_LISTS = frozenset(("anyOf", "allOf", "oneOf", "enum"))


def unwrap(value: Any, name: str) -> Json | None:
    """The schema inside the wrappers; None where there is a JSON object, but no schema.

    Raises:
        SchemaError: it is no JSON object, or holds several tools.
    """
    inner = value
    for _ in range(_MAX_WRAPPERS):
        if not isinstance(inner, dict) or is_schema(inner):
            break
        found = next((inner[key] for key in _WRAPPERS if _may_hold(inner.get(key))), None)
        if isinstance(found, list):
            found = _only(found, name)
        if found is None:
            break
        inner = found
    if isinstance(inner, dict) and is_schema(inner):
        return plain_dialect(inner)
    if not isinstance(value, dict):
        kind = {list: "a list", str: "a string", bool: "true or false"}.get(type(value), "a value")
        raise SchemaError(f"{name} is {kind}, not a JSON Schema", hint=EXAMPLE_HINT)
    return None


def _may_hold(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], dict)
    )


def _only(tools: list[Any], name: str) -> Any:
    """A request may declare several tools; each is a schema of its own."""
    if len(tools) > 1:
        raise SchemaError(
            f"{name} holds {len(tools):,} tools, and a schema is one of them",
            hint="save the one that you want as a file",
        )
    return tools[0]


def is_schema(value: Json) -> bool:
    """Whether it says something as a JSON Schema.

    ``{"type": "json_schema"}`` and a tool's ``{"type": "function"}`` are wrappers, and
    ``{"type": "invoice", "items": [{"name": "Desk"}]}`` is an example: the words are keywords, but
    their values are not, or other keys stand beside them.
    """
    if value.get("type") in ("json_schema", "function"):
        return False
    words = CORE & value.keys()
    if any(_is_strong(value, word) for word in words):
        return True
    known = CORE | RULES | ANNOTATIONS
    return bool(words) and value.keys() <= known and _could_be(value)


def _could_be(value: Json) -> bool:
    """Whether ``format`` and ``items``, which are ordinary words too, are used as keywords."""
    items = value.get("items")
    rows = isinstance(items, list) and not any(
        isinstance(each, bool) or (isinstance(each, dict) and is_schema(each)) for each in items
    )
    return not (rows and items) and isinstance(value.get("format", ""), str)


def _is_strong(value: Json, word: str) -> bool:
    """A keyword with a value that only a schema gives it."""
    said = value[word]
    if word == "type":
        kinds = said if isinstance(said, list) else [said]
        return bool(kinds) and all(
            isinstance(kind, str) and kind.lower() in TYPES for kind in kinds
        )
    if word in ("properties", "$defs", "definitions", "patternProperties"):
        return isinstance(said, dict) and all(isinstance(sub, dict | bool) for sub in said.values())
    if word == "$ref":
        return isinstance(said, str)
    return word in _STRONG_LISTS and isinstance(said, list)


def plain_dialect(schema: Json) -> Json:
    """Gemini's dialect as JSON Schema; anything else as it is."""
    if not any(_is_shouted(sub.get("type")) for sub in every(schema)):
        return schema
    schema = deepcopy(schema)
    for sub in every(schema):
        if _is_shouted(sub.get("type")):
            sub["type"] = sub["type"].lower()
            if sub.pop("nullable", False) is True:
                sub["type"] = [sub["type"], "null"]
                if "enum" in sub:
                    sub["enum"] = [*sub["enum"], None]
        sub.pop("propertyOrdering", None)
    return schema


def _is_shouted(kind: Any) -> bool:
    return isinstance(kind, str) and kind.isupper() and kind.lower() in TYPES


def resembles_schema(value: Any) -> bool:
    """Whether there is a schema somewhere in it: then it is no example."""
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if isinstance(current, dict):
            if any(_is_strong(current, word) for word in CORE & current.keys()):
                return True
            waiting.extend(current.values())
        elif isinstance(current, list):
            waiting.extend(current)
    return False
