"""``scripts/prove_gpu.py``: the short form for real, on ggml's RPC device, and what its answers
would correct, on numbers made for it."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from gemma_edge.hardware.detect import parse_recording
from gemma_edge.planning.memory import RUNTIME_BYTES
from gemma_edge.planning.speed import GPU_OVERHEAD
from tests.doctor.machines import GAMING, RTX
from tests.engine.rpc import has_rpc

BENCH = Path(__file__).parents[1] / "scripts" / "bench"
MIB = 1 << 20


def wanted(out: Path, **more: Any) -> dict[str, Any]:
    """The short form, written to ``out``."""
    return {"out": str(out), "short": True, "sizes": [], "constants": []} | more


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs of one folder import each other, as they do where they are run."""
    monkeypatch.syspath_prepend(str(BENCH))


@pytest.mark.skipif(not has_rpc(), reason="this llama.cpp has no RPC backend")
def test_the_short_form(tmp_path: Path) -> None:
    """As a person runs it. One test, because it takes seconds."""
    path = tmp_path / "machine.json"
    done = subprocess.run(
        [sys.executable, str(BENCH / "prove_program.py"), json.dumps(wanted(path))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    recording = json.loads(path.read_text(encoding="utf-8"))
    checks = {check["number"]: check for check in recording["proof"]["checks"]}
    assert sorted(checks) == list(range(1, 12))
    if recording["proof"]["stands_in"]:
        _check_states(checks)
    _check_memory([checks[4]["numbers"], checks[5]["numbers"]])
    assert "worst difference" in done.stderr
    assert "not asked; " in done.stderr.splitlines()[-1] or not recording["proof"]["stands_in"]
    # What is written is a recorded machine, with the proof beside.
    plain = {key: value for key, value in recording.items() if key != "proof"}
    machine = parse_recording(recording)
    assert machine == parse_recording(plain)
    assert machine.build.version and machine.cpu.cores


def _check_states(checks: dict[int, dict[str, Any]]) -> None:
    """What needs no GPU passes; nothing that needs one counts as passed."""
    passed = [number for number, check in checks.items() if check["state"] == "passed"]
    assert passed == ([3, 4, 5, 8] if Path("/proc/self/maps").exists() else [4, 5, 8])
    for number in (1, 2, 6, 7, 9, 10):
        assert checks[number]["state"] == "not asked"
        assert "no CUDA here" in checks[number]["seen"]
    assert checks[11]["state"] == "not asked"  # a device that stands in says nothing about speed


def _check_memory(numbers: list[dict[str, Any]]) -> None:
    rows = [row for each in numbers for load in each["loads"] for row in load["rows"]]
    assert {row["part"] for row in rows} == {"weights", "cache", "compute", "output"}
    assert {load["placement"]["kv_type"] for load in numbers[0]["loads"]} == {"f16", "q8_0"}
    assert {load["placement"]["batch_tokens"] for load in numbers[1]["loads"]} == {1024}
    for row in rows:
        off = abs(row["predicted"] - row["allocated"])
        assert off <= max(8 * MIB, 0.02 * row["allocated"]), row
    worst = max(abs(row["predicted"] - row["allocated"]) for row in rows)
    assert worst == max(each["worst_bytes"] for each in numbers)


def test_a_wrong_answer_is_status_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import prove_checks as checks
    import prove_program as program

    asked = [
        checks.Check(number=4, question="memory", state="failed", seen="off"),
        checks.Check(number=5, question="experts", state="passed", seen=""),
    ]
    monkeypatch.setattr(program, "_ask", lambda _site: iter(asked))
    monkeypatch.setattr(program, "serve", lambda: Nowhere())
    monkeypatch.setattr(program, "detect_hardware", lambda _: GAMING)
    monkeypatch.setattr(program, "record", lambda _: {"recording": 1})
    out = tmp_path / "machine.json"
    assert program.main(wanted(out)) == 1
    assert json.loads(out.read_text())["proof"]["device"] == "RTX 4060 Laptop"
    asked.pop(0)
    assert program.main(wanted(out)) == 0


def test_memory_that_is_off_fails() -> None:
    import prove_checks as checks

    from gemma_edge.engine.proof import MemoryRow
    from gemma_edge.planning.plan import Placement

    row = MemoryRow(place="CUDA0", part="compute", predicted=300 * MIB, allocated=309 * MIB)
    load = checks.Loaded(
        name="e2b", layers=35, placement=Placement(context_tokens=4096, batch_tokens=512),
        rows=(row,), law=(), splits=2, prefill=0.0, decode=0.0, predicted=0.0, gpu_bytes=0,
    )  # fmt: skip
    assert checks.check_memory(4, "", [load]).state == "failed"
    found = checks.check_memory(4, "", [replace(load, rows=(replace(row, allocated=307 * MIB),))])
    assert found.state == "passed"
    assert "worst difference 7.00 MiB, 2.28%" in found.seen
    assert checks.check_memory(4, "", []).state == "not asked"
    broken = replace(load, rows=(), trouble="out of memory")
    assert checks.check_memory(4, "", [load, broken]).seen == "e2b: out of memory"
    assert checks.check_memory(4, "", [broken]).state == "failed"


def test_a_question_that_llama_cpp_refuses_has_failed() -> None:
    import prove_checks as checks
    import prove_program as program

    from gemma_edge.errors import EngineError

    def ask(*_: object) -> checks.Check:
        """Whether it is pinned: a question."""
        raise EngineError("cudaMalloc failed")

    found = program._safely(6, ask, 1, 2)
    assert (found.number, found.question, found.state) == (6, "Whether it is pinned", "failed")
    assert found.seen == "cudaMalloc failed"


def test_cards_are_the_same_by_their_place_on_the_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    import prove_checks as checks

    site = checks.Site(
        hardware=GAMING, device=RTX, endpoint="", folder=Path(), short=True, sizes=(),
        environment={},
    )  # fmt: skip
    lines = ["0, 00000000:01:00.0, 8188 MiB, 7600 MiB, 8.9, Default"]
    monkeypatch.setattr(checks, "smi", lambda _query: lines)
    monkeypatch.setattr(checks, "run_probe", lambda _: {"status": 0})
    assert checks.check_cards(site).state == "passed"
    lines[0] = lines[0].replace("8188", "16376")
    assert checks.check_cards(site).state == "failed"
    lines.clear()
    assert checks.check_cards(site).state == "failed"


def test_cuda_is_heard_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    import prove_checks as checks

    site = checks.Site(
        hardware=GAMING, device=RTX, endpoint="", folder=Path(), short=True, sizes=(),
        environment={"HOME": "x"},
    )  # fmt: skip
    given = []

    def probe(environment):
        given.append(environment)
        return {"ggml": {"log": ["ggml_cuda_init: failed to initialize CUDA: no device"]}}

    monkeypatch.setattr(checks, "run_probe", probe)
    assert checks.check_reason(site).state == "passed"
    assert given == [{"HOME": "x", "CUDA_VISIBLE_DEVICES": "9"}]
    monkeypatch.setattr(checks, "run_probe", lambda _: {"ggml": {"log": []}})
    assert checks.check_reason(site).state == "failed"


# What a proof corrects.


def load(name: str, layers: int, gpu_bytes: int, seconds: float, **more: Any) -> dict[str, Any]:
    placement = {"batch_tokens": 512, "kv_type": "f16", "cpu_expert_layers": 0} | more
    row = {"place": "CUDA0", "part": "compute", "predicted": 300 * MIB, "allocated": 302 * MIB}
    return {
        "name": name, "layers": layers, "gpu_bytes": gpu_bytes, "decode": 1 / seconds,
        "predicted": 50.0, "law": [row], "placement": placement,
    }  # fmt: skip


def proof(**more: Any) -> dict[str, Any]:
    """A card of 300 GB/s that reaches 0.8 of it, with 3 ms beside."""
    loads = [
        load("e2b", 35, 2_000_000_000, 2e9 / 240e9 + 3e-3),
        load("e4b", 42, 4_000_000_000, 4e9 / 240e9 + 3e-3),
    ]
    experts = load("26b-a4b", 30, 1_000_000_000, 1 / 50 + 30 * 0.2e-3, cpu_expert_layers=30)
    return {
        "stands_in": False, "short": False, "backend": "cuda", "bandwidth": 300e9,
        "checks": [
            {"number": 4, "numbers": {"loads": loads}},
            {"number": 5, "numbers": {"loads": [experts]}},
            {"number": 10, "numbers": {"context_bytes": 412 * MIB}},
        ],
    } | more  # fmt: skip


def test_what_a_proof_corrects() -> None:
    from prove_record import corrections

    found = {each.name.partition(" ")[0]: each for each in corrections(proof())}
    assert found['RUNTIME_BYTES["cuda"]'].measured == 412
    assert found['RUNTIME_BYTES["cuda"]'].now == RUNTIME_BYTES["cuda"] / MIB
    assert found["GPU_SHARE"].measured == pytest.approx(0.8)
    assert found['GPU_OVERHEAD["cuda"]'].measured == pytest.approx(3.0)
    assert found['GPU_OVERHEAD["cuda"]'].now == GPU_OVERHEAD["cuda"] * 1e3
    assert found["_ON_DEVICE_KIB[35]"].measured == found["_ON_DEVICE_KIB[35]"].now + 4
    assert found["EXPERT_LAYER_OVERHEAD"].measured == pytest.approx(0.7)
    line = found['RUNTIME_BYTES["cuda"]'].render()
    assert line == 'memory.py RUNTIME_BYTES["cuda"]: 330 MiB, measured 412 MiB'


@pytest.mark.parametrize("more", [{"stands_in": True}, {"short": True}])
def test_what_stands_in_for_a_gpu_corrects_nothing(more: dict[str, bool]) -> None:
    from prove_record import corrections

    assert list(corrections(proof(**more))) == []


def test_constants_are_read_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import prove_program as program

    told, silent = tmp_path / "told.json", tmp_path / "silent.json"
    told.write_text(json.dumps({"recording": 1, "proof": proof()}))
    silent.write_text(json.dumps({"recording": 1}))
    assert program.main(wanted(told, constants=[str(told), str(silent)])) == 0
    out, err = capsys.readouterr()
    assert "told.json: speed.py GPU_SHARE: 0.75, measured 0.8\n" in out
    assert err == "silent.json says nothing about a GPU\n"


@pytest.mark.parametrize(
    "content", ["", "[]", '{"proof": {}}', '{"proof": []}'], ids=["empty", "list", "bare", "no map"]
)
def test_a_file_of_another_kind_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    import prove_program as program

    path = tmp_path / "other.json"
    path.write_text(content)
    status = program.main(wanted(path, constants=[str(path)]))
    said = capsys.readouterr().err
    if content == "[]":
        assert (status, said) == (0, "other.json says nothing about a GPU\n")
    else:
        assert (status, said) == (1, f"error: {path} is no file that prove_gpu.py wrote\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "nowhere/machine.json"], "there is no such folder"),
        (["--constants", "nowhere.json"], "there is no file nowhere.json"),
        (["--sizes", "e3b"], "invalid choice: 'e3b'"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_built(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    import prove_gpu

    with pytest.raises(SystemExit, match="2"):
        prove_gpu.parse(arguments)
    assert said in capsys.readouterr().err


def test_all_sizes_are_proven_where_none_is_named() -> None:
    import prove_gpu

    assert prove_gpu.parse([]).sizes == ["12b", "26b-a4b", "31b", "e2b", "e4b"]


class Nowhere:
    def __enter__(self) -> str:
        return ""

    def __exit__(self, *_: object) -> None: ...


def test_the_card_gets_a_build_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """From source for this card alone; the published one where it cannot be built; and none at all
    where there is no card."""
    import prove_gpu
    from install.accelerator import Accelerator

    seen: list[Accelerator] = []
    card = Accelerator("cuda", "a card", tag="cu124", flags=("-DCMAKE_CUDA_ARCHITECTURES=89-real",))

    class Installer:
        def __init__(self, _environment: object, _processor: object, accelerator: Accelerator):
            seen.append(accelerator)

        def install(self) -> None: ...

    class Environment:
        def __init__(self, path: Path) -> None:
            self.path = path

        def create(self) -> None: ...

        def install(self, *_: str) -> subprocess.CompletedProcess[str]:
            return subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr(prove_gpu, "Installer", Installer)
    monkeypatch.setattr(prove_gpu, "Environment", Environment)
    monkeypatch.setattr(prove_gpu.setup, "prepare", lambda **_: "the environment of the tests")
    monkeypatch.setattr(prove_gpu, "want", lambda *_: (card, ""))
    assert prove_gpu.prepare(None).path.name == ".prove"
    assert (seen[0].tag, seen[0].flags) == ("", card.flags)
    monkeypatch.setattr(prove_gpu, "want", lambda *_: (replace(card, missing="nvcc"), ""))
    prove_gpu.prepare(None)
    assert seen[1].tag == "cu124"
    monkeypatch.setattr(prove_gpu, "want", lambda *_: (Accelerator("cpu", "none"), ""))
    assert prove_gpu.prepare(None) == "the environment of the tests"
    assert asdict(seen[0])["backend"] == "cuda" and len(seen) == 2
