"""A decode on a real second device: this machine's processor behind ggml's RPC backend."""

import pytest

from gemma_edge.doctor import try_decode
from gemma_edge.engine.process import RemoteEngine
from tests.doctor.machines import GREETING
from tests.engine.rpc import has_rpc, program
from tests.engine.test_placement import port

__all__ = ["port"]  # the fixture: a server on loopback
pytestmark = pytest.mark.skipif(not has_rpc(), reason="scripts/setup.py --dev builds one with RPC")


def test_each_device_decodes_as_the_processor_does(port: int):
    placed = []
    for device in ("RPC0", "RPC1", "CPU"):
        engines: list[RemoteEngine] = []

        def load(plan, engines=engines) -> RemoteEngine:
            engines.append(RemoteEngine(plan, program=program(port)))
            return engines[-1]

        found = try_decode(device, load=load)
        assert (found.answer, found.trouble) == (GREETING, "")
        info = engines[0].info
        placed.append({row.place for row in info.allocated if row.part == "weights"})
    assert placed[0] == {"RPC0", "RAM"}
    assert placed[1] == {"RPC1", "RAM"}
    assert placed[2] == {"RAM"}
