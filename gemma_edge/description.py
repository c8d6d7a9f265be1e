"""Pictures and a question to an answer: prompts, kinds of answers, and the records of a batch. Pure
over the Engine.

Each prompt file has two lines: what is asked of one picture, and of several.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, Literal, get_args

from gemma_edge.documents.document import (
    MAX_TOKENS,
    Picture,
    iter_objects,
    iter_rows,
    render_cell,
    render_csv,
)
from gemma_edge.engine.protocol import (
    Engine,
    Event,
    Finished,
    JsonConstraint,
    Message,
    Request,
    Sampling,
)
from gemma_edge.errors import UsageError
from gemma_edge.records import dataclass
from gemma_edge.units import render_tokens

Kind = Literal["caption", "alt", "ocr", "tags", "json"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MAX_LANGUAGE = 40  # characters of a language's name

_FILES: dict[Kind, str] = {
    "caption": "prompt.txt", "alt": "alt.txt", "ocr": "ocr.txt", "tags": "tags.txt",
    "json": "json.txt",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTask:
    """What is asked. ``question`` replaces the usual one of a caption and is added to any other;
    ``language`` is a name or a code, "" for the model's choice; ``form`` is a schema as the model
    reads it."""

    kind: Kind = "caption"
    question: str = ""
    language: str = ""
    form: str = ""

    def __post_init__(self) -> None:
        if self.language and self.kind == "ocr":
            raise UsageError(
                "--lang does not go with --as ocr, which copies text as it is written",
                hint=f'-q "translate all text to {self.language}"',
            )

    @property
    def detail_tokens(self) -> int | None:
        """The budget that it needs whatever the picture; ``None``: the usual one."""
        return MAX_TOKENS if self.kind == "ocr" else None

    @property
    def copies(self) -> bool:
        """Whether there is one right answer, which chance must not touch."""
        return self.kind in ("ocr", "tags", "json")

    def prompt(self, images: int, *, cut: bool = False) -> str:
        """The text beside so many images; ``cut`` says that each comes in overlapping parts."""
        asked = self.question.strip()
        if self.kind != "caption" or not asked:
            asked = "\n".join(filter(None, (usual_question(self.kind, images), asked)))
        parts = [_line("tiles.txt", images) if cut else "", asked, self.form]
        if self.language:
            named = language_name(self.language)
            parts.append(_read("language.txt").strip().replace("{language}", named))
        return "\n".join(filter(None, parts))


def usual_question(kind: Kind, count: int) -> str:
    """What is asked of one picture, or of several: a line of the prompt's file."""
    return _line(_FILES[kind], count)


def schema_text(kind: Kind) -> str:
    """The JSON Schema that answers of this kind are held to; "" for free text."""
    if kind == "tags":
        return _read("tags.schema.json")
    return _read("picture.schema.json") if kind == "json" else ""


def language_name(text: str) -> str:
    """``de`` -> ``German``; anything that is no code is taken as it is.

    Raises:
        UsageError: it cannot be the name of a language.
    """
    name = str(json.loads(_read("languages.json")).get(text.strip().lower(), text.strip()))
    if not name or len(name) > MAX_LANGUAGE or not name.isprintable():
        raise UsageError(f"`{text[:MAX_LANGUAGE]}` is no language", hint="--lang de, --lang German")
    return name


def unique_tags(tags: Any) -> Any:
    """A list of tags without those that stand there already; anything else as it is."""
    if not isinstance(tags, list):
        return tags
    first: dict[str, str] = {}
    for tag in tags:
        first.setdefault(str(tag).strip().lower(), str(tag).strip())
    return list(first.values())


def _line(name: str, count: int) -> str:
    one, several = _read(name).splitlines()[:2]
    return one if count == 1 else several


def _read(name: str) -> str:
    from importlib.resources import files  # noqa: PLC0415  (not for the end of an answer)

    return files("gemma_edge").joinpath("prompts").joinpath(name).read_text(encoding="utf-8")


