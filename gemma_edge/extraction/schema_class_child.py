"""A program of its own: import a Python file and print the JSON Schema of a class in it.

    python -m gemma_edge.extract.schemas.class_child FILE CLASS

What the file itself prints goes to stderr; stdout carries ``{"schema": …}`` or ``{"error": …}``.
"""

import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any


def main(path: Path, name: str) -> None:
    """Answer on what was stdout, and send all else that is printed to stderr."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answer:
        os.dup2(2, 1)
        try:
            said = {"schema": schema_of(_load(path), name)}
        except Exception as error:  # noqa: BLE001  (any file, so any error; it is told, not hidden)
            said = {"error": f"{type(error).__name__}: {error}"}
        json.dump(said, answer)


def _load(path: Path) -> Any:
    """The file as a module; what lies beside it can be imported by it."""
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # it ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where Pydantic looks names of annotations up
    spec.loader.exec_module(module)
    return module


def schema_of(module: Any, name: str) -> Any:
    """The JSON Schema of a Pydantic model, or of what Pydantic can describe: a dataclass, a
    TypedDict, ``list[Model]``."""
    if not hasattr(module, name):
        known = ", ".join(sorted(_models(module))) or "none"
        raise AttributeError(f"there is no {name} in it; its models: {known}")
    found = getattr(module, name)
    if hasattr(found, "model_json_schema"):
        return found.model_json_schema()
    if hasattr(found, "schema") and hasattr(found, "__fields__"):  # Pydantic 1
        return found.schema()
    return importlib.import_module("pydantic").TypeAdapter(found).json_schema()


def _models(module: Any) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2])
