"""Documents to JSON that a schema accepts. Pure Python over the Engine."""

from importlib.resources import files


def read_data(name: str) -> str:
    """The text of a data file of this package, such as ``prompts/more.txt``."""
    return files(__name__).joinpath(*name.split("/")).read_text(encoding="utf-8")
