"""What a person hands in besides flags: piped text, ``@FILE`` values, named files."""

import os
import re
import select
import stat
import time
from contextlib import suppress
from pathlib import Path
from unicodedata import category, east_asian_width

from gemma_edge.cli.context import Context
from gemma_edge.cli.options import whole_text
from gemma_edge.cli.output import Output
from gemma_edge.documents.document import IMAGE_SUFFIXES, decode_text, read_file, shown
from gemma_edge.errors import InputError
from gemma_edge.records import dataclass
from gemma_edge.trust import is_network, leads_into_network, local_path
from gemma_edge.units import render_bytes

MAX_PIPED_BYTES = 64 << 20  # far above any context; a pipe may never end


def read_piped(context: Context, output: Output) -> str:
    """All of stdin as text, "" on a terminal.
    Raises InputError: binary data, or more than any model could read."""
    if context.stdin_is_terminal:
        return ""
    data = read_stdin(context)
    return _decode(data, "stdin", output) if data.strip() else ""


PATIENCE_SECONDS = 10.0  # for a pipe that nobody promised; a compiler is silent for longer
_TELL_SECONDS = 1.0


def read_offered(context: Context, output: Output) -> str:
    """What stdin has to say to a question that was asked on the command line: of a file that nobody
    has read from, or of a pipe. A pipe is left alone where it belongs to the script that calls us,
    a `while read` loop for one, and where it says nothing for ``PATIENCE_SECONDS``; one that a
    program of the same command line writes to is waited for.
    Raises InputError: as ``read_piped``."""
    if context.stdin_is_terminal:
        return ""
    try:
        number = context.stdin.fileno()
        found = os.fstat(number)
    except (OSError, ValueError):  # no file: text of a test, or of another program
        return read_piped(context, output)
    if stat.S_ISREG(found.st_mode):  # behind its begin it is read by another, line by line
        is_ours = os.lseek(number, 0, os.SEEK_CUR) == 0
    elif stat.S_ISFIFO(found.st_mode) or stat.S_ISSOCK(found.st_mode):
        is_ours = not _is_inherited(found) and _has_begun(number, found, output)
    else:  # /dev/null and other devices
        return ""
    return read_piped(context, output) if is_ours else ""


def _has_begun(number: int, found: os.stat_result, output: Output) -> bool:
    """Whether something comes, or the end, in time."""
    if _is_readable(number, _TELL_SECONDS) or _is_promised(found):
        return True
    output.note(
        f"stdin is a pipe that says nothing; it is waited for {PATIENCE_SECONDS:.0f} seconds "
        "(</dev/null: not at all)"
    )
    if _is_readable(number, PATIENCE_SECONDS - _TELL_SECONDS):
        return True
    output.note("stdin is left alone; `-` in the place of the question reads it to its end")
    return False


def _is_readable(number: int, seconds: float) -> bool:
    if os.name != "nt":
        return bool(select.select([number], [], [], seconds)[0])
    import ctypes  # noqa: PLC0415  # Windows waits for sockets only
    import msvcrt  # noqa: PLC0415

    handle = msvcrt.get_osfhandle(number)  # type: ignore[attr-defined,unused-ignore]
    waiting, deadline = ctypes.c_ulong(0), time.monotonic() + seconds
    peek = ctypes.windll.kernel32.PeekNamedPipe  # type: ignore[attr-defined,unused-ignore]
    while time.monotonic() < deadline:
        if not peek(ctypes.c_void_p(handle), None, 0, None, ctypes.byref(waiting), None):
            return True  # its other end is closed
        if waiting.value:
            return True
        time.sleep(0.02)
    return False


def _is_inherited(found: os.stat_result) -> bool:
    """Whether the program that called us reads from the same. Linux says so, others do not."""
    with suppress(OSError):
        return os.path.samestat(os.stat(f"/proc/{os.getppid()}/fd/0"), found)
    return False


