"""E-mails to text: the head, the body as it was written or from its HTML, appointments, and the
files that came along. Hostile bytes: it runs in the child process of ``open.py``."""

import codecs
import email
import re
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import suppress
from email.errors import MessageError
from email.message import EmailMessage, Message
from email.policy import EmailPolicy
from itertools import islice
from quopri import decodestring
from typing import Any, NamedTuple, cast

from gemma_edge.documents.document import (
    PLAIN,
    AttachedFile,
    ExtractedText,
    ReadOptions,
    Writer,
    attached_name,
    cut_note,
    decode_labelled,
    hidden_note,
    listed,
)
from gemma_edge.documents.html import html_to_text, label_of
from gemma_edge.errors import InputError

_MOST_ATTACHED, _MAX_PARTS, _DEEPEST = 1000, 50_000, 30
_MOST_MAILS = 500  # in one mailbox
_MOST_TYPE_CHARS = 1000  # of what says how a part is written, which is taken apart again and again
# What Python's library raises over fields and parts that are broken.
_TRIPPED = (AttributeError, LookupError, TypeError, ValueError, MessageError, RecursionError)
_MAIL_BEGINS = re.compile(rb"(?<=\n)From [^\r\n]{1,200}?[0-9]{2}:[0-9]{2}[^\r\n]{0,60}(?=\r?\n)")
_FIELDS = ("From", "To", "Cc", "Bcc", "Reply-To", "Date", "Subject")
_LINKED = re.compile(r"cid:([^\s\"'<>)]{1,200})", re.IGNORECASE)
_LOGO_BYTES = 100_000  # a picture within the text is a logo; a page that was photographed has more


class _Policy(EmailPolicy):
    """Takes time in proportion to what stands in fields about a part, whatever that is; bytes in
    them are text as they mostly are."""

    def header_fetch_parse(self, name: str, value: str) -> Any:
        is_of_part = name.lower().startswith("content-") and not hasattr(value, "name")
        value = value[:_MOST_TYPE_CHARS] if is_of_part else value
        return super().header_fetch_parse(name, value if hasattr(value, "name") else _raw(value))


_POLICY = _Policy(refold_source="none", cte_type="8bit")


