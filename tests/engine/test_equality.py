"""Correctness shown by equality: cached = fresh, forced = unforced, greedy = llama-cpp-python.

llama.cpp itself computes other bits for other batch shapes (docs/architecture.md, "Equality"),
so where logits are compared, both sides evaluate pieces of the same sizes.
"""

import base64
import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest
from llama_cpp import llama_chat_format
from PIL import Image

from gemma_edge.documents.document import Picture
from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.kv_cache import Unit
from gemma_edge.engine.llama import LlamaModel
from gemma_edge.engine.protocol import GREEDY, JsonConstraint, Message, Request
from gemma_edge.planning.plan import Plan
from tests.engine.conftest import (
    DEMO,
    DEMO_PROJECTOR,
    MOE,
    MOE_PROJECTOR,
    answer,
    demo_plan,
    picture,
)
from tests.engine.fresh import BOUND, difference, read, token_by_token

INVOICE = """INVOICE
Invoice No: KV-20831          Date: 2024-03-07
Vendor: Torvani Belt GmbH
2 x Lampreen       120.50
Total: EUR 120.50"""
SCHEMA = """{"type": "object", "additionalProperties": false,
"properties": {"vendor": {"type": ["string", "null"]}, "total": {"type": ["number", "null"]},
"date": {"type": ["string", "null"]}, "kind": {"enum": ["invoice", "letter", null]}},
"required": ["vendor", "total", "date", "kind"]}"""


def test_random_conversations_equal_a_fresh_read(f32_model: LlamaModel) -> None:
    """Prompts and answers longer than the window on purpose: a wrong rule of reuse shows at once.
    Every prompt has a header that the next one drops; now and then a turn is edited."""
    assert 0 < f32_model.window < 250
    rng = random.Random(4)
    header = [301, 302, 303]

    def words(most: int) -> list[Unit]:
        return [rng.randrange(300, f32_model.vocab_tokens - 1) for _ in range(rng.randint(5, most))]

    used = token_by_token(f32_model)
    history: list[Unit] = []
    worst, kept_after_long_answer = 0.0, 0
    for _ in range(10):
        if rng.random() < 0.3 or len(history) > 1200:
            history = history[: rng.randint(0, len(history))]
        before = len(history)
        history = history + words(300)
        prompt = [*history, *header]
        kept = read(used, prompt, settled=len(history))
        worst = max(worst, difference(used, f32_model, prompt))
        said = words(500)
        used.evaluate([unit for unit in said if isinstance(unit, int)])
        history = history + said
        kept_after_long_answer += kept > 0 and before > 0
    used.context.close()
    assert worst < BOUND
    assert kept_after_long_answer > 5


def test_a_turn_after_a_long_answer_keeps_the_conversation(f32_model: LlamaModel) -> None:
    """The empty thought channel is in the first prompt and not in the history, so the second
    prompt always cuts back behind the answer; the checkpoint makes that cheap and right."""
    rng = random.Random(5)
    first: list[Unit] = [rng.randrange(300, 1000) for _ in range(500)]
    said: list[Unit] = [rng.randrange(300, 1000) for _ in range(600)]
    second = [*first[:-3], *said, 301, 302]
    used = token_by_token(f32_model)
    read(used, first, settled=len(first) - 5)
    used.evaluate([u for u in said if isinstance(u, int)])
    assert read(used, second, settled=len(second)) == len(first) - 5
    assert difference(used, f32_model, second) < BOUND
    used.context.close()


@pytest.mark.parametrize(
    ("weights", "projector"), [(DEMO, DEMO_PROJECTOR), (MOE, MOE_PROJECTOR)], ids=["demo", "moe"]
)
def test_a_cached_image_gives_the_logits_of_a_fresh_one(weights: Path, projector: Path) -> None:
    plan = Plan(
        model=weights, projector=projector, context_tokens=1024, batch_tokens=256,
        gpu_layers=-1, threads=1,
    )  # fmt: skip
    asked = Message("user", "Describe this image.", (picture(),))
    once = Request(messages=(asked,))
    twice = Request(messages=(asked, Message("model", "A red circle."), Message("user", "Why?")))
    used, fresh = LlamaEngine(plan), LlamaEngine(plan)
    used.next_logits(once)
    list(used.generate(Request(messages=(asked,), sampling=GREEDY, max_tokens=20)))
    fresh.next_logits(once)
    difference = np.abs(used.next_logits(twice) - fresh.next_logits(twice)).max()
    other = Message("user", "Describe this image.", (picture("blue"),))
    changed = np.abs(used.next_logits(Request(messages=(other,))) - used.next_logits(once)).max()
    used.close()
    fresh.close()
    assert difference < BOUND
    assert changed > 10 * BOUND  # the comparison can fail: another image gives other logits


