"""Good inputs, and a few bad ones: by real writers where there are some, the same every time."""

import io
import json
import struct
import zlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from fuzzing.inputs import Case, as_json, corpus, packed, unpacked

ROOT = Path(__file__).resolve().parents[2]
TEXTS = (
    "INVOICE\n\nVelmora Glassworks Ltd\n14 Kiln Lane, London N1 9GU\nInvoice no: VG-20418\n"
    "Date: 12 March 2031\n\nItem            Qty   Price   Amount\n"
    "Blue vase         2   20.00    40.00\nLarge bowl        1  187.50   187.50\n\n"
    "Total EUR 270.72\nIBAN DE89 3704 0044 0532 0130 00\n",
    "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10\n",
    "Rechnung Nr. 7\n1.234,56 €   19 % USt   3. März 2024\nTel. +49 30 1234567, a.b@example.org\n",
    "CONTRACT between A and B.\n\nArticle 1. The term is five (5) years.\n\n[page 2]\n2031-01-02",
    "Name,Qty\nbolt,2\n\fSecond page\n" + "- a line of a list\n" * 9,
)
CSV = (
    'Item,Qty,Price\nvase,2,20.00\n"bowl, large",1,187.50\n',
    "a;b;c\r\n1;2;3\r\n",
    "x\ty\n1\t2\n",
    'a|b\n"never closed|2\n3|4\n',
)
HTML = (
    "<!doctype html><html><head><title>Bill</title><meta charset=utf-8></head><body><h1>Bill</h1>"
    "<table><caption>Items</caption><tr><th>Item<th>Qty</tr><tr><td rowspan=2>vase<td>2</tr><tr>"
    "<td>3</tr></table><ol><li>one<li>two</ol><pre>a\n  b</pre><p hidden>x</p><img alt=logo>"
    "<input type=checkbox checked value=y><p style='display: none'>z</p></body></html>",
    "<?xml version='1.0'?><!-- a --> <!-- b --><html><body>x<br>y</body></html>",
)
MAIL = (
    "From: Anna <a@example.org>\nTo: b@example.org\nSubject: =?utf-8?q?Bill_=C3=BC?=\n"
    "Date: Mon, 3 Mar 2031 10:00:00 +0100\nMessage-ID: <1@example.org>\nMIME-Version: 1.0\n"
    'Content-Type: multipart/mixed; boundary="x"\n\n--x\nContent-Type: multipart/alternative; '
    'boundary="y"\n\n--y\nContent-Type: text/plain; charset=utf-8\n\nTotal 12.00\n--y\n'
    "Content-Type: text/html; charset=latin-1\nContent-Transfer-Encoding: quoted-printable\n\n"
    "<p>Total =3D 12</p>\n--y--\n--x\nContent-Type: message/rfc822\n\nFrom: c@d\nSubject: i\n\nh\n"
    '--x\nContent-Type: application/pdf; name="a.pdf"\nContent-Disposition: attachment; '
    "filename*=utf-8''a%20b.pdf\nContent-Transfer-Encoding: base64\n\nJVBERi0=\n--x--\n",
    "From a@b Mon Mar  3 10:00:00 2031\nReturn-Path: <a@b>\nSubject: x\n\nhello\n",
)
EXPRESSIONS = (
    "sum(items.price * items.qty) + (tax or 0) ~= total", "all(row.qty > 0 for row in items)",
    "(due_date - date).days <= 30", "round(total / 3, 2)", "default(tax, 0) == 0 and not missing",
    "previous(items.qty, 0) <= items.qty", "mrz(lines)", "items[0].price in [1, 2]",
    "min(items.qty)", "total if tax else -total", "date('2031-03-12') + 30",
    "len(vendor) % 7 // 2 != null",
)  # fmt: skip
TALK = (
    "what is in ~/Desktop/board.jpg and 'my file.png'?",
    "/save x.md",
    '"""\npasted\ntext\n"""',
    "look at file:///tmp/a%20b.pdf, ./c.txt: d.png; C:\\photos\\e.jpg \\\\host\\share\\f.png",
    "# Title\n\n- a\n  - b\n\n| a | b |\n|-|-|\n| 1 | 2 |\n\n```p\nx\n```\n> q *e* **s** [l](u)\n",
)
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|turn>{{ m['role'] }}\n{% if m['content'] is string %}"
    "{{ m['content'] | trim }}{% else %}{% for p in m['content'] %}{% if p['type'] == 'image' %}"
    "<|image|>{% else %}{{ p['text'] }}{% endif %}{% endfor %}{% endif %}<turn|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn>model\n{% endif %}",
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% for m in messages %}{{ m.content }}{% endfor %}",
    "{% macro f(x) %}{{ x | tojson }}{% endmacro %}{% set ns = namespace(n=0) %}"
    "{% for m in messages %}{% set ns.n = ns.n + 1 %}{{ f(m.content) }}{% endfor %}",
)
ANSWERS = (
    "200\netag: {sha}\nx-repo-commit: {commit}\nx-linked-size: 4096\nx-linked-etag: \"{sha}\"\n\n",
    "206\ncontent-range: bytes 0-63/4096\ncontent-length: 64\nx-repo-commit: 1\n\n" + "G" * 64,
    "302\nlocation: https://cdn.example.org/x\nx-repo-commit: {commit}\nx-linked-etag: {sha}\n\n",
    "429\nretry-after: 3\nratelimit: \"api\";r=0;t=55\n\n",
    "404\nx-error-code: RepoNotFound\nx-error-message: nothing here\n\n{\"error\": \"no\"}",
    "401\nwww-authenticate: Bearer\n\n",
    "200\nx-repeat: 100000\ncontent-length: 7\n\n" + "A" * 700,
)  # fmt: skip


