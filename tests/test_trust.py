"""What a folder brings is not believed: programs, modules, libraries, paths, texts."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemma_edge.cli import terminal
from gemma_edge.hardware import detect
from gemma_edge.isolation import Child
from gemma_edge.trust import (
    find_program,
    is_network,
    leads_into_network,
    lies_below,
    printable,
    visible,
    without_working_folder,
)

ROOT = Path(__file__).parents[1]
posix = pytest.mark.skipif(os.name == "nt", reason="programs as POSIX has them")


def make_program(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\necho from $0\n", encoding="ascii")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with programs in it, in which a person stands."""
    folder = tmp_path / "stranger"
    for name in ("nvidia-smi", "nvidia-smi.exe", "clip.exe", "uv", "uv.exe", "bin/uv"):
        make_program(folder / name)
    monkeypatch.chdir(folder)
    return folder


# Programs.


@pytest.mark.parametrize(
    "path", ["", ".", "./", "bin", "{here}", "{link}", ":", "{here}/../stranger"]
)
@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_no_program_of_the_working_folder_is_found(
    stranger: Path, tmp_path: Path, path: str, platform: str
) -> None:
    (tmp_path / "link").symlink_to(stranger)
    told = {"PATH": path.format(here=stranger, link=tmp_path / "link"), "SYSTEMROOT": "/nothing"}
    for name in ("nvidia-smi", "clip", "uv"):
        assert find_program(name, told, platform=platform) is None


def test_windows_own_folders_come_first(stranger: Path, tmp_path: Path) -> None:
    system = make_program(tmp_path / "Windows" / "System32" / "nvidia-smi.exe")
    make_program(tmp_path / "tools" / "nvidia-smi.exe")
    uv = make_program(tmp_path / "tools" / "uv.exe")
    path = os.pathsep.join([str(stranger), str(tmp_path / "tools")])
    told = {"Path": path, "SystemRoot": str(tmp_path / "Windows")}
    assert find_program("nvidia-smi", told, platform="win32") == system
    assert find_program("uv", told, platform="win32") == uv


def test_a_program_that_the_person_has_is_found_behind_those(
    stranger: Path, tmp_path: Path
) -> None:
    uv = make_program(tmp_path / "tools" / "uv")
    path = os.pathsep.join(["", ".", str(stranger), str(tmp_path / "tools")])
    assert find_program("uv", {"PATH": path}) == uv
    assert find_program("sh", {"PATH": "/bin"}) == "/bin/sh" or os.name == "nt"


@posix
def test_what_asks_for_programs_asks_this_way(
    stranger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clipboard's tools, and detection."""
    make_program(stranger / "wl-copy")
    told = {"PATH": f".{os.pathsep}{stranger}", "WAYLAND_DISPLAY": "0", "SYSTEMROOT": "/nothing"}
    for platform in ("linux", "win32", "darwin"):
        context = type("World", (), {"environment": told, "platform": platform})()
        assert terminal._tools(context) == []
    monkeypatch.setattr(detect, "_SMI_PLACES", ())
    assert detect._commands(told) == {}


# Where programs are started, no name is bare: the system would look for it, on Windows in the
# working folder first.


def python_files() -> Iterator[Path]:
    yield from (ROOT / "gemma_edge").rglob("*.py")
    yield from (ROOT / "scripts").rglob("*.py")


STARTS = {"run", "Popen", "call", "check_call", "check_output", "getoutput", "getstatusoutput"}
FORBIDDEN = {
    "which", "system", "popen", "startfile", "execlp", "execlpe", "execvp", "execvpe", "spawnlp",
    "spawnvp", "spawnvpe", "posix_spawnp", "create_subprocess_shell", "find_library",
}  # fmt: skip


def name_of(node: ast.expr) -> str:
    """``subprocess.run`` is ``run``."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def module_of(node: ast.expr) -> str:
    return getattr(node.value, "id", "") if isinstance(node, ast.Attribute) else ""


def is_bare(command: ast.expr | None) -> bool:
    """Whether a command begins with a constant that is no absolute path."""
    if isinstance(command, ast.List | ast.Tuple):
        return bool(command.elts) and is_bare(command.elts[0])
    if isinstance(command, ast.BinOp):
        return is_bare(command.left)
    if isinstance(command, ast.IfExp):
        return is_bare(command.body) or is_bare(command.orelse)
    if isinstance(command, ast.Constant) and isinstance(command.value, str):
        return not command.value.startswith("/")
    return isinstance(command, ast.JoinedStr) and is_bare(command.values[0])


def assigned(function: ast.AST) -> dict[str, list[ast.expr]]:
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(function):
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Name):
                found.setdefault(target.id, []).append(node.value)
    return found


def place_of_command(call: ast.Call, starting: dict[str, int]) -> int | None:
    """Which argument of a call is a command that is started; None where it starts none."""
    function, more = call.func, 0
    if name_of(function) == "partial" and call.args:
        function, more = call.args[0], 1
    name = name_of(function)
    if module_of(function) == "subprocess" and name in STARTS:
        return more
    return starting[name] + more if name in starting else None


def bare_starts(tree: ast.Module, starting: dict[str, int]) -> Iterator[int]:
    """Lines that start a bare name, or a shell. ``starting`` are functions that start what they
    are given, and at which place; those that hand their own argument on are added to it."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.Module):
            continue
        arguments = function.args.args if isinstance(function, ast.FunctionDef) else []
        given = [each.arg for each in arguments if each.arg != "self"]
        values = assigned(function)
        for node in ast.walk(function):
            place = place_of_command(node, starting) if isinstance(node, ast.Call) else None
            if not isinstance(node, ast.Call) or place is None:
                continue
            if any(each.arg == "shell" for each in node.keywords):
                yield node.lineno
            for command in node.args[place : place + 1]:
                told = values.get(command.id, []) if isinstance(command, ast.Name) else [command]
                if isinstance(function, ast.FunctionDef) and name_of(command) in given:
                    starting.setdefault(function.name, given.index(name_of(command)))
                if any(map(is_bare, told)):
                    yield node.lineno


def test_no_program_is_started_by_a_bare_name() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in python_files()}
    trees = {path: ast.parse(text) for path, text in texts.items() if "subprocess" in text}
    starting: dict[str, int] = {}
    found: list[str] = []
    for _ in range(3):  # who hands on to whom is known after the first
        found = [
            f"{path.relative_to(ROOT)}:{line}"
            for path, tree in trees.items() for line in bare_starts(tree, starting)
        ]  # fmt: skip
    assert found == []
    assert {"run_tool", "_run", "_hand_to"} <= starting.keys()  # it follows what is handed on


