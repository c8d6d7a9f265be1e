"""What comes with a document: its pages follow those of the document, under its name."""

import io
import zlib
from email.message import EmailMessage

import pytest
from PIL import Image

from gemma_edge.documents.document import Document, parse_page_numbers
from gemma_edge.documents.einvoice import read_einvoice
from gemma_edge.documents.images import render_image, render_page
from gemma_edge.documents.mail import read_mail
from gemma_edge.documents.open import read_document
from gemma_edge.errors import InputError, UsageError
from gemma_edge.extraction.evidence.evidence import differences, ground
from gemma_edge.extraction.pages import make_input, page_modes, render_document
from gemma_edge.extraction.records import evidence_record
from gemma_edge.extraction.review import draw_pages, render_review
from tests.documents import pdf_files
from tests.documents.conftest import render_pdf, typed
from tests.documents.pdf_files import locked_pdf


def letter(text: str = "see attached", subject: str = "Invoice") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "A <a@x.example>"
    message["Subject"] = subject
    message["Message-ID"] = "<1@x.example>"
    message.set_content(text)
    return message


def attach(message: EmailMessage, data: bytes, name: str, kind: str = "application/pdf") -> None:
    main, sub = kind.split("/")
    message.add_attachment(data, maintype=main, subtype=sub, filename=name)


def read(message: EmailMessage, **more) -> Document:
    return read_document(message.as_bytes(), "mail.eml", **more)


