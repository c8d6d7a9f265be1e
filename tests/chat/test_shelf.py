"""All sessions of a folder: listed, found, removed, kept within a size."""

import os

import pytest

from gemma_edge.chat.conversation import Conversation
from gemma_edge.chat.journal import FILE, Journal
from gemma_edge.chat.sessions import find_journal, list_journals, prune, remove
from gemma_edge.errors import InputError
from tests.scripted import ScriptedEngine


def make(folder, name, *questions, title="", used=0.0, cache=0):
    session = Conversation(
        ScriptedEngine(["yes"] * 9), journal=Journal.create(folder, name), model="E2B"
    )
    for question in questions:
        for _ in session.say(question):
            pass
    if title:
        session.title = title
    if cache:
        session.journal.kv_path.write_bytes(bytes(cache))
    session.journal.close()
    if used:
        os.utime(folder / name / FILE, (used, used))
    return folder / name


def test_the_last_used_first_with_titles(tmp_path):
    make(tmp_path, "a", "how do I sort a list?\nthanks", "and backwards?", used=100)
    make(tmp_path, "b", "hello", title="A greeting", used=300, cache=1000)
    make(tmp_path, "c", used=0)
    (tmp_path / "not-one").mkdir()
    (tmp_path / "file").write_text("x")
    listed = list_journals(tmp_path)
    assert [(j.name, j.title, j.questions, j.model) for j in listed] == [
        ("b", "A greeting", 1, "E2B"),
        ("a", "how do I sort a list?", 2, "E2B"),
    ]
    assert listed[0].cache_bytes == 1000
    assert listed[0].size_bytes > 1000
    assert (listed[1].changed, listed[1].created > 0) == (100, True)
    assert list_journals(tmp_path / "nowhere") == ()


def test_found_by_name_by_title_and_by_a_part(tmp_path):
    make(tmp_path, "20260101", "sort a list", used=100)
    make(tmp_path, "20260102", "sort a table", used=200)
    assert find_journal(tmp_path).name == "20260102"
    assert find_journal(tmp_path, "20260101").name == "20260101"
    assert find_journal(tmp_path, "Sort a LIST").name == "20260101"
    assert find_journal(tmp_path, "table").name == "20260102"
    with pytest.raises(InputError, match="several sessions are like `sort`: 20260102, 20260101"):
        find_journal(tmp_path, "sort")
    with pytest.raises(InputError, match="there is no session `poem`"):
        find_journal(tmp_path, "poem")
    with pytest.raises(InputError, match="there is no session yet"):
        find_journal(tmp_path / "nowhere")


def test_removed_whole_unless_it_is_open(tmp_path):
    path = make(tmp_path, "a", "x", cache=500)
    opened = Journal.open(path)
    with pytest.raises(InputError, match="`a` is open in another terminal"):
        remove(path)
    opened.close()
    assert remove(path) > 500
    assert not path.exists()
    with pytest.raises(InputError, match="there is no session `a`"):
        remove(path)
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="there is no session `mine`"):
        remove(tmp_path / "mine")


def test_over_the_cap_the_oldest_caches_go_first_then_the_oldest_sessions(tmp_path):
    for number in range(4):
        make(tmp_path, f"s{number}", "x", used=100 + number, cache=100_000)
    assert prune(tmp_path, max_bytes=1_000_000) == ()
    said = prune(tmp_path, max_bytes=250_000)
    assert [line.partition(" was ")[0] for line in said] == [
        "the cache of session `s0`",
        "the cache of session `s1`",
    ]
    assert len(list_journals(tmp_path)) == 4
    opened = Journal.open(tmp_path / "s0")
    said = prune(tmp_path, max_bytes=500, keep=[tmp_path / "s3"])
    opened.close()
    assert [j.name for j in list_journals(tmp_path)] == ["s3", "s0"]
    assert said[-1].startswith("session `s2` (x) was deleted: all sessions together take more than")


def test_what_was_said_is_not_deleted_for_a_cache(tmp_path):
    make(tmp_path, "old", "x", used=100)
    newest = make(tmp_path, "new", "x", used=200, cache=1_000_000)
    (said,) = prune(tmp_path, max_bytes=100_000, keep=[newest])
    assert said.startswith("the cache of session `new` was deleted")
    assert [j.name for j in list_journals(tmp_path)] == ["new", "old"]
