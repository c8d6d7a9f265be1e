"""Several requests to one answer: windows of pages, lists that were cut, values asked again."""

import json

import pytest

from gemma_edge.documents.document import Document, Page
from gemma_edge.errors import DoesNotFit, InputError
from gemma_edge.extraction.job import extract
from gemma_edge.extraction.pages import LONG_TOKENS, Options, plan_passes
from gemma_edge.extraction.recipe import bare_recipe
from gemma_edge.extraction.schema import parse_schema
from tests.extract.closing import Closed, ClosingEngine

RECIPE = bare_recipe(parse_schema("vendor, items[]: {name, qty int}, total num"))
BILL = Document("bill.txt", (Page(1, "Acme\nDesk 1\nLamp 2\nDesk 1\nChair 4\nTotal 9.50"),))


def answer(*items, vendor="Acme", total=9.5):
    rows = [{"name": name, "qty": qty} for name, qty in items]
    return json.dumps({"vendor": vendor, "items": rows, "total": total})


def pages(*texts):
    return Document("long.pdf", tuple(Page(n, text) for n, text in enumerate(texts, 1)))


def texts(engine):
    return [request.messages[0].text for request in engine.requests]


def asked_fields(engine):
    return [list(json.loads(r.constraint.schema)["properties"]) for r in engine.requests]


# A list that was cut.


def test_a_cut_list_goes_on_after_its_last_whole_entry():
    cut = answer(("Desk", 1), ("Lamp", 2), ("De", None), total=None)
    rest = json.dumps({"items": [{"name": "Desk", "qty": 1}, {"name": "Chair", "qty": 4}],
                       "total": 9.5})  # fmt: skip
    engine = ClosingEngine([Closed.after(cut, '"De'), rest])
    result = extract(engine, BILL, RECIPE)
    assert [row["name"] for row in result.data["items"]] == ["Desk", "Lamp", "Desk", "Chair"]
    assert (result.data["vendor"], result.data["total"]) == ("Acme", 9.5)
    assert (result.problems, result.truncated, result.passes) == ((), (), 2)
    assert asked_fields(engine)[1] == ["items", "total"]
    assert '{"items": [{"name": "Lamp", "qty": 2}]}' in texts(engine)[1]
    assert texts(engine)[1].startswith(BILL.text + "\n\n---\nRead the document above.")
    assert not result.finished.closed_early


def test_an_entry_that_is_shown_again_is_no_second_one():
    cut = answer(("Desk", 1), ("Lamp", 2), total=None)
    rest = json.dumps({"items": [{"name": "Lamp", "qty": 2}], "total": 9.5})
    engine = ClosingEngine([Closed.after(cut, '"qty": 2}'), rest])
    assert len(extract(engine, BILL, RECIPE).data["items"]) == 2


def test_an_answer_that_begins_anew_adds_no_row_twice():
    cut = answer(("Desk", 1), ("Lamp", 2), ("Desk", 1), total=None)
    again = json.loads(answer(("Desk", 1), ("Lamp", 2), ("Desk", 1), ("Chair", 4)))
    del again["vendor"]
    engine = ClosingEngine([Closed(cut, cut.rindex("}]") + 1), json.dumps(again)])
    assert len(extract(engine, BILL, RECIPE).data["items"]) == 4


def test_without_progress_it_ends_and_says_so():
    cut = Closed.after(answer(("Desk", 1), ("La", None), total=None), '"La')
    again = Closed('{"items": [], "total": null}', 0)
    engine = ClosingEngine([cut, again, again])
    result = extract(engine, BILL, RECIPE)
    assert result.data == {"vendor": "Acme", "items": [{"name": "Desk", "qty": 1}], "total": None}
    assert result.truncated == ("items", "total")
    assert len(engine.requests) == 2
    (problem,) = result.problems
    assert 'the list "items" is not complete (1 entry); not reached: total' in problem
    assert result.notes == (NO_ROWS,)  # "total: required, and not found" would not be true
    assert result.finished.closed_early


def test_nothing_at_all_is_not_asked_twice():
    engine = ClosingEngine([Closed('{"vendor": null, "items": [], "total": null}', 0)])
    result = extract(engine, BILL, RECIPE)
    assert result.truncated == ("vendor", "items", "total")
    assert result.problems[0].endswith("; not reached: vendor, items, total")


def test_rows_that_the_model_repeated_are_one():
    loop = answer(("Desk", 1), *[("Lamp", 2)] * 9, total=None)
    end = loop.rindex('"Lamp"')
    engine = ClosingEngine([Closed(loop, end, "repetition"), '{"items": [], "total": 9.5}'])
    result = extract(engine, BILL, RECIPE)
    assert [row["name"] for row in result.data["items"]] == ["Desk", "Lamp"]


