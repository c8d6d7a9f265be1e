"""What was read once is not read again: a second question about a document, and the rest of a list,
evaluate only their own words, however long the answer between them was."""

import pytest

from gemma_edge.documents.document import Document, Page
from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.llama import LlamaModel
from gemma_edge.extraction.job import extract
from gemma_edge.extraction.pages import Options
from gemma_edge.extraction.recipe import bare_recipe
from gemma_edge.extraction.schema import parse_schema
from tests.engine.conftest import DEMO, demo_plan

LETTER = Document(
    "letter.txt", (Page(1, "\n".join(f"Item {n} costs {n}.50 euro" for n in range(60))),)
)
BATCH_TOKENS = 128
MANY = ", ".join(f"field_number_{number}" for number in range(36))


@pytest.fixture(scope="module")
def engine():
    opened = LlamaEngine(demo_plan(context_tokens=4096, batch_tokens=BATCH_TOKENS))
    yield opened
    opened.close()


def usage(engine, line):
    recipe = bare_recipe(parse_schema(line))
    return extract(engine, LETTER, recipe, Options(strategy="whole", max_tokens=2000)).usage


def test_a_second_recipe_reads_only_its_own_words(engine):
    first = usage(engine, MANY)  # its answer is longer than the window of the sliding layers
    assert first.generated_tokens > LlamaModel(DEMO).window + BATCH_TOKENS
    assert first.evaluated_tokens == first.prompt_tokens > 1000
    for line in ("total num", "vendor, date"):
        later = usage(engine, line)
        assert later.prompt_tokens == later.cached_tokens + later.evaluated_tokens
        assert later.evaluated_tokens < 120
