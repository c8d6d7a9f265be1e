"""How a document is read: whole, or in windows of pages; counted exactly before anything is
evaluated."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from gemma_edge.documents import Document
from gemma_edge.engine.protocol import Message, PromptCount, Request
from gemma_edge.errors import DoesNotFit
from gemma_edge.extract.job.looks import Look, look_at, make_sheet, without_pixels
from gemma_edge.extract.job.options import Options
from gemma_edge.extract.job.prompting import Question, Sheet, make_message, render_document
from gemma_edge.extract.job.windows import fit_sheets, group
from gemma_edge.extract.recipes.recipe import Recipe
from gemma_edge.extract.schemas.parts import Part, fields_of, lists_of, make_part, select_fields
from gemma_edge.units import render_tokens

Count = Callable[[Request], PromptCount]

# Tokens of pages that one answer lists well. One-shot lists of Gemma 4 26B lose half of their rows
# beyond 10 pages (extract.md 1.3), and a page takes 710 tokens (4.4).
ROWS_TOKENS = 7_000
# Beyond it a list is read by windows although the document fits.
LONG_TOKENS = 2 * ROWS_TOKENS
LEAST_ANSWER = 1024  # tokens that are kept for an answer where nobody says
_ANSWER_SHARE = 4  # a document's answer takes up to a quarter of its tokens
MOST_PIXEL_BYTES = 256 << 20  # of pictures that wait for their turn: 33 pages of 1,120 tokens
_SHARES = (1.0, 0.9, 0.7)  # of a window's room, tried in turn
_LEAST_WINDOW = 256  # tokens of pages; with less the windows would be cut into lines


@dataclass(frozen=True, slots=True)
class Pass:
    """One request: which pages, what is asked of them, and the exact size of the prompt. Pictures
    of ``sheets`` may have no pixels yet."""

    sheets: tuple[Sheet, ...] = field(repr=False)
    part: Part
    prompt_tokens: int
    picture_tokens: int = 0

    @property
    def pages(self) -> tuple[int, ...]:
        """The numbers of its pages, each once."""
        return tuple(dict.fromkeys(sheet.number for sheet in self.sheets))


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """The plan. ``whole_tokens`` is the context that the whole document and an answer would take,
    ``page_tokens`` the size of each page; ``reason`` says why it is read whole or in windows."""

    looks: tuple[Look, ...]
    each: tuple[Pass, ...]
    strategy: Literal["whole", "windows"]
    reason: str
    whole_tokens: int
    page_tokens: tuple[int, ...]
    context_tokens: int


def plan_passes(
    document: Document, recipe: Recipe, options: Options, count: Count, context_tokens: int
) -> Passes:
    """Whole, where it fits the context and has no long list; else in windows.

    Raises:
        InputError: no page can be read in the way that ``options`` ask for.
        ProjectorError: a picture, and the model sees none.
        DoesNotFit: not even a window of it fits.
    """
    return _Planner(document, recipe, options, count, context_tokens).plan()


def answer_room(document_tokens: int) -> int:
    """Tokens that are kept for the answer about so many, where nobody says."""
    return max(LEAST_ANSWER, document_tokens // _ANSWER_SHARE)


def question_of(recipe: Recipe, part: Part) -> Question:
    """What is asked about the pages, the first time."""
    return Question(part.form, recipe.render_instructions())


class _Planner:
    """One plan in the making."""

    def __init__(
        self,
        document: Document,
        recipe: Recipe,
        options: Options,
        count: Count,
        context_tokens: int,
    ) -> None:
        self._recipe, self._options, self._count = recipe, options, count
        self._source = recipe.asked.source
        self._context = context_tokens
        self._several = len(document.pages) > 1
        self._looks = look_at(document, options.vision)
        self._sheets = list(self._make_sheets(document))

    def _make_sheets(self, document: Document) -> Iterator[Sheet]:
        """All that is read; beyond a limit pictures lose their pixels, and are drawn again when
        their turn comes."""
        kept = 0
        for look in self._looks:
            if look.how == "nothing":
                continue
            options = self._options
            sheet = make_sheet(document, look, max_tokens=options.image_tokens, tiles=options.tiles)
            kept += sum(len(picture.rgb) for picture in sheet.pictures)
            yield sheet if kept <= MOST_PIXEL_BYTES else without_pixels(sheet)

    def plan(self) -> Passes:
        """The choice, with its reason."""
        all_of_it = make_part(self._source, strict=self._options.strict)
        whole = self._pass(self._sheets, all_of_it)
        frame = self._pass([], all_of_it).prompt_tokens
        room = self._answer_room(whole.prompt_tokens - frame)
        needed = whole.prompt_tokens + room
        pages = [self._size(sheet) for sheet in self._sheets]
        each, reason = self._choose(whole, frame, room)
        return Passes(
            looks=self._looks, each=tuple(each), reason=reason, whole_tokens=needed,
            strategy="whole" if len(each) == 1 else "windows", page_tokens=tuple(pages),
            context_tokens=max(one.prompt_tokens for one in each) + room,
        )  # fmt: skip

    def _choose(self, whole: Pass, frame: int, room: int) -> tuple[list[Pass], str]:
        asked = self._options.strategy
        needed = whole.prompt_tokens + room
        fits = needed <= self._context
        document_tokens = whole.prompt_tokens - frame
        if asked == "whole":
            return [whole], "as asked"
        lists = lists_of(self._source) if document_tokens > LONG_TOKENS else ()
        if fits and asked == "auto" and not lists:
            return [whole], f"it fits the context of {render_tokens(self._context)}"
        room = self._answer_room(min(document_tokens, ROWS_TOKENS))  # of one window
        space = min(self._context - frame - room, ROWS_TOKENS)
        if space < _LEAST_WINDOW:
            if asked == "auto":
                return [whole], "the context has no room for windows"
            raise DoesNotFit(
                f"a window of pages needs {frame + room + _LEAST_WINDOW:,} tokens, the context "
                f"holds {self._context:,}",
                hint=f"--ctx {frame + room + 4 * _LEAST_WINDOW}",
            )
        if fits and asked == "auto":
            return self._rows(lists, space), "its lists are long: their rows are read by windows"
        reason = "as asked"
        if asked == "auto":
            reason = f"whole it takes {needed:,} tokens, the context holds {self._context:,}"
        part = make_part(self._source, strict=self._options.strict)
        return self._windows(part, space), reason

    def _rows(self, lists: Sequence[str], space: int) -> list[Pass]:
        """Single values from the whole document, then the rows of lists by windows."""
        strict = self._options.strict
        names = [name for name in fields_of(self._source) if name not in lists]
        first = []
        if names:
            part = select_fields(self._source, names, strict=strict)
            first = [self._pass(self._sheets, part)]
        return first + self._windows(select_fields(self._source, lists, strict=strict), space)

    def _windows(self, part: Part, space: int) -> list[Pass]:
        """Groups of pages within ``space`` tokens. What joins them is not counted with a page, so
        a group that comes out too large is made anew."""
        limit = self._pass([], part).prompt_tokens + space
        found: list[Pass] = []
        for share in _SHARES:
            sheets, sizes = fit_sheets(self._sheets, self._size, int(share * space))
            found = [self._pass(some, part) for some in group(sheets, sizes, int(share * space))]
            if all(one.prompt_tokens <= limit for one in found):
                break
        return found

    def _answer_room(self, document_tokens: int) -> int:
        """Tokens that are kept for an answer."""
        wanted = self._options.max_tokens or answer_room(document_tokens)
        return min(wanted, max(self._context // 3, 1))

    def _size(self, sheet: Sheet) -> int:
        """Tokens that a page adds to a prompt, those of its heading included."""
        sheet = without_pixels(sheet)
        message = Message("user", render_document([sheet], several=self._several), sheet.pictures)
        count = self._count(Request(messages=(message,)))
        return count.total_tokens - count.template_tokens

    def _pass(self, sheets: Sequence[Sheet], part: Part) -> Pass:
        question = question_of(self._recipe, part)
        message = make_message(list(map(without_pixels, sheets)), question, several=self._several)
        count = self._count(Request(messages=(message,)))
        return Pass(tuple(sheets), part, count.total_tokens, count.picture_tokens)