# What a batch writes: one record an image and question, as a line of JSON or a row of CSV, and what
# of it is done already when the batch is run again. An image is known by the hash of its file, so
# that it may move; a task by the hash of all that could change the answer.


Format = Literal["json", "csv"]
Key = tuple[str, int, str, str]  # sha256, page (0: the file is one image), question, task


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One answer, or why there is none (``error``). ``page`` is 0 where the file is one image;
    ``answer`` is text, or data where a schema was asked for; ``lost`` says what resizing cost."""

    file: str
    page: int = 0
    question: str = ""
    answer: Any = None
    problems: tuple[str, ...] = ()
    error: str = ""
    hint: str = ""
    tokens: int = 0
    lost: str = ""
    model: str = ""
    sha256: str = ""
    task: str = ""

    @property
    def key(self) -> Key:
        """What it is known by when the batch is run again."""
        return self.sha256, self.page, self.question, self.task


_PAGE = re.compile("[0-9]{1,9}")
COLUMNS = tuple(field.name for field in fields(ImageRecord))


def as_document(record: ImageRecord) -> dict[str, Any]:
    """The record as plain data, without empty fields."""
    values = {name: value for name, value in asdict(record).items() if value not in ("", (), 0)}
    if record.error:
        return {name: value for name, value in values.items() if name != "answer"}
    return {"file": record.file, "answer": record.answer, **values}


def render_record(record: ImageRecord, form: Format, *, raw: bool = False) -> str:
    """One line, without its end. In CSV, data is JSON in its cell; ``raw`` leaves there what a
    spreadsheet takes for a formula."""
    if form == "json":
        return json.dumps(as_document(record), ensure_ascii=False)
    values = asdict(record) | {
        "answer": render_cell(record.answer),
        "problems": "; ".join(record.problems),
        "page": record.page or "",
    }
    return render_csv(list(values.values()), raw=raw)


def render_head(form: Format) -> str:
    """The line before the first record; "" where there is none."""
    return render_csv(COLUMNS) if form == "csv" else ""


def read_rows(text: str, form: Format, *, raw: bool = False) -> Iterable[Mapping[str, Any]]:
    """The records of a file as plain data. A line that is none is left out."""
    return iter_rows(text, raw=raw) if form == "csv" else iter_objects(text)


def answer_of(row: Mapping[str, Any]) -> tuple[Key, Any] | None:
    """The key and the answer of a record as plain data; None where it has none. In CSV, data is
    JSON in its cell."""
    page = str(row.get("page") or 0)
    if not row.get("sha256") or row.get("answer") in (None, "") or not _PAGE.fullmatch(page):
        return None
    key = str(row["sha256"]), int(page), row.get("question") or "", row.get("task") or ""
    return key, row["answer"]


def describe(  # noqa: PLR0913  (three of them are optional and named)
    engine: Engine,
    pictures: Sequence[Picture],
    question: str | None = None,
    *,
    max_tokens: int | None = None,
    sampling: Sampling | None = None,
    constraint: JsonConstraint | None = None,
) -> Iterator[Event]:
    """The engine's events for one turn: the pictures, then ``question`` or the usual one.

    Raises:
        UsageError: no picture.
        ProjectorError, DoesNotFit, SchemaError, EngineError: from the engine.
    """
    if not pictures:
        raise UsageError("there is no image to describe", hint="gemma-edge describe cat.jpg")
    text = (question or "").strip() or usual_question("caption", len(pictures))
    message = Message("user", text, tuple(pictures))
    return engine.generate(
        Request(
            messages=(message,),
            max_tokens=max_tokens,
            sampling=sampling or Sampling(),
            constraint=constraint,
        )
    )


def cut_short(finished: Finished) -> tuple[str, ...]:
    """Why a text is not whole, if it is not."""
    if finished.reason not in ("length", "repetition"):
        return ()
    said = render_tokens(finished.usage.generated_tokens)
    why = ", because it repeated itself" if finished.reason == "repetition" else ""
    return (f"the answer stopped after {said}{why}; it is not complete",)