def _is_promised(found: os.stat_result) -> bool:
    """Whether a program of the same command line holds the other end (on Linux): none that called
    us, which may keep it open for ever."""
    if not stat.S_ISFIFO(found.st_mode):
        return False
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            number = int(folder.name)
            if os.getpgid(number) != os.getpgrp() or number in _callers():
                continue
            for each in (folder / "fd").iterdir():
                with suppress(OSError):
                    if os.path.samestat(each.stat(), found):
                        return True
    return False


def _callers() -> frozenset[int]:
    """This process, the one that started it, and so on."""
    found: list[int] = []
    number = os.getpid()
    while number > 0 and number not in found:
        found.append(number)
        try:
            status = Path(f"/proc/{number}/stat").read_bytes()
        except OSError:
            break
        number = int(status.rpartition(b")")[2].split()[1])
    return frozenset(found)


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


# Files that are named in a message: typed or dragged in, quoted in any way, with `~`, spaces,
# `file://`, between words of a script without spaces. A name is only taken for a file when it is
# one, and when its ending is one that can be read; a document must be named by a path, since a bare
# name is often just talked about. In a long text, which was pasted, all names are talked about, and
# none is looked for. Nor is one that leads into the network: on Windows a look at `\\host\share`
# sends that host a proof of the person's password.


DOCUMENTS = frozenset(
    (".pdf", ".docx", ".xlsx", ".xls", ".ods", ".eml", ".html", ".htm", ".csv", ".tsv")
    + (".txt", ".md", ".rst", ".log", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".xml", ".ini")
    + (".py", ".js", ".ts", ".c", ".h", ".cpp", ".rs", ".go", ".java", ".sh", ".sql", ".css")
)
_TYPED_LINES, _TYPED_CHARS = 5, 4_000  # a longer message was pasted
_WORD = re.compile(r"(?:\\.|[^\s\\]|\\(?=\s*$))+")
_ESCAPED = re.compile(r"\\(.)")
_STARTS = re.compile(r"(?:~?/|~\\|\.{1,2}[\\/]|(?i:file):/|[A-Za-z]:[\\/])")
_DRIVE = re.compile(r"([A-Za-z]):[\\/]")
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}(?![A-Za-z0-9_])(?![-./\\][A-Za-z0-9])")
_ADDRESS = re.compile(r"(?i:https?)://[^\s\"'`<>]+")
_MOST_ENDINGS, _MOST_STARTS, _MOST_CHARS = 40, 40, 400  # that are looked at
_JOINED = frozenset("-_./\\")  # a name goes on behind these
_QUOTES = {
    '"': '"', "'": "'", "`": "`", "\u201c": "\u201d", "\u2018": "\u2019", "\u201e": "\u201c\u201d",
    "\u201a": "\u2018\u2019", "\u00ab": "\u00bb", "\u00bb": "\u00ab", "\u2039": "\u203a",
    "\u201d": "\u201d", "\u2019": "\u2019",
}  # fmt: skip
# How shells write a ' in a text between two of them.
_INNER_QUOTES = ("'\\''", "'\"'\"'")


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
    for end in reversed(_endings(text)):  # `a.png.jpg` before `a.png`
        if any(each.start < end <= each.end for each in found):
            continue
        named = _named_before(text, end, home)
        if named is not None:
            found = [each for each in found if each.start >= named.end]
            found.append(named)
    return tuple(sorted(found, key=lambda each: each.start))


def name_files(text: str, found: tuple[NamedFile, ...]) -> str:
    """The text with each file's name in the place of its path."""
    parts, at = [], 0
    for each in found:
        parts += [text[at : each.start], each.path.name]
        at = each.end
    return "".join([*parts, text[at:]]).strip()


def missed_files(text: str, found: tuple[NamedFile, ...]) -> tuple[str, ...]:
    """What looks like an image, or like the path of a document, and is not among those that were
    found: as it is written. Addresses of the web are whole. Nothing is looked up."""
    if is_pasted(text):
        return ()
    taken = [(each.start, each.end) for each in found]
    missed: list[str] = []
    for address in _ADDRESS.finditer(text):
        taken.append(address.span())
        if Path(address[0].rstrip(".,;:!?)")).suffix.lower() in IMAGE_SUFFIXES:
            missed.append(address[0].rstrip(".,;:!?)"))
    for end in _endings(text):
        if any(start < end <= stop for start, stop in taken):
            continue
        start = _last_word(text, end)
        name = text[start:end]
        is_image = Path(name).suffix.lower() in IMAGE_SUFFIXES
        if (is_image or _STARTS.match(name)) and not set("*?").intersection(name):
            missed.append(name)
    return tuple(dict.fromkeys(missed))


