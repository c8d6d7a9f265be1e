#!/usr/bin/env python3
"""Make ``extraction/locales.json`` again: months, countries, currencies, calling codes.

    pip install babel phonenumbers pycountry schwifty && python scripts/refresh_locales.py

From CLDR by way of Babel, libphonenumber and the IBAN registry. These libraries take 90 MB, the
file 0.1 MB; so they are needed here and not by whoever reads a document.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from gemma_edge.extraction.values import fold, printed, words_of

TARGET = Path(__file__).resolve().parent.parent / "gemma_edge" / "extraction" / "locales.json"
LANGUAGES = """
    af ar ar_DZ ar_LB ar_MA az be bg bn bs ca cs cy da de el en es et eu fa fi fil fr ga gl gu he hi
    hr hu hy id is it ja ka kk km kn ko ky lb lo lt lv mk ml mn mr ms mt my nb ne nl nn pa pl ps pt
    pt_PT ro ru si sk sl sq sr sr_Latn sv sw ta te th tr uk ur uz vi zh zh_Hant
"""
COUNTRY_LANGUAGES = "cs da de en es fi fr hu it nb nl pl pt ro sv tr"
# Words in dates that CLDR's patterns have not: articles, prepositions, "day", "year".
DATE_WORDS = """
    of the de del d di den der le la el am on dated vom zum day this in year du dne dnia r roku roka
    год года року г р от від il al fra em ngay nam o de
"""
# Words of scales that CLDR has not, or that mean the same wherever money is written.
SCALES = {
    "k": 3, "tsd": 3, "mille": 3, "milliers": 3, "millier": 3, "thousands": 3, "hundred": 2,
    "miles": 3, "migliaia": 3, "tys": 3, "tkr": 3, "ngan": 3, "hazar": 3, "hezar": 3,
    "m": 6, "mm": 6, "mn": 6, "mio": 6, "mill": 6, "mln": 6, "millions": 6, "tr": 6,
    "b": 9, "mrd": 9, "mds": 9, "md": 9, "mia": 9, "mld": 9, "mlrd": 9, "milyar": 9,
    "ti": 9, "billion": 9, "billions": 9, "bn": 9, "trillion": 12, "t": 12, "tn": 12, "trn": 12,
    "lakh": 5, "lakhs": 5, "lac": 5, "lacs": 5, "crore": 7, "crores": 7, "arab": 9,
}  # fmt: skip
# What one of these means elsewhere, beside a currency of that country only.
ELSEWHERE = {
    "t": {3: ["EUR", "CHF", "DKK", "NOK", "SEK"]}, "mil": {3: ["USD", "EUR"], 6: ["USD", "EUR"]},
    "mm": {9: ["EUR"]}, "cr": {7: ["INR"], 0: ["INR"]}, "l": {5: ["INR"]},
    "bln": {9: [], 12: ["EUR"]}, "billion": {12: ["EUR", "CHF", "DKK", "NOK"]},
    "trillion": {18: ["EUR", "CHF", "DKK", "NOK"]},
}  # fmt: skip
# Words beside a percentage that say what it is one of, and change nothing of it.
TAXES = """
    vat gst hst pst qst cgst sgst igst tax sales tva mwst ust steuer ppn mehrwertsteuer umsatzsteuer
    iva imposto impuesto igv imposta itbis icms iss btw moms mva alv vsk merverdiavgift pvm pvn km
    dph ddv pdv пдв ддс ндс φπα fpa áfa afa podatek kdv tvsh cukai 税 消費税 增值税 増値税 税率
    부가세 부가가치세 discount rabatt skonto remise sconto descuento korting rabat alennus zzgl inkl
    incl excl plus of de das zu mit with at rate satz taux
"""
PERSIAN_MONTHS = """
    فروردین فروردين farvardin|اردیبهشت ارديبهشت ordibehesht|خرداد khordad|تیر تير tir|
    مرداد امرداد mordad|شهریور شهريور shahrivar|مهر mehr|آبان aban|آذر azar|
    دی دي dey|بهمن bahman|اسفند esfand
