"""Invoices as data (Factur-X, ZUGFeRD, XRechnung; CII and UBL, the forms of EN 16931) to text: a
line ``label: value`` for each thing that an invoice says, in the order in which people read one.
Hostile bytes: it runs in the child process of ``open.py``."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field
from xml.parsers import expat

from gemma_edge.documents.document import (
    E_INVOICE,
    PLAIN,
    ExtractedText,
    ReadOptions,
    Writer,
    cut_note,
    render_row,
)
from gemma_edge.errors import InputError
from gemma_edge.records import dataclass

_MOST_NODES, _DEEPEST = 400_000, 40  # the longest real ones have 100,000
_MOST_TEXT = 20_000  # characters of one value
_ROOTS = {
    "CrossIndustryInvoice": "CII", "CrossIndustryDocument": "CII", "Invoice": "UBL",
    "CreditNote": "UBL",
}  # fmt: skip


@dataclass(slots=True)
class _Node:
    """An element by its name without a namespace."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    children: "list[_Node]" = field(default_factory=list)

    def every(self, path: str) -> "Iterator[_Node]":
        """The elements at ``A/B|C/D``, of which ``B|C`` is either."""
        first, _, rest = path.partition("/")
        names = first.split("|")
        for child in self.children:
            if child.tag in names:
                yield from child.every(rest) if rest else [child]

    def first(self, *paths: str) -> "_Node | None":
        return next((found for path in paths for found in self.every(path)), None)

    def said(self, *paths: str) -> str:
        """The text of the first of them that says anything."""
        texts = (found.text for path in paths for found in self.every(path))
        return next(filter(None, texts), "")


def read_einvoice(data: bytes, name: str, options: ReadOptions = PLAIN) -> ExtractedText:
    """A page of text. A ``name`` or an ``encoding`` changes nothing: the file says what it is.
    Raises InputError: it is no XML, has entities of its own, or is none of these invoices."""
    root = _parse(data, name)
    form = _ROOTS.get(root.tag)
    if form is None:
        raise InputError(f"{name} is XML, but no invoice", hint="save it as text or PDF")
    lines = list(_cii(root) if form == "CII" else _ubl(root))
    writer = Writer()
    for line in (f"Invoice as data ({form}, made for programs)", "", *lines):
        writer.gap() if not line else writer.line(line)
    notes = (cut_note(name),) if writer.is_full else ()
    if not any(lines):
        raise InputError(f"{name} is an invoice as data that says nothing", hint="export it again")
    return ExtractedText(((writer.take(), E_INVOICE),), notes)


def _parse(data: bytes, name: str) -> _Node:
    """The tree; its own types and entities, which no invoice has, are refused."""
    top = _Node("", {})
    open_nodes, pieces, count = [top], [""], 0
    parser = expat.ParserCreate(namespace_separator=" ")

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if count > _MOST_NODES or len(open_nodes) > _DEEPEST:
            raise InputError(f"{name} is too large for an invoice", hint="export it again")
        node = _Node(tag.rpartition(" ")[2], attributes)
        open_nodes[-1].children.append(node)
        open_nodes.append(node)
        pieces.clear()

    def end(_: str) -> None:
        open_nodes.pop().text = " ".join("".join(pieces).split())[:_MOST_TEXT]
        pieces.clear()

    def refuse(*_: object) -> None:
        raise InputError(f"{name} has a DTD, which no invoice has", hint="export it again")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = pieces.append
    parser.StartDoctypeDeclHandler = refuse
    parser.buffer_text = True
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        message = f"{name} is damaged (as XML: {error})"
        raise InputError(message, hint="export it again, or save it anew") from None
    return top.children[0]


