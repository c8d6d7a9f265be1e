"""Personas: who the model is to be, in small TOML files that people write.

about = "Reads code and says what is wrong with it"
system = "You review code."
model = "E4B"        # optional, as --model takes it
think = true         # optional
max_tokens = 800     # optional

[sampling]           # optional: temperature, top_p, top_k, min_p, seed
temperature = 0.2
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from gemma_edge.catalog import kind_of
from gemma_edge.engine.protocol import Sampling
from gemma_edge.errors import InputError
from gemma_edge.records import dataclass
from gemma_edge.trust import lies_below, parse_toml
from gemma_edge.units import render_bytes

SUFFIX = ".toml"
SHIPPED = Path(__file__).with_name("personas")
_TEXT, _SWITCH, _COUNT, _TABLE = (
    "a text", "true or false", "a whole number above 0", "a table: [sampling]",
)  # fmt: skip
_NUMBER, _WHOLE = "a number from 0 on", "a whole number from 0 on"
_IS: Mapping[str, Callable[[Any], bool]] = {
    _TEXT: lambda value: isinstance(value, str),
    _SWITCH: lambda value: isinstance(value, bool),
    _COUNT: lambda value: type(value) is int and value > 0,
    _TABLE: lambda value: isinstance(value, Mapping),
    _NUMBER: lambda value: type(value) in (int, float) and value >= 0,
    _WHOLE: lambda value: type(value) is int and value >= 0,
}
_SETTINGS = {
    "about": _TEXT, "system": _TEXT, "model": _TEXT, "think": _SWITCH, "max_tokens": _COUNT,
    "sampling": _TABLE,
}  # fmt: skip
_SAMPLING = {
    "temperature": _NUMBER, "top_p": _NUMBER, "top_k": _WHOLE, "min_p": _NUMBER, "seed": _WHOLE,
}  # fmt: skip


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
    Raises InputError: there is none of that name, or its file cannot be read."""
    path = Path(name).expanduser()
    if path.suffix == SUFFIX and path.is_file():
        persona = _read(path)
        if kind_of(persona.model) == "path" and not lies_below(persona.model, path.parent):
            problem = f"{path}: `model` is a file elsewhere"  # whose persona that is is not known
            raise InputError(problem, hint="a name of `gemma-edge models`; --model FILE takes it")
        return persona
    found = find_personas(folders)
    if name not in found:
        guess = "".join(f"did you mean `{n}`? " for n in get_close_matches(name, found, n=1))
        hint = f"{guess}there are: {', '.join(sorted(found))}"
        raise InputError(f"there is no persona `{name}`", hint=hint)
    return _read(found[name])


_MOST_BYTES = 256 << 10


def merge_sampling(own: Sampling, asked: Sampling) -> Sampling:
    given = {name: getattr(asked, name) for name in _SAMPLING}
    return replace(own, **{name: value for name, value in given.items() if value is not None})


def find_personas(folders: Sequence[Path]) -> dict[str, Path]:
    places = [SHIPPED, *reversed(folders)]
    return {path.stem: path for place in places for path in place.glob(f"*{SUFFIX}")}


def _read(path: Path) -> Persona:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ValueError(f"larger than {render_bytes(_MOST_BYTES)}")
        text = data.decode("utf-8")
        content = parse_toml(text)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are of this kind
        raise InputError(f"{path} is not TOML: {error}") from None
    _check(path, content, _SETTINGS, "")
    sampling = content.pop("sampling", {})
    _check(path, sampling, _SAMPLING, "sampling.")
    content["system"] = content.get("system", "").strip()
    return Persona(name=path.stem, sampling=Sampling(**sampling), **content)


def _check(path: Path, table: Mapping[str, Any], known: Mapping[str, str], where: str) -> None:
    for key, value in table.items():
        if key not in known:
            hint = f"there are: {', '.join(known)}"
            raise InputError(f"{path}: there is no setting `{where}{key}`", hint=hint)
        if not _IS[known[key]](value):
            raise InputError(f"{path}: `{where}{key}` is not {known[key]}")
