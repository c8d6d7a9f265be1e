"""All sessions of a folder: listed, found, removed, kept within a size."""

import os

import pytest

from gemma_edge.chat.conversation import Conversation
from gemma_edge.chat.journal import FILE, Journal
from gemma_edge.chat.sessions import (
    KEPT_SECONDS,
    exact_journal,
    find_journal,
    last_journal,
    list_deleted,
    list_journals,
    prune,
    remove,
    restore,
)
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
    assert last_journal(tmp_path).name == "20260102"
    assert find_journal(tmp_path, "20260101").name == "20260101"
    assert find_journal(tmp_path, "Sort a LIST").name == "20260101"
    assert find_journal(tmp_path, "table").name == "20260102"
    with pytest.raises(InputError, match="several sessions are like `sort`: 20260102, 20260101"):
        find_journal(tmp_path, "sort")
    with pytest.raises(InputError, match="there is no session `poem`"):
        find_journal(tmp_path, "poem")
    with pytest.raises(InputError, match="there is no session yet"):
        last_journal(tmp_path / "nowhere")


def test_a_name_comes_before_all_that_is_like_it(tmp_path):
    make(tmp_path, "tea", "one", title="sort", used=100)
    make(tmp_path, "sort", "two", used=200)
    assert find_journal(tmp_path, "sort").name == "sort"
    assert find_journal(tmp_path, "TEA").name == "tea"
    assert exact_journal(tmp_path, "so") is None
    for name in ("", ".", "..", "../" + tmp_path.name, "a/../sort", "x" * 300, "a\0b", ".deleted"):
        assert exact_journal(tmp_path, name) is None


def test_every_state_is_listed_and_can_be_removed(tmp_path):
    """What was said must not lie on a disk where nobody sees it."""
    undone = Conversation(ScriptedEngine(["1"]), journal=Journal.create(tmp_path, "undone"))
    for _ in undone.say("x"):
        pass
    undone.undo()
    undone.close()
    for name, data in {"empty": b"", "binary": bytes(range(256)), "half": b'{"type": "que'}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / FILE).write_bytes(data)
    (tmp_path / "folder" / FILE).mkdir(parents=True)
    (tmp_path / "pictures" / "pictures").mkdir(parents=True)
    listed = {one.name for one in list_journals(tmp_path)}
    assert listed == {"undone", "empty", "binary", "half", "folder", "pictures"}
    assert last_journal(tmp_path).name == "undone"
    for name in listed:
        remove(exact_journal(tmp_path, name), now=1000.0)
    assert list_journals(tmp_path) == ()
    assert len(list_deleted(tmp_path, 1000.0)) == len(listed)


def test_what_was_deleted_can_be_brought_back_for_a_while(tmp_path):
    make(tmp_path, "a", "first", cache=100)
    remove(tmp_path / "a", now=1000.0)
    make(tmp_path, "a", "second")
    remove(tmp_path / "a", now=1000.5)
    assert list_journals(tmp_path) == ()
    assert not list(tmp_path.rglob("cache.kv"))
    second, first = list_deleted(tmp_path, 1000.0 + KEPT_SECONDS - 1)
    assert (second.journal.title, first.journal.title) == ("second", "first")
    assert restore(second, tmp_path) == tmp_path / "a"
    assert restore(first, tmp_path) == tmp_path / "a-2"
    assert {one.title for one in list_journals(tmp_path)} == {"first", "second"}
    assert list_deleted(tmp_path, 1000.0) == ()
    remove(tmp_path / "a", now=1000.0)
    assert list_deleted(tmp_path, 1000.0 + KEPT_SECONDS) == ()
    assert not list((tmp_path / ".deleted").iterdir())
    remove(tmp_path / "a-2", forever=True)
    assert list_deleted(tmp_path, 1000.0) == ()


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
