"""Runs the exported files through llama-cpp-python's low-level bindings, greedily.

Needs ``llama-cpp-python``; only the figures and the checks import it. The prompt is the chat
template's text with specials parsed, what people wrote without, images stretched by us.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from jinja2.sandbox import ImmutableSandboxedEnvironment
from llama_cpp import mtmd_cpp
from PIL import Image

from demo_model import shapes

BATCH = 2048
THREADS = 1
"""So small a model gains nothing from more, and waits for them on a busy machine."""
Part = tuple[str, str]


@dataclass
class Case:
    """What is asked: earlier turns and the last user turn, pictures first."""

    messages: list[dict[str, str]]
    images: list[Image.Image] = field(default_factory=list)
    think: bool = False


class Runner:
    """One loaded pair of files."""

    def __init__(self, model: Path, projector: Path | None, context: int = 4096) -> None:
        self._log = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self._log, None)
        mtmd_cpp.mtmd_helper_log_set(self._log, None)
        self.llm = llama_cpp.Llama(
            str(model), n_ctx=context, n_batch=BATCH, n_ubatch=BATCH, swa_full=False,
            n_threads=THREADS, n_threads_batch=THREADS, verbose=False,
        )  # fmt: skip
        self.context = self.llm.ctx
        self.vocab_size = self.llm.n_vocab()
        metadata = self.llm.metadata
        env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        self.template = env.from_string(metadata["tokenizer.chat_template"])
        self.eye = None
        if projector:
            params = mtmd_cpp.mtmd_context_params_default()
            params.use_gpu, params.print_timings, params.warmup = False, False, False
            params.n_threads = THREADS
            self.eye = mtmd_cpp.mtmd_init_from_file(str(projector).encode(), self.llm.model, params)
            if self.eye is None:
                raise RuntimeError(f"{projector} does not load")

    def close(self) -> None:
        """Free everything."""
        if self.eye:
            mtmd_cpp.mtmd_free(self.eye)
            self.eye = None
        self.llm.close()

    def tokens(self, text: str, specials: bool) -> list[int]:
        """llama.cpp's own tokenization, without a <bos>."""
        return self.llm.tokenize(text.encode(), add_bos=False, special=specials)

    def answer(self, case: Case, most: int = 400) -> str:
        """The greedy answer; a thought channel, if asked for, is part of it."""
        self._clear()
        at = 0
        images = list(case.images)
        for i, text in enumerate(self._pieces(case)):
            if i:
                at = self._see(images.pop(0), at)
            at = self._read(text, at)
        return self._write(at, most)

    def logits(self) -> np.ndarray:
        """Logits of the last token read."""
        row = llama_cpp.llama_get_logits_ith(self.context, -1)
        return np.ctypeslib.as_array(row, shape=(self.vocab_size,)).copy()

    def _clear(self) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def _pieces(self, case: Case) -> list[list[int]]:
        """Token runs before, between and after the images."""
        # What people wrote goes through the template as marks, so that it is never parsed.
        said: list[str] = []
        messages: list[dict[str, Any]] = []
        for message in case.messages:
            said.append(message["content"].strip())
            mark: Any = f"\x01{len(said) - 1}\x02"
            if message is case.messages[-1] and case.images:
                parts: list[dict[str, str]] = [{"type": "image"} for _ in case.images]
                mark = [*parts, {"type": "text", "text": mark}]
            messages.append({"role": message["role"], "content": mark})
        text = self.template.render(
            bos_token="<bos>", messages=messages, add_generation_prompt=True,
            enable_thinking=case.think,
        )  # fmt: skip
        text = text.replace("<|image|>", "<|image>\x03<image|>")
        return [self._tokens_of(piece, said) for piece in text.split("\x03")]

    def _tokens_of(self, piece: str, said: list[str]) -> list[int]:
        out: list[int] = []
        for i, part in enumerate(piece.replace("\x02", "\x01").split("\x01")):
            out += self.tokens(said[int(part)], False) if i % 2 else self.tokens(part, True)
        return out

    def _read(self, tokens: list[int], at: int) -> int:
        """Decode tokens from position ``at``; return the next position."""
        for start in range(0, len(tokens), BATCH):
            part = tokens[start : start + BATCH]
            batch = llama_cpp.llama_batch_init(len(part), 0, 1)
            batch.n_tokens = len(part)
            for i, token in enumerate(part):
                batch.token[i], batch.pos[i] = token, at + start + i
                batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
                batch.logits[i] = i == len(part) - 1
            failed = llama_cpp.llama_decode(self.context, batch)
            llama_cpp.llama_batch_free(batch)
            if failed:
                raise RuntimeError(f"llama_decode returned {failed}")
        return at + len(tokens)

    def _see(self, image: Image.Image, at: int) -> int:
        """Decode one picture from position ``at``, stretched to whole tokens."""
        width, height = shapes.fit_size(*image.size)
        data = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC).tobytes()
        buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        bitmap = mtmd_cpp.mtmd_bitmap_init(width, height, buffer)
        chunks = mtmd_cpp.mtmd_input_chunks_init()
        marker = mtmd_cpp.mtmd_default_marker()
        text = mtmd_cpp.mtmd_input_text(marker, len(marker), False, False)
        array = (mtmd_cpp.mtmd_bitmap_p_ctypes * 1)(bitmap)
        failed = mtmd_cpp.mtmd_tokenize(self.eye, chunks, ctypes.byref(text), array, 1)
        seen = llama_cpp.llama_pos(at)
        for i in range(mtmd_cpp.mtmd_input_chunks_size(chunks)):
            chunk = mtmd_cpp.mtmd_input_chunks_get(chunks, i)
            # The tokens around the picture are in our own text already.
            if mtmd_cpp.mtmd_input_chunk_get_type(chunk) == mtmd_cpp.MTMD_INPUT_CHUNK_TYPE_IMAGE:
                failed = failed or mtmd_cpp.mtmd_helper_eval_chunk_single(
                    self.eye, self.context, chunk, at, 0, BATCH, True, ctypes.byref(seen)
                )
        mtmd_cpp.mtmd_input_chunks_free(chunks)
        mtmd_cpp.mtmd_bitmap_free(bitmap)
        if failed:
            raise RuntimeError(f"the picture was not decoded ({failed})")
        return seen.value

    def _write(self, at: int, most: int) -> str:
        """Greedy tokens until the turn ends."""
        out: list[int] = []
        end = self.tokens("<turn|>", True)[0]
        while len(out) < most:
            token = int(self.logits().argmax())
            if token in (end, self.llm.token_eos()):
                break
            out.append(token)
            at = self._read([token], at)
        return self.llm.detokenize(out, special=True).decode("utf-8", "replace")
