"""What strangers and their folders bring is not believed: programs, modules, paths, texts.

Programs and libraries of the working folder, paths that lead into the network or out of a folder,
texts that a terminal would obey.
"""

import os
import re
import sys
import unicodedata
from collections.abc import Mapping
from typing import Any

# ----------------------------------------------------------------------------
# Programs. Windows looks in the working folder first, and everywhere an empty or a relative entry
# of PATH means it.


_SYSTEM_FOLDERS = ("/usr/bin", "/bin", "/usr/sbin", "/sbin")
_WINDOWS_FOLDERS = ("System32", "", "System32\\WindowsPowerShell\\v1.0")
_WINDOWS_ENDINGS = (".exe", ".com", ".bat", ".cmd")
# Lists of folders and files in which programs and libraries are looked for.
_PLACES = r"(?i:\w*PATHS?|XDG_\w+_(DIRS|HOME)|VK_ICD_FILENAMES|VK_DRIVER_FILES)"
_LIBRARIES = r"(?i:LD_PRELOAD|LD_AUDIT|DYLD_INSERT_LIBRARIES)"


def find_program(
    name: str, environment: Mapping[str, str], *, platform: str = sys.platform
) -> str | None:
    """The absolute path of the program ``name``; None where there is none. The folders of the
    system come first on Windows; of PATH only absolute entries count, and none that is the working
    folder or lies in the network."""
    windows = platform == "win32"
    told = {key.upper(): value for key, value in environment.items()} if windows else environment
    folders = _absolute_entries(told.get("PATH", ""))
    if windows:
        root = told.get("SYSTEMROOT") or told.get("WINDIR") or "C:\\Windows"
        system = [os.path.join(root, *part.split("\\")) for part in _WINDOWS_FOLDERS]
        folders = [*filter(_is_absolute, system), *folders]
    here = _working_folder()
    named = os.path.splitext(name)[1].lower() in _WINDOWS_ENDINGS
    endings = _WINDOWS_ENDINGS if windows and not named else ("",)
    for folder in folders:
        trusted = folder in _SYSTEM_FOLDERS and not windows
        if not trusted and os.path.realpath(folder) == here:
            continue
        for ending in endings:
            path = os.path.join(folder, name + ending)
            if os.path.isfile(path) and (windows or os.access(path, os.X_OK)):
                return path
    return None


