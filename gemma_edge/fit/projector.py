"""What a projector takes while it looks at a picture.

A vision tower's compute buffer grows with the picture's patches alone (flash attention keeps no
square of them). Measured with towers of the real dimensions and pictures of 64, 289 and 1,089
tokens, encoded by llama.cpp 0c1e57098 on the CPU: 46.1 KB a patch for the E models' (width 768,
inner width 3072), 68.6 KB for that of 26B and 31B (1152, 4304), to within 0.1 % in proportion. The
rule of others, 0.4 of the file, is three times too much at 280 tokens and too little at 1,120.
"""

from gemma_edge.gguf import Header

PATCHES_A_TOKEN = 9  # three by three are merged (clip.cpp, gemma4v)
# Numbers a patch that live at the peak: two inner widths and seven widths, and 3 % for what the
# 72 values of a head of the larger tower are padded with.
_INNER, _WIDTHS, _PADDING = 2, 7, 1.03
# 12B has no tower: a patch of 48 x 48 pixels in three colours is projected at once.
_PIXELS = 3 * 48 * 48


def projector_compute_bytes(projector: Header, image_tokens: int) -> tuple[int, str]:
    """Its compute buffer for the largest picture, and where the number comes from."""
    width = projector.integer("clip.vision.embedding_length") or 0
    inner = projector.integer("clip.vision.feed_forward_length") or 0
    layers = projector.integer("clip.vision.block_count") or 0
    if layers:
        values = PATCHES_A_TOKEN * (_INNER * inner + _WIDTHS * width) * _PADDING
    else:
        values = _INNER * _PIXELS + _WIDTHS * (projector.integer("clip.vision.projection_dim") or 0)
    return round(4 * image_tokens * values), f"for one picture of {image_tokens:,} tokens"
