"""The training loop: three tasks a step, checkpoints, figures on a log line.

Two processes of one thread each learn from batches of their own and average their gradients. On
two cores that is faster than one process of two threads, and far less slowed by other programs.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from demo_model import shapes
from demo_model.feed import Sizes, Step, stream
from demo_model.network import Demo, TextConfig
from demo_model.optimizer import Optimizer
from demo_model.sequences import Batch
from demo_model.vision import VisionConfig

KINDS = 1 + len(shapes.COLORS) * len(shapes.SHAPES)
"""What the auxiliary heads tell apart in a cell: nothing, or a colour and a shape."""


@dataclass(frozen=True)
class Plan:
    """How a run goes."""

    steps: int
    seed: int
    sizes: Sizes
    matrix_rate: float = 0.02
    rate: float = 3e-3
    save_seconds: float = 240.0
    processes: int = 2


def cell_labels(scenes: list[shapes.Scene]) -> tuple[Tensor, Tensor]:
    """For each 48-pixel cell [n, cells]: the shape that covers it, the shape centred in it."""
    columns, rows = scenes[0].width // shapes.PATCH, scenes[0].height // shapes.PATCH
    covered = torch.zeros(len(scenes), rows, columns, dtype=torch.long)
    centred = torch.zeros_like(covered)
    for i, scene in enumerate(scenes):
        for t in scene.things:
            kind = 1 + list(shapes.COLORS).index(t.color) * 4 + shapes.SHAPES.index(t.shape)
            cx, cy = t.x / shapes.PATCH, t.y / shapes.PATCH
            centred[i, min(rows - 1, int(cy)), min(columns - 1, int(cx))] = kind
            reach = max(0.85 * t.radius, 26) / shapes.PATCH
            for y in range(rows):
                for x in range(columns):
                    if math.hypot(x + 0.5 - cx, y + 0.5 - cy) < reach:
                        covered[i, y, x] = kind
    return covered.flatten(1), centred.flatten(1)


def answer_loss(logits: Tensor, targets: Tensor) -> tuple[Tensor, float]:
    """Mean cross entropy over what is learned, and the share of tokens guessed right."""
    chosen = targets >= 0
    picked, wanted = logits[chosen], targets[chosen]
    right = (picked.argmax(-1) == wanted).float().mean().item()
    return F.cross_entropy(picked, wanted), right


def probe_loss(probe: nn.Module, pooled: list[Tensor], scenes: list[shapes.Scene]) -> Tensor:
    """Loss of the auxiliary heads, which teach the vision tower what lies where."""
    losses = []
    count = len(scenes) // len(pooled)
    for slot, features in enumerate(pooled):
        covered, centred = cell_labels(scenes[slot * count : (slot + 1) * count])
        guess = probe(features).flatten(0, 1)
        losses.append(
            F.cross_entropy(guess[:, :KINDS], covered.flatten())
            + 2 * F.cross_entropy(guess[:, KINDS:], centred.flatten())
        )
    return torch.stack(losses).mean()


class Trainer:
    """A model with its optimizer, its checkpoints and its log."""

    def __init__(self, plan: Plan, work: Path, rank: int = 0) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.work, self.rank = plan, work, rank
        self.model = Demo(TextConfig(), VisionConfig())
        self.probe = nn.Linear(self.model.vision.config.width, 2 * KINDS)
        self.optimizer = Optimizer(self.model, self.probe, plan.matrix_rate, plan.rate)
        self.step, self.seconds = 0, 0.0
        self.means: dict[str, float] = {}

    @property
    def checkpoint(self) -> Path:
        """Where the state is kept."""
        return self.work / "checkpoint.pt"

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "probe": self.probe.state_dict(),
            "optimizer": self.optimizer.state(),
            "step": self.step,
            "seconds": self.seconds,
        }
        fresh = self.checkpoint.with_suffix(".new")
        torch.save(state, fresh)
        fresh.replace(self.checkpoint)

    def resume(self) -> bool:
        """Go on from the checkpoint if there is one."""
        if not self.checkpoint.exists():
            return False
        state = torch.load(self.checkpoint, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.probe.load_state_dict(state["probe"])
        self.optimizer.restore(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        return True

    def rate_scale(self) -> float:
        """Warm-up, a plateau, and a straight line down to nearly nothing."""
        done = self.step / self.plan.steps
        return min(1.0, (self.step + 1) / 60) * min(1.0, max(0.01, (1 - done) / 0.65))

    def run(self, export: Callable[[Demo], None]) -> None:
        """Train to the last step; ``export`` is called at every checkpoint."""
        began, saved = time.monotonic() - self.seconds, time.monotonic()
        plan = self.plan
        seed = f"{plan.seed}/{self.rank}"
        for batch in stream(self.work / "vocab.json", seed, self.step, plan.steps, plan.sizes):
            self.learn(batch)
            self.step += 1
            self.seconds = time.monotonic() - began
            if self.rank:
                continue
            if self.step % 25 == 0 or self.step in (1, 5, 10):
                figures = " ".join(f"{k} {v:.3f}" for k, v in self.means.items())
                print(f"{self.step}/{plan.steps} {self.seconds:.0f}s {figures}", flush=True)
            if time.monotonic() - saved > plan.save_seconds or self.step == plan.steps:
                self.save()
                export(self.model)
                saved = time.monotonic()
        if self.rank == 0:
            run = {"steps": self.step, "seed": plan.seed, "seconds": round(self.seconds)}
            (self.work / "run.json").write_text(json.dumps(run), encoding="utf-8")

    def learn(self, step: Step) -> None:
        """One optimizer step over the three tasks."""
        self.optimizer.zero()
        for batch in step.documents:
            self._backward("doc", batch, 2.0)
        for batch in step.chat:
            self._backward("chat", batch, 0.5)
        logits, pooled = self.model(step.pictures)
        loss, right = answer_loss(logits, step.pictures.targets)
        aux = probe_loss(self.probe, pooled, step.scenes)
        (loss + aux).backward()
        self._note(img=loss.item(), img_ok=right, aux=aux.item())
        self._average()
        self.optimizer.step(self.rate_scale())

    def _backward(self, name: str, batch: Batch, weight: float) -> None:
        logits, _ = self.model(batch)
        loss, right = answer_loss(logits, batch.targets)
        (weight * loss).backward()
        self._note(**{name: loss.item(), f"{name}_ok": right})

    def _average(self) -> None:
        """Average the gradients over the processes."""
        if self.plan.processes == 1:
            return
        grads = [
            torch.zeros_like(p) if p.grad is None else p.grad for p in self.optimizer.parameters()
        ]
        flat = torch.cat([g.flatten() for g in grads]).div_(self.plan.processes)
        dist.all_reduce(flat)
        parts = flat.split([g.numel() for g in grads])
        for parameter, part in zip(self.optimizer.parameters(), parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def _note(self, **values: float) -> None:
        for key, value in values.items():
            self.means[key] = 0.95 * self.means.get(key, value) + 0.05 * value


def keep_memory() -> None:
    """Ask glibc not to hand freed memory back between steps: page faults cost a third."""
    trim_threshold, mmap_threshold = -1, -3
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(trim_threshold, 1 << 30)
        libc.mallopt(mmap_threshold, 1 << 30)


def work(rank: int, plan: Plan, folder: Path, meeting: str, export: Callable[[Demo], None]) -> None:
    """One training process; process 0 logs, saves and exports."""
    torch.set_num_threads(1)
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "1500")  # each new size is compiled
    keep_memory()
    if plan.processes > 1:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=plan.processes)
    trainer = Trainer(plan, folder, rank)
    if trainer.resume() and rank == 0:
        print(f"going on from step {trainer.step}", flush=True)
    trainer.run(export)
    if plan.processes > 1:
        dist.destroy_process_group()
