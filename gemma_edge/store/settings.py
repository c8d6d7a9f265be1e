"""What the store may touch, as one value; the command line makes it from its ``Context``."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """Folders, network and patience.

    ``data_dir`` is ours alone: the person's lock file, the hashes that were checked, imported
    files. Where ``cache_dir``, ``endpoint`` and ``token`` are None, huggingface_hub's own
    conventions hold (``HF_HUB_CACHE``, ``HF_HOME``, ``HF_ENDPOINT``, ``HF_TOKEN``, the token file,
    the proxy variables). ``models_dir`` asks for plain files,
    ``models_dir/owner/repo/file.gguf``, as other local runners lay them out.
    """

    data_dir: Path
    cache_dir: Path | None = None
    models_dir: Path | None = None
    project_lock: Path | None = None
    offline: bool = False
    endpoint: str | None = None
    token: str | None = None
    stall_seconds: float = 30.0  # no byte for so long: the connection is given up
    attempts: int = 6  # in a row without a single new byte
    backoff_seconds: float = 1.0  # before the second attempt; doubles up to 30 s
    parallel: int = 2  # files at once; more only shares the same line
    clock: Callable[[], float] = time.time  # seconds since 1970, for dates and speed

    @property
    def user_lock(self) -> Path:
        """The person's lock file."""
        return self.data_dir / "gemma-edge.lock"

    @property
    def import_dir(self) -> Path:
        """Where files that were imported go."""
        return self.models_dir or self.data_dir / "models"
