"""The header of a GGUF file: metadata and tensor table, never the weights.

A file comes from anywhere, so every count and length is checked against what is left of the file
before anything is read, and what is kept is bounded. Long arrays (a vocabulary has 262,144 tokens)
are stepped over and only their length is kept. A file on a hub is read in parts that grow. Format:
ggml's docs/gguf.md; limits: gguf.cpp.
"""

import math
import re
import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from gemma_edge.errors import ModelError
from gemma_edge.records import dataclass
from gemma_edge.trust import printable
from gemma_edge.units import render_bytes

MAX_KEYS = 1 << 16  # the largest Gemma 4 file has about 60
MAX_TENSORS = 1 << 16  # about 1,500
MAX_NAME_BYTES = 1 << 10  # ggml keeps 64 for a tensor, gguf.md allows 65,535 for a key
MAX_TEXT_BYTES = 4 << 20  # a chat template has about 20 KiB
MAX_KEPT_BYTES = 16 << 20  # all texts and arrays of a header together
MAX_KEPT_VALUES = 4096  # a value a layer is kept, a vocabulary is not
MAX_STEPS = 1 << 21  # texts stepped over, half a second; vocabulary and merges have 777,050
MAX_HEADER_BYTES = 64 << 20  # read of a file in all; Gemma 4 has 15 MiB, nearly all vocabulary
FIRST_PART_BYTES = 64 << 10  # holds all but vocabulary and tensor table, and most projectors
MAX_PART_BYTES = 4 << 20
VALUE_BYTES = 36  # a Python number and its place in a tuple
MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
MAX_VALUES = (1 << 63) - 1  # of a tensor; gguf.cpp refuses more
MAX_LAYERS = 512  # llama-hparams.h, LLAMA_MAX_LAYERS

# Value types by number: gguf.h, enum gguf_type.
_SCALARS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_TEXT, _ARRAY = 8, 9

# (name, values a block, bytes a block) by number: ggml.h, ggml_type; gguf-py, GGML_QUANT_SIZES.
TENSOR_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4),
    27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}  # fmt: skip

_SIZE = struct.Struct("<Q")
_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)  # llama-gguf-split's names

Scalar = int | float | bool | str
ReadPart = Callable[[int, int], bytes]  # (start, count): these bytes, fewer at the file's end


@dataclass(frozen=True, slots=True)
class Skipped:
    """An array that was stepped over; ``count`` is its length."""

    count: int


Value = Scalar | tuple[Scalar, ...] | Skipped


