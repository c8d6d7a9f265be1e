"""Many documents through one model; answers scored against gold data; answers compared."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from gemma_edge.cli.batch.sources import Source
from gemma_edge.cli.context import Context
from gemma_edge.cli.extract.batch import EachOptions, Task, extract_each, run_each
from gemma_edge.cli.extract.eval import SCHEMA_NAME, evaluate_folder
from gemma_edge.cli.extract.options import ExtractOptions
from gemma_edge.cli.extract.output import Sink
from gemma_edge.cli.extract.ready import page_tokens
from gemma_edge.cli.extract.show import with_places, write_beside
from gemma_edge.cli.extract.wish import read_recipe
from gemma_edge.cli.interrupt import cancel_on_interrupt
from gemma_edge.cli.loading.loading import Prepared, Sight, open_engine, prepare
from gemma_edge.cli.options import PASSWORD_VARIABLE, ModelOptions, ShowOptions
from gemma_edge.cli.output import Output
from gemma_edge.cli.streaming import show_aside
from gemma_edge.documents import Document, read_document
from gemma_edge.documents.files import shown
from gemma_edge.documents.picture import MAX_TOKENS
from gemma_edge.engine.protocol import Engine
from gemma_edge.errors import ExitStatus, InputError, ProjectorError, UsageError
from gemma_edge.extract.job.extraction import Extraction
from gemma_edge.extract.job.job import extract
from gemma_edge.extract.job.options import Options
from gemma_edge.extract.job.passes import plan_passes
from gemma_edge.extract.recipes.recipe import Recipe
from gemma_edge.extract.records.table import columns_of


def extract_many(  # noqa: PLR0913, PLR0917  (what, how, and the world)
    sources: Sequence[Source],
    asked: ExtractOptions,
    model: ModelOptions,
    context: Context,
    output: Output,
) -> ExitStatus:
    """Each document by itself, one record a document."""
    if asked.dry_run:
        raise UsageError("--dry-run looks at one document", hint="extract FILE --dry-run")
    recipe = read_recipe(asked, context, output)
    with _task(recipe, asked, model, context, output) as task:
        return extract_each(sources, task, _each(asked), context, output)


def evaluate(
    asked: ExtractOptions, model: ModelOptions, show: ShowOptions, context: Context, output: Output
) -> ExitStatus:
    """``extract eval DIR``: its documents are read, unless there are ``--answers``."""
    folder = _only(asked.files[1:], "extract eval DIR")

    def run(sources: Sequence[Source], sink: Sink) -> ExitStatus:
        wish = asked.recipe
        if wish.schema is None and wish.recipe is None:
            if not (folder / SCHEMA_NAME).is_file():
                raise UsageError(
                    f"there is no --schema, no --recipe, and no {SCHEMA_NAME} in {shown(folder)}",
                    hint='--schema "vendor, date, total num"',
                )
            wish = replace(wish, schema=str(folder / SCHEMA_NAME))
        recipe = read_recipe(replace(asked, recipe=wish), context, output)
        each = replace(_each(asked), evidence=True)
        with _task(recipe, asked, model, context, output) as task:
            if each.out is not None:
                return extract_each(sources, task, each, context, output)
            return run_each(sources, task, each, sink, context, output)

    return evaluate_folder(folder, asked.answers, asked.out, run, show, output)


def _only(paths: Sequence[Path], usage: str) -> Path:
    if len(paths) != 1:
        raise UsageError(f"one folder is asked for, not {len(paths)}", hint=f"gemma-edge {usage}")
    return paths[0]


def _each(asked: ExtractOptions) -> EachOptions:
    return EachOptions(
        out=asked.out, form=asked.form, evidence=asked.evidence == "inline", jobs=asked.jobs
    )


@contextmanager
def _task(
    recipe: Recipe, asked: ExtractOptions, model: ModelOptions, context: Context, output: Output
) -> Iterator[Task]:
    """What is done with each document; the model is loaded for the first one."""
    sight: Sight = "unused" if asked.vision == "never" else "possible"
    tokens = None if asked.vision == "never" else MAX_TOKENS
    prepared = prepare(model, context, output, sight=sight, image_tokens=tokens)
    options = asked.options(page_tokens(prepared))
    password = asked.password or context.environment.get(PASSWORD_VARIABLE) or None
    with ExitStack() as stack:
        one = _One(recipe, asked, options, prepared, context, output, stack)
        yield Task(
            settings={
                "recipe": recipe.fingerprint, "model": prepared.candidate.weights_key,
                "adapters": repr(prepared.plan.adapters),
                "options": asdict(options), "pages": asked.pages.text if asked.pages else "",
            },
            model=prepared.plan.name or prepared.plan.model.stem,
            columns=columns_of(recipe.schema.source, [each.name for each in recipe.compute]),
            read=partial(_read, password=password, asked=asked),
            load=one.load,
            extract=one.extract,
            after=partial(_after, asked=asked, output=output),
        )  # fmt: skip


def _read(data: bytes, name: str, *, password: str | None, asked: ExtractOptions) -> Document:
    return read_document(data, name, password=password, pages=asked.pages)


def _after(
    source: Source, document: Document, found: Extraction, *, asked: ExtractOptions, output: Output
) -> None:
    write_beside(source, document, found, asked, output, folder=True)


@dataclass(slots=True)
class _One:
    """Extracts from one document after another."""

    recipe: Recipe
    asked: ExtractOptions
    options: Options
    prepared: Prepared
    context: Context
    output: Output
    stack: ExitStack
    engine: Engine | None = None

    def load(self) -> None:
        """Open the model, once."""
        if self.engine is None:
            opened = open_engine(self.prepared, self.context, self.output)
            self.engine = self.stack.enter_context(opened)
            self.output.note(self.prepared.render(self.engine.info))

    def extract(self, document: Document) -> Extraction:
        """The answer for one document."""
        assert self.engine is not None
        with cancel_on_interrupt(self.engine):
            try:
                passes = plan_passes(
                    document, self.recipe, self.options, self.engine.count,
                    self.engine.info.context_tokens,
                )  # fmt: skip
                if passes.strategy == "windows":
                    count = len(passes.each)
                    self.output.note(f"{document.name}: in {count} passes ({passes.reason})")
                found = extract(
                    self.engine, document, self.recipe, self.options, passes=passes,
                    on_event=partial(show_aside, output=self.output),
                )  # fmt: skip
                return with_places(self.engine, document, found, self.asked, self.options)
            except ProjectorError as error:  # the others may be text
                raise InputError(error.message, hint=error.hint) from None
