"""Files that are named in a message: typed or dragged in, quoted, with ``~``, spaces, ``file://``.

A name is only taken for a file when it is one, and when its ending is one that can be read; a
document must be named by a path, since a bare name is often just talked about. In a long text,
which was pasted, all names are talked about.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gemma_edge.cli.batch.sources import SUFFIXES as IMAGES

DOCUMENTS = frozenset(
    (".pdf", ".docx", ".xlsx", ".xls", ".ods", ".eml", ".html", ".htm", ".csv", ".tsv")
    + (".txt", ".md", ".rst", ".log", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".xml", ".ini")
    + (".py", ".js", ".ts", ".c", ".h", ".cpp", ".rs", ".go", ".java", ".sh", ".sql", ".css")
)
MAX_WORDS = 24  # of an unquoted path with spaces in it
_QUOTED = re.compile(r"\"([^\"\n]+)\"|'([^'\n]+)'")
_WORD = re.compile(r"(?:\\.|[^\s\\]|\\(?=\s*$))+")
_ESCAPED = re.compile(r"\\(.)")
_STARTS = re.compile(r"(?:~?/|\.{1,2}/|file://|[A-Za-z]:[\\/]|\\\\)")


@dataclass(frozen=True, slots=True)
class Named:
    """A file that stands in a text at ``start:end``."""

    path: Path
    start: int
    end: int

    @property
    def is_image(self) -> bool:
        """Whether it is to be looked at; else it is to be read."""
        return self.path.suffix.lower() in IMAGES


def find_files(text: str, home: Path) -> tuple[Named, ...]:
    """The files that ``text`` names, in order."""
    found: list[Named] = []
    place = 0
    for start, spellings in _candidates(text):
        if start < place:
            continue
        for end, spelling in spellings:
            path = as_path(spelling, home)
            if _is_meant(path, spelling):
                found.append(Named(path, start, end))
                place = end
                break
    return tuple(found)


def name_files(text: str, found: tuple[Named, ...]) -> str:
    """The text with each file's name in the place of its path."""
    for each in reversed(found):
        text = text[: each.start] + each.path.name + text[each.end :]
    return text.strip()


def as_path(spelling: str, home: Path) -> Path:
    """A path as a person types or drags it."""
    text = spelling.strip()
    if text[:1] in ("'", '"') and text[-1:] == text[:1] and len(text) > 1:
        text = text[1:-1]
    if text.startswith("file://"):
        parts = urlsplit(text)
        name = unquote(parts.path)
        if re.match(r"/[A-Za-z]:", name):  # file:///C:/...
            name = name[1:]
        return Path(f"//{parts.netloc}{name}" if parts.netloc not in ("", "localhost") else name)
    if text == "~" or text.startswith(("~/", "~\\")):
        return home / text[2:]
    path = Path(text)
    if "\\" in text and not _exists(path):  # as a shell would read it
        unescaped = Path(_ESCAPED.sub(r"\1", text)).as_posix()
        return home / unescaped[2:] if unescaped.startswith("~/") else Path(unescaped)
    return path


def _candidates(text: str) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    """Where a name may begin, with its possible ends, the longest spelling last."""
    starts: list[tuple[int, list[tuple[int, str]]]] = []
    for found in _QUOTED.finditer(text):
        starts.append((found.start(), [(found.end(), found.group(1) or found.group(2))]))
    words = list(_WORD.finditer(text))
    for number, word in enumerate(words):
        spellings = [(word.end(), word.group())]
        stripped = word.group().rstrip(".,;:!?)")
        if stripped != word.group():
            spellings.append((word.start() + len(stripped), stripped))
        if _STARTS.match(word.group()):
            for later in words[number + 1 : number + MAX_WORDS]:
                if "\n" in text[word.start() : later.start()]:
                    break
                whole = text[word.start() : later.end()]
                spellings.append((later.end(), whole))
                if whole.rstrip(".,;:!?)") != whole:
                    whole = whole.rstrip(".,;:!?)")
                    spellings.append((word.start() + len(whole), whole))
        starts.append((word.start(), spellings))
    return iter(sorted(starts, key=lambda each: each[0]))


def _is_meant(path: Path, spelling: str) -> bool:
    suffix = path.suffix.lower()
    if suffix in DOCUMENTS:
        return bool(_STARTS.match(spelling)) and _exists(path)
    return suffix in IMAGES and _exists(path)


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a NUL
        return False
