"""Files that people name: read whole, within a limit, or refused in words."""

import os
from pathlib import Path

from gemma_edge.errors import InputError
from gemma_edge.units import render_bytes

StrPath = str | os.PathLike[str]


def read_file(path: StrPath, *, max_bytes: int) -> bytes:
    """The bytes of ``path``; a pipe such as ``<(command)`` is read too.

    Raises:
        InputError: missing, a folder, not readable, empty, or larger than ``max_bytes``.
    """
    name = shown(path)
    try:
        # A folder is asked for first: opening one is "permission denied" on Windows.
        if Path(path).is_dir():
            raise InputError(f"{name} is a folder", hint="name a file in it")
        with Path(path).open("rb") as file:
            data = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise InputError(f"{name} does not exist", hint=_nearest(path)) from None
    except PermissionError:
        raise InputError(
            f"{name} may not be read (permission denied)", hint="check its owner and its mode"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(
            f"{name} cannot be read ({reason})", hint="check the name and the disk"
        ) from None
    if not data:
        raise InputError(f"{name} is empty (0 bytes)", hint="check how it was saved or copied")
    if len(data) > max_bytes:
        raise InputError(
            f"{name} is larger than {render_bytes(max_bytes)}, the most that is read",
            hint="split it, or save it smaller",
        )
    return data


def shown(name: StrPath) -> str:
    """A name that is safe in one line of a terminal: what cannot be printed becomes ``?``."""
    text = os.fspath(name)
    return "".join(char if char.isprintable() else "?" for char in text) or "''"


def _nearest(path: StrPath) -> str:
    """Where the file is not: the folder that is missing, or the folder that was searched."""
    parent = Path(path).parent
    if not parent.is_dir():
        return f"there is no folder {shown(parent)} either"
    return f"check the name; it was looked for in {shown(parent.resolve())}"
