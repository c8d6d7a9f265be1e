"""OpenAI's protocol, over the bundled model."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from gemma_edge.app.loaded import LoadedEngine
from gemma_edge.app.runtime import library_runtime
from gemma_edge.serve.server import Settings, describe_service, open_service
from tests.scripted import ScriptedEngine
from tests.serve.conftest import HELLO, chat, image_uri, open_server, prepared

TEXT = "Hello! How can I help you?"


def events(response: httpx2.Response) -> Iterator[Any]:
    """What a stream says; the last one is its end."""
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in response.text.split("\n\n") if line and not line.startswith(":")]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return (json.loads(line.removeprefix("data: ")) for line in lines[:-1])


def error(response: httpx2.Response) -> tuple[int, str, str | None]:
    """Status, code and member of an error in OpenAI's shape."""
    said = response.json()["error"]
    assert {"message", "type", "param", "code"} <= said.keys()
    assert said["message"]
    return response.status_code, said["code"], said["param"]


def test_a_question_is_answered(client: httpx2.Client) -> None:
    answer = chat(client).json()
    (choice,) = answer["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"] == TEXT
    assert (choice["finish_reason"], choice["logprobs"]) == ("stop", None)
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert answer["model"] == "demo"


def test_a_stream_says_the_same_in_pieces(client: httpx2.Client) -> None:
    response = chat(client, stream=True, stream_options={"include_usage": True})
    *pieces, last = list(events(response))
    deltas = [each["choices"][0]["delta"] for each in pieces]
    assert deltas[0]["role"] == "assistant"
    assert "".join(each.get("content", "") for each in deltas) == TEXT
    assert len(deltas) > 3  # it came piece by piece
    assert [each["choices"][0]["finish_reason"] for each in pieces][-1] == "stop"
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 12)
    assert len({each["id"] for each in pieces}) == 1


