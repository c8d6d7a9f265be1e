"""What bytes of text are in: by a mark, by a label as browsers read it, or found out."""

import pytest

from gemma_edge.documents.document import ReadOptions, codec_of, decode_labelled, decode_text
from gemma_edge.documents.html import read_html
from gemma_edge.documents.open import read_document
from gemma_edge.errors import InputError

LISTS = {
    "cp1250": [
        "Nazwa;Kwota\nŁódź Żółć;12,50\nGdańsk światość;8,00\n",
        "Zboží;Množství;Cena\nŽárovka;2;199,00\nŠroubek;10;5,50\n",
        "Megnevezés;Mennyiség;Összeg\nFűtőtest;2;19 990\nÖsszesen;;39 980\n",
    ],
    "iso8859-2": ["Nazwa;Ilość;Cena\nŻarówka LED;2;19,99\nświeca;1;2\nŁożysko;1;45,00\n"],
    "cp852": ["Žárovka;2;199,00\nŁożysko;1;45,00\nRazem za całość;;84,98\n"],
    "cp1251": ["Товар;Кол-во;Цена\nЛампочка;2;199,90\nБолт;10;5,50\n"],
    "koi8-r": ["Товар;Кол-во;Цена\nЛампочка;2;199,90\nБолт;10;5,50\n"],
    "cp866": ["Товар;Кол-во;Цена\nЛампочка;2;199,90\nБолт;10;5,50\n"],
    "cp1253": ["Είδος;Ποσότητα;Τιμή\nΛαμπτήρας;2;19,99\nΒίδα;10;0,50\n"],
    "cp1254": ["Ürün;Miktar;Fiyat\nŞişe;2;19,99\nIşık ampulü;1;25,50\n"],
    "cp1255": ["מוצר;כמות;מחיר\nנורה;2;19.90\nסך הכל;;44.80\n"],
    "cp1256": ["المنتج;الكمية;السعر\nمصباح;2;19.90\nالمجموع;;44.80\n"],
    "cp1252": [
        "Artikel;Menge;Preis\nGlühbirne;2;19,99 €\nDübel;10;0,50 €\n", "Größe;1\n",
        "Désignation;Qté;Prix\nÉcrou;2;19,99 €\nCâble;1;5,00 €\n", "Position;Betrag\nMüller;5\n",
        "Año;Importe\n2024;12,50\n", "Über 5 €\n", "£12.50\n", "café\n", "it’s “fine”\n",
        "Smörgås;12,50\nKött;5\n", "Preço;Quantidade\nPão;5\n", "Menge\n10 m²\n", "Køb\nØl;7\n",
    ],
    "gb18030": ["商品,数量,单价\n灯泡,2,19.90\n螺丝,10,0.50\n"],
    "big5": ["商品,數量,單價\n燈泡,2,19.90\n螺絲,10,0.50\n"],
    "cp932": ["品名,数量,単価\n電球,2,1990\nネジ①,10,50\n"],
    "euc-jp": ["品名,数量,単価\n電球,2,1990\nネジ,10,50\n"],
    "cp949": ["품명,수량,단가\n전구,2,1990\n나사,10,50\n"],
    "cp437": ["┌──────┬────┐\n│ Dübel│9,99│\n└──────┴────┘\n", "Glühbirne 2\nDübel 5\n"],
    "utf-16-le": ["Nazwa;Ilość\nŻarówka;2\n", "Товар;Цена\nБолт;5\n", "合計\n1,234\n"],
    "utf-16-be": ["Name;Total\nPen;5\n"],
    "utf-32-le": ["Name;Total\nPen;5\n"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("codec", "text"), [(codec, text) for codec, texts in LISTS.items() for text in texts]
)
def test_short_lists_without_a_label_are_found_out_and_told(codec, text):
    found, (note,) = decode_text(text.encode(codec), "a.csv")
    assert found == text
    title = note.removeprefix("a.csv is not UTF-8; it was read as ").partition(";")[0]
    assert text.encode(codec).decode(codec_of(title)) == text
    assert note.endswith("; --encoding NAME takes another")


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("iso-8859-1", "cp1252"), ("latin-1", "cp1252"), ("us-ascii", "cp1252"),
        ('"utf-8"', "utf-8"), ("UTF_8", "utf-8"), ("utf8mb4", "utf-8"), ("charset=utf-8", "utf-8"),
        ("utf-8; format=flowed", "utf-8"), ("ks_c_5601-1987", "cp949"), ("euc-kr", "cp949"),
        ("gb2312", "gb18030"), ("Shift_JIS", "cp932"), ("x-sjis", "cp932"), ("win-1251", "cp1251"),
        ("CP-1250", "cp1250"), ("iso-8859-9", "cp1254"), ("8859-2", "iso8859-2"),
        ("ibm850", "cp850"), ("dos-862", "cp862"), ("iso-2022-kr", "iso2022_kr"),
        ("x-unknown", None), ("unknown-8bit", None), ("hex", None), ("rot13", None), ("", None),
        ("punycode", None), ("idna", None), ("unicode_escape", None), ("ÿ\ud800\0", None),
    ],
)  # fmt: skip
def test_labels_are_read_as_the_web_does(label, codec):
    assert codec_of(label) == codec


