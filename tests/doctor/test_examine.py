"""Machines to checks: a table that is read from left to right."""

from dataclasses import replace
from pathlib import Path

import pytest

from gemma_edge.doctor import (
    CPU,
    Decode,
    Hub,
    ModelFolder,
    Python,
    Terminal,
    count_problems,
    examine,
)
from gemma_edge.hardware.machine import Build, Finding, Memory
from tests.doctor import machines
from tests.doctor.machines import GIB, GREETING, LAPTOP, facts

SHELF = ModelFolder(folder=Path("models"), free_bytes=212 * GIB, writable=True)
TERMINAL = Terminal(attached=True, encoding="UTF-8", width=80, colours=True)


def states(checks) -> dict[str, str]:
    """What is not fine, by name."""
    return {check.name: check.state for check in checks if check.state != "fine"}


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        pytest.param(facts(), {"GPU": "skipped"}, id="laptop without a GPU"),
        pytest.param(facts(machines.GAMING), {}, id="gaming laptop"),
        pytest.param(
            facts(machines.OFFICE), {"GPU": "skipped"}, id="graphics in the processor, CPU build"
        ),
        pytest.param(
            facts(machines.CPU_BUILD),
            {"llama.cpp": "problem", "GPU": "skipped", "GPU decode": "skipped"},
            id="NVIDIA card, CPU build",
        ),
        pytest.param(
            facts(machines.NO_CUBLAS),
            {"llama.cpp": "skipped", "CUDA libraries": "problem", "GPU": "skipped",
             "CPU decode": "skipped"},
            id="libcublas missing",
        ),
        pytest.param(
            facts(machines.BROKEN_DRIVER), {"driver": "problem", "GPU": "skipped"},
            id="broken driver",
        ),
        pytest.param(
            facts(machines.LOGIN), {"GPU": "skipped", "cluster": "warning"}, id="login node"
        ),
        pytest.param(
            facts(machines.LOGIN_CUDA),
            {"llama.cpp": "skipped", "driver": "warning", "GPU": "skipped", "cluster": "warning",
             "CPU decode": "skipped"},
            id="login node, CUDA build",
        ),
        pytest.param(facts(machines.MIG, job="42"), {}, id="MIG slice inside a job"),
        pytest.param(facts(machines.WSL), {}, id="WSL"),
        pytest.param(
            facts(machines.CONTAINER), {"GPU": "skipped", "memory": "warning"}, id="small container"
        ),
    ],
)  # fmt: skip
def test_machines(case, expected):
    checks = examine(case)
    assert states(checks) == expected
    assert count_problems(checks) == list(expected.values()).count("problem")
    names = [check.name for check in checks]
    assert names[:2] == ["python", "llama.cpp"]
    assert names[-1] == "terminal"
    for check in checks:  # whatever is wrong has a way out, or a reason
        assert check.state in ("fine", "skipped") or check.fix or check.why or check.seen


