"""The shipped recipes on real documents: what is printed in them passes the checks and means what
the gold answers say, and a figure from the wrong line or column does not pass."""

import json
import re

import pytest

from gemma_edge.documents.open import open_document
from gemma_edge.extraction.recipe_file import load_recipe
from tests.shared import DOCUMENTS

if not DOCUMENTS.is_dir():
    pytest.skip("the five real documents are not here", allow_module_level=True)

_AMOUNT = re.compile(r"\(?\d[\d,.]*\)?|—")
_INCOME = {
    "revenue": "TOTAL REVENUES", "cost_of_revenue": "TOTAL COSTS OF REVENUES",
    "interest_expense": "Interest expense", "pretax_income": "EARNINGS BEFORE INCOME TAXES",
    "income_tax": "Provision for income taxes", "net_income": "NET EARNINGS",
    "eps_basic": "BASIC EARNINGS PER SHARE", "eps_diluted": "DILUTED EARNINGS PER SHARE",
}  # fmt: skip
_BALANCE = {
    "cash": "Cash and cash equivalents", "current_assets": "Total current assets ",
    "total_assets": "Total assets", "current_liabilities": "Total current liabilities ",
    "long_term_debt": "Long-term debt", "total_liabilities": "Total liabilities ",
    "total_equity": "Total stockholders",
}  # fmt: skip
_CASH = {
    "operating": "Net cash flows provided by operating", "capital_expenditure": "Capital expend",
    "investing": "Net cash flows used in investing", "dividends_paid": "Dividends paid",
    "financing": "Net cash flows provided by financing",
    "currency_effect": "Effect of exchange rate changes", "net_change": "Net change in cash",
}  # fmt: skip


def gold(name):
    (path,) = (DOCUMENTS / name).glob("*.gold.json")
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def report():
    (path,) = (DOCUMENTS / "10q").glob("*.pdf")
    return open_document(path)


def rows(page, labels, column, **more):
    """Amounts as they are printed, of one column of a statement."""
    found = {}
    for name, label in labels.items():
        line = next(each for each in page.text.splitlines() if each.strip().startswith(label))
        if label.endswith(" "):  # "Total liabilities 1" and not "Total liabilities and equity"
            line = next(
                each for each in page.text.splitlines()
                if re.match(rf"\s*{label}\s*[\d$]", each)
            )  # fmt: skip
        found[name] = _AMOUNT.findall(line)[column]
    return found | more


def answer(report):
    income, balance, cash = (report.pages[number - 1] for number in (3, 5, 6))
    ends = ["December 31, 2024", "December 31, 2023"] * 2
    return {
        "quarter_end": "December 31, 2024", "currency": "$", "scale": "millions",
        "income": [rows(income, _INCOME, n, months=3 + n // 2 * 3, period_end=ends[n])
                   for n in range(4)],
        "balance_sheets": [rows(balance, _BALANCE, n, date=date)
                           for n, date in enumerate(("December 31, 2024", "June 30, 2024"))],
        "cash_flows": [rows(cash, _CASH, n, months=6, period_end=ends[n]) for n in range(2)],
    }  # fmt: skip


def test_the_statements_of_a_10_q_hold_and_mean_what_the_gold_says(report):
    found = load_recipe("10-q").finish(answer(report), report.text)
    assert found.failures == ()
    statement, sheet = gold("10q")["income_statement"], gold("10q")["balance_sheet"]
    for ours, theirs in (("revenue", "revenue"), ("net_income", "net_income"),
                         ("cost_of_revenue", "cost_of_revenue"), ("eps_diluted", "diluted_eps"),
                         ("income_tax", "income_tax_expense")):  # fmt: skip
        company = [each for each in statement[theirs] if each["segment_type"] == "company"]
        values = {each["data_period"]: each["value"] for each in company}
        periods = ("FY2025 Q2", "FY2024 Q2", "FY2025 H1", "FY2024 H1")
        assert [row[ours] for row in found.data["income"]] == [values[each] for each in periods]
    for ours, theirs in (("total_assets", "total_assets"), ("total_equity", "shareholders_equity"),
                         ("current_liabilities", "current_liabilities")):  # fmt: skip
        values = [each["value"] for each in sheet[theirs]]
        assert [row[ours] for row in found.data["balance_sheets"]] == values
    assert found.data["quarter_end"] == gold("10q")["meta"]["report_period_end_date"]
    assert found.computed == {"gross_margin_percent": 45.7, "net_margin_percent": 19.1}


@pytest.mark.parametrize(
    ("table", "field", "wrong"),
    [
        ("balance_sheets", "total_equity", "4,547.6"),  # the other column
        ("balance_sheets", "total_liabilities", "64,096.7"),  # the line of both together
        ("cash_flows", "investing", "2,902.3"),  # without its brackets
        ("cash_flows", "net_change", "16,604.2"),  # the end of the period
    ],
)
def test_a_figure_of_another_line_does_not_pass(report, table, field, wrong):
    data = answer(report)
    data[table][0][field] = wrong
    failures = load_recipe("10-q").finish(data, report.text).failures
    assert table in {
        field for each in failures if each.severity == "error" for field in each.fields
    }


def test_the_gold_of_the_paper_and_of_the_contract_are_answers():
    paper = gold("research")
    found = load_recipe("paper").finish(
        {
            "title": paper["title"], "abstract": paper["abstract"], "year": 1989,
            "authors": [{key: each[key] for key in ("name", "affiliation")}
                        for each in paper["authors"]],
            "references": paper["citations"],
        }
    )  # fmt: skip
    assert found.failures == ()
    assert found.computed == {"author_count": 7, "reference_count": 11}
    parties, terms = gold("contract")["parties"], gold("contract")["terms"]
    names = [parties["borrower"], parties["administrative_agent"], *parties["lenders"]]
    contract = load_recipe("contract")
    found = contract.with_(normalize=["currency=USD"]).finish(
        {"title": "CREDIT AGREEMENT", "agreement_date": "August 17, 2007",
         "value": "$3,000,000,000", "parties": [{"name": name} for name in names]}
    )  # fmt: skip
    assert found.failures == ()
    assert found.data["agreement_date"] == terms["agreement_date"]
    assert found.data["value"] == terms["loan_commitment"]