def test_groups_go_on_inside():
    recipe = bare_recipe(parse_schema("groups[]: {age int, rows[]: {n int}}"))
    cut = (
        '{"groups": [{"age": 90, "rows": [{"n": 1}]}, '
        '{"age": 85, "rows": [{"n": 2}, {"n": null}]}]}'
    )
    rest = '{"groups": [{"age": 85, "rows": [{"n": 3}]}, {"age": 80, "rows": [{"n": 4}]}]}'
    engine = ClosingEngine([Closed.after(cut, '{"n": 2}, {"n"'), rest])
    result = extract(engine, pages("90: 1", "85: 2 3 80: 4"), recipe)
    assert result.data["groups"] == [
        {"age": 90, "rows": [{"n": 1}]}, {"age": 85, "rows": [{"n": 2}, {"n": 3}]},
        {"age": 80, "rows": [{"n": 4}]},
    ]  # fmt: skip
    assert '{"groups": [{"age": 85, "rows": [{"n": 2}]}]}' in texts(engine)[1]


# Windows.

NO_ROWS = "items: no rows were found, entries are only held to words"
FILLER = "words that fill a page of this letter " * 30


def test_what_does_not_fit_is_read_in_windows_and_merged():
    document = pages(*(f"{FILLER}\n{name} {qty}" for name, qty in
                       [("Desk", 1), ("Lamp", 2), ("Desk", 1), ("Chair", 4)]))  # fmt: skip
    engine = ClosingEngine(
        [answer(("Desk", 1), ("Lamp", 2), vendor=None, total=None),
         answer(("Desk", 1), ("Chair", 4), vendor=None, total=None)],
        context_tokens=900,
    )  # fmt: skip
    result = extract(engine, document, RECIPE, Options(max_tokens=200))
    assert [row["name"] for row in result.data["items"]] == ["Desk", "Lamp", "Desk", "Chair"]
    assert "[page 1]" in texts(engine)[0] and "[page 3]" not in texts(engine)[0]
    assert "[page 4]" in texts(engine)[1] and "[page 2]" not in texts(engine)[1]
    assert result.passes == 2


