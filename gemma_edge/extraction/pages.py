"""How a document is read: whole, or in windows of pages; counted exactly before anything is
evaluated.
"""

import os.path
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, field, replace
from functools import cache, lru_cache
from itertools import takewhile
from typing import Literal

from gemma_edge.documents.document import MAX_TOKENS, Document, Page, Picture
from gemma_edge.engine.protocol import Message, PromptCount, Request
from gemma_edge.errors import DoesNotFit, InputError
from gemma_edge.extraction import Strategy, Vision, read_data
from gemma_edge.extraction.recipe import Recipe
from gemma_edge.extraction.schema import SchemaPart, fields_of, lists_of, make_part, select_fields
from gemma_edge.records import dataclass
from gemma_edge.units import render_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``image_tokens`` is the budget of a picture, ``tiles`` into how many parts a page is cut for
    it (1, 2, 4). ``strict`` lets nothing be null that the schema does not let be. ``max_tokens`` is
    the longest single answer. ``scored`` gives each value a confidence, for half a millisecond a
    token. Values are held to what is printed as ``grounding.rule_of`` says, but for the fields
    named in ``free`` ("all": none is), and those in ``grounded``, which are. ``trust`` is how far
    the model is believed about the kind of a document (0 to 1); None: as one that nobody knows."""

    strategy: Strategy = "auto"
    vision: Vision = "auto"
    image_tokens: int = MAX_TOKENS
    tiles: int = 1
    strict: bool = False
    max_tokens: int | None = None
    scored: bool = True
    free: tuple[str, ...] = ()
    grounded: tuple[str, ...] = ()
    trust: float | None = None


# Pages and a question to one turn: pictures first, then text, the question last, so that a second
# question about the same pages re-reads nothing. The prompts are text files; the
# bundled model is trained with them.

TEMPLATES = ("fields.txt", "fields_form.txt", "more.txt", "again.txt")
_PLACE = re.compile(r"\{(document|form|fields|rules|problems|entry)\}")
# A form that says no more than the names of its fields.
_PLAIN_FORM = re.compile(r'\{"[^"]+": [a-z]+(?:, "[^"]+": [a-z]+)*\}')
_MOST_FIELDS = 12  # that are named in a question


@dataclass(frozen=True, slots=True)
class PageInput:
    """What the model gets of one page, or of a part of it: its text, its pictures, or both.

    ``title`` is that of the page, "" where its number says all of it. ``head`` are the header lines
    of a table that began on an earlier page (windows only).
    ``part`` counts the parts of a page that is too long for a window from 1, 0 for a whole page.
    """

    number: int
    text: str = field(default="", repr=False)
    pictures: tuple[Picture, ...] = ()
    head: str = ""
    part: int = 0
    title: str = ""


@dataclass(frozen=True, slots=True)
class PageQuestion:
    """What is asked: a template of this folder with what stands in its places. ``rules`` are a
    recipe's instructions."""

    form: str
    rules: str = ""
    template: str = "fields_form.txt"
    problems: str = ""
    entry: str = ""
    fields: str = "fields of this form"


def render_document(inputs: Sequence[PageInput], *, several: bool) -> str:
    """The text of the pages; where the document has ``several``, each is headed ``[page N]``, as
    ``Document.text`` does it. What is in a picture is said where it would stand."""
    first = 1
    parts = []
    for page in inputs:
        body = [page.head, page.text]
        if count := len(page.pictures):
            where = f"picture {first}"
            if count > 1:
                where = f"pictures {first} to {first + count - 1}, which overlap"
            body.insert(0, f"(in {where})")
            first += count
        if text := "\n".join(filter(None, body)):
            title = page.title or f"page {page.number}"
            parts.append(f"[{title}]\n{text}" if several else text)
    return "\n\n".join(parts)


def render_prompt(document: str, question: PageQuestion) -> str:
    """The user's turn. All places are filled in one pass, so no text can hold another's place."""
    values = {"document": document, **asdict(question)}
    filled = _PLACE.sub(lambda found: values[found[1]], _template(question.template))
    return filled.strip()


def make_message(inputs: Sequence[PageInput], question: PageQuestion, *, several: bool) -> Message:
    """The user's turn: a question about these pages."""
    document = render_document(inputs, several=several)
    return Message("user", render_prompt(document, question), _pictures(inputs))


