"""Whole characters, stop texts and channels, token by token."""

import pytest

from gemma_edge.engine.answer import Channels, ChunkWriter
from gemma_edge.engine.protocol import Chunk


def written(pieces: list[bytes], stop: tuple[str, ...] = ()) -> tuple[list[str], bool]:
    writer = ChunkWriter(stop)
    chunks = [chunk.text for piece in pieces for chunk in writer.write(piece, "answer")]
    chunks += [chunk.text for chunk in writer.flush()]
    return chunks, writer.stopped


def test_a_character_over_three_tokens_comes_whole() -> None:
    euro = "€".encode()
    assert written([b"5 ", euro[:1], euro[1:2], euro[2:]]) == (["5 ", "€"], False)


def test_half_a_character_at_the_end_is_shown_as_broken() -> None:
    assert written(["é".encode()[:1]]) == (["\ufffd"], False)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"one END two"], "one "),
        ([b"one E", b"N", b"D two"], "one "),
        ([b"one E", b"very"], "one Every"),
        ([b"one EN"], "one EN"),
    ],
)
def test_stop_text_is_never_shown_and_nothing_else_is_lost(
    pieces: list[bytes], expected: str
) -> None:
    chunks, stopped = written(pieces, stop=("END",))
    assert "".join(chunks) == expected
    assert stopped is (expected == "one ")


def test_channel_names_are_not_text() -> None:
    channels = Channels(open_token=7, close_token=8)
    seen: list[tuple[str, bytes]] = []
    for token, piece in [
        (7, b"<|channel>"),
        (1, b"tho"),
        (2, b"ught\nhm"),
        (3, b" so"),
        (8, b"<channel|>"),
        (4, b"yes"),
    ]:
        text = channels.take(token, piece)
        if text:
            seen.append((channels.current, text))
    assert seen == [("thought", b"hm"), ("thought", b" so"), ("answer", b"yes")]


def test_a_change_of_channel_flushes_what_was_held() -> None:
    writer = ChunkWriter(("END",))
    assert list(writer.write(b"wait E", "answer")) == [Chunk("wait ", "answer")]
    assert list(writer.write(b"hm", "thought")) == [Chunk("E", "answer"), Chunk("hm", "thought")]