class Tensor(NamedTuple):
    """One row of the tensor table. ``shape`` is in ggml's order, the row length first;
    ``offset_bytes`` counts from the start of the file."""

    name: str
    shape: tuple[int, ...]
    type: str
    size_bytes: int
    offset_bytes: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF file says about itself. ``path`` is its name, where it lies elsewhere."""

    path: Path
    file_bytes: int
    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]

    @property
    def architecture(self) -> str:
        """``general.architecture``, "" when the file does not say."""
        value = self.metadata.get("general.architecture", "")
        return value if isinstance(value, str) else ""

    def integer(self, key: str) -> int | None:
        """A whole number of the metadata; a leading ``.`` stands for the architecture."""
        value = self.metadata.get(self.architecture + key if key.startswith(".") else key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_header(path: Path) -> Header:
    """Read and check the header of a GGUF file.
    Raises ModelError: no such file, another format, damaged, shorter than its tensor table says, or
    one part of several."""
    try:
        if path.is_dir():
            inside = sorted(entry.name for entry in path.glob("*.gguf"))
            hint = f"--model {path / inside[0]}" if inside else "there is no .gguf file in it"
            raise ModelError(f"`{path}` is a folder and no .gguf file", hint=hint)
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise ModelError(f"`{path}` is not a file", hint="--model takes a .gguf file")
        with path.open("rb") as file:

            def read_part(start: int, count: int) -> bytes:
                file.seek(start)
                return file.read(count)

            return parse_header(read_part, path.stat().st_size, str(path))
    except FileNotFoundError:
        hint = f"check the name; it was looked for in {path.parent.resolve()}"
        raise ModelError(f"there is no file `{path}`", hint=hint) from None
    except OSError as error:
        raise ModelError(f"`{path}` cannot be read: {error.strerror or error}") from error


@contextmanager
def named_by(flag: str) -> Iterator[None]:
    """A file that is read inside was named by this flag, and not by ``--model``."""
    try:
        yield
    except ModelError as error:
        error.hint = error.hint.replace("--model", flag)
        raise


def parse_header(read_part: ReadPart, file_bytes: int, name: str) -> Header:
    """The same for a file that is read in parts: a few MiB of it, never the weights, but for what
    the last part holds too much.
    Raises ModelError: as above, and what ``read_part`` raises."""
    return _HeaderReader(Path(name), read_part, file_bytes).header()


def parse_metadata(
    read_part: ReadPart, file_bytes: int, name: str, until: Collection[str]
) -> dict[str, Value]:
    """Metadata alone, and no further than to the last of the keys in ``until``: what stands before
    the vocabulary comes with the first 64 KiB.
    Raises ModelError: as above, and what ``read_part`` raises."""
    return _HeaderReader(Path(name), read_part, file_bytes).metadata(frozenset(until))


def check_whole(filename: str, name: str) -> None:
    """Refuse a part of a model that was split, by its file's name; ``name`` is what a person reads.
    Raises ModelError: it is one."""
    split = _SPLIT.search(filename)
    if split and int(split[2]) > 1:
        raise _part_of_many(name, int(split[1]), int(split[2]))


def _part_of_many(name: str, number: int, count: int) -> ModelError:
    return ModelError(
        f"{name} is part {number} of {count} of a split model; only whole files are read",
        hint="take a quant that is one file; or with all parts: llama-gguf-split --merge "
        "FIRST-PART.gguf WHOLE.gguf",
    )


# What stands at the beginning of files that were fetched in place of a model.
_NOT_GGUF = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "git lfs pull"),
    (b"<!doctype", "a web page, not a model", "copy the address of the download, with /resolve/"),
    (b"<html", "a web page, not a model", "copy the address of the download, with /resolve/"),
    (b"PK\x03\x04", "a ZIP archive, not a GGUF file", "--model takes a .gguf file"),
    (b"GGML", "a file of llama.cpp's format of 2023", "take a GGUF file of the model"),
    (b"ggjt", "a file of llama.cpp's format of 2023", "take a GGUF file of the model"),
    (b"tjgg", "a file of llama.cpp's format of 2023", "take a GGUF file of the model"),
)  # fmt: skip


class _HeaderReader:
    """Walks the header once, from one part of the file to the next."""

    def __init__(self, path: Path, read_part: ReadPart, file_bytes: int) -> None:
        self._path, self._read_part, self._file_bytes = path, read_part, file_bytes
        self._at = self._part_start = 0  # of the file: what comes next, where the part begins
        self._part = b""
        self._next_part_bytes = FIRST_PART_BYTES
        self._read_bytes = self._kept_bytes = self._steps = self._tensor_count = 0

    def header(self) -> Header:
        """Magic, version, counts, metadata, tensor table, in file order."""
        check_whole(self._path.name, f"`{self._path}`")
        metadata = self.metadata()
        rows = [self._tensor_row() for _ in range(self._tensor_count)]
        return Header(self._path, self._file_bytes, metadata, self._place(rows, metadata))

    def metadata(self, until: frozenset[str] = frozenset()) -> dict[str, Value]:
        """All of it, or what there is up to the last of these keys."""
        self._check_start()
        self._tensor_count = self._count("tensors", MAX_TENSORS, 24)  # least bytes of an entry
        key_count = self._count("metadata keys", MAX_KEYS, 13)
        metadata: dict[str, Value] = {}
        for _ in range(key_count):
            key = self._text("a metadata key", MAX_NAME_BYTES)
            if key in metadata:
                raise self._damaged(f"the key `{key}` stands twice")
            metadata[key] = self._value(key)
            if until and until <= metadata.keys():
                return metadata
        if problem := wrong_number(metadata):
            raise self._damaged(problem)
        count, number = metadata.get("split.count"), metadata.get("split.no", 0)
        if isinstance(count, int) and count > 1 and isinstance(number, int):
            raise _part_of_many(f"`{self._path}`", number + 1, count)
        return metadata

    def _check_start(self) -> None:
        name = f"`{self._path}`"
        if self._file_bytes == 0:
            raise ModelError(f"{name} is empty", hint="download it again")
        if self._take(min(4, self._file_bytes)) != b"GGUF":
            raise _not_gguf(name, self._part[:_MOST_MAGIC])
        (version,) = self._unpack("I")
        if version & 0xFFFF == 0:  # 3 read from the wrong end
            hint = "use the little-endian file"
            raise ModelError(f"{name} is a big-endian GGUF file", hint=hint)
        if version not in (2, 3):
            hint = "use a newer file of the model" if version < 2 else "update gemma-edge"  # noqa: PLR2004
            message = f"{name} is GGUF version {version}; versions 2 and 3 can be read"
            raise ModelError(message, hint=hint)

    def _take(self, size: int) -> bytes:
        self._hold(size)
        start = self._at - self._part_start
        self._at += size
        return self._part[start : start + size]

    def _unpack(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack(f"<{layout}", self._take(struct.calcsize(f"<{layout}")))

    def _hold(self, size: int) -> None:
        """See to it that the next ``size`` bytes of the file are in the part that is held."""
        rest = max(0, self._part_start + len(self._part) - self._at)
        if rest >= size:
            return
        self._check_left(size)
        start = self._at + rest
        count = min(max(size - rest, self._next_part_bytes), self._file_bytes - start)
        self._read_bytes += count
        if self._read_bytes > MAX_HEADER_BYTES:
            raise self._damaged(f"its header takes more than {render_bytes(MAX_HEADER_BYTES)}")
        part = self._read_part(start, count)
        if len(part) != count:
            raise self._truncated()
        self._part = self._part[len(self._part) - rest :] + part
        self._part_start = self._at
        self._next_part_bytes = min(2 * self._next_part_bytes, MAX_PART_BYTES)

    def _check_left(self, size: int) -> None:
        if size > self._file_bytes - self._at:
            raise self._truncated()

    def _skip_texts(self, count: int) -> None:
        """The inner loop of this file: no call for what the part already holds."""
        self._steps += count
        if self._steps > MAX_STEPS:
            raise self._damaged(f"its lists have more than {MAX_STEPS:,} texts")
        read_size = _SIZE.unpack_from
        for _ in range(count):
            start = self._at - self._part_start
            if start + _SIZE.size > len(self._part):
                self._hold(_SIZE.size)
                start = 0
            self._at += _SIZE.size + read_size(self._part, start)[0]
            if self._at > self._file_bytes:
                raise self._truncated()

    def _count(self, what: str, limit: int, least_bytes: int) -> int:
        (count,) = self._unpack("Q")
        if count > limit:
            raise self._damaged(f"{count:,} {what}, at most {limit:,} are read")
        self._check_left(count * least_bytes)
        return int(count)

    def _text(self, what: str, limit: int) -> str:
        (size,) = self._unpack("Q")
        if size > limit:
            raise self._damaged(f"{what} of {size:,} bytes, at most {limit:,} are read")
        self._keep(size)
        return self._take(size).decode("utf-8", "replace")

    def _keep(self, size: int) -> None:
        self._kept_bytes += size
        if self._kept_bytes > MAX_KEPT_BYTES:
            raise self._damaged(f"its metadata takes more than {render_bytes(MAX_KEPT_BYTES)}")

    def _value(self, key: str) -> Value:
        (kind,) = self._unpack("I")
        if kind == _ARRAY:
            return self._array(key)
        return self._values(key, kind, 1)[0]

    def _values(self, key: str, kind: int, count: int) -> tuple[Scalar, ...]:
        if kind == _TEXT:
            return tuple(self._text(f"`{key}`", MAX_TEXT_BYTES) for _ in range(count))
        return self._unpack(f"{count}{self._layout(key, kind)}")

    def _layout(self, key: str, kind: int) -> str:
        if kind not in _SCALARS:
            raise self._damaged(f"`{key}` has the unknown type {kind}")
        return _SCALARS[kind]

    def _array(self, key: str) -> Value:
        kind, count = self._unpack("IQ")
        if kind == _ARRAY:  # gguf.cpp refuses them too
            raise self._damaged(f"`{key}` is an array of arrays")
        item_bytes = 8 if kind == _TEXT else struct.calcsize("<" + self._layout(key, kind))
        self._check_left(count * item_bytes)
        if count <= MAX_KEPT_VALUES:
            self._keep(count * VALUE_BYTES)
            return self._values(key, kind, count)
        if kind == _TEXT:
            self._skip_texts(count)
        else:
            self._at += count * item_bytes
        return Skipped(count)

    def _tensor_row(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._text("a tensor's name", MAX_NAME_BYTES)
        (dimensions,) = self._unpack("I")
        if dimensions > MAX_DIMENSIONS:
            raise self._damaged(f"tensor `{name}` has {dimensions} dimensions")
        *shape, kind, offset = self._unpack(f"{dimensions}QIQ")
        if math.prod(shape) > MAX_VALUES or 0 in shape:
            sides = " x ".join(f"{side:,}" for side in shape)
            raise self._damaged(f"tensor `{name}` has the dimensions {sides}")
        return name, tuple(shape), kind, offset

    def _place(
        self, rows: list[tuple[str, tuple[int, ...], int, int]], metadata: Mapping[str, Value]
    ) -> tuple[Tensor, ...]:
        """Give each tensor its size and its place, and check that it lies inside the file."""
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment not in (1 << n for n in range(3, 17)):
            raise self._damaged(f"its alignment is {alignment!r}")
        start = math.ceil(self._at / alignment) * alignment
        tensors, names = [], set[str]()
        for name, shape, kind, offset in rows:
            if name in names:
                raise self._damaged(f"tensor `{name}` stands twice")
            names.add(name)
            size_bytes = self._size_bytes(name, shape, kind)
            if offset % alignment:
                raise self._damaged(f"tensor `{name}` is not aligned")
            if start + offset + size_bytes > self._file_bytes:
                raise self._truncated(start + offset + size_bytes)
            type_name = TENSOR_TYPES[kind][0]
            tensors.append(Tensor(name, shape, type_name, size_bytes, start + offset))
        return tuple(tensors)

    def _size_bytes(self, name: str, shape: tuple[int, ...], kind: int) -> int:
        if kind not in TENSOR_TYPES:
            raise ModelError(
                f"`{self._path}`: tensor `{_printable(name)}` has the unknown type {kind}",
                hint="the file is damaged, or newer than this gemma-edge",
            )
        type_name, block_values, block_bytes = TENSOR_TYPES[kind]
        row = shape[0] if shape else 1
        if row % block_values:
            what = f"tensor `{name}` has rows of {row:,}, {type_name} needs whole blocks"
            raise self._damaged(what)
        return math.prod(shape) // block_values * block_bytes

    def _truncated(self, needed_bytes: int = 0) -> ModelError:
        """The file ends before its header or its last tensor does."""
        has = f"it has {self._file_bytes:,} bytes"
        need = f", its tensors need {needed_bytes:,}" if needed_bytes else ""
        return ModelError(f"`{self._path}` is cut off: {has}{need}", hint="download it again")

    def _damaged(self, what: str) -> ModelError:
        message = f"`{self._path}` is damaged: {_printable(what)}"
        return ModelError(message, hint="download it again")


_MOST_MAGIC = 64  # bytes


def _not_gguf(name: str, start: bytes) -> ModelError:
    plain = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, what, hint in _NOT_GGUF:
        if plain.lower().startswith(magic.lower()):
            return ModelError(f"{name} is not a GGUF file but {what}", hint=hint)
    if start[8:10] == b'{"':  # a length in 8 bytes, then JSON
        what, hint = "safetensors, which llama.cpp does not read", "take a GGUF file of the model"
        return ModelError(f"{name} is not a GGUF file but {what}", hint=hint)
    hint = "--model takes a .gguf file, as llama.cpp does"
    return ModelError(f"{name} is not a GGUF file", hint=hint)


def _printable(text: str) -> str:
    """Names in a file may hold what moves a terminal's cursor, and be as long as a book."""
    return printable(text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]} …")


