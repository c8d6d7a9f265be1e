#!/usr/bin/env python3
"""Make ``extraction/locales.json`` again: months, countries, currencies, calling codes.

    pip install babel phonenumbers pycountry schwifty && python scripts/refresh_locales.py

From CLDR by way of Babel, libphonenumber and the IBAN registry. These libraries take 90 MB, the
file 0.1 MB; so they are needed here and not by whoever reads a document.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from gemma_edge.extraction.values import fold

TARGET = Path(__file__).resolve().parent.parent / "gemma_edge" / "extraction" / "locales.json"
LANGUAGES = [
    "bg",
    "ca",
    "cs",
    "da",
    "de",
    "el",
    "en",
    "es",
    "et",
    "eu",
    "fi",
    "fr",
    "ga",
    "gl",
    "hr",
    "hu",
    "id",
    "is",
    "it",
    "lt",
    "lv",
    "ms",
    "nb",
    "nl",
    "pl",
    "pt",
    "ro",
    "ru",
    "sk",
    "sl",
    "sq",
    "sr_Latn",
    "sv",
    "tr",
    "uk",
    "vi",
]
COUNTRY_LANGUAGES = [
    "cs",
    "da",
    "de",
    "en",
    "es",
    "fi",
    "fr",
    "hu",
    "it",
    "nb",
    "nl",
    "pl",
    "pt",
    "ro",
    "sv",
    "tr",
]


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
    return {
        "months": months(core),
        "weekdays": weekdays(core),
        "codes_of_three": {each.alpha_3: each.alpha_2 for each in iso_countries()},
        "countries": countries(core),
        "currencies": currencies(core),
        "calling_codes": calling_codes(),
        "iban_lengths": iban_lengths(),
    }


def months(core: Any) -> dict[str, int]:
    """Month names of all languages; a word that means two months in two languages is left out."""
    found: dict[str, set[int]] = {}
    for language in LANGUAGES:
        names = core.Locale.parse(language).months
        for usage in ("format", "stand-alone"):
            for width in ("wide", "abbreviated"):
                for number, name in names[usage][width].items():
                    folded = fold(name)
                    if len(folded) > 1 and folded.isalpha():
                        found.setdefault(folded, set()).add(int(number))
    found.setdefault("sept", set()).add(9)
    return {name: min(numbers) for name, numbers in found.items() if len(numbers) == 1}


def weekdays(core: Any) -> list[str]:
    """The names of weekdays in all languages; a word that is also a month's is left out."""
    found = set()
    for language in LANGUAGES:
        for usage in core.Locale.parse(language).days.values():
            for width in ("wide", "abbreviated"):
                found |= {fold(name) for name in usage.get(width, {}).values()}
    words = {word for name in found for word in name.split() if not word.isdigit()}
    return sorted(words - months(core).keys())


def countries(core: Any) -> dict[str, str]:
    """Country names of many languages to ISO 3166 codes of two letters."""
    found: dict[str, set[str]] = {}
    official = {each.alpha_2 for each in iso_countries()}
    for language in COUNTRY_LANGUAGES:
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
    """Codes in use, and symbols to the codes that they may mean, the most traded first."""
    get_global = import_module("babel.core").get_global
    current = {
        code
        for entries in get_global("territory_currencies").values()
        for code, _start, end, tender in entries
        if end is None and tender
    }
    found: dict[str, list[str]] = {code: [code] for code in sorted(current)}
    symbols: dict[str, set[str]] = {}
    for territory, entries in get_global("territory_currencies").items():
        for language in COUNTRY_LANGUAGES:
            try:
                locale = core.Locale.parse(f"{language}_{territory}")
            except (core.UnknownLocaleError, ValueError):
                continue
            for code, _start, end, tender in entries:
                symbol = locale.currency_symbols.get(code, code)
                if end is None and tender and symbol not in current and symbol.isprintable():
                    symbols.setdefault(symbol.strip("."), set()).add(code)
    symbols.setdefault("¥", set()).update(("JPY", "CNY"))
    symbols.setdefault("£", set()).add("GBP")
    symbols.setdefault("€", set()).add("EUR")
    symbols.setdefault("Fr", set()).add("CHF")
    traded = ("USD", "EUR", "JPY", "GBP", "CNY", "AUD", "CAD", "CHF", "SEK", "NOK", "DKK")
    for symbol, codes in sorted(symbols.items()):
        ranked = sorted(codes, key=lambda code: (code not in traded, code))
        found[symbol] = sorted(ranked, key=lambda c: traded.index(c) if c in traded else 99)
    return found


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
