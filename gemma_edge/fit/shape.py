"""A model as numbers: what each layer weighs and remembers. Pure over a GGUF header.

Widths and window follow llama.cpp's loaders (src/models/gemma4.cpp, gemma3.cpp, llama-hparams.cpp).
"""

import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from gemma_edge.gguf import Header, Skipped, Tensor

LayerKind = Literal["global", "window", "none"]

# What llama.cpp's --n-cpu-moe moves (common/common.h, LLM_FFN_EXPS_REGEX).
EXPERTS = re.compile(r"blk\.(\d+)\.ffn_(up|down|gate_up|gate)_(ch|)exps")
_LAYER = re.compile(r"blk\.(\d+)\.")
# Of layer 0 although their names have no number (llm_tensor_info_for and tn(..., 0)).
_FIRST_LAYER = ("per_layer_model_proj.weight", "per_layer_proj_norm.weight", "rope_freqs.weight")
_TOKEN_TABLE, _LAYER_TABLE = "token_embd.weight", "per_layer_token_embd.weight"
REPACK_ROWS = 8  # repack.cpp packs whole groups of so many rows
GEMMA3_PATTERN = 6  # gemma3.cpp, set_swa_pattern: every sixth layer is global
# What a graph is made of beside the widths of keys and values; quants of one model share it.
_GRAPH_KEYS = (
    ".feed_forward_length", ".expert_feed_forward_length", ".expert_count", ".expert_used_count",
    ".embedding_length_per_layer_input", ".attention.head_count",
)  # fmt: skip
# Attention that has another kind of memory, or a window that stands in no header.
_OTHER_MEMORY = (
    ".ssm.state_size", ".wkv.head_size", ".attention.kv_lora_rank", ".full_attention_interval",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Weights:
    """Bytes of some tensors, and which of them a CPU may hold repacked: (type, bytes) of matrices
    with whole groups of rows. An MoE layer's expert matrices count here too."""

    size_bytes: int = 0
    packable: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer. ``key_values`` and ``value_values`` are numbers a cell of its own KV cache; both
    are 0 where it reads another layer's (kind "none")."""

    kind: LayerKind
    key_values: int
    value_values: int
    dense: Weights
    experts: Weights


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """A model. ``window_tokens`` is 0 without a sliding window. ``output`` is empty where the
    token table is the output too (``tied``). ``causal_images``: a picture need not be one batch.
    ``exact``: the weights are those of a real file. ``cache_problem`` says why the size of the KV
    cache cannot be computed from this header, "" where it can.

    ``largest_matrix_bytes`` and ``largest_expert_bytes`` are single tensors of a layer. Two shapes
    are equal only if they are the same object; it is what measurements are kept by."""

    header: Header
    architecture: str
    layers: tuple[Layer, ...]
    width: int
    window_tokens: int
    vocabulary_tokens: int
    trained_context_tokens: int | None
    token_table: Weights
    layer_table: Weights
    output: Weights
    output_norm: Weights
    largest_expert_bytes: int
    largest_matrix_bytes: int
    tied: bool
    causal_images: bool
    exact: bool = True
    cache_problem: str = ""

    @property
    def graph(self) -> Hashable:
        """What the compute graph depends on, whatever the types of the weights: the same for all
        quants of a size, real or synthesized."""
        values = (self.header.metadata.get(self.architecture + key) for key in _GRAPH_KEYS)
        layers = tuple((each.kind, each.key_values, each.value_values) for each in self.layers)
        return self.architecture, self.width, self.vocabulary_tokens, layers, *values

    @property
    def has_experts(self) -> bool:
        """Whether it is a mixture of experts."""
        return self.largest_expert_bytes > 0

    @property
    def weights_bytes(self) -> int:
        """Every tensor of the file, once."""
        parts = [self.token_table, self.layer_table, self.output, self.output_norm]
        parts += [weights for layer in self.layers for weights in (layer.dense, layer.experts)]
        return sum(part.size_bytes for part in parts)

    @property
    def global_cell_bytes_f16(self) -> int:
        """Keys and values of one cell of the largest global layer, in 16 bits."""
        cells = (2 * (i.key_values + i.value_values) for i in self.layers if i.kind == "global")
        return max(cells, default=0)


def parse_shape(header: Header, *, exact: bool = True) -> Shape:
    """Read a header. ``exact`` is False for one that was synthesized."""
    count = header.integer(".block_count") or 0
    kinds, problem = _kinds(header, count)
    rows: dict[str, list[Tensor]] = {}
    for tensor in header.tensors:
        rows.setdefault(_group(tensor.name, count), []).append(tensor)
    table = rows.get(_TOKEN_TABLE, [])
    return Shape(
        header=header,
        architecture=header.architecture,
        layers=tuple(_layer(header, index, kinds[index], rows) for index in range(count)),
        width=header.integer(".embedding_length") or 0,
        window_tokens=header.integer(".attention.sliding_window") or 0 if "window" in kinds else 0,
        vocabulary_tokens=_vocabulary(header, table),
        trained_context_tokens=header.integer(".context_length"),
        token_table=_weigh(table),
        layer_table=_weigh(rows.get(_LAYER_TABLE, [])),
        output=_weigh(rows.get("output", [])),
        output_norm=_weigh(rows.get("norm", [])),
        largest_expert_bytes=_largest(header, experts=True),
        largest_matrix_bytes=_largest(header, experts=False),
        tied="output" not in rows,
        # mtmd.cpp, mtmd_decode_use_non_causal: Gemma 3 and 4, but not the E models.
        causal_images=not header.architecture.startswith("gemma") or _LAYER_TABLE in rows,
        exact=exact,
        cache_problem=problem,
    )


def _group(name: str, layers: int) -> str:
    if name in (_TOKEN_TABLE, _LAYER_TABLE):
        return name
    if name in _FIRST_LAYER:
        return "0"
    found = _LAYER.match(name)
    if found and int(found[1]) < layers:
        return f"{found[1]}e" if EXPERTS.match(name) else found[1]
    return "output" if name == "output.weight" else "norm"


def _layer(header: Header, index: int, kind: LayerKind, rows: dict[str, list[Tensor]]) -> Layer:
    width, heads = header.integer(".embedding_length") or 0, _at(header, ".attention.head_count", 0)
    suffix = "_swa" if kind == "window" else ""

    def values(which: str) -> int:
        if kind == "none":
            return 0
        own = header.integer(f".attention.{which}_length{suffix}")
        length = own or header.integer(f".attention.{which}_length") or width // max(1, heads)
        return length * _at(header, ".attention.head_count_kv", index, heads)

    return Layer(
        kind=kind,
        key_values=values("key"),
        value_values=values("value"),
        dense=_weigh(rows.get(str(index), [])),
        experts=_weigh(rows.get(f"{index}e", [])),
    )


def _largest(header: Header, *, experts: bool) -> int:
    """The largest tensor of the layers: an expert tensor, or any other."""
    sizes = (
        tensor.size_bytes
        for tensor in header.tensors
        if _LAYER.match(tensor.name) and bool(EXPERTS.match(tensor.name)) == experts
    )
    return max(sizes, default=0)


def _weigh(tensors: Iterable[Tensor]) -> Weights:
    size_bytes, packable = 0, dict[str, int]()
    for tensor in tensors:
        size_bytes += tensor.size_bytes
        if len(tensor.shape) > 1 and tensor.shape[1] > 1 and tensor.shape[1] % REPACK_ROWS == 0:
            packable[tensor.type] = packable.get(tensor.type, 0) + tensor.size_bytes
    return Weights(size_bytes, tuple(sorted(packable.items())))


def _kinds(header: Header, count: int) -> tuple[list[LayerKind], str]:
    """Which layers have a window, and why that cannot be said."""
    window = header.integer(".attention.sliding_window") or 0
    pattern = header.metadata.get(header.architecture + ".attention.sliding_window_pattern")
    kinds: list[LayerKind] = ["global"] * count
    problem = ""
    if any(header.architecture + key in header.metadata for key in _OTHER_MEMORY):
        problem = f"`{header.architecture}` keeps another kind of memory than keys and values"
    elif window and isinstance(pattern, Sequence) and len(pattern) == count:
        kinds = ["window" if slides else "global" for slides in pattern]
    elif window and header.architecture == "gemma3":
        kinds = ["global" if (i + 1) % GEMMA3_PATTERN == 0 else "window" for i in range(count)]
    elif window:
        problem = f"which layers of `{header.architecture}` have a window stands in no header"
    shared = header.integer(".attention.shared_kv_layers") or 0
    return [*kinds[: count - shared], *["none"] * min(shared, count)], problem  # type: ignore[list-item]


def _at(header: Header, key: str, index: int, default: int = 0) -> int:
    """A number that stands once for all layers, or once a layer."""
    value = header.metadata.get(header.architecture + key)
    if isinstance(value, tuple):
        value = value[min(index, len(value) - 1)] if value else default
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _vocabulary(header: Header, table: Sequence[Tensor]) -> int:
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, Skipped):
        return tokens.count
    if isinstance(tokens, tuple):
        return len(tokens)
    own = header.integer(".vocab_size")
    return own or (table[0].shape[-1] if table and len(table[0].shape) > 1 else 0)
