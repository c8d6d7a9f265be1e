"""OpenAI's protocol: chat, completions, models, and how many tokens a prompt takes."""

import json
import secrets
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import field, replace
from itertools import accumulate
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from gemma_edge.documents.document import Picture
from gemma_edge.engine.protocol import (
    CallConstraint,
    Chunk,
    Event,
    Finished,
    JsonConstraint,
    Message,
    Request,
    Role,
    Sampling,
    TokenScore,
)
from gemma_edge.errors import GemmaEdgeError, SchemaError
from gemma_edge.extraction.decoding import close_schema
from gemma_edge.extraction.job import Held
from gemma_edge.extraction.json_schema import parse_json
from gemma_edge.extraction.schema import Schema, check_source
from gemma_edge.records import dataclass
from gemma_edge.serve import tools as calling
from gemma_edge.serve.documents import Attached
from gemma_edge.serve.protocol import (
    DONE,
    WAITING,
    Json,
    Refusal,
    event,
    invalid,
    logprobs,
    read_json,
    refuse_query,
    text_logprobs,
    unsupported,
)
from gemma_edge.serve.service import Job, Service, stream, unless_left, usage_of

_THOUGHTS: Mapping[str, int | None] = {
    "minimal": 256, "low": 1024, "medium": 4096, "high": 16384, "xhigh": None,
}  # fmt: skip
_FORM = "\n\nAnswer in JSON of this form:\n"
_CALL_OR_FORM = "\n\nWhen no function is to be called, answer in JSON of this form:\n"