_SHOWN_CHARS = 300

# What is computed with, by whoever plans, loads or sees: no number of a file may take a minute, or
# memory, or end llama.cpp by an assertion (llama-model.cpp, ``load_hparams``; clip.cpp).

_WIDTH, _INNER, _HEADS, _TOKENS = 1 << 20, 1 << 24, 1 << 16, (1 << 31) - 1
# Of a model, behind its architecture: the least and the most; per layer, where a list may stand.
_MODEL_NUMBERS = {
    "block_count": (1, MAX_LAYERS),
    "context_length": (1, _TOKENS),
    "embedding_length": (1, _WIDTH),
    "embedding_length_out": (0, _WIDTH),
    "embedding_length_per_layer_input": (0, _WIDTH),
    "vocab_size": (0, _INNER),
    "expert_count": (0, 1024),  # llama-hparams.h, LLAMA_MAX_EXPERTS
    "nextn_predict_layers": (0, MAX_LAYERS),
    "attention.key_length": (0, _HEADS),
    "attention.value_length": (0, _HEADS),
    "attention.key_length_swa": (0, _HEADS),
    "attention.value_length_swa": (0, _HEADS),
    "attention.sliding_window": (0, _TOKENS),
    "attention.shared_kv_layers": (0, MAX_LAYERS),
    "rope.dimension_count": (0, _HEADS),
    "rope.dimension_count_swa": (0, _HEADS),
    "rope.scaling.original_context_length": (0, _TOKENS),
}
_LAYER_NUMBERS = {
    "feed_forward_length": (0, _INNER),
    "expert_feed_forward_length": (0, _INNER),
    "expert_used_count": (0, 1024),
    "attention.head_count": (0, _HEADS),
    "attention.head_count_kv": (0, _HEADS),
}
_PATTERN = "attention.sliding_window_pattern"
# Layers that attend to nothing, and so have no heads.
_RECURRENT = ("ssm.state_size", "ssm.conv_kernel", "wkv.head_size", "shortconv.l_cache")
# Of a projector, behind `clip.vision.` or `clip.audio.`.
_PROJECTOR_NUMBERS = {
    "block_count": (0, MAX_LAYERS),
    "embedding_length": (0, _WIDTH),
    "feed_forward_length": (0, _INNER),
    "projection_dim": (1, _WIDTH),
    "attention.head_count": (0, _HEADS),
    "attention.head_count_kv": (0, _HEADS),
    "image_size": (1, _HEADS),
    "patch_size": (1, 4096),
    "projector.scale_factor": (1, 64),
    "spatial_merge_size": (1, 64),
    "image_min_pixels": (0, _TOKENS),
    "image_max_pixels": (1, _TOKENS),
    "num_mel_bins": (1, 4096),
}


