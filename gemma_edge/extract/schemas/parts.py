"""A part of a schema as a schema of its own: some fields of the root, or single values deep in it.
Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gemma_edge.extract.paths import ValuePath, render_path
from gemma_edge.extract.schemas.decoding import close_schema
from gemma_edge.extract.schemas.form import render_form
from gemma_edge.extract.schemas.semantic import as_printed
from gemma_edge.extract.schemas.views import item_schemas, iter_views, member_schemas
from gemma_edge.extract.schemas.walk import Json, Kinds, Subschema, every, resolve

# Beside these, the fields of an object cannot be asked for one by one.
_WHOLE = frozenset(
    ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "patternProperties", "propertyNames")
    + ("dependencies", "dependentRequired", "dependentSchemas", "minProperties", "maxProperties")
)
_FRAME = ("$schema", "$defs", "definitions")
_SHARED = ("#/$defs/", "#/definitions/")  # what a part of a schema may refer to
_DEEPEST = 6  # objects in objects in which lists are looked for


@dataclass(frozen=True, slots=True)
class Part:
    """What one request asks for: the schema that the decoder is held to, and the form as the model
    reads it. ``names`` are the fields of the root, empty for all of it."""

    decoding: Json = field(repr=False)
    form: str
    names: tuple[str, ...] = ()


def make_part(source: Json, *, strict: bool, names: tuple[str, ...] = ()) -> Part:
    """A whole schema as a request asks for it."""
    return Part(close_schema(as_printed(source), nullable=not strict), render_form(source), names)


def select_fields(source: Json, names: Iterable[str], *, strict: bool) -> Part:
    """Some of ``fields_of`` alone."""
    root = _object_root(source)
    assert root is not None  # else there are no such fields
    wanted = set(names)
    properties = {name: sub for name, sub in root["properties"].items() if name in wanted}
    required = root.get("required")
    needed = [name for name in properties if isinstance(required, list) and name in required]
    part = _with_properties(source, properties, needed)
    return make_part(part, strict=strict, names=tuple(properties))


def select_values(source: Json, paths: Sequence[ValuePath], *, strict: bool) -> Part | None:
    """Single values under their names ("items[2].qty"); None where one cannot stand alone."""
    properties: dict[str, Subschema] = {}
    for path in paths:
        found = schema_at(source, path)
        if found is None:
            return None
        properties[render_path(path)] = found
    part = _with_properties(source, properties, list(properties))
    return make_part(part, strict=strict, names=tuple(properties)) if _stands_alone(part) else None


def fields_of(source: Json) -> tuple[str, ...]:
    """The fields that can be asked for one by one; none where the root is no plain object."""
    root = _object_root(source)
    return tuple(root["properties"]) if root else ()


def lists_of(source: Json) -> tuple[str, ...]:
    """Those of ``fields_of`` that are, or hold, a list of records: what grows with the document."""
    root = _object_root(source)
    if not root:
        return ()
    return tuple(name for name, sub in root["properties"].items() if _holds_records(source, sub))


def schema_at(source: Json, path: ValuePath) -> Subschema | None:
    """What the schema says about the value at ``path``; None where it says nothing or no one
    thing."""
    schemas: list[tuple[Subschema, bool]] = [(source, True)]
    for step in path:
        views = list(iter_views(source, schemas, set()))
        if isinstance(step, str):
            schemas = member_schemas(views, step)
        else:
            schemas = item_schemas(views, step)
    return schemas[0][0] if len(schemas) == 1 else None


def _object_root(source: Json) -> Json | None:
    root: Subschema | None = source
    if isinstance(source.get("$ref"), str):
        root = resolve(source, source["$ref"])
    if not isinstance(root, dict) or _WHOLE & root.keys() or "$ref" in root:
        return None
    if not isinstance(root.get("properties"), dict) or not root["properties"]:
        return None
    return root if _stands_alone(source) else None


def _with_properties(source: Json, properties: dict[str, Subschema], required: list[str]) -> Json:
    return {
        **{word: source[word] for word in _FRAME if word in source},
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _stands_alone(source: Json) -> bool:
    """Whether references lead to definitions only, and so still do in a part of it."""
    references = (schema.get("$ref") for schema in every(source))
    return all(each.startswith(_SHARED) for each in references if isinstance(each, str))


def _holds_records(root: Json, schema: Subschema, depth: int = 0) -> bool:
    """Whether there is a list of objects in it, not too deep."""
    for view, _ in iter_views(root, [(schema, True)], set()):
        kinds = Kinds(root).of(view.get("items")) if isinstance(view.get("items"), dict) else set()
        if kinds and kinds <= {"object", "null"}:
            return True
        inside = view.get("properties", {}).values()
        if depth < _DEEPEST and any(_holds_records(root, sub, depth + 1) for sub in inside):
            return True
    return False
