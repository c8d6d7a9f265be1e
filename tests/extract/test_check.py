"""The verdict: the user's own schema, nulls for what is not there, problems in words."""

import json

import pytest

from gemma_edge.extraction.json_schema import MAX_PROBLEMS, Checker, find_flaw
from gemma_edge.extraction.schema import parse_oneline


def check_answer(data, source, strict=False):
    return Checker(source).check(data, strict=strict)


def obj(properties, **more):
    return {"type": "object", "properties": properties, **more}


BILL = obj(
    {
        "vendor": {"type": "string"},
        "total": {"type": "number"},
        "note": {"type": "string"},
        "rows": {
            "type": "array",
            "items": obj({"q": {"type": "integer"}, "u": {"type": "string"}}),
        },
    },
    required=["vendor", "total"],
)


def test_a_missing_value_is_dropped_where_it_may_be_and_said_where_not():
    data = {"vendor": "Acme", "total": None, "note": None, "rows": [{"q": 1, "u": None}]}
    verdict = check_answer(data, BILL)
    assert verdict.data == {"vendor": "Acme", "total": None, "rows": [{"q": 1}]}
    assert verdict.missing == ("total",)
    assert verdict.problems == ()


def test_strict_takes_null_for_what_it_is():
    data = {"vendor": "Acme", "total": None, "note": None}
    verdict = check_answer(data, BILL, strict=True)
    assert verdict.data == data
    assert verdict.missing == ()
    assert len(verdict.problems) == 2


def test_null_that_the_schema_allows_stays():
    schema = parse_oneline("a, b?, c[]?, d?: {e}")
    data = {"a": "x", "b": None, "c": [], "d": None}
    assert check_answer(data, schema).data == data


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"vendor": "A", "total": "5"}, 'total: "5" is not of type "number"'),
        ({"total": 5}, 'the answer: "vendor" is a required property'),
        ({"vendor": "A", "total": 5, "rows": [{"q": 1}, {"q": 1.5}]},
         'rows[1].q: 1.5 is not of type "integer"'),
        ([], 'the answer: [] is not of type "object"'),
        (None, 'the answer: null is not of type "object"'),
    ],
)  # fmt: skip
def test_problems_name_the_place(data, problem):
    assert check_answer(data, BILL).problems == (problem,)


@pytest.mark.parametrize(
    ("format_", "good", "bad"),
    [
        ("date", "2024-02-29", "2024-02-30"),
        ("date-time", "2024-02-29T10:00:00Z", "yesterday"),
        ("email", "a@b.org", "a.b.org"),
        ("uri", "https://b.org/x", "not a uri"),
        ("ipv4", "10.0.0.1", "10.0.0.256"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123"),
    ],
)
def test_formats_count(format_, good, bad):
    schema = obj({"v": {"type": "string", "format": format_}})
    assert not check_answer({"v": good}, schema).problems
    assert check_answer({"v": bad}, schema).problems
    assert not check_answer({"v": None}, schema).problems


def test_problems_are_short_and_counted():
    schema = {"type": "array", "items": {"type": "integer"}}
    verdict = check_answer(["x" * 1000] * 100, schema)
    assert len(verdict.problems) == MAX_PROBLEMS + 1
    assert verdict.problems[-1] == "80 more problems"
    assert max(map(len, verdict.problems)) < 220


def test_nulls_in_lists_maps_and_branches():
    assert not check_answer([1, None], {"type": "array", "items": {"type": "integer"}}).problems
    draft7 = {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}]}
    assert not check_answer([None, "x"], draft7).problems
    prefixed = {"prefixItems": [{"type": "string"}], "items": {"type": "integer"}}
    assert not check_answer(["x", None, 1], prefixed).problems
    assert check_answer(["x", "y"], prefixed).problems
    numbers = {"type": "object", "additionalProperties": {"type": "number"}}
    assert check_answer({"a": 1, "b": None}, numbers).data == {"a": 1}
    union = {"anyOf": [obj({"a": {"type": "string"}, "b": {"type": "string"}}, required=["a"]),
                       obj({"c": {"type": "string"}}, required=["c"])]}  # fmt: skip
    verdict = check_answer({"a": None, "b": None}, union)
    assert (verdict.data, verdict.missing, verdict.problems) == ({"a": None}, ("a",), ())


