"""A document and a recipe to checked data: passes over its pages, one answer out of them, one
second chance for what is wrong, and a verdict. Nothing but the drawing of pages leaves memory and
the Engine.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import field, fields, replace
from types import MappingProxyType
from typing import Any, TypeVar

from gemma_edge.documents.document import Document, Page
from gemma_edge.engine.grounding import has_held, without_marks
from gemma_edge.engine.protocol import (
    GREEDY,
    Chunk,
    Engine,
    Event,
    Finished,
    Grounding,
    JsonConstraint,
    Message,
    Notice,
    Request,
    Timings,
    TokenScore,
    Usage,
)
from gemma_edge.errors import DoesNotFit, EngineError, Interrupted, SchemaError
from gemma_edge.extraction.decoding import PREFIX, RELAXATIONS, Relaxation, relieve
from gemma_edge.extraction.evidence.choose import Hint, Hints, field_hints
from gemma_edge.extraction.evidence.evidence import (
    Confidence,
    Evidence,
    Rows,
    ground,
    leaf_confidence,
    with_confidence,
)
from gemma_edge.extraction.grounding import (
    ALL,
    choose_held,
    find_candidates,
    find_rows,
    listed,
    not_held,
    place_rows,
    row_lists,
    rule_at,
    wants_every,
)
from gemma_edge.extraction.json_schema import (
    Json,
    ValuePath,
    Verdict,
    iter_leaves,
    map_texts,
    parse_float,
    refuse_constant,
    render_path,
)
from gemma_edge.extraction.merge import (
    Cut,
    Merger,
    PagePlace,
    Tree,
    find_cut,
    locate,
    plain,
    replaced_at,
    trace,
    value_at,
)
from gemma_edge.extraction.pages import (
    Options,
    PageInput,
    PageMode,
    PageQuestion,
    Pass,
    Passes,
    make_beginning,
    make_input,
    make_message,
    numbered,
    plan_passes,
    question_of,
)
from gemma_edge.extraction.recipe import CheckFailure, Recipe, RecipeResult, bare_recipe
from gemma_edge.extraction.rows import Row
from gemma_edge.extraction.schema import (
    Schema,
    SchemaPart,
    fields_of,
    make_part,
    select_fields,
    select_values,
)
from gemma_edge.records import dataclass
from gemma_edge.units import render_tokens

Listener = Callable[[Event], None]
_Reply = TypeVar("_Reply")
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_ABSENT = object()
_MOST_VALUES = 40  # that are asked again; more of them are another kind of trouble
_MOST_PAGES = 3  # that are named with a problem
_SHOWN = 200  # characters of a value in a prompt
_MOST_CONTINUED = 64  # requests for the rest of one answer
# The mass of what is printed below which the model wanted something else: of 96 values of receipts
# by a model of 135 million parameters 8 were below, 7 of them wrong.
_LEANS = 0.05
_LEANING = "the model leaned to what is not printed; --free FIELD lets it say so"


@dataclass(frozen=True, slots=True)
class CheckedAnswer:
    """``text`` is the answer as it came, of several the first; ``data`` is what was read, None
    where nothing was.

    With no ``problems`` the data is whole and valid by the user's schema. ``notes`` are worth a
    line but no failure. ``printed`` is the data as the document prints it, before the recipe's
    rules; ``checks`` are the recipe's that failed; ``truncated`` names the lists and fields that
    are not complete. ``finished`` sums up all ``passes``."""

    data: Any
    text: str
    problems: tuple[str, ...]
    finished: Finished
    notes: tuple[str, ...] = ()
    printed: Any = None
    scores: tuple[TokenScore, ...] = ()
    evidence: "tuple[Evidence, ...]" = ()
    computed: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    checks: "tuple[CheckFailure, ...]" = ()
    truncated: tuple[str, ...] = ()
    passes: int = 1

    @property
    def usage(self) -> Usage:
        return self.finished.usage


def extract(  # noqa: PLR0913 (three of them are optional)
    engine: Engine,
    document: Document,
    recipe: Recipe,
    options: Options | None = None,
    *,
    passes: Passes | None = None,
    on_event: Listener | None = None,
) -> CheckedAnswer:
    """Read ``document`` into the form of ``recipe``. ``passes`` is the plan, if it was made
    already; ``on_event`` sees every event as it comes.
    Raises Interrupted: Ctrl-C; SchemaError: the schema cannot be enforced, however relaxed;
    InputError: a page cannot be read or drawn; DoesNotFit, EngineError, ProjectorError: from the
    engine."""
    options = options or Options()
    if passes is None:
        context_tokens = engine.info.context_tokens
        passes = plan_passes(document, recipe, options, engine.count, context_tokens)
    every = wants_every(recipe.asked.source, [(rule.field, rule.text) for rule in recipe.rules])
    asker = _Asker(engine, document, passes.modes, options, on_event, every=every)
    reading = _Reading(asker, document, recipe, options, parts=len(passes.each) > 1)
    for one in passes.each:
        if not reading.read(one):
            return reading.unreadable()
    return reading.result()


# One answer under a schema: asked with as much of the schema held as can be, read, judged.

_NOT_HELD = "a part of the schema was not enforced while decoding, only checked: "
_REASON = 120  # characters of the engine's reason in a note


def ask_by_schema(
    ask: Callable[[JsonConstraint], tuple[str, Finished]], schema: Schema, *, strict: bool = False
) -> CheckedAnswer:
    """Ask with as much of ``schema`` held as llguidance can hold, and judge the answer; ``ask``
    gives its text and its end.
    Raises SchemaError: the schema cannot be enforced, however relaxed; GemmaEdgeError: from
    ``ask``."""
    held = Held(schema.strict_decoding if strict else schema.decoding)
    for constraint in held:
        try:
            text, finished = ask(constraint)
        except SchemaError as error:
            held.refuse(error)
    return judge(text, finished, schema, strict=strict, notes=held.notes)


class Held:
    """The constraints to ask with, one after the other, as long as each is refused; the last
    refusal is raised. ``notes`` says what was not held then."""

    def __init__(self, decoding: Json, grounding: Grounding | None = None) -> None:
        self.notes: tuple[str, ...] = ()
        self._decoding, self._grounding = decoding, grounding
        self._refusals: list[SchemaError] = []

    def __iter__(self) -> Iterator[JsonConstraint]:
        for tried, (grounding, relaxed, schema) in enumerate(self._tries(), 1):
            self.notes = ()
            if relaxed:
                reason = self._refusals[0].message.removeprefix(PREFIX)
                self.notes = (_NOT_HELD + " ".join(reason.split())[:_REASON],)
            if grounding is not None:
                self.notes += not_held(schema, grounding)
            elif self._grounding is not None:
                self.notes += ("values are not held to what is printed: no grammar says it",)
            yield JsonConstraint(schema=json.dumps(schema), relaxed=relaxed, grounding=grounding)
            if len(self._refusals) < tried:
                return
        raise self._refusals[-1]

    def _tries(self) -> Iterator[tuple[Grounding | None, Relaxation, Json]]:
        if self._grounding is not None:
            for relaxed, schema in iter_constraints(self._decoding):
                yield self._grounding, relaxed, schema
        for relaxed, schema in iter_constraints(without_marks(self._decoding)):
            yield None, relaxed, schema

    def refuse(self, error: SchemaError) -> None:
        self._refusals.append(error)
        self.notes = ()


def iter_constraints(decoding: Json) -> Iterator[tuple[Relaxation, Json]]:
    """What to hold the decoder to, the most first, and at last what llguidance can hold of the
    schema at all. Ask for the next only when one was refused."""
    yield from ((relaxed, decoding) for relaxed in RELAXATIONS)
    relieved = relieve(decoding)
    if relieved is not None:
        yield relieved.relaxed, relieved.schema


def judge(
    text: str, finished: Finished, schema: Schema, *, strict: bool = False,
    notes: tuple[str, ...] = (),
) -> CheckedAnswer:  # fmt: skip
    short = tuple(cut_short(finished))
    data, repeated, flaw = _read_answer(text)
    if flaw:
        return CheckedAnswer(None, text, (*short, flaw), finished, notes)
    outcome = bare_recipe(schema).finish(data)  # what is printed to what the schema means
    verdict = schema.checker.check(outcome.data, strict=strict, nullable=schema.nullable)
    missing = () if finished.closed_early else not_found(verdict)
    notes += missing if schema.nullable else ()
    problems = (*short, *repeated, *verdict.problems, *(() if schema.nullable else missing))
    return CheckedAnswer(verdict.data, text, problems, finished, notes + outcome.notes)


def not_found(verdict: Verdict) -> tuple[str, ...]:
    """Lines about what is required, and null; of an answer that ended by itself."""
    return tuple(f"{at}: required, and not found" for at in verdict.missing)


def _read_answer(text: str) -> tuple[Any, tuple[str, ...], str]:
    """Data, a line for each key that came twice, and why the text is no data."""
    try:
        data, repeated = parse_answer(text)
    except ValueError as error:
        return None, (), f"the answer is not JSON ({error})"
    except RecursionError:  # a schema that refers to itself, and a model that never leaves it
        return None, (), "the answer is nested too deeply to be checked"
    return data, tuple(repeated), ""


def parse_answer(text: str) -> tuple[Any, list[str]]:
    """JSON text to data, and a line for each key that came twice in one object.
    Raises ValueError: not JSON, or a number that no float holds."""
    repeated: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = {_whole_answer(key): value for key, value in pairs}
        if len(members) < len(pairs):
            counts = Counter(_whole_answer(key) for key, _ in pairs)
            repeated.extend(key for key in members if counts[key] > 1)
        return members

    data = json.loads(
        text, object_pairs_hook=collect, parse_constant=refuse_constant, parse_float=parse_float
    )
    whole = map_texts(data, _whole_answer)
    return whole, [f'the key "{key}" came twice; the last one counts' for key in repeated]


def cut_short(finished: Finished) -> list[str]:
    tokens = render_tokens(finished.usage.generated_tokens)
    if finished.reason == "cancelled":
        return [f"interrupted after {tokens}; the answer is not complete"]
    if finished.reason == "repetition":
        return [f"the model repeated itself and was stopped at {tokens}; it is not complete"]
    if finished.closed_early:
        return [f"the answer stopped at {tokens}; it was closed there and is not complete"]
    if finished.reason == "length":
        return [f"the answer stopped at {tokens} and is not complete"]
    return []


def _whole_answer(text: str) -> str:
    """Without halves of characters (``"\\ud83d"``), which no terminal can print."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


