"""The demo model's compact chat template renders what Google's public one does."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

ROOT = Path(__file__).resolve().parents[1]
OURS = ROOT / "scripts" / "demo_model" / "chat_template.jinja"
PUBLIC = ROOT / "tests" / "data" / "google-gemma-4-31B-it.jinja"
IMAGE = {"type": "image"}


def text(said: str) -> dict[str, str]:
    """A text part."""
    return {"type": "text", "text": said}


def turn(role: str, content: Any) -> dict[str, Any]:
    """A message."""
    return {"role": role, "content": content}


CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "one question": [turn("user", "Hello")],
    "blanks around": [turn("user", "  \n Hello \n\n")],
    "empty": [turn("user", "")],
    "system": [turn("system", " Be brief.\n"), turn("user", "Hi")],
    "developer": [turn("developer", "Be brief."), turn("user", "Hi")],
    "empty system": [turn("system", ""), turn("user", "Hi")],
    "several lines": [turn("user", "a\n\nb\n  c: 1\n---\nd")],
    "history": [turn("user", "Hi"), turn("assistant", "Hello!"), turn("user", "Who are you?")],
    "role model": [turn("user", "Hi"), turn("model", "Hello!"), turn("user", "Bye")],
    "thoughts in history": [
        turn("user", "Hi"),
        turn("assistant", "<|channel>thought\nThey greet.\n<channel|>Hello!"),
        turn("user", "Again"),
    ],
    "two thoughts": [
        turn("user", "Hi"),
        turn("assistant", "a <|channel>thought\nx\n<channel|> b <|channel>thought\ny<channel|> c"),
        turn("user", "Again"),
    ],
    "open thought": [
        turn("user", "Hi"), turn("assistant", "x<|channel>thought\ny"), turn("user", "?"),
    ],
    "two answers in a row": [
        turn("user", "Hi"), turn("assistant", "One."), turn("assistant", "Two."), turn("user", "?"),
    ],
    "continued answer": [turn("user", "Hi"), turn("assistant", "Hello")],
    "image": [turn("user", [IMAGE, text(" What is this? ")])],
    "image after text": [turn("user", [text("Look: "), IMAGE])],
    "two images": [turn("user", [IMAGE, IMAGE, text("Describe both.")])],
    "all media": [turn("user", [IMAGE, {"type": "audio"}, {"type": "video"}, text("Well?")])],
    "parts in an answer": [turn("user", "Hi"), turn("assistant", [text(" a "), text("b")])],
    "unknown part": [turn("user", [{"type": "file"}, text("Hi")])],
    "image in history": [
        turn("system", "Be brief."), turn("user", [IMAGE, text("What?")]),
        turn("assistant", "A red circle."), turn("user", "Sure?"),
    ],
}  # fmt: skip


@cache
def compiled(path: Path) -> Template:
    """The template in a file, as llama-cpp-python and llama.cpp read it."""
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    return env.from_string(path.read_text(encoding="utf-8"))


def render(template: Path, messages: list[dict[str, Any]], **choices: Any) -> str:
    """``messages`` through a template file."""
    return compiled(template).render(bos_token="<bos>", messages=messages, **choices)


@pytest.mark.parametrize("choices", [{}, {"enable_thinking": False}, {"enable_thinking": True}])
@pytest.mark.parametrize("prompt", [True, False])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_same_text(name: str, prompt: bool, choices: dict[str, bool]) -> None:
    """Both templates give the same text."""
    messages = CONVERSATIONS[name]
    ours = render(OURS, messages, add_generation_prompt=prompt, **choices)
    assert ours == render(PUBLIC, messages, add_generation_prompt=prompt, **choices)
