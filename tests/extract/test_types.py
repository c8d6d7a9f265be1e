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
        ("money", "5 kr",
         [{"amount": 5, "currency": each} for each in ("SEK", "NOK", "DKK", "ISK")],
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
    assert read_as("money", "$5").problem.startswith("can be 5 USD or 5 AUD or 5 CAD or 24 more;")


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


def reading(kind, text, **habits):
    found = read_as(kind, text, Habits(**habits))
    return found.value if found.value is not None else found.choices


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234²", [1234, 1.234]), ("1,234.50²", 1234.5), ("1,234.50¹⁾", 1234.5), ("12.50*", 12.5),
        ("1,234.50 (2)", 1234.5), ("1,234.50[2]", 1234.5), ("1,234.50†", 1234.5),
        ("1 234,50ᵃ", 1234.5), ("1,234.50^(1)", 1234.5), ("1,234.50^2", 1234.5),
        ("12.50 **", 12.5), ("(1,234.50)³", -1234.5), ("12.50¹,²", 12.5), ("*12.50", 12.5),
        ("12.50(a)", 12.5), ("$1,234.50²", 1234.5), ("1.234,50 €²", 1234.5),
        ("1.234,50² €", 1234.5),
        ("5 m²", 5), ("12 m³", 12), ("3,5 cm^2", 3.5), ("10²", [100, 10]), ("10²⁾", 10),
        ("1.2×10⁶", 1_200_000), ("1.2 x 10^6", 1_200_000), ("1,5·10⁻³", 0.0015),
        ("2.5E+06", 2_500_000), ("1.2e-2", 0.012), ("($12)", -12), ("(2)", -2),
    ],
)  # fmt: skip
def test_the_mark_of_a_footnote_is_no_part_of_a_number(text, value):
    found = reading("amount", text)
    assert (list(found) if isinstance(found, tuple) else found) == value


