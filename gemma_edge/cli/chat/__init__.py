"""``gemma-edge chat`` and ``sessions``."""
