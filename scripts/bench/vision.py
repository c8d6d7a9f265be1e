"""What it costs to ask again about an image: ten questions about one picture, ours against the
stock multimodal handler of llama-cpp-python. Same model, pixels, template, threads and token limit,
greedy, in turns; every round has a picture that neither has seen.

    encoder_passes     how often the vision encoder ran for ten questions    goal 1 (theirs 10)
    time_ratio         their seconds for ten questions / ours                goal 5
    small_time_ratio   the same with a picture of half the tokens

The picture has the detail that Gemma 4 describes with (280 tokens), the small one that of the
bundled model (130): there the answers, which cost both the same, weigh more. Both begin with the
bytes of a PNG file and end with the tenth answer; ours is asked through the engine's process, as
everybody asks it. Nothing is loaded while the clock runs.
"""

import argparse
import base64
import ctypes
import io
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import llama_cpp
from llama_cpp import llama_chat_format, mtmd_cpp
from measure import note

from gemma_edge.documents.document import fit_size
from gemma_edge.documents.images import fit_picture, read_image
from gemma_edge.engine import load
from gemma_edge.engine.protocol import GREEDY, Chunk, Engine, Finished, Message, Request
from gemma_edge.planning.plan import Plan

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from demo_model import shapes  # noqa: E402  (the pictures that the bundled model was trained for)

MODEL = ROOT / "models" / "demo" / "gemma-4-demo-Q8_0.gguf"
PROJECTOR = ROOT / "models" / "demo" / "mmproj-gemma-4-demo-F16.gguf"
USUAL, SMALL = 280, 130  # image tokens: --detail normal, models/demo.toml
CONTEXT_TOKENS, BATCH_TOKENS, MAX_TOKENS = 2048, 512, 32
PASSES_GOAL, TIME_GOAL = 1, 5.0
# What the bundled model was trained to be asked.
QUESTIONS = (
    "Describe this image.", "How many shapes are there?", "What color is it?", "What shape is it?",
    "Count the shapes.", "Which color do you see?", "Which shape is this?",
    "How many shapes do you see?", "What color is the shape?", "What shape do you see?",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """Ten answers about one picture, the seconds they took, and how often the encoder ran."""

    answers: tuple[str, ...]
    seconds: float
    passes: int
    prompt_tokens: int


class Stock:
    """llama-cpp-python's own handler for Gemma 4."""

    def __init__(self, plan: Plan) -> None:
        handler = llama_chat_format.Gemma4ChatHandler(
            clip_model_path=str(plan.projector), verbose=False
        )
        self._counting = Counting(handler._mtmd_cpp)
        handler._mtmd_cpp = self._counting  # type: ignore[assignment]
        silence()
        self._llama = llama_cpp.Llama(
            str(plan.model), chat_handler=handler, n_ctx=plan.context_tokens,
            n_batch=plan.batch_tokens, n_ubatch=plan.batch_tokens, n_threads=plan.threads,
            n_threads_batch=plan.threads, flash_attn=True, swa_full=False, verbose=False,
        )  # fmt: skip

    def ask(self, png: bytes) -> Asked:
        """Each question in a conversation of its own, as its users ask."""
        before, answers, prompt_tokens = self._counting.passes, [], 0
        start = time.perf_counter()
        image = {"type": "image_url", "image_url": {"url": _data_uri(png)}}
        for question in QUESTIONS:
            content = [image, {"type": "text", "text": question}]
            said: Any = self._llama.create_chat_completion(
                [{"role": "user", "content": content}],  # type: ignore[list-item, misc]
                temperature=0.0, max_tokens=MAX_TOKENS, repeat_penalty=1.0, top_k=0, top_p=1.0,
                min_p=0.0,
            )  # fmt: skip
            answers.append(said["choices"][0]["message"]["content"])
            prompt_tokens += said["usage"]["prompt_tokens"]
        seconds = time.perf_counter() - start
        return Asked(tuple(answers), seconds, self._counting.passes - before, prompt_tokens)

    def close(self) -> None:
        """Free the model."""
        self._llama.close()


# Lines of the handler would cost it time, and come also with ``verbose=False``.
_NO_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)


def silence() -> None:
    """No line of llama.cpp's multimodal part in this process."""
    mtmd_cpp.mtmd_log_set(_NO_LOG, ctypes.c_void_p(0))
    mtmd_cpp.mtmd_helper_log_set(_NO_LOG, ctypes.c_void_p(0))


