"""The parts of ``scripts/fuzz.py``: hostile inputs, what must come of them, and the worker."""
