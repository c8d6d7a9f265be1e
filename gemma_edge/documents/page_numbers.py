"""Which pages of a document or frames of an image a person means: ``1-3,7,-1``. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gemma_edge.errors import UsageError

_SPAN = re.compile(r"(-?\d{1,6})(?:(-)(-?\d{1,6})?)?")
_MAX_SPANS = 6  # ranges that a line spells out


@dataclass(frozen=True, slots=True)
class PageNumbers:
    """Spans of numbers from 1; negative ones count from the end, -1 is the last. A span whose
    second number is ``None`` reaches to the end of the document."""

    spans: tuple[tuple[int, int | None], ...]
    text: str

    def choose(self, count: int, name: str, unit: str = "page") -> tuple[int, ...]:
        """The numbers among ``count`` pages, ascending, each once.

        Raises:
            UsageError: a number that there is not, or a span that runs backwards.
        """
        chosen: set[int] = set()
        for span in self.spans:
            first, last = (_from_start(number, count) for number in span)
            for number, asked in zip((first, last), span, strict=True):
                if not 1 <= number <= count:
                    raise self._refused(f"there is no {unit} {asked:,}", count, name, unit)
            if last < first:
                raise self._refused(
                    f"{unit} {last:,} is before {unit} {first:,}", count, name, unit
                )
            chosen.update(range(first, last + 1))
        return tuple(sorted(chosen))

    def _refused(self, why: str, count: int, name: str, unit: str) -> UsageError:
        there = f"{count:,} {unit}{'' if count == 1 else 's'}"
        hint = f"--pages 1-{count}" if count > 1 else f"leave out --pages {self.text}"
        return UsageError(f"{name} has {there}, {why}", hint=hint)


def parse_page_numbers(text: str) -> PageNumbers:
    """``3``, ``1-3``, ``5-`` (to the end), ``-1`` (the last), ``-3-`` (the last three), ``2--2``
    (all but the first and the last), and several of them with commas between.

    Raises:
        ValueError: the text is none of these.
    """
    spans = []
    for part in text.split(","):
        found = _SPAN.fullmatch(part.strip())
        if found is None:
            raise ValueError(text)
        first = int(found[1])
        last = first if not found[2] else int(found[3]) if found[3] else None
        same_end = last is not None and (first > 0) == (last > 0)
        if first == 0 or last == 0 or (same_end and last is not None and last < first):
            raise ValueError(text)
        spans.append((first, last))
    return PageNumbers(tuple(spans), text)


def render_numbers(numbers: Sequence[int]) -> str:
    """``page 3``, ``pages 3, 5 and 7 to 9``."""
    spans: list[tuple[int, int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    parts = [str(first) if first == last else f"{first} to {last}" for first, last in spans]
    word = "page" if len(numbers) == 1 else "pages"
    if len(parts) == 1:
        return f"{word} {parts[0]}"
    if len(parts) > _MAX_SPANS:
        parts = [*parts[: _MAX_SPANS - 1], f"{len(parts) - _MAX_SPANS + 1} more ranges"]
    return f"{word} {', '.join(parts[:-1])} and {parts[-1]}"


def _from_start(number: int | None, count: int) -> int:
    if number is None:
        return count
    return number if number > 0 else count + 1 + number