def wrong_number(metadata: Mapping[str, Value]) -> str:
    """What no model can have, in words with the key; "" where all is possible."""
    architecture = metadata.get("general.architecture", "")
    if not isinstance(architecture, str) or not architecture.isprintable():
        return f"`general.architecture` is {_shown(architecture)}"
    if len(architecture) > _NAME_CHARS:
        return f"`general.architecture` is {_shown(architecture)}"
    for key, value in metadata.items():
        if key.startswith((f"{architecture}.", "adapter.", "general.sampling.", "rope.")):
            values = value if isinstance(value, tuple) else (value,)
            if any(isinstance(each, float) and not math.isfinite(each) for each in values):
                return f"`{key}` is {_shown(value)}"
    for key in _REALS:
        value = metadata.get(key, 0.0)
        if not isinstance(value, int | float) or abs(value) > _MAX_REAL:
            return f"`{key}` is {_shown(value)}"
    if architecture == "clip":
        return next(filter(None, (
            _beyond(metadata, f"clip.{part}.{key}", limits)
            for part in ("vision", "audio") for key, limits in _PROJECTOR_NUMBERS.items()
        )), "")  # fmt: skip
    return _wrong_model_number(metadata, f"{architecture}.")


_NAME_CHARS = 64
# What the engine samples with, and the strength of a LoRA.
_REALS = (
    *(f"general.sampling.{key}" for key in ("temp", "top_p", "top_k", "min_p")),
    "adapter.lora.alpha",
)
_MAX_REAL = 1e6


