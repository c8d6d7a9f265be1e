"""The models that exist, one TOML file a size, and what a person may call them.

``resolve`` names files that are on this machine, ``wanted`` those of the hub that a name stands
for. Nothing is read before it is asked for. What is not known of a file is None, never a guess;
`scripts/refresh_catalog.py` measures it.
"""

import os.path
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal

from gemma_edge.errors import ModelError
from gemma_edge.records import dataclass
from gemma_edge.trust import parse_toml

DEFAULT_IMAGE_TOKENS = 280  # Google's own default budget for Gemma 4 (its model card)

KINDS = {"dense": "dense", "ple": "dense with per-layer embeddings", "moe": "mixture of experts"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogFile:
    """One file of a repository. ``revision`` is a whole commit; ``sha256`` 64 hex digits;
    ``width`` the hidden size that it has (a model) or is made for (a projector, a drafter);
    ``source`` where size and hash were read: on the "hub", or in lists of other projects."""

    repo: str
    filename: str
    revision: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    source: str | None = None
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
    """What a header of this size says (docs/memory.md, "Dimensions"). Heads of keys and values, and
    everything else that comes twice, by the kind of layer: with a window, or ``global``.
    ``projector_bytes`` stands for a projector whose file was not measured."""

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Size:
    """A size of Gemma 4. ``parameters`` are those in the text GGUF, ``active_parameters`` those
    that work on one token; ``called`` maps other names to what they mean, ``claims`` words
    that people add ("moe") to what is true, "" where they are right. ``others`` are files of the
    same repositories that no quant takes, and that are known all the same. Two are equal only if
    they are the same object: it is what their tensors are kept by."""

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
    others: tuple[CatalogFile, ...] = ()

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
        """Every file of every quant, each once, then the others."""
        own = (file for quant in self.quants for file in quant.files)
        return tuple(dict.fromkeys((*own, *self.others)))


def models_folder() -> Path:
    """Where the catalogue lies: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "models"
    return inside if inside.is_dir() else package.parent / "models"


@cache
def sizes() -> tuple[Size, ...]:
    read = (read_size(path) for path in models_folder().glob("*.toml"))
    return tuple(sorted((each for each in read if each), key=lambda each: each.parameters))


def size(name: str) -> Size:
    """The size with exactly this name; ``wanted`` takes what people write.
    Raises ModelError: there is none."""
    known = {each.name: each for each in sizes()}
    if name not in known:
        hint = f"there are {', '.join(known)}"
        raise ModelError(f"there is no size `{name}` of Gemma 4", hint=hint)
    return known[name]


def read_size(path: Path) -> Size | None:
    """The size that a TOML file describes; None for the bundled model, which has no quants."""
    entry = parse_toml(path.read_text(encoding="utf-8"))
    if "quants" not in entry:
        return None
    measured: Mapping[str, Mapping[str, Any]] = entry.pop("measured", {})
    quants = tuple(_quant(row, measured) for row in entry.pop("quants"))
    taken = {file.name for quant in quants for file in quant.files}
    others = tuple(_other(name, facts) for name, facts in measured.items() if name not in taken)
    modalities = tuple(entry.pop("modalities"))
    dimensions = Dimensions(**entry.pop("dimensions"))
    return Size(**entry, modalities=modalities, dimensions=dimensions, quants=quants, others=others)


def _quant(row: dict[str, Any], measured: Mapping[str, Mapping[str, Any]]) -> Quant:
    repo = row.pop("repo")
    files: dict[str, Any] = {}
    for role in {"model", "projector", "drafter"} & row.keys():
        name = row.pop(role)
        files[role] = CatalogFile(repo=repo, filename=name, **measured.get(f"{repo}/{name}", {}))
    quality = Quality(**row.pop("quality")) if "quality" in row else None
    return Quant(**row, **files, quality=quality)


def _other(name: str, facts: Mapping[str, Any]) -> CatalogFile:
    owner, repo, filename = name.split("/", 2)
    return CatalogFile(repo=f"{owner}/{repo}", filename=filename, **facts)


# What people write for a model, and which files of the hub they mean by it. `31b-q6`, `e4b:q8`,
# `gemma-4-26b`, `Gemma 4 4B dense`, `gemma4:e2b` and `unsloth/gemma-4-E4B-it-GGUF:Q8_0` are all
# understood; a name that is not quite right is answered with a line that says what it is.


Kind = Literal["bundled", "size", "remote", "path", "unknown"]

_SEPARATORS = re.compile(r"[\s:_/,()-]+")
_FAMILY = re.compile(r"gemma-?(?:4(?![0-9b.])-?)?")
_OTHER_FAMILY = re.compile(r"gemma-?([123]n?)(?:-|$)")
# What stands before a name in an address or in the command of another program.
_COMMAND = re.compile(
    r"\s*(?:ollama (?:run|pull)|llama-(?:server|cli) -hf|(?:hf|huggingface-cli) download)\s+",
    re.IGNORECASE,
)
_LIBRARY = re.compile(r"(?:https?://)?(?:www\.)?ollama\.com/(?:library/)?", re.IGNORECASE)
_HUB = re.compile(
    r"(?:hf:(?://)?|(?:https?://)?(?:www\.)?(?:hf\.co|huggingface\.co)/)", re.IGNORECASE
)
_PAGES = ("tree", "blob", "resolve", "discussions", "commits")  # of a repository, on the hub
_BASE = {"base", "pt", "pretrained"}
_NUMBER = re.compile(r"e?(\d+)b?(?:-|$)")
_NOISE = {"it", "gguf", "instruct", "model", "chat", "latest", "default"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedModel:
    """The files of the hub that a name stands for. ``note`` says what is not as the name says it,
    "" where there is nothing to say."""

    size: Size
    quant: Quant
    model: CatalogFile
    projector: CatalogFile | None
    drafter: CatalogFile | None
    note: str

    @property
    def title(self) -> str:
        """``Gemma 4 E4B, Q4 QAT (unsloth)``."""
        return f"{self.size.title}, {self.quant.title} ({self.quant.source})"


def wanted(name: str) -> NamedModel:
    """What to fetch for a name that ``kind_of`` calls a size.
    Raises ModelError: no size of Gemma 4, or no quant of it, has this name."""
    found = find_size(name)
    if found is None:
        raise unknown(name)
    if not found.repo:
        return _wanted(found.size, choose_quant(found.size, found.quant), found.note)
    own = tuple(q for q in found.size.quants if q.model.repo.lower() == found.repo.lower())
    with suppress(ModelError):
        if own:
            quant = choose_quant(replace(found.size, quants=own), found.quant)
            return _wanted(found.size, quant, found.note)
    quant = choose_quant(found.size, found.quant)
    other = f"the catalogue has no such GGUF of {found.repo}: {quant.model.repo}'s is taken"
    return _wanted(found.size, quant, "; ".join(filter(None, [found.note, other])))


def known_file(repo: str, filename: str) -> NamedModel | None:
    """What the catalogue knows of a file of the hub (``hf:owner/repo/file.gguf``): for a model
    what is wanted with it, None for all that is not in the catalogue."""
    for each in sizes():
        for quant in each.quants:
            if (quant.model.repo, quant.model.filename) == (repo, filename):
                return _wanted(each, quant, "")
    return None


def find_file(repo: str, filename: str) -> CatalogFile | None:
    """What was measured of a file of the hub, whatever it is for."""
    files = (file for each in sizes() for file in each.files)
    return next((file for file in files if (file.repo, file.filename) == (repo, filename)), None)


def kind_of(text: str) -> Kind:
    """What is meant: the bundled model, a size of the catalogue (``wanted``), a file on a hub
    (the store parses it), a path; or nothing that is known."""
    text = without_command(text)
    if text in bundled_names():
        return "bundled"
    is_repository = _repository(text) is not None
    if (_HUB.match(text) or "://" in text) and not is_repository:
        return "remote"
    is_path = "/" in text or "\\" in text or text.endswith(".gguf")
    if is_path and not is_repository:
        return "path"
    with suppress(ModelError):
        if find_size(text):  # whatever files of this name a folder has
            return "size"
    return "path" if text and os.path.exists(text) else "unknown"


def choose_quant(size: Size, text: str) -> Quant:
    """The quant that ``q8``, ``Q5_K_M``, ``qat``, ``google`` or ``6bit`` means, the default for "".
    Raises ModelError: this size has no such quant."""
    asked = _plain(text)
    if not asked:
        return size.default
    names = [(_plain(quant.name), quant) for quant in size.quants]
    for known in (
        names,
        [(name.replace("ud-", ""), quant) for name, quant in names],
        [(name.removeprefix("qat-"), quant) for name, quant in names if quant.qat],
        [(word, quant) for quant in size.quants for word in _loose(quant)],
    ):
        for name, quant in known:
            if name == asked:
                return quant
    listed = ", ".join(quant.name for quant in size.quants)
    raise ModelError(
        f"{size.title} has no quant `{text}` in the catalogue",
        hint=f"{size.name}:NAME with one of {listed}; or hf:owner/repo/file.gguf",
    )


def _loose(quant: Quant) -> set[str]:
    bits = {f"q{quant.bits}", f"{quant.bits}bit", f"{quant.bits}-bit", _plain(quant.title)}
    made = {"qat", quant.source} if quant.qat else {quant.source}
    pairs = {pair for one in made for other in bits | made
             for pair in (f"{one}-{other}", f"{other}-{one}")}  # fmt: skip
    return bits | made | pairs


@dataclass(frozen=True, slots=True)
class NamedSize:
    """A size that was named, the words on its quant, notes on the name, and the repository that
    it names ("": none)."""

    size: Size
    quant: str
    note: str
    repo: str = ""


def find_size(text: str) -> NamedSize | None:
    """The size that a name begins with, None where it is no size of Gemma 4.
    Raises ModelError: it names another generation of Gemma."""
    repo, quant_name = _repository(without_command(text)) or ("", "")
    word = _plain(f"{repo.partition('/')[2]}:{quant_name}" if repo else without_command(text))
    if other := _OTHER_FAMILY.match(word):
        raise _other_family(text, other[1], word[other.end() :])
    word = _FAMILY.sub("", word, count=1) if word.startswith("gemma") else word
    for alias, size, meaning in _aliases():
        if word == alias or word.startswith(f"{alias}-"):
            rest = word[len(alias) :].replace("mixture-of-experts", "moe").split("-")
            claims = [size.claims[part] for part in rest if part in size.claims]
            silent = _NOISE | _BASE | size.claims.keys()
            quant = [part for part in rest if part not in silent]
            is_base = _BASE & set(rest) or (repo.startswith("google/") and "it" not in rest)
            base = f"`{text}` is the base model; -it, which answers, is taken" if is_base else ""
            notes = [f"`{text}` is {meaning}" if meaning else "", base, *claims]
            said = "; ".join(filter(None, notes))
            return NamedSize(size, "-".join(quant).strip("-"), said, repo)
    return None


def unknown(text: str) -> ModelError:
    """A name that is none, with what was probably meant."""
    try:
        find_size(text)
    except ModelError as other:
        return other
    near = _nearest(text)
    known = f"there are {', '.join(each.name for each in sizes())}"
    if not set(_FAMILY.sub("", _plain(without_command(text)), count=1).split("-")) - _NOISE - {""}:
        problem = f"there is no model `{text}`: it does not say which size" if text else ""
        best = "without --model the best one for this machine answers (gemma-edge plan)"
        return ModelError(
            problem or "there is no model ``", hint=f"{known}; {best}" if text else known
        )
    hint = f"did you mean `{near}`?" if near else known
    return ModelError(f"there is no model `{text}`", hint=hint)


def bundled_names() -> tuple[str, ...]:
    """The names of the catalogue that are no sizes, sorted."""
    known = {each.name for each in sizes()}
    return tuple(sorted(stem for stem in _stems() if stem not in known))


@cache
def _stems() -> tuple[str, ...]:
    return tuple(path.stem for path in models_folder().glob("*.toml"))


def _wanted(size: Size, quant: Quant, note: str) -> NamedModel:
    return NamedModel(
        size=size, quant=quant, model=quant.model, projector=quant.projector,
        drafter=quant.drafter, note=note,
    )  # fmt: skip


def _plain(text: str) -> str:
    """Lower case, one ``-`` for whatever stands between the words."""
    return _SEPARATORS.sub("-", text.strip().lower()).strip("-")


def _aliases() -> list[tuple[str, Size, str]]:
    """Every name of every size with its meaning, the longest first."""
    rows = [
        (_plain(name), each, meaning)
        for each in sizes() for name, meaning in ((each.name, ""), *each.called.items())
    ]  # fmt: skip
    return sorted(rows, key=lambda row: -len(row[0]))


def without_command(text: str) -> str:
    """``ollama run gemma4:e4b`` and ``https://ollama.com/library/gemma4:e4b`` -> ``gemma4:e4b``."""
    found = _COMMAND.match(text)
    text = text[found.end() :].strip() if found else text
    library = _LIBRARY.match(text)
    return text[library.end() :] if library else text


def _repository(text: str) -> tuple[str, str] | None:
    """Repository and quant of ``google/gemma-4-E4B-it``, ``hf.co/unsloth/gemma-4-E4B-it-GGUF:Q8_0``
    and of a page of the hub, where the owner is one of the catalogue's: they are not paths or
    files; such a path is written with ./ before it. None for all else."""
    hub = _HUB.match(text)
    rest = text[hub.end() :] if hub else text
    if hub and "show_file_info=" not in rest:
        rest = rest.partition("?")[0].partition("#")[0]
        parts = rest.split("/")
        if parts[2:3] and parts[2] in _PAGES and not rest.lower().endswith(".gguf"):
            rest = "/".join(parts[:2])
    rest = rest.removesuffix("/")
    owner, slash, name = rest.partition("/")
    owners = {quant.model.repo.partition("/")[0] for each in sizes() for quant in each.quants}
    if owner not in owners or not slash or "/" in name or name.lower().endswith(".gguf"):
        return None
    name, _, quant = name.partition(":")
    return f"{owner}/{name}", quant


def _nearest(text: str) -> str:
    """The name that was probably meant: the nearest in size, else in spelling, else ""."""
    word = _FAMILY.sub("", _plain(text), count=1)
    if number := _NUMBER.match(word):
        billions = {
            each.name: int("".join(re.findall(r"\d+", each.name)[:1]) or 0) for each in sizes()
        }
        return min(billions, key=lambda name: abs(billions[name] - int(number[1])))
    near = get_close_matches(word, [*bundled_names(), *(each.name for each in sizes())], n=1)
    return near[0] if near else ""


def _other_family(text: str, generation: str, rest: str) -> ModelError:
    near = _nearest(rest) if rest else ""
    hint = f"the nearest of Gemma 4: {near}" if near else "--model PATH takes any .gguf file"
    return ModelError(f"`{text}` is Gemma {generation}, this is for Gemma 4", hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """A model on disk. ``image_tokens`` is the budget a picture gets when nobody asks for
    another; ``good_for`` and ``licence`` are empty for a file that only has a path. Where a model
    knows only some recipes and pictures, ``reads`` and ``sees`` say which. ``trust`` is how far it
    is believed about the kind of a document, beside the words (0 to 1), where that is known."""

    name: str
    model: Path
    projector: Path | None = None
    drafter: Path | None = None
    image_tokens: int = DEFAULT_IMAGE_TOKENS
    title: str = ""
    good_for: str = ""
    licence: str = ""
    bundled: bool = False
    reads: tuple[str, ...] = ()
    sees: str = ""
    trust: float | None = None


def names() -> tuple[str, ...]:
    """The names of the catalogue: the bundled model, then the sizes, the smallest first."""
    return (*bundled_names(), *(each.name for each in sizes()))


def resolve(name_or_path: str, mmproj: Path | None = None) -> ModelFiles:
    """The bundled model by name, or a path to a GGUF file; ``mmproj`` replaces the projector.
    Raises ModelError: a model that is not on this machine, or no model at all; the hint says what
    was probably meant."""
    kind = kind_of(name_or_path)
    if kind == "bundled":
        files = _read_bundled(models_folder() / f"{name_or_path}.toml")
    elif kind == "path":
        path = Path(name_or_path).expanduser()
        files = ModelFiles(name=path.stem, model=path)
    else:
        raise _not_here(name_or_path, kind)
    return replace(files, projector=mmproj.expanduser()) if mmproj else files


def _read_bundled(path: Path) -> ModelFiles:
    entry = parse_toml(path.read_text(encoding="utf-8"))
    model = path.parent / entry["files"]["model"]
    if not model.is_file():
        raise ModelError(
            f"the files of `{entry['name']}` are missing: there is no `{model}`",
            hint="python scripts/train_demo_model.py makes them again",
        )
    plain = ("name", "image_tokens", "title", "good_for", "licence", "sees", "trust")
    same = {key: entry[key] for key in plain}
    projector = path.parent / entry["files"]["projector"]
    reads = tuple(entry["reads"])
    return ModelFiles(**same, model=model, projector=projector, bundled=True, reads=reads)


def _not_here(text: str, kind: Kind) -> ModelError:
    """Say what a name means, and how it comes to this machine."""
    local = "--model PATH takes a GGUF file on this machine, --model demo the bundled one"
    pull = f"gemma-edge pull {shlex.quote(text)} fetches it; {local}"
    if kind == "remote":
        return ModelError(f"`{text}` is a file on a hub, not on this machine", hint=pull)
    found = find_size(text) if kind == "size" else None
    if found is None:
        error = unknown(text)
        between = " " if error.hint.endswith("?") else "; "
        return ModelError(error.message, hint=f"{error.hint}{between}{local}")
    meaning = f"{found.note}:" if found.note else f"`{text}` is"
    return ModelError(f"{meaning} {found.size.summary}, and not a file on this machine", hint=pull)