def read_mail(data: bytes, name: str, options: ReadOptions = PLAIN) -> ExtractedText:
    """A page for each e-mail, which is one but in a mailbox: the head's lines, then the body. What
    is attached is in ``files``; what of it is not read is in a note.
    Raises InputError: there is neither a head nor a body."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    ends = list(islice(re.finditer(rb"\n--", data), _MAX_PARTS + 1))  # lines that may end a part
    many = len(ends) > _MAX_PARTS
    if many:
        data = data[: ends[-1].start()]
    mails = _mails(data)
    reader = _MailReader(name, options)
    pages = [reader.read(mail) for mail in mails[:_MOST_MAILS]]
    if not any(pages):
        raise InputError(f"{name} holds no text", hint="export the e-mail again")
    notes = [*reader.told, *(f"{name}: {note}" for note in dict.fromkeys(reader.notes))]
    if len(mails) > 1:
        most = "" if len(mails) <= _MOST_MAILS else f", of which {_MOST_MAILS:,} are read"
        notes.insert(0, f"{name} is a mailbox of {len(mails):,} e-mails{most}")
    notes += hidden_note(name, reader.hidden, options)
    if reader.unread:
        notes.append(f"{name}: not read: {listed(reader.unread)}")
    if many:
        notes.append(f"{name} is cut: {_MAX_PARTS:,} parts are the most that is read")
    if reader.writer.is_full:
        notes.append(cut_note(name))
    what = [f"e-mail {at} of {len(mails):,}" for at in range(1, len(pages) + 1)]
    named = ["an e-mail"] if len(pages) == 1 else what
    return ExtractedText(tuple(zip(pages, named, strict=True)), tuple(notes), tuple(reader.files))


def _mails(data: bytes) -> list[bytes]:
    """Those of a mailbox, which begins with a line of its own; else the one."""
    if not data.startswith(b"From "):
        return [data]
    starts = [0]
    for found in _MAIL_BEGINS.finditer(data):
        if data[found.start() - 2 : found.start()] == b"\n\n" or (
            data[found.start() - 4 : found.start()] == b"\r\n\r\n"
        ):
            starts.append(found.start())
    return [data[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]


class _Text(NamedTuple):
    """A piece of a body. ``hidden`` counts the characters of its HTML that are hidden."""

    text: str
    is_html: bool = False
    hidden: int = 0
    is_cut: bool = False


class _MailReader:
    """Collects what the parts of messages say."""

    def __init__(self, name: str, options: ReadOptions) -> None:
        self.writer = Writer()
        self.files: list[AttachedFile] = []
        self.unread: list[str] = []
        self.notes: list[str] = []
        self.told: dict[str, None] = {}  # notes that name the file
        self.hidden = 0  # characters of hidden text in HTML
        self._name, self._options = name, options
        self._dates: dict[str, None] = {}  # appointments: mostly sent twice
        self._linked: set[str] = set()  # what the HTML shows within its text
        self._pictures: list[tuple[str, AttachedFile]] = []  # by their Content-ID
        self._begun = False

    def read(self, data: bytes) -> str:
        """One e-mail as text.
        Raises InputError: parts in parts, more than Python can follow."""
        try:
            message = cast("EmailMessage", email.message_from_bytes(data, policy=_POLICY))
        except RecursionError:
            what = f"{self._name} is damaged (it has parts within parts without end)"
            raise InputError(what, hint="export the e-mail again") from None
        self._linked, self._pictures, self._begun = set(), [], False
        self._dates = {}
        body = self._walk(message, 0)
        charset = next(filter(None, map(_charset, islice(message.walk(), 100))), "")
        for field in _FIELDS:
            for value in _values(message, field, self._options.encoding or charset):
                self.writer.line(f"{field}: {value}")
        for piece in (*body, *map(_Text, self._dates)):
            self.writer.gap()
            self.writer.is_full |= piece.is_cut
            for line in piece.text.splitlines():
                self.writer.line(line)
            self.hidden += piece.hidden
        self._keep_pictures()
        return self.writer.take()

    def _walk(self, part: Message, depth: int) -> list[_Text]:
        """The text of a part; files in it are set aside."""
        kind = part.get_content_type()
        attached = len(self.files) + len(self.unread) + len(self._pictures)
        if depth > _DEEPEST or self.writer.is_late() or attached >= _MOST_ATTACHED:
            self.notes.append("not all of its parts are looked at")
            return []
        if kind.startswith("multipart/") and part.is_multipart():
            return self._several(kind, cast("list[Message]", part.get_payload()), depth)
        if kind.startswith("message/") and part.is_multipart():
            return self._message(kind, part)
        named = _name(part)
        if kind in ("text/calendar", "application/ics") or named.lower().endswith(".ics"):
            self._dates |= dict.fromkeys(read_calendar(self._decoded(part)))
            return []
        if kind.startswith("multipart/"):  # it says so, and has no parts
            kind = "text/plain"
        if self._is_body(part, kind, named):
            self._begun = True
            return self._text(kind, self._decoded(part))
        self._attach(part, kind, named)
        return []

    def _is_body(self, part: Message, kind: str, named: str) -> bool:
        if kind not in ("text/plain", "text/html", "text/rfc822-headers", "text/enriched"):
            return False
        return _disposition(part) != "attachment" and not (named and self._begun)

    def _several(self, kind: str, parts: list[Message], depth: int) -> list[_Text]:
        if kind == "multipart/encrypted":
            self.notes.append(
                "it is encrypted (PGP); save it decrypted from a mail program to have it read"
            )
            return []
        if kind == "multipart/signed" and len(parts) > 1:
            way = "PGP" if "pgp" in parts[1].get_content_type() else "S/MIME"
            self.notes.append(f"its signature ({way}) is not checked")
            parts = parts[:1]
        if kind != "multipart/alternative":
            return [piece for part in parts for piece in self._walk(part, depth + 1)]
        begun = self._begun
        versions = []
        for part in parts:
            self._begun = begun
            versions.append(self._walk(part, depth + 1))
        return _chosen([version for version in versions if version])

    def _text(self, kind: str, text: str) -> list[_Text]:
        if kind != "text/html":
            if text.lstrip().startswith("-----BEGIN PGP MESSAGE-----"):
                self.notes.append("it is encrypted (PGP); save it decrypted to have it read")
            return [_Text(text.strip("\r\n"))] if text.strip() else []
        found, hidden, is_cut = html_to_text(text, hidden=self._options.hidden)
        self._linked |= {link.lower() for link in _LINKED.findall(text)}
        return [_Text(found, True, hidden, is_cut)] if found or hidden else []

    def _message(self, kind: str, part: Message) -> list[_Text]:
        """A message in the message is a file of its own; a report on its delivery is text."""
        blocks = cast("list[Message]", part.get_payload())
        if kind in ("message/rfc822", "message/global", "message/news"):
            inner = blocks[0]
            named = _name(part) or next(iter(_values(inner, "Subject", "")), "") or "message"
            named = named if named.lower().endswith(".eml") else f"{named}.eml"
            try:
                self.files.append(AttachedFile(attached_name(named), inner.as_bytes()))
            except _TRIPPED:
                self.unread.append(f"{attached_name(named)} (it is damaged)")
            return []
        if kind in ("message/external-body", "message/partial"):
            self.unread.append(f"{_name(part) or kind} (it is not in this message)")
            return []
        lines = []
        for block in blocks:
            for field, value in islice(block.raw_items(), 200):
                lines.append(f"{field}: {_one_line(str(value), '')}")
            lines.append("")
        return [_Text("\n".join(lines).strip())]

    def _attach(self, part: Message, kind: str, named: str) -> None:
        why = _reason_unread(kind, named, part)
        if why:
            self.unread.append(f"{attached_name(named or kind)} ({why})")
            return
        if kind in _OTHER_VERSIONS:
            return
        data = _payload(part)
        if kind.startswith("text/"):
            data = self._in_utf8(part, data)
        file = AttachedFile(attached_name(_with_ending(named, kind)), data)
        if not data:
            self.unread.append(f"{file.name} (it is empty)")
        elif kind.startswith("image/"):
            found = _header(part, "Content-ID").strip("<> ").lower()
            self._pictures.append((found, file))
        else:
            self.files.append(file)

    def _keep_pictures(self) -> None:
        """All but those that the HTML shows within its text: logos, mostly."""
        logos = [
            file.name for link, file in self._pictures
            if link in self._linked and len(file.data) < _LOGO_BYTES
        ]  # fmt: skip
        self.files += [
            file for link, file in self._pictures
            if link not in self._linked or len(file.data) >= _LOGO_BYTES
        ]  # fmt: skip
        if logos:
            self.notes.append(f"pictures within its text are not looked at: {listed(logos)}")

    def _decoded(self, part: Message) -> str:
        data = _payload(part)
        is_html = part.get_content_type() == "text/html"
        label = self._options.encoding or _charset(part) or (label_of(data) if is_html else "")
        text, notes = decode_labelled(data, label, self._name)
        self.told.update(dict.fromkeys(notes))
        return text

    def _in_utf8(self, part: Message, data: bytes) -> bytes:
        """A file of text in the encoding that its part names, in one that needs no name."""
        label = self._options.encoding or _charset(part)
        if not label or data.startswith(_BOMS):
            return data
        text, notes = decode_labelled(data, label, "")
        return data if notes else codecs.BOM_UTF8 + text.encode("utf-8", "replace")


_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_OTHER_VERSIONS = ("text/x-amp-html", "text/watch-html")  # of a body that is there twice
_STAND_IN = 0.3  # of the text of the HTML: a plain text that is shorter says "see the HTML"


def _chosen(versions: Sequence[list[_Text]]) -> list[_Text]:
    """One of the versions of a body: the plain one, unless it is only a stand-in."""
    plain = next((each for each in versions if not any(piece.is_html for piece in each)), None)
    rich = next((each for each in reversed(versions) if any(piece.is_html for piece in each)), None)
    if plain is None or rich is None:
        return plain or rich or []
    lengths = [sum(len(piece.text.strip()) for piece in each) for each in (plain, rich)]
    return rich if lengths[0] < _STAND_IN * lengths[1] else plain


def _reason_unread(kind: str, named: str, part: Message) -> str:
    """Why a part is not read, or nothing."""
    lower = named.lower()
    if kind in ("application/ms-tnef", "application/vnd.ms-tnef") or lower == "winmail.dat":
        return "Outlook's own form of attachments; have it sent as HTML or text, or unpack it first"
    if kind.removeprefix("application/").removeprefix("x-") == "pkcs7-mime":
        how = str(part.get_param("smime-type") or "")
        way = "signed as a whole" if how.startswith("signed") else "encrypted"
        return f"S/MIME, {way}; save the e-mail decrypted from a mail program"
    if "signature" in kind or lower.endswith((".p7s", ".asc", ".sig")):
        return "a signature, which is not checked"
    if kind in ("text/vcard", "text/x-vcard", "text/directory") or lower.endswith(".vcf"):
        return "a vCard"
    if kind.startswith(("audio/", "video/")):
        return kind
    return ""


def _values(message: Message, field: str, charset: str) -> list[str]:
    return [
        _one_line(str(value), charset)
        for name, value in message.raw_items()
        if name.lower() == field.lower()
    ]


def _header(part: Message, field: str) -> str:
    found = (str(value) for name, value in part.raw_items() if name.lower() == field.lower())
    return next(found, "")


def _charset(part: Message) -> str:
    with suppress(*_TRIPPED):
        return str(part.get_content_charset() or "")
    return ""


def _disposition(part: Message) -> str:
    with suppress(*_TRIPPED):
        return part.get_content_disposition() or ""
    return ""


def _name(part: Message) -> str:
    with suppress(*_TRIPPED):
        return _one_line(str(part.get_filename() or ""), "")
    return ""


def _payload(part: Message) -> bytes:
    with suppress(*_TRIPPED):
        data = part.get_payload(decode=True)
        return data if isinstance(data, bytes) else b""
    return b""


_ENDINGS = {
    "text/html": (".html", ".htm", ".xhtml"), "text/csv": (".csv",), "application/pdf": (".pdf",),
    "text/plain": (), "text/tab-separated-values": (".tsv", ".tab"),
}  # fmt: skip


def _with_ending(named: str, kind: str) -> str:
    """A name with the ending of its kind, by which text is told apart."""
    endings = _ENDINGS.get(kind, ())
    if not named:
        ending = kind.partition("/")[2]
        return f"file{endings[0] if endings else '.txt' if kind == 'text/plain' else f'.{ending}'}"
    if endings and kind.startswith("text/") and not named.lower().endswith(endings):
        return named + endings[0]
    return named


# The characters of fields and bodies. A field is text in encoded words (RFC 2047), or bytes as
# they are: UTF-8, where they can be, else as the body is written.

_ENCODED = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?([^?]*)\?=")
_WORDS = re.compile(r"=\?[^?\s]{1,60}\?[bBqQ]\?[^?]*\?=(?:\s*=\?[^?\s]{1,60}\?[bBqQ]\?[^?]*\?=)*")


def _one_line(value: str, charset: str) -> str:
    return " ".join(_WORDS.sub(_from_words, _raw(value, charset)).split())


def _from_words(found: re.Match[str]) -> str:
    """Encoded words in a row. A letter may be cut in two of them."""
    pieces: list[tuple[str, bytes]] = []
    for label, way, text in _ENCODED.findall(found[0]):
        data = _from_word(way, text)
        name = label.partition("*")[0].lower()  # a language may follow (RFC 2231)
        if pieces and pieces[-1][0] == name:
            pieces[-1] = (name, pieces[-1][1] + data)
        else:
            pieces.append((name, data))
    return "".join(decode_labelled(data, name, "")[0] for name, data in pieces)


def _from_word(way: str, text: str) -> bytes:
    raw = text.encode("ascii", "ignore")
    if way in "qQ":
        return decodestring(raw.replace(b"_", b"=20"))
    with suppress(ValueError):
        return b64decode(raw + b"=" * (-len(raw) % 4))
    return raw


def _raw(value: str, charset: str = "") -> str:
    """A field in which bytes stand as they are."""
    if value.isascii():
        return value
    with suppress(UnicodeEncodeError):
        data = value.encode("ascii", "surrogateescape")
        return decode_labelled(data, charset or "windows-1252", "")[0]
    return value


# Appointments (iCalendar, RFC 5545): what a person would want to know of each.

_MOST_DATES, _MOST_LINES = 200, 20_000
_PROPERTY = re.compile(r'([A-Za-z-]{1,40})((?:;[^:;"]*(?:"[^"]*"[^:;"]*)*)*):(.*)', re.DOTALL)
_CALLED = re.compile(r';CN=(?:"([^"]*)"|([^;:"]*))', re.IGNORECASE)
_ZONE = re.compile(r';TZID="?([^;:"]+)', re.IGNORECASE)
_MOMENT = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})(?:T([0-9]{2})([0-9]{2})([0-9]{2})?(Z?))?")
_SAID = {
    "SUMMARY": "Appointment", "DTSTART": "Start", "DTEND": "End", "DURATION": "Duration",
    "DUE": "Due", "LOCATION": "Place", "ORGANIZER": "Organiser", "ATTENDEE": "Attendee",
    "STATUS": "Status", "RRULE": "Repeats", "URL": "Link", "DESCRIPTION": "Description",
}  # fmt: skip
_DATES = ("VEVENT", "VTODO", "VJOURNAL")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def read_calendar(text: str) -> Iterator[str]:
    """The appointments of a calendar, each as lines ``Start: 2026-11-24 10:00 (Europe/Berlin)``."""
    unfolded = re.sub(r"\r?\n[ \t]", "", text)
    lines: list[tuple[str, str]] | None = None
    inside: list[str] = []
    found = 0
    for line in islice(unfolded.splitlines(), _MOST_LINES):
        match = _PROPERTY.fullmatch(line)
        if match is None or found == _MOST_DATES:
            continue
        key, value = match[1].upper(), match[3].strip()
        if key == "BEGIN":
            inside.append(value.upper())
            if inside[-1] in _DATES:
                lines = []
        elif key == "END" and inside:
            if inside.pop() in _DATES and lines is not None:
                found += 1
                yield _appointment(lines)
                lines = None
        elif lines is not None and value and key in _SAID and inside[-1:] and inside[-1] in _DATES:
            lines.append((_SAID[key], _said(key, match[2], value)))


def _appointment(lines: Sequence[tuple[str, str]]) -> str:
    order = list(_SAID.values())
    ranked = sorted(lines, key=lambda each: order.index(each[0]))
    return "\n".join(f"{label}: {value}" for label, value in ranked)


def _said(key: str, more: str, value: str) -> str:
    if key in ("DTSTART", "DTEND", "DUE"):
        return _moment(more, value)
    if key in ("ORGANIZER", "ATTENDEE"):
        address = re.sub("^mailto:", "", value, flags=re.IGNORECASE)
        called = next((one or two for one, two in _CALLED.findall(more)), "")
        return f"{called} <{address}>" if called and called != address else address
    if key in ("STATUS",):
        return value.lower()
    return _ESCAPED.sub(lambda found: "\n" if found[1] in "nN" else found[1], value)


def _moment(more: str, value: str) -> str:
    found = _MOMENT.fullmatch(value)
    if found is None:
        return value
    year, month, day, hour, minute, _, is_utc = found.groups()
    said = f"{year}-{month}-{day}"
    if hour is None:
        return said
    zone = _ZONE.search(more)
    where = " UTC" if is_utc else f" ({zone[1]})" if zone else ""
    return f"{said} {hour}:{minute}{where}"
