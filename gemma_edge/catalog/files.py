"""A model on this machine: the bundled one by its name, any other by its path."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from gemma_edge.catalog.names import bundled_names, find_size, kind_of, unknown
from gemma_edge.catalog.sizes import DEFAULT_IMAGE_TOKENS, models_folder, read_entry, sizes
from gemma_edge.errors import ModelError

_LOCAL = "--model PATH takes a GGUF file on this machine, --model demo the bundled one"


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


def names() -> tuple[str, ...]:
    """The names of the catalogue: the bundled model, then the sizes, the smallest first."""
    return (*bundled_names(), *(each.name for each in sizes()))


def resolve(name_or_path: str, mmproj: Path | None = None) -> ModelFiles:
    """The bundled model by name, or a path to a GGUF file; ``mmproj`` replaces the projector.

    Raises:
        ModelError: a model that is not on this machine, or no model at all; the hint says what was
            probably meant.
    """
    kind = kind_of(name_or_path)
    if kind == "bundled":
        files = _read_bundled(models_folder() / f"{name_or_path}.toml")
    elif kind == "path":
        path = Path(name_or_path).expanduser()
        files = ModelFiles(name=path.stem, model=path)
    else:
        raise _not_here(name_or_path)
    if mmproj is None:
        return files
    return replace(files, projector=mmproj.expanduser())


def _read_bundled(path: Path) -> ModelFiles:
    entry = read_entry(path)
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


def _not_here(text: str) -> ModelError:
    """Say what a name means, and how it comes to this machine."""
    kind = kind_of(text)
    pull = f"gemma-edge pull {shlex.quote(text)} fetches it; {_LOCAL}"
    if kind == "remote":
        return ModelError(f"`{text}` is a file on a hub, not on this machine", hint=pull)
    found = find_size(text) if kind == "size" else None
    if found is None:
        error = unknown(text)
        between = " " if error.hint.endswith("?") else "; "
        return ModelError(error.message, hint=f"{error.hint}{between}{_LOCAL}")
    said = (
        f"{found.note}: {found.size.summary}" if found.note else f"`{text}` is {found.size.summary}"
    )
    return ModelError(f"{said}, and not a file on this machine", hint=pull)
