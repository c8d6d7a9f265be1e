"""What can be planned: files of this machine by their headers, those of the hub by the headers that
were read before, or else by what the catalogue knows."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from gemma_edge import catalog
from gemma_edge.catalog import CatalogFile, ModelFiles, Quant, Size
from gemma_edge.cli.store.targets import as_remote, name_of
from gemma_edge.errors import ModelError
from gemma_edge.fit.candidate import Candidate
from gemma_edge.fit.synthesis import synthesize, synthesize_projector
from gemma_edge.gguf import Header
from gemma_edge.store import Locks, RemoteFile, StoreSettings, list_files
from gemma_edge.store.headers import find_kept_header, read_local_header

ARCHITECTURE = "gemma4"


class Stock:
    """The store's files as they were when it was opened, beside the catalogue. Opens no socket."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._files = [each for each in list_files(settings) if each.where != "incomplete"]

    def local(self, files: ModelFiles) -> Candidate:
        """A model on this machine.

        Raises:
            ModelError: a file is none, or damaged.
        """
        header = read_local_header(files.model, self._settings)
        seen = read_local_header(files.projector, self._settings) if files.projector else None
        candidate = Candidate(
            name=files.name, title=files.title or files.name, header=header, projector=seen,
            files=files, image_tokens=files.image_tokens,
        )  # fmt: skip
        place = files.model.absolute()
        stored = next((each for each in self._files if each.path == place), None)
        known = catalog.known_file(stored.repo, stored.file) if stored else None
        if stored is None or known is None:
            return candidate
        entry = Locks(self._settings).find(stored.repo, stored.file)
        return replace(
            _named(candidate, known.size, known.quant),
            weights=stored.sha256 or (entry[0].sha256 if entry else ""),
        )

    def on_disk(self) -> list[Candidate]:
        """Every Gemma 4 of the store. A damaged file is left out: ``gemma-edge verify`` tells."""
        found: dict[Path, Candidate] = {}
        for stored in self._files:
            known = catalog.known_file(stored.repo, stored.file)
            if known is None and "gemma" not in stored.name.lower():
                continue  # reading the header of every model of a full cache takes long
            try:
                if known is not None:
                    candidate = self.quant(known.size, known.quant)
                else:
                    name = str(stored.path)
                    files = ModelFiles(name=name, title=stored.file, model=stored.path)
                    candidate = self.local(files)
            except ModelError:
                continue
            if candidate.header.architecture == ARCHITECTURE and candidate.header.tensors:
                found.setdefault(candidate.model_path.resolve(), candidate)
        return list(found.values())

    def quants(self, pairs: Iterable[tuple[Size, Quant]]) -> list[Candidate]:
        """Of the catalogue, wherever the files are.

        Raises:
            ModelError: a file on disk is damaged.
        """
        return [self.quant(size, quant) for size, quant in pairs]

    def quant(self, size: Size, quant: Quant) -> Candidate:
        """One of the catalogue; its projector counts even where only the model is on disk."""
        model = self.path(quant.model)
        seen = self.path(quant.projector) if quant.projector else None
        projector = self._projector(size, quant, seen)
        if model is not None:
            files = ModelFiles(name=name_of(size, quant), model=model, projector=seen,
                               image_tokens=size.image_tokens)  # fmt: skip
            return replace(self.local(files), projector=projector)
        kept = find_kept_header(as_remote(quant.model), self._settings)
        candidate = Candidate(
            name="", title="", on_disk=False, header=kept or synthesize(size, quant),
            exact=kept is not None, projector=projector, image_tokens=size.image_tokens,
            download_bytes=self._missing_bytes(quant),
        )  # fmt: skip
        return _named(candidate, size, quant)

    def _projector(self, size: Size, quant: Quant, seen: Path | None) -> Header | None:
        if quant.projector is None:
            return None
        if seen is not None:
            return read_local_header(seen, self._settings)
        kept = find_kept_header(as_remote(quant.projector), self._settings)
        return kept or synthesize_projector(size, quant)

    def _missing_bytes(self, quant: Quant) -> int | None:
        """To download, as far as anybody knows."""
        wanted = [file for file in (quant.model, quant.projector) if file is not None]
        sizes = [file.size_bytes for file in wanted if self.path(file) is None]
        known = [size_bytes for size_bytes in sizes if size_bytes is not None]
        return sum(known) if known else None

    def path(self, file: CatalogFile | RemoteFile) -> Path | None:
        """Where it is, the newest where it is there twice."""
        same = [
            each for each in self._files if (each.repo, each.file) == (file.repo, file.filename)
        ]
        return max(same, key=lambda each: each.last_used).path if same else None


def _named(candidate: Candidate, size: Size, quant: Quant) -> Candidate:
    """``e4b``; ``E4B, Q4 QAT (unsloth)``."""
    title = f"{size.title.removeprefix('Gemma 4 ')}, {quant.title} ({quant.source})"
    return replace(
        candidate, name=name_of(size, quant), title=title, size_name=size.name,
        bits=quant.bits, qat=quant.qat,
    )  # fmt: skip
