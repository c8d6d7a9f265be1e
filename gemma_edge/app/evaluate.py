"""How right answers are against gold data, and what differs between two sets of answers.

Answers come from a file that a batch wrote, or are made now.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from gemma_edge.app.batch import DOCUMENTS, Source, form_of
from gemma_edge.app.request import Form
from gemma_edge.documents.document import iter_objects, read_file, shown
from gemma_edge.errors import InputError, UsageError
from gemma_edge.extraction.json_schema import parse_json
from gemma_edge.extraction.records import read_database
from gemma_edge.extraction.schema import read_text
from gemma_edge.extraction.scoring import Comparison, Graded, Report, compare, grade, summarize
from gemma_edge.records import dataclass

SCHEMA_NAME = "schema.json"  # of a folder: what its documents are read into
_GOLD = (".gold.json", ".json")  # in place of a document's ending
_MAX_BYTES = 1 << 31

Records = list[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Pair:
    source: Source
    gold: Path


def find_pairs(folder: Path) -> list[Pair]:
    """The documents of a folder that have gold data beside them: ``bill.gold.json`` or
    ``bill.json`` for ``bill.pdf``; by name.
    Raises InputError: it is no folder, or there is none."""
    if not folder.is_dir():
        raise InputError(f"{shown(folder)} is not a folder", hint="gemma-edge eval DIR")
    found = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in DOCUMENTS.suffixes or not path.is_file():
            continue
        gold = next((each for end in _GOLD if (each := path.with_suffix(end)).is_file()), None)
        if gold is not None:
            found.append(Pair(Source(shown(path), path), gold))
    if not found:
        hint = "bill.gold.json, beside bill.pdf, says what is in it"
        raise InputError(f"{shown(folder)} has no document with gold data beside it", hint=hint)
    return found


def evaluate(folder: Path, answer: Callable[[Sequence[Source]], Records | None]) -> Report | None:
    """Score the answers about every document of ``folder`` that has gold data; ``answer`` gives
    them, or None where it was stopped, and there is no report then.
    Raises InputError: there is no gold data, or a file of it cannot be read."""
    pairs = find_pairs(folder)
    gold = [parse_json(read_text(str(pair.gold)), shown(pair.gold)) for pair in pairs]
    records = answer([pair.source for pair in pairs])
    return None if records is None else summarize(_grade_all(pairs, gold, records))


def _grade_all(
    pairs: Sequence[Pair], gold: Sequence[Any], records: Sequence[Mapping[str, Any]]
) -> list[Graded]:
    """Each document with its answer; of several the last counts, and without one it failed."""
    by_name = {PurePath(str(record.get("file", ""))).name: record for record in records}
    graded = []
    for pair, expected in zip(pairs, gold, strict=True):
        name = pair.source.path.name if pair.source.path else pair.source.name
        record = by_name.get(name, {"error": "there is no answer"})
        error = str(record.get("error") or "")
        if not error and record.get("data") is None:
            error = "; ".join(record.get("problems") or ()) or "the answer holds no data"
        graded.append(grade(name, expected, record.get("data"), record.get("evidence"), error))
    return graded


def compare_files(first: Path, second: Path, note: Callable[[str], None]) -> Comparison:
    """Two files of answers, or two single answers, value by value.
    Raises InputError: one of them cannot be read, or holds something else; UsageError: a table."""
    return compare(_read_records(first, note), _read_records(second, note))


# ----------------------------------------------------------------------------
# Answers that were kept.


def check_answers(path: Path) -> Form:
    """The form of a file whose records can be read again.
    Raises UsageError: a table, which keeps no more than its cells."""
    form = form_of(path)
    if form in ("csv", "markdown"):
        hint = "name lines of JSON (.jsonl) or a database (.db)"
        raise UsageError(f"{shown(path)} is a table", hint=hint)
    return form


def read_answers(path: Path, note: Callable[[str], None]) -> Records:
    """The records of a file that a batch wrote: lines of JSON, or a database. Lines that are no
    record are told.
    Raises InputError: it cannot be read, or holds something else; UsageError: a table."""
    if check_answers(path) == "sqlite":
        return list(read_database(path))
    text = read_file(path, max_bytes=_MAX_BYTES).decode("utf-8", "replace")
    records: Records = list(iter_objects(text))
    left_out = sum(1 for line in text.split("\n") if line.strip()) - len(records)
    if left_out:
        lines = "a line that is" if left_out == 1 else f"{left_out:,} lines that are"
        note(f"{shown(path)}: left out {lines} no JSON object")
    return records


def _read_records(path: Path, note: Callable[[str], None]) -> Records:
    """The records of a batch; an answer alone is one of no name."""
    if check_answers(path) != "sqlite":
        try:
            whole = json.loads(read_file(path, max_bytes=_MAX_BYTES))
        except (ValueError, RecursionError):  # several lines of JSON, or none
            pass
        else:
            return [_as_record(whole)]
    records = [record for record in read_answers(path, note) if _is_record(record)]
    if not records:
        hint = "gemma-edge extract FOLDER --out answers.jsonl writes them"
        raise InputError(f"{shown(path)} holds no answers", hint=hint)
    return records


def _is_record(value: Any) -> bool:
    return isinstance(value, dict) and "file" in value and ("data" in value or "error" in value)


def _as_record(value: Any) -> Mapping[str, Any]:
    """A record as it is, what `extract --json` prints, or an answer alone."""
    if _is_record(value):
        return dict(value)
    is_envelope = isinstance(value, dict) and isinstance(value.get("document"), dict)
    if is_envelope and "data" in value:
        return {"file": str(value["document"].get("name", "")), "data": value["data"]}
    return {"file": "", "data": value}
