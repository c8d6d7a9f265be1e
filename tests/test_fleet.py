"""The simulated fleet of ``scripts/bench.py fleet``: its parts add up, what is scarce limits."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "scripts" / "bench"


@pytest.fixture(scope="module")
def fleet():
    sys.path.insert(0, str(BENCH))
    try:
        spec = importlib.util.spec_from_file_location("bench_fleet", BENCH / "fleet.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["bench_fleet"] = module  # where its dataclasses look
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCH))
    return module


@pytest.fixture
def parts(fleet):
    def make(**changes):
        told = {
            "seconds": (2.0,), "start_seconds": 30.0, "between_seconds": 0.0, "load_bytes": 10e9,
            "node_rate": 1e9, "disk_rate": 20e9, "ready_seconds": 1.0, "row_seconds": 0.001,
        }  # fmt: skip
        return fleet.Parts(**told | changes)

    return make


def test_one_gpu_takes_the_sum_of_all(fleet, parts):
    for shares in (True, False):
        run = fleet.simulate(parts(), 1000, 1, shares=shares)
        assert (run.start, run.load, run.work, run.tail, run.rows) == (30, 11, 2000, 0, 0)
        assert (run.end, run.limit) == (2041, "the GPUs")


def test_many_gpus_share_the_bandwidth_of_one_disk(fleet, parts):
    load = [fleet.simulate(parts(), 64, gpus, shares=False).load for gpus in (1, 20, 40)]
    assert load == [11, 11, 21]
    slow = parts(start_seconds=0.0, disk_rate=1e9)
    assert fleet.simulate(slow, 640, 64, shares=False).limit == "load of the model"


def test_shares_by_name_wait_for_the_longest_and_groups_do_not(fleet, parts):
    quick = parts(start_seconds=0.0, load_bytes=0.0, seconds=(1.0, 2.0, 3.0))
    by_name = fleet.simulate(quick, 2000, 64, shares=True)
    by_group = fleet.simulate(quick, 2000, 64, shares=False)
    assert by_name.work == by_group.work
    assert by_group.tail < 3 < by_name.tail
    assert (by_name.limit, by_group.limit) == ("the last share", "the GPUs")


def test_a_slow_queue_and_a_slow_disk_for_rows(fleet, parts):
    queue = fleet.simulate(parts(between_seconds=10.0), 640, 64, shares=False)
    assert queue.limit == "start of the jobs"
    disk = fleet.simulate(parts(row_seconds=1.0), 640, 64, shares=False)
    assert (disk.limit, round(disk.end)) == ("rows on the disk", 640)


def test_the_table_says_each_number_by_both_ways(fleet, parts):
    rows = list(fleet.table(parts(), 1000, (1, 8)))
    assert [(row["gpus"], row["by"]) for row in rows] == [
        (1, "shares"), (1, "dask"), (8, "shares"), (8, "dask"),
    ]  # fmt: skip
    assert rows[0]["documents_per_hour"] == round(1000 / 2041 * 3600)
    assert rows[0]["of_ideal"] == 0.98


def test_what_is_measured_is_measured(fleet):
    first, seconds = fleet.measure_command(2)
    assert first > 0
    assert len(seconds) == 2
    assert fleet.measure_rows(3) > 0
