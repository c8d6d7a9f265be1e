"""llama.cpp's model, context, vocabulary, adapters and log, as the engine uses them."""

import contextlib
import ctypes
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from llama_cpp import llama_cpp, mtmd_cpp
from numpy.typing import NDArray

from gemma_edge.engine.constraint import CONTROL_MARK, GrammarVocabulary
from gemma_edge.engine.placement import ModelParams, context_params, device_title, gpu_names
from gemma_edge.errors import EngineError, ModelError, OutOfMemory
from gemma_edge.isolation import is_memory
from gemma_edge.planning.plan import ALL_LAYERS, Adapter, Placement, Plan
from gemma_edge.units import render_tokens

# Of no use as a mark: bytes, and what stands for what the vocabulary cannot say.
_NO_MARK = int(llama_cpp.LLAMA_TOKEN_ATTR_BYTE) | int(llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN)
# The elements that Gemma 3 has tokens of, of the kind USER_DEFINED.
_ELEMENT = re.compile(
    r"</?(?:table|caption|thead|tbody|tfoot|tr|th|td|h[1-6]|blockquote|strong|em|b|i|u|s|sub|sup"
    r"|code|a|html|body|img|span|bbox|ul|ol|li|div|p|br|hr|pre|iframe|footer|header)>"
)

ON_THE_CPU = Placement(context_tokens=0, batch_tokens=0)


