"""``gemma-edge doctor``: what it writes, what it fixes, and the real thing on this machine."""

import io
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from gemma_edge.cli import doctor as cli
from gemma_edge.cli.context import Context
from gemma_edge.cli.doctor import DoctorFlags, FixFlags
from gemma_edge.cli.options import ShowFlags
from gemma_edge.cli.output import Output
from gemma_edge.doctor import Decode, Hub, Probes
from gemma_edge.engine.proof import CPU, MemoryRow, Proof
from gemma_edge.errors import ExitStatus, UsageError
from gemma_edge.hardware.detect import detect_hardware, parse_recording
from gemma_edge.hardware.machine import Finding, Hardware
from tests.cli.conftest import Ran, Shell
from tests.doctor.machines import GAMING, GREETING, LAPTOP, NO_CUBLAS, OFFICE

LOOK, ASK, PLAIN = DoctorFlags(), FixFlags(), ShowFlags()
OK, FAILED = ExitStatus.OK, ExitStatus.FAILED


@dataclass
class Clinic:
    """Runs the command on a machine that is a literal; ``machines`` is what each look sees, the
    last one again and again."""

    home: Path
    machines: list[Hardware] = field(default_factory=lambda: [LAPTOP])
    hub: Hub = Hub("https://hub", 0.2)
    asked: list[str] = field(default_factory=list)
    proofs: tuple[Proof, ...] = ()
    proven: list[tuple[tuple[str, ...], bool]] = field(default_factory=list)

    def run(
        self,
        wish: DoctorFlags = LOOK,
        *,
        kept: FixFlags = ASK,
        show: ShowFlags = PLAIN,
        encoding: str = "utf-8",
        terminal: bool = False,
        stdin: str = "",
        **more,
    ) -> Ran:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
        context = Context(
            stdin=io.StringIO(stdin), stdout=out, stderr=err, stdin_is_terminal=terminal,
            stdout_is_terminal=terminal, stderr_is_terminal=terminal,
            **{"environment": {"NO_COLOR": "1"}, "platform": "linux", "home": self.home} | more,
        )  # fmt: skip
        probes = Probes(
            detect_hardware=self._detect, try_decode=self._decode, ask_hub=self._ask,
            prove=self._prove,
        )  # fmt: skip
        status = cli.run(wish, kept, show, context, Output(context), probes)
        return Ran(*(each.buffer.getvalue().decode(encoding) for each in (out, err)), status)

    def _detect(self, environment: Mapping[str, str]) -> Hardware:
        return self.machines.pop(0) if len(self.machines) > 1 else self.machines[0]

    def _decode(self, device: str) -> Decode:
        return Decode(device=device, answer=GREETING, tokens=23, seconds=0.25)

    def _prove(self, devices: Sequence[str], *, threads: int, hardware: Hardware | None, **_more):
        assert threads > 0
        self.proven.append((tuple(devices), hardware is not None))
        yield from self.proofs

    def _ask(self, endpoint: str) -> Hub:
        self.asked.append(endpoint)
        return self.hub


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    return Clinic(tmp_path)


@pytest.fixture
def broken() -> Callable[[str], Hardware]:
    """A laptop with one problem, and what is said to fix it."""

    def make(fix: str) -> Hardware:
        return replace(
            LAPTOP,
            findings=(Finding(state="problem", what="CUDA libraries", text="gone", fix=fix),),
        )

    return make


def test_a_fine_laptop(clinic: Clinic):
    ran = clinic.run(kept=FixFlags(models_dir=clinic.home))
    lines = ran.stdout.splitlines()
    assert lines[0].startswith("✔ python          3.")
    assert lines[1:6] == [
        "✔ llama.cpp       0.3.36, built for the processor",
        "✔ processor       Core i5-8250U, 4 physical cores; llama.cpp uses AVX2",
        "–" + " GPU             none here",
        "                  the processor does the work",
        "✔ memory          11.0 GiB of 16.0 GiB free",
    ]
    assert "✔ CPU decode      23 tokens, 0.2 s with loading" in lines
    assert lines[-1] == "✔ terminal        none, the output goes elsewhere as utf-8"
    assert (ran.stderr, ran.status) == ("no problem\n", OK)
    assert clinic.asked == ["https://huggingface.co"]


