"""How documents look as text: forms, pages with columns and tables, receipts, letters.

Lines are as a layout-preserving extractor makes them of a PDF: in reading order, columns apart
by runs of spaces.
"""

from __future__ import annotations

from random import Random

from demo_model import words
from demo_model.facts import Facts, label, meta_pairs, total_pairs
from demo_model.words import chance

Pairs = list[tuple[str, str]]


def pair_line(rng: Random, pair: tuple[str, str], style: int) -> str:
    """A label and its value on one line, in one of six styles."""
    key, value = pair
    if key.endswith((":", "#")) and style in (0, 1):
        return f"{key} {value}"
    return (
        f"{key}: {value}",
        f"{key}: {value}",
        f"{key}:{' ' * rng.randint(2, 12)}{value}",
        f"{key}{' ' * rng.randint(2, 20)}{value}",
        f"{key} {value}",
        f"{key} : {value}",
    )[style]


def aligned(rng: Random, pairs: Pairs, right: bool = False, wide: int | None = None) -> list[str]:
    """Labels and values as two aligned columns; values flush right where asked."""
    if not pairs:
        return []
    gap = rng.randint(2, 14) if wide is None else wide
    left = max(len(k) for k, _ in pairs) + gap
    room = max(len(v) for _, v in pairs)
    return [k.ljust(left) + (v.rjust(room) if right else v) for k, v in pairs]


def beside_each_other(rng: Random, left: list[str], right: list[str]) -> list[str]:
    """Two blocks of lines as two columns."""
    width = max((len(line) for line in left), default=0) + rng.randint(3, 24)
    rows = max(len(left), len(right))
    left, right = left + [""] * (rows - len(left)), right + [""] * (rows - len(right))
    return [(a.ljust(width) + b if b else a) for a, b in zip(left, right, strict=True)]


def label_row(rng: Random, pairs: Pairs) -> list[str]:
    """Labels in one row, their values in the row below."""
    gap = rng.randint(2, 10)
    widths = [max(len(k), len(v)) + gap for k, v in pairs]
    tops = "".join(k.ljust(w) for (k, _), w in zip(pairs, widths, strict=True))
    lows = "".join(v.ljust(w) for (_, v), w in zip(pairs, widths, strict=True))
    return [tops.rstrip(), lows.rstrip()]


def meta_lines(rng: Random, facts: Facts, extra: int) -> list[str]:
    """Number, dates and their neighbours in one of the usual arrangements."""
    pairs = meta_pairs(rng, facts, extra)
    kind = rng.random()
    if kind < 0.25 and pairs:
        rows = [pairs[i : i + 3] for i in range(0, len(pairs), 3)]
        return [line for row in rows for line in label_row(rng, row)]
    if kind < 0.5:
        return aligned(rng, [(k + rng.choice((":", "")), v) for k, v in pairs])
    style = rng.randrange(6)
    return [pair_line(rng, pair, style) for pair in pairs]


def address(rng: Random, first: str | None) -> list[str]:
    """A name with street and city, and perhaps contact lines."""
    lines = [first] if first else []
    lines += [words.street(rng), words.city(rng)] if chance(rng, 0.8) else []
    if chance(rng, 0.25):
        lines.append(rng.choice(("Tel. ", "Phone: ", "")) + words.phone(rng))
    if chance(rng, 0.15):
        lines.append(words.email(rng))
    return lines


def customer_lines(rng: Random, facts: Facts) -> list[str]:
    """The customer with a label, on the same line or the next."""
    customer = facts.values["customer"]
    if customer is None:
        return []
    lines = address(rng, customer)
    key = label(rng, "customer")
    if chance(rng, 0.5):
        return [f"{key}: {lines[0]}", *lines[1:]]
    return [key + rng.choice((":", "")), *lines]


def item_lines(rng: Random, facts: Facts, count: int) -> list[str]:
    """Items as a table with aligned columns or as plain lines."""
    amounts = facts.amounts + [words.amount(rng) for _ in range(count - len(facts.amounts))]
    rows = []
    for value in amounts[: max(count, 1)]:
        what = " ".join(words.word(rng) for _ in range(rng.choice((1, 1, 2, 3)))).capitalize()
        number = rng.randint(1, 12)
        rows.append([what, str(number), f"{value / number:.2f}", f"{value:.2f}"])
    if chance(rng, 0.4):
        return [f"{n} x {what} {total}" if chance(rng, 0.5) else f"{what}  {total}"
                for what, n, _, total in rows]  # fmt: skip
    heads = ["Description", "Qty", "Price", "Amount"]
    if chance(rng, 0.5):
        heads = ["Item", "Quantity", "Unit price", "Total"]
    keep = [0, 1, 2, 3] if chance(rng, 0.5) else [0, 1, 3] if chance(rng, 0.5) else [0, 3]
    table = [[row[i] for i in keep] for row in ([heads] if chance(rng, 0.8) else []) + rows]
    widths = [max(len(row[i]) for row in table) + rng.randint(2, 8) for i in range(len(keep))]
    return [
        row[0].ljust(widths[0])
        + "".join(v.rjust(w) for v, w in zip(row[1:], widths[1:], strict=True))
        for row in table
    ]


def totals_lines(rng: Random, facts: Facts) -> list[str]:
    """The rows under the items."""
    rows = total_pairs(rng, facts)
    kind = rng.random()
    if kind < 0.4:
        indent = " " * rng.choice((0, 0, 8, 20, 30))
        colon = rng.choice((":", ""))
        return [indent + x for x in aligned(rng, [(k + colon, v) for k, v in rows], right=True)]
    style = rng.randrange(6)
    return [pair_line(rng, row, style) for row in rows]


