"""Documents and images that clients send: read to JSON with evidence, described, put in a chat."""

import base64
import binascii
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, replace
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from gemma_edge.app.batch import Source
from gemma_edge.app.describe import ImageSet, Questions, look_with, parse_questions
from gemma_edge.app.extract import Extraction, extract_with, read_recipe, read_source
from gemma_edge.app.request import DescribeRequest, ExtractRequest, RecipeRequest
from gemma_edge.app.runtime import Told
from gemma_edge.chat.conversation import PAGE_TOKENS
from gemma_edge.chat.journal import Attachment, render_file
from gemma_edge.documents.document import (
    MAX_TOKENS,
    Document,
    PageNumbers,
    Picture,
    codec_of,
    parse_page_numbers,
    shown,
)
from gemma_edge.documents.images import fit_picture, read_image, render_page
from gemma_edge.engine.protocol import Chunk, Finished, Notice, Prefill, Sampling
from gemma_edge.errors import GemmaEdgeError, InputError
from gemma_edge.extraction.records import evidence_record
from gemma_edge.extraction.schema import fields_of, is_file_name
from gemma_edge.serve.protocol import (
    DONE,
    WAITING,
    Json,
    Refusal,
    check,
    event,
    invalid,
    refuse_query,
    unsupported,
)
from gemma_edge.serve.service import Job, Service, stream, unless_left, usage_of

_FIELDS = 40
_LONGEST_NAME = 200  # characters
_SHORT = 4 << 20  # bytes of a field that is no file


class Form:
    """What was uploaded: ``texts`` by their names, and ``sources``, of which nothing is a path."""

    def __init__(self, texts: dict[str, str], sources: Sequence[Source]) -> None:
        self.texts, self.sources = texts, sources

    def is_on(self, name: str) -> bool:
        return self.texts.get(name) == "true"

    def number(self, name: str) -> int | None:
        return int(self.texts[name]) if name in self.texts else None

    @property
    def pages(self) -> PageNumbers | None:
        if "pages" not in self.texts:
            return None
        try:
            return parse_page_numbers(self.texts["pages"])
        except ValueError:
            raise invalid("`pages` names no pages", "pages", hint="like 1-3,8,-1") from None


