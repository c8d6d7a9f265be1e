"""Every kind of wrong input: its line, its way out, its status. Nothing on stdout."""

from pathlib import Path

import pytest

from gemma_edge.errors import ExitStatus
from tests.cli.conftest import SHAPES

SCHEMA = ("--schema", "vendor, total num")
INPUT, MODEL, FIT = ExitStatus.INPUT, ExitStatus.MODEL, ExitStatus.DOES_NOT_FIT


def pdf(trailer: str = "") -> bytes:
    """A PDF of one empty page, with a right cross-reference table."""
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] >>",
    ]
    text, places = "%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(text))
        text += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    start = len(text)
    text += f"xref\n0 4\n0000000000 65535 f \n{table}"
    text += f"trailer\n<< /Size 4 /Root 1 0 R {trailer} >>\nstartxref\n{start}\n%%EOF\n"
    return text.encode()


# A password that nobody knows: the keys are arbitrary, so no password opens it.
ENCRYPTED = (
    "/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 "
    f"/O <{'ab' * 32}> /U <{'cd' * 32}> >> /ID [<{'01' * 16}> <{'01' * 16}>]"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: full of things that are not what they should be."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.pdf").touch()
    (tmp_path / "fake.pdf").write_text("<html>not found</html>", encoding="utf-8")
    (tmp_path / "locked.pdf").write_bytes(pdf(ENCRYPTED))
    (tmp_path / "blank.pdf").write_bytes(pdf())
    (tmp_path / "program.bin").write_bytes(bytes(range(256)))
    (tmp_path / "bill.txt").write_text("Acme owes 5.00", encoding="utf-8")
    (tmp_path / "broken.json").write_text('{"type": "object"', encoding="utf-8")
    (tmp_path / "text.gguf").write_text("hello", encoding="utf-8")
    (tmp_path / "short.gguf").write_bytes(b"GGUF\x03\0\0\0")
    return tmp_path


@pytest.mark.parametrize(
    ("argv", "status", "message", "hint"),
    [
        ("extract nowhere.pdf", INPUT, "nowhere.pdf does not exist", "check the name"),
        ("extract empty.pdf", INPUT, "empty.pdf is empty (0 bytes)", "check how it was saved"),
        ("extract fake.pdf", INPUT, "fake.pdf is not a PDF", "a PDF begins with %PDF-"),
        ("extract locked.pdf", INPUT, "encrypted", "--password, or GEMMA_EDGE_PDF_PASSWORD"),
        ("extract blank.pdf", INPUT, "blank.pdf", ""),
        ("extract program.bin", INPUT, "program.bin is not text", "name a PDF or a text file"),
        ("describe nowhere.png", INPUT, "nowhere.png does not exist", "check the name"),
        ("describe empty.pdf", INPUT, "empty.pdf is empty (0 bytes)", "check how it was saved"),
        ("describe bill.txt", INPUT, "bill.txt is not an image", "JPEG, PNG"),
        ("describe locked.pdf", INPUT, "encrypted", "--password, or GEMMA_EDGE_PDF_PASSWORD"),
    ],
)
def test_files(shell, argv, status, message, hint):
    schema = SCHEMA if argv.startswith("extract") else ()
    refused(shell.run(*argv.split(), *schema), status, message, hint)
    assert shell.plans == []  # a wrong file costs no loading


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("broken.json", "not JSON"),
        ('{"type": "object"', "not JSON"),
        ("nowhere.json", "nowhere.json"),
        ("", "empty"),
        ('{"type": "nonsense"}', "nonsense"),
    ],
)
def test_schemas(shell, schema, message):
    refused(shell.run("extract", "bill.txt", "--schema", schema), INPUT, message, "")
    assert shell.plans == []


