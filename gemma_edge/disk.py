"""Files that must survive a loss of power: synced with their folder before they are relied on."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """So that a new name in it survives a loss of power. Windows cannot, and need not."""
    if os.name == "nt":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