def test_what_was_read_is_not_read_again(client: httpx2.Client) -> None:
    long = [{"role": "user", "content": "Say nothing of: " + "one two three four " * 60}]
    for _ in range(2):
        usage = chat(client, messages=long, max_tokens=2).json()["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] > 0.9 * usage["prompt_tokens"]


def test_a_conversation_is_remembered(client: httpx2.Client) -> None:
    said = [
        {"role": "system", "content": "You are Ada."},
        {"role": "user", "content": [{"type": "text", "text": "My name is Tom."}]},
        {"role": "assistant", "content": "Nice to meet you, Tom."},
        {"role": "user", "content": "What is my name?"},
    ]
    assert "Tom" in chat(client, messages=said).json()["choices"][0]["message"]["content"]


BEGUN = [*HELLO, {"role": "assistant", "content": "Hello! How can"}]


def test_an_answer_that_was_begun_goes_on(client: httpx2.Client) -> None:
    """What comes is what is behind it."""
    said = chat(client, messages=BEGUN).json()["choices"][0]["message"]["content"]
    assert said == TEXT.removeprefix("Hello! How can")
    streamed = [each["choices"][0] for each in events(chat(client, messages=BEGUN, stream=True))]
    assert "".join(each["delta"].get("content", "") for each in streamed) == said


def test_it_goes_on_behind_what_a_function_gave() -> None:
    """Also there, and with its spaces."""
    engine = ScriptedEngine(["goes on"])
    call = {"id": "a", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    messages = [
        *HELLO, {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "12:00"},
        {"role": "assistant", "content": "It is "},
    ]  # fmt: skip
    with open_server(engine) as scripted:
        assert chat(scripted, messages=messages).status_code == 200
    (request,) = engine.requests
    assert request.goes_on
    assert request.messages[-1].parts[-1] == "It is "


def test_what_a_model_cannot_do_is_refused() -> None:
    with open_server(ScriptedEngine(thinks=False)) as scripted:
        refused = chat(scripted, reasoning_effort="low")
    assert error(refused) == (400, "unsupported", "reasoning_effort")
    tool = {"type": "function", "function": {"name": "now"}}
    with open_server(ScriptedEngine(["fine"], calls=False)) as scripted:
        assert error(chat(scripted, tools=[tool])) == (400, "unsupported", "tools")
        assert chat(scripted, tools=[tool], tool_choice="none").status_code == 200


def test_several_answers_have_seeds_of_their_own(client: httpx2.Client) -> None:
    """Which of them are the same depends on what is in the cache, so the engine is asked."""
    engine = ScriptedEngine(["one", "two", "three"] * 3)
    with open_server(engine) as scripted:
        whole = chat(scripted, n=3, seed=5).json()
        streamed = list(events(chat(scripted, n=3, seed=5, stream=True)))
        chat(scripted, n=3)
    said = [each["message"]["content"] for each in whole["choices"]]
    texts = ["", "", ""]
    for each in streamed:
        (one,) = each["choices"]
        texts[one["index"]] += one["delta"].get("content", "")
    assert said == texts == ["one", "two", "three"]
    seeds = [each.sampling.seed for each in engine.requests]
    assert seeds[:6] == [5, 6, 7, 5, 6, 7]
    assert (seeds[6], len(set(seeds[6:]))) == (None, 3)  # else all three would be the same
    asked = {"n": 3, "temperature": 2, "top_k": 0, "top_p": 1, "max_tokens": 12}
    real = chat(client, **asked).json()
    assert len({each["message"]["content"] for each in real["choices"]}) == 3


def test_an_answer_ends_where_it_is_to(client: httpx2.Client) -> None:
    stopped = chat(client, stop="How").json()["choices"][0]
    assert (stopped["message"]["content"], stopped["finish_reason"]) == ("Hello! ", "stop")
    cut = chat(client, max_completion_tokens=2).json()
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 2


def test_how_sure_the_model_was(client: httpx2.Client) -> None:
    (choice,) = chat(client, logprobs=True, top_logprobs=0).json()["choices"]
    tokens = choice["logprobs"]["content"]
    assert "".join(each["token"] for each in tokens) == TEXT
    assert all(-1 < each["logprob"] <= 0 and not math.isnan(each["logprob"]) for each in tokens)
    assert bytes(tokens[0]["bytes"]).decode() == tokens[0]["token"]
    streamed = list(events(chat(client, logprobs=True, stream=True)))
    pieces = [each["choices"][0]["logprobs"] for each in streamed]
    assert sum(len(each["content"]) for each in pieces if each) == len(tokens)


def test_what_else_the_model_could_have_said(client: httpx2.Client) -> None:
    (choice,) = chat(client, logprobs=True, top_logprobs=3).json()["choices"]
    tokens = choice["logprobs"]["content"]
    assert "".join(each["token"] for each in tokens) == TEXT
    for each in tokens:  # the answer is greedy
        top = each["top_logprobs"]
        assert {key: each[key] for key in ("token", "logprob", "bytes")} == top[0]
        chances = [one["logprob"] for one in top]
        assert (len(top), chances) == (3, sorted(chances, reverse=True))
        assert sum(map(math.exp, chances)) <= 1 + 1e-6
    streamed = list(events(chat(client, logprobs=True, top_logprobs=3, stream=True)))
    pieces = [each["choices"][0]["logprobs"] for each in streamed]
    again = [one for each in pieces if each for one in each["content"]]
    assert [(each["token"], len(each["top_logprobs"])) for each in again] == [
        (each["token"], 3) for each in tokens
    ]
    assert error(chat(client, top_logprobs=3)) == (400, "invalid", "top_logprobs")


@pytest.mark.parametrize("wanted", [0, 2])
def test_how_sure_the_model_was_of_a_text(client: httpx2.Client, wanted: int) -> None:
    asked = {"model": "demo", "prompt": "Hello", "max_tokens": 5, "temperature": 0}
    asked["logprobs"] = wanted
    (choice,) = client.post("/v1/completions", json=asked).json()["choices"]
    found = choice["logprobs"]
    assert "".join(found["tokens"]) == choice["text"]
    places = zip(found["text_offset"], found["tokens"], strict=True)
    assert all(choice["text"].startswith(token, place) for place, token in places)
    for top, token, chance in zip(
        found["top_logprobs"], found["tokens"], found["token_logprobs"], strict=True
    ):
        assert len(top) == wanted
        assert not top or next(iter(top.items())) == (token, chance)
    streamed = list(events(client.post("/v1/completions", json={**asked, "stream": True})))
    pieces = [each["choices"][0]["logprobs"] for each in streamed]
    joined = {name: [one for each in pieces if each for one in each[name]] for name in found}
    assert (joined["tokens"], joined["text_offset"]) == (found["tokens"], found["text_offset"])
    assert joined["token_logprobs"] == pytest.approx(found["token_logprobs"], abs=0.05)
    assert [*map(len, joined["top_logprobs"])] == [*map(len, found["top_logprobs"])]


def test_thoughts_are_told_apart(client: httpx2.Client) -> None:
    asked = {"reasoning_effort": "low", "messages": [{"role": "user", "content": "Hello"}]}
    answer = chat(client, **asked).json()
    message = answer["choices"][0]["message"]
    assert message["reasoning_content"]
    assert "<|channel>" not in message["content"]
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
    streamed = [each["choices"][0]["delta"] for each in events(chat(client, **asked, stream=True))]
    thought = "".join(each.get("reasoning_content", "") for each in streamed)
    assert thought == message["reasoning_content"]
    none = chat(client, reasoning_effort="none").json()["choices"][0]["message"]
    assert "reasoning_content" not in none


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "kind": {"enum": ["a", "b"]},
        "count": {"type": "integer", "minimum": 3, "maximum": 5},
        "also": {"type": "string", "maxLength": 4},
    },
    "required": ["name", "kind", "count"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_is_held_to_its_schema(client: httpx2.Client, streamed: bool) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}
    response = chat(client, response_format=form, stream=streamed)
    if streamed:
        found = [each["choices"][0]["delta"] for each in events(response)]
        text = "".join(each.get("content", "") for each in found)
    else:
        text = response.json()["choices"][0]["message"]["content"]
    data = json.loads(text)
    assert {"name", "kind", "count"} <= data.keys() <= SCHEMA["properties"].keys()
    assert (data["kind"] in ("a", "b"), data["count"] in (3, 4, 5)) == (True, True)


def held_to(schema: dict[str, Any]) -> dict[str, Any]:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return {"response_format": form}


def test_a_long_answer_is_whole_or_refused(client: httpx2.Client) -> None:
    """Never a schema that was made shorter in silence."""
    rows = {"type": "array", "items": {"type": "integer", "maximum": 99}}
    (choice,) = chat(client, **held_to({**rows, "minItems": 1000})).json()["choices"]
    assert len(json.loads(choice["message"]["content"])) >= 1000
    refused = chat(client, **held_to({**rows, "minItems": 20_000}))
    assert error(refused) == (400, "unsupported", "response_format")
    assert "32,768" in refused.json()["error"]["message"]


def test_any_object_is_an_object(client: httpx2.Client) -> None:
    answer = chat(client, response_format={"type": "json_object"}, max_tokens=200).json()
    assert isinstance(json.loads(answer["choices"][0]["message"]["content"]), dict)


@pytest.mark.parametrize("detail", [None, "low", "high"])
def test_an_image_is_seen(client: httpx2.Client, detail: str | None) -> None:
    image = {"url": image_uri("circle", "red"), **({"detail": detail} if detail else {})}
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": image}]
    answer = chat(client, messages=[{"role": "user", "content": content}]).json()
    assert "red circle" in answer["choices"][0]["message"]["content"]


def test_a_text_goes_on(client: httpx2.Client) -> None:
    asked = {"model": "demo", "prompt": "Hello", "max_tokens": 5, "temperature": 0}
    answer = client.post("/v1/completions", json=asked).json()
    assert answer["object"] == "text_completion"
    assert answer["usage"]["prompt_tokens"] == 2  # no template round it
    streamed = list(events(client.post("/v1/completions", json={**asked, "stream": True})))
    text = "".join(each["choices"][0]["text"] for each in streamed)
    assert text == answer["choices"][0]["text"]


def test_tokens_are_counted_as_they_are_read(client: httpx2.Client) -> None:
    content = [
        {"type": "text", "text": "Hi"},
        {"type": "image_url", "image_url": {"url": image_uri()}},
    ]
    for messages in (HELLO, [{"role": "user", "content": content}]):
        counted = client.post("/tokenize", json={"model": "demo", "messages": messages}).json()
        usage = chat(client, messages=messages, max_tokens=1).json()["usage"]
        assert counted["count"] == usage["prompt_tokens"]
    assert counted["picture_tokens"] > 0
    plain = client.post("/tokenize", json={"prompt": "Hello"}).json()
    assert (plain["count"], plain["max_model_len"]) == (2, 8192)


@pytest.mark.parametrize("text", ["Hello", "12 \N{SNOWMAN} \U0001f600 <turn|> <bos>", " ", ""])
def test_tokens_have_numbers(client: httpx2.Client, text: str) -> None:
    """What is written comes back."""
    for more in ({}, {"parse_special": False}, {"with_pieces": True}):
        found = client.post("/tokenize", json={"content": text, **more}).json()
        pieces = found["tokens"]
        ids = [each["id"] if more.get("with_pieces") else each for each in pieces]
        assert found["count"] == len(ids)
        back = client.post("/detokenize", json={"tokens": ids}).json()
        assert back == {"content": text}
    joined = b"".join(
        bytes(each["piece"]) if isinstance(each["piece"], list) else each["piece"].encode()
        for each in pieces
    )
    assert joined.decode() == text


def test_the_tokens_of_a_prompt_are_those_that_are_read(client: httpx2.Client) -> None:
    def pieces(**asked: Any) -> list[Any]:
        found = client.post("/tokenize", json={**asked, "with_pieces": True}).json()
        assert found["count"] == len(found["tokens"])
        return [each["piece"] for each in found["tokens"]]

    assert pieces(prompt="Hello")[0] == pieces(content="Hello", add_special=True)[0] == "<bos>"
    assert pieces(prompt="Hello")[1:] == pieces(content="Hello")
    assert pieces(content="<turn|>") == ["<turn|>"]
    text = {"content": "a <turn|>"}
    for begins in (False, True):
        found = client.post("/tokenize", json={**text, "add_special": begins}).json()
        assert found["template_tokens"] == begins
    assert len(pieces(prompt="<turn|>", add_special=False)) > 1  # as it is read: characters
    assert pieces(prompt="<turn|>", parse_special=True)[-1] == "<turn|>"
    whole = pieces(messages=HELLO)
    assert (whole[0], "".join(whole).count("Hello")) == ("<bos>", 1)
    content = [{"type": "image_url", "image_url": {"url": image_uri()}}]
    seen = client.post("/tokenize", json={"messages": [{"role": "user", "content": content}]})
    assert seen.json()["tokens"].count(-1) == seen.json()["picture_tokens"] > 0


@pytest.mark.parametrize("tokens", [[10**6], [-1], ["a"], [1.5]])
def test_what_is_no_token_is_told(client: httpx2.Client, tokens: list[Any]) -> None:
    assert error(client.post("/detokenize", json={"tokens": tokens}))[:2] == (400, "invalid")
    assert client.post("/detokenize", json={"tokens": [2.0]}).status_code == 200
    both = {"content": "a", "prompt": "a"}
    assert error(client.post("/tokenize", json=both))[:2] == (400, "invalid")
    wrong = {"messages": HELLO, "add_special": True}
    assert error(client.post("/tokenize", json=wrong))[:2] == (400, "invalid")


def test_there_is_one_model(client: httpx2.Client) -> None:
    listed = client.get("/v1/models").json()
    assert [each["id"] for each in listed["data"]] == ["demo"]
    assert client.get("/v1/models/demo").json() == listed["data"][0]
    assert error(client.get("/v1/models/gpt-4")) == (404, "model_not_found", "model")
    assert error(chat(client, model="gpt-4")) == (404, "model_not_found", "model")


def test_a_prompt_that_does_not_fit_is_refused_with_the_numbers(client: httpx2.Client) -> None:
    long = [{"role": "user", "content": "word " * 20_000}]
    for streamed in (False, True):
        response = chat(client, messages=long, stream=streamed)
        assert error(response) == (400, "context_length_exceeded", "messages")
        assert "8,192" in response.json()["error"]["message"]


def message(**more: Any) -> dict[str, Any]:
    """A body with other messages."""
    return {"messages": [{"role": "user", "content": "x", **more}]}


WRONG: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "a stranger": ({"banana": 1}, "unsupported", "banana"),
    "audio": ({"modalities": ["audio"]}, "unsupported", "modalities"),
    "functions": ({"functions": []}, "unsupported", "functions"),
    "too many candidates": (
        {"logprobs": True, "top_logprobs": 21}, "invalid", "top_logprobs",
    ),
    "a penalty": ({"frequency_penalty": 0.5}, "unsupported", "frequency_penalty"),
    "a bias": ({"logit_bias": {"5": 1}}, "invalid", "logit_bias"),
    "too hot": ({"temperature": 3}, "invalid", "temperature"),
    "not a number": ({"temperature": "1"}, "invalid", "temperature"),
    "no messages": ({"messages": []}, "invalid", "messages"),
    "a role": ({"messages": [{"role": "boss", "content": "x"}]}, "unsupported", "messages[0].role"),
    "a part": (
        {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
        "unsupported", "messages[0].content[0].type",
    ),
    "a member": (message(weight=1), "unsupported", "messages[0].weight"),
    "an address": (
        {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]}]},
        "unsupported", "messages[0].content[0].image_url.url",
    ),
    "a path": (
        {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]},
        "unsupported", "messages[0].content[0].image_url.url",
    ),
    "a format": ({"response_format": {"type": "xml"}}, "unsupported", "response_format.type"),
    "no schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "text"}}}},
        "invalid", "response_format",
    ),
    "another schema": (
        {"response_format": {"type": "json_schema", "json_schema": {
            "schema": {"$ref": "file:///etc/passwd"}}}},
        "invalid", "response_format",
    ),
    "an effort": ({"reasoning_effort": "huge"}, "invalid", "reasoning_effort"),
    "its own turn alone": (
        {"messages": [{"role": "assistant", "content": "Hi"}]}, "invalid", "messages",
    ),
    "a thought behind its beginning": (
        {"messages": BEGUN, "reasoning_effort": "low"}, "unsupported", "reasoning_effort",
    ),
    "a schema behind its beginning": (
        {"messages": BEGUN, "response_format": {"type": "json_object"}},
        "unsupported", "response_format",
    ),
    "usage without a stream": (
        {"stream_options": {"include_usage": True}}, "invalid", "stream_options",
    ),
    "two limits": ({"max_tokens": 3, "max_completion_tokens": 4}, "invalid", "max_tokens"),
    "a choice of nothing": ({"tool_choice": "required"}, "invalid", "tool_choice"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_supported_is_refused_by_its_name(client: httpx2.Client, name: str) -> None:
    body, code, param = WRONG[name]
    assert error(chat(client, **body)) == (400, code, param)


def test_null_is_left_out(client: httpx2.Client) -> None:
    answer = chat(client, stop=None, tools=None, response_format=None, seed=None, user="me")
    assert answer.json()["choices"][0]["message"]["content"] == TEXT


def test_a_whole_number_is_an_integer_however_it_is_written(client: httpx2.Client) -> None:
    answer = chat(client, n=2.0, max_tokens=2.0, top_k=3.0, logprobs=True, top_logprobs=1.0)
    assert [each["finish_reason"] for each in answer.json()["choices"]] == ["length"] * 2
    assert error(chat(client, n=1.5)) == (400, "invalid", "n")


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", {}, 400), (b"[]", {}, 400), (b"\xff", {}, 400), (b'{"model": NaN}', {}, 400),
        (b'{"a":' * 5000, {}, 400), (b"{}", {"Content-Type": "text/plain"}, 415),
    ],
)  # fmt: skip
def test_a_body_that_is_none(
    client: httpx2.Client, content: bytes, headers: dict[str, str], status: int
) -> None:
    headers = {"Content-Type": "application/json", **headers}
    response = client.post("/v1/chat/completions", content=content, headers=headers)
    assert error(response)[:2] == (status, "invalid")


