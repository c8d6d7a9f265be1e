"""A document and a recipe to checked data: passes over its pages, one answer out of them, one
second chance for what is wrong, and a verdict. Nothing but the drawing of pages leaves memory and
the Engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gemma_edge.documents import Document
from gemma_edge.engine.protocol import Engine
from gemma_edge.errors import DoesNotFit
from gemma_edge.extract.evidence.evidence import Evidence
from gemma_edge.extract.evidence.labels import field_hints
from gemma_edge.extract.job.answers import cut_short
from gemma_edge.extract.job.asking import Answer, Asker, Listener, sum_up
from gemma_edge.extract.job.extraction import Extraction
from gemma_edge.extract.job.grounding import find_evidence, places_in
from gemma_edge.extract.job.merging import Merger, Tree, iter_leaves, locate, plain, trace
from gemma_edge.extract.job.options import Options
from gemma_edge.extract.job.passes import Passes, plan_passes
from gemma_edge.extract.job.prompting import Question, Sheet
from gemma_edge.extract.job.reading import Read, Reader
from gemma_edge.extract.job.reask import Again, Flaw, get, parse_path, plan_again, put
from gemma_edge.extract.recipes.recipe import CheckFailure, Outcome, Recipe
from gemma_edge.extract.schemas.check import Verdict
from gemma_edge.units import render_tokens


def extract(  # noqa: PLR0913 (three of them are optional)
    engine: Engine,
    document: Document,
    recipe: Recipe,
    options: Options | None = None,
    *,
    passes: Passes | None = None,
    on_event: Listener | None = None,
) -> Extraction:
    """Read ``document`` into the form of ``recipe``. ``passes`` is the plan, if it was made
    already; ``on_event`` sees every event as it comes.

    Raises:
        Interrupted: Ctrl-C.
        SchemaError: no rung of the ladder can enforce the schema.
        InputError: a page cannot be read or drawn.
        DoesNotFit, EngineError, ProjectorError: from the engine.
    """
    options = options or Options()
    if passes is None:
        context_tokens = engine.info.context_tokens
        passes = plan_passes(document, recipe, options, engine.count, context_tokens)
    asker = Asker(engine, document, passes.looks, options, on_event)
    return _Job(asker, document, recipe, options).run(passes)


@dataclass(frozen=True, slots=True)
class _Judged:
    """One reading with all that code has to say about it."""

    tree: Tree
    outcome: Outcome
    verdict: Verdict

    @property
    def flaws(self) -> list[Flaw]:
        """What is worth asking again."""
        wrong = [
            Flaw(text, (path,))
            for text, path in zip(self.verdict.problems, self.verdict.failing, strict=False)
        ]
        return wrong + [
            Flaw(each.text, tuple(map(parse_path, each.fields))) for each in self.failures
        ]

    @property
    def failures(self) -> list[CheckFailure]:
        """The checks that make the result invalid."""
        return [each for each in self.outcome.failures if each.severity == "error"]

    @property
    def problems(self) -> tuple[str, ...]:
        """All of it in words."""
        failed = (
            f"check failed: {each.text}" if each.check else each.text for each in self.failures
        )
        return (*self.verdict.problems, *failed)


class _Job:
    """One extraction."""

    def __init__(self, asker: Asker, document: Document, recipe: Recipe, options: Options) -> None:
        self._asker, self._document, self._recipe = asker, document, recipe
        self._strict = options.strict
        self._merger = Merger()

    def run(self, passes: Passes) -> Extraction:
        """All passes, then the verdict."""
        read = self._read(passes)
        answers = self._asker.answers
        notes = [*self._recipe.notes, *(note for answer in answers for note in answer.notes)]
        if read is None:
            return self._unreadable(answers, notes)
        judged, again = self._ask_again(self._judge(read.tree))
        problems = [*self._cut_short(read, answers), *judged.problems]
        problems += (line for answer in answers for line in answer.repeated)
        notes += [*self._merger.conflicts, *again, *judged.outcome.notes]
        notes += [f"{each.text}" for each in judged.outcome.failures if each.severity == "warn"]
        if not read.missing:  # else it was not looked for to the end
            notes += (f"{at}: required, and not found" for at in judged.verdict.missing)
        return Extraction(
            judged.verdict.data, answers[0].text, tuple(problems),
            sum_up(answers, cut=bool(read.missing)), tuple(dict.fromkeys(notes)),
            printed=plain(judged.tree), scores=answers[0].scores, evidence=self._evidence(judged),
            computed=dict(judged.outcome.computed), checks=judged.outcome.failures,
            truncated=read.missing, passes=len(answers),
        )  # fmt: skip

    def _read(self, passes: Passes) -> Read | None:
        """All passes to one answer; None where one of them is no JSON."""
        reader = Reader(self._asker, self._recipe, self._merger, strict=self._strict)
        tree: Tree | None = None
        missing: list[str] = []
        for one in passes.each:
            read = reader.read(one)
            if read is None:
                return None
            missing += read.missing
            part = read.tree
            if len(passes.each) > 1:  # rows of it may stand in the answer about other pages too
                part = locate(part, places_in(self._document, one.pages, plain(part)))
            tree = part if tree is None else self._merger.windows(tree, part)
        assert tree is not None  # a document has a page, or it was refused
        return Read(tree, tuple(dict.fromkeys(missing)))

    def _evidence(self, judged: _Judged) -> tuple[Evidence, ...]:
        data = judged.verdict.data
        if isinstance(data, dict):
            data = {name: v for name, v in data.items() if name not in judged.outcome.computed}
        hints = field_hints(self._recipe.schema.source)
        return find_evidence(self._document, data, judged.tree, self._asker.answers, hints)

    def _judge(self, tree: Tree) -> _Judged:
        outcome = self._recipe.finish(plain(tree), self._document.text)
        verdict = self._recipe.schema.checker.check(outcome.output, strict=self._strict)
        return _Judged(tree, outcome, verdict)

    def _ask_again(self, judged: _Judged) -> tuple[_Judged, list[str]]:
        """Ask once more for what is wrong; the better of both readings, and a line about it."""
        flaws = judged.flaws
        sheets = self._sheets_of(flaws, judged.tree)
        if not flaws or sheets is None:
            return judged, []
        source = self._recipe.asked.source
        pages = {each.path: each.page for each in self._evidence(judged) if each.page is not None}
        again = plan_again(source, flaws, plain(judged.tree), pages, strict=self._strict)
        if again is None:
            return judged, []
        question = Question(
            again.part.form, self._recipe.render_instructions(), "again.txt", again.problems
        )
        try:
            answer = self._asker.ask(sheets, again.part, question)
        except DoesNotFit:  # the longer question leaves no room
            return judged, []
        second = None if answer.flaw or answer.cut else self._replaced(judged.tree, again, answer)
        named = ", ".join(again.names) or "all of it"
        if second is None or len(second.flaws) >= len(flaws):
            return judged, [f"asked again for {named}: no better"]
        return second, [f"asked again for {named}"]

    def _sheets_of(self, flaws: Sequence[Flaw], tree: Tree) -> tuple[Sheet, ...] | None:
        """The pages that the wrong values were read from; None where those are several windows."""
        answers = self._asker.answers
        paths = [path for flaw in flaws for path in flaw.paths]
        found = {
            leaf.answer
            for at, leaf in iter_leaves(tree)
            if any(at[: len(path)] == path for path in paths)
        } or {0}
        sheets = {answers[number].sheets for number in found}
        return sheets.pop() if len(sheets) == 1 else None

    def _replaced(self, tree: Tree, again: Again, answer: Answer) -> _Judged:
        """The reading with the values that were asked for again."""
        for path, name in zip(again.paths, again.names, strict=True):
            value = answer.data.get(name) if path else answer.data
            at = (name,) if path else ()
            tree = put(tree, path, trace(value, answer.number, at))
        return self._judge(tree)

    def _cut_short(self, read: Read, answers: Sequence[Answer]) -> list[str]:
        """What is not complete, and why."""
        if not read.missing:
            return []
        end = sum_up(answers, cut=True)
        longest = max(answer.finished.usage.generated_tokens for answer in answers)
        tokens = render_tokens(longest)
        why = f"the answer stopped at {tokens}"
        if end.reason == "repetition":
            why = f"the model repeated itself and was stopped at {tokens}"
        data = plain(read.tree)
        lists = {name: said for name in read.missing if (said := _incomplete(name, data))}
        rest = [name for name in read.missing if name not in lists]
        parts = [*lists.values(), *([f"not reached: {', '.join(rest)}"] if rest else [])]
        return [f"{why}; {'; '.join(parts)}"]

    def _unreadable(self, answers: Sequence[Answer], notes: Sequence[str]) -> Extraction:
        """An answer that is no JSON: it is shown as it came."""
        last = answers[-1]
        problems = (*cut_short(last.finished), last.flaw)
        finished = sum_up(answers, cut=last.cut)
        return Extraction(
            None, last.text, problems, finished, tuple(dict.fromkeys(notes)), passes=len(answers)
        )


def _incomplete(name: str, data: Any) -> str:
    """``the list "items" is not complete (131 entries)``; "" where it is no list."""
    try:
        value = get(data, parse_path(name)) if name != "the list" else data
    except (LookupError, TypeError):  # a list in the entries of another one
        return f'the list "{name}" is not complete'
    if not isinstance(value, list):
        return ""
    count = f"{len(value):,} entr{'y' if len(value) == 1 else 'ies'}"
    return f'the list "{name}" is not complete ({count})'
