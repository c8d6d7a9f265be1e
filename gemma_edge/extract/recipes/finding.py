"""Recipes by name or by file: a person's own first, then those that ship."""

import re
import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from gemma_edge.documents.files import shown
from gemma_edge.errors import InputError
from gemma_edge.extract.recipes.reading import read_recipe
from gemma_edge.extract.recipes.recipe import Recipe
from gemma_edge.extract.schemas.fields import unknown_names
from gemma_edge.extract.schemas.schema import read_text

ENDINGS = (".yaml", ".yml")
_LIST_HINT = "gemma-edge recipes list"


def shipped() -> dict[str, Any]:
    """The recipes of the package: their names, and the files."""
    folder = files("gemma_edge.extract.recipes").joinpath("shipped")
    found = {each.name.rpartition(".")[0]: each for each in folder.iterdir()
             if each.name.endswith(ENDINGS)}  # fmt: skip
    return dict(sorted(found.items()))


def owned(folders: Sequence[Path]) -> dict[str, Path]:
    """The recipes of ``folders``, the first of a name."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.suffix.lower() in ENDINGS:
                found.setdefault(recipe_name(path.stem), path)
    return found


def recipe_name(text: str) -> str:
    """``Résumé`` to ``resume``: names have no case, no accents and no spaces."""
    plain = unicodedata.normalize("NFKD", text.strip().casefold())
    bare = "".join(char for char in plain if not unicodedata.combining(char))
    return re.sub(r"[\s_]+", "-", bare)


def looks_like_path(text: str) -> bool:
    """Whether a recipe is named by its file."""
    return text.lower().endswith(ENDINGS) or "/" in text or "\\" in text


def load_recipe(name_or_path: str, folders: Sequence[Path] = (), *, trust: bool = False) -> Recipe:
    """A recipe file (``my.yaml``, ``./recipes/my``), or one by its name: first in ``folders``, then
    among those that ship. ``trust`` lets its schema be a Python class.

    Raises:
        InputError: there is none, or a line of it is wrong, or names what is not there.
        UsageError: its schema is a Python class, without ``trust``.
    """
    recipe, file = load_unverified(name_or_path, folders, trust=trust)
    for said, line in unknown_names(recipe.asked.source, recipe.compute, recipe.checks):
        raise InputError(f"{file}, line {line}: {said}", hint=f"gemma-edge recipes lint {file}")
    return recipe


def load_unverified(
    name_or_path: str, folders: Sequence[Path], *, trust: bool = False
) -> tuple[Recipe, str]:
    """A recipe whose expressions may name what is not there, and its file's name for people.

    Raises:
        InputError, UsageError: as ``load_recipe``, but for that.
    """
    text, name, path = find(name_or_path, folders)
    if path is None:
        file = f"{name}{ENDINGS[0]}"
        return read_recipe(text, name, file), file
    file = shown(path if looks_like_path(name_or_path) else path.name)
    return read_recipe(text, name, file, path.parent, trust=trust), file


def find(name_or_path: str, folders: Sequence[Path]) -> tuple[str, str, Path | None]:
    """The text of a recipe, its name, and its file; None for one that ships.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    if looks_like_path(name_or_path):
        path = Path(name_or_path).expanduser()
        return read_text(str(path)), recipe_name(path.stem), path
    name = recipe_name(name_or_path)
    own, theirs = owned(folders), shipped()
    if name in own:
        return read_text(str(own[name])), name, own[name]
    if name in theirs:
        return theirs[name].read_text(encoding="utf-8"), name, None
    near = get_close_matches(name, [*own, *theirs], 1)
    guess = f"did you mean {near[0]}? " if near else ""
    raise InputError(f"there is no recipe `{shown(name_or_path)[:60]}`", hint=guess + _LIST_HINT)