def test_a_problem_with_its_way_out(clinic: Clinic):
    clinic.machines = [NO_CUBLAS]
    ran = clinic.run()
    assert (
        "✘ CUDA libraries  libcublas.so.12 missing: llama.cpp was built for CUDA, whose libraries "
        "are not here\n"
        "                  fix: pip install nvidia-cublas-cu12\n"
    ) in ran.stdout
    assert (
        "– CPU decode      not tried\n                  llama.cpp cannot be loaded\n" in ran.stdout
    )
    assert ran.stderr.endswith("1 problem; gemma-edge doctor --fix runs the fix above\n")
    assert ran.status == FAILED


def test_60_columns_without_unicode(clinic: Clinic):
    clinic.machines = [NO_CUBLAS]
    clinic.hub = Hub("https://hub", 2.0, "no answer within 2 s")
    ran = clinic.run(
        kept=FixFlags(models_dir=Path("/models")), encoding="ascii", terminal=True, width=60
    )
    assert ran.stdout.isascii()
    commands = [line for line in ran.stdout.splitlines() if "fix: pip" in line]
    others = [line for line in ran.stdout.splitlines() if line not in commands]
    assert commands == ["                  fix: pip install nvidia-cublas-cu12"]  # to be copied
    assert max(map(len, others)) < 60
    assert {line[0] for line in others} == {"+", "x", "-", "?", " "}
    assert all(line[:18].isspace() for line in others if line.startswith(" "))


def test_json(clinic: Clinic):
    clinic.machines = [NO_CUBLAS]
    ran = clinic.run(show=ShowFlags(json=True))
    found = json.loads(ran.stdout)
    assert (found["ok"], ran.stderr, ran.status) == (False, "", FAILED)
    assert next(check for check in found["checks"] if check["name"] == "CUDA libraries") == {
        "name": "CUDA libraries",
        "state": "problem",
        "seen": "libcublas.so.12 missing: llama.cpp was built for CUDA, whose libraries are not "
        "here",
        "why": "",
        "fix": "pip install nvidia-cublas-cu12",
    }


@pytest.mark.parametrize(
    ("kept", "environment", "by"),
    [
        (FixFlags(offline=True), {}, "--offline"),
        (FixFlags(), {"GEMMA_EDGE_OFFLINE": "1"}, "GEMMA_EDGE_OFFLINE"),
        (FixFlags(), {"HF_HUB_OFFLINE": "yes"}, "HF_HUB_OFFLINE"),
    ],
)
def test_offline_asks_nobody(clinic: Clinic, kept, environment, by):
    ran = clinic.run(kept=kept, environment=environment)
    assert f"✔ offline         on, by {by}: no connection is opened\n" in ran.stdout
    assert "– hub             not asked\n" in ran.stdout
    assert clinic.asked == []


def test_a_mirror_is_asked_in_place_of_the_hub(clinic: Clinic):
    clinic.run(environment={"HF_ENDPOINT": "https://mirror"})
    assert clinic.asked == ["https://mirror"]


def test_fix_runs_the_command_and_looks_again(clinic: Clinic, broken):
    """A harmless command: pip tells its version."""
    clinic.machines = [broken("pip --version"), LAPTOP]
    ran = clinic.run(DoctorFlags(fix=True), kept=FixFlags(yes=True))
    assert ran.stdout.count("CUDA libraries") == 1  # before, not after
    assert f"$ {sys.executable} -m pip --version\n" in ran.stderr
    assert "  pip " in ran.stderr
    assert ran.stderr.endswith("no problem\n")
    assert ran.status == OK


