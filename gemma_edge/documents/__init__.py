"""Documents and images that people name, read safely: a path or bytes to text, words and pixels."""