def test_a_long_list_is_read_by_windows_although_it_would_fit():
    document = pages(*["word " * (LONG_TOKENS // 2)] * 3)
    engine = ClosingEngine([], context_tokens=64_000)
    plan = plan_passes(document, RECIPE, Options(), engine.count, 64_000)
    first, *rest = plan.each
    assert (first.part.names, first.pages) == (("vendor", "total"), (1, 2, 3))
    assert {one.part.names for one in rest} == {("items",)}
    assert plan.strategy == "windows" and "long" in plan.reason
    flat = bare_recipe(parse_schema("vendor, total num"))
    assert plan_passes(document, flat, Options(), engine.count, 64_000).strategy == "whole"
    whole = plan_passes(document, RECIPE, Options(strategy="whole"), engine.count, 64_000)
    assert len(whole.each) == 1
    parts = plan_passes(document, RECIPE, Options(strategy="windows"), engine.count, 64_000)
    assert {one.part.names for one in parts.each} == {()}
    assert parts.reason == "as asked"


def test_single_values_come_from_the_window_that_has_them_and_conflicts_are_told():
    document = pages(f"{FILLER}\nAcme\nTotal 9.50", f"{FILLER}\nAcne\nTotal 7")
    engine = ClosingEngine([answer(total=9.5), answer(vendor="Acne", total=8)], context_tokens=500)
    result = extract(engine, document, RECIPE, Options(max_tokens=100))
    assert (result.data["vendor"], result.data["total"]) == ("Acme", 9.5)
    assert result.notes == (
        NO_ROWS,
        "vendor: Acme (page 1), Acne (page 2); Acme was taken",
        "total: 9.5 (page 1), 8 (not found in the document); 9.5 was taken",
    )


def test_every_prompt_fits_and_was_counted():
    document = pages(*(f"{FILLER}\n{number}" for number in range(20)))
    engine = ClosingEngine([], context_tokens=1500)
    plan = plan_passes(document, RECIPE, Options(max_tokens=200), engine.count, 1500)
    assert all(one.prompt_tokens + 200 <= 1500 for one in plan.each)
    seen = [number for one in plan.each for number in one.pages]
    assert list(dict.fromkeys(seen)) == list(range(1, 21))


def test_a_context_without_room_for_windows():
    document = pages(*[FILLER] * 4)
    engine = ClosingEngine([], context_tokens=200)
    with pytest.raises(DoesNotFit, match="a window of pages needs"):
        extract(engine, document, RECIPE, Options(strategy="windows"))
    with pytest.raises(DoesNotFit, match="the prompt needs"):
        extract(engine, document, RECIPE)


def test_a_document_without_anything_to_read():
    with pytest.raises(InputError, match="nothing to read"):
        extract(ClosingEngine([]), Document("a.pdf", (Page(1, "", "empty"),)), RECIPE)


# Asked again.

STRICT = {"type": "object", "properties": {
    "vendor": {"type": "string"}, "total": {"type": "number", "minimum": 6},
    "items": {"type": "array", "items": {"type": "object", "properties": {
        "name": {"type": "string"}, "qty": {"type": "integer", "maximum": 5}}}},
}}  # fmt: skip


def test_only_the_failing_field_is_asked_again():
    recipe = bare_recipe(parse_schema(json.dumps(STRICT)))
    first = '{"vendor": "Acme", "total": 4, "items": []}'
    engine = ClosingEngine([first, '{"total": 9.5}'])
    result = extract(engine, BILL, recipe)
    assert result.data == {"vendor": "Acme", "total": 9.5, "items": []}
    assert result.problems == ()
    assert asked_fields(engine)[1] == ["total"]
    assert "- total: 4 is less than the minimum of 6 (page 1)" in texts(engine)[1]
    assert "asked again for total" in result.notes


def test_a_value_in_a_row_is_asked_with_its_row():
    recipe = bare_recipe(parse_schema(json.dumps(STRICT)))
    first = '{"vendor": "Acme", "total": 9.5, "items": [{"name": "Desk", "qty": 9}]}'
    engine = ClosingEngine([first, '{"items[0].qty": 1}'])
    result = extract(engine, BILL, recipe)
    assert result.data["items"] == [{"name": "Desk", "qty": 1}]
    assert asked_fields(engine)[1] == ["items[0].qty"]
    assert "- items[0].qty belongs to: name: Desk, qty: 9" in texts(engine)[1]


def test_a_failed_check_is_asked_again_with_its_equation():
    recipe = RECIPE.with_(checks=["sum(items.qty) == total"])
    engine = ClosingEngine([answer(("Desk", 1), ("Lamp", 2)), '{"items": [], "total": 3}'])
    engine.answers[1] = json.dumps({"items": json.loads(answer(("Desk", 1), ("Lamp", 2)))["items"],
                                    "total": 3})  # fmt: skip
    result = extract(engine, BILL, recipe)
    assert (result.data["total"], result.problems) == (3, ())
    assert set(asked_fields(engine)[1]) == {"items", "total"}
    assert "sum(items.qty)" in texts(engine)[1] and "9.5" in texts(engine)[1]


def test_a_second_answer_that_is_no_better_is_not_taken():
    recipe = bare_recipe(parse_schema(json.dumps(STRICT)))
    engine = ClosingEngine(['{"vendor": "Acme", "total": 4, "items": []}', '{"total": 3}'])
    result = extract(engine, BILL, recipe)
    assert result.data["total"] == 4
    assert result.problems == ("total: 4 is less than the minimum of 6",)
    assert "asked again for total: no better" in result.notes
    assert len(engine.requests) == 2


def test_evidence_and_confidence_follow_the_answer_that_said_it():
    recipe = bare_recipe(parse_schema(json.dumps(STRICT)))
    engine = ClosingEngine(['{"vendor": "Acme", "total": 4, "items": []}', '{"total": 9.5}'])
    result = extract(engine, BILL, recipe)
    found = {each.path: each for each in result.evidence}
    assert (found["total",].text, found["total",].page) == ("9.50", 1)
    assert found["vendor",].status == "exact"
    assert all(0 < each.confidence < 1 for each in result.evidence)


def test_the_other_prompts_as_the_model_reads_them():
    cut = Closed.after(answer(("Desk", 1), ("La", None), total=None), '"La')
    rest = json.dumps({"items": [{"name": "Lamp", "qty": 2}], "total": 4})
    recipe = RECIPE.with_(checks=["total > 5"], rules=["total: what is to be paid"])
    engine = ClosingEngine([cut, rest, '{"total": 9.5}'])
    extract(engine, BILL, recipe)
    _, more, again = (text.removeprefix(f"{BILL.text}\n\n---\n") for text in texts(engine))
    rules = "\nRules:\n- total: what is to be paid"
    assert more == (
        "Read the document above. An earlier answer got this far:\n"
        '{"items": [{"name": "Desk", "qty": 1}]}\n'
        "Go on after it: do not repeat it, list only what follows. Fill in this form as JSON. "
        "Copy each value as it is printed; where the document has none, write null.\n"
        '{"items": [{"name": string, "qty": integer}], "total": number}' + rules
    )
    assert again == (
        "Read the document above. In an earlier answer this was wrong:\n"
        "- total 4 is not > 5 (page 1)\n"
        "Read these values once more and fill in this form as JSON. Copy each value as it is "
        "printed; where the document has none, write null.\n"
        '{"total": number}' + rules
    )
