"""The stream of training batches: every step's batches follow from the seed and the step alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

from demo_model import shapes
from demo_model.sequences import Batch, Builder, Example, collate
from demo_model.tokenizer import Tokenizer
from demo_model.words import chance

LONGEST = 2800
"""Tokens of the longest example that is learned."""
GROUP = 8
"""Steps whose documents are drawn together, so that batches can hold documents of one length."""


@dataclass(frozen=True)
class Sizes:
    """How much of each task a process takes in one step."""

    document_tokens: int = 3600
    conversations: int = 4
    copies: int = 3
    pictures: int = 4


@dataclass
class Step:
    """The batches of one optimizer step."""

    documents: list[Batch]
    chat: list[Batch]
    pictures: Batch
    scenes: list[shapes.Scene]


def document_sizes(progress: float) -> list[float]:
    """Weights of the document sizes 0 to 4 at a point of the training (0 to 1)."""
    if progress < 0.08:
        return [1, 0, 0, 0, 0]
    if progress < 0.25:
        return [0.6, 0.4, 0, 0, 0]
    if progress < 0.5:
        return [0.35, 0.4, 0.2, 0.05, 0]
    return [0.25, 0.4, 0.25, 0.05, 0.05]


def by_length(rng: Random, pool: list[Example], count: int, *, in_blocks: bool) -> list[Batch]:
    """``pool`` as ``count`` batches of about the same number of tokens, each of like lengths."""
    pool.sort(key=len)
    batches: list[list[Example]] = [[] for _ in range(count)]
    share, filled = sum(map(len, pool)) / count, 0
    for example in pool:
        batches[min(count - 1, int(filled / share))].append(example)
        filled += len(example)
    rng.shuffle(batches)
    return [collate(examples, in_blocks=in_blocks) for examples in batches if examples]


def document_batches(rng: Random, build: Builder, progress: float, tokens: int) -> list[Batch]:
    """``GROUP`` batches of about ``tokens`` tokens of documents."""
    pool: list[Example] = []
    while sum(map(len, pool)) < tokens * GROUP:
        size = rng.choices(range(5), document_sizes(progress))[0]
        example = build.document(rng, size, rng.choice((2, 3, 4)))
        if len(example) < LONGEST:
            pool.append(example)
    return by_length(rng, pool, GROUP, in_blocks=True)


def chat_batches(rng: Random, build: Builder, progress: float, sizes: Sizes) -> list[Batch]:
    """``GROUP`` batches of conversations and of texts to repeat."""
    longest = 4 if progress < 0.1 else 8
    pool = [build.conversation(rng) for _ in range(sizes.conversations * GROUP)]
    pool += [build.copying(rng, longest) for _ in range(sizes.copies * GROUP)]
    if progress < 0.1:
        pool += [build.echo(rng, 100) for _ in range(3 * GROUP)]
    return by_length(rng, pool, GROUP, in_blocks=False)


def grid(rng: Random) -> tuple[int, int]:
    """Columns and rows of tokens of a picture of random size and shape."""
    side, ratio = rng.randint(150, 900), rng.uniform(0.6, 1.67)
    width, height = shapes.fit_size(int(side * ratio), side)
    return width // shapes.PATCH, height // shapes.PATCH


def picture_batch(rng: Random, build: Builder, count: int) -> tuple[Batch, list[shapes.Scene]]:
    """Pictures of one grid, or pairs of two grids, with their scenes slot by slot."""
    pairs = chance(rng, 0.6)
    grids = [grid(rng) for _ in range(2 if pairs else 1)]
    examples = [build.pictures(rng, grids) for _ in range(count // len(grids))]
    scenes = [e.scenes[slot] for slot in range(len(grids)) for e in examples]
    return collate(examples, len(grids)), scenes


def make_group(vocab: Path, seed: str, group: int, total: int, sizes: Sizes) -> list[Step]:
    """The batches of ``GROUP`` successive steps."""
    build = _builder(vocab)
    rng = Random(f"{seed}/{group}")
    progress = group * GROUP / total
    docs = document_batches(rng, build, progress, sizes.document_tokens)
    talks = chat_batches(rng, build, progress, sizes)
    steps = []
    for i in range(GROUP):
        pictures, scenes = picture_batch(rng, build, sizes.pictures)
        steps.append(Step(docs[i : i + 1], talks[i : i + 1], pictures, scenes))
    return steps


_builders: dict[Path, Builder] = {}


def _builder(vocab: Path) -> Builder:
    """One builder for each vocabulary."""
    if vocab not in _builders:
        _builders[vocab] = Builder(Tokenizer.load(vocab))
    return _builders[vocab]


def stream(vocab: Path, seed: str, first: int, total: int, sizes: Sizes) -> Iterator[Step]:
    """Steps from ``first`` to ``total``; a thread draws the next groups meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        ahead: list[Future[list[Step]]] = []
        group = first // GROUP
        skip = first % GROUP
        while group * GROUP < total:
            while len(ahead) < 2:
                at = group + len(ahead)
                ahead.append(pool.submit(make_group, vocab, seed, at, total, sizes))
            steps = ahead.pop(0).result()
            yield from steps[skip : total - group * GROUP]
            skip, group = 0, group + 1
