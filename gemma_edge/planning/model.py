"""A model as numbers, and whether its files belong together: all from headers.

``parse_shape`` says what each layer weighs and remembers; ``synthesize`` makes a header from the
catalogue's facts for a file that is not here. ``check_model``, ``check_pair``, ``check_drafter``
and ``check_adapter`` refuse what llama.cpp refuses late, in words about tensors, or by aborting.
Pure. Files without a repository are llama.cpp's.
"""

import math
import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

from gemma_edge.catalog import Dimensions, Quant, Size
from gemma_edge.errors import ModelError, ProjectorError
from gemma_edge.gguf import TENSOR_TYPES, Header, Skipped, Tensor, Value
from gemma_edge.records import dataclass

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
    def architecture(self) -> str:
        return self.header.architecture

    @property
    def graph(self) -> Hashable:
        """What the compute graph depends on, whatever the types of the weights: the same for all
        quants of a size, real or synthesized."""
        values = (self.header.metadata.get(self.architecture + key) for key in _GRAPH_KEYS)
        layers = tuple((each.kind, each.key_values, each.value_values) for each in self.layers)
        return self.architecture, self.width, self.vocabulary_tokens, layers, *values

    @property
    def has_experts(self) -> bool:
        return self.largest_expert_bytes > 0


def parse_shape(header: Header, *, exact: bool = True) -> Shape:
    """Read a header. ``exact`` is False for one that was synthesized."""
    count = header.integer(".block_count") or 0
    kinds, problem = _kinds(header, count)
    rows: dict[str, list[Tensor]] = {}
    largest = [0, 0]  # of a layer's matrices, and of its experts'
    for tensor in header.tensors:
        group, layer, expert = _group(tensor.name, count)
        rows.setdefault(group, []).append(tensor)
        if layer and tensor.size_bytes > largest[expert]:
            largest[expert] = tensor.size_bytes
    table = rows.get(_TOKEN_TABLE, [])
    return Shape(
        header=header,
        layers=tuple(_layer(header, index, kinds[index], rows) for index in range(count)),
        width=header.integer(".embedding_length") or 0,
        window_tokens=header.integer(".attention.sliding_window") or 0 if "window" in kinds else 0,
        vocabulary_tokens=_vocabulary(header, table),
        trained_context_tokens=header.integer(".context_length"),
        token_table=weigh(table),
        layer_table=weigh(rows.get(_LAYER_TABLE, [])),
        output=weigh(rows.get("output", [])),
        output_norm=weigh(rows.get("norm", [])),
        largest_expert_bytes=largest[True],
        largest_matrix_bytes=largest[False],
        tied="output" not in rows,
        # mtmd.cpp, mtmd_decode_use_non_causal: Gemma 3 and 4, but not the E models.
        causal_images=not header.architecture.startswith("gemma") or _LAYER_TABLE in rows,
        exact=exact,
        cache_problem=problem,
    )


@lru_cache(maxsize=8192)
def _group(name: str, layers: int) -> tuple[str, bool, bool]:
    """With what a tensor is weighed, whether it is of a layer, and of its experts. The quants of a
    size have the same names, and `models` reads dozens of them."""
    found, expert = _LAYER.match(name), EXPERTS.match(name) is not None
    group = "output" if name == "output.weight" else "norm"
    if name in (_TOKEN_TABLE, _LAYER_TABLE):
        group = name
    elif name in _FIRST_LAYER:
        group = "0"
    elif found and int(found[1]) < layers:
        group = f"{found[1]}e" if expert else found[1]
    return group, found is not None, expert


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
        kind=kind, key_values=values("key"), value_values=values("value"),
        dense=weigh(rows.get(str(index), [])), experts=weigh(rows.get(f"{index}e", [])),
    )  # fmt: skip


