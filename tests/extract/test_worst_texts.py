"""Texts of which the time grew with the square of the length, or faster. Each takes some tenths of
a second now, and took minutes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gemma_edge.cli.inputs import NamedFile, name_files
from gemma_edge.cli.markdown import last_fence, split_blocks
from gemma_edge.documents.document import kind_of
from gemma_edge.documents.html import html_to_text
from gemma_edge.engine.constraint import shortest_match
from gemma_edge.engine.grounding import columns
from gemma_edge.errors import SchemaError
from gemma_edge.extraction.addresses import find_addresses
from gemma_edge.extraction.job import parse_answer
from gemma_edge.extraction.json_schema import Checker, find_flaw
from gemma_edge.extraction.merge import JsonText
from gemma_edge.extraction.pages import PageInput, group_inputs
from gemma_edge.extraction.rows import find_tables
from gemma_edge.extraction.schema import parse_oneline
from gemma_edge.extraction.values import KINDS, Habits
from tests.pumping import stopped_after

LIMIT = 8.0  # seconds of the processor


def read(kind: str) -> Callable[[str], object]:
    return lambda text: KINDS[kind](text, Habits())


def group_pages(text: str) -> list[tuple[PageInput, ...]]:
    pages = [PageInput(number, page) for number, page in enumerate(text.split("\f"), 1)]
    return group_inputs(pages, [100] * len(pages), 150)


_CELLS = "a       " * 20_000
STAGGERED = f"{_CELLS}\n    {_CELLS}"  # no cell stands below another one

WORST: list[tuple[Callable[[str], object], str]] = [
    (lambda text: kind_of(text.encode(), "a.txt"), "<!---->" * 40 + "x"),
    (lambda text: [*columns(text)], STAGGERED),
    (find_addresses, STAGGERED),
    (find_addresses, "1 시" + "가" * 60_000),
    (find_addresses, "(" + "0" * 100_000),
    (find_addresses, "." * 3000 + "x"),
    (find_addresses, "12345 1 " * 20_000),
    (read("date"), "1" + " " * 3000 + "2" + " " * 3000 + "x"),
    (read("money"), "(" + "0" * 80_000),
    (read("money"), ".-" * 30_000 + "1"),
    (read("phone"), " " * 60_000 + "x"),
    (lambda text: find_tables([text]), "a 1|" * 20_000 + "\n" + "a 1|" * 20_000),
    (lambda text: find_tables([text]), "1  2\n\n\n\n\n\n\n" * 8000),
    (lambda text: find_tables([text]), "a | b\n\n1 | 2\n3 | 4\n\n" * 6000),
    (lambda text: find_tables([text]), "a | b" + " " * 80_000 + "c"),
    (parse_oneline, "a: x" + '"' * 1_000_000),
    (lambda text: JsonText(text), "[" * 120_000 + "]" * 120_000),
    (lambda text: JsonText(text), "[" * 30_000 + "1," * 30_000),
    (parse_answer, "{" + ", ".join(f'"a{at // 2}": 1' for at in range(40_000)) + "}"),
    (group_pages, "\f".join(f"a  {number}\nb  1\nc  2" for number in range(3000))),
    (last_fence, "`" * 200_000),
    (html_to_text, "<div>" * 9000 + "<table></table>" * 5000),
    (shortest_match, "(?<" * 80_000),
    (shortest_match, "(" * 6 + "a" + "{200})" * 6),
]


@pytest.mark.parametrize("number", range(len(WORST)))
def test_the_time_grows_with_the_text(number: int) -> None:
    run, text = WORST[number]
    with stopped_after(LIMIT):
        try:
            run(text)
        except SchemaError as error:
            assert error.message


def test_an_address_has_no_more_lines_than_addresses_have() -> None:
    found = find_addresses("Main Street 5, 12345 Berlin,\n" * 900)
    assert found
    assert max(map(len, found)) < 1000


def test_names_of_files_are_put_in_at_once() -> None:
    found = tuple(NamedFile(Path("a.txt"), at * 10, at * 10 + 9) for at in range(40_000))
    with stopped_after(LIMIT):
        assert name_files("./x/a.txt " * 40_000, found).startswith("a.txt a.txt ")


def test_blocks_are_split_in_time() -> None:
    with stopped_after(LIMIT):
        assert split_blocks("> " * 2000 + "a\n\n" + "- a\n" * 5000)


# The patterns of a schema.

STEPPING_BACK = r"^(?:(?=x)|a|aa)*$"


def test_a_pattern_that_steps_back_is_stopped_and_says_so() -> None:
    schema = {"items": {"type": "string", "pattern": STEPPING_BACK}}
    with stopped_after(LIMIT):
        verdict = Checker(schema).check(["a" * 40 + "!"] * 100, strict=True)
    assert "look-around" in verdict.problems[0]
    assert not Checker(schema).check(["aaa"], strict=True).problems


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("a" * 20_000, "20,000 characters"),
        ("(" * 3000, ""),
        ("a{99999999999}", ""),
        ("(?:a{1000}){1000}", ""),
    ],
)
def test_patterns_that_are_too_large_are_told(pattern: str, told: str) -> None:
    flaw = find_flaw({"pattern": pattern})
    assert "the pattern" in flaw
    assert told in flaw
    assert len(flaw) < 400


def test_python_s_own_engine_judges_no_text_by_a_pattern_of_a_schema() -> None:
    """Its time doubles with each letter here."""
    for pattern in (r"^(a+)+$", r"^(a|a)*$", r"(?:a|b|ab)*c", r"^(?:.*,){20}x"):
        with stopped_after(LIMIT):
            assert Checker({"pattern": pattern}).check("ab,a" * 30_000, strict=True).problems
