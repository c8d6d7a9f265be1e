"""Random words, names, numbers, dates and money.

Nothing here is a closed list of answers: names are built from syllables, stems or single
characters, so that the model has to copy what is printed and cannot remember it.
"""

from __future__ import annotations

import string
from random import Random


def listed(text: str, mark: str | None = None) -> list[str]:
    """The parts of a text between blanks, or between marks."""
    return text.split(mark)


ONSETS = listed(
    "b c d f g h j k l m n p r s t v w z br ch cl cr dr fl fr gl gr kl kr pl pr qu sch sh sk sl sm "
    "sn sp st str sw th tr tw v w y z x"
)
VOWELS = listed("a e i o u a e i o u a e i o ai au ea ee ei ie oa oo ou ui y")
ACCENTED = listed("ä ö ü é è á ó å ø ê í ç")
CODAS = ["", "", "", "", *listed("n r l s t m k d x ck ll ng nn nd nt rd rk rn rt ss st sch tz ß")]
STEMS = listed(
    "north south east west silver gold iron stone wood wild bright clear cold deep fair green high "
    "long new old red white black blue spring summer winter star sun moon sky sea lake river brook "
    "hill field ford gate wick mill land dale ton bury port bridge well smith wright worth man ley "
    "hart fox bear wolf hawk crow swan oak ash elm fern rose thorn apple cherry barley copper amber"
)
TRADES = listed(
    "Tools Foods Media Systems Supplies Logistics Energy Books Motors Labs Design Print Textiles "
    "Garden Optics Metals Paper Software Services Trading Foundry Bakery Studio Works Partners "
    "Group Holdings Company Brothers Sons Associates Industries Solutions Consulting Transport "
    "Electronics Plumbing Roofing Catering Florist Clinic Pharmacy Hotel Shop Store Market Belt"
)
FORMS = listed(
    "Ltd|GmbH|Inc.|LLC|AG|Co.|S.A.|B.V.|Ltd.|Inc|Corp.|GmbH & Co. KG|Oy|AB|A/S|S.r.l.|PLC|KG|e.K."
    "|SARL|Pty Ltd|LLP|& Sons|& Co",
    "|",
)
MONTHS = listed(
    "January February March April May June July August September October November December"
)
SYMBOLS = "-_./#&+*@!?%:;()[]{}<>=~^$'"
CODES = listed("EUR USD GBP CHF SEK PLN JPY CAD AUD NOK DKK CZK")


def chance(rng: Random, probability: float) -> bool:
    """True with the given probability."""
    return rng.random() < probability


def digits(rng: Random, count: int) -> str:
    """``count`` random digits."""
    return "".join(rng.choice(string.digits) for _ in range(count))


def syllables(rng: Random) -> str:
    """An invented lower-case word of one to four syllables, now and then with an accent."""
    out = ""
    for _ in range(rng.choice((1, 2, 2, 2, 3, 3, 4))):
        vowel = rng.choice(ACCENTED) if chance(rng, 0.05) else rng.choice(VOWELS)
        out += ("" if not out and chance(rng, 0.15) else rng.choice(ONSETS)) + vowel
        if chance(rng, 0.5):
            out += rng.choice(CODAS)
    return out if len(out) > 1 else out + rng.choice("nrlst")


def letters(rng: Random) -> str:
    """A lower-case run of letters without any pattern."""
    return "".join(rng.choice(string.ascii_lowercase) for _ in range(rng.randint(2, 9)))


def word(rng: Random) -> str:
    """A lower-case word: syllables, joined English stems, or plain letters."""
    kind = rng.random()
    if kind < 0.6:
        return syllables(rng)
    if kind < 0.85:
        return rng.choice(STEMS) + (rng.choice(STEMS) if chance(rng, 0.7) else "")
    return letters(rng)


def cased(rng: Random, text: str) -> str:
    """``text`` as a name is written: mostly capitalized, at times in other ways."""
    kind = rng.random()
    if kind < 0.8:
        return text[0].upper() + text[1:]
    if kind < 0.9:
        return text.upper() if "ß" not in text else text
    if kind < 0.94:
        cut = rng.randint(1, len(text) - 1)
        return text[:cut].capitalize() + text[cut:].capitalize()
    if kind < 0.97:
        return "".join(c.upper() if chance(rng, 0.5) and c != "ß" else c for c in text)
    return text


def name(rng: Random) -> str:
    """One capitalized random word."""
    return cased(rng, word(rng))


def person(rng: Random) -> str:
    """A random person's name."""
    title = rng.choice(("Mr ", "Ms ", "Dr. ", "Mrs. ")) if chance(rng, 0.1) else ""
    middle = rng.choice(string.ascii_uppercase) + ". " if chance(rng, 0.15) else ""
    return f"{title}{name(rng)} {middle}{name(rng)}"


def company(rng: Random) -> str:
    """A random company name."""
    kind = rng.random()
    if kind < 0.45:
        base = " ".join(name(rng) for _ in range(rng.choice((1, 1, 2))))
    elif kind < 0.75:
        base = f"{name(rng)} {rng.choice(TRADES) if chance(rng, 0.7) else name(rng)}"
    elif kind < 0.87:
        base = f"{name(rng)} {rng.choice(('&', '+', 'und', 'and', '-'))} {name(rng)}"
    elif kind < 0.93:
        base = f"{name(rng)} {digits(rng, rng.randint(1, 3))}"
    else:
        base = f"{name(rng)}{rng.choice(('.', '-', chr(39) + 's ', '/'))}{name(rng)}"
    if chance(rng, 0.75):
        base += (", " if chance(rng, 0.1) else " ") + rng.choice(FORMS)
    return base.upper() if chance(rng, 0.08) and "ß" not in base else base


