"""Which recipe a document is read with where nobody names one."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from gemma_edge.documents.document import Document, Page
from gemma_edge.documents.open import read_document
from gemma_edge.engine.protocol import Chunk, TokenScore
from gemma_edge.errors import DoesNotFit, InputError, Interrupted
from gemma_edge.extraction.job import extract
from gemma_edge.extraction.pages import Options
from gemma_edge.extraction.recipe import Signs, bare_recipe
from gemma_edge.extraction.recipe_file import (
    load_all,
    load_recipe,
    read_recipe,
    read_yaml,
    render_recipe,
    shipped,
)
from gemma_edge.extraction.recognition import (
    GENERAL,
    OTHER,
    Candidate,
    Known,
    Look,
    _is_settled,
    choose,
    guess,
    look,
    recognize,
)
from gemma_edge.extraction.schema import parse_schema
from tests.scripted import ScriptedEngine

FOLDER = Path(__file__).parent
BILL = "INVOICE\nInvoice no 4711\nBill to: Harbour\nVase  9.50\nAmount due 9.50\n"
LETTER = "Dear Ann,\nthe train is late again. See you on Sunday.\nTom\n"
EVEN = "INVOICE\nCASH\nCHANGE\nThank you\nCashier 3\n"  # of a shop: both have something to say


def kinds(*own):
    recipes, problems = load_all()
    assert problems == []
    rest = tuple(each for each in recipes if each.name != GENERAL)
    names = frozenset(each.name for each in own)
    return Known((*own, *rest), load_recipe(GENERAL), own=names)


KNOWN = kinds()


def own(name, schema="vendor, total num", **more):
    return replace(bare_recipe(parse_schema(schema)), name=name, **more)


def text(content, *more):
    pages = tuple(Page(n, each, "text", "") for n, each in enumerate((content, *more), 1))
    return Document("a.txt", pages)


def named(found):
    return found.recipe.name if found.called else OTHER


def read_cases():
    path = FOLDER / "kinds.yaml"
    for case in read_yaml(path.read_text("utf-8"), path.name).plain():
        yield {**case, "kind": OTHER if case["kind"] == "other" else case["kind"]}
    for path in sorted((FOLDER / "recipe_documents").glob("*.yaml")):
        kind = OTHER if path.stem == GENERAL else path.stem
        yield {**read_yaml(path.read_text("utf-8"), path.name).plain(), "kind": kind}


# ----------------------------------------------------------------------------
# The look at the words.


@pytest.mark.parametrize("case", list(read_cases()), ids=lambda case: case["kind"])
def test_words_alone_tell_the_kind(case):
    assert named(guess(read_document(case["text"].encode(), "a.txt"), KNOWN)) == case["kind"]


def test_every_shipped_kind_has_words_in_several_languages():
    cases = Counter(case["kind"] for case in read_cases())
    for name in set(shipped()) - {GENERAL}:
        signs = load_recipe(name).signs
        assert signs.called.split()[0] in ("a", "an"), name
        assert signs.names and signs.words, name
        assert cases[name] >= (2 if name == "10-q" else 4), name


def test_words_are_whole_and_have_no_case_and_no_accents():
    known = Known(
        (own("bill", signs=Signs(names=("Rückgabe",), words=("total due", "*rechnung"))),),
        KNOWN.general,
    )
    for content in ("RUCKGABE 7", "Total-due: 3", "Die Schlussrechnung", "x  rückgabe"):
        assert look(text(content), known).candidates[0].words, content
    for content in ("rückgaben", "subtotal due", "rechnungsjahr", "total, due"):
        assert not look(text(content), known).candidates[0].words, content


def test_words_without_spaces_between_them_are_found():
    known = Known((own("bill", signs=Signs(names=("請求書",))),), KNOWN.general)
    assert guess(text("御請求書です"), known).words == ("請求書",)


def test_a_title_counts_more_and_a_later_page_less():
    def doublings(*pages):
        found = look(text(*pages), KNOWN).candidates
        return {each.recipe.name: each.doublings for each in found}["invoice"]

    title = doublings("INVOICE\nsome words")
    inside = doublings("the goods of that invoice came late, which is why we write to you today")
    later = doublings("some words", "as the invoice of the fourth of May shows to whoever reads it")
    assert title > inside > later > 0


def test_a_long_document_is_not_of_every_kind():
    prose = "The mayor asked for a change of what the council called its table of duties. " * 80
    words = " ".join(word for name in shipped() for word in load_recipe(name).signs.words[:20])
    assert named(guess(text(prose, *[f"and then {words}"] * 40), KNOWN)) == OTHER


def test_what_is_told_stands_in_the_document():
    found = guess(text("Ab Café\nRÉSUMÉ\n\nWork   Experience\nEducation\n"), KNOWN)
    assert named(found) == "resume"
    assert set(found.words) <= {"RÉSUMÉ", "Work Experience", "Education"}
    assert found.words[0] == "RÉSUMÉ"


# ----------------------------------------------------------------------------
# One's own recipes.


def test_ones_own_recipe_comes_before_the_one_that_it_is_a_copy_of():
    ours = replace(load_recipe("invoice"), name="our-invoices")
    found = guess(text(BILL), kinds(ours))
    assert found.recipe.name == "our-invoices"
    assert found.others[0][0] == "invoice"


def test_without_signs_its_name_description_and_fields_are_words():
    ours = own("dive-log", "max_depth num, air_left, buddy", description="Dives in cold lakes")
    found = guess(text("DIVE LOG\nMax depth 31\nBuddy: Ann\n"), kinds(ours))
    assert (named(found), found.called) == ("dive-log", "dive-log")
    assert named(guess(text(LETTER), kinds(ours))) == OTHER


def test_what_flags_add_is_added_to_the_recipe_that_is_found():
    known = replace(KNOWN, add=lambda recipe: recipe.with_(checks=["amount_due > 0"]))
    assert guess(text(BILL), known).recipe.checks[-1].expression.text == "amount_due > 0"
    with pytest.raises(InputError, match="with the recipe `general`, .*amount_due"):
        guess(text(LETTER), known)


def test_signs_are_read_written_and_no_part_of_the_fingerprint():
    said = "schema: a\nrecognize:\n  as: a bill\n  names: [bill, rech*]\n  words: one two, three\n"
    found = read_recipe(said, "r", "r.yaml")
    assert found.signs == Signs("a bill", ("bill", "rech*"), ("one two", "three"))
    again = read_recipe(render_recipe(found), "r", "r.yaml")
    assert again.signs == found.signs
    assert found.fingerprint == read_recipe("schema: a\n", "r", "r.yaml").fingerprint


@pytest.mark.parametrize(
    ("signs", "said"),
    [
        ("{as: a bill}", "line 2: `recognize` has `names` of the kind"),
        ("{names: [a*b]}", "line 2: `a*b` is no word"),
        ("{names: ['*']}", "line 2: `*` is no word"),
        ("{nmes: [a]}", "`names`?"),
        ("{names: [[a, 1], {b: c}]}", "a word is a text"),
    ],
)
def test_wrong_signs_are_one_line(signs, said):
    with pytest.raises(InputError) as raised:
        read_recipe(f"schema: a\nrecognize: {signs}\n", "r", "r.yaml")
    assert said in raised.value.message


# ----------------------------------------------------------------------------
# The question to the model.


class Chooser(ScriptedEngine):
    """Chooses a kind, as sure of it as it is told."""

    def __init__(self, choice, sure=0.9, **more):
        super().__init__([json.dumps(choice)] * 2, **more)
        self.sure = sure

    def _scores(self, request, word):
        legal = 0.5  # half of the mass was on what no kind begins with
        return (TokenScore('"', 1.0, 1.0, forced=True), TokenScore(word, self.sure * legal, legal))


def ask(content, choice, sure=0.9, known=KNOWN):
    engine = Chooser(choice, sure)
    return recognize(engine, text(content), known, Options()), engine


def test_the_model_decides_where_the_words_do_not():
    assert named(ask(EVEN, "invoice")[0]) == "invoice"
    assert named(ask(EVEN, "receipt")[0]) == "receipt"


def test_the_model_is_not_asked_where_the_words_are_clear():
    found, engine = ask(BILL, OTHER, sure=0.99)
    assert (named(found), found.asked, engine.requests) == ("invoice", False, [])
    assert found == guess(text(BILL), KNOWN)


@pytest.mark.parametrize("trust", [0.2, 0.5, 0.85, 0.999])
@pytest.mark.parametrize("ahead", [0.0, 1.0, 2.1, 3.0, 4.0, 5.0, 9.0, 14.0])
@pytest.mark.parametrize("more", [0, 3])
def test_it_is_asked_wherever_its_word_may_count(trust, ahead, more):
    """Compared with ``choose`` for every word that it may say."""
    first, *rest = (Candidate(each, 1.0, ("word",)) for each in KNOWN.recipes[: 2 + more])
    seen = Look((replace(first, doublings=1.0 + ahead), *rest), Candidate(KNOWN.general, -2.0))
    settled = _is_settled(seen, trust)
    names = [each.recipe.name for each in seen.candidates] + [OTHER]
    chosen = {choose(seen, KNOWN, (name, 1.0), trust).recipe.name for name in names}
    assert settled == (len(chosen) == 1)


def test_without_a_word_a_sure_model_decides_and_an_unsure_one_is_not_believed():
    assert named(ask(LETTER, "medical-letter", sure=0.95)[0]) == "medical-letter"
    assert named(ask(LETTER, "medical-letter", sure=0.4)[0]) == OTHER
    picture = Document("a.png", (Page(1, "", "text", ""),))
    assert named(guess(picture, KNOWN)) == OTHER


def test_its_probability_is_that_of_its_tokens_among_the_legal_ones():
    sure = ask(EVEN, "receipt", sure=0.9)[0].probability
    assert ask(EVEN, "receipt", sure=0.45)[0].probability < sure < 1
    total = sure + sum(p for _, p in ask(EVEN, "receipt", sure=0.9)[0].others)
    assert total == pytest.approx(1)


def test_it_is_asked_once_about_the_beginning_under_a_constraint():
    pages = [f"INVOICE {n}\n" + "".join(f"Vase {i}  9.50\n" for i in range(90)) for n in range(9)]
    engine = Chooser("invoice")
    document = text(*pages)
    found = recognize(engine, document, KNOWN, Options())
    (request,) = engine.requests
    (message,) = request.messages
    assert request.sampling.temperature == 0 and request.scored
    choices = json.loads(request.constraint.schema)["enum"]
    assert choices[0] == "invoice" and choices[-1] == OTHER and len(choices) <= 5
    assert '"invoice": Invoices, bills and credit notes' in message.text
    assert "[page 1]\nINVOICE 0" in message.text and "INVOICE 2" not in message.text
    assert len(message.text) < 4000
    # what was read of the document for it is the beginning of what is read then
    (beginning,) = engine.warmed[0].messages
    assert message.text.startswith(beginning.text)
    engine.answers = ['{"vendor": "Acme"}'] * 30
    extract(engine, document, found.recipe, Options(strategy="whole"))
    assert engine.warmed[1].messages[0].text.startswith(beginning.text)
    assert engine.requests[1].messages[0].text.startswith(beginning.text)


def test_a_page_of_a_few_words_goes_with_the_next_one():
    engine = Chooser("contract")
    recognize(engine, text("Our Ref 7", "of the house\n" * 400), KNOWN, Options())
    assert "[page 2]\nof the house" in engine.requests[0].messages[0].text


def test_what_is_no_kind_counts_for_nothing():
    engine = ScriptedEngine(["nothing of that"])
    found = recognize(engine, text(EVEN), KNOWN, Options())
    assert (named(found), found.asked) == ("receipt", False)


def test_a_context_that_is_too_small_leaves_the_words():
    engine = ScriptedEngine([], context_tokens=9)
    with pytest.raises(DoesNotFit):
        list(engine.generate(engine_request()))
    found = recognize(engine, text(EVEN), KNOWN, Options())
    assert (named(found), found.asked) == ("receipt", False)


def engine_request():
    engine = Chooser("invoice")
    recognize(engine, text(EVEN), KNOWN, Options())
    return engine.requests[0]


def test_ctrl_c_is_no_kind():
    class Stopped(Chooser):
        def generate(self, request):
            for event in super().generate(request):
                if isinstance(event, Chunk):
                    self.cancel()
                yield event

    class Slow(Stopped):
        def __init__(self):
            super().__init__("invoice")
            self.answers = ['"invoice" and more']

    with pytest.raises(Interrupted):
        recognize(Slow(), text(EVEN), KNOWN, Options())


# ----------------------------------------------------------------------------
# The line about it.


def test_one_line_says_which_why_and_how_to_name_it():
    line = ask(BILL, "invoice")[0].render("bill.pdf")
    assert line.startswith("bill.pdf: an invoice (9") and "\n" not in line
    assert '%: by its words alone, "INVOICE", "Bill to", "Amount due"' in line
    assert line.endswith("; -r invoice names it)")
    line = ask(EVEN, "receipt", sure=0.6)[0].render("a.txt")
    assert "; or invoice " in line
    line = ask(LETTER, OTHER)[0].render("a.txt")
    assert "no kind that has a recipe" in line and "the recipe general" in line
    assert "general" in dict(ask(BILL, "invoice")[0].others)
    line = guess(text(BILL), KNOWN).render("bill.pdf")
    assert "by its words alone" in line
