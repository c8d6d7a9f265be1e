"""A folder from a stranger: ten good documents among one of each hostile kind, read by the real
command with the bundled model. Ten answers, one line for each bad file, nothing else touched, in
less than 2 GiB and 60 s."""

import hashlib
import io
import json
import os
import re
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.documents.conftest import render_pdf, typed
from tests.documents.hostile import png
from tests.documents.office_files import (
    new_docx,
    raw_docx,
    render_docx,
    render_ods,
    render_xlsx,
    render_zip,
)
from tests.documents.pdf_files import hostile_pdfs, locked_pdf

MOST_BYTES, MOST_SECONDS = 2 << 30, 60.0
MIB = 1 << 20
BILL = "Velmora Glassworks Ltd\nTotal 270.72\n"
COMMAND = Path(sys.executable).with_name("gemma-edge")


def good_documents() -> Iterator[tuple[str, bytes]]:
    """Ten, of all kinds of text."""
    word = new_docx()
    word.add_paragraph("Velmora Glassworks Ltd")
    word.add_paragraph("Total 270.72")
    mail = "From: a@example.org\nTo: b@example.org\nSubject: Bill\nMIME-Version: 1.0\n\n" + BILL
    page = f"<!doctype html><html><body><pre>{BILL}</pre></body></html>"
    rows = [["Velmora Glassworks Ltd"], ["Total", 270.72]]
    yield "good-0.txt", BILL.encode()
    yield "good-1.md", f"# Bill\n\n{BILL}".encode()
    yield "good-2.csv", b"Vendor,Total\nVelmora Glassworks Ltd,270.72\n"
    yield "good-3.tsv", b"Vendor\tTotal\nVelmora Glassworks Ltd\t270.72\n"
    yield "good-4.html", page.encode()
    yield "good-5.eml", mail.encode()
    yield "good-6.docx", render_docx(word)
    yield "good-7.xlsx", render_xlsx({"S": rows})
    yield "good-8.ods", render_ods([["Velmora Glassworks Ltd"], ["Total", "270.72"]])
    yield "good-9.pdf", render_pdf([typed(BILL)])


def unzipped(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def bomb(files: dict[str, bytes], name: str, mark: bytes, piece: bytes, times: int) -> bytes:
    """An archive in which one file has a piece many times behind its ``mark``."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for each, content in files.items():
            before, found, after = content.partition(mark) if each == name else (content, b"", b"")
            with archive.open(each, "w", force_zip64=True) as file:
                file.write(before + found)
                for _ in range(times if found else 0):
                    file.write(piece)
                file.write(after)
    return out.getvalue()


def hostile_documents() -> Iterator[tuple[str, bytes]]:
    """One of each kind that hangs, floods or breaks a reader. None of them has anything to read."""
    word, sheet = unzipped(raw_docx("<x/>")), unzipped(render_xlsx({"S": [["x"]]}))
    body, main = "word/document.xml", "xl/worksheets/sheet1.xml"
    stray = (
        b'<row r="1048576"><c r="XFD1048576" t="inlineStr"><is><t></t></is></c></row></sheetData>'
    )
    far = re.sub(rb"<sheetData>.*</sheetData>", b"<sheetData>" + stray, sheet[main], flags=re.S)
    nested = b"From: a@b\nSubject: x\nMIME-Version: 1.0\n" + b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(1000)
    )
    yield "comments.html", b"<!---->" * 40 + b"<html></html>"
    yield "commas.csv", b"," * (30 * MIB)
    yield "open-quote.csv", b'"' + b" " * (30 * MIB)
    yield "ones.jpg", b"\xff\xd8" + b"\xff" * (30 * MIB)
    yield "bomb.docx", bomb(word, body, b"<x/>", b"<w:p/>" * 50_000, 1000)
    yield "larger-bomb.xlsx", bomb(sheet, main, b"<sheetData>", b" " * MIB, 500)
    yield "stray-cell.xlsx", render_zip(sheet | {main: far})
    yield "deep.docx", raw_docx("<w:ins>" * 100_000 + "</w:ins>" * 100_000)
    yield "entities.docx", raw_docx("<w:p>&a;</w:p>", before='<!DOCTYPE x [<!ENTITY a "">]>')
    yield "encrypted.pdf", locked_pdf("x", user="secret")
    for name, data, _ in hostile_pdfs("endless"):
        yield f"loop-{name}.pdf", data.replace(b"Total", b"").replace(b"12.00", b"")
    yield "nested.eml", nested
    yield "empty.txt", b""
    yield "empty.png", b""
    yield "huge.png", png(60_000, 60_000, rows=b"")
    yield "not-a.pdf", b"<html>login</html>"
    yield "-rf.pdf", b"nothing"
    yield "--help.docx", b"nothing"


def foreign_names() -> Iterator[tuple[bytes, bytes]]:
    """Names that move a terminal, break a line, or are no text."""
    for name in (
        b"esc\x1b[2J.pdf",
        b"new\nline.pdf",
        "right\u202eleft.pdf".encode(),
        b"half\xff.pdf",
    ):
        yield name, b"nothing"


def fill(folder: Path, outside: Path) -> set[str]:
    """Make all of it; the names of the documents that are bad."""
    for name, data in good_documents():
        (folder / name).write_bytes(data)
    bad = set()
    for name, data in hostile_documents():
        (folder / name).write_bytes(data)
        bad.add(name)
    for raw, data in foreign_names():
        path = Path(os.fsdecode(os.fsencode(folder) + b"/" + raw))
        path.write_bytes(data)
        bad.add(path.name)
    outside.mkdir()
    (outside / "secret.txt").write_text("Password 4711\n", encoding="utf-8")
    (folder / "out.txt").symlink_to(outside / "secret.txt")
    (folder / "gone.txt").symlink_to(outside / "nothing.txt")
    bad |= {"out.txt", "gone.txt", "vanishes.txt"}
    (folder / "vanishes.txt").write_text(BILL, encoding="utf-8")
    if os.geteuid():
        (folder / "secret.pdf").write_bytes(b"%PDF-1.4")
        (folder / "secret.pdf").chmod(0)
        bad.add("secret.pdf")
    return bad


def plant(folder: Path, canary: Path) -> None:
    """What is no document: pipes, devices, and files that a program might believe or run."""
    os.mkfifo(folder / "pipe.txt")
    (folder / "device.txt").symlink_to("/dev/zero")
    (folder / "shell.txt.part").symlink_to(canary)
    code = f"open({str(canary)!r}, 'w').close()\n"
    for name in ("json.py", "sitecustomize.py", "typer.py", "gemma_edge.py"):
        (folder / name).write_text(code, encoding="utf-8")
    for name in ("nvidia-smi", "rocm-smi", "vulkaninfo", "ldconfig", "xclip"):
        (folder / name).write_text(f"#!/bin/sh\ntouch '{canary}'\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    (folder / "gemma-edge.lock").write_text(
        "version = 1\n[[file]]\nrepo = 'a/b'\n", encoding="utf-8"
    )
    recipes = folder / "recipes"
    recipes.mkdir()
    for name in ("invoice.yaml", "general.yaml"):
        (recipes / name).write_text("schema: {$ref: /etc/passwd}\n", encoding="utf-8")


def state(folder: Path) -> dict[str, object]:
    """Every name below a folder: what it is, its mode, its time, and what is in it."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*"), key=os.fsencode):
        known = path.lstat()
        content: object = None
        if stat.S_ISREG(known.st_mode) and os.access(path, os.R_OK):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(known.st_mode):
            content = os.readlink(path)
        when = 0 if stat.S_ISDIR(known.st_mode) else known.st_mtime_ns
        found[str(path.relative_to(folder))] = (known.st_mode, when, content)
    return found


