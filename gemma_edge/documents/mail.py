"""E-mails to text: the head, and the body as it was written or from its HTML. Hostile bytes: it
runs in the child process of ``open.py``."""

import email
import re
from email.message import EmailMessage, Message, MIMEPart
from email.policy import EmailPolicy
from itertools import islice
from typing import Any, cast

from gemma_edge.documents.document import (
    PLAIN,
    ExtractedText,
    ReadOptions,
    Writer,
    cut_note,
    listed,
    shown,
)
from gemma_edge.documents.html import html_to_text
from gemma_edge.errors import InputError

_MOST_ATTACHED, _MAX_PARTS = 1000, 50_000
_MOST_CHARS = 32_000  # of a field that is taken apart, which may take the square of it
_MOST_TYPE_CHARS = 1000  # of what says how a part is written, which is taken apart again and again
# What Python's library raises over fields and parts that are broken.
_TRIPPED = (AttributeError, LookupError, TypeError, ValueError)


class _Policy(EmailPolicy):
    """Takes time in proportion to what stands in fields about a part, whatever that is."""

    def header_fetch_parse(self, name: str, value: str) -> Any:
        is_of_part = name.lower().startswith("content-") and not hasattr(value, "name")
        return super().header_fetch_parse(name, value[:_MOST_TYPE_CHARS] if is_of_part else value)


def read_mail(data: bytes, name: str, options: ReadOptions = PLAIN) -> ExtractedText:
    """One page: the head's lines, then the body; attachments are named in a note.
    Raises InputError: there is neither a head nor a body."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    ends = list(islice(re.finditer(rb"\n--", data), _MAX_PARTS + 1))  # lines that may end a part
    many = len(ends) > _MAX_PARTS
    if many:
        data = data[: ends[-1].start()]
    message = cast("EmailMessage", email.message_from_bytes(data, policy=_Policy()))
    reader = _MailReader()
    reader.read(message, 0)
    text = reader.writer.take()
    if not text:
        raise InputError(f"{name} holds no text", hint="export the e-mail again")
    notes = [f"{name}: {note}" for note in dict.fromkeys(reader.notes)]
    if reader.attached:
        notes.append(
            f"{name}: attachments are not read: {listed(reader.attached)}; save them, and name them"
        )
    if many:
        notes.append(f"{name} is cut: {_MAX_PARTS:,} parts are the most that is read")
    if reader.writer.is_full:
        notes.append(cut_note(name))
    return ExtractedText(((text, "an e-mail"),), tuple(notes))


class _MailReader:
    """Collects what the parts of a message say."""

    def __init__(self) -> None:
        self.writer = Writer()
        self.attached: list[str] = []
        self.notes: list[str] = []

    def read(self, message: EmailMessage, depth: int) -> None:
        for field in ("From", "To", "Cc", "Bcc", "Reply-To", "Date", "Subject"):
            for value in _values(message, field):
                self.writer.line(f"{field}: {' '.join(value.split())}")
        self.writer.gap()
        self._body(message)
        for part in message.iter_attachments():
            if self.writer.is_full or len(self.attached) == _MOST_ATTACHED:
                self.notes.append("not all of its parts are looked at")
                break
            is_message = part.get_content_type() == "message/rfc822" and depth < 3  # noqa: PLR2004
            match part.get_payload():
                case [EmailMessage() as inner, *_] if is_message:
                    self.writer.gap()
                    self.writer.line("--- forwarded message ---")
                    self.read(inner, depth + 1)
                case _:
                    self.attached.append(_title(part))

    def _body(self, message: EmailMessage) -> None:
        plain, html = (message.get_body((kind,)) for kind in ("plain", "html"))
        body = _text(plain).strip() if plain is not None else ""
        if html is not None:
            from_html, hidden, is_cut = html_to_text(_text(html))
            self.writer.is_full |= is_cut
            if len(body) < 0.3 * len(from_html):  # noqa: PLR2004  (it is only a stand-in)
                body = from_html
                if hidden:
                    self.notes.append(f"hidden parts of its HTML are left out ({hidden:,})")
        for line in body.splitlines():
            self.writer.line(line)


def _values(message: EmailMessage, field: str) -> list[str]:
    raw = [str(value) for name, value in message.raw_items() if name.lower() == field.lower()]
    if sum(map(len, raw)) > _MOST_CHARS:
        return raw
    try:
        return [str(value) for value in message.get_all(field, [])]
    except _TRIPPED:
        return raw


def _title(part: Message) -> str:
    try:
        return shown(part.get_filename() or part.get_content_type())
    except _TRIPPED:
        return "one without a name"


def _text(part: MIMEPart) -> str:
    try:
        content = part.get_content()
    except _TRIPPED:
        payload = part.get_payload(decode=True)
        return payload.decode("latin-1") if isinstance(payload, bytes) else ""
    return content if isinstance(content, str) else ""