class Counting:
    """mtmd's bindings as the handler sees them; counts the images that it has encoded."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.passes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def mtmd_helper_eval_chunk_single(
        self, context: Any, llama: Any, chunk: Any, *rest: Any
    ) -> Any:
        """Encodes an image, then evaluates it."""
        kind = self._real.mtmd_input_chunk_get_type(chunk)
        self.passes += kind == self._real.MTMD_INPUT_CHUNK_TYPE_IMAGE
        return self._real.mtmd_helper_eval_chunk_single(context, llama, chunk, *rest)


def ask_ours(engine: Engine, png: bytes, image_tokens: int) -> Asked:
    """The same questions, as ``gemma-edge describe photo.png -q ... -q ...`` asks them."""
    answers, passes, prompt_tokens = [], 0, 0
    start = time.perf_counter()
    picture = fit_picture(read_image(png, "picture"), "picture", image_tokens)
    for question in QUESTIONS:
        message = Message("user", question, (picture,))
        said = []
        for event in engine.generate(
            Request(messages=(message,), sampling=GREEDY, max_tokens=MAX_TOKENS)
        ):
            if isinstance(event, Chunk):
                said.append(event.text)
            elif isinstance(event, Finished):
                passes += event.usage.encoded_pictures
                prompt_tokens += event.usage.prompt_tokens
        answers.append("".join(said))
    return Asked(tuple(answers), time.perf_counter() - start, passes, prompt_tokens)


def draw(number: int, image_tokens: int) -> bytes:
    """A PNG in whole patches, so that nobody resizes it."""
    rng = Random(f"bench vision {number}")
    width, height = fit_size(4000, 3000, image_tokens)
    stream = io.BytesIO()
    shapes.draw(rng, shapes.scene(rng, width, height)).save(stream, "PNG")
    return stream.getvalue()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures, by name."""
    plan = Plan(
        model=MODEL, projector=PROJECTOR, context_tokens=CONTEXT_TOKENS, batch_tokens=BATCH_TOKENS,
        threads=options.threads, image_tokens=USUAL,
    )  # fmt: skip
    engine, stock = load(plan), Stock(plan)
    try:
        usual = compare(engine, stock, USUAL, options.rounds)
        small = compare(engine, stock, SMALL, options.rounds)
    finally:
        engine.close()
        stock.close()
    return {**usual, "small_time_ratio": small["time_ratio"]}


def compare(engine: Engine, stock: Stock, image_tokens: int, rounds: int) -> dict[str, Any]:
    """Rounds in turns; the first is not counted."""
    subjects: dict[str, Callable[[bytes], Asked]] = {
        "theirs": stock.ask,
        "ours": lambda png: ask_ours(engine, png, image_tokens),
    }
    runs: dict[str, list[Asked]] = {name: [] for name in subjects}
    for number in range(rounds + 1):
        png = draw(number, image_tokens)
        for name in subjects if number % 2 else reversed(subjects):
            asked = subjects[name](png)
            if number:
                runs[name].append(asked)
            note(f"{image_tokens} round {number} of {rounds}  {name:8} {asked.seconds:7.3f} s")
    return figures(runs["ours"], runs["theirs"])


def figures(ours: Sequence[Asked], theirs: Sequence[Asked]) -> dict[str, Any]:
    """Ratios from the runs, after a look whether they can be compared at all."""
    if ours[0].prompt_tokens != theirs[0].prompt_tokens:
        raise RuntimeError(f"prompts differ: {ours[0].prompt_tokens}, {theirs[0].prompt_tokens}")
    pairs = [other.seconds / mine.seconds for mine, other in zip(ours, theirs, strict=True)]
    medians = [statistics.median(run.seconds for run in runs) for runs in (ours, theirs)]
    same = [
        sum(a == b for a, b in zip(mine.answers, other.answers, strict=True))
        for mine, other in zip(ours, theirs, strict=True)
    ]
    return {
        "encoder_passes": {
            "ours": max(run.passes for run in ours),
            "theirs": min(run.passes for run in theirs),
            "questions": len(QUESTIONS),
        },
        "time_ratio": {
            "ratio": round(medians[1] / medians[0], 2),
            "ours_seconds": round(medians[0], 3),
            "theirs_seconds": round(medians[1], 3),
            "spread": [round(min(pairs), 2), round(max(pairs), 2)],
            "rounds": len(pairs),
        },
        "prompt_tokens": ours[0].prompt_tokens,
        "same_answers": f"{sum(same)} of {len(QUESTIONS) * len(ours)}",
    }


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def main() -> int:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    # As the plan for the bundled model: handing work over takes longer than the work.
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    result = measure(parser.parse_args())
    passes, ratio = result["encoder_passes"]["ours"], result["time_ratio"]["ratio"]
    reached = "reached" if passes == PASSES_GOAL else "missed"
    note(f"encoder_passes {passes}, goal {PASSES_GOAL}: {reached}")
    note(f"time_ratio {ratio}, goal {TIME_GOAL}: {'reached' if ratio >= TIME_GOAL else 'missed'}")
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