def weigh(tensors: Iterable[Tensor]) -> Weights:
    """All of these tensors together."""
    whole, packable = 0, dict[str, int]()
    for _, shape, kind, size_bytes, _ in tensors:
        whole += size_bytes
        if len(shape) > 1 and shape[1] > 1 and shape[1] % REPACK_ROWS == 0:
            packable[kind] = packable.get(kind, 0) + size_bytes
    return Weights(whole, tuple(sorted(packable.items())))


def _kinds(header: Header, count: int) -> tuple[list[LayerKind], str]:
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


PROJECTOR_ARCHITECTURE = "clip"  # of every mmproj file
# Architectures of llama.cpp that encode and never write (llama-arch.cpp).
ENCODERS = (
    "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2",
    "jina-bert-v3", "eurobert", "gemma-embedding", "t5encoder",
)  # fmt: skip


def check_model(header: Header) -> None:
    """Refuse what is a GGUF file but no language model.
    Raises ModelError: a projector, a drafter, an importance matrix, an adapter, a later part of a
    split model, or a file without weights."""
    path, kind, architecture = header.path, header.metadata.get("general.type"), header.architecture
    imatrix = kind == "imatrix" or any(key.startswith("imatrix.") for key in header.metadata)
    part, other = header.integer("split.no") or 0, "--model takes a language model"
    for is_so, what, hint in (
        (architecture == PROJECTOR_ARCHITECTURE or kind == "mmproj",
         "a projector (it sees for a model), not a model", f"--model MODEL.gguf --mmproj {path}"),
        (imatrix, "an importance matrix", other),
        (kind == "adapter", "a LoRA adapter, not a model", f"--model MODEL.gguf --lora {path}"),
        (architecture in ENCODERS,
         f"an embedding model (`{architecture}`), which writes nothing", other),
        (architecture.endswith("-assistant"),
         f"a drafter (`{architecture}`), which cannot answer alone", other),
        (not architecture, "a GGUF file without `general.architecture`", other),
        (part > 0, f"part {part + 1} of a split model",
         "name the first part, ...-00001-of-....gguf"),
        (not header.tensors, "a file without weights (a vocabulary)", other),
    ):  # fmt: skip
        if is_so:
            raise ModelError(f"`{path}` is {what}", hint=hint)


def check_pair(model: Header, projector: Header) -> None:
    """Refuse a projector that was not made for this model.
    Raises ProjectorError: not a projector, or its width is not the model's."""
    hint = "--mmproj takes the mmproj-....gguf file that comes with the model"
    if projector.architecture != PROJECTOR_ARCHITECTURE:
        what = f"is not a projector but a model (`{projector.architecture}`)"
        raise ProjectorError(f"`{projector.path}` {what}", hint=hint)
    if projector.metadata.get("clip.has_vision_encoder") is not True:
        raise ProjectorError(f"`{projector.path}` holds no vision encoder", hint=hint)
    made_for = projector.integer("clip.vision.projection_dim")
    width = model.integer(".embedding_length")
    if made_for != width:
        raise ProjectorError(
            f"`{projector.path.name}` belongs to another model: it is made for a width of "
            f"{made_for}, `{model.path.name}` has {width}",
            hint="--mmproj takes the projector of the same Gemma 4 size",
        )


DRAFTER_ENDING = "-assistant"  # of the architecture of a drafter, behind that of its model
_DRAFTER_HINT = (
    "--drafter takes the mtp-....gguf that comes with the model; --draft lookup needs none"
)


def check_drafter(model: Header, drafter: Header) -> None:
    """Refuse a drafter that was not made for this model.
    Raises ModelError: it is no drafter, or its sizes are not the model's."""
    if reason := drafter_problem(model, drafter):
        raise ModelError(reason, hint=_DRAFTER_HINT)


