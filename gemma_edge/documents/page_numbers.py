"""Which pages of a document or frames of an image a person means: ``1-3,7``. Pure."""

import re
from dataclasses import dataclass

from gemma_edge.errors import UsageError

_SPAN = re.compile(r"(\d{1,6})(?:(-)(\d{1,6})?)?")


@dataclass(frozen=True, slots=True)
class PageNumbers:
    """Spans of numbers from 1; a last number of ``None`` is the end of the document."""

    spans: tuple[tuple[int, int | None], ...]
    text: str

    def choose(self, count: int, name: str, unit: str = "page") -> tuple[int, ...]:
        """The numbers among ``count`` pages, ascending, each once.

        Raises:
            UsageError: a number that there is not.
        """
        chosen: set[int] = set()
        for first, last in self.spans:
            end = count if last is None else last
            if max(first, end) > count:
                there = f"{count:,} {unit}{'' if count == 1 else 's'}"
                raise UsageError(
                    f"{name} has {there}, there is no {unit} {max(first, end):,}",
                    hint=f"--pages 1-{count}" if count > 1 else f"leave out --pages {self.text}",
                )
            chosen.update(range(first, end + 1))
        return tuple(sorted(chosen))


def parse_page_numbers(text: str) -> PageNumbers:
    """``3``, ``1-3``, ``5-`` (to the end), and several of them with commas between.

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
        if first < 1 or (last is not None and last < first):
            raise ValueError(text)
        spans.append((first, last))
    return PageNumbers(tuple(spans), text)
