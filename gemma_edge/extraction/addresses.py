"""Postal addresses in the text of a document, as they are printed. Pure.

An address is a block of lines, or of cells below each other, or a part of a sentence: a street or a
building with a number, and a postal code with a place. Words for streets and buildings come in the
languages of the other tables; a line of words and a number above a postal code is a street
without one. Labels ("Address:"), telephone numbers and numbers of registration are no part of it.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain, islice

from gemma_edge.extraction.values import fold, tables
from gemma_edge.records import dataclass


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_STREETS = _words(
    """
    street st str road rd avenue ave av boulevard blvd bd bld lane ln drive dr court ct place pl
    square sq terrace highway hwy parkway pkwy way crescent cres close circle trail route alley
    row mews gardens walk quay wharf expressway freeway turnpike broadway strasse weg allee
    platz gasse ring damm ufer chaussee markt rue chemin impasse quai cours passage faubourg
    calle cl avenida avda av paseo plaza pza carretera ctra camino ronda carrera cra jiron rua
    travessa praca largo estrada rodovia alameda via viale piazza corso vicolo strada piazzale
    contrada ul ulica ulice al aleja aleje plac os osiedle nam namesti trida utca ut ter korut
    krt bulevardul calea aleea soseaua sokak sok sk cadde cad caddesi cd mahallesi mah bulvari
    jalan jln jl lorong lrg lebuh lebuhraya persiaran gang duong pho ngo phuong quan gatve iela
    tanav tee mnt katu tie kuja gata gade vej vei vag gate odos leoforos ulitsa marg nagar soi
    thanon ул улица пр просп проспект пер пл площадь шоссе вул вулиця бул наб οδος λεωφ λεωφορος
    شارع طريق רחוב שדרות
    """
)
_STREET_ENDS = re.compile(
    r"[^\W\d_]{3}(?:stra(?:ss|ß)e|str|weg|allee|platz|gasse|ring|damm|ufer|chaussee|steig|markt"
    r"|straat|laan|plein|kade|gracht|singel|dijk|dreef|steeg|gatan|gata|vagen|gade|vej|veien|gaten"
    r"|plads|plass|torget|torg|katu|kuja|tie|tori|utca)\b"
)
_BUILDINGS = _words(
    """
    floor flr fl level lot unit suite ste apt apartment flat block blk building bldg tower house
    room plaza mall centre center complex park estate industrial wisma menara bangunan kompleks
    tingkat aras seksyen kawasan perindustrian bandar taman tmn kampung kg desa bukit etage
    batiment bat zone zi piso planta edificio puerta bloque urbanizacion andar sala bloco
    conjunto scala interno palazzo stiege stock hinterhaus kat daire blok lokal sector section
    phase gnd ground shop корпус кв офис
    """
)
# Not the number of a house: what the postal services of most countries use.
_POSTAL = re.compile(
    r"(?<![\w.#/(-])(?<!\d,)(?:(?:[A-Z]{1,2}-)?(?:\d{5}-\d{3,4}|\d{2}-\d{3}|\d{4}-\d{3}"
    r"|\d{3}[- ]\d{4}|\d{4} ?[A-Z]{2}|\d{3} \d{2}|\d{3} \d{3}|\d{4,6})"
    r"|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|[A-Z]\d[A-Z] ?\d[A-Z]\d|[A-Z]\d[\dW] ?[A-Z\d]{4}"
    r"|[A-Z]\d{4}[A-Z]{3}|〒 ?\d{3}-\d{4})(?![\w/#]|[.,]\d|-\w)"
)
# One that is a line by itself, and no other number.
_LONE_POSTAL = re.compile(
    r"\d{5}-\d{3}|\d{4}-\d{3}|\d{2}-\d{3}|〒 ?\d{3}-\d{4}|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}"
    r"|[A-Z]\d[A-Z] ?\d[A-Z]\d"
)
_BOX = re.compile(
    r"\b(?:p\.? ?o\.? ?box|postfach|post(?:bus|boks|box)|apartado|casella postale|caixa postal"
    r"|boite postale|b\.? ?p\.? \d|skrytka|peti surat|box \d)",
    re.IGNORECASE,
)
# Whole addresses of scripts that write them without spaces: at least two of these and a number.
_UNSPACED_PART = re.compile(
    r"[\u4e00-\u9fff](?:[省市區区縣县鎮镇鄉乡路街巷弄號号楼樓室]|大道|[都道府県郡町村]|丁目|番地)"
    r"|(?<![\uac00-\ud7a3])[\uac00-\ud7a3]+(?:시|도|구|군|동|읍|면|로|길)(?=[\s\d,]|$)"
)
_LABEL = re.compile(r"^\W*([^\W\d_][^\W\d_.' /-]*(?:[ ./'-]+[^\W\d_]+){0,4})\W?\s*[:：]\s*")
_OF_ADDRESS = re.compile(
    r"address|adres|anschrift|direcci|domicil|indirizzo|sede|endere|alamat|addr|siège|siege"
    r"|\b(?:bill|ship|sold|deliver|mail|remit) ?(?:ed)? to\b|адрес|adresa"
    r"|cím|osoite|地址|住所|주소",
    re.IGNORECASE,
)
# Words of lines that stand beside addresses and are no part of one.
_OTHER = re.compile(
    r"\b(?:tel|telephone|telefon|telefono|telefone|phone|ph|fax|mobile|mob|handy|whatsapp|e-?mail"
    r"|www|http\w*|gst|vat|tva|iva|ust|uid|steuer\w*|tax|reg|registration|registered|siret|siren|rcs"
    r"|nip|regon|cif|nif|ein|abn|acn|tin|id|iban|bic|swift|invoice|inv|receipt|bill|order|rechnung"
    r"|facture|factura|fattura|date|datum|time|cashier|table|customer|total|amount|qty|thank\w*"
    r"|welcome|page|account|konto|hours|hrs|open|co\.? ?no|company)\b"
    r"|@|#(?!\d+-\d)|\d[.,]\d\d(?!\d)|\d:\d\d"
    r"|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b|[$€£¥%]|\+\d"
    r"|\((?=[^()]*\d{5})[^()]*\)",
    re.IGNORECASE,
)
_REGISTERED = re.compile(r"\W{0,8}[A-Z]{0,4}[\d ./-]{5,}(?:[ -]?[A-Z])?\W{0,8}|\W*\d+\W*")
_WORD = re.compile(r"[^\W\d_]+(?:['’.-][^\W\d_]+)*")
_NAME_BEHIND = re.compile(r"\W{0,3}[^\W\d_][.'’]?[^\W\d_]")
_NAME_BEFORE = re.compile(r"[^\W\d_][.'’]?[^\W\d_]\W{0,3}$")
_NAME_END = 6  # characters of it at most
_HOUSE = re.compile(
    r"\W*\d{1,5}[a-zA-Z]?(?:[-/]\d{1,5}[a-zA-Z]?)?,? +[^\W\d_]{2}.*"
    r"|[^\W\d_]{3}[^\d\n]*,? \d{1,5} ?[a-zA-Z]?(?:[-/]\d{1,5}[a-zA-Z]?)?\W*"
)
_CELL = re.compile(r"\S+(?: \S+)*")
_WIDE = re.compile(r" {4,}|\t|\|")  # between columns of a page, not of a line
_SAME_COLUMN = 2  # characters by which cells of one column may begin apart
_MOST_LINES = 8  # of an address
_LINE_WORDS = 9  # more of them are a sentence
_LAST_WORDS = 4  # of a line with a region or a country behind the postal code
_LAST_DIGITS = 4
_LINE_GAP = 2  # lines of an address, one after the other, that no table knows
_PROSE = 60  # characters from which a line is a part of a sentence
_PART_WORDS = 8  # between two commas of an address
_MOST = 1_000  # addresses of one text
_MOST_SAID = 3_000  # of them in sentences, before those are left out that stand in lines too
_LONG_LINE = 400  # characters that no line of an address has


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a block. ``place`` holds a postal code, ``street`` a street or a post-office box,
    ``guess`` a number that may be a house's; ``other`` is no part of an address."""

    text: str
    place: bool
    street: bool
    guess: bool
    building: bool
    other: bool
    labelled: bool = False

    @property
    def known(self) -> bool:
        return not self.other and (self.place or self.street or self.building)


