"""One candidate on one machine with one person's wishes: what every step of the search is about."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from gemma_edge.errors import DoesNotFit
from gemma_edge.fit.candidate import Candidate, Wishes
from gemma_edge.fit.ledger import Ledger
from gemma_edge.fit.places import RAM
from gemma_edge.fit.plan import Placement, Rung, Speed
from gemma_edge.fit.shape import Shape
from gemma_edge.fit.threads import Threads
from gemma_edge.hardware.machine import Device, Hardware
from gemma_edge.store.measurements import Measurement
from gemma_edge.units import render_bytes

WANTED_CONTEXT_TOKENS = 32 << 10  # a long document and its answer (fit.md 4.7)
FLOOR_CONTEXT_TOKENS = 8 << 10  # a long letter and its answer; less only when asked
MOST_CONTEXT_TOKENS = 128 << 10  # more only when asked: reading it takes minutes
CONTEXT_STEPS = (8 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10)
MIN_CONTEXT_TOKENS = 256  # llama.cpp rounds the context up to it (llama-context.cpp, GGML_PAD)
UNKNOWN_CONTEXT_TOKENS = 4096  # a header without `context_length`

Weigh = Callable[[Placement], Ledger]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A placement that fits; ``what`` says it in words, ``notes`` why its parts are as they are."""

    placement: Placement
    ledger: Ledger
    speed: Speed
    threads: Threads
    what: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the ladder of one candidate came to: the best option, or why there is none."""

    best: Option | None
    rungs: tuple[Rung, ...]
    refusal: str = ""


@dataclass(frozen=True, kw_only=True)
class Case:
    """``alone``: no other size is offered, so the person chose this one. ``order`` is its place
    among the candidates. ``weigh`` gives the ledger of a placement, and is asked once for each."""

    candidate: Candidate
    shape: Shape
    hardware: Hardware
    wishes: Wishes
    weigh: Weigh
    alone: bool = False
    order: int = 0
    speeds: Sequence[Measurement] = ()
    busy_programs: int | None = None
    weighed: dict[Placement, Ledger] = field(default_factory=dict, repr=False, compare=False)

    def ledger(self, placement: Placement) -> Ledger:
        """Its memory, part by part."""
        if placement not in self.weighed:
            self.weighed[placement] = self.weigh(placement)
        return self.weighed[placement]

    def wish(self, **changes: object) -> "Case":
        """The same with other wishes; ledgers that are known stay known."""
        return replace(self, wishes=replace(self.wishes, **changes))  # type: ignore[arg-type]

    @property
    def layers(self) -> int:
        """Layers of the model, the output not counted."""
        return len(self.shape.layers)

    @property
    def sees(self) -> bool:
        """Whether a projector is loaded."""
        return self.candidate.projector is not None and self.wishes.vision is not False

    @property
    def per_layer_embeddings(self) -> bool:
        """E2B and E4B: a partial offload reads their KV cache over the bus (fit.md 3.4)."""
        return self.shape.layer_table.size_bytes > 0

    @cached_property
    def trained(self) -> int:
        """Tokens that the model was trained to read."""
        trained = self.shape.trained_context_tokens
        if trained is None or trained < MIN_CONTEXT_TOKENS:  # then the header is wrong
            return UNKNOWN_CONTEXT_TOKENS
        return trained

    @cached_property
    def wanted(self) -> int:
        """The context to begin with."""
        return self.wishes.context_tokens or min(WANTED_CONTEXT_TOKENS, self.trained)

    @cached_property
    def devices(self) -> tuple[Device, ...]:
        """GPUs that may be used: discrete ones, integrated ones only where there is no other."""
        usable = [device for device in self.hardware.devices if device.usable]
        discrete = tuple(device for device in usable if not device.integrated)
        return discrete or tuple(usable)


def check_context(case: Case) -> None:
    """Refuse a context that cannot be.

    Raises:
        DoesNotFit: the context asked for is smaller than the least or larger than the model's.
    """
    asked, trained = case.wishes.context_tokens, case.shape.trained_context_tokens
    if asked is None:
        return
    if asked < MIN_CONTEXT_TOKENS:
        raise DoesNotFit(
            f"a context of {asked:,} tokens is too small, the least is {MIN_CONTEXT_TOKENS}",
            hint=f"--ctx {MIN_CONTEXT_TOKENS} or more",
        )
    if trained is not None and asked > trained >= MIN_CONTEXT_TOKENS:
        raise DoesNotFit(
            f"a context of {asked:,} tokens was asked for, {case.candidate.title} reads at most "
            f"{trained:,}",
            hint=f"--ctx {trained}",
        )


def short_of_gpu(ledger: Ledger) -> bool:
    """Whether the memory of a device is too small."""
    return any(not account.fits for account in ledger.accounts if account.place != RAM)


def render_shortage(ledger: Ledger, context_tokens: int = 0) -> str:
    """``needs 8.1 GiB at 8k context, 7.6 GiB are free on RTX 4060``, of the first memory that is
    too small; without the context where none is given."""
    at = f" at {render_context(context_tokens)} context" if context_tokens else ""
    for account in ledger.accounts:
        if not account.fits:
            free = render_bytes(max(0, account.budget_bytes or 0))
            place = "in main memory" if account.place == RAM else f"on {account.title}"
            return f"needs {render_bytes(account.total_bytes)}{at}, {free} are free {place}"
    return ""


def render_context(count_tokens: int) -> str:
    """``32k``, or the whole number."""
    return f"{count_tokens >> 10}k" if count_tokens % 1024 == 0 else f"{count_tokens:,}"
