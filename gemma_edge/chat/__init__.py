"""A conversation over the Engine protocol: what was said, kept and summed up."""
