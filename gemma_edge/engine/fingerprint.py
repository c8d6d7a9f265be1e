"""Whether a saved KV cache means the same to this engine. Knows no llama.cpp."""

import contextlib
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from gemma_edge.fit.plan import Plan

_HEAD_BYTES = 1 << 20  # metadata and the first tensors of a model file
_BLOB = re.compile(r"[0-9a-f]{64}")

Fingerprint = Mapping[str, str]

# What a fingerprint names, and what it means when it differs.
DIFFERENCES = {
    "llama.cpp": "it was saved by llama-cpp-python {then}, this is {now}",
    "weights": "the weights are another file than when it was saved",
    "projector": "the projector is another than when it was saved",
    "adapters": "the adapters are others than when it was saved",
    "template": "the chat template is another than when it was saved",
    "kv_type": "it was saved as {then}, the cache is {now}",
    "flash_attention": "flash attention was {then} when it was saved, now it is {now}",
}


def fingerprint(plan: Plan, *, template: str, version: str, flash_attention: bool) -> Fingerprint:
    """What must be the same for a saved cache to mean the same.

    The size of the context is not in it, nor where layers lie: the bytes are the same everywhere,
    the numbers up to llama.cpp's noise between devices.
    """
    adapters = [f"{identity(adapter.path)} {adapter.scale}" for adapter in plan.adapters]
    return {
        "llama.cpp": version,
        "weights": identity(plan.model),
        "projector": identity(plan.projector) if plan.projector else "",
        "adapters": ", ".join(adapters),
        "template": sha256(template.encode()).hexdigest(),
        "kv_type": plan.kv_type,
        "flash_attention": "on" if flash_attention else "off",
    }


def identity(path: Path) -> str:
    """Which file it is, without reading gigabytes: the hash that the Hugging Face cache names it
    by, else its size, time and head."""
    with contextlib.suppress(OSError):
        path = path.resolve()
    try:
        status = path.stat()
        if _BLOB.fullmatch(path.name):
            return f"{path.name} {status.st_size}"
        with path.open("rb") as file:
            head = sha256(file.read(_HEAD_BYTES)).hexdigest()
    except OSError as error:
        return f"unreadable: {error.strerror}"
    return f"{status.st_size} {status.st_mtime_ns} {head}"


def difference(then: Fingerprint, now: Fingerprint) -> str:
    """Why what was saved for ``then`` is of no use ``now``; "" where it is."""
    for name, sentence in DIFFERENCES.items():
        if then.get(name) != now.get(name):
            return sentence.format(then=then.get(name), now=now.get(name))
    return ""