def drafter_problem(model: Header, drafter: Header) -> str:
    """Why it cannot guess for this model, or "". llama.cpp aborts on most of it, because a drafter
    reads the keys and values of the model's last two layers as its own."""
    name, other = drafter.path.name, model.path.name
    if not drafter.architecture.endswith(DRAFTER_ENDING):
        return f"`{name}` is no drafter but `{drafter.architecture or 'of no kind'}`"
    if drafter.architecture != model.architecture + DRAFTER_ENDING:
        return f"`{name}` (`{drafter.architecture}`) cannot guess for `{model.architecture}`"
    blocks, width = drafter.integer(".block_count"), drafter.integer(".embedding_length_out")
    if not blocks or blocks != drafter.integer(".nextn_predict_layers"):
        return f"`{name}` is damaged: it has {blocks or 'no'} layers, and not all of them guess"
    for what, own, wanted in (
        ("a width of", width, model.integer(".embedding_length")),
        ("a vocabulary of", parse_shape(drafter).vocabulary_tokens,
         parse_shape(model).vocabulary_tokens),
        *((words, drafter.integer(key), model.integer(key)) for words, key in _SHARED),
    ):  # fmt: skip
        if own != wanted:
            return (
                f"`{name}` belongs to another model: it is made for {what} {own or 'nothing'}, "
                f"`{other}` has {wanted or 'none'}"
            )
    return _cache_problem(model, drafter)


_SHARED = (
    ("keys of", ".attention.key_length"), ("keys in a window of", ".attention.key_length_swa"),
)  # fmt: skip


def _cache_problem(model: Header, drafter: Header) -> str:
    """Its global layers read the last layer's keys, the others those of the one before it
    (llama-model.cpp, ``create_memory``)."""
    name, count = drafter.path.name, model.integer(".block_count") or 0
    pattern = model.metadata.get(f"{model.architecture}.attention.sliding_window_pattern")
    ends = pattern[-2:] if isinstance(pattern, tuple) else ()
    if tuple(map(bool, ends)) != (True, False):
        return f"`{name}` reads a window and a global layer, and `{model.path.name}` ends otherwise"
    heads = _at(drafter, ".attention.head_count", 0)
    for layer in (count - 2, count - 1):
        shared = _at(model, ".attention.head_count_kv", layer)
        if not shared or not heads or heads % shared:
            return (
                f"`{name}` belongs to another model: its {heads} heads cannot share {shared} pairs "
                "of keys and values"
            )
    return ""


_A, _B = ".lora_a", ".lora_b"


def check_adapter(model: Header, adapter: Header) -> None:
    """Refuse what cannot be added to this model.
    Raises ModelError: it is no LoRA, or one of another model."""
    if reason := adapter_problem(model, adapter):
        raise ModelError(reason, hint="--lora takes a GGUF that was trained for this very model")


def adapter_problem(model: Header, adapter: Header, *, exact: bool = True) -> str:
    """Why it cannot be added to this model, or "". Of a model whose header is not ``exact`` only
    the tensors that it names are compared."""
    name = adapter.path.name
    kind = adapter.metadata.get("general.type", "model")
    if kind != "adapter" or adapter.metadata.get("adapter.type") != "lora":
        return f"`{name}` is no LoRA adapter but a {kind} (`{adapter.architecture}`)"
    if "adapter.alora.invocation_tokens" in adapter.metadata:
        return f"`{name}` is an activated LoRA, which works only behind tokens of its own"
    if adapter.architecture != model.architecture:
        return (
            f"`{name}` was made for another model: for `{adapter.architecture}`, "
            f"`{model.path.name}` is `{model.architecture}`"
        )
    return _lora_problem(model, adapter, exact)