# ----------------------------------------------------------------------------
# From a body to a request of the engine.


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A body that was understood. ``schema`` holds the answer, ``calls`` is a grammar of calls;
    with both it is one or the other. ``count`` answers are wanted; ``notes`` are told with them."""

    request: Request
    schema: Schema | None = None
    calls: str = ""
    count: int = 1
    wants_usage: bool = False
    user: str = ""
    notes: tuple[str, ...] = ()

    def requests(self, held: JsonConstraint | CallConstraint | None) -> Iterator[Request]:
        """One for each answer."""
        sampling = self.request.sampling
        for number in range(self.count):
            seed = None if sampling.seed is None else sampling.seed + number
            if number and seed is None:
                seed = secrets.randbits(31)  # else all would be the same
            yield replace(self.request, sampling=replace(sampling, seed=seed), constraint=held)

    def constraints(self) -> Iterator[JsonConstraint | CallConstraint | None]:
        """What to hold the answers to, the most first; the next where one is refused. A schema
        whose answers are too long is not made shorter."""
        from gemma_edge.engine.constraint import NO_END  # noqa: PLC0415  (llguidance)

        if self.schema is None:
            yield CallConstraint(lark=self.calls) if self.calls else None
        else:
            held = Held(close_schema(self.schema.source, nullable=False))
            for each in held:
                refused = yield (
                    CallConstraint(lark=self.calls, answer=each) if self.calls else each
                )
                if isinstance(refused, SchemaError):
                    if refused.message.endswith(NO_END):
                        return
                    held.refuse(refused)


def _sampling(body: Json) -> Sampling:
    seed = body.get("seed")
    names = ("temperature", "top_p", "top_k", "min_p")
    return Sampling(
        **{name: body[name] for name in names if name in body},
        seed=None if seed is None else seed % (1 << 32),
    )


def _stops(body: Json) -> tuple[str, ...]:
    stop = body.get("stop", ())
    return (stop,) if isinstance(stop, str) else tuple(stop)


def _limit(service: Service, body: Json) -> int | None:
    asked = {body[name] for name in ("max_completion_tokens", "max_tokens") if name in body}
    if len(asked) > 1:
        raise invalid("`max_tokens` and `max_completion_tokens` differ", "max_tokens")
    most = service.limits.max_tokens
    return min(filter(None, (*asked, most)), default=None)


def _check_begun(schema: Schema | None, effort: str) -> None:
    """Raises Refusal: an answer that somebody has begun does not go on so."""
    if schema is not None:
        text = "a schema is held from the beginning of an answer, and the last message has begun it"
        raise unsupported(text, "response_format", hint="end with a message of the user")
    if effort != "none":
        text = "thoughts stand before an answer, and the last message has begun it"
        raise unsupported(text, "reasoning_effort", hint="end with a message of the user")


def _top(body: Json) -> int:
    top: int = body.get("top_logprobs", 0)
    if top and not body.get("logprobs"):
        raise invalid("`top_logprobs` goes with `logprobs`", "top_logprobs")
    return top


def read_chat(service: Service, body: Json) -> Asked:
    """What a chat's body asks; takes images apart, so it is for a thread.
    Raises Refusal: it cannot be done; InputError: an image cannot be read."""
    choice, tools = _tools(body)
    schema = _schema(body)
    if choice == "required":
        schema = None  # nothing is answered but calls
    calls, options = "", body.get("stream_options")
    if tools and choice != "none":
        if not service.engine.info.calls:
            raise unsupported("this model was not made to call functions", "tools")
        parallel = body.get("parallel_tool_calls", True)
        try:
            calls = calling.grammar(
                _chosen(tools, body), choice, parallel=parallel, held=schema is not None
            )
        except SchemaError as error:
            raise unsupported(error.message, "tools", hint=error.hint) from None
    if options is not None and not body.get("stream"):
        raise invalid("`stream_options` goes with `stream`", "stream_options")
    reader = _Reader(service, body["messages"])
    messages, goes_on = reader.read()
    if calls:
        messages = _declared(messages, tools)
    if schema is not None and schema.source.keys() - {"type"}:
        messages = _with_form(messages, schema, _CALL_OR_FORM if calls else _FORM)
    effort = body.get("reasoning_effort", "none")
    if effort != "none" and not service.engine.info.thinks:
        raise unsupported("this model does not think", "reasoning_effort", hint="leave it out")
    if goes_on and body["messages"][-1]["role"] == "assistant":
        _check_begun(schema, effort)
    return Asked(
        request=Request(
            messages=tuple(messages), think=effort != "none", goes_on=goes_on,
            max_tokens=_limit(service, body), max_thought_tokens=_THOUGHTS.get(effort),
            sampling=_sampling(body), stop=_stops(body), scored=body.get("logprobs", False),
            top=_top(body),
        ),
        schema=schema, calls=calls, count=body.get("n", 1), user=body.get("user", ""),
        notes=reader.notes,
        wants_usage=bool((options or {}).get("include_usage")),
    )  # fmt: skip


def _tools(body: Json) -> tuple[calling.Choice, list[calling.Tool]]:
    """Whether functions may or must be called, and which there are."""
    tools = [
        calling.Tool(each["function"]["name"], each["function"].get("description", ""),
                     each["function"].get("parameters") or {})
        for each in body.get("tools", ())
    ]  # fmt: skip
    names = [each.name for each in tools]
    if twice := {name for name in names if names.count(name) > 1}:
        raise invalid(f"there are two functions `{min(twice)}`", "tools")
    for each in tools:
        if each.parameters:
            try:
                check_source(each.parameters, f"the parameters of {each.name}")
            except SchemaError as error:
                raise invalid(error.message, "tools") from None
    choice = body.get("tool_choice", "auto" if tools else "none")
    if choice != "none" and not tools:
        raise invalid("`tool_choice` without `tools`", "tool_choice")
    if not tools and "parallel_tool_calls" in body:
        raise invalid("`parallel_tool_calls` without `tools`", "parallel_tool_calls")
    return ("required" if isinstance(choice, dict) else choice), tools


def _chosen(tools: list[calling.Tool], body: Json) -> list[calling.Tool]:
    """Those that may be called: one, where one was named."""
    choice = body.get("tool_choice", "auto")
    if not isinstance(choice, dict):
        return tools
    name = choice["function"]["name"]
    chosen = [each for each in tools if each.name == name]
    if not chosen:
        raise invalid(f"there is no function `{name}` among `tools`", "tool_choice")
    return chosen


def _declared(messages: list[Message], tools: Sequence[calling.Tool]) -> list[Message]:
    """With the functions in the system turn, which is made where there is none."""
    head = messages[0] if messages[0].role == "system" else Message("system", "")
    parts = calling.Parts()
    parts.say(head.text.strip())
    for tool in tools:
        calling.declare(tool, parts)
    rest = messages[1:] if messages[0].role == "system" else messages
    return [replace(head, parts=parts.finish()), *rest]


def _schema(body: Json) -> Schema | None:
    form = body.get("response_format", {"type": "text"})
    if form["type"] == "text":
        return None
    if form["type"] == "json_object":
        return Schema({"type": "object"})
    try:
        return Schema(check_source(form["json_schema"]["schema"], "the schema"))
    except SchemaError as error:
        raise invalid(error.message, "response_format", hint=error.hint) from None


def _with_form(messages: list[Message], schema: Schema, says: str) -> list[Message]:
    """The form of the answer behind what a person asked last, so that the model knows its names."""
    places = [place for place, each in enumerate(messages) if each.role == "user"]
    if not places:
        return messages
    last = messages[places[-1]]
    asked = replace(last, text=f"{last.text}{says}{schema.form()}")
    return [*messages[: places[-1]], asked, *messages[places[-1] + 1 :]]


class _Reader:
    """OpenAI's messages to those of the engine. Calls, what came of them and what the model said
    then are one turn."""

    def __init__(self, service: Service, messages: Sequence[Json]) -> None:
        self._attached = Attached(service)
        self._messages = messages
        self._read: list[Message] = []
        self._parts: calling.Parts | None = None  # of the model's turn that is open
        self._waiting: dict[str, str] = {}  # calls without a result: their functions by their ids
        users = [place for place, each in enumerate(messages) if each["role"] == "user"]
        self._last_user = users[-1] if users else -1

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of how the documents were read."""
        return tuple(self._attached.notes)

    def read(self) -> tuple[list[Message], bool]:
        """The messages, and whether the last one is the model's and goes on."""
        for place, each in enumerate(self._messages):
            where = f"messages[{place}]"
            if self._waiting and each["role"] != "tool":
                raise invalid(f"the call `{min(self._waiting)}` has no result", where)
            if each["role"] == "tool":
                self._add_result(each, where)
            elif each["role"] == "assistant":
                self._add_answer(each, place, where)
            else:
                self._end_turn()
                role: Role = "user" if each["role"] == "user" else "system"
                self._read.append(self._message(role, each["content"], where))
        if self._waiting:
            raise invalid(f"the call `{min(self._waiting)}` has no result", "messages")
        self._end_turn()
        if self._last_user < 0 and self._messages[-1]["role"] == "assistant":
            raise invalid("there is no message of the user", "messages")
        return self._read, self._messages[-1]["role"] in ("tool", "assistant")

    def _add_answer(self, message: Json, place: int, where: str) -> None:
        text = self._message("model", message.get("content") or "", where).text
        calls = message.get("tool_calls") or ()
        if not text and not calls:
            raise invalid("an answer without content and calls", where)
        if not calls and self._parts is None:
            self._read.append(Message("model", text))
            return
        parts = self._parts = self._parts or calling.Parts()
        thought = message.get("reasoning_content")
        if calls and thought and place > self._last_user:
            calling.thought(thought, parts)
        is_last = place == len(self._messages) - 1  # which goes on as it ends
        parts.say(text if is_last else text.strip())
        for each in calls:
            name, identity = each["function"]["name"], each["id"]
            if identity in self._waiting:
                raise invalid(f"there are two calls `{identity}`", where)
            calling.call(name, _arguments(each["function"]["arguments"], where), parts)
            self._waiting[identity] = name

    def _add_result(self, message: Json, where: str) -> None:
        name = self._waiting.pop(message["tool_call_id"], None)
        if name is None or self._parts is None:
            raise invalid(f"there is no call `{message['tool_call_id'][:80]}` before this", where)
        text = self._message("user", message["content"], where).text
        calling.result(name, text, self._parts)

    def _end_turn(self) -> None:
        if self._parts is not None:
            parts, self._parts = self._parts.finish(), None
            self._read.append(Message("model", "".join(parts), parts=parts))

    def _message(self, role: Role, content: Any, where: str) -> Message:
        """Its documents, and then what was written."""
        if isinstance(content, str):
            return Message(role, content)
        texts, files, pictures = [], [], list[Picture]()
        for place, part in enumerate(content):
            at = f"{where}.content[{place}]"
            if part["type"] == "text":
                texts.append(part["text"])
            elif part["type"] == "image_url":
                pictures.append(self._attached.picture(part["image_url"], at))
            else:
                file, drawn = self._attached.file(part["file"], at)
                files += [file] if file else []
                pictures += drawn
        ends = tuple(accumulate(len(file) + len("\n\n") for file in files))
        text = "\n\n".join([*files, "\n".join(texts)])
        return Message(role, text, tuple(pictures), documents=ends)


