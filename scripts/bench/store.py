"""What fetching and proving cost: our pull against ``hf download`` of the same file from the same
local server, and our hashing against ``sha256sum``. In turns, each into an empty folder.

    download_ratio  our bytes a second / those of hf download, starting included     goal 1.0
                    (ours has the file hashed and on the disk then; the other one not)
    verify_ratio    seconds of our hashing / seconds of sha256sum                    goal 1.2

Linux and macOS; sha256sum is left out where there is none.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from measure import note

from gemma_edge.store.files import hash_file
from gemma_edge.trust import find_program

REPO, NAME, COMMIT = "bench/file", "file.gguf", "0123456789abcdef0123456789abcdef01234567"
GOALS = {"download_ratio": 1.0, "verify_ratio": 1.2}
_BLOCK = 1 << 22
_OURS = (
    "import sys; from pathlib import Path\n"
    "from gemma_edge.store.fetch import ensure\n"
    "from gemma_edge.store.remote import RemoteFile, StoreSettings\n"
    "work = Path(sys.argv[1]); settings = StoreSettings(data_dir=work, cache_dir=work / 'hub')\n"
    "print(ensure([RemoteFile(sys.argv[2], sys.argv[3])], settings)[0])\n"
)


def measure(size_bytes: int, rounds: int) -> dict[str, Any]:
    """All figures, by name."""
    with tempfile.TemporaryDirectory(prefix="gemma-edge-bench-") as name:
        work = Path(name)
        file = work / NAME
        digest = _write(file, size_bytes)
        hashing: dict[str, Callable[[], object]] = {"ours": partial(hash_file, file)}
        if tool := find_program("sha256sum", os.environ):
            command = [tool, str(file)]
            hashing["sha256sum"] = partial(subprocess.run, command, check=True, capture_output=True)
        with _server(file, digest) as endpoint:
            pulls = {
                "hf download": partial(_pull, work, endpoint, digest, _their_command()),
                "ours": partial(_pull, work, endpoint, digest, [sys.executable, "-c", _OURS]),
            }
            pulled = _alternate(pulls, rounds, partial(shutil.rmtree, work / "pull"))
        hashed = _alternate(hashing, rounds)
    result = {
        "download_ratio": _ratio(pulled["hf download"], pulled["ours"]),
        "size_bytes": size_bytes,
    }
    if "sha256sum" in hashed:
        result["verify_ratio"] = _ratio(hashed["ours"], hashed["sha256sum"])
    return result


def _write(path: Path, size_bytes: int) -> str:
    """Random bytes; their sha256."""
    digest = hashlib.sha256()
    with path.open("wb") as stream:
        for start in range(0, size_bytes, _BLOCK):
            block = os.urandom(min(_BLOCK, size_bytes - start))
            digest.update(block)
            stream.write(block)
    return digest.hexdigest()


@contextmanager
def _server(file: Path, digest: str) -> Iterator[str]:
    """A process that answers as the hub does; its address."""
    command = [sys.executable, str(Path(__file__).with_name("store_server.py"))]
    process = subprocess.Popen(
        [*command, str(file), digest, COMMIT], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(timeout=30)


def _their_command() -> list[str]:
    return [str(Path(sys.executable).with_name("hf")), "download"]


def _pull(work: Path, endpoint: str, digest: str, command: list[str]) -> None:
    """Into an empty folder; that the right file is there is looked at once."""
    folder = work / "pull"
    variables = {
        **os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(folder), "NO_PROXY": "127.0.0.1",
        "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    ours = command[-1] == _OURS
    arguments = [str(folder), REPO, NAME] if ours else [REPO, NAME]
    subprocess.run([*command, *arguments], env=variables, check=True, capture_output=True)
    blob = next(folder.glob("hub/models--*/blobs/*"))
    if blob.name != digest or blob.stat().st_size != (work / NAME).stat().st_size:
        raise RuntimeError(f"{blob} is not the file that was served")


def _alternate(
    subjects: Mapping[str, Callable[[], object]],
    rounds: int,
    clean: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds of each run: one uncounted round, then ``rounds``, every second one reversed.
    ``clean`` comes after each run, outside its time."""
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(rounds + 1):
        for name in list(subjects) if number % 2 else reversed(list(subjects)):
            began = time.perf_counter()
            subjects[name]()
            taken = time.perf_counter() - began
            if number:
                seconds[name].append(taken)
            note(f"round {number} of {rounds}  {name:12} {taken:7.2f} s")
            clean()
    return seconds


def _ratio(above: list[float], below: list[float]) -> dict[str, Any]:
    """Of the medians, with the spread of the rounds' own ratios."""
    pairs = [first / second for first, second in zip(above, below, strict=True)]
    medians = [statistics.median(taken) for taken in (above, below)]
    return {
        "ratio": round(medians[0] / medians[1], 3),
        "seconds": [round(taken, 3) for taken in medians],
        "spread": [round(min(pairs), 3), round(max(pairs), 3)],
        "rounds": len(pairs),
    }


def main() -> int:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size-mb", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    result = measure(options.size_mb * 1_000_000, options.rounds)
    for name in result.keys() & GOALS:
        ratio, goal = result[name]["ratio"], GOALS[name]
        reached = ratio <= goal if name == "verify_ratio" else ratio >= goal
        note(f"{name} {ratio}, goal {goal}: {'reached' if reached else 'missed'}")
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
