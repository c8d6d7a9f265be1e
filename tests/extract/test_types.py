"""Semantic types: what is printed to a value, or the reason why not."""

import json
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_edge.extraction.values import KINDS, MAX_CHARS, Habits, has_check_digits, read_as, tables

MONTHS = {
    "de": ["Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September",
           "Oktober", "November", "Dezember"],
    "fr": ["janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre",
           "octobre", "novembre", "décembre"],
    "es": ["enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre",
           "octubre", "noviembre", "diciembre"],
    "en": ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sept", "Oct", "Nov", "Dec"],
    "ru": ["января", "февраля", "марта", "апреля", "мая", "июня", "июля", "августа", "сентября",
           "октября", "ноября", "декабря"],
}  # fmt: skip
DAYS = st.dates(date(1970, 1, 1), date(2069, 12, 31))


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("date", "2024-05-06", "2024-05-06"),
        ("date", "2024-05-06T10:00:00Z", "2024-05-06"),
        ("date", "20240506", "2024-05-06"),
        ("date", "March 6th, 2024", "2024-03-06"),
        ("date", "le 1er août 2023", "2023-08-01"),
        ("date", "Montag, den 3. Juni 2024", "2024-06-03"),
        ("date", "12 de mayo de 2024", "2024-05-12"),
        ("date", "2024 May 6", "2024-05-06"),
        ("date", "12 AUG /AOÛT 85", "1985-08-12"),
        ("date", "04 IÚIL/JUL 1978", "1978-07-04"),
        ("date", "31.12.99", "1999-12-31"),
        ("date", "03.04.2024", "2024-04-03"),
        ("date", "13/04/2024", "2024-04-13"),
        ("date", "04/13/2024", "2024-04-13"),
        ("date", "2024年5月6日", "2024-05-06"),
        ("money", "1.234,56 EUR", {"amount": 1234.56, "currency": "EUR"}),
        ("money", "CHF 1'234.50", {"amount": 1234.5, "currency": "CHF"}),
        ("money", "US$ 1,234.56", {"amount": 1234.56, "currency": "USD"}),
        ("money", "1 234,50 zł", {"amount": 1234.5, "currency": "PLN"}),
        ("money", "1.234 EUR", {"amount": 1234, "currency": "EUR"}),
        ("money", "-12,50 €", {"amount": -12.5, "currency": "EUR"}),
        ("money", "USD (1,234.00)", {"amount": -1234, "currency": "USD"}),
        ("money", "12,50- €", {"amount": -12.5, "currency": "EUR"}),
        ("money", "€ 5,–", {"amount": 5, "currency": "EUR"}),
        ("money", "1,00,000.00 INR", {"amount": 100000, "currency": "INR"}),
        ("money", "12.50", {"amount": 12.5, "currency": None}),
        ("percent", "7,5 %", 7.5),
        ("percent", "19 Prozent", 19),
        ("percent", "-3%", -3),
        ("percent", "0.125%", 0.125),
        ("percent", "7,5", 7.5),
        ("amount", "CHF 1'234.50", 1234.5),
        ("amount", "$ 1,234.5", 1234.5),
        ("amount", "3", 3),
        ("amount", "107.00, ", 107),
        ("amount", "2,5 h", 2.5),
        ("amount", "-3 Stk.", -3),
        ("currency", "zł", "PLN"),
        ("currency", "US$", "USD"),
        ("iban", "IBAN: DE89 3704 0044 0532 0130 00", "DE89370400440532013000"),
        ("iban", "gb82 west 1234 5698 7654 32", "GB82WEST12345698765432"),
        ("email", "<Jane.Doe@EXAMPLE.org>", "Jane.Doe@example.org"),
        ("email", "mailto:a+b@mail.example.co.uk", "a+b@mail.example.co.uk"),
        ("country", "Deutschland", "DE"),
        ("country", "États-Unis", "US"),
        ("country", "Côte d’Ivoire", "CI"),
        ("country", "DEU", "DE"),
        ("country", "UK", "GB"),
        ("country", "CH", "CH"),
        ("phone", "+49 (0)30 / 123-456", "+4930123456"),
        ("phone", "Tel.: 0041 44 668 18 00", "+41446681800"),
    ],
)  # fmt: skip
def test_what_says_itself_is_read_without_habits(kind, text, value):
    reading = read_as(kind, text)
    assert (reading.value, reading.problem, reading.choices) == (value, "", ())


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        ("date", "30 days net", "no month"),
        ("date", "May 2024", "not a day, a month and a year"),
        ("date", "2024-02-30", "there is no such day"),
        ("date", "31 June 2024", "there is no such day"),
        ("date", "invoice of 6 May 2024", "not a day, a month and a year"),
        ("date", "May or June 6 2024", "several months"),
        ("money", "12.34.56 EUR", "not read"),
        ("money", "total 5 EUR", '"total EUR" is no currency'),
        ("money", "5 or 6 EUR", "several amounts"),
        ("money", "EUR", "no amount"),
        ("percent", "7 of 8", "not a number of percent"),
        ("amount", "three", "no amount"),
        ("amount", "3 of 5", "several amounts"),
        ("amount", "500.00 CR", "on which side of an account"),
        ("currency", "money", "not a currency"),
        ("iban", "DE88 3704 0044 0532 0130 00", "the check digits are wrong"),
        ("iban", "DE89 3704 0044 0532 0130 0", "21 characters, an IBAN of DE has 22"),
        ("iban", "US89 3704 0044 0532 0130 00", "US has no IBAN"),
        ("email", "jane.example.org", "not an e-mail address"),
        ("email", "a..b@example.org", "not an e-mail address"),
        ("country", "Narnia", "not the name of a country"),
        ("country", "and", "not the name of a country"),
        ("phone", "030 123456", "it names no country"),
        ("phone", "+49 30", "4 digits; 7 to 15 are right"),
        ("phone", "+49 30 123456 ext. 7", "it has an extension"),
    ],
)
def test_what_is_none_is_said_to_be(kind, text, problem):
    reading = read_as(kind, text)
    assert reading.value is None
    assert reading.choices == ()
    assert problem in reading.problem


