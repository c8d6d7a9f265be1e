"""What goes into planning and what comes out, as plain data.

A ``Candidate`` is a model that could run, ``Constraints`` are what a person pinned. A ``Placement``
says where the model's parts go, its ``Ledger`` what that takes, and a ``Plan`` is a placement with
all that ``engine.load`` needs to know, decided before anything is loaded. A ``NoPlan`` says why
there is none.
"""

from collections.abc import Iterator
from dataclasses import field, fields, replace
from pathlib import Path
from typing import Any, Literal

from gemma_edge.catalog import DEFAULT_IMAGE_TOKENS, ModelFiles
from gemma_edge.gguf import Header
from gemma_edge.records import dataclass

KvType = Literal["f32", "f16", "q8_0"]
LoadMode = Literal["mmap", "none"]
# Where a model computes: all of it on GPUs, with experts or with whole layers on the CPU, the CPU.
PlacementKind = Literal["gpu", "experts", "partial", "cpu"]
ALL_LAYERS = -1  # llama.cpp's n_gpu_layers: as many as there are
RAM = "RAM"  # main memory, among the names of devices

# What could run, and what a person pinned.

# The better first; sizes of the same family, so more parameters that work is better.
SIZES_BY_QUALITY = ("31b", "26b-a4b", "12b", "e4b", "e2b")
# The 4 bits that a model was trained for are the default: half the memory and the time of 8 bits
# for nearly the same answers (E2B: 98 % of the most likely tokens stay, against 89 % when 4 bits
# are only rounded to; docs/memory.md, "Search order"). More bits are taken when they are named, or
# are what is on disk.
QAT_BITS = 9
FEWEST_BITS = 4  # with fewer a model is worth less than the next smaller one (as above)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One quant of one model. ``files`` is None where it is not on this machine; ``header`` is
    then a header read from the hub, or one made from the catalogue's facts (``exact`` is False).
    ``size_name`` is the catalogue's ("e4b"), "" for a file that only has a path. ``download_bytes``
    is what would have to be fetched. ``weights`` is the sha256 of the model file, "" if unknown.
    ``drafter`` is one that guesses words ahead beside it, whose memory is counted; None for none;
    one that is ``spare`` is left out where it would change the plan.
    Candidates are equal if their headers are, whatever their files are called."""

    name: str
    title: str
    header: Header
    projector: Header | None = None
    drafter: Header | None = None
    spare: bool = False
    files: ModelFiles | None = field(default=None, compare=False)
    exact: bool = True
    on_disk: bool = True
    size_name: str = ""
    bits: int = 0
    qat: bool = False
    image_tokens: int = DEFAULT_IMAGE_TOKENS
    download_bytes: int | None = None
    weights: str = ""

    @property
    def model_path(self) -> Path:
        """The model file, or only its name where it is not on this machine."""
        return self.files.model if self.files else self.header.path

    @property
    def model_name(self) -> str:
        """What ``--model`` takes for it: a name of the catalogue brings its projector along,
        another file goes by its path."""
        return self.name if self.size_name else str(self.model_path)

    @property
    def projector_path(self) -> Path | None:
        if self.projector is None:
            return None
        return (self.files.projector if self.files else None) or self.projector.path

    @property
    def drafter_path(self) -> Path | None:
        if self.drafter is None:
            return None
        return (self.files.drafter if self.files else None) or self.drafter.path

    @property
    def layers(self) -> int:
        """Of the model, the output not counted."""
        return self.header.integer(".block_count") or 0

    @property
    def size(self) -> str:
        return self.size_name or self.name

    @property
    def weights_key(self) -> str:
        """What a measured speed is kept under: the hash, else name and size."""
        return self.weights or f"{self.model_path.name}:{self.header.file_bytes}"

    @property
    def few_bits(self) -> bool:
        return 0 < self.bits < FEWEST_BITS

    @property
    def quality(self) -> tuple[int, int, int]:
        """Rank among candidates, larger is better: the size, then whether it is at hand, then the
        bits of its weights. With too few bits it counts as the worst of the next size."""
        known = self.size_name in SIZES_BY_QUALITY
        size = -SIZES_BY_QUALITY.index(self.size_name) if known else -len(SIZES_BY_QUALITY)
        if self.few_bits:
            return size - 1, -1, self.bits
        return size, int(self.on_disk), QAT_BITS if self.qat else self.bits

    def without_drafter(self) -> "Candidate":
        files = replace(self.files, drafter=None) if self.files else None
        return replace(self, drafter=None, spare=False, files=files)

    def without_projector(self) -> "Candidate":
        files = replace(self.files, projector=None) if self.files else None
        return replace(self, projector=None, files=files)


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA in a GGUF file, added to the weights with ``scale``."""

    path: Path
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """What a person pinned; ``None`` leaves it to the plan, anything else is kept or refused.

    ``image_tokens`` is the budget of the largest picture that may come. ``vision``: True needs a
    projector, False leaves it out, None takes one where there is one. ``gpu_layers`` is llama.cpp's
    n_gpu_layers, ``ALL_LAYERS`` (experts included) or a number; 0 is the CPU. ``min_speed`` is in
    tokens a second. ``adapters`` are added to whatever model is taken, each with the header of its
    file. ``sequences`` are answers at once. A model is pinned by offering no other size among the
    candidates."""

    context_tokens: int | None = None
    gpu_layers: int | None = None
    cpu_expert_layers: int | None = None
    threads: int | None = None
    image_tokens: int | None = None
    kv_type: KvType | None = None
    require_gpu: bool = False
    min_speed: float | None = None
    vision: bool | None = None
    adapters: tuple[tuple[Adapter, Header], ...] = ()
    sequences: int = 1