@pytest.mark.parametrize(
    ("text", "value", "currency"),
    [
        ("$1.5M", 1_500_000, None), ("$12K", 12_000, None), ("€3bn", 3_000_000_000, "EUR"),
        ("2,5 Mio. €", 2_500_000, "EUR"), ("EUR 12 Mrd.", 12_000_000_000, "EUR"),
        ("₹1.2 lakh", 120_000, "INR"), ("₹ 3 crore", 30_000_000, "INR"), ("3万円", 30_000, "JPY"),
        ("1.2億円", 120_000_000, "JPY"), ("5千円", 5_000, "JPY"),
        ("1,234百万円", 1_234_000_000, "JPY"),
        ("1億2,000万円", 120_000_000, "JPY"), ("3.5만원", 35_000, "KRW"),
        ("2 M€", 2_000_000, "EUR"),
        ("12 k€", 12_000, "EUR"), ("TEUR 45", 45_000, "EUR"), ("4,5 T€", 4_500, "EUR"),
        ("€m 12.5", 12_500_000, "EUR"), ("USDm 12.5", 12_500_000, "USD"), ("3 Md€", 3e9, "EUR"),
        ("12 tkr", 12_000, None), ("US$3.2 million", 3_200_000, "USD"),
        ("3 тыс. грн", 3_000, "UAH"),
        ("5 tys. zł", 5_000, "PLN"), ("1,5 mln zł", 1_500_000, "PLN"), ("2 tỷ đồng", 2e9, "VND"),
        ("5 ล้านบาท", 5_000_000, "THB"), ("3 mil millones €", 3e9, "EUR"),
        ("R$ 5 mil", 5_000, "BRL"),
        ("5 mil. Kč", 5_000_000, "CZK"), ("-$1.5M", -1_500_000, None),
        ("(€1.5m)", -1_500_000, "EUR"),
        ("£2 thousand million", 2e9, None), ("$3.0 billion", 3e9, None), ("€3 billion", 3e9, "EUR"),
        ("$5MM", 5_000_000, None), ("2 miljoner kronor", 2_000_000, "SEK"),
        ("₩12,000", 12_000, "KRW"), ("A$5.00", 5, "AUD"), ("US$5.00", 5, "USD"),
        ("HK$5.00", 5, "HKD"),
        ("R$ 5,00", 5, "BRL"), ("1000円", 1000, "JPY"), ("1 234,50 ₽", 1234.5, "RUB"),
        ("￥1,234", 1234, None), ("１，２３４円", 1234, "JPY"), ("Rs. 1,500/-", 1500, None),
        ("₹12,34,567.00", 1234567, "INR"), ("1.234,50 Kč", 1234.5, "CZK"),
        ("1 234 Ft", 1234, "HUF"),
        ("12,50 лв", 12.5, "BGN"), ("₺1.234,50", 1234.5, "TRY"), ("1.234.567 ₫", 1234567, "VND"),
        ("₱12.50", 12.5, "PHP"), ("৳500", 500, "BDT"), ("₦500", 500, "NGN"), ("฿500", 500, "THB"),
        ("CHF 1’234.50", 1234.5, "CHF"), ("1.234,– €", 1234, "EUR"), ("EUR 12.–", 12, "EUR"),
        ("Ksh 1,500/=", 1500, "KES"), ("−12,50 €", -12.5, "EUR"), ("€ -12.50", -12.5, "EUR"),
        ("€12.50-", -12.5, "EUR"), ("（1,234）円", -1234, "JPY"), ("△1,234円", -1234, "JPY"),
        ("١٬٢٣٤٫٥٠ ر.س", 1234.5, "SAR"), ("۱۲۳۴ ریال", 1234, "IRR"), ("₹१,२३४.५०", 1234.5, "INR"),
        ("๑,๒๓๔.๕๐ บาท", 1234.5, "THB"), ("1 234,50 zł", 1234.5, "PLN"),
        ("NT$1,234元", 1234, "TWD"),
    ],
)  # fmt: skip
def test_scales_and_signs_of_every_language(text, value, currency):
    assert reading("amount", text) == value
    found = read_as("money", text)
    amounts = {each["amount"] for each in ([found.value] if found.value else found.choices)}
    assert amounts == {value}
    if currency:
        assert found.value["currency"] == currency


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("5 m", [5_000_000, 5]), ("5M", [5_000_000, 5]), ("5 MM", [5_000_000, 5]),
        ("5K", [5_000, 5]), ("3 mil", [1_000, 1_000_000]), ("€5 mil", []), ("Rp 5 M", []),
        ("1,5 billion €", []), ("EUR 5 T", []), ("▲ 5", [-5, 5]), ("₹3 Cr", []), ("€1.234M", []),
    ],
)  # fmt: skip
def test_a_scale_that_can_mean_two_things_is_told(text, choices):
    found = read_as("amount", text)
    assert found.value is None
    assert len(found.choices) == 2, found
    assert "would decide" in found.problem


def test_what_is_no_scale_stays_a_unit():
    for text, value in [("5 t", 5), ("5 l", 5), ("3 kg", 3), ("2,5 Mio. Stück", 2_500_000)]:
        assert reading("amount", text) == value


def test_a_sign_that_no_table_has_is_told_and_the_amount_is_read():
    found = read_as("money", "₰ 5")
    assert (found.value, found.partly) == (None, {"amount": 5, "currency": "₰"})
    assert read_as("amount", "₰ 5").value == 5


def test_rupees_are_of_many_countries_and_of_india_first():
    found = read_as("money", "Rs. 500")
    assert {each["currency"] for each in found.choices} >= {"INR", "PKR", "LKR", "NPR", "MUR"}
    assert found.choices[0] == {"amount": 500, "currency": "INR"}
    assert read_as("money", "Rs. 500", Habits(currency="INR")).value["currency"] == "INR"


