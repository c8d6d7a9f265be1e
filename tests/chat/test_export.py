"""A conversation as a document."""

import json

from gemma_edge.chat.conversation import Conversation
from gemma_edge.chat.journal import Attachment
from gemma_edge.chat.sessions import render_json, render_markdown
from gemma_edge.documents.document import Picture
from tests.scripted import ScriptedEngine

PICTURE = Picture(bytes(48 * 48 * 3), 48, 48, "dot.png")
MARKDOWN = """\
# what is this?

E4B

## System

Be short.

## You

*Image: dot.png*

notes.md:
````
```
code
```
````

what is this?

## Model

A dot.

*(the model sees a summary of this turn)*

## Summary

There was a dot.

## You

and now?

## Model

It is

*(cut at the limit of tokens)*
"""


def conversation():
    engine = ScriptedEngine(["A dot.", "Undone.", "There was a dot.", "It is gone."])
    session = Conversation(engine, "Be short.", model="E4B")
    file = Attachment("notes.md", "```\ncode\n```\n", 5)
    list(session.add(PICTURE, file).say("what is this?"))
    list(session.say("never mind"))
    session.undo()
    list(session.compact())
    session.max_tokens = 2
    list(session.say("and now?"))
    return session.history


def test_markdown_is_the_whole_conversation_for_people():
    assert render_markdown(conversation()) == MARKDOWN


def test_json_has_all_of_it_for_programs():
    document = json.loads(render_json(conversation()))
    assert (document["title"], document["model"]) == ("what is this?", "E4B")
    assert (document["system"], document["summary"]) == ("Be short.", "There was a dot.")
    undone, first = document["earlier"]
    assert (first["images"], first["fate"]) == (["dot.png"], "summarized")
    assert first["files"] == [{"name": "notes.md", "tokens": 5, "text": "```\ncode\n```\n"}]
    assert (undone["question"], undone["answer"], undone["fate"]) == (
        "never mind", "Undone.", "undone",
    )  # fmt: skip
    (turn,) = document["turns"]
    assert (turn["answer"], turn["ended"], "fate" in turn) == ("It is ", "length", False)