class LlamaModel:
    """The weights and the vocabulary of one GGUF file.
    Raises ModelError: llama.cpp cannot load the file, the message carries its own reason;
    OutOfMemory: there is not enough memory for it; EngineError: a GPU was asked for, but this build
    of llama.cpp has none. ``tell`` takes how far loading is, from 0 to 1."""

    def __init__(
        self, path: Path, placement: Placement = ON_THE_CPU, *, vocabulary_only: bool = False,
        tell: Callable[[float], None] | None = None,
    ) -> None:  # fmt: skip
        capture()
        llama_cpp.llama_backend_init()
        self.devices = placement.devices or (tuple(gpu_names()) if placement.gpu_layers else ())
        if placement.gpu_layers > 0 and not self.devices:
            raise EngineError(
                f"{placement.gpu_layers} layers on a GPU were asked for, but this build of "
                "llama.cpp computes on the CPU only",
                hint="python3 scripts/setup.py --backend cuda (or metal, rocm, vulkan)",
            )
        wanted = ModelParams(placement)
        wanted.params.vocab_only = vocabulary_only
        if tell is not None:
            wanted.params.progress_callback = _passing_on(tell)
        self.pointer = llama_cpp.llama_model_load_from_file(as_path(path), wanted.params)
        if not self.pointer:
            if short := shortage():
                raise OutOfMemory(f"the weights of {path.name} could not be allocated: {short}")
            raise _unloadable(path, problem())
        self.layers = int(llama_cpp.llama_model_n_layer(self.pointer))
        every = placement.gpu_layers == ALL_LAYERS
        blocks = self.layers if every else placement.gpu_layers - 1  # the output is the last layer
        self.gpu_layers = max(0, min(blocks, self.layers)) if self.devices else 0
        self.vocab = llama_cpp.llama_model_get_vocab(self.pointer)
        self.vocab_tokens = int(llama_cpp.llama_vocab_n_tokens(self.vocab))
        self.window = int(llama_cpp.llama_model_n_swa(self.pointer))
        self.trained_context_tokens = int(llama_cpp.llama_model_n_ctx_train(self.pointer))
        self.bos = int(llama_cpp.llama_vocab_bos(self.vocab))
        self.adds_bos = bool(llama_cpp.llama_vocab_get_add_bos(self.vocab)) and self.bos >= 0
        self.piece = lru_cache(maxsize=1 << 16)(self._piece)
        self.is_control = lru_cache(maxsize=1 << 16)(self._is_control)

    def metadata(self, key: str) -> str:
        size = 256
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = llama_cpp.llama_model_meta_val_str(
                self.pointer, key.encode(), buffer, ctypes.c_size_t(size)
            )
            if length < size:
                return buffer.value.decode("utf-8", "replace") if length > 0 else ""
            size = length + 1

    @cached_property
    def chat_template(self) -> str:
        raw = llama_cpp.llama_model_chat_template(self.pointer, None)
        return raw.decode("utf-8", "replace") if raw else ""

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Token ids. With ``special`` control tokens are parsed, without they are characters.
        llama.cpp still recognizes USER_DEFINED tokens without it, and the turns, channels and tools
        of many models are of that kind; so each of those is spelled out."""
        tokens = self._tokenize(text, special)
        if special or not any(self.is_control(token) for token in tokens):
            return tokens
        return [part for token in tokens for part in self._spelled(token)]

    def _spelled(self, token: int) -> list[int]:
        if not self.is_control(token):
            return [token]
        text = self.piece(token).decode("utf-8", "replace")
        return [part for char in text for part in self._spelled_char(char)]

    def _spelled_char(self, char: str) -> list[int]:
        data, tokens = char.encode("utf-8"), self._tokenize(char, special=False)
        as_written = b"".join(map(self.piece, tokens)) == data  # some put a space before it
        if as_written and not any(map(self.is_control, tokens)):
            return tokens
        known = self._letters
        found = [known.get(data)] if data in known else [known.get(bytes([b])) for b in data]
        return [token for token in found if token is not None]

    @cached_property
    def _letters(self) -> dict[bytes, int]:
        """Tokens of a single character or byte, without those that are more than characters."""
        letters: dict[bytes, int] = {}
        for token, piece in enumerate(self.pieces()):
            single = len(piece) == 1 or len(piece.decode("utf-8", "replace")) == 1
            if single and not self.is_control(token):
                letters.setdefault(piece, token)
        return letters

    def _tokenize(self, text: str, special: bool) -> list[int]:
        data = text.encode("utf-8")
        size = len(data) + 8
        while True:
            buffer = (llama_cpp.llama_token * size)()
            count = llama_cpp.llama_tokenize(
                self.vocab, data, len(data), buffer, size, False, special
            )
            if count >= 0:
                return buffer[:count]
            size = -count

    def token(self, text: str) -> int | None:
        """The id of a token that is written exactly so, or None."""
        tokens = self._tokenize(text, special=True)
        return tokens[0] if len(tokens) == 1 else None

    def _is_control(self, token: int) -> bool:
        """A token that opens or closes turns, channels, tools or media; never text. Which of the
        USER_DEFINED ones do so stands nowhere: all count that are not white space, a letter, or an
        element of HTML that the chat template does not write. Of ordinary ones those count that
        are written between bars, as a wrong conversion leaves them."""
        return self.marks(token, self.piece(token))

    def marks(self, token: int, piece: bytes) -> bool:
        """``is_control`` of a token whose bytes are known."""
        attributes = int(llama_cpp.llama_vocab_get_attr(self.vocab, token))
        if attributes & llama_cpp.LLAMA_TOKEN_ATTR_CONTROL:
            return True
        if attributes & _NO_MARK:
            return False
        if not attributes & llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED:
            return piece.startswith(b"<") and _is_barred(piece.decode("utf-8", "replace"))
        text = piece.decode("utf-8", "replace")
        if not text.strip() or (len(text) == 1 and text.isalnum()):
            return False
        return not (_ELEMENT.fullmatch(text) and text not in self.chat_template)

    def pieces(self) -> list[bytes]:
        return [self._piece(token) for token in range(self.vocab_tokens)]

    @property
    def device(self) -> str:
        return " + ".join(map(device_title, self.devices)) or "CPU"

    def ends(self, token: int) -> bool:
        return bool(llama_cpp.llama_vocab_is_eog(self.vocab, token))

    def _piece(self, token: int) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = llama_cpp.llama_token_to_piece(self.vocab, token, buffer, size, 0, True)
            if count >= 0:
                return buffer.raw[:count]
            size = -count

    @cached_property
    def suppressed(self) -> NDArray[np.intp]:
        """Ids that this model must never say (``tokenizer.ggml.suppress_tokens``, 12B)."""
        count = ctypes.c_int32(0)
        pointer = llama_cpp.llama_vocab_get_suppress_tokens(self.vocab, ctypes.byref(count))
        return np.array([pointer[i] for i in range(count.value)] if pointer else [], dtype=np.intp)

    @property
    def can_take_back(self) -> bool:
        """Whether the last tokens can leave the cache: a recurrent layer has one state."""
        recurrent = llama_cpp.llama_model_is_recurrent(self.pointer)
        return not (recurrent or llama_cpp.llama_model_is_hybrid(self.pointer))

    def close(self) -> None:
        if self.pointer:
            llama_cpp.llama_model_free(self.pointer)
            self.pointer = None


def _is_barred(text: str) -> bool:
    """`<|turn>`, `<turn|>`, `<|im_start|>`, DeepSeek's `<｜User｜>`; but no `<|>`, an operator."""
    inner = text[1:-1]
    return (
        text.startswith("<") and text.endswith(">") and "<" not in inner
        and (inner[:1] in ("|", "｜") or inner[-1:] in ("|", "｜")) and any(map(str.isalnum, inner))
    )  # fmt: skip


