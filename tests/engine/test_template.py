"""Chat templates out of files from anywhere: known ones here, others in a process with limits."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemma_edge.engine import template
from gemma_edge.engine.engine import LlamaEngine
from gemma_edge.engine.llama import LlamaModel
from gemma_edge.engine.protocol import Message
from gemma_edge.engine.template import LIMITS, ChatTemplate, Markup, MessageText
from gemma_edge.errors import ExitStatus, ModelError
from gemma_edge.planning.plan import Plan
from tests.conftest import render_gguf
from tests.engine import made

ROOT = Path(__file__).parents[2]
GOOGLE = (ROOT / "tests" / "data" / "google-gemma-4-31B-it.jinja").read_text("utf-8")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SHORT = LIMITS._replace(cpu_seconds=1, memory_bytes=300 << 20)
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
TOO_LONG = {
    "loops in loops": LOOP,
    "a power": "{{ (9 ** (9 ** 9)) | string | length }}",
    "a loop that is folded": "{{ range(99999) | map('string') | join | length }}" * 3000,
    "steps": "{% macro f(n) %}{% for i in range(9) %}{% if n %}{{ f(n - 1) }}{% endif %}"
             "{% endfor %}{% endmacro %}{{ f(99) }}",
}  # fmt: skip
TOO_LARGE = {
    "a long text": "{{ ('A' * 10 ** 10) | length }}",
    "a long list": "{{ ([0] * 10 ** 10) | length }}",
    "a wide field": "{{ ('%10000000000d' % 1) | length }}",
    "a format": "{{ '{:10000000000}'.format(1) | length }}",
    "a centre": "{{ 'a' | center(10 ** 10) | length }}",
    "doubled": "{% set n = namespace(x='A') %}{% for i in range(40) %}"
               "{% set n.x = n.x ~ n.x %}{% endfor %}",
}  # fmt: skip
WRITES = {
    "a loop": "{% for i in range(99999) %}0123456789abcdef{% endfor %}",
    "one text": "{{ 'A' * 10 ** 7 }}",
}
FAILS = {
    "{{ 1 // 0 }}": "ZeroDivisionError",
    "{{ messages[99].content.x }}": "",
    "{{ nothing() }}": "'nothing' is undefined",
    "{{ 'a' + 1 }}": "TypeError",
    "{{ [1] | first | upper | int('x') + {} }}": "TypeError",
    "{{ 'ä'.encode('ascii') }}": "UnicodeEncodeError",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}": "RecursionError",
    "{{ {}['a'] }}{{ dict(a=1).pop('b') }}": "unsafe",
    "{{ raise_exception('no\x1b[31m\n' + 'such ' * 9999) }}": "no [31m such such",
    "{{ raise_exception() }}": "",
    "{{ raise_exception(5) }}": "5",
    "{% include 'x' %}": "TypeError",
    "{{ messages.__class__.__mro__ }}": "unsafe",
    "{{ 'x' | nothing }}": "is not valid: No filter named 'nothing'",
    "{% if %}": "is not valid",
    "{% for %}{{": "is not valid",
    "(" * 9999 + "{{ " + "(" * 9999 + "1" + ")" * 9999 + " }}": "",
}
HELLO = [Message("system", "Be brief."), Message("user", "Hi")]


def refusal(source: str) -> ModelError:
    with pytest.raises(ModelError) as caught:
        ChatTemplate(source, "", "", SHORT)
    error = caught.value
    assert error.message.startswith("the chat template of this model ")
    assert error.hint
    assert error.exit_status is ExitStatus.MODEL
    assert len(error.message) < 300
    assert error.message.isprintable()
    return error


@pytest.mark.skipif(os.name == "nt", reason="Windows counts no seconds of the processor")
@pytest.mark.parametrize("name", TOO_LONG)
def test_a_template_that_takes_too_long(name: str) -> None:
    assert "takes longer than 1 s" in refusal(TOO_LONG[name]).message


@pytest.mark.parametrize("name", TOO_LARGE)
def test_a_template_that_takes_too_much(name: str) -> None:
    assert "takes more than 300.0 MiB of memory" in refusal(TOO_LARGE[name]).message


@pytest.mark.parametrize("name", WRITES)
def test_a_template_that_writes_too_much(name: str) -> None:
    assert "writes more than 1.0 MiB" in refusal(WRITES[name]).message


@pytest.mark.parametrize("source", FAILS, ids=range(len(FAILS)))
def test_a_template_that_fails(source: str) -> None:
    assert FAILS[source] in refusal(source).message


@pytest.fixture
def chatml() -> Iterator[ChatTemplate]:
    opened = ChatTemplate(CHATML, "<s>", "</s>", SHORT)
    yield opened
    opened.close()


def test_a_template_that_nobody_knows_is_rendered_apart(chatml: ChatTemplate) -> None:
    assert chatml._renderer is not None
    wanted = [
        Markup("<|im_start|>system\n"), MessageText("Be brief."),
        Markup("<|im_end|>\n<|im_start|>user\n"), MessageText("Hi"),
        Markup("<|im_end|>\n<|im_start|>assistant\n"),
    ]  # fmt: skip
    assert chatml.render(HELLO) == wanted
    assert chatml._renderer._child is not None
    os.kill(chatml._renderer._child.pid, 9)  # by the system, or by somebody
    with pytest.raises(ModelError):
        chatml.render(HELLO)
    assert chatml.render(HELLO) == wanted


def test_a_template_that_fails_late_costs_that_turn_alone() -> None:
    source = "{% if messages | length > 2 %}" + LOOP + "{% endif %}" + CHATML
    opened = ChatTemplate(source, "", "", SHORT)
    with pytest.raises(ModelError, match="takes longer than 1 s"):
        opened.render([*HELLO, Message("model", "Hello"), Message("user", "Bye")])
    assert opened.render(HELLO)
    opened.close()


@pytest.mark.parametrize("source", [GOOGLE, GOOGLE.strip(), "demo", ""])
def test_the_known_templates_start_no_process(source: str, model: LlamaModel) -> None:
    opened = ChatTemplate(model.chat_template if source == "demo" else source, "<bos>", "<eos>")
    assert opened._renderer is None
    started = time.process_time()
    for _ in range(50):
        opened.render(HELLO)
    assert time.process_time() - started < 1


def test_a_changed_template_is_not_known() -> None:
    assert not template.is_known(GOOGLE + LOOP)
    assert not template.is_known(GOOGLE.replace("model", "model ", 1))


def test_an_engine_ends_the_process_of_its_template(tmp_path: Path) -> None:
    path = tmp_path / "mamba.gguf"
    metadata, tensors = made.mamba()
    path.write_bytes(render_gguf(metadata | {"tokenizer.chat_template": CHATML}, tensors, 3))
    engine = LlamaEngine(Plan(model=path, context_tokens=512, batch_tokens=64, gpu_layers=-1))
    renderer = engine._prompter._template._renderer
    assert renderer is not None
    assert renderer._child is not None
    assert renderer._child._death is None
    engine.close()
    assert renderer._child is None
