"""The demo model's tokenizer: 2048 tokens, byte-pair merges inside runs of letters only.

llama.cpp tokenizes ``gemma4`` text line by line with no split into words, so the two sides agree
exactly when no merge crosses a word: digits and punctuation stay single, and the only other merges
build runs of 2, 4, 8 and 16 spaces and put a space before a common word of the prompts, which
halves what the rules of a recipe take. ``verify.check_tokenizer`` compares.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

SPACE = "\u2581"
# Gemma 4's control strings. Ids 0 to 4 as in the real vocabulary: llama.cpp takes row 0 of the
# per-layer embeddings for image positions.
SPECIALS = (
    "<pad>", "<eos>", "<bos>", "<unk>", "<mask>",
    "<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>",
    '<|"|>', "<|think|>", "<|channel>", "<channel|>", "<|turn>", "<turn|>",
    "<|image>", "<image|>", "<|image|>", "<|audio>", "<audio|>", "<|audio|>", "<|video|>",
)  # fmt: skip
# Of these the public files show some in the detokenized text (token type USER_DEFINED). They do so
# with <|tool_response> too, but llama.cpp makes a control token of it because it ends generation.
VISIBLE = frozenset(
    ("<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "<tool_response|>", '<|"|>')
)  # fmt: skip
ACCENTED = "äöüßéèêáàâíóôúçñåæøÄÖÜÉÁÅØÇ€£°§–—’“”•×ëïîûùœÀÈÓÚÑºª¿¡"
PIECE = re.compile(r" *[^\W\d_]+| +|.", re.DOTALL)
SPACED = 240
"""Words that have a token with a space before them."""
CONTROLS = re.compile("(" + "|".join(re.escape(s) for s in SPECIALS) + ")")
SHOWN = re.compile("(" + "|".join(re.escape(s) for s in SPECIALS if s in VISIBLE) + ")")

Merge = tuple[str, str]


def space_merges() -> list[Merge]:
    """The merges that build runs of 2, 4, 8 and 16 spaces."""
    return [(SPACE * n, SPACE * n) for n in (1, 2, 4, 8)]


def learn_merges(words: Counter[str], count: int) -> list[Merge]:
    """Learn ``count`` byte-pair merges from a count of words (runs of letters)."""
    parts = [(list(word), n) for word, n in sorted(words.items())]
    pairs: Counter[Merge] = Counter()
    where: defaultdict[Merge, set[int]] = defaultdict(set)
    for i, (symbols, n) in enumerate(parts):
        for pair in zip(symbols, symbols[1:], strict=False):
            pairs[pair] += n
            where[pair].add(i)
    merges: list[Merge] = []
    while len(merges) < count:
        best = max(pairs, key=lambda p: (pairs[p], p))
        merges.append(best)
        for i in sorted(where[best]):
            symbols, n = parts[i]
            for pair in zip(symbols, symbols[1:], strict=False):
                pairs[pair] -= n
            symbols[:] = _merged(symbols, best)
            for pair in zip(symbols, symbols[1:], strict=False):
                pairs[pair] += n
                where[pair].add(i)
        del pairs[best]
    return merges


def _merged(symbols: list[str], pair: Merge) -> list[str]:
    """``symbols`` with each neighbouring ``pair``, from the left, joined."""
    out: list[str] = []
    i = 0
    while i < len(symbols):
        if i + 1 < len(symbols) and (symbols[i], symbols[i + 1]) == pair:
            out.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out


def spaced_merges(merges: list[Merge], prompts: Iterable[str]) -> list[Merge]:
    """The merges that put a space before a common lower-case word of the prompts. They come last,
    so that a word is whole before. None has one before ``null``: the space before a value of an
    answer is forced, and with such a token it would be a choice, which training never shows."""
    known = {a + b for a, b in merges}
    counts = Counter(
        word for text in prompts for word in re.findall(r"(?<= )[a-z]{2,}(?![^\W\d_])", text)
    )
    words = [word for word, _ in counts.most_common() if word in known - {"null"}]
    return [(SPACE, word) for word in words[:SPACED]]


def train(texts: Iterable[str], size: int, prompts: Iterable[str]) -> Tokenizer:
    """Build a vocabulary of exactly ``size`` tokens from sample texts, and from what the product
    asks."""
    words: Counter[str] = Counter()
    alphabet = [chr(c) for c in range(33, 127)] + [SPACE, *ACCENTED]
    known = set(alphabet)
    for text in texts:
        words.update(w for w in re.findall(r"[^\W\d_]{2,}", text) if known.issuperset(w))
    words = Counter({w: n for w, n in words.items() if n > 1})
    base = [*SPECIALS, "\n", *(f"<0x{i:02X}>" for i in range(256)), *alphabet]
    merges = space_merges()
    merges += learn_merges(words, size - len(base) - len(merges) - SPACED)
    merges += spaced_merges(merges, prompts)
    vocab = list(dict.fromkeys([*base, *(a + b for a, b in merges)]))
    vocab += [f"<unused{i}>" for i in range(size - len(vocab))]
    return Tokenizer(vocab, merges)


class Tokenizer:
    """Encodes and decodes as llama.cpp does for a file written by ``export.py``."""

    def __init__(self, vocab: list[str], merges: list[Merge]) -> None:
        self.vocab = vocab
        self.merges = merges
        self.ids = {token: i for i, token in enumerate(vocab)}
        self._ranks = {pair: i for i, pair in enumerate(merges)}
        self._piece = lru_cache(maxsize=200_000)(self._encode_piece)

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read what ``save`` wrote."""
        data = json.loads(path.read_text(encoding="utf-8"))
        return cls(data["vocab"], [(a, b) for a, b in data["merges"]])

    def save(self, path: Path) -> None:
        """Write vocabulary and merges as JSON."""
        data = {"vocab": self.vocab, "merges": self.merges}
        path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")

    def encode(self, text: str, specials: bool = False) -> list[int]:
        """Token ids of ``text``; with ``specials`` all control strings in it become their tokens.

        Those in ``VISIBLE`` always do: llama.cpp looks for USER_DEFINED tokens in any text.
        """
        out: list[int] = []
        for i, part in enumerate((CONTROLS if specials else SHOWN).split(text)):
            out += [self.ids[part]] if i % 2 else self._plain(part)
        return out

    def _plain(self, text: str) -> list[int]:
        out: list[int] = []
        for piece in PIECE.findall(text.replace(SPACE, " ")):
            out += self._piece(piece)
        return out

    def _encode_piece(self, piece: str) -> list[int]:
        symbols = list(piece.replace(" ", SPACE))
        while len(symbols) > 1:
            pairs = [p for p in zip(symbols, symbols[1:], strict=False) if p in self._ranks]
            if not pairs:
                break
            symbols = _merged(symbols, min(pairs, key=self._ranks.__getitem__))
        out: list[int] = []
        for symbol in symbols:
            known = self.ids.get(symbol)
            out += (
                [known]
                if known is not None
                else [self.ids[f"<0x{b:02X}>"] for b in symbol.encode()]
            )
        return out

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids; control tokens appear as their strings."""
        raw = b""
        for token in (self.vocab[i] for i in ids):
            byte = re.fullmatch(r"<0x([0-9A-F]{2})>", token)
            raw += bytes([int(byte[1], 16)]) if byte else token.replace(SPACE, " ").encode()
        return raw.decode("utf-8", "replace")
