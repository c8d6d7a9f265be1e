"""Documents on a Dask cluster: the rows of one process, whatever becomes of the workers."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures import wait as wait_for
from pathlib import Path
from types import SimpleNamespace

import prove_dask
import pytest
from PIL import Image, ImageDraw
from prove_slurm import rows_of, write_papers

from gemma_edge.app import cluster
from gemma_edge.app.batch import Counts, Source
from gemma_edge.app.cluster import Answered, Cluster
from gemma_edge.app.describe import Describing, parse_questions
from gemma_edge.app.extract import Extracting, failed, read_recipe, record_format
from gemma_edge.app.request import (
    BatchRequest,
    DescribeRequest,
    ExtractRequest,
    ModelRequest,
    RecipeRequest,
)
from gemma_edge.app.runtime import library_runtime
from gemma_edge.app.shards import folder_of, open_beside
from gemma_edge.errors import GemmaEdgeError, InputError, ModelError, UsageError
from gemma_edge.extraction.records import DocumentRecord
from gemma_edge.hardware.detect import parse_recording
from tests.hardware import machines

pytest.importorskip("distributed")
ASK = ("--schema", "total num", "-m", "demo", "--out", "rows.jsonl")


@pytest.mark.slow
def test_killed_workers_lose_nothing(tmp_path):
    """Four processes, two of them killed while they work, one that joins later."""
    figures = prove_dask.prove(64, 4, tmp_path)
    assert figures == {
        "files": 64, "workers": 4, "killed": 2, "joined": 1, "rows": 64,
        "lost": 0, "twice": 0, "other": 0, "shares left": 0,
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_ctrl_c_keeps_the_rows_and_the_workers(tmp_path):
    write_papers(tmp_path / "papers", 30)
    (tmp_path / "papers" / "junk.pdf").write_bytes(b"junk")
    out = tmp_path / "rows.jsonl"
    with prove_dask.running(tmp_path, 2) as two:
        words = "--cluster", two.address, "--out", out.name
        client = prove_dask.extract(tmp_path, *words)
        prove_dask.until(lambda: prove_dask.writers(out) or client.poll() is not None, "a row")
        client.send_signal(signal.SIGINT)
        said = prove_dask.ended(client)
        assert client.returncode == 130, said
        assert "what was answered lies in" in said
        assert prove_dask.writers(out)
        assert all(each.poll() is None for each in two.workers)
        client = prove_dask.extract(tmp_path, *words)
        said = prove_dask.ended(client)
    assert client.returncode == 3, said
    assert re.search(r"31 files: \d+ documents extracted, [1-9]\d* done before, 1 failed", said)
    assert "junk.pdf is not a PDF" in said
    assert len(rows_of(out)) == 31
    assert not folder_of(out).exists()


@pytest.mark.slow
def test_images_on_workers(tmp_path):
    """With texts beside them; then one process finds nothing left to do."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, colour in enumerate(["red", "blue", "green"]):
        draw = ImageDraw.Draw(image := Image.new("RGB", (224, 224), "white"))
        draw.ellipse((70, 70, 150, 150), fill=colour)
        image.save(photos / f"{number}.png")
    (photos / "junk.png").write_bytes(b"junk")
    words = [*prove_dask.GEMMA_EDGE, "describe", "photos", "-m", "demo", "--out", "rows.jsonl",
             "--as", "caption", "--temperature", "0"]  # fmt: skip

    def run(*more):
        return subprocess.run(
            [*words, *more], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(prove_dask.ROOT)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    with prove_dask.running(tmp_path, 2) as two:
        ran = run("--sidecar", "--cluster", two.address)
    assert "4 files: 3 images described, 1 failed" in ran.stderr, ran.stderr
    assert ran.returncode == 3
    assert not folder_of(tmp_path / "rows.jsonl").exists()
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text("utf-8").splitlines()]
    assert [each["file"] for each in rows] == [*(f"photos/{n}.png" for n in range(3)),
                                              "photos/junk.png"]  # fmt: skip
    for row, colour in zip(rows, ["red", "blue", "green"], strict=False):
        assert colour in row["answer"]
        text = (tmp_path / f"{row['file']}.caption.txt").read_text("utf-8").strip()
        assert text == row["answer"].strip()
    assert "0 images described, 3 done before, 1 failed" in run().stderr