def test_nobody_else_looks_for_programs() -> None:
    telling = (*FORBIDDEN, "webbrowser")
    for path in python_files():
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text) if any(word in text for word in telling) else ast.Module([], [])
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in FORBIDDEN:
                owner = module_of(node)
                assert owner not in ("os", "shutil", "asyncio", "util"), (path, node.lineno)
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {each.name for each in node.names}
                assert not names & {"webbrowser", "which", "popen"}, (path, node.lineno)


@pytest.mark.parametrize(
    "source",
    [
        "subprocess.run(['git', 'log'])",
        "subprocess.Popen('clip')",
        "subprocess.run('ls', shell=True)",
        "def f():\n command = ['uv', 'pip']\n subprocess.check_output(command)",
        "def run_it(command):\n subprocess.run(command)\nrun_it(['nvcc', '--version'])",
        "partial(subprocess.run, ['sha256sum', 'x'])",
    ],
)
def test_the_search_for_bare_names_finds_them(source: str) -> None:
    starting: dict[str, int] = {}
    tree = ast.parse(source)
    list(bare_starts(tree, starting))
    assert list(bare_starts(tree, starting))


# Modules and libraries.


@pytest.fixture
def hostile_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In which a person stands: modules of the names of others."""
    trap = "import pathlib; pathlib.Path(__file__).parent.joinpath('TRAPPED').touch()\n"
    for name in ("json", "struct", "sitecustomize", "usercustomize", "gemma_edge", "numpy"):
        (tmp_path / f"{name}.py").write_text(trap, encoding="ascii")
    for name in ("llama_cpp", "pypdfium2", "PIL", "encodings"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(trap, encoding="ascii")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("way", ["", ".", "{here}", "{here}/."])
def test_a_child_imports_nothing_of_the_working_folder(
    hostile_folder: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Whatever this process's own path and variables say: ``python -m`` puts the folder first."""
    entry = way.format(here=hostile_folder)
    monkeypatch.setattr(sys, "path", [entry, *sys.path])
    told = {**os.environ, "PYTHONPATH": entry, "LD_LIBRARY_PATH": f":/opt/x:{entry}:lib"}
    with Child("tests.isolation.programs:surroundings", environment=told) as child:
        found = child.call({}).header
    assert not (hostile_folder / "TRAPPED").exists()
    assert not {"", ".", str(hostile_folder), f"{hostile_folder}/."} & set(found["path"])
    libraries = found["variables"].get("LD_LIBRARY_PATH", "").split(os.pathsep)
    assert not {"", ".", "lib"} & set(libraries)
    assert Path(found["folder"]) != hostile_folder  # where ggml and loaders look


