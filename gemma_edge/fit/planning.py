"""Wishes, files and machine to a Plan. Pure; what is pinned is kept or refused with the numbers.

It decides context, batch, layers and threads, and says why. It does not size memory yet: a plan
from here can still fail to load on a small machine.
"""

import math
from dataclasses import dataclass

from gemma_edge.catalog import ModelFiles
from gemma_edge.documents.picture import MAX_TOKENS
from gemma_edge.errors import DoesNotFit
from gemma_edge.fit.plan import ALL_LAYERS, Plan
from gemma_edge.gguf import Header
from gemma_edge.hardware import Cpu

MIN_CONTEXT_TOKENS = 256  # llama.cpp rounds the context up to it (llama-context.cpp, GGML_PAD)
DEFAULT_CONTEXT_TOKENS = 8192  # a long letter and a long answer, and little memory
UNKNOWN_CONTEXT_TOKENS = 4096  # a header without `context_length`
TEXT_BATCH_TOKENS = 512  # llama.cpp's own n_ubatch
BATCH_STEP_TOKENS = 128
# Two threads wait for each other several hundred times a token. The bundled model (3.5 MB) reads
# the example invoice in 0.2 s with one thread, and in a minute with two where another program wants
# the second core.
SMALL_MODEL_BYTES = 32 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a person pinned; ``None`` leaves it to the plan. ``image_tokens`` is the budget of
    the largest picture that may come."""

    context_tokens: int | None = None
    gpu_layers: int | None = None
    threads: int | None = None
    image_tokens: int | None = None


def plan(files: ModelFiles, header: Header, wishes: Wishes, cpu: Cpu) -> Plan:
    """Decide everything that loading needs.

    Raises:
        DoesNotFit: the context asked for is smaller than the least or larger than the model's.
    """
    context_tokens, context_reason = _choose_context(header, wishes.context_tokens)
    threads, threads_reason = _choose_threads(header, wishes.threads, cpu)
    gpu_layers = ALL_LAYERS if wishes.gpu_layers is None else wishes.gpu_layers
    return Plan(
        model=files.model,
        projector=files.projector,
        name=files.name,
        context_tokens=context_tokens,
        batch_tokens=min(context_tokens, _batch_tokens(files, wishes.image_tokens)),
        gpu_layers=gpu_layers,
        threads=threads,
        reasons=(
            f"context {context_tokens:,} tokens: {context_reason}",
            f"{threads} thread{'' if threads == 1 else 's'}: {threads_reason}",
            f"layers on the GPU: {'all that it takes' if gpu_layers < 0 else gpu_layers}",
        ),
    )


def _choose_threads(header: Header, asked: int | None, cpu: Cpu) -> tuple[int, str]:
    if asked is not None:
        return asked, "as asked"
    if header.file_bytes < SMALL_MODEL_BYTES and cpu.cores > 1:
        return 1, "the model is so small that handing work over takes longer than the work"
    return cpu.cores, cpu.reason


def _choose_context(header: Header, asked: int | None) -> tuple[int, str]:
    trained = header.integer(".context_length")
    if trained is not None and trained < MIN_CONTEXT_TOKENS:
        trained = None  # no model is trained with so little: the header is wrong
    if asked is None:
        if trained is None:
            return UNKNOWN_CONTEXT_TOKENS, "the model does not say what it was trained with"
        if trained <= DEFAULT_CONTEXT_TOKENS:
            return trained, "all that the model was trained with"
        return DEFAULT_CONTEXT_TOKENS, f"the default; the model reads up to {trained:,}"
    if asked < MIN_CONTEXT_TOKENS:
        raise DoesNotFit(
            f"a context of {asked:,} tokens is too small, the least is {MIN_CONTEXT_TOKENS}",
            hint=f"--ctx {MIN_CONTEXT_TOKENS} or more",
        )
    if trained is not None and asked > trained:
        raise DoesNotFit(
            f"a context of {asked:,} tokens was asked for, the model reads at most {trained:,}",
            hint=f"--ctx {trained}",
        )
    return asked, "as asked"


def _batch_tokens(files: ModelFiles, image_tokens: int | None) -> int:
    """llama.cpp must see a whole picture in one batch (measured.md, "Images")."""
    if files.projector is None:
        return TEXT_BATCH_TOKENS
    budget = image_tokens or files.image_tokens or MAX_TOKENS
    return max(TEXT_BATCH_TOKENS, math.ceil(budget / BATCH_STEP_TOKENS) * BATCH_STEP_TOKENS)
