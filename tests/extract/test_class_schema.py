"""``file.py:Class``, read by a process of its own."""

import textwrap

import pytest

from gemma_edge.errors import InputError, SchemaError, UsageError
from gemma_edge.extraction.schema import parse_schema


@pytest.fixture
def models(tmp_path):
    pytest.importorskip("pydantic")
    (tmp_path / "base.py").write_text("KIND = 'EUR'\n", encoding="utf-8")
    path = tmp_path / "bill models.py"
    path.write_text(
        textwrap.dedent(
            """
            from __future__ import annotations
            from dataclasses import dataclass
            from pathlib import Path
            from pydantic import BaseModel, Field
            from base import KIND

            print("a line that must not end up in the schema")
            Path(__file__).with_name("ran").write_text("yes")

            class Row(BaseModel):
                name: str
                price: float | None = None

            class Bill(BaseModel):
                total: float = Field(ge=0, description="after tax")
                rows: list[Row]

            @dataclass
            class Note:
                text: str

            THREE = 3
            """
        ),
        encoding="utf-8",
    )
    return path


def test_a_model_and_what_pydantic_can_describe(models):
    bill = parse_schema(f"{models}:Bill", trust=True)
    assert bill.source["properties"]["total"] == {
        "description": "after tax", "minimum": 0, "title": "Total", "type": "number",
    }  # fmt: skip
    assert '"rows": [{"name": string, "price": number}]' in bill.form()
    note = parse_schema(f"{models}:Note", trust=True)
    assert list(note.source["properties"]) == ["text"]


def test_nothing_runs_without_trust(models):
    with pytest.raises(UsageError) as caught:
        parse_schema(f"{models}:Bill")
    assert caught.value.hint.startswith("--trust")
    assert not models.with_name("ran").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Bil", "there is no Bil in it; its models: Bill, Note, Row"),
        ("THREE", "THREE"),
    ],
)
def test_what_has_no_schema(models, name, message):
    with pytest.raises(SchemaError, match=message):
        parse_schema(f"{models}:{name}", trust=True)


def test_files_that_cannot_be_read(tmp_path, models):
    with pytest.raises(UsageError, match="which class is meant"):
        parse_schema(str(models), trust=True)
    with pytest.raises(InputError, match="does not exist"):
        parse_schema(f"{tmp_path}/none.py:Bill", trust=True)
    broken = tmp_path / "broken.py"
    broken.write_text("def f(:\n", encoding="utf-8")
    with pytest.raises(SchemaError, match="SyntaxError"):
        parse_schema(f"{broken}:Bill", trust=True)
    broken.write_text("import os\nos._exit(7)\n", encoding="utf-8")
    with pytest.raises(SchemaError, match="it stopped: status 7"):
        parse_schema(f"{broken}:Bill", trust=True)
