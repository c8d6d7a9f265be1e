"""The small language of what is computed and checked."""
