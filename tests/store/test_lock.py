"""The lock: what was fetched once is what it has to be, until a person accepts a change."""

import hashlib
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from gemma_edge.errors import InputError, ModelError, UsageError
from gemma_edge.store.fetch import ensure, missing_files
from gemma_edge.store.files import verify
from gemma_edge.store.lock import LockEntry, read_lock, render_lock
from gemma_edge.store.remote import RemoteFile, StoreSettings
from tests.store.conftest import FILE, NAME, REPO, content
from tests.store.hub import Hub
from tests.store.test_faults import DATA, assert_whole, files_of

Make = Callable[..., StoreSettings]
SHA256 = hashlib.sha256(DATA).hexdigest()
NEW = content(1_000_000, seed=9)
NEW_SHA256 = hashlib.sha256(NEW).hexdigest()


def forget(settings: StoreSettings) -> None:
    """Delete every file, keep the lock."""
    for path in files_of(settings):
        path.unlink()


def test_what_was_fetched_stands_in_the_lock(hub: Hub, make_settings: Make) -> None:
    ensure([FILE], make_settings(clock=lambda: 86_400.0 * 365))
    entries = read_lock(make_settings().user_lock)
    commit = hub.repos[REPO][0].commit
    expected = LockEntry(REPO, commit, NAME, len(DATA), SHA256, date(1971, 1, 1))
    assert entries == {(REPO, NAME): expected}


def test_a_reupload_does_not_touch_who_has_locked(hub: Hub, settings: StoreSettings) -> None:
    """On disk: nothing is asked. Deleted: the locked commit is fetched, not the newest."""
    ensure([FILE], settings)
    hub.upload(REPO, NAME, NEW)
    assert_whole(ensure([FILE], settings))
    forget(settings)
    assert_whole(ensure([FILE], settings))


def test_a_reupload_is_refused_with_both_hashes_and_accepted_on_demand(
    hub: Hub, settings: StoreSettings
) -> None:
    """The locked commit is gone from the hub, as after a squash."""
    ensure([FILE], settings)
    forget(settings)
    hub.upload(REPO, NAME, NEW)
    del hub.repos[REPO][0]
    with pytest.raises(ModelError) as caught:
        ensure([FILE], settings)
    assert SHA256 in caught.value.message
    assert NEW_SHA256 in caught.value.message
    assert str(settings.user_lock) in caught.value.message
    assert caught.value.hint.endswith(f"gemma-edge pull {FILE.name} --accept-change")
    assert hub.sent_bytes == len(DATA)
    assert_whole(ensure([FILE], settings, accept=True), NEW)
    assert read_lock(settings.user_lock)[REPO, NAME].sha256 == NEW_SHA256
    assert_whole(ensure([FILE], settings), NEW)


def test_the_same_bytes_under_a_new_commit_are_no_change(hub: Hub, settings: StoreSettings) -> None:
    ensure([FILE], settings)
    forget(settings)
    hub.upload(REPO, "README.md", b"new words")
    del hub.repos[REPO][0]
    assert_whole(ensure([FILE], settings))


def test_another_revision_asked_for_by_name_is_refused_too(
    hub: Hub, settings: StoreSettings
) -> None:
    ensure([FILE], settings)
    commit = hub.upload(REPO, NAME, NEW)
    with pytest.raises(ModelError, match=NEW_SHA256):
        ensure([RemoteFile(REPO, NAME, commit)], settings)


def test_accepting_what_is_there_already_fetches_nothing(hub: Hub, settings: StoreSettings) -> None:
    ensure([FILE], settings)
    assert_whole(ensure([FILE], settings, accept=True))
    assert hub.sent_bytes == len(DATA)


def test_the_projects_lock_counts_before_the_persons(
    hub: Hub, make_settings: Make, tmp_path: Path
) -> None:
    project = tmp_path / "project" / "gemma-edge.lock"
    hub.upload(REPO, NAME, NEW)
    old = RemoteFile(REPO, NAME, hub.repos[REPO][0].commit)
    assert_whole(ensure([old], make_settings(project_lock=project)))
    assert read_lock(project) == read_lock(make_settings().user_lock)
    other = make_settings(project_lock=project, data_dir=tmp_path / "colleague",
                          cache_dir=tmp_path / "colleague-cache", trust_lock=True)  # fmt: skip
    assert_whole(ensure([FILE], other))  # not the newest: the project's