@pytest.mark.parametrize(
    ("text", "value"),
    [("20 % MwSt.", 20), ("19% VAT", 19), ("TVA 20 %", 20), ("НДС 20%", 20), ("%18 KDV", 18),
     ("5 ‰", 0.5), ("25 bps", 0.25), ("25 basis points", 0.25), ("７．５％", 7.5), ("٢٠٪", 20),
     ("7,5 %²", 7.5), ("(3.5)%", -3.5), ("消費税10%", 10)],
)  # fmt: skip
def test_a_percentage_with_what_it_is_of(text, value):
    assert reading("percent", text) == value


@pytest.mark.parametrize("text", ["up to 5 %", "5 % or more", "less 2 %"])
def test_a_percentage_with_a_condition_is_none(text):
    assert reading("percent", text) == ()


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("13.03.2024 14:30", "2024-03-13"), ("2024-03-13T14:30:00+01:00", "2024-03-13"),
        ("Wed, 13 Mar 2024 14:30:00 +0100 (CET)", "2024-03-13"), ("2024-03-13Z", "2024-03-13"),
        ("13.03.2024, 14.30 Uhr", "2024-03-13"), ("3/13/24 2:30 PM", "2024-03-13"),
        ("13 mars 2024 à 14h30", "2024-03-13"), ("13.03.2024 um 14:30 Uhr", "2024-03-13"),
        ("14:30, 13.03.2024", "2024-03-13"), ("Mi., 13.03.2024", "2024-03-13"),
        ("Wed 13/03/2024", "2024-03-13"), ("Berlin, den 6. März 2024", "2024-03-06"),
        ("Paris, le 6 mars 2024", "2024-03-06"), ("New York, March 6, 2024", "2024-03-06"),
        ("г. Москва, 6 марта 2024 г.", "2024-03-06"), ("Praha, dne 6. března 2024", "2024-03-06"),
        ("12th day of March, 2024", "2024-03-12"), ("this 12th day of March 2024", "2024-03-12"),
        ("March the 6th, 2024", "2024-03-06"), ("vom 6.3.24", "2024-03-06"),
        ("令和6年3月6日", "2024-03-06"), ("令和元年5月1日", "2019-05-01"), ("R6.3.6", "2024-03-06"),
        ("H31.4.30", "2019-04-30"), ("昭和64年1月7日", "1989-01-07"),
        ("平成元年1月8日", "1989-01-08"),
        ("令和６年３月６日（水）", "2024-03-06"), ("令和6年(2024年)3月6日", "2024-03-06"),
        ("2024年3月6日(水)", "2024-03-06"), ("2024年3月6日 14時30分", "2024-03-06"),
        ("2024年3月6日星期三", "2024-03-06"), ("二〇二四年三月六日", "2024-03-06"),
        ("民國113年3月6日", "2024-03-06"), ("中華民國113年3月6日", "2024-03-06"),
        ("113年3月6日", "2024-03-06"), ("2024년 3월 6일 수요일", "2024-03-06"),
        ("6 มีนาคม 2567", "2024-03-06"), ("6 มี.ค. 2567", "2024-03-06"),
        ("6 มีนาคม พ.ศ. 2567", "2024-03-06"),
        ("๖ มีนาคม ๒๕๖๗", "2024-03-06"), ("6 มีนาคม ค.ศ. 2024", "2024-03-06"),
        ("6 March B.E. 2567", "2024-03-06"), ("1403/01/15", "2024-04-03"),
        ("۱۴۰۳/۰۱/۱۵", "2024-04-03"), ("۱۵ فروردین ۱۴۰۳", "2024-04-03"),
        ("30 اسفند 1403", "2025-03-20"),
        ("6 марта 2024 г.", "2024-03-06"), ("6 березня 2024 р.", "2024-03-06"),
        ("ngày 6 tháng 3 năm 2024", "2024-03-06"), ("6 tháng 3, 2024", "2024-03-06"),
        ("6. března 2024", "2024-03-06"), ("6 marca 2024 r.", "2024-03-06"),
        ("6 Mart 2024", "2024-03-06"),
        ("6 Μαρτίου 2024", "2024-03-06"), ("2024. március 6.", "2024-03-06"),
        ("2024 m. kovo 6 d.", "2024-03-06"), ("2024. gada 6. marts", "2024-03-06"),
        ("6 मार्च 2024", "2024-03-06"), ("٦ مارس ٢٠٢٤", "2024-03-06"),
        ("6 במרץ 2024", "2024-03-06"),
        ("วันเสาร์ที่ 16 มีนาคม ค.ศ. 2024", "2024-03-16"), ("16 ມ.ນ. 2024", "2024-03-16"),
        ("2024 മാർച്ച് 16, ശനിയാഴ്\u200cച", "2024-03-16"), ("2024 မတ် 16၊ စနေ", "2024-03-16"),
        ("«06» марта 2024 г.", "2024-03-06"), ("Monday, 4 March 2024", "2024-03-04"),
        ("TP. Hồ Chí Minh, ngày 06 tháng 03 năm 2024", "2024-03-06"),
        ("29/02/2567", "2024-02-29"), ("6 March 1403", "1403-03-06"),
        ("12.03.24 10:15:30", "2024-03-12"),
    ],
)  # fmt: skip
def test_days_as_they_are_written_elsewhere(text, day):
    assert read_as("date", text).value == day


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("6 March 2567", ["2024-03-06", "2567-03-06"]),
        ("13/03/2567", ["2024-03-13", "2567-03-13"]),
        ("2567-03-06", ["2024-03-06", "2567-03-06"]),
        ("6 มี.ค. 67", ["2024-03-06", "2067-03-06"]),
        ("1350-01-15", ["1971-04-04", "1350-01-15"]),
        ("95年3月6日", ["2006-03-06", "1995-03-06"]),
        ("6 listopada 2024", ["2024-10-06", "2024-11-06"]),
    ],
)
def test_a_year_that_can_be_counted_in_two_ways_is_told(text, choices):
    found = read_as("date", text)
    assert (found.value, list(found.choices)) == (None, choices)
    assert "would decide" in found.problem