def test_the_program_itself_imports_no_more_of_it(hostile_folder: Path) -> None:
    """By ``python -m`` Python looks there first until the program is imported: from then on not."""
    code = (
        "import sys, os; from gemma_edge.cli.main import run; from gemma_edge.cli import main;"
        "sys.path.insert(0, os.getcwd()); sys.path.insert(0, '');"
        "main.main = lambda *_: print(sys.path, os.environ['PATH']) or 0;"
        "run()"
    )
    told = {**os.environ, "PATH": f":.:{hostile_folder}:/usr/bin"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.append({str(ROOT)!r}); {code}"],
        env=told, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    path, _, programs = done.stdout.strip().rpartition("] ")
    assert f"'{hostile_folder}'" not in path
    assert "''" not in path
    assert programs.split(os.pathsep) == [str(hostile_folder), "/usr/bin"]  # named as such by them


def test_an_empty_entry_is_no_folder() -> None:
    told = {
        "PATH": ":.:bin:/usr/bin:", "LD_LIBRARY_PATH": ":", "LD_PRELOAD": "./evil.so libx.so:/y.so",
        "GGML_BACKEND_PATH": "evil.so", "XDG_DATA_DIRS": "share:/usr/share", "LANG": "C",
        "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    found = without_working_folder(told)
    assert found["PATH"] == "/usr/bin"
    assert found["LD_PRELOAD"] == "libx.so:/y.so"
    assert found["XDG_DATA_DIRS"] == "/usr/share"
    assert (found["LANG"], found["CUDA_VISIBLE_DEVICES"]) == ("C", "")
    assert not {"LD_LIBRARY_PATH", "GGML_BACKEND_PATH"} & found.keys()
    assert without_working_folder({"PATH": "."})["PATH"] == "/usr/bin:/bin"


# Paths.


@pytest.mark.parametrize(
    "path",
    [
        r"\\host\share\a.pdf", "//host/share/a.pdf", r"\/host/share", r"/\host\share",
        r"\\?\UNC\host\share", r"//?/UNC/host/share", r"\\.\pipe\x", r"\\.\C:\x", r"\??\UNC\h\s",
        r"\\?\GLOBALROOT\Device\Mup\host\share", r"\\host@SSL@443\share", "file://host/a.pdf",
        "FILE://host/a.pdf", "file:////host/share/a", r"file:\\host\share", "file://///host/x",
        "smb://host/share/a", "/net/host/a.pdf", "/afs/cell/a.pdf", "file:///net/host/a",
        " \\\\host\\share",
    ],
)  # fmt: skip
def test_network_paths(path: str) -> None:
    assert is_network(path)
    assert not lies_below(path, "/")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/hosts", "./a", "../a", "a//b", "C:\\a\\b", "C:/a", r"\\?\C:\long\a", "~/a.pdf",
        "file:///etc/hosts", "file://localhost/etc/hosts", "file:///C:/a", "a\\ b.pdf", "/", "",
        "/netto/a", "hf:owner/repo/a.gguf", "/home/net/x",
    ],
)  # fmt: skip
def test_paths_of_this_machine(path: str) -> None:
    assert not is_network(path)


@posix
def test_a_link_can_lead_into_the_network(tmp_path: Path) -> None:
    (tmp_path / "share").symlink_to("//host/share")
    (tmp_path / "way").symlink_to("share/deep")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "good").symlink_to(tmp_path)
    for name in ("share", "share/a.json", "way/x", "loop"):
        assert leads_into_network(tmp_path / name)
        assert not lies_below(tmp_path / name, tmp_path)
    for name in ("good/a", "\\alpha", "a\0b", "no/such/\\file", "x" * 5000):
        assert not leads_into_network(tmp_path / name)
        assert not leads_into_network(name)


@posix
def test_what_lies_below_a_folder(tmp_path: Path) -> None:
    inner, outer = tmp_path / "recipe", tmp_path / "secret.json"
    inner.mkdir()
    outer.touch()
    (inner / "link").symlink_to(outer)
    (inner / "up").symlink_to("..")
    assert lies_below(inner / "a.json", inner)
    assert lies_below(inner / "up" / "recipe" / "a.json", inner)
    for name in ("../secret.json", "link", "up/secret.json", "/etc/passwd", "../recipe2/a"):
        assert not lies_below(inner / name, inner)


# Texts.


HOSTILE = {
    "escape": "\x1b[2J", "title": "\x1b]0;x\x07", "C1": "\x9b31m", "delete": "\x7f", "back": "\b",
    "return": "\rerror", "override": "\u202egnp.exe", "isolate": "\u2066x\u2069",
    "embedding": "\u202ax", "zero width": "a\u200bb", "word joiner": "a\u2060b", "mark": "\ufeffa",
    "line separator": "a\u2028b", "soft hyphen": "a\xadb", "tag": "a\U000e0041", "lone": "\ud800",
    "joiner": "a\u200db", "direction": "a\u200fb", "vowel separator": "a\u180eb",
    "filler": "a\u3164b", "invisible times": "a\u2062b", "interlinear": "\ufff9a\ufffb",
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_hostile_character_reaches_a_terminal(text: str) -> None:
    for shown in (visible(text), printable(text), printable(f"{text}\n\t")):
        assert shown.isprintable()
        assert not set("\u3164\u115f") & set(shown)


@pytest.mark.parametrize(
    "text",
    [
        "Grüße, 5 €\n\tnext", "👩\u200d🔬 👨\u200d👩\u200d👧\u200d👦 ❤\ufe0f", "می\u200cخواهم",
        "क्\u200dष", "a\xa0b 10\u202f000", "שלום\u200f!", "",
    ],
)  # fmt: skip
def test_what_languages_need_stays(text: str) -> None:
    assert visible(text) == text


def test_what_is_too_long_for_a_path_leads_nowhere(tmp_path: Path) -> None:
    """At once: each step of the way would be looked at as a whole path."""
    assert not lies_below(tmp_path / ("dev/zero/" * 30_000), tmp_path)
