"""From flags to an open engine: resolve, check the headers, plan, load; and close it always."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from gemma_edge import gguf
from gemma_edge.catalog import ModelFiles
from gemma_edge.cli.context import Context
from gemma_edge.cli.fetching import find_model
from gemma_edge.cli.options import ModelOptions
from gemma_edge.cli.output import Output
from gemma_edge.documents.images import open_image
from gemma_edge.engine.protocol import Engine, EngineInfo
from gemma_edge.errors import ModelError, ProjectorError
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


def prepare(  # noqa: PLR0913  (the wish, the world, and what for)
    options: ModelOptions,
    context: Context,
    output: Output,
    *,
    sight: Sight,
    image_tokens: int | None = None,
    images: Sequence[Path] = (),
) -> Prepared:
    """Everything that can be refused before a model is loaded. What is missing of it is fetched,
    after a yes, and not for ``images`` that cannot be read. A projector that no picture will pass
    through is checked but not loaded.

    Raises:
        ModelError, ProjectorError, DoesNotFit; and what fetching raises.
    """
    files = find_model(
        options, context, output, with_projector=sight != "unused",
        check_inputs=partial(_check_inputs, options, images, sight),
    )  # fmt: skip
    header = gguf.read_header(files.model)
    check_model(header)
    if files.projector is not None:
        check_pair(header, gguf.read_header(files.projector))
    elif sight == "needed":
        raise _sightless(header)
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


def _check_inputs(
    options: ModelOptions, images: Sequence[Path], sight: Sight, has_projector: bool
) -> None:
    """What would be refused after a download is refused before."""
    if sight == "needed" and not has_projector:
        raise ProjectorError(
            f"`{options.model}` is not in the catalogue, which would know its projector",
            hint="--mmproj FILE; gemma-edge pull hf:owner/repo/mmproj.gguf fetches it",
        )
    for path in images:
        open_image(path)
    if options.mmproj is not None:
        gguf.read_header(options.mmproj.expanduser())


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
    name = f"{files.title} ({files.good_for})" if files.bundled else files.title or info.name
    placed = f"{info.gpu_layers}/{info.layers} layers on " if info.gpu_layers else ""
    return f"{name} · {placed}{info.device} · context {info.context_tokens:,}"


def _sightless(header: gguf.Header) -> ProjectorError:
    """An image for a model without a projector; often the right one lies beside it."""
    beside = (path for path in sorted(header.path.parent.glob("*.gguf")) if _fits(header, path))
    found = next(beside, "FILE, the mmproj-....gguf of the same model")
    return ProjectorError(
        f"`{header.path.name}` sees no images without its projector", hint=f"--mmproj {found}"
    )


def _fits(header: gguf.Header, path: Path) -> bool:
    try:
        check_pair(header, gguf.read_header(path))
    except ModelError:
        return False
    return True
