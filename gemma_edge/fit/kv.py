"""The size of the KV cache: llama-kv-cache-iswa.cpp, with one sequence and ``swa_full`` off.

Against the library: 5 models x 6 contexts x 5 batches x 3 types, largest error 0.01 MiB (fit.md
3.2); tests/fit and scripts/bench/fit.py repeat it.
"""

from fractions import Fraction

from gemma_edge.fit.plan import KvType
from gemma_edge.fit.shape import Layer, Shape

CELL_STEP = 256  # llama-context.cpp and llama-kv-cache-iswa.cpp, GGML_PAD(..., 256)
# Bytes a number: ggml's types; a block of q8_0 is 32 numbers in 34 bytes.
BYTES: dict[KvType, Fraction] = {"f32": Fraction(4), "f16": Fraction(2), "q8_0": Fraction(34, 32)}


def pad_cells(count_tokens: int) -> int:
    """Up to a whole step of cells."""
    return -(-count_tokens // CELL_STEP) * CELL_STEP


def layer_cells(shape: Shape, layer: Layer, context_tokens: int, batch_tokens: int) -> int:
    """Cells of one layer's own cache."""
    if layer.kind == "none":
        return 0
    whole = pad_cells(context_tokens)
    if layer.kind == "global":
        return whole
    return window_cells(shape, context_tokens, batch_tokens)


def window_cells(shape: Shape, context_tokens: int, batch_tokens: int) -> int:
    """Cells of a layer with a window: the window and one batch, 0 where there is no window."""
    if not shape.window_tokens:
        return 0
    batch_tokens = min(batch_tokens, context_tokens)
    return pad_cells(min(pad_cells(context_tokens), shape.window_tokens + batch_tokens))


def layer_bytes(
    shape: Shape, layer: Layer, context_tokens: int, batch_tokens: int, kv_type: KvType
) -> int:
    """Keys and values of one layer."""
    cells = layer_cells(shape, layer, context_tokens, batch_tokens)
    return int(cells * (layer.key_values + layer.value_values) * BYTES[kv_type])
