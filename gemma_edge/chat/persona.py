"""Personas: who the model is to be, in small TOML files that people write.

about = "Reads code and says what is wrong with it"
system = "You review code."
model = "E4B"        # optional, as --model takes it
think = true         # optional
max_tokens = 800     # optional

[sampling]           # optional: temperature, top_p, top_k, min_p, seed
temperature = 0.2
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from gemma_edge.engine.protocol import Sampling
from gemma_edge.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SUFFIX = ".toml"
SHIPPED = Path(__file__).with_name("personas")
_SAMPLING = {field.name: field for field in fields(Sampling)}
_WHOLE = ("top_k", "seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona:
    """``name`` is the file's. ``None`` and "" leave the choice to the flags and the model."""

    name: str
    about: str = ""
    system: str = ""
    model: str = ""
    think: bool | None = None
    max_tokens: int | None = None
    sampling: Sampling = Sampling()


def load_persona(name: str, folders: Sequence[Path]) -> Persona:
    """A persona by its name, or by the path of its file; one of a person's own ``folders`` hides
    the shipped one of its name.

    Raises:
        InputError: there is none of that name, or its file cannot be read.
    """
    path = Path(name).expanduser()
    if path.suffix == SUFFIX and path.is_file():
        return _read(path)
    found = _find(folders)
    if name not in found:
        near = get_close_matches(name, found, n=1)
        guess = f"did you mean `{near[0]}`? " if near else ""
        raise InputError(
            f"there is no persona `{name}`", hint=f"{guess}there are: {', '.join(sorted(found))}"
        )
    return _read(found[name])


def merge_sampling(own: Sampling, asked: Sampling) -> Sampling:
    """What was asked for, and where nothing was, a persona's own."""
    given = {name: getattr(asked, name) for name in _SAMPLING}
    return replace(own, **{name: value for name, value in given.items() if value is not None})


def _find(folders: Sequence[Path]) -> dict[str, Path]:
    places = [SHIPPED, *reversed(folders)]
    return {path.stem: path for place in places for path in place.glob(f"*{SUFFIX}")}


def _read(path: Path) -> Persona:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are of this kind
        raise InputError(f"{path} is not TOML: {error}") from None
    parse = _Parse(path, content)
    return Persona(
        name=path.stem,
        about=parse.text("about"),
        system=parse.text("system").strip(),
        model=parse.text("model"),
        think=parse.switch("think"),
        max_tokens=parse.count("max_tokens"),
        sampling=parse.sampling(),
    )


class _Parse:
    """The values of one file; what is misspelled or of another kind is refused by its name."""

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        self._path = path
        self._content = content
        self._refuse_unknown(content, [f.name for f in fields(Persona)][1:], "")

    def _refuse_unknown(self, table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
        for key in table:
            if key not in known:
                raise InputError(
                    f"{self._path}: there is no setting `{where}{key}`",
                    hint=f"there are: {', '.join(known)}",
                )

    def _wrong(self, key: str, wanted: str) -> InputError:
        return InputError(f"{self._path}: `{key}` is not {wanted}")

    def text(self, key: str) -> str:
        value = self._content.get(key, "")
        if not isinstance(value, str):
            raise self._wrong(key, "a text")
        return value

    def switch(self, key: str) -> bool | None:
        value = self._content.get(key)
        if not isinstance(value, bool | None):
            raise self._wrong(key, "true or false")
        return value

    def count(self, key: str) -> int | None:
        value = self._content.get(key)
        if value is not None and (type(value) is not int or value < 1):
            raise self._wrong(key, "a whole number above 0")
        return value

    def sampling(self) -> Sampling:
        table = self._content.get("sampling", {})
        if not isinstance(table, Mapping):
            raise self._wrong("sampling", "a table: [sampling]")
        self._refuse_unknown(table, list(_SAMPLING), "sampling.")
        for key, value in table.items():
            kinds = (int,) if key in _WHOLE else (int, float)
            if type(value) not in kinds or value < 0:
                whole = "whole " if key in _WHOLE else ""
                raise self._wrong(f"sampling.{key}", f"a {whole}number from 0 on")
        return Sampling(**table)
