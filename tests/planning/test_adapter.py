"""A LoRA by its header: whose it is, and where its bytes go."""

from collections.abc import Sequence
from typing import Any

import pytest

from gemma_edge import gguf
from gemma_edge.errors import ModelError
from gemma_edge.planning.memory import adapter_bytes
from gemma_edge.planning.model import adapter_problem, check_adapter
from gemma_edge.planning.plan import RAM, Placement
from tests.conftest import WriteGguf

MODEL = {"general.architecture": "gemma4", "gemma4.block_count": 2}
OWN = [
    ("token_embd.weight", (64, 500), 0),
    ("blk.0.attn_q.weight", (64, 96), 0),
    ("blk.1.ffn_up_exps.weight", (64, 32, 4), 0),
]
LORA = {"general.architecture": "gemma4", "general.type": "adapter", "adapter.type": "lora"}
QUERY = [("blk.0.attn_q.weight.lora_a", (64, 8), 0), ("blk.0.attn_q.weight.lora_b", (8, 96), 0)]
TABLE = [("token_embd.weight.lora_a", (8, 500), 0), ("token_embd.weight.lora_b", (8, 64), 0)]
EXPERTS = [
    ("blk.1.ffn_up_exps.weight.lora_a", (64, 8, 4), 0),
    ("blk.1.ffn_up_exps.weight.lora_b", (8, 32, 4), 0),
]
Rows = Sequence[tuple[str, tuple[int, ...], int]]


@pytest.fixture
def header(write_gguf: WriteGguf) -> Any:
    def read(metadata: dict[str, Any], tensors: Rows, name: str = "lora.gguf") -> gguf.Header:
        return gguf.read_header(write_gguf(name, metadata, tensors))

    return read


@pytest.mark.parametrize(
    ("metadata", "tensors", "reason"),
    [
        (LORA, [*QUERY, *TABLE, *EXPERTS], ""),
        (MODEL, OWN, "is no LoRA adapter but a model"),
        (LORA | {"adapter.type": "vector"}, QUERY, "is no LoRA adapter"),
        (LORA | {"general.architecture": "llama"}, QUERY, "made for another model: for `llama`"),
        (LORA | {"adapter.alora.invocation_tokens": [1]}, QUERY, "an activated LoRA"),
        (LORA, [("output_norm.weight", (64,), 0)], "changes nothing"),
        (LORA, QUERY[:1], "incomplete"),
        (LORA, [(name.replace("0", "7"), *rest) for name, *rest in QUERY], "has no such tensor"),
        (LORA, [(QUERY[0][0], (63, 8), 0), QUERY[1]], "by 63x8 and 8x96, `model.gguf` has 64x96"),
        (LORA, [QUERY[0], (QUERY[1][0], (9, 96), 0)], "made for another model"),
        (LORA, [(TABLE[0][0], (64, 8), 0), (TABLE[1][0], (8, 500), 0)], "made for another model"),
    ],
)  # fmt: skip
def test_only_a_lora_of_this_model_is_taken(
    header: Any, metadata: dict[str, Any], tensors: Rows, reason: str
) -> None:
    model = header(MODEL, OWN, "model.gguf")
    problem = adapter_problem(model, header(metadata, tensors))
    assert (reason in problem) if reason else problem == ""
    if reason:
        with pytest.raises(ModelError):
            check_adapter(model, header(metadata, tensors))


def test_what_an_estimated_header_does_not_name_refuses_nobody(header: Any) -> None:
    model, lora = header(MODEL, OWN[:1], "model.gguf"), header(LORA, QUERY)
    assert adapter_problem(model, lora, exact=False) == ""
    assert "no such tensor" in adapter_problem(model, lora)


def test_each_factor_lies_where_its_tensor_lies(header: Any) -> None:
    lora = header(LORA, [*QUERY, *TABLE, *EXPERTS])
    query, table, experts = 4 * 8 * (64 + 96), 4 * 8 * 500 + 4 * 8 * 64, 4 * 8 * 4 * (64 + 32)
    placement = Placement(
        context_tokens=512, batch_tokens=64, devices=("CUDA0",), gpu_layers=2, cpu_expert_layers=0
    )
    # Two layers of three: the output and the last layer.
    assert adapter_bytes([lora], 2, placement) == {"CUDA0": experts, RAM: query + table}
    on_cpu = Placement(context_tokens=512, batch_tokens=64)
    assert adapter_bytes([lora, lora], 2, on_cpu) == {RAM: 2 * (query + table + experts)}


def test_experts_that_stay_in_main_memory_keep_theirs_there(header: Any) -> None:
    lora = header(LORA, EXPERTS)
    placement = Placement(
        context_tokens=512, batch_tokens=64, devices=("CUDA0",), gpu_layers=-1, cpu_expert_layers=2
    )
    assert set(adapter_bytes([lora], 2, placement)) == {RAM}