"""
ISLAMIC = """
    muharram safar rabi jumada rajab shaban shaaban ramadan ramazan shawwal dhu hijri ah محرم صفر
    ربيع جمادى رجب شعبان رمضان شوال ذو القعدة الحجة هـ هجري
"""
# Signs and short words for currencies beside those of CLDR.
SIGNS = """
    Rs=INR,PKR,LKR,NPR,MUR,SCR ₨=INR,PKR,LKR,NPR,MUR,SCR Re=INR,PKR रु=INR,NPR रू=NPR,INR
    ¥=JPY,CNY ￥=JPY,CNY £=GBP €=EUR Fr=CHF SFr=CHF sFr=CHF Sfr=CHF A$=AUD AU$=AUD C$=CAD,NIO
    CA$=CAD CDN$=CAD US$=USD U$S=USD U$=USD HK$=HKD S$=SGD NZ$=NZD NT$=TWD R$=BRL MX$=MXN Mex$=MXN
    EC$=XCD ₩=KRW ₽=RUB ₴=UAH ₸=KZT ₼=AZN ₾=GEL ₫=VND đ=VND ₱=PHP ৳=BDT ₦=NGN ₵=GHS ₲=PYG ₡=CRC
    ₭=LAK ₮=MNT ₺=TRY TL=TRY ₪=ILS ฿=THB ﷼=IRR,SAR,QAR,OMR,YER ₿=XBT 元=CNY,TWD,HKD 圆=CNY 圓=TWD
    円=JPY 원=KRW лв=BGN руб=RUB,BYN р=RUB,BYN грн=UAH kn=HRK RMB=CNY NTD=TWD SR=SAR Dhs=AED
    Dh=AED,MAD FCFA=XAF,XOF Br=ETB,BYN NIS=ILS Lt=LTL din=RSD дин=RSD тг=KZT сом=KGS сум=UZS
    euro=EUR euros=EUR евро=EUR ευρώ=EUR
    dollar=$ dollars=$ buck=$ bucks=$ yen=JPY yuan=CNY renminbi=CNY rupee=Rs rupees=Rs rupien=Rs
    pound=£ pounds=£ pfund=GBP franken=CHF sfr=CHF kronor=SEK kroner=DKK,NOK krone=DKK,NOK
    krona=SEK kronen=SEK,DKK,NOK korun=CZK koruna=CZK koruny=CZK zloty=PLN złoty=PLN złote=PLN
    złotych=PLN forint=HUF lei=RON,MDL leu=RON,MDL lira=TRY lirası=TRY baht=THB บาท=THB won=KRW
    đồng=VND dong=VND ringgit=MYR rupiah=IDR rand=ZAR reais=BRL real=BRL soles=PEN рубль=RUB,BYN
    рубля=RUB,BYN рублей=RUB,BYN рубли=RUB,BYN гривня=UAH гривні=UAH гривень=UAH тенге=KZT лева=BGN
    динара=RSD dinara=RSD shekel=ILS shekels=ILS شيكل=ILS ريال=SAR,QAR,OMR,YER,IRR ریال=IRR
    تومان=IRT درهم=AED,MAD جنيه=EGP دينار=KWD,JOD,IQD,BHD
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file, or with ``--check`` say whether it is what the libraries say now."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if it is stale")
    options = parser.parse_args(arguments)
    made = json.dumps(collect(), ensure_ascii=False, indent=0, sort_keys=True) + "\n"
    if options.check:
        stale = TARGET.read_text(encoding="utf-8") != made
        print(f"{TARGET.name} is {'stale' if stale else 'up to date'}", file=sys.stderr)
        return int(stale)
    TARGET.write_text(made, encoding="utf-8", newline="\n")
    return 0


