"""``gemma-edge plan``, and the way from flags to a plan."""
