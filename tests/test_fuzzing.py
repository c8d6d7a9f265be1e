"""Hostile inputs of every kind that is read, a few of them; ``scripts/fuzz.py`` runs the same for
as long as one likes. What it found lies in ``tests/data/fuzz``, each a file ``TARGET@NAME``."""

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from fuzzing.inputs import Case
from fuzzing.targets import TARGETS, Target, Wrong
from fuzzing.worker import ANSWER, CONTAINED, FINDING, LINE, Outcome, attempt, case_of, shrink
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from gemma_edge.errors import InputError

ROOT = Path(__file__).parents[1]
FOUND = sorted((ROOT / "tests" / "data" / "fuzz").iterdir())
EXAMPLES = {"text": 5, "pdfs": 4, "schemas": 8, "recipes": 8}  # what takes long


def tried(name: str, case: Case, folder: Path) -> Outcome:
    folder.mkdir(exist_ok=True)
    before = Path.cwd()
    os.chdir(folder)
    try:
        return attempt(TARGETS[name], case, folder)
    finally:
        os.chdir(before)


@pytest.mark.parametrize("name", TARGETS)
def test_an_answer_or_a_line(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    @settings(
        max_examples=EXAMPLES.get(name, 15), database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(some.randoms(use_true_random=False))
    def run(rng: Random) -> None:
        done = tried(name, TARGETS[name].case(rng), tmp_path_factory.mktemp("fuzz"))
        assert done.kind in (ANSWER, LINE, CONTAINED), done.what

    run()


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_what_was_found(path: Path, tmp_path: Path) -> None:
    target, _, name = path.name.partition("@")
    done = tried(target, Case(name, path.read_bytes()), tmp_path / "f")
    assert done.kind in (ANSWER, LINE), done.what


# The fuzzer itself.


def fake(run: object, **more: object) -> Target:
    return Target(list, run, **more)  # type: ignore[arg-type]


def refuse(message: str, hint: str = "another") -> Target:
    def run(_case: Case, _folder: Path) -> None:
        raise InputError(message, hint=hint)

    return fake(run)


def test_what_is_a_finding(tmp_path: Path) -> None:
    def fail(_case: Case, _folder: Path) -> None:
        raise IndexError("list index out of range")

    def wrong(_case: Case, _folder: Path) -> None:
        raise Wrong("not so")

    def large(_case: Case, _folder: Path) -> None:
        bytearray(b"x" * (64 << 20))

    case = Case("a", b"x")
    assert attempt(fake(lambda *_: None), case, tmp_path).kind == ANSWER
    assert attempt(refuse("a is damaged"), case, tmp_path).kind == LINE
    assert attempt(refuse("a is damaged", "save it\nanew"), case, tmp_path).kind == FINDING
    failed = attempt(fake(fail), case, tmp_path)
    assert (failed.kind, "IndexError: list index" in failed.what) == (FINDING, True)
    assert attempt(fake(wrong), case, tmp_path).kind == FINDING
    # A reader in a child may fail, where the command makes a line of it.
    assert attempt(fake(fail, door=refuse("damaged").run), case, tmp_path).kind == CONTAINED
    assert attempt(fake(fail, door=fail), case, tmp_path).kind == FINDING
    if sys.platform == "linux":
        assert attempt(fake(large, memory_bytes=32 << 20), case, tmp_path).kind == FINDING
        assert attempt(fake(large, memory_bytes=256 << 20), case, tmp_path).kind == ANSWER


def test_a_finding_is_made_small() -> None:
    case = Case("a", b"good " * 300 + b"BAD" + b" good" * 300)
    assert shrink(case, lambda each: b"BAD" in each.data).data == b"BAD"


def test_the_same_seed_makes_the_same_input() -> None:
    code = (
        "import sys; from hashlib import sha256; from fuzzing.worker import case_of; "
        "print([sha256(case_of(n, 7, 5).data).hexdigest() for n in sys.argv[1:]])"
    )
    paths = os.pathsep.join((str(ROOT), str(ROOT / "scripts")))
    said = {
        subprocess.run(
            [sys.executable, "-c", code, *TARGETS], check=True, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": hash_seed}, timeout=300,
        ).stdout
        for hash_seed in ("1", "2")
    }  # fmt: skip
    assert len(said) == 1
    assert case_of("html", 7, 5) != case_of("html", 7, 6)


@pytest.mark.skipif(sys.platform == "win32", reason="its clock is the one on the wall")
def test_a_loop_is_ended_and_told() -> None:
    """The worker, on a target of which every input takes for ever."""
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]; from fuzzing import targets, worker\n"
        "old = targets.TARGETS['values']\n"
        "def run(case, folder):\n"
        "    while True: pass\n"
        "targets.TARGETS['values'] = old._replace(run=run, seconds=0.5)\n"
        "worker.main(sys.argv[3:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT), str(ROOT / "scripts"), "run", "values", "1", "0"],
        check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode
    assert done.stdout.count("\n") == 1
    assert "in run" in done.stderr
