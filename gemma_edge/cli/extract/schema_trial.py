"""``gemma-edge schema test``: schemas with instances that are known to be valid or not, and what
becomes of them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemma_edge import catalog, gguf
from gemma_edge.cli.context import Context
from gemma_edge.cli.options import ShowOptions, StoreOptions
from gemma_edge.cli.output import Output
from gemma_edge.cli.store.path import find_path
from gemma_edge.errors import ExitStatus, GemmaEdgeError, InputError
from gemma_edge.extract.schemas.json_text import parse_json
from gemma_edge.extract.schemas.schema import Schema, check_source, read_text
from gemma_edge.extract.schemas.wrapping import unwrap

if TYPE_CHECKING:
    from gemma_edge.extract.schemas.trial import InTokens, Trial


def run_trials(  # noqa: PLR0913, PLR0917  (the files, whose tokens, and the world)
    what: Sequence[str],
    model: str,
    store: StoreOptions,
    show: ShowOptions,
    context: Context,
    output: Output,
    *,
    strict: bool,
) -> ExitStatus:
    """Every file gets its line; one that cannot be read stops none of the others."""
    files = list(_iter_files(what))
    counts: Counter[str] = Counter()
    with _open_tokens(model, store, context, output) as in_tokens:
        for file in files:
            started = context.clock()
            counts["files"] += 1
            try:
                trial = _try_file(file, in_tokens, strict)
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
    model: str, store: StoreOptions, context: Context, output: Output
) -> Iterator["InTokens"]:
    """Whether a text passes a constraint in the tokens of ``model``; its weights are not read."""
    from gemma_edge.engine.grammar import TokenConstraint  # noqa: PLC0415  (llama.cpp, half a second)
    from gemma_edge.engine.llama_vocabulary import open_vocabulary  # noqa: PLC0415

    if catalog.kind_of(model) == "path":
        path = gguf.read_header(Path(model).expanduser()).path
    else:
        path = find_path(model, False, store, context, output)
    with open_vocabulary(path) as vocabulary:
        output.note(f"in the tokens of {path.name} ({len(vocabulary.pieces):,})")
        yield lambda wanted: TokenConstraint(vocabulary, wanted).accepts


def _try_file(file: str, in_tokens: "InTokens", strict: bool) -> "Trial":
    from gemma_edge.extract.schemas.trial import read_instances, try_schema  # noqa: PLC0415

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
        "rung": (enforced.rung or "strict") if enforced else None,
        "reason": (enforced.reason if enforced else trial.refusal) or None,
        "dropped": [each.keyword for each in enforced.dropped] if enforced else [],
        "tests": [
            {
                "valid": each.valid,
                "decodable": each.decodable,
                "accepted": each.accepted,
                "why": each.why or None,
                "problems": list(each.problems),
            }
            for each in trial.outcomes
        ],
        "wrong": trial.wrong,
        "seconds": round(seconds, 3),
    }


def _in_words(trial: "Trial") -> str:
    """One line a file: the rung, and what did not come out as it should."""
    rung = trial.enforced.rung or "strict" if trial.enforced else f"refused: {trial.refusal}"
    said = [f"{len(trial.outcomes)} instances", rung]
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
