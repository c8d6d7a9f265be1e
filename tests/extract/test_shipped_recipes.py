"""The recipes that ship, each on a short document of its kind: the answer as the model writes it
stands in the text, passes every check, and fails the right one when a value is misread."""

import copy
import json
from pathlib import Path

import pytest

from gemma_edge.documents.open import read_document
from gemma_edge.engine.protocol import Finished, Message, Request
from gemma_edge.extraction.job import extract, judge
from gemma_edge.extraction.recipe import Example
from gemma_edge.extraction.recipe_file import lint, load_recipe, read_yaml, shipped
from gemma_edge.extraction.schema import parse_schema
from tests.scripted import ScriptedEngine

FOLDER = Path(__file__).with_name("recipe_documents")
NAMES = sorted(shipped())


def case(name):
    path = FOLDER / f"{name}.yaml"
    return read_yaml(path.read_text(encoding="utf-8"), path.name).plain()


def test_each_kind_of_document_of_the_issue_has_its_recipe():
    assert NAMES == [
        "10-q", "bank-statement", "contract", "general", "id-card", "invoice", "medical-letter",
        "paper", "receipt", "resume",
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_wrong_with_it_nor_with_its_example(name):
    recipe, given = load_recipe(name), case(name)
    assert lint(recipe) == []
    example = Example(given["text"], given["expect"])
    ignored = given.get("not_in_text", ())
    found = [
        each.text
        for each in lint(recipe.with_(examples=[example]))
        if not any(path.split(".")[-1] in each.text for path in ignored)
    ]
    assert found == []


@pytest.mark.parametrize("name", NAMES)
def test_what_is_printed_becomes_what_it_means(name):
    given, recipe = case(name), load_recipe(name)
    outcome = recipe.finish(given["expect"], given["text"])
    assert outcome.failures == ()
    assert recipe.schema.checker.check(outcome.output).problems == ()
    assert {key: outcome.output[key] for key in given["means"]} == given["means"]
    assert set(outcome.output) == set(given["expect"]) | {each.name for each in recipe.compute}


@pytest.mark.parametrize("name", NAMES)
def test_a_misread_value_fails_the_check_that_it_belongs_to(name):
    given, recipe = case(name), load_recipe(name)
    assert given["wrong"]
    for each in given["wrong"]:
        data = copy.deepcopy(given["expect"])
        *path, last = each["put"]
        inside = data
        for key in path:
            inside = inside[key]
        inside[last] = each["as"]
        failures = recipe.finish(data, given["text"]).failures
        said = [failure for failure in failures if each["says"] in failure.text]
        assert said, (each["says"], failures)
        assert said[0].severity == each.get("severity", "error")
        assert each["put"][0] in [field.split(".")[0] for field in said[0].fields]


def lines(*amounts):
    return {"items": [{"amount": each} for each in amounts]}


def bookings(opening, closing, *rows):
    names = ("money_out", "money_in", "balance")
    return {"opening_balance": opening, "closing_balance": closing,
            "transactions": [dict(zip(names, row, strict=True)) for row in rows]}  # fmt: skip


# Right answers from documents that are written in another way than the examples.
UNUSUAL = {
    "shipping in the net sum": ("invoice", lines("100.00") | {
        "subtotal": "105.00", "shipping": "5.00", "tax": "21.00", "total": "126.00"}),
    "gross lines and shipping, net printed": ("invoice", lines("20.00") | {
        "subtotal": "21.00", "shipping": "4.99", "tax": "3.99", "total": "24.99"}),
    "gross lines less a discount": ("invoice", lines("119.00") | {
        "subtotal": "84.03", "discount": "-19.00", "tax": "15.97", "total": "100.00"}),
    "no lines": ("invoice", lines() | {"subtotal": "100.00", "tax": "19.00", "total": "119.00"}),
    "withheld tax": ("invoice", lines("1,000.00") | {
        "subtotal": "1,000.00", "total": "1,060.00", "taxes": [{"tax": "210.00"},
                                                               {"tax": "-150.00"}]}),
    "a credit note": ("invoice", lines("-10.00") | {
        "subtotal": "-10.00", "tax": "-1.90", "total": "-11.90"}),
    "a discount before tax": ("invoice", lines("100.00") | {
        "subtotal": "100.00", "discount": "10.00", "tax": "17.10", "total": "107.10"}),
    "tax without a table": ("receipt", lines("10.00") | {
        "subtotal": "10.00", "taxes": [], "tax": "0.80", "total": "10.80"}),
    "a card slip": ("receipt", lines() | {"subtotal": "20.00", "tip": "5.00", "total": "25.00"}),
    "rebates in the lines and summed up": ("receipt", lines("10.00", "-2.00") | {
        "discount": "2.00", "total": "8.00"}),
    "a tip on gross prices": ("receipt", lines("50.00") | {
        "subtotal": "42.02", "tax": "7.98", "tip": "5.00", "total": "55.00"}),
    "a tip below the total": ("receipt", lines("20.00") | {
        "subtotal": "20.00", "tax": "1.60", "tip": "4.00", "total": "21.60"}),
    "cash is rounded": ("receipt", lines("10.04") | {"subtotal": "10.04", "total": "10.00"}),
    "a credit card": ("bank-statement", bookings(
        "500.00", "600.00", ("600.00", None, None), (None, "500.00", None))),
    "zeros in the other column": ("bank-statement", bookings(
        "500.00", "450.00", ("50.00", "0.00", "450.00"))),
    "newest first": ("bank-statement", bookings(
        "500.00", "480.00", ("50.00", None, "480.00"), (None, "30.00", "530.00"))),
    "balances at the end of the day": ("bank-statement", bookings(
        "500.00", "480.00", ("50.00", None, None), (None, "30.00", "480.00"))),
    "overdrawn": ("bank-statement", bookings("-500.00", "-550.00", ("50.00", None, "550.00-"))),
    "no bookings": ("bank-statement", bookings("500.00", "500.00")),
    "a French card before 2021": ("id-card", {
        "document_number": "880692310285", "birth_date": "06.12.1965", "mrz": [
            "IDFRABERTHIER<<<<<<<<<<<<<<<<<<<<<<<", "8806923102858CORINNE<<<<<<<6512068F6"]}),
    "a driving licence": ("id-card", {
        "document_number": "5094962111", "mrz": ["D1NLD15094962111659VV9TA2<<<<8"]}),
    "a number of the person, as in Spain": ("id-card", {
        "document_number": "99999999R", "birth_date": "01 01 1980", "mrz": [
            "IDESPBAA000589599999999R<<<<<<", "8001014F2501017ESP<<<<<<<<<<<7",
            "ESPANOLA<ESPANOLA<<CARMEN<<<<<"]}),
    "rounded millions": ("10-q", {"cash_flows": [{
        "operating": "100", "investing": "(50)", "financing": "(20)", "currency_effect": "1",
        "net_change": "33"}]}),
}  # fmt: skip


@pytest.mark.parametrize("what", UNUSUAL)
def test_a_right_answer_from_an_unusual_document_fails_nothing(what):
    name, data = UNUSUAL[what]
    recipe = load_recipe(name)
    assert recipe.finish(nothing(recipe.asked.source) | data).failures == ()


def nothing(schema):
    if schema["type"] == "object":
        return {key: nothing(sub) for key, sub in schema["properties"].items()}
    return [] if schema["type"] == "array" else None


@pytest.mark.parametrize("name", NAMES)
def test_every_leaf_may_be_missing(name):
    """All null, or empty lists, is an answer, and no check on values fails."""
    recipe = load_recipe(name)
    outcome = recipe.finish(nothing(recipe.asked.source))
    errors = [each.text for each in outcome.failures if each.severity == "error"]
    assert all("len(" in each for each in errors), errors
    assert recipe.schema.checker.check(outcome.output).problems == ()
    json.dumps(outcome.output)


def test_a_misread_total_is_asked_for_again_with_its_equation():
    given = case("invoice")
    document = read_document(given["text"].encode(), "bill.txt")
    wrong = given["expect"] | {"total": "1.747,71"}
    names = ("subtotal", "discount", "shipping", "taxes", "tax", "total")
    engine = ScriptedEngine(
        [json.dumps(wrong), json.dumps({name: given["expect"][name] for name in names})]
    )
    found = extract(engine, document, load_recipe("invoice"))
    assert (found.problems, found.checks) == ((), ())
    assert {key: found.data[key] for key in given["means"]} == given["means"]
    asked, again = (request.messages[-1].text for request in engine.requests)
    assert "- total is not" in asked
    assert "subtotal 1239.25 + tax_sum 235.46 = 1474.71, total is 1747.71" in again


def test_a_picture_or_an_answer_without_a_recipe_is_converted_too():
    schema = parse_schema("date: date, total money")
    said = json.dumps({"date": "1 May 2024", "total": "5,00 EUR"})
    (event,) = [each for each in ScriptedEngine([said]).generate(Request(messages=(
        Message("user", "what is it?"),))) if isinstance(each, Finished)]  # fmt: skip
    found = judge(said, event, schema)
    assert found.problems == ()
    assert found.data == {"date": "2024-05-01", "total": {"amount": 5, "currency": "EUR"}}
