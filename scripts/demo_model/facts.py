"""What a random business document is about: its fields, their labels, and things beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from demo_model import words
from demo_model.words import chance, listed

FIELDS = (
    "vendor", "customer", "invoice_number", "date", "due_date", "total", "currency", "tax",
    "po_number",
)  # fmt: skip
NUMBERS = frozenset(("total", "tax"))
MISSING = {
    "vendor": 0.06, "customer": 0.3, "invoice_number": 0.1, "date": 0.12, "due_date": 0.45,
    "total": 0.05, "currency": 0.15, "tax": 0.4, "po_number": 0.6,
}  # fmt: skip
LABELS = {
    "vendor": "Vendor|From|Seller|Supplier|Issued by|Sold by|Biller",
    "customer": "Bill to|Customer|Invoice to|Sold to|Billed to|Client|To|Buyer|Customer name",
    "invoice_number": "Invoice No.|Invoice number|Invoice #|Invoice|No.|Invoice ID|Inv. no."
    "|Bill no.|Document no.|Invoice no|Number|Invoice nr.|INVOICE NO",
    "date": "Date|Invoice date|Issued|Date of issue|Issue date|Billing date|Dated|DATE|Issued on",
    "due_date": "Due date|Due|Payment due|Pay by|Please pay by|Due on|Payable by|Due by|DUE DATE",
    "total": "Total|TOTAL|Total due|Amount due|Grand total|Invoice total|Total amount|Balance due"
    "|Amount payable|Total to pay|Please pay|TOTAL DUE",
    "currency": "Currency|Currency|All amounts in|Amounts in",
    "tax": "Tax|VAT|Sales tax|VAT 19%|VAT 20%|Tax 7%|Tax (8.25%)|MwSt|GST|VAT total|Total tax",
    "po_number": "PO number|P.O. no.|PO|PO #|Purchase order|PO No.|Purchase order no.|Your PO",
}  # fmt: skip
BESIDE = listed(
    "Customer no.|Order number|Delivery date|Order date|Phone|IBAN|VAT ID|Account|Terms"
    "|Delivery note|Ship date|Email|Contact|Ship to|Fax|Tax ID|Customer ID"
    "|Project|Date of supply|Order no.|BIC|Sales person|Account manager"
    "|Print date|Reference|Our ref.|Job no.|Route|Deliver to|Web",
    "|",
)

MAKERS: dict[str, Callable[[Random], str]] = {
    "Phone": words.phone, "Fax": words.phone, "IBAN": words.iban,
    "Contact": words.person, "Sales person": words.person, "Account manager": words.person,
    "Ship to": words.company, "Deliver to": words.company,
    "Email": words.email, "Web": words.email,
}  # fmt: skip


@dataclass
class Facts:
    """The fields of one document, as printed, and how it prints money and dates."""

    values: dict[str, str | None]
    date_style: int
    sign: str | None
    """What stands beside amounts; None where amounts are bare."""
    before: bool
    grouped: bool
    whole: bool = False
    """No cents anywhere."""
    amounts: list[float] = field(default_factory=list)

    @property
    def cents(self) -> int:
        """Digits after the point."""
        return 0 if self.whole else 2

    def money(self, value: float) -> str:
        """``value`` printed this document's way, currency included where it stands by amounts."""
        text = f"{value:,.{self.cents}f}" if self.grouped else f"{value:.{self.cents}f}"
        if not self.sign:
            return text
        if len(self.sign) == 1:
            return self.sign + text if self.before else f"{text} {self.sign}"
        return f"{self.sign} {text}" if self.before else f"{text} {self.sign}"


def label(rng: Random, key: str) -> str:
    """One of the ways of naming a field."""
    return rng.choice(LABELS[key].split("|"))


def random_facts(rng: Random, sum_share: float = 0.5) -> Facts:
    """Draw the fields of a document; each may be missing."""
    style = words.date_style(rng)
    values: dict[str, str | None] = {
        "vendor": words.company(rng),
        "customer": words.company(rng) if chance(rng, 0.6) else words.person(rng),
        "invoice_number": words.reference(rng),
        "date": words.date(rng, style),
        "due_date": words.date(rng, style),
        "currency": words.currency(rng),
        "po_number": words.reference(rng),
    }
    for key in ("vendor", "customer"):
        if chance(rng, 0.03):
            values[key] = words.jumble(rng)
    amounts = [words.amount(rng) for _ in range(rng.choice((1, 1, 2, 2, 3, 4)))]
    subtotal = round(sum(amounts), 2)
    tax = round(subtotal * rng.choice((0.07, 0.19, 0.2, 0.0825, 0.1)), 2)
    total = round(subtotal + tax, 2) if chance(rng, sum_share) else words.amount(rng)
    whole = chance(rng, 0.06)
    values["tax"], values["total"] = (f"{v:.{0 if whole else 2}f}" for v in (tax, total))
    for key, probability in MISSING.items():
        if chance(rng, probability):
            values[key] = None
    return Facts(
        values=values,
        date_style=style,
        sign=values["currency"] if chance(rng, 0.75) else None,
        before=chance(rng, 0.6),
        grouped=chance(rng, 0.2),
        whole=whole,
        amounts=amounts,
    )


def beside(rng: Random, facts: Facts) -> tuple[str, str]:
    """A label and a value that no field asks for."""
    key = rng.choice(BESIDE)
    if "date" in key.lower() or "Date" in key:
        return key, words.date(rng, facts.date_style)
    if key == "Terms":
        return key, rng.choice(("Net 30", "14 days net", "30 days", "2% 10 days", "Cash"))
    return key, MAKERS.get(key, words.reference)(rng)


def meta_pairs(rng: Random, facts: Facts, extra: int) -> list[tuple[str, str]]:
    """Number, dates and order number with their labels, mixed with ``extra`` other pairs."""
    pairs = [
        (label(rng, key), value)
        for key in ("invoice_number", "date", "due_date", "po_number")
        if (value := facts.values[key]) is not None
    ]
    if facts.values["currency"] and not facts.sign:
        pairs.append((label(rng, "currency"), facts.values["currency"]))
    pairs += [beside(rng, facts) for _ in range(extra)]
    if chance(rng, 0.7):
        rng.shuffle(pairs)
    return pairs


def total_pairs(rng: Random, facts: Facts) -> list[tuple[str, str]]:
    """The rows under the items: subtotal, tax, balance forward, total."""
    rows: list[tuple[str, str]] = []
    if chance(rng, 0.4):
        rows.append((rng.choice(("Subtotal", "Sub-total", "Net", "Net amount", "SUBTOTAL")),
                     facts.money(round(sum(facts.amounts), 2))))  # fmt: skip
    if facts.values["tax"]:
        rows.append((label(rng, "tax"), facts.money(float(facts.values["tax"]))))
    if chance(rng, 0.15):
        rows.append((rng.choice(("Shipping", "Discount", "Freight", "Tip", "Deposit")),
                     facts.money(words.amount(rng))))  # fmt: skip
    forward = None
    if chance(rng, 0.2):
        name = rng.choice(("Balance forward", "Previous balance", "Paid", "Payment received",
                           "Last bill", "Amount paid", "Credit"))  # fmt: skip
        forward = (name, facts.money(words.amount(rng)))
    if forward and chance(rng, 0.6):
        rows.append(forward)
    if facts.values["total"]:
        rows.append((label(rng, "total"), facts.money(float(facts.values["total"]))))
    if forward and forward not in rows:
        rows.append(forward)
    return rows
