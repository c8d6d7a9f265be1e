"""``gemma-edge schema`` in memory: what it prints, and with which status."""

import io
import json

import pytest

from gemma_edge.cli.context import Context
from gemma_edge.cli.main import parse
from gemma_edge.cli.output import Output
from gemma_edge.errors import ExitStatus, SchemaError, UsageError

CASE = {
    "schema": {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}},
    "tests": [
        {"valid": True, "data": {"a": [1, 2]}},
        {"valid": True, "data": {"a": [], "b": 1}},
        {"valid": False, "data": {"a": [1, 1]}},
        {"valid": False, "data": {"a": 5}},
    ],
}


def schema(*words, stdin="", terminal=False, **flags):
    out, err = io.StringIO(), io.StringIO()
    context = Context(
        stdin=io.StringIO(stdin), stdout=out, stderr=err, stdin_is_terminal=terminal,
        environment={}, clock=lambda: 0.0,
    )  # fmt: skip
    argv = ["schema", *words, *(f"--{name}" for name, wanted in flags.items() if wanted)]
    status = parse(argv, context.width)(context, Output(context))
    return out.getvalue(), err.getvalue(), status


def test_show_prints_json_schema_and_what_the_model_reads():
    out, err, status = schema("show", "vendor, total num")
    assert json.loads(out)["properties"] == {
        "vendor": {"type": "string"}, "total": {"type": "number"},
    }  # fmt: skip
    assert err == 'the model reads: {"vendor": string, "total": number}\n'
    assert status == ExitStatus.OK


def test_show_decoding():
    total = [
        json.loads(schema("show", "total num", decoding=True, strict=strict)[0])["properties"]
        for strict in (False, True)
    ]
    assert total == [{"total": {"type": ["number", "null"]}}, {"total": {"type": "number"}}]


def test_a_schema_from_stdin_or_an_example():
    out, err, _ = schema("show", "-", stdin='{"vendor": "Acme"}')
    assert json.loads(out)["required"] == ["vendor"]
    assert "read as an example" in err
    with pytest.raises(UsageError, match="stdin is a terminal"):
        schema("show", "-", terminal=True)


def test_check_says_what_becomes_of_each_keyword():
    out, err, status = schema("check", json.dumps(CASE["schema"]))
    assert out.splitlines() == [
        "✔ enforced    type 2, properties 1",
        '– afterwards  uniqueItems  #/properties/a  Unimplemented keys: ["uniqueItems"]',
    ]
    assert err.startswith("enforced while decoding in part; ")
    assert status == ExitStatus.OK
    document = json.loads(schema("check", json.dumps(CASE["schema"]), json=True)[0])
    assert document["enforced"] == "in part"
    assert {each["keyword"]: each["fate"] for each in document["keywords"]} == {
        "type": "decoding", "properties": "decoding", "uniqueItems": "afterwards",
    }  # fmt: skip


def test_check_of_what_decoding_refuses():
    source = json.dumps({"type": "string", "enum": ["a"], "pattern": "^b$"})
    out, err, status = schema("check", source, strict=True)
    assert out.count("✘ refused") == 3
    assert err.startswith("? the schema cannot be held while decoding: Unsatisfiable")
    assert status == ExitStatus.INPUT


def test_infer_from_files_text_and_lines(tmp_path):
    lines = tmp_path / "bills.jsonl"
    lines.write_text('{"a": 1}\n{"a": 2.5, "b": "x\u2028y"}\n', encoding="utf-8")
    out, err, _ = schema("infer", str(lines), '{"a": null}')
    assert json.loads(out) == {
        "type": "object",
        "properties": {"a": {"type": ["number", "null"]}, "b": {"type": "string"}},
        "required": ["a"],
    }
    assert err.startswith("from 3 examples; ")
    with pytest.raises(SchemaError, match="bills.jsonl is not JSON: line 2"):
        lines.write_text('{"a": 1}\n{"a": \n', encoding="utf-8")
        schema("infer", str(lines))


def test_types_lists_the_words():
    out, _, _ = schema("types")
    assert any(line.startswith("int, integer ") for line in out.splitlines())
    words = [word for each in json.loads(schema("types", json=True)[0]) for word in each["words"]]
    for word in words:
        if word.isalpha():
            schema("show", f"field {word}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "`schema` needs one of show, check, infer, types, test"),
        (("shwo", "a"), "there is no command `schema shwo`"),
        (("show",), "missing argument `SCHEMA`"),
        (("check", "a", "b"), "nothing is to be done with `b`"),
        (("infer",), "missing argument `FILE`"),
        (("test",), "missing argument `FILE`"),
        (("types", "a"), "nothing is to be done with `a`"),
    ],
)
def test_what_cannot_be_carried_out(words, message):
    with pytest.raises(UsageError, match=message) as caught:
        schema(*words)
    assert caught.value.hint


def test_test_judges_each_instance_with_the_bundled_vocabulary(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(CASE), encoding="utf-8")
    (tmp_path / "b.json").write_text("{}", encoding="utf-8")
    out, err, status = schema("test", str(tmp_path), json=True)
    first, second = map(json.loads, out.splitlines())
    assert (first["compiles"], first["rung"], first["wrong"]) == (True, "lenient", 0)
    assert [(each["decodable"], each["accepted"]) for each in first["tests"]] == [
        (True, True), (False, True), (True, False), (False, False),
    ]  # fmt: skip
    assert "b.json has no instances" in second["error"]
    assert status == ExitStatus.INPUT
    assert err.splitlines()[1:] == [
        "2 files, 1 compiled, 1 not read",
        "valid 2: 2 accepted, 1 decodable, 1 with keys that the schema does not declare",
        "invalid 2: 1 rejected while decoding, 1 more at the end, 0 accepted",
    ]
    out, _, _ = schema("test", str(tmp_path / "a.json"))
    assert "a.json: 4 instances · lenient · 1 invalid rejected only at the end" in out


def test_a_wrong_verdict_is_a_status(tmp_path):
    path = tmp_path / "a.json"
    wrong = CASE | {"tests": [{"valid": False, "data": {"a": [1]}}]}
    path.write_text(json.dumps(wrong), encoding="utf-8")
    out, _, status = schema("test", str(path), quiet=True)
    assert out.endswith("1 judged WRONG\n")
    assert status == ExitStatus.RESULT
