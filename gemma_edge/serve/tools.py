"""Functions that the model may call, in Gemma 4's own format, both ways.

What is written here is what Google's chat template writes (ai.google.dev/gemma/docs/core/
prompt-formatting-gemma4; llama.cpp, ``models/templates/google-gemma-4-31B-it.jinja``); a test holds
both side by side. Two things differ on purpose: properties named ``type`` or ``description``, which
that template leaves out, are declared; and what a model said before a call stands before it.

    <|tool>declaration:NAME{description:<|"|>…<|"|>,parameters:{…}}<tool|>
    <|tool_call>call:NAME{key:<|"|>text<|"|>,n:1}<tool_call|>
    <|tool_response>response:NAME{value:<|"|>…<|"|>}<tool_response|>

What people wrote (descriptions, values, results) is kept apart from the markup, so that its
characters never become control tokens.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from gemma_edge.errors import SchemaError
from gemma_edge.records import dataclass

Json = dict[str, Any]

QUOTE = '<|"|>'
CALL, END_CALL = "<|tool_call>", "<tool_call|>"
_PLAIN_NAME = re.compile(r"[\w.-]+", re.ASCII)
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # of a function, as of OpenAI
Choice = Literal["none", "auto", "required"]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that may be called. ``parameters`` is a JSON Schema of an object."""

    name: str
    description: str
    parameters: Json


@dataclass(frozen=True, slots=True)
class Call:
    """A function that was called; ``arguments`` as JSON values."""

    name: str
    arguments: Json


# ----------------------------------------------------------------------------
# From functions, calls and results to a prompt.


class Parts:
    """The parts of a message: what people wrote and markup, in turns (``Message.parts``)."""

    def __init__(self) -> None:
        self._parts = [""]

    def say(self, text: str) -> None:
        """What a person, a document or a program wrote."""
        self._add(text, markup=False)

    def mark(self, text: str) -> None:
        """Markup of the model's own."""
        self._add(text, markup=True)

    def _add(self, text: str, *, markup: bool) -> None:
        if (len(self._parts) % 2 == 0) == markup:
            self._parts[-1] += text
        else:
            self._parts.append(text)

    def quote(self, text: str) -> None:
        """A text as a value."""
        self.mark(QUOTE)
        self.say(text)
        self.mark(QUOTE)

    def name(self, text: str) -> None:
        """A key; one with other characters than letters, digits and ``_.-`` is nobody's markup."""
        (self.mark if _PLAIN_NAME.fullmatch(text) else self.say)(text)

    def value(self, value: Any) -> None:
        """A JSON value as an argument."""
        if isinstance(value, str):
            self.quote(value)
        elif isinstance(value, Mapping):
            self.mark("{")
            self.members(value)
            self.mark("}")
        elif isinstance(value, list | tuple):
            self.mark("[")
            for place, each in enumerate(value):
                self.mark("," if place else "")
                self.value(each)
            self.mark("]")
        else:
            self.mark(json.dumps(value))

    def members(self, values: Mapping[str, Any]) -> None:
        """``key:value`` pairs, in the order of the template."""
        for place, (key, value) in enumerate(in_order(values)):
            self.mark("," if place else "")
            self.name(key)
            self.mark(":")
            self.value(value)

    def finish(self) -> tuple[str, ...]:
        """All of them, an odd number, of which the first and the last are text."""
        return tuple(self._parts if len(self._parts) % 2 else [*self._parts, ""])


