"""OpenAI's own library: chat, stream, an image, JSON held to a schema, tools, errors."""

import base64
import io
import json
import sys

import openai
from PIL import Image, ImageDraw
from pydantic import BaseModel, Field

client = openai.OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none", max_retries=0, timeout=300)
HELLO = [{"role": "user", "content": "Hello"}]
TEXT = "Hello! How can I help you?"


class Person(BaseModel):
    """What a schema is made of."""

    name: str = Field(max_length=12)
    age: int = Field(ge=1, le=99)
    kind: str | None


def picture() -> str:
    image = Image.new("RGB", (480, 480), "white")
    ImageDraw.Draw(image).ellipse([120, 120, 360, 360], fill="red")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


(model,) = client.models.list().data
name = model.id
assert client.models.retrieve(name).id == name

answer = client.chat.completions.create(model=name, messages=HELLO, temperature=0)
assert answer.choices[0].message.content == TEXT
assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens

stream = client.chat.completions.create(
    model=name, messages=HELLO, temperature=0, stream=True, stream_options={"include_usage": True}
)
pieces = list(stream)
assert "".join(p.choices[0].delta.content or "" for p in pieces if p.choices) == TEXT
assert pieces[-1].usage.completion_tokens == answer.usage.completion_tokens

with client.chat.completions.stream(model=name, messages=HELLO, temperature=0) as events:
    for _ in events:
        pass
    assert events.get_final_completion().choices[0].message.content == TEXT

scored = client.chat.completions.create(
    model=name, messages=HELLO, temperature=0, logprobs=True, top_logprobs=3
)
tokens = scored.choices[0].logprobs.content
assert "".join(each.token for each in tokens) == TEXT
assert all(each.top_logprobs[0].token == each.token for each in tokens)

begun = [*HELLO, {"role": "assistant", "content": "Hello! How can"}]
more = client.chat.completions.create(model=name, messages=begun, temperature=0)
assert "Hello! How can" + more.choices[0].message.content == TEXT

data = base64.b64encode(b"INVOICE 17\nTotal: 120.50 EUR").decode()
file = {"filename": "bill.txt", "file_data": f"data:text/plain;base64,{data}"}
asked = [{"type": "file", "file": file}, {"type": "text", "text": "What is the total?"}]
read = client.chat.completions.create(
    model=name, messages=[{"role": "user", "content": asked}], max_tokens=20
)
assert read.usage.prompt_tokens > answer.usage.prompt_tokens + 20

image = {"type": "image_url", "image_url": {"url": picture()}}
asked = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}]
seen = client.chat.completions.create(model=name, messages=asked, temperature=0)
assert "red circle" in seen.choices[0].message.content

person = client.chat.completions.parse(
    model=name, messages=HELLO, temperature=0, response_format=Person
)
assert isinstance(person.choices[0].message.parsed, Person)

tool = openai.pydantic_function_tool(Person, name="save")
called = client.chat.completions.create(
    model=name, messages=HELLO, temperature=0, tools=[tool], tool_choice="required",
    parallel_tool_calls=False,
)  # fmt: skip
(call,) = called.choices[0].message.tool_calls
assert called.choices[0].finish_reason == "tool_calls"
Person.model_validate_json(call.function.arguments)
result = {"role": "tool", "tool_call_id": call.id, "content": "saved"}
after = client.chat.completions.create(
    model=name, messages=[*HELLO, called.choices[0].message, result], tools=[tool], max_tokens=20
)
assert after.choices[0].finish_reason in ("stop", "length", "tool_calls")

either = client.chat.completions.parse(
    model=name, messages=HELLO, temperature=0, tools=[tool], response_format=Person
).choices[0]
assert either.finish_reason == "tool_calls" or isinstance(either.message.parsed, Person)

with client.chat.completions.stream(
    model=name, messages=HELLO, temperature=0, tools=[tool], tool_choice="required",
    parallel_tool_calls=False,
) as events:  # fmt: skip
    for _ in events:
        pass
    (streamed,) = events.get_final_completion().choices[0].message.tool_calls
assert streamed.function.parsed_arguments == Person.model_validate_json(call.function.arguments)

text = client.completions.create(
    model=name, prompt="Hello", max_tokens=4, temperature=0, logprobs=2
)
assert "".join(text.choices[0].logprobs.tokens) == text.choices[0].text

for kind, wrong in (
    (openai.NotFoundError, {"model": "gpt-4"}),
    (openai.BadRequestError, {"frequency_penalty": 1}),
    (openai.BadRequestError, {"messages": [{"role": "user", "content": "x " * 20_000}]}),
):
    try:
        client.chat.completions.create(**{"model": name, "messages": HELLO, **wrong})
    except kind as error:
        assert error.code in ("model_not_found", "unsupported", "context_length_exceeded")
        assert json.dumps(error.body)
    else:
        raise AssertionError(wrong)
print("ok")