def _arguments(text: str, where: str) -> Json:
    try:
        value = parse_json(text or "{}", "the arguments")
    except GemmaEdgeError as error:
        raise invalid(error.message, where) from None
    if not isinstance(value, dict):
        raise invalid("the arguments of a call are no JSON object", where)
    return value


def read_completion(service: Service, body: Json) -> Asked:
    prompt = body["prompt"] if isinstance(body["prompt"], str) else body["prompt"][0]
    options = body.get("stream_options")
    if options is not None and not body.get("stream"):
        raise invalid("`stream_options` goes with `stream`", "stream_options")
    return Asked(
        request=Request(
            messages=(Message("user", prompt),), raw=True, max_tokens=_limit(service, body),
            sampling=_sampling(body), stop=_stops(body), scored="logprobs" in body,
            top=body.get("logprobs", 0),
        ),
        count=body.get("n", 1), user=body.get("user", ""),
        wants_usage=bool((options or {}).get("include_usage")),
    )  # fmt: skip


# ----------------------------------------------------------------------------
# From the engine's events to answers.


def work(service: Service, asked: Asked, job: Job) -> None:
    """In a thread: each answer after the other; (number, event) is told. What cannot be held is
    asked for once more with as much as can be."""
    constraints = asked.constraints()
    held = next(constraints)
    for number in range(asked.count):
        while True:
            request = list(asked.requests(held))[number]
            try:
                for each in service.answer(job, request):
                    job.tell((number, each))
                break
            except SchemaError as error:
                try:
                    held = constraints.send(error)  # type: ignore[attr-defined]
                except (StopIteration, SchemaError):
                    where = "tools" if asked.schema is None else "response_format"
                    raise unsupported(error.message, where, hint=error.hint) from None


