"""Which recipe a document is read with where nobody names one: a look at its words, then one
question to the model, and both together.

Every name and word of a recipe (``recognize`` in its file) that the document prints doubles its
odds; the name of the kind in a title counts as four. The model chooses among the kinds that the
words leave, and is believed as far as every second answer is right: it decides where the words do
not, and cannot change what they make clear. Where no word is seen, as in a picture, it is alone.
"""

import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field, replace
from functools import lru_cache
from itertools import islice
from typing import Any

from gemma_edge.documents.document import Document
from gemma_edge.engine.protocol import (
    GREEDY,
    Chunk,
    Engine,
    Event,
    Finished,
    JsonConstraint,
    Message,
    Request,
    TokenScore,
)
from gemma_edge.errors import DoesNotFit, EngineError, InputError, Interrupted
from gemma_edge.extraction import read_data
from gemma_edge.extraction.json_schema import Json
from gemma_edge.extraction.pages import Options, PageInput, make_input, page_modes, render_document
from gemma_edge.extraction.recipe import Recipe, Signs
from gemma_edge.records import dataclass

GENERAL = "general"  # the recipe for a document of no other kind
OTHER = "none of these"  # what the model calls it; no recipe has such a name


@dataclass(frozen=True, slots=True)
class Known:
    """The recipes that a document may be read with, a person's own first; ``general`` is for all
    the rest. ``add`` makes of a recipe what flags ask of it besides."""

    recipes: tuple[Recipe, ...]
    general: Recipe
    add: Callable[[Recipe], Recipe] = field(default=lambda recipe: recipe, repr=False)
    own: frozenset[str] = frozenset()

    def extended(self, recipe: Recipe) -> Recipe:
        """The recipe as it is used.
        Raises InputError: what flags ask does not go with it."""
        try:
            return self.add(recipe)
        except InputError as error:
            problem = f"with the recipe `{recipe.name}`, {error.message}"
            raise InputError(problem, hint=error.hint) from None


@dataclass(frozen=True, slots=True)
class Recognition:
    """The ``recipe`` that a document is read with, how likely it is the right one (0 to 1), the
    ``words`` that speak for it as the document prints them, and the runners-up by their names,
    the likeliest first. ``called`` is what a person calls the kind, "" where it is none that is
    known. ``asked`` is whether the model was."""

    recipe: Recipe
    probability: float
    words: tuple[str, ...] = ()
    others: tuple[tuple[str, float], ...] = ()
    called: str = ""
    asked: bool = True

    def as_data(self) -> dict[str, Any]:
        """How the recipe was found, as plain data."""
        others = [{"recipe": name, "probability": round(p, 4)} for name, p in self.others]
        return {
            "recipe": self.recipe.name, "probability": round(self.probability, 4),
            "words": list(self.words[:_KEPT]), "others": others,
        }  # fmt: skip

    def render(self, file: str) -> str:
        """``bill.pdf: an invoice (97 %: "Invoice", "Amount due"; -r invoice names it)``."""
        said = [f'"{word}"' for word in self.words[:_SHOWN]]
        seen = ", ".join(said) if self.asked else ", ".join(["by its words alone", *said])
        close = [f"{name} {_percent(p)}" for name, p in self.others if p >= _CLOSE]
        if self.called:
            sure = ": ".join(filter(None, (_percent(self.probability), seen)))
            more = f"; or {', '.join(close)}" if close else ""
            return f"{file}: {self.called} ({sure}{more}; -r {self.recipe.name} names it)"
        is_sure = self.probability > _MORE_THAN_HALF
        sure = ": ".join(filter(None, (_percent(self.probability) if is_sure else "", seen)))
        runners = ", ".join(close) if not is_sure or not close else f"or {', '.join(close)}"
        why = "; ".join(filter(None, (sure, runners)))
        why = f" ({why})" if why else ""
        kind = "no kind that has a recipe" if is_sure else "no kind for sure"
        form = f"the recipe {self.recipe.name} takes what every document has"
        return f"{file}: {kind}{why}; {form}, -r NAME names another"


def _percent(share: float) -> str:
    """99 % at most: nothing of this is certain."""
    return f"{min(round(100 * share), 99)} %"


# ----------------------------------------------------------------------------
# The look at the words.

