"""Random documents with the values their forms ask for, and the questions about them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random

from demo_model import layouts, words
from demo_model.facts import FIELDS, NUMBERS, random_facts
from demo_model.words import chance

PROMPT = (
    Path(__file__).resolve().parents[2] / "gemma_edge" / "extraction" / "prompts" / "prompt.txt"
).read_text(encoding="utf-8")
QUESTIONS = {
    "vendor": "Who is the vendor?|Who sent this invoice?|Which company sent this?"
    "|Who is the seller?",
    "customer": "Who is the customer?|Who is billed?|Who is the invoice for?",
    "invoice_number": "What is the invoice number?|Which invoice number is it?",
    "date": "What is the invoice date?|What is the date?|When was it issued?",
    "due_date": "When is it due?|What is the due date?|When must it be paid?",
    "total": "What is the total?|How much is due?|How much must be paid?",
    "currency": "Which currency is used?|What is the currency?",
    "tax": "How much tax is there?|What is the tax?",
    "po_number": "What is the PO number?|Which PO number is it?",
}
# What else a form may call a field.
ALIASES = {
    "vendor": "supplier|seller|vendor_name|company|issuer|from",
    "customer": "buyer|client|customer_name|bill_to|recipient",
    "invoice_number": "invoice_no|number|invoice_id|invoiceNumber|document_number",
    "date": "invoice_date|issue_date|issued|invoiceDate|issued_on",
    "due_date": "due|payment_due|dueDate|pay_by|due_on",
    "total": "amount_due|total_amount|grand_total|amount|totalAmount|total_due",
    "currency": "currency_code|currencyCode",
    "tax": "vat|tax_amount|sales_tax|total_tax",
    "po_number": "po|purchase_order|poNumber|po_no",
}
ABSENT = "The document does not say."
LAYOUTS = ((layouts.form, 4), (layouts.page, 5), (layouts.receipt, 1), (layouts.letter, 1))


@dataclass
class Document:
    """A document's text and what each field of it holds, None where it has none."""

    text: str
    values: dict[str, str | None]
    numbers: frozenset[str]

    def form(self, fields: list[str], names: dict[str, str] | None = None) -> str:
        """The form that asks for ``fields``, called by other ``names`` where there are some."""
        kinds = (
            f"{json.dumps((names or {}).get(f, f))}: {'number' if f in self.numbers else 'string'}"
            for f in fields
        )
        return "{" + ", ".join(kinds) + "}"

    def answer(self, fields: list[str], names: dict[str, str] | None = None) -> str:
        """The right JSON for ``form(fields, names)``."""
        pairs = (f"{json.dumps((names or {}).get(f, f))}: {self.json_value(f)}" for f in fields)
        return "{" + ", ".join(pairs) + "}"

    def json_value(self, field: str) -> str:
        """One field's value as JSON."""
        value = self.values[field]
        if value is None:
            return "null"
        return value if field in self.numbers else json.dumps(value, ensure_ascii=False)


def form_prompt(document: str, form: str) -> str:
    """The user turn that asks for a form, exactly as the product writes it."""
    before, after = PROMPT.split("{document}")
    return (before + document + after.replace("{form}", form)).strip()


def question_prompt(document: str, question: str) -> str:
    """The user turn that asks a plain question about a document."""
    return f"{document}\n\n---\n{question}".strip()


def business(rng: Random, size: int) -> Document:
    """An invoice, bill, receipt or letter; ``size`` 0 (short) to 4 (several pages)."""
    facts = random_facts(rng)
    layout = rng.choices([f for f, _ in LAYOUTS], [w for _, w in LAYOUTS])[0]
    lines = layout(rng, facts, size)
    while lines and not lines[0].strip():
        lines.pop(0)
    if facts.values["currency"] and facts.sign and not any(facts.sign in x for x in lines):
        facts.values["currency"] = None
    text = "\n".join(line.rstrip() for line in with_pages(rng, lines, size)).strip()
    return Document(text, {key: facts.values[key] for key in FIELDS}, NUMBERS)


def with_pages(rng: Random, lines: list[str], size: int) -> list[str]:
    """Mark pages, as the product does in a document of several."""
    if size < 2 or not chance(rng, 0.35):
        return lines
    pages = rng.choice((2, 2, 3))
    cuts = sorted(rng.randint(1, max(1, len(lines) - 1)) for _ in range(pages - 1))
    out: list[str] = []
    for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(lines)], strict=True), 1):
        out += [*([""] if number > 1 else []), f"[page {number}]", *lines[start:end]]
    return out


def record(rng: Random, size: int) -> Document:
    """A list of made-up labels and values, so that any label can be asked for."""
    values: dict[str, str | None] = {}
    numbers: set[str] = set()
    lines: list[str] = []
    style = rng.randrange(6)
    dates = words.date_style(rng)
    for _ in range(rng.randint(2, 5 + 3 * size)):
        parts = [words.word(rng) for _ in range(rng.choice((1, 1, 2)))]
        key = "_".join(parts)
        if not key.isascii() or key in values:
            continue
        makers = (words.company, words.person, words.reference, words.jumble, words.street,
                  lambda r: words.date(r, dates), lambda r: f"{words.amount(r):.2f}",
                  lambda r: str(r.randint(0, 5000)))  # fmt: skip
        kind = rng.randrange(len(makers))
        value = makers[kind](rng)
        if kind >= 6:
            numbers.add(key)
        values[key] = value
        shown = " ".join(parts)
        lines.append(
            layouts.pair_line(rng, (rng.choice((shown.capitalize(), shown)), value), style)
        )
    for _ in range(rng.choice((0, 1, 1))):
        key = words.syllables(rng)
        if key.isascii() and key not in values:
            values[key] = None
    if not lines:
        return record(rng, size)
    return Document("\n".join(lines), values, frozenset(numbers))


def random_document(rng: Random, size: int) -> Document:
    """A document of either kind."""
    return record(rng, size) if chance(rng, 0.2) else business(rng, size)


def pick_fields(rng: Random, document: Document) -> list[str]:
    """A subset of the fields in any order, those that are printed a little more often."""
    fields = list(document.values)
    rng.shuffle(fields)
    fields = fields[: rng.choice((1, 2, 3, 4, 5, 6, 7))]
    kept = [f for f in fields if document.values[f] is not None or chance(rng, 0.6)]
    return kept or fields[:1]


def other_names(rng: Random, fields: list[str]) -> dict[str, str]:
    """Other names for some of the fields."""
    return {
        f: rng.choice(ALIASES[f].split("|")) for f in fields if f in ALIASES and chance(rng, 0.2)
    }


def question(rng: Random, document: Document) -> tuple[str, str]:
    """A plain question and its answer."""
    field = rng.choice(list(document.values))
    asked = QUESTIONS.get(field, f"What is the {field.replace('_', ' ')}?").split("|")
    value = document.values[field]
    return rng.choice(asked), ABSENT if value is None else value
