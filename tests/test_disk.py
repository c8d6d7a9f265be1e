"""Files that are written whole or not at all, and no way round the one module that writes them."""

import ast
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gemma_edge import disk
from gemma_edge.disk import (
    PARTIAL_SUFFIX,
    beside,
    create,
    keep_within,
    open_plain,
    remove_left,
    write_atomically,
)

PACKAGE = Path(disk.__file__).parent
posix = pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_is_there_whole_and_nothing_else(tmp_path):
    path = tmp_path / "new" / "file.txt"
    for text in ("first ä\n", "second\n"):
        write_atomically(path, text, durable=True)
        assert path.read_bytes() == text.encode()
    assert names(path.parent) == ["file.txt"]


def test_half_a_character_is_no_error(tmp_path):
    write_atomically(tmp_path / "a", "x\ud800y")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "x\ufffdy"


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), beside(path) as fresh, create(fresh) as file:
        file.write(b"half")
        _ = 1 / 0
    with pytest.raises(KeyboardInterrupt), beside(path):
        raise KeyboardInterrupt
    assert (names(tmp_path), path.read_text()) == (["a"], "old")


def test_a_name_as_long_as_names_can_be(tmp_path):
    for name in ("n" * 255, "ä" * 127):
        write_atomically(tmp_path / name, "x")
    assert len(names(tmp_path)) == 2


@posix
def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("precious")
    for target in (mine, tmp_path / "nothing"):
        link = tmp_path / "link"
        link.symlink_to(target)
        write_atomically(link, "x")
        assert not link.is_symlink() and link.read_text() == "x"
        link.unlink()
    assert (names(tmp_path), mine.read_text()) == (["mine"], "precious")


@posix
def test_names_that_can_be_foreseen_are_not_written_to(tmp_path):
    """What a folder that somebody packed may hold: links under the names of half-made files."""
    mine = tmp_path / "mine"
    mine.write_text("precious")
    folder = tmp_path / "folder"
    folder.mkdir()
    for each in ("a.part", "a.tmp", ".a.part", f"a.{os.getpid()}.part"):
        (folder / each).symlink_to(mine)
    write_atomically(folder / "a", "x")
    assert mine.read_text() == "precious"
    assert len({disk.new_name(folder / "a") for _ in range(100)}) == 100


