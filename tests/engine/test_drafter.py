"""What a drafter takes beside its model, in real loads: on the CPU, and on a second device."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemma_edge.gguf import read_header
from gemma_edge.hardware.machine import Hardware
from gemma_edge.planning.dry_run import parse_report
from gemma_edge.planning.memory import account, drafter_compute_bytes, quick_measure
from gemma_edge.planning.model import parse_shape
from gemma_edge.planning.plan import ALL_LAYERS, RAM, Allocated, Ledger, Placement
from gemma_edge.units import MIB
from tests.engine.conftest import DEMO, ROOT
from tests.engine.rpc import BOOT, has_rpc, serving
from tests.planning.memory_machines import card, machine

DRAFTER = ROOT / "tests" / "models" / "assistant-random-Q8_0.gguf"


@pytest.fixture(scope="module", params=["", "RPC0"])
def place(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A device and the port that serves it; both "" for the CPU."""
    if not request.param:
        yield "", ""
    elif not has_rpc():
        pytest.skip("this llama.cpp has no RPC backend")
    else:
        with serving() as port:
            yield request.param, str(port)


def load(tokens: int, batch: int, port: str) -> tuple[tuple[Allocated, ...], float]:
    """The buffers of the drafter alone, in a process that has both, and its compute buffer in main
    memory in MiB, to four places."""
    arguments = [str(DEMO), str(DRAFTER), str(tokens), str(batch), *filter(None, [port])]
    done = subprocess.run(
        [sys.executable, "-c", f"{BOOT}load_drafter; load_drafter(*{arguments!r})", *sys.path],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    exact = re.search(r"CPU compute buffer size is +([\d.]+) MiB, matches", done.stdout)
    assert exact is not None
    return parse_report(done.stdout.splitlines()), float(exact[1])


def ledger(placement: Placement, hardware: Hardware, drafter: Path | None = None) -> Ledger:
    header = read_header(drafter) if drafter else None
    measure = quick_measure(hardware)
    shape = parse_shape(read_header(DEMO))
    return account(shape, None, placement, hardware, measure, drafter=header)


@pytest.mark.parametrize(
    ("tokens", "batch"), [(1024, 64), (8192, 256), (8192, 8), (1024, 1), (8192, 1)]
)
def test_a_drafter_takes_what_is_planned(place: tuple[str, str], tokens: int, batch: int) -> None:
    device, port = place
    found, exact = load(tokens, batch, port)
    hardware = machine(*([card(device, backend="rpc")] if device else []), instructions=())
    placement = Placement(
        context_tokens=tokens, batch_tokens=256, devices=(device,) if device else (),
        gpu_layers=ALL_LAYERS if device else 0,
    )  # fmt: skip
    there, beside = drafter_compute_bytes(
        parse_shape(read_header(DEMO)), read_header(DRAFTER), placement, batch
    )
    planned = {device or RAM: there, **({RAM: beside} if device else {})}
    for where, size_bytes in planned.items():
        real = sum(r.size_bytes for r in found if (r.place, r.part) == (where, "compute"))
        if not device and batch <= 8:
            assert exact * MIB == pytest.approx(size_bytes, abs=0.0025 * MIB)
        assert real == pytest.approx(size_bytes, abs=0.1 * MIB)
    assert not any(row.part.startswith("KV") for row in found if row.place)  # it reads its model's
    grown = _parts(ledger(placement, hardware, DRAFTER))
    alone = _parts(ledger(placement, hardware))
    for where in planned:
        real = sum(r.size_bytes for r in found if (r.place, r.part) == (where, "weights"))
        more = grown[where, "weights"] - alone[where, "weights"]
        if where == RAM:  # pages of its file
            assert real == pytest.approx(more, abs=0.02 * MIB)
        else:
            assert more == 0
            assert grown[where, "drafter"] > real


def _parts(found: Ledger) -> dict[tuple[str, str], int]:
    sums: dict[tuple[str, str], int] = {}
    for each in found.accounts:
        for part in each.parts:
            key = each.place, part.name
            sums[key] = sums.get(key, 0) + part.size_bytes
    return sums


def test_without_a_drafter_nothing_is_counted() -> None:
    placement = Placement(context_tokens=1024, batch_tokens=256)
    assert (RAM, "drafter") not in _parts(ledger(placement, machine()))
    with_one = _parts(ledger(placement, machine(), DRAFTER))
    header, shape = read_header(DRAFTER), parse_shape(read_header(DEMO))
    compute, _ = drafter_compute_bytes(shape, header, placement)
    rows = 4 * (2048 + 9 * 160)  # of logits and of its state; and of eight states of the model
    assert with_one[RAM, "drafter"] == compute + rows