def _lora_problem(model: Header, adapter: Header, exact: bool) -> str:
    name, own = adapter.path.name, {tensor.name: tensor for tensor in model.tensors}
    pairs = lora_pairs(adapter.tensors)
    if not pairs:
        return f"`{name}` changes nothing: it has no LoRA tensors"
    for base, pair in pairs.items():
        if set(pair) != {_A, _B}:
            return f"`{name}` is incomplete: of `{base}` it has only {', '.join(pair)}"
        target = own.get(base)
        if target is None and not exact:
            continue
        if target is None or not _changes(base, target, pair[_A], pair[_B]):
            there = "has no such tensor" if target is None else f"has {_dimensions(target)}"
            return (
                f"`{name}` was made for another model: it changes `{base}` by "
                f"{_dimensions(pair[_A])} and {_dimensions(pair[_B])}, `{model.path.name}` {there}"
            )
    return ""


def _changes(name: str, target: Tensor, first: Tensor, second: Tensor) -> bool:
    """llama.cpp's own rule; the two factors of the token table are the other way round."""
    (inner, outer), (a, b) = _sides(target), (_sides(first), _sides(second))
    if name == _TOKEN_TABLE:
        return inner == b[1] and outer == a[1]
    return inner == a[0] and outer == b[1] and a[1] == b[0]


def _sides(tensor: Tensor) -> tuple[int, int]:
    row, column = (*tensor.shape, 1, 1)[:2]
    return row, column


def _dimensions(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape))


def lora_pairs(tensors: Iterable[Tensor]) -> dict[str, dict[str, Tensor]]:
    pairs: dict[str, dict[str, Tensor]] = {}
    for tensor in tensors:
        for ending in (_A, _B):
            if tensor.name.endswith(ending):
                pairs.setdefault(tensor.name.removesuffix(ending), {})[ending] = tensor
    return pairs


# The header of a file that is not here, from the catalogue's facts: every tensor that llama.cpp's
# `gemma4` loader asks for (src/models/gemma4.cpp), in the types of the quant's recipe.
# Dimensions and metadata are exact, so KV cache and compute buffers are; the weights are those of
# the recipe, scaled to the file's size where the catalogue knows it. `Shape.exact` says so
# (docs/memory.md, "Files that are not here").

VOCABULARY_TOKENS = 262_144  # of every Gemma 4 (docs/memory.md, "Dimensions")
HEAD_WINDOW, HEAD_GLOBAL = 256, 512  # values a head, the same in all sizes
HEADER_BYTES = 15_825_000  # before the tensors: Google's five QAT files less their tensors
_BLOCKS = {name: (values, size) for _, (name, values, size) in TENSOR_TYPES.items()}
# Vision towers: width, inner width, layers (docs/memory.md, "Dimensions"). 12B has none.
_SMALL_TOWER, _LARGE_TOWER = (768, 3072, 16), (1152, 4304, 27)
_TOWERS: dict[str, tuple[int, ...]] = {"e2b": _SMALL_TOWER, "e4b": _SMALL_TOWER, "12b": ()}
# (layers, embeddings, the layers' more important matrices) by the quant's name without "ud-" and
# "qat-". Of the K mixtures llama-quant.cpp gives attn_v and ffn_down of about half the layers more.
_RECIPES = {
    "q3_k_xl": ("Q3_K", "Q6_K", "Q4_K"),
    "q4_0": ("Q4_0", "Q6_K", "Q4_0"),
    "q4_k_m": ("Q4_K", "Q6_K", "Q6_K"),
    "q4_k_xl": ("Q4_K", "Q6_K", "Q6_K"),
    "q5_k_m": ("Q5_K", "Q6_K", "Q6_K"),
    "q6_k": ("Q6_K", "Q6_K", "Q6_K"),
    "q8_0": ("Q8_0", "Q8_0", "Q8_0"),
}
_BY_BITS = {3: "q3_k_xl", 4: "q4_k_m", 5: "q5_k_m", 6: "q6_k", 8: "q8_0"}