def _wrong_model_number(metadata: Mapping[str, Value], prefix: str) -> str:
    for key, limits in _MODEL_NUMBERS.items():
        if problem := _beyond(metadata, prefix + key, limits):
            return problem
    layers = metadata.get(f"{prefix}block_count")
    for key, limits in _LAYER_NUMBERS.items():
        value = metadata.get(prefix + key)
        if isinstance(value, tuple) and len(value) != (layers or len(value)):
            return f"`{prefix}{key}` has {len(value):,} values for {layers} layers"
        if problem := _beyond(metadata, prefix + key, limits, listed=True):
            return problem
    wrong = _contradiction(metadata, prefix, layers)
    return wrong or (_wrong_head(metadata, prefix) if prefix == "gemma4." else "")


def _beyond(
    metadata: Mapping[str, Value], key: str, limits: tuple[int, int], *, listed: bool = False
) -> str:
    """Why a number, or one of a list where it may be ``listed``, is none that it can be."""
    value = metadata.get(key)
    if value is None:
        return ""
    values = value if listed and isinstance(value, tuple) else (value,)
    least, most = limits
    for each in values:
        if not isinstance(each, int) or isinstance(each, bool):
            return f"`{key}` is {_shown(each)}, not a whole number"
        if not least <= each <= most:
            return f"`{key}` is {each:,}, it can be from {least:,} to {most:,}"
    return ""


