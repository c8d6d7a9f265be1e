"""An engine that stays for the next command: real commands, the bundled model."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gemma_edge.app.request import ModelRequest
from gemma_edge.app.runtime import library_runtime
from gemma_edge.app.standby import FOUND, Wish, wish_of
from gemma_edge.planning.plan import Adapter
from tests.isolation.test_standby import lives, until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="ends processes by signals")

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "demo"
GREEDY = ("--temperature", "0", "--model", "demo")
KEEP = ("--keep-alive", "1h")


class Home:
    """A person's folders; ``run`` is a command as the person runs it."""

    def __init__(self, folder: Path) -> None:
        self.runtime = folder
        self.variables = os.environ | {
            "XDG_DATA_HOME": str(folder / "data"), "XDG_RUNTIME_DIR": str(folder),
            "HF_HOME": str(folder / "hub"), "HOME": str(folder), "PYTHONIOENCODING": "utf-8",
        }  # fmt: skip

    def start(self, *argv: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "gemma_edge", *argv], cwd=ROOT, env=self.variables | variables,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            encoding="utf-8",
        )  # fmt: skip

    def run(self, *argv: str, **variables: str) -> tuple[str, str, int]:
        process = self.start(*argv, **variables)
        out, err = process.communicate(timeout=300)
        return out, err, process.returncode

    def ask(self, *flags: str, **variables: str) -> tuple[str, str]:
        """One answer, and what was said about it."""
        out, err, status = self.run("chat", "Hello!", *GREEDY, *flags, **variables)
        assert status == 0, err
        return out, err

    def engines(self) -> list[dict[str, Any]]:
        out, err, status = self.run("ps", "--json")
        assert status == 0, err
        found: list[dict[str, Any]] = json.loads(out)["engines"]
        return found

    def pids(self) -> list[int]:
        return [each["pid"] for each in self.engines()]

    def wait(self) -> None:
        """Until nobody uses any."""
        until(lambda: not any(each["busy"] for each in self.engines()))


@pytest.fixture
def home() -> Iterator[Home]:
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        made = Home(Path(folder))
        yield made
        made.run("stop", "--all", "--force")


def test_the_next_command_finds_the_model_loaded(home: Home) -> None:
    cold, said = home.ask(*KEEP)
    assert FOUND not in said
    home.wait()
    (engine,) = home.engines()
    assert engine["name"] == "demo"
    assert engine["standby"]
    assert engine["planned_bytes"] > 1 << 20
    assert engine["resident_bytes"] > 1 << 20
    assert 3000 < engine["ends_seconds"] <= 3600
    warm, said = home.ask()
    assert (warm, FOUND in said) == (cold, True)
    assert re.search(r"\b\d+ cached", said)  # what was read is still there
    out, err, status = home.run(
        "extract", "examples/invoice.pdf", "--schema", "vendor, total num", "--model", "demo"
    )
    assert (json.loads(out)["total"], status) == (270.72, 0), err
    assert FOUND in err
    home.wait()
    assert home.pids() == [engine["pid"]]
    assert f"pid {engine['pid']}); gemma-edge stop ends it" in home.run("doctor", "--offline")[1]
    assert home.engines()[0]["ends_seconds"] > 3000  # the time begins anew


@pytest.mark.slow
def test_nothing_stays_where_nobody_asked_for_it(home: Home) -> None:
    home.ask()
    home.ask("--keep-alive", "0")
    assert home.engines() == []
    assert not (home.runtime / "gemma-edge").exists()


