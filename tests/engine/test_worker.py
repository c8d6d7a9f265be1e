"""Text in groups: what the engine's process says at once, and what it keeps for a moment."""

from collections.abc import Iterator
from math import inf

import pytest

from gemma_edge.engine.protocol import Chunk, Event, Notice, TokenScore
from gemma_edge.engine.worker import in_groups
from gemma_edge.errors import OutOfMemory


def spoken(*texts: str) -> Iterator[Event | None]:
    """One piece of text in each step."""
    for text in texts:
        yield Chunk(text, "answer", (TokenScore(text, 0.5, 1.0),))
        yield None


def texts(events: Iterator[Event | None]) -> list[str]:
    return [each.text for each in events if isinstance(each, Chunk)]


def test_the_first_piece_is_given_at_once_and_the_others_together() -> None:
    assert texts(in_groups(spoken("a", "b", "c"), inf)) == ["a", "bc"]


def test_what_comes_slowly_is_given_as_it_comes() -> None:
    events = in_groups(spoken("a", "b", "c"), 0.0)
    assert [each.text if isinstance(each, Chunk) else each for each in events] == [
        "a", None, "b", None, "c", None,
    ]  # fmt: skip


def test_pieces_of_one_step_are_one() -> None:
    step = [Chunk("a", "answer"), Chunk("b", "answer"), None]
    assert list(in_groups(iter(step), 0.0)) == [Chunk("ab", "answer"), None]


def test_scores_stay_with_their_text() -> None:
    (_, last) = [each for each in in_groups(spoken("a", "b", "c"), inf) if each is not None]
    assert isinstance(last, Chunk)
    assert [each.text for each in last.scores] == ["b", "c"]


def test_thoughts_and_answers_are_apart() -> None:
    step = [Chunk("a", "thought"), Chunk("b", "answer"), Chunk("c", "answer")]
    assert list(in_groups(iter(step), inf)) == [Chunk("a", "thought"), Chunk("bc", "answer")]


def test_what_is_no_text_waits_for_nothing() -> None:
    told = [*spoken("a", "b"), Notice("n"), *spoken("c")]
    found = [each for each in in_groups(iter(told), inf) if each is not None]
    assert [each.text for each in found if isinstance(each, Chunk | Notice)] == ["a", "b", "n", "c"]


def test_text_before_an_error_is_given() -> None:
    def fails() -> Iterator[Event | None]:
        yield from spoken("a", "b", "c")
        raise OutOfMemory("no memory")

    found: list[str] = []
    with pytest.raises(OutOfMemory):  # noqa: PT012  (what came before it counts)
        for each in in_groups(fails(), inf):
            found += [each.text] if isinstance(each, Chunk) else []
    assert found == ["a", "bc"]
