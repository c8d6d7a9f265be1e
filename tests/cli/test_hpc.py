"""Job scripts: what they ask for, what they run, and what is found missing before."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from gemma_edge.app.hpc import _models_folder, cuda_exports, minutes_of, slice_of, title_of
from gemma_edge.app.hpc_check import file_system_of

ROOT = Path(__file__).parents[2]
LINUX = sys.platform == "linux"
SHELLCHECK = shutil.which("shellcheck")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Five papers, in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "papers").mkdir()
    for number in range(5):
        (tmp_path / "papers" / f"{number}.txt").write_text("Total 1\n")
    return tmp_path


@pytest.fixture
def script(shell, folder):
    """Runs ``hpc script``, and gives what it prints, which every shell has to understand."""

    def write(*words, **more):
        ran = shell.run("hpc", "script", *words, model=False, **more)
        assert ran.status == 0, ran.stderr
        path = folder / "job.sh"
        path.write_text(ran.stdout)
        subprocess.run(["bash", "-n", str(path)], check=True)
        if SHELLCHECK:
            subprocess.run([SHELLCHECK, str(path)], check=True)
        return ran.stdout

    return write


def asked(text, prefix="#SBATCH"):
    return [line.removeprefix(prefix).strip() for line in text.splitlines()
            if line.startswith(prefix)]  # fmt: skip


@pytest.mark.parametrize(
    ("gres", "title", "part"),
    [
        ("gpu:a100:1", "A100", ""),
        ("gpu:1", "", ""),
        ("gpu:l40s:2", "L40S", ""),
        ("gpu:2g.20gb:1", "2g.20gb", "2g.20gb"),
        ("gpu:nvidia_h100_80gb_hbm3_2g.20gb:1", "H100 2g.20gb", "2g.20gb"),
        ("gpu:a100_1g.5gb:1", "A100 1g.5gb", "1g.5gb"),
    ],
)
def test_a_gpu_by_the_schedulers_name(gres, title, part):
    assert (title_of(gres), slice_of(gres)) == (title, part)


def test_a_job_array_on_slices(script):
    text = script("--gres", "gpu:2g.20gb:1", "--array", "8", "--module", "cuda/12.4", "-p", "gpu",
                  "extract", "papers", "-m", "e4b", "--out", "rows.jsonl")  # fmt: skip
    found = asked(text)
    assert {"--gres=gpu:2g.20gb:1", "--array=1-8", "--partition=gpu", "--ntasks=1", "--requeue",
            "--signal=B:USR1@180"} <= {*found}  # fmt: skip
    assert re.search(r"#SBATCH --mem=[4-9]G\n", text)
    assert "\nset +u\nmodule load cuda/12.4\nset -u\n" in text
    assert re.search(
        r"\n\S.* extract papers -m e4b --out rows\.jsonl "
        r'--shard "\$SLURM_ARRAY_TASK_ID/8" &\n', text
    )  # fmt: skip
    assert "export GEMMA_EDGE_OFFLINE=1" in text
    assert re.search(r"RESTART_COUNT:-0}\" -lt 20 .*\n +scontrol requeue", text)  # not for ever
    reasons = [line for line in text.splitlines() if line.startswith("# ")]
    assert len(reasons) >= 8


def test_the_machine_of_the_plan_decides_what_is_asked_for(script):
    small = script("--gres", "gpu:1", "--vram", "24GiB", "extract", "papers", "-m", "e4b")
    large = script("--cpu", "extract", "papers", "-m", "31b", "--ctx", "8k")
    memory = [int(re.search(r"--mem=(\d+)G", text)[1]) for text in (small, large)]
    assert memory[0] < 8
    assert memory[1] > 18
    assert "--gres" not in "\n".join(asked(large))
    assert asked(script("--cpu", "--mem", "40GiB", "--cpus", "3", "-t", "2h", "extract", "papers",
                        "-m", "e4b"))[2:] == [
        "--nodes=1", "--ntasks=1", "--cpus-per-task=3", "--mem=40G", "--time=02:00:00",
        "--signal=B:USR1@180", "--requeue", "--open-mode=append",
    ]  # fmt: skip


def test_more_files_are_given_more_time(script, folder):
    def minutes():
        text = script("--gres", "gpu:a100:1", "extract", "papers", "-m", "e4b")
        hours, rest = re.search(r"--time=(\d+):(\d\d)", text).groups()
        return int(hours) * 60 + int(rest)

    few = minutes()
    for number in range(5, 1000):
        (folder / "papers" / f"{number}.txt").touch()
    assert minutes() > 2 * few


def test_other_schedulers(script, folder):
    (folder / "papers" / "0.png").touch()
    pbs = script("--scheduler", "pbs", "--gres", "gpu:a100:1", "--array", "4", "extract", "papers",
                 "-m", "e4b", "--out", "o.jsonl")  # fmt: skip
    assert {"-J 1-4", "-r y"} <= {*asked(pbs, "#PBS")}
    assert "ngpus=1" in pbs and "$PBS_ARRAY_INDEX/4" in pbs and 'cd "$PBS_O_WORKDIR"' in pbs
    assert "--shard" in pbs and "--until 12m &" in pbs  # of 15 minutes: PBS gives no warning
    assert "GPUs of any kind: add what your site calls A100" in pbs
    named = "--until", "9m"
    assert "--until 9m --shard" in script(
        "--scheduler", "pbs", "--cpu", "--array", "2", "extract", "papers", "-m", "e4b",
        "--out", "o.jsonl", *named,
    )  # fmt: skip
    lsf = script("--scheduler", "lsf", "--gres", "gpu:a100_2g.20gb:1", "--array", "4", "extract",
                 "papers", "-m", "e4b", "--out", "o.jsonl")  # fmt: skip
    assert '-gpu "num=1:mig=2"' in asked(lsf, "#BSUB")
    assert 'brequeue -r "${LSB_JOBID}[${LSB_JOBINDEX}]"' in lsf  # itself, not the whole array
    assert '"$count" -lt 20' in lsf
    whole = script("--scheduler", "lsf", "--gres", "gpu:a100:2", "describe", "papers/0.png", "-m",
                   "e4b", "--out", "o.jsonl")  # fmt: skip
    # Not exclusive_process: an engine and what plans for it open the card at the same time.
    assert '-gpu "num=2:mode=shared:j_exclusive=yes"' in asked(whole, "#BSUB")
    assert 'brequeue -r "$LSB_JOBID"' in whole
    lsf = script("--scheduler", "lsf", "--cpu", "chat", "hello", "-m", "e4b")
    assert asked(lsf, "#BSUB")[0] == '-J "gemma-edge-chat"'
    assert lsf.splitlines()[-1].startswith("exec ")


@pytest.mark.skipif(os.name == "nt", reason="a script for bash")
def test_a_server_in_a_job_answers_who_has_the_key(script, folder):
    """The printed script itself, on this machine, in the place of the scheduler."""
    path, port = folder / "job.sh", 20000 + os.getpid() % 20000
    text = script("--cpu", "serve", "-m", "demo")
    assert "#SBATCH --signal=B:TERM@60" in text
    path.write_text(text)
    world = os.environ | {"SLURM_JOB_ID": str(os.getpid()), "PYTHONPATH": str(ROOT)}
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(["bash", path], env=world, stdout=log, stderr=log) as job,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            said = (folder / "log").read_text
            while url not in said().splitlines():
                assert job.poll() is None, said()
                time.sleep(0.05)
            key = (folder / "gemma-edge.key").read_text().strip()
            with pytest.raises(HTTPError) as refused:
                urlopen(f"{url}/v1/models")
            refused.value.close()
            asked = Request(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"})
            with urlopen(asked) as answer:
                assert json.load(answer)["data"]
            assert f"-L 8765:127.0.0.1:{port} -J LOGIN_NODE" in said()
            assert key not in said()
            assert key not in Path(f"/proc/{job.pid}/cmdline").read_text() if LINUX else True
            assert (folder / "gemma-edge.key").stat().st_mode & 0o077 == 0
        finally:
            job.terminate()
    assert job.returncode == 0


def test_a_server_with_a_port_and_a_key_of_its_own(script, folder):
    text = script("--scheduler", "pbs", "--cpu", "serve", "-m", "demo", "--port", "9000",
                  "--api-key", "@k.txt")  # fmt: skip
    assert "-L 8765:127.0.0.1:9000 " in text.replace("$port", re.search(r"port=(\d+)", text)[1])
    assert text.splitlines()[-1].endswith(" serve -m demo --port 9000 --api-key @k.txt")
    assert "gemma-edge.key" not in text
    assert "number=${PBS_JOBID%%[!0-9]*}" in script("--scheduler", "pbs", "--cpu", "serve",
                                                    "-m", "demo")  # fmt: skip


def test_a_container_gets_the_gpu_the_models_and_the_files(script, shell, folder, tmp_path_factory):
    far = tmp_path_factory.mktemp("far")
    (far / "a.txt").write_text("Total 1\n")
    words = "extract", str(far), "-m", "demo", "--out", "rows.jsonl"
    run = script("--gres", "gpu:a100:1", "--container", "edge.sif", *words).split("\n")
    line = next(each for each in run if "apptainer" in each)
    models = ROOT / "models" / "demo"
    assert line.startswith(
        f"apptainer exec --nv --bind {models}:{models}:ro --bind {far} {folder}/edge.sif "
        f"gemma-edge extract {far}"
    )
    assert "--nv" not in script("--cpu", "--container", "edge.sif", *words)
    ran = shell.run("hpc", "check", "--cpu", "--container", "edge.sif", *words, model=False,
                    environment={"PATH": ""}, width=200)  # fmt: skip
    assert "there is no image" in ran.stdout


@pytest.mark.parametrize(
    ("model", "bound"),
    [
        ("/s/models/google/e4b/m.gguf", "/s/models/google/e4b"),
        ("/s/hf/hub/models--google--e4b/snapshots/1f/m.gguf", "/s/hf/hub"),
    ],
)
def test_what_holds_a_model_whole(model, bound):
    assert _models_folder(Path(model)) == Path(bound)


def test_words_of_the_job_are_quoted(script):
    text = script("--cpu", "chat", "what's $HOME?", "-m", "e4b")
    assert """chat 'what'"'"'s $HOME?' -m e4b""" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("extract", "papers"), "--gres gpu:1 does not say which GPU the job gets"),
        (("--gres", "gpu:2g.20gb:4", "extract", "papers"), "asks for 4 slices"),
        (("plan",), "a job is one of extract, describe, chat, serve, not `plan`"),
        (("--cpu", "extract", "papers", "--ouch"), "there is no option `--ouch`"),
        (("--cpu", "extract", "nothing-here/*.pdf"), "nothing matches"),
        (("--cpu", "extract", "-"), "a job has no stdin"),
        (("--cpu", "--array", "3", "extract", "papers"), "need a file for their rows"),
        (("--cpu", "--array", "3", "chat", "hi"), "`chat` has no files to share out"),
        (("--cpu", "--vram", "8GiB", "chat", "hi"), "--cpu, and a GPU is described"),
        (("--cpu", "chat"), "a job has nobody to talk to"),
        (("--cpu", "serve", "--api-key", "not-so-secret"), "is shown to every user (ps, scontrol)"),
        (("--cpu", "--time", "3", "extract", "papers"), "is over before a document is begun"),
        (("--cpu", "--time", "soon", "chat", "hi"), "is not a time, like 90, 2h or 4:00:00"),
        (("--device", "Voodoo 2", "chat", "hi"), "no card or computer `Voodoo 2` is known"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_for(shell, folder, words, said):
    ran = shell.run("hpc", "script", *words, model=False)
    assert said in ran.stderr
    assert ran.status in (2, 3)
    assert ran.stdout == ""


def test_libraries_of_this_environment_come_along(script, tmp_path):
    cuda = tmp_path / "cuda" / "lib64"
    cuda.mkdir(parents=True)
    (cuda / "libcudart.so.12").touch()
    other = tmp_path / "other"
    other.mkdir()
    world = {
        "LD_LIBRARY_PATH": f"{other}:{cuda}",
        "CUDA_HOME": str(cuda.parent),
        "HF_HOME": "/s/hf",
    }
    assert [value for _, value, _ in cuda_exports(world)] == [str(cuda)]
    text = script("--cpu", "chat", "hi", "-m", "e4b", environment=world)
    assert f'export LD_LIBRARY_PATH={cuda}"${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"' in text
    assert "export HF_HOME=/s/hf" in text


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("1-00:00:00", 1440), ("4:00:00", 240), ("30", 30), ("90:00", 90), ("2-12", 3600),
     ("infinite", None), ("1:30", 2)],
)  # fmt: skip
def test_times_of_slurm(limit, minutes):
    assert minutes_of(limit) == minutes


def test_the_file_system_of_a_path(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/a / ext4 rw 0 0\nserver:/x /shared nfs4 rw 0 0\n/d /sharedish xfs rw\n")
    assert file_system_of(Path("/shared/a"), str(mounts)) == "nfs4"
    assert file_system_of(Path("/sharedx"), str(mounts)) == "ext4"
    assert file_system_of(Path("/shared/a"), str(tmp_path / "none")) == ""


SINFO = """gpu*|gpu:a100:4(S:0-1)|1-00:00:00|512000|64
slices|gpu:2g.20gb:3|30:00|64000+|16
cpu|(null)|infinite|128000|32
"""


QSTAT = """Queue: gpuq
    queue_type = Execution
    Priority = 100
    resources_max.walltime = 00:30:00
    acl_users = alice,bob,charlie,dave,erin,frank,grace,heidi,ivan,judy,mallory,oscar,pe
