"""How sure the model was of each value: a score from its own probabilities. Pure.

The walk goes over the answer's JSON text, so that each token belongs to the values whose
characters it wrote. For one value with the chosen tokens t1 to tn, p the model's probability of
each before any mask and m the mass of what the constraint allowed there:

    probability = sqrt(geometric mean of p * least p)    one doubtful digit is enough to doubt
    legal       = least m                                the model wanted something else
    score       = probability * legal * ground

``ground`` is 1 for exact, 0.97 for normalized, the similarity for fuzzy, 0.8 for a box that the
model gave, 0.5 for not found. It is a score, not a probability: it orders values, and ``eval``
can show how often a score is right.
"""

import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from gemma_edge.engine.protocol import TokenScore
from gemma_edge.extract.paths import ValuePath

_GROUND: Mapping[str, float] = {"exact": 1.0, "normalized": 0.97}
_LOCATED, _NOT_FOUND = 0.8, 0.5
_TINY = 1e-9  # a probability of 0 has no logarithm
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[-+.\w]+|[{}\[\],:]', re.DOTALL)


class Confidence(NamedTuple):
    """Of one leaf; both from 0 to 1, see the module."""

    probability: float
    legal: float


def leaf_confidence(answer_text: str, scores: Sequence[TokenScore]) -> Mapping[ValuePath, Confidence]:
    """The confidence of each leaf of an answer, null too. A value that was dictated by the
    constraint was not chosen, and counts as sure."""
    found: dict[ValuePath, Confidence] = {}
    ends = list(accumulate(len(score.text) for score in scores))
    for path, start, end in iter_values(answer_text):
        tokens = scores[bisect_right(ends, start) : bisect_right(ends, end - 1) + 1]
        found[path] = _of([token for token in tokens if not token.forced])
    return found


def confidence_score(own: Confidence, status: str, similarity: float, source: str) -> float:
    """The score of a leaf with its evidence."""
    ground = _GROUND.get(status, similarity if status == "fuzzy" else _NOT_FOUND)
    if source == "located":
        ground = max(ground, _LOCATED)
    return round(own.probability * own.legal * ground, 3)


def _of(tokens: Sequence[TokenScore]) -> Confidence:
    if not tokens:
        return Confidence(1.0, 1.0)
    logs = [math.log(max(_TINY, token.probability)) for token in tokens]
    probability = math.exp((sum(logs) / len(logs) + min(logs)) / 2)
    return Confidence(min(1.0, probability), min(1.0, *(token.legal for token in tokens)))


def iter_values(text: str) -> Iterator[tuple[ValuePath, int, int]]:
    """The path and the place of each leaf in JSON text, which may have a fence before it or end
    too early. A string's place is its letters and the closing quote, which was a choice as well."""
    path: list[str | int] = []
    opened: list[str] = []
    wants_key = False
    for found in _TOKEN.finditer(text, _first(text)):
        token = found[0]
        if token in "{[":
            opened.append(token)
            wants_key = token == "{"
            path.append(0 if token == "[" else "")
        elif token in "}]":
            if not opened:
                return
            opened.pop()
            path.pop()
            if not opened:
                return
        elif token == ",":
            wants_key = bool(opened) and opened[-1] == "{"
            if path and isinstance(path[-1], int):
                path[-1] += 1
        elif wants_key and token.startswith('"'):
            path[-1], wants_key = _string(token), False
        elif token != ":":
            quote = token.startswith('"') and len(token) > 1
            yield tuple(path), found.start() + quote, found.end()


def _first(text: str) -> int:
    """Where the JSON begins: behind a fence such as ```json."""
    found = re.match(r"\s*```\w*\s*", text)
    return found.end() if found else 0


def _string(token: str) -> str:
    try:
        return str(json.loads(token))
    except ValueError:  # cut in the middle
        return token.strip('"')
