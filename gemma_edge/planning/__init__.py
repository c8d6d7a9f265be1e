"""Hardware, a model and constraints to a plan: what goes where, and whether it fits."""