def _passing_on(tell: Callable[[float], None]) -> Any:
    """A callback of llama.cpp that tells the share of the weights that is in place."""

    def take(share: float, _data: ctypes.c_void_p) -> bool:
        tell(share)
        return True  # go on

    return llama_cpp.llama_progress_callback(take)


def as_path(path: Path) -> bytes:
    """llama.cpp opens UTF-8 paths on every platform."""
    with contextlib.suppress(OSError):
        path = path.resolve()
    return str(path).encode("utf-8")


SEQUENCE = 0
ALL_CELLS, WINDOW_CELLS = 0, int(llama_cpp.LLAMA_STATE_SEQ_FLAGS_SWA_ONLY)
_BYTES = ctypes.POINTER(ctypes.c_uint8)


class Piece(NamedTuple):
    """Tokens of one sequence that are evaluated from ``position`` on; ``rows`` are the places among
    them whose logits are kept."""

    tokens: Sequence[int]
    position: int
    rows: Sequence[int]
    sequence: int = SEQUENCE


class LlamaContext:
    """The state of the answers that are under way, each in a sequence of its own; all share one
    cache, and a beginning that two have in common is stored once."""

    def __init__(self, model: LlamaModel, plan: Plan, *, flash_attention: bool = True) -> None:
        self.batch_tokens = batch_tokens = plan.batch_tokens
        self.flash_attention = flash_attention
        params = context_params(plan)
        params.n_threads = plan.threads
        params.n_threads_batch = plan.prefill_threads or plan.threads
        if not flash_attention:
            params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._abort = llama_cpp.ggml_abort_callback(self._aborted)
        self._stop: Callable[[], bool] | None = None
        self.pointer = llama_cpp.llama_init_from_model(model.pointer, params)
        if not self.pointer:
            raise OutOfMemory(
                f"a context of {render_tokens(plan.context_tokens)} could not be allocated: "
                f"{shortage() or problem() or 'no reason given'}",
                hint="--ctx with a smaller number",
            )
        self.memory = llama_cpp.llama_get_memory(self.pointer)
        self._vocab_tokens = model.vocab_tokens
        self.sequences = plan.sequences
        self._tokens = np.zeros(batch_tokens, np.int32)
        self._positions = np.zeros(batch_tokens, np.int32)
        self._wanted = np.zeros(batch_tokens, np.int8)
        self._counts = np.ones(batch_tokens, np.int32)  # of the sequences that a token is in
        self._numbers = np.arange(plan.sequences, dtype=np.int32)
        self._owners = np.full(batch_tokens, self._address(SEQUENCE), np.uintp)
        self._batch = llama_cpp.llama_batch(
            token=_pointer(self._tokens, ctypes.c_int32),
            pos=_pointer(self._positions, ctypes.c_int32),
            n_seq_id=_pointer(self._counts, ctypes.c_int32),
            seq_id=_pointer(self._owners, ctypes.POINTER(ctypes.c_int32)),
            logits=_pointer(self._wanted, ctypes.c_int8),
        )  # fmt: skip

    def _address(self, sequence: int) -> int:
        return int(self._numbers.ctypes.data) + sequence * self._numbers.itemsize

    def decode(self, pieces: Sequence[Piece]) -> None:
        """Evaluate at most ``batch_tokens`` tokens, of each sequence one piece; logits are kept for
        ``rows``, or for the last one, ``output_rows`` of the plan in all.
        Raises NoCells: the cache is full, nothing has changed; OutOfMemory: a buffer could not be
        allocated; EngineError: llama.cpp failed, the cache is unchanged before the pieces."""
        count = 0
        wanted: list[int] = []
        for tokens, position, rows, sequence in pieces:
            end = count + len(tokens)
            self._tokens[count:end] = tokens
            self._positions[count:end] = np.arange(position, position + len(tokens))
            if self.sequences > 1:
                self._owners[count:end] = self._address(sequence)
            wanted += [count + row for row in rows]
            count = end
        wanted = wanted or [count - 1]
        self._batch.n_tokens = count
        self._wanted[wanted] = 1
        status = llama_cpp.llama_decode(self.pointer, self._batch)
        self._wanted[wanted] = 0
        if status == ABORTED:
            raise Aborted
        if status:
            position = pieces[0].position
            what = f"llama.cpp could not evaluate {render_tokens(count)} at position {position:,}"
            if short := shortage():
                raise OutOfMemory(f"{what}: {short}")
            kind = NoCells if status == NO_CELLS else EngineError
            raise kind(f"{what} (status {status}): {problem() or 'no reason given'}")

    def wait(self) -> None:
        """Until the last ``decode`` is done; a GPU goes on by itself."""
        llama_cpp.llama_synchronize(self.pointer)

    def logits(self, row: int = -1) -> NDArray[np.float32]:
        """Logits of the last decoded token, or of another that was asked for by its place:
        ``float32[vocabulary]``, a view that may be masked."""
        pointer = llama_cpp.llama_get_logits_ith(self.pointer, row)
        return np.ctypeslib.as_array(pointer, (self._vocab_tokens,))

    def watch(self, stop: Callable[[], bool] | None) -> None:
        """While set, a running ``decode`` ends with ``Aborted`` as soon as ``stop()`` is true. It
        is asked at every node of the graph, so it is set for prompts, not for single tokens."""
        self._stop = stop
        callback = self._abort if stop else llama_cpp.ggml_abort_callback(0)
        llama_cpp.llama_set_abort_callback(self.pointer, callback, None)

    def _aborted(self, _data: ctypes.c_void_p) -> bool:
        return self._stop is not None and self._stop()

    def pos_min(self, sequence: int = SEQUENCE) -> int:
        """The oldest position that all layers still hold; -1 for an empty sequence."""
        return int(llama_cpp.llama_memory_seq_pos_min(self.memory, sequence))

    def cut(self, position: int, sequence: int = SEQUENCE) -> bool:
        """Remove all from ``position`` on. False if llama.cpp refuses, and nothing was removed: a
        recurrent layer (Mamba, RWKV, the hybrids) has one state, of the last position."""
        if position == 0 and self.sequences == 1:
            llama_cpp.llama_memory_clear(self.memory, True)
            return True
        return bool(llama_cpp.llama_memory_seq_rm(self.memory, sequence, position, -1))

    def share(self, source: int, target: int, position: int) -> None:
        """Make what ``source`` holds before ``position`` the beginning of ``target``, which is
        empty; no cell is copied."""
        llama_cpp.llama_memory_seq_cp(self.memory, source, target, 0, position)

    def state_bytes(self, flags: int = ALL_CELLS, sequence: int = SEQUENCE) -> int:
        """Size of the cells that ``flags`` name, in bytes; of sliding layers it is never more than
        the window before the last position."""
        return int(llama_cpp.llama_state_seq_get_size_ext(self.pointer, sequence, flags))

    def copy_state(
        self, target: memoryview | bytearray, flags: int = ALL_CELLS, sequence: int = SEQUENCE
    ) -> bool:
        """Copy these cells into ``target``, which is ``state_bytes(flags)`` long; False if
        llama.cpp refuses."""
        view = np.frombuffer(target, np.uint8)
        written = llama_cpp.llama_state_seq_get_data_ext(
            self.pointer, view.ctypes.data_as(_BYTES), view.size, sequence, flags
        )
        return bool(written == view.size)

    def put_state(
        self, source: memoryview | bytes, flags: int = ALL_CELLS, sequence: int = SEQUENCE
    ) -> bool:
        """Put such cells in place of the present ones. False if llama.cpp refuses: what it holds
        then is neither."""
        view = np.frombuffer(source, np.uint8)
        read = llama_cpp.llama_state_seq_set_data_ext(
            self.pointer, view.ctypes.data_as(_BYTES), view.size, sequence, flags
        )
        return bool(read == view.size)

    def close(self) -> None:
        if self.pointer:
            llama_cpp.llama_free(self.pointer)
            self.pointer = None