@posix
def test_what_is_new_is_new(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    (tmp_path / "taken").write_text("old")
    for name in ("link", "taken"):
        with pytest.raises(FileExistsError):
            write_atomically(tmp_path / name, "x", replace=False)
    write_atomically(tmp_path / "new", "x", replace=False)
    assert names(tmp_path) == ["link", "new", "taken"]
    assert (tmp_path / "taken").read_text() == "old"
    with pytest.raises(FileExistsError):
        create(tmp_path / "link")


@posix
def test_nobody_may_do_more_with_it_than_before(tmp_path):
    path = tmp_path / "a"
    write_atomically(path, "x", mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    write_atomically(path, "y")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@posix
def test_a_device_a_pipe_and_a_folder_stay_what_they_are(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(os.devnull)
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # names of sockets are short
        listener.bind("socket")
        for name in ("pipe", "folder", "link", "socket"):
            with pytest.raises(OSError):
                write_atomically(tmp_path / name, "x")
    assert names(tmp_path) == ["folder", "link", "pipe", "socket"]
    assert (tmp_path / "link").is_symlink()


@posix
def test_what_is_gone_on_with_is_a_plain_file(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "."):
        with pytest.raises(OSError):
            open_plain(tmp_path / name, os.O_CREAT)
    assert names(tmp_path) == ["link", "pipe"]
    number = open_plain(tmp_path / "a", os.O_CREAT | os.O_APPEND)
    disk.append(number, b"one\n", durable=True)
    assert disk.try_lock(number)
    other = open_plain(tmp_path / "a", os.O_APPEND)
    assert not disk.try_lock(other)
    os.close(number)
    assert disk.try_lock(other)
    disk.append(other, b"two\n")
    os.close(other)
    assert (tmp_path / "a").read_bytes() == b"one\ntwo\n"


class InUse(PermissionError):
    winerror = 32


def test_windows_lets_go_after_a_moment(tmp_path, monkeypatch):
    calls, waits = [], []
    really = os.replace

    def refuse(source, target):
        calls.append(source)
        if len(calls) < 4:
            raise InUse
        really(source, target)

    monkeypatch.setattr(disk.os, "replace", refuse)
    monkeypatch.setattr(disk.time, "sleep", waits.append)
    write_atomically(tmp_path / "a", "x")
    assert (len(calls), waits) == (4, [0.01, 0.03, 0.1])
    assert names(tmp_path) == ["a"]


def test_what_is_refused_for_good_is_told_and_nothing_is_left(tmp_path, monkeypatch):
    def refuse(_source, _target):
        raise InUse

    waits = []
    monkeypatch.setattr(disk.os, "replace", refuse)
    monkeypatch.setattr(disk.time, "sleep", waits.append)
    with pytest.raises(PermissionError):
        write_atomically(tmp_path / "a", "x")
    assert 1 < sum(waits) < 3
    assert names(tmp_path) == []


def test_what_was_left_by_the_dead_goes_and_what_is_written_now_stays(tmp_path):
    old, now, other = disk.new_name(tmp_path / "a"), disk.new_name(tmp_path / "a"), tmp_path / ".x"
    for path in (old, now, other):
        path.write_text("x")
    for path in (old, other):
        os.utime(path, (0, 0))
    remove_left(tmp_path)
    assert names(tmp_path) == sorted((now.name, other.name))


def test_a_folder_does_not_grow(tmp_path):
    for number in range(5):
        path = tmp_path / str(number)
        path.write_bytes(bytes(10))
        os.utime(path, (number, number))
    keep_within(tmp_path, 25)
    assert names(tmp_path) == ["3", "4"]


WRITER = """
import sys, pathlib
from gemma_edge.disk import write_atomically
for number in range(200):
    write_atomically(pathlib.Path(sys.argv[1]), sys.argv[2] * 5000)
"""


def test_two_processes_on_one_file_leave_one_of_both(tmp_path):
    path = tmp_path / "a"
    running = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), letter]) for letter in "ab"
    ]
    assert [each.wait(120) for each in running] == [0, 0]
    assert path.read_text() in ("a" * 5000, "b" * 5000)
    assert names(tmp_path) == ["a"]


# ----------------------------------------------------------------------------
# No other module writes files. What stands here grows at its end or is no file of content.

ALLOWED = {
    ("cli/context.py", "open"): "os.devnull, in the place of a stream that the caller closed",
    ("cli/context.py", "os.open"): "os.devnull, in the place of a stdout that is gone",
    ("chat/sessions.py", "rename"): "a removed conversation, to a new folder and back",
    ("cli/prompt.py", "os.truncate"): "the same history, without a line that was refused",
    ("cli/prompt.py", "touch"): "the history of typed lines: prompt_toolkit appends to it",
    ("extraction/records.py", "sqlite3.connect"): "a database: SQLite's journal keeps it whole",
    ("hardware/claims.py", "os.rename"): "a claim, locked before it has its name",
    ("isolation.py", "os.open"): "os.devnull, in the place of a child's stdin",
    ("isolation.py", "os.fdopen"): "the pipe that a child reads from",
    ("app/shards.py", "rename"): "a file of rows that is being put together with others",
    ("standby.py", "os.open"): "os.devnull, in the place of a stderr that nobody reads",
    ("planning/dry_run.py", "tempfile.TemporaryDirectory"): "a new folder that is private",
    ("engine/proof.py", "tempfile.TemporaryDirectory"): "a new folder that is private",
    ("store/fetch.py", "os.fdopen"): "a download that is gone on with, opened by `open_plain`",
    ("store/files.py", "os.link"): "a second name of a file, which never takes the place of one",
    ("store/files.py", "symlink_to"): "a name in the cache, which never takes the place of one",
    ("store/files.py", "shutil.copyfileobj"): "into a file that `create` made",
}  # fmt: skip

METHODS = {"write_text", "write_bytes", "touch", "symlink_to", "hardlink_to", "rename", "tofile"}
FUNCTIONS = {
    "os": {"open", "fdopen", "replace", "rename", "renames", "link", "symlink", "truncate",
           "mkfifo", "mknod"},
    "shutil": {"copy", "copy2", "copyfile", "copyfileobj", "copytree", "move"},
    "sqlite3": {"connect"},
}  # fmt: skip
OPENERS = {"open", "io", "codecs", "gzip", "bz2", "lzma", "zipfile", "tarfile"}