# The requests of one extraction, and their answers in order.

# Of pages that are read once for several questions; shorter ones are read again in a moment.
_WARM_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class _PassAnswer:
    """``data`` is what ``text`` says; ``flaw`` says why it says nothing. ``repeated`` are lines
    about keys that came twice, ``notes`` about what was not enforced. ``held`` is the schema whose
    marked values could only be what is printed, None where nothing was."""

    number: int
    inputs: tuple[PageInput, ...]
    text: str
    finished: Finished
    scores: tuple[TokenScore, ...]
    data: Any
    repeated: tuple[str, ...]
    flaw: str
    notes: tuple[str, ...]
    held: Json | None

    @property
    def cut(self) -> bool:
        """Whether it ended because of its budget, or because the model repeated itself."""
        return self.finished.closed_early or self.finished.reason in ("length", "repetition")


class _Asker:
    """Asks about pages of one document; ``answers`` are all that came."""

    def __init__(  # noqa: PLR0913
        self, engine: Engine, document: Document, modes: Sequence[PageMode], options: Options,
        on_event: Listener | None, *, every: bool,
    ) -> None:  # fmt: skip
        self._engine, self._document, self._options = engine, document, options
        self._every = every  # row of a list is wanted
        self._modes = {mode.page.number: mode for mode in modes}
        self._on_event = on_event
        self._several = len(document.pages) > 1
        self._drawn: tuple[tuple[PageInput, ...], tuple[PageInput, ...]] = ((), ())
        self.answers: list[_PassAnswer] = []

    def ask(
        self, inputs: tuple[PageInput, ...], part: SchemaPart, question: PageQuestion
    ) -> _PassAnswer:
        """One answer about these pages.
        Raises Interrupted: Ctrl-C; SchemaError, DoesNotFit, EngineError, ProjectorError: from the
        engine."""
        drawn = self._draw(inputs)
        message = make_message(drawn, question, several=self._several)
        warmed = self._warm(make_beginning(drawn, several=self._several))
        decoding = choose_held(part.decoding, self._options.free, self._options.grounded)
        shown = self._shown(inputs) if has_held(decoding) else ""
        held = Held(decoding, None if shown else self._ground(inputs, decoding))
        for constraint in held:
            request = Request(
                messages=(message,), max_tokens=self._options.max_tokens, sampling=GREEDY,
                constraint=constraint, scored=self._options.scored,
            )  # fmt: skip
            try:
                said, finished = self._ask_twice(request, warmed)
            except SchemaError as error:
                held.refuse(error)
        if finished.reason == "cancelled":
            raise _interrupted()
        text = "".join(chunk.text for chunk in said)
        scores = tuple(score for chunk in said for score in chunk.scores)
        number, read = len(self.answers), _read_answer(text)
        grounded = decoding if constraint.grounding is not None else None
        notes = (*held.notes, shown) if shown else held.notes
        answer = _PassAnswer(number, inputs, text, finished, scores, *read, notes, grounded)
        self.answers.append(answer)
        return answer

    def _shown(self, inputs: tuple[PageInput, ...]) -> str:
        """A line about the pages that show more than any text says, so that nothing can be held to
        it; "" where there are none."""
        shown = [page.number for page in inputs if self._modes[page.number].shows_more]
        if not shown or ALL in self._options.free:
            return ""
        return f"no value is held to what is printed: {numbered(shown)}, read as a picture"

    def _ground(self, inputs: tuple[PageInput, ...], decoding: Json) -> Grounding | None:
        """What copied values are held to."""
        if ALL in self._options.free or not has_held(decoding):
            return None
        texts = ("\n".join(filter(None, (page.head, page.text))) for page in inputs)
        pages = tuple(Page(number, text) for number, text in enumerate(texts, 1))
        return find_candidates(
            replace(self._document, pages=pages), decoding, every=self._every
        )  # fmt: skip

    def _ask_twice(self, request: Request, warmed: Finished | None) -> tuple[list[Chunk], Finished]:
        """An answer; one that repeats itself on pages from the cache is asked for once more, with
        the pages read anew: what is computed in other pieces differs a little."""
        said, finished = self._listen(self._engine.generate(request))
        finished = _with(warmed, finished) if warmed is not None else finished
        if finished.reason != "repetition" or not finished.usage.cached_tokens:
            return said, finished
        if self._on_event is not None:
            self._on_event(Notice("the model repeated itself: the pages are read anew, once"))
        return self._listen(self._engine.generate(replace(request, fresh=True)))

    def _listen(self, events: Iterator[Event]) -> tuple[list[Chunk], Finished]:
        said: list[Chunk] = []
        for event in events:
            if self._on_event is not None:
                self._on_event(event)
            if isinstance(event, Finished):
                return said, event
            if isinstance(event, Chunk) and event.channel == "answer":
                said.append(event)
        raise EngineError("the engine stopped without an end", hint="try again")

    def _warm(self, beginning: Message) -> Finished | None:
        """Read the pages into the cache by themselves, so that the next question about them finds
        its way back there behind any answer; not worth a step for a short page."""
        if len(beginning.text) < _WARM_CHARACTERS and not beginning.pictures:
            return None
        for event in self._engine.warm(Request(messages=(beginning,))):
            if isinstance(event, Finished):
                if event.reason == "cancelled":
                    raise _interrupted()
                return event
            if self._on_event is not None:
                self._on_event(event)
        return None

    def _draw(self, inputs: tuple[PageInput, ...]) -> tuple[PageInput, ...]:
        if self._drawn[0] is not inputs:
            self._drawn = (inputs, tuple(map(self._with_pixels, inputs)))
        return self._drawn[1]

    def _with_pixels(self, page: PageInput) -> PageInput:
        if all(picture.rgb for picture in page.pictures):
            return page
        drawn = make_input(
            self._document, self._modes[page.number], max_tokens=self._options.image_tokens,
            tiles=self._options.tiles,
        )  # fmt: skip
        return replace(page, pictures=drawn.pictures)


