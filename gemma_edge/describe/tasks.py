"""What can be asked of pictures: the prompts, which are data files, and how each is answered. Pure.

Each prompt file has two lines: what is asked of one picture, and of several.
"""

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, get_args

from gemma_edge.documents.picture import MAX_TOKENS
from gemma_edge.errors import UsageError

Kind = Literal["caption", "alt", "ocr", "tags", "json"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MAX_LANGUAGE = 40  # characters of a language's name

_FILES: dict[Kind, str] = {
    "caption": "prompt.txt", "alt": "alt.txt", "ocr": "ocr.txt", "tags": "tags.txt",
    "json": "json.txt",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
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
    """A list of tags without those that were said before; anything else as it is."""
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
    return files("gemma_edge.describe").joinpath(name).read_text(encoding="utf-8")
