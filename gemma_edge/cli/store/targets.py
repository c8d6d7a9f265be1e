"""What people write for a model, as files of the hub."""

from dataclasses import dataclass, replace

from gemma_edge import catalog
from gemma_edge.catalog import CatalogFile, Quant, Size, Wanted
from gemma_edge.cli.options import AUTO, ModelOptions
from gemma_edge.errors import ModelError, UsageError
from gemma_edge.store import RemoteFile, StoreSettings, parse_remote


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A model of the hub with what belongs to it. ``wanted`` is what the catalogue knows of it,
    None for a file that is not in there."""

    asked: str
    model: RemoteFile
    projector: RemoteFile | None = None
    drafter: RemoteFile | None = None
    wanted: Wanted | None = None

    @property
    def title(self) -> str:
        """As a person would say it."""
        return self.wanted.title if self.wanted else self.model.name

    @property
    def note(self) -> str:
        """What is to be said about the name, "" if nothing."""
        return self.wanted.note if self.wanted else ""


def find_target(text: str, settings: StoreSettings) -> Target:
    """A name of the catalogue, ``hf:owner/repo/file.gguf[@revision]`` or an address of the hub.

    Raises:
        ModelError: there is no such name; the hint says what was probably meant.
        UsageError: an address that is none, or a path.
    """
    kind = catalog.kind_of(text)
    if kind == "remote":
        return _parse_target(text, settings)
    if kind == "path":
        raise UsageError(
            f"`{text}` is a path, not a model of the hub",
            hint="gemma-edge import FILE takes a file in; a file of the hub is "
            "hf:owner/repo/file.gguf",
        )
    return _as_target(text, catalog.wanted(text))


def _parse_target(text: str, settings: StoreSettings) -> Target:
    file = parse_remote(text, endpoint=settings.endpoint)
    known = catalog.known_file(file.repo, file.filename)
    if known is None:
        return Target(asked=text, model=file)
    target = _as_target(text, known)
    if file.revision is None:
        return target
    projector, drafter = (
        RemoteFile(each.repo, each.filename, file.revision) if each else None
        for each in (target.projector, target.drafter)
    )
    return replace(target, model=file, projector=projector, drafter=drafter)


def _as_target(text: str, wanted: Wanted) -> Target:
    return Target(
        asked=text,
        model=as_remote(wanted.model),
        projector=as_remote(wanted.projector) if wanted.projector else None,
        drafter=as_remote(wanted.drafter) if wanted.drafter else None,
        wanted=wanted,
    )


def as_remote(file: CatalogFile) -> RemoteFile:
    """The catalogue's word for the store. A hash without a revision is no promise: the hub's
    files are replaced in place."""
    return RemoteFile(
        file.repo, file.filename, file.revision, file.size_bytes,
        file.sha256 if file.pinned else None,
    )  # fmt: skip


def name_of(size: Size, quant: Quant) -> str:
    """What a person types for a quant: the size alone means its default."""
    return size.name if quant is size.default else f"{size.name}:{quant.name}"


def offered_quants(options: ModelOptions) -> list[tuple[Size, Quant]]:
    """The quants of the catalogue among which a plan may choose: that of a name, else all, and
    where a quant was named that one of every size that has it.

    Raises:
        ModelError: there is no such size, or no such quant.
    """
    if options.model != AUTO:
        wanted = catalog.wanted(pinned_name(options))
        return [(wanted.size, wanted.quant)]
    if options.quant is None:
        return [(size, quant) for size in catalog.sizes() for quant in size.quants]
    found, refusal = [], None
    for size in catalog.sizes():
        try:
            found.append((size, catalog.choose_quant(size, options.quant)))
        except ModelError as error:
            refusal = error
    if refusal is not None and not found:
        raise refusal
    return found


def pinned_name(options: ModelOptions) -> str:
    """The model with its quant: ``--model 31b --quant q6`` is ``31b:q6``.

    Raises:
        UsageError: a quant of what has none.
    """
    if options.quant is None or options.model == AUTO:
        return options.model
    if catalog.kind_of(options.model) != "size":
        raise UsageError(
            f"--quant chooses among those of the catalogue, `{options.model}` is one file",
            hint="gemma-edge models lists names and quants",
        )
    return f"{options.model}:{options.quant}"
