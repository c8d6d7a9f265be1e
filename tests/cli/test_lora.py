"""``--lora FILE[:X]`` from the command line to the plan."""

import json
from pathlib import Path

import pytest
from PIL import Image

from gemma_edge.cli.options import parse_adapter
from gemma_edge.errors import ExitStatus
from gemma_edge.planning.plan import Adapter
from tests.cli.conftest import TEXT_MODEL
from tests.planning.test_adapter import LORA

PAIR = [("token_embd.weight.lora_a", (8, 4), 0), ("token_embd.weight.lora_b", (8, 32), 0)]


@pytest.mark.parametrize(
    ("text", "path", "scale"),
    [
        ("a.gguf", "a.gguf", 1.0),
        ("a.gguf:0.5", "a.gguf", 0.5),
        ("a.gguf:-1", "a.gguf", -1.0),
        ("C:\\loras\\a.gguf", "C:\\loras\\a.gguf", 1.0),
        ("C:\\loras\\a.gguf:2", "C:\\loras\\a.gguf", 2.0),
        ("/tmp/a:b.gguf", "/tmp/a:b.gguf", 1.0),
        ("/tmp/a:b.gguf:.25", "/tmp/a:b.gguf", 0.25),
    ],
)
def test_a_colon_may_be_part_of_the_name(text: str, path: str, scale: float) -> None:
    assert parse_adapter(text) == Adapter(Path(path), scale)


def test_a_file_whose_name_ends_like_a_strength_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a:2").touch()
    assert parse_adapter(f"{tmp_path}/a:2") == Adapter(tmp_path / "a:2")
    assert parse_adapter(f"{tmp_path}/a:2:3") == Adapter(tmp_path / "a:2", 3.0)


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.new("RGB", (48, 48), "red").save(tmp_path / "red.png")
    return str(tmp_path / "red.png")


def test_it_comes_to_every_plan_and_its_fallbacks(shell, write_gguf, picture):
    lora = write_gguf("lora.gguf", LORA, PAIR)
    shell.script(["Hello."])
    ran = shell.run("describe", picture, "--lora", f"{lora}:0.5", "--lora", str(lora))
    assert ran.status == 0, ran.stderr
    assert ": LoRA lora.gguf at 0.5, LoRA lora.gguf at 1, " in ran.stderr
    (plan,) = shell.plans
    assert plan.adapters == (Adapter(lora, 0.5), Adapter(lora))
    assert plan.fallbacks
    assert all(each.adapters == plan.adapters for each in plan.fallbacks)
    document = json.loads(shell.run("plan", "--lora", str(lora), "--json").stdout)
    assert document["adapters"] == [{"file": str(lora), "scale": 1.0}]
    assert "adapters" in {part["name"] for part in document["ledger"][-1]["parts"]}


def test_another_models_is_refused_before_anything_is_loaded(shell, write_gguf, picture):
    lora = write_gguf("lora.gguf", LORA | {"general.architecture": "llama"}, PAIR)
    model = write_gguf("picture.gguf", TEXT_MODEL)
    for path, message, hint in (
        (lora, "`lora.gguf` was made for another model: for `llama`", "trained for this very"),
        (model, "`picture.gguf` is no LoRA adapter", "--lora takes"),
        (lora.with_name("none.gguf"), "there is no file", "check the name"),
    ):
        ran = shell.run("describe", picture, "--lora", str(path))
        assert (ran.stdout, ran.status, shell.plans) == ("", ExitStatus.MODEL, [])
        assert message in ran.stderr
        assert hint in ran.stderr
