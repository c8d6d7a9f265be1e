"""Recipes, evidence and the files beside the data, through `extract`."""

import json

import pytest

from gemma_edge.errors import ExitStatus

BILL = "Acme\nDesk 2.00\nLamp 3.50\nTotal 5.50\n"
SCHEMA = ("-s", "vendor, items[]: {name, price num}, total num")


def answer(total=5.5, vendor="Acme"):
    items = [{"name": "Desk", "price": 2.0}, {"name": "Lamp", "price": 3.5}]
    return json.dumps({"vendor": vendor, "items": items, "total": total})


@pytest.fixture
def bill(tmp_path):
    path = tmp_path / "bill.txt"
    path.write_text(BILL, encoding="utf-8")
    return path


def test_what_is_computed_and_checked_by_code(shell, bill):
    engine = shell.script([answer()])
    ran = shell.run(
        "extract", str(bill), *SCHEMA, "--compute", "items_sum = sum(items.price)",
        "--check", "items_sum ~= total", "--rule", "total: after tax", "--not", "total: 3.50",
        "--worked", "2 + 3.50 = 5.50",
    )  # fmt: skip
    assert ran.status == 0, ran.stderr
    assert json.loads(ran.stdout)["items_sum"] == 5.5
    assert "1 of 1 checks hold" in ran.stderr.splitlines()[-1]
    text = engine.requests[0].messages[0].text
    form, rules = text.rsplit('"total": number}', 1)
    assert "items_sum" not in form
    assert all(said in rules for said in ("total: after tax", '"3.50"', "2 + 3.50 = 5.50"))


def test_a_check_that_fails_twice_is_a_result_error(shell, bill):
    shell.script([answer(total=7), '{"items": [], "total": 7}'])
    ran = shell.run("extract", str(bill), *SCHEMA, "--check", "sum(items.price) ~= total", "--json")
    assert ran.status == ExitStatus.RESULT
    found = json.loads(ran.stdout)
    assert found["valid"] is False
    assert found["data"]["total"] == 7
    assert found["checks"][0]["severity"] == "error"
    assert any(each.startswith("check failed: ") for each in found["problems"])
    assert "? check failed: " in ran.stderr
    assert found["passes"] == 2


def test_evidence_in_the_result_and_in_the_envelope(shell, bill):
    shell.script([answer(vendor="Nobody")] * 2)
    ran = shell.run("extract", str(bill), *SCHEMA, "--evidence", "inline")
    found = json.loads(ran.stdout)
    assert found["total"] | {"confidence": None} == {
        "value": 5.5, "status": "exact", "score": 1.0, "page": 1, "start": 31, "end": 35,
        "text": "5.50", "boxes": [], "source": "text", "confidence": None,
    }  # fmt: skip
    assert found["vendor"]["status"] == "not_found"
    assert "vendor: Nobody is not printed in the document" in ran.stderr
    assert "5 of 6 values found" in ran.stderr
    found = json.loads(shell.run("extract", str(bill), *SCHEMA, "--json").stdout)
    assert [each["path"] for each in found["evidence"]][:2] == ["vendor", "items[0].name"]


def test_evidence_and_a_review_beside_the_data(shell, bill, tmp_path):
    shell.script([answer()])
    page = tmp_path / "out" / "review.html"
    ran = shell.run("extract", str(bill), *SCHEMA, "--evidence", "sidecar", "--html", str(page))
    assert ran.status == 0, ran.stderr
    assert json.loads(ran.stdout)["total"] == 5.5
    records = json.loads((tmp_path / "bill.txt.evidence.json").read_text(encoding="utf-8"))
    assert {each["status"] for each in records} == {"exact"}
    assert "Acme" in page.read_text(encoding="utf-8")
    assert f"review: {page}" in ran.stderr