def _interrupted() -> Interrupted:
    return Interrupted("stopped before the answer was complete")


def _with(warmed: Finished, finished: Finished) -> Finished:
    """An answer whose pages were read by themselves: that is a part of its prompt."""
    usage, timings = finished.usage, finished.timings
    read = warmed.usage.evaluated_tokens
    seconds = warmed.timings.prompt_seconds
    return replace(
        finished,
        usage=replace(
            usage,
            cached_tokens=usage.cached_tokens - read,
            restored_tokens=usage.restored_tokens + warmed.usage.restored_tokens,
            evaluated_tokens=usage.evaluated_tokens + read,
            encoded_pictures=usage.encoded_pictures + warmed.usage.encoded_pictures,
        ),
        timings=replace(
            timings,
            prompt_seconds=timings.prompt_seconds + seconds,
            first_token_seconds=timings.first_token_seconds + seconds,
            saved_seconds=timings.saved_seconds + warmed.timings.saved_seconds,
        ),
    )


def _sum_up(answers: Sequence[_PassAnswer], *, cut: bool) -> Finished:
    """All requests as one: tokens and seconds added; it ended early if something is missing in
    the end."""
    ends = [answer.finished for answer in answers]
    usages, timings = [end.usage for end in ends], [end.timings for end in ends]
    early = [end for end in ends if end.reason != "end" or end.closed_early]
    last = (early or ends)[-1]
    return Finished(
        last.reason if cut else "end",
        Usage(**{
            each.name: sum(getattr(usage, each.name) for usage in usages)
            for each in fields(Usage)
        }),
        Timings(
            prompt_seconds=sum(each.prompt_seconds for each in timings),
            first_token_seconds=timings[0].first_token_seconds,
            decode_seconds=sum(each.decode_seconds for each in timings),
            saved_seconds=sum(each.saved_seconds for each in timings),
        ),
        closed_early=cut and last.closed_early,
    )  # fmt: skip