@dataclass(slots=True)
class Answer:
    """One answer, as far as it is there."""

    text: list[str] = field(default_factory=list)
    thought: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)  # of calls
    scores: list[TokenScore] = field(default_factory=list)
    calls: list[Json] = field(default_factory=list)
    finished: Finished | None = None

    def take(self, piece: Event) -> Json:
        """Follow an event; what is new of it, as a delta."""
        if isinstance(piece, Finished):
            self.finished = piece
        if not isinstance(piece, Chunk):
            return {}
        self.scores += piece.scores
        if piece.channel == "call":
            return self._take_call(piece.text)
        where = self.thought if piece.channel == "thought" else self.text
        where.append(piece.text)
        name = "reasoning_content" if piece.channel == "thought" else "content"
        return {name: piece.text} if piece.text else {}

    def _take_call(self, text: str) -> Json:
        self.written.append(text)
        whole = "".join(self.written)
        if calling.END_CALL not in whole:
            return {}
        self.written = [whole.rpartition(calling.END_CALL)[2]]
        new = []
        for each in calling.read_calls(whole):
            function = {
                "name": each.name,
                "arguments": json.dumps(each.arguments, ensure_ascii=False),
            }
            new.append(
                {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}
            )
        first = len(self.calls)
        self.calls += new
        return {"tool_calls": [{"index": first + place, **each} for place, each in enumerate(new)]}

    @property
    def finish_reason(self) -> str:
        finished = self.finished
        if finished is None or finished.closed_early or finished.reason in ("length", "repetition"):
            return "length"
        return "tool_calls" if self.calls else "stop"

    def check(self, schema: Schema | None) -> None:
        """Raises Refusal: the answer is not what the schema asks for."""
        if schema is None or self.calls or self.finish_reason == "length":
            return
        said = "".join(self.text)
        try:
            problems = schema.checker.check(parse_json(said, "the answer"), strict=True).problems
        except SchemaError as error:
            problems = (error.message,)
        if problems:
            raise Refusal(422, "result_invalid", problems[0], param="response_format", answer=said)

    def message(self) -> Json:
        text = "".join(self.text)
        found: Json = {"role": "assistant", "content": text if text or not self.calls else None}
        found["refusal"] = None
        if self.thought:
            found["reasoning_content"] = "".join(self.thought)
        if self.calls:
            found["tool_calls"] = self.calls
        return found