@asynccontextmanager
async def _form(request: HttpRequest, name: str, most_files: int) -> AsyncIterator[Form]:
    """The form, checked by the schema of this name.
    Raises Refusal: it is not what it should be."""
    refuse_query(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise Refusal(415, "invalid", "the body is not multipart/form-data", hint="Content-Type")
    try:
        form = await request.form(max_files=most_files, max_fields=_FIELDS, max_part_size=_SHORT)
    except HTTPException as error:
        raise invalid(f"the form cannot be read: {error.detail}") from None
    try:
        texts: dict[str, str] = {}
        sources: list[Source] = []
        for key, value in form.multi_items():
            if isinstance(value, UploadFile) != (key == "file"):
                raise invalid(f"`{key[:80]}` is {'a' if key != 'file' else 'no'} file", key[:80])
            if key in texts:
                raise invalid(f"`{key[:80]}` is there twice", key[:80])
            if isinstance(value, UploadFile):
                sources.append(Source(_file_name(value.filename), None, await value.read()))
            else:
                texts[key] = value
        _check_form(texts, len(sources), name)
        yield Form(texts, sources)
    finally:
        await form.close()


def _file_name(name: str | None) -> str:
    """What a client calls a file, without folders and signs that cannot be shown."""
    named = (shown(name) if name else "")[-_LONGEST_NAME:].replace("\\", "/")
    return named.rpartition("/")[2] or "file"


def _check_form(texts: dict[str, str], files: int, name: str) -> None:
    known: Json = dict(texts)
    if files:
        known["file"] = [""] * files if name == "DescribeRequest" else ""
    check(known, name)
    if name == "ExtractRequest" and files > 1:
        raise invalid("there is more than one file", "file")
    if is_file_name(texts.get("schema", "")):
        raise invalid("a schema is a text here, no file", "schema")
    if "encoding" in texts and codec_of(texts["encoding"]) is None:
        raise invalid("there is no such encoding", "encoding", hint="like cp1250")


def _telling(service: Service, job: Job, finished: list[Finished]) -> Callable[[Told], None]:
    """What the work says while it goes on, for a client that may listen to it."""

    def tell(told: Told) -> None:
        if isinstance(told, Finished):
            finished.append(told)
            service.metrics.finished(told)
        if isinstance(told, Chunk):
            item: Json = {"text" if told.channel == "answer" else "thought": told.text}
        elif isinstance(told, Prefill):
            item = {
                "progress": {"done_tokens": told.done_tokens, "total_tokens": told.total_tokens}
            }
        elif isinstance(told, Notice):
            item = {"note": told.text}
        else:
            item = {}
        job.tell(item)

    return tell


async def _respond(
    service: Service, request: HttpRequest, work: Callable[[Job], None], *, streamed: bool
) -> Response:
    """The result of work that tells one, alone or behind what it tells on the way."""
    client = service.client_of(request)

    async def events() -> AsyncGenerator[bytes, None]:
        async with aclosing(service.ask(client, work, lively=True)) as asked:
            async for told in asked:
                yield b"".join(event(item) for item in told if item) or WAITING
        yield DONE

    async def result() -> Any:
        found = None
        async with aclosing(service.ask(client, work)) as asked:
            async for told in asked:
                found = next((item["result"] for item in told if "result" in item), found)
        return found

    if streamed:
        return await stream(request, events())
    return JSONResponse(await unless_left(request, result()))


# ----------------------------------------------------------------------------
# To JSON.


async def extract(request: HttpRequest) -> Response:
    """``POST /v1/extract``."""
    service: Service = request.app.state.service
    async with _form(request, "ExtractRequest", 1) as form:
        texts = form.texts
        how = ExtractRequest(
            pages=form.pages, password=texts.get("password"), encoding=texts.get("encoding"),
            vision=texts.get("vision", "auto"),  # type: ignore[arg-type]
            strategy=texts.get("strategy", "auto"),  # type: ignore[arg-type]
            strict=form.is_on("strict"), located=form.is_on("locate"),
            hidden=form.is_on("hidden"), max_tokens=form.number("max_tokens"),
        )  # fmt: skip
        what = RecipeRequest(schema=texts.get("schema"), recipe=texts.get("recipe"), files=False)
        source, reviewed = form.sources[0], form.is_on("review")
        notes: list[str] = []
        folders = [service.runtime.store.data_dir / "recipes"]
        asked = await service.read(lambda: read_recipe(what, folders, notes.append))
        document = await unless_left(request, service.read(lambda: _read(source, how)))

        def work(job: Job) -> None:
            finished: list[Finished] = []

            def note(text: str) -> None:
                notes.append(text)
                job.tell({"note": text})

            runtime = replace(
                service.runtime, note=note, on_event=_telling(service, job, finished),
            )  # fmt: skip
            found = extract_with(service.engine, document, asked, how, runtime)
            job.tell({"result": _as_document(service, source, found, notes, finished, reviewed)})

        return await _respond(service, request, work, streamed=form.is_on("stream"))


def _read(source: Source, how: ExtractRequest) -> Document:
    """Raises Refusal: it wants a password, or another one, which a client asks somebody for."""
    from gemma_edge.documents.pdf import encrypted  # noqa: PLC0415  (pdfium)

    try:
        return read_source(source, how)
    except InputError as error:
        if error.message != encrypted(source.name, how.password).message:
            raise
        hint = "send its `password`"
        raise Refusal(400, "encrypted", error.message, param="password", hint=hint) from None


def _as_document(  # noqa: PLR0913, PLR0917  (what was read, by whom, and what was said)
    service: Service, source: Source, found: Extraction, notes: Sequence[str],
    finished: list[Finished], reviewed: bool,
) -> Json:  # fmt: skip
    recognized = found.recognized.as_data() if found.recognized is not None else None
    return {
        "file": source.name, "data": found.data, "valid": not found.problems,
        "problems": list(found.problems), "notes": [*notes, *found.notes],
        "recipe": found.recipe.name, "recognized": recognized,
        "pages": len(found.document.pages), "seconds": round(found.seconds, 3),
        "model": service.name, "evidence": [evidence_record(e) for e in found.answer.evidence],
        "computed": dict(found.answer.computed), "checks_total": len(found.recipe.checks),
        "checks": [asdict(each) for each in found.answer.checks], "usage": usage_of(finished),
        "review": _review(found) if reviewed else None,
    }  # fmt: skip


def _review(found: Extraction) -> Json:
    from gemma_edge.extraction.review import draw_pages, view_review  # noqa: PLC0415  (jinja2)

    answer = found.answer
    images = draw_pages(found.document, answer.evidence)
    review = view_review(found.document, answer.data, answer.evidence, images, answer.computed)
    return review.as_document()


async def recipes(request: HttpRequest) -> Response:
    """``GET /v1/recipes``."""
    service: Service = request.app.state.service
    refuse_query(request)

    def load() -> list[Json]:
        from gemma_edge.extraction.recipe_file import load_all  # noqa: PLC0415

        found, _ = load_all([service.runtime.store.data_dir / "recipes"])
        return [
            {"name": each.name, "description": each.description,
             "fields": list(fields_of(each.schema.source))}
            for each in found
        ]  # fmt: skip

    return JSONResponse({"data": await service.read(load)})


# ----------------------------------------------------------------------------
# To words.


async def describe(request: HttpRequest) -> Response:
    """``POST /v1/describe``."""
    service: Service = request.app.state.service
    async with _form(request, "DescribeRequest", service.limits.images) as form:
        questions = _questions(form)
        if not service.engine.info.vision:
            raise invalid("this model was loaded without a projector, it sees no images", "file")

        def look() -> ImageSet:
            return look_with(service.engine, form.sources, questions, service.runtime)

        opened = await unless_left(request, service.read(look))

        def work(job: Job) -> None:
            finished: list[Finished] = []
            runtime = replace(service.runtime, on_event=_telling(service, job, finished))
            images = ImageSet(service.engine, opened.views, questions, runtime)
            found = images.ask(questions.tasks[0])
            pictures = [picture for view in opened.views for picture in view.pictures]
            job.tell({"result": {
                "answer": found.data, "text": str(found), "problems": list(found.problems),
                "notes": list(found.notes), "model": service.name, "usage": usage_of(finished),
                "images": [
                    {"name": each.name, "width": each.width, "height": each.height,
                     "tokens": each.tokens, "resized": each.lost or None}
                    for each in pictures
                ],
            }})  # fmt: skip

        return await _respond(service, request, work, streamed=form.is_on("stream"))


def _questions(form: Form) -> Questions:
    texts = form.texts
    kind: Any = texts.get("as", "json" if "schema" in texts else "caption")
    temperature = float(texts["temperature"]) if "temperature" in texts else None
    sampling = Sampling(temperature=temperature, seed=form.number("seed"))
    try:
        return parse_questions(
            DescribeRequest(
                kind=kind, questions=(texts["question"],) if "question" in texts else (),
                schema=texts.get("schema"), language=texts.get("language", ""), files=False,
                detail_tokens=form.number("detail_tokens"), pages=form.pages,
                password=texts.get("password"), max_tokens=form.number("max_tokens"),
                sampling=sampling,
            )
        )  # fmt: skip
    except GemmaEdgeError as error:
        raise invalid(error.message, hint=error.hint) from None


# ----------------------------------------------------------------------------
# In a chat: images and documents that stand in a message as base64.

_LOW_TOKENS = 70  # of a picture seen from afar: the least that Gemma 4 was trained with
_IMAGE = re.compile(r"data:image/[a-z0-9.+-]{1,40}(?:;[a-z0-9=-]{1,40}){0,2};base64,", re.ASCII)
_FILE = re.compile(r"data:[\w.+-]{1,80}/[\w.+-]{1,80}(?:;[\w=.-]{1,40}){0,2};base64,", re.ASCII)
_SEEN = ("scan", "mixed")  # pages whose text stands in a picture


class Attached:
    """What goes with the messages of a chat, read one after another; ``notes`` are what a person
    should know of it. It is for a thread.
    Raises Refusal: there is too much of it, or it cannot be read."""

    def __init__(self, service: Service) -> None:
        self.notes: list[str] = []
        self._service = service
        self._count = 0

    def picture(self, image: Json, where: str) -> Picture:
        """An image, in the detail that is asked for."""
        self._add(1, where)
        self._need_eyes("this model was loaded without a projector, it sees no images", where)
        budgets = {"low": _LOW_TOKENS, "high": MAX_TOKENS}
        wanted = budgets.get(image.get("detail", "auto"), self._usual_tokens)
        name = f"image {self._count}"
        opened = read_image(decode_image(image["url"], where), name)
        return fit_picture(opened, name, min(wanted, self._most_tokens))

    def file(self, file: Json, where: str) -> tuple[str, list[Picture]]:
        """The text of a document, under its name, and its pages that are pictures of text."""
        self._add(1, where)
        source = Source(_file_name(file.get("filename")), None, decode_file(file, where))
        try:
            document = _read(source, ExtractRequest())
        except InputError as error:
            raise invalid(error.message, where, hint=error.hint) from None
        except Refusal as refusal:
            hint = "/v1/extract takes a password"
            raise Refusal(
                refusal.status, refusal.code, refusal.message, param=where, hint=hint
            ) from None
        self.notes += document.notes
        scans = [page.number for page in document.pages if page.kind in _SEEN]
        text = document.text
        if not (scans or text.strip()):
            raise invalid(f"{document.name} has nothing to read in it", where)
        if scans:
            named = f"page {scans[0]} of {document.name} is a picture of text"
            self._need_eyes(f"{named}, and this model sees no images", where)
            self._add(len(scans), where)
        budget = min(PAGE_TOKENS, self._most_tokens) if scans else 0
        drawn = [one for page in scans for one in render_page(document, page, max_tokens=budget)]
        return render_file(Attachment(document.name, text)) if text.strip() else "", drawn

    def _add(self, count: int, where: str) -> None:
        self._count += count
        most = self._service.limits.images
        if self._count > most:
            raise Refusal(
                413, "too_large", f"more than {most} images, files and scanned pages", param=where,
                hint="--max-images",
            )  # fmt: skip

    def _need_eyes(self, why: str, where: str) -> None:
        if not self._service.engine.info.vision:
            raise unsupported(why, where)

    @property
    def _usual_tokens(self) -> int:
        return self._service.engine.prepared.files.image_tokens

    @property
    def _most_tokens(self) -> int:
        """Of one picture: what memory was planned for, and what the model was trained with."""
        engine = self._service.engine
        plan = engine.info.plan or engine.prepared.plan
        most = self._usual_tokens if engine.prepared.files.bundled else MAX_TOKENS
        return min(most, plan.image_tokens or most)


def decode_image(url: str, where: str) -> bytes:
    """The bytes of a data URI; nothing else is opened."""
    head = _IMAGE.match(url[:200])
    if head is None:
        said = "an image is a data URI, data:image/png;base64,…; no address is opened"
        raise unsupported(said, f"{where}.image_url.url")
    return _decode(url[head.end() :], "the image is not base64", f"{where}.image_url.url")


def decode_file(file: Json, where: str) -> bytes:
    """The bytes of a file, as a data URI or base64 alone; nothing is opened."""
    if "file_id" in file:
        said = "`file_id` is not supported: no file is kept here"
        raise unsupported(said, f"{where}.file.file_id", hint="send the file as `file_data`")
    at = f"{where}.file.file_data"
    if "file_data" not in file:
        raise invalid("`file_data` is missing", at)
    data: str = file["file_data"]
    head = _FILE.match(data[:300])
    said = "a file is base64, data:application/pdf;base64,…; no path and no address is opened"
    return _decode(data[head.end() if head else 0 :], said, at)


def _decode(text: str, why_not: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(why_not, where) from None
