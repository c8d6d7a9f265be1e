"""Gemma 4 on the computer you have; nothing leaves it.

    import gemma_edge

    with gemma_edge.load("e4b") as engine:
        bill = gemma_edge.extract("bill.pdf", schema="vendor, total num", engine=engine)
        print(bill.data, bill.evidence["total"].page, bill.problems)
        print(gemma_edge.describe("photo.jpg", engine=engine))

Every error is a ``GemmaEdgeError`` with a ``message`` and a ``hint``. Sizes are in bytes where a
name ends in ``_bytes``, in tokens where it ends in ``_tokens``; times are in seconds. Importing
this loads none of the libraries that take long; each comes when it is needed.
"""

import os
import sys

# Where this is the program itself, and no library of another, Ctrl-C ends it at once and without a
# word until it has something to do (``cli.context.begin_work``). `_signal` is part of Python;
# `signal` is read from a file, in whose time a key may be pressed. ``-m`` stands there only while
# Python looks for a package that was named after it.
if os.path.basename(sys.argv[0] if sys.argv else "") in ("-m", "gemma-edge", "gemma-edge.exe"):
    import _signal  # type: ignore[import-not-found]

    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, lambda _number, _frame: os._exit(130))

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any

from gemma_edge.errors import (
    BuildError,
    DoesNotFit,
    EngineError,
    EngineStopped,
    GemmaEdgeError,
    InputError,
    Interrupted,
    ModelError,
    OutOfMemory,
    ProjectorError,
    ResultError,
    SchemaError,
    UsageError,
)
from gemma_edge.version import __version__

if TYPE_CHECKING:
    from gemma_edge.app.describe import Description
    from gemma_edge.app.extract import Extraction
    from gemma_edge.app.loaded import LoadedEngine
    from gemma_edge.app.request import ModelRequest
    from gemma_edge.app.runtime import Runtime, library_runtime
    from gemma_edge.chat.conversation import Conversation
    from gemma_edge.description import Kind
    from gemma_edge.documents.document import Document, PageNumbers
    from gemma_edge.engine.protocol import Chunk, Finished, Notice, Sampling
    from gemma_edge.extraction import Strategy, Vision
    from gemma_edge.extraction.evidence.evidence import Evidence
    from gemma_edge.planning.plan import Plan

_LAZY = {
    "Chunk": "engine.protocol", "Conversation": "chat.conversation", "Description": "app.describe",
    "Document": "documents.document", "Evidence": "extraction.evidence.evidence",
    "Extraction": "app.extract", "Finished": "engine.protocol", "LoadedEngine": "app.load",
    "ModelRequest": "app.request", "Notice": "engine.protocol", "Plan": "planning.plan",
    "Runtime": "app.runtime", "Sampling": "engine.protocol", "library_runtime": "app.runtime",
}  # fmt: skip

__all__ = [
    "BuildError", "Chunk", "Conversation", "Description", "Document", "DoesNotFit", "EngineError",
    "EngineStopped", "Evidence", "Extraction", "Finished", "GemmaEdgeError", "InputError",
    "Interrupted", "LoadedEngine", "ModelError", "ModelRequest", "Notice", "OutOfMemory", "Plan",
    "ProjectorError", "ResultError", "Runtime", "Sampling", "SchemaError", "UsageError",
    "__version__", "describe", "extract", "library_runtime", "load", "open_document", "plan",
]  # fmt: skip

