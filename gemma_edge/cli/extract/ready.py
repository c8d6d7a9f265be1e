"""From a document to a model with room for it: counted exactly before anything is loaded, and a
larger context asked of the plan where the document needs one."""

from dataclasses import dataclass, replace

from gemma_edge.cli.context import Context
from gemma_edge.cli.extract.options import ExtractOptions
from gemma_edge.cli.loading.loading import Prepared, prepare
from gemma_edge.cli.options import ModelOptions
from gemma_edge.cli.output import Output
from gemma_edge.cli.plan.planning import open_planner, wishes_of
from gemma_edge.documents import Document
from gemma_edge.documents.picture import MAX_TOKENS
from gemma_edge.engine.protocol import Counter
from gemma_edge.errors import DoesNotFit, ProjectorError
from gemma_edge.extract.job.looks import Look, look_at, needs_pictures
from gemma_edge.extract.job.options import Options
from gemma_edge.extract.job.passes import LONG_TOKENS, Passes, answer_room, plan_passes
from gemma_edge.extract.recipes.recipe import Recipe
from gemma_edge.fit.plan import everywhere
from gemma_edge.units import render_tokens

_STEP = 1024  # contexts are asked for in steps of so many tokens
_FRAME_TOKENS = 2048  # of a prompt besides the document, its form and its rules: far more than any
_MARKER_TOKENS = 16  # round one picture


@dataclass(frozen=True, slots=True)
class Ready:
    """The model, and how the document will be read; ``passes`` is None where it surely fits and
    was not counted yet."""

    prepared: Prepared
    options: Options
    passes: Passes | None


def get_ready(  # noqa: PLR0913, PLR0917  (what is read, by what, and the world)
    document: Document,
    recipe: Recipe,
    asked: ExtractOptions,
    model: ModelOptions,
    context: Context,
    output: Output,
) -> Ready:
    """A plan for this document; nothing is loaded but, where it may be long, a vocabulary.

    Raises:
        InputError: it has nothing to read.
        ProjectorError: a page is a picture, and the model sees none.
        DoesNotFit: the document, with ``--strategy whole``, or the model.
    """
    looks = look_at(document, asked.vision)
    prepared = _prepare(document, looks, asked, model, context, output)
    options = asked.options(page_tokens(prepared))
    if not asked.dry_run and _surely_fits(looks, recipe, options, prepared):
        return Ready(prepared, options, None)
    with context.open_counter(prepared.plan) as counter:
        passes = _count(document, recipe, options, counter, prepared)
        pinned = model.context_tokens is not None
        if passes.whole_tokens > prepared.plan.context_tokens and asked.strategy != "windows":
            larger = None if pinned else _enlarged(prepared, passes, model, context, output)
            if larger is not None:
                prepared = larger
                passes = _count(document, recipe, options, counter, prepared)
            elif asked.strategy == "whole":
                raise _too_long(document, passes, prepared)
    return Ready(prepared, options, passes)


def _prepare(  # noqa: PLR0913, PLR0917  (as above)
    document: Document,
    looks: tuple[Look, ...],
    asked: ExtractOptions,
    model: ModelOptions,
    context: Context,
    output: Output,
) -> Prepared:
    if not needs_pictures(looks):
        return prepare(model, context, output, sight="unused")
    try:
        return prepare(model, context, output, sight="needed", image_tokens=MAX_TOKENS)
    except ProjectorError as error:
        look = next(look for look in looks if look.how in ("picture", "both"))
        raise ProjectorError(
            f"{document.name}, page {look.page.number}, goes in as a picture ({look.page.kind}), "
            f"and {error.message}",
            hint=f"{error.hint}{_without_pictures(looks)}",
        ) from None


def _without_pictures(looks: tuple[Look, ...]) -> str:
    """What is left without a projector."""
    kinds = {look.page.kind for look in looks}
    if "scan" in kinds and not kinds & {"text", "mixed", "scan+ocr-layer"}:
        return ""
    layer = " (the OCR layer, where there is one)" if "scan+ocr-layer" in kinds else ""
    return f"; --vision never reads the text alone{layer}"


def page_tokens(prepared: Prepared) -> int:
    """The budget of a page: the most, but no more than the plan paid for; the bundled model has
    never seen more than its usual one."""
    most = prepared.files.image_tokens if prepared.files.bundled else MAX_TOKENS
    return min(most, prepared.plan.image_tokens or most)


def _surely_fits(
    looks: tuple[Look, ...], recipe: Recipe, options: Options, prepared: Prepared
) -> bool:
    """Whether it fits and is short however it is tokenized: a token is a byte at least."""
    words = [recipe.render_instructions(), recipe.form()]
    words += [look.page.text for look in looks if look.how in ("text", "both")]
    pictures = options.tiles * sum(look.how in ("picture", "both") for look in looks)
    document = sum(len(each.encode()) for each in words)
    document += pictures * (options.image_tokens + _MARKER_TOKENS)
    needed = document + _FRAME_TOKENS + answer_room(document)
    return document <= LONG_TOKENS and needed <= prepared.plan.context_tokens


def _count(
    document: Document, recipe: Recipe, options: Options, counter: Counter, prepared: Prepared
) -> Passes:
    return plan_passes(document, recipe, options, counter.count, prepared.plan.context_tokens)


def _enlarged(
    prepared: Prepared, passes: Passes, model: ModelOptions, context: Context, output: Output
) -> Prepared | None:
    """The same model with room for the whole document; None where it reads less, or where it
    would not fit in memory."""
    wanted = -(-passes.whole_tokens // _STEP) * _STEP
    if wanted > _trained_tokens(prepared):
        return None
    pictures = any(sheet.pictures for one in passes.each for sheet in one.sheets)
    image_tokens = MAX_TOKENS if pictures else None
    wishes = wishes_of(
        replace(model, context_tokens=wanted), vision=pictures or None, image_tokens=image_tokens
    )
    try:
        with open_planner(context, prepared.settings, output) as planner:
            larger = planner.plan([prepared.candidate], wishes)
    except DoesNotFit:
        return None
    return replace(prepared, plan=everywhere(larger, remember=prepared.plan.remember))


def _trained_tokens(prepared: Prepared) -> int:
    return prepared.candidate.header.integer(".context_length") or 0


def _too_long(document: Document, passes: Passes, prepared: Prepared) -> DoesNotFit:
    name = prepared.plan.name or prepared.plan.model.stem
    trained = _trained_tokens(prepared)
    context = prepared.plan.context_tokens
    if passes.whole_tokens > trained:
        holds = f"{name} reads at most {render_tokens(trained)}"
    else:
        holds = f"{name} has room for {render_tokens(context)} here"
    return DoesNotFit(
        f"{document.name} needs {render_tokens(passes.whole_tokens)} with its answer, {holds}",
        hint="--strategy windows reads it in parts; --pages reads less",
    )