# Where the parts of a model go, and what they take there.


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the parts of one model go, and how large its context is.

    ``batch_tokens`` is both llama.cpp's n_batch and n_ubatch: they must be equal, and not smaller
    than the largest image, or an image is split in silence (docs/memory.md, "Images").
    ``devices`` are ggml's names of the GPUs that are used ("CUDA0"), empty for the CPU alone.
    ``gpu_layers`` is llama.cpp's n_gpu_layers: the last layers, and the output counts as one more.
    ``split`` says how many of them each device takes, empty for one device. The experts of the
    first ``cpu_expert_layers`` layers stay in main memory. ``projector_device`` is "" for the CPU;
    ``image_tokens`` is the largest picture that was paid for, 0 for none. ``repack`` lets the CPU
    build a faster copy of its weights in anonymous memory; ``lazy`` reads rows of the per-layer
    embeddings from disk as they are needed. ``variables`` ("NAME=VALUE") are those of the machine:
    the processes that load llama.cpp are given them. So many ``sequences``, answers that are under
    way at once, share the context."""

    context_tokens: int
    batch_tokens: int
    kv_type: KvType = "f16"
    devices: tuple[str, ...] = ()
    gpu_layers: int = 0
    split: tuple[int, ...] = ()
    cpu_expert_layers: int = 0
    projector_device: str = ""
    image_tokens: int = 0
    load_mode: LoadMode = "mmap"
    lazy: bool = False
    repack: bool = True
    variables: tuple[str, ...] = ()
    sequences: int = 1

    def placed_layers(self, layers: int) -> int:
        """Layers on GPUs of a model that has so many, from 0 to ``layers + 1``: the output counts
        as one more (llama-model.cpp, ``load_tensors``)."""
        if not self.devices:
            return 0
        return layers + 1 if self.gpu_layers == ALL_LAYERS else min(self.gpu_layers, layers + 1)

    def kind(self, layers: int) -> PlacementKind:
        placed = self.placed_layers(layers)
        if not placed:
            return "cpu"
        if placed <= layers:
            return "partial"
        return "experts" if self.cpu_expert_layers else "gpu"


# In the order in which they are shown.
PartName = Literal[
    "weights", "adapters", "drafter", "KV global", "KV window", "compute", "adapter compute",
    "projector", "projector compute", "pictures", "expert copy", "KV scratch", "output",
    "checkpoints", "drafts", "runtime", "margin",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPart:
    """One part. ``exact``: llama.cpp allocates just this; otherwise ``note`` says where the
    estimate comes from. ``reclaimable``: pages of a file, which the system may drop and read
    again. ``runtime`` is what is taken beside llama.cpp's buffers: a CUDA context, the program."""

    name: PartName
    size_bytes: int
    exact: bool = True
    reclaimable: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One memory: a device by ggml's name ("CUDA0"), or "RAM". ``budget_bytes`` is what is free
    in it now; None where nobody says."""

    place: str
    title: str
    budget_bytes: int | None
    parts: tuple[MemoryPart, ...]

    @property
    def total_bytes(self) -> int:
        return sum(part.size_bytes for part in self.parts)

    @property
    def taken_bytes(self) -> int:
        """All parts but the margin, which is only kept free."""
        return sum(part.size_bytes for part in self.parts if part.name != "margin")

    @property
    def fits(self) -> bool:
        return self.budget_bytes is None or self.total_bytes <= self.budget_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What a placement takes: one account a device that is used, in its order, then RAM."""

    accounts: tuple[Account, ...]

    @property
    def fits(self) -> bool:
        return all(account.fits for account in self.accounts)

    @property
    def fits_devices(self) -> bool:
        return all(account.fits for account in self.accounts if account.place != RAM)

    def account(self, place: str) -> Account:
        """The account of one memory; KeyError where the placement does not use it."""
        for account in self.accounts:
            if account.place == place:
                return account
        raise KeyError(place)