class Chat:
    """How answers of a chat look."""

    whole, piece, prefix = "chat.completion", "chat.completion.chunk", "chatcmpl"

    @staticmethod
    def first() -> Json:
        return {"delta": {"role": "assistant", "content": ""}}

    @staticmethod
    def part(delta: Json) -> Json:
        return {"delta": delta}

    @staticmethod
    def logprobs(scores: Sequence[TokenScore], _start: int) -> Json:
        return logprobs(scores)

    @staticmethod
    def choice(answer: Answer) -> Json:
        return {"message": answer.message()}


class Completion:
    """How texts that go on look."""

    whole = piece = "text_completion"
    prefix = "cmpl"

    @staticmethod
    def first() -> Json:
        return {}

    @staticmethod
    def part(delta: Json) -> Json:
        return {"text": delta.get("content", "")}

    @staticmethod
    def logprobs(scores: Sequence[TokenScore], start: int) -> Json:
        return text_logprobs(scores, start)

    @staticmethod
    def choice(answer: Answer) -> Json:
        return {"text": "".join(answer.text)}


Look = type[Chat] | type[Completion]


def _head(service: Service, look: Look, kind: str) -> Json:
    identity = f"{look.prefix}-{secrets.token_hex(12)}"
    created = int(service.runtime.store.clock())
    return {"id": identity, "object": kind, "created": created, "model": service.name}


async def _whole(service: Service, client: str, asked: Asked, look: Look) -> Response:
    answers = [Answer() for _ in range(asked.count)]
    async with aclosing(service.ask(client, lambda job: work(service, asked, job))) as events:
        async for told in events:
            for number, each in told:
                answers[number].take(each)
    for answer in answers:
        answer.check(asked.schema)
    scored = asked.request.scored
    choices = [
        {"index": number, **look.choice(answer),
         "logprobs": look.logprobs(answer.scores, 0) if scored else None,
         "finish_reason": answer.finish_reason}
        for number, answer in enumerate(answers)
    ]  # fmt: skip
    usage = usage_of([each.finished for each in answers if each.finished])
    head = {**_head(service, look, look.whole), **_noted(asked)}
    return JSONResponse({**head, "choices": choices, "usage": usage})


def _noted(asked: Asked) -> Json:
    return {"notes": list(asked.notes)} if asked.notes else {}


class _Pieces:
    """The events of a stream, as bytes."""

    def __init__(self, service: Service, asked: Asked, look: Look) -> None:
        self.answers = [Answer() for _ in range(asked.count)]
        self._asked, self._look = asked, look
        self._head = _head(service, look, look.piece)
        self._more: Json = {"usage": None} if asked.wants_usage else {}
        self._notes = _noted(asked)
        self._begun = -1

    def take(self, number: int, piece: Event) -> Iterator[bytes]:
        """What is new of an answer.
        Raises Refusal: it is over, and not what the schema asks for."""
        look, answer = self._look, self.answers[number]
        if number > self._begun:
            self._begun = number
            if part := look.first():
                yield self._choice(number, part)
        start = sum(len(each.text) for each in answer.scores)
        delta, scores = answer.take(piece), piece.scores if isinstance(piece, Chunk) else ()
        if delta or scores:
            part = look.part(delta)
            if self._asked.request.scored and isinstance(piece, Chunk):
                part["logprobs"] = look.logprobs(scores, start)
            yield self._choice(number, part)
        if answer.finished is not None:
            answer.check(self._asked.schema)
            yield self._choice(number, look.part({}), answer.finish_reason)

    def _choice(self, number: int, part: Json, reason: str | None = None) -> bytes:
        one = {"index": number, "logprobs": None, **part, "finish_reason": reason}
        notes, self._notes = self._notes, {}  # with the first one
        return event({**self._head, "choices": [one], **self._more, **notes})

    def end(self) -> bytes:
        """Behind all of them."""
        if not self._asked.wants_usage:
            return DONE
        usage = usage_of([each.finished for each in self.answers if each.finished])
        return event({**self._head, "choices": [], "usage": usage}) + DONE


async def _pieces(
    service: Service, client: str, asked: Asked, look: Look
) -> AsyncGenerator[bytes, None]:
    pieces = _Pieces(service, asked, look)
    asking = service.ask(client, lambda job: work(service, asked, job), lively=True)
    async with aclosing(asking) as events:
        async for told in events:
            new: list[bytes] = []
            try:
                for number, each in told:
                    new += pieces.take(number, each)
            except Refusal:
                if new:
                    yield b"".join(new)
                raise
            if new or not told:
                yield b"".join(new) or WAITING
    yield pieces.end()


