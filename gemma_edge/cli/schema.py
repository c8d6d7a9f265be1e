"""``gemma-edge schema``: look at a schema before a document is read with it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from gemma_edge import catalog, gguf
from gemma_edge.cli.completion import model_names
from gemma_edge.cli.context import Context
from gemma_edge.cli.files import find_path
from gemma_edge.cli.flags import Actions, argument, option
from gemma_edge.cli.inputs import read_piped
from gemma_edge.cli.options import ModelsDir, ShowFlags, StoreFlags, Trust, whole_text
from gemma_edge.cli.output import Output
from gemma_edge.cli.streaming import open_runtime
from gemma_edge.errors import ExitStatus, GemmaEdgeError, InputError, UsageError
from gemma_edge.extraction.json_schema import parse_json, parse_values
from gemma_edge.extraction.schema import (
    TYPE_WORDS,
    WORDS,
    Schema,
    check_source,
    infer_schema,
    parse_schema,
    read_text,
    unwrap,
)
from gemma_edge.extraction.values import CONVERTED, MARK
from gemma_edge.records import dataclass

if TYPE_CHECKING:
    from gemma_edge.extraction.schema_trial import InTokens, Trial

STDIN = "-"
BUNDLED = "demo"
RELAXATIONS = {"": "exactly", "coerce_one_of": "with oneOf read as anyOf", "lenient": "in part"}
FATES = {
    "decoding": "✔ enforced",
    "afterwards": "– afterwards",
    "refused": "✘ refused",
    "read": "  no rule",
}


SchemaText = Annotated[str, argument("SCHEMA", "As `extract --schema` takes it; - for stdin.")]
Strict = Annotated[bool, option("--strict", help="As `extract --strict`: nothing may be null.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowSchemaFlags:
    """Which schema, and what of it."""

    schema: SchemaText
    decoding: Annotated[bool, option("--decoding", help="What the decoder is held to instead.")] = (
        False
    )
    strict: Strict = False
    trust: Trust = False


def show_command(
    asked: ShowSchemaFlags, show: ShowFlags, context: Context, output: Output
) -> ExitStatus:
    """Print a schema as JSON Schema, and what the model reads of it.

    \b
    gemma-edge schema show "vendor, date: date, items[]: {name, price num}"
    gemma-edge schema show models.py:Invoice --trust
    """
    schema = _read(asked.schema, asked.trust, context, output)
    shown = schema.source
    if asked.decoding:
        shown = schema.strict_decoding if asked.strict else schema.decoding
    output.note(f"the model reads: {schema.form()}")
    output.document(shown)
    return ExitStatus.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSchemaFlags:
    """Which schema, and how it is to be held."""

    schema: SchemaText
    strict: Strict = False
    trust: Trust = False


def check_command(
    asked: CheckSchemaFlags, show: ShowFlags, context: Context, output: Output
) -> ExitStatus:
    """Say what becomes of each keyword of a schema: enforced while decoding, checked afterwards,
    or refused.

    \b
    gemma-edge schema check invoice.schema.json
    """
    from gemma_edge.extraction.schema_trial import examine  # noqa: PLC0415  (25 ms of llguidance)

    schema = _read(asked.schema, asked.trust, context, output)
    found = examine(schema, strict=asked.strict)
    relaxation = RELAXATIONS[found.enforced.relaxed] if found.enforced else ""
    if show.json:
        keywords = [
            {"keyword": each.keyword, "fate": each.fate, "reason": each.reason or None,
             "place": each.place, "places": each.places}
            for each in found.rulings
        ]  # fmt: skip
        output.document(
            {"enforced": relaxation or None, "refusal": found.refusal or None, "keywords": keywords}
        )
    else:
        rows = []
        for fate, title in FATES.items():
            plain = [each for each in found.rulings if each.fate == fate and not each.reason]
            if plain:
                words = ", ".join(f"{each.keyword} {each.places}" for each in plain)
                rows.append((title, words, "", ""))
            rows += [
                (title, each.keyword, _places(each.place, each.places), each.reason)
                for each in found.rulings
                if each.fate == fate and each.reason
            ]
        for title, *cells in rows:
            output.page("  ".join(cell for cell in (title.ljust(12), *cells) if cell))
    if found.enforced is None:
        output.problem(found.refusal)
        return ExitStatus.INPUT
    output.note(
        f"enforced while decoding {relaxation}; "
        "the answer is checked by the schema itself in any case"
    )
    return ExitStatus.OK


def _places(place: str, count: int) -> str:
    return place if count == 1 else f"{place} and {count - 1:,} more"


def infer_command(
    examples: Annotated[tuple[str, ...], argument("FILE", "JSON files or texts; - for stdin.")],
    show: ShowFlags,
    context: Context,
    output: Output,
) -> ExitStatus:
    """Make a schema from examples.

    \b
    gemma-edge schema infer bill1.json bill2.json > bills.schema.json
    """
    values: list[Any] = []
    for each in examples:
        name = "stdin" if each == STDIN else Path(each).name
        is_text = each.lstrip().startswith(("{", "["))
        text = _piped(context, output) if each == STDIN else each if is_text else read_text(each)
        values += parse_values(text, "the example" if is_text else name)
    output.document(check_source(infer_schema(values), "the inferred schema"))
    count = len(values)
    output.note(f"from {count:,} example{'' if count == 1 else 's'}; edit what it cannot know")
    return ExitStatus.OK


def types_command(show: ShowFlags, output: Output) -> ExitStatus:
    """List the words of the one-line language, and what each becomes."""
    if show.json:
        rows = [
            {"words": list(words), "means": means, "schema": TYPE_WORDS.get(words[0])}
            for words, means in WORDS
        ]
        output.document(rows)
    else:
        output.table([(", ".join(words), means) for words, means in WORDS])
    output.note(
        f"{', '.join(CONVERTED)}: the model copies what is printed, code converts it, and the "
        f'schema judges the result; in a JSON Schema, "format": "date" and "{MARK}": "money"'
    )
    return ExitStatus.OK


def _read(text: str, trust: bool, context: Context, output: Output) -> Schema:
    schema = parse_schema(
        _piped(context, output) if text == STDIN else whole_text(text), trust=trust
    )
    for note in schema.remarks:
        output.note(note)
    return schema


def _piped(context: Context, output: Output) -> str:
    if context.stdin_is_terminal:
        raise UsageError("`-` reads stdin, and stdin is a terminal", hint="name a file")
    return read_piped(context, output)


# ----------------------------------------------------------------------------
# `gemma-edge schema test`: schemas with instances that are known to be valid or not, and what
# becomes of them.


@dataclass(frozen=True, slots=True, kw_only=True)
class TestFlags:
    """Which files are tried, and in whose tokens."""

    files: Annotated[tuple[str, ...], argument("FILE", "Files, or folders of .json files.")]
    strict: Strict = False
    model: Annotated[str, option(
        "--model", "-m", metavar="NAME|PATH", complete=model_names,
        help="Whose tokens to use (default: the bundled model's)."
    )] = BUNDLED  # fmt: skip
    models_dir: ModelsDir = None  # fmt: skip


def test_command(asked: TestFlags, show: ShowFlags, context: Context, output: Output) -> ExitStatus:
    """Try schemas with instances that are known to be valid or not.

    A file holds {"schema": …, "tests": [{"valid": true, "data": …}]}; --json prints one line a
    file. Status 6 if an instance is judged wrong.

    \b
    gemma-edge schema test schemas/*.json
    """
    store = StoreFlags(offline=True, models_dir=asked.models_dir)
    files = list(_iter_files(asked.files))
    counts: Counter[str] = Counter()
    with _open_tokens(asked.model, store, context, output) as in_tokens:
        for file in files:
            started = context.clock()
            counts["files"] += 1
            try:
                trial = _try_file(file, in_tokens, asked.strict)
            except GemmaEdgeError as error:
                counts["unread"] += 1
                if show.json:
                    output.event({"file": file, "error": error.message})
                else:
                    output.problem(f"{file}: {error.message}")
                continue
            _count(trial, counts)
            if show.json:
                output.event(_as_line(file, trial, context.clock() - started))
            else:
                output.page(f"{file}: {_in_words(trial)}")
    for line in _summary(counts):
        output.note(line)
    if counts["unread"]:
        return ExitStatus.INPUT
    return ExitStatus.RESULT if counts["wrong"] else ExitStatus.OK


def _iter_files(what: Sequence[str]) -> Iterator[str]:
    """Files as they were named; of a folder, what it holds of JSON."""
    for each in what:
        if not Path(each).is_dir():
            yield each
            continue
        inside = sorted(str(path) for path in Path(each).glob("*.json"))
        if not inside:
            raise InputError(f"{each} holds no .json file", hint="name a file or another folder")
        yield from inside


@contextmanager
def _open_tokens(
    model: str, store: StoreFlags, context: Context, output: Output
) -> Iterator["InTokens"]:
    """Whether a text passes a constraint in the tokens of ``model``; its weights are not read."""
    from gemma_edge.engine.constraint import (  # noqa: PLC0415  (llama.cpp, half a second)
        TokenConstraint,
    )
    from gemma_edge.engine.llama import open_vocabulary  # noqa: PLC0415

    if catalog.kind_of(model) == "path":
        path = gguf.read_header(Path(model).expanduser()).path
    else:
        path = find_path(model, False, open_runtime(store, context, output))
    with open_vocabulary(path) as vocabulary:
        output.note(f"in the tokens of {path.name} ({len(vocabulary.pieces):,})")
        yield lambda wanted: TokenConstraint(vocabulary, wanted).accepts


def _try_file(file: str, in_tokens: "InTokens", strict: bool) -> "Trial":
    from gemma_edge.extraction.schema_trial import read_instances, try_schema  # noqa: PLC0415

    value = parse_json(read_text(file), file)
    instances = read_instances(value, file)
    source = value["schema"]
    if isinstance(source, bool):  # of its own right a schema, if not one to read a document with
        source = {} if source else {"not": {}}
    schema = Schema(check_source(unwrap(source, file) or source, file))
    return try_schema(schema, instances, in_tokens, strict=strict)


def _count(trial: "Trial", counts: Counter[str]) -> None:
    counts["compiled"] += trial.enforced is not None
    counts["wrong"] += trial.wrong
    for each in trial.outcomes:
        kind = "valid" if each.valid else "invalid"
        counts[kind] += 1
        counts[f"{kind} accepted"] += each.accepted
        counts[f"{kind} decodable"] += each.decodable
        counts[f"{kind} undeclared"] += each.undeclared


def _as_line(file: str, trial: "Trial", seconds: float) -> dict[str, Any]:
    enforced = trial.enforced
    return {
        "file": file,
        "compiles": enforced is not None,
        "rung": (enforced.relaxed or "strict") if enforced else None,
        "reason": (enforced.reason if enforced else trial.refusal) or None,
        "dropped": [each.keyword for each in enforced.dropped] if enforced else [],
        "tests": [
            {"valid": each.valid, "decodable": each.decodable, "accepted": each.accepted,
             "why": each.why or None, "problems": list(each.problems)}
            for each in trial.outcomes
        ],
        "wrong": trial.wrong,
        "seconds": round(seconds, 3),
    }  # fmt: skip


def _in_words(trial: "Trial") -> str:
    """One line a file: how the schema was held, and what did not come out as it should."""
    relaxation = (
        trial.enforced.relaxed or "strict" if trial.enforced else f"refused: {trial.refusal}"
    )
    said = [f"{len(trial.outcomes)} instances", relaxation]
    late = sum(each.decodable and not each.valid for each in trial.outcomes)
    lost = [each for each in trial.outcomes if each.valid and not each.decodable]
    if late:
        said.append(f"{late} invalid rejected only at the end")
    if lost:
        said.append(f"{len(lost)} valid not decodable ({lost[0].why})")
    if trial.wrong:
        said.append(f"{trial.wrong} judged WRONG")
    return " · ".join(said)


def _summary(counts: Counter[str]) -> Iterator[str]:
    valid, invalid = counts["valid"], counts["invalid"]
    yield (
        f"{counts['files']:,} file{'' if counts['files'] == 1 else 's'}, "
        f"{counts['compiled']:,} compiled"
        + (f", {counts['unread']:,} not read" if counts["unread"] else "")
    )
    yield (
        f"valid {valid:,}: {counts['valid accepted']:,} accepted, "
        f"{counts['valid decodable']:,} decodable, {counts['valid undeclared']:,} with keys that "
        "the schema does not declare"
    )
    yield (
        f"invalid {invalid:,}: {invalid - counts['invalid decodable']:,} rejected while decoding, "
        f"{counts['invalid decodable'] - counts['invalid accepted']:,} more at the end, "
        f"{counts['invalid accepted']:,} accepted"
    )


ACTIONS = Actions(
    help="""\
Look at a schema before a document is read with it.

All of it is offline, and loads no weights.

\b
gemma-edge schema show "vendor, date: date, items[]: {name, price num}"
gemma-edge schema check invoice.schema.json
gemma-edge schema infer bill1.json bill2.json > bills.schema.json
""",
    commands={
        "show": show_command, "check": check_command, "infer": infer_command,
        "types": types_command, "test": test_command,
    },
)  # fmt: skip
