"""`extract` without a schema: each document gets the recipe of its kind."""

import csv
import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gemma_edge.errors import ExitStatus
from tests.cli.conftest import SHAPES
from tests.documents.conftest import render_pdf, typed
from tests.documents.office_files import render_xlsx
from tests.scripted import ScriptedEngine

BILL = "INVOICE\nInvoice no 4711\nBill to: Harbour\nVase   9.50\nAmount due   9.50\n"
SLIP = "CORNER SHOP\nReceipt 12\nMilk   1.20\nCASH   2.00\nCHANGE   0.80\nThank you\n"
NOTE = "Dear Ann,\nthe train is late again. See you on Sunday.\nTom\n"
MAIL = b"From: a@example.org\nTo: b@example.org\nSubject: Invoice 4711\n\nAmount due: 9.50\n"
INVOICE = Path(__file__).parents[2] / "examples" / "invoice.pdf"


class Reader(ScriptedEngine):
    """Chooses the first kind that it is offered, unless told, and reads nothing."""

    def __init__(self, choice="", **more):
        super().__init__(**more)
        self.choice = choice
        self.asked = []  # kinds that it was asked about, and what it was given

    def generate(self, request):
        schema = json.loads(request.constraint.schema)
        if "enum" in schema:
            self.asked.append(schema["enum"])
            self.answers = [json.dumps(self.choice or schema["enum"][0])]
        else:
            self.answers = [json.dumps(empty(schema))]
        return super().generate(request)


def empty(schema):
    """The emptiest answer."""
    lists = {"array": [], "object": {}}
    found = {}
    for name, each in schema["properties"].items():
        kinds = each.get("type", [])
        kinds = [kinds] if isinstance(kinds, str) else kinds
        found[name] = None if not kinds or "null" in kinds else lists.get(kinds[0])
    return found


@pytest.fixture
def folder(tmp_path):
    """Documents of three kinds, in four kinds of file."""
    made = tmp_path / "mixed"
    made.mkdir()
    (made / "a.pdf").write_bytes(render_pdf([typed(BILL)]))
    (made / "b.txt").write_text(SLIP)
    (made / "c.txt").write_text(NOTE)
    (made / "d.eml").write_bytes(MAIL)
    rows = [["Invoice no", 4711], ["INVOICE"], ["Bill to", "Harbour"], ["Amount due", 9.5]]
    (made / "e.xlsx").write_bytes(render_xlsx({"S": rows}))
    return made


KINDS = {"a.pdf": "invoice", "b.txt": "receipt", "c.txt": "general", "d.eml": "invoice",
         "e.xlsx": "invoice"}  # fmt: skip


def lines(text: str):
    return [json.loads(line) for line in text.splitlines()]


def recipes_of(rows):
    return {Path(each["file"]).name: each.get("recipe") for each in rows}


@pytest.fixture
def reading(shell):
    """An engine that chooses what the words say, and none where they say nothing."""

    class Careful(Reader):
        def generate(self, request):
            self.choice = "none of these" if "train" in request.messages[0].text else ""
            return super().generate(request)

    shell.engine = Careful()
    return shell.engine


# ----------------------------------------------------------------------------
# One document.


def test_one_line_says_which_recipe_and_why(shell, folder, reading):
    ran = shell.run("extract", str(folder / "a.pdf"), "--json")
    line = next(each for each in ran.stderr.splitlines() if "an invoice" in each)
    assert line.startswith(f'{folder / "a.pdf"}: an invoice (96 %: by its words alone, "INVOICE", ')
    assert line.endswith("; -r invoice names it)")
    found = json.loads(ran.stdout)
    assert (found["recipe"], found["recognized"]["recipe"]) == ("invoice", "invoice")
    assert 0.9 < found["recognized"]["probability"] < 1
    assert found["recognized"]["words"][0] == "INVOICE"
    assert {"vendor", "items", "total"} <= set(found["data"])
    assert reading.asked == []


def test_another_document_gets_the_general_form(shell, folder, reading):
    ran = shell.run("extract", str(folder / "c.txt"))
    assert "no kind that has a recipe" in ran.stderr
    assert len(reading.asked) == 1 and reading.asked[0][-1] == "none of these"
    assert {"kind", "parties", "identifiers", "tables"} <= set(json.loads(ran.stdout))


