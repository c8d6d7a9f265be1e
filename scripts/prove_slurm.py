"""Prove job arrays on a real SLURM: two nodes on this machine, one killed, one job handed in again.

    .venv/bin/python scripts/prove_slurm.py [--files 200] [--jobs 8]

It needs Debian's packages ``slurmctld``, ``slurmd``, ``slurm-client`` and ``munge``, and starts all
of them in a folder of its own, on loopback. The script of the jobs is the one that ``gemma-edge hpc
script`` prints. While they run, a node loses its daemon and every process of its jobs, one job is
requeued, and one is told that its time is up (SIGUSR1). In the end the rows are compared with those
of one process: the same ones, each once.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from gemma_edge.trust import find_program  # noqa: E402

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue")
ASK = ("--schema", "invoice_number, date, total num", "--model", "demo")
NODES = ("n1", "n2")
PATIENCE_SECONDS = 600
# A node is missed within seconds, and its jobs wait as long (``cred_expire``) to begin anew.
CONFIG = """\
ClusterName=proof
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmctldPort={ports[0]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
MpiDefault=none
SwitchType=switch/none
SlurmdTimeout=3
MessageTimeout=3
TCPTimeout=1
KillWait=5
JobRequeue=1
BatchStartTimeout=5
SchedulerParameters=sched_interval=2,bf_interval=2,requeue_delay=1
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=8000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=8000
PartitionName=work Nodes=n1,n2 Default=YES MaxTime=60 State=UP
"""


def program(name: str) -> str:
    """Its whole path. RuntimeError: it is not here."""
    found = find_program(name, os.environ)
    if found is None:
        raise RuntimeError(f"{name} is not here")
    return found


class Cluster:
    """A controller and two nodes in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {
            "SLURM_CONF": str(folder / "slurm.conf"), "GEMMA_EDGE_OFFLINE": "1",
        }  # fmt: skip
        for name in ("state", "munge", *(f"spool-{node}" for node in NODES)):
            (folder / name).mkdir(mode=0o700)
        user = getpass.getuser()
        (folder / "slurm.conf").write_text(
            CONFIG.format(
                host=socket.gethostname(), user=user, folder=folder,
                ports=_free_ports(3),
            )
        )  # fmt: skip

    def start(self) -> None:
        """All daemons; returns when the nodes are idle."""
        key, munge = self.folder / "munge" / "key", self.folder / "munge"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self.run(
            "munged", "--force", f"--key-file={key}", f"--socket={munge}/socket",
            f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed",
        )  # fmt: skip
        _until(lambda: (munge / "socket").exists(), "munge to answer")
        self.run("slurmctld")
        for node in NODES:
            self.start_node(node)
        _until(lambda: self.run("sinfo", "-h", "-o", "%T%D") == "idle2", "the nodes to be idle")

    def start_node(self, node: str) -> None:
        self.run("slurmd", "-N", node)

    def kill_node(self, node: str) -> int:
        """Its daemon, the shepherds of its jobs and all their processes, as a loss of power; how
        many they were. The shepherds are held first, or they would still report."""
        daemon = int((self.folder / f"slurmd-{node}.pid").read_text())
        shepherds, others = {daemon}, set[int]()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                said = (process / "environ").read_bytes()
                status = (process / "status").read_text()
            except OSError:
                continue
            if f"SLURMD_NODENAME={node}".encode() in said and str(self.folder).encode() in said:
                others.add(int(process.name))
                parent = int(status.partition("PPid:")[2].split()[0])
                if (Path("/proc") / str(parent) / "comm").read_text().startswith("slurmstepd"):
                    shepherds.add(parent)
        for what in (signal.SIGSTOP, signal.SIGKILL):
            for number in [*shepherds, *(others - shepherds)]:
                with suppress(ProcessLookupError):
                    os.kill(number, what)
        return len(shepherds | others)

    def run(self, *words: str, cwd: Path | None = None) -> str:
        """What a program prints; RuntimeError where it fails."""
        done = subprocess.run(
            [program(words[0]), *words[1:]], env=self.environment, cwd=cwd or self.folder,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout.strip()

    def jobs(self) -> list[tuple[str, str, str]]:
        """Number, state and node of each job that waits or runs."""
        lines = self.run("squeue", "-h", "-r", "-o", "%A %t %N").splitlines()
        return [(words[0], words[1], words[2] if len(words) > 2 else "")  # noqa: PLR2004
                for words in map(str.split, lines)]  # fmt: skip

    def stop(self) -> None:
        """Every daemon, whatever state it is in."""
        with suppress(RuntimeError):
            self.run("scontrol", "shutdown")
        time.sleep(1)
        for path in [*self.folder.glob("*.pid"), self.folder / "munge" / "pid"]:
            try:
                os.kill(int(path.read_text()), signal.SIGTERM)
            except (OSError, ValueError):
                continue


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _until(is_so: object, what: str) -> None:
    """Wait; RuntimeError after ten minutes."""
    assert callable(is_so)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited in vain for {what}")
        time.sleep(0.1)


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """A cluster that is stopped at the end."""
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def write_papers(folder: Path, count: int) -> None:
    """Short invoices, each with a number of its own."""
    folder.mkdir()
    for number in range(count):
        text = f"INVOICE\nInvoice number: A-{number}\nDate: 2024-03-{number % 28 + 1:02}\n"
        (folder / f"{number:04}.txt").write_text(f"{text}Total: {7 * number}.50 EUR\n")


def rows_of(path: Path) -> list[tuple[str, str]]:
    """File and data of each row of an answer, in an order of their own."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return sorted((row["file"], json.dumps(row.get("data"), sort_keys=True)) for row in rows)


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr)


def prove(files: int, jobs: int, folder: Path) -> dict[str, int]:
    """The whole run; what happened, as numbers. RuntimeError: it did not end as it should."""
    command = [sys.executable, "-m", "gemma_edge"]
    world = os.environ | {"PYTHONPATH": str(ROOT)}
    write_papers(folder / "papers", files)
    with running(folder) as cluster:
        cluster.environment["PYTHONPATH"] = str(ROOT)
        said = [*command, "hpc", "script", "--scheduler", "slurm", "--cpu", "--mem", "4GiB",
                "--cpus", "1", "--time", "30", "--array", str(jobs), "extract", "papers", *ASK,
                "--out", "rows.jsonl"]  # fmt: skip
        text = subprocess.run(
            said, cwd=folder, env=world, capture_output=True, text=True, check=True
        )
        (folder / "job.sh").write_text(text.stdout)
        if find_program("shellcheck", os.environ):
            cluster.run("shellcheck", "job.sh")
        cluster.run("sbatch", "--test-only", "job.sh")
        cluster.run("sbatch", "job.sh")
        _say(f"{jobs} jobs for {files} files are handed in")
        shards = folder / "rows.jsonl.shards"
        _until(lambda: len([*shards.glob("*.jsonl")]) >= 3, "three jobs to write")  # noqa: PLR2004
        there = [number for number, state, node in cluster.jobs() if (state, node) == ("R", "n1")]
        # It answers late, when the job has ended and waits again.
        signals = subprocess.Popen(
            [program("scancel"), "--batch", "--signal=USR1", *there[:1]], env=cluster.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        cluster.run("scontrol", "requeue", there[-1])
        killed = cluster.kill_node("n2")
        _say(f"one job is told to stop, one requeued, {killed} processes of a node are killed")
        _until(lambda: "down" in cluster.run("sinfo", "-h", "-N", "-o", "%T"), "n2 to be missed")
        _say("the node is missed, and comes back")
        cluster.start_node("n2")
        _until(lambda: not cluster.jobs(), "the jobs to end")
        signals.kill()
        logs = "".join(path.read_text("utf-8") for path in folder.glob("gemma-edge-extract-*.log"))
    out = folder / "rows.jsonl"
    if not out.exists():
        raise RuntimeError(f"no rows; the jobs said:\n{logs[-3000:]}")
    one = [*command, "extract", "papers", *ASK, "--out", "one.jsonl", "--quiet"]
    subprocess.run(one, cwd=folder, env=world | {"GEMMA_EDGE_OFFLINE": "1"}, check=True)
    expected, found = rows_of(folder / "one.jsonl"), rows_of(out)
    return {
        "files": files, "jobs": jobs, "processes killed": killed,
        "told to stop": logs.count("told to stop (SIGUSR1)"), "rows": len(found),
        "lost": len({*expected} - {*found}),
        "twice": len(found) - len({*found}), "other": len({*found} - {*expected}),
        "shares left": len([*folder.glob("*.shards")]),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=8)
    asked = parser.parse_args()
    missing = [name for name in PROGRAMS if not find_program(name, os.environ)]
    if missing:
        print(f"not here: {', '.join(missing)} (apt install slurmctld slurmd slurm-client munge)",
              file=sys.stderr)  # fmt: skip
        return 1
    with tempfile.TemporaryDirectory(prefix="gemma-edge-slurm-") as folder:
        figures = prove(asked.files, asked.jobs, Path(folder))
    for name, value in figures.items():
        print(f"{name:18} {value:>6}")
    wrong = ("lost", "twice", "other", "shares left")
    return 1 if any(figures[name] for name in wrong) or figures["rows"] != asked.files else 0


if __name__ == "__main__":
    sys.exit(main())
