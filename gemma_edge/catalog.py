"""The models that exist, one TOML file each, and what a person may call them."""

import re
import sys
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from gemma_edge.errors import ModelError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_IMAGE_TOKENS = 280  # Google's own default budget for Gemma 4 (gemma4.md section 4)

# What people call the sizes of Gemma 4; no such files are fetched yet.
_SIZES = {
    "e2b": "Gemma 4 E2B (35 layers, text and images)",
    "e4b": "Gemma 4 E4B (42 layers, text and images)",
    "12b": "Gemma 4 12B (48 layers, text and images)",
    "26b-a4b": "Gemma 4 26B-A4B (mixture of experts, 30 layers, text and images)",
    "31b": "Gemma 4 31B (60 layers, text and images)",
}
_NICKNAMES = {  # another name -> (the size, what to say about the name)
    "2b": ("e2b", "called E2B in Gemma 4"),
    "4b": ("e4b", "called E4B in Gemma 4"),
    "26b": ("26b-a4b", ""),
    "a4b": ("26b-a4b", ""),
    "moe": ("26b-a4b", ""),
    "27b": ("31b", "a size of Gemma 3; the nearest of Gemma 4 is 31B"),
}
_PREFIX = re.compile(r"^gemma[-_ ]?4?[-_: ]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """A model on disk. ``image_tokens`` is the budget a picture gets when nobody asks for
    another; ``good_for`` and ``licence`` are empty for a file that only has a path."""

    name: str
    model: Path
    projector: Path | None = None
    image_tokens: int = DEFAULT_IMAGE_TOKENS
    title: str = ""
    good_for: str = ""
    licence: str = ""
    bundled: bool = False


def models_folder() -> Path:
    """Where the catalogue lies: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "models"
    return inside if inside.is_dir() else package.parent / "models"


def names() -> tuple[str, ...]:
    """The names that ``resolve`` knows, sorted."""
    return tuple(sorted(path.stem for path in models_folder().glob("*.toml")))


def resolve(name_or_path: str, mmproj: Path | None = None) -> ModelFiles:
    """A name of the catalogue, or a path to a GGUF file; ``mmproj`` replaces the projector.

    Raises:
        ModelError: neither a name nor a file; the hint says what was probably meant.
    """
    if name_or_path in names():
        files = _read_entry(models_folder() / f"{name_or_path}.toml")
    elif _looks_like_path(name_or_path):
        path = Path(name_or_path).expanduser()
        files = ModelFiles(name=path.stem, model=path)
    else:
        raise _unknown(name_or_path)
    if mmproj is None:
        return files
    return replace(files, projector=mmproj.expanduser())


def _read_entry(path: Path) -> ModelFiles:
    entry: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    model = path.parent / entry["files"]["model"]
    if not model.is_file():
        raise ModelError(
            f"the files of `{entry['name']}` are missing: there is no `{model}`",
            hint="python scripts/train_demo_model.py makes them again",
        )
    return ModelFiles(
        name=entry["name"],
        model=model,
        projector=path.parent / entry["files"]["projector"],
        image_tokens=entry["image_tokens"],
        title=entry["title"],
        good_for=entry["good_for"],
        licence=entry["licence"],
        bundled=True,
    )


def _looks_like_path(text: str) -> bool:
    if "://" in text or text.startswith("hf:"):
        return False
    return "/" in text or "\\" in text or text.endswith(".gguf") or Path(text).exists()


def _unknown(text: str) -> ModelError:
    """Say what a name probably means, and what can be done today."""
    today = "--model PATH takes a GGUF file on this machine, --model demo the bundled one"
    if "://" in text or text.startswith("hf:"):
        return ModelError(
            f"`{text}` would have to be downloaded, which is not there yet", hint=today
        )
    word = _PREFIX.sub("", text.lower()).removesuffix("-it")
    size, note = _NICKNAMES.get(word, (word, ""))
    if size in _SIZES:
        what = f"{note}: {_SIZES[size]}" if note else _SIZES[size]
        return ModelError(f"`{text}` is {what}; downloading it is not there yet", hint=today)
    near = get_close_matches(text.lower(), [*names(), *_SIZES], n=1)
    guess = f"did you mean `{near[0]}`? " if near else ""
    return ModelError(f"there is no model `{text}`", hint=guess + today)