def texts(*parts: str, ending: str = "txt") -> list[Case]:
    """The same texts in several encodings."""
    cases = [Case(f"a.{ending}", part.encode()) for part in parts]
    cases.append(Case(f"b.{ending}", parts[0].encode("utf-16")))
    cases.append(Case(f"c.{ending}", parts[-1].encode("cp1252", "replace")))
    return cases


def _written(name: str) -> Any:
    """One of the modules in which the tests write documents."""
    return import_module(f"tests.{name}")


def office() -> list[Case]:
    """Word, Excel and OpenDocument files, and the head of an old one."""
    made = _written("documents.office_files")
    word = made.new_docx()
    word.add_heading("Bill 7", 1)
    word.add_paragraph("Total 12.00", style="List Number")
    table = word.add_table(2, 2)
    table.cell(0, 0).text, table.cell(1, 1).text = "Item", "12.00"
    word.sections[0].header.paragraphs[0].text = "head"
    sheets = {"May": [["Item", "Qty"], ["vase", 2, 20.5, True, None]], "June": [["x"]]}
    box = (
        "<w:p><w:r><w:t>a</w:t><w:br w:type='page'/><w:tab/></w:r><w:del><w:r><w:t>b</w:t></w:r>"
        "</w:del></w:p><w:tbl><w:tr><w:tc><w:tcPr><w:gridSpan w:val='3'/></w:tcPr><w:p/></w:tc>"
        "</w:tr></w:tbl>"
    )
    odt = {
        "mimetype": b"application/vnd.oasis.opendocument.text",
        "content.xml": b"<office:document-content/>",
    }
    pptx = {"ppt/presentation.xml": b"<p/>", "[Content_Types].xml": b"<Types/>"}
    ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504) + "WordDocument".encode("utf-16-le")
    files = {
        "a.docx": made.render_docx(word), "b.docx": made.raw_docx(box),
        "c.xlsx": made.render_xlsx(sheets, ("June",)), "d.ods": made.render_ods([["a"], ["1"]]),
        "e.odt": packed(odt), "f.pptx": packed(pptx),
    }  # fmt: skip
    steady = [Case(name, packed(_without_dates(unpacked(data)))) for name, data in files.items()]
    return [*steady, Case("g.doc", ole), *corpus("cases/*.docx", "cases/*.xlsx")]


def _without_dates(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if not name.startswith("docProps/")}