def test_the_catalogues_hash_is_held_against_the_hub(hub: Hub, settings: StoreSettings) -> None:
    file = RemoteFile(REPO, NAME, sha256=NEW_SHA256)
    with pytest.raises(ModelError, match="the catalogue"):
        ensure([file], settings)
    assert files_of(settings) == []
    hub.upload(REPO, NAME, NEW)
    assert_whole(ensure([file], settings), NEW)


def test_the_lock_wins_over_a_newer_catalogue_while_its_file_is_there(
    hub: Hub, settings: StoreSettings
) -> None:
    ensure([FILE], settings)
    assert_whole(ensure([RemoteFile(REPO, NAME, sha256=NEW_SHA256)], settings))


def test_what_is_missing_is_known_without_the_network(hub: Hub, settings: StoreSettings) -> None:
    other = RemoteFile(REPO, "other.gguf", size_bytes=77)
    assert missing_files([FILE, other], settings) == [(FILE, None), (other, 77)]
    assert hub.requests == []
    ensure([FILE], settings)
    assert missing_files([FILE, other], settings) == [(other, 77)]
    forget(settings)
    assert missing_files([FILE], settings) == [(FILE, len(DATA))]


def test_any_name_survives_the_lock(tmp_path: Path) -> None:
    names = ['quote".gguf', "back\\slash.gguf", "tab\t.gguf", "del\x7f.gguf", "名前 🦙.gguf"]
    entries = {("", name): LockEntry("", "", name, 1, SHA256, date(2026, 1, 2)) for name in names}
    path = tmp_path / "gemma-edge.lock"
    path.write_text(render_lock(entries), encoding="utf-8")
    assert read_lock(path) == entries


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "version = 2", "version = 1\nfile = 3", "version = 1\n[[file]]\nrepo = 'a'",
     f"version = 1\n[[file]]\nrepo='a/b'\nrevision=''\nfile='c'\nsize='1'\nsha256='{SHA256}'\n"
     "date=2026-01-01",
     "version = 1\n[[file]]\nrepo='a/b'\nrevision=''\nfile='c'\nsize=1\nsha256='no'\n"
     "date=2026-01-01"],
)  # fmt: skip
def test_a_lock_that_is_none_is_an_input_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gemma-edge.lock"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="is not a lock file") as caught:
        read_lock(path)
    assert caught.value.hint


