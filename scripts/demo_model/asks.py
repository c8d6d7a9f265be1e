"""What the product asks about a document, and the right answer as the model is to write it.

Every prompt is rendered by gemma-edge's own functions, and so is the schema that an answer is held
to: a change of a recipe or of a prompt is a change of what is trained.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Any

from demo_model.documents import Digits, Document
from demo_model.papers import Gold, Paper
from demo_model.words import chance
from gemma_edge.extraction.addresses import find_addresses
from gemma_edge.extraction.pages import PageQuestion, question_of, render_prompt
from gemma_edge.extraction.recipe import Recipe, bare_recipe
from gemma_edge.extraction.recipe_file import load_recipe, shipped
from gemma_edge.extraction.recognition import GENERAL, OTHER, render_question
from gemma_edge.extraction.schema import (
    SchemaPart,
    fields_of,
    make_part,
    parse_schema,
    select_fields,
)

Piece = tuple[str, bool]  # of an answer: text, and whether the model chooses it


@dataclass
class Ask:
    """A user turn and its answer in pieces. ``shared`` is what the turn begins with for every
    question about the same document; ``schema`` is what the answer is held to."""

    shared: str
    rest: str
    pieces: list[Piece]
    schema: dict[str, Any]

    @property
    def prompt(self) -> str:
        """The whole turn."""
        return self.shared + self.rest

    @property
    def answer(self) -> str:
        """The whole answer."""
        return "".join(text for text, _ in self.pieces)


@cache
def recipe(name: str) -> Recipe:
    """A shipped recipe."""
    return load_recipe(name)


@cache
def kinds() -> tuple[Recipe, ...]:
    """The recipes that a document may be of."""
    return tuple(recipe(name) for name in shipped() if name != GENERAL)


def question(asked: Recipe) -> str:
    """What a recipe asks, without a document."""
    part = make_part(asked.asked.source, strict=False)
    return render_prompt("", question_of(asked, part))


def ask_recipe(paper: Paper) -> Ask:
    """The whole recipe, as the command asks it."""
    part = _whole_part(paper.kind)
    return _ask(paper.text, _whole_question(paper.kind), part, gold_of(paper))


@cache
def _whole_part(name: str) -> SchemaPart:
    return make_part(recipe(name).asked.source, strict=False)


@cache
def _whole_question(name: str) -> PageQuestion:
    return question_of(recipe(name), _whole_part(name))


def ask_some(rng: Random, paper: Paper) -> Ask:
    """Some fields of a recipe with some of its rules, as windows of pages and a person's own
    recipes ask them."""
    asked = recipe(paper.kind)
    names = list(fields_of(asked.asked.source))
    found = [name for name in names if paper.gold.get(name) not in (None, [])]
    wanted = {*rng.sample(names, min(len(names), rng.choice((2, 3, 4, 6))))}
    wanted |= {*rng.sample(found, min(len(found), rng.choice((2, 4, 6))))}
    part = select_fields(asked.asked.source, wanted, strict=False)
    few = replace(
        asked, rules=tuple(each for each in asked.rules if chance(rng, 0.15)),
        counter_examples=tuple(each for each in asked.counter_examples if chance(rng, 0.15)),
        worked=asked.worked if chance(rng, 0.1) else (),
    )  # fmt: skip
    question = question_of(few, part)
    if chance(rng, 0.06):
        said = rng.sample(list(part.names), min(2, len(part.names)))
        lines = "\n".join(f"{name}: {rng.choice(PROBLEMS)}" for name in said)
        question = PageQuestion(part.form, question.rules, "again.txt", problems=lines)
    return _ask(paper.text, question, part, gold_of(paper))


PROBLEMS = ("required, and not found", "not read", "the lines do not add up", "not printed there")


# The fields of an invoice as people name them where they write their own schema: what the recipe
# calls them, other names, and whether numbers are asked for.
NAMES = {
    "vendor": "vendor supplier seller vendor_name company issuer",
    "customer": "customer buyer client customer_name bill_to recipient",
    "invoice_number": "invoice_number invoice_no number invoice_id invoiceNumber document_number",
    "date": "date invoice_date issue_date issued invoiceDate",
    "due_date": "due_date due payment_due dueDate pay_by", "currency": "currency currency_code",
    "total": "total amount_due total_amount grand_total amount totalAmount",
    "tax": "tax vat tax_amount sales_tax", "purchase_order": "po_number purchase_order po poNumber",
    "subtotal": "subtotal net net_amount", "merchant": "merchant vendor shop store company",
    "receipt_number": "receipt_number receipt_no number", "address": "address",
    "bank": "bank", "account_holder": "account_holder holder owner name", "iban": "iban",
    "opening_balance": "opening_balance", "closing_balance": "closing_balance balance",
}  # fmt: skip
AMOUNTS = ("total", "tax", "subtotal", "opening_balance", "closing_balance")
LISTS = {"items": {"description": "description name item", "quantity": "quantity qty",
                   "amount": "amount total"}}  # fmt: skip


def ask_line(rng: Random, paper: Paper) -> Ask | None:
    """A few fields under usual names; None for a paper that has none of them."""
    keys = [key for key in NAMES if key in paper.gold]
    if not keys:
        return None
    rng.shuffle(keys)
    found = gold_of(paper)
    properties: dict[str, Any] = {}
    gold: Gold = {}
    for key in keys[: rng.choice((2, 3, 4, 5, 7))]:
        name = rng.choice(NAMES[key].split())
        name = name if chance(rng, 0.4) else NAMES[key].split()[0]
        if name in properties:
            continue
        number = key in AMOUNTS and chance(rng, 0.6)
        properties[name] = {"type": "number" if number else "string"}
        gold[name] = as_number(found[key]) if number else found[key]
    if "items" in paper.gold and chance(rng, 0.25):
        properties["items"], gold["items"] = _line_items(rng, paper)
    source = {"type": "object", "properties": properties, "required": list(properties)}
    asked = bare_recipe(parse_schema(json.dumps(source)))
    part = make_part(asked.asked.source, strict=False)
    return _ask(paper.text, question_of(asked, part), part, gold)


def ask_plain(document: Document, fields: list[str], names: dict[str, str] | None = None) -> Ask:
    """Fields of a document of ``documents.py``, called by other ``names`` where there are some."""
    source, gold = document.schema(fields, names), document.gold(fields, names)
    asked = bare_recipe(parse_schema(json.dumps(source)))
    part = make_part(asked.asked.source, strict=False)
    return _ask(document.text, question_of(asked, part), part, gold)


def _line_items(rng: Random, paper: Paper) -> tuple[dict[str, Any], list[Gold]]:
    names = {key: rng.choice(said.split()) for key, said in LISTS["items"].items()
             if key != "quantity" or chance(rng, 0.5)}  # fmt: skip
    kinds_of = {"description": "string", "quantity": "number", "amount": "number"}
    properties = {name: {"type": kinds_of[key]} for key, name in names.items()}
    gold = [
        {name: each[key] if key == "description" else as_number(each[key])
         for key, name in names.items()}
        for each in paper.gold["items"]
    ]  # fmt: skip
    items = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "array", "items": items}, gold


def as_number(text: str | None) -> Digits | None:
    """A printed amount as JSON writes it."""
    if text is None:
        return None
    plain = text.replace(" ", "")
    cents = plain[-3:-2] in (".", ",")
    whole, part = (plain[:-3], "." + plain[-2:]) if cents else (plain, "")
    return Digits(whole.replace(".", "").replace(",", "") + part)


def gold_of(paper: Paper) -> Gold:
    """The answer with addresses as the product finds them: which of the printed lines are one
    address is its business."""
    gold = dict(paper.gold)
    if "address" in gold or "addresses" in gold:
        found = [" ".join(each.split()) for each in find_addresses(paper.text)]
        if "addresses" in gold:
            gold["addresses"] = list(dict.fromkeys(found))
        elif gold["address"]:
            street = gold["address"].split(" ")[:2]
            gold["address"] = next(
                (each for each in found if all(word in each for word in street)),
                None if found else gold["address"],
            )  # fmt: skip
    return gold


def ask_kind(rng: Random, paper: Paper) -> Ask:
    """Which kind of document it is, among some."""
    right = None if paper.kind == GENERAL else recipe(paper.kind)
    others = [each for each in kinds() if each is not right]
    some = rng.sample(others, rng.choice((0, 1, 1, 2, 3)) if right else rng.choice((1, 1, 2, 3)))
    chosen = [*some, *([right] if right else [])]
    rng.shuffle(chosen)
    if right and some and chance(rng, 0.05):
        chosen.remove(right)
        right = None
    begins = beginning(paper.text)
    text = render_question("\0", chosen)
    names = [each.name for each in chosen]
    answer = json.dumps(right.name if right else OTHER)
    return Ask(
        begins + SEPARATOR, text.removeprefix("\0" + SEPARATOR), [(answer, True)],
        {"enum": [*names, OTHER]},
    )  # fmt: skip


def beginning(text: str, most: int = 2000) -> str:
    """What of a document is shown where its kind is asked for."""
    if len(text) <= most:
        return text
    whole = text.rfind("\n", most // 2, most)
    return text[: whole if whole > 0 else most]


SEPARATOR = "\n\n---\n"


def _ask(text: str, question: PageQuestion, part: SchemaPart, gold: Gold) -> Ask:
    rest = render_prompt("\0", question)
    assert rest.startswith("\0" + SEPARATOR)
    pieces = list(_joined(answer_pieces(part.decoding, gold)))
    return Ask(text + SEPARATOR, rest.removeprefix("\0" + SEPARATOR), pieces, part.decoding)


# ----------------------------------------------------------------------------
# Answers. What the grammar forces (names, commas within an object) is not for the model to choose.


def answer_pieces(schema: dict[str, Any], gold: Any) -> Iterator[Piece]:
    """The answer of a decoding schema on one line; what ``gold`` lacks is null."""
    properties = schema.get("properties")
    if properties is not None:
        yield "{", False
        ends = False  # whether more digits could follow
        for number, (name, sub) in enumerate(properties.items()):
            yield from ((",", ends), (" ", False)) if number else ()
            yield f"{json.dumps(name, ensure_ascii=False)}: ", False
            value = (gold or {}).get(name)
            yield from answer_pieces(sub, value)
            ends = isinstance(value, Digits)
        yield "}", ends
    elif isinstance(schema.get("items"), dict):
        yield from _list_pieces(schema["items"], gold or [])
    else:
        yield _leaf(gold), True


def _list_pieces(schema: dict[str, Any], entries: Sequence[Any]) -> Iterator[Piece]:
    yield "[", False
    for number, entry in enumerate(entries):
        inner = list(answer_pieces(schema, entry))
        if number:
            yield ",", True
            yield " ", False
        else:
            inner[0] = (inner[0][0], True)
        yield from inner
    yield "]", True


def _leaf(value: Any) -> str:
    return str(value) if isinstance(value, Digits) else json.dumps(value, ensure_ascii=False)


def _joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Neighbours of one kind as one piece."""
    text, chosen = "", False
    for more, choice in pieces:
        if choice != chosen and text:
            yield text, chosen
            text = ""
        text, chosen = text + more, choice
    yield text, chosen