def test_a_fix_takes_nothing_of_the_working_folder(clinic: Clinic, broken, tmp_path, monkeypatch):
    """A `pip` or `json.py` that is there would be run, a `uv.toml` would name another index."""
    for name in ("pip", "json", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("print('trapped')\n", encoding="ascii")
    monkeypatch.chdir(tmp_path)
    clinic.machines = [broken("pip --version"), LAPTOP]
    ran = clinic.run(
        DoctorFlags(fix=True), kept=FixFlags(yes=True), environment={**os.environ, "PATH": ":."}
    )
    assert "trapped" not in ran.stderr
    assert "  pip " in ran.stderr


@pytest.mark.parametrize(("answer", "runs"), [("y\n", True), ("\n", False), ("", False)])
def test_fix_asks(clinic: Clinic, broken, answer: str, runs: bool):
    clinic.machines = [broken("pip --version")]
    ran = clinic.run(DoctorFlags(fix=True), terminal=True, stdin=answer, width=400)
    assert "run it? [y/N]" in ran.stderr
    assert ("  pip " in ran.stderr) == runs
    assert ran.stderr.endswith("1 problem left\n")
    assert ran.status == FAILED


def test_fix_needs_somebody_to_ask(clinic: Clinic, broken):
    clinic.machines = [broken("pip --version")]
    with pytest.raises(UsageError, match="no terminal to ask at"):
        clinic.run(DoctorFlags(fix=True))


def test_a_fix_that_fails_is_told_and_the_next_is_tried(clinic: Clinic):
    found = tuple(
        Finding("problem", what, "gone", fix)
        for what, fix in (("driver", "pip no-such-command"), ("WSL", "pip --version"))
    )
    clinic.machines = [replace(LAPTOP, findings=found)]
    ran = clinic.run(DoctorFlags(fix=True), kept=FixFlags(yes=True))
    assert "? it ended with status 1\n" in ran.stderr
    assert "  pip " in ran.stderr
    assert ran.status == FAILED


def test_nothing_to_run_is_said(clinic: Clinic, broken):
    clinic.machines = [broken("install the driver and restart")]
    for wish in (DoctorFlags(), DoctorFlags(fix=True)):
        ran = clinic.run(wish)
        assert "fix: install the driver and restart\n" in ran.stdout
        assert "$ " not in ran.stderr
        assert ran.status == FAILED


def test_only_problems_are_fixed(clinic: Clinic, broken):
    advice = Finding("warning", "WSL", "so it is", "pip --no-such-flag")
    machine = broken("pip --version")
    clinic.machines = [replace(machine, findings=(*machine.findings, advice))]
    ran = clinic.run(DoctorFlags(fix=True), kept=FixFlags(yes=True))
    assert "fix: pip --no-such-flag\n" in ran.stdout
    assert "no-such-flag" not in ran.stderr


def test_one_fix_for_two_problems_is_written_and_run_once(clinic: Clinic):
    found = tuple(Finding("problem", what, "gone", "pip --version") for what in ("driver", "MIG"))
    clinic.machines = [replace(LAPTOP, findings=found)]
    ran = clinic.run(DoctorFlags(fix=True), kept=FixFlags(yes=True))
    assert ran.stdout.count("fix: pip --version\n") == 2  # before and after
    assert ran.stdout.count("fix: the same as above\n") == 2
    assert ran.stderr.count("$ ") == 1


def test_json_after_a_fix_is_one_document(clinic: Clinic, broken):
    clinic.machines = [broken("pip --version"), LAPTOP]
    ran = clinic.run(DoctorFlags(fix=True), kept=FixFlags(yes=True), show=ShowFlags(json=True))
    assert json.loads(ran.stdout)["ok"] is True


def test_a_folder_that_cannot_be_read_is_a_row_not_an_error(clinic: Clinic):
    folder = clinic.home / "models"
    (folder / "owner").mkdir(parents=True)
    (folder / "owner" / "loop.gguf").symlink_to("loop.gguf")
    ran = clinic.run(kept=FixFlags(models_dir=folder))
    assert f"free for models in {folder}\n" in ran.stdout


def test_a_file_is_no_folder_for_models(clinic: Clinic):
    file = clinic.home / "models"
    file.touch()
    ran = clinic.run(kept=FixFlags(models_dir=file))
    assert f"✘ disk            {file} cannot be written to\n" in ran.stdout


def test_what_llama_cpp_does_not_see_is_not_tried(clinic: Clinic):
    clinic.machines = [OFFICE]
    ran = clinic.run()
    assert "decoding on" not in ran.stderr
    assert ran.stdout.count(" decode ") == 1


# The proof of each device.

MIB = 1 << 20
AS_PLANNED = MemoryRow(place="CUDA0", part="compute", predicted=312 * MIB, allocated=312 * MIB)
MEASURED = Proof(device=CPU, prefill=114, decode=51.4, memory=(replace(AS_PLANNED, place="RAM"),))
SOUND = Proof(
    device="CUDA0", difference=0.00034, prefill=5400, decode=240, memory=(AS_PLANNED,), splits=2
)


def test_each_device_is_proven_against_the_processor(clinic: Clinic):
    """A look at the machine compares; the speed and the memory are measured where that is asked."""
    clinic.machines = [GAMING]
    clinic.proofs = (Proof(device=CPU), replace(SOUND, prefill=0.0, decode=0.0, memory=()))
    ran = clinic.run()
    assert clinic.proven == [(("CUDA0",), False)]
    line = "RTX 4060 Laptop: Gemma 4's shapes are off by 0.00034 from the processor\n"
    assert f"✔ GPU kernels     {line}" in ran.stdout
    assert "CPU kernels" not in ran.stdout
    assert ran.status == OK


def test_prove_measures_speed_and_memory(clinic: Clinic):
    clinic.machines, clinic.proofs = [GAMING], (MEASURED, SOUND)
    ran = clinic.run(DoctorFlags(prove=True))
    assert clinic.proven == [(("CUDA0",), True)]
    assert (
        "✔ CPU kernels     reads 114 and answers 51 tokens a second with two layers; 312.0 MiB of "
        "memory, as planned\n"
        "✔ GPU kernels     RTX 4060 Laptop: Gemma 4's shapes are off by 0.00034 from the "
        "processor; reads 5,400 and answers 240 tokens a second with two layers; 312.0 MiB of "
        "memory, as planned\n"
    ) in ran.stdout
    assert ran.status == OK


def test_without_a_gpu_only_prove_asks_the_processor(clinic: Clinic):
    clinic.proofs = (MEASURED,)
    assert "kernels" not in clinic.run().stdout
    assert clinic.proven == []
    assert "✔ CPU kernels     reads 114" in clinic.run(DoctorFlags(prove=True)).stdout
    assert clinic.proven == [((), True)]


@pytest.mark.parametrize(
    ("proof", "line", "why"),
    [
        (
            replace(SOUND, difference=0.7),
            "RTX 4060 Laptop: Gemma 4's shapes are off by 0.7 from the processor",
            "it computes something else: the driver or the build is broken",
        ),
        (
            Proof(device="CUDA0", trouble="out of memory"),
            "RTX 4060 Laptop: out of memory",
            "nothing can be computed there",
        ),
    ],
)
def test_a_device_that_computes_something_else_is_a_problem(clinic: Clinic, proof, line, why):
    clinic.machines, clinic.proofs = [GAMING], (MEASURED, proof)
    ran = clinic.run(DoctorFlags(prove=True))
    assert f"✘ GPU kernels     {line}\n                  {why}\n" in ran.stdout
    assert ran.status == FAILED
    found = json.loads(clinic.run(DoctorFlags(prove=True), show=ShowFlags(json=True)).stdout)
    assert found["ok"] is False
    assert [each["device"] for each in found["proofs"]] == ["CPU", "CUDA0"]
    assert found["proofs"][1]["trouble"] == proof.trouble


def test_memory_that_is_not_as_planned_is_told(clinic: Clinic):
    clinic.machines = [GAMING]
    clinic.proofs = (MEASURED, replace(SOUND, memory=(replace(AS_PLANNED, predicted=400 * MIB),)))
    ran = clinic.run(DoctorFlags(prove=True))
    assert "312.0 MiB of memory, at most 88.0 MiB off (compute on CUDA0)\n" in ran.stdout
    assert "? GPU kernels" in ran.stdout
    assert ran.status == OK  # what is planned is wrong by so much; what is computed is right


@pytest.mark.parametrize(
    "more", [DoctorFlags(raw=True, prove=True), DoctorFlags(raw=True, fix=True)]
)
def test_raw_is_raw_alone(clinic: Clinic, more):
    with pytest.raises(UsageError, match="--raw"):
        clinic.run(more)


# The real thing.


def test_this_machine(shell: Shell):
    """Everything is asked and decoded for real; only the hub is a closed port."""
    ran = shell.run(
        "doctor", "--json", model=False,
        environment=dict(os.environ) | {"HF_ENDPOINT": "http://127.0.0.1:9"},
        detect_hardware=detect_hardware,
    )  # fmt: skip
    checks = {check["name"]: check for check in json.loads(ran.stdout)["checks"]}
    assert checks["CPU decode"]["state"] == "fine", ran.stdout
    assert checks["llama.cpp"]["state"] == "fine"
    assert checks["hub"]["state"] in ("problem", "warning")
    assert checks["hub"]["seen"].startswith("http://127.0.0.1:9: ")
    others = {name: check for name, check in checks.items() if name != "hub"}
    assert "problem" not in {check["state"] for check in others.values()}, ran.stdout


def test_a_recording_is_read_back(shell: Shell):
    """``--raw`` writes what ``parse_recording`` makes the same machine of: a report is a test."""
    ran = shell.run("doctor", "--raw", model=False, environment=dict(os.environ))
    assert (ran.stderr, ran.status) == ("", OK)
    machine, same = parse_recording(json.loads(ran.stdout)), detect_hardware(os.environ)
    assert (machine.system, machine.build, machine.cpu) == (sys.platform, same.build, same.cpu)
    assert [each.title for each in machine.devices] == [each.title for each in same.devices]
    assert machine.findings == same.findings
    assert machine.memory.total_bytes == same.memory.total_bytes
    assert machine.build.version
