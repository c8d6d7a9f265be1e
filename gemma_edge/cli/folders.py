"""Our own folders. Loads no library."""

from pathlib import Path

from gemma_edge.cli.context import Context

SESSIONS, HISTORY, PERSONAS, RECIPES = "sessions", "history", "personas", "recipes"


def data_dir(context: Context) -> Path:
    """Our own folder: ``XDG_DATA_HOME``, ``~/Library/Application Support``, ``%LOCALAPPDATA%``."""
    told = context.environment.get
    if context.platform == "win32":
        base = Path(told("LOCALAPPDATA") or context.home / "AppData" / "Local")
    elif context.platform == "darwin":
        base = context.home / "Library" / "Application Support"
    else:
        base = Path(told("XDG_DATA_HOME", ""))
        if not base.is_absolute():  # the specification: a relative one is to be ignored
            base = context.home / ".local" / "share"
    return base / "gemma-edge"


def sessions_dir(context: Context) -> Path:
    """Where conversations are kept."""
    return data_dir(context) / SESSIONS


def history_path(context: Context) -> Path:
    """Where the lines that were typed are kept, over all conversations."""
    return data_dir(context) / HISTORY


def personas_dir(context: Context) -> Path:
    """Where a person's own personas are."""
    return data_dir(context) / PERSONAS


def recipes_dir(context: Context) -> Path:
    """Where a person's own recipes are."""
    return data_dir(context) / RECIPES
