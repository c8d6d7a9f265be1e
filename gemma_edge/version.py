"""The version of the package; the newest entry of the changelog has the same."""

__version__ = "0.1.0"
