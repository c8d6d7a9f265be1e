"""From token bytes to text: whole characters, channels, stop texts. Pure."""

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gemma_edge.engine.protocol import Channel, Chunk, TokenScore


@dataclass(frozen=True, slots=True)
class Odds:
    """How sure the model was of a token, as ``TokenScore`` says it."""

    probability: float
    legal: float
    forced: bool = False


FORCED = Odds(1.0, 1.0, forced=True)


class Trail:
    """Lays the scores of tokens along the text that is shown: each is given out when all of its
    text is; a token without a whole character of its own waits for the one that has it."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._waiting: list[TokenScore] = []
        self._shown = 0  # characters that have no score yet

    def add(self, piece: bytes, odds: Odds) -> None:
        """The next token of the answer."""
        text = self._decoder.decode(piece)
        self._waiting.append(TokenScore(text, odds.probability, odds.legal, odds.forced))

    def follow(self, characters: int) -> tuple[TokenScore, ...]:
        """So many more characters are shown; the scores of what is whole."""
        self._shown += characters
        count = 0
        while count < len(self._waiting) and len(self._waiting[count].text) <= self._shown:
            if not self._waiting[count].text and count + 1 == len(self._waiting):
                break
            self._shown -= len(self._waiting[count].text)
            count += 1
        scores, self._waiting = self._waiting[:count], self._waiting[count:]
        return tuple(scores)

    def end(self, characters: int) -> tuple[TokenScore, ...]:
        """The last characters; what is not shown of a token is cut off its score."""
        if self._waiting and (rest := self._decoder.decode(b"", final=True)):
            self._waiting[-1] = replace(self._waiting[-1], text=self._waiting[-1].text + rest)
        self._decoder.reset()
        scores = self.follow(characters)
        if self._waiting and self._shown:
            scores += (replace(self._waiting[0], text=self._waiting[0].text[: self._shown]),)
        self._waiting, self._shown = [], 0
        return scores


class ChunkWriter:
    """Turns token bytes into chunks of whole characters, and watches for stop texts.

    A character that is split over tokens is held back until it is complete; so is an end of text
    that may be the beginning of a stop text.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stop = tuple(text for text in stop if text)
        self._held = ""
        self._channel: Channel = "answer"
        self._trail = Trail()
        self.stopped = False

    def write(self, piece: bytes, channel: Channel, odds: Odds | None = None) -> Iterator[Chunk]:
        """Add one token's bytes; yield what can be shown now, with scores where there are odds."""
        if channel != self._channel:
            yield from self.flush()
            self._channel = channel
        text = self._held + self._decoder.decode(piece)
        self._held = ""
        if channel == "answer" and self._stop:
            text = self._watch(text)
        if odds is not None and piece and channel == "answer":
            self._trail.add(piece, odds)
        scores = self._trail.end(len(text)) if self.stopped else self._trail.follow(len(text))
        if text or scores:
            yield Chunk(text, channel, scores)

    def flush(self) -> Iterator[Chunk]:
        """The end of a channel: show what was held back; half a character becomes U+FFFD."""
        text = self._held + self._decoder.decode(b"", final=True)
        self._held = ""
        self._decoder.reset()
        if text and not self.stopped:
            yield Chunk(text, self._channel, self._trail.end(len(text)))

    def _watch(self, text: str) -> str:
        """Cut at the first stop text, or hold back what may become one."""
        found = [at for at in (text.find(stop) for stop in self._stop) if at >= 0]
        if found:
            self.stopped = True
            return text[: min(found)]
        held = max(_overlap(text, stop) for stop in self._stop)
        if held:
            self._held = text[-held:]
            return text[:-held]
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that begins ``stop``."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-length:]):
            return length
    return 0


class Channels:
    """Which channel the model is speaking on, followed by token ids, never by text.

    Gemma 4 writes ``<|channel>NAME\\n...<channel|>answer``. The name and its newline are not shown.
    A model without these tokens has one channel.
    """

    def __init__(self, open_token: int | None, close_token: int | None) -> None:
        self.opens = open_token
        self.closes = close_token
        self._naming = False
        self.current: Channel = "answer"

    def take(self, token: int, piece: bytes) -> bytes:
        """Follow one token; return the bytes of it that are text on ``current``."""
        if token == self.opens:
            self._naming = True
            self.current = "thought"
            return b""
        if token == self.closes:
            self._naming = False
            self.current = "answer"
            return b""
        if self._naming:
            name, newline, rest = piece.partition(b"\n")
            self._naming = not newline
            return rest
        return piece