def test_a_review_that_cannot_be_written(shell, bill, tmp_path):
    shell.script([answer()])
    (tmp_path / "file").write_text("in the way")
    ran = shell.run("extract", str(bill), *SCHEMA, "--html", str(tmp_path / "file" / "a.html"))
    assert ran.status == ExitStatus.DOES_NOT_FIT
    assert json.loads(ran.stdout)["total"] == 5.5  # the data is there
    assert "cannot be written" in ran.stderr


def test_a_recipe_is_saved_and_used_again(shell, bill):
    engine = shell.script([answer()] * 2)
    save = ("--rule", "total: after tax", "--save-recipe", "ours")
    ran = shell.run("extract", str(bill), *SCHEMA, *save)
    assert ran.status == 0, ran.stderr
    assert "saved as " in ran.stderr
    ran = shell.run("extract", str(bill), "-r", "ours", "--json")
    assert ran.status == 0, ran.stderr
    assert json.loads(ran.stdout)["recipe"] == "ours"
    first, second = (request.messages[0].text for request in engine.requests)
    assert first == second


def test_an_example_is_another_document(shell, bill, tmp_path):
    engine = shell.script([answer()])
    (tmp_path / "other.txt").write_text("Zorvan\nTotal 1.00\n")
    (tmp_path / "other.json").write_text('{"vendor": "Zorvan", "items": [], "total": 1}')
    pair = f"{tmp_path / 'other.txt'}={tmp_path / 'other.json'}"
    ran = shell.run("extract", str(bill), *SCHEMA, "--example", pair)
    assert ran.status == 0, ran.stderr
    assert "Zorvan\nTotal 1.00" in engine.requests[0].messages[0].text


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (("-r", "nothing-of-that-name"), ExitStatus.INPUT, "nothing-of-that-name"),
        ((*SCHEMA, "--check", "total +"), ExitStatus.INPUT, "total +"),
        ((*SCHEMA, "--compute", "total"), ExitStatus.INPUT, "computes nothing"),
        ((*SCHEMA, "--not", "nothing"), ExitStatus.INPUT, "names no field"),
        ((*SCHEMA, "--example", "a.txt"), ExitStatus.USAGE, "is not FILE=JSON"),
        ((*SCHEMA, "--vision", "maybe"), ExitStatus.USAGE, "none of auto, always, never"),
        ((*SCHEMA, "--strategy", "x"), ExitStatus.USAGE, "none of auto, whole, windows"),
        ((*SCHEMA, "--tiles", "3"), ExitStatus.USAGE, "neither 2 (halves) nor 4"),
        ((*SCHEMA, "--pages", "x"), ExitStatus.USAGE, "does not name pages"),
        ((*SCHEMA, "--evidence", "x"), ExitStatus.USAGE, "none of inline, sidecar"),
    ],
)
def test_wrong_flags_are_one_line_before_a_model_is_loaded(shell, bill, argv, status, said):
    ran = shell.run("extract", str(bill), *argv)
    assert (ran.status, ran.stdout, shell.plans) == (status, "", [])
    error, hint = ran.stderr.splitlines()
    assert error.startswith("error: ") and said in error
    assert hint.startswith("hint: ")


def test_diff_takes_two_files(shell, tmp_path):
    ran = shell.run("diff", "a.jsonl", model=False)
    assert ran.status == ExitStatus.USAGE and "missing argument `B`" in ran.stderr
    for name, total in (("a.json", 1), ("b.json", 2)):
        (tmp_path / name).write_text(json.dumps({"total": total}))
    ran = shell.run("diff", str(tmp_path / "a.json"), str(tmp_path / "b.json"), model=False)
    assert ran.status == 0, ran.stderr
    assert "total: 1 -> 2" in ran.stdout


def test_eval_scores_against_gold(shell, bill, tmp_path):
    shell.script([answer()])
    (tmp_path / "bill.gold.json").write_text(answer(total=6))
    ran = shell.run("eval", str(tmp_path), *SCHEMA)
    assert ran.status == 0, ran.stderr
    assert "0.833 (precision 0.833, recall 0.833)" in ran.stdout
