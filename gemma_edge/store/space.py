"""Free disk space, before the first byte is fetched."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from gemma_edge.errors import DoesNotFit, GemmaEdgeError
from gemma_edge.units import render_bytes

RESERVE_BYTES = 64 << 20  # for the lock, the log and whatever else writes meanwhile


def check_space(needed_bytes: Mapping[Path, int]) -> None:
    """Folder -> bytes still to come; folders on one disk add up. They need not exist yet.

    Raises:
        DoesNotFit: with both numbers.
    """
    disks: dict[int, tuple[Path, int]] = {}
    for folder, count in needed_bytes.items():
        existing = _existing(folder)
        device = os.stat(existing).st_dev
        disks[device] = (existing, disks.get(device, (existing, 0))[1] + count)
    for existing, count in disks.values():
        free = shutil.disk_usage(existing).free
        if count and count + RESERVE_BYTES > free:
            raise DoesNotFit(
                f"{render_bytes(count)} are still to come, {render_bytes(free)} are free "
                f"on the disk of {existing}",
                hint="free some space (gemma-edge list, gemma-edge rm NAME), or choose another "
                "disk: HF_HOME, --models-dir",
            )


def _existing(folder: Path) -> Path:
    for path in (folder, *folder.parents):
        if path.exists():
            return path
    raise GemmaEdgeError(f"{folder} is on a disk that is not there", hint="choose another folder")
