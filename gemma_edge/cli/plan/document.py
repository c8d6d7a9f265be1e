"""A plan as JSON: every number in bytes, tokens or tokens a second, under names that stay."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from gemma_edge.cli.plan.words import gpu_layers, layers_of
from gemma_edge.fit.candidate import Candidate
from gemma_edge.fit.ledger import Ledger
from gemma_edge.fit.plan import Placement, Plan
from gemma_edge.fit.planning import NothingFits, Row
from gemma_edge.hardware.machine import Hardware


def as_document(
    plan: Plan, candidates: Mapping[str, Candidate], hardware: Hardware
) -> dict[str, Any]:
    """The plan with all that is known about it."""
    return {
        "fits": True,
        **_plan(plan, candidates[plan.name]),
        "reasons": list(plan.reasons),
        "rungs": [asdict(rung) for rung in plan.rungs],
        "fallbacks": [_placement(each) for each in plan.fallbacks],
        "alternatives": [_plan(each, candidates[each.name]) for each in plan.alternatives],
        "hardware": as_hardware(hardware),
    }


def as_failure(error: NothingFits, hardware: Hardware) -> dict[str, Any]:
    """Why nothing fits."""
    return {
        "fits": False,
        "message": error.message,
        "hint": error.hint,
        "rungs": [asdict(rung) for rung in error.rungs],
        "hardware": as_hardware(hardware),
    }


def as_rows(rows: Sequence[Row], hardware: Hardware) -> dict[str, Any]:
    """The matrix."""
    return {
        "rows": [
            {
                "class": row.placement,
                "reason": row.reason,
                **(_plan(row.plan, row.candidate) if row.plan else _model(row.candidate)),
            }
            for row in rows
        ],
        "hardware": as_hardware(hardware),
    }


def as_hardware(hardware: Hardware) -> dict[str, Any]:
    """The machine; ``usable`` says whether llama.cpp computes on a device."""
    document = asdict(hardware)
    for device, row in zip(hardware.devices, document["devices"], strict=True):
        row["usable"] = device.usable
    return document


def _plan(plan: Plan, candidate: Candidate) -> dict[str, Any]:
    return {
        **_model(candidate),
        "file": _path(plan.model, candidate),
        "projector": _path(plan.projector, candidate) if plan.projector else None,
        "adapters": [{"file": str(each.path), "scale": each.scale} for each in plan.adapters],
        "placement": {
            **_placement(plan),
            "layers": layers_of(candidate),
            "layers_on_gpu": gpu_layers(plan, candidate),
            "threads": plan.threads,
            "prefill_threads": plan.prefill_threads,
        },
        "ledger": _ledger(plan.ledger) if plan.ledger else None,
        "speed": asdict(plan.speed) if plan.speed else None,
    }


def _model(candidate: Candidate) -> dict[str, Any]:
    return {
        "model": candidate.name,
        "title": candidate.title,
        "size": candidate.size_name or None,
        "weights_bytes": candidate.header.file_bytes,
        "exact": candidate.exact,
        "on_disk": candidate.on_disk,
        "download_bytes": candidate.download_bytes,
    }


def _placement(placement: Placement) -> dict[str, Any]:
    return {each.name: _plain(getattr(placement, each.name)) for each in fields(Placement)}


def _ledger(ledger: Ledger) -> list[dict[str, Any]]:
    return [
        {
            "place": account.place,
            "title": account.title,
            "budget_bytes": account.budget_bytes,
            "total_bytes": account.total_bytes,
            "fits": account.fits,
            "parts": [asdict(part) for part in account.parts],
        }
        for account in ledger.accounts
    ]


def _path(path: Path, candidate: Candidate) -> str | None:
    return str(path) if candidate.on_disk else None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