def test_a_choice_between_keys_is_made_by_the_one_that_has_a_value():
    schema = obj({"a": {"type": "string"}, "b": {"type": "string"}},
                 oneOf=[{"required": ["a"]}, {"required": ["b"]}])  # fmt: skip
    assert check_answer({"a": "x", "b": None}, schema).data == {"a": "x"}
    assert not check_answer({"a": "x", "b": None}, schema).problems
    assert check_answer({"a": "x", "b": "y"}, schema).problems


def test_branches_that_null_makes_alike_are_not_a_problem():
    schema = {"oneOf": [obj({"a": {"type": "string"}}, required=["a"]),
                        obj({"a": {"type": "number"}}, required=["a"])]}  # fmt: skip
    assert not check_answer({"a": None}, schema).problems
    assert check_answer({"a": True}, schema).problems


def test_an_extra_key_is_a_problem_even_with_null():
    schema = obj({"a": {"type": "string"}}, additionalProperties=False)
    assert check_answer({"a": "x", "b": None}, schema).problems


def test_a_scalar_that_is_not_there():
    verdict = check_answer(None, {"type": "string"})
    assert (verdict.missing, verdict.problems) == (("the whole answer",), ())
    assert check_answer(None, {"type": "string"}, strict=True).problems


def test_a_schema_inside_that_names_its_own_draft_changes_nothing():
    inner = {"$schema": "http://json-schema.org/draft-04/schema#", "items": {"type": "string"}}
    schema = {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "definitions": {"list": inner},
        "properties": {"a": {"$ref": "#/definitions/list"}},
    }
    assert not check_answer({"a": [None]}, schema).problems


def test_recursive_schemas():
    node = obj({"v": {"type": "string"}, "next": {"$ref": "#/$defs/node"}}, required=["v"])
    schema = {"$defs": {"node": node}, "$ref": "#/$defs/node"}
    data = {"v": "a", "next": {"v": None, "next": None}}
    verdict = check_answer(data, schema)
    assert verdict.data == {"v": "a", "next": {"v": None}}
    assert verdict.missing == ("next.v",)
    looped = {"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "properties": {"x": {}}}
    assert check_answer({"x": None}, looped).data == {"x": None}


@pytest.mark.parametrize(
    ("source", "flaw"),
    [
        ({"type": "string"}, ""),
        ({"type": "strin"}, "strin"),
        ({"properties": {"a": {"type": 5}}}, "properties.a.type"),
        ({"pattern": "[a"}, "[a"),
        ({"patternProperties": {"(": {}}}, "("),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "type": "x"}, "x"),
        ({"$schema": "https://example.org/unknown", "type": "object"}, ""),
    ],
)
def test_flaws_are_found(source, flaw):
    found = find_flaw(source)
    assert bool(found) == bool(flaw)
    assert flaw in found
    assert json.dumps(source)  # untouched


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"^\p{L}+$", "Łódź", "a1"),
        (r"^(?<year>\d{4})$", "2024", "24"),
        (r"^\d$", "5", "\u0665"),
        (r"^a$", "a", "a\n"),
        (r"\A\d+\Z", "12", "12\n"),
        (r"^{[a-z]{,2}}$", "{ab}", "{abc}"),
        (r"^[^\0-\x1f]$", "a", "\x01"),
        (r"^\ud83d\ude00$", "\U0001f600", "x"),
        (r"[\ud800-\udfff]", "\ud83d", "\U0001f600"),
        (r"\é", "é", "e"),
        (r"^\cA[^]$", "\x01\n", "A\n"),
    ],
)
def test_patterns_are_those_of_ecma_262_and_what_python_writes_otherwise(pattern, good, bad):
    schema = {"type": "string", "pattern": pattern}
    assert not find_flaw(schema)
    assert not check_answer(good, schema, strict=True).problems
    assert check_answer(bad, schema, strict=True).problems
    named = {"patternProperties": {pattern: {"type": "integer"}}}
    assert check_answer({good: None, "": None}, named).data == {"": None}
    assert check_answer({good: "x"}, named).problems


