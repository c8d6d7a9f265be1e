"""Training examples as trees of token runs, and batches of them as tensors.

One document is read once and asked several times: the questions are branches that do not see each
other. A conversation is a trunk of past turns with one branch for each answer, because the past
holds an answer without its (empty) thought channel. Positions count along the path, so that each
branch looks to the model exactly like the prompt it will get.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import numpy as np
import torch

from demo_model import asks, chat, documents, papers, shapes
from demo_model.asks import Ask
from demo_model.tokenizer import Tokenizer
from demo_model.words import chance

NO_THOUGHT = "model\n<|channel>thought\n<channel|>"
IMAGE_START, IMAGE_END = "<|image>", "<image|>"
WINDOW = 128  # of sliding layers
# Of documents by size, that are read without a recipe; of the others, that it is asked for whole.
PLAIN_SHARES, WHOLE_SHARES = (0.35, 0.15, 0.15, 0.15, 0.15), (0.2, 0.3, 0.35, 0.35, 0.35)


@dataclass
class Run:
    """A run of tokens after the runs of its ancestors."""

    tokens: list[int]
    parent: int = -1
    learn_from: int | None = None
    """Index of the first token to be predicted; None where nothing is learned."""
    forced: frozenset[int] = frozenset()
    """Indices behind ``learn_from`` that the grammar of an answer leaves no choice about."""
    images: list[tuple[int, int]] = field(default_factory=list)
    """Start and length of each image's soft tokens."""


@dataclass
class Example:
    """A tree of runs, parents before children, with the pictures that belong to it."""

    runs: list[Run]
    pictures: list[np.ndarray] = field(default_factory=list)
    scenes: list[shapes.Scene] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(len(run.tokens) for run in self.runs)