@pytest.mark.parametrize(
    ("case", "name", "seen", "why", "fix"),
    [
        pytest.param(facts(), "python", "3.12.4 (x86_64)", "", "", id="python"),
        pytest.param(
            facts(python=Python("3.10.1", 32, "x86")), "python", "3.10.1, 32 bits",
            "a model does not fit into its address space",
            "install the 64-bit Python of python.org", id="32 bits",
        ),
        pytest.param(
            facts(machines.GAMING), "llama.cpp", "0.3.36, built for the processor and CUDA", "", "",
            id="build",
        ),
        pytest.param(
            facts(), "processor",
            "Core i5-8250U, 4 physical cores; llama.cpp uses AVX2", "", "", id="processor",
        ),
        pytest.param(
            facts(machines.CPU_BUILD), "llama.cpp", "0.3.36, built for the processor",
            "your llama.cpp is built without CUDA: RTX 4060 Laptop is here and not used",
            "pip install llama-cpp-python --extra-index-url https://wheels/cu124", id="CPU build",
        ),
        pytest.param(
            facts(machines.CPU_BUILD), "GPU",
            "RTX 4060 Laptop, 7.6 GiB of 8.0 GiB free, compute capability 8.9",
            "llama.cpp does not see it", "", id="unseen GPU",
        ),
        pytest.param(
            facts(machines.GAMING), "GPU",
            "RTX 4060 Laptop, 7.6 GiB of 8.0 GiB free, compute capability 8.9, as CUDA0", "", "",
            id="GPU",
        ),
        pytest.param(
            facts(machines.MIG), "GPU",
            "H100 MIG 2g.20gb, 19.0 GiB of 20.0 GiB free, a slice (MIG), compute capability 8.9, "
            "as CUDA0", "", "", id="MIG",
        ),
        pytest.param(facts(machines.GAMING), "driver", "580.65", "", "", id="driver"),
        pytest.param(
            facts(machines.NO_CUBLAS), "CUDA libraries",
            "libcublas.so.12 missing: llama.cpp was built for CUDA, whose libraries are not here",
            "", "pip install nvidia-cublas-cu12", id="cublas",
        ),
        pytest.param(
            facts(machines.NO_CUBLAS), "llama.cpp", "0.3.36 cannot be loaded", "see CUDA libraries",
            "", id="build that does not load",
        ),
        pytest.param(
            facts(replace(machines.NO_CUBLAS, findings=())), "llama.cpp",
            "libcublas.so.12: cannot open shared object file", "nothing can be computed", "",
            id="and nobody knows why",
        ),
        pytest.param(
            facts(machines.WSL), "memory", "11.0 GiB of 16.0 GiB free",
            "WSL moves video memory to main memory in silence", "", id="WSL",
        ),
        pytest.param(
            facts(machines.CONTAINER), "memory",
            "2.0 GiB of 6.0 GiB free (the cgroup leaves 2.0 GiB of 60.0 GiB)",
            "the smallest model, Gemma 4 E2B, has 2.4 GiB of weights",
            "close other programs, or ask for a larger container or job", id="container",
        ),
        pytest.param(
            facts(replace(LAPTOP, memory=Memory(None, "the system does not say"))), "memory",
            "the system does not say", "", "", id="memory not told",
        ),
        pytest.param(
            facts(machines.LOGIN), "cluster", "this is a login node: it has no GPU", "",
            "srun --gres=gpu:1 --pty bash", id="login node",
        ),
        pytest.param(
            facts(machines.LOGIN_CUDA), "llama.cpp", "0.3.36 cannot be loaded", "see driver", "",
            id="no driver on a login node",
        ),
        pytest.param(
            facts(machines.MIG, job="42"), "cluster", "inside SLURM job 42", "", "", id="job"
        ),
        pytest.param(
            facts(), "CPU decode", "23 tokens, 0.3 s with loading", "", "", id="CPU decode"
        ),
        pytest.param(
            facts(machines.GAMING), "GPU decode",
            "RTX 4060 Laptop: 23 tokens, 0.3 s with loading", "", "", id="GPU decode",
        ),
        pytest.param(
            facts(machines.GAMING, decodes=(
                Decode(device=CPU, answer=GREETING), Decode(device="CUDA0", answer="!!!!"),
            )),
            "GPU decode",
            f"RTX 4060 Laptop: it answers '!!!!', the processor {GREETING!r}",
            "it computes something else: the driver or the build is broken", "", id="garbage",
        ),
        pytest.param(
            facts(machines.GAMING, decodes=(
                Decode(device="CUDA0", trouble="it did not end within 120 s"),
            )),
            "GPU decode", "RTX 4060 Laptop: it did not end within 120 s",
            "nothing can be computed there", "", id="hanging GPU",
        ),
        pytest.param(
            facts(machines.CPU_BUILD), "GPU decode", "not tried",
            "llama.cpp does not see the RTX 4060 Laptop", "", id="unseen",
        ),
        pytest.param(
            facts(models=replace(SHELF, writable=False)), "disk", "models cannot be written to",
            "no model can be kept there",
            "another folder: --models-dir DIR, GEMMA_EDGE_MODELS_DIR or HF_HOME", id="read-only",
        ),
        pytest.param(
            facts(models=replace(SHELF, free_bytes=GIB)), "disk",
            "1.0 GiB free for models in models",
            "the smallest model, Gemma 4 E2B, takes 2.4 GiB",
            "free some space, or another folder: --models-dir DIR, GEMMA_EDGE_MODELS_DIR or "
            "HF_HOME", id="full disk",
        ),
        pytest.param(
            facts(models=replace(SHELF, files=2, files_bytes=5 * GIB)), "models",
            "2 files, 5.0 GiB; gemma-edge verify reads them again", "", "", id="models",
        ),
        pytest.param(
            facts(models=replace(SHELF, files=1, incomplete=1)), "models",
            "1 file is incomplete; 1 file whole",
            "gemma-edge list names them; the same pull goes on where it stopped", "",
            id="incomplete",
        ),
        pytest.param(
            facts(models=replace(SHELF, trouble="no permission", hint="chmod")), "models",
            "no permission", "no model there can be found", "chmod", id="unreadable models",
        ),
        pytest.param(
            facts(hub=Hub("https://hub", 0.1, "no route")), "hub", "https://hub: no route",
            "models cannot be fetched; what is on this machine works",
            "check the network (HTTPS_PROXY for a proxy, HF_ENDPOINT for a mirror), or carry files "
            "here: gemma-edge import FILE", id="hub",
        ),
        pytest.param(
            facts(hub=None, offline_by="HF_HUB_OFFLINE"), "hub", "not asked", "offline is on", "",
            id="hub, offline",
        ),
        pytest.param(
            facts(hub=None, offline_by="HF_HUB_OFFLINE"), "offline",
            "on, by HF_HUB_OFFLINE: no connection is opened", "", "", id="offline",
        ),
        pytest.param(facts(), "terminal", "80 columns, utf-8, colours", "", "", id="terminal"),
        pytest.param(
            facts(terminal=replace(TERMINAL, width=40)), "terminal", "40 columns, utf-8, colours",
            "tables are made for 60 columns and more", "", id="narrow",
        ),
        pytest.param(
            facts(terminal=Terminal(True, "cp1252", 80, False)), "terminal",
            "80 columns, cp1252, no colours", "letters beyond it are shown as escapes",
            "PYTHONUTF8=1 in the environment; on Windows chcp 65001 before it", id="cp1252",
        ),
        pytest.param(
            facts(terminal=Terminal(False, "utf-8", 80, False)), "terminal",
            "none, the output goes elsewhere as utf-8", "", "", id="pipe",
        ),
    ],
)  # fmt: skip
def test_rows(case, name, seen, why, fix):
    check = next(check for check in examine(case) if check.name == name)
    assert (check.seen, check.why, check.fix) == (seen, why, fix)