\tggy,trent
    default_chunk.Qlist = gpuq
    enabled = True
    started = True

Queue: cpuq
    queue_type = Execution
    default_chunk.Qlist = cpuq
    enabled = True
    started = True

Queue: old
    queue_type = Execution
    enabled = False
    started = True
"""
PBSNODES = """n001
     Mom = n001.zeus
     ntype = PBS
     state = free
     pcpus = 48
     resources_available.arch = linux
     resources_available.mem = 131846346kb
     resources_available.ncpus = 48
     resources_available.Qlist = cpuq,long
     resources_assigned.mem = 0kb

n002
     Mom = n002.zeus
     state = job-busy
     resources_available.mem = 63437mb
     resources_available.ncpus = 16
     resources_available.ngpus = 4
     resources_available.Qlist = gpuq

n003
     state = down,offline
     resources_available.mem = 2tb
     resources_available.ncpus = 256
     resources_available.ngpus = 16
     resources_available.Qlist = gpuq
"""
BQUEUES = """
QUEUE: gpu
  -- For GPU workloads

PARAMETERS/STATISTICS
PRIO NICE STATUS          MAX JL/U JL/P JL/H NJOBS  PEND   RUN SSUSP USUSP  RSV PJOBS
 50   20  Open:Active       -    8    -    -    24    20     4     0     0    0    20

