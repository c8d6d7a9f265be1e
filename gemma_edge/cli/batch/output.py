"""Where the records of a batch go: stdout, a file that can be gone on with, texts beside images."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from gemma_edge.cli.batch.file import Shape, open_at_end, unwritable, write_line
from gemma_edge.cli.batch.sources import Source
from gemma_edge.cli.output import Output
from gemma_edge.describe.records import (
    Before,
    Format,
    Record,
    as_document,
    read_before,
    render_head,
    render_record,
)
from gemma_edge.describe.tasks import Kind
from gemma_edge.errors import UsageError

NOTHING = Before()
_SAYS: dict[Format, str] = {"csv": "CSV with our columns", "json": "lines of JSON"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """Where the answers go, and how many images are decoded at once."""

    each: bool = False
    out: Path | None = None
    csv: bool = False
    sidecar: bool = False
    replace: bool = False
    jobs: int = 2

    @property
    def is_asked(self) -> bool:
        """Whether any of it means one image after another."""
        return self.each or self.out is not None or self.csv or self.sidecar

    @property
    def form(self) -> Format:
        """CSV where it is asked for, or where the file's name says so."""
        named = self.out is not None and self.out.suffix.lower() == ".csv"
        return "csv" if self.csv or named else "json"


class Records:
    """Writes records, each whole before the next begins. ``before`` is what the file had;
    ``keeps`` says that there is a file."""

    def __init__(
        self, form: Format, output: Output, *, file: TextIO | None = None,
        before: Before = NOTHING, silent: bool = False,
    ) -> None:  # fmt: skip
        self.before = before
        self.keeps = file is not None
        self._form, self._output, self._file = form, output, file
        self._silent = silent and file is None
        self._begun = file is not None  # open_records wrote its head

    def write(self, record: Record) -> None:
        """Append one; an error that the file tells already is not told again.

        Raises:
            DoesNotFit: it cannot be written.
        """
        if (record.file, record.error) in self.before.told:
            return
        if self._file is not None:
            write_line(self._file, render_record(record, self._form))
        elif self._silent:
            return
        elif self._form == "json":
            self._output.event(as_document(record))
        else:
            if not self._begun:
                self._output.data(render_head("csv"))
                self._begun = True
            self._output.data(render_record(record, "csv"))


@contextmanager
def open_records(
    out: Path | None, form: Format, output: Output, *, silent: bool
) -> Iterator[Records]:
    """Records on stdout, nowhere (``silent``), or at the end of the file ``out``.

    Raises:
        InputError: the file holds something else, or cannot be read.
        DoesNotFit: it cannot be written.
    """
    if out is None:
        yield Records(form, output, silent=silent)
        return
    shape = Shape(
        form, render_head(form), _SAYS[form],
        lambda first: first == render_head(form) if form == "csv" else first.startswith("{"),
    )  # fmt: skip
    with open_at_end(out, shape, output) as (file, text):
        yield Records(form, output, file=file, before=read_before(text, form))


class Sidecars:
    """One text beside each image: ``photo.jpg.alt.txt``, ``photo.jpg.json``."""

    def __init__(self, kind: Kind, *, replace: bool) -> None:
        self._kind, self._replace = kind, replace

    def is_there(self, source: Source, page: int) -> bool:
        """Whether the image has its text already, and it is to be kept."""
        return not self._replace and self.path(source, page).exists()

    def write(self, source: Source, page: int, text: str) -> None:
        """Write it, whole or not at all; one that is there is kept unless it is to be replaced.

        Raises:
            DoesNotFit: it cannot be written.
        """
        path = self.path(source, page)
        if self.is_there(source, page):
            return
        beside = path.with_name(path.name + ".part")
        try:
            beside.write_text(text + "\n", encoding="utf-8")
            beside.replace(path)
        except OSError as error:
            raise unwritable(path, error) from None

    def path(self, source: Source, page: int) -> Path:
        """Where the text goes.

        Raises:
            UsageError: the image is no file.
        """
        if source.path is None:
            raise UsageError(f"there is no file beside {source.name}", hint="leave out --sidecar")
        ending = "json" if self._kind == "json" else f"{self._kind}.txt"
        number = f".page{page}" if page else ""
        return source.path.with_name(f"{source.path.name}{number}.{ending}")