def _whole(answer: _PassAnswer) -> Cut:
    """What is whole of an answer that was cut; of rows that the model repeated in the end, one."""
    cut = find_cut(answer.text, answer.data, answer.scores)
    if answer.finished.reason != "repetition" or cut.at is None:
        return cut
    rows, whole = value_at(cut.data, cut.at), cut.whole
    while whole > 1 and rows[whole - 1] == rows[whole - 2]:
        whole -= 1
    del rows[whole:]  # a list of its own: ``find_cut`` copied it
    return replace(cut, whole=whole)


def _open_fields(cut: Cut) -> tuple[str, ...]:
    first = (str(cut.at[0]),) if cut.at else ()
    return first + cut.missing


def _missing_names(cut: Cut) -> tuple[str, ...]:
    first: tuple[str, ...] = ()
    if cut.at is not None:
        first = (".".join(step for step in cut.at if isinstance(step, str)) or "the list",)
    return first + cut.missing


def _last_entry(data: Any, at: ValuePath, *, root: bool = True) -> Any:
    if not at or isinstance(at[0], int):
        if not isinstance(data, list) or not data:
            return None
        inner = _last_entry(data[-1], at[1:], root=False) if at else data[-1]
        return None if inner is None else [inner]
    inner = _last_entry(data.get(at[0]), at[1:], root=False) if isinstance(data, dict) else None
    if inner is None or root:
        return inner and {at[0]: inner}
    single = {name: v for name, v in data.items() if not isinstance(v, dict | list) and v}
    return {**single, at[0]: inner}


