"""Names to files that are on this machine, for the commands that list, prove and delete."""

import os
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from gemma_edge import catalog
from gemma_edge.catalog import CatalogFile, Wanted
from gemma_edge.cli.store.targets import name_of
from gemma_edge.errors import ModelError, UsageError
from gemma_edge.store import StoredFile, StoreSettings, parse_remote


def select(
    names: Sequence[str], files: Sequence[StoredFile], settings: StoreSettings, *,
    sparing: bool = False,
) -> list[StoredFile]:  # fmt: skip
    """The files that these names mean: of the catalogue (a model with what belongs to it), of the
    hub, a whole repository, a file's name or its path. ``sparing`` leaves out a projector or a
    drafter that another model on this machine needs.

    Raises:
        ModelError: one of them is not on this machine.
        UsageError: one of them can mean several, or is none of the store's.
    """
    chosen: dict[StoredFile, None] = {}
    companions: dict[StoredFile, CatalogFile] = {}
    for name in names:
        matching, belonging = _literal(name, files), {}
        if not matching and (wanted := _wanted(name)):
            matching, belonging = _of(wanted.model, files), _belonging(wanted, files)
        elif not matching:
            matching = _remote(name, files, settings)
        if not matching and not belonging:
            raise _not_here(name, files)
        chosen |= dict.fromkeys(matching)
        companions |= belonging
    for stored, file in companions.items():
        if not (sparing and _is_needed(file, files, chosen)):
            chosen[stored] = None
    return [stored for stored in files if stored in chosen]


def label(stored: StoredFile) -> str:
    """What the catalogue calls a file: ``e4b``, ``31b:q6_k``, ``e4b projector``; "" for others."""
    for size in catalog.sizes():
        for quant in size.quants:
            if _is(quant.model, stored):
                return name_of(size, quant)
            for role, file in (("projector", quant.projector), ("drafter", quant.drafter)):
                if file is not None and _is(file, stored):
                    return f"{size.name} {role}"
    return ""


def count_bytes(files: Iterable[StoredFile]) -> int:
    """What they take together; two names of the same bytes count once."""
    return sum({os.path.realpath(stored.path): stored.size_bytes for stored in files}.values())


def render_count(count: int) -> str:
    """``1 file``, ``3 files``."""
    return f"{count} file{'' if count == 1 else 's'}"


def _literal(name: str, files: Sequence[StoredFile]) -> list[StoredFile]:
    """The name or the path as it is listed, a repository, or the last part of a name."""
    path = os.path.abspath(os.path.expanduser(name))
    whole = [each for each in files if name in (each.name, each.repo) or str(each.path) == path]
    if whole or not name:
        return whole
    tails = [each for each in files if name in (each.file, each.file.rpartition("/")[2])]
    meant = sorted({each.name for each in tails})
    if len(meant) > 1:
        raise UsageError(f"`{name}` can mean several files", hint=" or ".join(meant))
    return tails


def _wanted(name: str) -> Wanted | None:
    kind = catalog.kind_of(name)
    if kind == "bundled":
        raise UsageError(
            f"`{name}` is part of gemma-edge, not of the store", hint="gemma-edge list shows those"
        )
    return catalog.wanted(name) if kind == "size" else None


def _remote(name: str, files: Sequence[StoredFile], settings: StoreSettings) -> list[StoredFile]:
    if catalog.kind_of(name) != "remote":
        return []
    meant = parse_remote(name, endpoint=settings.endpoint)
    return [
        each for each in files
        if (each.repo, each.file) == (meant.repo, meant.filename)
        and (meant.revision is None or each.commit.startswith(meant.revision))
    ]  # fmt: skip


def _is(file: CatalogFile, stored: StoredFile) -> bool:
    return (stored.repo, stored.file) == (file.repo, file.filename)


def _of(file: CatalogFile, files: Sequence[StoredFile]) -> list[StoredFile]:
    return [stored for stored in files if _is(file, stored)]


def _belonging(wanted: Wanted, files: Sequence[StoredFile]) -> dict[StoredFile, CatalogFile]:
    """Its projector and its drafter, as far as they are there."""
    parts = [file for file in (wanted.projector, wanted.drafter) if file is not None]
    return {stored: file for file in parts for stored in _of(file, files)}


def _is_needed(
    file: CatalogFile, files: Sequence[StoredFile], leaving: dict[StoredFile, None]
) -> bool:
    staying = (stored for stored in files if stored not in leaving)
    known = (catalog.known_file(stored.repo, stored.file) for stored in staying)
    return any(each is not None and file in (each.projector, each.drafter) for each in known)


def _not_here(name: str, files: Sequence[StoredFile]) -> ModelError:
    known = {stored.name: None for stored in files} | {
        found: None for stored in files if (found := label(stored))
    }
    near = get_close_matches(name, known, n=1)
    if not near and catalog.kind_of(name) == "unknown":
        catalog.wanted(name)  # says what was probably meant
    same_size = [each for each in known if each.partition(":")[0] == name.partition(":")[0]]
    guess = near or same_size
    hint = f"did you mean {guess[0]}? gemma-edge list" if guess else "gemma-edge list shows what is"
    return ModelError(f"`{name}` is not on this machine", hint=hint)
