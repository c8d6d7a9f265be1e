"""Ask the machine: what it has, what we may use of it, and what stands in the way."""
