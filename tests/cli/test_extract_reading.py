"""What `extract` decides before a model is loaded: pages as text or pictures, whole or in windows,
how much context; and how it says so."""

import json
from pathlib import Path

import pytest

from gemma_edge.errors import ExitStatus
from gemma_edge.extraction.pages import LONG_TOKENS
from tests.cli.conftest import SHAPES
from tests.documents.conftest import render_pdf, typed
from tests.documents.pdf_files import locked_pdf

ANSWER = '{"vendor": "Acme", "total": 5.5}'
ASK = ("--schema", "vendor, total num")


@pytest.fixture
def bill(tmp_path):
    path = tmp_path / "bill.pdf"
    path.write_bytes(render_pdf([typed("Acme\nDesk 5.50"), typed("Total 5.50"), typed("Thanks")]))
    return str(path)


@pytest.fixture
def long(tmp_path):
    """Four pages that no default context holds, in words."""
    path = tmp_path / "long.txt"
    path.write_text("word " * 40_000 + "\nTotal 5.50\n", encoding="utf-8")
    return str(path)


def test_a_picture_goes_in_before_the_text_and_is_told(shell):
    engine = shell.script([ANSWER])
    ran = shell.run("extract", SHAPES, *ASK)
    assert ran.status == 0, ran.stderr
    (message,) = engine.requests[0].messages
    assert len(message.pictures) == 1
    assert message.text.startswith("(in picture 1)\n\n---\nRead the document above.")
    assert "page 1: scan (" in ran.stderr and "read as a picture" in ran.stderr
    (plan,) = shell.plans
    assert plan.projector is not None and plan.image_tokens == 1120


def test_a_scan_without_a_projector_is_refused_with_the_way_out(shell):
    ran = shell.run("extract", SHAPES, *ASK, "--model", str(shell.model), model=False)
    assert ran.status == ExitStatus.MODEL
    assert "page 1, goes in as a picture (scan)" in ran.stderr
    assert "--mmproj" in ran.stderr
    assert shell.plans == []


def test_no_vision_and_no_text(shell):
    ran = shell.run("extract", SHAPES, *ASK, "--vision", "never")
    assert ran.status == ExitStatus.INPUT
    assert "is a scan without text, and --vision never\nhint: --vision auto\n" in ran.stderr


def test_all_pages_as_pictures_too(shell, bill):
    engine = shell.script([ANSWER])
    ran = shell.run("extract", bill, *ASK, "--vision", "always", "--pages", "1,-1")
    assert ran.status == 0, ran.stderr
    (message,) = engine.requests[0].messages
    assert len(message.pictures) == 2
    assert message.text.startswith("[page 1]\n(in picture 1)\nAcme\nDesk")
    assert "[page 3]\n(in picture 2)\nThanks" in message.text
    assert "pages 1, 3: text (" in ran.stderr and "read as text and as a picture" in ran.stderr


def test_tiles_are_parts_of_one_page(shell, bill):
    engine = shell.script([ANSWER])
    ran = shell.run("extract", bill, *ASK, "--vision", "always", "--pages", "2", "--tiles", "2")
    assert ran.status == 0, ran.stderr
    (message,) = engine.requests[0].messages
    assert len(message.pictures) == 2
    assert message.text.startswith("(in pictures 1 to 2, which overlap)\nTotal 5.50")


def test_only_the_pages_that_are_named(shell, bill):
    engine = shell.script([ANSWER])
    assert shell.run("extract", bill, *ASK, "--pages", "2").status == 0
    assert engine.requests[0].messages[0].text.startswith("Total 5.50\n\n---")
    ran = shell.run("extract", bill, *ASK, "--pages", "7")
    assert ran.status == ExitStatus.USAGE and "there is no page 7" in ran.stderr


def test_a_long_document_gets_the_context_that_it_needs(shell, long):
    engine = shell.script([ANSWER], context_tokens=131072)
    ran = shell.run("extract", long, *ASK)
    assert ran.status == 0, ran.stderr
    (plan,) = shell.plans
    assert 41_000 < plan.context_tokens <= 131072
    assert len(engine.requests) == 1


