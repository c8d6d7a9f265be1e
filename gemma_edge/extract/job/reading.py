"""One pass over some pages to one answer: a list that was cut by its budget goes on in further
requests, as long as they bring something new."""

import json
from dataclasses import dataclass, replace
from typing import Any

from gemma_edge.errors import DoesNotFit
from gemma_edge.extract.job.asking import Answer, Asker
from gemma_edge.extract.job.cutting import Cut, find_cut
from gemma_edge.extract.job.merging import Merger, Tree, iter_leaves, plain, trace
from gemma_edge.extract.job.passes import Pass, question_of
from gemma_edge.extract.job.prompting import Question
from gemma_edge.extract.paths import ValuePath
from gemma_edge.extract.recipes.recipe import Recipe
from gemma_edge.extract.schemas.parts import Part, fields_of, select_fields

MOST_CONTINUED = 64  # requests for the rest of one answer


@dataclass(frozen=True, slots=True)
class Read:
    """What one pass gave; ``missing`` names what is not complete: a list, or fields that were not
    reached."""

    tree: Tree
    missing: tuple[str, ...] = ()


class Reader:
    """Reads passes."""

    def __init__(self, asker: Asker, recipe: Recipe, merger: Merger, *, strict: bool) -> None:
        self._asker, self._recipe, self._merger = asker, recipe, merger
        self._strict = strict

    def read(self, one: Pass) -> Read | None:
        """The answer about these pages, as whole as it gets; None where it is no JSON."""
        answer = self._asker.ask(one.sheets, one.part, question_of(self._recipe, one.part))
        if answer.flaw:
            return None
        if not answer.cut:
            return Read(trace(answer.data, answer.number))
        cut = _whole(answer)
        tree = trace(cut.data, answer.number)
        for _ in range(MOST_CONTINUED):
            rest = None if _is_complete(cut) else self._ask_for_rest(one, cut, plain(tree))
            if rest is None:
                break
            answer, following = rest
            longer = self._merger.continued(tree, trace(following.data, answer.number))
            if _filled(longer) <= _filled(tree) and len(_open(following)) >= len(_open(cut)):
                break
            tree, cut = longer, following
        return Read(tree, _names(cut))

    def _ask_for_rest(self, one: Pass, cut: Cut, data: Any) -> tuple[Answer, Cut] | None:
        """The answer to what is missing; None where there is nothing more to be had."""
        following = self._next(one, cut, data)
        if following is None:
            return None
        try:
            answer = self._asker.ask(one.sheets, *following)
        except DoesNotFit:  # the longer question leaves no room
            return None
        if answer.flaw:
            return None
        return answer, _whole(answer) if answer.cut else Cut(answer.data)

    def _next(self, one: Pass, cut: Cut, data: Any) -> tuple[Part, Question] | None:
        """The request for the rest; None where it would only be the first one again."""
        source = self._recipe.asked.source
        rules = self._recipe.render_instructions()
        entry = _last_entry(data, cut.at) if cut.at is not None else None
        if cut.at == ():
            part = one.part
        elif set(_open(cut)) <= set(fields_of(source)):
            part = select_fields(source, _open(cut), strict=self._strict)
        else:
            return None
        if entry is not None:
            shown = json.dumps(entry, ensure_ascii=False)
            return part, Question(part.form, rules, "more.txt", entry=shown)
        asked = one.part.names or fields_of(source)
        if len(_open(cut)) == len(asked) or cut.at == ():
            return None
        return part, Question(part.form, rules)


def _whole(answer: Answer) -> Cut:
    """What is whole of an answer that was cut; of rows that the model repeated in the end, one."""
    cut = find_cut(answer.text, answer.data, answer.scores)
    if answer.finished.reason != "repetition" or cut.at is None:
        return cut
    rows = cut.data
    for step in cut.at:
        rows = rows[step]
    whole = cut.whole
    while whole > 1 and rows[whole - 1] == rows[whole - 2]:
        whole -= 1
    del rows[whole:]  # a list of its own: ``find_cut`` copied it
    return replace(cut, whole=whole)


def _is_complete(cut: Cut) -> bool:
    """Whether nothing is missing: the budget ended with the answer."""
    return cut.at is None and not cut.missing


def _open(cut: Cut) -> tuple[str, ...]:
    """The fields of the root that are not complete."""
    first = (str(cut.at[0]),) if cut.at else ()
    return first + cut.missing


def _names(cut: Cut) -> tuple[str, ...]:
    """What is not complete, in words."""
    first: tuple[str, ...] = ()
    if cut.at is not None:
        first = (".".join(step for step in cut.at if isinstance(step, str)) or "the list",)
    return first + cut.missing


def _last_entry(data: Any, at: ValuePath, *, root: bool = True) -> Any:
    """The last whole entry of the list at ``at`` with the way to it: ``{"items": [{…}]}``; the
    groups on the way are the last ones, with their own values. None where there is none."""
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
