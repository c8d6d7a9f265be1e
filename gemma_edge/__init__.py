"""gemma-edge: Gemma 4 on the computer you have; nothing leaves it."""

__version__ = "0.1.0"