def test_what_is_found_is_neither_planned_nor_looked_for(home: Home) -> None:
    home.ask(*KEEP)
    home.wait()
    program = (
        "import sys; from gemma_edge.cli import context, main;"
        "main.main(sys.argv[1:], context.Context.from_process());"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "chat", "Hello!", *GREEDY], cwd=ROOT, env=home.variables,
        stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", timeout=300, check=True,
    )  # fmt: skip
    assert FOUND in done.stderr
    loaded = set(done.stderr.splitlines()[-1].split())
    parts = ("app.load", "app.models", "planning.planner", "hardware", "store.fetch")
    unneeded = {f"gemma_edge.{part}" for part in parts}
    slow = {"multiprocessing", "asyncio", "llama_cpp", "tomllib", "secrets", "random"}
    assert not loaded & (unneeded | slow)


@pytest.mark.slow
def test_a_larger_context_does_for_less_and_less_for_nothing(home: Home) -> None:
    home.ask(*KEEP, "--ctx", "2048")
    home.wait()
    assert FOUND in home.ask("--ctx", "1024")[1]
    said = home.ask("--ctx", "4096")[1]
    assert FOUND not in said and "is not used: it has a context of 2,048 tokens" in said
    assert FOUND not in home.ask()[1]  # as much as there is memory for
    assert FOUND not in home.ask("--ctx", "1024", "--kv", "q8_0")[1]
    assert FOUND not in home.ask("--ctx", "1024", CUDA_VISIBLE_DEVICES="7")[1]


@pytest.mark.slow
def test_it_ends_when_its_time_is_over(home: Home) -> None:
    home.ask("--keep-alive", "1s")
    until(lambda: not home.engines())
    home.ask(GEMMA_EDGE_KEEP_ALIVE="1h")
    home.wait()
    (pid,) = home.pids()
    assert FOUND in home.ask("--keep-alive", "0")[1]
    until(lambda: not lives(pid))


@pytest.mark.slow
def test_stop_ends_it(home: Home) -> None:
    assert home.run("stop")[2] == 0  # there is none
    home.ask(*KEEP)
    home.wait()
    (pid,) = home.pids()
    out, err, status = home.run("stop", "none of this name")
    assert (out, status != 0, "none of this name" in err) == ("", True, True)
    assert lives(pid)
    assert home.run("stop", "dem")[2] == 0
    until(lambda: not lives(pid))
    assert home.pids() == []


@pytest.mark.slow
def test_one_that_does_not_answer_is_told(home: Home) -> None:
    """As where a driver hangs: the next command loads its own, ``stop`` says what is left."""
    home.ask(*KEEP)
    home.wait()
    (pid,) = home.pids()
    os.kill(pid, signal.SIGSTOP)
    try:
        assert FOUND not in home.ask()[1]
        (engine,) = home.engines()
        assert (engine["pid"], engine["answers"], engine["standby"]) == (pid, False, True)
        assert f"does not answer  pid {pid}" in home.run("ps")[0]
        _, err, status = home.run("stop", "--all")
        assert status != 0 and "does not answer" in err and f"kill {pid}" in err
    finally:
        os.kill(pid, signal.SIGCONT)
    home.wait()
    assert FOUND in home.ask()[1]


@pytest.mark.slow
def test_two_are_told_apart(home: Home) -> None:
    home.ask(*KEEP)
    home.ask(*KEEP, "--kv", "q8_0")
    home.wait()
    pids = home.pids()
    assert len(pids) == 2
    assert home.run("stop")[2] != 0  # which one?
    assert home.run("stop", str(pids[0]))[2] == 0
    assert home.pids() == pids[1:]
    assert home.run("stop", "--all")[2] == 0
    assert home.pids() == []


def at_work(home: Home) -> subprocess.Popen[str]:
    """A command in the middle of its answers."""
    bills = home.runtime / "bills"
    bills.mkdir()
    for number in range(500):
        (bills / f"{number}.txt").write_text(f"INVOICE A-{number}\nTotal {number}.50 EUR\n")
    process = home.start("extract", str(bills), "--schema", "total num", "--model", "demo",
                         "--vision", "never", "--at-once", "1")  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().startswith("{")
    return process


def close(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=300)