DEFAULT LIMITS:
 RUNLIMIT
 10.0 min

MAXIMUM LIMITS:
 RUNLIMIT
 30.0 min of gpu-01

USERS: all users
HOSTS:  gpu-01+2 gpu-02

QUEUE: normal
  -- Default queue

PARAMETERS/STATISTICS
PRIO NICE STATUS          MAX JL/U JL/P JL/H NJOBS  PEND   RUN SSUSP USUSP  RSV PJOBS
 30   20  Open:Active       -    -    -    -     0     0     0     0     0    0     0

USERS: all users
HOSTS:  cpu-01

QUEUE: old
PARAMETERS/STATISTICS
PRIO NICE STATUS          MAX JL/U JL/P JL/H NJOBS  PEND   RUN SSUSP USUSP  RSV PJOBS
 10   20  Closed:Active     -    -    -    -     0     0     0     0     0    0     0

USERS: all users
HOSTS: all
"""
LSHOSTS = """HOST_NAME      type    model  cpuf ncpus maxmem maxswp server RESOURCES
gpu-01       X86_64 Intel_Pl  15.0    16  61.9G      -    Yes (mg)
gpu-02       X86_64 Intel_Pl  15.0     8  15.4G      -    Dyn ()
cpu-01       X86_64 Intel_EM  60.0    48   126G    16G    Yes (mg)
login        X86_64 Intel_EM  60.0   128     2T    16G     No ()
"""
BHOSTS = """HOST_NAME                GPU_ID       MODEL     MUSED      MRSV  NJOBS    RUN   SUSP    RSV
gpu-01                        0  TeslaV100_SXM2_16GB      555M        0M      1      1      0      0
                              1  TeslaV100_SXM2_16GB      1.1G        0M      1      1      0      0
                              2  TeslaV100_SXM2_16GB      753M        0M      1      1      0      0
                              3  TeslaV100_SXM2_16GB      557M        0M      1      1      0      0