def make_beginning(inputs: Sequence[PageInput], *, several: bool) -> Message:
    """What all questions about these pages begin with."""
    document = render_document(inputs, several=several)
    shared = os.path.commonprefix([_template(name) for name in TEMPLATES])
    text = shared.replace("{document}", document).strip()
    return Message("user", text, _pictures(inputs), documents=(len(text),))


def _pictures(inputs: Sequence[PageInput]) -> tuple[Picture, ...]:
    return tuple(picture for page in inputs for picture in page.pictures)


@cache
def _template(name: str) -> str:
    return read_data(f"prompts/{name}")


# Pages in groups that fit the context, and the header of a table that goes on in the next group. A
# group begins with the last page of the one before it, where both have text: a row that a page
# break cuts is whole in one of them, and a row that stands in both is known by its place.

LEAST_PAGES = 3  # of a group that repeats a page: else too much would be read twice
_GAP = re.compile(r"\s{2,}|\t|\s*\|\s*")  # between two cells of a line of ``Page.text``
_NUMBER = re.compile(r"[(+-]?\s*(?:[€$£%]\s*)?\d[\d.,'/ -]*(?:[^\S ]\s*)?[)%€$£-]?")
_TABLE_ROWS = 2  # lines with the same number of cells that make a table
_NARROW = 2  # cells of a row where none may be missing
_UNEVEN = 1  # cells that a row may lack or have more
_NEAR = 6  # lines of a page's own header or footer between a table and the page break


def group_inputs(
    inputs: Sequence[PageInput], sizes: Sequence[int], room: int
) -> list[tuple[PageInput, ...]]:
    """The pages in groups whose ``sizes``, in tokens, sum up to ``room`` at most; one that is
    larger stands alone."""
    groups: list[list[int]] = [[]]
    taken = 0
    for index, size in enumerate(sizes):
        current = groups[-1]
        if current and taken + size > room:
            groups.append(_overlap(inputs, current, sizes, room - size))
            taken = sum(sizes[each] for each in groups[-1])
        groups[-1].append(index)
        taken += size
    found = []
    texts = [each.text for each in inputs]
    for indices in filter(None, groups):
        first, *rest = (inputs[index] for index in indices)
        head = find_head(texts[: indices[0]], first.text)
        found.append((replace(first, head=head), *rest))
    return found


def _overlap(
    inputs: Sequence[PageInput], before: Sequence[int], sizes: Sequence[int], left: int
) -> list[int]:
    last, page = before[-1], inputs[before[-1]]
    small = len(before) >= LEAST_PAGES and sizes[last] * (LEAST_PAGES - 1) <= left
    return [last] if small and page.text and not (page.pictures or page.part) else []