def used_bytes(root: int) -> int:
    """Memory of a process and of all that it started; what they share counts once."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                said = (entry / "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:  # it has ended
                continue
            parents[int(entry.name)] = int(said.rpartition(")")[2].split()[1])
    tree = {root}
    while more := {pid for pid, parent in parents.items() if parent in tree} - tree:
        tree |= more
    total = 0
    for pid in tree:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        except OSError:
            continue
        found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
        total += int(found[1]) << 10 if found else 0
    return total


class Watched:
    """The command, with the most memory that it and its children held at once."""

    def __init__(self, argv: list[str], when_begun: Callable[[], bool], **more: object) -> None:
        self.peak_bytes, self.began = 0, time.monotonic()
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more
        )  # type: ignore[call-overload]
        self._when_begun = when_begun
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        begun = False
        while self.process.poll() is None:
            self.peak_bytes = max(self.peak_bytes, used_bytes(self.process.pid))
            begun = begun or self._when_begun()
            time.sleep(0.2)

    def end(self) -> tuple[str, str]:
        out, err = self.process.communicate(timeout=20 * MOST_SECONDS)
        self.seconds = time.monotonic() - self.began
        self._watcher.join()
        return out.decode(), err.decode()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc, FIFOs, links and names of bytes")
def test_ten_answers_and_a_line_for_each_bad_file(tmp_path: Path) -> None:
    folder, outside, home = tmp_path / "papers", tmp_path / "outside", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    canary = outside / "canary"
    bad = fill(folder, outside)
    plant(folder, canary)
    before = state(folder), state(outside)
    out = tmp_path / "out.jsonl"

    def vanish() -> bool:
        if out.exists() and out.stat().st_size:
            (folder / "vanishes.txt").unlink()
            return True
        return False

    own = ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HF_HOME")
    run = Watched(
        [str(COMMAND), "extract", ".", "--schema", "vendor, total num", "--model", "demo",
         "--out", str(out)],
        vanish, cwd=folder,
        env={**os.environ, **dict.fromkeys(own, str(home)), "PATH": f"{os.environ['PATH']}:"},
    )  # fmt: skip
    stdout, stderr = run.end()
    records = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    by_name = {Path(each["file"]).name: each for each in records}

    answers = {name for name, each in by_name.items() if "data" in each}
    assert answers == {name for name, _ in good_documents()}, stderr
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == len(bad) == len(records) - 10, "\n".join(errors)
    assert {name for name, each in by_name.items() if each.get("error")} == {
        "".join(char if char.isprintable() else "?" for char in name) for name in bad
    }
    assert stdout == "" and "Traceback" not in stderr and "a bug in" not in stderr
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", stderr)

    assert "4711" not in out.read_text(encoding="utf-8") + stderr
    expected = {name: each for name, each in before[0].items() if name != "vanishes.txt"}
    assert (state(folder), state(outside)) == (expected, before[1])
    assert not canary.exists()
    assert run.peak_bytes < MOST_BYTES, f"{run.peak_bytes / MIB:,.0f} MiB"
    assert run.seconds < MOST_SECONDS, f"{run.seconds:.0f} s"
