"""Whole schemas, as programs write them, and 500 real ones where they are: read, rewritten,
enforced, judged."""

import json
import random
from pathlib import Path

import pytest
from llguidance import LLMatcher, LLTokenizer

from gemma_edge.extraction.decoding import enforce
from gemma_edge.extraction.job import parse_answer
from gemma_edge.extraction.schema import parse_schema
from gemma_edge.extraction.schema_trial import read_instances, try_schema
from tests.shared import SCHEMAS

OWN = Path(__file__).parents[1] / "data" / "schemas.json"
COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
BYTES = LLTokenizer("byte")
ENDINGS = b'n"]}1'


def read_cases(which):
    """All cases, as they are in their files."""
    if which == "own":
        return json.loads(OWN.read_text(encoding="utf-8"))
    paths = sorted(SCHEMAS.glob("*.json"))
    assert len(paths) == 500
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


@pytest.fixture(scope="module", params=["own", "real"] if SCHEMAS.is_dir() else ["own"])
def cases(request):
    return [(case, parse_schema(json.dumps(case))) for case in read_cases(request.param)]


def matcher(schema, relaxed):
    """The constraint as the engine compiles it, over bytes; None where llguidance refuses."""
    relaxed = {relaxed: True} if relaxed else {}
    grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=COMPACT | relaxed)
    found = LLMatcher(BYTES, grammar, log_level=0)
    return None if found.is_error() else found


@pytest.mark.slow
def test_all_can_be_enforced(cases):
    for strict in (False, True):
        held = [enforce(s.strict_decoding if strict else s.decoding) for _, s in cases]
        assert sum(each.relaxed == "" for each in held) >= 0.8 * len(cases)
        assert sum(bool(each.dropped) for each in held) <= 0.02 * len(cases)


@pytest.mark.slow
def test_valid_instances_decode_and_invalid_ones_never_pass_in_the_end(cases):
    valid = decodable = undeclared = 0
    for case, schema in cases:
        instances = read_instances(case, "case")
        trial = try_schema(schema, instances, lambda _wanted: lambda _text: True)
        assert trial.wrong == 0
        valid += sum(each.valid for each in trial.outcomes)
        decodable += sum(each.valid and each.decodable for each in trial.outcomes)
        undeclared += sum(each.valid and each.undeclared for each in trial.outcomes)
    assert valid > len(cases)
    assert decodable + undeclared >= 0.99 * valid  # objects are closed while decoding
    assert undeclared <= 0.05 * valid


@pytest.mark.slow
def test_forms_are_bounded(cases):
    forms = [schema.form() for _, schema in cases]
    assert all(form and "\n" not in form for form in forms)
    assert max(map(len, forms)) <= 20_000


@pytest.mark.slow
def test_valid_data_is_accepted_and_invalid_data_is_not(cases):
    for case, schema in cases:
        for test in case["tests"]:
            verdict = schema.checker.check(test["data"])
            strict = schema.checker.check(test["data"], strict=True)
            if test["valid"]:
                assert verdict.problems == strict.problems == ()
                assert verdict.data == test["data"]
            else:
                assert strict.problems


def sample(found, rng, limit=400):
    """A random answer that the constraint allows, or None where it did not end in time."""
    out = b""
    while len(out) < limit and not found.is_stopped():
        if found.is_accepting() and rng.random() < 0.3:
            break
        step = found.compute_ff_bytes()
        if not step:
            mask = found.compute_bitmask()
            allowed = [byte for byte in range(256) if mask[byte >> 3] >> (byte & 7) & 1]
            short = [byte for byte in allowed if byte in ENDINGS]
            pool = short if short and rng.random() < (0.5 if len(out) < 100 else 0.95) else allowed
            if not pool:
                break
            step = bytes([rng.choice(pool)])
        assert found.try_consume_tokens(list(step)) == len(step)
        out += step
    return out if found.is_accepting() else None


@pytest.mark.slow
def test_whatever_the_strict_rung_lets_through_is_valid(cases):
    rng = random.Random(3)
    valid = invalid = 0
    for _, schema in cases if len(cases) < 125 else cases[::4]:
        for _ in range(3 if len(cases) > 100 else 9):
            found = matcher(schema.decoding, "")
            answer = sample(found, rng) if found is not None else None
            if answer is None:
                continue
            try:
                data, _ = parse_answer(answer.decode("utf-8"))
            except ValueError as error:
                assert "out of range" in str(error)  # the only JSON that is refused
                continue
            problems = schema.checker.check(data).problems
            valid, invalid = valid + (not problems), invalid + bool(problems)
    assert valid > 150
    assert invalid <= 0.02 * valid  # leap seconds, and maps that need at least one key
