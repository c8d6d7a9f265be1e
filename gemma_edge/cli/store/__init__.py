"""The commands that fetch, list, prove and delete model files."""
