"""Checks that llama.cpp reads text exactly as the trainer does. Needs ``llama-cpp-python``."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import llama_cpp

from demo_model.texts import sample_texts
from demo_model.tokenizer import SPECIALS, Tokenizer


def odd_texts(seed: int, count: int) -> list[str]:
    """Texts of any characters: runs of spaces and lines, control strings, all of Unicode."""
    rng = Random(f"{seed}/odd")
    pool = [
        *" \n\t-.,:;'\"{}[]aAzZ09äß€",
        "  ",
        "    ",
        "\n\n",
        "the",
        "Invoice",
        "\u2581",
        *SPECIALS,
    ]
    out = []
    for _ in range(count):
        text = ""
        for _ in range(rng.randint(1, 30)):
            kind = rng.random()
            if kind < 0.5:
                text += rng.choice(pool)
            elif kind < 0.7:
                text += " " * rng.randint(1, 60)
            elif kind < 0.8:
                text += chr(rng.randint(32, 126))
            else:
                code = rng.choice((rng.randint(161, 0x2FFF), rng.randint(0x3000, 0x10FFFF)))
                text += "" if 0xD800 <= code <= 0xDFFF else chr(code)
        out.append(text)
    return out


def check_tokenizer(model: Path, tokenizer: Tokenizer, count: int = 2000) -> int:
    """Compare both tokenizers on odd texts and usual ones; return how many differ."""
    llm = llama_cpp.Llama(str(model), vocab_only=True, verbose=False)
    texts = odd_texts(1, count) + list(sample_texts(7, count // 10))
    wrong = 0
    for text in texts:
        for specials in (False, True):
            ours = tokenizer.encode(text, specials)
            theirs = llm.tokenize(text.encode(), add_bos=False, special=specials)
            if ours != theirs:
                wrong += 1
                if wrong < 6:
                    names = [tokenizer.vocab[i] for i in ours], [tokenizer.vocab[i] for i in theirs]
                    print(
                        f"differs: {text!r} {specials}\n {names[0]}\n {names[1]}", file=sys.stderr
                    )
    print(f"{2 * len(texts)} texts tokenized by both sides, {wrong} differ")
    llm.close()
    return wrong