@dataclass(frozen=True, slots=True)
class Allocated:
    """One buffer of llama.cpp. ``place`` is a device by ggml's name, or "RAM"; ``reclaimable``:
    pages of the model's file. Rounded by llama.cpp to 0.01 MiB."""

    place: str
    part: PartName
    size_bytes: int
    reclaimable: bool = False


# The result.


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Tokens a second while answering. ``measured``: on this machine, with these weights.
    ``read_tokens_per_second`` is that of a prompt, None where it was not measured too."""

    tokens_per_second: float
    measured: bool
    reason: str
    read_tokens_per_second: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A step that was tried: what, whether it was taken, and why not, with the numbers."""

    what: str
    taken: bool
    reason: str


Draft = Literal["lookup", "off"]
# What a person asks for: the plan's own choice, with a drafter, without one, nothing.
DraftMode = Literal["auto", "mtp", "lookup", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Placement):
    """One model, placed on one machine. ``threads`` decode, ``prefill_threads`` (0: as many) read
    prompts. ``attempts`` is how the search came here; ``fallbacks`` is what to load when memory
    runs out in spite of the ledger, the next first; ``alternatives`` are other models that fit.
    What was read of pictures and documents is kept in the folder ``remember``, if a person wants
    that; documents take at most ``remember_bytes`` (None: what the engine thinks right, 0: none is
    added). ``draft`` is whether what is copied from the prompt is drafted; ``drafter`` guesses what
    cannot be copied, unless that is off; the answers are the same. ``patient``: nobody watches
    them, so prompts are read a whole batch at a time beside them."""

    model: Path
    projector: Path | None = None
    drafter: Path | None = None
    adapters: tuple[Adapter, ...] = ()
    name: str = ""
    threads: int = 1
    prefill_threads: int = 0
    ledger: Ledger | None = None
    speed: Speed | None = None
    reasons: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    fallbacks: tuple["Plan", ...] = ()
    alternatives: tuple["Plan", ...] = ()
    remember: Path | None = None
    remember_bytes: int | None = None
    draft: Draft = "lookup"
    patient: bool = False

    @property
    def placement(self) -> Placement:
        """Where its parts go, and nothing else."""
        return Placement(**dict(placement_items(self)))


@dataclass(frozen=True, slots=True, kw_only=True)
class NoPlan:
    reason: str
    attempts: tuple[Attempt, ...] = ()


def placement_items(placement: Placement) -> Iterator[tuple[str, Any]]:
    """The fields of a placement, or those of a plan that say where its parts go."""
    return ((each.name, getattr(placement, each.name)) for each in fields(Placement))


def with_fallbacks(plan: Plan, **changes: Any) -> Plan:
    fallbacks = tuple(with_fallbacks(each, **changes) for each in plan.fallbacks)
    return replace(plan, fallbacks=fallbacks, **changes)