# ---------------------------------------------------------------------------- what is refused


@pytest.fixture
def papers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_papers(tmp_path / "papers", 3)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--cluster", "node:8786"), "is no cluster, like tcp://node:8786, slurm or local:4"),
        (("--cluster", "local:0"), "is no cluster"),
        (("--cluster", "local:2", "--shard", "1/2"), "--cluster shares the files out"),
        (("--cluster", "local:2", "--html", "pages"), "--html is written on one machine"),
        (("--cluster", "local:2", "--workers", "3"), "are for a job queue, not local:2"),
        (("--workers", "3"), "--workers, and no --cluster"),
        (("--cluster", "local:2", "--out", "rows.csv"), "are lines of JSON, not rows.csv"),
        (("--cluster", "tcp://gpu7:8786", "--offline"), "no connection may be opened"),
        (("--cluster", "slurm", "--offline"), "no connection may be opened"),
        (("--cluster", "tcp://10.0.0.7:8786", "--password", "geheim"), "would cross the network"),
    ],
)  # fmt: skip
def test_what_a_cluster_cannot_do(shell, papers, words, said):
    ran = shell.run("extract", "papers", *ASK, *words, model=False)
    assert (ran.status, said in ran.stderr) == (2, True), ran.stderr
    assert not Path("rows.jsonl").exists()


def test_a_cluster_needs_a_file_and_files(shell, papers):
    for command in ("extract", "describe"):
        Path("papers", "a.png").write_bytes(b"x")
        ran = shell.run(command, "papers", "--cluster", "local:2", model=False)
        assert (ran.status, "need a file for rows" in ran.stderr) == (2, True)
    ran = shell.run("extract", "-", *ASK, "--cluster", "local:2", stdin="x", model=False)
    assert (ran.status, "stdin cannot be sent to workers" in ran.stderr) == (2, True)


