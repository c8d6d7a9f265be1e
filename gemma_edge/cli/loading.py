"""From flags to an open engine: resolve, check the headers, plan, load; and close it always."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from gemma_edge import catalog, gguf
from gemma_edge.catalog import ModelFiles
from gemma_edge.cli.context import Context
from gemma_edge.cli.options import ModelOptions
from gemma_edge.cli.output import Output
from gemma_edge.engine.protocol import Engine, EngineInfo
from gemma_edge.errors import ProjectorError
from gemma_edge.fit.pair import check_model, check_pair
from gemma_edge.fit.plan import Plan
from gemma_edge.fit.planning import Wishes, plan

Sight = Literal["needed", "possible", "unused"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Files that were checked and the plan for them; nothing is loaded yet."""

    files: ModelFiles
    plan: Plan
    image_tokens: int


def prepare(
    options: ModelOptions,
    context: Context,
    *,
    sight: Sight,
    image_tokens: int | None = None,
) -> Prepared:
    """Everything that can be refused before a model is loaded. A projector that no picture will
    pass through is checked but not loaded.

    Raises:
        ModelError, ProjectorError, DoesNotFit.
    """
    files = catalog.resolve(options.model, options.mmproj)
    header = gguf.read_header(files.model)
    check_model(header)
    if files.projector is not None:
        check_pair(header, gguf.read_header(files.projector))
    elif sight == "needed":
        raise _sightless(files.model)
    if sight == "unused":
        files = replace(files, projector=None)
    wishes = Wishes(
        context_tokens=options.context_tokens,
        gpu_layers=options.gpu_layers,
        threads=options.threads,
        image_tokens=image_tokens,
    )
    decided = plan(files, header, wishes, context.detect_cpu())
    return Prepared(files, decided, image_tokens or files.image_tokens)


@contextmanager
def open_engine(prepared: Prepared, context: Context, output: Output) -> Iterator[Engine]:
    """Load the plan and pass on what the engine has to say; it is closed whatever happens."""
    engine = context.load(prepared.plan)
    try:
        for note in engine.info.notes:
            output.note(note)
        yield engine
    finally:
        engine.close()


def render_loaded(files: ModelFiles, info: EngineInfo) -> str:
    """One line: which model, where it runs, how much it reads."""
    name = f"{files.title} ({files.good_for})" if files.bundled else info.name
    placed = f"{info.gpu_layers}/{info.layers} layers on " if info.gpu_layers else ""
    return f"{name} · {placed}{info.device} · context {info.context_tokens:,}"


def _sightless(model: Path) -> ProjectorError:
    """An image for a model without a projector; often it lies beside the model."""
    beside = sorted(entry for entry in model.parent.glob("*mmproj*.gguf"))
    return ProjectorError(
        f"`{model.name}` sees no images without its projector",
        hint=f"--mmproj {beside[0] if beside else 'FILE, the mmproj-....gguf of the same model'}",
    )
