"""Ask llama.cpp itself how large its buffers will be, for a model that need not be here.

A child process (``dry_run_child.py``) loads a skeleton of the file with ``no_alloc`` and makes a
context: 20 to 60 ms a placement, 10 to 15 ms a context more. Answers are kept.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gemma_edge.errors import EngineError
from gemma_edge.fit.measure import Compute
from gemma_edge.fit.places import RAM
from gemma_edge.fit.plan import ALL_LAYERS, Placement
from gemma_edge.fit.report import parse_report
from gemma_edge.fit.ledger import Allocated
from gemma_edge.fit.shape import Shape
from gemma_edge.fit.skeleton import write_skeleton

_CHILD = Path(__file__).with_name("dry_run_child.py")
LIMIT_SECONDS = 60.0  # for one answer; a GPU's driver may hang
_ALL = 999  # more layers than any model has


class DryRun:
    """A child process that measures; a context manager. ``endpoints`` are RPC servers ("host:port")
    whose devices it sees too."""

    def __init__(self, endpoints: Sequence[str] = ()) -> None:
        self._endpoints = endpoints
        self._process: subprocess.Popen[str] | None = None
        self._stack = contextlib.ExitStack()
        self._folder: Path | None = None
        self._skeletons: dict[int, tuple[Shape, Path]] = {}  # by identity; the shape is kept alive
        self._answers: dict[tuple[object, ...], Compute] = {}

    def __enter__(self) -> "DryRun":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._stack.close()
        self._folder = None

    def measure(self, shape: Shape, placement: Placement) -> Compute:
        """What llama.cpp would allocate for this placement on this machine.

        Raises:
            EngineError: llama.cpp cannot load the model, or has no such device; its words.
        """
        key = (id(shape), json.dumps(_question("", placement)))
        if key not in self._answers:
            self._answers[key] = _compute(self.report(shape, placement))
        return self._answers[key]

    def report(self, shape: Shape, placement: Placement) -> tuple[Allocated, ...]:
        """Its buffers as it names them.

        Raises:
            EngineError: as above.
        """
        answer = self._ask(_question(str(self._skeleton(shape)), placement))
        if answer["error"]:
            raise EngineError(f"llama.cpp cannot plan {shape.header.path.name}: {answer['error']}")
        return parse_report(answer["lines"])

    def _skeleton(self, shape: Shape) -> Path:
        if id(shape) not in self._skeletons:
            if self._folder is None:
                # Windows keeps a file that llama.cpp has open; the system removes it later.
                folder = tempfile.TemporaryDirectory("-gemma-edge", ignore_cleanup_errors=True)
                self._folder = Path(self._stack.enter_context(folder))
            path = self._folder / f"{len(self._skeletons)}.gguf"
            try:
                write_skeleton(shape, path)
            except OSError as error:
                raise EngineError(
                    f"a dry run needs room for a file in {self._folder}: {error.strerror or error}",
                    hint="set TMPDIR to a folder on a disk",
                ) from error
            self._skeletons[id(shape)] = (shape, path)
        return self._skeletons[id(shape)][1]

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        process = self._process or self._start()
        assert process.stdin
        assert process.stdout
        line = ""
        limit = threading.Timer(LIMIT_SECONDS, process.kill)
        limit.start()
        with contextlib.suppress(OSError):  # a pipe that nobody holds any more
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        limit.cancel()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        words = self._last_words()
        self._stop()
        return {"lines": [], "error": words}

    def _start(self) -> subprocess.Popen[str]:
        # A file and no pipe: nobody reads along. The stack closes it.
        words = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._words = self._stack.enter_context(words)
        self._process = subprocess.Popen(
            [sys.executable, str(_CHILD), *self._endpoints],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            encoding="utf-8",
        )
        return self._process

    def _last_words(self) -> str:
        """The line with which it died: ``GGML_ASSERT(...) failed`` or a Python error."""
        assert self._process
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        self._words.seek(0)
        lines = [line.strip() for line in self._words.read().splitlines() if line.strip()]
        asserted = [line for line in lines if "GGML_ASSERT" in line or "fatal" in line.lower()]
        return (asserted or lines or [f"it ended with status {self._process.returncode}"])[-1]

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                assert stream
                stream.close()  # the child ends with its questions
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _question(model: str, placement: Placement) -> dict[str, Any]:
    layers = placement.gpu_layers
    return {
        "model": model,
        "repack": placement.repack,
        "devices": list(placement.devices) if layers else [],
        "gpu_layers": (_ALL if layers == ALL_LAYERS else layers) if placement.devices else 0,
        "split": list(placement.split),
        "lazy": placement.lazy,
        "cpu_expert_layers": placement.cpu_expert_layers,
        "context": placement.context_tokens,
        "batch": placement.batch_tokens,
        "kv": placement.kv_type,
    }


def _compute(rows: Sequence[Allocated]) -> Compute:
    def by_place(part: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for row in rows:
            if row.part == part:
                found[row.place or RAM] = found.get(row.place or RAM, 0) + row.size_bytes
        return found

    cache = sum(row.size_bytes for row in rows if row.part.startswith("KV"))
    return Compute(compute=by_place("compute"), output=by_place("output"), cache=cache)
