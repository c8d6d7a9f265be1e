"""Postal addresses as they are printed: in blocks, in columns, in sentences, in many countries."""

import time

import pytest

from gemma_edge.extraction.addresses import find_addresses
from tests.extract.test_grounding import holds

# A text, and the address that is in it.
BLOCKS = {
    "US": (
        "ACME Corp\n350 Fifth Avenue, Suite 4100\nNew York, NY 10118\nPhone: (212) 555-0100",
        "350 Fifth Avenue, Suite 4100 New York, NY 10118",
    ),
    "GB": (
        "Smith & Sons Ltd\n10 Downing Street\nLondon\nSW1A 2AA\nVAT No: GB123456789",
        "10 Downing Street London SW1A 2AA",
    ),
    "DE": (
        "Muster GmbH\nHauptstraße 5\n10115 Berlin\nUSt-IdNr.: DE123456789",
        "Hauptstraße 5 10115 Berlin",
    ),
    "DE box": ("Musterverein e.V.\nPostfach 12 34\n53123 Bonn", "Postfach 12 34 53123 Bonn"),
    "AT, no word for a street": (
        "Herr Max Muster\nLindenhof 7\nA-1010 Wien\nÖsterreich",
        "Lindenhof 7 A-1010 Wien Österreich",
    ),
    "FR": (
        "Exemple SARL\n10 rue de la Paix\n75002 Paris\nFrance\nSIRET 123 456 789 00012",
        "10 rue de la Paix 75002 Paris France",
    ),
    "ES": (
        "Ejemplo S.L.\nCalle Mayor, 3, 2º B\n28013 Madrid\nCIF: B12345678",
        "Calle Mayor, 3, 2º B 28013 Madrid",
    ),
    "IT": (
        "Esempio S.r.l.\nVia Roma 12\n00184 Roma (RM)\nP.IVA 12345678901",
        "Via Roma 12 00184 Roma (RM)",
    ),
    "NL": (
        "Voorbeeld B.V.\nKeizersgracht 123\n1015 CJ Amsterdam\nKVK 12345678",
        "Keizersgracht 123 1015 CJ Amsterdam",
    ),
    "PL": (
        "Firma Sp. z o.o.\nul. Długa 5/3\n00-950 Warszawa\nNIP: 1234567890",
        "ul. Długa 5/3 00-950 Warszawa",
    ),
    "BR": (
        "Exemplo Ltda.\nRua das Flores, 123, Sala 45\nSão Paulo - SP\n01310-100\nCNPJ: 12.345",
        "Rua das Flores, 123, Sala 45 São Paulo - SP 01310-100",
    ),
    "SE": (
        "Exempel AB\nStorgatan 12\n111 22 Stockholm\nOrg.nr 556677-8899",
        "Storgatan 12 111 22 Stockholm",
    ),
    "TR": (
        "Örnek A.Ş.\nAtatürk Cad. No: 15/4\n34349 Beşiktaş, İstanbul\nVergi No: 1234567890",
        "Atatürk Cad. No: 15/4 34349 Beşiktaş, İstanbul",
    ),
    "MY": (
        "KEDAI X\n(123456-X)\nNO. 8, JALAN MAWAR 3/2,\nTAMAN MELUR,\n81100 JOHOR BAHRU\nTEL",
        "NO. 8, JALAN MAWAR 3/2, TAMAN MELUR, 81100 JOHOR BAHRU",
    ),
    "SG": (
        "Example Pte Ltd\n10 Anson Road #10-11\nInternational Plaza\nSingapore 079903",
        "10 Anson Road #10-11 International Plaza Singapore 079903",
    ),
    "IN": (
        "Example Pvt Ltd\n221B, MG Road, Indiranagar\nBengaluru 560038\nGSTIN: 29ABCDE1234F1Z5",
        "221B, MG Road, Indiranagar Bengaluru 560038",
    ),
    "AU": (
        "Example Pty Ltd\nLevel 12, 100 Collins Street\nMelbourne VIC 3000\nABN 12 345 678 901",
        "Level 12, 100 Collins Street Melbourne VIC 3000",
    ),
    "CN": (
        "某某有限公司\n地址：北京市朝阳区建国路88号\n电话：010-12345678",
        "北京市朝阳区建国路88号",
    ),
    "JP": ("株式会社例\n〒100-0001\n東京都千代田区千代田1-1", "〒100-0001 東京都千代田区千代田1-1"),
    "KR": (
        "주식회사 예시\n서울특별시 강남구 테헤란로 123\n전화 02",
        "서울특별시 강남구 테헤란로 123",
    ),
    "RU": (
        "ООО Пример\nул. Ленина, д. 5, кв. 12\n101000 Москва\nИНН 7701234567",
        "ул. Ленина, д. 5, кв. 12 101000 Москва",
    ),
    "label": ("Invoice address: 5 Station Road, Leeds LS1 4DY", "5 Station Road, Leeds LS1 4DY"),
}
COLUMNS = """Bill to:                      Ship to:
Jane Doe                      John Roe
12 High Street                45 Oak Avenue
Springfield, IL 62704         Portland, OR 97205

Item    Qty   Price
Bolts   2   5.00
"""
PROSE = (
    "This lease is made by Cisco, whose registered office is at 170 West Tasman Drive, San Jose,\n"
    "California 95134 (the Tenant), and a bank with offices at 101 North Tryon Street, Charlotte,\n"
    "NC 28255, United States, as agent."
)


