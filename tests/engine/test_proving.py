"""What llama.cpp is told for a load, and what is looked at after it, on numbers made for it."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import llama_cpp
import numpy as np
import pytest

from gemma_edge.engine import engine
from gemma_edge.engine.engine import LlamaEngine, judge_load, smoke_decode
from gemma_edge.engine.llama import LlamaModel
from gemma_edge.engine.placement import ModelParams
from gemma_edge.errors import EngineError
from gemma_edge.planning.plan import Allocated
from tests.engine.conftest import demo_plan

ON_GPU = (Allocated("CUDA0", "weights", 1), Allocated("CUDA0", "compute", 1))


@pytest.mark.parametrize("on", [False, True])
def test_how_weights_are_read_is_what_the_plan_says(on: bool) -> None:
    plan = replace(demo_plan(), repack=on, lazy=on, load_mode="mmap" if on else "none")
    params = ModelParams(plan).params
    assert params.use_extra_bufts == on
    assert (params.lazy_mode == llama_cpp.LLAMA_LAZY_MODE_ON) == on
    assert (params.load_mode == llama_cpp.LLAMA_LOAD_MODE_MMAP) == on


def test_prompts_are_read_with_threads_of_their_own() -> None:
    engine = LlamaEngine(replace(demo_plan(), threads=1, prefill_threads=2))
    pointer = engine._context.pointer
    counts = llama_cpp.llama_n_threads(pointer), llama_cpp.llama_n_threads_batch(pointer)
    engine.close()
    assert counts == (1, 2)


@pytest.mark.parametrize("allocated", [(), ON_GPU[:1], ON_GPU[1:]])
def test_a_gpu_that_was_left_empty_is_an_error(allocated: tuple[Allocated, ...]) -> None:
    plan = replace(demo_plan(), devices=("CUDA0",), gpu_layers=-1)
    assert judge_load(plan, ON_GPU) == ()
    with pytest.raises(EngineError, match="on CUDA0, but llama.cpp put nothing there"):
        judge_load(plan, allocated)
    both = replace(plan, devices=("CUDA0", "CUDA1"), split=(9, 0))
    assert judge_load(both, ON_GPU) == ()  # the second has no share


@pytest.mark.parametrize("splits", [2, 66])
def test_a_load_says_that_operations_fall_back_to_the_cpu(
    splits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp's line, which a fake device cannot make it say, for a plan that names one."""
    said = f"sched_reserve: graph: nodes = 414, splits = {splits}, input objects = 5"
    monkeypatch.setattr(engine, "end_report", lambda: (said,))
    monkeypatch.setattr(engine, "judge_load", lambda *_: ())
    monkeypatch.setattr(engine, "LlamaModel", lambda path, *_, **__: LlamaModel(path))
    opened = LlamaEngine(replace(demo_plan(), projector=None, devices=("CUDA0",)))
    notes = opened.info.notes
    opened.close()
    assert [note for note in notes if "fall back to the CPU" in note] == list(notes)
    assert len(notes) == (splits > 2)  # noqa: PLR2004


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_first_decode_without_numbers_is_an_error(value: float) -> None:
    done: list[Any] = []
    held: Any = SimpleNamespace(evaluate=done.append, forget=lambda: done.append("forgotten"))
    context: Any = SimpleNamespace(logits=lambda: np.array([0.0, value], dtype=np.float32))
    with pytest.raises(EngineError, match="no numbers"):
        smoke_decode(context, held, 2)
    assert done == [[2], "forgotten"]