def find_addresses(text: str) -> tuple[str, ...]:
    """The addresses, each as it is printed, with one space where its lines break. An address whose
    end is not sure is given with each of them. None where there are too many to choose from."""
    found: dict[str, None] = {}
    for block in _blocks(text):
        found |= dict.fromkeys(_of_block([_look_at(line) for line in block]))
        if len(found) > _MOST:
            return ()
    known = "\n".join(found)
    said = dict.fromkeys(chain.from_iterable(map(_of_sentence, _sentences(text))))
    found |= dict.fromkeys(each for each in islice(said, _MOST_SAID) if each not in known)
    return tuple(found) if len(found) <= _MOST else ()


def _blocks(text: str) -> Iterator[list[str]]:
    """Lines that follow each other, and cells that stand below each other, without a gap."""
    lines = text.split("\n")
    whole: list[str] = []
    for line in (*lines, ""):
        if line.strip() and not _WIDE.search(line.strip()):
            whole.append(" ".join(line.split()))
            continue
        if whole:
            yield whole
        whole = []
    if any(len(_cells(line)) > 1 for line in lines):
        yield from _columns(lines)


def _cells(line: str) -> list[tuple[int, str]]:
    return [(found.start(), found[0]) for found in _CELL.finditer(line.replace("|", "  "))]


