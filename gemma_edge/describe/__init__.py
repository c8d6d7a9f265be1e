"""Pictures to words. Pure Python over the Engine."""