def without_working_folder(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables without relative entries in those that say where programs and libraries are: an
    empty entry of ``PATH`` or ``LD_LIBRARY_PATH`` is the working folder."""
    kept = dict(environment)
    for name, value in environment.items():
        if re.fullmatch(_LIBRARIES, name):
            words = re.split(r"[\s:]+", value)
            left = [word for word in words if word and ("/" not in word or word[0] == "/")]
        elif re.fullmatch(_PLACES, name):
            left = _absolute_entries(value)
        else:
            continue
        kept[name] = os.pathsep.join(left)
        if not left:
            del kept[name]
    if os.name != "nt":  # without one some systems look in the working folder
        kept.setdefault("PATH", os.pathsep.join(("/usr/bin", "/bin")))
    else:  # winnt.h and CreateProcess: it is not searched where this is set
        kept["NoDefaultCurrentDirectoryInExePath"] = "1"
    return kept


def without_working_folder_in_path(entries: list[str], own: str) -> list[str]:
    """Of Python's ``sys.path`` what is absolute and not the working folder, unless that is ``own``,
    the folder that this program lies in."""
    here = _working_folder()
    kept = (each for each in entries if _is_absolute(each))
    return [each for each in kept if os.path.realpath(each) != here or each == own]


def leave_working_folder_alone() -> None:
    """Windows looks for libraries of libraries in the working folder too, unless it is told."""
    if sys.platform == "win32":
        import ctypes  # noqa: PLC0415

        ctypes.WinDLL("kernel32").SetDllDirectoryW("")


def _absolute_entries(value: str) -> list[str]:
    entries = (entry.strip('"') for entry in value.split(os.pathsep))
    return [entry for entry in dict.fromkeys(entries) if _is_absolute(entry)]


def _is_absolute(path: str) -> bool:
    """Windows' ``\\tools`` is relative to a drive, and so to the working folder."""
    whole = os.path.isabs(path) and (os.name != "nt" or bool(os.path.splitdrive(path)[0]))
    return whole and not is_network(path)


def _working_folder() -> str:
    try:
        return os.path.realpath(os.getcwd())
    except OSError:  # it is gone
        return ""


# ----------------------------------------------------------------------------
# Paths.


# `\\host\share` (SMB, DFS, WebDAV), `//host/share`, `\\?\UNC\…`, `\\.\pipe\…`, `\??\UNC\…`; what
# automounters fetch over the network when it is named (autofs `-hosts`, AFS).
_NETWORK = re.compile(r"\s*(?:[\\/]{2}|\\\?\?\\|/(?:net|afs|Network)/+[^/])")
_FILE_ADDRESS = re.compile(r"\s*file:[\\/]*", re.IGNORECASE)
_OTHER_ADDRESS = re.compile(r"\s*(?:smb|cifs|nfs|afp|dav|davs|ftp|sftp|https?)(?::|%3a)", re.I)
_LONG_LOCAL = re.compile(r"[\\/]{2}\?[\\/][A-Za-z]:[\\/]")  # Windows' way to write long paths


def is_network(path: str | os.PathLike[str]) -> bool:
    """Whether a path, as it is written, leads to another machine or to a device of Windows' own.
    Nothing is touched to tell: on Windows a look at ``\\\\host\\share`` is a connection to it."""
    text = os.fspath(path)
    if _LONG_LOCAL.match(text):
        return False
    if found := _FILE_ADDRESS.match(text):
        slashes, rest = len(re.findall(r"[\\/]", found[0])), text[found.end() :]
        local = re.match(r"(?i:localhost|127\.0\.0\.1)?[\\/]", rest) if slashes == 2 else None  # noqa: PLR2004
        remote = slashes >= 4 or (slashes == 2 and not local and not re.match("[A-Za-z]:", rest))  # noqa: PLR2004
        return remote or is_network("/" + rest.partition("/")[2] if local else "/" + rest)
    return bool(_NETWORK.match(text) or _OTHER_ADDRESS.match(text))


def local_path(text: str) -> str:
    """The path of an address ``file:///a%20b``; any other text as it is."""
    if not text[:6].lower().startswith("file:/"):
        return text
    from urllib.parse import unquote  # noqa: PLC0415  (a child needs none of it)

    host, path = "", text[5:]
    if path.startswith("//"):
        host, slash, path = path[2:].partition("/")
        path = slash + path
    path = unquote(path)
    if re.match(r"/[A-Za-z]:", path):  # file:///C:/...
        path = path[1:]
    return path if host in ("", "localhost") else f"//{host}{path}"


_WEB = re.compile(r"\s*(?:https?|ftp)://", re.IGNORECASE)


def is_web(text: str) -> bool:
    """Whether it is an address of the web."""
    return _WEB.match(text) is not None


_MOST_LINKS = 40  # as many as Linux follows


_LONGEST_PATH = 32_767  # characters: of Windows, which has the longest


def leads_into_network(path: str | os.PathLike[str]) -> bool:
    """The same after links: whether the path, a link on its way, or what that leads to is one; so
    is what is too long to be a path."""
    if len(os.fspath(path)) > _LONGEST_PATH or is_network(path):
        return True
    done, left = _root_and_parts(os.path.abspath(path))
    links = 0
    while left:
        done = os.path.normpath(os.path.join(done, left.pop(0)))
        try:
            target = os.readlink(done)
        except (OSError, ValueError):  # no link, no path
            continue
        links += 1
        if links > _MOST_LINKS or is_network(target):
            return True
        whole = target if os.path.isabs(target) else os.path.join(os.path.dirname(done), target)
        done, inner = _root_and_parts(whole)
        left = [*inner, *left]
    return False


def _root_and_parts(path: str) -> tuple[str, list[str]]:
    drive, rest = os.path.splitdrive(path)
    return drive + os.sep, [part for part in rest.split(os.sep) if part]


def lies_below(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> bool:
    """Whether ``path`` is in ``folder``, after all links. A network path never is."""
    if leads_into_network(path):
        return False
    inside, outer = os.path.realpath(path), os.path.realpath(folder)
    try:
        return os.path.commonpath((inside, outer)) == outer
    except ValueError:  # on another drive
        return False


# ----------------------------------------------------------------------------
# Settings.

_MOST_PARTS = 1000  # of a key with dots: reading one takes the square of their number


def parse_toml(text: str) -> dict[str, Any]:
    """What a TOML text says. Raises ValueError: it is none, or has a key that no settings have."""
    if sys.version_info >= (3, 11):  # not at the top: it takes 2 ms, and few commands read any
        import tomllib  # noqa: PLC0415
    else:
        import tomli as tomllib  # noqa: PLC0415
    if any(line.partition("=")[0].count(".") > _MOST_PARTS for line in text.split("\n")):
        raise ValueError(f"a key of more than {_MOST_PARTS:,} parts")
    return tomllib.loads(text)


# ----------------------------------------------------------------------------
# Texts on a terminal.


# Zero-width joiners and marks of direction that belong to scripts and to emoji; behind ASCII they
# only hide something.
_JOINERS = frozenset("\u200c\u200d\u200e\u200f\u061c")
_HIDING = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")  # letters without a shape
_LETTERS = "LMS"  # first letters of categories


def printable(name: str | os.PathLike[str], stand_in: str = "?") -> str:
    """One line that moves no cursor and reads in its own direction; each character that could do
    something else becomes ``stand_in``. For names and other short texts of strangers."""
    text = os.fspath(name)
    if text.isprintable() and not _HIDING.intersection(text):
        return text
    return "".join(c if c.isprintable() and c not in _HIDING else stand_in for c in text)


def visible(text: str, before: str = "") -> str:
    """A text of several lines for a terminal. What could move the cursor, rename the window, turn
    the direction of what follows or hide in the text is shown as an escape; newline and tab stay,
    as do the joiners that other scripts than Latin and emoji are written with. ``before`` is what
    stands before it, where a text comes in pieces."""
    if text.isprintable() and not _HIDING.intersection(text):
        return text
    shown = []
    for place, char in enumerate(text):
        left = text[place - 1] if place else before[-1:]
        if _is_harmless(char, left):
            shown.append(char)
        else:
            shown.append(char.encode("unicode_escape").decode("ascii"))
    return "".join(shown)


def _is_harmless(char: str, left: str) -> bool:
    if char in "\n\t":
        return True
    if char in _JOINERS:
        return bool(left) and _is_joined(left)
    if char in _HIDING:
        return False
    return char.isprintable() or unicodedata.category(char) in ("Zs", "Co", "Cn")


def _is_joined(char: str) -> bool:
    return not char.isascii() and unicodedata.category(char)[0] in _LETTERS or char in _JOINERS