def test_a_pinned_context_is_kept_and_the_document_read_in_windows(shell, tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("\n".join("some words of a line" for _ in range(3000)) + "\nTotal 5.50\n")
    engine = shell.script(['{"vendor": null, "total": null}', ANSWER, ANSWER, ANSWER],
                          context_tokens=8192)  # fmt: skip
    ran = shell.run("extract", str(path), *ASK, "--ctx", "8192", "--max-tokens", "500")
    assert ran.status == 0, ran.stderr
    assert shell.plans[0].context_tokens == 8192
    assert len(engine.requests) > 1
    assert "passes (whole it takes 15," in ran.stderr
    ran = shell.run("extract", str(path), *ASK, "--ctx", "8192", "--strategy", "whole")
    assert ran.status == ExitStatus.DOES_NOT_FIT
    assert "--strategy windows reads it in parts" in ran.stderr


def test_more_than_the_model_reads_at_all(shell, tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("word " * 140_000, encoding="utf-8")
    ran = shell.run("extract", str(path), *ASK, "--strategy", "whole")
    assert ran.status == ExitStatus.DOES_NOT_FIT
    assert "with its answer, model reads at most 131,072 tokens" in ran.stderr


def test_a_dry_run_loads_nothing(shell, bill):
    ran = shell.run("extract", bill, *ASK, "--dry-run")
    assert ran.status == 0, ran.stderr
    assert shell.plans == []
    head, *rest = ran.stdout.splitlines()
    assert head.split() == ["page", "kind", "read", "as", "tokens", "why"]
    assert rest[0].split()[:4] == ["1", "text", "text", "5"]
    assert "12 tokens of pages in one pass of 26: it fits the context of 32,768 tokens" in rest
    assert any(line.startswith("at most ") and "26 tokens to read" in line for line in rest)
    assert rest[-1] == "keywords: 5 enforced while decoding"


def test_a_dry_run_for_programs(shell, bill, tmp_path):
    schema = tmp_path / "s.json"
    schema.write_text(
        '{"type": "object", "properties": {"a": {"type": "string", "not": {"const": "x"}}}}'
    )
    ran = shell.run("extract", bill, "-s", str(schema), "--dry-run", "--json", "--quiet")
    assert ran.status == 0
    found = json.loads(ran.stdout)
    assert [page["kind"] for page in found["pages"]] == ["text"] * 3
    assert sum(page["tokens"] for page in found["pages"]) < found["read_tokens"]
    assert found["passes"][0]["pages"] == [1, 2, 3]
    assert [each["keyword"] for each in found["keywords"]["afterwards"]] == ["not"]
    assert (found["strategy"], found["refusal"]) == ("whole", None)


def test_a_dry_run_shows_windows(shell, long):
    ran = shell.run("extract", long, "-s", "rows[]: {a, b num}, total num", "--dry-run")
    assert ran.status == 0, ran.stderr
    assert "its lists are long: their rows are read by windows" in ran.stdout
    assert "  pass 1: page 1, 4" in ran.stdout and ", for total" in ran.stdout
    assert LONG_TOKENS < 40_000


def test_a_password_is_asked_for_at_a_terminal(shell, tmp_path):
    path = str(tmp_path / "locked.pdf")
    Path(path).write_bytes(locked_pdf("Acme", "Total 5.50", user="openpassword"))
    asked = []

    def ask(prompt):
        asked.append(prompt)
        return "openpassword"

    shell.script([ANSWER] * 3)
    assert shell.run("extract", path, *ASK, ask_secret=ask).status == 0
    assert asked == [f"password of {path}: "]
    ran = shell.run("extract", path, *ASK)
    assert ran.status == ExitStatus.INPUT and "is encrypted\n" in ran.stderr
    known = {"GEMMA_EDGE_PDF_PASSWORD": "openpassword"}
    assert shell.run("extract", path, *ASK, environment=known, ask_secret=ask).status == 0
    assert len(asked) == 1
    ran = shell.run("extract", path, *ASK, "--password", "wrong", ask_secret=ask)
    assert ran.status == ExitStatus.INPUT and "openpassword" not in ran.stderr
