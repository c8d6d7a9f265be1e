"""Machine-readable zones: the specimens of ICAO 9303, and zones that were misread."""

import pytest

from gemma_edge.extraction.values import check_digit, read_mrz

TD1 = ["I<UTOD231458907<<<<<<<<<<<<<<<", "7408122F1204159UTO<<<<<<<<<<<6",
       "ERIKSSON<<ANNA<MARIA<<<<<<<<<<"]  # fmt: skip
TD2 = ["I<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<", "D231458907UTO7408122F1204159<<<<<<<6"]
TD3 = ["P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<",
       "L898902C36UTO7408122F1204159ZE184226B<<<<<10"]  # fmt: skip
GERMAN = ["IDD<<T220001293<<<<<<<<<<<<<<<", "6408125<2010315D<<<<<<<<<<<<<4",
          "MUSTERMANN<<ERIKA<<<<<<<<<<<<<"]  # fmt: skip


def test_the_check_digit_of_the_standard():
    assert check_digit("520727") == 3  # ICAO 9303-3, 4.9
    assert check_digit("AB2134<<<") == 5


@pytest.mark.parametrize(
    ("lines", "number"), [(TD1, "D23145890"), (TD2, "D23145890"), (TD3, "L898902C3")]
)
def test_the_specimens(lines, number):
    assert read_mrz(lines) == {
        "document_number": number, "issuer": None, "nationality": None, "sex": "F",
        "birth_date": "1974-08-12", "expiry_date": "2012-04-15", "surname": "ERIKSSON",
        "given_names": "ANNA MARIA", "wrong": "",
    }  # fmt: skip


def test_a_card_of_a_country_with_a_short_code():
    found = read_mrz(GERMAN)
    assert (found["issuer"], found["nationality"], found["wrong"]) == ("DE", "DE", "")
    assert (found["birth_date"], found["expiry_date"], found["sex"]) == (
        "1964-08-12", "2020-10-31", None,
    )  # fmt: skip


def test_a_long_number_goes_on_in_the_optional_data():
    # The construction of ICAO 9303-5, 4.2.2: nine characters, a filler, the rest and its digit.
    rest = "D2314589073456"
    line = f"I<UTO{rest[:9]}<{rest[9:]}{check_digit(rest[:9] + '<' + rest[9:])}"
    lines = [line.ljust(30, "<"), TD1[1], TD1[2]]
    found = read_mrz(lines)
    assert found["document_number"] == rest
    assert "document_number" not in found["wrong"]


@pytest.mark.parametrize("lines", [TD1, TD2, TD3, GERMAN])
def test_any_misread_digit_of_the_checked_fields_is_found(lines):
    line = 1 if len(lines) == 2 else 0
    for at, char in enumerate(lines[line][:9], 0) if line else enumerate(lines[0][5:14], 5):
        if char.isdigit():
            wrong = lines[line][:at] + str((int(char) + 1) % 10) + lines[line][at + 1 :]
            assert (
                "document_number" in read_mrz([*lines[:line], wrong, *lines[line + 1 :]])["wrong"]
            )


def test_what_is_no_zone_says_so():
    assert read_mrz([])["wrong"] == "no zone has lines of no characters"
    assert read_mrz(["I<UTO"])["wrong"] == "no zone has lines of 5 characters"
    assert read_mrz([TD1[0], TD1[1][:-1], TD1[2]])["wrong"].endswith("30, 29, 30 characters")
    assert read_mrz([TD2[0].replace("E", "É", 1), TD2[1]])["wrong"] == "É stands in no zone"


def test_a_zone_of_a_country_s_own_is_not_judged():
    card = ["IDFRABERTHIER<<<<<<<<<<<<<<<<<<<<<<<", "8806923102858CORINNE<<<<<<<6512068F6"]
    assert read_mrz(card) is None
    assert read_mrz(["D1NLD15094962111659VV9TA2<<<<8"]) is None
    assert read_mrz([card[0], card[1][:-1]])["wrong"] == "no zone has lines of 36, 35 characters"
    assert read_mrz(TD1[:1])["wrong"] == "no zone has lines of 30 characters"


def test_spaces_and_small_letters_of_a_scan_do_no_harm():
    assert read_mrz([f" {line.lower()[:10]} {line.lower()[10:]}" for line in TD3])["wrong"] == ""


def test_a_visa_has_no_last_digit():
    visa = [TD2[0].replace("I", "V", 1), TD2[1][:-1] + "<"]
    assert read_mrz(visa)["wrong"] == ""


def test_days_that_are_none_are_null():
    lines = [TD2[0], TD2[1].replace("740812", "741332")]
    found = read_mrz(lines)
    assert found["birth_date"] is None
    assert "birth_date" in found["wrong"]


def test_who_was_born_on_a_leap_day_that_only_one_century_has():
    """A birth later than the expiry is of the century before, and 1900 had no 29 February."""
    first, second = TD2
    lines = [first, second[:13] + "000229" + second[19:21] + "990101" + second[27:]]
    assert read_mrz(lines)["birth_date"] == "2000-02-29"
    lines = [first, second[:13] + "000229" + second[19:21] + "000101" + second[27:]]
    assert read_mrz(lines)["birth_date"] is None