class Aborted(Exception):
    """A decode was stopped by ``watch``; the cache still holds what was decoded before it."""


class NoCells(EngineError):
    """The cache has no cell left for what was to be evaluated."""


NO_CELLS, ABORTED = 1, 2  # llama_decode's own statuses (llama.h)


def _pointer(array: NDArray[Any], kind: Any) -> Any:
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))


def add_adapters(model: LlamaModel, context: LlamaContext, adapters: Sequence[Adapter]) -> None:
    """Load them beside the weights, which stay as they are, and use all from now on. llama.cpp
    frees them together with the model.
    Raises ModelError: a file is no LoRA of this model, the message carries llama.cpp's own reason;
    OutOfMemory: there is not enough memory for it; EngineError: llama.cpp refuses to use them."""
    if not adapters:
        return
    count = len(adapters)
    pointers = (llama_cpp.llama_adapter_lora_p_ctypes * count)()
    for place, adapter in enumerate(adapters):
        pointers[place] = llama_cpp.llama_adapter_lora_init(model.pointer, as_path(adapter.path))
        if pointers[place]:
            continue
        if short := shortage():
            raise OutOfMemory(f"{adapter.path.name} could not be allocated: {short}")
        raise ModelError(
            f"{adapter.path.name} cannot be added to this model: {problem() or 'no reason given'}",
            hint="--lora takes a GGUF that was trained for this very model",
        )
    scales = (ctypes.c_float * count)(*(adapter.scale for adapter in adapters))
    status = llama_cpp.llama_set_adapters_lora(context.pointer, pointers, count, scales)
    if status:
        raise EngineError(f"llama.cpp cannot use the adapters (status {status})")


