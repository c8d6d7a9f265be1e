"""Root-mean-square norm with a hand-written gradient, which saves half the passes over memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

EPS = 1e-6


class _Rms(torch.autograd.Function):
    """``x / rms(x) * weight`` over the last dimension."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None) -> Tensor:
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = scale.square_().div_(x.shape[-1]).add_(EPS).rsqrt_()
        unit = x * scale
        ctx.save_for_backward(unit, scale, weight)
        return unit if weight is None else unit * weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None]:
        unit, scale, weight = ctx.saved_tensors
        grad = grads[0]
        product = grad * unit
        if weight is None:
            along, weight_grad = product.mean(-1, keepdim=True), None
        else:
            weight_grad = product.flatten(0, -2).sum(0)
            along = (product @ weight).unsqueeze(-1).div_(unit.shape[-1])
            grad = grad * weight
        return torch.addcmul(grad, unit, along, value=-1).mul_(scale), weight_grad


def rms(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """Root-mean-square norm over the last dimension, times ``weight`` where there is one."""
    out: Tensor = _Rms.apply(x, weight)
    return out