def split_input(page: PageInput, parts: int) -> list[PageInput]:
    """A page cut between lines into parts of about the same length; blank lines are preferred."""
    lines = page.text.split("\n")
    length = max(1, len(page.text) // parts)
    pieces: list[list[str]] = [[]]
    size = 0
    for line in lines:
        if size + len(line) > length and pieces[-1] and len(pieces) < parts:
            pieces.append([])
            size = 0
        pieces[-1].append(line)
        size += len(line) + 1
    texts = ["\n".join(piece) for piece in pieces]
    return [replace(page, text=text, part=number) for number, text in enumerate(texts, 1)]


def fit_inputs(
    inputs: Sequence[PageInput], size: Callable[[PageInput], int], room: int
) -> tuple[list[PageInput], list[int]]:
    """The pages with their sizes in tokens, those that are larger than ``room`` cut into parts; a
    line that is too long by itself stays whole."""
    whole: list[PageInput] = []
    sizes: list[int] = []
    for page in inputs:
        tokens = size(page)
        parts = [page]
        count = 1
        while tokens > room and len(parts) == count and "\n" in page.text and not page.pictures:
            count = -(-tokens // room) if count == 1 else count + 1 + count // 8
            parts = split_input(page, count)
            tokens = max(map(size, parts))
        whole += parts
        sizes += [size(part) for part in parts] if len(parts) > 1 else [tokens]
    return whole, sizes


def find_head(before: Sequence[str], text: str) -> str:
    """The header lines of the table that the pages ``before`` end with and ``text`` goes on with;
    "" where it does not, or has a header itself."""
    lines = _lines(text)
    table = next(_tables(lines), None)
    if table is None or table.start > _NEAR or _is_head(lines[table.start]):
        return ""
    columns = len(_cells(lines[table.start]))
    for earlier in reversed(before):
        width, head, begins = _last_table(earlier)
        if not _alike(width, columns):
            return ""
        if head or begins:
            return head
    return ""


@lru_cache(maxsize=4096)  # of a long table all pages are looked at again for each group
def _last_table(text: str) -> tuple[int, str, bool]:
    """Of the table that a page ends with: the cells of its last row, 0 where there is none, its
    header lines, and whether it begins on the page."""
    lines = _lines(text)
    tables = list(_tables(lines))
    if not tables or len(lines) - tables[-1].stop > _NEAR:
        return 0, "", False
    rows = [lines[at] for at in tables[-1]]
    return len(_cells(rows[-1])), "\n".join(takewhile(_is_head, rows)), tables[-1].start > _NEAR


def _tables(lines: Sequence[str]) -> Iterator[range]:
    start = 0
    for at in range(1, len(lines) + 1):
        counts = tuple(len(_cells(line)) for line in lines[at - 1 : at + 1])
        if len(counts) == 1 or not _alike(*counts):
            if at - start >= _TABLE_ROWS:
                yield range(start, at)
            start = at


def _alike(one: int, other: int) -> bool:
    """Whether lines of so many cells may be rows of one table; of three or more one may lack."""
    few = min(one, other)
    return few > 1 and (one == other or (few > _NARROW and abs(one - other) <= _UNEVEN))


def _is_head(line: str) -> bool:
    return not any(_NUMBER.fullmatch(cell) for cell in _cells(line))


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def _cells(line: str) -> list[str]:
    return [cell for cell in _GAP.split(line.strip()) if cell]


# Which pages go in as text and which as pictures. A picture costs 1,120 tokens and is what is
# left where the text of a page is missing or only guessed.

How = Literal["text", "picture", "both", "nothing"]

_AUTO: dict[str, How] = {
    "text": "text", "scan": "picture", "scan+ocr-layer": "both", "mixed": "both",
    "empty": "nothing", "damaged": "nothing",
}  # fmt: skip
_READ_AS: dict[How, str] = {
    "text": "read as text", "picture": "read as a picture",
    "both": "read as text and as a picture", "nothing": "not read",
}  # fmt: skip
_UNSEEN = 0.05  # share of a page from which images that are not looked at are worth a line
_BY_LAYER: dict[How, str] = {
    "text": "read by its OCR layer, which may be wrong",
    "both": "read as a picture and by its OCR layer; values are as the layer spells them",
}


_LAYERED = "scan+ocr-layer"


@dataclass(frozen=True, slots=True)
class PageMode:
    page: Page
    how: How

    @property
    def shows_more(self) -> bool:
        """Whether the model sees more of it than its text says, so that no value can be held to
        that. Of a scan with an OCR layer the layer counts, although it may be wrong by a letter."""
        return self.how == "picture" or (self.how == "both" and self.page.kind != _LAYERED)


def page_modes(document: Document, vision: Vision) -> tuple[PageMode, ...]:
    """The decision for each page.

    Raises:
        InputError: no page has anything to read in this way.
    """
    modes = []
    for page in document.pages:
        how = _AUTO[page.kind]
        if not document.can_draw(page) or (vision == "never" and how != "nothing"):
            how = "text" if page.text.strip() else "nothing"
        elif vision == "always" and how == "text":
            how = "both"
        modes.append(PageMode(page, how))
    if all(mode.how == "nothing" for mode in modes):
        raise _nothing(document, vision)
    return tuple(modes)


def needs_pictures(modes: Sequence[PageMode]) -> bool:
    return any(mode.how in ("picture", "both") for mode in modes)


def notes_on(modes: Sequence[PageMode]) -> tuple[str, ...]:
    """A line for each kind of page that goes in in a way which a person may not expect."""
    groups: dict[tuple[str, How], list[PageMode]] = {}
    for mode in modes:
        groups.setdefault((mode.page.kind, mode.how), []).append(mode)
    notes = []
    for (kind, how), some in groups.items():
        if kind == "damaged":  # the document's notes tell it
            continue
        if (kind, how) == ("text", "text"):
            notes += _unseen(some)
            continue
        named = numbered([mode.page.number for mode in some])
        said = _BY_LAYER.get(how) if kind == _LAYERED else None
        notes.append(f"{named}: {kind} ({some[0].page.reason}), {said or _READ_AS[how]}")
    return tuple(notes)


def _unseen(modes: Sequence[PageMode]) -> list[str]:
    shares = {each.page.number: each.page.image_share for each in modes}
    numbers = [number for number, share in shares.items() if share >= _UNSEEN]
    if not numbers:
        return []
    most = max(shares[number] for number in numbers)
    share = f"{most:.0%}" if len(numbers) == 1 else f"up to {most:.0%}"
    images = f"images ({share} of the page) are not looked at"
    return [f"{numbered(numbers)}: {images}; --vision always does"]


def make_input(
    document: Document, mode: PageMode, *, max_tokens: int = MAX_TOKENS, tiles: int = 1
) -> PageInput:
    """The page as the model gets it, drawn where it goes in as a picture.

    Raises:
        InputError: it cannot be drawn.
    """
    page = mode.page
    text = page.text if mode.how in ("text", "both") else ""
    pictures: tuple[Picture, ...] = ()
    if mode.how in ("picture", "both"):
        from gemma_edge.documents.images import render_page  # noqa: PLC0415

        drawn = render_page(document, page.number, max_tokens=max_tokens, tiles=tiles)
        name = f"{document.name} page {page.number}"
        pictures = tuple(replace(each, name=name) for each in drawn)
    return PageInput(page.number, text, pictures, title=page.title)


def without_pixels(page: PageInput) -> PageInput:
    return replace(page, pictures=tuple(replace(each, rgb=b"") for each in page.pictures))


def _nothing(document: Document, vision: Vision) -> InputError:
    name, kinds = document.name, {page.kind for page in document.pages}
    if vision == "never" and kinds & {"scan", "scan+ocr-layer", "mixed"}:
        what = f"{name} is a scan without text, and --vision never"
        return InputError(what, hint="--vision auto")
    pages = "its page is" if len(document.pages) == 1 else "all of its pages are"
    what = f"{pages} {'damaged' if kinds == {'damaged'} else 'empty'}"
    hint = "check how it was saved or copied"
    return InputError(f"{name} has nothing to read: {what}", hint=hint)


def numbered(numbers: Sequence[int]) -> str:
    """``page 3``, ``pages 1-4, 9``."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    said = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
    return f"page{'' if len(numbers) == 1 else 's'} {said}"


# The passes of one extraction: what is asked about which pages.

Count = Callable[[Request], PromptCount]

# Tokens of pages that one answer lists well. One-shot lists of Gemma 4 26B lose half of their rows
# beyond 10 pages, and a page takes 710 tokens (docs/architecture.md, "Long documents").
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
    of ``inputs`` may have no pixels yet."""

    inputs: tuple[PageInput, ...] = field(repr=False)
    part: SchemaPart
    prompt_tokens: int
    picture_tokens: int = 0

    @property
    def pages(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(page.number for page in self.inputs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """The plan. ``whole_tokens`` is the context that the whole document and an answer would take,
    ``page_tokens`` the size of each page; ``reason`` says why it is read whole or in windows."""

    modes: tuple[PageMode, ...]
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


def question_of(recipe: Recipe, part: SchemaPart) -> PageQuestion:
    """What is asked first. Models of 135 and 270 million parameters read more of 20 receipts right
    when the fields are named than when they are to fill in a form, and most without one."""
    rules = recipe.render_instructions()
    names = list(part.decoding.get("properties", ())) or ["values"]
    few = len(names) <= _MOST_FIELDS
    named = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    template = "fields.txt" if few and _PLAIN_FORM.fullmatch(part.form) else "fields_form.txt"
    question = PageQuestion(part.form, rules, template)
    return replace(question, fields=named) if few else question


class _Planner:
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
        self._modes = page_modes(document, options.vision)
        self._inputs = list(self._make_inputs(document))

    def _make_inputs(self, document: Document) -> Iterator[PageInput]:
        """All that is read; beyond a limit pictures lose their pixels, and are drawn again when
        their turn comes."""
        kept, budget = 0, (self._options.image_tokens, self._options.tiles)
        for mode in (mode for mode in self._modes if mode.how != "nothing"):
            page = make_input(document, mode, max_tokens=budget[0], tiles=budget[1])
            kept += sum(len(picture.rgb) for picture in page.pictures)
            yield page if kept <= MOST_PIXEL_BYTES else without_pixels(page)

    def plan(self) -> Passes:
        all_of_it = make_part(self._source, strict=self._options.strict)
        whole = self._pass(self._inputs, all_of_it)
        frame = self._pass([], all_of_it).prompt_tokens
        room = self._answer_room(whole.prompt_tokens - frame)
        each, reason = self._choose(whole, frame, room)
        return Passes(
            modes=self._modes, each=tuple(each), reason=reason,
            strategy="whole" if len(each) == 1 else "windows",
            whole_tokens=whole.prompt_tokens + room,
            page_tokens=tuple(map(self._size, self._inputs)),
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
            least = f"a window of pages needs {frame + room + _LEAST_WINDOW:,} tokens"
            hint = f"--ctx {frame + room + 4 * _LEAST_WINDOW}"
            raise DoesNotFit(f"{least}, the context holds {self._context:,}", hint=hint)
        if fits and asked == "auto":
            return self._rows(lists, space), "its lists are long: their rows are read by windows"
        reason = "as asked"
        if asked == "auto":
            reason = f"whole it takes {needed:,} tokens, the context holds {self._context:,}"
        part = make_part(self._source, strict=self._options.strict)
        return self._windows(part, space), reason

    def _rows(self, lists: Sequence[str], space: int) -> list[Pass]:
        strict = self._options.strict
        rows = self._windows(select_fields(self._source, lists, strict=strict), space)
        names = [name for name in fields_of(self._source) if name not in lists]
        if not names:
            return rows
        return [self._pass(self._inputs, select_fields(self._source, names, strict=strict)), *rows]

    def _windows(self, part: SchemaPart, space: int) -> list[Pass]:
        """Groups of pages within ``space`` tokens. What joins them is not counted with a page, so
        a group that comes out too large is made anew."""
        limit = self._pass([], part).prompt_tokens + space
        found: list[Pass] = []
        for share in _SHARES:
            room = int(share * space)
            inputs, sizes = fit_inputs(self._inputs, self._size, room)
            found = [self._pass(some, part) for some in group_inputs(inputs, sizes, room)]
            if all(one.prompt_tokens <= limit for one in found):
                break
        return found

    def _answer_room(self, document_tokens: int) -> int:
        wanted = self._options.max_tokens or answer_room(document_tokens)
        return min(wanted, max(self._context // 3, 1))

    def _size(self, page: PageInput) -> int:
        page = without_pixels(page)
        message = Message("user", render_document([page], several=self._several), page.pictures)
        count = self._count(Request(messages=(message,)))
        return count.total_tokens - count.template_tokens

    def _pass(self, inputs: Sequence[PageInput], part: SchemaPart) -> Pass:
        question = question_of(self._recipe, part)
        message = make_message(list(map(without_pixels, inputs)), question, several=self._several)
        count = self._count(Request(messages=(message,)))
        return Pass(tuple(inputs), part, count.total_tokens, count.picture_tokens)


# How long an extraction will take, before it begins: at most, by the plan's speed.

# A prompt is read at least so many times as fast as an answer is written: Gemma 3 270M on 2 cores
# takes 76 ms for a batch of 16 tokens and 25 ms for one. A GPU gains much more.
READING_GAIN = 5
_MINUTE, _HOUR = 60, 3600


@dataclass(frozen=True, slots=True)
class Estimate:
    """Tokens to read and, at most, to write. Of several passes the pages that they share from the
    start are read once. ``seconds`` is None where the speed is not known."""

    read_tokens: int
    answer_tokens: int
    seconds: float | None

    def render(self) -> str:
        """``at most 2 min: 41,200 tokens to read, up to 10,300 to write``."""
        tokens = f"{self.read_tokens:,} tokens to read, up to {self.answer_tokens:,} to write"
        if self.seconds is None:
            return f"{tokens}; how fast is not known"
        return f"at most {_render_seconds(self.seconds)}: {tokens}"


def estimate(passes: Passes, tokens_per_second: float | None) -> Estimate:
    """The time of all passes; ``tokens_per_second`` is that of an answer."""
    read = 0
    before: tuple[PageInput, ...] = ()
    for one in passes.each:  # one that begins with the pages of the last goes on where those end
        if before[: len(one.inputs)] != one.inputs:
            read += one.prompt_tokens
        before = one.inputs
    longest = max(one.prompt_tokens for one in passes.each)
    answer = len(passes.each) * max(0, passes.context_tokens - longest)
    seconds = None
    if tokens_per_second:
        seconds = read / (READING_GAIN * tokens_per_second) + answer / tokens_per_second
    return Estimate(read, answer, seconds)


def _render_seconds(seconds: float) -> str:
    if seconds < 2 * _MINUTE:
        return f"{max(1, round(seconds))} s"
    if seconds < 2 * _HOUR:
        return f"{round(seconds / _MINUTE)} min"
    return f"{seconds / _HOUR:.1f} h"
