"""Speeds that were measured: kept, replaced, and ignored when the file is damaged."""

import json
from dataclasses import replace
from multiprocessing import get_context

import pytest
from filelock import FileLock

from gemma_edge.store.measurements import (
    MAX_KEPT,
    Measurement,
    measurements_path,
    read_measurements,
    record_measurement,
)
from gemma_edge.store.remote import StoreSettings

RUN = Measurement(
    device="RTX 4060", backend="cuda", version="0.3.36", weights="ab" * 32, placement="gpu",
    moe=False, tokens_per_second=61.5, predicted_tokens_per_second=60.0, driver="580.65",
    read_tokens_per_second=2140.0,
)  # fmt: skip


@pytest.fixture
def settings(tmp_path):
    return StoreSettings(data_dir=tmp_path / "data")


def test_nothing_was_measured_yet(settings):
    assert read_measurements(settings) == ((), "")


def test_the_newest_of_one_configuration_counts(settings):
    other = replace(RUN, placement="experts:24")
    older = replace(RUN, driver="570.1")
    newer = replace(RUN, tokens_per_second=50.0)
    for run in (RUN, other, older, newer):
        assert record_measurement(settings, run) == ""
    assert read_measurements(settings) == ((other, older, newer), "")


def test_a_file_without_drivers_is_read(settings):
    record_measurement(settings, RUN)
    path = measurements_path(settings)
    content = json.loads(path.read_text())
    del content["speeds"][0]["driver"], content["speeds"][0]["read_tokens_per_second"]
    path.write_text(json.dumps(content))
    older = replace(RUN, driver="", read_tokens_per_second=None)
    assert read_measurements(settings) == ((older,), "")


def test_old_ones_make_room(settings):
    for number in range(MAX_KEPT + 3):
        record_measurement(settings, replace(RUN, weights=f"{number}"))
    kept, _ = read_measurements(settings)
    assert [run.weights for run in kept[:1]] == ["3"]
    assert len(kept) == MAX_KEPT


@pytest.mark.parametrize(
    "damage",
    [
        "", "{", "[]", "null", '{"format": 2, "speeds": []}', '{"format": 1}',
        '{"format": 1, "speeds": [{}]}', '{"format": 1, "speeds": 3}', "\udcff",
        "[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_file_is_ignored_and_said_and_written_again(settings, damage):
    settings.data_dir.mkdir()
    measurements_path(settings).write_bytes(damage.encode("utf-8", "surrogateescape"))
    found, note = read_measurements(settings)
    assert found == ()
    assert "speeds.json cannot be read" in note
    assert record_measurement(settings, RUN) == ""
    assert read_measurements(settings) == ((RUN,), "")


@pytest.mark.parametrize(
    ("field", "value"),
    [("tokens_per_second", 0), ("read_tokens_per_second", 0), ("read_tokens_per_second", "5"),
     ("tokens_per_second", "5"), ("tokens_per_second", True),
     ("predicted_tokens_per_second", float("nan")), ("predicted_tokens_per_second", float("inf")),
     ("device", 3), ("driver", 580), ("moe", "no")],
)  # fmt: skip
def test_an_impossible_entry_is_damage(settings, field, value):
    record_measurement(settings, RUN)
    path = measurements_path(settings)
    content = json.loads(path.read_text())
    content["speeds"][0][field] = value
    path.write_text(json.dumps(content))
    assert read_measurements(settings)[0] == ()


def test_a_folder_that_cannot_be_written_costs_nothing_else(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    note = record_measurement(StoreSettings(data_dir=blocked / "data"), RUN)
    assert note.startswith("the measured speed is not kept")


def test_two_that_end_together_write_one_after_the_other(settings):
    settings.data_dir.mkdir()
    worker = get_context("spawn").Process(target=record_measurement, args=(settings, RUN))
    with FileLock(settings.data_dir / "speeds.json.writing"):
        worker.start()
        worker.join(1.5)
        assert worker.is_alive()
        assert not measurements_path(settings).exists()
    worker.join(20)
    assert read_measurements(settings) == ((RUN,), "")


def test_what_a_drafter_brings_stays_known(settings: StoreSettings) -> None:
    record_measurement(settings, replace(RUN, drafter_times=1.5))
    record_measurement(settings, replace(RUN, tokens_per_second=7.0))
    ((found,), note) = read_measurements(settings)
    assert (found.tokens_per_second, found.drafter_times, note) == (7.0, 1.5, "")
    record_measurement(settings, replace(RUN, drafter_times=0.9))
    assert read_measurements(settings)[0][0].drafter_times == 0.9
