"""``gemma-edge describe``."""