def test_without_dask_it_says_how_to_install_it(shell, papers, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    ran = shell.run("extract", "papers", *ASK, "--cluster", "tcp://[::1]:1", model=False)
    assert ran.status == 2
    assert "--cluster needs distributed, which is not installed" in ran.stderr
    assert 'pip install "gemma-edge[cluster]"' in ran.stderr


def test_where_no_scheduler_answers_nothing_is_begun(shell, papers, monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 0.3)
    ran = shell.run("extract", "papers", *ASK, "--cluster", "tcp://127.0.0.1:9", model=False)
    assert ran.status == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in ran.stderr
    assert list(papers.glob("rows*")) == []


@pytest.mark.parametrize(
    ("address", "leaves"),
    [("tcp://127.0.0.1:1", False), ("tcp://[::1]:1", False), ("tls://localhost:1", False),
     ("local:3", False), ("tcp://10.0.0.1:1", True), ("tls://node:1", True), ("slurm", True)],
)  # fmt: skip
def test_what_leaves_this_machine(address, leaves):
    assert Cluster(address=address).leaves_machine is leaves


# ---------------------------------------------------------------------------- processes here


def of_machine(name, **variables):
    """A recorded machine, with other variables."""
    recording = machines.load(name)
    return parse_recording(recording | {"environment": recording["environment"] | variables})


@pytest.mark.parametrize(
    ("machine", "variables", "count", "shown"),
    [
        ("two-cards", {}, 2, ["0", "1"]),
        ("two-cards", {}, 1, [None]),
        ("visible-devices-reordered", {"CUDA_VISIBLE_DEVICES": "GPU-b,GPU-a"}, 2,
         ["GPU-b", "GPU-a"]),
        ("h100-mig-20gb", {"CUDA_VISIBLE_DEVICES": "MIG-1,MIG-2,MIG-3"}, 2,
         ["MIG-1,MIG-3", "MIG-2"]),
        ("laptop-without-gpu", {}, 4, [None] * 4),
    ],
)  # fmt: skip
def test_each_process_sees_gpus_of_its_own(machine, variables, count, shown):
    where = Cluster(address=f"local:{count}")
    found = cluster.share_gpus(of_machine(machine, **variables), where, ModelRequest())
    assert [each.get("CUDA_VISIBLE_DEVICES") for each in found] == shown


@pytest.mark.parametrize(
    ("machine", "count", "said"),
    [("two-cards", 3, "there are 2 GPUs"), ("rtx-3060", 2, "there is one GPU"),
     ("m2-16gb", 2, "there is one GPU"), ("slurm-mig-by-index", 2, "there is one GPU")],
)  # fmt: skip
def test_no_two_processes_count_on_one_gpu(machine, count, said):
    where, hardware = Cluster(address=f"local:{count}"), of_machine(machine)
    with pytest.raises(UsageError, match=said):
        cluster.share_gpus(hardware, where, ModelRequest())
    none = cluster.share_gpus(hardware, where, ModelRequest(gpu_layers=0))
    assert none == [{}] * count


def seen():
    return os.environ.get("CUDA_VISIBLE_DEVICES")


@pytest.mark.slow
def test_processes_get_what_they_are_shown_and_listen_on_loopback(tmp_path):
    distributed = pytest.importorskip("distributed")
    pytest.importorskip("cryptography")
    before = listeners()
    where, runtime = Cluster(address="local:2"), library_runtime()
    gpus = [{"CUDA_VISIBLE_DEVICES": each} for each in ("MIG-1", "MIG-2,MIG-3")]
    with cluster._connected(where, gpus, runtime) as client:
        assert isinstance(client, distributed.Client)
        client.wait_for_workers(2, 60)
        assert sorted(client.run(seen).values()) == ["MIG-1", "MIG-2,MIG-3"]
        assert all(each.startswith("tls://127.0.0.1:") for each in client.nthreads())
        ours = listeners() - before
    assert len(ours) >= 4  # a scheduler's and two workers', and pages about them
    assert {address for address, _ in ours} == {"127.0.0.1"}


def listeners():
    """Addresses and ports at which this process and its children can be reached."""
    psutil = pytest.importorskip("psutil")
    here = psutil.Process()
    return {
        (each.laddr.ip, each.laddr.port)
        for process in [here, *here.children(recursive=True)]
        for each in process.net_connections("tcp")
        if each.status == psutil.CONN_LISTEN
    }


# ---------------------------------------------------------------------------- what a worker is told


def test_a_job_can_be_sent():
    """Of one recipe and of all that ship; and it is settings alone, of a size for each message."""
    cloudpickle = pytest.importorskip("cloudpickle")
    asked = RecipeRequest(schema="total num"), RecipeRequest(checks=("total > 0",))
    works = [
        *(Extracting(asked=read_recipe(each, []), request=ExtractRequest()) for each in asked),
        Describing(questions=parse_questions(DescribeRequest(kind="json", schema="colour"))),
    ]
    for work in works:
        job = cluster.Job(
            name="x", version="1", work=work, model=ModelRequest(),
            batch=BatchRequest(out=Path("rows.jsonl")), models_dir=None,
        )  # fmt: skip
        sent = cloudpickle.dumps(job)
        assert len(sent) < 1_000_000
        again = pickle.loads(sent)
        assert again.work.request == work.request
        assert (again.model, again.batch) == (job.model, job.batch)


def test_a_file_beside_others_sees_what_they_wrote_meanwhile(tmp_path):
    out, look = tmp_path / "rows.jsonl", record_format("json", ())
    with open_beside(out, look, "cluster") as first, open_beside(out, look, "cluster") as second:
        first.write(DocumentRecord(file="a.txt", key="k1", data={"x": 1}))
        source = Source("a.txt", tmp_path / "a.txt")
        assert not second.before.has_row(source, "k1")
        second.look_again()
        assert "k1" in second.before.done
        assert second.before.has_row(source, "k1")


def test_a_worker_that_does_not_see_the_disk_takes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_address", lambda: "tcp://w:1")
    job = a_job(tmp_path)
    answered = cluster.answer(job, 1, [])
    assert answered.refused[0].startswith("it does not see")
    job.marks.mkdir(parents=True)
    other = cluster.answer(replaced(job, version="0"), 1, [])
    assert re.search(r"it has gemma-edge \S+, not 0", other.refused[0])
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    absent = cluster.answer(replaced(job, model=ModelRequest(model="26b-a4b")), 1, [])
    assert absent.refused[0] == "26b-a4b is not on its machine, and no worker downloads anything"
    assert absent.refused[1].startswith("gemma-edge pull ")
    gone = Source("a.txt", tmp_path / "no" / "a.txt")
    with pytest.raises(InputError, match="does not see"):
        cluster._check_sight(job, [gone])
    assert cluster._begins(job, 1)
    assert not cluster._begins(job, 1)
    for timer in cluster._idle:
        timer.cancel()


# ---------------------------------------------------------------------------- what a client does


def a_job(tmp_path):
    batch = BatchRequest(out=tmp_path / "rows.jsonl", beside="cluster")
    return cluster.Job(
        name="x", version=cluster.__version__, batch=batch, models_dir=None,
        work=Extracting(asked=read_recipe(RecipeRequest(schema="total"), []),
                        request=ExtractRequest()), model=ModelRequest(model="demo"),
    )  # fmt: skip


def replaced(job, **changes):
    from dataclasses import replace

    return replace(job, **changes)


class KilledWorker(Exception):
    pass


class FakeClient:
    """Workers by what they do with a group; each answers at once."""

    def __init__(self, workers):
        self.workers, self.asked, self.gone = dict(workers), [], []

    def nthreads(self):
        return dict.fromkeys(self.workers, 1)

    def submit(self, _function, job, number=0, group=(), *, workers=None, pure):
        name = next(each for each in self.workers if workers is None or each in workers)
        self.asked.append((name, [each.name for each in group]))
        future = Future()
        future.status = "finished"
        try:
            future.set_result(self.workers[name](name, group))
        except (KilledWorker, ValueError) as error:
            future.status = "error"
            future.set_exception(error)
        return future

    def run(self, function, *words, **_more):
        self.gone.append(function)

    def cancel(self, futures):
        assert all(each.done() for each in futures)


def reads(name, group):
    return Answered(worker=name, counts=Counts(files=len(group), done=len(group)))


def refuses(name, _group):
    return Answered(worker=name, refused=("E4B does not fit", "a smaller model", 4))


@pytest.fixture
def run(monkeypatch, tmp_path):
    library = SimpleNamespace(
        wait=lambda futures, seconds, when: wait_for(futures, seconds, when),
        TimeoutError=FutureTimeout, CancelledError=FutureTimeout, KilledWorker=KilledWorker,
    )  # fmt: skip
    monkeypatch.setattr(cluster, "_library", lambda _name: library)
    monkeypatch.setattr(cluster, "_LOOK_SECONDS", 0.01)
    said = []
    runtime = SimpleNamespace(note=said.append, on_event=said.append)

    def go(workers, count=20, stopped=lambda: "", work=None):
        sources = [Source(f"{number}.txt", Path(f"{number}.txt")) for number in range(count)]
        client = FakeClient(workers)
        batch = BatchRequest(stopped=stopped)
        job = a_job(tmp_path)
        job = replaced(job, work=work or job.work)
        ran = cluster._Run(client, job, sources, runtime, batch)
        return ran.go(), client, said

    return go


def test_a_worker_that_takes_none_is_left_out(run):
    counts, client, said = run({"bad": refuses, "good": reads})
    assert (counts.done, counts.failed) == (20, 0)
    assert "worker bad takes no files: E4B does not fit" in said
    done = [name for worker, names in client.asked if worker == "good" for name in names]
    assert sorted(done) == sorted(f"{number}.txt" for number in range(20))
    with pytest.raises(GemmaEdgeError, match="no worker can do it: E4B does not fit"):
        run({"bad": refuses})


@pytest.mark.parametrize("describes", [False, True])
def test_what_no_worker_survives_is_one_row(run, tmp_path, describes):
    work = Describing(questions=parse_questions(DescribeRequest())) if describes else None

    def dies(name, group):
        if "7.txt" in [each.name for each in group]:
            raise KilledWorker
        return reads(name, group)

    counts, _, said = run({"w": dies}, work=work)
    assert (counts.done, counts.failed) == (19, 1)
    (path,) = folder_of(tmp_path / "rows.jsonl").glob("client.*.jsonl")
    (row,) = map(json.loads, path.read_text("utf-8").splitlines())
    assert row["file"] == "7.txt"
    assert "each worker that began with it was lost" in row["error"]


def test_a_scheduler_that_is_gone_is_told(run, monkeypatch):
    def gone(_self):
        raise OSError("Timed out during handshake")

    monkeypatch.setattr(FakeClient, "nthreads", gone)
    with pytest.raises(GemmaEdgeError, match="the scheduler of the cluster is gone"):
        run({"w": reads})


def test_another_failure_of_a_worker_is_told(run):
    def broken(_name, _group):
        raise ValueError("no module named gemma_edge")

    with pytest.raises(GemmaEdgeError, match="a worker failed: ValueError: no module named"):
        run({"w": broken})


def test_a_run_that_is_told_to_stop_begins_nothing_more(run):
    told = iter(["", "told to stop (SIGTERM)", "told to stop (SIGTERM)"])
    counts, client, said = run({"w": reads}, stopped=lambda: next(told))
    assert counts.status == 75
    assert 0 < counts.done < 20
    assert f"told to stop (SIGTERM): {20 - counts.done} files are left" in said[-1]
    assert cluster.leave in client.gone


def test_groups_become_smaller_and_none_is_missed(run):
    counts, client, said = run({"w": reads}, count=50)
    sizes = [len(names) for _, names in client.asked]
    assert (sum(sizes), max(sizes), sizes[-1]) == (50, 8, 1)
    assert sizes == sorted(sizes, reverse=True)
    steps = [each for each in said if not isinstance(each, str)]
    assert [each.done for each in steps] == [*range(1, 51)]


def test_a_failed_record_names_the_document():
    assert failed(Source("a.txt"), ModelError("no")).error == "no"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a program of a few lines of shell")
def test_a_queue_that_refuses_the_jobs_is_told(tmp_path):
    """In a process of its own: Dask leaves files of such jobs open."""
    pytest.importorskip("dask_jobqueue")
    write_papers(tmp_path / "papers", 1)
    (tmp_path / "bin").mkdir()
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.write_text("#!/bin/sh\necho 'invalid account' >&2; exit 1\n")
    sbatch.chmod(0o755)
    world = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path),
             "PYTHONPATH": str(prove_dask.ROOT)}  # fmt: skip
    ran = subprocess.run(
        [*prove_dask.GEMMA_EDGE, "extract", "papers", *ASK, "--cluster", "slurm"], cwd=tmp_path,
        env=os.environ | world, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 1, ran.stderr
    assert "no workers can be started with slurm" in ran.stderr
    assert "invalid account" in ran.stderr
    assert not (tmp_path / "rows.jsonl").exists()


def test_a_job_of_a_queue_has_one_thread_and_tls(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    pytest.importorskip("dask_jobqueue")
    scaled = []
    monkeypatch.setattr("dask_jobqueue.SLURMCluster.scale", lambda _self, n: scaled.append(n))
    asked = Cluster(address="slurm", workers=8, options=("--gres=gpu:1",))
    with cluster._queued(asked, distributed.Security.temporary(), str(tmp_path)) as made:
        script = made.job_script()
        assert made.scheduler_address.startswith("tls://")
    assert scaled[0] == 8
    assert "#SBATCH --gres=gpu:1" in script
    assert re.search(r"--nthreads 1\b(?!.*--nthreads [^1])", script)
    assert "--dashboard-address 127.0.0.1:0" in script
    assert "--tls-key" in script
