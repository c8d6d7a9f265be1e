"""Which schemas speak about one value of the data. Pure.

Schemas go along as ``(schema, firm)``: one that is not firm is a branch that may not hold.
"""

import re
from collections.abc import Iterable, Iterator

from gemma_edge.extract.schemas.walk import Json, Subschema, resolve

Views = list[tuple[Json, bool]]


def iter_views(
    root: Json, schemas: Iterable[tuple[Subschema, bool]], seen: set[tuple[str, bool]]
) -> Iterator[tuple[Json, bool]]:
    """All schemas that speak about the same value as ``schemas``; ``seen`` starts empty."""
    for schema, firm in schemas:
        if not isinstance(schema, dict):
            continue
        yield schema, firm
        reference = schema.get("$ref")
        if isinstance(reference, str) and (reference, firm) not in seen:
            seen.add((reference, firm))
            target = resolve(root, reference)
            yield from iter_views(root, [(target or False, firm)], seen)
        yield from iter_views(root, [(sub, firm) for sub in schema.get("allOf", ())], seen)
        for keyword in ("anyOf", "oneOf"):
            yield from iter_views(root, [(sub, False) for sub in schema.get(keyword, ())], seen)
        branches = [schema[word] for word in ("then", "else") if word in schema]
        yield from iter_views(root, [(sub, False) for sub in branches], seen)


def member_schemas(views: Views, name: str) -> list[tuple[Subschema, bool]]:
    """What the views say about a member of an object."""
    found = []
    for view, firm in views:
        if name in view.get("properties", {}):
            found.append((view["properties"][name], firm))
        elif isinstance(view.get("additionalProperties"), dict):
            found.append((view["additionalProperties"], firm))
        for pattern, sub in view.get("patternProperties", {}).items():
            if re.search(pattern, name):
                found.append((sub, firm))
    return found


def item_schemas(views: Views, index: int) -> list[tuple[Subschema, bool]]:
    """What the views say about an element of a list."""
    found = []
    for view, firm in views:
        items = view.get("items")
        listed = view.get("prefixItems", items if isinstance(items, list) else ())
        if index < len(listed):
            found.append((listed[index], firm))
        elif isinstance(items, dict):
            found.append((items, firm))
    return found
