"""From flags to a recipe and a document."""

from gemma_edge.cli.batch.sources import STDIN, Source
from gemma_edge.cli.context import Context
from gemma_edge.cli.extract.options import ExtractOptions
from gemma_edge.cli.folders import recipes_dir
from gemma_edge.cli.inputs import read_piped, whole_text
from gemma_edge.cli.options import PASSWORD_VARIABLE
from gemma_edge.cli.output import Output
from gemma_edge.documents import Document, open_document, read_document
from gemma_edge.documents.files import shown
from gemma_edge.documents.pdf_process import encrypted
from gemma_edge.errors import InputError, UsageError
from gemma_edge.extract.recipes.parts import Example
from gemma_edge.extract.recipes.recipe import Recipe, bare_recipe
from gemma_edge.extract.recipes.writing import render_recipe, save_text
from gemma_edge.extract.schemas.json_text import parse_json
from gemma_edge.extract.schemas.schema import parse_schema, read_text


def read_recipe(asked: ExtractOptions, context: Context, output: Output) -> Recipe:
    """The recipe with what the flags add.

    Raises:
        UsageError: neither a schema nor a recipe, or stdin is asked for twice.
        SchemaError, InputError: one of them cannot be read.
    """
    wish = asked.recipe
    if wish.schema is None and wish.recipe is None:
        raise UsageError(
            "there is no --schema and no --recipe", hint='--schema "vendor, date, total num"'
        )
    if wish.schema == str(STDIN) and STDIN in asked.files:
        raise UsageError("stdin cannot be both the document and the schema", hint="extract FILE")
    schema = None
    if wish.schema is not None:
        schema = parse_schema(_schema_text(wish.schema, context, output), trust=wish.trust)
    if wish.recipe is not None:
        from gemma_edge.extract.recipes.finding import load_recipe  # noqa: PLC0415  (PyYAML, 30 ms)

        recipe = load_recipe(wish.recipe, [recipes_dir(context)], trust=wish.trust)
    else:
        assert schema is not None
        recipe, schema = bare_recipe(schema), None
    recipe = recipe.with_(
        schema=schema, rules=wish.rules, counter_examples=wish.counter_examples,
        worked=wish.worked, examples=tuple(map(_example, wish.examples)),
        normalize=wish.habits, compute=wish.compute, checks=wish.checks,
    )  # fmt: skip
    if wish.save_as is not None:
        path = save_text(render_recipe(recipe), wish.save_as, recipes_dir(context))
        output.note(f"saved as {shown(path)}")
    return recipe


def open_named(source: Source, asked: ExtractOptions, context: Context) -> Document:
    """The document of a source, with its password; at a terminal a missing one is asked for.

    Raises:
        InputError: it cannot be read.
    """
    data = source.read()
    password = asked.password or context.environment.get(PASSWORD_VARIABLE) or None

    def read(password: str | None) -> Document:
        return read_document(data, source.name, password=password, pages=asked.pages)

    try:
        return read(password)
    except InputError as error:
        asks = context.ask_secret
        if (
            password is not None
            or asks is None
            or error.message != encrypted(source.name, None).message
        ):
            raise
        return read(asks(f"password of {source.name}: "))


def _schema_text(text: str, context: Context, output: Output) -> str:
    if text != str(STDIN):
        return whole_text(text)
    if context.stdin_is_terminal:
        raise UsageError("`--schema -` reads stdin, and stdin is a terminal", hint="--schema FILE")
    return read_piped(context, output)


def _example(text: str) -> Example:
    """``bill.pdf=bill.json``: a document and its answer."""
    document, sign, answer = text.rpartition("=")
    if not sign or not document or not answer:
        raise UsageError(
            f"the example `{text[:80]}` is not FILE=JSON", hint="--example bill.pdf=bill.json"
        )
    expect = parse_json(read_text(answer), shown(answer))
    return Example(open_document(document).text, expect, shown(document))