def collect() -> dict[str, Any]:
    """All tables; keys are folded as the reader folds what it looks up."""
    core: Any = import_module("babel")
    named = months(core)
    return {
        "months": {name: numbers[0] for name, numbers in named.items() if len(numbers) == 1},
        "months_of_two": {name: numbers for name, numbers in named.items() if len(numbers) > 1},
        "weekdays": weekdays(core),
        "persian_months": {
            fold(name): number
            for number, names in enumerate(PERSIAN_MONTHS.split("|"), 1)
            for name in names.split()
        },
        "date_words": date_words(core),
        "islamic_words": sorted(map(fold, ISLAMIC.split())),
        "taxes": sorted({fold(word) for word in TAXES.split()}),
        "scales": scales(core),
        "codes_of_three": {each.alpha_3: each.alpha_2 for each in iso_countries()},
        "countries": countries(core),
        "currencies": currencies(core),
        "calling_codes": calling_codes(),
        "iban_lengths": iban_lengths(),
    }


def months(core: Any) -> dict[str, list[int]]:
    """Month names of all languages, and the numbers that each can mean."""
    found: dict[str, set[int]] = {}
    for language in LANGUAGES.split():
        names = core.Locale.parse(language).months
        for usage in ("format", "stand-alone"):
            for width in ("wide", "abbreviated"):
                for number, name in names[usage][width].items():
                    folded = fold(printed(name))
                    if len(folded) > 1 and not any(map(str.isnumeric, folded)):
                        for form in (folded, _IN_A_DATE.get(language, "{}").format(folded)):
                            found.setdefault(form, set()).add(int(number))
    found.setdefault("sept", set()).add(9)
    return {name: sorted(numbers) for name, numbers in found.items()}


_IN_A_DATE = {"eu": "{}ren", "he": "ב{}"}  # what CLDR's patterns write together with a month


def weekdays(core: Any) -> list[str]:
    """The names of weekdays in all languages; a word that is also a month's is left out."""
    found = set()
    for language in LANGUAGES.split():
        for usage in core.Locale.parse(language).days.values():
            for width in ("wide", "abbreviated"):
                names = {fold(printed(name)) for name in usage.get(width, {}).values()}
                found |= names | ({f"{name}ที" for name in names} if language == "th" else set())
    words = {word for name in found for word in name.split() if not word.isdigit()}
    return sorted(words - months(core).keys())


def date_words(core: Any) -> list[str]:
    """What stands in a date and means nothing: the literals of CLDR's patterns, and articles."""
    found = set(DATE_WORDS.split())
    for language in LANGUAGES.split():
        for pattern in core.Locale.parse(language).date_formats.values():
            for quoted, bare in re.findall(r"'([^']+)'|([^\Wa-zA-Z]+)", pattern.pattern):
                found |= {fold(word) for word in words_of(f"{quoted} {bare}")}
    return sorted(found - months(core).keys())


def scales(core: Any) -> dict[str, int | dict[str, list[str]]]:
    """Words for thousands, millions and so on to their power of ten; where a word has another
    meaning in another language, each with the currencies beside which it has it."""
    found: dict[str, dict[int, set[str]]] = {}
    for language in LANGUAGES.split():
        for word, power in _scales_of(core, language):
            found.setdefault(word, {}).setdefault(power, set()).update(_currencies_of(language))
    found["bn"] = {}  # nobody means what CLDR says in Sweden and France
    for word, power in SCALES.items():
        found.setdefault(word, {})[power] = set()
    for word, more in ELSEWHERE.items():
        for power, codes in more.items():
            found.setdefault(word, {}).setdefault(power, set()).update(codes)
    return {
        word: next(iter(powers)) if len(powers) == 1 and word not in ELSEWHERE
        else {str(power): sorted(codes) for power, codes in sorted(powers.items())}
        for word, powers in found.items()
    }  # fmt: skip


def _scales_of(core: Any, language: str) -> Iterator[tuple[str, int]]:
    formats = core.Locale.parse(language).compact_decimal_formats
    for width in ("short", "long"):
        for by_size in formats[width].values():
            for size, pattern in by_size.items():
                text = printed(pattern.pattern)
                word = fold(re.sub("[0']", " ", text)).removeprefix("de ")
                zeros = text.count("0")
                if zeros and word and ";" not in word:
                    yield word, len(size) - zeros