def _contradiction(metadata: Mapping[str, Value], prefix: str, layers: Value | None) -> str:
    """What llama.cpp asserts, or divides by."""
    for key in ("rope.freq_base", "rope.freq_base_swa", "rope.scaling.factor"):
        value = metadata.get(prefix + key)
        if value is not None and not (isinstance(value, float) and 0 <= value <= _MAX_ROPE):
            return f"`{prefix}{key}` is {_shown(value)}"
    experts, used = _most(metadata, f"{prefix}expert_count"), f"{prefix}expert_used_count"
    asked = _most(metadata, used)
    if asked > experts or (experts and used in metadata and not asked):
        return f"`{used}` is {asked:,} of {experts:,} experts"
    heads = f"{prefix}attention.head_count"
    recurrent = any(prefix + key in metadata for key in _RECURRENT)
    if heads in metadata and not _most(metadata, heads) and not recurrent:
        return f"`{heads}` is 0"
    if isinstance(layers, int):
        shared = f"{prefix}attention.shared_kv_layers"
        own = 0 if "-assistant" in prefix else 1  # a drafter reads the model's keys alone
        if _most(metadata, shared) > layers - own:
            return f"`{shared}` is {_most(metadata, shared):,} of {layers:,} layers"
        pattern = metadata.get(prefix + _PATTERN, ())
        fits = isinstance(pattern, tuple) and len(pattern) in (0, layers)
        if isinstance(pattern, str) or (prefix.startswith("gemma4") and not fits):
            return f"`{prefix}{_PATTERN}` is {_shown(pattern)} for {layers} layers"
    return ""


def _wrong_head(metadata: Mapping[str, Value], prefix: str) -> str:
    """Of Gemma 4, whose keys are as long as its values and are turned in pairs (gemma4.cpp)."""
    for end in ("", "_swa"):
        length = _most(metadata, f"{prefix}attention.key_length{end}")
        value, turned = f"{prefix}attention.value_length{end}", f"{prefix}rope.dimension_count{end}"
        if value in metadata and _most(metadata, value) != length:
            return f"`{value}` is {_most(metadata, value):,}, for keys of {length:,}"
        if length and (_most(metadata, turned) > length or _most(metadata, turned) % 2):
            return f"`{turned}` is {_most(metadata, turned):,}, for keys of {length:,}"
    return ""


_MAX_ROPE = 1e12


def _most(metadata: Mapping[str, Value], key: str) -> int:
    value = metadata.get(key, 0)
    values = value if isinstance(value, tuple) else (value,)
    return max((each for each in values if isinstance(each, int)), default=0)


def _shown(value: Value | None) -> str:
    if isinstance(value, Skipped):
        return f"a list of {value.count:,}"
    if isinstance(value, tuple):
        return f"a list of {len(value):,}"
    return f'"{printable(value[:_NAME_CHARS])}"' if isinstance(value, str) else str(value)