def test_the_second_turn_after_an_image_evaluates_only_its_own_tokens(engine: LlamaEngine) -> None:
    first = (Message("user", "Describe this image.", (picture(),)),)
    said, finished = answer(engine, Request(messages=first, sampling=GREEDY))
    second = (*first, Message("model", said), Message("user", "What color is it?"))
    _, finished = answer(engine, Request(messages=second, sampling=GREEDY))
    new_text = f"{said}<turn|>\n<|turn>user\nWhat color is it?<turn|>\n<|turn>model\n"
    assert finished.usage.cached_tokens > picture().tokens
    assert finished.usage.evaluated_tokens < len(new_text)
    assert finished.usage.evaluated_tokens < 60


def test_forced_tokens_change_nothing_but_the_number_of_steps(engine: LlamaEngine) -> None:
    request = Request(
        messages=(Message("user", INVOICE),),
        sampling=GREEDY,
        max_tokens=200,
        constraint=JsonConstraint(schema=SCHEMA),
    )
    plain = LlamaEngine(demo_plan(), forcing=False)
    with_forced, fast = answer(engine, request)
    without, slow = answer(plain, request)
    plain.close()
    assert with_forced == without
    assert fast.usage.forced_tokens > 10
    assert slow.usage.forced_tokens == 0
    assert fast.usage.generated_tokens == slow.usage.generated_tokens


@pytest.fixture(scope="module")
def stock() -> Iterator[llama_cpp.Llama]:
    opened = llama_cpp.Llama(
        str(DEMO), n_ctx=2048, n_batch=256, n_ubatch=256, n_threads=1, verbose=False,
        flash_attn=True, swa_full=False,
    )  # fmt: skip
    yield opened
    opened.close()


PROMPTS = [
    "What can you do?",
    "What is the capital of France?",
    f"{INVOICE}\n\nWho is the vendor?",
    "Repeat: zorvan lime quettle",
]


@pytest.mark.parametrize("text", PROMPTS)
def test_greedy_text_equals_stock(engine: LlamaEngine, stock: llama_cpp.Llama, text: str) -> None:
    request = Request(messages=(Message("user", text),), sampling=GREEDY, max_tokens=64)
    ours, _ = answer(engine, request)
    tokens = stock.tokenize(engine.render(request).encode(), add_bos=False, special=True)
    stock.reset()  # type: ignore[no-untyped-call]
    theirs: Any = stock.create_completion(
        tokens, max_tokens=64, temperature=0.0, repeat_penalty=1.0, top_k=0, top_p=1.0, min_p=0.0
    )
    assert ours == theirs["choices"][0]["text"]
    assert ours


def test_greedy_text_about_an_image_equals_stock(engine: LlamaEngine) -> None:
    shown = picture("red")
    request = Request(
        messages=(Message("user", "Describe this image.", (shown,)),),
        sampling=GREEDY,
        max_tokens=64,
    )
    ours, _ = answer(engine, request)
    handler = llama_chat_format.Gemma4ChatHandler(
        clip_model_path=str(DEMO_PROJECTOR), verbose=False
    )
    llm = llama_cpp.Llama(
        str(DEMO), chat_handler=handler, n_ctx=2048, n_batch=256, n_ubatch=256, n_threads=1,
        flash_attn=True, swa_full=False, verbose=False,
    )  # fmt: skip
    theirs: Any = llm.create_chat_completion(
        [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": _data_uri(shown)}},
                    {"type": "text", "text": "Describe this image."},
                ],
            }
        ],
        temperature=0.0, max_tokens=64, top_k=0, top_p=1.0, min_p=0.0,
    )  # fmt: skip
    llm.close()
    assert ours == theirs["choices"][0]["message"]["content"]
    assert ours


def _data_uri(shown: Picture) -> str:
    image = Image.frombytes("RGB", (shown.width, shown.height), shown.rgb)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
