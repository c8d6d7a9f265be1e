"""One pull in a process of its own: ``python -m tests.store.pull '{"cache_dir": …}'``.

Prints ``started``, then the path; errors go to stderr and make the exit status.
"""

import json
import sys
from pathlib import Path

from gemma_edge.errors import GemmaEdgeError
from gemma_edge.store.fetch import ensure
from gemma_edge.store.remote import Progress, RemoteFile, StoreSettings

_PATHS = ("data_dir", "cache_dir", "models_dir", "project_lock")


def main() -> int:
    """See above; ``limit_bytes`` is the largest file this process may write."""
    options = json.loads(sys.argv[1])
    files = [RemoteFile(*parts) for parts in options.pop("files")]
    limit = options.pop("limit_bytes", None)
    if limit is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    folders = {key: Path(options.pop(key)) for key in _PATHS if key in options}
    told = False

    def listen(event: Progress) -> None:
        nonlocal told
        if event.done_bytes and not told:
            told = True
            print("started", flush=True)

    try:
        for path in ensure(files, StoreSettings(**folders, **options), on_progress=listen):
            print(path, flush=True)
    except GemmaEdgeError as error:
        print(error.message, error.hint, sep="\n", file=sys.stderr)
        return int(error.exit_status)
    return 0


if __name__ == "__main__":
    sys.exit(main())