def _columns(lines: Sequence[str]) -> Iterator[list[str]]:
    above: dict[int, list[str]] = {}
    for line in (*lines, ""):
        here: dict[int, list[str]] = {}
        for start, cell in _cells(line):
            near = range(start - _SAME_COLUMN, start + _SAME_COLUMN + 1)
            at = next((each for each in near if each in above), None)
            here[start] = above.pop(at) if at is not None else []
            here[start].append(cell)
        yield from above.values()
        above = here


def _look_at(text: str) -> _Line:
    labelled = False
    label = _LABEL.match(text)
    if label and _STREETS.intersection(map(fold, _WORD.findall(label[1]))):
        label = None
    if label and len(label[0]) < len(text):
        labelled = _OF_ADDRESS.search(label[1]) is not None
        if labelled or not _OTHER.search(label[1]):
            text = text[label.end() :]
    elif label:
        labelled = _OF_ADDRESS.search(label[1]) is not None
        return _Line(text, False, False, False, False, True, labelled)
    words = [fold(word) for word in _WORD.findall(text)]
    short = len(text) <= _LONG_LINE
    few = len(words) <= _LINE_WORDS and short
    lone = _LONE_POSTAL.fullmatch(text.rstrip(",.")) is not None
    other = not few or bool(_OTHER.search(text) or _REGISTERED.fullmatch(text)) and not lone
    number = any(map(str.isdigit, text))
    whole = short and number and len(_UNSPACED_PART.findall(text)) > 1
    named = _STREETS.intersection(words) or any(map(_STREET_ENDS.search, words))
    return _Line(
        text,
        place=whole or lone or _has_place(text),
        street=whole or bool(_BOX.search(text)) or (number and bool(named)),
        guess=_HOUSE.fullmatch(text) is not None,
        building=bool(named or _BUILDINGS.intersection(words)),
        other=other and not whole,
        labelled=labelled,
    )


def _has_place(text: str) -> bool:
    """Whether a postal code stands beside the name of a place."""
    for found in _POSTAL.finditer(text):
        before = text[max(0, found.start() - _NAME_END) : found.start()]
        if _NAME_BEHIND.match(text, found.end()) or _NAME_BEFORE.search(before):
            return True
    return False


def _of_block(lines: Sequence[_Line]) -> Iterator[str]:
    at = 0
    while at < len(lines):
        if not (lines[at].known or (lines[at].guess and not lines[at].other)):
            at += 1
            continue
        end = _end_of(lines, at)
        yield from _choices(lines, at, end)
        at = max(end, at + 1)


def _end_of(lines: Sequence[_Line], start: int) -> int:
    """Behind the last line that is known, with few others between; behind the one with the postal
    code where no street follows it."""
    end = start + 1
    for at in range(start, min(len(lines), start + _MOST_LINES)):
        line = lines[at]
        if line.other or at - end >= _LINE_GAP:
            break
        if line.known:
            end = at + 1
        following = lines[at + 1] if at + 1 < len(lines) else line
        if line.place and (following.other or not (following.street or following.place)):
            break
    return end


def _choices(lines: Sequence[_Line], start: int, end: int) -> Iterator[str]:
    if not _is_address(lines, start, end):
        return
    first = max(0, start - _MOST_LINES)
    while start > first and lines[start - 1].text.endswith(",") and not lines[start - 1].other:
        start -= 1
    texts = [" ".join(line.text for line in lines[start:end])]
    known = tables().countries
    for line in lines[end : end + _LINE_GAP]:
        if fold(_trimmed(texts[-1]).rpartition(",")[2]) in known or not _may_follow(line):
            break
        texts.append(f"{texts[-1]} {line.text}")
    # What ends with a comma goes on.
    yield from map(_trimmed, [text for text in texts if not text.endswith(",")] or texts[-1:])