@pytest.mark.slow
def test_ctrl_c_ends_the_answer_and_not_the_engine(home: Home) -> None:
    home.ask(*KEEP)
    home.wait()
    (pid,) = home.pids()
    other = at_work(home)
    assert home.engines()[0]["busy"]
    other.send_signal(signal.SIGINT)
    close(other)
    home.wait()
    assert home.pids() == [pid]
    assert FOUND in home.ask()[1]


@pytest.mark.slow
def test_one_that_uses_it_may_be_killed(home: Home) -> None:
    cold, _ = home.ask(*KEEP)
    home.wait()
    (pid,) = home.pids()
    other = at_work(home)
    other.kill()
    close(other)
    home.wait()
    warm, said = home.ask()
    assert (warm, FOUND in said) == (cold, True)
    assert home.pids() == [pid]


@pytest.mark.slow
def test_while_one_uses_it_another_starts_its_own(home: Home) -> None:
    cold, _ = home.ask(*KEEP)
    home.wait()
    other = at_work(home)
    warm, said = home.ask()
    assert (warm, FOUND in said) == (cold, False)
    assert "is not used: it is at work for another command" in said
    assert other.poll() is None
    other.kill()
    close(other)


@pytest.mark.slow
def test_an_engine_that_is_killed_costs_its_time_alone(home: Home) -> None:
    cold, _ = home.ask(*KEEP)
    home.wait()
    (pid,) = home.pids()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not lives(pid))
    again, said = home.ask()
    assert (again, FOUND in said) == (cold, False)
    assert list((home.runtime / "gemma-edge").iterdir()) == []


@pytest.mark.slow
def test_what_is_private_stays_nowhere(home: Home) -> None:
    out, err, status = home.run("chat", "hi", *GREEDY, "--private", *KEEP)
    assert (out, status != 0, "--private or --keep-alive" in err) == ("", True, True)
    home.ask("--private", GEMMA_EDGE_KEEP_ALIVE="1h")
    assert home.engines() == []
    home.ask(*KEEP)
    home.wait()
    (pid,) = home.pids()
    assert FOUND in home.ask("--private")[1]
    until(lambda: not lives(pid))


@pytest.mark.slow
def test_a_folder_that_others_may_open_is_told_in_one_line(home: Home) -> None:
    folder = home.runtime / "gemma-edge"
    folder.mkdir()
    folder.chmod(0o777)
    _, said = home.ask(*KEEP)
    (line,) = [each for each in said.splitlines() if "stays loaded" in each]
    assert f"others may open {folder}" in line
    assert home.engines() == []


@pytest.mark.slow
def test_one_that_waits_gives_its_memory_to_one_that_lacks_it(home: Home) -> None:
    """Both think that the machine has room for one of them."""
    home.ask(*KEEP)
    home.wait()
    (pid,) = home.pids()
    program = (
        "import sys; from dataclasses import replace\n"
        "from gemma_edge.cli import context, main\n"
        "def small(environment):\n"
        "    seen = detect(environment)\n"
        "    memory = replace(seen.memory, available_bytes=2075 << 20, total_bytes=8 << 30)\n"
        "    return replace(seen, memory=memory, devices=())\n"
        "detect = context.runtime.detect_machine\n"
        "made = replace(context.Context.from_process(), detect_hardware=small)\n"
        "sys.exit(main.main(sys.argv[1:], made))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "chat", "Hello!", *GREEDY, "--kv", "q8_0"],
        cwd=ROOT, env=home.variables, stdin=subprocess.DEVNULL, capture_output=True,
        encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "its memory is needed now" in done.stderr
    until(lambda: not lives(pid))


def test_a_time_that_is_none_is_refused(home: Home) -> None:
    out, err, status = home.run("chat", "hi", *GREEDY, "--keep-alive", "soon")
    assert (out, status, "`soon` is not a time" in err) == ("", 2, True)
    out, err, status = home.run("chat", "hi", *GREEDY, GEMMA_EDGE_KEEP_ALIVE="soon")
    assert (out, status, "GEMMA_EDGE_KEEP_ALIVE" in err) == ("", 2, True)


# What makes two plans the same.


def wish(request: ModelRequest, tmp_path: Path, **more: Any) -> Wish:
    runtime = library_runtime(models_dir=tmp_path / "models")
    runtime = replace(runtime, **more)
    return wish_of(request, runtime, "possible", None)


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "e4b"}, {"mmproj": Path("a.gguf")}, {"quant": "q8"}, {"kv_type": "q8_0"},
        {"adapters": (Adapter(Path("a.gguf")),)}, {"gpu_layers": 3}, {"cpu_expert_layers": 3},
        {"require_gpu": True}, {"min_speed": 3.0}, {"threads": 1}, {"remember": True},
        {"draft": "off"}, {"drafter": Path("a.gguf")}, {"at_once": 2},
    ],
)  # fmt: skip
def test_another_request_is_another_engine(tmp_path: Path, changed: dict[str, Any]) -> None:
    base = ModelRequest(model="demo")
    assert wish(base, tmp_path) == wish(base, tmp_path)
    assert wish(replace(base, **changed), tmp_path).key != wish(base, tmp_path).key


