"""The whole of it: real processes, the bundled model, the files in examples/."""

import json
import os
import re
import subprocess
import sys
from email.message import EmailMessage
from pathlib import Path

from gemma_edge.app.runtime import load_engine
from gemma_edge.errors import ExitStatus

ROOT = Path(__file__).parents[2]
INVOICE, SHAPES = "examples/invoice.pdf", "examples/shapes.png"
GREEDY = ("--temperature", "0")
DEMO = ("--model", "demo")


def gemma_edge(
    *argv: str, stdin: str = "", model: tuple[str, ...] = DEMO, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command as a person runs it, in the root of the project."""
    return subprocess.run(
        [sys.executable, "-m", "gemma_edge", *argv, *model],
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONIOENCODING": "utf-8"} | environment,
        check=False,
        timeout=600,
    )


def test_extract_reads_the_invoice():
    ran = gemma_edge("extract", INVOICE, "--schema", "vendor, invoice_number, total num, currency")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {
        "vendor": "Velmora Glassworks Ltd",
        "invoice_number": "VG-20418",
        "total": 270.72,
        "currency": "EUR",
    }
    first, *_, last = ran.stderr.splitlines()
    assert re.fullmatch(rf"{INVOICE}: 1 page, [\d,]+ tokens · bundled demo model .*", first)
    found, tokens = r"valid · 4 of 4 values found", r"\d+ tokens, \d+ of them forced"
    assert re.fullmatch(rf"{found} · [\d.]+ s · {tokens}", last)


def test_extract_answers_from_what_is_attached_to_an_e_mail(tmp_path):
    message = EmailMessage()
    message["From"] = "Velmora Glassworks <office@velmora.example>"
    message["To"] = "you@x.example"
    message["Subject"] = "Your order"
    message["Message-ID"] = "<1@velmora.example>"
    message.set_content("Dear customer,\n\nyou find it attached.\n\nKind regards\n")
    bill = (ROOT / INVOICE).read_bytes()
    message.add_attachment(bill, maintype="application", subtype="pdf", filename="invoice.pdf")
    mail = tmp_path / "mail.eml"
    mail.write_bytes(message.as_bytes())
    ran = gemma_edge(
        "extract", str(mail), "--schema", "invoice_number, total num, currency", "--json"
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["data"] == {"invoice_number": "VG-20418", "total": 270.72, "currency": "EUR"}
    places = [(each["page"], each["file"], each["file_page"]) for each in found["evidence"]]
    assert places == [(2, f"{mail} > invoice.pdf", 1)] * 3
    assert found["document"]["kinds"][1]["file"] == "invoice.pdf"
    assert f"{mail}: 2 pages with invoice.pdf, " in ran.stderr


def test_extract_needs_no_more_than_the_file():
    ran = gemma_edge("extract", INVOICE)
    assert ran.returncode in (ExitStatus.OK, ExitStatus.RESULT), ran.stderr
    first = ran.stderr.splitlines()[0]
    seen = r'by its words alone, "INVOICE", .*; -r invoice names it'
    assert re.fullmatch(rf"{INVOICE}: an invoice \(\d\d %: {seen}\)", first)
    assert json.loads(ran.stdout)["invoice_number"] == "VG-20418"


def test_extract_obeys_a_json_schema_and_reports_as_one_document(tmp_path):
    schema = tmp_path / "bill.schema.json"
    properties = {"total": {"type": "number"}, "vendor": {"type": "string", "minLength": 1}}
    schema.write_text(
        json.dumps({"type": "object", "properties": properties, "required": ["total"]}),
        encoding="utf-8",
    )
    ran = gemma_edge("extract", INVOICE, "--schema", str(schema), "--json", "--quiet")
    assert (ran.returncode, ran.stderr) == (0, "")
    document = json.loads(ran.stdout)
    assert document["data"] == {"total": 270.72, "vendor": "Velmora Glassworks Ltd"}
    assert document["valid"]
    usage = document["usage"]
    assert usage["prompt_tokens"] == usage["cached_tokens"] + usage["evaluated_tokens"]
    assert 0 < usage["forced_tokens"] < usage["generated_tokens"]


def test_describe_sees_the_shapes():
    ran = gemma_edge("describe", SHAPES, *GREEDY)
    assert ran.returncode == 0, ran.stderr
    assert "red circle" in ran.stdout
    assert "blue square" in ran.stdout
    assert ran.stderr.startswith("shapes.png 624x480, 130 tokens\n")


def test_chat_answers_a_question_and_a_pipe():
    for ran in (gemma_edge("chat", "Hello!", *GREEDY), gemma_edge("chat", *GREEDY, stdin="Hello!")):
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout == "Hello! How can I help you?\n"
        assert "tok/s" in ran.stderr


def test_chat_prints_events_for_programs():
    ran = gemma_edge("chat", "Hello!", "--json", "--quiet", *GREEDY)
    assert (ran.returncode, ran.stderr) == (0, "")
    *chunks, finished = map(json.loads, ran.stdout.splitlines())
    assert "".join(chunk["text"] for chunk in chunks) == "Hello! How can I help you?"
    assert finished["reason"] == "end"


def test_a_context_that_is_too_small_is_refused_with_the_numbers():
    ran = gemma_edge("extract", INVOICE, "--schema", "vendor", "--ctx", "256")
    assert (ran.returncode, ran.stdout) == (ExitStatus.DOES_NOT_FIT, "")
    assert re.search(r"error: the prompt needs \d+ tokens, the context holds 256\n", ran.stderr)
    assert "hint: --ctx " in ran.stderr


def test_what_was_read_once_is_not_read_again(shell):
    """An image, a question, a second question: the picture stays in the cache."""
    lines = [f"/image {ROOT / SHAPES}", "Describe this image.", "Thanks!"]

    def ask(_sign: str) -> str:
        if not lines:
            raise EOFError
        return lines.pop(0)

    ran = shell.run(
        "chat", *GREEDY, *DEMO, model=False, terminal=True, ask=ask, load=load_engine,
        environment={"NO_COLOR": "1"}, width=200,
    )  # fmt: skip
    assert ran.status == 0, ran.stderr
    picture_tokens = int(re.search(r"shapes.png 624x480, (\d+) tokens", ran.stderr)[1])
    assert "red circle" in ran.stdout.splitlines()[0]
    first, second = [line for line in ran.stderr.splitlines() if "tok/s" in line]
    assert "cached" not in first
    assert int(re.search(r"([\d,]+) cached", second)[1]) > picture_tokens


def test_a_conversation_goes_on_with_its_model_and_still_sees(tmp_path):
    home = {"XDG_DATA_HOME": str(tmp_path)}
    look = ("chat", "--session", "shapes", "--image", SHAPES, "Describe this image.", *GREEDY)
    first = gemma_edge(*look, **home)
    assert first.returncode == 0, first.stderr
    again = gemma_edge("chat", "-c", "Hello!", *GREEDY, model=(), **home)
    assert again.returncode == 0, again.stderr
    assert again.stderr.startswith("bundled demo model ")
    assert "read again" not in again.stderr
    assert "sees none" not in again.stderr
