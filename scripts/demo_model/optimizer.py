"""Muon for the matrices, AdamW for everything else."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from demo_model.bf16 import NARROW

TABLES = ("token_embd", "per_layer_token_embd", "vision.position_embd")
"""Parameters with two or more dimensions that are looked up, not multiplied."""


def orthogonal(grads: Tensor) -> Tensor:
    """Newton-Schulz iteration on a stack [n, rows, columns] of matrices."""
    x = (grads / (grads.norm(dim=(1, 2), keepdim=True) + 1e-7)).to(NARROW)
    turn = x.shape[1] > x.shape[2]
    x = x.mT if turn else x
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.mT if turn else x).float()


class Optimizer:
    """One step on all parameters of ``model`` and of ``probe`` (the auxiliary vision heads)."""

    def __init__(self, model: nn.Module, probe: nn.Module, matrix_rate: float, rate: float) -> None:
        self.matrix_rate, self.rate = matrix_rate, rate
        self.groups: defaultdict[tuple[int, ...], list[nn.Parameter]] = defaultdict(list)
        rest: list[nn.Parameter] = list(probe.parameters())
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            if parameter.ndim == 2 and name not in TABLES:
                self.groups[tuple(parameter.shape)].append(parameter)
            else:
                rest.append(parameter)
        self.rest = rest
        self.adam = torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
        self.momentum = {shape: torch.zeros(len(ps), *shape) for shape, ps in self.groups.items()}
        self.steps = 0

    def parameters(self) -> list[nn.Parameter]:
        """Everything that is learned, always in the same order."""
        return self.rest + [p for group in self.groups.values() for p in group]

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs to go on from here."""
        return {"adam": self.adam.state_dict(), "momentum": self.momentum, "steps": self.steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.adam.load_state_dict(state["adam"])
        self.momentum, self.steps = state["momentum"], state["steps"]

    def zero(self) -> None:
        """Forget the gradients."""
        self.adam.zero_grad(set_to_none=True)
        for parameters in self.groups.values():
            for parameter in parameters:
                parameter.grad = None

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """Apply the gradients with the learning rates times ``scale``."""
        self.steps += 1
        torch.nn.utils.clip_grad_norm_(self.rest, 1.0)
        for group in self.adam.param_groups:
            group["lr"] = self.rate * scale
        self.adam.step()
        beta = 0.95 if self.steps > 100 else 0.85
        for shape, parameters in self.groups.items():
            grads = torch.stack(
                [torch.zeros(shape) if p.grad is None else p.grad for p in parameters]
            )
            momentum = self.momentum[shape].mul_(beta).add_(grads)
            update = orthogonal(grads.add_(momentum, alpha=beta))
            rate = self.matrix_rate * scale
            stretch = max(1.0, shape[0] / shape[1]) ** 0.5
            for parameter, change in zip(parameters, update, strict=True):
                parameter.mul_(1 - rate * 0.02).add_(change, alpha=-rate * stretch)