def as_path(spelling: str, home: Path) -> Path:
    """A path as it was typed after a command: perhaps in quotes, as an address, with escapes."""
    text = spelling.strip()
    if len(text) > 1 and text[-1] in _QUOTES.get(text[0], ""):
        text = text[1:-1]
    readings = _readings(text, home)
    return next(filter(_exists, readings), readings[-1 if "\\" in text else 0])


def _endings(text: str) -> list[int]:
    known = DOCUMENTS | IMAGE_SUFFIXES
    ends = [each.end() for each in _ENDING.finditer(text) if each[0].lower() in known]
    return ends[:_MOST_ENDINGS]


def _named_before(text: str, end: int, home: Path) -> NamedFile | None:
    """The longest name of a file that ends there."""
    starts = _starts(text, end)
    networks = [start for start in starts if is_network(text[start:end])]
    for start in starts:
        # It would be looked at on the way, or is a part of it.
        if any(start <= other or not re.search(r"\s", text[other:start]) for other in networks):
            continue
        spelling = text[start:end]
        for path in _readings(spelling, home):
            if _is_meant(path, spelling):
                before, after = text[start - 1 : start], text[end : end + 1]
                quoted = bool(before and after and after in _QUOTES.get(before, ""))
                return NamedFile(path, start - quoted, end + quoted)
    return None


def _starts(text: str, end: int) -> list[int]:
    """Where a name that ends there may begin, the farthest first: at a border, in the same line."""
    first = max(text.rfind("\n", 0, end) + 1, end - _MOST_CHARS)
    starts = [
        place for place in range(first, end - 1)
        if (place == first or _is_border(text[place - 1])) and not text[place].isspace()
        and not (text[place - 1 : place] == ":" and text[place] in "/\\")  # `file:///`, `C:/`
    ]  # fmt: skip
    return [each for each in starts if _STARTS.match(text, each)][:_MOST_STARTS] + (
        starts[-_MOST_STARTS:]
    )


def _is_border(char: str) -> bool:
    """Whether a name may begin behind it: a space, a quote, a bracket, a stop, a letter of a script
    that is written without spaces."""
    if char in _JOINED:
        return False
    return category(char)[0] in "PSZC" or east_asian_width(char) in "WF"


def _last_word(text: str, end: int) -> int:
    """Where a name that ends there begins, if it has no spaces."""
    starts = [each for each in _starts(text, end) if not re.search(r"\s", text[each:end])]
    paths = [each for each in starts if _STARTS.match(text, each)]
    return [end, *starts, *paths[:1]][-1]


def _readings(spelling: str, home: Path) -> list[Path]:
    """What a spelling may mean: as it stands, as a shell would read it, as Windows writes it."""
    if is_network(spelling):
        return [Path(local_path(spelling))]
    texts = [spelling]
    if "'" in spelling:
        texts.append(spelling.replace(_INNER_QUOTES[0], "'").replace(_INNER_QUOTES[1], "'"))
    if "\\" in spelling:
        texts += [_ESCAPED.sub(r"\1", each) for each in texts]
        if os.name != "nt":
            plain = spelling.replace("\\", "/")
            drive = _DRIVE.match(spelling)  # as the Windows that this Linux may run in has it
            texts.append(f"/mnt/{drive[1].lower()}/{plain[3:]}" if drive else plain)
    paths = (_at_home(local_path(each), home) for each in texts if not is_network(each))
    return list(dict.fromkeys(paths))


def _at_home(text: str, home: Path) -> Path:
    return home / text[2:] if text == "~" or text.startswith(("~/", "~\\")) else Path(text)


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
