"""Documents and images that are uploaded, over the bundled model."""

import base64
import json
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gemma_edge.engine.protocol import Message
from tests.scripted import ScriptedEngine
from tests.serve.conftest import chat, image_uri, open_server
from tests.serve.test_openai import error, events

ROOT = Path(__file__).resolve().parents[2]
INVOICE = ROOT / "examples" / "invoice.pdf"
SCHEMA = "vendor, invoice_number, total num"


def extract(client: httpx2.Client, **fields: Any) -> httpx2.Response:
    """The invoice, with these fields."""
    files = {"file": (INVOICE.name, INVOICE.read_bytes())}
    return client.post("/v1/extract", files=files, data=fields)


def circle() -> bytes:
    """A picture of a red circle."""
    return base64.b64decode(image_uri("circle", "red").partition(",")[2])


def test_a_document_by_a_schema(client: httpx2.Client) -> None:
    found = extract(client, schema=SCHEMA).json()
    assert found["data"] == {
        "vendor": "Velmora Glassworks Ltd", "invoice_number": "VG-20418", "total": 270.72,
    }  # fmt: skip
    assert (found["file"], found["valid"], found["problems"], found["pages"]) == (
        "invoice.pdf", True, [], 1,
    )  # fmt: skip
    places = {each["path"]: each for each in found["evidence"]}
    assert places["total"]["status"] == "exact"
    assert len(places["total"]["boxes"][0]) == 4
    assert found["usage"]["completion_tokens"] > 0
    assert found["review"] is None


def test_a_json_schema_and_an_example(client: httpx2.Client) -> None:
    source = {"type": "object", "properties": {"total": {"type": "number"}}}
    assert extract(client, schema=json.dumps(source)).json()["data"] == {"total": 270.72}
    assert extract(client, schema='{"total": 1.5}').json()["data"] == {"total": 270.72}


def test_a_document_by_a_recipe_with_its_review(client: httpx2.Client) -> None:
    found = extract(client, recipe="invoice", review="true").json()
    assert (found["recipe"], found["recognized"], found["data"]["total"]) == (
        "invoice", None, 270.72,
    )  # fmt: skip
    review = found["review"]
    assert review["pages"][0]["image"].startswith("data:image/")
    values = {each["name"]: each for each in review["fields"]}
    assert values["total"]["page"] == 1
    assert review["found"] > 5


def test_a_document_of_which_nothing_is_said(client: httpx2.Client) -> None:
    found = extract(client).json()
    assert (found["recipe"], found["recognized"]["recipe"]) == ("invoice", "invoice")
    assert found["recognized"]["probability"] > 0.5


def test_what_is_read_comes_as_it_is_written(client: httpx2.Client) -> None:
    told = list(events(extract(client, schema=SCHEMA, stream="true")))
    text = "".join(each.get("text", "") for each in told)
    assert json.loads(text)["total"] == 270.72 or "270.72" in text
    assert any("note" in each for each in told)
    assert told[-1]["result"]["data"]["vendor"] == "Velmora Glassworks Ltd"


WRONG: dict[str, tuple[dict[str, str], int, str, str | None]] = {
    "a path as recipe": ({"recipe": "examples/recipes/bill.yaml"}, 400, "invalid", None),
    "a path upwards": ({"recipe": "../invoice"}, 400, "invalid", None),
    "a path as schema": ({"schema": "/etc/passwd"}, 400, "invalid", "schema"),
    "a class": ({"schema": "models.py:Bill"}, 400, "invalid", "schema"),
    "an address": ({"schema": '{"$ref": "https://example.org/x"}'}, 400, "invalid", None),
    "a stranger": ({"trust": "true"}, 400, "unsupported", "trust"),
    "a word": ({"strict": "yes"}, 400, "invalid", "strict"),
    "pages": ({"pages": "x"}, 400, "invalid", "pages"),
    "a page": ({"pages": "7"}, 400, "invalid", None),
    "an encoding": ({"encoding": "klingon"}, 400, "invalid", "encoding"),
    "tokens": ({"max_tokens": "0"}, 400, "invalid", "max_tokens"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused(client: httpx2.Client, name: str) -> None:
    fields, status, code, param = WRONG[name]
    assert error(extract(client, **fields)) == (status, code, param)


def test_a_file_of_this_machine_is_never_a_schema(client: httpx2.Client, tmp_path: Path) -> None:
    """Where names of files would be read, this one would be a schema."""
    path = tmp_path / "own.json"
    path.write_text('{"type": "object", "properties": {"secret": {"type": "string"}}}')
    response = extract(client, schema=str(path))
    assert response.status_code == 400
    assert "secret" not in response.text


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ({}, 415), ({"other": b"x"}, 400), ({"file": b""}, 400),
        ({"file": b"%PDF-1.7 broken"}, 400),
        ({"file": b"\0\1\2\3" * 50}, 400),
    ],
)  # fmt: skip
def test_what_is_no_document(client: httpx2.Client, files: dict[str, bytes], status: int) -> None:
    assert error(client.post("/v1/extract", files=files))[0] == status


