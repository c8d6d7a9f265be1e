"""The cache's layout where several write to it at once."""

import threading
from pathlib import Path

from gemma_edge.store.files import cache_destination, publish
from gemma_edge.store.remote import RemoteFile

COMMIT = "0" * 40


def test_two_files_of_one_repository_end_together(tmp_path: Path) -> None:
    """Both threads write the same ref."""
    errors: list[BaseException] = []

    def work(number: int) -> None:
        name = f"file-{number}.gguf"
        place = cache_destination(
            tmp_path, RemoteFile("a/b", name), COMMIT, f"{number}" * 64, "main"
        )
        place.blob.parent.mkdir(parents=True, exist_ok=True)
        place.blob.write_bytes(b"GGUF")
        try:
            for _ in range(300):
                publish(place)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    folder = tmp_path / "models--a--b"
    assert [path.name for path in (folder / "refs").iterdir()] == ["main"]
    assert len(list((folder / "snapshots" / COMMIT).iterdir())) == 4