def _labelled(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    for label, value in pairs:
        if value:
            yield f"{label}: {value}"


_KINDS = {
    "380": "invoice", "381": "credit note", "384": "corrected invoice", "386": "prepayment invoice",
    "389": "self-billed invoice", "326": "partial invoice", "875": "partial construction invoice",
    "877": "final construction invoice",
}  # fmt: skip
_UNITS = {  # UN/ECE recommendation 20, the commonest
    "C62": "", "H87": "piece", "EA": "each", "PCE": "piece", "NAR": "article", "HUR": "hour",
    "MIN": "minute", "DAY": "day", "WEE": "week", "MON": "month", "ANN": "year", "KGM": "kg",
    "GRM": "g", "TNE": "t", "LTR": "l", "MTR": "m", "MTK": "m²", "MTQ": "m³", "KWH": "kWh",
    "LS": "lump sum", "SET": "set", "XPP": "piece", "XPK": "package", "KMT": "km",
}  # fmt: skip
_ROW = ("Line", "Item", "Description", "Quantity", "Unit", "Unit price", "Tax rate", "Amount")


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of an invoice; columns that none of them has are left out."""
    kept = [at for at in range(len(_ROW)) if any(row[at] for row in rows)]
    if rows:
        yield ""
        yield render_row([_ROW[at] for at in kept])
        yield from (render_row([row[at] or "-" for at in kept]) for row in rows)


def _unit(node: _Node | None) -> str:
    code = node.attributes.get("unitCode", "") if node else ""
    return _UNITS.get(code, code)


def _percent(text: str) -> str:
    return f"{_plain(text)} %" if text else ""


def _plain(text: str) -> str:
    """``19.00`` as ``19``."""
    return re.sub(r"\.0+$", "", text)


def _tax(rate: str, net: str, amount: str, category: str, reason: str) -> tuple[str, str]:
    label = f"Tax {_percent(rate)}" if rate else f"Tax {category}".strip()
    of = f" of {net}" if net else ""
    return f"{label}{of}", f"{amount}{f' ({reason})' if reason else ''}"


# CII: Cross Industry Invoice of UN/CEFACT; the names of ZUGFeRD 1.0 are a little longer.

_DEAL = "SupplyChainTradeTransaction|SpecifiedSupplyChainTradeTransaction"
_AGREED = "ApplicableHeaderTradeAgreement|ApplicableSupplyChainTradeAgreement"
_SENT = "ApplicableHeaderTradeDelivery|ApplicableSupplyChainTradeDelivery"
_SETTLED = "ApplicableHeaderTradeSettlement|ApplicableSupplyChainTradeSettlement"
_SUMS = "SpecifiedTradeSettlementHeaderMonetarySummation|SpecifiedTradeSettlementMonetarySummation"


def _cii(root: _Node) -> Iterator[str]:
    empty = _Node("", {})
    head = root.first("ExchangedDocument|HeaderExchangedDocument") or empty
    deal = root.first(_DEAL) or empty
    agreed, sent = deal.first(_AGREED) or empty, deal.first(_SENT) or empty
    settled = deal.first(_SETTLED) or empty
    terms = settled.first("SpecifiedTradePaymentTerms") or empty
    kind = head.said("TypeCode")
    yield from _labelled([
        ("Document type", _KINDS.get(kind, kind)),
        ("Invoice number", head.said("ID")),
        ("Invoice date", _date(head.first("IssueDateTime/DateTimeString"))),
        ("Due date", _date(terms.first("DueDateDateTime/DateTimeString"))),
        ("Delivery date", _date(sent.first(
            "ActualDeliverySupplyChainEvent/OccurrenceDateTime/DateTimeString"))),
        ("Billing period", _period(settled.first("BillingSpecifiedPeriod"))),
        ("Currency", settled.said("InvoiceCurrencyCode")),
        ("Purchase order", agreed.said("BuyerOrderReferencedDocument/IssuerAssignedID|ID")),
        ("Contract", agreed.said("ContractReferencedDocument/IssuerAssignedID|ID")),
        ("Buyer reference", agreed.said("BuyerReference")),
    ])  # fmt: skip
    for label, path in (("Seller", "SellerTradeParty"), ("Buyer", "BuyerTradeParty")):
        yield from _cii_party(label, agreed.first(path))
    yield from _cii_party("Ship to", sent.first("ShipToTradeParty"))
    notes = (note.said("Content") for note in head.every("IncludedNote"))
    yield from _labelled(("Note", note) for note in notes)
    items = deal.every("IncludedSupplyChainTradeLineItem")
    yield from _table([_cii_row(item) for item in items])
    yield ""
    yield from _labelled(_cii_sums(settled))
    yield from _labelled(_cii_payment(settled, terms))


def _cii_party(label: str, party: _Node | None) -> Iterator[str]:
    if party is None:
        return
    place = party.first("PostalTradeAddress") or _Node("", {})
    address = _address(
        [place.said(f"Line{line}") for line in ("One", "Two", "Three")],
        place.said("PostcodeCode"), place.said("CityName"), place.said("CountryID"),
    )  # fmt: skip
    contact = party.first("DefinedTradeContact") or _Node("", {})
    yield ""
    yield from _labelled([
        (label, party.said("Name", "SpecifiedLegalOrganization/TradingBusinessName")),
        (f"{label} address", address),
        (f"{label} number", party.said("ID", "GlobalID")),
        (f"{label} register number", party.said("SpecifiedLegalOrganization/ID")),
    ])  # fmt: skip
    for tax in party.every("SpecifiedTaxRegistration/ID"):
        kind = "tax number" if tax.attributes.get("schemeID") == "FC" else "VAT ID"
        yield from _labelled([(f"{label} {kind}", tax.text)])
    yield from _labelled([
        (f"{label} contact", contact.said("PersonName", "DepartmentName")),
        (f"{label} phone", contact.said("TelephoneUniversalCommunication/CompleteNumber")),
        (f"{label} e-mail", contact.said("EmailURIUniversalCommunication/URIID")),
    ])  # fmt: skip


def _cii_row(item: _Node) -> tuple[str, ...]:
    agreed = "SpecifiedLineTradeAgreement|SpecifiedSupplyChainTradeAgreement"
    sent = "SpecifiedLineTradeDelivery|SpecifiedSupplyChainTradeDelivery"
    settled = "SpecifiedLineTradeSettlement|SpecifiedSupplyChainTradeSettlement"
    sums = f"{settled}/{_SUMS}|SpecifiedTradeSettlementLineMonetarySummation/LineTotalAmount"
    count = item.first(f"{sent}/BilledQuantity")
    rate = item.said(f"{settled}/ApplicableTradeTax/RateApplicablePercent|ApplicablePercent")
    product = item.first("SpecifiedTradeProduct") or _Node("", {})
    return (
        item.said("AssociatedDocumentLineDocument/LineID"),
        product.said("SellerAssignedID"),
        ", ".join(filter(None, (product.said("Name"), product.said("Description")))),
        _number(count), _unit(count),
        _number(item.first(f"{agreed}/NetPriceProductTradePrice/ChargeAmount")),
        _percent(rate), item.said(sums),
    )  # fmt: skip


def _number(node: _Node | None) -> str:
    """``12.0000`` as ``12``, ``8.5000`` as ``8.50``."""
    text = node.text if node else ""
    if not re.fullmatch(r"-?[0-9]{1,20}\.[0-9]{1,20}", text):
        return text
    whole, _, part = text.partition(".")
    part = part.rstrip("0")
    return f"{whole}.{part.ljust(2, '0')}" if part else whole


def _cii_sums(settled: _Node) -> Iterator[tuple[str, str]]:
    sums = settled.first(_SUMS) or _Node("", {})
    yield "Sum of lines", sums.said("LineTotalAmount")
    for each in settled.every("SpecifiedTradeAllowanceCharge"):
        is_charge = each.said("ChargeIndicator/Indicator", "ChargeIndicator").lower() == "true"
        reason = each.said("Reason")
        label = "Charge" if is_charge else "Allowance"
        yield f"{label}{f' ({reason})' if reason else ''}", each.said("ActualAmount")
    yield "Charges", sums.said("ChargeTotalAmount")
    yield "Allowances", sums.said("AllowanceTotalAmount")
    yield "Net total", sums.said("TaxBasisTotalAmount")
    for each in settled.every("ApplicableTradeTax"):
        yield _tax(
            each.said("RateApplicablePercent|ApplicablePercent"), each.said("BasisAmount"),
            each.said("CalculatedAmount"), each.said("CategoryCode"),
            each.said("ExemptionReason"),
        )  # fmt: skip
    yield "Tax total", sums.said("TaxTotalAmount")
    yield "Rounding", sums.said("RoundingAmount")
    yield "Total", sums.said("GrandTotalAmount")
    yield "Prepaid", sums.said("TotalPrepaidAmount")
    yield "Amount due", sums.said("DuePayableAmount")


def _cii_payment(settled: _Node, terms: _Node) -> Iterator[tuple[str, str]]:
    yield "Payment terms", terms.said("Description")
    yield "Payment reference", settled.said("PaymentReference")
    for means in settled.every("SpecifiedTradeSettlementPaymentMeans"):
        account = means.first("PayeePartyCreditorFinancialAccount") or _Node("", {})
        yield "Payment by", means.said("Information")
        yield "IBAN", account.said("IBANID")
        yield "Account", account.said("ProprietaryID")
        yield "Account holder", account.said("AccountName")
        yield "BIC", means.said("PayeeSpecifiedCreditorFinancialInstitution/BICID")
        yield "IBAN of the payer", means.said("PayerPartyDebtorFinancialAccount/IBANID")


def _date(node: _Node | None) -> str:
    """``20261124`` (the form 102) as ``2026-11-24``."""
    text = node.text if node else ""
    if re.fullmatch(r"[0-9]{8}", text):
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    return text


def _period(node: _Node | None) -> str:
    if node is None:
        return ""
    days = [_date(node.first(f"{end}DateTime/DateTimeString")) for end in ("Start", "End")]
    return " to ".join(filter(None, days))


def _address(lines: Iterable[str], code: str, city: str, country: str) -> str:
    return ", ".join(filter(None, (*lines, f"{code} {city}".strip(), country)))


# UBL: Universal Business Language of OASIS.


def _ubl(root: _Node) -> Iterator[str]:
    kind = root.said("InvoiceTypeCode", "CreditNoteTypeCode")
    kind = _KINDS.get(kind, kind) or ("credit note" if root.tag == "CreditNote" else "")
    period = root.first("InvoicePeriod") or _Node("", {})
    days = (period.said("StartDate"), period.said("EndDate"))
    yield from _labelled([
        ("Document type", kind),
        ("Invoice number", root.said("ID")),
        ("Invoice date", root.said("IssueDate")),
        ("Due date", root.said("DueDate", "PaymentMeans/PaymentDueDate")),
        ("Delivery date", root.said("Delivery/ActualDeliveryDate")),
        ("Billing period", " to ".join(filter(None, days))),
        ("Currency", root.said("DocumentCurrencyCode")),
        ("Purchase order", root.said("OrderReference/ID")),
        ("Contract", root.said("ContractDocumentReference/ID")),
        ("Buyer reference", root.said("BuyerReference")),
    ])  # fmt: skip
    yield from _ubl_party("Seller", root.first("AccountingSupplierParty/Party"))
    yield from _ubl_party("Buyer", root.first("AccountingCustomerParty/Party"))
    yield from _labelled(("Note", note.text) for note in root.every("Note"))
    yield from _table([_ubl_row(item) for item in root.every("InvoiceLine|CreditNoteLine")])
    yield ""
    yield from _labelled(_ubl_sums(root))
    yield from _labelled(_ubl_payment(root))


def _ubl_party(label: str, party: _Node | None) -> Iterator[str]:
    if party is None:
        return
    place = party.first("PostalAddress") or _Node("", {})
    lines = [place.said(name) for name in ("StreetName", "AdditionalStreetName")]
    lines.append(place.said("AddressLine/Line"))
    yield ""
    yield from _labelled([
        (label, party.said("PartyName/Name", "PartyLegalEntity/RegistrationName")),
        (f"{label} address", _address(
            lines, place.said("PostalZone"), place.said("CityName"),
            place.said("Country/IdentificationCode"))),
        (f"{label} number", party.said("PartyIdentification/ID")),
        (f"{label} register number", party.said("PartyLegalEntity/CompanyID")),
    ])  # fmt: skip
    legal = party.said("PartyLegalEntity/RegistrationName")
    if legal != party.said("PartyName/Name", "PartyLegalEntity/RegistrationName"):
        yield from _labelled([(f"{label} legal name", legal)])
    for tax in party.every("PartyTaxScheme"):
        is_vat = tax.said("TaxScheme/ID") in ("VAT", "")
        yield from _labelled([(f"{label} {'VAT ID' if is_vat else 'tax number'}",
                               tax.said("CompanyID"))])  # fmt: skip
    yield from _labelled([
        (f"{label} contact", party.said("Contact/Name")),
        (f"{label} phone", party.said("Contact/Telephone")),
        (f"{label} e-mail", party.said("Contact/ElectronicMail")),
    ])  # fmt: skip


def _ubl_row(item: _Node) -> tuple[str, ...]:
    count = item.first("InvoicedQuantity|CreditedQuantity")
    product = item.first("Item") or _Node("", {})
    return (
        item.said("ID"), product.said("SellersItemIdentification/ID"),
        ", ".join(filter(None, (product.said("Name"), product.said("Description")))),
        _number(count), _unit(count), _number(item.first("Price/PriceAmount")),
        _percent(product.said("ClassifiedTaxCategory/Percent")), item.said("LineExtensionAmount"),
    )  # fmt: skip


def _ubl_sums(root: _Node) -> Iterator[tuple[str, str]]:
    sums = root.first("LegalMonetaryTotal") or _Node("", {})
    yield "Sum of lines", sums.said("LineExtensionAmount")
    for each in root.every("AllowanceCharge"):
        label = "Charge" if each.said("ChargeIndicator").lower() == "true" else "Allowance"
        reason = each.said("AllowanceChargeReason")
        yield f"{label}{f' ({reason})' if reason else ''}", each.said("Amount")
    yield "Charges", sums.said("ChargeTotalAmount")
    yield "Allowances", sums.said("AllowanceTotalAmount")
    yield "Net total", sums.said("TaxExclusiveAmount")
    for each in root.every("TaxTotal/TaxSubtotal"):
        yield _tax(
            each.said("TaxCategory/Percent", "Percent"), each.said("TaxableAmount"),
            each.said("TaxAmount"), each.said("TaxCategory/ID"),
            each.said("TaxCategory/TaxExemptionReason"),
        )  # fmt: skip
    yield "Tax total", root.said("TaxTotal/TaxAmount")
    yield "Rounding", sums.said("PayableRoundingAmount")
    yield "Total", sums.said("TaxInclusiveAmount")
    yield "Prepaid", sums.said("PrepaidAmount")
    yield "Amount due", sums.said("PayableAmount")


def _ubl_payment(root: _Node) -> Iterator[tuple[str, str]]:
    yield "Payment terms", root.said("PaymentTerms/Note")
    for means in root.every("PaymentMeans"):
        account = means.first("PayeeFinancialAccount") or _Node("", {})
        yield "Payment reference", means.said("PaymentID")
        yield "IBAN", account.said("ID")
        yield "Account holder", account.said("Name")
        yield "BIC", account.said("FinancialInstitutionBranch/ID")
        yield "IBAN of the payer", means.said("PaymentMandate/PayerFinancialAccount/ID")
