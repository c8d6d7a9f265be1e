"""What is fuzzed: how inputs of each kind are made, what is done with one, and what may come of it.

Allowed are an answer, and a ``GemmaEdgeError`` of one line that moves nothing on a terminal. Where
the command reads something in a child process, its reader runs here directly, a hundred times as
fast; what that raises unforeseen is read once more as the command does it, and has to be a line.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from fuzzing import seeds
from fuzzing.inputs import (
    NASTY,
    Case,
    bent,
    bent_json,
    damaged,
    repacked,
    strung,
    words_of,
)
from gemma_edge.errors import GemmaEdgeError

Run = Callable[[Case, Path], None]
Change = Callable[[Random, Case, Sequence[bytes]], Case]
_NAMED = 0.05  # of the inputs have a hostile name as well


class Wrong(Exception):
    """An answer that must not be; its text says what is wrong with it."""


class Target(NamedTuple):
    """``words`` are pieces of the format and ``change`` damages it with its structure kept.
    ``door`` is how the command reads it, where ``run`` is only its reader; one input may take
    ``seconds`` and ``memory_bytes``."""

    seeds: Callable[[], list[Case]]
    run: Run
    words: tuple[bytes, ...] = ()
    change: Change | None = None
    strings: bool = True  # whether pieces in a row are worth trying
    door: Run | None = None
    seconds: float = 10.0
    memory_bytes: int = 1 << 30

    def case(self, rng: Random) -> Case:
        """An input, small enough to be slow for a bad reason only."""
        case, way = rng.choice(_seeds(self.seeds)), rng.random()
        words = self.words or NASTY
        if self.change is not None and way < 0.5:
            case = self.change(rng, case, words)
        elif self.strings and way > 0.8:
            head = case.data[: rng.choice((0, 0, 12, 200))]
            case = Case(case.name, head + strung(rng, words))
        else:
            case = Case(case.name, damaged(rng, case.data, words))
        if rng.random() < _NAMED:
            name = rng.choice(NASTY).decode("utf-8", "surrogatepass").replace("/", "")
            case = Case(name[:40] + case.name, case.data)
        return case


@cache
def _seeds(make: Callable[[], list[Case]]) -> list[Case]:
    return make()


# ---------------------------------------------------------------------------- what may come of it

_MOVES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def check_line(text: str, what: str) -> None:
    """Raises Wrong: it is not one line, or holds what a terminal obeys."""
    from gemma_edge.trust import visible

    shown = visible(text)
    bad = [each for each in shown if unicodedata.category(each) == "Cc" or each in _MOVES]
    if bad:
        raise Wrong(f"{what} holds {bad[0]!r}: {text[:80]!r}")
    try:
        shown.encode("utf-8")
    except UnicodeEncodeError:
        raise Wrong(f"{what} holds half of a character: {text[:80]!r}") from None


def check_error(error: GemmaEdgeError) -> None:
    """Raises Wrong: what a person would see is not one line and a hint."""
    check_line(error.message, f"the message of a {type(error).__name__}")
    check_line(error.hint, f"the hint of a {type(error).__name__}")
    if not error.message:
        raise Wrong(f"a {type(error).__name__} without a message")


def _check_document(document: Any) -> None:
    for note in document.notes:
        check_line(note, "a note")
    for page in document.pages:
        check_line(page.reason, "the reason of a page")
        page.text.encode("utf-8")
        for word in page.words:
            if page.text[word.start : word.end] != word.text:
                raise Wrong(f"a word is not where it should stand: {word.text[:40]!r}")


# ---------------------------------------------------------------------------- documents


def _shown(case: Case) -> str:
    from gemma_edge.documents.document import shown

    return shown(case.name)


def _read(case: Case, _folder: Path) -> Any:
    """As the command does it, in whatever process that is."""
    from gemma_edge.documents.open import read_document

    document = read_document(case.data, _shown(case))
    _check_document(document)
    return document


def _apart(kind: str) -> Run:
    """The reader of a kind of document, without the process that it runs in."""

    def run(case: Case, _folder: Path) -> None:
        from gemma_edge.documents.open import reader
        from gemma_edge.isolation import ChildRequest

        asked: dict[str, Any] = {"name": _shown(case), "seconds": 30.0}
        answer: Any = reader(kind)  # type: ignore[arg-type]
        for head, _ in answer(ChildRequest(1, asked, (case.data,))):
            for note in head["notes"]:
                check_line(note, "a note")
            json.dumps(head).encode("ascii")

    return run


@cache
def _bill() -> tuple[Any, Any]:
    from gemma_edge.app.extract import read_recipe
    from gemma_edge.app.request import RecipeRequest

    return read_recipe(RecipeRequest(recipe="invoice"), ()), read_recipe(RecipeRequest(), ())


def _text(case: Case, folder: Path) -> None:
    """Read, recognized, searched for what can be copied, and values of it converted and traced."""
    from gemma_edge.extraction.evidence.evidence import ground
    from gemma_edge.extraction.grounding import find_candidates, mark_leaves
    from gemma_edge.extraction.recognition import guess

    document = _read(case, folder)
    recipe, known = _bill()
    text = document.text
    check_line(guess(document, known).render(document.name), "what kind it is")
    find_candidates(document, mark_leaves(recipe.asked.source))
    data = _data_of(text, recipe.asked.source["properties"])
    result = recipe.finish(data, text)
    for line in (*result.notes, *(failure.text for failure in result.failures)):
        line.encode("utf-8")
    ground(document, result.data, data)


def _data_of(text: str, properties: dict[str, Any]) -> dict[str, Any]:
    """Pieces of the text as if a model had copied them."""
    lines = [line.strip()[:90] for line in text.split("\n") if line.strip()] or [""]
    data: dict[str, Any] = {}
    for at, (name, schema) in enumerate(properties.items()):
        line = lines[at % len(lines)]
        data[name] = line if "items" not in schema else [{"description": line, "amount": line}]
    return data


def _value(case: Case, _folder: Path) -> None:
    """A short text as a value of every type."""
    from gemma_edge.extraction.json_schema import Checker
    from gemma_edge.extraction.values import KINDS, Habits, infer_habits, read_as, read_mrz, typed

    text = case.data.decode("utf-8", "ignore")[:400]
    habits, _ = infer_habits(Habits(), [(kind, text) for kind in KINDS], text)
    for kind in KINDS:
        found = read_as(kind, text, habits)
        if found.value is not None:
            problems = Checker(typed(kind)).check(found.value).problems
            if problems:
                raise Wrong(f"{kind} {text[:60]!r} is read as {found.value!r}: {problems[0]}")
    read_mrz(text.split("\n"))


def _archive(rng: Random, case: Case, words: Sequence[bytes]) -> Case:
    return Case(case.name, repacked(rng, case.data, words))


def _picture(case: Case, _folder: Path) -> None:
    """The decoder, without the process that it may run in."""
    from gemma_edge.documents.images import decoder
    from gemma_edge.isolation import ChildRequest

    asked: dict[str, Any] = {"name": _shown(case), "pages": None, "max_tokens": 280}
    answer, parts = decoder(), [case.data]
    while True:
        for head, sent in filter(None, answer(ChildRequest(1, asked, tuple(parts)))):
            if "size" in head and len(sent[0]) != 3 * head["size"][0] * head["size"][1]:
                raise Wrong("there are more or fewer pixels than its size")
            if not head or ("frame" in head and head["frame"][-1]):
                return
        asked, parts = {}, []


def _shown_picture(case: Case, _folder: Path) -> None:
    from gemma_edge.documents.images import fit_picture, iter_images

    for image in iter_images(case.data, _shown(case), max_tokens=280):
        check_line(fit_picture(image, "x", 280).lost, "what is lost of a picture")


def _pdf(case: Case, folder: Path) -> None:
    from gemma_edge.documents.images import render_page

    document = _read(case, folder)
    seen = next((page.number for page in document.pages if page.kind != "damaged"), None)
    if document.media == "pdf" and seen is not None and len(case.data) % 4 == 0:
        render_page(document, seen, max_tokens=70)


# ---------------------------------------------------------------------------- models


def _header(case: Case, folder: Path) -> None:
    """Read, checked, understood as a model, a projector and an adapter, and planned."""
    from gemma_edge.gguf import read_header
    from gemma_edge.planning.model import check_adapter, check_model, check_pair, parse_shape

    path = folder / "model.gguf"
    path.write_bytes(case.data)
    header = read_header(path)
    good = _good_header(folder)
    for check in (
        lambda: check_pair(good, header), lambda: check_adapter(good, header),
        lambda: check_model(header), lambda: parse_shape(header),
    ):  # fmt: skip
        try:
            check()
        except GemmaEdgeError as error:
            check_error(error)


def _good_header(folder: Path) -> Any:
    from gemma_edge.gguf import read_header

    path = folder / "good.gguf"
    if not path.exists():
        path.write_bytes(seeds.gguf(seeds.GEMMA))
    return read_header(path)


def _gguf(rng: Random, case: Case, _words: Sequence[bytes]) -> Case:
    """A file that is whole, and says what no file says."""
    known = seeds.PROJECTOR if case.name.startswith("mmproj") else seeds.GEMMA
    metadata = dict(known)
    for _ in range(rng.choice((1, 1, 2, 4))):
        key = rng.choice((*metadata, "gemma4.rope.freq_base", "general.alignment", "split.count"))
        metadata[key] = rng.choice((
            0, 1, -1, 3, 2**31 - 1, 10**8, 0.0, -1.5, True, "", "gemma3", "\x1b[2J", [1], [0, -5],
            [True], ["x"] * 9, "clip", "llama",
        ))  # fmt: skip
    tensors = [
        (name, tuple(rng.choice((*shape, 0, 1, 2**40)) for _ in shape), kind)
        if rng.random() < 0.1
        else (name, shape, rng.choice((kind, kind, 2, 12)))
        for name, shape, kind in seeds.TENSORS
    ]
    small = all(_product(shape) < 1 << 16 for _, shape, _ in tensors)
    return Case(case.name, seeds.gguf(metadata, tensors if small else seeds.TENSORS))


def _product(shape: Sequence[int]) -> int:
    product = 1
    for side in shape:
        product *= side
    return product


def _template(case: Case, _folder: Path) -> None:
    """Rendered in the process that a template gets which is not known."""
    from gemma_edge.engine.protocol import Message
    from gemma_edge.engine.template import ChatTemplate

    template = ChatTemplate(case.data.decode("utf-8", "replace"), "<bos>", "<eos>")
    try:
        turns = (Message("user", "Hi"), Message("model", "Yes"), Message("user", "Why?"))
        template.render([Message("system", "You."), *turns], think=True)
        for note in template.notes:
            check_line(note, "a note")
    finally:
        template.close()


# ---------------------------------------------------------------------------- what people write


def _schema(case: Case, _folder: Path) -> None:
    """Read, made fit for decoding, and used to judge."""
    from gemma_edge.extraction.decoding import enforce
    from gemma_edge.extraction.grounding import mark_leaves
    from gemma_edge.extraction.schema import parse_schema

    text = case.data.decode("utf-8", "replace").replace("\0", "")
    if not text.lstrip().startswith(("{", "[")):
        text = f"a, {text}"  # never the name of a file
    schema = parse_schema(text)
    schema.form()
    mark_leaves(schema.source)
    for note in schema.remarks:
        check_line(note, "a remark")
    answers: tuple[Any, ...] = ({"a": None, "b": [1, "x"], "total": 1e300}, [{}], "x", None)
    for data in answers:
        schema.checker.check(data)
    if len(text) < 20_000:
        enforce(schema.decoding)


def _bent_json(*words: Any) -> Change:
    def change(rng: Random, case: Case, _words: Sequence[bytes]) -> Case:
        return Case(case.name, bent_json(rng, case.data, words))

    return change


def _recipe(case: Case, folder: Path) -> None:
    """Read, linted, used, written out and read again."""
    from gemma_edge.extraction.recipe_file import lint, read_recipe, render_recipe

    text = case.data.decode("utf-8", "replace")
    recipe = read_recipe(text, "fuzz", "fuzz.yaml", folder)
    for finding in lint(recipe) if len(text) < 20_000 else ():
        finding.text.encode("utf-8")
    recipe.render_instructions()
    recipe.finish({"vendor": "Acme", "total": "1,00", "items": [{"qty": None}, 3]}, "Acme 1,00")
    again = read_recipe(render_recipe(recipe), "fuzz", "fuzz.yaml", folder)
    if again.fingerprint != recipe.fingerprint:
        raise Wrong("the recipe that is written out is another")


_ROW = {"price": 2, "qty": 1.5, "tax": None, "name": "x", "date": "2031-03-12"}
_DATA = {
    "items": [_ROW, {**_ROW, "qty": None}], "total": 1e16, "tax": None, "date": "2031-02-29",
    "due_date": "2031-03-12", "vendor": "Acme", "lines": ["P<UTO", "L898"], "x": [[1], 2, True],
}  # fmt: skip


def _expression(case: Case, _folder: Path) -> None:
    from gemma_edge.extraction.expressions import explain, parse_expression

    expression = parse_expression(case.data.decode("utf-8", "replace"))
    for data in (_DATA, {}):
        found = expression.evaluate(data)
        json.dumps(found.value, allow_nan=False)
        found.problem.encode("utf-8")
        explain(expression, data).encode("utf-8")


def _talk(case: Case, folder: Path) -> None:
    """A message as it is pasted, and an answer as it is drawn."""
    from gemma_edge.cli.chat_commands import is_command
    from gemma_edge.cli.inputs import find_files, name_files
    from gemma_edge.cli.markdown import last_fence, render_lines, split_blocks
    from gemma_edge.cli.terminal import is_open, unfenced
    from gemma_edge.trust import visible

    text = case.data.decode("utf-8", "replace")
    is_command(text), is_open(text), last_fence(text)  # noqa: B018
    name_files(text, find_files(unfenced(text), folder))
    for block in split_blocks(visible(text[:4000])):
        for line in render_lines(block, 60, {}, colour=False):
            plain = re.sub("\x1b\\[[0-9;]*m", "", line)
            left = [each for each in plain if unicodedata.category(each) == "Cc" and each != "\t"]
            if left:
                raise Wrong(f"an answer moves the terminal with {left[0]!r}: {line[:80]!r}")


# ---------------------------------------------------------------------------- what is kept


def _settings(folder: Path, **more: Any) -> Any:
    from gemma_edge.store.remote import StoreSettings

    return StoreSettings(data_dir=folder, clock=lambda: 1.9e9, **more)


_KEPT = ("gemma-edge.lock", "speeds.json", "checked.json", "header.json", "persona.toml")


def _kept(case: Case, folder: Path) -> None:
    from gemma_edge.chat.persona import load_persona
    from gemma_edge.store.files import CheckedHashes
    from gemma_edge.store.hub import find_kept_header
    from gemma_edge.store.lock import read_lock, render_lock
    from gemma_edge.store.measurements import read_measurements
    from gemma_edge.store.remote import RemoteFile

    settings = _settings(folder)
    kind = next(name for name in _KEPT if case.name.endswith(name))
    path = folder / kind
    path.write_bytes(case.data)
    if kind == "gemma-edge.lock":
        entries = read_lock(path)
        path.write_text(render_lock(entries), encoding="utf-8")
        if read_lock(path) != entries:
            raise Wrong("the lock that is written out is another")
    elif kind == "speeds.json":
        check_line(read_measurements(settings)[1], "a note")
    elif kind == "checked.json":
        path.write_bytes(case.data.replace(b"@FILE", str(path).encode()))
        CheckedHashes(settings).hash(path)
    elif kind == "header.json":
        file = RemoteFile("a/b", "c.gguf")
        place = folder / "headers" / _sha("a/b/c.gguf")
        place.mkdir(parents=True, exist_ok=True)
        path.replace(place / "0.json")
        header = find_kept_header(file, settings)
        if header is not None:
            _use_header(header)
    else:
        load_persona(str(path), ())


def _sha(text: str) -> str:
    from hashlib import sha256

    return sha256(text.encode()).hexdigest()


def _use_header(header: Any) -> None:
    from gemma_edge.planning.model import parse_shape

    parse_shape(header)


def _journal(case: Case, folder: Path) -> None:
    """A session that is listed, exported, and gone on with."""
    from gemma_edge.chat.journal import FILE, Journal, Recorder
    from gemma_edge.chat.sessions import list_journals, render_json, render_markdown

    path = folder / "session"
    path.mkdir(exist_ok=True)
    (path / FILE).write_bytes(case.data)
    list_journals(folder)
    journal = Journal.open(path, clock=lambda: 1.9e9)
    try:
        recorder = Recorder(journal, model="E4B", system=None)
        history = recorder.history
        render_markdown(history).encode("utf-8", "surrogatepass")
        json.loads(render_json(history))
        for message in history.messages():
            if not isinstance(message.text, str):
                raise Wrong("a message is no text")
        for note in history.notes:
            check_line(note, "a note")
        names = history.last_question.names if history.last_question else ""
        names.encode("utf-8", "surrogatepass")
    finally:
        journal.close()


def _saved(case: Case, folder: Path) -> None:
    """A saved KV cache, or what was seen in a picture: whole, or not used."""
    from gemma_edge.engine.kv_cache import Unusable, open_saved, plan_reuse, position_of

    if case.name.endswith(".seen"):
        from gemma_edge.engine.vision import VisionCacheFolder

        cache = VisionCacheFolder(folder / "seen", "projector")
        name = f"{seeds.DIGEST}-{_sha('projector')[:16]}.seen"
        (folder / "seen").mkdir(exist_ok=True)
        (folder / "seen" / name).write_bytes(case.data)
        found = cache.read(seeds.DIGEST, seeds.SHAPE)
        if found is not None and found.shape != seeds.SHAPE:
            raise Wrong("another shape than was asked for")
        return
    path = folder / "cache.kv"
    path.write_bytes(case.data)
    try:
        with open_saved(path, seeds.FINGERPRINT, 4096) as (cells, _):
            units, checkpoints = list(cells.units), list(cells.checkpoints)
    except Unusable as reason:
        check_line(str(reason), "why a cache is of no use")
        return
    held = position_of(units, len(units))
    if not 0 <= held <= 4096:
        raise Wrong(f"a cache of {held} tokens is taken for a context of 4096")
    for each in (2, 7):
        reuse = plan_reuse(units, [2, 5, each], pos_min=3, window=2, checkpoints=checkpoints)
        if not 0 <= reuse.units <= len(units):
            raise Wrong(f"{reuse.units} units are kept of {len(units)}")


def _kv(rng: Random, case: Case, words: Sequence[bytes]) -> Case:
    """A header with one place changed, and the checksum that belongs to it."""
    if case.name != "cache.kv":
        return Case(case.name, damaged(rng, case.data, words))
    header = bent(rng, seeds.KV_HEADER, (0, -1, 1 << 40, "x", [], None, 96, 128))
    return Case(case.name, seeds.kv_file(header, bytes(rng.choice((128, 128, 0, 64, 4096)))))


def _hub(case: Case, folder: Path) -> None:
    """A hub that answers this to everything: asked for a file, its newest version, and a part."""
    import httpx2

    sent = 0

    def body(data: bytes, times: int) -> Iterator[bytes]:
        nonlocal sent
        for _ in range(times):
            sent += len(data)
            yield data

    def respond(request: httpx2.Request) -> httpx2.Response:
        head, _, data = case.data.partition(b"\n\n")
        data = b"" if request.method == "HEAD" else data
        status, *lines = head.split(b"\n")
        pairs = [tuple(line.split(b":", 1)) for line in lines if b":" in line]
        headers = [(name.strip() or b"x", value.strip()) for name, value in pairs]
        code = int(status[:3]) if status[:3].isdigit() and int(status[:3]) > 99 else 200
        times = 100_000 if b"x-repeat" in head else 1
        return httpx2.Response(code, headers=headers, content=body(data, times), request=request)

    library = import_module("huggingface_hub.utils._http")
    usual = library.default_client_factory
    client = httpx2.Client(transport=httpx2.MockTransport(respond), follow_redirects=True)
    library.set_client_factory(lambda: client)
    try:
        _ask_hub(folder, lambda: sent)
    finally:
        library.set_client_factory(usual)


def _ask_hub(folder: Path, sent: Callable[[], int]) -> None:
    from gemma_edge.store.hub import Upstream, ask, find_newest, read_part
    from gemma_edge.store.remote import RemoteFile

    settings = _settings(folder, attempts=1, backoff_seconds=0.0, endpoint="https://hub.example")
    file = RemoteFile("a/b", "c.gguf")
    upstream = Upstream(file, "main", "0" * 40, "a" * 64, 4096, "a" * 64)
    for question in (
        lambda: ask(file, settings), lambda: find_newest(file, settings),
        lambda: read_part(upstream, 0, 64, settings),
    ):  # fmt: skip
        before = sent()
        try:
            found = question()
        except GemmaEdgeError as error:
            check_error(error)
        else:
            if isinstance(found, bytes) and len(found) > 64:
                raise Wrong(f"{len(found)} bytes for 64")
        if sent() - before > 16 << 20:
            raise Wrong(f"{sent() - before >> 20} MiB were taken for 64 bytes")


# ---------------------------------------------------------------------------- all of them


_KEYWORDS = (
    *(word.decode() for word in words_of("schemas")), True, False, 1e308, 10**20, {}, [],
    ["string", "null"],
)  # fmt: skip


def _document(make: Callable[[], list[Case]], kind: str, words: tuple[bytes, ...]) -> Target:
    """Read in a child, which may take as much as ``open.py`` says."""
    change = _archive if kind == "office" else None
    return Target(
        make, _apart(kind), words, change, kind != "office", _read, 30.0, memory_bytes=2 << 30
    )


TARGETS: dict[str, Target] = {
    "text": Target(lambda: seeds.texts(*seeds.TEXTS), _text, words_of("text")),
    "values": Target(lambda: seeds.texts(*seeds.TEXTS), _value, words_of("text")),
    "csv": Target(lambda: seeds.texts(*seeds.CSV, ending="csv"), _read, words_of("csv")),
    "html": _document(lambda: seeds.texts(*seeds.HTML, ending="html"), "html", words_of("html")),
    "mail": _document(lambda: seeds.texts(*seeds.MAIL, ending="eml"), "mail", words_of("mail")),
    "office": _document(seeds.office, "office", words_of("office")),
    "images": Target(
        seeds.images, _picture, words_of("images"), strings=False, door=_shown_picture,
        seconds=30.0, memory_bytes=2 << 30,
    ),
    "pdfs": Target(seeds.pdfs, _pdf, words_of("pdfs"), seconds=60.0),
    "gguf": Target(seeds.ggufs, _header, change=_gguf, strings=False),
    "templates": Target(seeds.templates, _template, words_of("templates")),
    "schemas": Target(
        seeds.schemas, _schema, words_of("schemas"), _bent_json(*_KEYWORDS),
    ),
    "recipes": Target(seeds.recipes, _recipe, words_of("recipes")),
    "expressions": Target(
        lambda: seeds.texts(*seeds.EXPRESSIONS), _expression, words_of("expressions")
    ),
    "kept": Target(seeds.kept, _kept, words_of("kept"), _bent_json()),
    "journals": Target(
        seeds.journals, _journal, words_of("journals"),
        _bent_json("again", "continue", "undo", "drop", "compact", "clear", "refused", "said", 9),
    ),
    "caches": Target(seeds.caches, _saved, change=_kv, strings=False),
    "hub": Target(lambda: list(seeds.answers()), _hub, words_of("hub")),
    "repl": Target(lambda: seeds.texts(*seeds.TALK), _talk, words_of("repl")),
}  # fmt: skip