def _filled(tree: Tree) -> int:
    return sum(leaf.value is not None for _, leaf in iter_leaves(tree))


# What is asked a second time: the values that are wrong, with what is wrong about them.


# Something wrong, in words that the model reads too, and the values it is about.
_Flaw = tuple[str, tuple[ValuePath, ...]]


def _plan_again(
    source: Json, flaws: Sequence[_Flaw], data: Any, pages: dict[ValuePath, int], *, strict: bool
) -> tuple[SchemaPart, tuple[ValuePath, ...], str] | None:
    """The second request for all flaws: what is asked, for the values at which paths, and what is
    wrong, in lines for the prompt. ``pages`` is where values were found. None where there is
    nothing to ask: too much is wrong, or what is wrong cannot be asked for alone."""
    found = (_existing(data, path) for _, about in flaws for path in about)
    paths = _outermost([path for path in found if path is not None])
    if not paths or len(paths) > _MOST_VALUES:
        return None
    known = fields_of(source)
    part: SchemaPart | None
    if paths == ((),):
        part = make_part(source, strict=strict)
    elif all(len(path) == 1 and path[0] in known for path in paths):
        part = select_fields(source, [str(path[0]) for path in paths], strict=strict)
    else:
        part = select_values(source, paths, strict=strict)
    if part is None:
        return None
    lines = [f"- {text}{_where(about, pages)}" for text, about in flaws if about]
    lines += [_record_line(path, data) for path in paths if any(isinstance(s, int) for s in path)]
    return part, paths, "\n".join(dict.fromkeys(lines))


def _parse_path(text: str) -> ValuePath:
    """``items[2].qty`` to a path; a name that a recipe's check gives is one step."""
    return tuple(int(found[2]) if found[2] else found[1] for found in _STEP.finditer(text))