def test_a_named_recipe_or_a_schema_asks_about_no_kind(shell, folder, reading):
    for asked in (("-r", "receipt"), ("-s", "vendor, total num")):
        ran = shell.run("extract", str(folder / "a.pdf"), *asked, "--json")
        assert json.loads(ran.stdout)["recognized"] is None
    assert reading.asked == []
    ran = shell.run("extract", str(folder / "a.pdf"), "-r", "invioce")
    assert (ran.status, "did you mean invoice?" in ran.stderr) == (ExitStatus.INPUT, True)


def test_stdin_a_mail_a_sheet_and_a_picture(shell, folder, reading):
    for name in ("d.eml", "e.xlsx"):
        ran = shell.run("extract", str(folder / name), "--json")
        assert json.loads(ran.stdout)["recipe"] == "invoice", name
    ran = shell.run("extract", "-", "--json", stdin=SLIP)
    assert json.loads(ran.stdout)["recipe"] == "receipt"
    assert "stdin: a receipt (" in ran.stderr
    shell.engine = Reader("id-card")
    ran = shell.run("extract", SHAPES, "--json")
    assert json.loads(ran.stdout)["recipe"] == "id-card"
    first, second = shell.engine.requests[:2]
    assert first.messages[0].pictures == second.messages[0].pictures  # seen once
    assert {"invoice", "id-card", "resume"} < set(shell.engine.asked[0])


def test_nothing_but_the_words_is_looked_at_before_it_is_read(shell, folder, reading):
    ran = shell.run("extract", str(folder / "a.pdf"), "--dry-run", "--json")
    assert json.loads(ran.stdout)["recipe"] == "invoice"
    ran = shell.run("extract", str(folder / "a.pdf"), "--dry-run")
    assert "an invoice (" in ran.stderr and "by its words alone" in ran.stderr
    assert (reading.requests, ran.status) == ([], ExitStatus.OK)


def test_what_flags_add_goes_to_the_recipe_of_the_kind(shell, folder, reading):
    ran = shell.run("extract", str(folder / "a.pdf"), "--rule", "total: with tips")
    assert ran.status in (ExitStatus.OK, ExitStatus.RESULT)
    assert "- total: with tips" in reading.requests[-1].messages[0].text
    ran = shell.run("extract", str(folder / "c.txt"), "--check", "total > 0")
    assert ran.status == ExitStatus.INPUT
    assert "error: with the recipe `general`" in ran.stderr and "`total`" in ran.stderr


def test_the_recipe_that_was_found_can_be_kept(shell, folder, reading):
    ran = shell.run("extract", str(folder / "a.pdf"), "--save-recipe", "ours")
    assert "saved as " in ran.stderr
    ran = shell.run("extract", str(folder / "a.pdf"), "--json")
    assert json.loads(ran.stdout)["recipe"] == "ours"  # one's own comes first
    ran = shell.run("extract", str(folder), "--save-recipe", "all")
    assert ran.status == ExitStatus.USAGE
    assert "-r invoice --save-recipe all" in ran.stderr


def test_ones_own_recipes_are_kinds_and_a_damaged_one_hides_none(shell, folder, reading):
    own = shell.home / ".local" / "share" / "gemma-edge" / "recipes"
    own.mkdir(parents=True)
    (own / "broken.yaml").write_text("schema: a nmu\n")
    said = "recognize: {as: a letter of Tom, words: [train, sunday, dear ann, late]}\nschema: day\n"
    (own / "toms.yaml").write_text(said)
    shell.engine = Reader()
    ran = shell.run("extract", str(folder / "c.txt"), "--json")
    assert json.loads(ran.stdout)["recipe"] == "toms"
    assert "c.txt: a letter of Tom (" in ran.stderr and "-r toms names it" in ran.stderr
    assert "the recipe broken cannot be read: broken.yaml, line 1" in ran.stderr


def test_the_review_says_the_kind(shell, folder, reading, tmp_path):
    page = tmp_path / "review.html"
    shell.run("extract", str(folder / "a.pdf"), "--html", str(page))
    assert "an invoice (" in page.read_text("utf-8")


# ----------------------------------------------------------------------------
# Many documents.


