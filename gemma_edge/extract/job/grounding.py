"""Where the values of an extraction stand, and how sure the model was of them. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from gemma_edge.documents import Document
from gemma_edge.extract.evidence.confidence import Confidence, leaf_confidence
from gemma_edge.extract.evidence.evidence import Evidence, ground, with_confidence
from gemma_edge.extract.evidence.labels import Hints
from gemma_edge.extract.job.asking import Answer
from gemma_edge.extract.job.merging import Place, Tree, iter_leaves, plain
from gemma_edge.extract.paths import ValuePath


def places_in(document: Document, numbers: Collection[int], data: Any) -> Mapping[ValuePath, Place]:
    """Where the values of ``data`` stand in some of the pages."""
    pages = tuple(page for page in document.pages if page.number in numbers)
    found = ground(replace(document, pages=pages), data)
    return {
        each.path: Place(each.page, each.start)
        for each in found
        if each.page is not None and each.start is not None
    }


def find_evidence(
    document: Document, data: Any, tree: Tree, answers: Sequence[Answer], hints: Hints | None
) -> tuple[Evidence, ...]:
    """The evidence of each leaf of ``data``; ``tree`` knows which of ``answers`` said it."""
    evidence = ground(document, data, printed=plain(tree), hints=hints)
    return with_confidence(evidence, _confidence(tree, answers))


def _confidence(tree: Tree, answers: Sequence[Answer]) -> Mapping[ValuePath, Confidence]:
    @cache
    def of_answer(number: int) -> Mapping[ValuePath, Confidence]:
        answer = answers[number]
        return leaf_confidence(answer.text, answer.scores) if answer.scores else {}

    known = {}
    for path, leaf in iter_leaves(tree):
        found = of_answer(leaf.answer).get(leaf.path)
        if found is not None:
            known[path] = found
    return known