@pytest.mark.parametrize(
    ("model", "message", "hint"),
    [
        ("nowhere.gguf", "there is no file `nowhere.gguf`", "check the name"),
        ("text.gguf", "`text.gguf` is not a GGUF file", ".gguf file"),
        ("short.gguf", "`short.gguf` is cut off: it has 8 bytes", "download it again"),
        ("e4b", "`e4b` is not on this machine (3.9 GiB", "gemma-edge pull e4b, or"),
        ("e4b:q99", "Gemma 4 E4B has no quant `q99`", "q4_k_m"),
        ("demmo", "there is no model `demmo`", "did you mean `demo`?"),
        ("mmproj.gguf", "`mmproj.gguf` is a projector", "--model MODEL.gguf --mmproj mmproj.gguf"),
        ("imatrix.gguf", "`imatrix.gguf` is an importance matrix", "--model takes"),
        ("drafter.gguf", "`drafter.gguf` is a drafter", "--model takes"),
        ("vocabulary.gguf", "`vocabulary.gguf` is a file without weights", "--model takes"),
    ],
)
def test_models(shell, write_gguf, model, message, hint):
    write_gguf("imatrix.gguf", {"general.type": "imatrix"})
    write_gguf("drafter.gguf", {"general.architecture": "gemma4-assistant"})
    write_gguf("vocabulary.gguf", {"general.architecture": "gemma4"}, [])
    refused(shell.run("chat", "hi", "--model", model, model=False), MODEL, message, hint)


def test_a_truncated_model(shell):
    Path("cut.gguf").write_bytes(shell.model.read_bytes()[:-100])
    ran = shell.run("chat", "hi", "--model", "cut.gguf", model=False)
    refused(ran, MODEL, "`cut.gguf` is cut off: it has ", "download it again")
    assert "its tensors need" in ran.stderr


def test_an_image_without_a_projector(shell, folder, write_gguf):
    (folder / "alone").mkdir()
    model = write_gguf("alone/model.gguf", {"general.architecture": "gemma4"})
    for argv in (("describe", SHAPES), ("chat", "hi", "--image", "cat.png")):
        ran = shell.run(*argv, "--model", str(model), model=False)
        refused(ran, MODEL, "`model.gguf` sees no images without its projector", "--mmproj FILE")
    ran = shell.run("describe", SHAPES, "--model", str(shell.model), model=False)
    refused(ran, MODEL, "sees no images", f"--mmproj {shell.projector}")  # it lies beside it


def test_a_projector_of_another_model(shell, write_gguf):
    wrong = write_gguf("wrong.gguf", {
        "general.architecture": "clip",
        "clip.has_vision_encoder": True,
        "clip.vision.projection_dim": 2560,
    })  # fmt: skip
    more = ("--model", str(shell.model), "--mmproj")
    ran = shell.run("describe", SHAPES, *more, str(wrong), model=False)
    refused(ran, MODEL, "`wrong.gguf` belongs to another model", "the same Gemma 4 size")
    ran = shell.run("describe", SHAPES, *more, str(shell.model), model=False)
    refused(ran, MODEL, "is not a projector but a model (`gemma4`)", "--mmproj takes")


@pytest.mark.parametrize(
    ("ctx", "message", "hint"),
    [
        ("100", "a context of 100 tokens is too small, the least is 256", "--ctx 256 or more"),
        ("256k", "262,144 tokens was asked for, model reads at most 131,072", "--ctx 131072"),
    ],
)
def test_a_context_that_cannot_be(shell, ctx, message, hint):
    refused(shell.run("chat", "hi", "--ctx", ctx), FIT, message, hint)


def test_a_document_that_is_larger_than_the_context(shell):
    Path("long.txt").write_text("word " * 300, encoding="utf-8")
    shell.script(["{}"], context_tokens=256)
    ran = shell.run("extract", "long.txt", *SCHEMA, "--ctx", "256")
    assert (ran.stdout, ran.status) == ("", FIT)
    assert "error: the prompt needs " in ran.stderr


def refused(ran, status, message, hint):
    """One error line with its hint, nothing on stdout."""
    assert (ran.stdout, ran.status) == ("", status), ran.stderr
    error, *more = ran.stderr.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert len(more) <= 1
    assert all(line.startswith("hint: ") for line in more)
    assert hint in "".join(more).replace("\\", "/") or hint in "".join(more)
