"""A child program: import a Python file and tell the JSON Schema of a class in it.

Asked ``{"path", "name"}`` it answers ``{"schema"}``. What goes wrong in the file is raised.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gemma_edge.isolation import ChildMessage, ChildRequest, Handler


def main() -> Handler:
    return answer


def answer(request: ChildRequest) -> Iterator[ChildMessage]:
    module = _load(Path(request.header["path"]))
    yield ChildMessage({"schema": schema_of(module, request.header["name"])})


def _load(path: Path) -> Any:
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
        classes = {key: each for key, each in vars(module).items() if isinstance(each, type)}
        own = sorted(key for key, each in classes.items() if each.__module__ == module.__name__)
        raise AttributeError(f"there is no {name} in it; its models: {', '.join(own) or 'none'}")
    found = getattr(module, name)
    if hasattr(found, "model_json_schema"):
        return found.model_json_schema()
    if hasattr(found, "schema") and hasattr(found, "__fields__"):  # Pydantic 1
        return found.schema()
    return importlib.import_module("pydantic").TypeAdapter(found).json_schema()