def images() -> list[Case]:
    """A picture in every format that is read, and in some of their odder forms."""
    from PIL import Image, features

    square = Image.new("RGB", (64, 48))
    square.putdata([(x * 4 % 256, y * 5 % 256, x * y % 256) for y in range(48) for x in range(64)])
    grey, palette = square.convert("L"), square.convert("P")
    frames: dict[str, Any] = {"save_all": True, "append_images": [square.rotate(90)] * 3}
    ways: list[tuple[str, Any, str, dict[str, Any]]] = [
        ("a.jpg", square, "JPEG", {}), ("b.jpg", square, "JPEG", {"progressive": True}),
        ("c.jpg", square.convert("CMYK"), "JPEG", {}), ("d.png", square, "PNG", {}),
        ("e.png", palette, "PNG", {"transparency": 3}), ("f.png", grey.convert("I;16"), "PNG", {}),
        ("g.png", square, "PNG", frames), ("h.gif", palette, "GIF", frames),
        ("i.bmp", square, "BMP", {}), ("j.bmp", grey.convert("1"), "BMP", {}),
        ("k.tif", square, "TIFF", {"compression": "tiff_lzw"}),
        ("l.tif", grey.convert("1"), "TIFF", {"compression": "group4"}),
        ("m.tif", square, "TIFF", {**frames, "compression": "tiff_deflate"}),
        ("n.tif", square, "TIFF", {"compression": "jpeg"}), ("o.ppm", square, "PPM", {}),
        ("p.pgm", grey, "PPM", {}), ("q.jp2", square, "JPEG2000", {}),
        ("r.webp", square, "WEBP", {}), ("s.webp", square, "WEBP", {**frames, "lossless": True}),
        ("t.avif", square, "AVIF", {}),
    ]  # fmt: skip
    cases = []
    for name, image, kind, more in ways:
        if kind in ("WEBP", "AVIF") and not features.check(kind.lower()):
            continue
        out = io.BytesIO()
        image.save(out, kind, **more)
        cases.append(Case(name, out.getvalue()))
    rows = b"\x05\x01\x00\x03\x02\x01\x02\x00" * 40 + b"\0\1"
    info = struct.pack("<IiiHHIIiiII", 40, 64, 48, 1, 8, 1, len(rows), 0, 0, 256, 0)
    head = b"BM" + struct.pack("<IHHI", 54 + 1024 + len(rows), 0, 0, 54 + 1024)
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)
    cases += [
        Case("u.bmp", head + info + bytes(1024) + rows),  # run lengths
        Case("v.ppm", b"P3\n3 2\n255\n" + b"255 0 12 " * 6), Case("w.heic", heic),
        Case("x.pbm", b"P1\n4 2\n1 0 1 0 0 1 0 1\n"), Case("y.svg", b"<svg xmlns='x'/>"),
    ]  # fmt: skip
    return cases


def pdfs() -> list[Case]:
    """A bill, a form, a scan, a locked one, what the tests know to be hostile, and real ones."""
    made = _written("documents.pdf_files")
    whole = made.assemble(made.page(made.show("Invoice 7", "Total 12.00")))
    cases = [
        Case("bill.pdf", whole), Case("form.pdf", made.form_pdf()),
        Case("scan.pdf", made.picture_pdf()), Case("locked.pdf", made.locked_pdf("x", user="u")),
        Case("example.pdf", (ROOT / "examples" / "invoice.pdf").read_bytes()),
    ]  # fmt: skip
    hostile = (each for kind in ("lying", "endless", "odd") for each in made.hostile_pdfs(kind))
    cases += [Case(f"{name}.pdf", data) for name, data, _ in hostile]
    return [*cases, *corpus("hostile/*.pdf", "cases/*.pdf", most_bytes=100 << 10)]


GEMMA: dict[str, Any] = {
    "general.architecture": "gemma4", "gemma4.block_count": 4, "gemma4.context_length": 131072,
    "gemma4.embedding_length": 64, "gemma4.attention.head_count": 8,
    "gemma4.attention.head_count_kv": [2, 2, 2, 1], "gemma4.attention.key_length": 32,
    "gemma4.attention.value_length": 32, "gemma4.attention.sliding_window": 512,
    "gemma4.attention.sliding_window_pattern": [True, True, True, False],
    "gemma4.attention.shared_kv_layers": 1, "gemma4.expert_count": 4, "gemma4.vocab_size": 256,
    "gemma4.feed_forward_length": 128, "tokenizer.ggml.model": "gemma4",
    "tokenizer.ggml.tokens": ["<bos>", "a", "b"], "tokenizer.chat_template": TEMPLATE[0],
    "general.sampling.temp": 0.5, "general.name": "a model", "general.file_type": 7,
}  # fmt: skip
PROJECTOR: dict[str, Any] = {
    "general.architecture": "clip", "general.type": "mmproj", "clip.has_vision_encoder": True,
    "clip.vision.projection_dim": 64, "clip.vision.block_count": 2,
    "clip.projector_type": "gemma4v",
}  # fmt: skip
TENSORS = (
    ("token_embd.weight", (64, 256), 0), ("output_norm.weight", (64,), 0),
    *((f"blk.{layer}.attn_q.weight", (64, 64), 0) for layer in range(4)),
    ("blk.1.ffn_gate_exps.weight", (64, 32, 4), 0),
)  # fmt: skip