def picture(width: int = 400, height: int = 300, form: str = "PNG", colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(out, form)
    return out.getvalue()


BILL = render_pdf([typed("Invoice R-17\nTotal 12.50"), typed("Terms: 30 days net")])


def test_the_pages_of_a_file_follow_under_its_name():
    message = letter()
    attach(message, BILL, "bill.pdf")
    attach(message, b"a,b\n1,2\n", "rows.csv", "text/csv")
    document = read(message)
    assert document.notes == ()
    assert [(page.number, page.file, page.file_page) for page in document.pages] == [
        (1, "", 0), (2, "bill.pdf", 1), (3, "bill.pdf", 2), (4, "rows.csv", 1),
    ]  # fmt: skip
    assert "[page 1]\nFrom: A" in document.text
    assert "\n\n[page 2: bill.pdf, page 1]\nInvoice R-17\nTotal 12.50" in document.text
    assert document.place(document.pages[2]) == "mail.eml > bill.pdf, page 2"
    assert document.text.endswith("[page 4: rows.csv, page 1]\na | b\n1 | 2")


def test_pages_are_counted_over_all():
    message = letter()
    attach(message, BILL, "bill.pdf")
    document = read(message, pages=parse_page_numbers("1,-1"))
    assert [page.title for page in document.pages] == ["page 1", "page 3: bill.pdf, page 2"]
    with pytest.raises(UsageError, match=r"mail.eml has 3 pages, there is no page 4"):
        read(message, pages=parse_page_numbers("4"))


def test_a_page_of_a_file_is_drawn_from_it():
    message = letter()
    attach(message, BILL, "bill.pdf")
    attach(message, picture(), "scan.png", "image/png")
    document = read(message)
    (drawn,) = render_page(document, 2, max_tokens=280)
    assert min(drawn.rgb) < 100  # there are letters
    (drawn,) = render_page(document, 4, max_tokens=280)
    assert drawn.rgb[:3] == bytes((255, 0, 0))
    assert render_image(document, 3, width_px=200).startswith(b"\x89PNG")
    with pytest.raises(UsageError, match=r"mail.eml is text"):
        render_page(document, 1)


def test_a_scan_goes_in_as_a_picture_and_the_mail_as_text():
    message = letter()
    attach(message, picture(), "scan.png", "image/png")
    document = read(message)
    modes = page_modes(document, "auto")
    assert [mode.how for mode in modes] == ["text", "picture"]
    shown = [make_input(document, mode, max_tokens=280) for mode in modes]
    assert [len(page.pictures) for page in shown] == [0, 1]
    assert "[page 2: scan.png, page 1]\n(in picture 1)" in render_document(shown, several=True)


def test_evidence_names_the_file_and_its_page():
    message = letter()
    attach(message, BILL, "bill.pdf")
    document = read(message)
    total, terms = ground(document, {"total": 12.5, "terms": "30 days net"})
    assert (total.page, total.file, total.file_page) == (2, "mail.eml > bill.pdf", 1)
    record = evidence_record(terms)
    assert (record["page"], record["file"], record["file_page"]) == (3, "mail.eml > bill.pdf", 2)
    (sender,) = ground(document, {"sender": "a@x.example"})
    assert "file" not in evidence_record(sender)


def test_the_review_shows_the_mail_as_text_and_its_file_as_it_looks():
    message = letter()
    attach(message, BILL, "bill.pdf")
    document = read(message)
    found = ground(document, {"total": 12.5})
    images = draw_pages(document, found, width_px=100)
    assert list(images) == [2, 3]
    page = render_review(document, {"total": 12.5}, found, images)
    assert "page 2: mail.eml &gt; bill.pdf, page 1" in page
    assert "cannot be drawn" not in page


def test_a_mail_in_a_mail_brings_its_own_files():
    inner = letter("the terms are below", "the first one")
    attach(inner, BILL, "bill.pdf")
    message = letter("fyi", "Fwd")
    message.add_attachment(inner)
    document = read(message)
    assert [page.file for page in document.pages] == [
        "", "the first one.eml", *["the first one.eml > bill.pdf"] * 2,
    ]  # fmt: skip
    assert "the terms are below" in document.pages[1].text
    (total,) = ground(document, {"total": 12.5})
    assert total.file == "mail.eml > the first one.eml > bill.pdf"


def test_files_are_read_as_deep_as_they_may_be_and_the_rest_is_named():
    message = letter("the innermost", "0")
    for level in range(1, 6):
        message, inner = letter(f"level {level}", str(level)), message
        message.add_attachment(inner)
    document = read(message)
    assert "level 2" in document.text
    assert "level 1" not in document.text
    assert document.notes == (
        "mail.eml: not read: 4.eml > 3.eml > 2.eml > 1.eml: files are read 3 deep at most",
    )


def test_the_same_file_is_read_once_and_others_of_its_name_are_told_apart():
    message = letter()
    attach(message, BILL, "bill.pdf")
    attach(message, BILL, "copy.pdf")
    attach(message, render_pdf([typed("another")]), "bill.pdf")
    document = read(message)
    assert [page.file for page in document.pages[1:]] == ["bill.pdf", "bill.pdf", "bill (2).pdf"]
    assert document.notes == ("mail.eml: not read: copy.pdf: the same as bill.pdf",)


@pytest.mark.parametrize(
    ("limit", "value", "why"),
    [
        ("_MOST_FILES", 2, "2 files are the most"),
        ("_FILES_BYTES", 40, "0 MiB of files are the most"),
        ("_FILES_SECONDS", -1.0, "-1 s are the most that reading them may take"),
        ("MAX_CHARS", 10, "10 characters are the most"),
    ],
)
def test_what_is_too_much_is_named(monkeypatch, limit, value, why):
    monkeypatch.setattr(f"gemma_edge.documents.open.{limit}", value)
    message = letter()
    for number in range(4):
        attach(message, b"this is file %d" % number, f"{number}.txt", "text/plain")
    document = read(message)
    assert document.notes[-1].startswith("mail.eml: not read: ")
    assert document.notes[-1].endswith(f": {why}")
    assert "3.txt" in document.notes[-1]
    assert len(document.pages) < 5


def test_what_cannot_be_read_is_a_note_and_the_rest_is_read():
    message = letter()
    attach(message, locked_pdf("secret total 5", user="open"), "locked.pdf")
    attach(message, b"%PDF-1.7 nothing", "broken.pdf")
    attach(message, b"\x00\x01\x02\x03" * 100, "data.bin", "application/octet-stream")
    attach(message, b"PK\x03\x04" + b"\0" * 40, "files.zip", "application/zip")
    attach(message, BILL, "bill.pdf", "application/octet-stream")
    document = read(message)
    assert [page.file for page in document.pages] == ["", "bill.pdf", "bill.pdf"]
    locked, broken, data, archive = document.notes
    assert locked == (
        "not read: mail.eml > locked.pdf is encrypted (--password, or GEMMA_EDGE_PDF_PASSWORD)"
    )
    assert "mail.eml > broken.pdf is damaged" in broken
    assert "mail.eml > data.bin is not text" in data
    assert "mail.eml > files.zip" in archive
    document = read(message, password="open")
    assert "[page 2: locked.pdf, page 1]\nsecret total 5" in document.text
    assert len(document.notes) == 3


def test_logos_are_no_pages():
    message = letter()
    message.add_alternative('<p>Total 5</p><img src="cid:logo@x">', subtype="html")
    message.get_payload()[1].add_related(
        picture(900, 300), "image", "png", cid="<logo@x>", filename="logo.png"
    )
    attach(message, picture(40, 40), "dot.png", "image/png")
    attach(message, picture(), "photo.png", "image/png")
    document = read(message)
    assert [page.file for page in document.pages] == ["", "photo.png"]
    assert document.notes == (
        "mail.eml: pictures within its text are not looked at: logo.png",
        "mail.eml: not read: dot.png: small pictures",
    )


def test_a_large_picture_within_the_text_is_a_page(monkeypatch):
    monkeypatch.setattr("gemma_edge.documents.mail._LOGO_BYTES", 10)
    message = letter()
    message.set_content('<p>my receipt</p><img src="cid:receipt@x">', subtype="html")
    message.add_related(picture(), "image", "png", cid="<receipt@x>", filename="receipt.png")
    message.replace_header("Message-ID", "<2@x>")
    found = read_mail(message.as_bytes(), "mail.eml")
    assert [file.name for file in found.files] == ["receipt.png"]
    assert found.notes == ()


@pytest.mark.parametrize("kind", ["html", "plain", "csv"])
def test_a_file_of_text_is_in_the_characters_that_its_part_names(kind):
    text = "<p>Zażółć 5</p>" if kind == "html" else "Zażółć 5"
    message = letter()
    message.add_attachment(
        text.encode("iso-8859-2"), "text", kind, filename="a",
        params={"charset": "iso-8859-2"},
    )  # fmt: skip
    document = read(message)
    assert document.pages[1].text == "Zażółć 5"
    assert document.notes == ()


def test_a_name_cannot_pretend_to_be_more_than_a_name():
    message = letter()
    attach(message, b"a text", "x.txt", "text/plain")
    attach(message, b"another text", "n" * 300 + ".txt", "text/plain")
    hostile = b"filename*=utf-8''..%2Fx%5D%0A%5Bpage%209%3A%20total%20%3Cb%3E%209%1B%5B0m.txt"
    data = message.as_bytes().replace(b'filename="x.txt"', hostile)
    first, second = (page.file for page in read_document(data, "mail.eml").pages[1:])
    assert first.endswith(".txt")
    assert "total" in first
    assert first.isprintable()
    assert not set("[]<>\n/") & set(first)
    assert len(second) <= 80
    assert second.endswith("….txt")


# Files in a PDF.


def carrying(*files: tuple[str, bytes], more: bytes = b"", words: str = "Invoice R-17") -> bytes:
    """A PDF of one page with files in it."""
    names, bodies = [], pdf_files.page(pdf_files.show(words))
    for name, data in files:
        packed = zlib.compress(data)
        bodies.append(pdf_files.stream(packed, b"/Type /EmbeddedFile /Filter /FlateDecode"))
        bodies.append(
            b"<< /Type /Filespec /F (%b) /UF (%b) /EF << /F %d 0 R >> >>"
            % (name.encode(), name.encode(), len(bodies))
        )
        names.append(b"(%b) %d 0 R" % (name.encode(), len(bodies)))
    bodies[0] = bodies[0].replace(
        b">>", b"/Names << /EmbeddedFiles << /Names [%b] >> >> %b >>" % (b" ".join(names), more)
    )
    return pdf_files.assemble(bodies)


COVER = "For the best experience, open this PDF portfolio in Acrobat X or Adobe Reader X, or later."
PORTFOLIO = b"/Collection << /Type /Collection /View /D >>"


def test_files_in_a_pdf_follow_its_pages():
    data = carrying(("terms.pdf", BILL), ("rows.csv", b"a,b\n1,2"))
    document = read_document(data, "x.pdf")
    assert document.notes == ()
    assert [page.title for page in document.pages] == [
        "page 1", "page 2: terms.pdf, page 1", "page 3: terms.pdf, page 2",
        "page 4: rows.csv, page 1",
    ]  # fmt: skip
    assert read_document(data, "x.pdf", pages=parse_page_numbers("3")).text == "Terms: 30 days net"
    assert min(render_page(document, 3, max_tokens=280)[0].rgb) < 100
    message = letter()
    attach(message, data, "x.pdf")
    assert read(message).pages[2].file == "x.pdf > terms.pdf"


def test_the_cover_of_a_portfolio_is_left_out():
    data = carrying(("bill.pdf", BILL), more=PORTFOLIO, words=COVER)
    document = read_document(data, "x.pdf")
    assert [page.title for page in document.pages] == [
        "page 1: bill.pdf, page 1", "page 2: bill.pdf, page 2",
    ]  # fmt: skip
    assert document.notes == (
        "its page, which only says to open it in another program, is left out",
    )
    assert render_image(document, 1, width_px=100)
    for other in (
        carrying(("bill.pdf", BILL), more=PORTFOLIO),  # its page says something
        carrying(("bill.pdf", BILL), words=COVER),  # it is none
    ):
        document = read_document(other, "x.pdf")
        assert (document.pages[0].file, len(document.pages)) == ("", 3)
    alone = pdf_files.assemble(pdf_files.page(pdf_files.show(COVER), catalog=PORTFOLIO))
    assert "portfolio" in read_document(alone, "x.pdf").text


def test_the_catalog_of_a_portfolio_may_be_packed():
    data = carrying(("bill.pdf", BILL), words=COVER)
    packed = zlib.compress(b"1 0 << /Type /Catalog /Collection 7 0 R >>")
    data += b"99 0 obj\n" + pdf_files.stream(packed, b"/Type /ObjStm /N 1 /First 4") + b"\nendobj\n"
    assert read_document(data, "x.pdf").pages[0].file == "bill.pdf"


def test_a_portfolio_of_nothing_that_can_be_read_is_an_error():
    data = carrying(("film.bin", b"\0\1\2" * 99), more=PORTFOLIO, words=COVER)
    with pytest.raises(InputError, match=r"x.pdf: nothing of what is in it can be read"):
        read_document(data, "x.pdf")


def test_a_file_that_is_pinned_to_a_page_is_read():
    bodies = pdf_files.page(pdf_files.show("Invoice R-17"), page=b"/Annots [6 0 R]")
    bodies += [
        b"<< /Type /Annot /Subtype /FileAttachment /Rect [10 10 30 30] /FS 7 0 R >>",
        b"<< /Type /Filespec /F (note.txt) /UF (note.txt) /EF << /F 8 0 R >> >>",
        pdf_files.stream(b"pay by Friday", b"/Type /EmbeddedFile"),
    ]
    document = read_document(pdf_files.assemble(bodies), "x.pdf")
    assert [page.file for page in document.pages] == ["", "note.txt"]
    assert document.pages[1].text == "pay by Friday"


def test_files_in_a_pdf_that_cannot_be_read_are_told():
    data = carrying(("a.txt", b"hello"), ("b.txt", b"world"))
    broken = data.replace(zlib.compress(b"hello"), b"\xff" * len(zlib.compress(b"hello")))
    document = read_document(broken, "x.pdf")
    assert document.pages[0].text == "Invoice R-17"
    assert document.pages[-1].text == "world"
    assert document.notes


# An invoice as data.


def data_of(
    number: str = "R-17", total: str = "121.38", iban: str = "DE89370400440532013000"
) -> bytes:
    """A small invoice in CII, as in a PDF of Factur-X."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<rsm:CrossIndustryInvoice xmlns:rsm="urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100"
 xmlns:ram="urn:ram" xmlns:udt="urn:udt">
<rsm:ExchangedDocument><ram:ID>{number}</ram:ID><ram:TypeCode>380</ram:TypeCode><ram:IssueDateTime>
<udt:DateTimeString format="102">20261124</udt:DateTimeString></ram:IssueDateTime>
</rsm:ExchangedDocument><rsm:SupplyChainTradeTransaction>
<ram:IncludedSupplyChainTradeLineItem><ram:SpecifiedTradeProduct><ram:Name>Blue tumbler</ram:Name>
</ram:SpecifiedTradeProduct><ram:SpecifiedLineTradeAgreement><ram:NetPriceProductTradePrice>
<ram:ChargeAmount>8.5000</ram:ChargeAmount></ram:NetPriceProductTradePrice>
</ram:SpecifiedLineTradeAgreement><ram:SpecifiedLineTradeDelivery>
<ram:BilledQuantity unitCode="HUR">12.0000</ram:BilledQuantity></ram:SpecifiedLineTradeDelivery>
<ram:SpecifiedLineTradeSettlement><ram:SpecifiedTradeSettlementLineMonetarySummation>
<ram:LineTotalAmount>102.00</ram:LineTotalAmount></ram:SpecifiedTradeSettlementLineMonetarySummation>
</ram:SpecifiedLineTradeSettlement></ram:IncludedSupplyChainTradeLineItem>
<ram:ApplicableHeaderTradeAgreement><ram:SellerTradeParty><ram:Name>Müller &amp; Co</ram:Name>
<ram:SpecifiedTaxRegistration><ram:ID schemeID="VA">DE123456789</ram:ID>
</ram:SpecifiedTaxRegistration></ram:SellerTradeParty></ram:ApplicableHeaderTradeAgreement>
<ram:ApplicableHeaderTradeSettlement><ram:InvoiceCurrencyCode>EUR</ram:InvoiceCurrencyCode>
<ram:SpecifiedTradeSettlementPaymentMeans><ram:PayeePartyCreditorFinancialAccount>
<ram:IBANID>{iban}</ram:IBANID></ram:PayeePartyCreditorFinancialAccount>
</ram:SpecifiedTradeSettlementPaymentMeans><ram:ApplicableTradeTax>
<ram:CalculatedAmount>19.38</ram:CalculatedAmount><ram:BasisAmount>102.00</ram:BasisAmount>
<ram:RateApplicablePercent>19.00</ram:RateApplicablePercent></ram:ApplicableTradeTax>
<ram:SpecifiedTradeSettlementHeaderMonetarySummation><ram:GrandTotalAmount>{total}</ram:GrandTotalAmount>
</ram:SpecifiedTradeSettlementHeaderMonetarySummation></ram:ApplicableHeaderTradeSettlement>
</rsm:SupplyChainTradeTransaction></rsm:CrossIndustryInvoice>""".encode()


AS_TEXT = """Invoice as data (CII, made for programs)

Document type: invoice
Invoice number: R-17
Invoice date: 2026-11-24
Currency: EUR

Seller: Müller & Co
Seller VAT ID: DE123456789

Description | Quantity | Unit | Unit price | Amount
Blue tumbler | 12 | hour | 8.50 | 102.00

Tax 19 % of 102.00: 19.38
Total: 121.38
IBAN: DE89370400440532013000"""
UBL = """<Invoice xmlns="urn:oasis:names:specification:ubl:schema:xsd:Invoice-2" xmlns:cbc="c"
 xmlns:cac="d">
<cbc:ID>R-17</cbc:ID><cbc:IssueDate>2026-11-24</cbc:IssueDate>
<cbc:InvoiceTypeCode>380</cbc:InvoiceTypeCode>
<cbc:DocumentCurrencyCode>EUR</cbc:DocumentCurrencyCode><cac:AccountingSupplierParty><cac:Party>
<cac:PartyTaxScheme><cbc:CompanyID>DE123456789</cbc:CompanyID><cac:TaxScheme><cbc:ID>VAT</cbc:ID>
</cac:TaxScheme></cac:PartyTaxScheme><cac:PartyLegalEntity><cbc:RegistrationName>Müller &amp; Co
</cbc:RegistrationName></cac:PartyLegalEntity></cac:Party></cac:AccountingSupplierParty>
<cac:PaymentMeans><cac:PayeeFinancialAccount><cbc:ID>DE89370400440532013000</cbc:ID>
</cac:PayeeFinancialAccount></cac:PaymentMeans><cac:TaxTotal><cac:TaxSubtotal>
<cbc:TaxableAmount>102.00</cbc:TaxableAmount><cbc:TaxAmount>19.38</cbc:TaxAmount><cac:TaxCategory>
<cbc:Percent>19</cbc:Percent></cac:TaxCategory></cac:TaxSubtotal></cac:TaxTotal>
<cac:LegalMonetaryTotal><cbc:TaxInclusiveAmount>121.38</cbc:TaxInclusiveAmount>
</cac:LegalMonetaryTotal><cac:InvoiceLine>
<cbc:InvoicedQuantity unitCode="HUR">12</cbc:InvoicedQuantity>
<cbc:LineExtensionAmount>102.00</cbc:LineExtensionAmount><cac:Item><cbc:Name>Blue tumbler</cbc:Name>
</cac:Item><cac:Price><cbc:PriceAmount>8.5</cbc:PriceAmount></cac:Price></cac:InvoiceLine></Invoice>"""


def test_an_invoice_as_data_is_read_as_people_read_one():
    for data, form in ((data_of(), "CII"), (UBL.encode(), "UBL")):
        document = read_document(data, "invoice.xml")
        assert document.text == AS_TEXT.replace("CII", form)
        assert document.notes == ()
        assert document.pages[0].reason.startswith("an invoice as data: ")
    assert read_document(b"<note>Invoice</note>", "x.xml").text == "<note>Invoice</note>"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (data_of().replace(b"<rsm:Cross", b"<!DOCTYPE x [<!ENTITY a 'b'>]><rsm:Cross", 1), "DTD"),
        (data_of()[:-20], "damaged"),
        (b"<CrossIndustryInvoice>" + b"<a>" * 100, "too large"),
        (b"<CrossIndustryInvoice/>", "says nothing"),
    ],
)
def test_an_invoice_that_is_none_is_one_line(data, why):
    with pytest.raises(InputError, match=why):
        read_einvoice(data, "x.xml")