def test_other_places_and_methods(client: httpx2.Client) -> None:
    assert error(client.get("/v1/nothing"))[:2] == (404, "not_found")
    assert error(client.get("/v1/chat/completions"))[:2] == (405, "invalid")
    assert error(client.get("/v1/models?limit=1"))[:2] == (400, "unsupported")


def test_what_runs_is_told(client: httpx2.Client) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").json() == {"status": "ready"}
    status = client.get("/v1/status").json()
    assert (status["model"], status["context_tokens"]) == ("demo", 8192)
    assert (status["thinking"], status["vision"], status["alternatives"]) == (True, True, [])
    ram = next(each for each in status["places"] if each["place"] == "RAM")
    assert ram["planned_bytes"] == sum(part["bytes"] for part in ram["parts"]) > 0
    assert status["queue"]["active"] == status["queue"]["waiting"] == 0
    chat(client)
    metrics = client.get("/metrics").text
    assert 'gemma_edge_requests_total{path="/v1/chat/completions",status="200"}' in metrics
    assert "gemma_edge_first_token_seconds_count" in metrics
    assert "Hello" not in metrics


def test_what_else_would_run_here_is_told() -> None:
    plan = prepared().plan
    other = replace(plan, name="e4b:q4", context_tokens=32768, speed=None)
    known = replace(prepared(), plan=replace(plan, alternatives=(other,)))
    engine = LoadedEngine(ScriptedEngine(thinks=False), known, lambda _text: None)
    service = open_service(engine, library_runtime(), Settings())
    status = describe_service(service)
    service.close()
    assert (status["alternatives"], status["thinking"]) == (["e4b:q4: 32k context"], False)