def footer_lines(rng: Random, sentences: int) -> list[str]:
    """Terms, bank details and thanks."""
    lines = [words.prose(rng, rng.randint(4, 14)) for _ in range(sentences)]
    if chance(rng, 0.3):
        lines.append(rng.choice(("IBAN: ", "IBAN ", "Bank: ")) + words.iban(rng))
    if chance(rng, 0.3):
        lines.append(rng.choice(("Thank you!", "Thank you for your business.", "Best regards")))
    return lines


def title(rng: Random) -> list[str]:
    """The document's title, or none."""
    return rng.choice(([], ["INVOICE"], ["Invoice"], ["TAX INVOICE"], ["Invoice"], ["BILL"]))


def form(rng: Random, facts: Facts, size: int) -> list[str]:
    """Lines of labels and values in any order."""
    pairs = meta_pairs(rng, facts, rng.randint(0, 1 + size))
    vendor, customer = facts.values["vendor"], facts.values["customer"]
    named = vendor is not None and chance(rng, 0.6)
    if named and vendor:
        pairs.append((label(rng, "vendor"), vendor))
    if customer:
        pairs.append((label(rng, "customer"), customer))
    rng.shuffle(pairs)
    style = rng.randrange(6)
    lines = title(rng) + [pair_line(rng, pair, style) for pair in pairs]
    if vendor and not named:
        lines.insert(0, vendor)
    if size > 1 or chance(rng, 0.4):
        lines += item_lines(rng, facts, rng.randint(1, 1 + size))
    return lines + totals_lines(rng, facts) + footer_lines(rng, rng.choice((0, 0, size // 2)))


def page(rng: Random, facts: Facts, size: int) -> list[str]:
    """A letterhead, two columns, a table, totals and a footer."""
    head = address(rng, facts.values["vendor"])
    named = facts.values["vendor"] is not None and chance(rng, 0.15)
    if named:
        head = [f"{label(rng, 'vendor')}: {head[0]}", *head[1:]]
    meta = meta_lines(rng, facts, rng.randint(0, 1 + size))
    party = customer_lines(rng, facts)
    kind = rng.random()
    if kind < 0.35:
        top = beside_each_other(rng, head, title(rng) + meta) + party
    elif kind < 0.7:
        top = head + title(rng) + beside_each_other(rng, party, meta)
    elif kind < 0.85:
        top = (title(rng) + head if named or chance(rng, 0.3) else head + title(rng)) + meta + party
    else:
        top = head + party + title(rng) + meta
    items = item_lines(rng, facts, rng.randint(1, 2 + 3 * size))
    small_print = rng.randint(0, size + (8 if size > 3 else 0))
    blocks = [top, items, totals_lines(rng, facts), footer_lines(rng, small_print)]
    spaced = chance(rng, 0.5)
    return [line for block in blocks for line in (block + [""] if spaced and block else block)]


def receipt(rng: Random, facts: Facts, size: int) -> list[str]:
    """A till receipt."""
    facts.values["due_date"] = facts.values["po_number"] = facts.values["customer"] = None
    lines = address(rng, facts.values["vendor"])
    pairs = meta_pairs(rng, facts, rng.choice((0, 1, 1)))
    pairs.append((rng.choice(("Time", "Till", "Cashier", "Table")), words.digits(rng, 4)))
    style = rng.choice((0, 1, 4))
    lines += [pair_line(rng, pair, style) for pair in pairs]
    rule = rng.choice(("", "---", "***", "====="))
    lines += [rule] if rule else []
    lines += item_lines(rng, facts, rng.randint(1, 2 + 2 * size))
    lines += totals_lines(rng, facts)
    if chance(rng, 0.4):
        paid = words.amount(rng)
        lines += [f"{rng.choice(('Cash', 'Card', 'VISA'))} {paid:.2f}"]
    return lines + footer_lines(rng, 0)


def letter(rng: Random, facts: Facts, size: int) -> list[str]:
    """A letter that names the fields in a sentence."""
    v = facts.values
    lines = address(rng, v["vendor"])
    if v["customer"]:
        lines += [*([label(rng, "customer") + ":"] if chance(rng, 0.5) else ["To"]),
                  *address(rng, v["customer"])]  # fmt: skip
    facts.values["tax"] = None
    said = "Please find our invoice"
    said += (
        f" {rng.choice(('no. ', '', 'number '))}{v['invoice_number']}"
        if v["invoice_number"]
        else ""
    )
    said += f" {rng.choice(('dated', 'of'))} {v['date']}" if v["date"] else ""
    facts.values["po_number"] = None
    if v["total"]:
        over = rng.choice(("over a total of", "for", "for the amount of", "over"))
        said += f" {over} {facts.money(float(v['total']))}"
    if v["due_date"]:
        said += f", {rng.choice(('due on', 'payable by', 'due by', 'due'))} {v['due_date']}"
    if not facts.sign or not v["total"]:
        facts.values["currency"] = None
    before = [words.prose(rng, rng.randint(5, 14)) for _ in range(rng.randint(0, size))]
    after = footer_lines(rng, rng.randint(0, size))
    return [*lines, *(["Dear customer,"] if chance(rng, 0.6) else []), *before, said + ".", *after]
