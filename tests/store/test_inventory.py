"""What is on disk: found, proved, deleted, taken in."""

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gemma_edge.errors import InputError, ModelError
from gemma_edge.store.fetch import ensure
from gemma_edge.store.files import (
    CheckedHashes,
    import_file,
    list_files,
    plan_removal,
    remove,
    verify,
)
from gemma_edge.store.lock import read_lock
from gemma_edge.store.remote import Progress, StoreSettings
from tests.store.conftest import FILE, NAME, REPO, content
from tests.store.hub import Fault, Hub
from tests.store.test_faults import DATA, assert_whole, files_of

Make = Callable[..., StoreSettings]
SHA256 = hashlib.sha256(DATA).hexdigest()


def damage(path: Path) -> None:
    """One bit in the middle; size and time of change stay."""
    before = path.stat()
    with path.resolve().open("r+b") as stream:
        stream.seek(1_000_000)
        byte = stream.read(1)[0]
        stream.seek(1_000_000)
        stream.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_the_list_has_name_size_commit_and_hash(hub: Hub, settings: StoreSettings) -> None:
    (path,) = ensure([FILE], settings)
    (stored,) = list_files(settings)
    assert stored.path == path
    assert (stored.name, stored.where, stored.size_bytes) == (FILE.name, "cache", len(DATA))
    assert (stored.commit, stored.sha256) == (hub.repos[REPO][0].commit, SHA256)


def test_an_empty_disk_has_an_empty_list(settings: StoreSettings) -> None:
    assert list_files(settings) == []
    assert list(verify(settings)) == []


def test_verify_reads_again_what_looks_unchanged(settings: StoreSettings) -> None:
    (path,) = ensure([FILE], settings)
    assert [verdict.state for verdict in verify(settings)] == ["right"]
    damage(path)
    CheckedHashes(settings).put(path, SHA256)  # whatever was remembered of it
    assert ensure([FILE], settings) == [path]
    events: list[Progress] = []
    (verdict,) = verify(settings, on_progress=events.append)
    assert (verdict.state, verdict.expected, verdict.promised_by) == ("wrong", SHA256, "lock")
    assert verdict.sha256 != SHA256
    assert events[-1].done_bytes == len(DATA)


@pytest.mark.skipif(os.name == "nt", reason="its files have no time of their last change")
def test_a_file_with_its_old_date_is_hashed_again(hub: Hub, settings: StoreSettings) -> None:
    """Size, inode and date are what they were; the time of the change itself nobody sets back."""
    (path,) = ensure([FILE], settings)
    checked = CheckedHashes(settings)
    assert checked.hash(path) == SHA256
    damage(path)
    assert checked.hash(path) != SHA256
    assert_whole(ensure([FILE], settings))
    assert hub.sent_bytes == 2 * len(DATA)


def test_a_file_that_changes_while_it_is_hashed_is_not_remembered(settings: StoreSettings) -> None:
    (path,) = ensure([FILE], settings)
    checked = CheckedHashes(settings)
    checked._path.unlink()

    def change(done_bytes: int) -> None:
        if done_bytes == len(DATA):
            damage(path)

    assert checked.hash(path, change) == SHA256
    assert checked.hash(path) != SHA256


def test_a_damaged_file_is_fetched_again_and_never_returned(
    hub: Hub, settings: StoreSettings
) -> None:
    (path,) = ensure([FILE], settings)
    damage(path)
    os.utime(path)  # now it looks changed
    with pytest.raises(ModelError):
        ensure([FILE], StoreSettings(data_dir=settings.data_dir, cache_dir=settings.cache_dir,
                                     offline=True))  # fmt: skip
    assert_whole(ensure([FILE], settings))
    assert hub.sent_bytes == 2 * len(DATA)


def test_a_file_without_a_promise_is_unknown(settings: StoreSettings) -> None:
    folder = settings.import_dir / "owner" / "repo"
    folder.mkdir(parents=True)
    (folder / "model.gguf").write_bytes(b"GGUF")
    (verdict,) = verify(settings)
    assert (verdict.name, verdict.state) == ("hf:owner/repo/model.gguf", "unknown")


def test_removal_says_what_it_frees_and_deletes_that(hub: Hub, settings: StoreSettings) -> None:
    ensure([FILE], settings)
    plan = plan_removal(list_files(settings), settings)
    assert plan.freed_bytes == len(DATA)
    assert len(list_files(settings)) == 1  # only planned
    remove(plan)
    assert files_of(settings) == []
    assert list_files(settings) == []


def test_a_second_name_of_the_same_bytes_frees_nothing(hub: Hub, settings: StoreSettings) -> None:
    ensure([FILE], settings)
    hub.upload(REPO, "README.md", b"words")
    ensure([FILE], settings, accept=True)
    both = list_files(settings)
    if len(both) == 1:  # the second commit has the same file: one name may be enough
        return
    plan = plan_removal(both[:1], settings)
    assert plan.freed_bytes == 0
    remove(plan)
    assert_whole([both[1].path])
    assert plan_removal(both[1:], settings).freed_bytes == len(DATA)


def test_a_part_is_listed_and_can_be_removed(hub: Hub, make_settings: Make) -> None:
    hub.order("storage", Fault(cut_after=600_000))
    settings = make_settings(attempts=1)
    with pytest.raises(Exception, match="are kept"):
        ensure([FILE], settings)
    (part,) = list_files(settings)
    assert (part.where, part.size_bytes) == ("incomplete", 600_000)
    plan = plan_removal([part], settings)
    assert plan.freed_bytes == 600_000
    remove(plan)
    assert list_files(settings) == []