def _is_address(lines: Sequence[_Line], start: int, end: int) -> bool:
    block = lines[start:end]
    places = [at for at, line in enumerate(block) if line.place]
    streets = [at for at, line in enumerate(block) if line.street]
    if start > 0 and lines[start - 1].labelled or block[0].labelled:
        return bool(places or streets)
    guesses = [at for at, line in enumerate(block) if line.guess or line.building]
    # One line with two numbers can be anything.
    return bool(places and (streets or (guesses and (len(block) > 1 or block[0].building))))


def _may_follow(line: _Line) -> bool:
    """Whether a line behind the postal code can name a region or a country."""
    long = len(line.text.split()) > _LAST_WORDS or sum(map(str.isdigit, line.text)) > _LAST_DIGITS
    return not (long or line.other or line.labelled or line.known or line.guess)


def _trimmed(text: str) -> str:
    return text.strip(" ,;")


# In sentences.

_PARTICLE = _words(
    """
    de la le les du des d l da do das dos del della di dei el los las y e et und of the der dem
    den am an im auf von van op aan het ter ten na pod nad
    """
)
_TOKEN = re.compile(r"[^\s,;()·•]+|[,;()·•]")
_COMMAS, _BREAKS = frozenset(",·•"), frozenset(";()")
_MOST_TOKENS = 24  # of an address in a sentence, before its postal code


def _sentences(text: str) -> Iterator[str]:
    """Paragraphs of long lines, and single lines with commas."""
    run: list[str] = []
    for line in (*text.split("\n"), ""):
        plain = " ".join(line.split())
        run.append(plain)
        if len(plain) < _PROSE:
            if len(run) > 1 or sum(map(plain.count, _COMMAS)) > 1:
                yield " ".join(filter(None, run))
            run = []


def _of_sentence(text: str) -> Iterator[str]:
    tokens = [(found.start(), found.end(), found[0]) for found in _TOKEN.finditer(text)]
    ends = [end for _, end, _ in tokens]
    for code in _POSTAL.finditer(text):
        start = _start_of(tokens, bisect_right(ends, code.start()))
        if start is None:
            continue
        end = _last_of(tokens, bisect_left(ends, code.end()))
        for last in sorted({end, _country_after(text, tokens, end)}):
            yield text[tokens[start][0] : tokens[last][1]].rstrip(".,; ")


_Token = tuple[int, int, str]


def _start_of(tokens: Sequence[_Token], code: int) -> int | None:
    """The token with which the street before a postal code begins; None where none is."""
    first = None
    streets = number = False
    for at in range(code - 1, max(-1, code - _MOST_TOKENS), -1):
        word = tokens[at][2]
        folded = fold(word)
        is_street = folded in _STREETS or bool(_STREET_ENDS.search(folded))
        has_digit = any(map(str.isdigit, word))
        stops = word.endswith(".") and len(word) > len("Blvd.") and not is_street
        if (
            stops
            or word in _BREAKS
            or (word[0].islower() and not is_street and folded not in _PARTICLE)
        ):
            break
        streets, number = streets or is_street, number or has_digit
        if streets and number and (is_street or has_digit or word[0].isupper()):
            first = at
        if first is not None and word in _COMMAS and not _goes_on(tokens, at):
            break
    return first


def _goes_on(tokens: Sequence[_Token], comma: int) -> bool:
    """Whether what stands before a comma is still a part of the address: it has a number, or a word
    for a part of a building."""
    for _, _, word in reversed(tokens[max(0, comma - _LAST_WORDS) : comma]):
        if word in _COMMAS or word in _BREAKS or word[0].islower():
            return False
        if any(map(str.isdigit, word)) or fold(word) in _BUILDINGS:
            return True
    return False


def _last_of(tokens: Sequence[_Token], code: int) -> int:
    """The last word of the place behind a postal code."""
    end = code
    for at in range(code + 1, min(len(tokens), code + _LAST_WORDS)):
        word = tokens[at][2]
        if not word[0].isupper() and not (fold(word) in _PARTICLE and end > code):
            break
        if word[0].isupper():
            end = at
        if word.endswith("."):
            break
    return end


def _country_after(text: str, tokens: Sequence[_Token], end: int) -> int:
    """The last word of a country that follows; ``end`` where none does."""
    first = end + 1
    if first < len(tokens) and tokens[first][2] in _COMMAS:
        first += 1
    known = tables().countries
    for last in range(min(len(tokens), first + _LAST_WORDS) - 1, first - 1, -1):
        name = text[tokens[first][0] : tokens[last][1]].rstrip(".")
        if name[:1].isupper() and fold(name) in known:
            return last
    return end