def in_order(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """As Jinja's ``dictsort``: by key, upper and lower case alike."""
    return sorted(values.items(), key=lambda pair: pair[0].lower())


def declare(tool: Tool, parts: Parts) -> None:
    """What the model is told of a function.
    Raises SchemaError: its parameters cannot be declared."""
    parts.mark(f"<|tool>declaration:{tool.name}{{description:")
    parts.quote(tool.description)
    if tool.parameters:
        schema = Resolver(tool.parameters)
        root = schema.plain(tool.parameters)
        parts.mark(",parameters:{")
        if root.get("properties"):
            parts.mark("properties:{")
            _properties(root["properties"], schema, parts, 0)
            parts.mark("},")
        if root.get("required"):
            parts.mark("required:[")
            _names(root["required"], parts)
            parts.mark("],")
        parts.mark(f"type:{QUOTE}OBJECT{QUOTE}}}")
    parts.mark("}<tool|>")


def call(name: str, arguments: Mapping[str, Any], parts: Parts) -> None:
    """A call that was made."""
    parts.mark(f"{CALL}call:{name}{{")
    parts.members(arguments)
    parts.mark(f"}}{END_CALL}")


def result(name: str, text: str, parts: Parts) -> None:
    """What came of a call."""
    parts.mark(f"<|tool_response>response:{name}{{value:")
    parts.quote(text)
    parts.mark("}<tool_response|>")


def thought(text: str, parts: Parts) -> None:
    """What the model thought before a call of the turn that goes on."""
    parts.mark("<|channel>thought\n")
    parts.say(text)
    parts.mark("\n<channel|>")


def _names(names: Sequence[str], parts: Parts) -> None:
    for place, each in enumerate(names):
        parts.mark("," if place else "")
        parts.quote(each)


_DEEPEST = 6  # objects in objects that are declared; what lies deeper is one of its kind
_MOST = 2_000  # properties of a function, those of recursive schemas with each level


def _properties(
    properties: Mapping[str, Any], schema: "Resolver", parts: Parts, depth: int
) -> None:
    schema.declared += len(properties)
    if schema.declared > _MOST:
        raise SchemaError(f"it has more than {_MOST:,} properties", hint="fewer of them")
    for place, (key, value) in enumerate(in_order(properties)):
        parts.mark("," if place else "")
        parts.name(key)
        parts.mark(":{")
        _declared(value, schema, parts, depth)
        parts.mark("}")


def _declared(value: Any, schema: "Resolver", parts: Parts, depth: int) -> None:
    known = schema.plain(value)
    if known.get("description"):
        parts.mark("description:")
        parts.quote(str(known["description"]))
        parts.mark(",")
    if known.get("enum"):
        parts.mark("enum:")
        parts.value(known["enum"])
        parts.mark(",")
    goes_on = depth < _DEEPEST
    if goes_on and isinstance(known.get("items"), dict):
        parts.mark("items:{")
        _declared(known["items"], schema, parts, depth + 1)
        parts.mark("},")
    if known.get("nullable"):
        parts.mark("nullable:true,")
    if goes_on and known.get("properties"):
        parts.mark("properties:{")
        _properties(known["properties"], schema, parts, depth + 1)
        parts.mark("},")
        if known.get("required"):
            parts.mark("required:[")
            _names(known["required"], parts)
            parts.mark("],")
    kinds = known["type"] if isinstance(known.get("type"), list) else [known.get("type", "object")]
    parts.mark("type:")
    if len(kinds) == 1:
        parts.quote(str(kinds[0]).upper())
    else:
        parts.value([str(each).upper() for each in kinds])


class Resolver:
    """A JSON Schema whose references are followed."""

    def __init__(self, root: Json) -> None:
        self._root = root
        self.declared = 0  # properties, so far

    def follow(self, schema: Any) -> Json:
        """Without ``$ref`` at its head."""
        seen: set[str] = set()
        found: Any = schema
        while isinstance(found, dict) and "$ref" in found:
            reference = str(found["$ref"])
            if reference in seen or not reference.startswith("#"):
                raise SchemaError(f"the reference {reference[:80]} leads nowhere")
            seen.add(reference)
            target: Any = self._root
            for step in filter(None, reference[1:].split("/")):
                step = step.replace("~1", "/").replace("~0", "~")
                target = target.get(step) if isinstance(target, dict) else None
            if target is None:
                raise SchemaError(f"the reference {reference[:80]} leads nowhere")
            rest: Json = {key: value for key, value in found.items() if key != "$ref"}
            found = {**target, **rest} if isinstance(target, dict) else {}
        return found if isinstance(found, dict) else {}

    def plain(self, schema: Any) -> Json:
        """As the declaration knows it: one kind, which may be ``nullable``."""
        found = self.follow(schema)
        branches = found.get("anyOf") or found.get("oneOf") or found.get("allOf")
        if isinstance(branches, list):
            each = [self.plain(branch) for branch in branches]
            rest = [one for one in each if one.get("type") != "null"]
            head: Json = {k: v for k, v in found.items() if k not in ("anyOf", "oneOf", "allOf")}
            if len(rest) == 1:
                head = {**rest[0], **head}
            elif rest:
                several = dict.fromkeys(str(one.get("type", "object")) for one in rest)
                head = {"type": list(several), **head}
            return {**head, "nullable": True} if len(rest) < len(each) else head
        kinds = found.get("type")
        if isinstance(kinds, list) and "null" in kinds:
            rest_kinds = [kind for kind in kinds if kind != "null"]
            one_kind: Any = rest_kinds[0] if len(rest_kinds) == 1 else rest_kinds
            return found | {"type": one_kind, "nullable": True}
        if kinds is None and "const" in found:
            return {**found, "enum": [found["const"]], "type": _kind(found["const"])}
        if kinds is None and found.get("enum"):
            return {**found, "type": _kind(found["enum"][0])}
        return found


def _kind(value: Any) -> str:
    for kind, types in (("boolean", bool), ("string", str), ("array", list), ("object", dict)):
        if isinstance(value, types):
            return kind
    return "null" if value is None else "number"


# ----------------------------------------------------------------------------
# What the model may write: a grammar of llguidance.


# Read or told, but no rule; and what the grammar says.
_ANNOTATIONS = frozenset((
    "title", "description", "default", "examples", "$schema", "$id", "$comment", "deprecated",
    "readOnly", "writeOnly", "$defs", "definitions", "discriminator", "strict", "example",
))  # fmt: skip
_RULES = frozenset((
    "type", "properties", "required", "additionalProperties", "items", "minItems", "maxItems",
    "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern", "format", "nullable",
))  # fmt: skip
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_DAY, _TIME = (
    "[0-9]{4}-[0-9]{2}-[0-9]{2}",
    r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})",
)
_FORMATS = {
    "date": _DAY, "time": _TIME, "date-time": f"{_DAY}T{_TIME}",
    "email": r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+",
    "uuid": "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "ipv4": r"[0-9]{1,3}(\.[0-9]{1,3}){3}",
    "uri": r"[a-z][a-z0-9+.-]*:[^\s]+", "url": r"[a-z][a-z0-9+.-]*:[^\s]+",
}  # fmt: skip
_SHARED = f"""
TEXT: /(?s:.)+/
string: {QUOTE} TEXT? {QUOTE}
number: %json {{"type": "number"}}
integer: %json {{"type": "integer"}}
boolean: "true" | "false"
nothing: "null"
KEY: /[A-Za-z_][A-Za-z0-9_ .-]*/
anything: string | number | boolean | nothing | list | map
list: "[" (anything ("," anything)*)? "]"
map: "{{" (KEY ":" anything ("," KEY ":" anything)*)? "}}"
"""