def _existing(data: Any, path: ValuePath) -> ValuePath | None:
    """The value as it was printed that ``path``, into converted data, is about; None where there
    is none."""
    sizes = range(len(path), 0, -1)
    found = (path[:n] for n in sizes if value_at(data, path[:n], _ABSENT) is not _ABSENT)
    return next(found, None) if path else path


def _outermost(paths: Sequence[ValuePath]) -> tuple[ValuePath, ...]:
    unique = dict.fromkeys(paths)
    return tuple(
        path for path in unique
        if not any(path[:size] in unique for size in range(len(path)))
    )  # fmt: skip


def _where(paths: Sequence[ValuePath], pages: dict[ValuePath, int]) -> str:
    found = {page for at, page in pages.items() if any(at[: len(path)] == path for path in paths)}
    if not 0 < len(found) <= _MOST_PAGES:
        return ""
    return f" (page {', '.join(map(str, sorted(found)))})"


def _record_line(path: ValuePath, data: Any) -> str:
    last = max(index for index, step in enumerate(path) if isinstance(step, int))
    record = value_at(data, path[: last + 1])
    text = str(record)
    if isinstance(record, dict):
        single = {name: v for name, v in record.items() if not isinstance(v, dict | list)}
        text = ", ".join(f"{name}: {v}" for name, v in single.items() if v is not None)
    return f"- {render_path(path)} belongs to: {text[:_SHOWN]}"


# The whole extraction.


@dataclass(frozen=True, slots=True)
class _Judged:
    tree: Tree
    outcome: RecipeResult
    verdict: Verdict

    @property
    def flaws(self) -> list[_Flaw]:
        wrong = zip(self.verdict.problems, self.verdict.failing, strict=False)
        failed = ((each.text, tuple(map(_parse_path, each.fields))) for each in self.failures)
        return [*((text, (path,)) for text, path in wrong), *failed]

    @property
    def failures(self) -> list[CheckFailure]:
        return [each for each in self.outcome.failures if each.severity == "error"]

    @property
    def problems(self) -> tuple[str, ...]:
        failed = (
            f"check failed: {each.text}" if each.check else each.text for each in self.failures
        )
        return (*self.verdict.problems, *failed)