def synthesize(size: Size, quant: Quant) -> Header:
    """The header of one quant of one size, for ``parse_shape(..., exact=False)``."""
    rows, recipe_bytes = _placed(size, _recipe(quant))
    file_bytes = quant.model.size_bytes or HEADER_BYTES + recipe_bytes
    factor = (file_bytes - HEADER_BYTES) / recipe_bytes  # their bytes are those of the file
    tensors = tuple(
        Tensor(name, shape, kind, round(size_bytes * factor), offset)
        for name, shape, kind, size_bytes, offset in rows
    )
    return Header(Path(quant.model.filename), file_bytes, _metadata(size), tensors)


# Two layers as those of 26B-A4B and the E models, one with a window and one global: heads of 256
# and 512 with one pair of keys and values for eight, experts, and embeddings of the layers.
_MINIATURE = Dimensions(
    heads=8, kv_heads_window=1, kv_heads_global=1, feed_forward=2048, window_tokens=64,
    global_every=2, projector_bytes=0, per_layer_width=256, experts=8, experts_used=4,
    expert_feed_forward=704,
)  # fmt: skip


def miniature() -> Header:
    """The header of a file of Gemma 4's own shapes and types (Q4_0, Q6_K, Q8_0) that takes 61 MB:
    what a device is proven with."""
    size = Size(
        name="", title="", good_for="", licence="", kind="moe", parameters=0, active_parameters=0,
        layers=2, width=1536, context_tokens=131_072, modalities=(), image_tokens=0,
        dimensions=_MINIATURE, called={}, claims={}, quants=(),
    )  # fmt: skip
    return sketch(size, vocabulary_tokens=1024)


def sketch(size: Size, *, vocabulary_tokens: int) -> Header:
    """The header of a file of such a size with a vocabulary of its own, in the types of Google's
    Q4_0 files, the more important matrices in Q6_K; its bytes are those of its tensors."""
    rows = [
        (name, (shape[0], vocabulary_tokens) if shape[-1] == VOCABULARY_TOKENS else shape, kind)
        for name, shape, kind in _tensors(size, ("Q4_0", "Q6_K", "Q6_K"))
    ]
    placed, _ = _place(rows)
    metadata = _metadata(size) | {"gemma4.vocab_size": vocabulary_tokens}
    return Header(Path("sketch.gguf"), sum(each.size_bytes for each in placed), metadata, placed)