StrPath = str | PathLike[str]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module `gemma_edge` has no attribute `{name}`")
    value = getattr(import_module(f"gemma_edge.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load(
    model: "StrPath | ModelRequest" = "auto",
    *,
    context_tokens: int | None = None,
    vision: bool | None = None,
    download: bool = False,
    runtime: "Runtime | None" = None,
) -> "LoadedEngine":
    """Choose, plan and load a model; ``with`` or ``close()`` frees it.

    ``model`` is a name of ``gemma-edge models`` ("e4b", "demo"), ``hf:owner/repo/file.gguf``, a
    GGUF file, or "auto" for the best one on this machine; a ``ModelRequest`` says more.
    ``context_tokens`` is the largest prompt with its answer, None for what fits. ``vision`` is
    whether it must see pictures; None: if its projector is there. ``download`` agrees to fetch
    what is missing, which is gigabytes. ``runtime`` says where files are kept and who is told.

    Raises:
        ModelError: it is not on this machine and may not be fetched, or a file is damaged.
        ProjectorError: pictures are wanted, and there is no projector for them.
        DoesNotFit: there is not enough memory or disk; the message has the numbers.
        EngineError: llama.cpp failed; BuildError: as it is installed it does not run here.
    """
    from gemma_edge.app import load as app
    from gemma_edge.documents.document import MAX_TOKENS

    request = _model(model, context_tokens, vision)
    runtime = runtime or _runtime(download)
    sees = request.vision is not False
    prepared = app.prepare(
        request, runtime, vision="possible", image_tokens=MAX_TOKENS if sees else None
    )
    engine = app.load(prepared, runtime)
    try:
        for note in engine.info.notes:  # waits until it is loaded
            runtime.note(note)
    except BaseException:
        engine.close()
        raise
    return engine


def plan(
    model: "StrPath | ModelRequest" = "auto",
    *,
    context_tokens: int | None = None,
    vision: bool | None = None,
    runtime: "Runtime | None" = None,
) -> "Plan":
    """Which model would be loaded here, and how: layers, context, memory in bytes, speed in tokens
    a second. Nothing is downloaded or loaded; arguments as of ``load``.

    Raises:
        ModelError: there is no such model.
        DoesNotFit: none fits; the message has the numbers.
    """
    from gemma_edge.app.load import constraints_of, open_planner
    from gemma_edge.app.stock import Stock, offer

    request = _model(model, context_tokens, vision)
    runtime = runtime or _runtime(download=False)
    with open_planner(runtime) as planner:
        candidates = offer(request, Stock(runtime.store, runtime.note), runtime)
        return planner.plan(candidates, constraints_of(request, vision=None))


def open_document(
    path: StrPath, *, password: str | None = None, pages: str | None = None,
    encoding: str | None = None, hidden: bool = False,
) -> "Document":  # fmt: skip
    """Read a PDF, an image, an office file, a mail or a text: pages with their text and where it
    stands, in points. ``pages`` takes only some: "1-3,8,-1". Text is read in ``encoding`` where one
    is given; what is ``hidden`` (white, covered, in hidden rows) is left out without it.

    Raises:
        InputError: it is missing, encrypted, damaged, or of a kind that is not read.
        UsageError: a page that there is not.
    """
    from gemma_edge.documents.document import ReadOptions
    from gemma_edge.documents.open import open_document as open_path

    options = ReadOptions(encoding, hidden)
    return open_path(path, password=password, pages=_pages(pages), options=options)


def extract(  # noqa: PLR0913  (each is named)
    source: "StrPath | Document",
    *,
    schema: StrPath | Mapping[str, Any] | None = None,
    recipe: StrPath | None = None,
    rules: Sequence[str] = (),
    checks: Sequence[str] = (),
    engine: "LoadedEngine | None" = None,
    model: "StrPath | ModelRequest" = "auto",
    pages: str | None = None,
    password: str | None = None,
    encoding: str | None = None,
    hidden: bool = False,
    vision: "Vision" = "auto",
    strategy: "Strategy" = "auto",
    strict: bool = False,
    locate: bool = False,
    free: Sequence[str] = (),
    grounded: Sequence[str] = (),
    max_tokens: int | None = None,
    download: bool = False,
    runtime: "Runtime | None" = None,
) -> "Extraction":
    """Read a document into JSON that a schema accepts; a value that is not in it is None, and
    where a JSON Schema requires it, a problem.

    ``schema`` is a JSON Schema (a mapping, JSON text, or a file) or names: "vendor, total num".
    ``recipe`` is a name or a file; ``rules`` ("total: after tax") and ``checks`` ("net + tax ~=
    total") are added to it. Without both the kind of the document is recognized, among the recipes
    that there are: ``recipe.name`` of what is returned says which, ``recognized`` how likely and
    why. Without ``engine``, ``model`` is loaded with room for the document and closed again.
    ``vision`` and ``strategy`` are as of the command line: pages as pictures ("auto", "always",
    "never"), the document in one piece or in parts ("auto", "whole", "windows"); ``pages``,
    ``password``, ``encoding`` and ``hidden`` as of ``open_document``. ``strict`` lets nothing be
    None that the schema does not let be, so the model has to give a value; ``locate`` asks where a
    value that was read from a picture stands; ``max_tokens`` ends a single answer. A value that is
    copied can only be what the document prints; into the fields of ``free`` the model may write,
    those of ``grounded`` are copied whatever their names say ("all": each).

    What the answer lacks stands in ``problems`` of what is returned, and is not raised.

    Raises:
        UsageError: a field that is not in the schema.
        SchemaError, InputError: the schema, the recipe or the document cannot be read.
        ModelError, ProjectorError: no model, or it cannot see a page that is a picture.
        DoesNotFit: the document or the model is too large.
        EngineError: llama.cpp failed; EngineStopped: the same can be asked once more.
    """
    from gemma_edge.app import extract as app
    from gemma_edge.app.request import ExtractRequest, RecipeRequest
    from gemma_edge.documents.document import Document
    from gemma_edge.extraction import STRATEGIES, VISIONS

    _check_choice("vision", vision, VISIONS)
    _check_choice("strategy", strategy, STRATEGIES)
    runtime = runtime or _runtime(download)
    asked = app.read_recipe(
        RecipeRequest(
            schema=_text(schema), recipe=_text(recipe), rules=tuple(rules), checks=tuple(checks)
        ),
        [runtime.store.data_dir / "recipes"],
        runtime.note,
    )
    if not isinstance(source, Document):
        source = open_document(
            source, password=password, pages=pages, encoding=encoding, hidden=hidden
        )
    request = ExtractRequest(
        vision=vision,
        strategy=strategy,
        strict=strict,
        max_tokens=max_tokens,
        located=locate,
        free=tuple(free),
        grounded=tuple(grounded),
    )
    if engine is not None:
        return app.extract_with(engine, source, asked, request, runtime)
    return app.extract_document(source, asked, request, _model(model), runtime)


def describe(  # noqa: PLR0913  (each is named)
    images: StrPath | Sequence[StrPath],
    question: str = "",
    *,
    kind: "Kind" = "caption",
    schema: StrPath | Mapping[str, Any] | None = None,
    language: str = "",
    detail_tokens: int | None = None,
    pages: str | None = None,
    password: str | None = None,
    temperature: float | None = None,
    seed: int | None = None,
    max_tokens: int | None = None,
    engine: "LoadedEngine | None" = None,
    model: "StrPath | ModelRequest" = "auto",
    download: bool = False,
    runtime: "Runtime | None" = None,
) -> "Description":
    """Look at an image, at several together, or at pages of a PDF, and say what they show.

    ``kind`` is "caption", "alt", "ocr", "tags" or "json"; a ``schema`` makes it "json".
    ``detail_tokens`` (70 to 1120) is the budget of a picture, None for what the image needs. With
    ``temperature`` 0 the same is said each time.
    Without ``engine``, ``model`` is loaded and closed again. ``str()`` of what is returned is the
    text; ``data`` holds it by the schema.

    Raises:
        InputError, UsageError: an image cannot be read, or what is asked does not go together.
        ModelError, ProjectorError, DoesNotFit: no model that sees them.
        EngineError: llama.cpp failed; EngineStopped: the same can be asked once more.
    """
    from pathlib import Path

    from gemma_edge.app import describe as app
    from gemma_edge.app.batch import Source
    from gemma_edge.app.request import DescribeRequest
    from gemma_edge.description import KINDS
    from gemma_edge.engine.protocol import Sampling

    _check_choice("kind", kind, KINDS)
    runtime = runtime or _runtime(download)
    questions = app.parse_questions(
        DescribeRequest(
            kind="json" if schema is not None else kind, questions=(question,) if question else (),
            schema=_text(schema), language=language, detail_tokens=detail_tokens,
            pages=_pages(pages), password=password, max_tokens=max_tokens,
            sampling=Sampling(temperature=temperature, seed=seed),
        )
    )  # fmt: skip
    paths = [images] if isinstance(images, str | PathLike) else images
    sources = [Source(str(path), Path(path)) for path in paths]
    if engine is not None:
        return app.look_with(engine, sources, questions, runtime).ask(questions.tasks[0])
    with app.open_images(sources, questions, _model(model), runtime) as opened:
        return opened.ask(questions.tasks[0])


def _runtime(download: bool) -> "Runtime":
    from gemma_edge.app.runtime import library_runtime

    return library_runtime(download=download)


def _model(
    model: "StrPath | ModelRequest",
    context_tokens: int | None = None,
    vision: bool | None = None,
) -> "ModelRequest":
    from gemma_edge.app.request import ModelRequest

    if isinstance(model, ModelRequest):
        if context_tokens is not None or vision is not None:
            raise UsageError(
                "a ModelRequest says its context and vision itself",
                hint="ModelRequest(context_tokens=8192)",
            )
        return model
    return ModelRequest(model=str(model), context_tokens=context_tokens, vision=vision)


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UsageError(
            f"{name} `{value}` is none of {', '.join(choices)}", hint=f'{name}="{choices[0]}"'
        )


def _text(value: StrPath | Mapping[str, Any] | None) -> str | None:
    if value is None:
        return None
    return json.dumps(value) if isinstance(value, Mapping) else str(value)


def _pages(text: str | None) -> "PageNumbers | None":
    from gemma_edge.documents.document import parse_page_numbers

    if text is None:
        return None
    try:
        return parse_page_numbers(text)
    except ValueError:
        raise UsageError(f"`{text}` does not name pages", hint='pages="1-3,8,-1"') from None