def test_a_folder_of_mixed_documents(shell, folder, reading):
    ran = shell.run("extract", str(folder))
    rows = lines(ran.stdout)
    assert recipes_of(rows) == KINDS
    assert all(0 < each["recognized"]["probability"] < 1 for each in rows)
    assert "5 documents extracted (3 invoice, 1 receipt, 1 general)" in ran.stderr
    assert ran.stderr.count("names it") == 0  # the rows say it


def test_what_was_read_with_a_recipe_is_not_read_again(shell, folder, reading, tmp_path):
    out = tmp_path / "all.jsonl"
    shell.run("extract", str(folder / "a.pdf"), "-r", "invoice", "--out", str(out))
    ran = shell.run("extract", str(folder), "--out", str(out))
    assert "4 documents extracted" in ran.stderr and "1 done before" in ran.stderr
    asked = len(reading.asked)
    ran = shell.run("extract", str(folder), "--out", str(out))
    assert "0 documents extracted, 5 done before" in ran.stderr
    assert len(reading.asked) == asked > 0
    ran = shell.run("extract", str(folder), "-r", "invoice", "--out", str(out))
    assert "2 documents extracted, 3 done before" in ran.stderr  # those of another kind
    rows = lines(out.read_text("utf-8"))
    assert [Path(each["file"]).name for each in rows if each["recipe"] == "invoice"] == [
        "a.pdf", "d.eml", "e.xlsx", "b.txt", "c.txt",
    ]  # fmt: skip


def test_tables_have_the_recipe_and_the_data_as_json(shell, folder, reading, tmp_path):
    for name in ("all.csv", "all.md"):
        ran = shell.run("extract", str(folder), "--out", str(tmp_path / name))
        assert "-r NAME gives a field a column" in ran.stderr
        again = shell.run("extract", str(folder), "--out", str(tmp_path / name))
        assert "5 done before" in again.stderr
    rows = list(csv.DictReader(io.StringIO((tmp_path / "all.csv").read_text("utf-8"))))
    assert recipes_of(rows) == KINDS
    assert "vendor" in json.loads(rows[0]["data"])


def test_a_database_has_the_recipe_and_how_it_was_found(shell, folder, reading, tmp_path):
    out = tmp_path / "all.db"
    for done in ("5 documents extracted (3 invoice", "5 done before"):
        assert done in shell.run("extract", str(folder), "--out", str(out)).stderr
    with closing(sqlite3.connect(out)) as database:
        rows = database.execute("SELECT file, recipe, recognized FROM records").fetchall()
    assert {Path(file).name: recipe for file, recipe, _ in rows} == KINDS
    assert all(json.loads(found)["probability"] > 0 for *_, found in rows)
    ran = shell.run("diff", str(out), str(out), model=False)
    assert ran.stderr == "5 documents: 5 the same\n"


def test_a_score_of_mixed_documents(shell, folder, reading):
    (folder / "a.gold.json").write_text('{"invoice_number": "4711"}')
    (folder / "b.gold.json").write_text('{"merchant": "CORNER SHOP"}')
    ran = shell.run("eval", str(folder), "--json")
    report = json.loads(ran.stdout)
    assert report["documents"] == 2 and {"invoice_number", "merchant"} <= set(report["fields"])
    (folder / "schema.json").write_text('{"properties": {"merchant": {"type": "string"}}}')
    asked = len(reading.asked)
    shell.run("eval", str(folder), "--json")
    assert len(reading.asked) == asked  # the folder says what is asked


def test_another_form_of_the_same_flags_is_another_answer(shell, folder, reading, tmp_path):
    out = tmp_path / "all.jsonl"
    shell.run("extract", str(folder / "b.txt"), "--out", str(out))
    ran = shell.run("extract", str(folder / "b.txt"), "--out", str(out), "--rule", "in full")
    assert "1 document extracted (1 receipt)" in ran.stderr


def test_what_was_read_in_another_way_is_read_again(shell, reading, tmp_path):
    (tmp_path / "a.csv").write_bytes("Kwota;Łódź\n12,50;8,00\n".encode("cp1250"))
    for more in ((), ("--encoding", "cp1252"), ("--hidden",)):
        asked = (str(tmp_path / "a.csv"), "-r", "invoice", "--out", str(tmp_path / "out.jsonl"))
        assert "1 document extracted" in shell.run("extract", *asked, *more).stderr, more
        assert "1 done before" in shell.run("extract", *asked, *more).stderr
