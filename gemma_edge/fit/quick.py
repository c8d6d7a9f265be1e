"""Compute buffers without asking llama.cpp: for a page that must be there at once, and for a search
over many models of which only the chosen one is then measured."""

from gemma_edge.fit.kv import pad_cells, window_cells
from gemma_edge.fit.measure import Compute, Measure, closed_form
from gemma_edge.fit.places import RAM
from gemma_edge.fit.plan import Placement
from gemma_edge.fit.shape import Shape
from gemma_edge.hardware.machine import Hardware

# KiB a token of the batch, by layers of a Gemma 4: llama.cpp 0c1e57098, fit.md 3.5 (90 points,
# residual under 0.1 MiB). Another model gets the largest of them.
_KIB_PER_TOKEN = {35: 219, 42: 224, 48: 257, 30: 192, 60: 347}


def quick_measure(hardware: Hardware) -> Measure:
    """The law of ``measure.py`` with numbers that were measured before, not on this machine."""
    return closed_form(_on_cpu, hardware)


def _on_cpu(shape: Shape, placement: Placement) -> Compute:
    kib = _KIB_PER_TOKEN.get(len(shape.layers), max(_KIB_PER_TOKEN.values()))
    context, batch = placement.context_tokens, placement.batch_tokens
    cells = pad_cells(context) + window_cells(shape, context, batch)
    return Compute(
        compute={RAM: batch * kib * 1024 + 2 * cells * batch},
        output={RAM: 4 * shape.vocabulary_tokens},
        exact=False,
    )
