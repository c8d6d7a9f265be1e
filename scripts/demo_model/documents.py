"""Random documents with the values their forms ask for, and the questions about them."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from demo_model import layouts, words
from demo_model.facts import FIELDS, NUMBERS, random_facts
from demo_model.words import chance

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


class Digits(str):
    """A number as JSON writes it, with the zeros that are printed."""

    __slots__ = ()


@dataclass
class Document:
    """A document's text and what each field of it holds, None where it has none."""

    text: str
    values: dict[str, str | None]
    numbers: frozenset[str]

    def schema(self, fields: list[str], names: dict[str, str] | None = None) -> dict[str, Any]:
        """The JSON Schema that asks for ``fields``, called by other ``names`` where there are
        some."""
        properties = {
            (names or {}).get(field, field): {
                "type": "number" if field in self.numbers else "string"
            }
            for field in fields
        }
        return {"type": "object", "properties": properties, "required": list(properties)}

    def gold(self, fields: list[str], names: dict[str, str] | None = None) -> dict[str, Any]:
        """The right answer to ``schema(fields, names)``, numbers as they are printed."""
        return {
            (names or {}).get(field, field): Digits(value)
            if value is not None and field in self.numbers
            else value
            for field in fields
            for value in [self.values[field]]
        }


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