class Builder:
    """Makes examples of each task; all of them are drawn from the ``Random`` passed in."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        ids = tokenizer.ids
        self.bos, self.pad = ids["<bos>"], ids["<pad>"]
        self.start, self.end, self.line = ids["<|turn>"], ids["<turn|>"], ids["\n"]

    def branch(self, before: str, answer: str, parent: int, thought: str | None = None) -> Run:
        """A run that ends a turn with ``before``, then learns the model's answer."""
        encode = self.tokenizer.encode
        tokens = encode(before)
        if before:
            tokens += [self.end, self.line, self.start]
        if thought is None:
            tokens += encode(NO_THOUGHT, specials=True)
            learn = len(tokens)
        else:
            tokens += encode("model\n")
            learn = len(tokens)
            tokens += encode("<|channel>thought\n", specials=True) + encode(thought)
            tokens += encode("\n<channel|>", specials=True)
        return Run(tokens + encode(answer) + [self.end], parent, learn)

    def past(self, said: str, answer: str, parent: int) -> Run:
        """A run of an exchange that has been, up to the next user turn."""
        encode = self.tokenizer.encode
        tokens = [*encode(said), self.end, self.line, self.start, *encode("model\n")]
        tokens += [*encode(answer), self.end, self.line]
        return Run(tokens + encode("<|turn>user\n", specials=True), parent)

    def opening(self, system: str | None, think: bool = False) -> list[int]:
        """Tokens up to and with the first ``<|turn>user`` line."""
        encode = self.tokenizer.encode
        tokens = [self.bos]
        if system or think:
            tokens += encode("<|turn>system\n", specials=True)
            tokens += encode("<|think|>\n", specials=True) if think else []
            tokens += encode(system or "") + [self.end, self.line]
        return tokens + encode("<|turn>user\n", specials=True)

    def ask(self, ask: Ask, before: str, parent: int) -> Run:
        """A run that ends a turn with what is asked behind ``before``, then learns what is to be
        chosen in the answer."""
        encode = self.tokenizer.encode
        tokens = encode(before + ask.rest) + [self.end, self.line, self.start]
        tokens += encode(NO_THOUGHT, specials=True)
        learn, forced = len(tokens), set[int]()
        for text, chosen in ask.pieces:
            first = len(tokens)
            tokens += encode(text)
            forced |= set() if chosen else {*range(first, len(tokens))}
        return Run([*tokens, self.end], parent, learn, frozenset(forced))

    def document(self, rng: Random, size: int, asks_count: int) -> Example:
        """A document with several forms and questions, each its own branch."""
        if chance(rng, PLAIN_SHARES[size]):
            return self._plain_document(rng, size, asks_count)
        paper = papers.random_paper(rng, min(size, 2))
        paper.text = "\n".join(documents.with_pages(rng, paper.text.split("\n"), size))
        whole = chance(rng, WHOLE_SHARES[size])
        asked = [asks.ask_recipe(paper) if whole else asks.ask_some(rng, paper)]
        if chance(rng, 0.35):
            asked.append(asks.ask_some(rng, paper))
        if chance(rng, 0.5):
            asked += filter(None, [asks.ask_line(rng, paper)])
        if chance(rng, 0.6):
            asked.append(asks.ask_kind(rng, paper))
        shared = asked[0].shared
        runs = [Run(self.opening(self._system(rng)) + self.tokenizer.encode(shared))]
        runs += [self.ask(each, "", 0) for each in asked if each.shared == shared]
        return Example(runs)

    @staticmethod
    def _system(rng: Random) -> str | None:
        return "You are a helpful assistant." if chance(rng, 0.05) else None

    def _plain_document(self, rng: Random, size: int, asks_count: int) -> Example:
        """A document of plain fields or of made-up labels, asked in forms and in words."""
        doc = documents.random_document(rng, size)
        encode = self.tokenizer.encode
        shared = documents.question_prompt(doc.text, "\0").removesuffix("\0")
        runs = [Run(self.opening(self._system(rng)) + encode(shared))]
        for _ in range(asks_count):
            if chance(rng, 0.65):
                fields = documents.pick_fields(rng, doc)
                ask = asks.ask_plain(doc, fields, documents.other_names(rng, fields))
                runs.append(self.ask(ask, "", 0))
                continue
            runs.append(self.branch(*documents.question(rng, doc), 0))
            if chance(rng, 0.3):
                runs.append(self.past(*documents.question(rng, doc), 0))
                runs.append(self.branch(*documents.question(rng, doc), len(runs) - 1))
        return Example(runs)

    def conversation(self, rng: Random) -> Example:
        """A conversation; every answer of it is learned."""
        held = chat.conversation(rng)
        think = chance(rng, 0.25)
        encode = self.tokenizer.encode
        runs: list[Run] = []
        trunk, parent = self.opening(held.system, think), -1
        for turn in held.turns:
            trunk = trunk + encode(turn.user) + [self.end, self.line, self.start]
            runs.append(Run(trunk, parent))
            parent = len(runs) - 1
            runs.append(self.branch("", turn.answer, parent, turn.thought if think else None))
            trunk = encode("model\n") + encode(turn.answer)
            trunk += [self.end, self.line] + encode("<|turn>user\n", specials=True)
        return Example(runs)

    def copying(self, rng: Random, longest: int) -> Example:
        """A text to repeat: dense practice in copying."""
        text = chat.repeat_text(rng, longest)
        said = rng.choice(chat.REPEAT.split("|")).format(text)
        return Example([Run(self.opening(None)), self.branch(said, text, 0)])

    def echo(self, rng: Random, longest: int) -> Example:
        """A stretch of random tokens of which pieces are begun and are to be gone on with: what
        copying from a document is made of, without any language."""
        size = rng.randint(24, longest)
        few = [rng.randrange(len(self.tokenizer.ids)) for _ in range(rng.choice((40, 400)))]
        tokens = [rng.choice(few) for _ in range(size)]
        runs = [Run([self.bos, *tokens])]
        for _ in range(6):
            first, cue = rng.randrange(size - 12), rng.choice((2, 3))
            piece = tokens[first : first + cue + 8]
            runs.append(Run([self.line, *piece], 0, 1 + cue))
        return Example(runs)

    def pictures(self, rng: Random, grids: list[tuple[int, int]]) -> Example:
        """One or two pictures of the given grids (columns, rows), with questions as branches."""
        encode = self.tokenizer.encode
        example = Example([Run(self.opening("Be brief." if chance(rng, 0.03) else None))])
        trunk = example.runs[0]
        for columns, rows in grids:
            scene, pixels = self._picture(rng, columns, rows)
            example.scenes.append(scene)
            example.pictures.append(pixels)
            trunk.tokens += encode(IMAGE_START, specials=True)
            trunk.images.append((len(trunk.tokens), columns * rows))
            trunk.tokens += [self.pad] * (columns * rows) + encode(IMAGE_END, specials=True)
        if len(grids) == 1:
            asked = example.scenes[0].questions(rng)
        else:
            asked = shapes.pair_questions(rng, *example.scenes)
        example.runs += [self.branch(question, answer, 0) for question, answer in asked]
        if chance(rng, 0.25):
            example.runs.append(self.past(*asked[0], 0))
            said, answer, _ = rng.choice(chat.TALK)
            after = rng.choice([*asked[1:], (chat.typed(rng, rng.choice(said.split("|"))), answer)])
            example.runs.append(self.branch(*after, len(example.runs) - 1))
        return example

    @staticmethod
    def _picture(rng: Random, columns: int, rows: int) -> tuple[shapes.Scene, np.ndarray]:
        """A picture drawn at some size and stretched to the grid, its scene in grid pixels."""
        width, height = columns * shapes.PATCH, rows * shapes.PATCH
        w, h = width, height
        if chance(rng, 0.6):
            scale = rng.uniform(0.35, 1.6)
            w, h = int(width * scale * rng.uniform(0.93, 1.07)), int(height * scale)
        scene = shapes.scene(rng, w, h)
        pixels = shapes.pixels(shapes.draw(rng, scene), width, height)
        return scene.scaled(width, height), pixels


BLOCK = 256
"""Tokens of a run that ask for keys together."""


