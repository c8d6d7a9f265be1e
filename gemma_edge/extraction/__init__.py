"""Documents to JSON that a schema accepts. Pure Python over the Engine."""
