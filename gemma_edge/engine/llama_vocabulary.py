"""The vocabulary of a GGUF file as llguidance wants it; with or without the weights. One of the
few doors to ``llama_cpp``."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import llama_cpp

from gemma_edge.engine.constraint import GrammarVocabulary
from gemma_edge.engine.llama_model import LlamaModel


@contextmanager
def open_vocabulary(path: Path) -> Iterator[GrammarVocabulary]:
    """The vocabulary alone, for as long as the file is open; its weights are not read.

    Raises:
        ModelError: llama.cpp cannot load the file.
    """
    model = LlamaModel(path, vocabulary_only=True)
    try:
        yield grammar_vocabulary(model)
    finally:
        model.close()


def grammar_vocabulary(model: LlamaModel) -> GrammarVocabulary:
    """llguidance marks control tokens by a leading 0xff, so that no text can match them."""
    pieces = [
        b"\xff" + piece if model.is_control(token) else piece
        for token, piece in enumerate(model.pieces())
    ]
    ends = [token for token in range(model.vocab_tokens) if model.ends(token)]
    tokenize = llama_cpp.llama_cpp._lib.llama_tokenize
    return GrammarVocabulary(pieces, model.vocab, ctypes.cast(tokenize, ctypes.c_void_p), ends)
