"""What people write for a model, and which files of the hub they mean by it.

``31b-q6``, ``e4b:q8``, ``gemma-4-26b``, ``Gemma 4 4B dense``, ``gemma4:e2b`` and
``unsloth/gemma-4-E4B-it-GGUF:Q8_0`` are all understood; a name that is not quite right is answered
with a line that says what it is.
"""

import os.path
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from gemma_edge.catalog.sizes import CatalogFile, Quant, Size, models_folder, sizes
from gemma_edge.errors import ModelError

Kind = Literal["bundled", "size", "remote", "path", "unknown"]

_SEPARATORS = re.compile(r"[\s:_/,()-]+")
_FAMILY = re.compile(r"gemma-?(?:4(?![0-9b.])-?)?")
_OTHER_FAMILY = re.compile(r"gemma-?([123]n?)(?:-|$)")
_HUB = re.compile(r"^(?:hf:|hf\.co/|huggingface\.co/)", re.IGNORECASE)
_NUMBER = re.compile(r"e?(\d+)b?(?:-|$)")
_NOISE = {"it", "gguf", "instruct", "model", "chat", "latest", "default"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
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


def wanted(name: str) -> Wanted:
    """What to fetch for a name that ``kind_of`` calls a size.

    Raises:
        ModelError: no size of Gemma 4, or no quant of it, has this name.
    """
    found = find_size(name)
    if found is None:
        raise unknown(name)
    return _wanted(found.size, choose_quant(found.size, found.quant), found.note)


def known_file(repo: str, filename: str) -> Wanted | None:
    """What the catalogue knows of a file of the hub (``hf:owner/repo/file.gguf``): for a model
    what is wanted with it, None for all that is not in the catalogue."""
    for each in sizes():
        for quant in each.quants:
            if (quant.model.repo, quant.model.filename) == (repo, filename):
                return _wanted(each, quant, "")
    return None


def kind_of(text: str) -> Kind:
    """What is meant: the bundled model, a size of the catalogue (``wanted``), a file on a hub
    (the store parses it), a path; or nothing that is known."""
    if text in bundled_names():
        return "bundled"
    if (text.lower().startswith("hf:") or "://" in text) and _without_owner(text) == text:
        return "remote"
    exact = any(text == each.name for each in sizes())
    if not exact and _looks_like_path(text):
        return "path"
    try:
        return "size" if find_size(text) else "unknown"
    except ModelError:
        return "unknown"


def choose_quant(size: Size, text: str) -> Quant:
    """The quant that ``q8``, ``Q5_K_M``, ``qat``, ``google`` or ``6bit`` means, the default for "".

    Raises:
        ModelError: this size has no such quant.
    """
    asked = _plain(text)
    if not asked:
        return size.default
    for shortened in (_exact, _without_ud, _without_qat, _loose):
        for quant in size.quants:
            if asked in shortened(quant):
                return quant
    names = ", ".join(quant.name for quant in size.quants)
    raise ModelError(
        f"{size.title} has no quant `{text}` in the catalogue",
        hint=f"{size.name}:NAME with one of {names}; or hf:owner/repo/file.gguf",
    )


def _exact(quant: Quant) -> set[str]:
    return {_plain(quant.name)}


def _without_ud(quant: Quant) -> set[str]:
    return {_plain(quant.name).replace("ud-", "")}


def _without_qat(quant: Quant) -> set[str]:
    return {_plain(quant.name).removeprefix("qat-")} if quant.qat else set()


def _loose(quant: Quant) -> set[str]:
    bits = {f"q{quant.bits}", f"{quant.bits}bit", f"{quant.bits}-bit", _plain(quant.title)}
    made = {"qat", quant.source} if quant.qat else {quant.source}
    pairs = {pair for one in made for other in bits | made
             for pair in (f"{one}-{other}", f"{other}-{one}")}  # fmt: skip
    return bits | made | pairs


@dataclass(frozen=True, slots=True)
class Found:
    """A size that was named, what was said of its quant, and what to say about the name."""

    size: Size
    quant: str
    note: str


def find_size(text: str) -> Found | None:
    """The size that a name begins with, None where it is no size of Gemma 4.

    Raises:
        ModelError: it names another generation of Gemma.
    """
    word = _plain(_without_owner(text))
    if other := _OTHER_FAMILY.match(word):
        raise _other_family(text, other[1], word[other.end() :])
    word = _FAMILY.sub("", word, count=1) if word.startswith("gemma") else word
    for alias, size, said in _aliases():
        if word == alias or word.startswith(f"{alias}-"):
            rest = word[len(alias) :].replace("mixture-of-experts", "moe").split("-")
            claims = [size.claims[part] for part in rest if part in size.claims]
            quant = [part for part in rest if part not in size.claims and part not in _NOISE]
            notes = [f"`{text}` is {said}" if said else "", *claims]
            return Found(size, "-".join(quant).strip("-"), "; ".join(filter(None, notes)))
    return None


def unknown(text: str) -> ModelError:
    """A name that is none, with what was probably meant."""
    try:
        find_size(text)
    except ModelError as other:
        return other
    near = _nearest(text)
    known = ", ".join(each.name for each in sizes())
    hint = f"did you mean `{near}`?" if near else f"there are {known}"
    return ModelError(f"there is no model `{text}`", hint=hint)


def bundled_names() -> tuple[str, ...]:
    """The names of the catalogue that are no sizes, sorted."""
    known = {each.name for each in sizes()}
    stems = (path.stem for path in models_folder().glob("*.toml"))
    return tuple(sorted(stem for stem in stems if stem not in known))


def _wanted(size: Size, quant: Quant, note: str) -> Wanted:
    return Wanted(
        size=size, quant=quant, model=quant.model, projector=quant.projector,
        drafter=quant.drafter, note=note,
    )  # fmt: skip


def _plain(text: str) -> str:
    """Lower case, one ``-`` for whatever stands between the words."""
    return _SEPARATORS.sub("-", text.strip().lower()).strip("-")


def _aliases() -> list[tuple[str, Size, str]]:
    """Every name of every size with what is said of it, the longest first."""

    def rows() -> Iterator[tuple[str, Size, str]]:
        for each in sizes():
            yield _plain(each.name), each, ""
            yield from ((_plain(name), each, said) for name, said in each.called.items())

    return sorted(rows(), key=lambda row: len(row[0]), reverse=True)


def _looks_like_path(text: str) -> bool:
    if not text or _without_owner(text) != text:
        return False
    return "/" in text or "\\" in text or text.endswith(".gguf") or os.path.exists(text)


def _without_owner(text: str) -> str:
    """``google/gemma-4-E4B-it`` and ``hf.co/unsloth/gemma-4-E4B-it-GGUF:Q8_0`` are repositories,
    not paths or files, unless there is such a path."""
    owner, slash, rest = _HUB.sub("", text).partition("/")
    owners = {quant.model.repo.partition("/")[0] for each in sizes() for quant in each.quants}
    named = owner in owners and slash and "/" not in rest and not rest.endswith(".gguf")
    return rest if named and not os.path.exists(text) else text


def _nearest(text: str) -> str:
    """The name that was probably meant: the nearest in size, else in spelling, else ""."""
    word = _FAMILY.sub("", _plain(text), count=1)
    if number := _NUMBER.match(word):
        return min(sizes(), key=lambda each: abs(_billions(each) - int(number[1]))).name
    near = get_close_matches(word, [*bundled_names(), *(each.name for each in sizes())], n=1)
    return near[0] if near else ""


def _billions(size: Size) -> int:
    """The number in its name."""
    digits = re.search(r"\d+", size.name)
    return int(digits[0]) if digits else 0


def _other_family(text: str, generation: str, rest: str) -> ModelError:
    near = _nearest(rest) if rest else ""
    hint = f"the nearest of Gemma 4: {near}" if near else "--model PATH takes any .gguf file"
    return ModelError(f"`{text}` is Gemma {generation}, this is for Gemma 4", hint=hint)
