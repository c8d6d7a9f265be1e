"""What kind of document some bytes are: by how they begin, and by the name's ending only where
text could be several things. Pure."""

import re
from typing import Literal

Kind = Literal["pdf", "image", "office", "html", "mail", "separated", "text"]

_IMAGES = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0",
    b"MM\0+", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51",
)  # fmt: skip
_BOXED = re.compile(rb".{4}ftyp(?:avi|hei|hev|mif1|msf1)", re.DOTALL)  # AVIF, HEIF
_RIFF = re.compile(rb"RIFF.{4}WEBP", re.DOTALL)
_BITMAP = re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x6c\x7c]\0\0\0", re.DOTALL)  # size of its header
_PORTABLE = re.compile(rb"P[1-6]\s+\d")  # PPM, PGM, PBM
_IMAGE_MARKS = (_BOXED, _RIFF, _BITMAP, _PORTABLE)
_OFFICE = (b"PK\x03\x04", b"PK\x05\x06", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
_HTML = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b",
    re.IGNORECASE | re.DOTALL,
)
_HTML_ENDINGS = (".html", ".htm", ".xhtml")
_SEPARATED_ENDINGS = (".csv", ".tsv", ".tab")
_SHEET_ENDINGS = (".xls",)  # web programs write HTML and TSV under this name
_MARKUP = re.compile(r"<\w[^>]*>")
_HEAD_LINE = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,60}:(?:[ \t]|$)")
_MAIL_MARKS = frozenset(("message-id", "mime-version", "return-path"))  # no person types these
_LOOKED_AT = 16384  # bytes


def kind_of(data: bytes, name: str) -> Kind:
    """The kind; bytes that are none of the others are text, or will be refused as such."""
    if data.startswith(_IMAGES) or any(mark.match(data) for mark in _IMAGE_MARKS):
        return "image"
    if data.startswith(_OFFICE):
        return "office"
    if b"%PDF-" in data[:1024]:  # readers look that far (ISO 32000-1, annex H)
        return "pdf"
    return _kind_of_text(_head(data), name.lower())


def _kind_of_text(head: str, name: str) -> Kind:
    is_page = name.endswith((*_HTML_ENDINGS, *_SHEET_ENDINGS)) and _MARKUP.search(head)
    if is_page or _HTML.match(head):
        return "html"
    if is_mail(head, name):
        return "mail"
    return "separated" if name.endswith((*_SEPARATED_ENDINGS, *_SHEET_ENDINGS)) else "text"


def is_mail(head: str, name: str) -> bool:
    """Whether text begins with the head of an e-mail; one that was only typed like one has no
    marks of a mail server."""
    lines = head.replace("\r\n", "\n").partition("\n\n")[0].split("\n")
    if lines[0].startswith("From "):  # as mbox files begin
        lines = lines[1:]
    fields = set()
    for line in lines:
        if line[:1] in (" ", "\t"):
            continue
        if not _HEAD_LINE.match(line):
            return False
        fields.add(line.partition(":")[0].lower())
    written = bool({"from", "subject", "date", "to"} & fields)
    return written and (name.lower().endswith(".eml") or bool(_MAIL_MARKS & fields))


def _head(data: bytes) -> str:
    """The first characters, enough to tell the kind."""
    start = data[:_LOOKED_AT]
    encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1"
    return start.decode(encoding, "replace").removeprefix("\xef\xbb\xbf")
