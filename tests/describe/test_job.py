"""Pictures and a question, on an engine that answers from a script."""

import pytest

from gemma_edge.description import describe, usual_question
from gemma_edge.documents.document import Picture
from gemma_edge.engine.protocol import Finished, JsonConstraint
from gemma_edge.errors import ProjectorError, UsageError
from tests.scripted import ScriptedEngine


def pictures(count):
    return [Picture(bytes(3 * 48 * 48), 48, 48, f"{n}.png") for n in range(count)]


def test_pictures_stand_before_the_question():
    engine = ScriptedEngine(["A red circle."])
    *chunks, last = describe(engine, pictures(2), "what colour?", max_tokens=50)
    assert "".join(chunk.text for chunk in chunks) == "A red circle."
    assert isinstance(last, Finished)
    (message,) = engine.requests[0].messages
    assert (message.text, len(message.pictures)) == ("what colour?", 2)
    assert [picture.name for picture in message.pictures] == ["0.png", "1.png"]
    assert engine.requests[0].max_tokens == 50
    assert engine.requests[0].constraint is None


@pytest.mark.parametrize("question", [None, "", "  \n"])
def test_the_usual_question(question):
    engine = ScriptedEngine(["x", "x"])
    list(describe(engine, pictures(1), question))
    list(describe(engine, pictures(3), question))
    texts = [request.messages[0].text for request in engine.requests]
    assert texts == ["Describe this image.", "Describe the images."]
    assert texts == [usual_question("caption", 1), usual_question("caption", 2)]


def test_a_constraint_is_passed_on():
    engine = ScriptedEngine(["[]"])
    constraint = JsonConstraint(schema='{"type": "array"}')
    list(describe(engine, pictures(1), constraint=constraint))
    assert engine.requests[0].constraint == constraint


def test_no_picture_and_no_projector():
    with pytest.raises(UsageError):
        describe(ScriptedEngine(["x"]), [])
    with pytest.raises(ProjectorError):
        describe(ScriptedEngine(["x"], vision=False), pictures(1))
