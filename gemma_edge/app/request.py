"""What is asked for, as plain data."""

from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gemma_edge.records import dataclass

if TYPE_CHECKING:  # a command line is parsed before any of this is needed
    from gemma_edge.description import Kind
    from gemma_edge.documents.document import PageNumbers
    from gemma_edge.engine.protocol import Sampling
    from gemma_edge.extraction import Strategy, Vision
    from gemma_edge.planning.plan import Adapter, DraftMode, KvType

AUTO = "auto"  # no model was named: the plan chooses

Form = Literal["json", "csv", "markdown", "sqlite"]
FORMS: tuple[Form, ...] = ("json", "csv", "markdown", "sqlite")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """Which model (``AUTO``: the best one for this machine), and how it is to be placed; ``None``
    leaves it to the plan, anything else is kept or refused. ``vision`` is whether pictures must be
    possible; ``min_speed`` is in tokens a second; ``remember`` keeps on disk what was read of
    pictures and documents. ``draft`` is what guesses words ahead: what the prompt says ("lookup"),
    and the model's drafter too ("mtp"); "auto" is "lookup" until ``gemma-edge bench`` has found
    that the drafter pays. A ``drafter`` that is named takes the place of the model's own.
    ``at_once`` is how many answers are to be under way at once."""

    model: str = AUTO
    mmproj: Path | None = None
    quant: str | None = None
    adapters: "tuple[Adapter, ...]" = ()
    vision: bool | None = None
    context_tokens: int | None = None
    kv_type: "KvType | None" = None
    gpu_layers: int | None = None
    cpu_expert_layers: int | None = None
    require_gpu: bool = False
    min_speed: float | None = None
    threads: int | None = None
    remember: bool = False
    draft: "DraftMode" = "auto"
    drafter: Path | None = None
    at_once: int = 1

    @property
    def guesses(self) -> bool:
        """Whether a drafter is to be loaded."""
        return self.draft == "mtp" or (self.draft == "auto" and self.drafter is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeRequest:
    """``schema`` is a file, JSON, or the one-line language; ``recipe`` a name or a file. The rest
    is added to the recipe. ``trust`` lets the schema be a Python class; without ``files`` neither
    names a file."""

    schema: str | None = None
    recipe: str | None = None
    trust: bool = False
    files: bool = True
    rules: tuple[str, ...] = ()
    counter_examples: tuple[str, ...] = ()
    worked: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    habits: tuple[str, ...] = ()
    compute: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractRequest:
    """How documents are read. ``tiles`` is into how many parts a picture of a page is cut (1, 2,
    4); ``encoding`` and ``hidden`` are those of ``ReadOptions``; ``scored`` gives each value a
    confidence; ``located`` asks where a value that was read from a picture stands. A field
    named in ``grounded`` can only hold what is printed, into one in ``free`` ("all": any) the
    model may write."""

    pages: "PageNumbers | None" = None
    password: str | None = field(default=None, repr=False)
    vision: "Vision" = "auto"
    tiles: int = 1
    strategy: "Strategy" = "auto"
    encoding: str | None = None
    hidden: bool = False
    strict: bool = False
    max_tokens: int | None = None
    scored: bool = True
    located: bool = False
    free: tuple[str, ...] = ()
    grounded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeRequest:
    """What is asked about images, and how closely they are looked at. ``schema`` is a file, JSON,
    or the one-line language, for the kind ``json``; ``detail_tokens`` is the budget of a picture,
    None for what the image needs; ``tiles`` is into how many parts it is cut (1, 2, 4). Without
    ``files`` a schema names none."""

    kind: "Kind" = "caption"
    questions: tuple[str, ...] = ()
    schema: str | None = None
    language: str = ""
    sampling: "Sampling | None" = None
    max_tokens: int | None = None
    trust: bool = False
    files: bool = True
    detail_tokens: int | None = None
    tiles: int = 1
    pages: "PageNumbers | None" = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Shard:
    """The share ``index`` (from 1) of ``count`` of the files."""

    index: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest:
    """Where the answers about many files go (``out`` None: to whoever asked), in which form (None:
    what the name of ``out`` says), and how many files are read ahead of the model. So many are
    answered ``at_once``; 0: as many as memory pays for. ``raw_cells`` leaves in CSV what a
    spreadsheet takes for a formula. ``shard`` is the share that is read here, and ``run`` what all
    shares of one run have in common. One that is ``beside`` writes into a file of its own, which
    begins with that, where shares lie; somebody else puts them together. ``stopped`` says why no
    further file is to be begun, "" while there is no reason."""

    out: Path | None = None
    form: Form | None = None
    jobs: int = 2
    at_once: int = 0
    raw_cells: bool = False
    shard: Shard | None = None
    run: str = ""
    beside: str = ""
    stopped: Callable[[], str] = field(default=lambda: "", repr=False, compare=False)