# A document of no known kind has as many doublings as a kind with three of its words; one more for
# a first page of four times as many characters, since a long text has some words of every kind.
_OTHER_DOUBLINGS = 3.0
_SHORT_CHARACTERS = 500
_TITLE_DOUBLINGS, _NAME_DOUBLINGS = 4.0, 1.5  # of the kind's name, in a title and elsewhere
_HEADING_DOUBLINGS = 1.5  # of a word that is all there is in its cell, such as `Education`
_LATER = 0.5  # of one for a word that only later pages print, half for a name
_MOST_DOUBLINGS, _MOST_LATER = 6.0, 2.0  # by all words, and by those of later pages
_DERIVED = 0.5  # of it for words that are only the names of a recipe's fields
_OWN = 1.0  # for a recipe of one's own: a copy of another is meant to come before it
_MOST_LISTED, _ALL_LISTED = 4, 24  # kinds that the model chooses among; where no word is seen
_FARTHEST = 7.0  # doublings behind the best: then it is not among them
_FIRST_CHARACTERS, _ALL_CHARACTERS = 8_000, 100_000  # that are looked at
_TITLE_LINES, _TITLE_WORDS = 24, 5  # where a title stands, and how many words more it has
_TITLE_BEFORE = 3  # words of its cell before the kind's name
_MOST_PLACES = 20  # of one word that are looked at
_LEAST_LETTERS = 4  # of a word that is taken from a description
_SHOWN, _KEPT = 3, 12  # words in a line, and in a record
_CLOSE = 0.1  # the probability from which another kind is told too

# Of what the model says, with words beside it and alone. On 110 documents of ten kinds the words
# alone are right in 109, and with a model of 135M parameters (alone: 92) in 109 at 0.5, 101 at 0.8.
_BELIEVED, _BELIEVED_ALONE = 0.5, 0.9
_MORE_THAN_HALF = 0.5  # is needed where no word is seen
_ASKED_CHARACTERS = 2_000  # of the document that the model is asked about
_LEAST_CHARACTERS = 1_000  # with more of them left the next page is a part of the question
_WARM_CHARACTERS = 500  # of pages that are worth a step of their own
_ANSWER_TOKENS = 48
_LINE_CHARACTERS = 120  # about a kind

