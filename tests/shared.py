"""Data from outside the repository; tests with it are made for what is here."""

from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
# The real tokenizer of Gemma 4, without weights: 16 MB, also in llama-cpp-python's source archive.
VOCABULARY = DATA / "ggml-vocab-gemma-4.gguf"
DOCUMENTS = DATA / "documents"
HOSTILE = DATA / "hostile"
SCHEMAS = DATA / "schemas"
VOCABULARIES = ["demo", "gemma"] if VOCABULARY.exists() else ["demo"]
