"""One document from file to result."""

from functools import partial

from gemma_edge.cli.batch.sources import Source
from gemma_edge.cli.context import Context
from gemma_edge.cli.extract.dry import show_plan
from gemma_edge.cli.extract.options import ExtractOptions
from gemma_edge.cli.extract.ready import Ready, get_ready
from gemma_edge.cli.extract.show import Shown, show, with_places
from gemma_edge.cli.extract.wish import open_named, read_recipe
from gemma_edge.cli.interrupt import cancel_on_interrupt
from gemma_edge.cli.loading.loading import open_engine
from gemma_edge.cli.options import ModelOptions, ShowOptions
from gemma_edge.cli.output import Output
from gemma_edge.cli.streaming import show_aside
from gemma_edge.documents import Document
from gemma_edge.engine.protocol import Engine
from gemma_edge.errors import ExitStatus
from gemma_edge.extract.job.job import extract
from gemma_edge.extract.job.looks import look_at, notes_on
from gemma_edge.extract.job.passes import Passes, plan_passes
from gemma_edge.extract.recipes.recipe import Recipe
from gemma_edge.units import render_tokens


def extract_one(  # noqa: PLR0913, PLR0917  (what, how, and the world)
    source: Source,
    asked: ExtractOptions,
    model: ModelOptions,
    how: ShowOptions,
    context: Context,
    output: Output,
) -> ExitStatus:
    """Recipe, document and files first; only then is a model loaded."""
    recipe = read_recipe(asked, context, output)
    document = open_named(source, asked, context)
    for note in (*document.notes, *notes_on(look_at(document, asked.vision))):
        output.note(note)
    ready = get_ready(document, recipe, asked, model, context, output)
    if asked.dry_run:
        return show_plan(document, recipe, ready, as_json=how.json, output=output)
    with open_engine(ready.prepared, context, output) as engine:
        passes = _passes(document, recipe, ready, engine)
        output.note(_render_read(document, passes, ready.prepared.render(engine.info)))
        started = context.clock()
        with cancel_on_interrupt(engine):
            result = extract(
                engine, document, recipe, ready.options, passes=passes,
                on_event=partial(show_aside, output=output),
            )  # fmt: skip
            result = with_places(engine, document, result, asked, ready.options)
        seconds = context.clock() - started
        shown = Shown(source, document, recipe, passes, result, engine.info, seconds)
        return show(shown, asked, as_json=how.json, output=output)


def _passes(document: Document, recipe: Recipe, ready: Ready, engine: Engine) -> Passes:
    """The plan that was made, if what was loaded has the room that it was made for."""
    context_tokens = engine.info.context_tokens
    if ready.passes is not None and context_tokens >= ready.prepared.plan.context_tokens:
        return ready.passes
    return plan_passes(document, recipe, ready.options, engine.count, context_tokens)


def _render_read(document: Document, passes: Passes, loaded: str) -> str:
    """What was read, in pages and tokens, and by whom."""
    pages = len(document.pages)
    extent = f"{pages} page{'' if pages == 1 else 's'}"
    tokens = render_tokens(sum(passes.page_tokens))
    windows = ""
    if passes.strategy == "windows":
        windows = f" in {len(passes.each)} passes ({passes.reason})"
    return f"{document.name}: {extent}, {tokens}{windows} · {loaded}"