_GAP = re.compile(r"[^\S\n]{3,}|\t|[^\S\n]*\|[^\S\n]*")  # between two cells of a line
_WORD = re.compile(r"\w+")
_SMALL_WORDS = frozenset(
    ("about", "also", "date", "each", "from", "have", "name", "number", "other", "printed", "text")
    + ("that", "their", "them", "this", "total", "type", "value", "what", "when", "where", "which")
    + ("with", "title", "address", "description", "email", "phone", "amount", "items", "notes")
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A kind with its odds, in doublings, and the words that speak for it, the strongest first.
    ``title_at`` is the character where the first title that names it begins, None without one."""

    recipe: Recipe
    doublings: float
    words: tuple[str, ...] = ()
    title_at: int | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """The kinds that are left, the likeliest first; ``other`` is none of them."""

    candidates: tuple[Candidate, ...]
    other: Candidate


def look(document: Document, known: Known) -> Look:
    """What the words say; nothing is asked."""
    texts = [unicodedata.normalize("NFC", page.text) for page in document.pages]
    texts = [text for text in texts if text.strip()] or [""]
    rest = "\n".join((texts[0][_FIRST_CHARACTERS:], *texts[1:]))[:_ALL_CHARACTERS]
    printed = _Printed(texts[0][:_FIRST_CHARACTERS], rest)
    found = [_candidate(recipe, printed, own=recipe.name in known.own) for recipe in known.recipes]
    seen = [each for each in found if each.words]
    found = sorted(seen or found, key=lambda each: -each.doublings)
    near = [each for each in found if each.doublings >= found[0].doublings - _FARTHEST]
    longer = max(1.0, len(texts[0][:_FIRST_CHARACTERS]) / _SHORT_CHARACTERS)
    other = _candidate(known.general, printed, own=False)
    titles = [each.title_at for each in seen if each.title_at is not None]
    if other.title_at is None or other.title_at > min(titles, default=len(texts[0])):
        bare = replace(known.general, signs=replace(known.general.signs, names=()))
        other = _candidate(bare, printed, own=False)  # a name is of what the document refers to
    doublings = _OTHER_DOUBLINGS + math.log2(longer) / 2 if texts[0] else 0.0  # nothing to see
    other = replace(other, recipe=known.general, doublings=doublings + other.doublings)
    return Look(tuple(near[: _MOST_LISTED if seen else _ALL_LISTED]), other)


@dataclass(frozen=True, slots=True)
class _Found:
    """A name or a word as the document prints it: in a title, alone in its cell, or only on a
    later page."""

    text: str
    title: bool = False
    alone: bool = False
    later: bool = False
    start: int = 0


class _Printed:
    """The text of the first page and of the rest. Folded text is as long as what was folded."""

    def __init__(self, first: str, rest: str) -> None:
        self._first, self._rest = first, rest
        self._folded_first, self._folded_rest = first.translate(_FOLDED), rest.translate(_FOLDED)

    def find(self, word: str) -> _Found | None:
        """Its best place."""
        found: _Found | None = None
        for span in islice(_places(word, self._folded_first), _MOST_PLACES):
            here = self._judge(*span)
            if found is None or (here.title, here.alone) > (found.title, found.alone):
                found = here
        if found is None:
            for start, end in islice(_places(word, self._folded_rest), 1):
                return _Found(_one_line(self._rest[start:end]), later=True)
        return found

    def _judge(self, start: int, end: int) -> _Found:
        text = self._first
        begin = text.rfind("\n", 0, start) + 1
        stop = text.find("\n", end)
        gaps = [gap.span() for gap in _GAP.finditer(text, begin, stop if stop >= 0 else len(text))]
        begin = max([begin, *(after for _, after in gaps if after <= start)])
        stop = min([stop if stop >= 0 else len(text), *(at for at, _ in gaps if at >= end)])
        own, before = _WORD.findall(text[start:end]), _WORD.findall(text[begin:start])
        cell = _WORD.findall(text[begin:stop])
        is_short = len(cell) <= len(own) + _TITLE_WORDS or text[start:end].isupper()
        is_high = text.count("\n", 0, start) < _TITLE_LINES
        begins = len(before) < _TITLE_BEFORE and not "".join(cell)[:1].islower()
        return _Found(
            _one_line(text[start:end]), title=is_high and is_short and begins,
            alone=len(cell) == len(own), start=start,
        )  # fmt: skip


def _candidate(recipe: Recipe, printed: _Printed, *, own: bool) -> Candidate:
    signs, share = _signs_of(recipe)
    named, worded, later = 0.0, 0.0, 0.0
    said: list[tuple[float, str]] = []
    titles: list[int] = []
    for name in signs.names:
        if found := printed.find(name):
            titles += [found.start] if found.title else []
            worth = _TITLE_DOUBLINGS if found.title else _NAME_DOUBLINGS
            worth *= _LATER if found.later else 1.0
            named = max(named, worth)
            said.append((worth + 1.0, found.text))  # names are told first
    for word in signs.words:
        if found := printed.find(word):
            worth = _HEADING_DOUBLINGS if found.alone else _LATER if found.later else 1.0
            worded += 0.0 if found.later else worth
            later += worth if found.later else 0.0
            said.append((worth, found.text))
    worded = min(worded + min(later, _MOST_LATER), _MOST_DOUBLINGS)
    doublings = named + share * worded + (_OWN if own and said else 0.0)
    words = [text for _, text in sorted(said, key=lambda each: -each[0])]
    return Candidate(recipe, doublings, _told(words), min(titles, default=None))


def _told(words: Sequence[str]) -> tuple[str, ...]:
    """The first word, and of the others the longest of those that stand in each other."""
    folded = {word.casefold(): word for word in reversed(words)}
    first, *rest = dict.fromkeys(word.casefold() for word in words) or [""]
    kept = [
        word for word in rest
        if first not in word and not any(word in each for each in folded if each != word)
    ]  # fmt: skip
    return tuple(folded[word] for word in (first, *kept) if word)


def _signs_of(recipe: Recipe) -> tuple[Signs, float]:
    """What a recipe says itself; else its name, and as words its description and its fields, which
    count for less."""
    if recipe.signs != Signs():
        return recipe.signs, 1.0
    fields = (name.replace("_", " ") for name in _field_names(recipe.schema.source))
    described = _WORD.findall(recipe.description)
    words = (each for each in (*fields, *described) if len(each) >= _LEAST_LETTERS)
    kept = dict.fromkeys(each.casefold() for each in words)
    return Signs(
        names=(recipe.name.replace("-", " "),) if recipe.name else (),
        words=tuple(each for each in kept if each not in _SMALL_WORDS),
    ), _DERIVED  # fmt: skip


def _field_names(source: Json) -> Iterator[str]:
    for name, schema in source.get("properties", {}).items():
        yield name
        if isinstance(schema, dict):
            yield from _field_names(schema)
            if isinstance(schema.get("items"), dict):
                yield from _field_names(schema["items"])


class _Folds(dict[int, int]):
    """Each character without case and accents, as one character."""

    def __missing__(self, code: int) -> int:
        bare = unicodedata.normalize("NFKD", chr(code))[0].casefold()
        folded = ord(bare) if len(bare) == 1 else code
        self[code] = folded
        return folded


_FOLDED = _Folds({ord("’"): ord("'"), ord("‐"): ord("-"), ord("–"): ord("-"), ord("ß"): ord("ß")})


def _places(word: str, folded: str) -> Iterator[tuple[int, int]]:
    """Where a whole word, or several, stand in a folded text."""
    pattern, core, begins = _pattern(word)
    if core not in folded:
        return
    for found in re.finditer(pattern, folded):
        start, end = found.span()
        inside = start > 0 and _is_letter(folded[start - 1])
        if begins == "whole" and inside:
            continue
        while begins == "open" and start > 0 and _is_letter(folded[start - 1]):
            start -= 1
        yield start, end


@lru_cache(maxsize=8192)
def _pattern(word: str) -> tuple[str, str, str]:
    """What finds a word from its first letter on (a pattern that begins with letters is quick), a
    part that has to be there, and whether its beginning is that of a "whole" word, "open", or of
    a script without spaces (""). Few of the words are in a document: only their patterns are
    compiled."""
    folded = unicodedata.normalize("NFC", word).translate(_FOLDED)
    bare = folded.strip("*")
    begins = "open" if folded.startswith("*") else "whole" if _is_divided(bare[0]) else ""
    end = r"\w*" if folded.endswith("*") else r"(?!\w)" if _is_divided(bare[-1]) else ""
    parts = re.split(r"[\s-]+", bare)
    body = r"[\s-]+".join(map(re.escape, parts))
    return body + end, max(parts, key=len), begins


def _is_letter(char: str) -> bool:
    return char.isalnum() or char == "_"


def _is_divided(char: str) -> bool:
    """Whether words of such characters are set apart; those of Chinese and Japanese are not."""
    return _is_letter(char) and unicodedata.east_asian_width(char) not in "WF"


def _one_line(text: str) -> str:
    return " ".join(text.split())


# ----------------------------------------------------------------------------
# The question, about the beginning of the document.


def recognize(
    engine: Engine, document: Document, known: Known, options: Options,
    on_event: Callable[[Event], None] | None = None,
) -> Recognition:  # fmt: skip
    """Look at the words, and ask the model where what it says can change what they say.
    Raises Interrupted: Ctrl-C; InputError: nothing can be read or drawn, or what flags ask does
    not go with the recipe; EngineError, ProjectorError: from the engine."""
    seen = look(document, known)
    if _is_settled(seen, options.trust):
        return choose(seen, known, None)
    inputs = _beginning(document, options)
    try:
        answer = _ask(engine, inputs, seen, several=len(document.pages) > 1, on_event=on_event)
    except DoesNotFit:  # a context for a few words
        answer = None
    return choose(seen, known, answer, options.trust)


def guess(document: Document, known: Known, seen: Look | None = None) -> Recognition:
    """What the words alone say: what a document is planned with before there is a model. ``seen``
    is a look that was had already."""
    return choose(seen or look(document, known), known, None)


def choose(
    seen: Look, known: Known, answer: tuple[str, float] | None, trust: float | None = None
) -> Recognition:
    """Both together. ``answer`` is what the model chose, and how sure it was of that; ``trust`` is
    the share of it that is believed, where more is known of the model than of others.
    Raises InputError: what flags ask does not go with the recipe."""
    names = [each.recipe.name for each in seen.candidates] + [OTHER]
    odds = [2.0**each.doublings for each in (*seen.candidates, seen.other)]
    if answer is not None:
        odds = [
            each * _believed(name, answer, len(names), _trusted(seen, trust))
            for each, name in zip(odds, names, strict=True)
        ]
    shares = {name: each / sum(odds) for name, each in zip(names, odds, strict=True)}
    best = max(shares, key=lambda name: shares[name])
    words = {each.recipe.name: each.words for each in seen.candidates} | {OTHER: seen.other.words}
    if best != OTHER and not words[best] and shares[best] <= _MORE_THAN_HALF:
        best = OTHER  # the words say nothing, and the model is not sure
    called = {OTHER: known.general.name}
    others = ((called.get(name, name), p) for name, p in shares.items() if name != best)
    recipe = next((c.recipe for c in seen.candidates if c.recipe.name == best), known.general)
    return Recognition(
        known.extended(recipe), shares[best], words[best],
        tuple(sorted(others, key=lambda each: -each[1])),
        called="" if best == OTHER else recipe.signs.called or recipe.name,
        asked=answer is not None,
    )  # fmt: skip


def _trusted(seen: Look, trust: float | None) -> float:
    """The share of what the model says that is believed."""
    worded = any(each.words for each in seen.candidates)
    return trust or (_BELIEVED if worded else _BELIEVED_ALONE)


def _is_settled(seen: Look, trust: float | None) -> bool:
    """Whether the likeliest stays so, whatever the model says and however sure it is of that."""
    best, second, *_ = sorted((e.doublings for e in (*seen.candidates, seen.other)), reverse=True)
    count = len(seen.candidates) + 1
    own, others = (
        _believed(name, ("said", 1.0), count, _trusted(seen, trust)) for name in ("said", "")
    )
    return best - second > math.log2(own / others)


def _believed(name: str, answer: tuple[str, float], count: int, believed: float) -> float:
    """The model's probability for one of ``count`` kinds: what it leaves is shared by those that
    it did not choose, and what of it is not ``believed`` by all."""
    said, sure = answer
    own = sure if name == said else (1.0 - sure) / max(count - 1, 1)
    return believed * own + (1.0 - believed) / count


def _beginning(document: Document, options: Options) -> tuple[PageInput, ...]:
    """The first page that is read, to its first lines or as a picture; pages of a few words and
    the next one."""
    inputs: list[PageInput] = []
    left = _ASKED_CHARACTERS
    for mode in page_modes(document, options.vision):
        if mode.how == "nothing":
            continue
        if inputs and (left < _LEAST_CHARACTERS or mode.how != "text"):
            break
        page = make_input(
            document, mode, max_tokens=options.image_tokens, tiles=options.tiles
        )  # as it is read later, so that it is read once
        inputs.append(replace(page, text=_first_lines(page.text, left)))
        left -= len(page.text)
        if page.pictures:
            break
    return tuple(inputs)


def _first_lines(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    whole = text.rfind("\n", most // 2, most)
    return text[: whole if whole > 0 else most]


def _ask(
    engine: Engine, inputs: Sequence[PageInput], seen: Look, *, several: bool,
    on_event: Callable[[Event], None] | None,
) -> tuple[str, float] | None:  # fmt: skip
    """What the model chose and how sure it was; None where it said neither."""
    beginning = render_document(inputs, several=several)
    pictures = tuple(picture for page in inputs for picture in page.pictures)
    names = [each.recipe.name for each in seen.candidates]
    text = render_question(beginning, [each.recipe for each in seen.candidates])
    if pictures or len(beginning) >= _WARM_CHARACTERS:  # where the reading will go on
        _listen(engine.warm(Request(messages=(Message("user", beginning, pictures),))), on_event)
    said = _listen(
        engine.generate(
            Request(
                messages=(Message("user", text, pictures),), max_tokens=_ANSWER_TOKENS,
                sampling=GREEDY, scored=True,
                constraint=JsonConstraint(schema=json.dumps({"enum": [*names, OTHER]})),
            )
        ),
        on_event,
    )  # fmt: skip
    try:
        name = json.loads("".join(each.text for each in said))
    except ValueError:
        return None
    if name not in (*names, OTHER):
        return None
    return name, _sureness([score for each in said for score in each.scores])


def render_question(beginning: str, recipes: Sequence[Recipe]) -> str:
    """Which of these kinds, or another, a document is that begins so."""
    kinds = [*map(_line, recipes), f'"{OTHER}": another kind of document']
    template = read_data("prompts/kind.txt").strip()
    return template.replace("{kinds}", "\n".join(kinds), 1).replace("{document}", beginning, 1)


def _line(recipe: Recipe) -> str:
    described = recipe.description or ", ".join(recipe.asked.source.get("properties", ()))
    return f'"{recipe.name}": {_one_line(described)[:_LINE_CHARACTERS]}'


def _sureness(scores: Sequence[TokenScore]) -> float:
    """The probability of the chosen word among those that were allowed."""
    sure = 1.0
    for score in scores:
        if not score.forced and score.legal > 0.0:
            sure *= min(1.0, score.probability / score.legal)
    return sure


def _listen(
    events: Iterator[Event], on_event: Callable[[Event], None] | None
) -> list[Chunk]:  # fmt: skip
    said: list[Chunk] = []
    for event in events:
        if isinstance(event, Finished):
            if event.reason == "cancelled":
                raise Interrupted("stopped before the kind of the document was known")
            return said
        if isinstance(event, Chunk):
            if event.channel == "answer":
                said.append(event)
        elif on_event is not None:
            on_event(event)
    raise EngineError("the engine stopped without an end", hint="try again")
