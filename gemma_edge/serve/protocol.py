"""What goes over the wire: bodies that are checked, errors as OpenAI's, events of a stream."""

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import accumulate
from typing import Any

import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gemma_edge.engine.protocol import TokenScore
from gemma_edge.errors import (
    DoesNotFit,
    EngineStopped,
    GemmaEdgeError,
    InputError,
    OutOfMemory,
    ProjectorError,
    UsageError,
)
from gemma_edge.extraction.json_schema import Checker, parse_json, render_path

Json = dict[str, Any]

UNAUTHORIZED, _SERVER = 401, 500  # HTTP; from the latter on it is the server
_KINDS = {UNAUTHORIZED: "authentication_error", 429: "rate_limit_error"}
_LONGEST_ERROR = 400  # characters
_LARGE = 1 << 18  # bytes of a body that others are not to wait for
DONE = b"data: [DONE]\n\n"
WAITING = b": waiting\n\n"


class Refusal(Exception):
    """An answer that is an error. ``param`` is the member that it is about, ``retry_after`` in
    seconds, ``answer`` what the model said, where that is what is wrong."""

    def __init__(  # noqa: PLR0913  (each is a part of what is told)
        self, status: int, code: str, message: str, *, param: str | None = None, hint: str = "",
        retry_after: int | None = None, answer: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.param, self.hint, self.retry_after, self.answer = param, hint, retry_after, answer

    def as_document(self) -> Json:
        """As OpenAI's errors, with a hint."""
        kind = "invalid_request_error" if self.status < _SERVER else "server_error"
        kind = {UNAUTHORIZED: "authentication_error", 429: "rate_limit_error"}.get(
            self.status, kind
        )
        error: Json = {
            "message": self.message,
            "type": kind,
            "param": self.param,
            "code": self.code,
        }
        if self.hint:
            error["hint"] = self.hint
        if self.answer is not None:
            error["answer"] = self.answer
        return {"error": error}

    def response(self) -> Response:
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.as_document(), self.status, headers)


def invalid(message: str, param: str | None = None, *, hint: str = "") -> Refusal:
    return Refusal(400, "invalid", message, param=param, hint=hint)


def unsupported(message: str, param: str | None = None, *, hint: str = "") -> Refusal:
    return Refusal(400, "unsupported", message, param=param, hint=hint)


def refusal_of(error: GemmaEdgeError) -> Refusal:
    """What an error of the package is to a client."""
    if isinstance(error, EngineStopped):
        return Refusal(503, "engine_stopped", error.message, hint=error.hint, retry_after=1)
    if isinstance(error, DoesNotFit) and not isinstance(error, OutOfMemory):
        return Refusal(400, "context_length_exceeded", error.message, param="messages")
    if isinstance(error, InputError | UsageError | ProjectorError):
        return invalid(error.message, hint=error.hint)
    return Refusal(500, "failed", error.message, hint=error.hint)


# ----------------------------------------------------------------------------
# Bodies.


@cache
def api() -> Json:
    """The OpenAPI document."""
    text = files("gemma_edge.serve").joinpath("openapi.yaml").read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document: Json = yaml.load(text, loader)  # noqa: S506  (a safe one)
    return document


@cache
def _checker(name: str) -> Checker:
    text = json.dumps(api()["components"]["schemas"]).replace("#/components/schemas/", "#/$defs/")
    return Checker({"$ref": f"#/$defs/{name}", "$defs": json.loads(text)})


def check(value: Any, name: str, at: tuple[str | int, ...] = ()) -> None:
    """Raises Refusal: the value is not what the schema of this name in the document says; ``at`` is
    where it stands in the body."""
    known = api()["components"]["schemas"][name]["properties"]
    if isinstance(value, dict) and (strangers := [key for key in value if key not in known]):
        place = render_path((*at, strangers[0][:80]))
        raise unsupported(f"`{place}` is not supported", place)
    verdict = _checker(name).check(value, strict=True)
    if not verdict.problems:
        return
    path = verdict.failing[0] if verdict.failing else ()
    _look_closer(value, path, at)
    place = render_path((*at, *path))
    if path and "const" in (only := known.get(str(path[0]), {})):
        raise unsupported(f"`{place}` can only be {json.dumps(only['const'])}", place)
    said = verdict.problems[0].removeprefix("the answer: ")
    said = said if not at else f"{render_path(at)}: {said}"
    raise invalid(said[:_LONGEST_ERROR], place or None)


