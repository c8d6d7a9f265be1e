"""The projector: pictures to embeddings in the cache."""

from __future__ import annotations

import contextlib
import ctypes
import os
import zlib
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from llama_cpp import llama_cpp, mtmd_cpp
from numpy.typing import NDArray

from gemma_edge.disk import keep_within, write_atomically
from gemma_edge.documents.document import MAX_TOKENS, PATCH_PX, Picture
from gemma_edge.engine.kv_cache import identity
from gemma_edge.engine.llama import (
    ABORTED,
    NO_CELLS,
    SEQUENCE,
    VERSION,
    Aborted,
    LlamaContext,
    LlamaModel,
    NoCells,
    problem,
    shortage,
)
from gemma_edge.engine.placement import find_device
from gemma_edge.engine.prompt import Markers
from gemma_edge.errors import EngineError, OutOfMemory, ProjectorError
from gemma_edge.planning.memory import PICTURES_BYTES
from gemma_edge.planning.plan import Plan


class LlamaVision:
    """A projector opened beside its model. ``markers`` are the tokens round every picture. A model
    that attends both ways inside an image must see it in one batch, which limits its size. Raises
    ProjectorError: the file is no vision projector, or not of this model; OutOfMemory: there is not
    enough memory for it."""

    def __init__(self, path: Path, model: LlamaModel, plan: Plan) -> None:
        self._model = model
        params = mtmd_cpp.mtmd_context_params_default()
        params.use_gpu = bool(plan.projector_device)
        if plan.projector_device:
            params.device = find_device(plan.projector_device)
        params.print_timings = False
        params.n_threads = plan.prefill_threads or plan.threads
        params.warmup = False
        # Pictures come in the size they are meant to have; the limits only must not interfere.
        params.image_min_tokens = 1
        params.image_max_tokens = 2 * MAX_TOKENS
        self.pointer = mtmd_cpp.mtmd_init_from_file(
            str(path).encode("utf-8"), model.pointer, params
        )
        if not self.pointer:
            if short := shortage():
                raise OutOfMemory(f"{path.name} could not be allocated: {short}")
            raise ProjectorError(
                f"{path.name} cannot be used as a projector of this model: "
                f"{problem() or 'no reason given'}",
                hint="--mmproj takes the mmproj file that was published with the model",
            )
        if not mtmd_cpp.mtmd_support_vision(self.pointer):
            raise ProjectorError(f"{path.name} is a projector without a vision tower")
        self.markers = self._probe(plan)
        self._width = int(llama_cpp.llama_model_n_embd_inp(model.pointer))
        self._folder = _folder(path, plan)
        self.cache = VisionCache(self._width, self._folder)

    def _probe(self, plan: Plan) -> Markers:
        """Read from one blank patch what is the same for every picture."""
        before: list[int] = []
        after: list[int] = []
        blank = Picture(bytes(3 * PATCH_PX * PATCH_PX), PATCH_PX, PATCH_PX, name="a blank probe")
        side, non_causal = before, False
        with _Chunks(self.pointer, blank) as chunks:
            for chunk in chunks:
                if mtmd_cpp.mtmd_input_chunk_get_type(chunk) == _TEXT:
                    side.extend(_tokens_of(chunk))
                    continue
                side = after
                non_causal = bool(mtmd_cpp.mtmd_decode_use_non_causal(self.pointer, chunk))
        return Markers(
            tuple(before), tuple(after), planned_tokens=plan.image_tokens or None,
            whole_tokens=plan.batch_tokens if non_causal else None,
        )  # fmt: skip

    def decode(
        self, picture: Picture, context: LlamaContext, position: int, sequence: int = SEQUENCE
    ) -> None:
        """Encode a picture, or take it from memory, and evaluate it at ``position``.
        Raises EngineError: llama.cpp failed; NoCells: the cache is full; Aborted:
        ``context.watch`` ended it."""
        with _Chunks(self.pointer, picture) as chunks:
            image = next(c for c in chunks if mtmd_cpp.mtmd_input_chunk_get_type(c) != _TEXT)
            counted = int(mtmd_cpp.mtmd_input_chunk_get_n_tokens(image))
            if counted != picture.tokens:
                raise EngineError(
                    f"{picture.name or 'an image'} of {picture.width}x{picture.height} px should "
                    f"take {picture.tokens} tokens, but the model counts {counted}"
                )
            embedding = self.cache.get(picture, lambda: self._encode(picture, image))
            after = llama_cpp.llama_pos(0)
            status = mtmd_cpp.mtmd_helper_decode_image_chunk(
                self.pointer, context.pointer, image,
                embedding.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), position, sequence,
                context.batch_tokens, ctypes.byref(after),
                mtmd_cpp.mtmd_helper_post_decode_callback(0), None,
            )  # fmt: skip
        if status == ABORTED:
            raise Aborted
        if status == NO_CELLS:
            raise NoCells(f"the cache has no room for {picture.name or 'an image'}")
        if status or after.value != position + picture.tokens:
            raise EngineError(f"llama.cpp could not evaluate {picture.name or 'an image'}")

    def _encode(self, picture: Picture, chunk: Any) -> Embedding:
        """Encoder output ``float32[tokens, width]``."""
        if mtmd_cpp.mtmd_encode_chunk(self.pointer, chunk):
            if short := shortage():
                raise OutOfMemory(f"no memory to encode {picture.name or 'an image'}: {short}")
            raise EngineError(f"the projector could not encode {picture.name or 'an image'}")
        shape = (picture.tokens, self._width)
        view = np.ctypeslib.as_array(mtmd_cpp.mtmd_get_output_embd(self.pointer), shape)
        embedding: Embedding = view.copy()
        return embedding

    def take_problem(self) -> str:
        """Why pictures are not remembered on disk, once; "" where they are, or need not be."""
        if self._folder is None:
            return ""
        problem, self._folder.problem = self._folder.problem, ""
        return problem

    def close(self) -> None:
        if self.pointer:
            mtmd_cpp.mtmd_free(self.pointer)
            self.pointer = None


