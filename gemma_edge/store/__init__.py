"""Model files: fetched once, checked, and kept where other programs find them too."""
