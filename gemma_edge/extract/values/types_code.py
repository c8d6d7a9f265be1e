"""IBANs, e-mail addresses, countries and phone numbers as they are printed, to their one form.
Pure."""

import re

from gemma_edge.extract.values.types_reading import Habits, Reading, fold, tables

_IBAN = re.compile(r"[A-Z]{2}\d\d[A-Z0-9]{8,30}")
_MODULUS = 97  # ISO 13616, ISO 7064 MOD 97-10
# The addr-spec of RFC 5321 without quoted names and address literals.
_EMAIL = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}"
    r"@((?:[^\W_](?:[^\W_]|-){0,62}\.)+[^\W\d_](?:[^\W_]|-){0,61}[^\W_])"
)
_MAX_EMAIL = 254
_PHONE = re.compile(r"\+?[\d\s()/.\-\u2010-\u2013]+")
_EXTENSION = re.compile(r"\s*(?:ext\.?|extension|x|durchwahl|poste)\s*\d+$", re.IGNORECASE)
_LABEL = re.compile(r"^(?:tel|phone|telephone|telefon|fon|mobile|mobil|fax)[.:]*\s*", re.IGNORECASE)
_MIN_DIGITS, _MAX_DIGITS = 7, 15  # E.164, and the shortest numbers with a country in use
# Countries whose numbers keep a leading zero behind the calling code, or have none to drop.
_KEEP_ZERO = frozenset(("IT", "SM", "VA"))


def read_iban(text: str, habits: Habits) -> Reading:
    """Without spaces, when length and check digits are right; never mended."""
    bare = re.sub(r"[\s.\-\u2010-\u2013]", "", re.sub(r"^IBAN\s*:?", "", text, flags=re.I)).upper()
    if not _IBAN.fullmatch(bare):
        return Reading.unreadable("not of the form of an IBAN")
    length = tables().iban_lengths.get(bare[:2])
    if length is None:
        return Reading.unreadable(f"{bare[:2]} has no IBAN")
    if len(bare) != length:
        return Reading.unreadable(f"{len(bare)} characters, an IBAN of {bare[:2]} has {length}")
    if not has_check_digits(bare):
        return Reading.unreadable("the check digits are wrong")
    return Reading(bare)


def has_check_digits(iban: str) -> bool:
    """ISO 13616: the first four moved to the end, letters as 10 to 35, leave 1 modulo 97."""
    moved = iban[4:] + iban[:4]
    return int("".join(str(int(char, 36)) for char in moved)) % _MODULUS == 1


def read_email(text: str, habits: Habits) -> Reading:
    """As it is printed, without ``mailto:`` and brackets; only the domain has no case."""
    bare = re.sub(r"^mailto:", "", text.strip("<> "), flags=re.I)
    found = _EMAIL.fullmatch(bare)
    name = bare.rpartition("@")[0]
    if not found or len(bare) > _MAX_EMAIL or ".." in name or name[0] == "." or name[-1] == ".":
        return Reading.unreadable("not an e-mail address")
    return Reading(f"{name}@{found[1].lower()}")


def read_country(text: str, habits: Habits) -> Reading:
    """A name in one of the languages of the table, or a code in capital letters, to the code of
    two letters."""
    known = tables()
    found = known.countries.get(fold(text)) or known.codes_of_three.get(text)
    if found is None and text in known.codes_of_three.values():
        found = text
    return Reading(found) if found else Reading.unreadable("not the name of a country")


def read_phone(text: str, habits: Habits) -> Reading:
    """E.164; a number without its country takes the one of ``habits``. That the number exists is
    not checked."""
    bare = _LABEL.sub("", text)
    if _EXTENSION.search(bare):
        return Reading(None, "it has an extension", partly=text)
    if not _PHONE.fullmatch(bare):
        return Reading.unreadable("not a phone number")
    digits = re.sub(r"\D", "", bare.replace("(0)", "") if bare.startswith(("+", "00")) else bare)
    if bare.startswith("+"):
        return _international(digits)
    if digits.startswith("00"):
        return _international(digits[2:])
    code = tables().calling_codes.get(habits.region)
    if code is None:
        why = "it names no country, and the region of the document would"
        return Reading(None, why, partly=text)
    national = digits if habits.region in _KEEP_ZERO else digits.removeprefix("0")
    if code == "1" and len(national) > _MAX_NATIONAL_1:
        national = national.removeprefix("1")
    return _international(code + national)


_MAX_NATIONAL_1 = 10  # digits of a number in the North American plan


def _international(digits: str) -> Reading:
    codes = set(tables().calling_codes.values())
    if not any(digits[:length] in codes for length in (1, 2, 3)):
        return Reading.unreadable(f"no country has the calling code of +{digits[:3]}")
    if not _MIN_DIGITS <= len(digits) <= _MAX_DIGITS:
        return Reading.unreadable(f"{len(digits)} digits; {_MIN_DIGITS} to {_MAX_DIGITS} are right")
    return Reading(f"+{digits}")