@pytest.mark.parametrize(("text", "address"), BLOCKS.values(), ids=BLOCKS)
def test_a_block_is_an_address(text: str, address: str) -> None:
    found = find_addresses(text)
    assert address in found
    # No name above it and no number below it.
    assert all(each.startswith(address[:8]) for each in found)
    assert not any(len(each) > len(address) + len(" Deutschland") for each in found)


def test_columns_side_by_side_do_not_mix() -> None:
    assert find_addresses(COLUMNS) == (
        "12 High Street Springfield, IL 62704",
        "45 Oak Avenue Portland, OR 97205",
    )


def test_addresses_in_sentences() -> None:
    assert find_addresses(PROSE) == (
        "170 West Tasman Drive, San Jose, California 95134",
        "101 North Tryon Street, Charlotte, NC 28255",
        "101 North Tryon Street, Charlotte, NC 28255, United States",
    )


@pytest.mark.parametrize(
    "text",
    [
        "TOTAL 12.00\nCASH 20.00\nTEL 07-3523888\nGST ID: 000849813504",
        "5386 STAR BRAND GARBAGE BAG   RM31.80\nTHANK YOU",
        "The committee met on 12 March 2024 and decided nothing.",
        "",
    ],
)
def test_other_numbers_are_no_address(text: str) -> None:
    assert find_addresses(text) == ()


def test_long_texts_take_a_moment() -> None:
    start = time.perf_counter()
    for text in ("A 1234 Road, " * 2_000, "12345 Berlin, " * 2_000, "12345\n" * 5_000):
        find_addresses(text)
    assert time.perf_counter() - start < 10


def test_a_field_called_address_is_one_of_them() -> None:
    text, address = BLOCKS["DE"]
    assert holds("address", {"address": address}, text)
    assert holds("seller_address", {"seller_address": address}, text)
    assert not holds("address", {"address": "Berlin"}, text)
    # Where there is none, where a person says so, and where the name says another thing: any words.
    assert holds("address", {"address": "by the river"}, "A hut by the river")
    assert holds("address: verbatim", {"address": "Berlin"}, text)
    assert holds("address_line_2", {"address_line_2": "10115 Berlin"}, text)


def test_of_a_directory_all_or_none() -> None:
    """Where not all can be offered, a field may be any words instead of some of them."""
    entry = "{} Station Road\nTown, IL {}\n\n".format
    few, many = ("".join(entry(n, 60000 + n) for n in range(size)) for size in (300, 1_100))
    assert len(find_addresses(few)) == 300
    assert find_addresses(many) == ()