def test_a_file_is_called_as_its_client_calls_it_and_nothing_more(client: httpx2.Client) -> None:
    name = "../../etc/in\x1bvoice.pdf"
    files = {"file": (name, INVOICE.read_bytes(), "application/pdf")}
    found = client.post("/v1/extract", files=files, data={"schema": SCHEMA}).json()
    assert "/" not in found["file"]
    assert found["file"].isprintable()


def test_recipes_are_named(client: httpx2.Client) -> None:
    found = {each["name"]: each for each in client.get("/v1/recipes").json()["data"]}
    assert {"invoice", "receipt", "general"} <= found.keys()
    assert "total" in found["invoice"]["fields"]


@pytest.mark.parametrize("streamed", [False, True])
def test_an_image_is_described(client: httpx2.Client, streamed: bool) -> None:
    files = {"file": ("a.png", circle(), "image/png")}
    fields = {"temperature": "0", **({"stream": "true"} if streamed else {})}
    response = client.post("/v1/describe", files=files, data=fields)
    found = list(events(response))[-1]["result"] if streamed else response.json()
    assert "red circle" in found["text"]
    assert found["images"][0]["tokens"] > 0
    assert found["usage"]["prompt_tokens"] > found["images"][0]["tokens"]


def test_images_are_looked_at_together_and_asked_about(client: httpx2.Client) -> None:
    files = [("file", ("a.png", circle(), "image/png"))] * 2
    fields = {"question": "How many?", "as": "json", "schema": "count int"}
    found = client.post("/v1/describe", files=files, data=fields).json()
    assert found["answer"].keys() <= {"count"}
    assert len(found["images"]) == 2


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"as": "poem"}, "as"), ({"detail_tokens": "1"}, "detail_tokens"), ({"seed": "-1"}, "seed"),
     ({"as": "ocr", "language": "de"}, None), ({"as": "alt", "schema": "a"}, None),
     ({"tiles": "4"}, "tiles")],
)  # fmt: skip
def test_what_is_wrong_with_a_description(
    client: httpx2.Client, fields: dict[str, str], param: str | None
) -> None:
    response = client.post("/v1/describe", files={"file": ("a.png", circle())}, data=fields)
    assert error(response)[0] == 400
    assert response.json()["error"]["param"] == param


# In a chat.


def file_part(data: bytes, name: str = "bill.pdf", kind: str = "application/pdf") -> dict[str, Any]:
    """A file as OpenAI takes it."""
    uri = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return {"type": "file", "file": {"filename": name, "file_data": uri}}


def ask(client: httpx2.Client, *parts: dict[str, Any], **more: Any) -> httpx2.Response:
    content = [*parts, {"type": "text", "text": "What is the total?"}]
    return chat(client, messages=[{"role": "user", "content": content}], **more)


def asked_with(*parts: dict[str, Any], **more: Any) -> tuple[httpx2.Response, list[Message]]:
    """The answer, and what the engine was asked."""
    engine = ScriptedEngine(["fine"] * 9, **more)
    with open_server(engine) as scripted:
        answer = ask(scripted, *parts)
    return answer, [message for request in engine.requests for message in request.messages]