def _folder(projector: Path, plan: Plan) -> VisionCacheFolder | None:
    """Where pictures are remembered: other files, and other devices, make other numbers."""
    if plan.remember is None:
        return None
    made_by = f"{identity(projector)} {VERSION} {plan.projector_device or 'CPU'}"
    return VisionCacheFolder(plan.remember / "encoded", made_by)


_TEXT = mtmd_cpp.MTMD_INPUT_CHUNK_TYPE_TEXT


class _Chunks:
    """mtmd's own layout of one picture: marker text, image, marker text; freed on exit."""

    def __init__(self, pointer: Any, picture: Picture) -> None:
        if picture.width % PATCH_PX or picture.height % PATCH_PX:
            raise EngineError(
                f"{picture.name or 'an image'}: {picture.width}x{picture.height} px is not a "
                f"multiple of {PATCH_PX}"
            )
        self._pointer = pointer
        self._picture = picture

    def __enter__(self) -> list[Any]:
        picture = self._picture
        pixels = (ctypes.c_ubyte * len(picture.rgb)).from_buffer_copy(picture.rgb)
        self._bitmap = mtmd_cpp.mtmd_bitmap_init(picture.width, picture.height, pixels)
        self._chunks = mtmd_cpp.mtmd_input_chunks_init()
        part = mtmd_cpp.mtmd_input_part(text=None, bitmap=self._bitmap)
        parts = (ctypes.POINTER(mtmd_cpp.mtmd_input_part) * 1)(ctypes.pointer(part))
        if mtmd_cpp.mtmd_tokenize_from_parts(self._pointer, self._chunks, parts, 1, False):
            self.__exit__()
            raise EngineError(f"the projector refuses {picture.name or 'an image'}")
        count = int(mtmd_cpp.mtmd_input_chunks_size(self._chunks))
        return [mtmd_cpp.mtmd_input_chunks_get(self._chunks, index) for index in range(count)]

    def __exit__(self, *_: object) -> None:
        mtmd_cpp.mtmd_input_chunks_free(self._chunks)
        mtmd_cpp.mtmd_bitmap_free(self._bitmap)


