"""``gemma-edge extract``, ``recipes`` and ``schema``."""