@dataclass
class Block:
    """Neighbouring tokens of one run. ``far`` are the blocks on its path from the first, itself
    the last, and ``near`` those of them that a window reaches."""

    size: int
    far: list[int]
    near: list[int]
    far_mask: torch.Tensor
    """Bool [size, tokens of ``far``]: which of them it looks at."""
    near_mask: torch.Tensor


def blocks_of(runs: list[Run], window: int) -> list[Block]:
    """An example's runs in blocks, in their order."""
    out: list[Block] = []
    paths: list[list[int]] = []  # the blocks on the path up to each run's end
    for run in runs:
        path = list(paths[run.parent]) if run.parent >= 0 else []
        for first in range(0, len(run.tokens), BLOCK):
            size = min(BLOCK, len(run.tokens) - first)
            near, reach = [len(out)], 0
            for index in reversed(path):
                if reach >= window - 1:
                    break
                near.insert(0, index)
                reach += out[index].size
            before = sum(out[index].size for index in path)
            own = torch.ones(size, size, dtype=torch.bool).tril()
            far_mask = torch.cat([torch.ones(size, before, dtype=torch.bool), own], 1)
            gap = torch.arange(size)[:, None] + reach - torch.arange(reach + size)
            out.append(Block(size, [*path, len(out)], near, far_mask, (gap >= 0) & (gap < window)))
            path.append(len(out) - 1)
        paths.append(path)
    return out


@dataclass
class Batch:
    """Examples as tensors; B examples, L tokens, Q places whose next token is learned."""

    ids: torch.Tensor
    positions: torch.Tensor
    seen: torch.Tensor
    """Bool [B, L, L]: which token may look at which, windows left aside."""
    together: torch.Tensor | None
    """Bool [B, L, L]: pairs within one image, which look both ways in sliding layers."""
    places: torch.Tensor
    targets: torch.Tensor
    """[B, Q]; -100 where there is nothing to learn."""
    image_places: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    pictures: list[torch.Tensor] = field(default_factory=list)
    """One float tensor [n, 3, H, W] for each image slot."""
    blocks: list[list[Block]] = field(default_factory=list)
    """Those of each example, or none."""


def collate(examples: list[Example], image_count: int = 0, *, in_blocks: bool = False) -> Batch:
    """Pad examples to one length and work out who sees whom; ``in_blocks`` pays where they are
    long."""
    count, length = len(examples), max(len(e) for e in examples)
    ids, positions = np.zeros((count, length), np.int64), np.zeros((count, length), np.int64)
    seen = np.zeros((count, length, length), bool)
    image = np.zeros((count, length), np.int64)
    learn: list[list[tuple[int, int]]] = []
    for b, example in enumerate(examples):
        learn.append(_place_runs(example.runs, ids[b], positions[b], seen[b], image[b]))
    seen &= np.tri(length, dtype=bool)
    seen |= np.eye(length, dtype=bool)
    most = max(len(pairs) for pairs in learn)
    places, targets = np.zeros((count, most), np.int64), np.full((count, most), -100, np.int64)
    for b, pairs in enumerate(learn):
        places[b, : len(pairs)] = [p for p, _ in pairs]
        targets[b, : len(pairs)] = [t for _, t in pairs]
    together = None
    if image_count:
        together = torch.from_numpy(
            (image[:, :, None] == image[:, None, :]) & (image[:, :, None] > 0)
        )
    batch = Batch(
        ids=torch.from_numpy(ids),
        positions=torch.from_numpy(positions),
        seen=torch.from_numpy(seen),
        together=together,
        places=torch.from_numpy(places),
        targets=torch.from_numpy(targets),
    )
    if in_blocks:
        batch.blocks = [blocks_of(example.runs, WINDOW) for example in examples]
    for slot in range(image_count):
        rows, columns = np.nonzero(image == slot + 1)
        batch.image_places.append((torch.from_numpy(rows), torch.from_numpy(columns)))
        batch.pictures.append(torch.from_numpy(np.stack([e.pictures[slot] for e in examples])))
    return batch


def _place_runs(
    runs: list[Run], ids: np.ndarray, positions: np.ndarray, seen: np.ndarray, image: np.ndarray
) -> list[tuple[int, int]]:
    """Write one example's runs into its rows; return (place, next token) of what is learned."""
    spans: list[tuple[int, int]] = []
    ends: list[int] = []
    learn: list[tuple[int, int]] = []
    at, slot = 0, 0
    for run in runs:
        n = len(run.tokens)
        first = ends[run.parent] if run.parent >= 0 else 0
        ids[at : at + n] = run.tokens
        positions[at : at + n] = np.arange(first, first + n)
        ancestor = len(spans)
        spans.append((at, at + n))
        ends.append(first + n)
        while ancestor >= 0:
            a, b = spans[ancestor]
            seen[at : at + n, a:b] = True
            ancestor = runs[ancestor].parent
        for start, size in run.images:
            slot += 1
            image[at + start : at + start + size] = slot
        if run.learn_from is not None:
            chosen = (i for i in range(run.learn_from, n) if i not in run.forced)
            learn += [(at + i - 1, run.tokens[i]) for i in chosen]
        at += n
    return learn
