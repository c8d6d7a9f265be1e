"""The recipes that ship, each on a short document of its kind: the answer as the model writes it
stands in the text, passes every check, and fails the right one when a value is misread."""

import copy
import json
from pathlib import Path

import pytest

from gemma_edge.documents import read_document
from gemma_edge.engine.protocol import Finished, Message, Request
from gemma_edge.engine.scripted import ScriptedEngine
from gemma_edge.extract.answers import judge
from gemma_edge.extract.job import extract
from gemma_edge.extract.recipe import load_recipe
from gemma_edge.extract.recipe_finding import shipped
from gemma_edge.extract.recipe_lint import lint
from gemma_edge.extract.recipe_parts import Example
from gemma_edge.extract.recipe_yaml import read_yaml
from gemma_edge.extract.schema import parse_schema

FOLDER = Path(__file__).with_name("recipe_documents")
NAMES = sorted(shipped())


def case(name):
    path = FOLDER / f"{name}.yaml"
    return read_yaml(path.read_text(encoding="utf-8"), path.name).plain()


def test_each_kind_of_document_of_the_issue_has_its_recipe():
    assert NAMES == [
        "10-q", "bank-statement", "contract", "id-card", "invoice", "medical-letter", "paper",
        "receipt", "resume",
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
        assert said[0].severity == "error"
        assert each["put"][0] in [field.split(".")[0] for field in said[0].fields]


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