gpu-02                        0  TeslaV100_SXM2_16GB      239M        0M      0      0      0      0
"""  # noqa: E501


@pytest.fixture
def login_node(folder):
    """Makes a login node: programs of these names, which answer so."""

    def make(**answers):
        programs = folder / "bin"
        programs.mkdir()
        for name, text in answers.items():
            path = programs / name
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return {"PATH": f"{programs}:{os.environ['PATH']}"}

    return make


def says(text):
    return f"cat <<'END'\n{text}END"


@pytest.fixture
def cluster(login_node):
    return login_node(
        sinfo=says(SINFO),
        sbatch='echo "sbatch: Job 7 to start at 2030-01-01 on node1" >&2; grep -q SBATCH',
    )


@pytest.mark.skipif(os.name == "nt", reason="these schedulers are not there")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--gres", "gpu:a100:1", "-p", "{gpu}"), "{gpu} has gpu:1"),
        (("--gres", "gpu:a100:1", "-p", "{gpu}"), "tries a script only by taking it"),
        (("--gres", "gpu:a100:1", "-p", "{gpu}"), "are within what a node has"),
        (("--gres", "gpu:a100:5", "-p", "{gpu}"), "no node has gpu:5 fix: there is gpu:"),
        (("--gres", "gpu:a100:1", "-p", "{cpu}"), "has no gpu:1 fix: --partition {gpu}"),
        (("--gres", "gpu:a100:1", "-p", "fast"), "there is no queue fast fix: one of {open}"),
        (("--cpu", "-p", "old"), "old takes no jobs now"),
        (("--gres", "gpu:a100:1", "-p", "{gpu}", "-t", "2h"), "at most 30 are given"),
        (("--gres", "gpu:a100:1", "-p", "{gpu}", "--mem", "100GiB"), "a node has 6"),
        (("--cpu", "-p", "{cpu}", "--mem", "100GiB", "-t", "200h"), "are within what a node has"),
        (("--cpu", "-p", "{cpu}", "--cpus", "64"), "64 are asked for, a node has 48"),
    ],
)
@pytest.mark.parametrize("scheduler", ["pbs", "lsf"])
def test_what_is_missing_by_other_schedulers(shell, login_node, scheduler, words, said):
    if scheduler == "pbs":
        names = {"gpu": "gpuq", "cpu": "cpuq"}
        world = login_node(qstat=says(QSTAT), pbsnodes=says(PBSNODES))
    else:
        names = {"gpu": "gpu", "cpu": "normal"}
        world = login_node(bqueues=says(BQUEUES), lshosts=says(LSHOSTS), bhosts=says(BHOSTS))
    words = [each.format(**names) for each in words]
    ran = shell.run("hpc", "check", "--scheduler", scheduler, *words, "extract", "papers", "-m",
                    "demo", model=False, environment=world, width=200)  # fmt: skip
    found = re.sub(r"\s+", " ", ran.stdout)
    assert said.format(**names, open=", ".join(sorted(names.values()))) in found
    assert ran.status == ("✘" in ran.stdout)


@pytest.mark.skipif(os.name == "nt", reason="SLURM is not there")
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--gres", "gpu:a100:1", "-p", "gpu"), 1, "E4B Q4 QAT is not here, and a job has no"),
        (("--gres", "gpu:a100:1", "-p", "gpu"), 1, "gpu has gpu:a100:1"),
        (("--gres", "gpu:a100:1", "-p", "gpu"), 1, "Job 7 to start at 2030-01-01 on node1"),
        (("--gres", "gpu:a100:1", "-p", "fast"), 1, "there is no partition fast"),
        (("--gres", "gpu:a100:1", "-p", "slices"), 1, "--partition gpu"),
        (("--gres", "gpu:h100:1", "-p", "gpu"), 1, "no node has gpu:h100:1"),
        (("--gres", "gpu:2g.20gb:1", "-p", "slices", "-t", "2h"), 1, "at most 30 are given"),
        (("--cpu", "-p", "slices", "--mem", "100GiB"), 1, "a node has 62.5 GiB"),
        (("--cpu", "-p", "cpu", "--cpus", "48"), 1, "48 are asked for, a node has 32"),
        (("--gres", "gpu:a100:8", "-p", "gpu"), 1, "no node has gpu:a100:8"),
        (("--scheduler", "pbs", "--cpu"), 1, "--scheduler slurm or lsf"),
        (("--scheduler", "lsf", "--cpu"), 1, "bqueues and lshosts do not answer"),
    ],
)
def test_what_is_missing(shell, cluster, words, status, said):
    ran = shell.run("hpc", "check", *words, "extract", "papers", "-m", "e4b", model=False,
                    environment=cluster, width=200)  # fmt: skip
    assert said in re.sub(r"\s+", " ", ran.stdout)
    assert ran.status == status


def test_check_where_there_is_no_cluster(shell, folder):
    ran = shell.run("hpc", "check", "--cpu", "extract", "papers", "-m", "e4b", model=False,
                    environment={"PATH": ""}, width=200)  # fmt: skip
    assert "sinfo does not answer" in ran.stdout
    assert ran.status == 1
