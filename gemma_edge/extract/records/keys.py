"""By what a document is known when a batch is run again: its bytes, what is asked of it, of whom,
and by which version. Pure."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from gemma_edge import __version__
from gemma_edge.documents.record_lines import task_digest

_LENGTH = 32  # hexadecimal digits: 128 bits, far more than any archive has documents


def settings_key(settings: Mapping[str, Any]) -> str:
    """A hash of all that could change an answer but the document; ``settings`` is plain data:
    the recipe's fingerprint, the model, the options."""
    return task_digest({**settings, "version": __version__})


def content_key(data: bytes, settings: str) -> str:
    """The key of a document with these bytes under these settings, whatever its name."""
    return sha256(sha256(data).digest() + settings.encode("ascii")).hexdigest()[:_LENGTH]