def writes(path: Path) -> list[str]:
    """Calls in a file that make, change or replace a file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module in (*FUNCTIONS, "tempfile", "io"):
            named = {each.name for each in node.names} & FUNCTIONS.get(node.module, {"open"})
            found += [f"from {node.module} import {name}" for name in named]
        if isinstance(node, ast.Call):
            found += filter(None, [name_of(node)])
    return found


def name_of(call: ast.Call) -> str:
    function = call.func
    if isinstance(function, ast.Name):
        return "open" if function.id == "open" and is_written(call, 1) else ""
    if not isinstance(function, ast.Attribute):
        return ""
    module = function.value.id if isinstance(function.value, ast.Name) else ""
    if function.attr in FUNCTIONS.get(module, ()) or module == "tempfile":
        return f"{module}.{function.attr}"
    if function.attr == "open" and module != "os":
        return f"{module}.open" if is_written(call, 1 if module in OPENERS else 0) else ""
    if function.attr == "replace" and len(call.args) == 1 and not call.keywords:
        return "replace"  # of a path: of a text it takes two, of a dataclass names
    return function.attr if function.attr in METHODS else ""


def is_written(call: ast.Call, place: int) -> bool:
    """Whether its mode is none that only reads; a mode that is computed is taken as one."""
    named = [each.value for each in call.keywords if each.arg == "mode"]
    modes = [*call.args[place : place + 1], *named]
    if not modes:
        return False
    (mode,) = modes
    if isinstance(mode, ast.Constant):
        return bool(set(str(mode.value)) & set("wax+"))
    return place == 1  # `Journal.open(path)` takes none


def test_no_other_module_writes_files():
    found = set()
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        if name != "disk.py":
            found |= {(name, call) for call in writes(path)}
    strange = found - set(ALLOWED)
    assert not strange, f"written by gemma_edge/disk.py alone: {sorted(strange)}"
    assert not set(ALLOWED) - found, f"not needed any more: {sorted(set(ALLOWED) - found)}"


@pytest.mark.parametrize("code", [
    "open(p, 'w')", "open(p, mode='ab')", "open(p, m)", "p.open('x')", "p.open(mode='r+b')",
    "p.write_text(t)", "p.write_bytes(t)", "os.replace(a, b)", "p.replace(q)", "p.rename(q)",
    "tempfile.NamedTemporaryFile()", "tempfile.mkstemp()", "shutil.copyfile(a, b)",
    "os.open(p, os.O_WRONLY)", "io.open(p, 'w')", "gzip.open(p, 'wb')", "p.touch()",
    "from shutil import move", "from os import replace",
])  # fmt: skip
def test_it_would_be_found(tmp_path, code):
    path = tmp_path / "a.py"
    path.write_text(code)
    assert writes(path)


@pytest.mark.parametrize("code", [
    "open(p)", "open(p, 'rb')", "p.open('rb')", "p.open()", "t.replace('a', 'b')",
    "dataclasses.replace(x, a=1)", "Image.open(data)", "Journal.open(path, clock=c)",
])  # fmt: skip
def test_reading_is_free(tmp_path, code):
    path = tmp_path / "a.py"
    path.write_text(code)
    assert not writes(path)


def test_what_is_being_written_or_is_in_use_stays(tmp_path, monkeypatch):
    """And does not count as gone: others go in its place."""
    names = ["oldest", "used", "older", f".part{PARTIAL_SUFFIX}", "newest"]
    for age, name in enumerate(names):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (age, age))
    unlink = Path.unlink

    def refuse(path, *more):
        if path.name == "used":
            raise PermissionError(13, "it is in use")
        unlink(path, *more)

    monkeypatch.setattr(Path, "unlink", refuse)
    keep_within(tmp_path, 300)
    assert {each.name for each in tmp_path.iterdir()} == {"used", names[3], "newest"}
    keep_within(tmp_path, 0)
    assert {each.name for each in tmp_path.iterdir()} == {"used", names[3], "newest"}