@pytest.mark.parametrize(
    ("kind", "text", "choices", "habits", "value"),
    [
        ("date", "03/04/2024", ["2024-04-03", "2024-03-04"], {"date": "mdy"}, "2024-03-04"),
        ("date", "05-06-07", ["2007-06-05", "2007-05-06", "2005-06-07"], {"date": "ymd"},
         "2005-06-07"),
        ("percent", "1.234 %", [1234, 1.234], {"decimal": "."}, 1.234),
        ("percent", "1.234 %", [1234, 1.234], {"decimal": ","}, 1234),
        ("money", "5 kr", [{"amount": 5, "currency": each} for each in ("SEK", "NOK", "DKK")],
         {"currency": "NOK"}, {"amount": 5, "currency": "NOK"}),
        ("money", "KWD 1.234", [{"amount": each, "currency": "KWD"} for each in (1234, 1.234)],
         {"decimal": "."}, {"amount": 1.234, "currency": "KWD"}),
    ],
)  # fmt: skip
def test_what_is_ambiguous_stays_so_until_a_habit_decides(kind, text, choices, habits, value):
    reading = read_as(kind, text)
    assert (reading.value, list(reading.choices)) == (None, choices)
    assert "would decide" in reading.problem
    assert read_as(kind, text, Habits(**habits)).value == value


def test_many_choices_are_counted():
    assert read_as("money", "$5").problem.startswith("can be 5 USD or 5 AUD or 5 CAD or 22 more;")


def test_phones_of_a_region():
    assert read_as("phone", "030 / 123-456", Habits(region="DE")).value == "+4930123456"
    assert read_as("phone", "(212) 555-0100", Habits(region="US")).value == "+12125550100"
    assert read_as("phone", "1 212 555 0100", Habits(region="US")).value == "+12125550100"
    assert read_as("phone", "06 1234 5678", Habits(region="IT")).value == "+390612345678"


@given(st.sampled_from(sorted(KINDS)), st.text(max_size=30) | st.from_regex(r"[\d.,/ €$%+-]{1,15}"))
def test_any_text_is_read_or_refused(kind, text):
    for habits in (Habits(), Habits(date="dmy", decimal=",", region="DE", currency="EUR")):
        reading = read_as(kind, text, habits)
        json.dumps([reading.value, reading.choices])
        assert (reading.value is None) == bool(reading.problem)
        assert len(reading.choices) != 1


def test_a_sentence_is_no_value():
    assert "longer than" in read_as("date", "6 May 2024 " * MAX_CHARS).problem


@given(DAYS, st.sampled_from(sorted(MONTHS)))
def test_a_day_comes_back_from_each_way_to_write_it(day, language):
    name = MONTHS[language][day.month - 1]
    short = f"{day:%y}"
    for text, habits in [
        (day.isoformat(), {}),
        (f"{day.day} {name} {day.year}", {}),
        (f"{day.day}. {name} {short}", {}),
        (f"{name} {day.day}, {day.year}", {}),
        (f"{day.day}.{day.month}.{day.year}", {}),
        (f"{day:%d/%m/%y}", {"date": "dmy"}),
        (f"{day:%m/%d/%Y}", {"date": "mdy"}),
        (f"{day:%y-%m-%d}", {"date": "ymd"}),
    ]:
        assert read_as("date", text, Habits(**habits)).value == day.isoformat()


@given(st.decimals(Decimal("0.00"), Decimal("99999999.99"), places=2), st.booleans())
def test_an_amount_comes_back_from_each_country(amount, negative):
    amount = -amount if negative and amount else amount
    value = {"amount": float(amount), "currency": "EUR"}
    english = f"{amount:,.2f}"
    for text in [
        f"EUR {english}",
        f"{english.translate(str.maketrans(',.', '.,'))} €",
        f"{english.replace(',', ' ').replace('.', ',')} EUR",
        f"{english.replace(',', chr(39))} EUR",
        f"{english.replace(',', chr(0x202F)).replace('.', ',')} EUR",
    ]:
        assert read_as("money", text).value == value


@given(st.sampled_from(sorted(tables().iban_lengths)), st.data())
def test_an_iban_with_one_wrong_digit_is_refused(country, data):
    length = tables().iban_lengths[country] - 4
    account = data.draw(st.text("0123456789", min_size=length, max_size=length))
    moved = int("".join(str(int(char, 36)) for char in f"{account}{country}00"))
    iban = f"{country}{98 - moved % 97:02}{account}"
    assert has_check_digits(iban)
    assert read_as("iban", iban).value == iban
    at = data.draw(st.integers(4, len(iban) - 1))
    other = data.draw(st.sampled_from("0123456789".replace(iban[at], "")))
    assert read_as("iban", iban[:at] + other + iban[at + 1 :]).value is None
