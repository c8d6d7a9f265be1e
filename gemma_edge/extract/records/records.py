"""One document's answer as a record of a batch, and as plain data. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gemma_edge.extract.job.extraction import Extraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An answer, or why there is none (``error``). ``key`` is a ``content_key``, "" where the file
    could not be read; ``evidence`` is None where it was not asked for. ``seconds`` is what the
    model took."""

    file: str
    key: str = ""
    data: Any = None
    valid: bool = False
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    computed: Mapping[str, Any] | None = None
    truncated: tuple[str, ...] = ()
    evidence: tuple[Mapping[str, Any], ...] | None = None
    error: str = ""
    hint: str = ""
    model: str = ""
    pages: int = 0
    seconds: float = 0.0


_ALWAYS = ("file", "key", "data", "valid", "problems", "seconds")


def record_of(  # noqa: PLR0913 (named, all of them)
    found: Extraction,
    *,
    file: str,
    key: str,
    pages: int,
    model: str,
    seconds: float,
    notes: Iterable[str] = (),
    evidence: tuple[Mapping[str, Any], ...] | None = None,
) -> Record:
    """The record of an answer; ``notes`` are those of the document, ``evidence`` is plain data."""
    return Record(
        file=file, key=key, data=found.data, valid=not found.problems, problems=found.problems,
        notes=(*notes, *found.notes), computed=dict(found.computed) or None,
        truncated=found.truncated, model=model, pages=pages, seconds=round(seconds, 3),
        evidence=evidence,
    )  # fmt: skip


def as_document(record: Record) -> dict[str, Any]:
    """The record as plain data, without what says nothing."""
    values = {name: getattr(record, name) for name in record.__dataclass_fields__}
    if record.error:
        kept = ("file", "key", "error", "hint")
        return {name: values[name] for name in kept if values[name]}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if name in _ALWAYS or (name == "evidence" and value is not None) or value
    }