def _currencies_of(language: str) -> set[str]:
    """The currencies of the countries where a language is official, but those of many languages."""
    languages = import_module("babel.languages")
    entries = import_module("babel.core").get_global("territory_currencies")
    bare = language.partition("_")[0]
    if bare == "pt":  # Brazil counts in thousands, Portugal in millions
        return {"BRL"} if language == "pt" else {"AOA", "CVE", "MOP", "MZN", "STN"}
    return {
        code
        for territory, some in entries.items()
        if bare in languages.get_official_languages(territory, regional=False, de_facto=True)
        for code, _start, end, tender in some
        if end is None and tender
    } - {"EUR", "USD", "GBP", "CHF"}


def countries(core: Any) -> dict[str, str]:
    """Country names of many languages to ISO 3166 codes of two letters."""
    found: dict[str, set[str]] = {}
    official = {each.alpha_2 for each in iso_countries()}
    for language in COUNTRY_LANGUAGES.split():
        for code, name in core.Locale.parse(language).territories.items():
            if code in official:
                found.setdefault(fold(name), set()).add(code)
    more = {"usa": "US", "u s a": "US", "united states of america": "US", "uk": "GB",
            "great britain": "GB", "england": "GB", "scotland": "GB", "holland": "NL",
            "the netherlands": "NL", "czech republic": "CZ", "uae": "AE"}  # fmt: skip
    return {name: min(codes) for name, codes in found.items() if len(codes) == 1} | more


def iso_countries() -> Any:
    """The countries of ISO 3166 today; CLDR has continents and groupings beside them."""
    return import_module("pycountry").countries


def currencies(core: Any) -> dict[str, list[str]]:
    """Codes in use, and signs and names to the codes that they may mean, the most traded first."""
    territories = import_module("babel.core").get_global("territory_currencies")
    current = {
        code
        for entries in territories.values()
        for code, _start, end, tender in entries
        if tender and (end is None or end[0] >= _LATELY)
    }
    found: dict[str, list[str]] = {code: [code] for code in sorted(current)}
    symbols: dict[str, set[str]] = {}
    for territory, entries in territories.items():
        own = {code for code, _start, end, tender in entries if end is None and tender}
        for locale in _locales(core, territory):
            for code in own:
                symbol = printed(locale.currency_symbols.get(code, code)).strip(". ")
                if symbol not in _NO_SIGNS | current and " " not in symbol:
                    symbols.setdefault(symbol, set()).add(code)
    for entry in SIGNS.split():
        sign, _, codes = entry.partition("=")
        symbols.setdefault(sign, set()).update(symbols.get(codes, codes.split(",")))
    traded = ("USD", "EUR", "JPY", "GBP", "CNY", "INR", "AUD", "CAD", "CHF", "SEK", "NOK", "DKK")
    for symbol, meant in sorted(symbols.items()):
        ranked = sorted(meant, key=lambda code: (code not in traded, code))
        found[symbol] = sorted(ranked, key=lambda c: traded.index(c) if c in traded else 99)
    return found


_NO_SIGNS = {"S", "ر"}  # of Somalia and Pakistan: rather the side of an account, a part of a word
_LATELY = 2022  # a currency that ended from then on still stands in documents


def _locales(core: Any, territory: str) -> Iterator[Any]:
    for language in LANGUAGES.split():
        try:
            yield core.Locale.parse(f"{language.partition('_')[0]}_{territory}")
        except (core.UnknownLocaleError, ValueError):
            continue


def calling_codes() -> dict[str, str]:
    """ISO 3166 codes to the numbers that follow the plus sign."""
    table: Any = import_module("phonenumbers").COUNTRY_CODE_TO_REGION_CODE
    return {
        region: str(code)
        for code, regions in table.items()
        for region in regions
        if len(region) == 2 and region.isalpha()  # noqa: PLR2004
    }


def iban_lengths() -> dict[str, int]:
    """Characters of an IBAN by country, from the registry."""
    folder = files("schwifty") / "iban_registry"
    lengths: dict[str, int] = {}
    for name in ("generated.json", "overwrite.json"):
        for code, spec in json.loads((folder / name).read_text(encoding="utf-8")).items():
            if "bban_length" in spec:
                lengths[code] = int(spec["bban_length"]) + 4  # the country and two check digits
    return lengths


if __name__ == "__main__":
    sys.exit(main())
