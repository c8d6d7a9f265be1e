"""Extract through the command line: data on stdout, everything about it on stderr."""

import json
from contextlib import nullcontext

import pytest

from gemma_edge.errors import ExitStatus
from gemma_edge.planning.memory import quick_measure
from tests.cli.conftest import LAPTOP

LOADED = "model on the CPU, 1 thread: 32k context, 0.3 of 8.0 GiB\n"
ANSWER = '{"vendor": "Acme", "total": 5.5}'


@pytest.fixture
def bill(tmp_path):
    path = tmp_path / "bill.txt"
    path.write_text("Acme\nTotal 5.50\n", encoding="utf-8")
    return str(path)


def test_json_on_stdout_and_what_happened_on_stderr(shell, bill):
    engine = shell.script([ANSWER])
    ran = shell.run("extract", bill, "--schema", "vendor, total num")
    assert ran.status == 0
    assert ran.stdout == '{\n  "vendor": "Acme",\n  "total": 5.5\n}\n'
    first, held, last = ran.stderr.splitlines()
    assert first.endswith("bill.txt: 1 page, 3 tokens · " + LOADED.strip())
    assert held.startswith("can only be what is printed: vendor, total")
    assert last == "valid · 2 of 2 values found · 0.0 s · 4 tokens"
    (request,) = engine.requests
    assert request.sampling.temperature == 0.0
    assert request.constraint is not None
    assert set(json.loads(request.constraint.schema)["properties"]) == {"vendor", "total"}
    (plan,) = shell.plans
    assert plan.projector is None  # no image will pass through it


def test_a_field_can_be_free(shell, bill):
    engine = shell.script([ANSWER, ANSWER])
    ran = shell.run("extract", bill, "--schema", "vendor, total num", "--free", "total")
    assert "can only be what is printed: vendor; free: total" in ran.stderr
    ran = shell.run("extract", bill, "--schema", "vendor, total num", "--free", "all")
    assert "printed" not in ran.stderr
    assert [request.constraint.grounding is None for request in engine.requests] == [False, True]


def test_the_machine_is_asked_once_and_the_model_planned_once(shell, bill):
    shell.script([ANSWER])
    asked = []

    def count(name, value):
        return lambda *_: asked.append(name) or value

    ran = shell.run(
        "extract", bill, "--schema", "vendor, total num",
        detect_hardware=count("machine", LAPTOP),
        open_measure=count("buffers", nullcontext(quick_measure(LAPTOP))),
    )  # fmt: skip
    assert ran.status == 0
    assert (sorted(asked), len(shell.plans)) == (["buffers", "machine"], 1)


def test_quiet_and_json(shell, check, bill):
    shell.script([ANSWER] * 2)
    data = '{\n  "vendor": "Acme",\n  "total": 5.5\n}\n'
    check("extract", bill, "--schema", "vendor, total num", "--quiet", stdout=data)
    ran = shell.run("extract", bill, "--schema", "vendor, total num", "--quiet", "--json")
    document = json.loads(ran.stdout)
    assert document["data"] == {"vendor": "Acme", "total": 5.5}
    assert (document["valid"], document["problems"]) == (True, [])
    assert document["document"]["pages"] == 1
    assert document["usage"]["generated_tokens"] == 4
    assert ran.stderr == ""


def test_an_invalid_answer_is_printed_with_its_problems(shell, bill, tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text(
        '{"type": "object", "properties": {"total": {"type": "number", "minimum": 10}}}',
        encoding="utf-8",
    )
    shell.script(['{"total": 5.5}'] * 2)
    ran = shell.run("extract", bill, "--schema", str(schema))
    assert ran.status == ExitStatus.RESULT
    assert json.loads(ran.stdout) == {"total": 5.5}
    first, *problems, last = ran.stderr.splitlines()
    assert any(problem.startswith("? ") and "total" in problem for problem in problems)
    assert last.startswith("not valid · ")


def test_strict_takes_a_missing_value_for_a_problem(shell, bill):
    shell.script(['{"vendor": null}'] * 3)
    assert shell.run("extract", bill, "--schema", "vendor").status == 0
    ran = shell.run("extract", bill, "--schema", "vendor", "--strict")
    assert ran.status == ExitStatus.RESULT
    assert json.loads(ran.stdout) == {"vendor": None}


def test_schema_or_document_from_stdin(shell, bill):
    schema = '{"type": "object", "properties": {"vendor": {"type": "string"}}}'
    engine = shell.script(['{"vendor": "Acme"}'] * 2)
    assert shell.run("extract", bill, "--schema", "-", stdin=schema).status == 0
    ran = shell.run("extract", "-", "--schema", "vendor", stdin="Acme\nTotal 5.50\n")
    assert ran.status == 0
    assert ran.stderr.startswith("stdin: 1 page, 3 tokens · ")
    texts = {request.messages[-1].text for request in engine.requests}
    assert len(texts) == 1  # the same document either way


@pytest.mark.parametrize("argv", [("-", "--schema", "-"), ("-", "--schema", "vendor")])
def test_stdin_that_cannot_be_both_or_is_a_terminal(shell, argv):
    terminal = argv[-1] != "-"
    ran = shell.run("extract", *argv, stdin="{}", terminal=terminal)
    assert ran.status in (ExitStatus.USAGE, ExitStatus.INPUT)
    assert ran.stdout == ""


def test_ctrl_c_prints_no_half_of_a_document(shell, check, bill, interrupting):
    shell.engine = interrupting([ANSWER])
    check(
        "extract", bill, "--schema", "vendor, total num", "--quiet", status=ExitStatus.INTERRUPTED
    )  # fmt: skip
