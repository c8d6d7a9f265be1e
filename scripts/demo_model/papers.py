"""Made-up invoices, receipts, bank statements and letters, with the right answer of their recipe.

Four languages, many layouts; some of these are only drawn for held-out documents. An answer holds
values as they are printed, None where the document has none, in the shape of the recipe's schema.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import Any

from demo_model import words
from demo_model.layouts import aligned, beside_each_other, label_row
from demo_model.locales import COMMON, Locale, random_day, random_locale
from demo_model.words import chance

Gold = dict[str, Any]
Lines = list[str]
Pairs = list[tuple[str, str]]


@dataclass
class Paper:
    """A document: the recipe it is read with, its text, and the right answer."""

    kind: str
    text: str
    gold: Gold
    language: str


def title(rng: Random, loc: Locale, key: str) -> str:
    """A title in the usual ways of writing one."""
    text = loc.any(rng, key) or loc.label(rng, key)
    return text.upper() if chance(rng, 0.25) else text


def street_and_city(rng: Random) -> Lines:
    """Two lines of an address."""
    return [words.street(rng), words.city(rng)]


def contact_lines(rng: Random, loc: Locale) -> Lines:
    """Telephone, web and the like."""
    makers = (
        lambda: f"Tel. {words.phone(rng)}", lambda: words.email(rng),
        lambda: f"www.{words.word(rng)}.{rng.choice(('com', 'de', 'fr', 'es', 'net'))}",
        lambda: f"{loc.any(rng, 'contact')}: {words.phone(rng)}",
    )  # fmt: skip
    return [rng.choice(makers)() for _ in range(rng.choice((0, 0, 1, 1, 2)))]


def beside_pairs(rng: Random, loc: Locale, count: int) -> Pairs:
    """Labels and values that no field asks for."""
    out = []
    for _ in range(count):
        key = loc.any(rng, "beside")
        dated = any(part in key.lower() for part in ("date", "dat", "fecha"))
        out.append((key, loc.date(rng) if dated else words.reference(rng)))
    return out


BETWEEN = (
    " : ",
    " | ",
    " / ",
    " # ",
    " * ",
    " ~ ",
    " \u00b7 ",
    " >> ",
    " :: ",
    " \u2192 ",
    " - ",
    "\u2026 ",
)
"""What stands between labels and values where training saw it; held-out documents have others."""


def pair_lines(rng: Random, loc: Locale, pairs: Pairs) -> Lines:
    """Labels and values in one of the usual arrangements."""
    kind = rng.random()
    if kind < 0.25 if loc.held_out else 0.78 < kind < 0.84:
        between = rng.choice((" = ", " \u2013 ", " > ") if loc.held_out else BETWEEN)
        return [f"{key}{between}{value}" for key, value in pairs]
    if kind > 0.9:
        return leaders(rng, pairs, "-" if kind > 0.97 else rng.choice("..*·~"))
    if kind < 0.15 and pairs:
        rows = [pairs[i : i + 3] for i in range(0, len(pairs), 3)]
        return [line for row in rows for line in label_row(rng, row)]
    if kind < 0.45:
        return aligned(rng, [(key + loc.colon.strip(), value) for key, value in pairs])
    if kind < 0.84:
        colon = loc.colon if loc.colon.strip() or chance(rng, 0.5) else ":"
        return [f"{key}{colon} {value}" for key, value in pairs]
    return [line for key, value in pairs for line in (key, value)]


def leaders(rng: Random, pairs: Pairs, mark: str = ".") -> Lines:
    """Labels and values with dots between them, as many as make the lines equally long, or as many
    on each."""
    wide = max((len(key) + len(value) for key, value in pairs), default=0) + rng.randint(3, 30)
    few = 1 if mark == "-" else rng.randint(3, 6) if chance(rng, 0.4) else 0
    return [f"{key} {mark * (few or wide - len(key) - len(value))} {value}" for key, value in pairs]


def total_lines(rng: Random, loc: Locale, pairs: Pairs) -> Lines:
    """The rows under a table: flush right, or label and amount."""
    kind = rng.random()
    if loc.held_out and kind < 0.2:
        return leaders(rng, pairs, "_")
    if kind > 0.88:
        return leaders(rng, pairs, rng.choice("...*·~"))
    colon = loc.colon.strip()
    if kind < 0.75:
        indent = " " * rng.choice((0, 0, 0, 10, 20, 34))
        return [indent + x for x in aligned(rng, [(k + colon, v) for k, v in pairs], right=True)]
    return [f"{key}{colon or ':'} {value}" for key, value in pairs]


def table(rng: Random, heads: list[str], rows: list[list[str]], shown: bool) -> Lines:
    """A table; texts to the left and numbers to the right."""
    lines = ([heads] if shown else []) + rows
    gap = rng.randint(2, 6)
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    texts = [not any(row[i][:1].isdigit() or row[i][:1] in "-$€£" for row in rows if row[i])
             for i in range(len(heads))]  # fmt: skip
    out = []
    for line in lines:
        cells = [v.ljust(w) if t else v.rjust(w)
                 for v, w, t in zip(line, widths, texts, strict=True)]  # fmt: skip
        out.append((" " * gap).join(cells).rstrip())
    return out


def goods(rng: Random) -> str:
    """What is sold."""
    count = rng.choice((1, 2, 2, 2, 3, 3, 4))
    parts = [words.word(rng) for _ in range(count)]
    text = " ".join(parts)
    if chance(rng, 0.2):
        text += rng.choice(
            (
                f", {words.word(rng)}",
                f" {rng.randint(1, 99)}",
                f" {words.name(rng)}",
                f" ({words.word(rng)})",
                f" {rng.choice('SMLX')}{rng.randint(1, 9)}",
            )
        )
    return text[0].upper() + text[1:]


def prose(rng: Random, loc: Locale, count: int) -> Lines:
    """Sentences that say nothing, some of them with a number or a date."""
    out = []
    for _ in range(count):
        text = words.prose(rng, rng.randint(4, 12), COMMON[loc.language])
        if chance(rng, 0.15):
            text = f"{text[:-1]} {rng.choice((loc.date(rng), str(rng.randint(1, 90))))}."
        out.append(text)
    return out


def blocks(rng: Random, *parts: Lines) -> str:
    """Blocks of lines with or without blank ones between."""
    spaced = chance(rng, 0.7)
    lines: Lines = []
    for part in parts:
        if part:
            lines += ([""] if lines and spaced else []) + part
    return "\n".join(line.rstrip() for line in lines).strip("\n")


# ----------------------------------------------------------------------------
# Invoices.

DOCUMENT_TYPES = ("invoice", "credit note", "proforma", "reminder")


def tax_id(rng: Random, loc: Locale) -> str:
    """A number of a tax office."""
    country = {"en": "GB", "de": "DE", "fr": "FR", "es": "ES"}[loc.language]
    return rng.choice((f"{country}{words.digits(rng, 9)}", f"{country} {words.digits(rng, 9)}",
                       f"{words.digits(rng, 2)}/{words.digits(rng, 3)}/{words.digits(rng, 5)}",
                       f"{rng.choice('ABXZ')}{words.digits(rng, 8)}"))  # fmt: skip


def percent(rng: Random, loc: Locale, rate: float) -> str:
    """A rate as printed."""
    text = f"{rate:g}".replace(".", loc.decimal)
    return text + (" %" if loc.language != "en" and chance(rng, 0.5) else "%")


def invoice_items(rng: Random, loc: Locale, size: int) -> tuple[Lines, list[Gold], float]:
    """The table of an invoice, its entries, and their sum."""
    has = {"description": True, "quantity": chance(rng, 0.8), "unit": chance(rng, 0.2),
           "unit_price": chance(rng, 0.75), "discount": chance(rng, 0.06),
           "tax_rate": chance(rng, 0.12), "amount": True}  # fmt: skip
    has["discount"] = has["discount"] and has["unit_price"] and has["quantity"]
    numbered = chance(rng, 0.12)
    signed = loc.beside and chance(rng, 0.15)
    show = loc.money if signed else loc.number
    rate = percent(rng, loc, rng.choice((5, 7, 10, 19, 20, 21)))
    entries, rows, total = [], [], 0.0
    count = rng.choice(((1, 1, 2, 2), (2, 2, 3, 4), (4, 5, 6, 8))[size])
    columns = [key for key in has if has[key]]
    if chance(rng, 0.3 if loc.held_out else 0.2) and has["quantity"]:
        columns = ["quantity", *[key for key in columns if key != "quantity"]]
    elif not loc.held_out and chance(rng, 0.15):
        first = columns[: len(columns) - 1]
        columns = [*rng.sample(first, len(first)), "amount"]
    for number in range(count):
        quantity = rng.choice((1, 1, 2, 3, 4, 5, 10, 12, rng.randint(1, 99)))
        price = round(min(words.amount(rng), 4000.0), 2)
        cut = round(0.1 * quantity * price, 2) if has["discount"] and chance(rng, 0.5) else 0.0
        amount = round(quantity * price - cut, 2)
        total = round(total + amount, 2)
        values = {
            "description": goods(rng), "quantity": str(quantity), "unit": loc.any(rng, "units"),
            "unit_price": show(price), "discount": loc.number(cut) if cut else "",
            "tax_rate": rate, "amount": show(amount),
        }  # fmt: skip
        rows.append([*([str(number + 1)] if numbered else []), *(values[key] for key in columns)])
        plain = {"unit_price": loc.number(price), "amount": loc.number(amount)}
        entries.append({key: (plain.get(key, values[key]) if has[key] else None) or None
                        for key in has})  # fmt: skip
    names = {"discount": "discount_column"}
    heads = ["#"] * numbered + [loc.label(rng, names.get(key, key)) for key in columns]
    lines = table(rng, heads, rows, chance(rng, 0.92))
    if chance(rng, 0.08) and count < 5:
        lines, entries = _continued(rng, lines, entries, numbered)
    return lines, entries, total


def _continued(
    rng: Random, lines: Lines, entries: list[Gold], numbered: bool
) -> tuple[Lines, list[Gold]]:
    """One description goes on in the next line."""
    at = rng.randrange(len(entries))
    more = " ".join(words.word(rng) for _ in range(rng.choice((1, 2))))
    said = entries[at]["description"]
    row = next((i for i, line in enumerate(lines) if said in line), None)
    if row is None:
        return lines, entries
    lines.insert(row + 1, " " * lines[row].index(said) + more)
    entries[at] = {**entries[at], "description": f"{said} {more}"}
    return lines, entries


def invoice_totals(rng: Random, loc: Locale, total: float) -> tuple[Pairs, Gold]:
    """The rows below the items, and the fields that they fill."""
    gold: Gold = dict.fromkeys(("subtotal", "discount", "shipping"))
    gold["taxes"] = []
    gold |= dict.fromkeys(("tax", "total", "prepaid", "amount_due"))
    pairs: Pairs = []
    if chance(rng, 0.7):
        gold["subtotal"] = loc.number(total)
        pairs.append((loc.label(rng, "subtotal"), loc.money(total)))
    for key, probability in (("discount", 0.15), ("shipping", 0.22)):
        if chance(rng, probability):
            value = round(0.05 * total, 2) if key == "discount" else round(rng.uniform(3, 30), 2)
            minus = key == "discount" and chance(rng, 0.6)
            total = round(total + (-value if key == "discount" else value), 2)
            gold[key] = loc.number(-value if minus else value)
            pairs.append((loc.label(rng, key), loc.money(-value if minus else value)))
    total = _add_taxes(rng, loc, total, pairs, gold)
    gold["total"] = loc.number(total)
    pairs.append((loc.label(rng, "total"), loc.money(total)))
    if chance(rng, 0.22):
        paid = round(rng.choice((0.2, 0.5, 0.3)) * total, 2)
        gold["prepaid"] = loc.number(paid)
        gold["amount_due"] = loc.number(round(total - paid, 2))
        pairs.append((loc.label(rng, "prepaid"), loc.money(paid)))
        pairs.append((loc.label(rng, "amount_due"), loc.money(round(total - paid, 2))))
    elif chance(rng, 0.2):
        pairs.append((loc.label(rng, "before"), loc.money(words.amount(rng))))
    return pairs, gold


def _add_taxes(rng: Random, loc: Locale, net: float, pairs: Pairs, gold: Gold) -> float:
    """Rows of taxes; what is to be paid with them."""
    count = rng.choices((0, 1, 2), (20, 68, 12))[0]
    rates = rng.sample((5, 5.5, 7, 8.25, 10, 19, 20, 21), count)
    name, shown = loc.label(rng, "tax"), chance(rng, 0.85) or count > 1
    style = rng.randrange(4)
    taxes = []
    for rate in rates:
        value = round(net / count * rate / 100, 2)
        said = percent(rng, loc, rate)
        label = (f"{name} {said}", f"{name} ({said})", f"{said} {name}", f"{name} {said}")[style]
        pairs.append((label if shown else name, loc.money(value)))
        taxes.append((said, value))
    if shown:
        gold["taxes"] = [{"rate": said, "net": None, "tax": loc.number(v)} for said, v in taxes]
    whole = round(sum(value for _, value in taxes), 2)
    if count == 1:
        gold["tax"] = loc.number(whole)
    return round(net + whole, 2)


def invoice(rng: Random, size: int, *, held_out: bool = False) -> Paper:
    """An invoice, a credit note, a proforma invoice or a reminder."""
    loc = random_locale(rng, held_out=held_out)
    kind = rng.choices(DOCUMENT_TYPES, (76, 10, 6, 8))[0]
    vendor = words.company(rng)
    customer = words.company(rng) if chance(rng, 0.6) else words.person(rng)
    gold: Gold = {"document_type": kind, "vendor": vendor, "vendor_tax_id": None,
                  "vendor_iban": None, "customer": customer, "invoice_number": None,
                  "purchase_order": None, "date": None, "delivery_date": None, "due_date": None,
                  "payment_terms": None, "currency": loc.sign}  # fmt: skip
    meta: Pairs = []
    day = random_day(rng)
    makers: dict[str, tuple[float, Callable[[], str]]] = {
        "invoice_number": (0.95, lambda: words.reference(rng)),
        "date": (0.95, lambda: loc.day(day)),
        "due_date": (0.5, lambda: loc.day(later(rng, day))),
        "purchase_order": (0.28, lambda: words.reference(rng)),
        "delivery_date": (0.28, lambda: loc.day(later(rng, day))),
        "payment_terms": (0.25, lambda: loc.any(rng, "terms")),
    }
    for key, (share, make) in makers.items():
        if chance(rng, share):
            gold[key] = make()
            meta.append((loc.label(rng, key), gold[key]))
    items, entries, total = invoice_items(rng, loc, size)
    pairs, sums = invoice_totals(rng, loc, total)
    if not loc.beside:
        if chance(rng, 0.85):
            meta.append((loc.label(rng, "currency"), loc.sign))
        else:
            gold["currency"] = None
    meta += beside_pairs(rng, loc, rng.choice((0, 0, 1, 1, 2)))
    if chance(rng, 0.6):
        rng.shuffle(meta)
    own: Lines = []
    foot: Lines = []
    for key, name, share, value in (
        ("vendor_tax_id", "tax_id", 0.35, tax_id(rng, loc)),
        ("vendor_iban", "iban", 0.3, right_iban(rng, loc)),
    ):  # fmt: skip
        if chance(rng, share):
            gold[key] = value
            place = own if chance(rng, 0.25) else foot
            place.append(f"{loc.label(rng, name)}{rng.choice((':', ''))} {value}")
    text = _invoice_page(rng, loc, (vendor, customer, kind), (own, meta), gold)
    ends = prose(rng, loc, rng.choice((0, 0, 1, 2)))
    ends += [loc.any(rng, "thanks")] if chance(rng, 0.4) else []
    body = blocks(rng, text, items, total_lines(rng, loc, pairs), [*ends, *foot])
    return Paper("invoice", body, {**gold, "items": entries, **sums}, loc.language)


def later(rng: Random, day: date, most: int = 60) -> date:
    """A day up to ``most`` days after another."""
    return day + timedelta(rng.randint(1, most))


def right_iban(rng: Random, loc: Locale) -> str:
    """An account number whose check digits are right."""
    country, length = {"en": ("NL", 18), "de": ("DE", 22), "fr": ("FR", 27), "es": ("ES", 24)}[
        loc.language
    ]
    bank = "INGB" if country == "NL" else ""
    body = bank + words.digits(rng, length - 4 - len(bank))
    number = int("".join(str(int(char, 36)) for char in body + country + "00"))
    plain = f"{country}{98 - number % 97:02d}{body}"
    if chance(rng, 0.3):
        return plain
    return " ".join(plain[i : i + 4] for i in range(0, length, 4))


USUAL_LAYOUTS = 0.75
"""What is above has parts in any order; where held out, half of them in one that training never
shows. There the customer is always named as such: nobody could tell else."""


def _invoice_page(
    rng: Random, loc: Locale, names: tuple[str, str, str], beside: tuple[Lines, Pairs], gold: Gold
) -> Lines:
    """Letterhead, title, customer and what stands beside them."""
    vendor, customer, kind = names
    own, meta = beside
    labelled, way = chance(rng, 0.12), rng.random()
    head = [f"{loc.label(rng, 'vendor')}: {vendor}" if labelled else vendor]
    head += street_and_city(rng) if chance(rng, 0.85) else []
    head += contact_lines(rng, loc) + own
    named, meta = _invoice_title(rng, loc, kind, meta, gold)
    party = _invoice_party(rng, loc, customer, named_so=way > USUAL_LAYOUTS)
    if not party:
        gold["customer"] = None
    lines = pair_lines(rng, loc, meta)
    usual: tuple[tuple[float, Callable[[], Lines]], ...] = (
        (0.2, lambda: [*head, "", *named, *beside_each_other(rng, party, lines)]),
        (0.36, lambda: [*beside_each_other(rng, head, named + lines), "", *party]),
        (0.47, lambda: [*named, *beside_each_other(rng, head, party), "", *lines]),
        (0.6, lambda: [*head, "", *party, "", *named, *lines]),
        (0.67, lambda: [*named, *head, "", *lines, *party]),
        (USUAL_LAYOUTS, lambda: [*named, *beside_each_other(rng, lines, head), "", *party]),
        (0.81, lambda: [*beside_each_other(rng, party, head), "", *named, *lines]),
    )
    for most, arrange in usual:
        if way < most:
            return arrange()
    unseen = [party, named, lines, head]
    parts = unseen if loc.held_out and chance(rng, 0.6) else rng.sample(unseen, 4)
    if parts == unseen and not loc.held_out:
        parts.reverse()
    return [line for part in parts for line in [*part, *([""] if chance(rng, 0.4) else [])]]


def _invoice_title(
    rng: Random, loc: Locale, kind: str, meta: Pairs, gold: Gold
) -> tuple[Lines, Pairs]:
    """The title, at times with the number or a date without a label, and the pairs left."""
    named = [title(rng, loc, kind)]
    if gold["invoice_number"] and chance(rng, 0.1):
        named = [f"{named[0]} {rng.choice(('', '', 'Nr. ', '# ', 'no. '))}{gold['invoice_number']}"]
        meta = [pair for pair in meta if pair[1] != gold["invoice_number"]]
    elif kind == "invoice" and chance(rng, 0.06) and len(meta) > 1:
        named = []
    if gold["date"] and chance(rng, 0.05):
        meta = [pair for pair in meta if pair != (loc.used.get("date"), gold["date"])]
        named.append(rng.choice(("", f"{words.city(rng).split()[-1]}, ")) + gold["date"])
    return named, meta


def _invoice_party(rng: Random, loc: Locale, customer: str, *, named_so: bool) -> Lines:
    """The customer with an address, mostly named as such, always where ``named_so``; or nobody."""
    if not chance(rng, 0.88):
        return []
    party = [customer, *(street_and_city(rng) if chance(rng, 0.8) else [])]
    if named_so or chance(rng, 0.7):
        said = loc.label(rng, "customer")
        inline = chance(rng, 0.35)
        party = [f"{said}: {customer}", *party[1:]] if inline else [
            said + rng.choice((":", "")), *party]  # fmt: skip
    return party


# ----------------------------------------------------------------------------
# Receipts.


def receipt(rng: Random, size: int, *, held_out: bool = False) -> Paper:
    """What a till prints."""
    loc = random_locale(rng, held_out=held_out)
    if loc.beside and chance(rng, 0.5):
        loc.beside = ""
    only_total = chance(rng, 0.5)
    merchant = words.company(rng)
    gold: Gold = {"merchant": merchant, **dict.fromkeys(
        ("address", "tax_id", "date", "time", "receipt_number", "currency"))}  # fmt: skip
    place = street_and_city(rng) if chance(rng, 0.85) else []
    gold["address"] = " ".join(place) or None
    head = [merchant, *place, *contact_lines(rng, loc)]
    if chance(rng, 0.35):
        gold["tax_id"] = tax_id(rng, loc)
        head.append(f"{loc.label(rng, 'tax_id')}{rng.choice((':', ''))} {gold['tax_id']}")
    head += [title(rng, loc, "receipt")] if chance(rng, 0.4) else []
    meta = _receipt_meta(rng, loc, gold)
    items, entries, total = _receipt_items(rng, loc, size)
    gold["items"] = entries
    pairs = _receipt_totals(rng, loc, total, gold)
    sign = loc.sign if loc.beside else ""
    if not sign and (only_total or chance(rng, 0.7)):
        pairs = [(f"{key} {loc.sign}" if value == gold["total"] and key == loc.used["total"]
                  else key, value) for key, value in pairs]  # fmt: skip
        sign = loc.sign
    gold["currency"] = sign or None
    taxes = _tax_table(rng, loc, gold)
    ends = [loc.any(rng, "thanks")] if chance(rng, 0.6) else []
    if chance(rng, 0.15):
        ends.append(f"{loc.any(rng, 'returns')} {loc.date(rng)}")
    if chance(rng, 0.12):
        ends.append(f"{loc.any(rng, 'saved')} {loc.number(round(rng.uniform(0.2, 9), 2))}")
    rest = pair_lines(rng, loc, meta)
    first, last = (rest, []) if chance(rng, 0.7) else ([], rest)
    rule = rng.choice(("", "", "-" * 24, "=" * 28, "*" * 20))
    text = blocks(
        rng, head, first, [rule] if rule else [], items, [rule] if rule else [],
        total_lines(rng, loc, pairs), taxes, last, ends,
    )  # fmt: skip
    order = ("merchant", "address", "tax_id", "date", "time", "receipt_number", "currency", "items",
             "discount", "subtotal", "taxes", "tax", "tip", "total", "payment_method",
             "card_last_digits", "paid", "change")  # fmt: skip
    return Paper("receipt", text, {key: gold[key] for key in order}, loc.language)


def _receipt_meta(rng: Random, loc: Locale, gold: Gold) -> Pairs:
    meta: Pairs = []
    if chance(rng, 0.95):
        gold["date"] = loc.date(rng)
        shown = gold["date"]
        if chance(rng, 0.7):
            gold["time"] = f"{rng.randint(7, 22):02d}:{rng.randint(0, 59):02d}"
            if chance(rng, 0.6):
                shown = f"{shown} {gold['time']}"
            else:
                meta.append((loc.label(rng, "time") or "-", gold["time"]))
        meta.insert(0, (loc.label(rng, "date").split(" ")[0], shown))
    if chance(rng, 0.65):
        gold["receipt_number"] = words.reference(rng)
        meta.append((loc.label(rng, "receipt_number"), gold["receipt_number"]))
    for _ in range(rng.choice((0, 1, 1, 2))):
        meta.append((loc.any(rng, "till"), words.digits(rng, rng.randint(1, 4))))
    if chance(rng, 0.4):
        rng.shuffle(meta)
    return meta


def _receipt_items(rng: Random, loc: Locale, size: int) -> tuple[Lines, list[Gold], float]:
    """The articles: a line each, at times with quantity and price before or below."""
    coded, style = chance(rng, 0.25), rng.randrange(5)
    entries, rows, total = [], [], 0.0
    wide = rng.randint(26, 38)
    for _ in range(rng.choice(((1, 2, 2, 3), (3, 4, 5), (5, 6, 8, 10))[size])):
        price = round(rng.uniform(0.3, rng.choice((9, 30, 120))), 2)
        quantity = rng.choice((1, 1, 1, 2, 3, 4)) if style else 1
        amount = round(quantity * price, 2)
        total = round(total + amount, 2)
        code = rng.choice("AB12") if coded else None
        said = goods(rng)[:24].strip(" ,(")
        end = f"{loc.number(amount)}{f' {code}' if code else ''}"
        shown = quantity > 1 or style == 3
        entry = {"description": said, "quantity": str(quantity) if shown else None,
                 "unit_price": loc.number(price) if shown else None,
                 "amount": loc.number(amount), "tax_code": code}  # fmt: skip
        if style == 1 and shown:
            said = f"{quantity} x {said}"
            entry["unit_price"] = None
        if style == 4 and shown:
            said = f"{quantity} {said}"
            entry["unit_price"] = None
        if style == 3:
            rows.append(f"{said.ljust(wide)} {quantity:3d} {loc.number(price).rjust(9)}"
                        f" {end.rjust(10)}")  # fmt: skip
        else:
            rows.append(said.ljust(wide) + "  " + end.rjust(10))
        if style == 2 and shown:
            rows.append(f"   {quantity} x {loc.number(price)}")
        entries.append(entry)
    return rows, entries, total


def _receipt_totals(rng: Random, loc: Locale, total: float, gold: Gold) -> Pairs:
    pairs: Pairs = []
    gold |= dict.fromkeys(("discount", "subtotal", "tax", "tip", "payment_method"))
    gold |= dict.fromkeys(("card_last_digits", "paid", "change"))
    if chance(rng, 0.4):
        gold["subtotal"] = loc.number(total)
        pairs.append((loc.label(rng, "subtotal"), loc.money(total)))
    if chance(rng, 0.1):
        cut = round(0.1 * total, 2)
        total = round(total - cut, 2)
        gold["discount"] = loc.number(-cut)
        pairs.append((loc.label(rng, "discount"), loc.money(-cut)))
    if chance(rng, 0.3):
        tax = round(total * rng.choice((0.07, 0.19, 0.2)), 2)
        if loc.language == "en":
            total = round(total + tax, 2)
        gold["tax"] = loc.number(tax)
        pairs.append((loc.label(rng, "tax"), loc.money(tax)))
    if chance(rng, 0.1):
        tip = round(0.1 * total, 2)
        total = round(total + tip, 2)
        gold["tip"] = loc.number(tip)
        pairs.append((loc.label(rng, "tip"), loc.money(tip)))
    gold["total"] = loc.number(total)
    pairs.append((loc.label(rng, "total"), loc.money(total)))
    return pairs + _payment(rng, loc, total, gold)


def _payment(rng: Random, loc: Locale, total: float, gold: Gold) -> Pairs:
    method = rng.choices(("cash", "card", "mobile", "voucher", None), (40, 35, 5, 5, 15))[0]
    gold["payment_method"] = method
    if method is None:
        return []
    label = loc.label(rng, method)
    if method != "cash":
        gold["paid"] = loc.number(total)
        pairs = [(label, loc.money(total))]
        if method == "card" and chance(rng, 0.6):
            gold["card_last_digits"] = words.digits(rng, 4)
            stars = rng.choice(("**** **** **** ", "XXXX ", "************", "****"))
            pairs.append((rng.choice(("Nr.", "No.", "Card")), stars + gold["card_last_digits"]))
        return pairs
    paid = next((each for each in (5, 10, 20, 50, 100, 200, 500) if each >= total), total + 1)
    gold["paid"], gold["change"] = loc.number(paid), loc.number(round(paid - total, 2))
    return [(label, loc.money(paid)), (loc.label(rng, "change"), loc.money(round(paid - total, 2)))]


def _tax_table(rng: Random, loc: Locale, gold: Gold) -> Lines:
    """The table of taxes under the total, and its entries."""
    gold["taxes"] = []
    if gold["tax"] is not None or not chance(rng, 0.35):
        return []
    rows = []
    for rate in rng.sample((5, 7, 10, 19, 20, 21), rng.choice((1, 2))):
        net = round(rng.uniform(1, 60), 2)
        tax = round(net * rate / 100, 2)
        said = percent(rng, loc, rate)
        row = [said, loc.number(net), loc.number(tax), loc.number(round(net + tax, 2))]
        gold["taxes"].append(dict(zip(("rate", "net", "tax", "gross"), row, strict=True)))
        rows.append(row)
    heads = [loc.label(rng, key) for key in ("rate", "net", "tax_column", "gross")]
    return table(rng, heads, rows, shown=True)


# ----------------------------------------------------------------------------
# Bank statements.


def statement(rng: Random, size: int, *, held_out: bool = False) -> Paper:
    """A statement of an account with its bookings."""
    loc = random_locale(rng, held_out=held_out)
    first = random_day(rng)
    bank = f"{words.name(rng)} {rng.choice(('Bank', 'Sparkasse', 'Banque', 'Banco', 'Bank AG'))}"
    gold: Gold = {"bank": bank, **dict.fromkeys(
        ("account_holder", "iban", "account_number", "bic", "currency", "statement_number",
         "period_start", "period_end"))}  # fmt: skip
    meta: Pairs = []
    makers: dict[str, tuple[str, float, Callable[[], str]]] = {
        "account_holder": ("holder", 0.85, lambda: words.person(rng)),
        "iban": ("iban", 0.6, lambda: right_iban(rng, loc)),
        "account_number": ("account_number", 0.4, lambda: words.digits(rng, rng.randint(6, 10))),
        "bic": ("bic", 0.3, lambda: "".join(rng.choice("ABDEFGNX") for _ in range(8))),
        "currency": ("currency", 0.6, lambda: loc.sign),
        "statement_number": ("statement_number", 0.5, lambda: str(rng.randint(1, 99))),
    }
    for key, (name, share, make) in makers.items():
        if chance(rng, share):
            gold[key] = make()
            meta.append((loc.label(rng, name), gold[key]))
    if chance(rng, 0.7):
        start, end = loc.day(first), loc.day(first + timedelta(rng.choice((29, 30, 90))))
        gold |= {"period_start": start, "period_end": end}
        meta.append((loc.label(rng, "period"), f"{start} {loc.any(rng, 'until')} {end}"))
    if chance(rng, 0.5):
        rng.shuffle(meta)
    loc.beside = ""
    opening = round(rng.uniform(100, 9000), 2)
    rows, entries, balance, heads = _bookings(rng, loc, size, opening, first)
    gold["opening_balance"], gold["transactions"] = loc.number(opening), entries
    gold["closing_balance"] = loc.number(balance)
    before = [(loc.label(rng, "opening"), loc.money(opening))]
    after = [(loc.label(rng, "closing"), loc.money(balance))]
    if chance(rng, 0.15):
        after.append((loc.label(rng, "available"), loc.money(round(balance + 500, 2))))
    head = [bank, *(street_and_city(rng) if chance(rng, 0.5) else []), *contact_lines(rng, loc)]
    named = [title(rng, loc, "bank")]
    text = blocks(
        rng, head + named if chance(rng, 0.6) else named + head, pair_lines(rng, loc, meta),
        total_lines(rng, loc, before), table(rng, heads, rows, shown=True),
        total_lines(rng, loc, after),
    )  # fmt: skip
    return Paper("bank-statement", text, gold, loc.language)


def _bookings(
    rng: Random, loc: Locale, size: int, balance: float, when: date
) -> tuple[list[list[str]], list[Gold], float, list[str]]:
    """Rows, entries, the last balance and the head of the table."""
    valued, running, split = chance(rng, 0.25), chance(rng, 0.5), chance(rng, 0.75)
    keys = ["booking", *(["valued"] if valued else []), "text"]
    keys += ["money_out", "money_in"] if split else ["amount"]
    keys += ["balance"] if running else []
    rows, entries = [], []
    for _ in range(rng.choice(((1, 2, 2), (3, 4, 5), (6, 8, 10))[size])):
        out = chance(rng, 0.6)
        value = round(rng.uniform(2, rng.choice((60, 900))), 2)
        balance = round(balance + (-value if out else value), 2)
        when = when + timedelta(rng.choice((0, 1, 1, 2, 3, 5)))
        day = loc.day(when)
        other = loc.day(when + timedelta(rng.choice((0, 0, 1, 2)))) if valued else None
        text = f"{loc.any(rng, 'bookings')} {goods(rng) if chance(rng, 0.6) else words.person(rng)}"
        cells = {"booking": day, "valued": other or "", "text": text,
                 "money_out": loc.number(value) if out else "",
                 "money_in": "" if out else loc.number(value),
                 "amount": loc.number(-value if out else value),
                 "balance": loc.number(balance)}  # fmt: skip
        rows.append([cells[key] for key in keys])
        entries.append({"date": day, "value_date": other, "description": text, "reference": None,
                        "money_out": loc.number(value) if out else None,
                        "money_in": None if out else loc.number(value),
                        "balance": loc.number(balance) if running else None})  # fmt: skip
    return rows, entries, balance, [loc.label(rng, key) for key in keys]


# ----------------------------------------------------------------------------
# What has no recipe of its own.

OTHERS = ("letter", "order", "offer", "delivery note", "notice", "certificate", "ticket")


def other(rng: Random, size: int, *, held_out: bool = False) -> Paper:
    """A letter, an order, an offer, a certificate …, for the general form."""
    loc = random_locale(rng, held_out=held_out)
    kind = rng.choices(OTHERS, (40, 12, 12, 10, 10, 8, 8))[0]
    gold: Gold = {"kind": kind, "title": None, "language": loc.language, "date": None,
                  "parties": [], "identifiers": [], "dates": [], "amounts": [], "emails": [],
                  "phones": [], "urls": [], "addresses": [], "tables": []}  # fmt: skip
    sender = words.company(rng) if chance(rng, 0.7) else words.person(rng)
    head = [sender]
    role = None
    if chance(rng, 0.25):
        role = loc.label(rng, "sender")
        head = [f"{role}: {sender}"]
    gold["parties"].append({"name": sender, "role": role})
    head += _where(rng, gold)
    party = _receiver(rng, loc, kind, gold)
    name = loc.any(rng, kind)
    subject = (
        f"{loc.any(rng, 'subject')}: {name}" if kind == "letter" and chance(rng, 0.6) else name
    )
    gold["title"] = name
    top, lines = _other_pairs(rng, loc, gold)
    body = prose(rng, loc, rng.randint(1, 2 + 2 * size)) if kind in ("letter", "notice") else []
    if kind == "letter":
        body = [loc.any(rng, "dear"), *body, loc.any(rng, "regards")]
    way = rng.random()
    parts = (
        (head, party, top, [subject], body, lines) if way < 0.4
        else (head, top, party, [subject], lines, body) if way < 0.7
        else ([subject], head, party, top, lines, body)
    )  # fmt: skip
    return Paper("general", blocks(rng, *parts), gold, loc.language)


def _where(rng: Random, gold: Gold) -> Lines:
    """Address and ways to reach somebody, noted in the answer."""
    lines: Lines = []
    if chance(rng, 0.7):
        place = street_and_city(rng)
        gold["addresses"].append(" ".join(place))
        lines += place
    for key, share, make in (("phones", 0.35, words.phone), ("emails", 0.35, words.email)):
        if chance(rng, share):
            gold[key].append(make(rng))
            lines.append(("Tel. " if key == "phones" else "") + gold[key][-1])
    if chance(rng, 0.2):
        gold["urls"].append(f"www.{words.word(rng)}.{rng.choice(('com', 'de', 'org'))}")
        lines.append(gold["urls"][-1])
    return lines


def _receiver(rng: Random, loc: Locale, kind: str, gold: Gold) -> Lines:
    if kind == "notice" or not chance(rng, 0.8):
        return []
    name, role = words.person(rng), None
    lines = [name]
    if chance(rng, 0.4):
        role = loc.label(rng, "to" if kind == "letter" else "customer")
        lines = [f"{role}: {name}"]
    gold["parties"].append({"name": name, "role": role})
    if chance(rng, 0.6):
        place = street_and_city(rng)
        gold["addresses"].append(" ".join(place))
        lines += place
    return lines


def _other_pairs(rng: Random, loc: Locale, gold: Gold) -> tuple[Lines, Lines]:
    """Date, numbers, further dates and amounts with their labels, and a table now and then."""
    top: Lines = []
    colon = loc.colon.strip() or ":"
    if chance(rng, 0.75):
        gold["date"] = loc.date(rng)
        label = loc.label(rng, "date").split(" ")[0] if chance(rng, 0.5) else None
        gold["dates"].append({"label": label, "date": gold["date"]})
        top.append(f"{label}{colon} {gold['date']}" if label else gold["date"])
    pairs: Pairs = []
    for _ in range(rng.choice((0, 1, 1, 2))):
        label, value = loc.any(rng, "identifier"), words.reference(rng)
        gold["identifiers"].append({"label": label, "value": value})
        pairs.append((label, value))
    for _ in range(rng.choice((0, 0, 1, 1))):
        label, value = loc.any(rng, "dated"), loc.date(rng)
        gold["dates"].append({"label": label, "date": value})
        pairs.append((label, value))
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        label, price = loc.any(rng, "fee"), words.amount(rng)
        gold["amounts"].append({"label": label, "amount": loc.number(price),
                                "currency": loc.sign if loc.beside else None})  # fmt: skip
        pairs.append((label, loc.money(price)))
    lines = [f"{key}{colon} {value}" for key, value in pairs]
    if chance(rng, 0.2):
        lines += ["", *_small_table(rng, gold)]
    return top, lines


def _small_table(rng: Random, gold: Gold) -> Lines:
    """A table of words and numbers that is no list of goods."""
    heads = [words.name(rng) for _ in range(rng.choice((2, 3)))]
    rows = [[words.name(rng), *(str(rng.randint(1, 400)) for _ in heads[1:])]
            for _ in range(rng.randint(2, 4))]  # fmt: skip
    gold["tables"].append({"title": None, "columns": heads, "rows": [{"cells": r} for r in rows]})
    return table(rng, heads, rows, shown=True)


MAKERS: dict[str, Callable[..., Paper]] = {
    "invoice": invoice, "receipt": receipt, "bank-statement": statement, "general": other,
}  # fmt: skip
SHARES = (("invoice", 42), ("receipt", 30), ("bank-statement", 12), ("general", 16))


def random_paper(rng: Random, size: int, *, held_out: bool = False) -> Paper:
    """A document of any of these kinds; ``size`` 0 (short) to 2."""
    kind = rng.choices([k for k, _ in SHARES], [w for _, w in SHARES])[0]
    return MAKERS[kind](rng, size, held_out=held_out)