def grammar(tools: Sequence[Tool], choice: Choice, *, parallel: bool, held: bool = False) -> str:
    """What may be answered: text and then calls (``auto``), or calls alone (``required``); one call
    only where they are not ``parallel``. ``held``: calls, or a whole answer by the rule ``answer``,
    which is added by whoever compiles it.
    Raises SchemaError: the parameters of a function have a rule that cannot be held."""
    rules = _Rules()
    calls = []
    for tool in tools:
        root = tool.parameters or {"type": "object", "properties": {}}
        try:
            arguments = rules.of(root, Resolver(root))
        except SchemaError as error:
            raise SchemaError(f"{tool.name}: {error.message}", hint=error.hint) from None
        calls.append(f'"call:{tool.name}" {arguments}')
    many = {("auto", True): "TEXT? call*", ("auto", False): "TEXT? call?",
            ("required", True): "call+", ("required", False): "call"}[choice, parallel]  # fmt: skip
    if held and choice == "auto":
        many = f"answer | {'call+' if parallel else 'call'}"
    head = [f"start: {many}", f"call: {CALL} ({' | '.join(calls)}) {END_CALL}"]
    return "\n".join([*head, _SHARED.strip(), *rules.lines]) + "\n"


class _Rules:
    """A rule for each part of the schemas."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._known: dict[tuple[int, str], str] = {}
        self._count = 0

    def of(self, schema: Any, root: Resolver) -> str:
        """The name of the rule, or the rule itself, of a schema."""
        if schema is True or schema == {}:
            return "anything"
        if not isinstance(schema, dict):
            raise SchemaError("a value that nothing can be is not called with")
        if "$ref" in schema:
            key = (id(root), json.dumps(schema, sort_keys=True))
            if key not in self._known:
                self._known[key] = name = self._name("ref")
                self._add(name, self._any_of(root.follow(schema), root))
            return self._known[key]
        return self._any_of(schema, root)

    def _name(self, kind: str, *, terminal: bool = False) -> str:
        self._count += 1
        return f"{kind.upper() if terminal else kind}_{self._count}"

    def _add(self, name: str, rule: str) -> str:
        self.lines.append(f"{name}: {rule}")
        return name

    def _any_of(self, schema: Json, root: Resolver) -> str:
        if unheld := sorted(schema.keys() - _RULES - _ANNOTATIONS):
            raise SchemaError(f"`{unheld[0]}` cannot be held in a call", hint="leave it out")
        if "enum" in schema or "const" in schema:
            values = schema["enum"] if "enum" in schema else [schema["const"]]
            return self._either([_literal(each) for each in values])
        branches = schema.get("anyOf") or schema.get("oneOf")
        if branches:
            beside = {key: schema[key] for key in schema.keys() & _RULES - {"anyOf", "oneOf"}}
            found = [self.of({**beside, **root.follow(each)}, root) for each in branches]
            return self._either(found)
        if "allOf" in schema:
            merged = {key: value for key, value in schema.items() if key != "allOf"}
            for each in schema["allOf"]:
                part = root.follow(each)
                if clash := (part.keys() & merged.keys() & _RULES) - {"type"}:
                    raise SchemaError(f"`allOf` with two `{min(clash)}` cannot be held in a call")
                merged |= part
            return self.of(merged, root)
        kinds = schema.get("type")
        if kinds is None:
            kinds = "object" if "properties" in schema else "array" if "items" in schema else None
        if kinds is None:
            return "anything"
        each_kind = kinds if isinstance(kinds, list) else [kinds]
        found = [self._typed(kind, schema, root) for kind in each_kind]
        return self._either([*found, "nothing"] if schema.get("nullable") else found)

    def _either(self, rules: Sequence[str]) -> str:
        unique = list(dict.fromkeys(rules))
        return unique[0] if len(unique) == 1 else f"({' | '.join(unique)})"

    def _typed(self, kind: str, schema: Json, root: Resolver) -> str:
        if kind == "object":
            return self._object(schema, root)
        if kind == "array":
            return self._array(schema, root)
        if kind == "string":
            return self._string(schema)
        if kind in ("number", "integer"):
            bounds = {key: schema[key] for key in _BOUNDS if key in schema}
            if not bounds:
                return kind
            return self._add(self._name(kind), f"%json {json.dumps({'type': kind, **bounds})}")
        if kind in ("boolean", "null"):
            return "boolean" if kind == "boolean" else "nothing"
        raise SchemaError(f"`{kind}` is no type of JSON Schema")

    def _string(self, schema: Json) -> str:
        wanted = []
        if "pattern" in schema:
            wanted.append(_anchored(str(schema["pattern"])))
        if (form := schema.get("format")) is not None:
            if form not in _FORMATS:
                raise SchemaError(
                    f'the format "{form}" cannot be held in a call', hint="leave it out"
                )
            wanted.append(_FORMATS[form])
        if "minLength" in schema or "maxLength" in schema:
            most = schema.get("maxLength", "")
            wanted.append(f"(?s:.){{{schema.get('minLength', 0)},{most}}}")
        if not wanted:
            return "string"
        texts = [f"/{each.replace('/', chr(92) + '/')}/" for each in wanted]
        inner = self._add(self._name("text", terminal=True), " & ".join(texts))
        empty = (
            "?" if "pattern" not in schema and not schema.get("minLength") and form is None else ""
        )
        return self._add(self._name("string"), f"{QUOTE} {inner}{empty} {QUOTE}")

    def _array(self, schema: Json, root: Resolver) -> str:
        item = self.of(schema.get("items", True), root)
        least, most = int(schema.get("minItems", 0)), schema.get("maxItems")
        if most is not None and (most < least or most == 0):
            return '"[" "]"'
        rest = f"{max(0, least - 1)},{'' if most is None else most - 1}"
        some = f'{item} ("," {item}){{{rest}}}'
        return self._add(self._name("list"), f'"[" {some if least else f"({some})?"} "]"')

    def _object(self, schema: Json, root: Resolver) -> str:
        properties = schema.get("properties") or {}
        if not properties:
            closed = "properties" in schema
            return self._map(schema.get("additionalProperties", not closed), root)
        required = set(schema.get("required", ()))
        if strangers := sorted(required - properties.keys()):
            raise SchemaError(f"`{strangers[0]}` is required, and no property")
        following, first = '"}"', '"}"'  # behind a member, and at the beginning
        for key, value in reversed(in_order(properties)):
            _refuse_marks(key)
            member = f"{json.dumps(f'{key}:', ensure_ascii=False)} {self.of(value, root)}"
            after = self._add(self._name("rest"), following)
            behind = f'"," {member} {after}'
            begin = f"{member} {after}"
            if key not in required:
                before = self._add(self._name("none"), first)
                behind, begin = f"{behind} | {after}", f"{begin} | {before}"
            following, first = behind, begin
        return self._add(self._name("object"), f'"{{" ({first})')

    def _map(self, values: Any, root: Resolver) -> str:
        if values is False:
            return '"{" "}"'
        value = self.of(values, root)
        pair = f'KEY ":" {value}'
        return self._add(self._name("map"), f'"{{" ({pair} ("," {pair})*)? "}}"')


def _literal(value: Any) -> str:
    if isinstance(value, str):
        _refuse_marks(value)
        return (
            f"{QUOTE} {json.dumps(value, ensure_ascii=False)} {QUOTE}"
            if value
            else f"{QUOTE} {QUOTE}"
        )
    if isinstance(value, dict | list):
        raise SchemaError("an enum of objects or lists cannot be held in a call")
    return json.dumps(json.dumps(value))


def _refuse_marks(text: str) -> None:
    if "<|" in text or "|>" in text:
        raise SchemaError(f"the text {json.dumps(text[:40])} holds a mark of the model's own")


def _anchored(pattern: str) -> str:
    """A pattern that is looked for, as one that is the whole text."""
    starts, ends = pattern.startswith("^"), pattern.endswith("$") and not pattern.endswith("\\$")
    inner = pattern[starts : len(pattern) - ends]
    return f"{'' if starts else '(?s:.*)'}({inner}){'' if ends else '(?s:.*)'}"


# ----------------------------------------------------------------------------
# What the model wrote, as calls.

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_CALL = re.compile(r"call:([\w.-]+)", re.ASCII)
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, "None": None}


def read_calls(text: str) -> Iterator[Call]:
    """The calls of what came on the channel ``call``; one that was cut is left out."""
    for piece in text.split(CALL)[1:]:
        written, end, _ = piece.partition(END_CALL)
        if end:
            yield read_call(written)


def read_call(text: str) -> Call:
    """``call:NAME{key:value}``.
    Raises ValueError: it is not written so."""
    reader = _Reader(text.strip())
    return reader.call()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def call(self) -> Call:
        found = _CALL.match(self._text)
        if found is None:
            raise ValueError(f"no call: {self._text[:80]}")
        self._at = found.end()
        arguments = self._object()
        if self._at < len(self._text):
            raise ValueError(f"there is more behind a call: {self._text[self._at :][:40]}")
        return Call(found[1], arguments)

    def _take(self, text: str) -> bool:
        there = self._text.startswith(text, self._at)
        self._at += len(text) if there else 0
        return there

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise ValueError(f"`{text}` is missing before `{self._text[self._at :][:40]}`")

    def _object(self) -> Json:
        self._expect("{")
        found: Json = {}
        while not self._take("}"):
            if found:
                self._expect(",")
            key = self._quoted() if self._take(QUOTE) else self._key()
            self._expect(":")
            found[key] = self._value()
        return found

    def _key(self) -> str:
        end = self._text.find(":", self._at)
        if end < 0:
            raise ValueError("a key without a value")
        key, self._at = self._text[self._at : end], end
        return key.strip()

    def _quoted(self) -> str:
        end = self._text.find(QUOTE, self._at)
        if end < 0:
            raise ValueError("a text without an end")
        text, self._at = self._text[self._at : end], end + len(QUOTE)
        return text

    def _value(self) -> Any:
        if self._take(QUOTE):
            return self._quoted()
        if self._text.startswith("{", self._at):
            return self._object()
        if self._take("["):
            found: list[Any] = []
            while not self._take("]"):
                if found:
                    self._expect(",")
                found.append(self._value())
            return found
        for word, value in _WORDS.items():
            if self._take(word):
                return value
        number = _NUMBER.match(self._text, self._at)
        if number is None:
            raise ValueError(f"no value: {self._text[self._at :][:40]}")
        self._at = number.end()
        return json.loads(number[0])