@pytest.mark.parametrize(
    ("data", "label", "text"),
    [
        ("12,50 € – „Müller“".encode("cp1252"), "iso-8859-1", "12,50 € – „Müller“"),
        ("電球① ㈱髙".encode("cp932"), "Shift_JIS", "電球① ㈱髙"),
        (b"\x1b$B9A-!\x1b(B 1 \x1b(I6E\x1b(B", "iso-2022-jp", "港① 1 ｶﾅ"),
        (b"\xb9\xc1\xad\xa1 1", "euc-jp", "港① 1"),
        ("똠방 합계".encode("cp949"), "ks_c_5601-1987", "똠방 합계"),
        ("镕 合计".encode("gbk"), "gb2312", "镕 合计"),
        ("Müller 5 €".encode(), "", "Müller 5 €"),
        ("Müller 5 €".encode(), "us-ascii", "Müller 5 €"),
        ("Müller 5 €".encode(), "iso-8859-1", "Müller 5 €"),
        ("\ufeffMüller".encode(), "windows-1252", "Müller"),
        ("Müller".encode("utf-16-le"), "utf-16", "Müller"),
        ("Łódź".encode("utf-16"), "iso-8859-1", "Łódź"),
        ("Łódź".encode("utf-7"), "utf-7", "Łódź"),
    ],
)
def test_what_has_a_label_is_read_without_a_word(data, label, text):
    assert decode_labelled(data, label, "x.eml") == (text, ())


@pytest.mark.parametrize(
    ("data", "label", "text", "note"),
    [
        (
            "Müller 5 €".encode(), "x-unknown", "Müller 5 €",
            "x names an unknown encoding (x-unknown); it was read as UTF-8; "
            "--encoding NAME takes another",
        ),
        (
            "Müller 5 €".encode("cp1252"), "utf-8", "Müller 5 €",
            "x is not in utf-8, as it says; it was read as Windows-1252; "
            "--encoding NAME takes another",
        ),
        (
            "größer über öäüß öäüß".encode() + b"\xff", "", "größer über öäüß öäüß\ufffd",
            "x: 1 character is lost (\ufffd); --encoding NAME takes another encoding",
        ),
        (
            b"a \x81 b \x9d", "iso-8859-1", "a \ufffd b \ufffd", None,
        ),
    ],
)  # fmt: skip
def test_what_is_not_as_it_says_is_told(data, label, text, note):
    found, notes = decode_labelled(data, label, "x")
    if note is not None:
        assert (found, notes) == (text, (note,))
    else:
        assert len(notes) == 1


def test_ascii_with_any_label_needs_no_note():
    for label in ("", "x-unknown", "utf-8", "shift_jis", "iso-2022-jp", "big5"):
        assert decode_labelled(b"Total: 5.00\n", label, "x") == ("Total: 5.00\n", ())


def test_an_encoding_that_is_named_holds_or_is_an_error():
    def read(data: bytes, encoding: str) -> str:
        return read_document(data, "a.txt", options=ReadOptions(encoding)).text

    assert read("Łódź".encode("cp1250"), "windows-1250") == "Łódź"
    assert read("Łódź".encode("utf-16"), "utf-16") == "Łódź"
    assert read("Łódź".encode("utf-16-be"), "utf-16-be") == "Łódź"
    assert read("\ufeffŁódź".encode(), "utf-8") == "Łódź"
    with pytest.raises(InputError) as caught:
        read(b"caf\xe9 x", "utf-8")
    assert caught.value.message == "a.txt is not in utf-8 (byte 3, 0xe9)"
    with pytest.raises(InputError, match="hex is no encoding of text"):
        read(b"abc", "hex")


def test_what_is_found_out_is_found_out_in_a_child():
    document = read_document("Nazwa;Kwota\nŁódź Żółć;12,50\n".encode("cp1250"), "a.csv")
    assert document.text == "Nazwa | Kwota\nŁódź Żółć | 12,50"
    assert "read as Windows-1250" in document.notes[0]


@pytest.mark.parametrize("data", [bytes(range(256)) * 20, b"\0" * 999, b"PNG\0\1\2\3" * 99])
def test_binary_data_is_no_text(data):
    with pytest.raises(InputError, match="it holds binary data"):
        decode_text(data, "a.txt")


def test_a_page_says_what_it_is_in():
    page = "<html><head><meta charset=ks_c_5601-1987></head><p>합계 1,234원 똠방".encode("cp949")
    assert read_html(page, "x.html").pages[0][0] == "합계 1,234원 똠방"
    page = '<?xml version="1.0" encoding="iso-8859-2"?><html><p>Łódź</p></html>'.encode("iso8859-2")
    assert read_html(page, "x.html").pages[0][0] == "Łódź"
    page = (
        "<html><META http-equiv=Content-Type content='text/html; charset=iso-8859-1'><p>5 €"
    ).encode("cp1252")
    assert read_html(page, "x.html") == read_html(page, "x.html", ReadOptions("cp1252"))
    assert read_html(page, "x.html").pages[0][0] == "5 €"