@pytest.mark.parametrize("pattern", [r"^(a+)+$", r"^(a+)+\1$", r"^(?=(a+)+b)(a+)+$", r"(a|aa)+b"])
def test_no_pattern_runs_for_ever(pattern):
    assert check_answer("a" * 5000 + "!", {"pattern": pattern}, strict=True).problems


def test_references_mean_what_is_in_the_schema_and_nothing_else():
    schema = {
        "$id": "http://nowhere.invalid/bill.json",
        "properties": {
            "a": {"$ref": "http://nowhere.invalid/bill.json#/$defs/text"},
            "b": {"$ref": "#text"},
            "c": {"$ref": "#/properties/a"},
        },
        "$defs": {"text": {"$anchor": "text", "type": "string"}},
    }
    assert len(check_answer({"a": 1, "b": 2, "c": 3}, schema).problems) == 3
    assert not check_answer({"a": "x", "b": "y", "c": None}, schema).problems
    elsewhere = {"properties": {"a": {"$ref": "http://nowhere.invalid/x.json"}}}
    assert check_answer({"a": 1}, elsewhere).problems


def test_names_that_look_like_numbers_are_names():
    schema = obj({"2024": obj({"007": {"type": "string"}}), "rows": {"items": {"type": "string"}}})
    verdict = check_answer({"2024": {"007": 1}, "rows": ["a", 2]}, schema)
    assert verdict.failing == (("2024", "007"), ("rows", 1))
    assert verdict.problems[0] == '2024.007: 1 is not of type "string"'


def test_what_is_wrong_inside_a_choice_is_said():
    schema = obj({"a": {"anyOf": [{"type": "null"}, obj({"b": {"enum": list("vwxyz")}})]}})
    wrong = 'a.b: "u" is not one of ["v", "w", "x", "y", "z"]'
    assert check_answer({"a": {"b": "u"}}, schema).problems == (wrong,)
    assert check_answer({"a": {"b": "u", "c": None}}, schema).problems == (wrong,)


def test_what_no_file_can_hold_and_what_is_too_deep():
    assert check_answer("\ud83d", {"enum": ["\ud83d"]}, strict=True).problems == ()
    assert check_answer({"\ud83d": 1}, {"properties": {"\ud83d": {"type": "string"}}}).problems
    assert check_answer("\ud83d", {"const": "\ud83e"}, strict=True).problems
    deep = {}
    for _ in range(400):
        deep = {"a": deep, "b": 1}
    said = check_answer(deep, {"additionalProperties": {"$ref": "#"}, "maxProperties": 1})
    assert said.problems == ("the answer: it is nested too deeply to be checked",)
    assert check_answer(10**400, {"maximum": 10**399}).problems


@pytest.mark.parametrize("draft", ["draft-04", "draft-06", "draft-07", "draft/2019-09"])
def test_each_draft_has_its_own_rules(draft):
    older = {"$schema": f"http{'s' if '/' in draft else ''}://json-schema.org/{draft}/schema#"}
    assert bool(check_answer(1.0, {**older, "type": "integer"}).problems) == (draft == "draft-04")
    beside = {**older, "definitions": {"t": {}}, "items": {"$ref": "#/definitions/t", "maximum": 1}}
    assert bool(check_answer([2], beside).problems) == (draft == "draft/2019-09")
    assert "prefixItems" not in Checker(older).keywords