def test_plain_files_lie_by_owner_and_repository(
    hub: Hub, make_settings: Make, tmp_path: Path
) -> None:
    settings = make_settings(models_dir=tmp_path / "models", attempts=1)
    hub.order("storage", Fault(cut_after=600_000))
    with pytest.raises(Exception, match="are kept"):
        ensure([FILE], settings)
    (path,) = ensure([FILE], settings)
    assert path == tmp_path / "models" / REPO / NAME
    assert not path.is_symlink()
    assert_whole([path])
    assert hub.sent_bytes == len(DATA)
    assert not files_of(settings)
    assert [stored.where for stored in list_files(settings)] == ["models"]
    asked = len(hub.requests)
    assert ensure([FILE], settings) == [path]
    assert len(hub.requests) == asked
    plan = plan_removal(list_files(settings), settings)
    assert plan.freed_bytes == len(DATA)
    remove(plan)
    assert not path.exists()


def test_a_plain_file_is_taken_from_the_cache(
    hub: Hub, make_settings: Make, tmp_path: Path
) -> None:
    ensure([FILE], make_settings())
    settings = make_settings(models_dir=tmp_path / "models")
    (path,) = ensure([FILE], settings)
    assert path == tmp_path / "models" / REPO / NAME
    assert_whole([path])
    assert hub.sent_bytes == len(DATA)
    plain = [stored for stored in list_files(settings) if stored.where == "models"]
    assert plan_removal(plain, settings).freed_bytes == (
        0 if path.stat().st_nlink > 1 else len(DATA)
    )


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_what_a_persons_own_link_leads_to_is_left_alone(
    make_settings: Make, tmp_path: Path
) -> None:
    settings = make_settings(models_dir=tmp_path / "models")
    theirs = tmp_path / "nas" / "blobs" / "theirs.gguf"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(DATA)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "link.gguf").symlink_to(theirs)
    plan = plan_removal(list_files(settings), settings)
    assert (plan.freed_bytes, plan.blobs) == (0, frozenset())
    remove(plan)
    assert list_files(settings) == []
    assert_whole([theirs])
    assert (tmp_path / "models").is_dir()


def test_a_file_of_the_librarys_own_download_is_used(hub: Hub, settings: StoreSettings) -> None:
    from huggingface_hub import hf_hub_download

    theirs = hf_hub_download(REPO, NAME, cache_dir=settings.cache_dir, endpoint=hub.endpoint)
    asked = len(hub.requests)
    assert [str(path) for path in ensure([FILE], settings)] == [theirs]
    assert len(hub.requests) == asked
    assert read_lock(settings.user_lock)[REPO, NAME].sha256 == SHA256


def test_the_library_uses_what_we_fetched(hub: Hub, settings: StoreSettings) -> None:
    from huggingface_hub import hf_hub_download

    (ours,) = ensure([FILE], settings)
    theirs = hf_hub_download(REPO, NAME, cache_dir=settings.cache_dir, endpoint=hub.endpoint)
    assert Path(theirs) == ours
    assert hub.count("GET", "/storage/") == 1
    assert (
        hf_hub_download(REPO, NAME, cache_dir=settings.cache_dir, local_files_only=True) == theirs
    )


def test_a_file_outside_lfs_is_checked_by_the_lock(hub: Hub, settings: StoreSettings) -> None:
    hub.lfs = False
    (path,) = ensure([FILE], settings)
    assert read_lock(settings.user_lock)[REPO, NAME].sha256 == SHA256
    damage(path)
    assert [verdict.state for verdict in verify(settings)] == ["wrong"]


def test_import_copies_checks_and_locks(settings: StoreSettings, tmp_path: Path) -> None:
    source = tmp_path / "stick" / "mine.gguf"
    source.parent.mkdir()
    source.write_bytes(DATA)
    events: list[Progress] = []
    stored = import_file(source, settings, on_progress=events.append)
    assert stored.path == settings.import_dir / "mine.gguf"
    assert_whole([stored.path])
    assert events[-1].state == "done"
    assert read_lock(settings.user_lock)["", "mine.gguf"].sha256 == SHA256
    assert import_file(source, settings).path == stored.path  # the same again is nothing new
    assert [verdict.state for verdict in verify(settings)] == ["right"]
    source.write_bytes(content(5000, seed=4))
    with pytest.raises(ModelError, match="another file of the same name"):
        import_file(source, settings)
    assert_whole([stored.path])


def test_import_refuses_what_is_no_model(settings: StoreSettings, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"PK\3\4")
    (tmp_path / "empty.gguf").write_bytes(b"")
    for name in ("a.gguf", "empty.gguf"):
        with pytest.raises(ModelError, match="is not a GGUF file"):
            import_file(tmp_path / name, settings)
    for name in ("missing.gguf", "."):
        with pytest.raises(InputError, match="cannot be read"):
            import_file(tmp_path / name, settings)
    if sys.platform == "linux":
        odd = tmp_path / os.fsdecode(b"\xff.gguf")
        odd.write_bytes(DATA)
        with pytest.raises(InputError, match="cannot be written down"):
            import_file(odd, settings)
    assert list_files(settings) == []
