"""From flags to an open engine."""