def test_a_lock_that_is_no_text_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "gemma-edge.lock"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="no UTF-8"):
        read_lock(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_lock(tmp_path)


# A lock that a folder brings.


def stranger_lock(folder: Path, sha256: str = NEW_SHA256, commit: str = "c" * 40) -> Path:
    path = folder / "unpacked" / "gemma-edge.lock"
    path.parent.mkdir(exist_ok=True)
    entry = LockEntry(REPO, commit, NAME, len(NEW), sha256, date(2026, 1, 2))
    path.write_text(render_lock({(REPO, NAME): entry}), encoding="utf-8")
    return path


def test_a_folders_lock_decides_nothing_without_a_word(
    hub: Hub, make_settings: Make, tmp_path: Path
) -> None:
    """It names the file, both hashes and the flag; nothing was asked of the network for it."""
    path = stranger_lock(tmp_path, commit=hub.upload(REPO, NAME, NEW))
    with pytest.raises(UsageError, match="decides what hf:owner/some-model-GGUF") as caught:
        ensure([FILE], make_settings(project_lock=path))
    assert str(path) in caught.value.message
    assert NEW_SHA256[:12] in caught.value.message
    assert "--trust-lock" in caught.value.hint
    assert "\n" not in caught.value.message
    assert hub.requests == []


def test_a_folders_lock_is_asked_about_once_and_never_becomes_the_persons(
    hub: Hub, make_settings: Make, tmp_path: Path
) -> None:
    path = stranger_lock(tmp_path, commit=hub.upload(REPO, NAME, NEW))
    asked: list[str] = []

    def agree(question: str) -> bool:
        asked.append(question)
        return True

    settings = make_settings(project_lock=path, ask=agree)
    assert_whole(ensure([FILE], settings), NEW)
    assert_whole(ensure([FILE], settings), NEW)
    assert len(asked) == 1
    assert read_lock(settings.user_lock) == {}
    assert_whole(ensure([FILE], make_settings(project_lock=path)), NEW)  # nobody is there to ask
    path.write_text(path.read_text("utf-8") + "\n", encoding="utf-8")
    with pytest.raises(UsageError, match="decides"):
        ensure([FILE], make_settings(project_lock=path))


def test_what_this_program_writes_into_a_trusted_lock_leaves_it_trusted(
    hub: Hub, make_settings: Make, tmp_path: Path
) -> None:
    path = stranger_lock(tmp_path, commit=hub.upload(REPO, NAME, NEW))
    hub.upload(REPO, "other.gguf", DATA)
    ensure([FILE], make_settings(project_lock=path, ask=lambda _: True))
    ensure([RemoteFile(REPO, "other.gguf")], make_settings(project_lock=path))
    assert set(read_lock(path)) == {(REPO, NAME), (REPO, "other.gguf")}
    assert set(read_lock(make_settings().user_lock)) == {(REPO, "other.gguf")}
    assert_whole(ensure([FILE], make_settings(project_lock=path)), NEW)


def test_a_no_leaves_a_folders_lock_out(hub: Hub, make_settings: Make, tmp_path: Path) -> None:
    path = stranger_lock(tmp_path)
    before, asked = path.read_bytes(), []
    settings = make_settings(project_lock=path, ask=lambda text: bool(asked.append(text)))
    assert_whole(ensure([FILE], settings))
    ensure([FILE], settings)
    assert len(asked) == 1
    assert read_lock(settings.user_lock)[REPO, NAME].sha256 == SHA256
    assert path.read_bytes() == before


def test_the_flag_takes_a_folders_word_for_one_run(
    hub: Hub, make_settings: Make, tmp_path: Path
) -> None:
    path = stranger_lock(tmp_path, commit=hub.upload(REPO, NAME, NEW))
    settings = make_settings(project_lock=path, trust_lock=True)
    assert_whole(ensure([FILE], settings), NEW)
    assert read_lock(settings.user_lock) == {}
    with pytest.raises(UsageError, match="decides"):
        list(verify(make_settings(project_lock=path)))


def test_the_persons_own_lock_is_not_overruled_without_a_word(
    hub: Hub, make_settings: Make, tmp_path: Path
) -> None:
    ensure([FILE], make_settings())
    with pytest.raises(UsageError, match="this machine's lock says"):
        ensure([FILE], make_settings(project_lock=stranger_lock(tmp_path)))
    same = stranger_lock(tmp_path, SHA256)
    assert_whole(ensure([FILE], make_settings(project_lock=same)))  # it says the same


def test_accepting_what_is_upstream_asks_no_lock(
    hub: Hub, make_settings: Make, tmp_path: Path
) -> None:
    settings = make_settings(project_lock=stranger_lock(tmp_path))
    assert_whole(ensure([FILE], settings, accept=True))
    assert read_lock(settings.user_lock)[REPO, NAME].sha256 == SHA256


@pytest.mark.parametrize(
    "text",
    [
        'version = 1\n[[file]]\nrepo = "a/b"\nrevision = "\\u001b[2J"\nfile = "x"\nsize = 1\n'
        f'sha256 = "{"0" * 64}"\ndate = 2026-01-01\n',
        'version = 1\n[[file]]\nrepo = "a/b"\nrevision = ""\nfile = "../x"\nsize = 1\n'
        f'sha256 = "{"0" * 64}"\ndate = 2026-01-01\n',
        "x = " + "[" * 5000,
        "#" * ((4 << 20) + 1),
    ],
    ids=["revision", "file", "deep", "large"],
)
def test_a_lock_holds_names_of_the_hub_and_ends(tmp_path: Path, text: str) -> None:
    (tmp_path / "gemma-edge.lock").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="is not a lock file"):
        read_lock(tmp_path / "gemma-edge.lock")