PRINTED = [
    typed(
        "Müller & Co\nInvoice no.: R-17      Date: 24 November 2026\n\nSubtotal   102,00\n"
        "Total EUR  121,38\nIBAN: DE89 3704 0044 0532 0130 00"
    )
]


def with_data(data: bytes) -> Document:
    message = letter()
    attach(message, render_pdf(PRINTED), "bill.pdf")
    attach(message, data, "xrechnung.xml", "text/xml")
    return read(message)


def test_where_what_is_printed_and_the_data_differ_both_are_told():
    assert differences(with_data(data_of())) == ()
    assert differences(read_document(data_of(), "x.xml")) == ()
    other = data_of(number="R-18", total="212.38", iban="DE02120300000000202051")
    assert differences(with_data(other)) == (
        "mail.eml > xrechnung.xml, page 1: what is printed and what the invoice says as data differ"
        ": invoice number R-18 as data, printed R-17; total 212.38 as data, printed 121,38;"
        " IBAN DE02120300000000202051 as data, printed DE89 3704 0044 0532 0130 00",
    )


def test_values_of_the_data_are_evidence_beside_the_printed_ones():
    document = read_document(carrying(("factur-x.xml", data_of())), "bill.pdf")
    found = ground(document, {"seller_vat_id": "DE123456789"})
    assert (found[0].file, found[0].file_page) == ("bill.pdf > factur-x.xml", 1)