def test_a_decode_that_dies_has_the_fix_of_the_instructions():
    finding = Finding("warning", "instructions", "llama.cpp is built for AMX", "pip install it")
    dead = Decode(device=CPU, trouble="it stopped: an instruction that this processor refuses")
    checks = examine(facts(replace(LAPTOP, findings=(finding,)), decodes=(dead,)))
    rows = {each.name: (each.state, each.why, each.fix) for each in checks}
    assert rows["processor"] == ("warning", "llama.cpp is built for AMX", "pip install it")
    assert rows["CPU decode"] == ("problem", "nothing can be computed there", "pip install it")


def test_a_finding_joins_the_gpu_that_it_speaks_of():
    """Also where the name of another one is a part of its name."""
    second = replace(machines.RTX, name="", title=f"{machines.RTX.title} Ti")
    finding = Finding("fine", "GPU", f"CUDA_VISIBLE_DEVICES=1 hides {second.title}")
    hardware = replace(machines.GAMING, devices=(machines.RTX, second), findings=(finding,))
    gpus = [each for each in examine(facts(hardware)) if each.name == "GPU"]
    assert [(each.state, each.why) for each in gpus] == [("fine", ""), ("skipped", finding.text)]


def test_an_unreachable_hub_is_a_problem_only_where_nothing_is_here():
    silent = Hub("https://hub", 2.0, "no answer within 2 s")
    assert states(examine(facts(machines.GAMING, hub=silent))) == {"hub": "problem"}
    there = replace(SHELF, files=1, files_bytes=GIB)
    assert states(examine(facts(machines.GAMING, hub=silent, models=there))) == {"hub": "warning"}


def test_several_findings_of_one_name():
    """The first joins the check, the others stand behind it, and the worst state counts."""
    found = (
        Finding("fine", "memory", "first"), Finding("warning", "memory", "second", "a fix"),
        Finding("problem", "MIG", "third"), Finding("fine", "MIG", "fourth"),
    )  # fmt: skip
    checks = examine(facts(replace(machines.GAMING, findings=found)))
    rows = [(each.name, each.state, each.seen, each.why, each.fix) for each in checks]
    assert rows[4:9] == [
        ("MIG", "problem", "third", "", ""),
        ("MIG", "fine", "fourth", "", ""),
        ("GPU", "fine", rows[6][2], "", ""),
        ("memory", "fine", "11.0 GiB of 16.0 GiB free", "first", ""),
        ("memory", "warning", "second", "", "a fix"),
    ]


def test_a_login_node_keeps_problems_that_are_its_own():
    broken = replace(machines.LOGIN, build=Build(version="", error="libllama.so is missing"))
    assert states(examine(facts(broken)))["llama.cpp"] == "problem"
