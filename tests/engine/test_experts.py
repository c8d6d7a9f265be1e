"""Experts on the CPU lie where libllama would put them itself, and there is one ggml for that."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import llama_cpp
import numpy as np
import pytest

from gemma_edge import gguf
from gemma_edge.documents.document import Picture
from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.llama import WINDOW_CELLS, LlamaModel, capture, end_report, start_report
from gemma_edge.engine.vision import VisionCache
from gemma_edge.planning.memory import CHECKPOINTS, checkpoint_bytes, picture_bytes
from gemma_edge.planning.model import parse_shape
from gemma_edge.planning.plan import Placement
from gemma_edge.units import MIB
from tests.engine.conftest import DEMO, MOE, demo_plan
from tests.engine.rpc import has_rpc

Q4_0 = 2  # llama.h, LLAMA_FTYPE_MOSTLY_Q4_0
ON_CPU = Placement(context_tokens=256, batch_tokens=64)


@pytest.fixture(scope="module")
def moe_q4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mixture of experts with random weights, in the type that processors repack."""
    path = tmp_path_factory.mktemp("moe") / "moe-random-Q4_0.gguf"
    capture()
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize, params.pure = Q4_0, True, True
    assert not llama_cpp.llama_model_quantize(str(MOE).encode(), str(path).encode(), params)
    return path


def buffers(path: Path, placement: Placement) -> dict[str, float]:
    """MiB of weights by the name of their buffer, as a load reports them."""
    capture()
    start_report()
    LlamaModel(path, placement).close()
    said = (re.search(r"(\S+) model buffer size = +([\d.]+) MiB", row) for row in end_report())
    return {found[1]: float(found[2]) for found in said if found}


@pytest.mark.parametrize("load_mode", ["mmap", "none"])
def test_experts_that_are_kept_on_the_cpu_are_repacked(moe_q4: Path, load_mode: str) -> None:
    placement = replace(ON_CPU, load_mode=load_mode)
    chosen = buffers(moe_q4, placement)  # by libllama, with no word from us
    if "CPU_REPACK" not in chosen:
        pytest.skip("this build of llama.cpp repacks nothing")
    layers = gguf.read_header(moe_q4).integer(".block_count")
    assert layers is not None
    kept = buffers(moe_q4, replace(placement, cpu_expert_layers=layers))
    experts = sum(t.size_bytes for t in gguf.read_header(moe_q4).tensors if "_exps.w" in t.name)
    assert kept["CPU_REPACK"] * MIB > experts
    assert kept == chosen


PROGRAM = """
import sys
sys.path[:] = sys.argv[1:]
{}
maps = open("/proc/self/maps").read()
print(*sorted({{line.split()[-1] for line in maps.splitlines() if "libggml" in line}}), sep="\\n")
"""
DRY_RUN = """
from gemma_edge.engine.dry_run_child import _Llama
_Llama(())
from gemma_edge.engine.placement import ModelParams, device_names, gpu_names
from gemma_edge.planning.plan import Placement
device_names(), gpu_names()
ModelParams(Placement(context_tokens=256, batch_tokens=64, cpu_expert_layers=2))
"""
ENGINE = """
from gemma_edge.engine import worker
worker.main()
with worker._libraries(()):
    from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.llama import LlamaModel
from gemma_edge.engine.placement import ModelParams, device_names, device_title, gpu_names
from gemma_edge.planning.plan import Placement
device_names(), gpu_names(), device_title("CPU")
ModelParams(Placement(context_tokens=256, batch_tokens=64, cpu_expert_layers=2))
"""
SECOND_DEVICE = """
from tests.engine.rpc import _library
_library("ggml-rpc").ggml_backend_rpc_add_server
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "program", [DRY_RUN, ENGINE, *([ENGINE + SECOND_DEVICE] if has_rpc() else [])]
)
def test_there_is_one_ggml_in_a_process(program: str) -> None:
    """A wheel holds copies instead of symbolic links: opened by another name it is another one."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(program), *sys.path],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    files = done.stdout.split()
    kinds = [Path(each).name.partition(".so")[0] for each in files]
    assert "libggml-base" in kinds
    assert sorted(kinds) == sorted(set(kinds)), files


@pytest.mark.parametrize("model", [DEMO, MOE])
def test_a_checkpoint_takes_what_the_ledger_says(model: Path) -> None:
    """llama.cpp writes some bytes a cell beside keys and values."""
    plan = replace(demo_plan(), model=model, projector=None)
    engine = LlamaEngine(plan)
    engine._cache.evaluate([5] * 1000)
    real = engine._context.state_bytes(WINDOW_CELLS)
    engine.close()
    planned = checkpoint_bytes(parse_shape(gguf.read_header(model)), plan) / CHECKPOINTS
    assert planned <= real <= 1.03 * planned


def test_pictures_are_kept_as_many_as_the_ledger_says() -> None:
    shape = parse_shape(gguf.read_header(DEMO))
    placement = replace(ON_CPU, context_tokens=1 << 20, image_tokens=1024)
    cache, taken = VisionCache(shape.width), 0
    for number in range(200):
        picture = Picture(bytes([number]) * (3 * 48 * 48 * 1024), 48 * 32, 48 * 32)
        cache.get(picture, lambda: np.zeros((1024, shape.width), np.float32))
        taken = max(taken, cache.kept_bytes)
    each = 1024 * 4 * shape.width
    planned, _ = picture_bytes(shape, placement)
    assert planned == taken // each * (each + 2 * len(picture.rgb))