def test_a_document_is_read_in_a_chat(client: httpx2.Client) -> None:
    answer = ask(client, file_part(INVOICE.read_bytes()), max_tokens=20).json()
    without = ask(client, max_tokens=20).json()
    assert answer["usage"]["prompt_tokens"] > without["usage"]["prompt_tokens"] + 200
    body = {"messages": [{"role": "user", "content": [file_part(INVOICE.read_bytes())]}]}
    counted = client.post("/tokenize", json={**body, "with_pieces": True}).json()
    text = "".join(str(each["piece"]) for each in counted["tokens"])
    assert ("bill.pdf" in text, "Velmora Glassworks" in text) == (True, True)


def test_its_text_stands_before_the_question() -> None:
    bare = {"file_data": base64.b64encode(b"two words").decode()}
    answer, (message,) = asked_with(
        file_part(b"a,b\n1,2\n", "../x/t.csv", "text/csv"), {"type": "file", "file": bare}
    )
    assert answer.status_code == 200
    assert message.text.startswith("t.csv:\n```\n")
    assert message.text.endswith("file:\n```\ntwo words\n```\n\nWhat is the total?")
    assert [message.text[end:][:5] for end in message.documents] == ["file:", "What "]


def test_a_page_that_is_a_picture_is_looked_at() -> None:
    answer, (message,) = asked_with(file_part(circle(), "scan.png", "image/png"))
    assert (answer.status_code, message.text) == (200, "What is the total?")
    assert len(message.pictures) == 1
    refused, asked = asked_with(file_part(circle(), "scan.png", "image/png"), vision=False)
    assert (error(refused)[:2], asked) == ((400, "unsupported"), [])


def test_what_was_left_out_of_a_document_is_told() -> None:
    """As far as a client looks at it."""
    mail = EmailMessage()
    mail["From"] = mail["To"] = mail["Subject"] = "a@example.org"
    mail.set_content("See the file.")
    mail.add_attachment(b"PK\3\4 cut", "application", "zip", filename="thing.zip")
    part = file_part(mail.as_bytes(), "m.eml", "message/rfc822")
    whole, _ = asked_with(part)
    assert "thing.zip" in whole.json()["notes"][0]
    with open_server(ScriptedEngine(["one two"])) as scripted:
        first, *rest = events(ask(scripted, part, stream=True))
    assert first["notes"] == whole.json()["notes"]
    assert not any("notes" in each for each in rest)


def test_a_document_that_is_too_long_is_refused_with_the_numbers(client: httpx2.Client) -> None:
    refused = ask(client, file_part(b"word " * 20_000, "long.txt", "text/plain"))
    assert error(refused) == (400, "context_length_exceeded", "messages")
    assert "8,192" in refused.json()["error"]["message"]


WRONG_FILES: dict[str, tuple[dict[str, Any], str]] = {
    "a number": ({"file_id": "file-1"}, "unsupported"),
    "nothing": ({"filename": "a.pdf"}, "invalid"),
    "an address": ({"file_data": "https://example.org/a.pdf"}, "invalid"),
    "a path": ({"file_data": "file:///etc/passwd"}, "invalid"),
    "no base64": ({"file_data": "data:application/pdf;base64,***"}, "invalid"),
    "no document": (file_part(b"%PDF-1.7 nothing")["file"], "invalid"),
    "nothing in it": (file_part(b"  \n", "a.txt", "text/plain")["file"], "invalid"),
    "a stranger": ({"file_data": "YQ==", "url": "x"}, "invalid"),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_file_that_cannot_be_read_is_told(client: httpx2.Client, name: str) -> None:
    file, code = WRONG_FILES[name]
    status, said, where = error(ask(client, {"type": "file", "file": file}))
    assert (status, said) == (400, code)
    assert str(where).startswith("messages[0].content[0]")


def test_too_many_files_are_refused(client: httpx2.Client) -> None:
    part = file_part(b"a", "a.txt", "text/plain")
    assert error(ask(client, *[part] * 17)) == (413, "too_large", "messages[0].content[16]")