@contextmanager
def open_vocabulary(path: Path) -> Iterator[GrammarVocabulary]:
    """The vocabulary alone, for as long as the file is open; its weights are not read.
    Raises ModelError: llama.cpp cannot load the file."""
    model = LlamaModel(path, vocabulary_only=True)
    try:
        yield grammar_vocabulary(model)
    finally:
        model.close()


def grammar_vocabulary(model: LlamaModel) -> GrammarVocabulary:
    """llguidance marks control tokens by a leading 0xff, so that no text can match them."""
    pieces = [
        CONTROL_MARK + piece if model.marks(token, piece) else piece
        for token, piece in enumerate(model.pieces())
    ]
    ends = [token for token in range(model.vocab_tokens) if model.ends(token)]
    tokenize = llama_cpp._lib.llama_tokenize
    return GrammarVocabulary(pieces, model.vocab, ctypes.cast(tokenize, ctypes.c_void_p), ends)


# llama.cpp's own words: complaints for error messages, the report of a load; never printed behind a
# person's back.


def _version() -> str:
    """Of llama-cpp-python; llama.cpp's own says less. Its package need not be imported for it."""
    text = Path(llama_cpp.__file__).with_name("__init__.py").read_text("utf-8")
    found = re.search(r"""^__version__\s*=\s*["']([^"']+)""", text, re.MULTILINE)
    return found[1] if found else ""


