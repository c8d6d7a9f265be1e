"""What a person hands in besides flags: piped text, ``@FILE`` values, named files."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gemma_edge.cli.context import Context
from gemma_edge.cli.options import whole_text
from gemma_edge.cli.output import Output
from gemma_edge.documents.document import IMAGE_SUFFIXES, decode_text, read_file, shown
from gemma_edge.errors import InputError
from gemma_edge.records import dataclass
from gemma_edge.trust import is_network, leads_into_network
from gemma_edge.units import render_bytes

MAX_PIPED_BYTES = 64 << 20  # far above any context; a pipe may never end


def read_piped(context: Context, output: Output) -> str:
    """All of stdin as text, "" on a terminal.
    Raises InputError: binary data, or more than any model could read."""
    if context.stdin_is_terminal:
        return ""
    data = read_stdin(context)
    return _decode(data, "stdin", output) if data.strip() else ""


def read_stdin(context: Context) -> bytes:
    """All bytes of stdin.
    Raises InputError: more than any model could read."""
    stream = getattr(context.stdin, "buffer", None)
    data: bytes = stream.read(MAX_PIPED_BYTES + 1) if stream else context.stdin.read().encode()
    if len(data) > MAX_PIPED_BYTES:
        raise InputError(
            f"stdin holds more than {render_bytes(MAX_PIPED_BYTES)}", hint="pipe in less"
        )
    return data


def read_value(text: str, output: Output) -> str:
    """A flag's value, or the contents of the file it names as ``@FILE``.
    Raises InputError: the file cannot be read or is not text."""
    if not text.startswith("@"):
        return whole_text(text)
    path = Path(text[1:]).expanduser()
    return _decode(read_file(path, max_bytes=MAX_PIPED_BYTES), shown(path), output).strip()


def _decode(data: bytes, name: str, output: Output) -> str:
    text, notes = decode_text(data, name)
    for note in notes:
        output.note(note)
    return text


# Files that are named in a message: typed or dragged in, quoted, with `~`, spaces, `file://`. A
# name is only taken for a file when it is one, and when its ending is one that can be read; a
# document must be named by a path, since a bare name is often just talked about. In a long text,
# which was pasted, all names are talked about, and none is looked for. Nor is one that leads into
# the network: on Windows a look at `\\host\share` sends that host a proof of the person's password.


DOCUMENTS = frozenset(
    (".pdf", ".docx", ".xlsx", ".xls", ".ods", ".eml", ".html", ".htm", ".csv", ".tsv")
    + (".txt", ".md", ".rst", ".log", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".xml", ".ini")
    + (".py", ".js", ".ts", ".c", ".h", ".cpp", ".rs", ".go", ".java", ".sh", ".sql", ".css")
)
MAX_WORDS = 24  # of an unquoted path with spaces in it
_TYPED_LINES, _TYPED_CHARS = 5, 4_000  # a longer message was pasted
_QUOTED = re.compile(r"\"([^\"\n]+)\"|'([^'\n]+)'")
_WORD = re.compile(r"(?:\\.|[^\s\\]|\\(?=\s*$))+")
_ESCAPED = re.compile(r"\\(.)")
_STARTS = re.compile(r"(?:~?/|\.{1,2}/|(?i:file)://|[A-Za-z]:[\\/])")


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file that stands in a text at ``start:end``."""

    path: Path
    start: int
    end: int


def is_pasted(text: str) -> bool:
    """Whether so long a text was not typed; what it names is not meant."""
    return len(text) > _TYPED_CHARS or text.count("\n") >= _TYPED_LINES


def first_name(text: str) -> str:
    """What looks like the path of a file in the first or the last line of a long text; "" if
    nothing does. The disk is not asked."""
    lines = text.split("\n")
    for line in (lines[0], lines[-1]):
        for word in _WORD.findall(line[:_TYPED_CHARS]):
            bare = word.rstrip(".,;:!?)")
            if _STARTS.match(bare) and Path(bare).suffix.lower() in DOCUMENTS | IMAGE_SUFFIXES:
                return str(bare)
    return ""


def find_files(text: str, home: Path) -> tuple[NamedFile, ...]:
    """Those of a typed text; of one that was pasted none."""
    if is_pasted(text):
        return ()
    found: list[NamedFile] = []
    place = 0
    for start, spellings in _candidates(text):
        if start < place:
            continue
        for end, spelling in spellings:
            if is_network(spelling):
                continue
            path = as_path(spelling, home)
            if _is_meant(path, spelling):
                found.append(NamedFile(path, start, end))
                place = end
                break
    return tuple(found)


def name_files(text: str, found: tuple[NamedFile, ...]) -> str:
    """The text with each file's name in the place of its path."""
    parts, at = [], 0
    for each in found:
        parts += [text[at : each.start], each.path.name]
        at = each.end
    return "".join([*parts, text[at:]]).strip()


def as_path(spelling: str, home: Path) -> Path:
    text = spelling.strip()
    if text[:1] in ("'", '"') and text[-1:] == text[:1] and len(text) > 1:
        text = text[1:-1]
    if text[:7].lower() == "file://":
        try:
            parts = urlsplit(text)
        except ValueError:  # half of an IPv6 address
            return Path(text)
        name = unquote(parts.path)
        if re.match(r"/[A-Za-z]:", name):  # file:///C:/...
            name = name[1:]
        return Path(f"//{parts.netloc}{name}" if parts.netloc not in ("", "localhost") else name)
    if text == "~" or text.startswith(("~/", "~\\")):
        return home / text[2:]
    path = Path(text)
    if "\\" in text and not is_network(text) and not _exists(path):  # as a shell would read it
        unescaped = Path(_ESCAPED.sub(r"\1", text)).as_posix()
        return home / unescaped[2:] if unescaped.startswith("~/") else Path(unescaped)
    return path


def _candidates(text: str) -> list[tuple[int, list[tuple[int, str]]]]:
    """Where a name may begin, with its possible ends, the longest spelling last."""
    starts = [(each.start(), [(each.end(), each[1] or each[2])]) for each in _QUOTED.finditer(text)]
    words = list(_WORD.finditer(text))
    for number, word in enumerate(words):
        spellings = _spellings(word.start(), word.group())
        if _STARTS.match(word.group()):
            for later in words[number + 1 : number + MAX_WORDS]:
                if "\n" in text[word.start() : later.start()]:
                    break
                spellings += _spellings(word.start(), text[word.start() : later.end()])
        starts.append((word.start(), spellings))
    return sorted(starts, key=lambda each: each[0])


def _spellings(start: int, text: str) -> list[tuple[int, str]]:
    """A name, and without the stop of a sentence behind it."""
    bare = text.rstrip(".,;:!?)")
    return [(start + len(each), each) for each in dict.fromkeys((text, bare))]


def _is_meant(path: Path, spelling: str) -> bool:
    suffix = path.suffix.lower()
    if suffix in DOCUMENTS:
        return bool(_STARTS.match(spelling)) and _exists(path)
    return suffix in IMAGE_SUFFIXES and _exists(path)


def _exists(path: Path) -> bool:
    try:
        return not leads_into_network(path) and path.is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a NUL
        return False
