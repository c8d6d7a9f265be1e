"""The catalogue as data: the sizes of Gemma 4, their quants and the files of each.

What is not known of a file is None, never a guess; ``scripts/refresh_catalog.py`` measures it.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gemma_edge.errors import ModelError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_IMAGE_TOKENS = 280  # Google's own default budget for Gemma 4 (its model card)

KINDS = {
    "dense": "dense",
    "ple": "dense with per-layer embeddings",
    "moe": "mixture of experts",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogFile:
    """One file of a repository. ``revision`` is a whole commit; ``sha256`` 64 hex digits;
    ``width`` the hidden size that it has (a model) or is made for (a projector, a drafter)."""

    repo: str
    filename: str
    revision: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    architecture: str | None = None
    width: int | None = None

    @property
    def name(self) -> str:
        """``owner/repo/file.gguf``, the key of the measured part."""
        return f"{self.repo}/{self.filename}"

    @property
    def pinned(self) -> bool:
        """Whether ``sha256`` is what the file has to be. Without a revision it is what the newest
        one was when it was measured, and files are replaced in place: a reason for a note."""
        return self.revision is not None and self.sha256 is not None


@dataclass(frozen=True, slots=True)
class Quality:
    """A figure that somebody measured: what, how much, where it can be read."""

    measure: str
    value: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quant:
    """One GGUF file of a size from one source, with what belongs to it. ``qat``: trained for its
    few bits, not only rounded to them."""

    name: str
    title: str
    source: str
    qat: bool
    bits: int
    model: CatalogFile
    projector: CatalogFile | None = None
    drafter: CatalogFile | None = None
    quality: Quality | None = None

    @property
    def files(self) -> tuple[CatalogFile, ...]:
        """Model, projector, drafter, as far as there are any."""
        return tuple(file for file in (self.model, self.projector, self.drafter) if file)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimensions:
    """What a header of this size says (fit.md 3.1). Heads of keys and values, and everything else
    that comes twice, by the kind of layer: with a window, or ``global``. ``projector_bytes`` stands
    for a projector whose file was not measured."""

    heads: int
    kv_heads_window: int
    kv_heads_global: int
    feed_forward: int
    window_tokens: int
    global_every: int
    projector_bytes: int
    feed_forward_shared: int = 0
    shared_kv_layers: int = 0
    per_layer_width: int = 0
    keys_are_values: bool = False
    experts: int = 0
    experts_used: int = 0
    expert_feed_forward: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A size of Gemma 4. ``parameters`` are those in the text GGUF, ``active_parameters`` those
    that work on one token; ``called`` maps other names to what is said of them, ``claims`` words
    that people add ("moe") to what is true, "" where they are right."""

    name: str
    title: str
    good_for: str
    licence: str
    kind: str
    parameters: int
    active_parameters: int
    layers: int
    width: int
    context_tokens: int
    modalities: tuple[str, ...]
    image_tokens: int
    dimensions: Dimensions
    called: Mapping[str, str]
    claims: Mapping[str, str]
    quants: tuple[Quant, ...]

    @property
    def default(self) -> Quant:
        """The quant that is taken when nobody names one."""
        return self.quants[0]

    @property
    def summary(self) -> str:
        """``Gemma 4 31B (dense, 60 layers)``."""
        return f"{self.title} ({KINDS[self.kind]}, {self.layers} layers)"

    @property
    def files(self) -> tuple[CatalogFile, ...]:
        """Every file of every quant, each once."""
        return tuple(dict.fromkeys(file for quant in self.quants for file in quant.files))


def models_folder() -> Path:
    """Where the catalogue lies: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "models"
    return inside if inside.is_dir() else package.parent / "models"


@cache
def sizes() -> tuple[Size, ...]:
    """All of them, the smallest first."""
    read = (read_size(path) for path in models_folder().glob("*.toml"))
    return tuple(sorted((each for each in read if each), key=lambda each: each.parameters))


def size(name: str) -> Size:
    """The size with exactly this name; ``wanted`` takes what people write.

    Raises:
        ModelError: there is none.
    """
    for each in sizes():
        if each.name == name:
            return each
    known = ", ".join(each.name for each in sizes())
    raise ModelError(f"there is no size `{name}` of Gemma 4", hint=f"there are {known}")


def read_entry(path: Path) -> dict[str, Any]:
    """One TOML file of the catalogue."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def read_size(path: Path) -> Size | None:
    """The size that a TOML file describes; None for the bundled model, which has no quants."""
    entry = read_entry(path)
    if "quants" not in entry:
        return None
    measured: Mapping[str, Mapping[str, Any]] = entry.pop("measured", {})
    quants = tuple(_quant(row, measured) for row in entry.pop("quants"))
    modalities = tuple(entry.pop("modalities"))
    dimensions = Dimensions(**entry.pop("dimensions"))
    return Size(**entry, modalities=modalities, dimensions=dimensions, quants=quants)


def _quant(row: dict[str, Any], measured: Mapping[str, Mapping[str, Any]]) -> Quant:
    repo = row.pop("repo")

    def file(role: str) -> CatalogFile | None:
        name = row.pop(role, None)
        if name is None:
            return None
        return CatalogFile(repo=repo, filename=name, **measured.get(f"{repo}/{name}", {}))

    model, projector, drafter = file("model"), file("projector"), file("drafter")
    if model is None:
        raise KeyError("model")
    quality = Quality(**row.pop("quality")) if "quality" in row else None
    return Quant(**row, model=model, projector=projector, drafter=drafter, quality=quality)