@pytest.mark.parametrize("text", ["1 Ramadan 1445", "15 محرم 1445", "1445/09/01 هـ"])
def test_an_islamic_date_is_not_converted(text):
    assert read_as("date", text).value is None
    assert read_as("date", text).choices == ()


@pytest.mark.parametrize(
    "text", ["Q1 2024", "2024-W10", "KW 10/2024", "R9.3.66", "S65.1.1", "6 March", "until 6.3.24"]
)
def test_what_is_no_day_is_none(text):
    assert reading("date", text) == ()


SCALE_WORDS = sorted(word for word, power in tables().scales.items() if isinstance(power, int))


@given(
    st.sampled_from(SCALE_WORDS),
    st.integers(1, 999),
    st.sampled_from(sorted(code for code in tables().currencies if len(code) == 3)),
)
def test_no_scale_is_ever_dropped(word, number, code):
    """A word of the tables beside an amount scales it, or is told; never the bare number."""
    for text in (f"{number} {word} {code}", f"{code} {number} {word}"):
        found = read_as("amount", text)
        values = [found.value] if found.value is not None else found.choices
        power = tables().scales[word]
        assert not values or number * 10**power in values, text


@given(DAYS, st.sampled_from(sorted(tables().months)))
def test_a_day_comes_back_with_the_month_of_each_language(day, name):
    day = day.replace(month=tables().months[name], day=min(day.day, 28))
    found = read_as("date", f"{day.day} {name} {day.year}")
    assert found.value == day.isoformat(), name


@pytest.mark.parametrize(
    ("text", "value", "choices"),
    [
        ("12⁹⁹ €", 12.99, ()),
        ("€ 1⁴⁹", 1.49, ()),
        ("12⁹⁹", None, (12.99, 12)),
        ("500¹² €", None, (500.12, 500)),
        ("1,234²³ €", 1234, ()),
        ("12,50² €", 12.5, ()),
    ],
)
def test_raised_cents_are_a_price_and_a_raised_number_is_of_a_footnote(text, value, choices):
    found = read_as("amount", text)
    assert (found.value, found.choices) == (value, choices)
