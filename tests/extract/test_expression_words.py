"""Checks that fail, with the numbers filled in: golden lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_edge.errors import InputError
from gemma_edge.extraction.expressions import MAX_EXPRESSION_CHARS, explain, parse_expression

BILL = {
    "subtotal": 100, "tax": 7, "total": 170, "discount": 5.5, "rebate": None, "sum": 107,
    "date": "2024-03-05", "due": "2024-03-01", "currency": "EUR", "paid": False,
    "items": [{"qty": 3, "price": 4.75, "amount": 14.25}, {"qty": 2, "price": 1.1, "amount": 2.4}],
    "opening": 100, "newest": False,
    "rows": [{"in": 20, "plus": 20, "out": None, "balance": 120},
             {"in": None, "plus": None, "out": -30.5, "balance": 98.5}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("subtotal + tax ~= total", "subtotal 100 + tax 7 = 107, total is 170"),
        ("total ~= subtotal + tax", "subtotal 100 + tax 7 = 107, total is 170"),
        ("subtotal + (rebate or 0) ~= total", "subtotal 100 + no rebate 0 = 100, total is 170"),
        ("subtotal - abs(discount or 0) ~= total",
         "subtotal 100.00 - discount 5.50 = 94.50, total is 170.00"),
        ("sum(items.amount) ~= subtotal",
         "sum(items.amount) 14.25 + 2.40 = 16.65, subtotal is 100.00"),
        ("sum(items.amount) + tax == total",
         "sum(items.amount) 16.65 + tax 7.00 = 23.65, total is 170.00"),
        ("all(i.qty * i.price ~= i.amount for i in items)",
         "items[1]: qty 2 × price 1.1 = 2.20, amount is 2.40"),
        ("items.qty * items.price ~= items.amount",
         "item 2: items.qty 2 × items.price 1.1 = 2.20, items.amount is 2.40"),
        ("date <= due", "date 2024-03-05 is not <= due 2024-03-01"),
        ("date <= due <= due", "date 2024-03-05 is not <= due 2024-03-01"),
        ("(due - date).days >= 0", "(due 2024-03-01 - date 2024-03-05).days = -4 is not >= 0"),
        ("sum == total", "sum 107, total is 170"),
        ("total == 100", "total is 170, not 100"),
        ("100 == total", "total is 170, not 100"),
        ("tax == null", "tax is 7, not null"),
        ("rebate != null", "rebate is null"),
        ("total != 170", "total is 170"),
        ("currency in ['USD', 'CHF']", "currency \"EUR\" is not in ['USD', 'CHF']"),
        ("paid", "paid is false"),
        ("not currency == 'EUR'", "not currency == 'EUR' is false"),
        ("any(items.qty > 5)", "not true of any: items.qty > 5"),
        ("tax > 0 and date <= due", "date 2024-03-05 is not <= due 2024-03-01"),
        ("tax > 8 or date <= due",
         "tax 7 is not > 8, and date 2024-03-05 is not <= due 2024-03-01"),
        ("total - (sum - tax) == 0", "total 170 - (sum 107 - tax 7) = 70, not 0"),
        ("round(items[0].price * 3, 1) == 14", "round(items[0].price 4.75 × 3, 1) = 14.30, not 14"),
        ("len(items) == 3", "len(items) is 2, not 3"),
        ("previous(rows.balance, opening) + default(rows.plus, 0) - abs(default(rows.out, 0)) "
         "~= rows.balance",
         "item 2: previous(rows.balance, opening) 120.00 + no rows.plus 0.00 - rows.out 30.50 "
         "= 89.50, rows.balance is 98.50"),
        ("(subtotal if newest else sum) + tax ~= total", "sum 107 + tax 7 = 114, total is 170"),
    ],
)  # fmt: skip
def test_an_equation_with_the_numbers(text, said):
    expression = parse_expression(text)
    assert expression.evaluate(BILL).truth == "fails"
    assert explain(expression, BILL) == said


def test_many_rows_that_fail_are_counted_and_a_long_line_is_cut():
    rows = {"rows": [{"a": number, "b": "x" * 200} for number in range(9)]}
    said = explain(parse_expression("all(r.a < 0 for r in rows)"), rows)
    assert said == ("rows[0]: a 0 is not < 0; rows[1]: a 1 is not < 0; rows[2]: a 2 is not < 0; "
                    "and 6 more")  # fmt: skip
    long = explain(parse_expression("all(r.b == r.b + 0 or r.b == 'y' for r in rows)"), rows)
    assert len(long) <= MAX_EXPRESSION_CHARS + 1


WORDS = st.sampled_from(
    ["total", "items", "tax", "rebate", "1", "'a'", "null", "+", "-", "*", "/", "~=", "==", "<",
     "(", ")", "[", "]", ",", "or", "and", "not", "if", "else", "sum", "all", "any", "abs", "mrz",
     "default", "previous", "items.qty", "all(i.qty > 2 for i in items)", "sum(items.price)",
     "(rebate or 0)", "date - due", "true"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=9).map(" ".join))
def test_whatever_fails_is_explained_in_one_line(text):
    try:
        expression = parse_expression(text)
    except InputError:
        return
    if expression.evaluate(BILL).truth == "fails":
        said = explain(expression, BILL)
        assert said and "\n" not in said


def test_a_part_that_cannot_be_computed_does_no_harm():
    check = parse_expression("total < 0 or total / 0 > 1 if paid else total < 0 and 1 / 0 > 0")
    assert explain(check, BILL)
