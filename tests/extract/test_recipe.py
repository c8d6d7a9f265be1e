"""A recipe: what the model is asked, and what code makes of its answer."""

from dataclasses import replace

import pytest

from gemma_edge.errors import InputError
from gemma_edge.extraction.recipe import (
    Check,
    CheckFailure,
    CounterExample,
    Example,
    RecipeResult,
    Rule,
    bare_recipe,
)
from gemma_edge.extraction.schema import parse_schema
from gemma_edge.extraction.values import Habits

BILL = "vendor, date: date, due?: date, tax?: amount, subtotal amount, total amount"


def recipe(line=BILL, **more):
    return bare_recipe(parse_schema(line)).with_(**more)


def failed(recipe, data):
    return [each.text for each in recipe.finish(data).failures]


def test_a_schema_alone_says_nothing_more_to_the_model():
    bare = bare_recipe(parse_schema(BILL))
    assert bare.render_instructions() == ""
    assert bare.form() == bare.schema.form()
    assert bare.asked.decoding == bare.schema.decoding
    data = {"vendor": "A", "date": "1 May 2024", "total": "5,50"}
    assert bare.finish(data) == RecipeResult(
        {"vendor": "A", "date": "2024-05-01", "total": 5.5},
        order=("vendor", "date", "due", "tax", "subtotal", "total"),
    )
    assert recipe(compute=["a = total"], checks=["total > 0"]).render_instructions() == ""


def test_a_check_that_fails_carries_the_equation_and_its_fields():
    found = recipe(checks=["subtotal + (tax or 0) ~= total"]).finish(
        {"subtotal": "100.00", "tax": "7.00", "total": "170.00"}
    )
    assert found.failures == (
        CheckFailure(
            "subtotal 100 + tax 7 = 107, total is 170",
            ("tax", "subtotal", "total"),
            "error",
            "subtotal + (tax or 0) ~= total",
        ),
    )


def test_what_depends_on_a_missing_value_is_not_checked_and_told():
    found = recipe(checks=["subtotal + tax ~= total", "due >= date"]).finish(
        {"subtotal": "100", "tax": None, "total": "107", "date": "1 May 2024"}
    )
    assert found.failures == ()
    assert found.notes == (
        "not checked: subtotal + tax ~= total (tax is null)",
        "not checked: due >= date (due is null)",
    )


def test_computed_values_stand_at_the_top_level_and_the_model_is_not_asked_for_them():
    bill = recipe("total amount, days int, date: date, due: date",
                  compute=["days = (due - date).days", "twice = total * 2"])  # fmt: skip
    assert bill.form() == '{"total": amount, "date": date, "due": date}'
    assert "days" not in bill.asked.decoding["properties"]
    found = bill.finish({"total": "2", "date": "1 May 2024", "due": "3 May 2024"})
    assert found.computed == {"days": 2, "twice": 4}
    assert "days" not in found.data
    # In the schema's place where it declares them, else at the end; and it judges them.
    assert list(found.output) == ["total", "days", "date", "due", "twice"]
    assert bill.schema.checker.check(found.output).problems == ()
    assert bill.schema.checker.check({**found.output, "days": "two"}).problems


def test_a_value_that_cannot_be_computed_is_null_and_told():
    found = recipe(compute=["a = total / tax", "b = a + 1"]).finish({"total": "2", "tax": "0"})
    assert found.computed == {"a": None, "b": None}
    assert found.notes == (
        "a is not computed: `total / tax`, column 1: division by zero",
        "b is not computed: a is null",
    )


def test_computed_values_are_of_later_ones_and_a_check_asks_for_what_they_are_of():
    bill = recipe(compute=["net = subtotal", "gross = net + tax"], checks=["gross ~= total"])
    (failure,) = bill.finish({"subtotal": "1", "tax": "1", "total": "9"}).failures
    assert failure.text == "gross 2, total is 9"
    assert failure.fields == ("tax", "subtotal", "total")


def test_a_value_that_cannot_be_read_is_a_failure_of_its_field():
    found = recipe().finish({"date": "30 days net", "due": "03/04/2024"})
    assert [(each.text, each.fields, each.check) for each in found.failures] == [
        ('date: "30 days net" is not read as date: no month', ("date",), ""),
        ('due: "03/04/2024" can be 2024-04-03 or 2024-03-04; the order of day and month in the '
         'document would decide', ("due",), ""),
    ]  # fmt: skip
    assert found.data == {"date": "30 days net", "due": "03/04/2024"}
    assert recipe(normalize=["date=mdy"]).finish({"due": "03/04/2024"}).failures == ()
    assert recipe().finish({"due": "03/04/2024"}, "paid on 04/25/2024").data["due"] == "2024-03-04"


