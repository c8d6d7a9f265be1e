"""What the command line asks of an extraction, as data."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gemma_edge.documents.page_numbers import PageNumbers
from gemma_edge.extract.job.options import Options, Strategy, Vision

Form = Literal["json", "csv", "markdown", "sqlite"]
FORMS: tuple[Form, ...] = ("json", "csv", "markdown", "sqlite")
EvidenceForm = Literal["inline", "sidecar"]
EVIDENCES: tuple[EvidenceForm, ...] = ("inline", "sidecar")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeOptions:
    """``schema`` is a file, JSON, the one-line language, or ``-`` for stdin; ``recipe`` a name or
    a file. The rest is added to the recipe; ``save_as`` keeps all of it."""

    schema: str | None = None
    recipe: str | None = None
    trust: bool = False
    save_as: str | None = None
    rules: tuple[str, ...] = ()
    counter_examples: tuple[str, ...] = ()
    worked: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    habits: tuple[str, ...] = ()
    compute: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractOptions:
    """What the flags say. ``out``, ``form`` and ``jobs`` are about many documents, ``answers``
    about `extract eval`; ``scored`` is whether a confidence is shown somewhere."""

    files: tuple[Path, ...]
    recipe: RecipeOptions
    pages: PageNumbers | None = None
    password: str | None = field(default=None, repr=False)
    vision: Vision = "auto"
    tiles: int = 1
    strategy: Strategy = "auto"
    strict: bool = False
    max_tokens: int | None = None
    dry_run: bool = False
    evidence: EvidenceForm | None = None
    html: Path | None = None
    out: Path | None = None
    form: Form | None = None
    jobs: int = 2
    answers: Path | None = None
    scored: bool = False

    def options(self, image_tokens: int) -> Options:
        """The job's own, for a picture budget."""
        return Options(
            strategy=self.strategy, vision=self.vision, image_tokens=image_tokens,
            tiles=self.tiles, strict=self.strict, max_tokens=self.max_tokens,
            scored=self.scored or self.max_tokens is not None,  # where a cut is likely, exactly
        )  # fmt: skip