VERSION = _version()
# What llama.cpp says where it is too old for a model (llama-model.cpp, llama-vocab.cpp, gguf.cpp).
_TOO_NEW = re.compile(
    "unknown (?:model architecture|pre-tokenizer type|tokenizer)|invalid ggml type"
)


def _unloadable(path: Path, reason: str) -> ModelError:
    """Why a file was refused, and what helps: a newer llama.cpp, or the file once more."""
    if _TOO_NEW.search(reason):
        return ModelError(
            f"{path.name} is of a kind that llama-cpp-python {VERSION} does not know: {reason}",
            hint="a newer llama-cpp-python may know it: pip install --upgrade llama-cpp-python, "
            "with the options that it was installed with",
        )
    return ModelError(
        f"{path.name} cannot be loaded: {reason or 'no reason given'}",
        hint="check the file with its checksum, or download it again",
    )


KEPT_LINES = 20
_INFO_LEVEL = 2  # GGML_LOG_LEVEL_INFO (ggml.h)
_ERROR_LEVELS = (3, 4)  # GGML_LOG_LEVEL_WARN, _ERROR

_problems: deque[str] = deque(maxlen=KEPT_LINES)
_report: list[str] = []
_reporting = False
_mirror_file = -1


def _keep_line(level: int, text: bytes, _data: ctypes.c_void_p) -> None:
    if level == _INFO_LEVEL and not _reporting:
        return
    line = text.decode("utf-8", "replace").strip()
    if not line:
        return
    if level == _INFO_LEVEL:
        _report.append(line)
    elif level in _ERROR_LEVELS:
        _problems.append(line)
        if _mirror_file >= 0:
            os.write(_mirror_file, f"{line}\n".encode())


_keep = llama_cpp.llama_log_callback(_keep_line)  # lives as long as llama.cpp may call it


def capture() -> None:
    """Route every log line of llama.cpp, ggml and mtmd here. Idempotent."""
    llama_cpp.llama_log_set(_keep, ctypes.c_void_p(0))
    mtmd_cpp.mtmd_log_set(_keep, ctypes.c_void_p(0))
    mtmd_cpp.mtmd_helper_log_set(_keep, ctypes.c_void_p(0))
    _problems.clear()


def mirror(file_number: int) -> None:
    """Write complaints there too, at once: after an abort nothing else can."""
    global _mirror_file  # noqa: PLW0603  (llama.cpp has one log for the process)
    _mirror_file = file_number


def start_report() -> None:
    global _reporting  # noqa: PLW0603
    _report.clear()
    _reporting = True


def end_report() -> tuple[str, ...]:
    """What it reported since ``start_report``, line by line. Complaints that loading survived are
    forgotten: they explain nothing that comes later."""
    global _reporting  # noqa: PLW0603
    _reporting = False
    _problems.clear()
    lines = tuple(_report)
    _report.clear()
    return lines


def problem() -> str:
    """Its last complaint that gives a reason, or ""."""
    reasons = [line for line in _problems if not line.endswith(_NO_REASON)]
    return (reasons or [*_problems] or [""])[-1]


_NO_REASON = (
    "failed to load model",
    "failed to read key-value pairs",
    "failed to read tensor info",
)


def shortage() -> str:
    """Its first complaint about memory, or ""."""
    return next((line for line in _problems if is_memory(line)), "")