def gguf(metadata: dict[str, Any], tensors: Any = TENSORS, version: int = 3) -> bytes:
    """A whole GGUF file."""
    return bytes(_written("conftest").render_gguf(metadata, tensors, version))


def ggufs() -> list[Case]:
    """A model, a projector and an adapter."""
    adapter = {"general.architecture": "gemma4", "general.type": "adapter", "adapter.type": "lora"}
    pair = (("blk.0.attn_q.weight.lora_a", (64, 8), 0), ("blk.0.attn_q.weight.lora_b", (8, 64), 0))
    return [
        Case("model.gguf", gguf(GEMMA)),
        Case("mmproj.gguf", gguf(PROJECTOR, (("v.patch_embd.weight", (16, 16), 0),))),
        Case("lora.gguf", gguf(adapter, pair)),
    ]


def templates() -> list[Case]:
    """Templates of our own, and Google's."""
    google = ROOT / "tests" / "data" / "google-gemma-4-31B-it.jinja"
    return [
        *(Case("a.jinja", each.encode()) for each in TEMPLATE),
        Case("g.jinja", google.read_bytes()),
    ]


def schemas() -> list[Case]:
    """The schemas of the tests, names in a line, an example, and what refers to itself."""
    known = json.loads((ROOT / "tests" / "data" / "schemas.json").read_text(encoding="utf-8"))
    tree = {"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {
        "next": {"$ref": "#/$defs/n"}, "value": {"type": "integer", "minimum": 1}}}}}  # fmt: skip
    hard = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^[a-z]{2,9}$"},
            "b": {"enum": ["x", 1, None]}, "c": {"anyOf": [{"type": "null"}, {"const": 2}]},
            "d": {"type": "array", "items": {"type": "number", "multipleOf": 0.5}, "minItems": 2},
            "e": {"type": "string", "format": "date", "maxLength": 9}}, "required": ["a"],
            "patternProperties": {"^x-": {"not": {"type": "null"}}}}  # fmt: skip
    lines = (
        "vendor, date date, total num, items[name, qty int]",
        "name: whole, kind: a|b|c",
    )
    return [
        *(Case("a.json", as_json(each["schema"])) for each in known), Case("b.json", as_json(tree)),
        Case("c.json", as_json(hard)), Case("d.json", b'{"vendor": "Acme", "total": [1.5]}'),
        *(Case("e.txt", each.encode()) for each in lines),
    ]  # fmt: skip


def recipes() -> list[Case]:
    """Those that ship, and a small one with everything in it."""
    folder = ROOT / "gemma_edge" / "extraction" / "recipes"
    small = (
        "schema:\n  vendor:\n  total: num\nrules:\n- field: total\n  rule: with tax\nnot:\n"
        "- {field: vendor, text: Bill, why: a title}\nworked: ['1 + 1 = 2']\nexamples:\n"
        "- text: Acme 1.00\n  "
        'expect: {"vendor": "Acme", "total": 1}\nnormalize: {date: dmy}\ncompute:\n'
        "  net: total / 1.19\n"
        "check:\n- expr: total ~= net\n  severity: warn\n  tolerance: 0.02\nrecognize: {as: bill, "
        "names: bill, words: 'total, amount*'}\n"
    )
    alias = "schema: &a\n  x: &b [1, *a]\nrules: [*b, *b, *b]\n"
    found = [Case(path.name, path.read_bytes()) for path in sorted(folder.glob("*.yaml"))]
    return [*found, Case("small.yaml", small.encode()), Case("alias.yaml", alias.encode())]


