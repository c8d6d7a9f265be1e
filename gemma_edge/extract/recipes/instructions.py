"""What a recipe tells the model: rendered by ``instructions.txt``, which people edit. Pure."""

import json
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from gemma_edge.extract.recipes.parts import CounterExample, Example, Rule


def render_instructions(
    rules: Sequence[Rule],
    counter_examples: Sequence[CounterExample],
    worked: Sequence[str],
    examples: Sequence[Example],
) -> str:
    """The lines after the form; "" where there is nothing to say."""
    if not (rules or counter_examples or worked or examples):
        return ""
    shown = [
        {"text": each.text.strip(), "answer": json.dumps(each.expect, ensure_ascii=False)}
        for each in examples
    ]
    filled = _template().render(
        rules=rules, counter_examples=counter_examples, worked=worked, examples=shown
    )
    return str(filled).strip()


@lru_cache(maxsize=1)
def _template() -> Any:
    from jinja2 import StrictUndefined  # noqa: PLC0415  (40 ms that a bare schema does not need)
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    text = (
        files("gemma_edge.extract.recipes").joinpath("instructions.txt").read_text(encoding="utf-8")
    )
    return ImmutableSandboxedEnvironment(undefined=StrictUndefined).from_string(text)