async def _respond(
    service: Service, request: HttpRequest, asked: Asked, look: Look, *, streamed: bool
) -> Response:
    client = service.client_of(request, asked.user)
    if streamed:
        return await stream(request, _pieces(service, client, asked, look))
    return await unless_left(request, _whole(service, client, asked, look))


def _check_model(service: Service, body: Json) -> None:
    if body.get("model", service.name) != service.name:
        raise unknown_model(service, body["model"])


def unknown_model(service: Service, name: str) -> Refusal:
    text = f"there is no model `{name[:80]}` here"
    return Refusal(404, "model_not_found", text, param="model", hint=f"{service.name} is there")


async def chat(request: HttpRequest) -> Response:
    """``POST /v1/chat/completions``."""
    service: Service = request.app.state.service
    refuse_query(request)
    body = await read_json(request, "ChatRequest")
    _check_model(service, body)
    asked = await service.read(lambda: read_chat(service, body))
    return await _respond(service, request, asked, Chat, streamed=body.get("stream", False))


async def complete(request: HttpRequest) -> Response:
    """``POST /v1/completions``."""
    service: Service = request.app.state.service
    refuse_query(request)
    body = await read_json(request, "CompletionRequest")
    _check_model(service, body)
    asked = read_completion(service, body)
    return await _respond(service, request, asked, Completion, streamed=body.get("stream", False))


async def tokenize(request: HttpRequest) -> Response:
    """``POST /tokenize``."""
    service: Service = request.app.state.service
    refuse_query(request)
    body = await read_json(request, "TokenizeRequest")
    _check_model(service, body)
    is_text = "messages" not in body
    if is_text:
        wanted = _read_text(body)
    else:
        wanted = (await service.read(lambda: read_chat(service, body))).request
    pieces = body.get("with_pieces", False)
    found = await service.tokenize(wanted, pieces=pieces)
    begins = not is_text or body.get("add_special", "prompt" in body)
    first = 0 if begins else found.added
    tokens: list[Any] = list(found.ids[first:])
    if pieces:
        told = zip(tokens, found.pieces[first:], strict=True)
        tokens = [{"id": token, "piece": _piece(piece)} for token, piece in told]
    return JSONResponse({
        "tokens": tokens, "count": len(tokens), "picture_tokens": found.count.picture_tokens,
        "template_tokens": found.added - first if is_text else found.count.template_tokens,
        "max_model_len": service.context_tokens,
    })  # fmt: skip


def _read_text(body: Json) -> Request:
    """A text as it is; in llama-server's ``content`` control tokens are read as such."""
    text = body["prompt"] if "prompt" in body else body["content"]
    special = body.get("parse_special", "content" in body)
    message = Message("user", text, parts=("", text, "") if special else ())
    return Request(messages=(message,), raw=True)


def _piece(piece: str) -> str | list[int]:
    """As llama-server: the bytes, where they are no text of their own."""
    data = piece.encode("utf-8", "surrogateescape")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return list(data)


async def detokenize(request: HttpRequest) -> Response:
    """``POST /detokenize``."""
    service: Service = request.app.state.service
    refuse_query(request)
    body = await read_json(request, "DetokenizeRequest")
    _check_model(service, body)
    tokens = tuple(int(each) for each in body["tokens"])
    return JSONResponse({"content": await service.detokenize(tokens)})


def describe_model(service: Service) -> Json:
    """The model, as a list of models tells it."""
    info, prepared = service.engine.info, service.engine.prepared
    sampling = {
        name: getattr(info.sampling, name) for name in ("temperature", "top_p", "top_k", "min_p")
    }
    return {
        "id": service.name, "object": "model", "created": 0, "owned_by": "gemma-edge",
        "title": prepared.brief.partition(" on ")[0], "context_tokens": info.context_tokens,
        "vision": info.vision, "sampling": sampling,
    }  # fmt: skip


async def models(request: HttpRequest) -> Response:
    """``GET /v1/models``."""
    refuse_query(request)
    return JSONResponse({"object": "list", "data": [describe_model(request.app.state.service)]})


async def model(request: HttpRequest) -> Response:
    """``GET /v1/models/NAME``."""
    service: Service = request.app.state.service
    refuse_query(request)
    if request.path_params["model"] != service.name:
        raise unknown_model(service, request.path_params["model"])
    return JSONResponse(describe_model(service))
