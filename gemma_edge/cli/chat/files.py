"""Files as parts of a message: text whole, with what it takes of the context; pages that are
pictures of text as pictures."""

from dataclasses import dataclass
from pathlib import Path

from gemma_edge.chat.history import Attachment
from gemma_edge.chat.session import Session
from gemma_edge.cli.output import Output
from gemma_edge.documents.document import Document
from gemma_edge.documents.images import fit_picture, open_image
from gemma_edge.documents.picture import Picture, render_cost
from gemma_edge.documents.reading import open_document
from gemma_edge.engine.protocol import Engine
from gemma_edge.errors import InputError, ProjectorError
from gemma_edge.units import render_tokens

PAGE_TOKENS = 1120  # of a scanned page: small letters need them (gemma4.md section 4)
_SEEN = ("scan", "mixed")  # pages whose text stands in a picture


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens for one conversation; a line tells the cost of each. ``image_tokens`` is the budget of
    an image, ``page_tokens`` the largest that the plan has paid for."""

    session: Session
    engine: Engine
    output: Output
    image_tokens: int
    page_tokens: int

    def image(self, path: Path) -> Picture:
        """An image, fitted.

        Raises:
            InputError: it cannot be read.
            ProjectorError: the model sees nothing.
        """
        self.check_sight()
        return self.told(fit_picture(open_image(path), path.name, self.image_tokens))

    def file(self, path: Path) -> tuple[tuple[Attachment, ...], tuple[Picture, ...]]:
        """A document: its text, and its pages that are pictures.

        Raises:
            InputError: it cannot be read, or has nothing in it.
        """
        document = open_document(path)
        for note in document.notes:
            self.output.note(note)
        scans = [page.number for page in document.pages if page.kind in _SEEN]
        files: tuple[Attachment, ...] = ()
        if document.text.strip():
            files = (self.session.attach(path.name, document.text),)
            count = len(document.pages)
            pages = f"{count} pages, " if count > 1 else ""
            self.output.note(f"{path.name}: {pages}{render_tokens(files[0].tokens)}")
        elif not scans:
            raise InputError(
                f"{path.name} has nothing to read in it", hint="check how it was saved"
            )
        return files, self._pages(document, scans) if scans else ()

    def check_sight(self) -> None:
        """Raise where the model sees no images."""
        if not self.engine.info.vision:
            raise ProjectorError(
                "this model was loaded without a projector, it sees no images",
                hint="--mmproj FILE",
            )

    def told(self, picture: Picture) -> Picture:
        """The picture; a line says what it costs."""
        self.output.note(render_cost(picture).partition(";")[0])
        return picture

    def _pages(self, document: Document, numbers: list[int]) -> tuple[Picture, ...]:
        """Pages that are pictures are looked at, where the model can."""
        if not self.engine.info.vision:
            named = ", ".join(map(str, numbers))
            pages = f"page{'s' if len(numbers) > 1 else ''} {named} of {document.name}"
            self.output.note(f"{pages}: pictures of text, which this model does not see")
            return ()
        from gemma_edge.documents import render_page  # noqa: PLC0415  (starts a child process)

        tokens = min(PAGE_TOKENS, self.page_tokens)
        return tuple(
            self.told(picture)
            for number in numbers
            for picture in render_page(document, number, max_tokens=tokens)
        )