def synthesize_projector(size: Size, quant: Quant) -> Header | None:
    """The header of its projector, with one tensor as large as all of them; None without one."""
    file = quant.projector
    if file is None:
        return None
    file_bytes = file.size_bytes or size.dimensions.projector_bytes
    metadata: dict[str, Value] = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "clip.has_vision_encoder": True,
        "clip.vision.projection_dim": size.width,
    }
    tower = _TOWERS.get(size.name, _LARGE_TOWER)
    keys = ("embedding_length", "feed_forward_length", "block_count")
    metadata.update((f"clip.vision.{k}", v) for k, v in zip(keys, tower, strict=False))
    whole = Tensor("v.blk.0.ffn_up.weight", (file_bytes // 2,), "F16", file_bytes, 0)
    return Header(Path(file.filename), file_bytes, metadata, (whole,))


def synthesize_drafter(size: Size, quant: Quant) -> Header | None:
    """The header of its drafter, from the size of its file alone: a token table, and one tensor for
    the rest. None without a drafter, or where its size is not known."""
    file = quant.drafter
    if file is None or file.size_bytes is None:
        return None
    weights = max(1 << 20, file.size_bytes - HEADER_BYTES)
    table = round(weights * _TABLE_SHARE)
    architecture = f"gemma4{DRAFTER_ENDING}"
    own = {
        "block_count": DRAFTER_LAYERS, "nextn_predict_layers": DRAFTER_LAYERS,
        "attention.shared_kv_layers": DRAFTER_LAYERS, "embedding_length_out": size.width,
        "vocab_size": VOCABULARY_TOKENS,
    }  # fmt: skip
    metadata: dict[str, Value] = {"general.architecture": architecture}
    metadata.update((f"{architecture}.{key}", value) for key, value in own.items())
    tensors = (
        Tensor(
            "token_embd.weight", (table // VOCABULARY_TOKENS, VOCABULARY_TOKENS), "Q8_0", table, 0
        ),
        Tensor("blk.0.ffn_up.weight", (weights - table,), "Q8_0", weights - table, table),
    )
    return Header(Path(file.filename), file.size_bytes, metadata, tensors)


DRAFTER_LAYERS = 4  # of all of Gemma 4's (docs/memory.md, "Adapters and drafters")
_TABLE_SHARE = 0.64  # of its weights: 262,144 rows of 1,024 numbers of 12B's 423 million


def _recipe(quant: Quant) -> tuple[str, str, str]:
    name = quant.name.removeprefix("qat-").removeprefix("ud-")
    if quant.qat and name == "q4_k_xl":  # llama.cpp calls that file Q4_0
        return "Q4_0", "Q4_0", "Q4_0"
    return _RECIPES.get(name) or _RECIPES[_BY_BITS[quant.bits]]


def _tensor_kinds(size: Size) -> list[bool]:
    every = size.dimensions.global_every
    return [(index + 1) % every != 0 for index in range(size.layers)]


def _metadata(size: Size) -> dict[str, Value]:
    facts, windows = size.dimensions, _tensor_kinds(size)
    kv_heads = tuple(facts.kv_heads_window if w else facts.kv_heads_global for w in windows)
    own: dict[str, Value] = {
        "block_count": size.layers,
        "context_length": size.context_tokens,
        "embedding_length": size.width,
        "feed_forward_length": tuple(_feed_forward(size, index) for index in range(size.layers)),
        "attention.head_count": facts.heads,
        # One number where all layers have as many, as llama.cpp's converter writes it.
        "attention.head_count_kv": kv_heads if len(set(kv_heads)) > 1 else kv_heads[0],
        "attention.key_length": HEAD_GLOBAL,
        "attention.value_length": HEAD_GLOBAL,
        "attention.key_length_swa": HEAD_WINDOW,
        "attention.value_length_swa": HEAD_WINDOW,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "attention.sliding_window": facts.window_tokens,
        "attention.sliding_window_pattern": tuple(windows),
        "attention.shared_kv_layers": facts.shared_kv_layers,
        "embedding_length_per_layer_input": facts.per_layer_width,
        "final_logit_softcapping": 30.0,
        "rope.dimension_count": HEAD_GLOBAL,
        "rope.dimension_count_swa": HEAD_WINDOW,
        "rope.freq_base": 1e6,
        "rope.freq_base_swa": 1e4,
        "vocab_size": VOCABULARY_TOKENS,
    }
    if facts.experts:
        own["expert_count"] = facts.experts
        own["expert_used_count"] = facts.experts_used
        own["expert_feed_forward_length"] = facts.expert_feed_forward
    named = {f"gemma4.{key}": value for key, value in own.items()}
    return {"general.architecture": "gemma4", "general.name": size.title, **named}


def _feed_forward(size: Size, index: int) -> int:
    facts: Dimensions = size.dimensions
    shared = index >= size.layers - facts.shared_kv_layers
    return facts.feed_forward_shared if shared and facts.feed_forward_shared else facts.feed_forward


Row = tuple[str, tuple[int, ...], str]


def _tensors(size: Size, recipe: tuple[str, str, str]) -> Iterator[Row]:
    layers, embeddings, _ = recipe
    facts, width = size.dimensions, size.width
    yield "rope_freqs.weight", (HEAD_GLOBAL // 2,), "F32"
    yield "token_embd.weight", (width, VOCABULARY_TOKENS), embeddings
    if facts.per_layer_width:
        all_layers = facts.per_layer_width * size.layers
        yield "per_layer_token_embd.weight", (all_layers, VOCABULARY_TOKENS), embeddings
        # llama-quant.cpp leaves it as it is
        yield "per_layer_model_proj.weight", (width, all_layers), "BF16"
        yield "per_layer_proj_norm.weight", (facts.per_layer_width,), "F32"
    yield "output_norm.weight", (width,), "F32"
    for index, window in enumerate(_tensor_kinds(size)):
        for name, shape, kind in _synthetic_layer(size, index, window, recipe):
            yield f"blk.{index}.{name}", shape, kind


def _synthetic_layer(
    size: Size, index: int, window: bool, recipe: tuple[str, str, str]
) -> Iterator[Row]:
    facts, width = size.dimensions, size.width
    kind, _, _ = recipe
    first, last = size.layers // 8, 7 * size.layers // 8  # llama-quant.cpp, use_more_bits
    better = kind if first <= index < last and (index - first) % 3 != 2 else recipe[2]  # noqa: PLR2004
    head = HEAD_WINDOW if window else HEAD_GLOBAL
    keys = head * (facts.kv_heads_window if window else facts.kv_heads_global)
    yield "attn_q.weight", (width, head * facts.heads), kind
    yield "attn_output.weight", (head * facts.heads, width), kind
    yield "attn_q_norm.weight", (head,), "F32"
    # The published E models hold keys and values of the sharing layers too, unused
    # (llama.cpp: "unused tensor"); the loader counts them as optional.
    if index < size.layers - facts.shared_kv_layers:
        yield "attn_k.weight", (width, keys), kind
        yield "attn_k_norm.weight", (head,), "F32"
        if window or not facts.keys_are_values:
            yield "attn_v.weight", (width, keys), better
    forward = _feed_forward(size, index)
    yield "ffn_gate.weight", (width, forward), kind
    yield "ffn_up.weight", (width, forward), kind
    yield "ffn_down.weight", (forward, width), _whole_blocks(better, forward)
    for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
        yield f"{name}.weight", (width,), "F32"
    yield "layer_output_scale.weight", (1,), "F32"
    if facts.per_layer_width:
        yield "inp_gate.weight", (width, facts.per_layer_width), kind
        yield "proj.weight", (facts.per_layer_width, width), kind
        yield "post_norm.weight", (width,), "F32"
    if facts.experts:
        yield from _experts(size, kind, better)


def _experts(size: Size, kind: str, better: str) -> Iterator[Row]:
    facts, width = size.dimensions, size.width
    inner, count = facts.expert_feed_forward, facts.experts
    yield "ffn_gate_inp.weight", (width, count), "F32"
    yield "ffn_gate_inp.scale", (width,), "F32"
    yield "ffn_gate_up_exps.weight", (width, 2 * inner, count), kind
    yield "ffn_down_exps.weight", (inner, width, count), _whole_blocks(better, inner)
    yield "ffn_down_exps.scale", (count,), "F32"
    for name in ("post_ffw_norm_1", "post_ffw_norm_2", "pre_ffw_norm_2"):
        yield f"{name}.weight", (width,), "F32"


def _whole_blocks(kind: str, row: int) -> str:
    """A K type has blocks of 256; llama-quant.cpp takes another type for other rows."""
    instead = {"Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
    return kind if row % _BLOCKS[kind][0] == 0 else instead[kind]


@lru_cache(maxsize=64)
def _placed(size: Size, recipe: tuple[str, str, str]) -> tuple[tuple[Tensor, ...], int]:
    """By a recipe, which several quants have."""
    return _place(_tensors(size, recipe))


def _place(rows: Iterable[Row]) -> tuple[tuple[Tensor, ...], int]:
    """Tensors one behind the other, and their bytes."""
    tensors, offset, whole = [], HEADER_BYTES, 0
    for name, shape, kind in rows:
        values, block_bytes = _BLOCKS[kind]
        size_bytes = math.prod(shape) // values * block_bytes
        tensors.append(Tensor(name, shape, kind, size_bytes, offset))
        offset += -(-size_bytes // 32) * 32
        whole += size_bytes
    return tuple(tensors), whole