def jumble(rng: Random) -> str:
    """A short run of any printable characters."""
    pool = string.ascii_letters + string.digits + SYMBOLS + "äöüßéñç€£§°"
    return "".join(rng.choice(pool) for _ in range(rng.randint(3, 10)))


def reference(rng: Random) -> str:
    """A document number in one of many patterns."""
    kind = rng.random()
    if kind < 0.3:
        prefix = "".join(rng.choice(string.ascii_uppercase) for _ in range(rng.randint(1, 4)))
        return prefix + rng.choice(("-", "", "/", " ", ".", "#")) + digits(rng, rng.randint(2, 8))
    if kind < 0.5:
        return digits(rng, rng.randint(3, 9))
    if kind < 0.7:
        year = str(rng.randint(2015, 2030))
        parts = [rng.choice(("INV", "RE", "R", "F", "SI")), year, digits(rng, rng.randint(2, 6))]
        return rng.choice(("-", "/", "")).join(parts[rng.choice((0, 1)) :])
    if kind < 0.85:
        joint = rng.choice("-./")
        return joint.join(digits(rng, rng.randint(2, 4)) for _ in range(rng.choice((2, 3))))
    pool = string.ascii_uppercase + string.digits
    return "".join(rng.choice(pool) for _ in range(rng.randint(4, 8))) + rng.choice("0123456789")


def date_style(rng: Random) -> int:
    """One of the ten ways of printing a date; a document keeps to one."""
    return rng.randrange(10)


def date(rng: Random, style: int) -> str:
    """A random date printed in the given style."""
    year, month, day = rng.randint(1995, 2035), rng.randint(1, 12), rng.randint(1, 28)
    long = MONTHS[month - 1]
    return (
        f"{year}-{month:02d}-{day:02d}",
        f"{day:02d}.{month:02d}.{year}",
        f"{month:02d}/{day:02d}/{year}",
        f"{day} {long} {year}",
        f"{long} {day}, {year}",
        f"{day:02d}-{long[:3]}-{year}",
        f"{long[:3]} {day}, {year}",
        f"{day:02d}/{month:02d}/{year % 100:02d}",
        f"{day}. {long} {year}",
        f"{year}/{month:02d}/{day:02d}",
    )[style]


def amount(rng: Random) -> float:
    """A random amount of money, small ones as likely as large ones."""
    top = rng.choice((20, 100, 1000, 10_000, 100_000))
    return round(rng.uniform(1, top), 2)


def currency(rng: Random) -> str:
    """A currency as it is printed: a known code, any three capitals, or a sign."""
    kind = rng.random()
    if kind < 0.35:
        return rng.choice(CODES)
    if kind < 0.6:
        return "".join(rng.choice(string.ascii_uppercase) for _ in range(3))
    return rng.choice("€$£€$")


def street(rng: Random) -> str:
    """A street with a number."""
    number = str(rng.randint(1, 400))
    kind = rng.choice(("Street", "St.", "Road", "Ave", "Lane", "Way", "straße", "weg"))
    if kind in ("straße", "weg"):
        return f"{name(rng)}{kind} {number}"
    return f"{number} {name(rng)} {kind}"


def city(rng: Random) -> str:
    """A city with a postal code."""
    code = digits(rng, rng.choice((4, 5, 5)))
    return f"{code} {name(rng)}" if chance(rng, 0.6) else f"{name(rng)}, {code}"


def phone(rng: Random) -> str:
    """A phone number."""
    code = rng.choice((1, 33, 34, 39, 41, 43, 44, 49))
    area, rest = rng.randint(201, 989), rng.randint(2_000_000, 9_999_999)
    return f"+{code} {area} {rest}"


def iban(rng: Random) -> str:
    """A bank account number, in groups or in one run."""
    country = rng.choice(("DE", "FR", "GB", "NL", "CH", "AT"))
    if chance(rng, 0.5):
        groups = " ".join(digits(rng, 4) for _ in range(rng.randint(2, 4)))
        return f"{country}{digits(rng, 2)} {groups}"
    return country + digits(rng, rng.randint(10, 16))


def email(rng: Random) -> str:
    """An e-mail address."""
    name, host = ("".join(c for c in word(rng) if c.isascii()) or "post" for _ in range(2))
    return f"{name}@{host}.{rng.choice(('com', 'de', 'net', 'org', 'example'))}"


def prose(rng: Random, count: int, common: list[str] | None = None) -> str:
    """A sentence of about ``count`` words, common ones and invented ones."""
    common = common or listed(
        "the of and to in for with on by as at this that is are was be or from we our your you it "
        "all any not has have will may shall please order goods delivery payment terms account "
        "service work customer price date time days within after before until under law"
    )
    words = [rng.choice(common) if chance(rng, 0.75) else word(rng) for _ in range(count)]
    return words[0].capitalize() + " " + " ".join(words[1:]) + "."
