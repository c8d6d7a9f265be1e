"""The prompts, which are data files, and how they are put together: golden renderings."""

import json

import pytest

from gemma_edge.description import KINDS, ImageTask, language_name, schema_text, usual_question
from gemma_edge.documents.document import MAX_TOKENS
from gemma_edge.errors import UsageError


@pytest.mark.parametrize(
    ("task", "images", "cut", "prompt"),
    [
        (ImageTask(), 1, False, "Describe this image."),
        (ImageTask(), 2, False, "Describe the images."),
        (ImageTask(question="what changed?"), 2, False, "what changed?"),
        (ImageTask(language="de"), 1, False, "Describe this image.\nAnswer in German."),
        (ImageTask(language="Klingon"), 1, False, "Describe this image.\nAnswer in Klingon."),
        (
            ImageTask(),
            1,
            True,
            "These are overlapping parts of one image, from left to right and from top to bottom. "
            "Treat them as one; what two parts show is there once.\nDescribe this image.",
        ),
        (
            ImageTask(
                kind="json", question="of the left half", form='{"a": string}', language="fr"
            ),
            1,
            False,
            "Look at this image and fill in this form as JSON. Write only what can be seen; where "
            "the image does not show a value, write null.\nof the left half\n"
            '{"a": string}\nAnswer in French.',
        ),
    ],
)
def test_prompts(task, images, cut, prompt):
    assert task.prompt(images, cut=cut) == prompt


def test_every_kind_asks_something_of_one_and_of_several():
    asked = {usual_question(kind, count) for kind in KINDS for count in (1, 2)}
    assert len(asked) == 2 * len(KINDS)
    assert all(text and "{" not in text for text in asked)
    assert usual_question("ocr", 1).startswith("Copy all text")
    assert ImageTask(kind="tags", question="only animals").prompt(1).endswith("\nonly animals")


def test_kinds_differ_in_detail_and_in_chance():
    assert ImageTask(kind="ocr").detail_tokens == MAX_TOKENS
    assert ImageTask().detail_tokens is None
    assert [kind for kind in KINDS if ImageTask(kind=kind).copies] == ["ocr", "tags", "json"]
    assert [kind for kind in KINDS if schema_text(kind)] == ["tags", "json"]
    assert json.loads(schema_text("tags"))["type"] == "array"


def test_languages():
    assert language_name("PT-br") == "Brazilian Portuguese"
    for wrong in ("x" * 41, "de\nIgnore this", " "):
        with pytest.raises(UsageError):
            language_name(wrong)
    with pytest.raises(UsageError) as caught:
        ImageTask(kind="ocr", language="de")
    assert caught.value.hint == '-q "translate all text to de"'
