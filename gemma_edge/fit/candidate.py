"""What can be planned, and what a person pinned. Plain data."""

from dataclasses import dataclass
from pathlib import Path

from gemma_edge.catalog import DEFAULT_IMAGE_TOKENS, ModelFiles
from gemma_edge.fit.plan import KvType
from gemma_edge.gguf import Header


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFile:
    """A LoRA that was asked for, and the header of its file."""

    adapter: Adapter
    header: Header



# The better first; sizes of the same family, so more parameters that work is better (fit.md 4.7).
SIZES_BY_QUALITY = ("31b", "26b-a4b", "12b", "e4b", "e2b")
# The 4 bits that a model was trained for are the default: half the memory and the time of 8 bits
# for nearly the same answers (fit.md 4.7: 98 % of the most likely tokens stay, against 89 % when 4
# bits are only rounded to). More bits are taken when they are named, or are what is on disk.
QAT_BITS = 9
FEWEST_BITS = 4  # with fewer a model is worth less than the next smaller one (fit.md 4.7, step 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One quant of one model. ``files`` is None where it is not on this machine; ``header`` is
    then a header read from the hub, or one made from the catalogue's facts (``exact`` is False).
    ``size_name`` is the catalogue's ("e4b"), "" for a file that only has a path. ``download_bytes``
    is what would have to be fetched. ``weights`` is the sha256 of the model file, "" if unknown.
    """

    name: str
    title: str
    header: Header
    projector: Header | None = None
    files: ModelFiles | None = None
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
    def projector_path(self) -> Path | None:
        """The projector's file or name."""
        if self.projector is None:
            return None
        return (self.files.projector if self.files else None) or self.projector.path

    @property
    def weights_key(self) -> str:
        """What a measured speed is kept under: the hash, else name and size."""
        return self.weights or f"{self.model_path.name}:{self.header.file_bytes}"

    @property
    def few_bits(self) -> bool:
        """Whether it was rounded further than is good for it."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a person pinned; ``None`` leaves it to the plan, anything else is kept or refused.

    ``image_tokens`` is the budget of the largest picture that may come. ``vision``: True needs a
    projector, False leaves it out, None takes one where there is one. ``gpu_layers`` is llama.cpp's
    n_gpu_layers, ``ALL_LAYERS`` (experts included) or a number; 0 is the CPU. ``min_speed`` is in
    tokens a second. ``adapters`` are added to whatever model is taken. A model is pinned by
    offering no other size among the candidates.
    """

    context_tokens: int | None = None
    gpu_layers: int | None = None
    cpu_expert_layers: int | None = None
    threads: int | None = None
    image_tokens: int | None = None
    kv_type: KvType | None = None
    require_gpu: bool = False
    min_speed: float | None = None
    vision: bool | None = None
    adapters: tuple[AdapterFile, ...] = ()
