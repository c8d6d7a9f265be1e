"""The vision tower in plain PyTorch: the graph of llama.cpp's ``gemma4v``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demo_model.bf16 import Linear, attention
from demo_model.norm import rms

MERGE = 3
"""Patches a side that are averaged into one token (llama.cpp's ``n_merge``)."""


@dataclass(frozen=True)
class VisionConfig:
    """Sizes of the vision tower; ``sides`` is the longest side of a picture in patches."""

    width: int = 96
    ff: int = 192
    layers: int = 3
    heads: int = 3
    patch: int = 16
    sides: int = 64
    rope_base: float = 100.0


def rotate_2d(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Axial rotary embedding; ``x`` [B, N, heads, dim], angles [N, 1, 2, dim / 4]."""
    halves = x.unflatten(-1, (2, -1))
    a, b = halves.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).flatten(-2)


class VisionLayer(nn.Module):
    """One encoder layer, every patch looking at every other."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        d, dim = config.width, config.width // config.heads
        self.heads = config.heads
        self.ln1 = nn.Parameter(torch.ones(d))
        self.attn_q, self.attn_k = Linear(d, d), Linear(d, d)
        self.attn_v, self.attn_out = Linear(d, d), Linear(d, d)
        self.attn_q_norm = nn.Parameter(torch.full((dim,), dim**-0.25))
        self.attn_k_norm = nn.Parameter(torch.full((dim,), dim**-0.25))
        self.attn_post_norm = nn.Parameter(torch.full((d,), 0.4))
        self.ln2 = nn.Parameter(torch.ones(d))
        self.ffn_gate, self.ffn_up = (
            Linear(d, config.ff),
            Linear(d, config.ff),
        )
        self.ffn_down = Linear(config.ff, d)
        self.ffn_post_norm = nn.Parameter(torch.full((d,), 0.4))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """``x`` [B, N, width] after this layer."""
        normed = rms(x, self.ln1)
        shape = (*x.shape[:2], self.heads, -1)
        q = rotate_2d(rms(self.attn_q(normed).view(shape), self.attn_q_norm), cos, sin)
        k = rotate_2d(rms(self.attn_k(normed).view(shape), self.attn_k_norm), cos, sin)
        v = rms(self.attn_v(normed).view(shape))
        out = attention(*(t.transpose(1, 2) for t in (q, k, v)))
        x = x + rms(self.attn_out(out.transpose(1, 2).flatten(2)), self.attn_post_norm)
        normed = rms(x, self.ln2)
        out = F.gelu(self.ffn_gate(normed), approximate="tanh") * self.ffn_up(normed)
        return x + rms(self.ffn_down(out), self.ffn_post_norm)


class Vision(nn.Module):
    """Pictures to soft tokens, one for each 48 x 48 pixels."""

    def __init__(self, config: VisionConfig, text_width: int) -> None:
        super().__init__()
        self.config = config
        self.patch_embd = Linear(3 * config.patch**2, config.width)
        self.position_embd = nn.Parameter(torch.randn(2, config.sides, config.width) * 0.02)
        self.blk = nn.ModuleList(VisionLayer(config) for _ in range(config.layers))
        self.input_projection = Linear(config.width, text_width)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features [B, N, width] and soft tokens [B, N, text width] of [B, 3, H, W]."""
        size = self.config.patch
        count, _, height, width = pictures.shape
        rows, columns = height // size, width // size
        patches = pictures.view(count, 3, rows, size, columns, size).permute(0, 2, 4, 1, 3, 5)
        x = self.patch_embd(patches.reshape(count, rows * columns, -1) * 2 - 1)
        px, py = torch.arange(columns).repeat(rows), torch.arange(rows).repeat_interleave(columns)
        x = x + self.position_embd[0, px] + self.position_embd[1, py]
        cos, sin = self._angles(px, py)
        for layer in self.blk:
            x = layer(x, cos, sin)
        grid = x.view(count, rows // MERGE, MERGE, columns // MERGE, MERGE, -1)
        pooled = rms(grid.mean((2, 4)).flatten(1, 2) * self.config.width**0.5)
        return pooled, self.input_projection(pooled)

    def _angles(self, px: Tensor, py: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [N, 1, 2, dim / 4] of the patches' columns and rows."""
        dim = self.config.width // self.config.heads // 2
        rates = self.config.rope_base ** (-torch.arange(0, dim, 2, dtype=torch.float32) / dim)
        turned = torch.stack((px, py), 1)[:, :, None].float() * rates
        return turned[:, None].cos(), turned[:, None].sin()
