"""Whatever the budget, what comes out is JSON in the shape of the schema, and marked where it is
not complete."""

import json
from pathlib import Path

import pytest

from gemma_edge.documents.document import Document, Page
from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.errors import DoesNotFit, EngineError, SchemaError
from gemma_edge.extraction.job import extract
from gemma_edge.extraction.pages import Options
from gemma_edge.extraction.recipe import bare_recipe
from gemma_edge.extraction.schema import parse_schema
from tests.engine.conftest import demo_plan
from tests.shared import SCHEMAS

OWN = Path(__file__).parents[1] / "data" / "schemas.json"
BUDGETS = (8, 32, 128)
BILL = Document("bill.txt", (Page(1, "Acme\nDesk 1\nLamp 2\nDesk 1\nTotal 9.50"),))
REFUSALS = (SchemaError, DoesNotFit, EngineError)  # each with its reason


@pytest.fixture(scope="module")
def engine():
    opened = LlamaEngine(demo_plan(context_tokens=8192, batch_tokens=512))
    yield opened
    opened.close()


def read(engine, cases):
    """How many answers came, and how many were refused for a stated reason; a case is a schema and
    a budget."""
    answered = refused = 0
    for schema, budget in cases:
        try:
            recipe = bare_recipe(parse_schema(schema))
            result = extract(engine, BILL, recipe, Options(max_tokens=budget))
        except REFUSALS as error:
            assert error.message and error.hint
            refused += 1
            continue
        json.loads(result.text)
        json.dumps(result.data, allow_nan=False)
        assert bool(result.truncated) == any("not reached" in each or "not complete" in each
                                             for each in result.problems)  # fmt: skip
        assert not result.finished.closed_early or result.truncated
        answered += 1
    return answered, refused


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_small_budget_gives_a_whole_that_is_marked(engine, budget):
    recipe = bare_recipe(parse_schema("vendor, items[]: {name, qty int}, total num"))
    result = extract(engine, BILL, recipe, Options(max_tokens=budget))
    assert list(result.data) == ["vendor", "items", "total"]
    if result.truncated:
        assert not set(result.truncated) - {"vendor", "items", "total"}
        assert result.problems


def test_whole_schemas_at_any_budget(engine):
    cases = [json.dumps(case) for case in json.loads(OWN.read_text(encoding="utf-8"))]
    answered, refused = read(engine, [(each, budget) for each in cases for budget in BUDGETS])
    assert answered >= 0.95 * (answered + refused)


@pytest.mark.slow
@pytest.mark.skipif(not SCHEMAS.is_dir(), reason="the 500 real schemas are not here")
def test_many_real_schemas_at_one_budget_each(engine):
    paths = sorted(SCHEMAS.glob("*.json"))[::6]
    cases = [(str(path), BUDGETS[number % len(BUDGETS)]) for number, path in enumerate(paths)]
    answered, refused = read(engine, cases)
    assert answered >= 0.96 * (answered + refused)