def _tokens_of(chunk: Any) -> list[int]:
    count = ctypes.c_size_t(0)
    tokens = mtmd_cpp.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
    return [int(tokens[index]) for index in range(count.value)]


# What an encoder made of pictures, kept by content: in memory, and on disk if a person wants it. An
# entry is `float32[tokens, width]` for one picture (`Picture.digest`: its pixels in its size) and
# one projector. A file that is damaged, or of another length, is encoded again and replaced.


# Some 90 pictures at the largest detail of E4B, 370 at the usual one.
DISK_BYTES = 1 << 30

_MAGIC = b"GEMMASEE1"
_CHECK_BYTES = 4
_SUFFIX = ".seen"

Embedding = NDArray[np.float32]


class VisionCache:
    """Encoded pictures in memory, the one used last is dropped last. ``passes`` counts how often
    the encoder really ran."""

    def __init__(
        self,
        width: int,
        disk: VisionCacheFolder | None = None,
        *,
        memory_bytes: int = PICTURES_BYTES,
    ) -> None:
        self.passes = 0
        self._width = width
        self._disk = disk
        self._memory_bytes = memory_bytes
        self._kept: OrderedDict[str, Embedding] = OrderedDict()

    def get(self, picture: Picture, encode: Callable[[], Embedding]) -> Embedding:
        """What the encoder makes of a picture; it runs only where nobody remembers.
        Raises Whatever ``encode`` raises."""
        digest = picture.digest
        found = self._kept.get(digest)
        if found is None and self._disk is not None:
            found = self._disk.read(digest, (picture.tokens, self._width))
        if found is None:
            found = encode()
            self.passes += 1
            if self._disk is not None:
                self._disk.write(digest, found)
        self._kept[digest] = found
        self._kept.move_to_end(digest)
        while len(self._kept) > 1 and self.kept_bytes > self._memory_bytes:
            self._kept.popitem(last=False)
        return found

    @property
    def kept_bytes(self) -> int:
        return sum(each.nbytes for each in self._kept.values())


class VisionCacheFolder:
    """The same on disk, readable by its owner alone, for one projector (``identity``: which file it
    is, and what computed). What was used longest ago goes when ``most_bytes`` are exceeded. A
    folder that cannot be written costs later runs their time and nothing else; ``problem`` says it
    once."""

    def __init__(self, folder: Path, identity: str, *, most_bytes: int = DISK_BYTES) -> None:
        self.problem = ""
        self._folder = folder
        self._projector = sha256(identity.encode()).hexdigest()[:16]
        self._most_bytes = most_bytes

    def read(self, digest: str, shape: tuple[int, int]) -> Embedding | None:
        """``float32[shape]``, or None where there is nothing whole."""
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        payload = data[len(_MAGIC) + _CHECK_BYTES :]
        whole = len(payload) == 4 * shape[0] * shape[1]
        if not whole or data[: len(_MAGIC) + _CHECK_BYTES] != _head(payload):
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return np.frombuffer(payload, dtype="<f4").reshape(shape).astype(np.float32, copy=False)

    def write(self, digest: str, embedding: Embedding) -> None:
        path = self._path(digest)
        payload = embedding.astype("<f4", copy=False).tobytes()
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(path, _head(payload) + payload, mode=0o600)
            keep_within(self._folder, self._most_bytes)
        except OSError as error:
            self.problem = f"images are not remembered in {self._folder}: {error.strerror or error}"

    def _path(self, digest: str) -> Path:
        return self._folder / f"{digest}-{self._projector}{_SUFFIX}"


def _head(payload: bytes) -> bytes:
    return _MAGIC + zlib.crc32(payload).to_bytes(_CHECK_BYTES, "little")