def kept() -> list[Case]:
    """Small files of the data folder and of a project."""
    lock = (
        'version = 1\n\n[[file]]\nrepo = "a/b"\nrevision = "' + "0" * 40 + '"\nfile = "c.gguf"\n'
        'size = 7\nsha256 = "' + "a" * 64 + '"\ndate = 2031-03-12\n'
    )
    speeds = {"format": 1, "speeds": [{
        "device": "CPU", "backend": "cpu", "version": "0.3", "weights": "w", "placement": "cpu:2",
        "moe": False, "tokens_per_second": 9.5, "predicted_tokens_per_second": 8}]}  # fmt: skip
    header = {"format": 1, "file_bytes": 4096, "metadata": {
        "general.architecture": "gemma4", "x": [1, 2], "y": {"count": 9}},
        "tensors": [["t", [4, 4], "F32", 64, 128]]}  # fmt: skip
    persona = 'about = "x"\nsystem = "You."\nthink = true\nmax_tokens = 9\n[sampling]\nseed = 1\n'
    return [
        Case("gemma-edge.lock", lock.encode()), Case("speeds.json", as_json(speeds)),
        Case("checked.json", as_json({"@FILE": [1, 2, 3, "a" * 64]})),
        Case("header.json", as_json(header)), Case("persona.toml", persona.encode()),
    ]  # fmt: skip


def journals() -> list[Case]:
    """A conversation with everything that can happen in one."""
    question = {"type": "question", "text": "what?", "pictures": [], "files": [], "at": 2.0}
    picture = {"digest": "0" * 64, "name": "a.png", "width": 48, "height": 48}
    said: list[Any] = [
        {"type": "said", "text": "That"},
        {"type": "answered", "reason": "end", "at": 3.0},
    ]
    records: list[dict[str, Any]] = [
        {"type": "session", "version": 1, "model": "E4B", "system": "You.", "at": 1.0},
        {**question, "pictures": [picture], "files": [{"name": "f", "tokens": 2, "text": "t"}]},
        {"type": "thought", "text": "hm"}, *said, {"type": "continue", "at": 4.0}, *said,
        {"type": "again", "text": "why?", "at": 5.0}, *said, {"type": "title", "title": "T"},
        question,
        *said, {"type": "undo", "at": 6.0}, question, *said, {"type": "drop", "count": 1}, question,
        *said, {"type": "compact", "count": 1, "summary": "s"}, {"type": "model", "model": "12B"},
        {"type": "system", "system": ""}, question, {"type": "refused"}, {"type": "clear"},
        question,
    ]  # fmt: skip
    return [
        Case("journal.jsonl", b"\n".join(map(as_json, part)) + b"\n")
        for part in (records, records[:6])
    ]


FINGERPRINT = {"weights": "w", "llama.cpp": "1"}
DIGEST, SHAPE = "d" * 64, (2, 4)


def kv_file(header: Any, body: bytes) -> bytes:
    """A saved KV cache around a header, with the checksum that it should have."""
    text = as_json(header)
    whole = b"GEMMAKV1" + struct.pack("<Q", len(text)) + text + body
    return whole + struct.pack("<I", zlib.crc32(whole))


KV_HEADER: dict[str, Any] = {
    "fingerprint": FINGERPRINT, "tokens": 8, "units": [2, 5, ["d" * 64, 5], 7], "state_bytes": 96,
    "read_seconds": 1.5, "checkpoints": [{"units": 2, "pos_min": 0, "bytes": 16}] * 2,
}  # fmt: skip


def caches() -> list[Case]:
    """What the engine held, and what it saw in a picture."""
    payload = struct.pack("<8f", *range(8))
    seen = b"GEMMASEE1" + struct.pack("<I", zlib.crc32(payload)) + payload
    return [Case("cache.kv", kv_file(KV_HEADER, bytes(128))), Case("picture.seen", seen)]


def answers() -> Iterator[Case]:
    """What a hub may say: a status, headers, and a body that may be said many times."""
    for each in ANSWERS:
        said = each.replace("{sha}", "a" * 64).replace("{commit}", "0" * 40)
        yield Case("answer.http", said.encode())