def test_a_sign_of_many_currencies_stays_and_is_told():
    bill = recipe("total money, currency currency")
    found = bill.finish({"total": "$ 5.00", "currency": "$"})
    assert found.data == {"total": {"amount": 5, "currency": "$"}, "currency": "$"}
    assert found.failures == ()
    assert [note.partition(";")[0] for note in found.notes] == [
        'total: "$ 5.00" can be 5 USD or 5 AUD or 5 CAD or 24 more',
        'currency: "$" can be USD or AUD or CAD or 24 more',
    ]
    told = bill.with_(normalize=["currency=CAD"]).finish({"total": "$ 5.00", "currency": "$"})
    assert told.data == {"total": {"amount": 5, "currency": "CAD"}, "currency": "CAD"}
    assert bill.schema.checker.check(found.output).problems == ()


def test_a_warning_and_a_tolerance_of_its_own():
    check = Check(recipe(checks=["total ~= 1"]).checks[0].expression, "warn", ("total",))
    (failure,) = replace(recipe(), checks=(check,)).finish({"total": "2"}).failures
    assert (failure.severity, failure.fields) == ("warn", ("total",))
    wide = replace(recipe(), checks=(Check(check.expression, tolerance=2, why="it is one"),))
    assert failed(wide, {"total": "3"}) == []
    assert failed(wide, {"total": "3.01"}) == ["it is one: total is 3.01, not 1"]


def test_an_answer_that_is_no_object_is_called_answer():
    rows = bare_recipe(parse_schema('{"type": "array", "items": {"type": "number"}}'))
    found = rows.with_(checks=["sum(answer) == 3"]).finish([1, 1])
    assert [each.text for each in found.failures] == ["sum(answer) 1 + 1 = 2, not 3"]
    assert found.output == [1, 1]


def test_endless_data_is_left_alone():
    node = '{"$defs": {"n": {"properties": {"n": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"}'
    data: dict = {}
    for _ in range(3000):
        data = {"n": data}
    assert bare_recipe(parse_schema(node)).finish(data).notes == (
        "nested too deeply to be converted and checked",
    )


def test_flags_are_read_as_they_are_written():
    made = recipe(
        rules=["total: after tax", "dates: as printed", "copy all"],
        counter_examples=["total: Balance forward 1,204.00 -- of before", 'vendor: "A: B"'],
        worked=["1 + 1 = 2"], examples=[Example("Acme", {"vendor": "Acme"})],
        normalize=["date=dmy", "decimal=,"],
        compute=["a = total", "b=a+1"], checks=["a == b"],
    )  # fmt: skip
    assert made.rules == (Rule("after tax", "total"), Rule("dates: as printed"), Rule("copy all"))
    assert made.counter_examples == (
        CounterExample("total", "Balance forward 1,204.00", why="of before"),
        CounterExample("vendor", '"A: B"'),
    )
    assert made.habits == Habits(date="dmy", decimal=",")
    assert [each.name for each in made.compute] == ["a", "b"]
    again = made.with_(compute=["a = 1"], rules=["more"])
    assert [(each.name, each.expression.text) for each in again.compute] == [
        ("b", "a+1"), ("a", "1"),
    ]  # fmt: skip
    assert len(again.rules) == 4


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"checks": ["totl ~= 1"]}, "there is no field `totl`; `total`?"),
        ({"checks": ["total ~="]}, "invalid syntax"),
        ({"compute": ["total"]}, "`total` computes nothing"),
        ({"compute": ["a == total"]}, "`a == total` computes nothing"),
        ({"compute": ["a = b"]}, "there is no field `b`"),
        ({"counter_examples": ["Balance forward"]}, "names no field"),
        ({"counter_examples": [""]}, "is empty"),
        ({"rules": [" "]}, "the rule is empty"),
        ({"normalize": ["date=ydm"]}, "`ydm` is none of dmy mdy ymd"),
        ({"normalize": ["month=first"]}, "`month` is no habit; there are date, decimal"),
        ({"normalize": ["region=Germany"]}, "`Germany` is no code like DE"),
    ],
)
def test_a_flag_that_is_wrong_says_what(flags, message):
    with pytest.raises(InputError) as caught:
        recipe(**flags)
    assert message in caught.value.message
    assert caught.value.hint


def test_habits_are_added_to():
    bill = recipe(normalize=["date=mdy"]).with_(normalize=["decimal=."])
    assert bill.habits == Habits(date="mdy", decimal=".")


def test_the_fingerprint_is_of_what_decides_the_result():
    bill = recipe(rules=["a"])
    same = recipe(rules=["a"])
    others = [
        recipe(rules=["b"]), recipe("vendor"), recipe(rules=["a"], worked=["a"]),
        recipe(rules=["a"], normalize=["date=dmy"]), recipe(rules=["a"], compute=["a = 1 + total"]),
        recipe(rules=["a"], checks=["total > 1"]), recipe(),
        recipe(rules=["a"], examples=[Example("Acme", {})]),
    ]  # fmt: skip
    assert bill.fingerprint == replace(same, name="other").fingerprint
    assert len({bill.fingerprint, *(each.fingerprint for each in others)}) == 1 + len(others)
