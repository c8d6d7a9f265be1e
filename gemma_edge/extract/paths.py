"""The way to a value in extracted data. Pure."""

ValuePath = tuple[str | int, ...]  # ("items", 2, "qty")


def render_path(path: ValuePath) -> str:
    """``items[2].qty``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f"{'.' if text else ''}{step}"
    return text