def test_what_a_name_means_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "owner" / "repo").mkdir(parents=True)
    before = wish(ModelRequest(), tmp_path)
    assert wish(ModelRequest(), tmp_path) == before
    os.utime(tmp_path / "models" / "owner" / "repo", (1, 1))
    assert wish(ModelRequest(), tmp_path).key != before.key
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert wish(ModelRequest(model="demo"), tmp_path) != before


def about(path: Path, **more: Any) -> dict[str, Any]:
    status = path.stat()
    return {
        "files": [[str(path), status.st_size, status.st_mtime_ns, status.st_ino]],
        "context_tokens": 4096, "asked_context": None, "vision": True, "image_tokens": 280,
        "asked_image": None, "asked_vision": "possible", "asked_many": False, "pays_many": True,
    } | more  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "there", "met"),
    [
        ({}, {}, True),
        ({"context_tokens": 4096}, {}, True),
        ({"context_tokens": 4097}, {}, False),
        ({}, {"asked_context": 4096}, False),  # it may be less than there is memory for
        ({"context_tokens": 1024}, {"asked_context": 4096}, True),
        ({"vision": "needed"}, {"vision": False}, False),
        ({"vision": "possible"}, {"vision": False}, True),
        ({"vision": "possible"}, {"vision": False, "asked_vision": "unused"}, False),
        ({"vision": "unused"}, {"vision": False, "asked_vision": "unused"}, True),
        ({"vision": "needed", "image_tokens": 1120}, {}, False),
        ({"vision": "needed", "image_tokens": 1120}, {"asked_image": 1120}, True),
        ({"vision": "unused", "image_tokens": 1120}, {}, True),
        ({"many": True}, {}, False),
        ({"many": True}, {"asked_many": True}, True),
        ({"many": True}, {"pays_many": False}, True),
        ({}, {"asked_many": True}, True),
    ],
)
def test_there_has_to_be_enough(
    tmp_path: Path, wanted: dict[str, Any], there: dict[str, Any], met: bool
) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"x")
    asked = {"key": "", "context_tokens": None, "image_tokens": None, "vision": "possible"}
    assert (Wish(**(asked | wanted)).lacks(about(path, **there)) == "") is met


def test_another_file_is_another_engine(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"x")
    said, any_of_it = about(path), Wish("", None, None, "unused")
    assert any_of_it.lacks(said) == ""
    os.utime(path, ns=(1, 1))
    assert any_of_it.lacks(said) == "its files have changed"
    path.unlink()
    assert any_of_it.lacks(said) == "its files have changed"
    assert "not understood" in any_of_it.lacks({"files": 3})
