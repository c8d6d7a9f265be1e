"""The page on which a person compares values with their document."""