# Of values that may be one of several things: which member says what it is, and as what it is then
# to be judged.
_TAGS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "messages": ("role", {
        "user": "UserMessage", "system": "SystemMessage", "developer": "SystemMessage",
        "assistant": "AssistantMessage", "tool": "ToolMessage",
    }),
    "content": ("type", {"text": "TextPart", "image_url": "ImagePart", "file": "FilePart"}),
    "response_format": ("type", {
        "text": "PlainFormat", "json_object": "PlainFormat", "json_schema": "SchemaFormat",
    }),
}  # fmt: skip


def _look_closer(value: Any, path: Sequence[str | int], at: tuple[str | int, ...]) -> None:
    """Raises Refusal: what is wrong inside of a value that is none of several things."""
    head, inner = (path[0], value[path[0]]) if path and isinstance(value, dict) else ("", None)
    if head not in _TAGS:
        return
    tag, kinds = _TAGS[str(head)]
    for step, each in enumerate(inner) if isinstance(inner, list) else (("", inner),):
        place = (*at, head, *([step] if step != "" else []))
        if not isinstance(each, dict) or tag not in each:
            continue
        if (kind := kinds.get(str(each[tag]))) is None:
            where = render_path((*place, tag))
            said = f"`{str(each[tag])[:80]}` is not supported as `{where}`"
            raise unsupported(said, where, hint=f"one of {', '.join(kinds)}")
        check(each, kind, place)


async def read_json(request: Request, name: str) -> Json:
    """The body, checked by the schema of this name; members that are null are left out.
    Raises Refusal: it is not what it should be."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, "invalid", "the body is not application/json", hint="Content-Type")
    body = await request.body()
    if len(body) > _LARGE:
        return await asyncio.to_thread(_parse, body, name)
    return _parse(body, name)


def _parse(body: bytes, name: str) -> Json:
    try:
        value = parse_json(body.decode("utf-8"), "the body", most=len(body))
    except UnicodeDecodeError:
        raise invalid("the body is not UTF-8 text") from None
    except GemmaEdgeError as error:
        raise invalid(error.message) from None
    if not isinstance(value, dict):
        raise invalid("the body is no JSON object")
    value = {key: _whole(each) for key, each in value.items() if each is not None}
    check(value, name)
    return value


def _whole(value: Any) -> Any:
    """``3.0`` is an integer to JSON Schema, and a float to Python."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def refuse_query(request: Request) -> None:
    """Raises Refusal: there is a query, which nothing would read."""
    if request.url.query:
        name = next(iter(request.query_params), "?")
        raise unsupported(f"`{name[:80]}` in the query is not supported", name[:80])


# ----------------------------------------------------------------------------
# Answers.


def event(value: Mapping[str, Any]) -> bytes:
    """One event of a stream."""
    return b"data: " + render(value) + b"\n\n"


def render(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def logarithm(probability: float) -> float:
    """As OpenAI gives it, where -9999 stands for a token that cannot be."""
    return math.log(probability) if probability > 0 else -9999.0


def logprobs(scores: Sequence[TokenScore]) -> Json:
    """How sure the model was of its tokens, as of a chat."""
    return {
        "content": [
            {**_logprob(each.text, each.probability),
             "top_logprobs": [_logprob(*candidate) for candidate in each.top]}
            for each in scores
        ],
        "refusal": None,
    }  # fmt: skip


def _logprob(text: str, probability: float) -> Json:
    data = text.encode("utf-8", "surrogateescape")
    return {"token": _shown(text), "logprob": logarithm(probability), "bytes": list(data)}


def _shown(text: str) -> str:
    """Bytes that are no character as the sign for that."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _text_top(score: TokenScore) -> dict[str, float]:
    found: dict[str, float] = {}
    for text, probability in score.top:
        found.setdefault(_shown(text), logarithm(probability))  # of several that look the same
    return found


def text_logprobs(scores: Sequence[TokenScore], start: int) -> Json:
    """The older form, of texts that go on; ``start`` is how many characters stand before them."""
    places = accumulate((len(each.text) for each in scores), initial=start)
    return {
        "tokens": [each.text for each in scores],
        "token_logprobs": [logarithm(each.probability) for each in scores],
        "top_logprobs": [_text_top(each) for each in scores],
        "text_offset": [place for place, _ in zip(places, scores, strict=False)],
    }  # fmt: skip