class _Reading:
    """What is read, pass by pass; ``missing`` names what is not complete in it."""

    def __init__(
        self, asker: _Asker, document: Document, recipe: Recipe, options: Options, *, parts: bool
    ) -> None:
        self._asker, self._document, self._recipe = asker, document, recipe
        self._strict, self._parts = options.strict, parts
        self._merger = Merger()
        self._tree: Tree | None = None
        self._missing: dict[str, None] = {}
        self._rows: dict[str, dict[str, list[Row]]] = {}  # of each schema, all over the document

    def read(self, one: Pass) -> bool:
        """Ask about these pages, and add the answer; False where it says nothing."""
        question = question_of(self._recipe, one.part)
        answer = self._asker.ask(one.inputs, one.part, question)
        if answer.flaw:
            return False
        part = self._continued(one, answer) if answer.cut else trace(answer.data, answer.number)
        if self._parts:  # rows of it may stand in the answer about other pages too
            part = locate(part, self._places_in(one.pages, plain(part)))
        self._tree = part if self._tree is None else self._merger.windows(self._tree, part)
        return True

    def result(self) -> CheckedAnswer:
        tree, missing, answers = self._tree, tuple(self._missing), self._asker.answers
        assert tree is not None
        judged, again = self._ask_again(self._judge(tree))
        problems = [*self._cut_short(tree, missing, answers), *judged.problems]
        problems += (line for answer in answers for line in answer.repeated)
        notes = [*self._noted(), *self._merger.conflicts, *again, *judged.outcome.notes]
        notes += self._not_printed(judged.tree)
        notes += [each.text for each in judged.outcome.failures if each.severity == "warn"]
        if not missing:  # else it was not looked for to the end
            (notes if self._recipe.schema.nullable else problems).extend(not_found(judged.verdict))
        return CheckedAnswer(
            judged.verdict.data, answers[0].text, tuple(problems),
            _sum_up(answers, cut=bool(missing)), tuple(dict.fromkeys(notes)),
            printed=plain(judged.tree), scores=answers[0].scores, evidence=self._evidence(judged),
            computed=dict(judged.outcome.computed), checks=judged.outcome.failures,
            truncated=missing, passes=len(answers),
        )  # fmt: skip

    def unreadable(self) -> CheckedAnswer:
        answers = self._asker.answers
        last = answers[-1]
        return CheckedAnswer(
            None, last.text, (*cut_short(last.finished), last.flaw),
            _sum_up(answers, cut=last.cut), tuple(dict.fromkeys(self._noted())),
            passes=len(answers),
        )  # fmt: skip

    def _noted(self) -> list[str]:
        return [*self._recipe.notes, *(note for each in self._asker.answers for note in each.notes)]

    def _places_in(self, numbers: Collection[int], data: Any) -> dict[ValuePath, PagePlace]:
        pages = tuple(page for page in self._document.pages if page.number in numbers)
        return {
            each.path: PagePlace(each.page, each.start)
            for each in ground(replace(self._document, pages=pages), data)
            if each.page is not None and each.start is not None
        }

    def _continued(self, one: Pass, answer: _PassAnswer) -> Tree:
        """The answer as whole as it gets: a list that was cut by its budget goes on in further
        requests, as long as they bring something new."""
        cut = self._whole(answer)
        tree = trace(cut.data, answer.number)
        for _ in range(_MOST_CONTINUED):
            rest = self._ask_for_rest(one, cut, plain(tree)) if _missing_names(cut) else None
            if rest is None:
                break
            answer, following = rest
            longer = self._merger.continued(tree, trace(following.data, answer.number))
            fewer = len(_open_fields(following)) < len(_open_fields(cut))
            if _filled(longer) <= _filled(tree) and not fewer:
                break
            tree, cut = longer, following
        self._missing |= dict.fromkeys(_missing_names(cut))
        return tree

    def _whole(self, answer: _PassAnswer) -> Cut:
        """What is whole of an answer that was cut; the checker fills constants in."""
        cut, fills = _whole(answer), self._recipe.schema.checker.fills
        return replace(cut, missing=tuple(name for name in cut.missing if not fills(name)))

    def _ask_for_rest(self, one: Pass, cut: Cut, data: Any) -> tuple[_PassAnswer, Cut] | None:
        following = self._next(one, cut, data)
        if following is None:
            return None
        try:
            answer = self._asker.ask(one.inputs, *following)
        except DoesNotFit:  # the longer question leaves no room
            return None
        if answer.flaw:
            return None
        return answer, self._whole(answer) if answer.cut else Cut(answer.data)

    def _next(self, one: Pass, cut: Cut, data: Any) -> tuple[SchemaPart, PageQuestion] | None:
        """The request for the rest; None where it would only be the first one again."""
        source = self._recipe.asked.source
        rules = self._recipe.render_instructions()
        entry = _last_entry(data, cut.at) if cut.at is not None else None
        if cut.at == ():
            part = one.part
        elif set(_open_fields(cut)) <= set(fields_of(source)):
            part = select_fields(source, _open_fields(cut), strict=self._strict)
        else:
            return None
        if entry is not None:
            shown = json.dumps(entry, ensure_ascii=False)
            return part, PageQuestion(part.form, rules, "more.txt", entry=shown)
        asked = one.part.names or fields_of(source)
        if len(_open_fields(cut)) == len(asked) or cut.at == ():
            return None
        return part, PageQuestion(part.form, rules)

    def _evidence(self, judged: _Judged) -> tuple[Evidence, ...]:
        data = judged.verdict.data
        if isinstance(data, dict):
            data = {name: v for name, v in data.items() if name not in judged.outcome.computed}
        hints = field_hints(self._recipe.schema.source)
        printed, rows = plain(judged.tree), self._rows_of(plain(judged.tree))
        found = ground(self._document, data, printed=printed, hints=hints, rows=rows)
        constants = self._recipe.schema.checker.constants_in(data)
        found = tuple(
            each for each in found
            if each.path not in constants and (each.found or not _is_chosen(each.path, hints))
        )  # fmt: skip
        return with_confidence(found, self._confidence(judged.tree))

    def _rows_of(self, data: Any) -> Rows:
        """The rows that the entries of lists were read from."""
        found: dict[ValuePath, Any] = {}
        for answer in self._asker.answers:
            marked = answer.held
            if marked is None or not any(row_lists(marked)):
                continue
            key = json.dumps(marked)
            if key not in self._rows:
                self._rows[key] = find_rows(self._document, marked)
            found |= place_rows(self._rows[key], marked, data)
        return found

    def _confidence(self, tree: Tree) -> dict[ValuePath, Confidence]:
        scored = [
            leaf_confidence(each.text, each.scores) if each.scores else {}
            for each in self._asker.answers
        ]
        known = {at: scored[leaf.answer].get(leaf.path) for at, leaf in iter_leaves(tree)}
        return {at: own for at, own in known.items() if own is not None}

    def _not_printed(self, tree: Tree) -> tuple[str, ...]:
        """A line about the held values for which the model wanted to say something else."""
        known, answers = self._confidence(tree), self._asker.answers
        doubtful = {
            ".".join(step for step in at if isinstance(step, str)) or "the answer": None
            for at, leaf in iter_leaves(tree)
            if at in known and known[at].legal < _LEANS
            and (held := answers[leaf.answer].held) and rule_at(held, leaf.path)
        }  # fmt: skip
        return (f"{listed(doubtful)}: {_LEANING}",) if doubtful else ()

    def _judge(self, tree: Tree) -> _Judged:
        outcome = self._recipe.finish(plain(tree), self._document.text)
        schema = self._recipe.schema
        verdict = schema.checker.check(
            outcome.output, strict=self._strict, nullable=schema.nullable
        )
        return _Judged(tree, outcome, verdict)

    def _ask_again(self, judged: _Judged) -> tuple[_Judged, list[str]]:
        flaws = judged.flaws
        inputs = self._inputs_of(flaws, judged.tree)
        if not flaws or inputs is None:
            return judged, []
        source = self._recipe.asked.source
        pages = {each.path: each.page for each in self._evidence(judged) if each.page is not None}
        again = _plan_again(source, flaws, plain(judged.tree), pages, strict=self._strict)
        if again is None:
            return judged, []
        part, paths, wrong = again
        rules = self._recipe.render_instructions()
        try:
            answer = self._asker.ask(
                inputs, part, PageQuestion(part.form, rules, "again.txt", wrong)
            )
        except DoesNotFit:  # the longer question leaves no room
            return judged, []
        second = None if answer.flaw or answer.cut else self._replaced(judged.tree, paths, answer)
        named = ", ".join(map(render_path, paths)) or "all of it"
        if second is None or len(second.flaws) >= len(flaws):
            return judged, [f"asked again for {named}: no better"]
        return second, [f"asked again for {named}"]

    def _inputs_of(self, flaws: Sequence[_Flaw], tree: Tree) -> tuple[PageInput, ...] | None:
        answers = self._asker.answers
        paths = [path for _, about in flaws for path in about]
        found = {
            leaf.answer
            for at, leaf in iter_leaves(tree)
            if any(at[: len(path)] == path for path in paths)
        } or {0}
        inputs = {answers[number].inputs for number in found}
        return inputs.pop() if len(inputs) == 1 else None

    def _replaced(self, tree: Tree, paths: Sequence[ValuePath], answer: _PassAnswer) -> _Judged:
        for path in paths:
            at = (render_path(path),) if path else ()
            value = answer.data.get(*at) if path else answer.data
            tree = replaced_at(tree, path, trace(value, answer.number, at))
        return self._judge(tree)

    def _cut_short(
        self, tree: Tree, missing: Sequence[str], answers: Sequence[_PassAnswer]
    ) -> list[str]:
        if not missing:
            return []
        end = _sum_up(answers, cut=True)
        longest = max(answer.finished.usage.generated_tokens for answer in answers)
        tokens = render_tokens(longest)
        why = f"the answer stopped at {tokens}"
        if end.reason == "repetition":
            why = f"the model repeated itself and was stopped at {tokens}"
        data = plain(tree)
        lists = {name: said for name in missing if (said := _incomplete(name, data))}
        rest = [name for name in missing if name not in lists]
        parts = [*lists.values(), *([f"not reached: {', '.join(rest)}"] if rest else [])]
        return [f"{why}; {'; '.join(parts)}"]


def _is_chosen(path: ValuePath, hints: Hints) -> bool:
    """Whether a value is one of the schema's own words, or a yes or no: it need not be printed."""
    return hints.get(tuple(step for step in path if isinstance(step, str)), Hint()).chosen


def _incomplete(name: str, data: Any) -> str:
    """``the list "items" is not complete (131 entries)``; "" where it is no list."""
    value = value_at(data, _parse_path(name), _ABSENT) if name != "the list" else data
    if value is _ABSENT:  # a list in the entries of another one
        return f'the list "{name}" is not complete'
    if not isinstance(value, list):
        return ""
    count = f"{len(value):,} entr{'y' if len(value) == 1 else 'ies'}"
    return f'the list "{name}" is not complete ({count})'
